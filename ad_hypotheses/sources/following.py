"""Q-learners that follow a life which they did not choose, and learn from it as from their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.sources.q_learning import DynaQ, EpsilonGreedyQ, _epsilon, _live_episode, _Tables
from ad_hypotheses.tasks import Facts, Task
from ad_hypotheses.tasks.play import begin


class Follower:
    """Q-learners in the middle of lives that somebody else lives, one a row.

    They draw what `source.live` draws, in its order: on its own lives, with its generator, a follower is the learner
    that lived them, step by step.
    """

    def __init__(self, source: EpsilonGreedyQ | DynaQ, task: Task, n_learners: int, rng: np.random.Generator) -> None:
        planning = source.planning if isinstance(source, DynaQ) else 0
        self.source, self.task, self.n_learners, self.rng = source, task, n_learners, rng
        self.tables = _Tables(source, planning, task, n_learners, rng)

    def live(self, world: Any, facts: Facts, number: int) -> None:
        """Live an episode by themselves, the `number`-th of their lives."""
        epsilon = _epsilon(self.source, number)
        _live_episode(self.tables, world, facts, epsilon, self.rng, lambda step, observations, actions, rewards: None)

    def begin(self, world: Any, facts: Facts, seen: Int[np.ndarray, "learner channel"], number: int) -> None:
        """Begin an episode that is shown to them, where it began: their `number`-th."""
        shape = (self.task.horizon, self.n_learners)
        self.rng.random(shape, dtype=np.float32)  # when they would have explored, and what they would have done then
        self.rng.integers(self.task.n_actions, size=shape, dtype=np.int8)
        self.world, self.epsilon = world, np.float32(_epsilon(self.source, number))
        state = world.reset(facts, self.rng)
        self.state = state if getattr(world, "reset_at", None) is None else begin(world, facts, seen, self.rng)

    @property
    def seen(self) -> Int[np.ndarray, "learner channel"]:
        """What the world shows them now. [learner, channel]"""
        return np.asarray(self.world.observe(self.state))

    def policy(self) -> Float[np.ndarray, "learner action"]:
        """Return the distribution of what they would do now. [learner, action]"""
        n_actions = self.task.n_actions
        greedy = np.eye(n_actions, dtype=np.float32)[self.tables.greedy(self._rows())]
        return (1 - self.epsilon) * greedy + self.epsilon / np.float32(n_actions)

    def learn(self, actions: Int[np.ndarray, " learner"], rewards: Float[np.ndarray, " learner"]) -> None:
        """See what was done and paid instead, and learn from it."""
        rows = self._rows()
        _, _, self.state = self.world.step(self.state, actions, self.rng)
        self.tables.learn(rows, actions, rewards.astype(np.float32), self._rows(), self.rng)

    def _rows(self) -> Int[np.ndarray, " learner"]:
        return np.asarray(self.tables.first_row + self.world.state_index(self.state))
