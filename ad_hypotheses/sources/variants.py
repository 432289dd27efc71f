"""Histories made from histories: only the end of a life, only its beginning, every k-th episode, shuffled rewards.

Each asks what a model needs: trained on experts alone, or on rewards that say nothing, does it still learn in context?
All take histories in which the episodes of all rows begin at the same steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int

from ad_hypotheses.errors import ConfigError, DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks import Facts, Task
from ad_hypotheses.tasks.task import check_range, from_episode


def expert_only(history: History, episodes: int) -> History:
    """Return the last `episodes` episodes of each history, renumbered from 0.

    Raises:
        DataError: There are fewer, or episodes begin at different steps in different histories.
    """
    n_episodes = _count(history, episodes)
    return _kept(history, np.arange(n_episodes - episodes, n_episodes))


def early(history: History, episodes: int) -> History:
    """Return the first `episodes` episodes of each history.

    Raises:
        DataError: There are fewer, or episodes begin at different steps in different histories.
    """
    _count(history, episodes)
    return _kept(history, np.arange(episodes))


def every(history: History, k: int) -> History:
    """Return the episodes 0, k, 2k, ... of each history, renumbered 0, 1, 2, ...: learning that looks k times faster.

    Raises:
        DataError: `k` is less than 1, or episodes begin at different steps in different histories.
    """
    if k < 1:
        raise DataError(f"every {k!r}-th episode cannot be kept; k must be at least 1.")
    return _kept(history, np.arange(0, _count(history, 1), k))


def shuffled_rewards(history: History, rng: np.random.Generator) -> History:
    """Deal the rewards of each history out to other steps of the same history, at random.

    What a life earned in all stays; when, where and for what does not.

    Args:
        history: The histories.
        rng: Decides who is paid when.
    """
    return replace(history, rewards=rng.permuted(history.rewards, axis=1))


def joined(histories: Sequence[History]) -> History:
    """Put histories of the same kind under each other.

    Raises:
        DataError: There are none, or they differ in channels, actions, steps or facts.
    """
    if not histories:
        raise DataError("there are no histories to join.")
    first = histories[0]
    for other in histories[1:]:
        for property, first_value, other_value in (
            ("channels", first.channels, other.channels),
            ("number of actions", first.n_actions, other.n_actions),
            ("steps", first.n_steps, other.n_steps),
            ("facts", sorted(first.task), sorted(other.task)),
            ("learners", first.learner is None, other.learner is None),
        ):
            if first_value != other_value:
                raise DataError(f"histories of different {property} cannot be joined: {first_value} and {other_value}.")
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(history, name) for history in histories])
        for name in ("observations", "actions", "rewards", "episode")
    }
    task = {name: np.concatenate([history.task[name] for history in histories]) for name in first.task}
    learners = [history.learner for history in histories if history.learner is not None]
    return replace(first, **arrays, task=task, learner=np.concatenate(learners) if learners else None)


def _count(history: History, wanted: int) -> int:
    """Return the number of episodes of each history; there must be as many as are wanted."""
    if (history.episode != history.episode[:1]).any():
        raise DataError("episodes begin at different steps in different histories, so they cannot be picked for all.")
    n_episodes = int(history.episode[0, -1]) + 1
    if not 1 <= wanted <= n_episodes:
        raise DataError(f"{wanted} episodes of each history are asked for, but each has {n_episodes}.")
    return n_episodes


def _kept(history: History, episodes: Int[np.ndarray, " episode"]) -> History:
    """Return the steps of these episodes, renumbered from 0."""
    steps = np.flatnonzero(np.isin(history.episode[0], episodes))
    number = np.searchsorted(episodes, history.episode[0, steps]).astype(history.episode.dtype)
    return replace(
        history,
        observations=history.observations[:, steps],
        actions=history.actions[:, steps],
        rewards=history.rewards[:, steps],
        episode=np.broadcast_to(number, (history.n_rows, len(steps))),
    )


def lived(
    source: Any,
    task: Task,
    facts: Facts,
    episodes: int,
    rng: np.random.Generator,
    keep_every: int = 1,
    skip: int = 0,
    shuffle_rewards: bool = False,
) -> History:
    """Let one learner live on every task of `facts`, and return of its life what a model is trained on.

    Args:
        source: How the learners learn.
        task: The distribution that the tasks are from.
        facts: One task a learner. [learner, ...]
        episodes: Episodes of a life, not counting those that are skipped.
        rng: All randomness.
        keep_every: Keep episodes 0, k, 2k, ...
        skip: Episodes lived before the first that is kept.
        shuffle_rewards: Deal the rewards of each history out to other steps of it.

    Returns:
        One history a learner, of `ceil(episodes / keep_every) * horizon` steps.

    Raises:
        ConfigError: `skip` is negative or no multiple of `keep_every`, or there is nothing to live or to keep.
    """
    check_skip(skip, keep_every)
    history = source.live(task, facts, skip + episodes, rng, keep_every)
    if skip:
        history = expert_only(history, -(-episodes // keep_every))
        history = replace(history, task=dict(from_episode(task, history.task, skip // keep_every)))
    return shuffled_rewards(history, rng) if shuffle_rewards else history


def variant_recipe(skip: int, shuffle_rewards: bool) -> dict[str, Any]:
    """Return what a recipe says of a variant; nothing for plain histories, so that older folders stay what they are."""
    return ({"skip": skip} if skip else {}) | ({"shuffle_rewards": True} if shuffle_rewards else {})


def check_skip(skip: int, keep_every: int) -> None:
    """Refuse a skip that would keep other episodes than those that are kept without it.

    Raises:
        ConfigError: It is negative or no multiple of `keep_every`, or that is less than 1.
    """
    check_range("histories", "skip", skip, 0)
    check_range("histories", "keep_every", keep_every, 1)
    if skip % keep_every:
        below = skip - skip % keep_every
        raise ConfigError(
            f"histories: skip is {skip}, but it must be a multiple of keep_every = {keep_every}: {below} or "
            f"{below + keep_every}."
        )
