"""The rung of exact belief: the posterior over tasks, and the best action averaged over it.

Rooms: over the cells that may pay. Bandits: over the arms' means (Beta or Gaussian), the chance that an arm is best.
Graphs: over unknown ways and the goal, by samples that agree with everything seen, each planned in to the end of the
episode; that some drawn graphs are not connected is not taken into account.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.ladder.drifting import DriftingChances, DriftingMeans, drifting_arms
from ad_hypotheses.ladder.novice import Novice
from ad_hypotheses.ladder.places import RoomPlaces, places_lack
from ad_hypotheses.ladder.rung import Background, Begin, Learner, Rung, Sight
from ad_hypotheses.tasks import BernoulliBandit, DarkRoom, GaussianBandit, GraphWorld
from ad_hypotheses.tasks.options.moving_goal import GoalFilter
from ad_hypotheses.tasks.planning import SAME, optimal_value
from ad_hypotheses.tasks.room import UNKNOWN, Room

ERROR = 1e-3  # chance that a pay is not what the task says: without it, a place that stops paying is impossible
EVIDENCE = np.log((1 - ERROR) / ERROR)  # of one pay, or of none, at a cell
GRID = 512  # points at which densities of means are compared
SAMPLES = 16  # graphs that are drawn from the belief over them
WIDEST = 6.0  # standard deviations of the prior that the grid of a Gaussian reaches


class RoomBelief:
    """Walk to the cells that may pay, each by its probability."""

    def __init__(self, novice: Novice, room: Room, n_rows: int) -> None:
        self.novice, self.places = novice, RoomPlaces(room, n_rows)

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Take in the last step; where nothing pays any more, do as a novice does."""
        places = self.places
        places.update(sight)
        way = places.mean_way(self.posterior())
        novice = self.novice.policy(sight.observations, sight.actions)
        return np.where(places.done[:, None], novice, way)

    def posterior(self) -> Float[np.ndarray, "row cell"]:
        """Return the probability of each cell to be the place that pays next."""
        places = self.places
        paid, empty = (counts[places.rows, places.wanted].astype(float) for counts in (places.rewards, places.empty))
        score = EVIDENCE * (paid - empty)
        raised = np.exp(score - score.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)


class UncertainGoalBelief:
    """Walk to the cells that may pay, each by its probability, where the goal may jump, or pay by chance."""

    def __init__(self, room: DarkRoom, n_rows: int) -> None:
        self.places = RoomPlaces(room, n_rows)
        self.filter = GoalFilter(n_rows, room.square.n_cells, room.goal_moves, room.pays, ERROR)

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Take in the last step."""
        self.places.update(sight)
        if not sight.begins:
            self.filter.arrive(self.places.state, sight.rewards > 0)
        elif sight.step:
            self.filter.begin_episode()
        return self.places.mean_way(self.filter.chance)


@dataclass
class ArmBelief:
    """Pull each arm with the probability that it is the best one, which is what Thompson sampling does on average.

    Attributes:
        task: The bandit.
        prior: Chance of each arm to be the best before anything was seen, as a multiple of equal chances. [arm]
        pulls: [row, arm]
        paid: [row, arm]
    """

    task: BernoulliBandit | GaussianBandit
    prior: Float[np.ndarray, " arm"]
    pulls: Float[np.ndarray, "row arm"]
    paid: Float[np.ndarray, "row arm"]

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Count the last pull."""
        if sight.step:
            rows = np.arange(len(self.pulls))
            self.pulls[rows, sight.actions] += 1
            self.paid[rows, sight.actions] += sight.rewards
        best = best_arm(density(self.task, self.pulls, self.paid)) * self.prior
        return best / best.sum(axis=1, keepdims=True)


