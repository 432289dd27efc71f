"""Any gymnasium environment as a world of ours: one task for a whole life, in episodes of exactly so many steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from ad_hypotheses.errors import DataError
from ad_hypotheses.tasks import Task


def grid_channels(seen: Mapping[str, Any]) -> np.ndarray:
    """Return MiniGrid's image and direction as the channels of the `minigrid:` families. [channel]"""
    return np.append(np.asarray(seen["image"]).reshape(-1), seen["direction"])


def laps(reward: float) -> float:
    """Return what the `minigrid:` families pay for what MiniGrid pays: 1 for the goal, however late."""
    return float(reward > 0)


class FixedHorizon(gymnasium.Wrapper[Any, Any, Any, Any]):
    """One task of an environment, in episodes of exactly `horizon` steps.

    Where the environment ends an episode earlier, on a goal or in lava, it is reset at once and the episode goes on
    from the start: the learner sees the first observation of the next lap after the action that ended this one. Nothing
    is padded, and the world is the one of the batched families.

    Args:
        env: The environment. It must not cut episodes off before `horizon` itself.
        task: Whose channels it shows and whose horizon it has.
        seed: Given to every reset, so that a layout stays; None passes on what the caller of `reset` gives.
        options: Given to every reset, e.g. `{"goal": (7, 1)}`.
        see: Turns an observation into channels; none by default, `grid_channels` for MiniGrid.
        pay: Changes a reward; not by default, `laps` for MiniGrid.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        task: Task,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
        see: Callable[[Any], Any] | None = None,
        pay: Callable[[float], float] | None = None,
    ) -> None:
        super().__init__(env)
        self.horizon, self.see, self.pay = task.horizon, see or (lambda seen: seen), pay or float
        self.named: dict[str, Any] = {"seed": seed, "options": dict(options) if options is not None else None}
        self.steps = 0
        if see is not None:
            self.observation_space = gymnasium.spaces.MultiDiscrete(list(task.channel_sizes))
        self.action_space = gymnasium.spaces.Discrete(task.n_actions)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self.steps = 0
        given: dict[str, Any] = {"seed": seed, "options": options}
        named = {name: given[name] if value is None else value for name, value in self.named.items()}
        seen, info = self.env.reset(**named)
        return self.see(seen), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act once; the episode is truncated after `horizon` steps and never terminates.

        Raises:
            DataError: The environment cuts episodes off before.
        """
        seen, reward, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        if terminated:
            seen, info = self.env.reset(**self.named)
        elif truncated and self.steps < self.horizon:
            raise DataError(
                f"{self.env} cuts an episode off after {self.steps} steps, before the horizon of {self.horizon}: "
                "make it with as many steps (max_steps of MiniGrid, max_episode_steps of gymnasium.make)."
            )
        return self.see(seen), self.pay(float(reward)), False, self.steps >= self.horizon, info
