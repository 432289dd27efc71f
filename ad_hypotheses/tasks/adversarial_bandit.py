"""Bandits whose best arm is elsewhere when it counts.

Laskin et al. 2022, "In-context Reinforcement Learning with Algorithm Distillation" (arXiv 2210.14215): ten arms and a
hundred pulls; reward is likelier under odd arms in training and under even arms in the test.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

ADVERSARIAL = {"arms": 10, "adversarial": True}  # what makes a Bernoulli bandit the "adversarial-bandit" of the paper


def place_best_arm(
    means: Float[np.ndarray, "task arm"], odd: float, rng: np.random.Generator
) -> Float[np.ndarray, "task arm"]:
    """Let the best arm of every task change places with a random odd or a random even one.

    Args:
        means: What the arms pay on average. [task, arm]
        odd: Probability that it is an odd one, arms being numbered from 0.
        rng: Decides which.

    Returns:
        Means that are as before but for the place of the greatest. [task, arm]
    """
    n_tasks, arms = means.shape
    parity = np.where(rng.random(n_tasks) < odd, 1, 0)
    place = 2 * rng.integers((arms + 1 - parity) // 2) + parity
    rows, greatest, placed = np.arange(n_tasks), means.argmax(axis=1), means.copy()
    placed[rows, greatest], placed[rows, place] = means[rows, place], means[rows, greatest]
    return placed
