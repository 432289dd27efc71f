"""Lives in rooms of three cells a side, whose episodes last three steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.dark_room import DarkRoom
from ad_hypotheses.tasks.edits.lives import answered


def small_life(room: DarkRoom, actions: Sequence[int], facts: Mapping[str, np.ndarray]) -> History:
    """Return whole episodes of these actions, as the world answers them."""
    steps = len(actions)
    blank = History(
        observations=np.full((1, steps, 2), 1, dtype=np.int8),
        actions=np.array([actions], dtype=np.int8),
        rewards=np.zeros((1, steps), dtype=np.float32),
        episode=(np.arange(steps, dtype=np.int16) // 3)[None],
        channels=("x", "y"),
        n_actions=5,
        learner=np.arange(1),
    )
    return answered(room, facts, blank, np.random.default_rng(0))
