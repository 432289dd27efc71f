"""Policies to measure an in-context learner against, most of them without anything learned.

Each function takes the task and returns a policy for :func:`ad_hypotheses.tasks.play.play`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.bandit import BernoulliBandit
from ad_hypotheses.tasks.dark_room import DarkRoom
from ad_hypotheses.tasks.play import Policy, draw
from ad_hypotheses.tasks.task import Task


def baselines(task: Task, rng: np.random.Generator) -> dict[str, Policy]:
    """Return every baseline that fits `task`, by name.

    Args:
        task: The family to be played.
        rng: What the baselines that sample a belief (Thompson) draw from.
    """
    if isinstance(task, DarkRoom):
        return {
            "random": uniform(task),
            "optimal": optimal(task),
            "gate-and-walk": gate_and_walk(task),
            "nearest-unvisited": nearest_unvisited(task),
            "thompson-over-goals": thompson_over_goals(task, rng),
        }
    assert isinstance(task, BernoulliBandit), f"no baselines are known for {task.name}"
    return {"random": uniform(task), "optimal": best_arm(task), "ucb1": ucb1(task), "thompson": thompson(task, rng)}


def uniform(task: Task) -> Policy:
    """Do anything, always."""
    return lambda history: np.full((history.n_rows, task.n_actions), 1 / task.n_actions)


def optimal(room: DarkRoom) -> Policy:
    """Walk straight to the goal, which no honest policy knows, and stay."""
    return lambda history: room.walk(history.observations[:, -1], history.task["goal"])


def gate_and_walk(room: DarkRoom, window: int = 60) -> Policy:
    """Do anything until a reward is visible in the last `window` steps, then walk there and stay.

    The null that improves within its context without learning anything but a place.
    """

    def policy(history: History) -> np.ndarray:
        # the step before the window comes along, since a token shows the reward before it
        goal = history.window(-(window + 1)).last_rewarded_cell()[:, -1]
        known = (goal >= 0).all(axis=1, keepdims=True)
        return np.where(known, room.walk(history.observations[:, -1], goal), 1 / room.n_actions)

    return policy


def nearest_unvisited(room: DarkRoom) -> Policy:
    """Walk to the nearest cell not known to be empty until a reward is visible, then to where it was."""
    distance = _distances(room)
    position = room.tasks()["goal"]
    beliefs = _Beliefs(room)

    def policy(history: History) -> np.ndarray:
        beliefs.update(history)
        away = np.where(beliefs.possible, distance[_cells(room, history.observations[:, -1])], np.inf)
        return beliefs.walk(history, position[away.argmin(axis=1)])

    return policy


def thompson_over_goals(room: DarkRoom, rng: np.random.Generator) -> Policy:
    """Sample one of the cells that may be the goal, walk there; sample again at an episode's start or once refuted."""
    position = room.tasks()["goal"]
    beliefs = _Beliefs(room)
    target = np.zeros(0, dtype=np.intp)

    def policy(history: History) -> np.ndarray:
        nonlocal target
        beliefs.update(history)
        sampled = draw(beliefs.possible / beliefs.possible.sum(axis=1, keepdims=True), rng)
        if history.n_steps == 1:
            target = sampled
        again = history.episode_start[:, -1] | ~beliefs.possible[np.arange(history.n_rows), target]
        target = np.where(again, sampled, target)
        return beliefs.walk(history, position[target])

    return policy


def best_arm(bandit: BernoulliBandit) -> Policy:
    """Pull the arm of the highest mean, which no honest policy knows."""
    return lambda history: np.eye(bandit.arms)[history.task["means"].argmax(axis=1)]


def ucb1(bandit: BernoulliBandit) -> Policy:
    """Pull the arm of the greatest upper confidence bound, any of the greatest if several are."""

    def policy(history: History) -> np.ndarray:
        index = ucb1_index(*pulls_and_wins(history))
        greatest = index == index.max(axis=1, keepdims=True)
        return greatest / greatest.sum(axis=1, keepdims=True)

    return policy


def thompson(bandit: BernoulliBandit, rng: np.random.Generator) -> Policy:
    """Sample each arm's mean from its Beta posterior and pull the arm whose sample is highest.

    Thompson 1933, with a uniform prior.
    """

    def policy(history: History) -> np.ndarray:
        pulls, wins = pulls_and_wins(history)
        return np.eye(bandit.arms)[rng.beta(1 + wins, 1 + pulls - wins).argmax(axis=1)]

    return policy


def ucb1_index(
    pulls: Int[np.ndarray, "batch arm"], wins: Float[np.ndarray, "batch arm"]
) -> Float[np.ndarray, "batch arm"]:
    """Return UCB1's index of every arm, infinite for one never pulled. [batch, arm]

    Auer, Cesa-Bianchi & Fischer 2002, "Finite-time analysis of the multiarmed bandit problem", figure 1.
    """
    total = np.maximum(pulls.sum(axis=1, keepdims=True), 1)
    tried = np.maximum(pulls, 1)
    return np.where(pulls > 0, wins / tried + np.sqrt(2 * np.log(total) / tried), np.inf)


def pulls_and_wins(history: History) -> tuple[Int[np.ndarray, "batch arm"], Float[np.ndarray, "batch arm"]]:
    """Return how often each arm was pulled before the last step, and what it has paid. [batch, arm] each"""
    pulled = history.actions[:, None, :-1] == np.arange(history.n_actions)[:, None]
    return pulled.sum(axis=2), (pulled * history.rewards[:, None, :-1]).sum(axis=2, dtype=float)


class _Beliefs:
    """What has been seen of the goal, brought up to date a step at a time: looking at all steps anew is quadratic.

    A cell is empty once a step arrived there and paid nothing. The start of an episode shows nothing of its cell.
    """

    def __init__(self, room: DarkRoom) -> None:
        self.room = room

    def update(self, history: History) -> None:
        """Take in the last token; a history of one step begins a new life."""
        if history.n_steps == 1:
            self.possible = np.ones((history.n_rows, self.room.n_tasks), dtype=bool)
            self.goal = np.full((history.n_rows, 2), -1, dtype=np.int8)
            return
        here = history.observations[:, -1]
        arrived = history.episode[:, -1] == history.episode[:, -2]
        paid = history.rewards[:, -2] > 0
        rows = np.flatnonzero(arrived & ~paid)
        self.possible[rows, _cells(self.room, here[rows])] = False
        self.goal = np.where((arrived & paid)[:, None], here, self.goal)

    def walk(self, history: History, search: Int[np.ndarray, "batch 2"]) -> Float[np.ndarray, "batch action"]:
        """Return the way to the goal where it is known, to `search` where not."""
        known = (self.goal >= 0).all(axis=1, keepdims=True)
        return self.room.walk(history.observations[:, -1], np.where(known, self.goal, search))


def _cells(room: DarkRoom, position: Int[np.ndarray, "batch 2"]) -> Int[np.ndarray, " batch"]:
    return position[:, 0].astype(np.intp) * room.size + position[:, 1]


def _distances(room: DarkRoom) -> Float[np.ndarray, "cell cell"]:
    position = room.tasks()["goal"].astype(float)
    return np.abs(position[:, None] - position).sum(axis=2)
