"""Dark Key-to-Door as a MiniGrid environment, for watching it and for learners from elsewhere."""

from __future__ import annotations

from minigrid.core.world_object import Door, Key

from ad_hypotheses.tasks.key_to_door import KeyToDoor
from ad_hypotheses.tasks.room_env import Cell, RoomEnv


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
