"""The classical learners of bandits, as sources of histories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.recording import check_episodes, keep_episodes
from ad_hypotheses.tasks import BernoulliBandit, Facts, GaussianBandit, Task
from ad_hypotheses.tasks.bandit_policies import Bandit, thompson, ucb1
from ad_hypotheses.tasks.play import play
from ad_hypotheses.tasks.task import Policy


@dataclass(frozen=True)
class UCB1:
    """Pulls the arm of the greatest upper confidence bound (Auer et al. 2002); ties are broken at random."""

    name: ClassVar[str] = "ucb1"

    def require_fit(self, task: Task, episodes: int) -> None:
        """Refuse a task that is another than it learns.

        Raises:
            ConfigError: It is.
        """
        if not isinstance(task, Bandit):
            raise _refusal(self.name, task)

    def live(self, task: Task, facts: Facts, episodes: int, rng: np.random.Generator, keep_every: int = 1) -> History:
        """Let one learner live on every bandit of `facts`, remembering across episodes.

        Raises:
            ConfigError: The task is no bandit, or there is nothing to live or to keep.
        """
        self.require_fit(task, episodes)
        return _live(ucb1(cast(Bandit, task)), task, facts, episodes, rng, keep_every)


@dataclass(frozen=True)
class Thompson:
    """Pulls the arm whose sample from its Beta posterior is highest (Thompson 1933, uniform prior)."""

    name: ClassVar[str] = "thompson"

    def require_fit(self, task: Task, episodes: int) -> None:
        """Refuse a task that is another than it learns.

        Raises:
            ConfigError: It is.
        """
        if not isinstance(task, BernoulliBandit):
            raise _refusal(self.name, task)

    def live(self, task: Task, facts: Facts, episodes: int, rng: np.random.Generator, keep_every: int = 1) -> History:
        """Let one learner live on every bandit of `facts`, remembering across episodes.

        Raises:
            ConfigError: The task is no Bernoulli bandit, or there is nothing to live or to keep.
        """
        self.require_fit(task, episodes)
        return _live(thompson(cast(Bandit, task), rng), task, facts, episodes, rng, keep_every)


@dataclass(frozen=True)
class GaussianThompson:
    """Pulls the arm whose sample from its Gaussian posterior is highest, as if pay were not rounded."""

    name: ClassVar[str] = "gaussian-thompson"

    def require_fit(self, task: Task, episodes: int) -> None:
        """Refuse a task that is another than it learns.

        Raises:
            ConfigError: It is.
        """
        if not isinstance(task, GaussianBandit):
            raise _refusal(self.name, task)

    def live(self, task: Task, facts: Facts, episodes: int, rng: np.random.Generator, keep_every: int = 1) -> History:
        """Let one learner live on every bandit of `facts`, remembering across episodes.

        Raises:
            ConfigError: The task is no Gaussian bandit, or there is nothing to live or to keep.
        """
        self.require_fit(task, episodes)
        return _live(thompson(cast(Bandit, task), rng), task, facts, episodes, rng, keep_every)


def _refusal(name: str, task: Task) -> ConfigError:
    """Return what tells a user that a source cannot learn a task, and which can."""
    if not isinstance(task, Bandit):
        return ConfigError(f"{name} learns bandits, not {task.name}; use dyna-q or epsilon-greedy-q.")
    fitting = "gaussian-thompson" if isinstance(task, GaussianBandit) else "thompson"
    return ConfigError(f"{name} learns another kind of bandit than {task.name}; use {fitting} or ucb1.")


def _live(
    policy: Policy, task: Task, facts: Facts, episodes: int, rng: np.random.Generator, keep_every: int
) -> History:
    check_episodes(episodes, keep_every)
    return keep_episodes(play(task, facts, policy, episodes, rng), keep_every)
