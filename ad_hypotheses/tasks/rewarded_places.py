"""Where a history arrived, which place paid it there, and what it would have been paid had another place paid.

What step `t` arrived at shows in the token of step `t + 1`; after the last step of an episode the agent was put back,
so what that step arrived at is known only of a room, or where the episode can be lived again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.errors import DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.room import Room, has_known_moves, walk
from ad_hypotheses.tasks.task import Task

UNKNOWN = -1  # every channel of what was not seen


@dataclass(frozen=True)
class Life:
    """What one history tells of places.

    Attributes:
        arrived: What was seen after each step, all -1 where nothing tells. [step, channel]
        rewards: What each step was paid. [step]
        paid_before: How many earlier steps of the same episode were paid more than 0. [step]
        episode: Number of the episode. [step]
        starts: Where episodes began. [episode, channel]
        once: Whether a place pays once an episode, after which the next one does.
    """

    arrived: Int[np.ndarray, "step channel"]
    rewards: Float[np.ndarray, " step"]
    paid_before: Int[np.ndarray, " step"]
    episode: Int[np.ndarray, " step"]
    starts: Int[np.ndarray, "episode channel"]
    once: bool

    @property
    def known(self) -> Bool[np.ndarray, " step"]:
        """Where it is known what was arrived at. [step]"""
        return (self.arrived != UNKNOWN).all(axis=-1)

    @property
    def shown(self) -> Bool[np.ndarray, " step"]:
        """Where the next token shows it. [step]"""
        return np.append(self.episode[1:] == self.episode[:-1], False)


@dataclass(frozen=True)
class Place:
    """A cell that pays whoever arrives.

    Attributes:
        cell: What is seen there. [channel]
        number: How many other places of an episode pay before it.
        amount: What it pays.
    """

    cell: Int[np.ndarray, " channel"]
    number: int
    amount: float


def lives(task: Task, history: History, rng: np.random.Generator) -> list[Life]:
    """Return what each history tells of places."""
    arrived, starts = arrivals(task, history, rng), history.episode_start
    paid = history.rewards > 0
    in_life: np.ndarray = np.cumsum(paid, axis=1) - paid
    before = in_life - np.maximum.accumulate(np.where(starts, in_life, 0), axis=1)
    once, observations = bool(getattr(task, "once", False)), history.observations.astype(np.int64)
    return [
        Life(
            arrived[row], history.rewards[row], before[row], history.episode[row], observations[row][starts[row]], once
        )
        for row in range(history.n_rows)
    ]


def arrivals(task: Task, history: History, rng: np.random.Generator) -> Int[np.ndarray, "batch step channel"]:
    """Return what was seen after each step, all -1 where nothing tells. [batch, step, channel]

    The last step of an episode is known in a room, and where the family is deterministic and the episode, lived again
    from its start, shows all that the record shows.

    Args:
        task: The family that the histories are from.
        history: The histories; without facts, only tokens tell.
        rng: What an episode's start is drawn from, where chance decides on it.
    """
    arrived = np.full(history.observations.shape, UNKNOWN, dtype=np.int64)
    within = ~history.episode_start[:, 1:, None]
    arrived[:, :-1] = np.where(within, history.observations[:, 1:], UNKNOWN)
    if has_known_moves(task):
        flat = task.square.cells(history.observations.reshape(-1, 2)), history.actions.reshape(-1).astype(np.intp)
        moved = task.square.positions(task.square.move(*flat)).reshape(arrived.shape)
        arrived = np.where(arrived == UNKNOWN, moved, arrived)
    elif task.deterministic and history.task:
        again, same = _lived_again(task, history, rng)
        arrived = np.where(same[..., None], again, arrived)
    return arrived


def _lived_again(task: Task, history: History, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Take the recorded actions anew: what they lead to, and whether the whole episode looks as recorded."""
    rows, starts = np.nonzero(history.episode_start)
    ends = np.append(np.where(rows[1:] == rows[:-1], starts[1:], history.n_steps), history.n_steps)
    state = task.reset({name: fact[rows] for name, fact in history.task.items()}, rng)
    again, same = np.empty(history.observations.shape, dtype=np.int64), np.ones(len(rows), dtype=bool)
    for step in range((ends - starts).max()):
        lasts = starts + step < ends
        at = np.minimum(starts + step, history.n_steps - 1)  # an episode that is over goes on unseen
        same &= ~lasts | (task.observe(state) == history.observations[rows, at]).all(axis=1)
        seen, _, state = task.step(state, history.actions[rows, at].astype(np.intp), rng)
        again[rows[lasts], at[lasts]] = seen[lasts]
    return again, np.repeat(same, ends - starts).reshape(history.actions.shape)


