"""Rules for dark rooms, as exact interpreters of what networks that are set by hand compute."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.language.history import History
from ad_hypotheses.sources.rule import Rule, soft
from ad_hypotheses.tasks import DarkRoom, Task
from ad_hypotheses.tasks.room import MOVES

SHARPNESS = 3.0  # a score that is 1 higher is 20 times as likely
WANDER = 0.5  # score of a move that is liked before anything is known
EPSILON = (0.9, 0.75, 0.6, 0.45, 0.3, 0.15)  # chance of a random action by episode; the last one from then on


STAY, UP, DOWN, LEFT, RIGHT = range(len(MOVES))


Scores = Float[np.ndarray, "batch step action"]


def swirl(size: int) -> Float[np.ndarray, "x y action"]:
    """Return which moves lead around the centre, clockwise as seen with `y` downwards: 1 or 0. [x, y, action]"""
    x, y = np.mgrid[:size, :size] - size // 2
    return (np.stack([-y, x], axis=-1) @ MOVES.T > 0).astype(float)


def serpentine(size: int) -> Int[np.ndarray, "x y"]:
    """Return the moves of a fixed walk: rows to the right and to the left in turn, down at their ends. [x, y]

    In the last row it ends in the corner.
    """
    x, y = np.mgrid[:size, :size]
    rightwards = y % 2 == 0
    end = np.where(rightwards, x == size - 1, x == 0)
    turn = np.where(y == size - 1, STAY, DOWN)
    return np.where(end, turn, np.where(rightwards, RIGHT, LEFT))


def _scored(score: Callable[[History, DarkRoom], Scores]) -> Callable[[History, Task], Scores]:
    """Return the policy under which a score that is 1 higher is `exp(SHARPNESS)` times as likely."""

    @wraps(score)
    def policy(history: History, task: Task) -> Scores:
        return soft(score(history, room(task)), SHARPNESS)

    return policy


def room(task: Task) -> DarkRoom:
    """Return a task that is known to be a dark room as one."""
    assert isinstance(task, DarkRoom), f"{task.name} is no dark room"
    return task


@_scored
def copy_rewarded(history: History, task: DarkRoom) -> Scores:
    """Do what paid when the agent last was paid for what it did in this cell; anything where it never was."""
    paid = _same_cell_before(history) & (history.rewards > 0)[:, None, :]
    latest = np.where(paid, np.arange(history.n_steps), -1).max(axis=2)
    done = np.take_along_axis(history.actions, np.maximum(latest, 0), axis=1)
    return np.eye(task.n_actions)[done] * (latest >= 0)[..., None]


@_scored
def retrieval(history: History, task: DarkRoom) -> Scores:
    """Go to the cell that paid last, by any shortest way, and stay there; anything before a reward."""
    ways, known = _ways(history)
    return ways * known[..., None]


@_scored
def superstition(history: History, task: DarkRoom) -> Scores:
    """Go to the cell that paid last; before a reward, lean to doing the last thing again, for no reason."""
    ways, known = _ways(history)
    again = np.arange(task.n_actions) == history.previous_actions[..., None]
    return np.where(known[..., None], ways, WANDER * again)


@_scored
def gate(history: History, task: DarkRoom) -> Scores:
    """Drift around the centre until a reward is seen, then go to the cell that paid last (Marks 2022)."""
    ways, known = _ways(history)
    x, y = np.moveaxis(history.observations, -1, 0)
    return np.where(known[..., None], ways, WANDER * swirl(task.size)[x, y])


@_scored
def ngram(history: History, task: DarkRoom) -> Scores:
    """Do what was done in this cell before, each action by its share, whatever it paid."""
    before = _same_cell_before(history)
    counts = before.astype(float) @ np.eye(task.n_actions)[history.actions]
    return counts / np.maximum(before.sum(axis=2), 1)[..., None]


def schedule(history: History, task: Task) -> Scores:
    """Walk a fixed way, with random actions that get rarer by the episode, whatever is paid."""
    x, y = np.moveaxis(history.observations, -1, 0)
    epsilon = np.asarray(EPSILON)[np.minimum(history.episode, len(EPSILON) - 1)][..., None]
    route = np.eye(task.n_actions)[serpentine(room(task).size)[x, y]]
    return (1 - epsilon) * route + epsilon / task.n_actions


@_scored
def unvisited(history: History, task: DarkRoom) -> Scores:
    """Step into a neighbouring cell that was not seen yet, whichever; do anything where there is none."""
    square, cell = task.square, _cell(history, task.size)
    seen = np.maximum.accumulate(np.eye(square.n_cells, dtype=bool)[cell], axis=1)
    leads_to = [
        square.move(cell.ravel(), np.full(cell.size, action)).reshape(cell.shape) for action in range(len(MOVES))
    ]
    return 1.0 - np.take_along_axis(seen, np.stack(leads_to, axis=-1), axis=2)


@_scored
def reflex(history: History, task: DarkRoom) -> Scores:
    """Stay after a reward; else go on as before, and after a stay or at first do anything."""
    last, stay = history.previous_actions, np.arange(task.n_actions) == STAY
    go_on = (np.arange(task.n_actions) == last[..., None]) & ~stay
    return np.where((history.previous_rewards > 0)[..., None], stay, go_on).astype(float)


def _cell(history: History, size: int) -> Int[np.ndarray, "batch step"]:
    return history.observations.astype(np.intp) @ [size, 1]


def _same_cell_before(history: History) -> Bool[np.ndarray, "batch step earlier"]:
    """Which earlier steps show the same cell as a step. [batch, step, earlier]"""
    cells = history.observations
    same = (cells[:, :, None] == cells[:, None]).all(axis=-1)
    return same & np.tri(history.n_steps, k=-1, dtype=bool)


def _ways(history: History) -> tuple[Float[np.ndarray, "batch step action"], Bool[np.ndarray, "batch step"]]:
    """Which moves shorten the way to the cell that paid last, 1 or 0, staying in it; and whether one is known."""
    goal = history.last_rewarded_cell()
    heading = np.sign(goal.astype(int) - history.observations)
    arrived = (heading == 0).all(axis=-1)
    ways = np.where(arrived[..., None], MOVES.astype(int) @ [1, 1] == 0, heading @ MOVES.T.astype(int) > 0)
    return ways.astype(float), np.asarray((goal >= 0).all(axis=-1))


RULES = (
    Rule("copy-rewarded", "does in a cell what paid there last", "dark-room", copy_rewarded),
    Rule("retrieval", "goes to the cell that paid last, and does anything before", "dark-room", retrieval),
    Rule("superstition", "the same, but before a reward it leans to its last action", "dark-room", superstition),
    Rule("gate", "drifts around the centre until a reward, then goes to where it was", "dark-room", gate),
    Rule("ngram", "does in a cell what it did there before, in the same shares", "dark-room", ngram),
    Rule("schedule", "walks a fixed way, with fewer random actions each episode", "dark-room", schedule),
    Rule("unvisited", "steps into neighbouring cells that it has not seen yet", "dark-room", unvisited),
    Rule("reflex", "stays after a reward and else goes on as before", "dark-room", reflex),
)
