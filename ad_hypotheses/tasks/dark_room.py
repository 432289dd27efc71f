"""Dark Room: find a cell that pays, seeing only where you stand.

Laskin et al. 2022, "In-context Reinforcement Learning with Algorithm Distillation" (arXiv 2210.14215), section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.task import Facts, check_range

MOVES = np.array([[0, 0], [0, -1], [0, 1], [-1, 0], [1, 0]], dtype=np.int8)  # (dx, dy): stay, up, down, left, right


class RoomState(NamedTuple):
    """Where every agent of a batch stands, and what it is looking for.

    Attributes:
        cells: The agents' cells, `x * size + y`. [batch]
        goals: The goals' cells, `x * size + y`. [batch]
    """

    cells: Int[np.ndarray, " batch"]
    goals: Int[np.ndarray, " batch"]


@dataclass(frozen=True)
class DarkRoom:
    """The distribution of Dark Room tasks: one for every cell that may be the goal.

    The agent starts in the centre and acts for `horizon` steps: 0 stay, 1 up, 2 down, 3 left, 4 right. `x` grows to the
    right, `y` downwards; whoever walks into a wall stays where it is. Every step that ends on the goal pays 1.

    Attributes:
        size: Cells a side, from 2 to 100.
        horizon: Steps an episode.
    """

    size: int = 9
    horizon: int = 20

    name: ClassVar[str] = "dark-room"
    channels: ClassVar[tuple[str, ...]] = ("x", "y")
    n_actions: ClassVar[int] = len(MOVES)
    action_names: ClassVar[tuple[str, ...]] = ("stay", "up", "down", "left", "right")
    moves: ClassVar[np.ndarray] = MOVES
    deterministic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a room that cannot be built.

        Raises:
            ConfigError: `size` or `horizon` is out of range.
        """
        check_range(self.name, "size", self.size, 2, 100)
        check_range(self.name, "horizon", self.horizon, 1)

    @property
    def channel_sizes(self) -> tuple[int, ...]:
        """How many values each observation channel takes."""
        return (self.size, self.size)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are: one a cell."""
        return self.size**2

    @property
    def start(self) -> tuple[int, int]:
        """The cell `(x, y)` where every episode begins."""
        return (self.size // 2, self.size // 2)

    def tasks(self) -> Facts:
        """Return all tasks, `{"goal": [task, 2]}`, ordered by x, then y."""
        return {"goal": np.stack(np.divmod(np.arange(self.n_tasks), self.size), axis=1).astype(np.int8)}

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Facts:
        """Draw `n` tasks uniformly, with replacement."""
        return {"goal": self.tasks()["goal"][rng.integers(self.n_tasks, size=n)]}

    def split(self, held_out: int, seed: int, train: int | None = None) -> tuple[Facts, Facts]:
        """Split the goals at random into those to train on and those never seen.

        Args:
            held_out: How many goals to hold out. A given seed holds out the same goals however many are trained on.
            seed: Decides which.
            train: How many of the others to train on; all by default.

        Returns:
            Facts of the training tasks and of the held-out tasks, without overlap.

        Raises:
            ConfigError: There are not that many goals.
        """
        train = self.n_tasks - held_out if train is None else train
        if held_out < 0 or train < 1 or held_out + train > self.n_tasks:
            raise ConfigError(
                f"dark-room: cannot hold out {held_out} goals and train on {train}: a room of {self.size} x {self.size}"
                f" has {self.n_tasks}, and at least 1 is needed to train on."
            )
        goals = self.tasks()["goal"][np.random.default_rng(seed).permutation(self.n_tasks)]
        return {"goal": goals[held_out : held_out + train]}, {"goal": goals[:held_out]}

    def reset(self, facts: Facts) -> RoomState:
        """Put every agent into the centre of its room."""
        goals = np.asarray(facts["goal"], dtype=np.intp) @ [self.size, 1]
        return RoomState(np.full(len(goals), self.start[0] * self.size + self.start[1]), goals)

    def observe(self, state: RoomState) -> Int[np.ndarray, "batch channel"]:
        """Return the cells `(x, y)` where the agents stand. [batch, 2]"""
        return self._coordinates.take(state.cells).view(np.int8).reshape(-1, 2)

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
        cells = self._next_cell.take(state.cells * self.n_actions + actions)
        after = RoomState(cells, state.goals)
        return self.observe(after), (cells == state.goals).astype(np.float32), after

    def optimal_return(self, facts: Facts) -> Float[np.ndarray, " task"]:
        """Return what the shortest walk to the goal earns in an episode. [task]

        The arriving step is paid already, so a goal `d >= 1` moves away is worth `horizon - d + 1`.
        """
        distance = np.abs(facts["goal"].astype(int) - self.start).sum(axis=1)
        return np.maximum(self.horizon - np.maximum(distance - 1, 0), 0).astype(float)

    def walk(
        self, cells: Int[np.ndarray, "batch 2"], targets: Int[np.ndarray, "batch 2"]
    ) -> Float[np.ndarray, "batch action"]:
        """Return the distribution that is uniform over the moves that shorten the way, staying on the target.

        Args:
            cells: Where the agents stand. [batch, 2]
            targets: Where they want to be. [batch, 2]
        """
        heading = np.sign(targets.astype(int) - cells)
        useful = np.where((heading == 0).all(axis=1)[:, None], MOVES @ [1, 1] == 0, heading @ MOVES.T > 0)
        return useful / useful.sum(axis=1, keepdims=True)

    def regimes(self, history: History) -> dict[str, Bool[np.ndarray, "batch step"]]:
        """Say what a step is about, judged by what is visible at it.

        Returns:
            *explore*: no rewarded cell is known. *navigate*: one is known, the agent is elsewhere. *stay*: it is there.
            Every step is in exactly one. [batch, step]
        """
        goal = history.last_rewarded_cell()
        known = (goal >= 0).all(axis=-1)
        there = (goal == history.observations).all(axis=-1)
        return {"explore": ~known, "navigate": known & ~there, "stay": known & there}

    @cached_property
    def _next_cell(self) -> np.ndarray:
        """Where each action leads, flat over (cell, action); a table because one gather beats clipping twice."""
        after = np.clip(self.tasks()["goal"].astype(int)[:, None] + MOVES, 0, self.size - 1)
        return (after @ [self.size, 1]).reshape(-1)

    @cached_property
    def _coordinates(self) -> np.ndarray:
        """Each cell's two int8 coordinates packed into one int16, so that a single gather fetches both."""
        return np.ascontiguousarray(self.tasks()["goal"]).view(np.int16).reshape(-1)
