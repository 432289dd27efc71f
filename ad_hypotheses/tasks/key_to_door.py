"""Dark Key-to-Door: find a cell with a key, then the cell of the door that it opens, seeing only where you stand.

Laskin et al. 2022, "In-context Reinforcement Learning with Algorithm Distillation" (arXiv 2210.14215), section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.errors import ConfigError, did_you_mean
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.edits.catalogue import KEY_FAMILIES
from ad_hypotheses.tasks.edits.kinds import Kind
from ad_hypotheses.tasks.room import (
    ACTION_NAMES,
    MOVES,
    Square,
    gate_and_walk,
    last_paid_cell,
    nearest_unvisited,
    rewards_this_episode,
    thompson_over_goals,
    walk,
)
from ad_hypotheses.tasks.task import Facts, Policy, check_range, split_numbers

STARTS = ("random", "centre")


class KeyToDoorState(NamedTuple):
    """Where every agent of a batch stands, what it is looking for, and how far it has come in this episode.

    Attributes:
        cells: The agents' cells, `x * size + y`. [batch]
        keys: The cells of the keys. [batch]
        doors: The cells of the doors. [batch]
        held: Whether the agent has the key. [batch]
        done: Whether it has opened the door. [batch]
    """

    cells: Int[np.ndarray, " batch"]
    keys: Int[np.ndarray, " batch"]
    doors: Int[np.ndarray, " batch"]
    held: Bool[np.ndarray, " batch"]
    done: Bool[np.ndarray, " batch"]


@dataclass(frozen=True)
class KeyToDoor:
    """The distribution of Dark Key-to-Door tasks: one for every pair of cells, the same cell twice included.

    The moves are those of Dark Room. The first step of an episode that ends on the key pays 1, and so does the first
    later step that ends on the door: an episode is worth 2 at most, and no step pays both even where the key lies on
    the door. Whether the key is held cannot be seen, only remembered.

    Attributes:
        size: Cells a side, from 2 to 30.
        horizon: Steps an episode.
        start: Where an episode begins: "random", a cell drawn anew for each, or "centre".
    """

    size: int = 9
    horizon: int = 50
    start: str = "random"

    name: ClassVar[str] = "key-to-door"
    channels: ClassVar[tuple[str, ...]] = ("x", "y")
    n_actions: ClassVar[int] = len(MOVES)
    action_names: ClassVar[tuple[str, ...]] = ACTION_NAMES
    rewards: ClassVar[tuple[float, ...]] = (0.0, 1.0)
    deterministic: ClassVar[bool] = True
    n_hidden: ClassVar[int] = 2
    once: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a room that cannot be built.

        Raises:
            ConfigError: `size` or `horizon` is out of range, or there is no such `start`.
        """
        check_range(self.name, "size", self.size, 2, 30)
        check_range(self.name, "horizon", self.horizon, 1)
        if self.start not in STARTS:
            hint = did_you_mean(self.start, STARTS)
            raise ConfigError(f"{self.name}: start is {self.start!r}, but it must be random or centre.{hint}")

    @cached_property
    def square(self) -> Square:
        """The cells of a room."""
        return Square(self.size)

    @property
    def channel_sizes(self) -> tuple[int, ...]:
        """How many values each observation channel takes."""
        return (self.size, self.size)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are: one a pair of cells."""
        return self.square.n_cells**2

    @property
    def n_states(self) -> int:
        """How many states a room has: the cells without the key, with it, and once the door is open."""
        return 3 * self.square.n_cells

    def tasks(self) -> Facts:
        """Return all tasks, `{"key": [task, 2], "door": [task, 2]}`, ordered by key, then door."""
        return self._facts(np.arange(self.n_tasks))

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Facts:
        """Draw `n` tasks uniformly, with replacement."""
        return self._facts(rng.integers(self.n_tasks, size=n))

    def split(self, held_out: int, seed: int, train: int | None = None) -> tuple[Facts, Facts]:
        """Split the pairs of key and door at random into those to train on and those never seen.

        Args:
            held_out: How many pairs to hold out. A given seed holds out the same however many are trained on.
            seed: Decides which.
            train: How many of the others to train on; all by default.

        Returns:
            Facts of the training tasks and of the held-out tasks, without overlap.

        Raises:
            ConfigError: There are not that many pairs.
        """
        there_are = f"a room of {self.size} x {self.size} has {self.n_tasks} pairs of key and door"
        trained, hidden = split_numbers(self.name, self.n_tasks, held_out, seed, train, "pairs", there_are)
        return self._facts(trained), self._facts(hidden)

    def reset(self, facts: Facts, rng: np.random.Generator) -> KeyToDoorState:
        """Put every agent onto its first cell, without a key."""
        keys, doors = self.square.cells(facts["key"]), self.square.cells(facts["door"])
        if self.start == "random":
            cells = rng.integers(self.square.n_cells, size=len(keys))
        else:
            cells = np.repeat(self.square.cells(np.array([self.square.centre])), len(keys))
        return KeyToDoorState(cells, keys, doors, *np.zeros((2, len(keys)), dtype=bool))

    def reset_at(self, facts: Facts, seen: Int[np.ndarray, "batch channel"]) -> KeyToDoorState:
        """Put every agent onto a cell `(x, y)` where an episode began before, without a key."""
        keys, doors = self.square.cells(facts["key"]), self.square.cells(facts["door"])
        return KeyToDoorState(self.square.cells(seen), keys, doors, *np.zeros((2, len(keys)), dtype=bool))

    def observe(self, state: KeyToDoorState) -> Int[np.ndarray, "batch channel"]:
        """Return the cells `(x, y)` where the agents stand. [batch, 2]"""
        return self.square.positions(state.cells)

    def step(
        self, state: KeyToDoorState, actions: Int[np.ndarray, " batch"], rng: np.random.Generator | None = None
    ) -> tuple[Int[np.ndarray, "batch channel"], Float[np.ndarray, " batch"], KeyToDoorState]:
        """Let every agent act once.

        Args:
            state: From `reset` or the step before.
            actions: One for every agent, `0 .. 4`. [batch]
            rng: Not used: chance decides only where an episode begins.

        Returns:
            What the agents see next `[batch, 2]`, what they are paid `[batch]`, and the next state.
        """
        cells = self.square.move(state.cells, actions)
        takes = ~state.held & (cells == state.keys)
        opens = state.held & ~state.done & (cells == state.doors)
        after = state._replace(cells=cells, held=state.held | takes, done=state.done | opens)
        return self.observe(after), (takes | opens).astype(np.float32), after

    def state_index(self, state: KeyToDoorState) -> Int[np.ndarray, " batch"]:
        """Return the agents' cells, plus `size * size` for holding the key and again for an open door. [batch]"""
        return state.cells + self.square.n_cells * (state.held.astype(np.intp) + state.done)

    def expert(self, state: KeyToDoorState) -> Float[np.ndarray, "batch action"]:
        """Return the moves of whoever knows both places: to the key, to the door, then stay. [batch, action]"""
        target = np.where(state.done, state.cells, np.where(state.held, state.doors, state.keys))
        return walk(self.square.positions(state.cells), self.square.positions(target))

    def baselines(self, rng: np.random.Generator) -> Mapping[str, Policy]:
        """Return those that look for the key and the door and then walk there."""
        return {
            "gate-and-walk": gate_and_walk(self, window=3 * self.horizon),
            "nearest-unvisited": nearest_unvisited(self),
            "thompson-over-goals": thompson_over_goals(self, rng),
        }

    def counterfactuals(self) -> Mapping[str, Kind]:
        """Return the kinds of counterfactual of these rooms, the most telling first."""
        return KEY_FAMILIES

    def optimal_return(self, facts: Facts) -> Float[np.ndarray, " task"]:
        """Return what the shortest walk to the key and on to the door earns in an episode. [task]

        Exact, also where not every pair is within reach; the mean over all first cells where they are drawn.
        """
        key, door = (np.asarray(facts[name], dtype=int) for name in ("key", "door"))
        first = self.square.all_positions if self.start == "random" else np.array([self.square.centre])
        to_key = np.maximum(np.abs(key[:, None] - first).sum(axis=2), 1)
        to_door = np.maximum(np.abs(key - door).sum(axis=1, keepdims=True), 1)
        return (1.0 * (to_key <= self.horizon) + (to_key + to_door <= self.horizon)).mean(axis=1)

    def regimes(self, history: History) -> dict[str, Bool[np.ndarray, "batch step"]]:
        """Say what a step is about, judged by what is visible at it.

        Returns:
            *find key* and *fetch key*: nothing was paid in this episode, and no earlier one showed where the key is, or
            one did. *find door* and *fetch door*: the same with the key paid. *done*: both were paid.
            Every step is in exactly one. [batch, step]
        """
        paid = rewards_this_episode(history)
        key_known, door_known = ((last_paid_cell(history, number) >= 0).all(axis=-1) for number in (1, 2))
        return {
            "find key": (paid == 0) & ~key_known,
            "fetch key": (paid == 0) & key_known,
            "find door": (paid == 1) & ~door_known,
            "fetch door": (paid == 1) & door_known,
            "done": paid >= 2,
        }

    def _facts(self, numbers: np.ndarray) -> Facts:
        keys, doors = np.divmod(numbers, self.square.n_cells)
        return {"key": self.square.positions(keys), "door": self.square.positions(doors)}
