"""What a history shows of places that are hidden in a room and pay in order, the first, then the second."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.square import Square, walk

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


def rewards_this_episode(history: History) -> Int[np.ndarray, "batch step"]:
    """Count the steps of the same episode whose reward is visible. [batch, step]"""
    paid = np.cumsum((history.previous_rewards > 0) & ~history.episode_start, axis=1)
    return paid - np.maximum.accumulate(np.where(history.episode_start, paid, 0), axis=1)


def last_paid_cell(history: History, number: int) -> Int[np.ndarray, "batch step channel"]:
    """Return where an episode's `number`-th reward was last seen to be paid, all -1 before any. [batch, step, channel]

    The reward of an episode's last step shows beside the first observation of the next and so tells no cell.
    """
    found = (history.previous_rewards > 0) & ~history.episode_start & (rewards_this_episode(history) == number)
    latest = np.maximum.accumulate(np.where(found, np.arange(history.n_steps), -1), axis=1)
    cells = np.take_along_axis(history.observations, np.maximum(latest, 0)[..., None], axis=1)
    return np.where((latest >= 0)[..., None], cells, UNKNOWN)


class RoomMemory:
    """What has been seen of the hidden places, brought up to date a step at a time: looking at all anew is quadratic.

    A place is not where a step arrived, while that place was the next to pay, and paid nothing. The start of an episode
    shows nothing of its cell.

    Attributes:
        here: The agents' cells. [row]
        next: Number of the place that pays next, the number of all once none does. [row]
        possible: Cells where each place may be, as long as it is not found. [row, place, cell]
        found: Cell of each place, -1 while unknown. [row, place]
        found_at: Step whose token last showed it. [row, place]
    """

    def __init__(self, room: Room) -> None:
        self.room = room
        self.n_steps = 0

    def update(self, history: History) -> None:
        """Take in what is new of a history; one that is not longer than the last begins a new life."""
        if history.n_steps <= self.n_steps or self.n_steps == 0:
            shape = (history.n_rows, self.room.n_hidden)
            self.possible = np.ones((*shape, self.room.square.n_cells), dtype=bool)
            self.found, self.found_at = np.full(shape, UNKNOWN), np.zeros(shape, dtype=np.intp)
            self.next = np.zeros(history.n_rows, dtype=np.intp)
            self.n_steps = 0
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
        return moves if search is not None else np.where((known | done)[:, None], moves, 1 / self.room.n_actions)

    def _take_in(self, history: History, step: int) -> None:
        self.here = self.room.square.cells(history.observations[:, step])
        if step == 0:
            return
        arrived = history.episode[:, step] == history.episode[:, step - 1]
        self.next = np.where(arrived, self.next, 0)
        waiting = arrived & (self.next < self.room.n_hidden)
        paid = history.rewards[:, step - 1] > 0
        empty, full = np.flatnonzero(waiting & ~paid), np.flatnonzero(waiting & paid)
        self.possible[empty, self.next[empty], self.here[empty]] = False
        self.found[full, self.next[full]] = self.here[full]
        self.found_at[full, self.next[full]] = step
        if self.room.once:
            self.next[full] += 1
