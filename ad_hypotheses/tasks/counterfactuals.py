"""Matched counterfactuals: the same histories but for one thing, for path patching and tests of behaviour.

A history and its counterfactual differ in what the kind says and in nothing else, so whatever a model does differently
on them is due to that. A token shows the action and the reward of the step before, so a change of what step `t` did or
was paid shows from the token of step `t + 1` on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int

from ad_hypotheses.errors import ConfigError, DataError, did_you_mean
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.rewarded_places import UNKNOWN, Place, explains, lives, other_cell, rewarded_place, rewards_of
from ad_hypotheses.tasks.room import Room
from ad_hypotheses.tasks.task import Task


@dataclass(frozen=True)
class Counterfactual:
    """Histories that were changed in one thing.

    Attributes:
        history: The changed histories; rows in which the change was impossible are as they were.
        changed: Rows that show the change. [batch]
        first_step: The first step whose token differs, the number of steps where none does. [batch]
        words: What was changed.
        old: Where rooms and graphs were paid before, all -1 in unchanged rows; None where no place is moved.
            [batch, channel]
        new: Where they are paid now, likewise. [batch, channel]
    """

    history: History
    changed: Bool[np.ndarray, " batch"]
    first_step: Int[np.ndarray, " batch"]
    words: str
    old: Int[np.ndarray, "batch channel"] | None = None
    new: Int[np.ndarray, "batch channel"] | None = None


@dataclass(frozen=True)
class Edit:
    """Histories after a change, and between which places it moved the rewards, if it did. [batch, channel]"""

    history: History
    old: np.ndarray | None = None
    new: np.ndarray | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of counterfactual.

    Attributes:
        words: What it changes.
        lacks: Says what the task or the histories lack for it, or nothing.
        edit: Changes the histories, where it is possible.
    """

    words: str
    lacks: Callable[[Task, History], str]
    edit: Callable[[Task, History, np.random.Generator], Edit]


def make_counterfactual(name: str, task: Task, history: History, rng: np.random.Generator) -> Counterfactual:
    """Change one thing in every history.

    Args:
        name: One of `COUNTERFACTUALS`.
        task: The family that the histories are from.
        history: The histories; they stay as they are.
        rng: Decides on cells, episodes and actions.

    Raises:
        ConfigError: There is no such counterfactual.
        DataError: It does not fit the task or the histories; the message lists those that do.
    """
    if name not in COUNTERFACTUALS:
        known = ", ".join(COUNTERFACTUALS)
        raise ConfigError(f"there is no counterfactual {name!r}.{did_you_mean(name, COUNTERFACTUALS)} Known: {known}.")
    lacks = COUNTERFACTUALS[name].lacks(task, history)
    if lacks:
        fit = ", ".join(fitting(task, history)) or "none"
        raise DataError(f"the counterfactual {name} does not fit {task.name}: {lacks}. Those that fit: {fit}.")
    edit = COUNTERFACTUALS[name].edit(task, history, rng)
    differs = tokens_differ(history, edit.history)
    changed = np.asarray(differs.any(axis=1))
    return Counterfactual(
        history=_only(changed, edit.history, history),
        changed=changed,
        first_step=np.where(changed, differs.argmax(axis=1), history.n_steps),
        words=COUNTERFACTUALS[name].words,
        old=edit.old if edit.old is None else np.where(changed[:, None], edit.old, UNKNOWN),
        new=edit.new if edit.new is None else np.where(changed[:, None], edit.new, UNKNOWN),
    )


def fitting(task: Task, history: History) -> tuple[str, ...]:
    """Return the names of the counterfactuals that fit a task and its histories."""
    return tuple(name for name, kind in COUNTERFACTUALS.items() if not kind.lacks(task, history))


def tokens_differ(left: History, right: History) -> Bool[np.ndarray, "batch step"]:
    """Return where the tokens of two batches of histories differ. [batch, step]"""
    seen = (left.observations != right.observations).any(axis=-1)
    done = left.previous_actions != right.previous_actions
    return np.asarray(seen | done | (left.previous_rewards != right.previous_rewards))


