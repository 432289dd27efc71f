"""Learners whose lives are distilled, and the histories they leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ad_hypotheses.language.history import History
from ad_hypotheses.sources.actor_critic import ActorCritic
from ad_hypotheses.sources.annealed_expert import AnnealedExpert
from ad_hypotheses.sources.bandit_learners import UCB1, GaussianThompson, Thompson
from ad_hypotheses.sources.histories import HistoryFolder, generate, open_histories, write_histories
from ad_hypotheses.sources.q_learning import DynaQ, EpsilonGreedyQ
from ad_hypotheses.sources.recorded import Recorded
from ad_hypotheses.sources.recording import episode_returns, learning_curve
from ad_hypotheses.sources.scripted import Scripted
from ad_hypotheses.tasks import Facts, Task
from ad_hypotheses.tasks.task import make_from

SOURCES: Mapping[str, type] = {
    "epsilon-greedy-q": EpsilonGreedyQ,
    "dyna-q": DynaQ,
    "ucb1": UCB1,
    "thompson": Thompson,
    "gaussian-thompson": GaussianThompson,
    "actor-critic": ActorCritic,
    "annealed-expert": AnnealedExpert,
    "recorded": Recorded,
    "scripted": Scripted,
}


@runtime_checkable
class Source(Protocol):
    """A reinforcement-learning algorithm and its hyper-parameters, a frozen dataclass.

    A source whose learners cannot live anew has an attribute `can_live` that is False. One that cannot live everywhere
    has a method `require_fit(task, episodes)`, which raises a ConfigError without living.
    """

    @property
    def name(self) -> str:
        """What `make_source` calls it."""

    def live(self, task: Task, facts: Facts, episodes: int, rng: np.random.Generator, keep_every: int = 1) -> History:
        """Let one learner live on every task of `facts`; return the kept episodes 0, k, 2k, ... of each."""


def make_source(name: str, **params: Any) -> Source:
    """Make a source, e.g. `make_source("dyna-q", planning=10)`.

    Raises:
        ConfigError: There is no such source or parameter, or a value does not fit.
    """
    return make_from(SOURCES, "source", name, params)


__all__ = [
    "SOURCES",
    "UCB1",
    "ActorCritic",
    "AnnealedExpert",
    "DynaQ",
    "EpsilonGreedyQ",
    "GaussianThompson",
    "HistoryFolder",
    "Recorded",
    "Scripted",
    "Source",
    "Thompson",
    "episode_returns",
    "generate",
    "learning_curve",
    "make_source",
    "open_histories",
    "write_histories",
]
