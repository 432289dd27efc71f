"""Rooms: squares of cells, what a history shows of their hidden places, and policies that have learned nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeGuard, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.play import draw
from ad_hypotheses.tasks.task import Policy

MOVES = np.array([[0, 0], [0, -1], [0, 1], [-1, 0], [1, 0]], dtype=np.int8)  # (dx, dy): stay, up, down, left, right
ACTION_NAMES = ("stay", "up", "down", "left", "right")


@dataclass(frozen=True)
class Square:
    """A walled square of cells. Cell `(x, y)` has the number `x * size + y`; `x` grows to the right, `y` downwards.

    Attributes:
        size: Cells a side.
    """

    size: int

    @property
    def n_cells(self) -> int:
        """How many cells there are."""
        return self.size**2

    @property
    def centre(self) -> tuple[int, int]:
        """The cell `(x, y)` in the middle; of an even size, the one right and below of it."""
        return (self.size // 2, self.size // 2)

    @cached_property
    def all_positions(self) -> Int[np.ndarray, "cell 2"]:
        """Every cell `(x, y)`, ordered by x, then y. [cell, 2]"""
        return np.stack(np.divmod(np.arange(self.n_cells), self.size), axis=1).astype(np.int8)

    def cells(self, positions: Int[np.ndarray, "batch 2"]) -> Int[np.ndarray, " batch"]:
        """Return the numbers of cells. [batch]"""
        return np.asarray(positions, dtype=np.intp) @ [self.size, 1]

    def positions(self, cells: Int[np.ndarray, " batch"]) -> Int[np.ndarray, "batch 2"]:
        """Return `(x, y)` of numbered cells. [batch, 2]"""
        return self._coordinates.take(cells).view(np.int8).reshape(-1, 2)

    def move(self, cells: Int[np.ndarray, " batch"], actions: Int[np.ndarray, " batch"]) -> Int[np.ndarray, " batch"]:
        """Return where the moves `0 .. 4` lead; whoever walks into a wall stays where it is. [batch]"""
        return self._next_cell.take(cells * len(MOVES) + actions)

    @cached_property
    def _next_cell(self) -> np.ndarray:
        """Where each action leads, flat over (cell, action); a table because one gather beats clipping twice."""
        after = np.clip(self.all_positions.astype(int)[:, None] + MOVES, 0, self.size - 1)
        return (after @ [self.size, 1]).reshape(-1)

    @cached_property
    def _coordinates(self) -> np.ndarray:
        """Each cell's two int8 coordinates packed into one int16, so that a single gather fetches both."""
        return np.ascontiguousarray(self.all_positions).view(np.int16).reshape(-1)


def has_known_moves(task: object) -> TypeGuard[Room]:
    """Return whether a task is a room in which it is known beforehand what each action does."""
    return isinstance(task, Room) and getattr(task, "action_order", "fixed") == "fixed"


def walk(
    positions: Int[np.ndarray, "batch 2"], targets: Int[np.ndarray, "batch 2"]
) -> Float[np.ndarray, "batch action"]:
    """Return the distribution that is uniform over the moves that shorten the way, staying on the target.

    Args:
        positions: Where the agents stand. [batch, 2]
        targets: Where they want to be. [batch, 2]
    """
    heading = np.sign(targets.astype(int) - positions)
    useful = np.where((heading == 0).all(axis=1)[:, None], MOVES @ [1, 1] == 0, heading @ MOVES.T > 0)
    return useful / useful.sum(axis=1, keepdims=True)


UNKNOWN = -1  # the cell of a place that has not been found


@runtime_checkable
class Room(Protocol):
    """A square world with hidden places that pay whoever steps on them."""

    @property
    def square(self) -> Square:
        """Its cells."""

    @property
    def n_hidden(self) -> int:
        """How many places are hidden in it."""

    @property
    def once(self) -> bool:
        """Whether a place pays once an episode, after which the next one does."""

    @property
    def n_actions(self) -> int:
        """How many moves there are."""


