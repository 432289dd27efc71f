"""Worlds to learn in, each a batched numpy world and a gymnasium environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.user_code import described
from ad_hypotheses.tasks.bandit import ADVERSARIAL, BernoulliBandit, GaussianBandit
from ad_hypotheses.tasks.check import check_task
from ad_hypotheses.tasks.dark_room import HARD, DarkRoom
from ad_hypotheses.tasks.graph_world import GraphWorld
from ad_hypotheses.tasks.key_to_door import KeyToDoor
from ad_hypotheses.tasks.minigrid_task import PREFIX, MinigridTask
from ad_hypotheses.tasks.task import Facts, Task, make_from
from ad_hypotheses.tasks.task_file import SUFFIX, family_in_file, trust

TASKS: Mapping[str, type] = {
    "dark-room": DarkRoom,
    "dark-room-hard": DarkRoom,
    "key-to-door": KeyToDoor,
    "bandit": BernoulliBandit,
    "adversarial-bandit": BernoulliBandit,
    "gaussian-bandit": GaussianBandit,
    "graph-world": GraphWorld,
}
OTHERS = (f"{PREFIX}<ENV-ID>", "file.py:Class")  # what is found by its place and not in this list
# where a name means other ones than the class
DEFAULTS: Mapping[str, Mapping[str, Any]] = {"dark-room-hard": HARD, "adversarial-bandit": ADVERSARIAL}


def make_task(name: str, **params: Any) -> Task:
    """Make a task family, e.g. `make_task("dark-room", size=7)`.

    Args:
        name: One of `TASKS`, an environment of MiniGrid, `"minigrid:MiniGrid-FourRooms-v0"`, or a file and a class in
            it, `"tasks/corridor.py:Corridor"`, whose file must be trusted: `trust("tasks/corridor.py")`.
        params: The fields of the family that are not to have their defaults.

    Raises:
        ConfigError: There is no such task, file, class or parameter, a value does not fit, or the file is not trusted
            and was not run.
    """
    if name.startswith(PREFIX):
        if "environment" in params:
            raise ConfigError(f"{name}: environment stands in the name, after {PREFIX!r}; leave the key out.")
        return make_from({name: MinigridTask}, "task", name, {**params, "environment": name.removeprefix(PREFIX)})
    if SUFFIX in name:
        family = family_in_file(name)
        try:
            return make_from({name: family}, "task", name, params)
        except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise ConfigError(f"{name} cannot be made: {described(error)}") from error
    return make_from(TASKS, "task", name, {**DEFAULTS.get(name, {}), **params}, OTHERS)


# by name, so that MiniGrid (and pygame with it) is loaded only where an environment is made
gymnasium.register("ad_hypotheses/DarkRoom-v0", "ad_hypotheses.tasks.room_env:DarkRoomEnv")
gymnasium.register("ad_hypotheses/DarkRoomHard-v0", "ad_hypotheses.tasks.room_env:DarkRoomEnv", kwargs={**HARD})
gymnasium.register("ad_hypotheses/KeyToDoor-v0", "ad_hypotheses.tasks.room_env:KeyToDoorEnv")
gymnasium.register("ad_hypotheses/BernoulliBandit-v0", "ad_hypotheses.tasks.task_env:BanditEnv")
gymnasium.register(
    "ad_hypotheses/AdversarialBandit-v0", "ad_hypotheses.tasks.task_env:BanditEnv", kwargs={**ADVERSARIAL}
)
gymnasium.register(
    "ad_hypotheses/GaussianBandit-v0", "ad_hypotheses.tasks.task_env:BanditEnv", kwargs={"family": "gaussian-bandit"}
)
gymnasium.register("ad_hypotheses/GraphWorld-v0", "ad_hypotheses.tasks.task_env:GraphWorldEnv")
gymnasium.register("ad_hypotheses/HiddenGoal-v0", "ad_hypotheses.tasks.hidden_goal_env:HiddenGoalEnv")

__all__ = [
    "TASKS",
    "BernoulliBandit",
    "DarkRoom",
    "Facts",
    "GaussianBandit",
    "GraphWorld",
    "KeyToDoor",
    "MinigridTask",
    "Task",
    "check_task",
    "make_task",
    "trust",
]
