"""Arms that drift: what each pays on average walks at random from pull to pull, as was drawn before a life begins.

The fact `means` then holds the means at every pull, `[task, pull, arm]`; an edited life has the arms that it had. Every
episode of a task begins with the same arms, which drift alike.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ad_hypotheses.language.history import History


def drifting(
    means: Float[np.ndarray, "task arm"],
    drift: float,
    horizon: int,
    bounds: tuple[float, float],
    rng: np.random.Generator,
) -> Float[np.ndarray, "task pull arm"]:
    """Let means walk at random, and turn back where they would leave their range.

    Args:
        means: At the first pull. [task, arm]
        drift: Standard deviation of a step, from one pull to the next.
        horizon: Pulls an episode.
        bounds: The least mean and the greatest.
        rng: Draws the steps.
    """
    steps = drift * rng.standard_normal((len(means), horizon, means.shape[1]))
    steps[:, 0] = 0
    return folded(means[:, None] + np.cumsum(steps, axis=1), *bounds)


def folded(walk: Float[np.ndarray, "*shape"], low: float, high: float) -> Float[np.ndarray, "*shape"]:
    """Return a walk that turns back at two bounds, given the one that does not."""
    span = high - low
    return high - np.abs((walk - low) % (2 * span) - span)


def at_pulls(means: Float[np.ndarray, "batch *pull arm"], history: History) -> Float[np.ndarray, "batch step arm"]:
    """Return the means of the arms at each step of lives, whether they drift or not. [batch, step, arm]"""
    if means.ndim == 2:
        return np.broadcast_to(means[:, None], (*history.shape, means.shape[1]))
    return means[np.arange(len(means))[:, None], history.episode_step]


def over_pulls(means: Float[np.ndarray, "task *pull arm"]) -> Float[np.ndarray, "task arm"]:
    """Return what the arms pay on average over an episode, whether they drift or not. [task, arm]"""
    return means.mean(axis=1) if means.ndim == 3 else means
