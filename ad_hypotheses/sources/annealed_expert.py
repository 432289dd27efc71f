"""An expert whose noise fades: histories that look like learning where nobody has learned.

Zisman et al. 2023, "Emergence of In-Context Reinforcement Learning from Noise Distillation" (arXiv 2312.12275), where
models distilled from such histories are called AD-epsilon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.recording import check_episodes, keep_episodes
from ad_hypotheses.tasks import Facts, Task
from ad_hypotheses.tasks.play import play_expert
from ad_hypotheses.tasks.task import check_range


@dataclass(frozen=True)
class AnnealedExpert:
    """Knows the task, and acts at random with a probability that falls from episode to episode.

    Attributes:
        epsilon_first: Probability of a random action in the first episode.
        epsilon_last: The same in the last episode that is lived.
        power: Shape of the fall: `epsilon_last + (epsilon_first - epsilon_last) * (1 - progress) ** power`. 1 is a
            straight line; above, the noise fades early; below, late.
    """

    epsilon_first: float = 1.0
    epsilon_last: float = 0.0
    power: float = 1.0

    name: ClassVar[str] = "annealed-expert"

    def __post_init__(self) -> None:
        """Refuse a noise that is none.

        Raises:
            ConfigError: A number is out of range.
        """
        check_range(self.name, "epsilon_first", self.epsilon_first, 0, 1)
        check_range(self.name, "epsilon_last", self.epsilon_last, 0, 1)
        if self.power <= 0:
            raise ConfigError(f"{self.name}: power is {self.power}, but it must be above 0.")

    def require_fit(self, task: Task, episodes: int) -> None:
        """Refuse a life too short for its noise to fade.

        Raises:
            ConfigError: It is.
        """
        self.epsilon(min(episodes, 2))

    def epsilon(self, episodes: int) -> Float[np.ndarray, " episode"]:
        """Return the probability of a random action in each episode of a life.

        Raises:
            ConfigError: One episode is too few for the noise to fade.
        """
        if episodes < 2 and self.epsilon_first != self.epsilon_last:
            raise ConfigError(
                f"{self.name}: its noise fades from episode to episode, so a life needs at least 2, not {episodes}: "
                "raise histories.episodes and, to keep the context as long, lower the task's horizon."
            )
        left = 1 - np.linspace(0, 1, episodes)
        return self.epsilon_last + (self.epsilon_first - self.epsilon_last) * left**self.power

    def live(self, task: Task, facts: Facts, episodes: int, rng: np.random.Generator, keep_every: int = 1) -> History:
        """Let one expert live on every task of `facts`; return the kept episodes 0, k, 2k, ... of each.

        Raises:
            ConfigError: There is nothing to live or to keep, or no second episode.
        """
        check_episodes(episodes, keep_every)
        return keep_episodes(play_expert(task, facts, episodes, rng, self.epsilon(episodes)), task, keep_every)
