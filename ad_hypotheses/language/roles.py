"""What an earlier step is to the step that looks at it.

A role is judged from the looking step: which of the steps before it (and itself) were rewarded, saw the same, lie in
the episode before. For what reads where it stands (a query, an MLP, the logits) only the looking step itself counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool

from ad_hypotheses.language.history import History

Pairs = Bool[np.ndarray, "batch query step"]


def rewarded(history: History) -> Pairs:
    """Steps whose token shows a reward above 0. [batch, query, step]"""
    return _visible(history) & (history.previous_rewards > 0)[:, None]


def same_state(history: History) -> Pairs:
    """Earlier steps that saw what the looking step sees. [batch, query, step]"""
    alike = (history.observations[:, :, None] == history.observations[:, None]).all(axis=-1)
    return _earlier(history) & alike


def previous_episode(history: History) -> Pairs:
    """The steps of the episode before. [batch, query, step]"""
    return history.episode[:, :, None] == history.episode[:, None] + 1


def current_episode(history: History) -> Pairs:
    """The steps of this episode, up to the looking one. [batch, query, step]"""
    return _visible(history) & (history.episode[:, :, None] == history.episode[:, None])


def previous_same_step(history: History) -> Pairs:
    """The step of the episode before that was as long after its start. [batch, query, step]"""
    as_far = history.episode_step[:, :, None] == history.episode_step[:, None]
    return previous_episode(history) & as_far


def episode_start(history: History) -> Pairs:
    """First steps of episodes. [batch, query, step]"""
    return _visible(history) & history.episode_start[:, None]


def itself(history: History) -> Pairs:
    """The looking step itself. [batch, query, step]"""
    return _visible(history) & ~_earlier(history)


ROLES: Mapping[str, Callable[[History], Pairs]] = {
    "rewarded": rewarded,
    "same-state": same_state,
    "previous-episode": previous_episode,
    "previous-same-step": previous_same_step,
    "current-episode": current_episode,
    "episode-start": episode_start,
    "itself": itself,
}


def _visible(history: History) -> Pairs:
    steps = np.arange(history.n_steps)
    return np.broadcast_to(steps <= steps[:, None], (history.n_rows, history.n_steps, history.n_steps))


def _earlier(history: History) -> Pairs:
    steps = np.arange(history.n_steps)
    return np.broadcast_to(steps < steps[:, None], (history.n_rows, history.n_steps, history.n_steps))
