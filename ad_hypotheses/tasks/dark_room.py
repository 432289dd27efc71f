"""Dark Room and Dark Room Hard: find a cell that pays, seeing only where you stand.

Laskin et al. 2022, "In-context Reinforcement Learning with Algorithm Distillation" (arXiv 2210.14215), section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.errors import ConfigError, did_you_mean
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.edits.catalogue import DRAWN_FAMILIES, MOVING_FAMILIES, ROOM_FAMILIES
from ad_hypotheses.tasks.edits.kinds import Kind
from ad_hypotheses.tasks.options import drawn_moves, moving_goal
from ad_hypotheses.tasks.room import (
    ACTION_NAMES,
    MOVES,
    Square,
    gate_and_walk,
    nearest_unvisited,
    rewards_this_episode,
    thompson_over_goals,
    walk,
)
from ad_hypotheses.tasks.task import TRAINING_TASKS, Facts, Policy, check_range, parameters, split_numbers

OPTIONS = ("once", "goal_moves", "action_order")  # each changes one thing, and no two go together
ORDERS = (drawn_moves.FIXED, drawn_moves.DRAWN)
HARD = {"size": 17, "once": True}  # what makes a Dark Room the "dark-room-hard" of the paper


class RoomState(NamedTuple):
    """Where every agent of a batch stands, and what it is looking for.

    Attributes:
        cells: The agents' cells, `x * size + y`. [batch]
        goals: The goals' cells, `x * size + y`. [batch]
        paid: Whether the goal has paid all that it pays in this episode; never, where it pays every step. [batch]
        order: Which move each action makes, where that differs from task to task. [batch, action]
    """

    cells: Int[np.ndarray, " batch"]
    goals: Int[np.ndarray, " batch"]
    paid: Bool[np.ndarray, " batch"]
    order: Int[np.ndarray, "batch action"] | None = None


@dataclass(frozen=True)
class DarkRoom:
    """The distribution of Dark Room tasks: one for every cell that may be the goal.

    The agent starts in the centre and acts for `horizon` steps: 0 stay, 1 up, 2 down, 3 left, 4 right. `x` grows to the
    right, `y` downwards; whoever walks into a wall stays where it is. Every step that ends on the goal pays 1.
    Dark Room Hard has 17 x 17 cells, and only the first such step of an episode pays.

    Attributes:
        size: Cells a side, from 2 to 100.
        horizon: Steps an episode.
        once: Whether the goal pays once an episode.
        goal_moves: Chance, before every episode but the first, that the goal jumps to any of the other cells. A task is
            then the whole itinerary of a goal; those that are trained on and those held out have cells of their own.
        action_order: `"fixed"`, or `"drawn"`: which of the moves an action makes is drawn for each task. Tasks that are
            held out have orders, and goals, that no training task has.
    """

    size: int = 9
    horizon: int = 20
    once: bool = False
    goal_moves: float = field(default=0.0, metadata={"off": 0.0})
    action_order: str = field(default=drawn_moves.FIXED, metadata={"off": drawn_moves.FIXED})

    channels: ClassVar[tuple[str, ...]] = ("x", "y")
    n_actions: ClassVar[int] = len(MOVES)
    n_hidden: ClassVar[int] = 1
    rewards: ClassVar[tuple[float, ...]] = (0.0, 1.0)
    deterministic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a room that cannot be built.

        Raises:
            ConfigError: A parameter is out of range, or two of the options do not go together.
        """
        check_range(self.name, "size", self.size, 2, 100)
        check_range(self.name, "horizon", self.horizon, 1)
        check_range(self.name, "goal_moves", self.goal_moves, 0, 1)
        if self.action_order not in ORDERS:
            hint = did_you_mean(self.action_order, ORDERS)
            raise ConfigError(
                f"{self.name}: action_order is {self.action_order!r}, but it must be fixed or drawn.{hint}"
            )
        on = [name for name in OPTIONS if parameters(self).get(name)]
        if len(on) > 1:
            raise ConfigError(f"{self.name}: {' and '.join(on)} do not go together: set one of them.")

    @property
    def name(self) -> str:
        """What `make_task` calls the family."""
        return "dark-room-hard" if self.once else "dark-room"

    @property
    def action_names(self) -> tuple[str, ...]:
        """What people call the actions; they have no meaning where what they do is drawn."""
        return drawn_moves.ACTION_NAMES if self.action_order == drawn_moves.DRAWN else ACTION_NAMES

    @cached_property
    def square(self) -> Square:
        """The cells of a room."""
        return Square(self.size)

    @property
    def channel_sizes(self) -> tuple[int, ...]:
        """How many values each observation channel takes."""
        return (self.size, self.size)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are: one a cell, times 120 where what actions do is drawn."""
        return self.square.n_cells * (len(drawn_moves.ORDERS) if self.action_order == drawn_moves.DRAWN else 1)

    @property
    def n_states(self) -> int:
        """How many states a room has: one a cell, two if the goal pays once."""
        return self.size**2 * (2 if self.once else 1)

    @property
    def start(self) -> tuple[int, int]:
        """The cell `(x, y)` where every episode begins."""
        return self.square.centre

    def tasks(self) -> Facts:
        """Return all tasks, `{"goal": [task, 2]}`, ordered by x, then y; not where options make them many."""
        return {"goal": self.square.all_positions.copy()}

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Facts:
        """Draw `n` tasks uniformly, with replacement."""
        cells = rng.integers(self.square.n_cells, size=n)
        if self.goal_moves:
            return self._itineraries(cells, np.arange(self.square.n_cells), rng)
        facts = {"goal": self.square.positions(cells)}
        if self.action_order == drawn_moves.DRAWN:
            facts["order"] = drawn_moves.ORDERS[rng.integers(len(drawn_moves.ORDERS), size=n)]
        return facts

    def _itineraries(self, first: np.ndarray, cells: np.ndarray, rng: np.random.Generator) -> Facts:
        """Draw goals that move among some cells, `{"goals": [task, episode, 2]}`; `first` are places among those."""
        itineraries = moving_goal.itineraries(first, cells, self.goal_moves, rng)
        return {"goals": self.square.positions(itineraries.ravel()).reshape(*itineraries.shape, 2)}

    def facts_from(self, facts: Facts, episode: int, every: int = 1) -> Facts:
        """Return the facts of a life that begins with a later episode; see :func:`moving_goal.facts_from`."""
        return moving_goal.facts_from(facts, episode, every)

    def split(self, held_out: int, seed: int, train: int | None = None) -> tuple[Facts, Facts]:
        """Split the goals at random into those to train on and those never seen.

        Args:
            held_out: How many goals to hold out. A given seed holds out the same goals however many are trained on.
                Where goals move, a task begins at each of these, and is only ever at one of them. Where what actions do
                is drawn, 24 of the 120 orders are held out too.
            seed: Decides which.
            train: How many of the others to train on; all by default. Where goals move, how many tasks among all others
                to draw; 4096 by default. Where what actions do is drawn, how many pairs of a goal and an order.

        Returns:
            Facts of the training tasks and of the held-out tasks, without overlap.

        Raises:
            ConfigError: There are not that many goals.
        """
        if self.goal_moves:
            return self._split_moving(held_out, seed, train)
        if self.action_order == drawn_moves.DRAWN:
            return self._split_drawn(held_out, seed, train)
        trained, hidden = ({"goal": self.square.positions(cells)} for cells in self._split_cells(held_out, seed, train))
        return trained, hidden

    def _split_cells(self, held_out: int, seed: int, train: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Split the cells into those that may be goals where one trains, and those held out."""
        there_are = f"a room of {self.size} x {self.size} has {self.square.n_cells}"
        return split_numbers(self.name, self.square.n_cells, held_out, seed, train, "goals", there_are)

    def _split_drawn(self, held_out: int, seed: int, train: int | None) -> tuple[Facts, Facts]:
        """Split goals and orders, and pair those of either part."""
        (others, hidden), (trained, kept) = self._split_cells(held_out, seed), drawn_moves.split_orders(held_out, seed)
        n_pairs = len(others) * len(trained)
        n_train = n_pairs if train is None else train
        if not 1 <= n_train <= n_pairs:
            there_are = f"{len(others)} goals and {len(trained)} orders make {n_pairs} pairs"
            raise ConfigError(f"{self.name}: cannot train on {n_train} tasks: {there_are}, and at least 1 is needed.")
        pairs = np.random.default_rng(seed).spawn(1)[0].permutation(n_pairs)[:n_train]
        goal, order = np.divmod(pairs, len(trained))
        return (
            {"goal": self.square.positions(others[goal]), "order": trained[order]},
            {"goal": self.square.positions(hidden), "order": kept[np.arange(held_out) % max(len(kept), 1)]},
        )

    def _split_moving(self, held_out: int, seed: int, train: int | None) -> tuple[Facts, Facts]:
        """Draw goals that move among the cells of either part."""
        others, hidden = self._split_cells(held_out, seed)
        n_train = TRAINING_TASKS if train is None else train
        if n_train < 1:
            raise ConfigError(f"{self.name}: cannot train on {n_train} tasks; at least 1.")
        held_out_rng, train_rng = np.random.default_rng(seed).spawn(2)
        return (
            self._itineraries(train_rng.integers(len(others), size=n_train), others, train_rng),
            self._itineraries(np.arange(held_out), hidden, held_out_rng),
        )

    def reset(self, facts: Facts, rng: np.random.Generator | None = None) -> RoomState:
        """Put every agent into the centre of its room; of goals that move, the first counts."""
        goals = self.square.cells(facts["goal"] if "goal" in facts else facts["goals"][:, 0])
        start = self.square.cells(np.array([self.start]))
        order = np.asarray(facts["order"]) if self.action_order == drawn_moves.DRAWN else None
        return RoomState(np.repeat(start, len(goals)), goals, np.zeros(len(goals), dtype=bool), order)

    def observe(self, state: RoomState) -> Int[np.ndarray, "batch channel"]:
        """Return the cells `(x, y)` where the agents stand. [batch, 2]"""
        return self.square.positions(state.cells)

    def step(
        self, state: RoomState, actions: Int[np.ndarray, " batch"], rng: np.random.Generator | None = None
    ) -> tuple[Int[np.ndarray, "batch channel"], Float[np.ndarray, " batch"], RoomState]:
        """Let every agent act once.

        Args:
            state: From `reset` or the step before.
            actions: One for every agent, `0 .. 4`. [batch]
            rng: Not used: nothing is left to chance in this world.

        Returns:
            What the agents see next `[batch, 2]`, what they are paid `[batch]`, and the next state.
        """
        cells = self.square.move(state.cells, drawn_moves.moves_of(state.order, actions))
        pays = cells == state.goals
        after = state._replace(cells=cells)
        if self.once:
            pays &= ~state.paid
            after = after._replace(paid=state.paid | pays)
        return self.observe(after), pays.astype(np.float32), after

    def state_index(self, state: RoomState) -> Int[np.ndarray, " batch"]:
        """Return the agents' cells, `x * size + y`, plus `size * size` once the goal has paid. [batch]"""
        return state.cells + state.paid * np.intp(self.square.n_cells) if self.once else state.cells

    def expert(self, state: RoomState) -> Float[np.ndarray, "batch action"]:
        """Return the moves of whoever knows the goal; once it has paid, all are alike, and the agent stays.

        Returns:
            [batch, action]
        """
        target = np.where(state.paid, state.cells, state.goals)
        moves = walk(self.square.positions(state.cells), self.square.positions(target))
        return drawn_moves.by_action(moves, state.order)

    def baselines(self, rng: np.random.Generator) -> Mapping[str, Policy]:
        """Return those that look for the goal and then walk there."""
        return {
            "gate-and-walk": gate_and_walk(self),
            "nearest-unvisited": nearest_unvisited(self),
            "thompson-over-goals": thompson_over_goals(self, rng),
        }

    def move_filter(self, n_rows: int) -> drawn_moves.MoveFilter | None:
        """Return what finds out what actions do in so many lives; None where that is known."""
        return drawn_moves.MoveFilter(self.square, n_rows) if self.action_order == drawn_moves.DRAWN else None

    def counterfactuals(self) -> Mapping[str, Kind]:
        """Return the kinds of counterfactual of rooms, the most telling first."""
        if self.action_order == drawn_moves.DRAWN:
            return DRAWN_FAMILIES
        return MOVING_FAMILIES if self.goal_moves else ROOM_FAMILIES

    def optimal_return(self, facts: Facts) -> Float[np.ndarray, " task"]:
        """Return what the shortest walk to the goal earns in an episode. [task]

        The arriving step is paid already, so a goal `d >= 1` moves away is worth `horizon - d + 1`, or 1 if it pays
        once and is within reach. Where goals move, this is of the first of the episodes.
        """
        goal = facts["goal"] if "goal" in facts else facts["goals"][:, 0]
        distance = np.abs(goal.astype(int) - self.start).sum(axis=1)
        paid = np.maximum(self.horizon - np.maximum(distance - 1, 0), 0).astype(float)
        return np.minimum(paid, 1) if self.once else paid

    def walk(
        self, cells: Int[np.ndarray, "batch 2"], targets: Int[np.ndarray, "batch 2"]
    ) -> Float[np.ndarray, "batch move"]:
        """Return the distribution that is uniform over the moves that shorten the way, staying on the target.

        Args:
            cells: Where the agents stand. [batch, 2]
            targets: Where they want to be. [batch, 2]
        """
        return walk(cells, targets)

    def regimes(self, history: History) -> dict[str, Bool[np.ndarray, "batch step"]]:
        """Say what a step is about, judged by what is visible at it.

        Returns:
            *explore*: no rewarded cell is known. *navigate*: one is known, the agent is elsewhere. *stay*: it is there.
            Where the goal pays once, *paid*: it has, in this episode. Where it moves, *search*: the cell that paid last
            was arrived at since, and did not pay. Where what actions do is drawn, *try*: not all of them were tried.
            Every step is in exactly one. [batch, step]
        """
        goal = history.last_rewarded_cell()
        known = (goal >= 0).all(axis=-1)
        on_goal = (goal == history.observations).all(axis=-1)
        regimes = {"explore": ~known, "navigate": known & ~on_goal, "stay": known & on_goal}
        if self.goal_moves:
            empty = moving_goal.found_empty(history, goal)
            return {name: steps & ~empty for name, steps in regimes.items()} | {"search": empty}
        if self.action_order == drawn_moves.DRAWN:
            untried = (history.action_counts() == 0).any(axis=-1)
            return {"try": untried, **{name: steps & ~untried for name, steps in regimes.items()}}
        if not self.once:
            return regimes
        paid = rewards_this_episode(history) > 0
        return {name: steps & ~paid for name, steps in regimes.items()} | {"paid": paid}
