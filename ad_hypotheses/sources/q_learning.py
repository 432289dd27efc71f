"""Tabular Q-learning and Dyna-Q, thousands of learners at once.

Watkins & Dayan 1992, "Q-learning"; Sutton 1990, "Integrated architectures for learning, planning, and reacting" (Dyna).
All learners of a chunk act in the same numpy call: the tables of a chunk are flat and small enough to stay in a core's
cache, and random numbers are drawn an episode at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.recording import Record, Recording
from ad_hypotheses.sources.replay import compiled
from ad_hypotheses.tasks import Facts, Task
from ad_hypotheses.tasks.task import check_range, from_episode, has_certain_ways, n_tasks_of

TIE_BREAK = 1e-4  # the greatest difference between initial values; without it every learner would try action 0 first
CACHE = 1 << 20  # bytes of tables a chunk of learners may hold: half of a usual second-level cache


@runtime_checkable
class _QSource(Protocol):
    """The hyper-parameters that both sources share."""

    @property
    def name(self) -> str: ...
    @property
    def alpha(self) -> float: ...
    @property
    def gamma(self) -> float: ...
    @property
    def initial_value(self) -> float: ...
    @property
    def epsilon_first(self) -> float: ...
    @property
    def epsilon_last(self) -> float: ...
    @property
    def anneal_episodes(self) -> int: ...


@dataclass(frozen=True)
class EpsilonGreedyQ:
    """Q-learning from an optimistic table, exploring with probability epsilon.

    Attributes:
        alpha: Step size of the update, in (0, 1].
        gamma: Discount, in [0, 1).
        initial_value: What untried actions are believed to be worth.
        epsilon_first: Probability of a random action in the first episode.
        epsilon_last: The same from episode `anneal_episodes` on; linear in between.
        anneal_episodes: How many episodes the annealing takes.
    """

    alpha: float = 0.5
    gamma: float = 0.9
    initial_value: float = 6.0
    epsilon_first: float = 0.5
    epsilon_last: float = 0.0
    anneal_episodes: int = 28

    name: ClassVar[str] = "epsilon-greedy-q"

    def __post_init__(self) -> None:
        """Refuse hyper-parameters out of range.

        Raises:
            ConfigError: One is.
        """
        _check(self)

    def live(self, task: Task, facts: Facts, episodes: int, rng: np.random.Generator, keep_every: int = 1) -> History:
        """Let one learner live on every task of `facts`; see :func:`live`."""
        return live(self, 0, task, facts, episodes, rng, keep_every)


@dataclass(frozen=True)
class DynaQ:
    """Q-learning that also replays, at every step, transitions that it remembers.

    Of an action it remembers where it led and what it paid last; where pay is random, what it paid on average, and it
    learns from that.

    Attributes:
        alpha: Step size of the update, in (0, 1]. A deterministic world allows 1.
        gamma: Discount, in [0, 1).
        initial_value: What untried actions are believed to be worth. Replay lowers what was tried without reward, so
            the greedy policy itself walks to the nearest untried action until a reward is found. The default lies just
            above what the centre of Dark Room is worth when the goal is in a corner (0.9^7 / (1 - 0.9) = 4.8), so that
            learners also look for a shorter way, and well below what the goal is worth (10), so that they soon stop.
        epsilon_first: Probability of a random action in the first episode.
        epsilon_last: The same from episode `anneal_episodes` on; linear in between.
        anneal_episodes: How many episodes the annealing takes.
        planning: How many remembered transitions are replayed at every step.
        bonus: What a replayed transition pays more, times the root of the steps since it was last tried: Dyna-Q+ of
            Sutton 1990, for worlds that change. It leads whoever lost what paid to what was not tried for longest; as
            long as all of it stays below a reward, it draws nobody away from what pays.
    """

    alpha: float = 1.0
    gamma: float = 0.9
    initial_value: float = 6.0
    epsilon_first: float = 0.5
    epsilon_last: float = 0.0
    anneal_episodes: int = 28
    planning: int = 40
    bonus: float = field(default=0.0, metadata={"off": 0.0})

    name: ClassVar[str] = "dyna-q"

    def __post_init__(self) -> None:
        """Refuse hyper-parameters out of range.

        Raises:
            ConfigError: One is.
        """
        _check(self)
        check_range(self.name, "planning", self.planning, 0)
        check_range(self.name, "bonus", self.bonus, 0)

    def require_fit(self, task: Task, episodes: int) -> None:
        """Refuse a task whose ways are random.

        Raises:
            ConfigError: They are: remembering one outcome of an action is not a model of it.
        """
        if not has_certain_ways(task):
            raise ConfigError(f"dyna-q remembers one outcome an action, but {task.name} is random; use another source.")

    def live(self, task: Task, facts: Facts, episodes: int, rng: np.random.Generator, keep_every: int = 1) -> History:
        """Let one learner live on every task of `facts`; see :func:`live`.

        Raises:
            ConfigError: Ways are random: remembering one outcome of an action is not a model of it.
        """
        self.require_fit(task, episodes)
        return live(self, self.planning, task, facts, episodes, rng, keep_every)


def live(
    source: _QSource,
    planning: int,
    task: Task,
    facts: Facts,
    episodes: int,
    rng: np.random.Generator,
    keep_every: int = 1,
) -> History:
    """Let one learner live on every task of `facts` and return what happened.

    Args:
        source: The hyper-parameters.
        planning: Replayed transitions a step.
        task: The distribution that the tasks are from.
        facts: One task a learner. [learner, ...]
        episodes: How many episodes each lives.
        rng: All randomness of the learners and of the world.
        keep_every: Keep episodes 0, k, 2k, ... of each life, renumbered 0, 1, 2, ...

    Returns:
        One history a learner, of `ceil(episodes / keep_every) * horizon` steps.
    """
    n_learners = n_tasks_of(facts)
    recording = Recording.of(task, n_learners, episodes, keep_every)
    table_bytes = task.n_states * task.n_actions * (16 if planning else 4)
    chunk = max(CACHE // table_bytes, 256)
    for first in range(0, n_learners, chunk):
        rows = slice(first, min(first + chunk, n_learners))
        part = {name: fact[rows] for name, fact in facts.items()}
        tables = _Tables(source, planning, task, rows.stop - rows.start, rng)
        for episode in range(episodes):
            now = from_episode(task, part, episode)
            _live_episode(tables, task, now, _epsilon(source, episode), rng, recording.episode(rows, episode))
    return recording.history(facts)


def _check(source: _QSource) -> None:
    if not 0 < source.alpha <= 1:
        raise ConfigError(f"{source.name}: alpha is {source.alpha}, but it must be above 0 and at most 1.")
    if not 0 <= source.gamma < 1:
        raise ConfigError(f"{source.name}: gamma is {source.gamma}, but it must be at least 0 and below 1.")
    check_range(source.name, "epsilon_first", source.epsilon_first, 0, 1)
    check_range(source.name, "epsilon_last", source.epsilon_last, 0, 1)
    check_range(source.name, "anneal_episodes", source.anneal_episodes, 0)


def _epsilon(source: _QSource, episode: int) -> float:
    progress = episode / source.anneal_episodes if episode < source.anneal_episodes else 1.0
    return source.epsilon_first + (source.epsilon_last - source.epsilon_first) * progress


def _live_episode(
    tables: _Tables, task: Task, facts: Facts, epsilon: float, rng: np.random.Generator, record: Record
) -> None:
    """Live one episode with every learner of a chunk, writing into `record` where the episode is kept."""
    shape = (task.horizon, tables.n_learners)
    explore = rng.random(shape, dtype=np.float32) < epsilon
    at_random = rng.integers(task.n_actions, size=shape, dtype=np.int8)
    state = task.reset(facts, rng)
    observations = task.observe(state)
    state_rows = tables.first_row + task.state_index(state)
    for step in range(task.horizon):
        actions = tables.greedy(state_rows)
        np.copyto(actions, at_random[step], where=explore[step])
        after, rewards, state = task.step(state, actions, rng)
        next_rows = tables.first_row + task.state_index(state)
        record(step, observations, actions, rewards)
        tables.learn(state_rows, actions, rewards, next_rows, rng)
        observations, state_rows = after, next_rows


class _Tables:
    """Action values and memories of a chunk of learners.

    A *row* is one learner's entry for one state; a *place* is an action at a row, `action * n_rows + row`. Values
    lie action by action, because the greatest of five rows is faster to find than the greatest within each of many.
    """

    def __init__(self, source: _QSource, planning: int, task: Task, n_learners: int, rng: np.random.Generator) -> None:
        self.n_learners, self.n_rows = n_learners, n_learners * task.n_states
        self.alpha, self.gamma = np.float32(source.alpha), np.float32(source.gamma)
        self.values = rng.random((task.n_actions, self.n_rows), dtype=np.float32) * np.float32(-TIE_BREAK)
        self.values += np.float32(source.initial_value)
        self.value_at = self.values.reshape(-1)
        self.first_row = np.arange(n_learners) * task.n_states
        self.action_numbers = np.arange(task.n_actions, dtype=np.int8)[:, None]
        self.candidates = np.empty((task.n_actions, n_learners), dtype=np.float32)
        bonus = source.bonus if isinstance(source, DynaQ) else 0.0
        n_places, average = task.n_states * task.n_actions, not task.deterministic
        self.memory = _Memory(planning, n_learners, n_places, bonus, average) if planning else None

    def best(self, rows: np.ndarray) -> np.ndarray:
        # `clip` spares a bounds check and the buffer that comes with it; the rows are ours, so always in range
        self.values.take(rows, axis=1, out=self.candidates, mode="clip")
        return self.candidates.max(axis=0)

    def greedy(self, rows: Int[np.ndarray, " learner"]) -> Int[np.ndarray, " learner"]:
        """Return the best action; of exact ties, the last, so that learners who know the way walk it alike."""
        best = self.best(rows)
        return ((self.candidates == best).view(np.int8) * self.action_numbers).max(axis=0)

    def back_up(self, places: Any, rewards: Any, next_rows: Any) -> None:
        """Move the values at `places` towards the reward plus the discounted best next value."""
        target = self.best(next_rows)
        target *= self.gamma
        target += rewards
        if self.alpha != 1:
            old = self.value_at.take(places, mode="clip")
            target -= old
            target *= self.alpha
            target += old
        self.value_at[places] = target

    def learn(self, rows: Any, actions: Any, rewards: Any, next_rows: Any, rng: np.random.Generator) -> None:
        """Learn from a step just taken, then from remembered ones."""
        places = actions * np.intp(self.n_rows) + rows
        if self.memory is not None:
            rewards = self.memory.keep(places, rewards, next_rows)
        self.back_up(places, rewards, next_rows)
        if self.memory is not None:
            self.plan(self.memory, rng)

    def plan(self, memory: _Memory, rng: np.random.Generator) -> None:
        """Replay remembered transitions, one after the other."""
        chances, rewards = memory.chances(rng), memory.replayed_rewards()
        loop = compiled(chances.size)
        if loop is not None:
            loop(self.values, chances, memory.n_tried, memory.tried, memory.first, rewards, memory.next_row,
                 self.gamma, self.alpha)  # fmt: skip
            return
        for remembered in zip(*memory.draw(chances, rewards), strict=True):
            self.back_up(*remembered)


class _Memory:
    """Every transition that each learner has tried, once, with its latest pay, or with the average of all."""

    def __init__(
        self, planning: int, n_learners: int, n_places: int, bonus: float = 0.0, average: bool = False
    ) -> None:
        self.planning, self.n_learners, self.bonus = planning, n_learners, np.float32(bonus)
        self.now, self.last_tried = np.float32(0), np.zeros(n_learners * n_places if bonus else 0, dtype=np.float32)
        self.next_row = np.full(n_learners * n_places, -1, dtype=np.int32)
        self.reward = np.zeros(n_learners * n_places, dtype=np.float32)
        self.tried = np.zeros(n_learners * n_places, dtype=np.int32)
        self.n_tried = np.zeros(n_learners, dtype=np.int32)
        self.first = np.arange(n_learners) * n_places
        self.times = np.zeros(n_learners * n_places if average else 0, dtype=np.int32)

    def keep(self, places: Any, rewards: Any, next_rows: Any) -> Any:
        """Remember a transition of every learner, and return what it is now known to pay."""
        if self.times.size:
            self.times[places] += 1
            rewards = self.reward[places] + (rewards - self.reward[places]) / self.times[places]
        fresh = np.flatnonzero(self.next_row.take(places, mode="clip") < 0)
        self.next_row[places] = next_rows
        self.reward[places] = rewards
        self.tried[self.first[fresh] + self.n_tried[fresh]] = places[fresh]
        self.n_tried[fresh] += 1
        if self.bonus:
            self.now += np.float32(1)
            self.last_tried[places] = self.now
        return rewards

    def replayed_rewards(self) -> Float[np.ndarray, " place"]:
        """Return what each transition pays when it is replayed: what it paid last, and the bonus of its age."""
        return self.reward + self.bonus * np.sqrt(self.now - self.last_tried) if self.bonus else self.reward

    def chances(self, rng: np.random.Generator) -> Float[np.ndarray, "draw learner"]:
        """Draw what decides which transitions are replayed, `planning` times for every learner. [draw, learner]"""
        return rng.random((self.planning, self.n_learners), dtype=np.float32)

    def draw(
        self, chances: Float[np.ndarray, "draw learner"], rewards: Float[np.ndarray, " place"]
    ) -> tuple[Any, Any, Any]:
        """Draw transitions of every learner, uniformly among those it has tried; `rewards` is what each place pays.

        Returns:
            Places, rewards and rows that they led to. [draw, learner] each; nothing is remembered while they are
            replayed, so all are looked up at once.
        """
        chances *= self.n_tried
        # float32 can round the greatest chance up to the count itself
        picks = np.minimum(chances.astype(np.intp), self.n_tried - 1)
        picks += self.first
        places = self.tried.take(picks, mode="clip").astype(np.intp)
        return places, rewards.take(places, mode="clip"), self.next_row.take(places, mode="clip").astype(np.intp)
