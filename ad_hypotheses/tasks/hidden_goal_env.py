"""MiniGrid with a goal that cannot be seen, as a gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from minigrid.core.world_object import Goal, Lava, Wall

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.tasks.minigrid_table import open_environment

LAYOUTS = 2**31 - 1  # seeds to draw a layout from


class HiddenGoalEnv(gymnasium.Env[Any, Any]):
    """A MiniGrid environment whose goal square looks like the floor, and may be on any of its empty cells.

    Observations, actions and rewards are MiniGrid's own. The picture for people shows the goal. The batched world of
    :class:`ad_hypotheses.tasks.minigrid_task.MinigridTask` with `hidden_goal` follows this environment step by step.

    Args:
        environment: Id of the environment, e.g. `"MiniGrid-FourRooms-v0"`.
        view: Cells a side that the agent sees, odd.
        render_mode: None or `"rgb_array"`.

    Raises:
        ConfigError: There is no such environment.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012, the attribute is gymnasium's

    def __init__(
        self, environment: str = "MiniGrid-Empty-8x8-v0", view: int = 7, render_mode: str | None = None
    ) -> None:
        self.grid_env = open_environment(environment)
        self.grid_env.agent_view_size = view
        self.render_mode = self.grid_env.render_mode = render_mode
        image = gymnasium.spaces.Box(0, 255, (view, view, 3), np.uint8)
        spaces = dict(self.grid_env.observation_space.spaces) | {"image": image}  # type: ignore[attr-defined]
        self.observation_space = gymnasium.spaces.Dict(spaces)
        self.action_space = self.grid_env.action_space
        self._layout: int | None = None
        self._goal = (0, 0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin a lap.

        Args:
            seed: Draws layout and goal, where `options` does not name them.
            options: `{"layout": 3, "goal": (x, y)}`, or one of them. With nothing at all, both stay, so that a learner
                can live many laps of one task.

        Raises:
            ConfigError: The goal is no empty cell.
        """
        super().reset(seed=seed)
        named = options or {}
        fresh = seed is not None or self._layout is None or "layout" in named
        if fresh:
            self._layout = int(named.get("layout", self.np_random.integers(LAYOUTS)))
        self.grid_env.reset(seed=self._layout)
        grid = self.grid_env.grid
        grid.grid = [None if isinstance(content, Goal) else content for content in grid.grid]
        if fresh or "goal" in named:
            empty = self._empty_cells()
            goal = named["goal"] if "goal" in named else empty[self.np_random.integers(len(empty))]
            if np.shape(goal) != (2,) or tuple(goal) not in empty:
                raise ConfigError(
                    f"goal {goal!r} is no empty cell (x, y) that can be reached in layout {self._layout}."
                )
            self._goal = (int(goal[0]), int(goal[1]))
        return self.grid_env.gen_obs(), {}

    def step(self, action: int | np.integer) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Act as in MiniGrid; the lap ends on the goal."""
        seen, _, terminated, truncated, info = self.grid_env.step(action)
        on_goal = tuple(self.grid_env.agent_pos) == self._goal
        reward = self.grid_env._reward() if on_goal else 0.0
        return seen, reward, bool(terminated or on_goal), truncated, info

    def render(self) -> Any:
        """Draw the grid with the goal."""
        covered = self.grid_env.grid.get(*self._goal)
        if covered is None:
            self.grid_env.grid.set(*self._goal, Goal())
        picture = self.grid_env.render()
        self.grid_env.grid.set(*self._goal, covered)
        return picture

    def _empty_cells(self) -> list[tuple[int, int]]:
        """Return the cells without anything in them that the agent could walk to if doors and things were not there."""
        start = tuple(int(x) for x in self.grid_env.agent_pos)
        reached = [start]
        for x, y in reached:  # grows as we go
            for cell in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
                if cell not in reached and not isinstance(self.grid_env.grid.get(*cell), Wall | Lava):
                    reached.append(cell)
        return [(x, y) for x, y in reached[1:] if self.grid_env.grid.get(x, y) is None]
