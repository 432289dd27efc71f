"""The rung of exact belief at bandits whose arms drift: a filter of each arm's mean, from pull to pull."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ad_hypotheses.tasks import BernoulliBandit, GaussianBandit

POINTS = 256  # of a probability


class DriftingChances:
    """The density of the probability with which each arm pays, on a grid.

    Attributes:
        density: [row, arm, point]
    """

    def __init__(self, task: BernoulliBandit, n_rows: int) -> None:
        self.points = (np.arange(POINTS) + 0.5) / POINTS
        self.density: Float[np.ndarray, "row arm point"] = np.full((n_rows, task.arms, POINTS), 1 / POINTS)
        # a step that would leave 0 .. 1 turns back: it ends where that from the mirrored point does
        mirrored = np.stack([self.points, -self.points, 2 - self.points])
        steps = np.exp(-((self.points - mirrored[..., None]) ** 2) / (2 * task.drift**2)).sum(axis=0)
        self.steps = steps / steps.sum(axis=1, keepdims=True)

    def pull(self, actions: np.ndarray, rewards: np.ndarray) -> None:
        """Take in a pull of every row, and let all arms drift."""
        rows = np.arange(len(actions))
        paid = (rewards > 0)[:, None]
        pulled = self.density[rows, actions] * np.where(paid, self.points, 1 - self.points)
        self.density[rows, actions] = pulled / pulled.sum(axis=1, keepdims=True)
        self.density = self.density @ self.steps

    def densities(self) -> Float[np.ndarray, "row arm point"]:
        """Return the densities on a grid that all arms share."""
        return self.density


class DriftingMeans:
    """The Gaussian posterior of each arm's mean, as if pay were not rounded: a Kalman filter.

    Attributes:
        mean: [row, arm]
        variance: [row, arm]
    """

    def __init__(self, task: GaussianBandit, n_rows: int) -> None:
        self.task = task
        self.mean = np.zeros((n_rows, task.arms))
        self.variance = np.full((n_rows, task.arms), task.spread**2)

    def pull(self, actions: np.ndarray, rewards: np.ndarray) -> None:
        """Take in a pull of every row, and let all arms drift."""
        rows = np.arange(len(actions))
        gain = self.variance[rows, actions] / (self.variance[rows, actions] + self.task.noise**2)
        self.mean[rows, actions] += gain * (rewards - self.mean[rows, actions])
        self.variance[rows, actions] *= 1 - gain
        self.variance += self.task.drift**2

    def densities(self) -> Float[np.ndarray, "row arm point"]:
        """Return the densities on a grid that all arms share."""
        points = np.linspace(*self.task.possible_means, POINTS)
        log = -((points - self.mean[..., None]) ** 2) / (2 * self.variance[..., None])
        raised = np.exp(log - log.max(axis=-1, keepdims=True))
        return raised / raised.sum(axis=-1, keepdims=True)


def drifting_arms(task: BernoulliBandit | GaussianBandit, n_rows: int) -> DriftingChances | DriftingMeans:
    """Return what is believed of drifting arms before the first pull."""
    return DriftingChances(task, n_rows) if isinstance(task, BernoulliBandit) else DriftingMeans(task, n_rows)
