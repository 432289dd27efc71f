"""Worlds that answer as those of a task do, but for one thing; facts of their own say what, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.tasks.play import begin
from ad_hypotheses.tasks.task import Facts, Task

Step = tuple[Int[np.ndarray, "batch channel"], Float[np.ndarray, " batch"], Any]


@dataclass(frozen=True)
class ChangedWorld:
    """A world that is that of `task` in everything that a subclass does not change."""

    task: Task

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)


class Unpaid(ChangedWorld):
    """Nothing pays; everything else is as ever."""

    def step(self, state: Any, actions: Int[np.ndarray, " batch"], rng: np.random.Generator) -> Step:
        """Let every agent act, for nothing."""
        seen, rewards, after = self.task.step(state, actions, rng)
        return seen, np.zeros_like(rewards), after


class TwoGoals(ChangedWorld):
    """A second place pays as the first does: the fact `second_goal` beside `goal`.

    Of families in which no way depends on the goal: both worlds take the same steps, and the better one pays.
    """

    def reset(self, facts: Facts, rng: np.random.Generator) -> Any:
        """Begin an episode."""
        first = self.task.reset(facts, rng)
        return first, begin(self.task, _second(facts), self.task.observe(first), rng)

    @property
    def reset_at(self) -> Any:
        """Begin an episode at a given observation; None where the family has no need of that."""
        inner = getattr(self.task, "reset_at", None)
        return None if inner is None else lambda facts, seen: (inner(facts, seen), inner(_second(facts), seen))

    def observe(self, state: Any) -> Int[np.ndarray, "batch channel"]:
        """Return what the agents see."""
        return self.task.observe(state[0])

    def step(self, state: Any, actions: Int[np.ndarray, " batch"], rng: np.random.Generator) -> Step:
        """Let every agent act and be paid at either place."""
        seen, rewards, first = self.task.step(state[0], actions, rng)
        same, second_rewards, second = self.task.step(state[1], actions, rng)
        assert np.array_equal(seen, same), "the ways of this family depend on the goal"
        return seen, np.maximum(rewards, second_rewards), (first, second)

    def state_index(self, state: Any) -> Int[np.ndarray, " batch"]:
        """Return the numbers of the states, as of a world in which the first goal is the only one."""
        return self.task.state_index(state[0])


class ExchangedActions(ChangedWorld):
    """Two actions do what the other one does: the fact `exchanged`, `[row, 2]`."""

    def reset(self, facts: Facts, rng: np.random.Generator) -> Any:
        """Begin an episode."""
        return np.asarray(facts["exchanged"]), self.task.reset(facts, rng)

    @property
    def reset_at(self) -> Any:
        """Begin an episode at a given observation; None where the family has no need of that."""
        inner = getattr(self.task, "reset_at", None)
        return None if inner is None else lambda facts, seen: (np.asarray(facts["exchanged"]), inner(facts, seen))

    def observe(self, state: Any) -> Int[np.ndarray, "batch channel"]:
        """Return what the agents see."""
        return self.task.observe(state[1])

    def step(self, state: Any, actions: Int[np.ndarray, " batch"], rng: np.random.Generator) -> Step:
        """Let every agent act by the exchanged names."""
        exchanged, inner = state
        seen, rewards, after = self.task.step(inner, exchange(actions[:, None], exchanged)[:, 0], rng)
        return seen, rewards, (exchanged, after)

    def state_index(self, state: Any) -> Int[np.ndarray, " batch"]:
        """Return the numbers of the states."""
        return self.task.state_index(state[1])

    def expert(self, state: Any) -> Float[np.ndarray, "batch action"]:
        """Return the best actions by their exchanged names."""
        exchanged, inner = state
        names = np.tile(np.arange(self.task.n_actions), (len(exchanged), 1))
        return np.take_along_axis(self.task.expert(inner), exchange(names, exchanged), axis=1)


def exchange(
    actions: Int[np.ndarray, "batch step"], pairs: Int[np.ndarray, "batch 2"]
) -> Int[np.ndarray, "batch step"]:
    """Return actions with those of a pair in place of each other. [batch, step]

    Args:
        actions: What was done. [batch, step]
        pairs: Two actions for each row. [batch, 2]
    """
    first, second = pairs[:, :1].astype(actions.dtype), pairs[:, 1:].astype(actions.dtype)
    return np.where(actions == first, second, np.where(actions == second, first, actions))


def _second(facts: Facts) -> Facts:
    """The facts of the world in which the second goal is the only one."""
    return {**facts, "goal": facts["second_goal"]}
