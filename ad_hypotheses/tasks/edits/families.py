"""Counterfactual families: lives in which what always goes together otherwise comes apart.

A family is a short program: somebody lives a part of a life, that past or the world is changed, and they live on. What
the changed past shows is what its world answers, so no step is impossible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.edits.lives import EditedLives, Lives, answered, in_order
from ad_hypotheses.tasks.edits.matched import arms_swapped
from ad_hypotheses.tasks.edits.planted import detours, lives_of_others
from ad_hypotheses.tasks.edits.worlds import ExchangedActions, TwoGoals, Unpaid, exchange
from ad_hypotheses.tasks.options import moving_goal
from ad_hypotheses.tasks.options.drift import over_pulls
from ad_hypotheses.tasks.play import play_expert
from ad_hypotheses.tasks.rewarded_places import lives as lives_in_places
from ad_hypotheses.tasks.rewarded_places import other_cell, rewarded_place
from ad_hypotheses.tasks.task import Facts, Task

Family = Callable[[Lives], EditedLives]
Move = Callable[[Any, Facts, np.random.Generator], Facts]
"""Given a task family and facts, returns facts in which something is elsewhere, in every row."""

ERRORS = 0.2  # how often whoever walks to a second goal does anything instead
WALKS = 2  # episodes in which a detour is gone


def redrawn(name: str) -> Move:
    """Return what draws a fact anew, from all tasks of the family, until it is another one."""

    def move(task: Task, facts: Facts, rng: np.random.Generator) -> Facts:
        drawn = np.array(facts[name])
        while (same := (drawn == facts[name]).reshape(len(drawn), -1).all(axis=1)).any():
            drawn[same] = task.sample_tasks(rng, int(same.sum()))[name]
        return {**facts, name: drawn}

    return move


def goals_elsewhere(task: Any, facts: Facts, rng: np.random.Generator) -> Facts:
    """Move goals that jump between episodes to other cells, in every episode."""
    return {**facts, "goals": moving_goal.elsewhere(np.asarray(facts["goals"]), task.size, rng)}


def moved(move: Move) -> Family:
    """Return the family in which, from the middle on, something is elsewhere."""

    def live(lives: Lives) -> EditedLives:
        past = lives.live(lives.boundary(0.5))
        facts = move(lives.task, lives.facts, lives.rng)
        return lives.edited(past, past, facts=_with_former(facts, lives.facts))

    return live


def dead(lives: Lives) -> EditedLives:
    """Live to the middle, and from then on in a world where nothing pays."""
    past = lives.live(lives.boundary(0.5))
    return lives.edited(past, past, world=Unpaid(lives.task))


def two_goals(move: Move) -> Family:
    """Return the family in which a second goal pays as the first does, and some walks of the past went there."""

    def live(lives: Lives) -> EditedLives:
        lived = lives.live(lives.boundary(0.5))
        elsewhere = move(lives.task, lives.facts, lives.rng)
        facts, world = {**lives.facts, "second_goal": elsewhere["goal"]}, TwoGoals(lives.task)
        horizon = lives.task.horizon
        most = max(1, lived.n_steps // horizon // 2)
        walks = play_expert(lives.task, elsewhere, most, lives.rng, epsilon=np.full(most, ERRORS))
        # the n-th of the drawn episodes is the n-th walk; how many are drawn differs from row to row
        order = lives.rng.permuted(np.tile(np.arange(lived.n_steps // horizon), (lives.n_rows, 1)), axis=1)
        rank = np.argsort(order, axis=1)
        n_walks, n_lived = lives.rng.integers(1, most + 1, size=(lives.n_rows, 1)), lived.n_steps // horizon
        source = np.where(rank < n_walks, n_lived + rank, np.arange(n_lived))
        both = _after(lived, walks)
        past = answered(world, facts, in_order(both, _steps(source, horizon)), lives.rng)
        return lives.edited(lived, past, world, facts)

    return live


def place_swapped(places: tuple[str, ...]) -> Family:
    """Return the family in which the past is paid at another visited place than it was, and that one pays on.

    Args:
        places: The facts that say where places are which pay, in their order.
    """

    def live(lives: Lives) -> EditedLives:
        lived = lives.live(lives.boundary(0.5))
        facts = {name: np.array(fact) for name, fact in lives.facts.items()}
        for row, life in enumerate(lives_in_places(lives.task, lived, lives.rng)):
            place = rewarded_place(life, len(places))
            cell = None if place is None else other_cell(place, life, 0, lives.rng)
            if place is not None and cell is not None:
                name = places[place.number]
                facts[name][row] = cell.reshape(facts[name][row].shape)
        past = answered(lives.task, facts, lived, lives.rng)
        return lives.edited(lived, past, facts=_with_former(facts, lives.facts))

    return live


def pay_swapped(lives: Lives) -> EditedLives:
    """Live to the middle; two arms have paid there what the other one pays, and so it goes on."""
    lived = lives.live(lives.boundary(0.5))
    _, arms = arms_swapped(lived, lives.rng)
    facts = {**lives.facts, "means": _means_exchanged(lives.facts["means"], arms)}
    # only what these two paid is drawn anew
    drawn, touched = answered(lives.task, facts, lived, lives.rng), (lived.actions[..., None] == arms[:, None]).any(-1)
    past = replace(lived, rewards=np.where(touched, drawn.rewards, lived.rewards))
    return lives.edited(lived, past, facts=_with_former(facts, lives.facts))


def best_and_worst_arm(task: Task, facts: Facts, rng: np.random.Generator) -> Facts:
    """Exchange what the best and the worst arm pay on average."""
    means = over_pulls(facts["means"])
    arms = np.stack([means.argmax(axis=1), means.argmin(axis=1)], axis=1)
    return {**facts, "means": _means_exchanged(facts["means"], arms)}


def actions_exchanged(lives: Lives) -> EditedLives:
    """Live to the middle; the past is told with two actions exchanged, and in such a world it goes on."""
    lived = lives.live(lives.boundary(0.5))
    pairs = np.empty((lives.n_rows, 2), dtype=np.int8)
    for row in range(lives.n_rows):
        used = lives.rng.permutation(np.unique(lived.actions[row]))
        unused = lives.rng.permutation(np.setdiff1d(np.arange(lives.task.n_actions), used))
        pairs[row] = np.append(used, unused)[:2]
    past = replace(lived, actions=exchange(lived.actions, pairs))
    return lives.edited(lived, past, ExchangedActions(lives.task), {**lives.facts, "exchanged": pairs})


def episodes_shuffled(lives: Lives) -> EditedLives:
    """Live to the middle, and go on from the same episodes in another order."""
    return _shuffled(lives, lives.task.horizon)


def pulls_shuffled(lives: Lives) -> EditedLives:
    """Live to the middle, and go on from the same pulls and pays in another order."""
    return _shuffled(lives, 1)


def detour(move: Move) -> Family:
    """Return the family of lives that begin with two walks to the goal by way of another place."""

    def live(lives: Lives) -> EditedLives:
        episodes = min(WALKS, max(1, lives.episodes // 2))
        past = detours(lives.task, lives.facts, move, episodes, lives.rng)
        return lives.edited(None, past)

    return live


def life_before(lives: Lives) -> EditedLives:
    """Let lives begin with a quarter of another one, of whoever knows the task or, in half of the rows, of chance."""
    knows = lives.rng.permutation(np.arange(lives.n_rows) % 2 == 0)
    past = lives_of_others(lives.task, lives.facts, knows, lives.episodes, lives.boundary(0.25), lives.rng)
    return lives.edited(None, past, facts={**lives.facts, "began_with_expert": knows})


def _shuffled(lives: Lives, length: int) -> EditedLives:
    """Put the parts of the past, of that many steps each, into another order."""
    lived = lives.live(lives.boundary(0.5))
    plain = np.tile(np.arange(lived.n_steps // length), (lives.n_rows, 1))
    order = plain.copy()
    while (same := (order == plain).all(axis=1)).any():
        order[same] = lives.rng.permuted(plain[same], axis=1)
    return lives.edited(lived, in_order(lived, _steps(order, length)))


def _steps(order: np.ndarray, length: int) -> np.ndarray:
    """The steps of parts of a length, in an order of them. [row, part] -> [row, step]"""
    return (order[..., None] * length + np.arange(length)).reshape(len(order), -1)


def _after(first: History, second: History) -> History:
    """Two histories of whole episodes, one after the other."""
    return replace(
        first,
        observations=np.concatenate([first.observations, second.observations], axis=1),
        actions=np.concatenate([first.actions, second.actions], axis=1),
        rewards=np.concatenate([first.rewards, second.rewards], axis=1),
        episode=np.concatenate([first.episode, second.episode + first.episode[:, -1:] + 1], axis=1),
    )


def _means_exchanged(means: np.ndarray, arms: np.ndarray) -> np.ndarray:
    """Let two arms of each task pay what the other one does, at every pull where they drift."""
    places = arms.reshape(len(arms), *[1] * (means.ndim - 2), 2)
    exchanged = means.copy()
    np.put_along_axis(exchanged, places, np.take_along_axis(means, places[..., ::-1], axis=-1), axis=-1)
    return exchanged


def _with_former(facts: Facts, former: Facts) -> Facts:
    """Add what the changed facts were before, as `goal_before`."""
    changed = [name for name, fact in former.items() if not np.array_equal(fact, facts[name])]
    return {**facts, **{f"{name}_before": np.asarray(former[name]) for name in changed}}
