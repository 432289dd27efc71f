"""Dark Room as a MiniGrid environment, for watching it and for learners from elsewhere."""

from __future__ import annotations

from minigrid.core.world_object import Goal

from ad_hypotheses.tasks.dark_room import DarkRoom
from ad_hypotheses.tasks.room_env import Cell, RoomEnv


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