@runtime_checkable
class MoveBelief(Protocol):
    """What a life has shown of what actions do."""

    def see(
        self, before: Int[np.ndarray, " row"], actions: Int[np.ndarray, " row"], after: Int[np.ndarray, " row"]
    ) -> None:
        """Take in to which cell an action led."""

    def by_action(self, moves: Float[np.ndarray, "row move"]) -> Float[np.ndarray, "row action"]:
        """Return a distribution over moves as one over the actions that probably make them."""


def rewards_this_episode(history: History) -> Int[np.ndarray, "batch step"]:
    """Count the steps of the same episode whose reward is visible. [batch, step]"""
    paid = np.cumsum((history.previous_rewards > 0) & ~history.episode_start, axis=1)
    return paid - np.maximum.accumulate(np.where(history.episode_start, paid, 0), axis=1)


def last_paid_cell(history: History, number: int) -> Int[np.ndarray, "batch step channel"]:
    """Return where an episode's `number`-th reward was last seen to be paid, all -1 before any. [batch, step, channel]

    The reward of an episode's last step shows beside the first observation of the next and so tells no cell.
    """
    paid = (history.previous_rewards > 0) & ~history.episode_start & (rewards_this_episode(history) == number)
    latest = np.maximum.accumulate(np.where(paid, np.arange(history.n_steps), -1), axis=1)
    cells = np.take_along_axis(history.observations, np.maximum(latest, 0)[..., None], axis=1)
    return np.where((latest >= 0)[..., None], cells, UNKNOWN)


class RoomMemory:
    """What has been seen of the hidden places, brought up to date a step at a time: looking at all anew is quadratic.

    A place is not where a step arrived, while that place was the next to pay, and paid nothing. The start of an episode
    shows nothing of its cell. In a room whose goal moves, a place that is found empty is forgotten, and may then be in
    any other cell; once all cells were found empty, all may hold it again, also in one whose goal pays by chance.

    Where what actions do differs from task to task, a way is one of the actions that probably make its moves.

    Attributes:
        here: The agents' cells. [row]
        next: Number of the place that pays next, the number of all once none does. [row]
        possible: Cells where each place may be, as long as it is not found. [row, place, cell]
        found: Cell of each place, -1 while unknown. [row, place]
        found_at: Step whose token last showed it. [row, place]
    """

    def __init__(self, room: Room) -> None:
        self.room = room
        self.goal_moves, self.by_chance = bool(getattr(room, "goal_moves", 0)), getattr(room, "pays", 1) < 1
        self.n_steps = 0

    def update(self, history: History) -> None:
        """Take in what is new of a history; one that is not longer than the last begins a new life."""
        if history.n_steps <= self.n_steps or self.n_steps == 0:
            shape = (history.n_rows, self.room.n_hidden)
            self.possible = np.ones((*shape, self.room.square.n_cells), dtype=bool)
            self.found, self.found_at = np.full(shape, UNKNOWN), np.zeros(shape, dtype=np.intp)
            self.next = np.zeros(history.n_rows, dtype=np.intp)
            self.n_steps = 0
            self.filter = move_filter(self.room, history.n_rows)
            self.here = np.zeros(history.n_rows, dtype=np.intp)
        for step in range(self.n_steps, history.n_steps):
            self._take_in(history, step)
        self.n_steps = history.n_steps

    @property
    def wanted(self) -> Int[np.ndarray, " row"]:
        """The place that pays next, the last one once none does. [row]"""
        return np.minimum(self.next, self.room.n_hidden - 1)

    @property
    def candidates(self) -> Bool[np.ndarray, "row cell"]:
        """Cells where the wanted place may be. [row, cell]"""
        return self.possible[np.arange(len(self.next)), self.wanted]

    def way(
        self, search: Int[np.ndarray, " row"] | None = None, window: int | None = None
    ) -> Float[np.ndarray, "row action"]:
        """Return the way to the wanted place where it is known; staying put once nothing pays.

        Args:
            search: Cell to walk to where it is not known; without it, anything is done there. [row]
            window: How many of the latest steps are remembered; without it, all.
        """
        rows = np.arange(len(self.next))
        done, place = self.next == self.room.n_hidden, self.found[rows, self.wanted]
        age = self.n_steps - 1 - self.found_at[rows, self.wanted]
        known = (place != UNKNOWN) & (age < (self.n_steps if window is None else window))
        elsewhere = self.here if search is None else search
        target = np.where(done, self.here, np.where(known, place, elsewhere))
        positions = self.room.square.positions
        moves = walk(positions(self.here), positions(target))
        if self.filter is not None:
            moves = self.filter.by_action(moves)
        return moves if search is not None else np.where((known | done)[:, None], moves, 1 / self.room.n_actions)

    def _take_in(self, history: History, step: int) -> None:
        before, self.here = self.here, self.room.square.cells(history.observations[:, step])
        if step == 0:
            return
        arrived = history.episode[:, step] == history.episode[:, step - 1]
        if self.filter is not None and arrived.any():
            self.filter.see(before, history.actions[:, step - 1], self.here)
        self.next = np.where(arrived, self.next, 0)
        waiting = arrived & (self.next < self.room.n_hidden)
        paid = history.rewards[:, step - 1] > 0
        empty, full = np.flatnonzero(waiting & ~paid), np.flatnonzero(waiting & paid)
        self.possible[empty, self.next[empty], self.here[empty]] = False
        self.found[full, self.next[full]] = self.here[full]
        self.found_at[full, self.next[full]] = step
        if self.room.once:
            self.next[full] += 1
        if self.goal_moves or self.by_chance:
            self._doubt(empty)

    def _doubt(self, rows: Int[np.ndarray, " empty"]) -> None:
        """Forget a place that moved, being arrived at and not paying, and begin again where no cell is left."""
        lost = rows[(self.found[rows, 0] == self.here[rows]) & self.goal_moves]
        self.found[lost] = UNKNOWN
        again = np.append(lost, rows[~self.possible[rows, 0].any(axis=1)])
        self.possible[again] = True
        self.possible[again, 0, self.here[again]] = False


