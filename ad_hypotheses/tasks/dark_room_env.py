"""Dark Room as a MiniGrid environment, for watching it and for learners from elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Goal
from minigrid.minigrid_env import MiniGridEnv

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.tasks.dark_room import MOVES, DarkRoom

FACING_UP = 3  # MiniGrid's number of the direction that the drawn agent points in


class DarkRoomEnv(MiniGridEnv):
    """A walled MiniGrid room whose goal is drawn for the viewer and invisible to the agent.

    The observation is the agent's own cell `(x, y)`, counted from 0 inside the walls; the five actions and the reward
    are those of :class:`ad_hypotheses.tasks.DarkRoom`, which this environment follows step by step. An episode is
    truncated at the horizon and never terminates. To watch in a window, wrap it in `gymnasium.wrappers.HumanRendering`;
    MiniGrid's own window asks for a font that pygame does not ship, and warns.

    Args:
        size: Cells a side.
        horizon: Steps an episode.
        render_mode: None or `"rgb_array"`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012, the attribute is gymnasium's

    def __init__(self, size: int = 9, horizon: int = 20, render_mode: str | None = None) -> None:
        self.room = DarkRoom(size=size, horizon=horizon)
        super().__init__(
            mission_space=MissionSpace(mission_func=lambda: "find the cell that pays"),
            grid_size=size + 2,
            max_steps=horizon,
            see_through_walls=True,
            render_mode=render_mode,
            highlight=False,
        )
        self.action_space = spaces.Discrete(len(MOVES))
        self.observation_space = spaces.MultiDiscrete([size, size])
        self._goal: tuple[int, int] | None = None

    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in the centre.

        Args:
            seed: Draws a goal, where `options` does not name one.
            options: `{"goal": (x, y)}` puts the goal there. With neither, the goal stays where it was, so that a
                learner can live many episodes of one task.

        Returns:
            The cell of the agent, and nothing else.

        Raises:
            ConfigError: The goal is no cell of the room.
        """
        goal = (options or {}).get("goal")
        if goal is not None:
            self._goal = self._checked(goal)
        elif seed is not None:
            self._goal = None
        return super().reset(seed=seed)

    def step(self, action: int | np.integer) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:  # type: ignore[override]
        """Move, bump or stay; pay 1 on the goal."""
        self.step_count += 1
        target = np.asarray(self.agent_pos) + MOVES[action]
        cell = self.grid.get(*target)
        if cell is None or cell.can_overlap():
            self.agent_pos = (int(target[0]), int(target[1]))
        on_goal = isinstance(self.grid.get(*self.agent_pos), Goal)
        return self.gen_obs(), float(on_goal), False, self.step_count >= self.max_steps, {}

    def gen_obs(self) -> np.ndarray:
        """Return the agent's own cell `(x, y)`: it sees neither walls nor goal."""
        return np.asarray(self.agent_pos, dtype=np.int64) - 1

    def _gen_grid(self, width: int, height: int) -> None:
        if self._goal is None:
            self._goal = self._checked(self.np_random.integers(self.room.size, size=2))
        self.grid = Grid(width, height)
        self.grid.wall_rect(0, 0, width, height)
        self.put_obj(Goal(), self._goal[0] + 1, self._goal[1] + 1)
        self.agent_pos = (self.room.start[0] + 1, self.room.start[1] + 1)
        self.agent_dir = FACING_UP
        self.mission = "find the cell that pays"

    def _checked(self, goal: Any) -> tuple[int, int]:
        position = np.asarray(goal)
        if position.shape != (2,) or position.dtype.kind not in "iu" or not self.observation_space.contains(position):
            raise ConfigError(f"goal {goal!r} is no cell (x, y) of a room of {self.room.size} x {self.room.size}.")
        return int(position[0]), int(position[1])
