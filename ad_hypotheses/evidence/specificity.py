"""How much of what could be claimed a claim leaves free, whatever it recovers.

A claim that tells every history apart recovers everything and says nothing. So beside what is recovered stands how much
was put at stake: at a step, N histories differ by `H(history)` bits as far as the model can see, and donors that agree
on a feature leave `H(history | feature)` of them free. The share is 1 for a constant feature and 0 for one that is
injective; names and order of the values do not matter. It is about these N histories: with more of them, classes grow,
and so does the share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class Specificity:
    """Bits of a node, mean over its positions.

    Attributes:
        free: Left free by donors that agree on the feature: `H(history | feature)`.
        carried: By which histories differ: `H(history)`.
    """

    free: float
    carried: float

    @property
    def share(self) -> float | None:
        """What is left free; None where histories do not differ."""
        return self.free / self.carried if self.carried > 0 else None


def specificity(
    agreeing: Int[np.ndarray, "*position"],
    same: Int[np.ndarray, "*position"],
    everyone: Int[np.ndarray, "*position"],
    same_history: Int[np.ndarray, "*position"],
) -> Specificity:
    """Measure what a feature leaves free, from the sizes of classes at each position.

    Args:
        agreeing: How many histories agree on the feature.
        same: How many agree on it and have shown the model the same.
        everyone: How many there are to draw from.
        same_history: How many of these have shown the model the same.
    """
    free = float(np.log2(agreeing).mean() - np.log2(same).mean())
    carried = float(np.log2(everyone).mean() - np.log2(same_history).mean())
    return Specificity(max(free, 0.0), max(carried, 0.0))  # rounding apart, neither is negative


def of_claim(nodes: Sequence[Specificity]) -> float | None:
    """Return the share that the node leaves free which leaves least; None if there is none.

    One node that tells every history apart is enough to recover everything beneath it, however coarse the others are.
    """
    return min((node.share for node in nodes if node.share is not None), default=None)