def move_filter(room: Room, n_rows: int) -> MoveBelief | None:
    """Return what finds out what actions do, where that differs from task to task; None where it does not."""
    begin: Callable[[int], MoveBelief | None] = getattr(room, "move_filter", lambda n_rows: None)
    return begin(n_rows)


FAR = np.int16(2**14)  # further than any cell


def gate_and_walk(room: Room, window: int = 60) -> Policy:
    """Do anything until the next place that pays is visible in the last `window` steps, then walk there and stay.

    The null that improves within its context without learning anything but a place.
    """
    memory = RoomMemory(room)

    def policy(history: History) -> np.ndarray:
        memory.update(history)
        return memory.way(window=window)

    return policy


def nearest_unvisited(room: Room) -> Policy:
    """Walk to the nearest cell not known to be empty until a reward is visible, then to where it was."""
    memory = RoomMemory(room)
    position = room.square.all_positions.astype(np.int16)
    distance = np.abs(position[:, None] - position).sum(axis=2, dtype=np.int16)

    def policy(history: History) -> np.ndarray:
        memory.update(history)
        return memory.way(np.where(memory.candidates, distance[memory.here], FAR).argmin(axis=1))

    return policy


def thompson_over_goals(room: Room, rng: np.random.Generator) -> Policy:
    """Sample one of the cells that may pay, walk there; sample again once refuted or paid, and as an episode starts."""
    memory = RoomMemory(room)
    target = wanted = np.zeros(0, dtype=np.intp)

    def policy(history: History) -> np.ndarray:
        nonlocal target, wanted
        memory.update(history)
        candidates = memory.candidates
        sampled = draw(candidates / candidates.sum(axis=1, keepdims=True), rng)
        if history.n_steps == 1:
            target, wanted = sampled, memory.wanted
        again = history.episode_start[:, -1] | (memory.wanted != wanted) | ~candidates[np.arange(len(target)), target]
        target, wanted = np.where(again, sampled, target), memory.wanted
        return memory.way(target)

    return policy
