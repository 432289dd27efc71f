"""Rooms in which cells pay more than 0 or 1, or less: a lesser goal, a trap, a goal that pays by chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.planning import best_actions, optimal_value, plan
from ad_hypotheses.tasks.room import MOVES, UNKNOWN, Square
from ad_hypotheses.tasks.task import Facts

GOAL = 1.0  # what arriving at the goal pays
LEAST = 1e-6  # a pay that counts


@dataclass(frozen=True, eq=False)
class PaidCells:
    """What arriving at each cell pays, and what can be earned by whoever knows it.

    Attributes:
        square: The cells.
        pay: [batch, cell]
        horizon: Steps an episode.
    """

    square: Square
    pay: Float[np.ndarray, "batch cell"]
    horizon: int

    @classmethod
    def of(cls, square: Square, facts: Facts, amounts: Mapping[str, float], horizon: int) -> PaidCells:
        """Let the cells that facts name pay; where several are the same one, the goal counts.

        Args:
            square: The cells.
            facts: The goal, and what of `amounts` there is. [row, 2] each
            amounts: What places beside the goal pay, by the name of their fact.
            horizon: Steps an episode.
        """
        pay = np.zeros((len(facts["goal"]), square.n_cells), dtype=np.float32)
        rows = np.arange(len(pay))
        for name, amount in {**amounts, "goal": GOAL}.items():
            if name in facts:
                pay[rows, square.cells(facts[name])] = amount
        return cls(square, pay, horizon)

    @cached_property
    def leads(self) -> Int[np.ndarray, "batch cell move"]:
        """Where each move leads, the same in all rooms."""
        cells = np.arange(self.square.n_cells)
        leads = np.stack([self.square.move(cells, np.full(len(cells), move)) for move in range(len(MOVES))], axis=1)
        return np.broadcast_to(leads, (len(self.pay), *leads.shape))

    @cached_property
    def reward(self) -> Float[np.ndarray, "batch cell move"]:
        """What each move pays."""
        return self.pay[:, self.leads[0]]

    @cached_property
    def values(self) -> Float[np.ndarray, "batch left cell"]:
        """What can still be earned; planned only where an expert asks, and then once an episode."""
        return plan(self.leads, self.reward, self.horizon)

    def optimum(self, start: int) -> Float[np.ndarray, " batch"]:
        """Return what an episode that begins in a cell can earn. [batch]"""
        return optimal_value(self.leads, self.reward, self.horizon)[:, start].astype(float)

    def best(
        self, cells: Int[np.ndarray, " batch"], steps_left: Int[np.ndarray, " batch"]
    ) -> Float[np.ndarray, "batch move"]:
        """Return the moves that earn the most until the episode ends, all alike. [batch, move]"""
        rows = np.arange(len(cells))
        return best_actions(self.values, self.leads, self.reward, rows, cells, steps_left)


def last_cell_paid(history: History, least: float) -> Int[np.ndarray, "batch step channel"]:
    """Return where at least that much was last seen to be paid, all -1 before. [batch, step, channel]"""
    paid = (history.previous_rewards >= least) & ~history.episode_start
    latest = np.maximum.accumulate(np.where(paid, np.arange(history.n_steps), -1), axis=1)
    cells = np.take_along_axis(history.observations, np.maximum(latest, 0)[..., None], axis=1)
    return np.where((latest >= 0)[..., None], cells, UNKNOWN)


def value_regimes(history: History) -> dict[str, Bool[np.ndarray, "batch step"]]:
    """Split the steps of lives in rooms with a lesser goal or a trap by what is visible.

    Returns:
        *hurt*: the step before cost something. Else *explore*: no cell is known to pay; *settle*: only the lesser goal
        is; *navigate*: the goal is known, and the agent elsewhere; *stay*: it is there. [batch, step]
    """
    goal, anything = last_cell_paid(history, GOAL), last_cell_paid(history, LEAST)
    hurt = (history.previous_rewards < 0) & ~history.episode_start
    known, paid = (goal >= 0).all(axis=-1), (anything >= 0).all(axis=-1)
    on_goal = (goal == history.observations).all(axis=-1)
    regimes = {
        "explore": ~paid,
        "settle": paid & ~known,
        "navigate": known & ~on_goal,
        "stay": known & on_goal,
    }
    return {"hurt": hurt, **{name: steps & ~hurt for name, steps in regimes.items()}}
