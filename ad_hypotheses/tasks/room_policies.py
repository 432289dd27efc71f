"""What one can do in a dark room without having learned anything.

Each function takes the room and returns a policy for :func:`ad_hypotheses.tasks.play.play`.
"""

from __future__ import annotations

import numpy as np

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.play import draw
from ad_hypotheses.tasks.room_memory import Room, RoomMemory
from ad_hypotheses.tasks.task import Policy

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
