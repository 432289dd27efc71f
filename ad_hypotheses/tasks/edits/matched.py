"""Histories with one thing changed, the actions as recorded: what a matched counterfactual is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.rewarded_places import UNKNOWN, Place, explains, lives, other_cell, rewarded_place, rewards_of
from ad_hypotheses.tasks.task import Task


@dataclass(frozen=True)
class Edit:
    """Histories after a change, and between which places it moved the rewards, if it did. [batch, channel]"""

    history: History
    old: np.ndarray | None = None
    new: np.ndarray | None = None


def no_rewards(task: Task, history: History, rng: np.random.Generator) -> Edit:
    return Edit(replace(history, rewards=np.zeros_like(history.rewards)))


def rewards_swapped(task: Task, history: History, rng: np.random.Generator) -> Edit:
    if not task.channels:
        return Edit(replace(history, rewards=arms_swapped(history, rng)[0]))
    n_places = getattr(task, "n_hidden", 1)
    rewards = history.rewards.copy()
    old, new = np.full((2, history.n_rows, len(task.channels)), UNKNOWN)
    for row, life in enumerate(lives(task, history, rng)):
        place = rewarded_place(life, n_places)
        cell = None if place is None else other_cell(place, life, 0, rng)
        if place is not None and cell is not None:
            rewards[row] = rewards_of(replace(place, cell=cell), life, 0)
            old[row], new[row] = place.cell, cell
    return Edit(replace(history, rewards=rewards), old, new)


def arms_swapped(history: History, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Exchange the rewards of the arm that paid most with those of a pulled arm that paid less a pull.

    The n-th pull of either gets what the n-th pull of the other was paid; the arm that was pulled more often begins
    with the rewards of the other anew, so that afterwards each has paid about as well as the other had.

    Returns:
        The rewards [row, step], and the two arms [row, 2]; twice the same where no other paid less.
    """
    rewards, arms = history.rewards.copy(), np.zeros((history.n_rows, 2), dtype=np.intp)
    for row in range(history.n_rows):
        pulls = {arm: np.flatnonzero(history.actions[row] == arm) for arm in np.unique(history.actions[row, :-1])}
        pay = {arm: history.rewards[row, at].mean() for arm, at in pulls.items()}
        best = max(pulls, key=lambda arm: pay[arm] * len(pulls[arm]), default=None)
        worse = [arm for arm in pulls if pay[arm] < pay[best]]
        often = [arm for arm in worse if len(pulls[arm]) > 1] or worse
        if often:
            arms[row] = np.array([best, rng.choice(often)])
            first_pulls, second_pulls = (pulls[arm] for arm in arms[row])
            rewards[row, first_pulls] = np.resize(history.rewards[row, second_pulls], len(first_pulls))
            rewards[row, second_pulls] = np.resize(history.rewards[row, first_pulls], len(second_pulls))
    return rewards, arms


def arms_exchanged(task: Task, history: History, rng: np.random.Generator) -> Edit:
    """Exchange the rewards of two arms, as `arms_swapped` does, in the second half of each history."""
    middle = history.n_steps // 2
    rewards = history.rewards.copy()
    rewards[:, middle:], _ = arms_swapped(history.window(middle), rng)
    return Edit(replace(history, rewards=rewards))


def goal_moved(task: Task, history: History, rng: np.random.Generator) -> Edit:
    goals = np.asarray(history.task["goal"])
    rewards, old = history.rewards.copy(), goals.reshape(history.n_rows, -1).astype(np.int64)
    new = old.copy()
    for row, life in enumerate(lives(task, history, rng)):
        place = Place(old[row], 0, float(task.rewards[-1]))
        for since in rng.permutation(np.flatnonzero(history.episode_start[row])[1:]).tolist():
            cell = other_cell(place, life, since, rng) if explains(place, life, since) else None
            if cell is not None:
                new[row], rewards[row] = cell, rewards_of(replace(place, cell=cell), life, since)
                break
    facts = {**history.task, "goal": new.reshape(goals.shape).astype(goals.dtype)}
    return Edit(replace(history, rewards=rewards, task=facts), old, new)


def episode_replaced(task: Task, history: History, rng: np.random.Generator) -> Edit:
    spans = [_spans(history, row) for row in range(history.n_rows)]
    content = [{span: _content(history, row, span) for span in spans[row]} for row in range(history.n_rows)]
    arrays = [array.copy() for array in (history.observations, history.actions, history.rewards)]
    for row in range(history.n_rows):
        order = [spans[row][number] for number in rng.permutation(len(spans[row]) - 1)]
        for span in sorted(order, key=lambda span: not (history.rewards[row, span[1] : span[2]] > 0).any()):
            others = [donor for donor, has in enumerate(content) if span in has and has[span] != content[row][span]]
            if others:
                other, steps = rng.choice(others), slice(*span[1:])
                for array, record in zip(arrays, (history.observations, history.actions, history.rewards), strict=True):
                    array[row, steps] = record[other, steps]
                break
    observations, actions, rewards = arrays
    return Edit(replace(history, observations=observations, actions=actions, rewards=rewards))


def _spans(history: History, row: int) -> list[tuple[int, int, int]]:
    """The number of every episode, its first step, and the first step after it."""
    starts = np.flatnonzero(history.episode_start[row])
    ends = np.append(starts[1:], history.n_steps)
    return list(zip(history.episode[row, starts].tolist(), starts.tolist(), ends.tolist(), strict=True))


def _content(history: History, row: int, span: tuple[int, int, int]) -> bytes:
    steps = slice(*span[1:])
    return b"".join(array[row, steps].tobytes() for array in (history.observations, history.actions, history.rewards))


def actions_exchanged(task: Task, history: History, rng: np.random.Generator) -> Edit:
    actions = history.actions.copy()
    for row in range(history.n_rows):
        boundaries = np.flatnonzero(history.episode_start[row])[1:]
        until = rng.choice(boundaries if len(boundaries) else np.arange(1, history.n_steps))
        used = np.unique(history.actions[row, :until])
        first, *others = rng.permutation(used)
        second = others[0] if others else rng.choice(np.delete(np.arange(history.n_actions), first))
        past = history.actions[row, :until]
        actions[row, :until] = np.where(past == first, second, np.where(past == second, first, past))
    return Edit(replace(history, actions=actions))
