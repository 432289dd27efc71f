"""What several networks for dark rooms are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ad_hypotheses.known.wiring import Space, Wiring
from ad_hypotheses.sources.room_rules import DOWN, LEFT, RIGHT, STAY, UP
from ad_hypotheses.tasks import DarkRoom


@dataclass(frozen=True)
class RoomCell:
    """Two one-hot numbers, all 0 where there is no cell.

    Attributes:
        x: Its column.
        y: Its row.
    """

    x: Space
    y: Space

    @classmethod
    def space(cls, net: Wiring, name: str, room: DarkRoom) -> RoomCell:
        """Set coordinates aside for a cell."""
        return cls(net.space(f"{name} x", room.size), net.space(f"{name} y", room.size))

    @property
    def pairs(self) -> list[tuple[Space, np.ndarray]]:
        """How a query or a key reads it: two cells have a product of 2 if they are the same, else less."""
        size = self.x.size
        return [(self.x, np.eye(2 * size)[:size]), (self.y, np.eye(2 * size)[size:])]

    def moved_to(self, other: RoomCell) -> list[tuple[Space, Space, np.ndarray]]:
        """How a head moves it."""
        return [(self.x, other.x, np.eye(self.x.size)), (self.y, other.y, np.eye(self.y.size))]


def embed_cell(net: Wiring, room: DarkRoom) -> RoomCell:
    """Let the token write where the agent stands."""
    current = RoomCell.space(net, "here", room)
    net.embed("x", current.x, np.eye(room.size))
    net.embed("y", current.y, np.eye(room.size))
    return current


def embed_action(net: Wiring, room: DarkRoom) -> Space:
    """Let the token write what was done last, one-hot; nothing at the first step."""
    last = net.space("last action", room.n_actions)
    net.embed("action", last, np.eye(room.n_actions + 1, room.n_actions, k=-1))
    return last


def embed_reward(net: Wiring) -> Space:
    """Let the token write 1 if the last step paid."""
    paid = net.space("paid")
    net.embed("reward", paid, np.array([[0.0], [1.0]]))
    return paid


def begins(net: Wiring, room: DarkRoom) -> Space:
    """Let the position write 1 where a later episode begins: the cell that the reward there was paid for is gone."""
    start = net.space("episode begins")
    steps = np.arange(net.model.shape.n_ctx)
    net.positions(start, ((steps > 0) & (steps % room.horizon == 0)).astype(float)[:, None])
    return start


def look_for_reward(net: Wiring, layer: int, head: int, clock: Space, paid: Space, start: Space) -> None:
    """Let a head look at the latest token that shows a reward and the cell that paid it; before any, at the first."""
    net.look_at_latest(layer, head, clock, key=[(paid, np.eye(1)), (start, -np.eye(1))])


def compare_cells(
    net: Wiring, layer: int, current: RoomCell, goal: RoomCell, flags: Space, *, if_known: tuple[int, ...]
) -> None:
    """Let an MLP say which moves lead from one cell towards another, one flag an action.

    Args:
        net: The network.
        layer: Of the MLP.
        here: Where the agent stands.
        goal: Where it wants to be.
        flags: Becomes 1 at each action that shortens the way; of "stay" nothing is said.
        if_known: Coordinates that must be 1, or no flag is raised.
    """
    for left, right, back, forth in ((current.x, goal.x, LEFT, RIGHT), (current.y, goal.y, UP, DOWN)):
        net.compare(layer, left, right, _towards(flags, back, forth), if_known)


def walk_or_stay(net: Wiring, layer: int, known: Space, flags: Space, score: Space) -> None:
    """Let an MLP score the moves whose flags are raised where a goal is known, and staying where none is raised."""
    net.when(layer, [known[0]], {score[STAY]: 1.0}, none_of=[flags[action] for action in (UP, DOWN, LEFT, RIGHT)])
    for action in (UP, DOWN, LEFT, RIGHT):
        net.when(layer, [known[0], flags[action]], {score[action]: 1.0})


def _towards(flags: Space, back: int, forth: int) -> Callable[[int, int], dict[int, float]]:
    return lambda at, to: {} if at == to else {flags[forth if to > at else back]: 1.0}
