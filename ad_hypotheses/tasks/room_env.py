"""What the MiniGrid pictures of dark rooms have in common: walls, five moves, and an agent that sees only its cell."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium import spaces
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Wall, WorldObj
from minigrid.minigrid_env import MiniGridEnv

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.tasks.square import MOVES

FACING_UP = 3  # MiniGrid's number of the direction that the drawn agent points in
Cell = tuple[int, int]


class RoomEnv(MiniGridEnv):
    """A walled MiniGrid room with hidden places, drawn for the viewer and invisible to the agent.

    The observation is the agent's own cell `(x, y)`, counted from 0 inside the walls. An episode is truncated at the
    horizon and never terminates. To watch in a window, wrap it in `gymnasium.wrappers.HumanRendering`; MiniGrid's own
    window asks for a font that pygame does not ship, and warns.

    Attributes:
        hidden: The cells of the hidden places by name, empty before the first `reset`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012, the attribute is gymnasium's
    places: tuple[str, ...]
    task_of_the_agent: str

    def __init__(self, size: int, horizon: int, render_mode: str | None) -> None:
        super().__init__(
            mission_space=MissionSpace(mission_func=lambda: self.task_of_the_agent),
            grid_size=size + 2,
            max_steps=horizon,
            see_through_walls=True,
            render_mode=render_mode,
            highlight=False,
        )
        self.size = size
        self.action_space = spaces.Discrete(len(MOVES))
        self.observation_space = spaces.MultiDiscrete([size, size])
        self.hidden: dict[str, Cell] = {}
        self._start: Cell | None = None

    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Draws the hidden places that `options` does not name.
            options: `{place: (x, y)}` puts hidden places there, and `{"start": (x, y)}` the agent. With neither seed
                nor options, the places stay where they were, so that a learner can live many episodes of one task.

        Returns:
            The cell of the agent, and nothing else.

        Raises:
            ConfigError: A cell is none of the room.
        """
        named = {name: self._checked(name, cell) for name, cell in (options or {}).items() if cell is not None}
        unknown = [name for name in named if name not in (*self.places, "start")]
        if unknown:
            raise ConfigError(f"options: there is no {unknown[0]!r}. Known: {', '.join((*self.places, 'start'))}.")
        self._start = named.pop("start", None)
        self.hidden = named if seed is not None else {**self.hidden, **named}
        seen, extra = super().reset(seed=seed)
        self.show()  # after MiniGrid is done, which lets no agent begin on what cannot be walked over
        return seen, extra

    def step(self, action: int | np.integer) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:  # type: ignore[override]
        """Move, bump or stay, and be paid."""
        self.step_count += 1
        x, y = (int(coordinate) for coordinate in np.asarray(self.agent_pos) + MOVES[action])
        if not isinstance(self.grid.get(x, y), Wall):
            self.agent_pos = (x, y)
        reward = self.pay((self.agent_pos[0] - 1, self.agent_pos[1] - 1))
        return self.gen_obs(), reward, False, self.step_count >= self.max_steps, {}

    def gen_obs(self) -> np.ndarray:
        """Return the agent's own cell `(x, y)`: it sees neither walls nor places."""
        return np.asarray(self.agent_pos, dtype=np.int64) - 1

    @abstractmethod
    def begin(self) -> Cell:
        """Forget the last episode and return the cell where this one begins."""

    @abstractmethod
    def show(self) -> None:
        """Draw the places."""

    @abstractmethod
    def pay(self, cell: Cell) -> float:
        """Return the reward of a step that ended in `cell`."""

    def draw(self, place: str, picture: WorldObj | None) -> None:
        """Show `picture` where a place is."""
        x, y = self.hidden[place]
        self.grid.set(x + 1, y + 1, picture)

    def _gen_grid(self, width: int, height: int) -> None:
        for name in self.places:
            if name not in self.hidden:
                self.hidden[name] = self._checked(name, self.np_random.integers(self.size, size=2))
        self.grid = Grid(width, height)
        self.grid.wall_rect(0, 0, width, height)
        start = self.begin()
        x, y = self._start or start
        self.agent_pos, self.agent_dir = (x + 1, y + 1), FACING_UP
        self.mission = self.task_of_the_agent

    def _checked(self, name: str, cell: Any) -> Cell:
        position = np.asarray(cell)
        if position.shape != (2,) or position.dtype.kind not in "iu" or not self.observation_space.contains(position):
            raise ConfigError(f"{name} {cell!r} is no cell (x, y) of a room of {self.size} x {self.size}.")
        return int(position[0]), int(position[1])
