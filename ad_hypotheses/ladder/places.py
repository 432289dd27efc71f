"""What a life has shown of the places that pay: cells of a room, arms, or states that are reached by known ways."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.ladder.rung import Sight
from ad_hypotheses.tasks.room import UNKNOWN, Room, move_filter, walk
from ad_hypotheses.tasks.task import Task

LARGEST_ROOM = 32  # cells a side; the table of ways has size ** 4 entries
MOST_STATES = 256  # of a world whose ways are looked up
FAR = np.int32(2**20)  # steps to a place that no known way leads to

Way = tuple[Float[np.ndarray, "row action"], Int[np.ndarray, " row"]]
"""Moves towards a place, all alike that shorten the way, and how many rewards speak for it, 0 where none is known."""


@runtime_checkable
class Places(Protocol):
    """What was seen of places that pay, brought up to date a step at a time."""

    def update(self, sight: Sight) -> None:
        """Take in what has become visible."""

    def latest(self) -> Way:
        """Return the way to the place that paid last."""

    def counted(self) -> Way:
        """Return the way to where it paid, each place by its share of all rewards."""


def places_lack(task: Task) -> str:
    """Say why no places can be told from what is seen, or nothing."""
    if isinstance(task, Room):
        return "" if task.square.size <= LARGEST_ROOM else f"a room of more than {LARGEST_ROOM} cells a side"
    if not task.channels:
        return ""
    if not task.deterministic or int(np.prod([float(size) for size in task.channel_sizes])) != task.n_states:
        return "what its agent sees is not the state that it is in"
    return "" if task.n_states <= MOST_STATES else f"more than {MOST_STATES} states"


def places_of(task: Task, n_rows: int) -> Places:
    """Return what keeps the places of a family, at the start of a context."""
    if isinstance(task, Room):
        return RoomPlaces(task, n_rows)
    return WayPlaces(task, n_rows) if task.channels else ArmPlaces(task.n_actions, n_rows)


def walks(room: Room) -> Float[np.ndarray, "cell target action"]:
    """Return the moves from every cell to every other, all alike that shorten the way."""
    position, n_cells = room.square.all_positions, room.square.n_cells
    moves = walk(np.repeat(position, n_cells, axis=0), np.tile(position, (n_cells, 1)))
    return moves.reshape(n_cells, n_cells, -1)


class RoomPlaces:
    """Cells of a room that were seen to pay; ways are those of the room, known without having been gone.

    Where what actions do differs from task to task, moves are known, but which action makes one has to be seen.

    Where places pay once an episode, one after the other, each has cells of its own, and once all have paid none is
    wanted. The reward of the last step of an episode tells no cell: the agent was put back.

    Attributes:
        state: Cells of the agents. [row]
        number: Number of the place that pays next, the number of all once none does. [row]
        rewards: How often each cell was seen to pay as each place. [row, place, cell]
        last: Cell where each place was last seen to pay, -1 before. [row, place]
        empty: How often each cell was reached and did not pay, as each place. [row, place, cell]
    """

    def __init__(self, room: Room, n_rows: int) -> None:
        self.room, self.walks, self.filter = room, walks(room), move_filter(room, n_rows)
        shape = (n_rows, room.n_hidden, room.square.n_cells)
        self.rewards, self.empty = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32)
        self.last = np.full(shape[:2], UNKNOWN)
        self.number = np.zeros(n_rows, dtype=np.intp)
        self.state = np.zeros(n_rows, dtype=np.intp)
        self.rows = np.arange(n_rows)

    def update(self, sight: Sight) -> None:
        """Take in where the last step arrived and what it was paid."""
        before, self.state = self.state, self.room.square.cells(sight.observations)
        if sight.begins:
            self.number[:] = 0
            return
        if self.filter is not None:
            self.filter.see(before, sight.actions, self.state)
        waiting, paid = self.number < self.room.n_hidden, sight.rewards > 0
        full, empty = np.flatnonzero(waiting & paid), np.flatnonzero(waiting & ~paid)
        self.rewards[full, self.number[full], self.state[full]] += 1
        self.empty[empty, self.number[empty], self.state[empty]] += 1
        self.last[full, self.number[full]] = self.state[full]
        if self.room.once:
            self.number[full] += 1

    @property
    def done(self) -> Bool[np.ndarray, " row"]:
        """Whether nothing pays any more in this episode. [row]"""
        return self.number == self.room.n_hidden

    @property
    def wanted(self) -> Int[np.ndarray, " row"]:
        """The place that pays next, the last one once none does. [row]"""
        return np.minimum(self.number, self.room.n_hidden - 1)

    def latest(self) -> Way:
        """Return the way to the cell that paid last."""
        return self.towards(self.last[self.rows, self.wanted])

    def towards(self, target: Int[np.ndarray, " row"]) -> Way:
        """Return the way to a cell, -1 for none."""
        known = (target != UNKNOWN) & ~self.done
        paid = self.rewards[self.rows, self.wanted].sum(axis=1)
        return self._by_action(self.walks[self.state, target]), np.where(known, paid, 0)

    def counted(self) -> Way:
        """Return the way to the cells that paid, each by its share of the rewards."""
        paid = self.rewards[self.rows, self.wanted]
        total = paid.sum(axis=1)
        share = paid / np.maximum(total, 1)[:, None]
        return self.mean_way(share), np.where(self.done, 0, total)

    def mean_way(self, share: Float[np.ndarray, "row cell"]) -> Float[np.ndarray, "row action"]:
        """Return the moves to cells, averaged by the share of each."""
        return self._by_action(np.matmul(share[:, None], self.walks[self.state])[:, 0])

    def _by_action(self, moves: Float[np.ndarray, "row move"]) -> Float[np.ndarray, "row action"]:
        return moves if self.filter is None else self.filter.by_action(moves)


class ArmPlaces:
    """Arms that were seen to pay."""

    def __init__(self, arms: int, n_rows: int) -> None:
        self.rewards = np.zeros((n_rows, arms), dtype=np.int32)
        self.last = np.zeros(n_rows, dtype=np.intp)

    def update(self, sight: Sight) -> None:
        """Take in what the last pull paid."""
        paid = np.flatnonzero((sight.rewards > 0) & (sight.actions >= 0))
        self.rewards[paid, sight.actions[paid]] += 1
        self.last[paid] = sight.actions[paid]

    def latest(self) -> Way:
        """Return the arm that paid last."""
        return np.eye(self.rewards.shape[1])[self.last], self.rewards.sum(axis=1)

    def counted(self) -> Way:
        """Return the arms that paid, each by its share of the rewards."""
        total = self.rewards.sum(axis=1)
        return self.rewards / np.maximum(total, 1)[:, None], total


class WayPlaces:
    """States that were seen to pay, and ways that were gone: a way not gone is not known.

    Attributes:
        state: States of the agents. [row]
        next: Where each action led, -1 for untried ones. [row, state, action]
        rewards: How often each state was seen to pay whoever arrived. [row, state]
        last: The state that paid last, -1 before. [row]
    """

    def __init__(self, task: Task, n_rows: int) -> None:
        self.task = task
        self.weights = np.append(np.cumprod(task.channel_sizes[::-1])[::-1][1:], 1).astype(np.intp)
        self.next = np.full((n_rows, task.n_states, task.n_actions), UNKNOWN, dtype=np.int32)
        self.rewards = np.zeros((n_rows, task.n_states), dtype=np.int32)
        self.last = np.full(n_rows, UNKNOWN)
        self.rows = np.arange(n_rows)
        self.state = np.zeros(n_rows, dtype=np.intp)

    def update(self, sight: Sight) -> None:
        """Take in where the last action led and what it paid."""
        before, self.state = self.state, sight.observations.astype(np.intp) @ self.weights
        if sight.begins:
            return
        self.next[self.rows, before, sight.actions] = self.state
        paid = np.flatnonzero(sight.rewards > 0)
        self.rewards[paid, self.state[paid]] += 1
        self.last[paid] = self.state[paid]

    def latest(self) -> Way:
        """Return the shortest known way to the state that paid last."""
        return self._towards(self.last, self.rewards.sum(axis=1))

    def counted(self) -> Way:
        """Return the shortest known way to the state that paid most often."""
        most = self.rewards.max(axis=1)
        return self._towards(np.where(most > 0, self.rewards.argmax(axis=1), UNKNOWN), self.rewards.sum(axis=1))

    def _towards(self, target: Int[np.ndarray, " row"], number: Int[np.ndarray, " row"]) -> Way:
        """Return the shortest known way to a state, arriving there again where the agent is in it."""
        left = self.steps_to(target)[self.rows, self.state]
        shortest = left.min(axis=1)
        way = (left == shortest[:, None]) / (left == shortest[:, None]).sum(axis=1, keepdims=True)
        return way, np.where((target != UNKNOWN) & (shortest < FAR), number, 0)

    def steps_to(self, target: Int[np.ndarray, " row"]) -> Int[np.ndarray, "row state action"]:
        """Return how many steps each action is from arriving at a state, itself included; FAR where nothing tells."""
        n_rows, n_states, _ = self.next.shape
        known, arrives = self.next != UNKNOWN, self.next == target[:, None, None]
        flat = (self.next + (np.arange(n_rows) * n_states)[:, None, None]).clip(0)
        steps = np.where(arrives & known, np.int32(1), FAR)
        while True:
            onward = steps.min(axis=2).reshape(-1)[flat] + 1
            shorter = np.where(arrives & known, 1, np.where(known, np.minimum(onward, FAR), FAR)).astype(np.int32)
            if (shorter == steps).all():
                return steps
            steps = shorter
