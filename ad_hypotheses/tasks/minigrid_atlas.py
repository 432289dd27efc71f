"""Every layout of a MiniGrid family that was explored in this process, in one flat table.

Rows of the table are states, one layout's after the other's, so that a step of thousands of agents in as many layouts
is a single gather. Layouts are explored when they are first needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from jaxtyping import Float, Int
from minigrid.core.world_object import Goal

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.tasks.minigrid_table import Layout, begin, encoded, explore, open_environment, rehearse, start_of
from ad_hypotheses.tasks.minigrid_view import NO_PLACE, cells_of, places_of

REHEARSAL_FIRST, REHEARSAL = 200, 20  # steps that the first table and every other is compared to the real environment
ALL_ACTIONS = 7  # left, right, forward, pickup, drop, toggle, done
MOVING = 3  # the first of them are left, right, forward


@dataclass(frozen=True)
class Tables:
    """The explored layouts.

    Attributes:
        next_row: Where each action leads. [row * action]
        reward: What it pays. [row * action]
        view: What is seen. [row, channel]
        place: Cell of the agent, as one number. [row]
    """

    next_row: Int[np.ndarray, " entry"]
    reward: Float[np.ndarray, " entry"]
    view: Int[np.ndarray, "row channel"]
    place: Int[np.ndarray, " row"]


class Atlas:
    """The layouts of one environment, as far as they are explored.

    Args:
        environment: Its id.
        hidden_goal: Whether goal squares are taken away.
        view: Cells a side that the agent sees.
        actions: How many of MiniGrid's actions exist; 0 for those up to the last that changes anything in layout 0.
        max_states: States that a layout may have.

    Raises:
        ConfigError: There is no such environment, it cannot be made a table, or there is no goal to hide.
    """

    def __init__(self, environment: str, hidden_goal: bool, view: int, actions: int, max_states: int) -> None:
        self.environment, self.hidden_goal, self.view, self.max_states = environment, hidden_goal, view, max_states
        self.real, self.witness = open_environment(environment), open_environment(environment)
        self.layouts: dict[int, Layout] = {}
        self.distinct: list[int] = []
        self.tried = 0
        self.known_starts: set[object] = set()
        self.first_step: dict[tuple[int, int], int] = {}
        self.steps = np.zeros(0, dtype=np.int32)
        self.n_actions = actions or ALL_ACTIONS
        if hidden_goal:
            self._need_goal()
        first = self.layout(0)
        if not actions:
            moves = (first.next_state != np.arange(len(first.next_state))[:, None]) | first.rewarded
            self.n_actions = max(MOVING, 1 + int(np.flatnonzero(moves.any(axis=0)).max(initial=0)))
            usable = slice(self.n_actions)
            self.layouts[0] = replace(first, next_state=first.next_state[:, usable], rewarded=first.rewarded[:, usable])
        self.parts = [_flat(self.layouts[0], 0)]
        self.first_row = {0: 0}

    def seeds(self, most: int) -> Int[np.ndarray, " layout"]:
        """Return the seeds below `most` whose layouts differ from those of all before. [layout]"""
        while self.tried < most:
            begin(self.real, self.tried, self.hidden_goal)
            start = start_of(self.real)
            if start not in self.known_starts:
                self.known_starts.add(start)
                self.distinct.append(self.tried)
            self.tried += 1
        return np.array([seed for seed in self.distinct if seed < most])

    def layout(self, seed: int) -> Layout:
        """Return a layout, exploring it at the first time.

        Raises:
            ConfigError: It cannot be made a table.
        """
        if seed not in self.layouts:
            name, hide, view = self.environment, self.hidden_goal, self.view
            layout = explore(self.real, name, seed, self.n_actions, view, self.max_states, hide)
            rehearse(self.witness, name, seed, layout, view, hide, REHEARSAL_FIRST if not self.layouts else REHEARSAL)
            self.layouts[seed] = layout
        return self.layouts[seed]

    def grid(self, seed: int) -> Int[np.ndarray, "x y 3"]:
        """Return type, colour and state of every cell of a layout, as an episode begins. [x, y, 3]"""
        begin(self.real, seed, self.hidden_goal)
        return encoded(self.real)

    def rows(self, seeds: Int[np.ndarray, " batch"]) -> tuple[Tables, Int[np.ndarray, " batch"]]:
        """Return the tables of all layouts so far, and the row that each of some layouts begins at. [batch]"""
        unique, inverse = np.unique(seeds, return_inverse=True)
        new = [int(seed) for seed in unique if int(seed) not in self.first_row]
        first = len(self.parts[0].place)
        for seed in new:
            self.parts.append(_flat(self.layout(seed), first))
            self.first_row[seed] = first
            first += len(self.parts[-1].place)
        if new:
            names = ("next_row", "reward", "view", "place")
            self.parts = [Tables(*(np.concatenate([getattr(part, name) for part in self.parts]) for name in names))]
        return self.parts[0], np.array([self.first_row[int(seed)] for seed in unique], dtype=np.intp)[inverse]

    def ways(
        self, seeds: Int[np.ndarray, " batch"], goals: Int[np.ndarray, " batch"]
    ) -> tuple[Int[np.ndarray, " step"], Int[np.ndarray, " batch"]]:
        """Return steps to the goal from every state, flat, and where those of each agent's layout and goal begin.

        Args:
            seeds: The agents' layouts. [batch]
            goals: The places of their goals, `NO_PLACE` where the layout itself pays. [batch]
        """
        pairs, inverse = np.unique(np.stack([seeds, goals], axis=1), axis=0, return_inverse=True)
        missing: dict[int, list[int]] = {}
        for seed, goal in pairs.tolist():
            if (seed, goal) not in self.first_step:
                missing.setdefault(seed, []).append(goal)
        tables, first = [self.steps], len(self.steps)
        for seed, places in missing.items():
            layout = self.layout(seed)
            steps = layout.steps[None] if places == [NO_PLACE] else layout.steps_to(cells_of(np.array(places)))
            tables.append(steps.reshape(-1))
            for place in places:
                self.first_step[seed, place] = first
                first += steps.shape[1]
        if missing:
            self.steps = np.concatenate(tables)
        starts = np.array([self.first_step[seed, goal] for seed, goal in pairs.tolist()], dtype=np.intp)
        return self.steps, starts[inverse.reshape(-1)]

    def _need_goal(self) -> None:
        begin(self.witness, 0, False)
        if not any(isinstance(content, Goal) for content in self.witness.grid.grid):
            raise ConfigError(
                f"{self.environment} has no goal square, so there is none to hide: leave hidden_goal out, or take an "
                "environment with one, e.g. MiniGrid-Empty-8x8-v0."
            )


@cache
def atlas_of(environment: str, hidden_goal: bool, view: int, actions: int, max_states: int) -> Atlas:
    """Return the one atlas of a family; see :class:`Atlas`."""
    return Atlas(environment, hidden_goal, view, actions, max_states)


def _flat(layout: Layout, first: int) -> Tables:
    next_row = (layout.next_state + np.int32(first)).reshape(-1)
    reward = layout.rewarded.reshape(-1).astype(np.float32)
    return Tables(next_row, reward, layout.view, places_of(layout.agent[:, :2]).astype(np.int32))
