"""What the MiniGrid pictures of dark rooms have in common: walls, five moves, and an agent that sees only its cell."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium import spaces
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Door, Goal, Key, Wall, WorldObj
from minigrid.minigrid_env import MiniGridEnv

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.tasks.dark_room import DarkRoom
from ad_hypotheses.tasks.key_to_door import KeyToDoor
from ad_hypotheses.tasks.room import MOVES

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


class DarkRoomEnv(RoomEnv):
    """A walled MiniGrid room whose goal is drawn for the viewer and invisible to the agent.

    The five actions and the reward are those of :class:`ad_hypotheses.tasks.DarkRoom`, which this environment follows
    step by step. `reset(options={"goal": (x, y)})` puts the goal there.

    Args:
        size: Cells a side.
        horizon: Steps an episode.
        once: Whether the goal pays once an episode.
        render_mode: None or `"rgb_array"`.
    """

    places = ("goal",)
    task_of_the_agent = "find the cell that pays"

    def __init__(self, size: int = 9, horizon: int = 20, once: bool = False, render_mode: str | None = None) -> None:
        self.room = DarkRoom(size=size, horizon=horizon, once=once)
        super().__init__(size, horizon, render_mode)

    def begin(self) -> Cell:
        """Begin in the centre."""
        self._paid = False
        return self.room.start

    def show(self) -> None:
        """Draw the goal."""
        self.draw("goal", Goal())

    def pay(self, cell: Cell) -> float:
        """Pay 1 on the goal, or nothing if it has and pays once."""
        pays = cell == self.hidden["goal"] and not (self.room.once and self._paid)
        self._paid |= pays
        return float(pays)


class KeyToDoorEnv(RoomEnv):
    """A walled MiniGrid room with a key and a door, drawn for the viewer and invisible to the agent.

    The five actions and the rewards are those of :class:`ad_hypotheses.tasks.KeyToDoor`, which this environment follows
    step by step. `reset(options={"key": (x, y), "door": (x, y), "start": (x, y)})` puts them, and the agent, there.
    The key is drawn until it is taken, and the door shut until it is opened.

    Args:
        size: Cells a side.
        horizon: Steps an episode.
        start: Where an episode begins, "random" or "centre".
        render_mode: None or `"rgb_array"`.
    """

    places = ("key", "door")
    task_of_the_agent = "find the key, then the door"

    def __init__(self, size: int = 9, horizon: int = 50, start: str = "random", render_mode: str | None = None) -> None:
        self.room = KeyToDoor(size=size, horizon=horizon, start=start)
        super().__init__(size, horizon, render_mode)

    def begin(self) -> Cell:
        """Begin in the centre or in a cell drawn anew."""
        self._held = self._done = False
        if self.room.start == "centre":
            return self.room.square.centre
        x, y = self.np_random.integers(self.size, size=2)
        return int(x), int(y)

    def show(self) -> None:
        """Draw the door and the key, which hides a door below it."""
        self.draw("door", Door("yellow", is_locked=True))
        self.draw("key", Key("yellow"))

    def pay(self, cell: Cell) -> float:
        """Pay 1 for the key, then 1 for the door."""
        if not self._held:
            self._held = cell == self.hidden["key"]
            if self._held:
                self.draw("key", None)
                self.draw("door", Door("yellow", is_locked=True))
            return float(self._held)
        if self._done or cell != self.hidden["door"]:
            return 0.0
        self._done = True
        self.draw("door", Door("yellow", is_open=True))
        return 1.0
