"""What of a life is kept for training: the one place that reads `skip`, `keep_every` and `shuffle_rewards`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.variants import expert_only, shuffled_rewards
from ad_hypotheses.tasks import Facts, Task
from ad_hypotheses.tasks.task import check_range


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
