"""Histories put together otherwise: episodes in another order, and another task that answers from a step on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ad_hypotheses.errors import DataError, did_you_mean
from ad_hypotheses.language.history import GREATEST, History
from ad_hypotheses.tasks.edits.kinds import lacks_whole_lives
from ad_hypotheses.tasks.edits.lives import answered, in_order
from ad_hypotheses.tasks.options import moving_goal
from ad_hypotheses.tasks.play import play
from ad_hypotheses.tasks.task import Facts, Task, n_tasks_of


def rearrange(history: History, episodes: Sequence[int]) -> History:
    """Return every history with its episodes in another order; some may be left out, others stand twice.

    Args:
        history: Histories of episodes of one length.
        episodes: Numbers of episodes in their new order, from 0.

    Raises:
        DataError: There is no such episode, none is left, or episodes are of different lengths.
    """
    starts = history.episode_start
    n_episodes = int(starts[0].sum()) if history.n_rows else 0
    length = history.n_steps // max(n_episodes, 1)
    regular = np.zeros_like(starts)
    regular[:, :: max(length, 1)] = True
    if not n_episodes or length * n_episodes != history.n_steps or (starts != regular).any():
        raise DataError("the histories are not of whole episodes of one length, so they have no other order.")
    wrong = [number for number in episodes if not 0 <= number < n_episodes]
    if wrong or not len(episodes):
        problem = f"has {wrong[0]}" if wrong else "is empty"
        raise DataError(f"`episodes` {problem}, but the histories have the episodes 0 to {n_episodes - 1}.")
    steps = (np.asarray(episodes)[:, None] * length + np.arange(length)).ravel()
    number = np.repeat(np.arange(len(episodes), dtype=history.episode.dtype), length)
    moved = in_order(replace(history, episode=history.episode[:, :0]), np.tile(steps, (history.n_rows, 1)))
    facts = dict(moving_goal.rearranged(history.task, episodes))
    return replace(moved, episode=np.tile(number, (history.n_rows, 1)), task=facts)


def change_facts(history: History, task: Task, step: int, facts: Mapping[str, Any], seed: int = 0) -> History:
    """Let another task answer what was done, from a step on.

    Args:
        history: The histories; they stay as they are.
        task: The family that they are from.
        step: The first step that the other task answers.
        facts: What is different in it, of every history: `{"goal": (2, 3)}`. A goal that moves is there from the
            episode of the step on.
        seed: Of what chance decides.

    Raises:
        DataError: There is no such step or fact, a value does not fit, or the histories cannot be lived again.
    """
    if lacking := lacks_whole_lives(task, history):
        raise DataError(f"these histories cannot be lived again: {lacking}. Use histories from `histories`.")
    if not 0 <= step < history.n_steps:
        raise DataError(f"`step` is {step}, but the histories have the steps 0 to {history.n_steps - 1}.")
    changed = {**history.task}
    for name, value in facts.items():
        if name == "goal" and "goals" in history.task:
            itineraries, episode = np.asarray(history.task["goals"]), int(history.episode[0, step])
            place = _fact(itineraries[:, 0], task, name, value)[0]
            changed["goals"] = moving_goal.moved_from(itineraries, episode, place)
        else:
            changed[name] = _fact(_known_fact(history, task, name), task, name, value)
    rng = np.random.default_rng([seed, step])
    return answered(task, changed, history, rng, since=step)


def played(
    task: Task, facts: Facts, number: int, actions: Sequence[str | int], longest: int | None, seed: int = 0
) -> History:
    """Let one task answer actions from an empty context on.

    Args:
        task: The family of the tasks.
        facts: The tasks. [row, ...]
        number: Which of them, from 0.
        actions: What is done at every step, by names or numbers.
        longest: How many steps there may be; None for any number.
        seed: Of what chance decides.

    Raises:
        DataError: There is no such task or action, none was given, or there are too many.
    """
    names, n_tasks = list(task.action_names), n_tasks_of(facts)
    if not 0 <= number < n_tasks:
        raise DataError(f"`task` is {number}, but there are the tasks 0 to {n_tasks - 1}.")
    if not actions or (longest is not None and len(actions) > longest):
        limit = "" if longest is None else f" to {longest}"
        raise DataError(f"`actions` has {len(actions)}, but a context is of 1{limit} steps.")
    numbers = [names.index(action) if action in names else action for action in actions]
    wrong = next((action for action in numbers if action not in range(task.n_actions)), None)
    if wrong is not None:
        raise DataError(f"`actions` has {wrong!r}, but {task.name} has the actions {', '.join(names)}.")
    done = np.eye(task.n_actions)[np.array(numbers, dtype=np.intp)]
    chosen = {name: fact[number : number + 1] for name, fact in facts.items()}
    episodes = -(-len(done) // task.horizon)
    rng = np.random.default_rng([seed, number])
    return play(task, chosen, lambda so_far: done[so_far.n_steps - 1 : so_far.n_steps], episodes, rng, stop=len(done))


def _known_fact(history: History, task: Task, name: str) -> np.ndarray:
    """Return what a fact is in every history. [row, ...]

    Raises:
        DataError: There is no such fact.
    """
    if name not in history.task:
        known = ", ".join("goal" if fact == "goals" else fact for fact in history.task)
        raise DataError(f"there is no fact {name!r}.{did_you_mean(name, history.task)} {task.name} has: {known}.")
    return np.asarray(history.task[name])


def _fact(former: np.ndarray, task: Task, name: str, value: Any) -> np.ndarray:
    """Return another value of a fact, the same in every history. [row, ...]

    Args:
        former: What it is. [row, ...]
        task: The family.
        name: Of the fact.
        value: What it is to be.

    Raises:
        DataError: It is of another shape or out of range.
    """
    try:
        fact = np.array(value, dtype=former.dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"`facts`: {name} is {value!r:.60}, but it must be made of numbers.") from error
    if fact.shape != former.shape[1:]:
        shape = " x ".join(map(str, former.shape[1:])) or "1"
        raise DataError(f"`facts`: {name} is {value!r:.60}, but it must be of {shape} numbers.")
    place = fact.reshape(-1)
    sizes = np.asarray(task.channel_sizes)
    if np.issubdtype(fact.dtype, np.floating):
        fits = bool((np.abs(fact) <= GREATEST).all())
        needed = f"made of finite numbers, none beyond {GREATEST:g}"
    else:  # a place, as it is seen
        fits = len(place) == len(sizes) and bool(((place >= 0) & (place < sizes)).all())
        needed = f"a place that can be seen ({', '.join(f'0 to {size - 1}' for size in task.channel_sizes[:4])})"
    if not fits:
        raise DataError(f"`facts`: {name} is {value!r:.60}, but it must be {needed}.")
    return np.tile(fact, (len(former), *[1] * fact.ndim))
