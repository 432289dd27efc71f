"""The classical learners of bandits, as sources of histories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.recording import check_episodes, keep_episodes
from ad_hypotheses.tasks import BernoulliBandit, Facts, GaussianBandit, Task
from ad_hypotheses.tasks.bandit_policies import Bandit, thompson, ucb1
from ad_hypotheses.tasks.play import play
from ad_hypotheses.tasks.task import Policy


@dataclass(frozen=True)
class BanditLearner:
    """Pulls arms by a policy that looks at every pull so far.

    Attributes:
        name: What `make_source` calls it.
        learns: The bandits that it learns.
    """

    name: ClassVar[str]
    learns: ClassVar[Any]

    def policy(self, bandit: Bandit, rng: np.random.Generator) -> Policy:
        """Return how it acts on a bandit; what it draws comes from the generator."""
        raise NotImplementedError

    def require_fit(self, task: Task, episodes: int) -> None:
        """Refuse a task that is another than it learns.

        Raises:
            ConfigError: It is.
        """
        if isinstance(task, self.learns):
            return
        if not isinstance(task, Bandit):
            raise ConfigError(f"{self.name} learns bandits, not {task.name}; use dyna-q or epsilon-greedy-q.")
        fitting = "gaussian-thompson" if isinstance(task, GaussianBandit) else "thompson"
        raise ConfigError(f"{self.name} learns another kind of bandit than {task.name}; use {fitting} or ucb1.")

    def live(self, task: Task, facts: Facts, episodes: int, rng: np.random.Generator, keep_every: int = 1) -> History:
        """Let one learner live on every bandit of `facts`, remembering across episodes.

        Raises:
            ConfigError: The task is another than it learns, or there is nothing to live or to keep.
        """
        self.require_fit(task, episodes)
        check_episodes(episodes, keep_every)
        policy = self.policy(cast(Bandit, task), rng)
        return keep_episodes(play(task, facts, policy, episodes, rng), task, keep_every)


class UCB1(BanditLearner):
    """Pulls the arm of the greatest upper confidence bound (Auer et al. 2002); ties are broken at random."""

    name = "ucb1"
    learns = Bandit

    def policy(self, bandit: Bandit, rng: np.random.Generator) -> Policy:
        """Return UCB1 for the scatter of a bandit's pay; it draws nothing."""
        return ucb1(bandit)


class Thompson(BanditLearner):
    """Pulls the arm whose sample from its Beta posterior is highest (Thompson 1933, uniform prior)."""

    name = "thompson"
    learns: ClassVar[Any] = BernoulliBandit

    def policy(self, bandit: Bandit, rng: np.random.Generator) -> Policy:
        """Return Thompson sampling with the prior of a bandit."""
        return thompson(bandit, rng)


class GaussianThompson(Thompson):
    """Pulls the arm whose sample from its Gaussian posterior is highest, as if pay were not rounded."""

    name = "gaussian-thompson"
    learns = GaussianBandit
