"""What a prediction costs, and what it costs when nothing is important."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def cross_entropy(
    log_probs: Float[np.ndarray, "row step action"], actions: Int[np.ndarray, "row step"]
) -> Float[np.ndarray, "row step"]:
    """Loss of the actions that the histories really took, in nats."""
    return -np.take_along_axis(log_probs, actions[..., None].astype(np.int64), axis=-1)[..., 0]


def exact_baseline(
    log_probs: Float[np.ndarray, "row step action"], actions: Int[np.ndarray, "row step"], self_donors: bool
) -> Float[np.ndarray, "row step"]:
    """Expected loss when nothing is important, in nats: at each step the mean over rows of their loss on this label.

    Args:
        log_probs: Of the clean model.
        actions: The labels.
        self_donors: Whether the row itself is among those averaged over.
    """
    n_rows = len(log_probs)
    everyone = -log_probs.sum(axis=0, dtype=np.float64)  # [step, action]
    total = np.take_along_axis(everyone[None].repeat(n_rows, 0), actions[..., None].astype(np.int64), axis=-1)[..., 0]
    if self_donors or n_rows == 1:
        return total / n_rows
    return (total - cross_entropy(log_probs, actions)) / (n_rows - 1)
