"""What a step is, and what an earlier step is to the step that looks at it.

A step role (:data:`STEP_ROLES`) holds of a step by itself. A pair role (:data:`PAIR_ROLES`) is judged from the looking
step: which of the steps before it (and itself) were rewarded, saw the same, lie in the episode before. For what reads
where it stands (a query, an MLP, the logits) only the looking step itself counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool

from ad_hypotheses.language.history import History

StepPairs = Bool[np.ndarray, "batch query step"]
"""Which earlier step is what to the step that looks. [batch, query, step]"""


def _seen(history: History) -> Bool[np.ndarray, "batch step"]:
    return np.logical_or.accumulate(history.previous_rewards > 0, axis=1)


STEP_ROLES: Mapping[str, Callable[[History], Bool[np.ndarray, "batch step"]]] = {
    "rewarded": lambda history: history.previous_rewards > 0,
    "unrewarded": lambda history: history.previous_rewards <= 0,
    "before_reward": lambda history: ~_seen(history),
    "after_reward": _seen,
    "episode_start": lambda history: history.episode_start,
    "last_episode": lambda history: history.episode == history.episode[:, -1:],
}
"""Step roles by name, each from what is visible at the step. [batch, step]"""


def rewarded(history: History) -> StepPairs:
    """Return steps whose token shows a reward above 0. [batch, query, step]"""
    return _visible(history) & (history.previous_rewards > 0)[:, None]


def same_state(history: History) -> StepPairs:
    """Return earlier steps that saw what the looking step sees. [batch, query, step]"""
    alike = (history.observations[:, :, None] == history.observations[:, None]).all(axis=-1)
    return _earlier(history) & alike


def previous_episode(history: History) -> StepPairs:
    """Return the steps of the episode before. [batch, query, step]"""
    return history.episode[:, :, None] == history.episode[:, None] + 1


def current_episode(history: History) -> StepPairs:
    """Return the steps of this episode, up to the looking one. [batch, query, step]"""
    return _visible(history) & (history.episode[:, :, None] == history.episode[:, None])


def previous_same_step(history: History) -> StepPairs:
    """Return the step of the episode before that was as long after its start. [batch, query, step]"""
    as_far = history.episode_step[:, :, None] == history.episode_step[:, None]
    return previous_episode(history) & as_far


def episode_start(history: History) -> StepPairs:
    """Return first steps of episodes. [batch, query, step]"""
    return _visible(history) & history.episode_start[:, None]


def itself(history: History) -> StepPairs:
    """Return the looking step itself. [batch, query, step]"""
    return _visible(history) & ~_earlier(history)


PAIR_ROLES: Mapping[str, Callable[[History], StepPairs]] = {
    "rewarded": rewarded,
    "same_state": same_state,
    "previous_episode": previous_episode,
    "previous_same_step": previous_same_step,
    "current_episode": current_episode,
    "episode_start": episode_start,
    "itself": itself,
}


def _visible(history: History) -> StepPairs:
    steps = np.arange(history.n_steps)
    return np.broadcast_to(steps <= steps[:, None], (history.n_rows, history.n_steps, history.n_steps))


def _earlier(history: History) -> StepPairs:
    steps = np.arange(history.n_steps)
    return np.broadcast_to(steps < steps[:, None], (history.n_rows, history.n_steps, history.n_steps))
