"""Beginnings of lives that somebody else lived: one who knows the task, chance, or one who goes a roundabout way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.play import begin, play_expert, play_knowing
from ad_hypotheses.tasks.task import Facts, Task, n_tasks_of

LONGEST = 0.75  # of an episode, until a detour is at its end
TRIED = 8  # places that are tried as the one by way of which a detour goes


def lives_of_others(
    task: Task, facts: Facts, knows: Bool[np.ndarray, " row"], episodes: int, stop: int, rng: np.random.Generator
) -> History:
    """Let whoever knows the task live in some rows, and chance act in the others.

    Args:
        task: The family.
        facts: The tasks. [row, ...]
        knows: Which rows are of one who knows the task. [row]
        episodes: Episodes of a whole life.
        stop: Steps that they live of it.
        rng: All randomness.
    """

    def decide(history: History, state: Any) -> np.ndarray:
        return np.where(knows[:, None], task.expert(state), 1 / task.n_actions)

    return play_knowing(task, facts, decide, episodes, rng, stop=stop)


def detours(
    task: Task,
    facts: Facts,
    move: Callable[[Any, Facts, np.random.Generator], Facts],
    episodes: int,
    rng: np.random.Generator,
) -> History:
    """Let somebody go to what pays by way of another place, the same in every episode.

    Of some places that are drawn, each row takes the one by way of which the pay of the first episode comes latest, but
    early enough to be seen again; where no way round is in reach, it goes the direct way.

    Args:
        task: The family; its facts must not change where actions lead.
        facts: The tasks. [row, ...]
        move: Puts what an expert goes for elsewhere.
        episodes: How many are walked.
        rng: Draws the places.
    """
    n_rows, rows = n_tasks_of(facts), np.repeat(np.arange(n_tasks_of(facts)), TRIED)
    wanted = {name: np.asarray(fact)[rows] for name, fact in facts.items()}
    walks = play_knowing(task, wanted, _roundabout(task, move(task, wanted, rng), rng), episodes, rng)
    paid = walks.rewards[:, : task.horizon] > 0
    first = paid.argmax(axis=1)
    # what is paid at the end of an episode does not show where: longer is better, but not longer than that
    worth = np.where(first <= LONGEST * task.horizon, first, -first).reshape(n_rows, TRIED)
    reached = paid.any(axis=1).reshape(n_rows, TRIED)
    best = np.where(reached, worth, -task.horizon).argmax(axis=1)
    chosen = walks[np.arange(n_rows) * TRIED + best]
    return _rows_of(np.asarray(reached.any(axis=1)), chosen, play_expert(task, facts, episodes, rng))


def _roundabout(task: Task, elsewhere: Facts, rng: np.random.Generator) -> Callable[[History, Any], np.ndarray]:
    """Go for what pays in other tasks until it is reached, or is found to pay here, and then for what pays."""
    shadow, reached = None, np.zeros(n_tasks_of(elsewhere), dtype=bool)

    def decide(history: History, state: Any) -> np.ndarray:
        nonlocal shadow, reached
        if (history.n_steps - 1) % task.horizon == 0:
            number = (history.n_steps - 1) // task.horizon
            shadow = begin(task, elsewhere, history.observations[:, -1], rng, number)
            reached = np.zeros(history.n_rows, dtype=bool)
        else:
            _, paid, shadow = task.step(shadow, history.actions[:, -2].astype(np.intp), rng)
            reached = reached | (paid > 0) | (history.rewards[:, -2] > 0)
        return np.where(reached[:, None], task.expert(state), task.expert(shadow))

    return decide


def _rows_of(which: Bool[np.ndarray, " row"], first: History, second: History) -> History:
    """Return the rows of one history where `which` says so, and else those of another."""
    order = np.where(which, np.arange(len(which)), len(which) + np.arange(len(which)))
    return History(
        observations=np.concatenate([first.observations, second.observations])[order],
        actions=np.concatenate([first.actions, second.actions])[order],
        rewards=np.concatenate([first.rewards, second.rewards])[order],
        episode=second.episode,
        channels=second.channels,
        n_actions=second.n_actions,
        task=second.task,
        learner=second.learner,
    )
