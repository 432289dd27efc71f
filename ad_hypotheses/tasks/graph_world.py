"""Graph world: learn the ways of an unknown graph, and which of its states pays.

Every task is another strongly connected directed graph, so that unlike in a room nothing about the way is known before
it was gone once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.bandit_policies import best_of
from ad_hypotheses.tasks.edits.catalogue import LABELS_EXCHANGED, detour, goal_moved, place_swapped, two_goals
from ad_hypotheses.tasks.edits.kinds import Kind
from ad_hypotheses.tasks.planning import best_actions, optimal_value, plan
from ad_hypotheses.tasks.task import Facts, Policy, check_range, draw_split

DRAWN_AT_ONCE = 1024  # graphs, connected or not; always as many, so that the first tasks do not depend on their number


@dataclass(frozen=True)
class Graphs:
    """The graphs that a batch of agents walk on.

    Attributes:
        next: Where each action leads. [batch, state, action]
        goal: The state that pays. [batch]
        horizon: Steps an episode.
    """

    next: Int[np.ndarray, "batch state action"]
    goal: Int[np.ndarray, " batch"]
    horizon: int

    @property
    def reward(self) -> Float[np.ndarray, "batch state action"]:
        """What each action is paid: 1 if it arrives at the goal."""
        return (self.next == self.goal[:, None, None]).astype(np.float32)

    @cached_property
    def values(self) -> Float[np.ndarray, "batch left state"]:
        """What can still be earned; planned only where an expert asks, and then once an episode."""
        return plan(self.next, self.reward, self.horizon)


class GraphState(NamedTuple):
    """Where every agent of a batch is.

    Attributes:
        graphs: What they walk on.
        here: The agents' states. [batch]
        steps_left: Until the episode ends. [batch]
    """

    graphs: Graphs
    here: Int[np.ndarray, " batch"]
    steps_left: Int[np.ndarray, " batch"]


@dataclass(frozen=True)
class GraphWorld:
    """The distribution of random strongly connected directed graphs with a start and a goal.

    The actions of a state lead to different states, none of them to itself. The agent sees the number of its state.
    Whenever it arrives at the goal it is paid 1 and goes on from there: the best behaviour takes a short way to the
    goal and then the shortest way round, again and again until the episode ends.

    Attributes:
        states: How many, from 3 to 24.
        actions: How many lead out of every state, from 2 to `states - 1`.
        horizon: Steps an episode.
    """

    states: int = 12
    actions: int = 2
    horizon: int = 20

    name: ClassVar[str] = "graph-world"
    channels: ClassVar[tuple[str, ...]] = ("state",)
    rewards: ClassVar[tuple[float, ...]] = (0.0, 1.0)
    deterministic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a world that cannot be drawn.

        Raises:
            ConfigError: A parameter is out of range.
        """
        check_range(self.name, "states", self.states, 3, 24)
        check_range(self.name, "actions", self.actions, 2, self.states - 1)
        check_range(self.name, "horizon", self.horizon, 1)

    @property
    def channel_sizes(self) -> tuple[int, ...]:
        """How many states the agent can tell apart: all."""
        return (self.states,)

    @property
    def n_actions(self) -> int:
        """How many ways lead out of every state."""
        return self.actions

    @property
    def action_names(self) -> tuple[str, ...]:
        """What people call the actions: they have no meaning across tasks."""
        return tuple(f"way {action}" for action in range(self.actions))

    @property
    def n_states(self) -> int:
        """How many states a world has."""
        return self.states

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Facts:
        """Draw `n` tasks, `{"next": [task, state, action], "start": [task], "goal": [task]}`.

        Whoever draws more of them with the same seed draws the same first ones. No goal is at its start.
        """
        parts: list[tuple[np.ndarray, ...]] = []
        while not parts or sum(len(goal) for *_, goal in parts) < n:
            following = self._draw(rng)
            following = following[strongly_connected(following)]
            start = rng.integers(self.states, size=len(following))
            goal = (start + 1 + rng.integers(self.states - 1, size=len(following))) % self.states
            parts.append((following, start, goal))
        drawn = (np.concatenate(part)[:n].astype(np.int8) for part in zip(*parts, strict=True))
        return dict(zip(("next", "start", "goal"), drawn, strict=True))

    def _draw(self, rng: np.random.Generator) -> Int[np.ndarray, "graph state action"]:
        """Draw different successors for every state: the first ones of a random order of the others."""
        order = rng.random((DRAWN_AT_ONCE, self.states, self.states - 1)).argsort(axis=2)[..., : self.actions]
        return order + (order >= np.arange(self.states)[:, None])

    def split(self, held_out: int, seed: int, train: int | None = None) -> tuple[Facts, Facts]:
        """Draw graphs to train on, 4096 by default, and others to hold out.

        Raises:
            ConfigError: A number is negative, or there is nothing to train on.
        """
        return draw_split(self.name, self.sample_tasks, held_out, seed, train)

    def reset(self, facts: Facts, rng: np.random.Generator | None = None) -> GraphState:
        """Put every agent at its start."""
        graphs = Graphs(np.asarray(facts["next"]), np.asarray(facts["goal"]), self.horizon)
        return GraphState(graphs, facts["start"].astype(np.intp), np.full(len(graphs.goal), self.horizon))

    def observe(self, state: GraphState) -> Int[np.ndarray, "batch channel"]:
        """Return the numbers of the agents' states. [batch, 1]"""
        return state.here[:, None].astype(np.int8)

    def step(
        self, state: GraphState, actions: Int[np.ndarray, " batch"], rng: np.random.Generator | None = None
    ) -> tuple[Int[np.ndarray, "batch channel"], Float[np.ndarray, " batch"], GraphState]:
        """Let every agent act once.

        Args:
            state: From `reset` or the step before.
            actions: One for every agent. [batch]
            rng: Not used: nothing is left to chance in this world.

        Returns:
            What the agents see next `[batch, 1]`, what they are paid `[batch]`, and the next state.
        """
        reached = state.graphs.next[np.arange(len(actions)), state.here, actions]
        after = GraphState(state.graphs, reached.astype(np.intp), state.steps_left - 1)
        return reached[:, None], (reached == state.graphs.goal).astype(np.float32), after

    def state_index(self, state: GraphState) -> Int[np.ndarray, " batch"]:
        """Return the numbers of the agents' states. [batch]"""
        return state.here

    def expert(self, state: GraphState) -> Float[np.ndarray, "batch action"]:
        """Return the actions that earn the most until the episode ends. [batch, action]"""
        graphs = state.graphs
        rows = np.arange(len(state.here))
        return best_actions(graphs.values, graphs.next, graphs.reward, rows, state.here, state.steps_left)

    def baselines(self, rng: np.random.Generator) -> Mapping[str, Policy]:
        """Return the planner that explores until it knows a way to be paid, and the one that looks for better ways."""
        return {
            "explore-then-plan": plan_with_hope(self, LITTLE_HOPE),
            "optimistic-planner": plan_with_hope(self, HOPE),
        }

    def counterfactuals(self) -> Mapping[str, Kind]:
        """Return the kinds of counterfactual of graphs, the most telling first."""
        return {
            "goal-moved": goal_moved(elsewhere),
            "rewards-swapped": place_swapped("goal"),
            "two-goals": two_goals(elsewhere),
            "detour": detour(elsewhere),
            "actions-exchanged": LABELS_EXCHANGED,
        }

    def optimal_return(self, facts: Facts) -> Float[np.ndarray, " task"]:
        """Return what the best behaviour earns in an episode. [task]"""
        graphs = Graphs(np.asarray(facts["next"]), np.asarray(facts["goal"]), self.horizon)
        values = optimal_value(graphs.next, graphs.reward, self.horizon)
        return values[np.arange(len(values)), facts["start"]].astype(float)

    def regimes(self, history: History) -> dict[str, Bool[np.ndarray, "batch step"]]:
        """Say what a step is about, judged by what is visible at it.

        Returns:
            *explore*: the goal has not been seen. *return*: it has. Every step is in exactly one. [batch, step]
        """
        known = history.last_rewarded_cell()[..., 0] >= 0
        return {"explore": ~known, "return": known}


