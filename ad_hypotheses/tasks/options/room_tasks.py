"""The tasks of Dark Room: goals, and what an option adds to them, for training and held out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.tasks.options import drawn_moves, moving_goal
from ad_hypotheses.tasks.task import TRAINING_TASKS, Facts, split_numbers

if TYPE_CHECKING:
    from ad_hypotheses.tasks.dark_room import DarkRoom

Cells = Int[np.ndarray, "_"]  # as many as there are: some of a room


def sample(room: DarkRoom, rng: np.random.Generator, n: int) -> Facts:
    """Draw tasks uniformly, with replacement.

    Args:
        room: The family.
        rng: Draws them.
        n: How many.

    Returns:
        `{"goal": [task, 2]}`, or `{"goals": [task, episode, 2]}` where they move; with `order` `[task, action]` where
        what actions do is drawn, and with `lesser` or `trap` `[task, 2]` where there is such a place.
    """
    square = room.square
    cells, everywhere = rng.integers(square.n_cells, size=n), np.arange(square.n_cells)
    if room.goal_moves:
        return _itineraries(room, cells, everywhere, rng)
    facts = {"goal": square.positions(cells), **_places(room, cells, everywhere, rng)}
    if room.draws_moves:
        facts["order"] = drawn_moves.ORDERS[rng.integers(len(drawn_moves.ORDERS), size=n)]
    return facts


def split(room: DarkRoom, held_out: int, seed: int, train: int | None = None) -> tuple[Facts, Facts]:
    """Split the goals at random into those to train on and those never seen.

    Args:
        room: The family.
        held_out: How many goals to hold out. A given seed holds out the same goals however many are trained on. Where
            goals move, a task begins at each of these, and is only ever at one of them. Where what actions do is drawn,
            24 of the 120 orders are held out too. A second goal or a trap is among the cells of the same part.
        seed: Decides which.
        train: How many of the others to train on; all by default. Where goals move, or there is a second goal or a
            trap, how many tasks among all others to draw; 4096 by default. Where what actions do is drawn, how many
            pairs of a goal and an order.

    Returns:
        Facts of the training tasks and of the held-out tasks, without overlap.

    Raises:
        ConfigError: There are not that many.
    """
    if room.goal_moves:
        return _split_moving(room, held_out, seed, train)
    if room.draws_moves:
        return _split_drawn(room, held_out, seed, train)
    if room.amounts:
        return _split_places(room, held_out, seed, train)
    trained, hidden = _split_cells(room, held_out, seed, train)
    return {"goal": room.square.positions(trained)}, {"goal": room.square.positions(hidden)}


def _split_cells(room: DarkRoom, held_out: int, seed: int, train: int | None = None) -> tuple[Cells, Cells]:
    """Split the cells into those that may be goals where one trains, and those held out."""
    there_are = f"a room of {room.size} x {room.size} has {room.square.n_cells}"
    return split_numbers(room.name, room.square.n_cells, held_out, seed, train, "goals", there_are)


def _split_moving(room: DarkRoom, held_out: int, seed: int, train: int | None) -> tuple[Facts, Facts]:
    """Draw goals that move among the cells of either part."""
    others, hidden = _split_cells(room, held_out, seed)
    n_train, (held_out_rng, train_rng) = _number_to_draw(room, train), np.random.default_rng(seed).spawn(2)
    return (
        _itineraries(room, train_rng.integers(len(others), size=n_train), others, train_rng),
        _itineraries(room, np.arange(held_out), hidden, held_out_rng),
    )


def _itineraries(room: DarkRoom, first: Cells, cells: Cells, rng: np.random.Generator) -> Facts:
    """Draw goals that move among some cells; `first` are places among those."""
    itineraries = moving_goal.itineraries(first, cells, room.goal_moves, rng)
    return {"goals": room.square.positions(itineraries.ravel()).reshape(*itineraries.shape, 2)}


def _split_drawn(room: DarkRoom, held_out: int, seed: int, train: int | None) -> tuple[Facts, Facts]:
    """Split goals and orders, and pair those of either part."""
    (others, hidden), (trained, kept) = _split_cells(room, held_out, seed), drawn_moves.split_orders(held_out, seed)
    n_pairs = len(others) * len(trained)
    n_train = n_pairs if train is None else train
    if not 1 <= n_train <= n_pairs:
        there_are = f"{len(others)} goals and {len(trained)} orders make {n_pairs} pairs"
        raise ConfigError(f"{room.name}: cannot train on {n_train} tasks: {there_are}, and at least 1 is needed.")
    goal, order = np.divmod(np.random.default_rng(seed).spawn(1)[0].permutation(n_pairs)[:n_train], len(trained))
    return (
        {"goal": room.square.positions(others[goal]), "order": trained[order]},
        {"goal": room.square.positions(hidden), "order": kept[np.arange(held_out) % max(len(kept), 1)]},
    )


def _split_places(room: DarkRoom, held_out: int, seed: int, train: int | None) -> tuple[Facts, Facts]:
    """Draw goals among the cells of either part, and the other place among the same, if there are several."""
    parts, (held_out_rng, train_rng) = _split_cells(room, held_out, seed), np.random.default_rng(seed).spawn(2)
    goals = (parts[0][train_rng.integers(len(parts[0]), size=_number_to_draw(room, train))], parts[1])
    drawn = []
    for cells, part, rng in zip(goals, parts, (train_rng, held_out_rng), strict=True):
        pool = np.sort(part) if len(part) > 1 else np.arange(room.square.n_cells)
        places = _places(room, np.searchsorted(pool, cells), pool, rng)
        drawn.append({"goal": room.square.positions(cells), **places})
    return drawn[0], drawn[1]


def _places(
    room: DarkRoom, first: Int[np.ndarray, " task"], cells: Cells, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw places beside the goal, where there are any, among some cells; `first` are the goals' among those."""
    if not room.amounts:
        return {}
    other = (first + 1 + rng.integers(len(cells) - 1, size=len(first))) % len(cells)
    return dict.fromkeys(room.amounts, room.square.positions(cells[other]))


def _number_to_draw(room: DarkRoom, train: int | None) -> int:
    """Return how many tasks to draw to train on.

    Raises:
        ConfigError: It is none.
    """
    number = TRAINING_TASKS if train is None else train
    if number < 1:
        raise ConfigError(f"{room.name}: cannot train on {number} tasks; at least 1.")
    return number
