"""The classical policies of bandits.

Each function takes the bandit and returns a policy for :func:`ad_hypotheses.tasks.play.play`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.task import Policy


@runtime_checkable
class Bandit(Protocol):
    """What the policies know of a bandit: how much pay scatters, and what one believes of arms after some pulls."""

    @property
    def noise(self) -> float:
        """Standard deviation of an arm's pay, or a bound on it."""

    def posterior_mean(
        self, pulls: Int[np.ndarray, "batch arm"], paid: Float[np.ndarray, "batch arm"]
    ) -> Float[np.ndarray, "batch arm"]:
        """Return what each arm is expected to pay, pulled so often and having paid that much."""

    def posterior_sample(
        self, pulls: Int[np.ndarray, "batch arm"], paid: Float[np.ndarray, "batch arm"], rng: np.random.Generator
    ) -> Float[np.ndarray, "batch arm"]:
        """Draw what each arm may pay on average."""


def bandit_baselines(bandit: Bandit, rng: np.random.Generator) -> dict[str, Policy]:
    """Return the policies of this module by name."""
    return {"ucb1": ucb1(bandit), "thompson": thompson(bandit, rng), "bayes-greedy": bayes_greedy(bandit)}


def ucb1(bandit: Bandit) -> Policy:
    """Pull the arm of the greatest upper confidence bound, any of the greatest if several are."""

    def policy(history: History) -> np.ndarray:
        return best_of(ucb1_index(*pulls_and_wins(history), bandit.noise))

    return policy


def thompson(bandit: Bandit, rng: np.random.Generator) -> Policy:
    """Sample each arm's mean from its posterior and pull the arm whose sample is highest (Thompson 1933)."""

    def policy(history: History) -> np.ndarray:
        pulls, paid = pulls_and_wins(history)
        return np.eye(history.n_actions)[bandit.posterior_sample(pulls, paid, rng).argmax(axis=1)]

    return policy


def bayes_greedy(bandit: Bandit) -> Policy:
    """Pull the arm whose posterior mean is highest, any of the highest if several are.

    It is the Bayes-optimal last pull, and never explores for the sake of later ones.
    """

    def policy(history: History) -> np.ndarray:
        return best_of(bandit.posterior_mean(*pulls_and_wins(history)))

    return policy


def ucb1_index(
    pulls: Int[np.ndarray, "batch arm"], paid: Float[np.ndarray, "batch arm"], noise: float = 0.5
) -> Float[np.ndarray, "batch arm"]:
    """Return UCB1's index of every arm, infinite for one never pulled. [batch, arm]

    Auer, Cesa-Bianchi & Fischer 2002, "Finite-time analysis of the multiarmed bandit problem", figure 1. Theirs is for
    pay within 0 .. 1, whose tails are at most those of a Gaussian of standard deviation 1/2; for another `noise` the
    bonus is scaled, so that the bound fails as seldom.
    """
    total = np.maximum(pulls.sum(axis=1, keepdims=True), 1)
    tried = np.maximum(pulls, 1)
    return np.where(pulls > 0, paid / tried + 2 * noise * np.sqrt(2 * np.log(total) / tried), np.inf)


def pulls_and_wins(history: History) -> tuple[Int[np.ndarray, "batch arm"], Float[np.ndarray, "batch arm"]]:
    """Return how often each arm was pulled before the last step, and what it has paid. [batch, arm] each"""
    shape = (history.n_rows, history.n_actions)
    places = (np.arange(history.n_rows)[:, None] * history.n_actions + history.actions[:, :-1]).ravel()
    paid = np.bincount(places, weights=history.rewards[:, :-1].ravel(), minlength=history.n_rows * history.n_actions)
    return np.bincount(places, minlength=paid.size).reshape(shape), paid.astype(float).reshape(shape)


def best_of(values: Float[np.ndarray, "batch action"]) -> Float[np.ndarray, "batch action"]:
    """Return the distribution that is uniform over the greatest values. [batch, action]"""
    best = values == values.max(axis=1, keepdims=True)
    return best / best.sum(axis=1, keepdims=True)
