"""Gaussian bandits: arms whose pay scatters around a mean of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.bandit import BanditState, pull_regimes, regret_of
from ad_hypotheses.tasks.bandit_policies import bandit_baselines, best_of
from ad_hypotheses.tasks.endless import draw_split
from ad_hypotheses.tasks.task import Facts, Policy, check_range

COIN, MOST = 0.25, 4.0  # pay is rounded to multiples of one and clipped at +- the other, so that each has a token
PAY = np.arange(-MOST, MOST + COIN, COIN)
upper_tail = np.frompyfunc(lambda deviations: math.erfc(deviations / math.sqrt(2)) / 2, 1, 1)


@dataclass(frozen=True)
class GaussianBandit:
    """The distribution of bandits whose arms' means are drawn from a Gaussian, and whose pay is Gaussian too.

    There is nothing to see. What an arm pays is rounded to a multiple of 0.25 within -4 .. 4.

    Attributes:
        arms: How many, from 2 to 100.
        horizon: Pulls an episode.
        spread: Standard deviation of the means, around 0; 0.1 to 2.
        noise: Standard deviation of an arm's pay around its mean; 0.1 to 2.
    """

    arms: int = 5
    horizon: int = 100
    spread: float = 1.0
    noise: float = 1.0

    name: ClassVar[str] = "gaussian-bandit"
    channels: ClassVar[tuple[str, ...]] = ()
    channel_sizes: ClassVar[tuple[int, ...]] = ()
    rewards: ClassVar[tuple[float, ...]] = tuple(PAY.tolist())
    deterministic: ClassVar[bool] = False
    n_states: ClassVar[int] = 1
    possible_means: ClassVar[tuple[float, float]] = (-MOST, MOST)

    def __post_init__(self) -> None:
        """Refuse a bandit that cannot be played.

        Raises:
            ConfigError: A parameter is out of range.
        """
        check_range(self.name, "arms", self.arms, 2, 100)
        check_range(self.name, "horizon", self.horizon, 1)
        check_range(self.name, "spread", self.spread, 0.1, 2)
        check_range(self.name, "noise", self.noise, 0.1, 2)

    @property
    def n_actions(self) -> int:
        """One action an arm."""
        return self.arms

    @property
    def action_names(self) -> tuple[str, ...]:
        """What people call the actions."""
        return tuple(f"arm {arm}" for arm in range(self.arms))

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Facts:
        """Draw `n` bandits, `{"means": [task, arm]}`: the arms' means before rounding, within -4 .. 4."""
        return {"means": np.clip(self.spread * rng.standard_normal((n, self.arms)), *self.possible_means)}

    def split(self, held_out: int, seed: int, train: int | None = None) -> tuple[Facts, Facts]:
        """Draw bandits to train on, 4096 by default, and others to hold out.

        Raises:
            ConfigError: A number is negative, or there is nothing to train on.
        """
        return draw_split(self.name, self.sample_tasks, held_out, seed, train)

    def reset(self, facts: Facts, rng: np.random.Generator | None = None) -> BanditState:
        """Take a seat at every bandit."""
        return BanditState(np.asarray(facts["means"]))

    def observe(self, state: BanditState) -> Int[np.ndarray, "batch channel"]:
        """Return that there is nothing to see. [batch, 0]"""
        return np.empty((len(state.means), 0), dtype=np.int8)

    def step(
        self, state: BanditState, actions: Int[np.ndarray, " batch"], rng: np.random.Generator
    ) -> tuple[Int[np.ndarray, "batch channel"], Float[np.ndarray, " batch"], BanditState]:
        """Let every agent pull an arm.

        Args:
            state: From `reset` or the step before.
            actions: The arms. [batch]
            rng: Decides what they pay.

        Returns:
            Nothing to see `[batch, 0]`, what the arms pay `[batch]`, and the next state.
        """
        means = state.means[np.arange(len(actions)), actions]
        pay = np.rint((means + self.noise * rng.standard_normal(len(actions))) / COIN) * COIN
        # adding 0 turns -0 into 0
        return self.observe(state), (np.clip(pay, -MOST, MOST) + 0.0).astype(np.float32), state

    def state_index(self, state: BanditState) -> Int[np.ndarray, " batch"]:
        """Return 0 for every bandit: it has one state. [batch]"""
        return np.zeros(len(state.means), dtype=np.intp)

    def expert(self, state: BanditState) -> Float[np.ndarray, "batch action"]:
        """Return the distribution of whoever knows the arms: the best one, which rounding leaves the best."""
        return best_of(state.means)

    def expected_pay(self, means: Float[np.ndarray, "task arm"]) -> Float[np.ndarray, "task arm"]:
        """Return what arms of these means pay on average, rounded and clipped: exactly, by the error function.

        The least pay is certain; each coin above it is paid if the Gaussian exceeds the point where rounding turns.
        """
        turns = (PAY[:-1] + PAY[1:]) / 2
        return COIN * upper_tail((turns - means[..., None]) / self.noise).astype(float).sum(axis=-1) - MOST

    def posterior_mean(
        self, pulls: Int[np.ndarray, "batch arm"], paid: Float[np.ndarray, "batch arm"]
    ) -> Float[np.ndarray, "batch arm"]:
        """Return the mean of each arm's Gaussian posterior, as if pay were not rounded."""
        return paid * self._posterior_variance(pulls) / self.noise**2

    def posterior_sample(
        self, pulls: Int[np.ndarray, "batch arm"], paid: Float[np.ndarray, "batch arm"], rng: np.random.Generator
    ) -> Float[np.ndarray, "batch arm"]:
        """Draw each arm's mean from its Gaussian posterior, as if pay were not rounded."""
        return rng.normal(self.posterior_mean(pulls, paid), np.sqrt(self._posterior_variance(pulls)))

    def _posterior_variance(self, pulls: Int[np.ndarray, "batch arm"]) -> Float[np.ndarray, "batch arm"]:
        return 1 / (1 / self.spread**2 + pulls / self.noise**2)

    def baselines(self, rng: np.random.Generator) -> Mapping[str, Policy]:
        """Return UCB1 for this noise, Thompson sampling and the greedy policy, these two with the true prior."""
        return bandit_baselines(self, rng)

    def optimal_return(self, facts: Facts) -> Float[np.ndarray, " task"]:
        """Return what pulling the best arm throughout is expected to pay in an episode. [task]"""
        best = np.max(facts["means"], axis=1, keepdims=True)
        return self.horizon * self.expected_pay(best)[:, 0]

    def regret(self, history: History) -> Float[np.ndarray, "batch step"]:
        """Return what each pull cost in expectation, compared to the best arm. [batch, step], at least 0

        Computed from what the arms pay on average, so the luck of the draw does not enter.
        """
        return regret_of(self.expected_pay(history.task["means"]), history)

    def regimes(self, history: History) -> dict[str, Bool[np.ndarray, "batch step"]]:
        """Say what a step is about, judged by what is visible at it; see :func:`pull_regimes`."""
        return pull_regimes(history)