def rewarded_place(life: Life, n_places: int) -> Place | None:
    """Return the place that the rewards of a history stand for; where places pay in order, the last that is shown.

    Args:
        life: The history.
        n_places: How many places pay in an episode.

    Returns:
        None where no reward shows its place, or not every reward is explained by one cell.
    """
    paid = (life.rewards > 0) & life.known
    if not paid.any():
        return None
    number = min(int(life.paid_before[paid].max()), n_places - 1) if life.once else 0
    last = np.flatnonzero(paid & (life.paid_before >= number))[0]
    place = Place(life.arrived[last], number, float(life.rewards[last]))
    return place if explains(place, life, 0) else None


def explains(place: Place, life: Life, since: int) -> bool:
    """Return whether a place accounts for every reward from a step on, but for those of the places before it."""
    after = np.arange(len(life.rewards)) >= since
    own = after & _own(place, life)
    rest = np.where(after & ~own, life.rewards, 0)
    earlier = life.once & (rest > 0) & (life.paid_before < place.number)
    if (rest[~earlier] != 0).any() or (life.rewards[own] != place.amount).any():
        return False
    return bool((visits_paid(place, life) == own)[after & life.known].all())


def _own(place: Place, life: Life) -> Bool[np.ndarray, " step"]:
    paid = life.rewards > 0
    return paid & (life.paid_before == place.number) if life.once else paid


def visits_paid(place: Place, life: Life) -> Bool[np.ndarray, " step"]:
    """Return which steps a place pays, after those that pay before it have paid as recorded. [step]"""
    steps = np.flatnonzero((life.arrived == place.cell).all(axis=-1) & _open(place, life))
    if life.once:
        steps = steps[np.unique(life.episode[steps], return_index=True)[1]]
    paid = np.zeros(len(life.rewards), dtype=bool)
    paid[steps] = True
    return paid


def _open(place: Place, life: Life) -> Bool[np.ndarray, " step"]:
    """Steps at which the places before this one have paid."""
    return life.paid_before >= (place.number if life.once else 0)


def other_cell(place: Place, life: Life, since: int, rng: np.random.Generator) -> Int[np.ndarray, " channel"] | None:
    """Draw another cell whose visits, from a step on, tokens show, or return None if there is none.

    Cells where no episode starts come first; of those, cells that were visited at least twice.
    """
    visits = life.shown & _open(place, life) & (life.arrived != place.cell).any(axis=-1)
    visits &= np.arange(len(visits)) >= since
    if not visits.any():
        return None
    cells, counts = np.unique(life.arrived[visits], axis=0, return_counts=True)
    is_start = (cells[:, None] == life.starts).all(axis=-1).any(axis=1)
    rank = 2 * ~is_start + (counts > 1)
    return cells[rng.choice(np.flatnonzero(rank == rank.max()))]


def rewards_of(moved: Place, life: Life, since: int) -> Float[np.ndarray, " step"]:
    """Return the rewards had a place, from a step on, been where it is now; the places before it pay as recorded."""
    after = np.arange(len(life.rewards)) >= since
    rewards = life.rewards.copy()
    rewards[after & _own(moved, life)] = 0
    rewards[after & visits_paid(moved, life)] = moved.amount
    return rewards


def moves_towards(
    task: Task, history: History, target: Int[np.ndarray, " batch *channel"]
) -> Bool[np.ndarray, "batch step action"]:
    """Return which moves shorten the way to a cell; on the cell itself, staying. [batch, step, action]

    Args:
        task: A family of rooms: one that has a `square`, or a method `walk(positions, targets)`.
        history: Where the agents are.
        target: Where they are to go. [batch, channel]

    Raises:
        DataError: The family has neither, or its actions do what facts say and there are none.
    """
    way: Callable[..., np.ndarray] | None = getattr(task, "walk", walk if isinstance(task, Room) else None)
    if way is None:
        raise DataError(
            f"which moves lead towards a cell is known only of rooms, but {task.name} is none; give the family a method"
            " walk(positions, targets) that returns a distribution over the moves that shorten the way."
        )
    shape = history.observations.shape
    targets = np.broadcast_to(target.reshape(len(target), 1, -1), shape)
    ways = way(history.observations.reshape(-1, shape[-1]), targets.reshape(-1, shape[-1])).reshape(*shape[:2], -1)
    if isinstance(task, Room) and not has_known_moves(task):
        if "order" not in history.task:
            raise DataError(f"without facts nothing says what the actions of {task.name} do; use histories with facts.")
        ways = np.take_along_axis(ways, history.task["order"][:, None].astype(np.intp), axis=2)
    return ways > 0


def towards(
    task: Task,
    history: History,
    policy: Float[np.ndarray, "batch step action"],
    target: Int[np.ndarray, " batch *channel"],
) -> Float[np.ndarray, "batch step"]:
    """Return the probability that a policy moves towards a cell or, being there, stays. [batch, step], in 0 .. 1

    Args:
        task: A family of rooms, as for :func:`moves_towards`.
        history: Where the agents are.
        policy: Distributions over actions. [batch, step, action]
        target: Where they are to go, e.g. the facts' goal. [batch, channel]

    Raises:
        DataError: The family is none of rooms.
    """
    return (policy * moves_towards(task, history, target)).sum(axis=-1)
