"""What MiniGrid's agent sees, for every state of a layout at once.

The same numbers as `MiniGridEnv.gen_obs`, whose way through Python objects would take most of the time that a layout
takes to explore.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

WALL, DOOR, OPEN = 2, 4, 0  # MiniGrid's numbers of two types of object and of a door's state
EMPTY = (1, 0, 0)  # its encoding of a cell without anything in it
OUTSIDE = (WALL, 5, 0)  # beyond the grid it shows grey walls
AHEAD = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])  # (dx, dy) by direction: right, down, left, up
SIDE = 1 << 10  # a place is x * SIDE + y; no grid is that large
NO_PLACE = -1
CHUNK = 2048  # states at a time, so that what lies in between stays small


def places_of(cells: Int[np.ndarray, "cell 2"]) -> Int[np.ndarray, " cell"]:
    """Return one number for each cell `(x, y)`."""
    return cells[:, 0].astype(np.intp) * SIDE + cells[:, 1]


def cells_of(places: Int[np.ndarray, " cell"]) -> Int[np.ndarray, "cell 2"]:
    """Return the cell `(x, y)` of each place."""
    return np.stack(np.divmod(places, SIDE), axis=1)


def views(
    grids: Int[np.ndarray, "grid x y 3"],
    grid: Int[np.ndarray, " state"],
    agent: Int[np.ndarray, "state 3"],
    carried: Int[np.ndarray, "state 3"],
    size: int,
    through_walls: bool,
) -> Int[np.ndarray, "state view view 3"]:
    """Return the image that the agent sees in every state, as type, colour and state of each cell.

    Args:
        grids: The different grids, encoded. [grid, x, y, 3]
        grid: Which of them each state has. [state]
        agent: Its position and direction `(x, y, direction)`. [state, 3]
        carried: Encoding of what it carries, `EMPTY` for nothing. [state, 3]
        size: Cells a side that it sees, odd. It stands in the middle of the last row.
        through_walls: Whether it sees behind walls and closed doors.
    """
    seen = np.empty((len(grid), size, size, 3), dtype=np.int8)
    for first in range(0, len(grid), CHUNK):
        part = slice(first, first + CHUNK)
        image = _in_front(grids, grid[part], agent[part], size)
        if not through_walls:
            image[~_visible(image)] = 0
        image[:, size // 2, size - 1] = carried[part]
        seen[part] = image
    return seen


def _in_front(grids: np.ndarray, grid: np.ndarray, agent: np.ndarray, size: int) -> Int[np.ndarray, "state i j 3"]:
    ahead = AHEAD[agent[:, 2]][:, None, None]
    right = ahead[..., ::-1] * [-1, 1]
    i, j = np.indices((size, size))
    cell = agent[:, None, None, :2] + ahead * (size - 1 - j)[..., None] + right * (i - size // 2)[..., None]
    inside = np.clip(cell, 0, np.array(grids.shape[1:3]) - 1)
    image = grids[grid[:, None, None], inside[..., 0], inside[..., 1]]
    image[(cell != inside).any(axis=-1)] = OUTSIDE
    return image


def _visible(image: Int[np.ndarray, "state i j 3"]) -> Bool[np.ndarray, "state i j"]:
    """Let sight spread as MiniGrid does: row by row away from the agent, to the right, then to the left."""
    size = image.shape[1]
    clear = (image[..., 0] != WALL) & ((image[..., 0] != DOOR) | (image[..., 2] == OPEN))
    mask = np.zeros(image.shape[:3], dtype=bool)
    mask[:, size // 2, size - 1] = True
    for j in reversed(range(size)):
        for order, aside in ((range(size - 1), 1), (range(size - 1, 0, -1), -1)):
            for i in order:
                through = mask[:, i, j] & clear[:, i, j]
                mask[:, i + aside, j] |= through
                if j > 0:
                    mask[:, i + aside, j - 1] |= through
                    mask[:, i, j - 1] |= through
    return mask
