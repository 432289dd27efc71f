"""Rungs that take little notice of rewards, or none: frequencies, novice, reflex, habit and way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ad_hypotheses.ladder.novice import Novice, codes
from ad_hypotheses.ladder.rung import Background, Begin, Learner, Rung, Sight
from ad_hypotheses.tasks.task import Task

STAY = "stay"  # name of the action that goes nowhere, where there is one


@dataclass
class Chance:
    """Do anything, each action alike."""

    n_actions: int
    n_rows: int

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Look at nothing."""
        return np.full((self.n_rows, self.n_actions), 1 / self.n_actions)


class Frequencies:
    """Do what was done so far, each action by its share; at first, as often as the source does it."""

    def __init__(self, overall: Float[np.ndarray, " action"], n_rows: int) -> None:
        self.counts = np.tile(overall * len(overall), (n_rows, 1))

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Count the last action."""
        if sight.step:
            self.counts[np.arange(len(self.counts)), sight.actions] += 1
        return self.counts / self.counts.sum(axis=1, keepdims=True)


@dataclass
class NoviceLearner:
    """Do what the source does before it was ever paid."""

    novice: Novice

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Look at what is seen and at the last action."""
        return self.novice.policy(sight.observations, sight.actions)


@dataclass
class Reflex:
    """Stay where there was pay, or repeat what paid where nobody can stay; else do as a novice does."""

    novice: Novice
    task: Task

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Look at the last reward."""
        policy = self.novice.policy(sight.observations, sight.actions)
        names = self.task.action_names
        again = np.full_like(sight.actions, names.index(STAY)) if STAY in names else sight.actions
        return np.where((sight.rewards > 0)[:, None], np.eye(self.task.n_actions)[again], policy)


class Past:
    """What was seen and done at every earlier step, brought up to date a step at a time.

    Attributes:
        n_steps: Earlier steps.
        paid: Whether the episode of each of them has shown a reward. [row, step]
    """

    def __init__(self, n_rows: int, n_actions: int) -> None:
        self.n_actions, self.n_steps, self.first = n_actions, 0, 0
        self._cells = np.zeros((n_rows, 64), dtype=np.uint64)
        self._actions = np.zeros((n_rows, 64), dtype=np.int8)
        self._paid = np.zeros((n_rows, 64), dtype=bool)
        self._here = np.zeros(n_rows, dtype=np.uint64)
        self._pays = np.zeros(n_rows, dtype=bool)  # whether this episode has shown a reward

    def update(self, sight: Sight) -> None:
        """Take in the last action and its reward, and what is seen now."""
        if sight.step:
            if self.n_steps == self._cells.shape[1]:
                parts = (self._cells, self._actions, self._paid)
                self._cells, self._actions, self._paid = (np.concatenate([part, part], axis=1) for part in parts)
            self._cells[:, self.n_steps], self._actions[:, self.n_steps] = self._here, sight.actions
            self.n_steps += 1
            self._pays |= sight.rewards > 0
            self._paid[:, self.n_steps - 1] = False
            self._paid[:, self.first : self.n_steps] |= self._pays[:, None]
        if sight.begins:
            self.first, self._pays = self.n_steps, np.zeros_like(self._pays)
        self._here = codes(sight.observations)

    @property
    def paid(self) -> Bool[np.ndarray, "row step"]:
        return self._paid[:, : self.n_steps]

    def same_here(self) -> Bool[np.ndarray, "row step"]:
        """Return at which earlier steps the same was seen as now. [row, step]"""
        return np.asarray(self._cells[:, : self.n_steps] == self._here[:, None])

    def last_done(self, among: Bool[np.ndarray, "row step"]) -> Float[np.ndarray, "row action"]:
        """Return the action of the last of some steps, 1 for it and 0 else; all 0 where there is none."""
        if not self.n_steps:
            return np.zeros((len(among), self.n_actions))
        last = self.n_steps - 1 - among[:, ::-1].argmax(axis=1)
        rows = np.arange(len(among))
        return np.eye(self.n_actions)[self._actions[rows, last]] * among[rows, last][:, None]

    def share_done(self, among: Bool[np.ndarray, "row step"]) -> Float[np.ndarray, "row action"]:
        """Return the share of each action among some steps; all 0 where there is none."""
        done = self._actions[:, : self.n_steps]
        counts = np.stack([(among & (done == action)).sum(axis=1) for action in range(self.n_actions)], axis=1)
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


Recall = Callable[[Past], Float[np.ndarray, "row action"]]


@dataclass
class Habit:
    """Do what `recall` says was done here before; where nothing was, do as a novice does."""

    novice: Novice
    past: Past
    recall: Recall

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Remember the last step, and look up what was done where the same was seen."""
        self.past.update(sight)
        done = self.recall(self.past)
        known = done.sum(axis=1, keepdims=True) > 0
        return np.where(known, done, self.novice.policy(sight.observations, sight.actions))


def _chance(background: Background) -> Begin:
    return lambda spans, n_rows, rng: Chance(background.task.n_actions, n_rows)


def _frequencies(background: Background) -> Begin:
    overall = (np.bincount(background.lives.actions.ravel(), minlength=background.task.n_actions) + 1).astype(float)
    return lambda spans, n_rows, rng: Frequencies(overall / overall.sum(), n_rows)


def _novice(background: Background) -> Begin:
    return lambda spans, n_rows, rng: NoviceLearner(background.novice)


def _reflex(background: Background) -> Begin:
    return lambda spans, n_rows, rng: Reflex(background.novice, background.task)


def _habit(recall: Recall) -> Callable[[Background], Begin]:
    def fit(background: Background) -> Begin:
        def begin(spans: object, n_rows: int, rng: object) -> Learner:
            return Habit(background.novice, Past(n_rows, background.task.n_actions), recall)

        return begin

    return fit


RUNGS = (
    Rung("chance", 0, "does anything, each action alike", "everything", _chance, of_reward=False),
    Rung("frequencies", 0, "does what was done so far, each action by its share", "everything else", _frequencies,
         of_reward=False),
    Rung("novice", 1, "does what the source does in a cell after an action, before it was ever paid", "the past",
         _novice, of_reward=False),
    Rung("reflex", 2, "after pay stays, or repeats what paid; else a novice", "the past but one step", _reflex),
    Rung("habit", 3, "does what was done here last; where nothing was, a novice", "rewards",
         _habit(lambda past: past.last_done(past.same_here())), of_reward=False),
    Rung("habit-often", 3, "does what was done here, each action by its share; where nothing was, a novice", "rewards",
         _habit(lambda past: past.share_done(past.same_here())), of_reward=False),
    Rung("way", 3, "does what was done here last in an episode that paid; where nothing was, a novice",
         "ways that no episode went whole", _habit(lambda past: past.last_done(past.same_here() & past.paid)),
         of_reward=False),
)  # fmt: skip
