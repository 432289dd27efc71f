"""Replays of remembered transitions as machine code, where numba is installed: the same numbers, sooner."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

WORTH = 80_000_000  # transitions, about five seconds', that a process replays before it spends a few on compiling
Replay = Callable[..., None]


class Effort:
    """How many transitions this process has replayed."""

    replayed = 0


def compiled(transitions: int) -> Replay | None:
    """Return the compiled loop once it pays, or None without numba.

    Args:
        transitions: How many are about to be replayed, which count from then on.
    """
    Effort.replayed += transitions
    return _compiled() if Effort.replayed > WORTH else None


@cache
def _compiled() -> Replay | None:
    try:
        from numba import njit
    except ImportError:
        return None
    loop: Replay = njit(replay, nogil=True)
    return loop


def replay(
    values: Any,
    chances: Any,
    n_tried: Any,
    tried: Any,
    first: Any,
    reward: Any,
    next_row: Any,
    gamma: Any,
    alpha: Any,
) -> None:
    """Draw transitions of every learner and back up each, learner by learner, whose tables then stay in the cache.

    It rounds as the numpy code of `_Memory.draw` and `_Tables.back_up` does, number by number.

    Args:
        values: Action values, changed in place. [action, row]
        chances: Which transition is drawn, from 0 to 1. [draw, learner]
        n_tried: Transitions that each learner has tried. [learner]
        tried: Their places; those of a learner begin at `first`. [learner x place]
        first: [learner]
        reward: What the action at a place was paid. [place]
        next_row: Where it led. [place]
        gamma: Discount, as float32.
        alpha: Step size, as float32.
    """
    at_place = values.reshape(-1)
    for learner in range(chances.shape[1]):
        for draw in range(chances.shape[0]):
            chance = np.float32(np.float64(chances[draw, learner]) * np.float64(n_tried[learner]))
            pick = min(np.int64(chance), np.int64(n_tried[learner] - 1))
            place = tried[first[learner] + pick]
            best = values[0, next_row[place]]
            for action in range(1, values.shape[0]):
                best = max(best, values[action, next_row[place]])
            target = best * gamma + reward[place]
            if alpha != np.float32(1):
                target = (target - at_place[place]) * alpha + at_place[place]
            at_place[place] = target