def elsewhere(task: GraphWorld, facts: Facts, rng: np.random.Generator) -> Facts:
    """Return the graphs with the goal at another state, and not at the start."""
    n_rows, states = len(facts["goal"]), np.arange(task.states)
    free = (states != np.asarray(facts["goal"])[:, None]) & (states != np.asarray(facts["start"])[:, None])
    goal = np.where(free, rng.random((n_rows, task.states)), -1).argmax(axis=1)
    return {**facts, "goal": goal.astype(np.int8)}


def strongly_connected(following: Int[np.ndarray, "graph state action"]) -> Bool[np.ndarray, " graph"]:
    """Return whether every state of a graph can be reached from every other, by squaring the matrix of ways."""
    n_states = following.shape[1]
    reached = np.eye(n_states, dtype=np.float32)[following].max(axis=2)
    reached = np.maximum(reached, np.eye(n_states, dtype=np.float32))
    for _ in range((n_states - 1).bit_length()):
        reached = (reached @ reached > 0).astype(np.float32)
    return reached.all(axis=(1, 2))


# both are sums of few powers of 2, so that plans worth the same are found to be so
LITTLE_HOPE = 2**-10  # less than a reward, even for all steps of an episode
HOPE = 11 / 32  # what the best behaviour is paid a step, on average over graphs of 12 states and 2 actions


def plan_with_hope(world: GraphWorld, hope: float) -> Policy:
    """Earn the most that is possible if the ways that were gone are as they were, and all others pay `hope` a step.

    Little hope explores only where nothing is known to pay, walking to the nearest untried action, and after that only
    when there is nothing to lose. More hope also looks for shorter ways than those known.

    Args:
        world: The world.
        hope: What a step is believed to pay once an untried action was taken, until the episode ends; above 0.
    """
    known = _KnownWays(world, hope)

    def policy(history: History) -> np.ndarray:
        known.update(history)
        current, rows = history.observations[:, -1, 0], np.arange(history.n_rows)
        left = world.horizon - (history.n_steps - 1) % world.horizon
        later = optimal_value(known.next, known.pay, left - 1)
        return best_of(known.pay[rows, current] + later[rows[:, None], known.next[rows, current]])

    return policy


class _KnownWays:
    """Where actions have led and what they paid, brought up to date a step at a time.

    Ways not known lead to *nowhere*, a state of its own that is never left. The last action of an episode shows its
    pay, but not where it led.
    """

    def __init__(self, world: GraphWorld, hope: float) -> None:
        self.nowhere, self.n_actions, self.hope = world.states, world.actions, hope

    def update(self, history: History) -> None:
        """Take in the last token; a history of one step begins a new life."""
        if history.n_steps == 1:
            self.next = np.full((history.n_rows, self.nowhere + 1, self.n_actions), self.nowhere)
            self.pay = np.full(self.next.shape, self.hope, dtype=np.float32)
            return
        rows, before, taken = np.arange(history.n_rows), history.observations[:, -2, 0], history.actions[:, -2]
        self.pay[rows, before, taken] = history.rewards[:, -2]
        if history.episode[0, -1] == history.episode[0, -2]:
            self.next[rows, before, taken] = history.observations[:, -1, 0]