def _only(rows: np.ndarray, changed: History, before: History) -> History:
    """Keep a change in some rows; a change that no token shows is none."""

    def chosen(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return before if before is after else np.where(rows.reshape(-1, *[1] * (before.ndim - 1)), before, after)

    return replace(
        before,
        observations=chosen(changed.observations, before.observations),
        actions=chosen(changed.actions, before.actions),
        rewards=chosen(changed.rewards, before.rewards),
        task={name: chosen(changed.task[name], fact) for name, fact in before.task.items()},
    )


def _no_rewards(task: Task, history: History, rng: np.random.Generator) -> Edit:
    return Edit(replace(history, rewards=np.zeros_like(history.rewards)))


def _reward_moved(task: Task, history: History, rng: np.random.Generator) -> Edit:
    if not task.channels:
        return Edit(replace(history, rewards=_arms_swapped(history, rng)))
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


def _arms_swapped(history: History, rng: np.random.Generator) -> np.ndarray:
    """Exchange the rewards of the arm that paid most with those of a pulled arm that paid less a pull.

    The n-th pull of either gets what the n-th pull of the other was paid; the arm that was pulled more often begins
    with the rewards of the other anew, so that afterwards each has paid about as well as the other had.
    """
    rewards = history.rewards.copy()
    for row in range(history.n_rows):
        pulls = {arm: np.flatnonzero(history.actions[row] == arm) for arm in np.unique(history.actions[row, :-1])}
        pay = {arm: history.rewards[row, at].mean() for arm, at in pulls.items()}
        best = max(pulls, key=lambda arm: pay[arm] * len(pulls[arm]), default=None)
        worse = [arm for arm in pulls if pay[arm] < pay[best]]
        often = [arm for arm in worse if len(pulls[arm]) > 1] or worse
        if often:
            first_pulls, second_pulls = pulls[best], pulls[rng.choice(often)]
            rewards[row, first_pulls] = np.resize(history.rewards[row, second_pulls], len(first_pulls))
            rewards[row, second_pulls] = np.resize(history.rewards[row, first_pulls], len(second_pulls))
    return rewards


def _goal_moved(task: Task, history: History, rng: np.random.Generator) -> Edit:
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


def _episode_replaced(task: Task, history: History, rng: np.random.Generator) -> Edit:
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


def _action_remapped(task: Task, history: History, rng: np.random.Generator) -> Edit:
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


def _lacks_nothing(task: Task, history: History) -> str:
    return ""


def _lacks_place(task: Task, history: History) -> str:
    if not task.channels or isinstance(task, Room):
        return ""
    facts = [np.asarray(fact) for fact in history.task.values()]
    if any(fact.reshape(len(fact), -1).shape[1] == len(task.channels) for fact in facts):
        return ""
    return "what its agent sees is not a place that could pay"


def _lacks_goal(task: Task, history: History) -> str:
    if "goal" not in history.task:
        return "its histories know of no goal"
    if np.asarray(history.task["goal"]).reshape(history.n_rows, -1).shape[1] != len(task.channels):
        return "what its agent sees is not the place of a goal"
    return _lacks_episodes(task, history)


def _lacks_episodes(task: Task, history: History) -> str:
    return "" if (history.episode[:, :1] != history.episode).any() else "its histories are of one episode each"


def _lacks_another_row(task: Task, history: History) -> str:
    return _lacks_episodes(task, history) if history.n_rows > 1 else "there is no other history to take an episode from"


def _lacks_actions(task: Task, history: History) -> str:
    return "" if history.n_actions > 1 and history.n_steps > 1 else "there is no past with two actions to exchange"


COUNTERFACTUALS: Mapping[str, Kind] = {
    "no-rewards": Kind("every reward is 0", _lacks_nothing, _no_rewards),
    "reward-moved": Kind(
        "the rewards of the place, or arm, that paid are given to another one that was visited",
        _lacks_place,
        _reward_moved,
    ),
    "episode-replaced": Kind(
        "one episode, not the last, is that of another history", _lacks_another_row, _episode_replaced
    ),
    "action-remapped": Kind(
        "until the start of an episode, the names of two actions are exchanged", _lacks_actions, _action_remapped
    ),
    "goal-moved": Kind("from the start of an episode on, another cell pays", _lacks_goal, _goal_moved),
}
