"""Worlds to learn in, each a batched numpy world and a gymnasium environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium

from ad_hypotheses.tasks.bandit import BernoulliBandit
from ad_hypotheses.tasks.dark_room import DarkRoom
from ad_hypotheses.tasks.task import Facts, Task, make_from

TASKS: Mapping[str, type] = {"dark-room": DarkRoom, "bandit": BernoulliBandit}


def make_task(name: str, **params: Any) -> Task:
    """Make a task family, e.g. `make_task("dark-room", size=7)`.

    Raises:
        ConfigError: There is no such task or parameter, or a value does not fit.
    """
    return make_from(TASKS, "task", name, params)


# by name, so that MiniGrid (and pygame with it) is loaded only where an environment is made
gymnasium.register("ad_hypotheses/DarkRoom-v0", "ad_hypotheses.tasks.dark_room_env:DarkRoomEnv")
gymnasium.register("ad_hypotheses/BernoulliBandit-v0", "ad_hypotheses.tasks.bandit_env:BernoulliBanditEnv")

__all__ = ["TASKS", "BernoulliBandit", "DarkRoom", "Facts", "Task", "make_task"]
