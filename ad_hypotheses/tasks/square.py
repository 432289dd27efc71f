"""Moving on a square of cells, for every world that is one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

MOVES = np.array([[0, 0], [0, -1], [0, 1], [-1, 0], [1, 0]], dtype=np.int8)  # (dx, dy): stay, up, down, left, right
ACTION_NAMES = ("stay", "up", "down", "left", "right")


@dataclass(frozen=True)
class Square:
    """A walled square of cells. Cell `(x, y)` has the number `x * size + y`; `x` grows to the right, `y` downwards.

    Attributes:
        size: Cells a side.
    """

    size: int

    @property
    def n_cells(self) -> int:
        """How many cells there are."""
        return self.size**2

    @property
    def centre(self) -> tuple[int, int]:
        """The cell `(x, y)` in the middle; of an even size, the one right and below of it."""
        return (self.size // 2, self.size // 2)

    @cached_property
    def all_positions(self) -> Int[np.ndarray, "cell 2"]:
        """Every cell `(x, y)`, ordered by x, then y. [cell, 2]"""
        return np.stack(np.divmod(np.arange(self.n_cells), self.size), axis=1).astype(np.int8)

    def cells(self, positions: Int[np.ndarray, "batch 2"]) -> Int[np.ndarray, " batch"]:
        """Return the numbers of cells. [batch]"""
        return np.asarray(positions, dtype=np.intp) @ [self.size, 1]

    def positions(self, cells: Int[np.ndarray, " batch"]) -> Int[np.ndarray, "batch 2"]:
        """Return `(x, y)` of numbered cells. [batch, 2]"""
        return self._coordinates.take(cells).view(np.int8).reshape(-1, 2)

    def move(self, cells: Int[np.ndarray, " batch"], actions: Int[np.ndarray, " batch"]) -> Int[np.ndarray, " batch"]:
        """Return where the moves `0 .. 4` lead; whoever walks into a wall stays where it is. [batch]"""
        return self._next_cell.take(cells * len(MOVES) + actions)

    @cached_property
    def _next_cell(self) -> np.ndarray:
        """Where each action leads, flat over (cell, action); a table because one gather beats clipping twice."""
        after = np.clip(self.all_positions.astype(int)[:, None] + MOVES, 0, self.size - 1)
        return (after @ [self.size, 1]).reshape(-1)

    @cached_property
    def _coordinates(self) -> np.ndarray:
        """Each cell's two int8 coordinates packed into one int16, so that a single gather fetches both."""
        return np.ascontiguousarray(self.all_positions).view(np.int16).reshape(-1)


def walk(
    positions: Int[np.ndarray, "batch 2"], targets: Int[np.ndarray, "batch 2"]
) -> Float[np.ndarray, "batch action"]:
    """Return the distribution that is uniform over the moves that shorten the way, staying on the target.

    Args:
        positions: Where the agents stand. [batch, 2]
        targets: Where they want to be. [batch, 2]
    """
    heading = np.sign(targets.astype(int) - positions)
    useful = np.where((heading == 0).all(axis=1)[:, None], MOVES @ [1, 1] == 0, heading @ MOVES.T > 0)
    return useful / useful.sum(axis=1, keepdims=True)
