"""Any deterministic MiniGrid environment as a family of tasks, one for every layout or for every hidden goal.

Chevalier-Boisvert et al. 2023, "Minigrid & Miniworld: Modular & Customizable Reinforcement Learning Environments for
Goal-Oriented Tasks".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.progress import tell
from ad_hypotheses.tasks.edits.catalogue import fact_moved, goal_moved
from ad_hypotheses.tasks.edits.families import redrawn
from ad_hypotheses.tasks.edits.kinds import Kind, lacks_nothing
from ad_hypotheses.tasks.minigrid_view import NO_PLACE, places_of
from ad_hypotheses.tasks.task import Facts, Policy, check_range, split_numbers

if TYPE_CHECKING:
    from ad_hypotheses.tasks.minigrid_atlas import Atlas

PREFIX = "minigrid:"
ACTION_NAMES = ("left", "right", "forward", "pickup", "drop", "toggle", "done")
CELL = {"type": 11, "colour": 6, "state": 3}  # what is seen of a cell, and how many values that has
DIRECTIONS = 4


class GridState(NamedTuple):
    """Where every agent of a batch is.

    Attributes:
        rows: States, as rows of the tables of all layouts. [batch]
        starts: The row that each agent is put back to. [batch]
        layouts: Seeds of the layouts. [batch]
        goals: Places of the hidden goals, -1 where goals are not hidden. [batch]
        tables: Where actions lead and what is seen there.
    """

    rows: Int[np.ndarray, " batch"]
    starts: Int[np.ndarray, " batch"]
    layouts: Int[np.ndarray, " batch"]
    goals: Int[np.ndarray, " batch"]
    tables: Any


@dataclass(frozen=True)
class MinigridTask:
    """The layouts of a MiniGrid environment, seen as its agent sees them.

    An episode takes exactly `horizon` steps. Whoever reaches the goal is paid 1 and is back at the layout's start at
    once, so the return is the number of laps; whoever fails (lava) is put back unpaid. MiniGrid's own reward,
    `1 - 0.9 t / T`, also pays speed. What a mission says in words is not seen.

    Attributes:
        environment: Id of the environment, e.g. `"MiniGrid-FourRooms-v0"`.
        horizon: Steps an episode.
        hidden_goal: Take the goal square away and pay for reaching a cell that looks like any other. Every empty cell
            that can be reached is then the goal of one task.
        view: Cells a side that the agent sees, odd, from 3 to 15.
        actions: How many of left, right, forward, pickup, drop, toggle, done exist; 0 for all up to the last that
            changes anything in the layout of seed 0.
        layouts: Layouts are those of the seeds `0 .. layouts - 1`; of equal ones, one.
        max_states: States that a layout may have.
    """

    environment: str = "MiniGrid-Empty-8x8-v0"
    horizon: int = 50
    hidden_goal: bool = False
    view: int = 7
    actions: int = 0
    layouts: int = 64
    max_states: int = 20_000

    rewards: ClassVar[tuple[float, ...]] = (0.0, 1.0)
    deterministic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what cannot be played, exploring the first layout.

        Raises:
            ConfigError: There is no such environment, it cannot be made a table, or a number is out of range.
        """
        check_range(self.name, "horizon", self.horizon, 1)
        check_range(self.name, "view", self.view, 3, 15)
        check_range(self.name, "actions", self.actions, 0, len(ACTION_NAMES))
        check_range(self.name, "layouts", self.layouts, 1)
        check_range(self.name, "max_states", self.max_states, 1)
        if self.view % 2 == 0:
            raise ConfigError(f"{self.name}: view is {self.view}, but it must be odd: the agent is in the middle.")
        _ = self.atlas

    @property
    def name(self) -> str:
        """What `make_task` calls the family."""
        return PREFIX + self.environment

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """What is seen: type, colour and state of each cell `(i, j)` of the image, and the direction."""
        side = range(self.view)
        return (*(f"{part}_{i}_{j}" for i in side for j in side for part in CELL), "direction")

    @cached_property
    def channel_sizes(self) -> tuple[int, ...]:
        """How many values each channel takes."""
        return (*CELL.values(),) * self.view**2 + (DIRECTIONS,)

    @property
    def n_actions(self) -> int:
        """How many of MiniGrid's actions exist."""
        return self.atlas.n_actions

    @property
    def action_names(self) -> tuple[str, ...]:
        """What MiniGrid calls them."""
        return ACTION_NAMES[: self.n_actions]

    @cached_property
    def n_states(self) -> int:
        """How many states the greatest layout has; explores all of them."""
        most, seeds = 0, self.atlas.seeds(self.layouts).tolist()
        for number, seed in enumerate(seeds):  # of some environments that takes a minute
            tell("exploring layouts", number, len(seeds), "layouts")
            most = max(most, len(self.atlas.layout(seed).agent))
        return most

    @property
    def atlas(self) -> Atlas:
        """The explored layouts, shared by all equal families of the process."""
        from ad_hypotheses.tasks.minigrid_atlas import atlas_of  # MiniGrid, and pygame with it, take a second to load

        return atlas_of(self.environment, self.hidden_goal, self.view, self.actions, self.max_states)

    def tasks(self) -> Facts:
        """Return all tasks: `{"layout": [task]}`, the seeds, and where they are hidden `{"goal": [task, 2]}`."""
        seeds = self.atlas.seeds(self.layouts)
        if not self.hidden_goal:
            return {"layout": seeds}
        free = [self.atlas.layout(seed).free for seed in seeds.tolist()]
        return {"layout": np.repeat(seeds, [len(cells) for cells in free]), "goal": np.concatenate(free)}

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Facts:
        """Draw `n` tasks uniformly, with replacement."""
        tasks = self.tasks()
        drawn = rng.integers(len(tasks["layout"]), size=n)
        return {name: fact[drawn] for name, fact in tasks.items()}

    def split(self, held_out: int, seed: int, train: int | None = None) -> tuple[Facts, Facts]:
        """Split the tasks at random into those to train on and those never seen.

        Args:
            held_out: How many to hold out. A given seed holds out the same however many are trained on.
            seed: Decides which.
            train: How many of the others to train on; all by default.

        Returns:
            Facts of the training tasks and of the held-out tasks, without overlap.

        Raises:
            ConfigError: There are not that many tasks.
        """
        tasks = self.tasks()
        n_tasks = len(tasks["layout"])
        there_are = f"the seeds below {self.layouts} make {n_tasks} different ones"
        advice = "" if self.hidden_goal else " Raise layouts, or hide the goal (hidden_goal: true)."
        parts = split_numbers(self.name, n_tasks, held_out, seed, train, "tasks", there_are, advice)
        trained, hidden = ({name: fact[rows] for name, fact in tasks.items()} for rows in parts)
        return trained, hidden

    def reset(self, facts: Facts, rng: np.random.Generator | None = None) -> GridState:
        """Put every agent at the start of its layout."""
        layouts = np.asarray(facts["layout"])
        tables, starts = self.atlas.rows(layouts)
        return GridState(starts, starts, layouts, self.places(facts), tables)

    def observe(self, state: GridState) -> Int[np.ndarray, "batch channel"]:
        """Return what the agents see. [batch, channel]"""
        return state.tables.view.take(state.rows, axis=0)

    def step(
        self, state: GridState, actions: Int[np.ndarray, " batch"], rng: np.random.Generator | None = None
    ) -> tuple[Int[np.ndarray, "batch channel"], Float[np.ndarray, " batch"], GridState]:
        """Let every agent act once.

        Args:
            state: From `reset` or the step before.
            actions: One for every agent. [batch]
            rng: Not used: nothing is left to chance in these worlds.

        Returns:
            What the agents see next `[batch, channel]`, what they are paid `[batch]`, and the next state.
        """
        entries = state.rows * self.n_actions + actions
        rows = state.tables.next_row.take(entries).astype(np.intp)
        if self.hidden_goal:
            arrived = state.tables.place.take(rows) == state.goals
            rows, rewards = np.where(arrived, state.starts, rows), arrived.astype(np.float32)
        else:
            rewards = state.tables.reward.take(entries)
        after = state._replace(rows=rows)
        return self.observe(after), rewards, after

    def agents(self, history: History) -> Int[np.ndarray, "batch step 3"]:
        """Return position and direction `(x, y, direction)` of the agents before each step, by what they did.

        The model does not see them. Directions are right, down, left, up.
        """
        layouts = np.asarray(history.task["layout"])
        tables = [self.atlas.layout(seed).agent for seed in layouts.tolist()]
        start = state = self.reset(history.task)
        where = np.empty((*history.shape, 3), dtype=np.int16)
        for step in range(history.n_steps):
            begins = history.episode_start[:, step]
            state = state._replace(rows=np.where(begins, start.rows, state.rows))
            numbers = self.state_index(state)
            where[:, step] = [table[number] for table, number in zip(tables, numbers, strict=True)]
            _, _, state = self.step(state, history.actions[:, step].astype(np.intp))
        return where

    def state_index(self, state: GridState) -> Int[np.ndarray, " batch"]:
        """Return the number of each agent's state within its layout, 0 at the start. [batch]"""
        return state.rows - state.starts

    def expert(self, state: GridState) -> Float[np.ndarray, "batch action"]:
        """Return the distribution of whoever knows layout and goal: the next step of any shortest way.

        To hurry is optimal however many steps are left, since every lap pays the same and ends at the start. Where no
        way leads to the goal, all actions are alike. [batch, action]
        """
        steps, first = self.atlas.ways(state.layouts, state.goals)
        entries = (state.rows * self.n_actions)[:, None] + np.arange(self.n_actions)
        rows = state.tables.next_row.take(entries)
        arrives = state.tables.place.take(rows) == state.goals[:, None]
        if not self.hidden_goal:
            arrives = state.tables.reward.take(entries) > 0
        left = np.where(arrives, 0, steps.take(first[:, None] + rows - state.starts[:, None]))
        best = left == left.min(axis=1, keepdims=True)
        return best / best.sum(axis=1, keepdims=True)

    def counterfactuals(self) -> Mapping[str, Kind]:
        """Return the kinds of counterfactual of grids, the most telling first."""
        if self.hidden_goal:
            return {"goal-moved": replace(goal_moved(elsewhere), edit=None, lacks=lacks_nothing)}
        words = "from the middle of the life on, the layout is another one"
        breaks = "the layout that was learned and the one that is"
        return {"layout-changed": fact_moved(words, breaks, redrawn("layout"))}

    def optimal_return(self, facts: Facts) -> Float[np.ndarray, " task"]:
        """Return how many of the shortest laps fit into an episode. [task]"""
        places, laps = self.places(facts), []
        for seed, place in zip(np.asarray(facts["layout"]).tolist(), places.tolist(), strict=True):
            layout = self.atlas.layout(seed)
            laps.append(self.horizon // layout.lap(place))
        return np.array(laps, dtype=float)

    def regimes(self, history: History) -> dict[str, Bool[np.ndarray, "batch step"]]:
        """Say what a step is about, judged by what is visible at it.

        Returns:
            *explore*: no reward is visible yet. *exploit*: one is. Every step is in exactly one. [batch, step]
        """
        paid = history.rewards_seen > 0
        return {"explore": ~paid, "exploit": paid}

    def baselines(self, rng: np.random.Generator) -> Mapping[str, Policy]:
        """Return, for hidden goals, the search of whoever knows the layout; for others nothing."""
        return {"nearest-unvisited": nearest_unvisited(self)} if self.hidden_goal else {}

    def places(self, facts: Facts) -> Int[np.ndarray, " task"]:
        """Return the hidden goals as places, as the tables number them, -1 where nothing is hidden. [task]"""
        if not self.hidden_goal:
            return np.full(len(facts["layout"]), NO_PLACE)
        return places_of(np.asarray(facts["goal"]))


def elsewhere(task: MinigridTask, facts: Facts, rng: np.random.Generator) -> Facts:
    """Return the layouts with the hidden goal on another of their free cells, where there is one."""
    goals = np.array(facts["goal"])
    for row, seed in enumerate(np.asarray(facts["layout"]).tolist()):
        free = task.atlas.layout(seed).free
        others = free[(free != goals[row]).any(axis=1)]
        goals[row] = others[rng.integers(len(others))] if len(others) else goals[row]
    return {**facts, "goal": goals}


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
        places = self.task.state_index(self.state)[:, None]
        away = steps[0].take(steps[1].reshape(self.places.shape) + places).astype(float)
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
