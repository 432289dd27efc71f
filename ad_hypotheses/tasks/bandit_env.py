"""Bandits as a gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.tasks.bandit import BanditState, BernoulliBandit
from ad_hypotheses.tasks.gaussian_bandit import GaussianBandit
from ad_hypotheses.tasks.task import make_from

FAMILIES = {"bandit": BernoulliBandit, "gaussian-bandit": GaussianBandit}


class BanditEnv(gymnasium.Env[Any, Any]):
    """One bandit, with nothing to see.

    The observation is always 0, since gymnasium has no empty one. An episode is truncated at the horizon.

    Args:
        family: Which distribution of bandits, by the name of its task family.
        params: Parameters of the family, e.g. `arms` and `horizon`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012, the attribute is gymnasium's

    def __init__(self, family: str = "bandit", render_mode: str | None = None, **params: Any) -> None:
        self.bandit = make_from(FAMILIES, "family of bandits", family, params)
        self.render_mode = render_mode
        self.action_space = spaces.Discrete(self.bandit.arms)
        self.observation_space = spaces.Discrete(1)
        self._state: BanditState | None = None
        self._pulls = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Sit down at a bandit.

        Args:
            seed: Draws the arms, where `options` does not name them, and what they pay.
            options: `{"means": [...]}` gives the arms these means (of a Bernoulli bandit: probabilities of paying).
                With neither, the bandit stays the same, so that a learner can live many episodes of one task.

        Raises:
            ConfigError: There are not `arms` means, or some are out of range.
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

    def _checked(self, given: Any) -> np.ndarray:
        try:
            means = np.array([given], dtype=float)
        except (TypeError, ValueError):
            means = np.empty(0)
        low, high = self.bandit.possible_means
        if means.shape != (1, self.bandit.arms) or not ((means >= low) & (means <= high)).all():
            kind = "probabilities" if (low, high) == (0, 1) else f"numbers from {low:g} to {high:g}"
            raise ConfigError(f"means {given!r} are not {self.bandit.arms} {kind}.")
        return means
