"""What to measure learners in MiniGrid against, without anything learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.minigrid_view import NO_PLACE, places_of
from ad_hypotheses.tasks.task import Policy

if TYPE_CHECKING:
    from ad_hypotheses.tasks.minigrid_task import GridState, MinigridTask

NOWHERE = -2  # a place that nobody can reach: to move about without being put back


def nearest_unvisited(task: MinigridTask) -> Policy:
    """Go to the nearest cell not known to be empty until one pays, then there again and again.

    It knows the layout and counts its own steps, so it is a search with a map; only the goal is unknown to it.
    """
    search = _Search(task)

    def policy(history: History) -> np.ndarray:
        search.update(history)
        return task.expert(search.state._replace(goals=search.target()))

    return policy


class _Search:
    """Where the agents are, by their own actions, and where the goal may be."""

    state: GridState
    places: np.ndarray  # cells that may be the goal [row, cell]
    possible: np.ndarray  # whether each still may [row, cell]
    known: np.ndarray  # the goal, once it paid [row]

    def __init__(self, task: MinigridTask) -> None:
        self.task = task

    def update(self, history: History) -> None:
        """Take in the last token; a history of one step begins a new life."""
        if history.n_steps == 1:
            self._begin(history)
            return
        _, _, after = self.task.step(self.state, history.actions[:, -2])
        arrived = after.tables.place.take(after.rows)
        paid = history.rewards[:, -2] > 0
        self.possible &= self.places != arrived[:, None]
        self.known = np.where(paid, arrived, self.known)
        back = paid | history.episode_start[:, -1]
        self.state = after._replace(rows=np.where(back, after.starts, after.rows))

    def target(self) -> np.ndarray:
        """Return the goal where it is known, else the nearest place that may be it. [row]"""
        steps = self.task.atlas.ways(np.repeat(self.state.layouts, self.places.shape[1]), self.places.reshape(-1))
        here = self.task.state_index(self.state)[:, None]
        away = steps[0].take(steps[1].reshape(self.places.shape) + here).astype(float)
        nearest = np.where(self.possible, away, np.inf).argmin(axis=1)
        return np.where(self.known == NO_PLACE, self.places[np.arange(len(nearest)), nearest], self.known)

    def _begin(self, history: History) -> None:
        start = self.task.reset(history.task)
        self.state = start._replace(goals=np.full(history.n_rows, NOWHERE))
        free = [places_of(self.task.atlas.layout(seed).free) for seed in start.layouts.tolist()]
        most = max(len(places) for places in free)
        # shorter rows repeat their first place, which is there already
        self.places = np.stack([np.pad(places, (0, most - len(places)), constant_values=places[0]) for places in free])
        self.possible = np.ones(self.places.shape, dtype=bool)
        self.known = np.full(history.n_rows, NO_PLACE)
