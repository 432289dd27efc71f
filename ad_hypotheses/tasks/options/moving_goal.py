"""A goal that may be elsewhere from one episode to the next: where it is when, and what a life shows of that.

All of it is decided before a life begins, as a fact of the task. So a world that answers an edited life, or that is
lived in again, has the goal where it was, whatever the agent does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.task import Facts

EPISODES = 128  # that an itinerary tells; a longer life begins it again


def itineraries(
    first: Int[np.ndarray, " task"], pool: Int[np.ndarray, " cell"], chance: float, rng: np.random.Generator
) -> Int[np.ndarray, "task episode"]:
    """Draw in which cell the goal is in each episode.

    Args:
        first: Where in `pool` it begins. [task]
        pool: Cells that it may be in; where there is one only, it stays.
        chance: Of a jump before an episode, to any of the other cells alike; before the first there is none.
        rng: Decides when and where to.
    """
    shape = (len(first), EPISODES)
    jumps = rng.random(shape) < chance
    jumps[:, 0] = False
    # a shift by 1 to n - 1 places among n leads to each of the others alike
    shifts = np.where(jumps, rng.integers(1, max(len(pool), 2), size=shape), 0)
    return pool[(first[:, None] + np.cumsum(shifts, axis=1)) % max(len(pool), 1)]


def facts_from(facts: Facts, episode: int, every: int = 1) -> Facts:
    """Return the facts of a life that consists of an episode of another one and every so many after it."""
    if "goals" not in facts:
        return facts
    goals = np.asarray(facts["goals"])
    n_episodes = goals.shape[1]
    return {**facts, "goals": goals[:, (episode + every * np.arange(n_episodes)) % n_episodes]}


def rearranged(facts: Facts, episodes: Sequence[int]) -> Facts:
    """Return the facts of a life whose episodes are those of another one in another order, over and over."""
    if "goals" not in facts:
        return facts
    goals = np.asarray(facts["goals"])
    return {**facts, "goals": goals[:, np.resize(np.asarray(episodes) % goals.shape[1], goals.shape[1])]}


def moved_from(
    goals: Int[np.ndarray, "task episode 2"], episode: int, place: Int[np.ndarray, " 2"]
) -> Int[np.ndarray, "task episode 2"]:
    """Return itineraries whose goal is in one place from an episode on."""
    moved = goals.copy()
    moved[:, episode:] = place
    return moved


def elsewhere(
    goals: Int[np.ndarray, "task episode 2"], size: int, rng: np.random.Generator
) -> Int[np.ndarray, "task episode 2"]:
    """Return itineraries that jump when others do, but are in another cell in every episode.

    Args:
        goals: Itineraries. [task, episode, 2]
        size: Cells a side.
        rng: Draws by how many cells each is shifted.
    """
    cells = goals.astype(np.intp) @ [size, 1]
    shifted = (cells + rng.integers(1, size**2, size=(len(goals), 1))) % size**2
    return np.stack(np.divmod(shifted, size), axis=-1).astype(goals.dtype)


def found_empty(history: History, goal: Int[np.ndarray, "batch step channel"]) -> Bool[np.ndarray, "batch step"]:
    """Return from where on the cell that paid last is known to pay no more: it was arrived at since, and did not.

    Args:
        history: The lives.
        goal: The cell that paid last, all -1 where none is known. [batch, step, channel]
    """
    here, starts = (goal == history.observations).all(axis=-1), history.episode_start
    paid = history.previous_rewards > 0
    empty = np.zeros(history.shape, dtype=bool)
    now = np.zeros(history.n_rows, dtype=bool)
    for step in range(history.n_steps):
        arrived = ~starts[:, step]  # at the start of an episode nobody arrived anywhere
        now = np.where(arrived & paid[:, step], False, now | (arrived & here[:, step]))
        empty[:, step] = now
    return empty


class GoalFilter:
    """The posterior of where a goal is that may jump between episodes and may not pay each time: a forward filter.

    Attributes:
        chance: Of each cell to be the goal. [row, cell]
    """

    def __init__(self, n_rows: int, n_cells: int, moves: float, pays: float, error: float) -> None:
        """Begin with all cells alike.

        Args:
            n_rows: How many lives.
            n_cells: How many cells.
            moves: Chance of a jump before an episode, to any of the other cells alike.
            pays: Chance that the goal pays whoever arrives.
            error: Chance that a pay is not what it should be, so that nothing is impossible.
        """
        self.chance: Float[np.ndarray, "row cell"] = np.full((n_rows, n_cells), 1 / n_cells)
        self.moves, self.pays, self.error = moves, min(max(pays, error), 1 - error), error
        self.rows = np.arange(n_rows)

    def begin_episode(self) -> None:
        """Let the goal jump, perhaps."""
        others = (1 - self.chance) / max(self.chance.shape[1] - 1, 1)
        self.chance = (1 - self.moves) * self.chance + self.moves * others

    def arrive(self, cell: Int[np.ndarray, " row"], paid: Bool[np.ndarray, " row"]) -> None:
        """Take in that a cell was arrived at, and whether it paid."""
        elsewhere = np.where(paid, self.error, 1 - self.error)
        likely = np.repeat(elsewhere[:, None], self.chance.shape[1], axis=1)
        likely[self.rows, cell] = np.where(paid, self.pays, 1 - self.pays)
        raised = self.chance * likely
        self.chance = raised / raised.sum(axis=1, keepdims=True)
