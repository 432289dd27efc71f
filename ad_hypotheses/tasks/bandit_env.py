"""The Bernoulli bandit as a gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.tasks.bandit import BanditState, BernoulliBandit


class BernoulliBanditEnv(gymnasium.Env[Any, Any]):
    """One Bernoulli bandit, with nothing to see.

    The observation is always 0, since gymnasium has no empty one. An episode is truncated at the horizon.

    Args:
        arms: How many.
        horizon: Pulls an episode.
    """

    metadata = {"render_modes": []}  # noqa: RUF012, the attribute is gymnasium's

    def __init__(self, arms: int = 5, horizon: int = 100, render_mode: str | None = None) -> None:
        self.bandit = BernoulliBandit(arms=arms, horizon=horizon)
        self.render_mode = render_mode
        self.action_space = spaces.Discrete(arms)
        self.observation_space = spaces.Discrete(1)
        self._state: BanditState | None = None
        self._pulls = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Sit down at a bandit.

        Args:
            seed: Draws the arms, where `options` does not name them, and what they pay.
            options: `{"means": [...]}` gives the arms these probabilities of paying. With neither, the bandit stays the
                same, so that a learner can live many episodes of one task.

        Raises:
            ConfigError: There are not `arms` probabilities.
        """
        super().reset(seed=seed)
        means = (options or {}).get("means")
        if means is not None:
            self._state = self.bandit.reset({"means": self._checked(means)})
        elif seed is not None or self._state is None:
            self._state = self.bandit.reset(self.bandit.sample_tasks(self.np_random, 1))
        self._pulls = 0
        return 0, {}

    def step(self, action: int | np.integer) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Pull an arm."""
        assert self._state is not None, "step comes after reset"
        self._pulls += 1
        _, rewards, self._state = self.bandit.step(self._state, np.array([action]), self.np_random)
        return 0, float(rewards[0]), False, self._pulls >= self.bandit.horizon, {}

    def _checked(self, means: Any) -> np.ndarray:
        probabilities = np.array([means], dtype=float)
        if probabilities.shape != (1, self.bandit.arms) or not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise ConfigError(f"means {means!r} are not {self.bandit.arms} probabilities.")
        return probabilities