@dataclass
class DriftingArmBelief:
    """Pull each arm with the probability that it is the best one now, where arms drift.

    Attributes:
        arms: What is believed of each.
    """

    arms: DriftingChances | DriftingMeans

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Take in the last pull."""
        if sight.step:
            self.arms.pull(sight.actions, sight.rewards)
        return best_arm(self.arms.densities())


def density(
    task: BernoulliBandit | GaussianBandit, pulls: Float[np.ndarray, "row arm"], paid: Float[np.ndarray, "row arm"]
) -> Float[np.ndarray, "row arm point"]:
    """Return the posterior of each arm's mean at the points of a grid, ascending, summing to 1."""
    if isinstance(task, BernoulliBandit):
        points = (np.arange(GRID) + 0.5) / GRID
        log = paid[..., None] * np.log(points) + (pulls - paid)[..., None] * np.log1p(-points)
    else:
        points = np.linspace(-WIDEST, WIDEST, GRID) * task.spread
        variance = 1 / (1 / task.spread**2 + pulls / task.noise**2)
        mean = paid * variance / task.noise**2
        log = -((points - mean[..., None]) ** 2) / (2 * variance[..., None])
    raised = np.exp(log - log.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def best_arm(densities: Float[np.ndarray, "row arm point"]) -> Float[np.ndarray, "row arm"]:
    """Return the probability of each arm to have the greatest mean, of independent densities on the same grid."""
    below = np.cumsum(densities, axis=-1) - densities / 2  # in the middle of a point's share
    log_below = np.log(np.maximum(below, 1e-300))
    others = np.exp(log_below.sum(axis=1, keepdims=True) - log_below)
    best = (densities * others).sum(axis=-1)
    return best / best.sum(axis=1, keepdims=True)


class GraphBelief:
    """Plan in graphs that agree with all that was seen, and do what is best in most of them.

    Ways are drawn anew where one becomes known, each unknown one uniformly among the states that no other way of its
    state leads to.

    Attributes:
        known: Where each way led, -1 for untried ones. [row, state, action]
        score: Evidence for each state to be the goal. [row, state]
    """

    def __init__(self, task: GraphWorld, n_rows: int, rng: np.random.Generator) -> None:
        self.task, self.n_rows = task, n_rows
        shape = (n_rows, SAMPLES, task.states, task.states)
        self.order = rng.random(shape, dtype=np.float32)  # of the states that an unknown way may lead to
        self.order[..., np.arange(task.states), np.arange(task.states)] = 2.0  # none leads to where it begins
        self.quantile = rng.random((n_rows, SAMPLES))
        self.known = np.full((n_rows, task.states, task.actions), UNKNOWN)
        self.drawn = np.empty((n_rows, SAMPLES, task.states, task.actions), dtype=np.intp)
        self.score = np.zeros((n_rows, task.states))
        self.rows = np.arange(n_rows)
        self.state, self.left = np.zeros(n_rows, dtype=np.intp), task.horizon
        self._draw(self.rows)

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Take in the last way, and plan to the end of the episode in every sample."""
        before, self.state = self.state, sight.observations[:, 0].astype(np.intp)
        self.left = self.task.horizon if sight.begins else self.left - 1
        if not sight.begins:
            fresh = np.flatnonzero(self.known[self.rows, before, sight.actions] != self.state)
            self.known[self.rows, before, sight.actions] = self.state
            self.score[self.rows, self.state] += np.where(sight.rewards > 0, EVIDENCE, -EVIDENCE)
            self._draw(fresh)
        following = self.drawn.reshape(-1, *self.drawn.shape[2:])
        pay = (following == self._goals().reshape(-1, 1, 1)).astype(np.float32)
        later = optimal_value(following, pay, self.left - 1)
        at, samples = np.repeat(self.state, SAMPLES), np.arange(len(following))
        worth = pay[samples, at] + later[samples[:, None], following[samples, at]]
        best = worth >= worth.max(axis=1, keepdims=True) - SAME
        return (best / best.sum(axis=1, keepdims=True)).reshape(self.n_rows, SAMPLES, -1).mean(axis=1)

    def _goals(self) -> Int[np.ndarray, "row sample"]:
        """Draw the goal of each sample, by the same chance at every step."""
        raised = np.exp(self.score - self.score.max(axis=1, keepdims=True))
        heaped = np.cumsum(raised, axis=1) / raised.sum(axis=1, keepdims=True)
        return (heaped[:, None] <= self.quantile[..., None]).sum(axis=2).clip(max=self.task.states - 1)

    def _draw(self, rows: Int[np.ndarray, " changed"]) -> None:
        """Complete the ways of some rows."""
        order, known = self.order[rows].copy(), self.known[rows]
        number, state, action = np.nonzero(known != UNKNOWN)
        order[number, :, state, known[number, state, action]] = 2.0
        for choice in range(self.task.actions):
            pick = order.argmin(axis=-1)
            unknown = (known[..., choice] == UNKNOWN)[:, None]
            self.drawn[rows, :, :, choice] = np.where(unknown, pick, known[:, None, :, choice])
            taken = np.broadcast_to(unknown[..., None], order.shape) & (np.arange(order.shape[-1]) == pick[..., None])
            order[taken] = 2.0


def _lacks(background: Background) -> str:
    task = background.task
    if getattr(task, "drift", 0) and background.episodes > 1:
        return "in a second episode arms drift as in the first, which is not written down"
    if isinstance(task, BernoulliBandit | GaussianBandit | GraphWorld):
        return ""
    if isinstance(task, DarkRoom) and task.amounts:
        return "the posterior over its tasks is not written down"
    return places_lack(task) if isinstance(task, Room) else "the posterior over its tasks is not written down"


def _fit(background: Background) -> Begin:
    task = background.task

    def begin(spans: object, n_rows: int, rng: np.random.Generator) -> Learner:
        if isinstance(task, DarkRoom) and (task.goal_moves or task.pays < 1):
            return UncertainGoalBelief(task, n_rows)
        if isinstance(task, Room):
            return RoomBelief(background.novice, task, n_rows)
        if isinstance(task, GraphWorld):
            return GraphBelief(task, n_rows, rng)
        assert isinstance(task, BernoulliBandit | GaussianBandit)
        if task.drift:
            return DriftingArmBelief(drifting_arms(task, n_rows))
        return ArmBelief(task, best_arm_prior(task), *np.zeros((2, n_rows, task.arms)))

    return begin


def best_arm_prior(task: BernoulliBandit | GaussianBandit) -> Float[np.ndarray, " arm"]:
    """Return how likely each arm is the best where one trains, as a multiple of equal chances.

    Given which arm is the best, the means of an adversarial bandit are distributed as those of a fair one.
    """
    if not isinstance(task, BernoulliBandit) or not task.adversarial:
        return np.ones(task.arms)
    odd = np.arange(task.arms) % 2 == 1
    return task.arms * np.where(odd, task.bias / odd.sum(), (1 - task.bias) / (~odd).sum())


RUNGS = (
    Rung("belief", 7, "knows the exact posterior over tasks, and does what is best, averaged over it",
         "nothing that matters", _fit, _lacks, rows_at_once=64),
)  # fmt: skip
