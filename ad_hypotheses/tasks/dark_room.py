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
from ad_hypotheses.tasks.edits.catalogue import (
    CHANCE_FAMILIES,
    DRAWN_FAMILIES,
    LESSER_FAMILIES,
    MOVING_FAMILIES,
    ROOM_FAMILIES,
    TRAP_FAMILIES,
)
from ad_hypotheses.tasks.edits.kinds import Kind
from ad_hypotheses.tasks.options import drawn_moves, moving_goal, room_tasks, values
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
from ad_hypotheses.tasks.task import Facts, Policy, check_range, parameters

OPTIONS = ("once", "goal_moves", "action_order", "pays", "second_goal", "trap")  # of which no two go together
ORDERS = (drawn_moves.FIXED, drawn_moves.DRAWN)
HARD = {"size": 17, "once": True}  # what makes a Dark Room the "dark-room-hard" of the paper


class RoomState(NamedTuple):
    """Where every agent of a batch stands, and what it is looking for.

    Attributes:
        cells: The agents' cells, `x * size + y`. [batch]
        goals: The goals' cells, `x * size + y`. [batch]
        paid: Whether the goal has paid all that it pays in this episode; never, where it pays every step. [batch]
        order: Which move each action makes, where that differs from task to task. [batch, action]
        places: What all cells pay, where it is not only the goal.
        steps_left: Until the episode ends, there. [batch]
    """

    cells: Int[np.ndarray, " batch"]
    goals: Int[np.ndarray, " batch"]
    paid: Bool[np.ndarray, " batch"]
    order: Int[np.ndarray, "batch action"] | None = None
    places: values.PaidCells | None = None
    steps_left: Int[np.ndarray, " batch"] | None = None


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
        pays: Chance that a step that ends on the goal pays.
        second_goal: What a step pays that ends on a second goal, the fact `lesser`; 0 for none.
        trap: What a step pays that ends on another cell, the fact `trap`, below 0; 0 for none.
    """

    size: int = 9
    horizon: int = 20
    once: bool = False
    goal_moves: float = field(default=0.0, metadata={"off": 0.0})
    action_order: str = field(default=drawn_moves.FIXED, metadata={"off": drawn_moves.FIXED})
    pays: float = field(default=1.0, metadata={"off": 1.0})
    second_goal: float = field(default=0.0, metadata={"off": 0.0})
    trap: float = field(default=0.0, metadata={"off": 0.0})

    channels: ClassVar[tuple[str, ...]] = ("x", "y")
    n_actions: ClassVar[int] = len(MOVES)
    n_hidden: ClassVar[int] = 1
    deterministic_ways: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a room that cannot be built.

        Raises:
            ConfigError: A parameter is out of range, or two of the options do not go together.
        """
        check_range(self.name, "size", self.size, 2, 100)
        check_range(self.name, "horizon", self.horizon, 1)
        check_range(self.name, "goal_moves", self.goal_moves, 0, 1)
        check_range(self.name, "pays", self.pays, 0.01, 1)
        check_range(self.name, "second_goal", self.second_goal, 0, 1)
        check_range(self.name, "trap", self.trap, -100, 0)
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
    def rewards(self) -> tuple[float, ...]:
        """Every reward that exists: 0, 1, and what a second goal or a trap pays."""
        return tuple(sorted({0.0, 1.0, *self.amounts.values()}))

    @property
    def deterministic(self) -> bool:
        """Whether nothing is left to chance: where the goal pays by chance, only ways are not."""
        return self.pays == 1

    @property
    def draws_moves(self) -> bool:
        """Whether what actions do is drawn for each task."""
        return self.action_order == drawn_moves.DRAWN

    @property
    def amounts(self) -> dict[str, float]:
        """What places beside the goal pay, by the name of their fact."""
        return {name: amount for name, amount in (("lesser", self.second_goal), ("trap", self.trap)) if amount}

    @property
    def action_names(self) -> tuple[str, ...]:
        """What people call the actions; they have no meaning where what they do is drawn."""
        return drawn_moves.ACTION_NAMES if self.draws_moves else ACTION_NAMES

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
        return self.square.n_cells * (len(drawn_moves.ORDERS) if self.draws_moves else 1)

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
        return room_tasks.sample(self, rng, n)

    def split(self, held_out: int, seed: int, train: int | None = None) -> tuple[Facts, Facts]:
        """Split the goals at random into those to train on and those never seen; see :func:`room_tasks.split`."""
        return room_tasks.split(self, held_out, seed, train)

    def facts_from(self, facts: Facts, episode: int, every: int = 1) -> Facts:
        """Return the facts of a life that begins with a later episode; see :func:`moving_goal.facts_from`."""
        return moving_goal.facts_from(facts, episode, every)

    def reset(self, facts: Facts, rng: np.random.Generator | None = None) -> RoomState:
        """Put every agent into the centre of its room; of goals that move, the first counts."""
        goals = self.square.cells(facts["goal"] if "goal" in facts else facts["goals"][:, 0])
        start = self.square.cells(np.array([self.start]))
        begun = RoomState(np.repeat(start, len(goals)), goals, np.zeros(len(goals), dtype=bool))
        if self.draws_moves:
            return begun._replace(order=np.asarray(facts["order"]))
        if self.amounts:
            places = values.PaidCells.of(self.square, facts, self.amounts, self.horizon)
            return begun._replace(places=places, steps_left=np.full(len(goals), self.horizon))
        return begun

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
            rng: Decides whether the goal pays, where it does so by chance; else not used.

        Returns:
            What the agents see next `[batch, 2]`, what they are paid `[batch]`, and the next state.
        """
        cells = self.square.move(state.cells, drawn_moves.moves_of(state.order, actions))
        pays = cells == state.goals
        after = state._replace(cells=cells)
        if state.places is not None and state.steps_left is not None:
            paid = state.places.pay[np.arange(len(cells)), cells]
            return self.observe(after), paid, after._replace(steps_left=state.steps_left - 1)
        if self.pays < 1:
            assert rng is not None, "chance decides whether the goal pays"
            pays &= rng.random(len(cells)) < self.pays
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
        if state.places is not None and state.steps_left is not None:
            return state.places.best(state.cells, state.steps_left)
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
        return drawn_moves.MoveFilter(self.square, n_rows) if self.draws_moves else None

    def counterfactuals(self) -> Mapping[str, Kind]:
        """Return the kinds of counterfactual of rooms, the most telling first."""
        if self.draws_moves:
            return DRAWN_FAMILIES
        if self.pays < 1 or self.amounts:
            return CHANCE_FAMILIES if self.pays < 1 else LESSER_FAMILIES if self.second_goal else TRAP_FAMILIES
        return MOVING_FAMILIES if self.goal_moves else ROOM_FAMILIES

    def optimal_return(self, facts: Facts) -> Float[np.ndarray, " task"]:
        """Return what the shortest walk to the goal earns in an episode. [task]

        The arriving step is paid already, so a goal `d >= 1` moves away is worth `horizon - d + 1`, or 1 if it pays
        once and is within reach. Where goals move, this is of the first of the episodes; where the goal pays by chance,
        in expectation; with a second goal or a trap, it is what a plan of all steps earns.
        """
        if self.amounts:
            places = values.PaidCells.of(self.square, facts, self.amounts, self.horizon)
            return places.optimum(int(self.square.cells(np.array([self.start]))[0]))
        goal = facts["goal"] if "goal" in facts else facts["goals"][:, 0]
        distance = np.abs(goal.astype(int) - self.start).sum(axis=1)
        paid = self.pays * np.maximum(self.horizon - np.maximum(distance - 1, 0), 0)
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
            With a second goal or a trap see :func:`values.value_regimes`. Every step is in exactly one. [batch, step]
        """
        if self.amounts:
            return values.value_regimes(history)
        goal = history.last_rewarded_cell()
        known = (goal >= 0).all(axis=-1)
        on_goal = (goal == history.observations).all(axis=-1)
        regimes = {"explore": ~known, "navigate": known & ~on_goal, "stay": known & on_goal}
        if self.goal_moves:
            empty = moving_goal.found_empty(history, goal)
            return {name: steps & ~empty for name, steps in regimes.items()} | {"search": empty}
        if self.draws_moves:
            untried = (history.action_counts() == 0).any(axis=-1)
            return {"try": untried, **{name: steps & ~untried for name, steps in regimes.items()}}
        if not self.once:
            return regimes
        paid = rewards_this_episode(history) > 0
        return {name: steps & ~paid for name, steps in regimes.items()} | {"paid": paid}
