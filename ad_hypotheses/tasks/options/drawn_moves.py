"""Moves that are dealt out to the actions anew for each task: what each action does has to be found out.

A task's fact `order` says which move each action makes, `order[action]`. There are 120 orders of the five moves.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.tasks.room import MOVES, Square

FIXED, DRAWN = "fixed", "drawn"
N_MOVES = len(MOVES)
ORDERS = np.array(list(permutations(range(N_MOVES))), dtype=np.int8)  # [order, action]
HELD_OUT = 24  # orders that no training task has, where anything is held out
ACTION_NAMES = tuple(f"action {action}" for action in range(N_MOVES))  # they have no meaning across tasks


def split_orders(held_out: int, seed: int) -> tuple[Int[np.ndarray, "order action"], Int[np.ndarray, "order action"]]:
    """Return the orders to train on, and those that are held out: 24 of the 120, or none where nothing is."""
    shuffled = ORDERS[np.random.default_rng(seed).permutation(len(ORDERS))]
    n_hidden = HELD_OUT if held_out else 0
    return shuffled[n_hidden:], shuffled[:n_hidden]


def moves_of(
    order: Int[np.ndarray, "batch action"] | None, actions: Int[np.ndarray, " batch"]
) -> Int[np.ndarray, " batch"]:
    """Return which move each agent's action makes; without orders, the one of its number. [batch]"""
    return actions if order is None else order[np.arange(len(actions)), actions].astype(np.intp)


def by_action(
    moves: Float[np.ndarray, "batch move"], order: Int[np.ndarray, "batch action"] | None
) -> Float[np.ndarray, "batch action"]:
    """Return a distribution over moves as one over the actions that make them. [batch, action]"""
    return moves if order is None else np.take_along_axis(moves, order.astype(np.intp), axis=1)


class MoveFilter:
    """The posterior of what the actions do: all orders that agree with what was seen are alike.

    Attributes:
        possible: Which of the 120 orders agree. [row, order]
    """

    def __init__(self, square: Square, n_rows: int) -> None:
        self.square = square
        self.possible = np.ones((n_rows, len(ORDERS)), dtype=bool)
        self.leads = np.stack([square.move(np.arange(square.n_cells), np.full(square.n_cells, move))
                               for move in range(N_MOVES)], axis=1)  # fmt: skip

    def see(
        self, before: Int[np.ndarray, " row"], actions: Int[np.ndarray, " row"], after: Int[np.ndarray, " row"]
    ) -> None:
        """Take in where an action led; a history that no order explains leaves its row as it was.

        Args:
            before: Cell that each agent was in. [row]
            actions: What it did. [row]
            after: Cell that it came to. [row]
        """
        fits = self.leads[before] == after[:, None]  # [row, move]
        agree = self.possible & np.take_along_axis(fits, ORDERS[:, actions].T.astype(np.intp), axis=1)
        self.possible = np.where(agree.any(axis=1, keepdims=True), agree, self.possible)

    def chances(self) -> Float[np.ndarray, "row move action"]:
        """Return the probability that an action makes a move, given that some action has to: columns of the orders."""
        counts = np.stack([self.possible.astype(int) @ (move == ORDERS) for move in range(N_MOVES)], axis=1)
        return counts / self.possible.sum(axis=1)[:, None, None]

    def by_action(self, moves: Float[np.ndarray, "row move"]) -> Float[np.ndarray, "row action"]:
        """Return a distribution over moves as one over actions, each by its chance to make the move."""
        return np.einsum("rm,rma->ra", moves, self.chances())
