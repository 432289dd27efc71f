"""Bandits: arms that pay 1 with a probability of their own, fair or adversarial, or scatter around a mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.bandit_policies import bandit_baselines, best_of
from ad_hypotheses.tasks.edits.catalogue import BANDIT_FAMILIES
from ad_hypotheses.tasks.edits.kinds import Kind
from ad_hypotheses.tasks.options.drift import at_pulls, drifting
from ad_hypotheses.tasks.task import Facts, Policy, check_range, draw_split


class BanditState(NamedTuple):
    """The bandits that a batch of agents play.

    Attributes:
        means: What an arm pays on average. [batch, arm]
        later: The same from this pull on, where arms drift. [batch, pull, arm]
    """

    means: Float[np.ndarray, "batch arm"]
    later: Float[np.ndarray, "batch pull arm"] | None = None

    @classmethod
    def of(cls, means: Float[np.ndarray, "batch *pull arm"]) -> BanditState:
        """Take a seat at every bandit, before the first pull."""
        return cls(means) if means.ndim == 2 else cls(means[:, 0], means)

    def pulled(self) -> BanditState:
        """Let the arms drift; after the last pull that is told of they stay."""
        if self.later is None or self.later.shape[1] == 1:
            return self
        return BanditState(self.later[:, 1], self.later[:, 1:])


@dataclass(frozen=True)
class BernoulliBandit:
    """The distribution of bandits whose arms pay with independent, uniform probabilities.

    There is nothing to see. Pulling an arm is an action; it pays 1 or 0. In the adversarial bandit the best of ten arms
    is mostly an odd one where one trains, and mostly an even one where one is tested. The paper leaves the distribution
    of the probabilities open; here only the place of the greatest changes.

    Attributes:
        arms: How many, from 2 to 100.
        horizon: Pulls an episode.
        adversarial: Whether the place of the best arm changes between training and held-out bandits.
        bias: Probability that the best arm of an adversarial bandit is odd in training, and even among those held out.
            Arms are numbered from 0.
        drift: Standard deviation of the step that each arm's probability takes from pull to pull, turning back at 0 and
            1; every episode of a task begins with the same arms, which drift alike.
    """

    arms: int = 5
    horizon: int = 100
    adversarial: bool = False
    bias: float = field(default=0.95, metadata={"only_if": "adversarial"})
    drift: float = field(default=0.0, metadata={"off": 0.0})

    channels: ClassVar[tuple[str, ...]] = ()
    channel_sizes: ClassVar[tuple[int, ...]] = ()
    rewards: ClassVar[tuple[float, ...]] = (0.0, 1.0)
    deterministic: ClassVar[bool] = False
    n_states: ClassVar[int] = 1
    noise: ClassVar[float] = 0.5  # no pay within 0 .. 1 scatters more
    possible_means: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Refuse a bandit that cannot be played.

        Raises:
            ConfigError: A parameter is out of range, or adversarial arms are to drift.
        """
        check_range(self.name, "arms", self.arms, 2, 100)
        check_range(self.name, "horizon", self.horizon, 1)
        check_range(self.name, "bias", self.bias, 0, 1)
        check_range(self.name, "drift", self.drift, 0, 1)
        if self.drift and self.adversarial:
            raise ConfigError(f"{self.name}: adversarial and drift do not go together: set one of them.")

    @property
    def name(self) -> str:
        """What `make_task` calls the family."""
        return "adversarial-bandit" if self.adversarial else "bandit"

    @property
    def n_actions(self) -> int:
        """One action an arm."""
        return self.arms

    @property
    def action_names(self) -> tuple[str, ...]:
        """What people call the actions."""
        return tuple(f"arm {arm}" for arm in range(self.arms))

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Facts:
        """Draw `n` bandits like those to train on, `{"means": [task, arm]}`."""
        return self._sample(rng, n, self.bias)

    def split(self, held_out: int, seed: int, train: int | None = None) -> tuple[Facts, Facts]:
        """Draw bandits to train on, 4096 by default, and others to hold out.

        Raises:
            ConfigError: A number is negative, or there is nothing to train on.
        """
        return draw_split(
            self.name, self.sample_tasks, held_out, seed, train, lambda rng, n: self._sample(rng, n, 1 - self.bias)
        )

    def _sample(self, rng: np.random.Generator, n: int, odd: float) -> Facts:
        means = rng.random((n, self.arms))
        if self.drift:
            return {"means": drifting(means, self.drift, self.horizon, self.possible_means, rng).astype(np.float32)}
        return {"means": place_best_arm(means, odd, rng) if self.adversarial else means}

    def reset(self, facts: Facts, rng: np.random.Generator | None = None) -> BanditState:
        """Take a seat at every bandit."""
        return BanditState.of(np.asarray(facts["means"]))

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
        likely = state.means[np.arange(len(actions)), actions]
        return self.observe(state), (rng.random(len(actions)) < likely).astype(np.float32), state.pulled()

    def state_index(self, state: BanditState) -> Int[np.ndarray, " batch"]:
        """Return 0 for every bandit: it has one state. [batch]"""
        return np.zeros(len(state.means), dtype=np.intp)

    def expert(self, state: BanditState) -> Float[np.ndarray, "batch action"]:
        """Return the distribution of whoever knows the arms: the best one. [batch, arm]"""
        return best_of(state.means)

    def posterior_mean(
        self, pulls: Int[np.ndarray, "batch arm"], paid: Float[np.ndarray, "batch arm"]
    ) -> Float[np.ndarray, "batch arm"]:
        """Return what an arm is expected to pay once its pulls are known, its probability having been uniform."""
        return (1 + paid) / (2 + pulls)

    def posterior_sample(
        self, pulls: Int[np.ndarray, "batch arm"], paid: Float[np.ndarray, "batch arm"], rng: np.random.Generator
    ) -> Float[np.ndarray, "batch arm"]:
        """Draw each arm's probability from its Beta posterior, the prior being uniform."""
        return rng.beta(1 + paid, 1 + pulls - paid)

    def baselines(self, rng: np.random.Generator) -> Mapping[str, Policy]:
        """Return UCB1, Thompson sampling and the greedy policy, these two with a uniform prior."""
        return bandit_baselines(self, rng)

    def counterfactuals(self) -> Mapping[str, Kind]:
        """Return the kinds of counterfactual of bandits, the most telling first."""
        return BANDIT_FAMILIES

    def optimal_return(self, facts: Facts) -> Float[np.ndarray, " task"]:
        """Return what pulling the best arm throughout is expected to pay in an episode. [task]"""
        means = np.asarray(facts["means"])
        return means.max(axis=2).sum(axis=1, dtype=float) if means.ndim == 3 else self.horizon * means.max(axis=1)

    def regret(self, history: History) -> Float[np.ndarray, "batch step"]:
        """Return what each pull cost in expectation, compared to the best arm. [batch, step], at least 0

        Computed from the arms' means, so the luck of the draw does not enter.
        """
        return regret_of(history.task["means"], history)

    def regimes(self, history: History) -> dict[str, Bool[np.ndarray, "batch step"]]:
        """Say what a step is about, judged by what is visible at it; see :func:`pull_regimes`."""
        return pull_regimes(history)


def regret_of(pay: Float[np.ndarray, "batch *pull arm"], history: History) -> Float[np.ndarray, "batch step"]:
    """Return how much less than the best arm the pulled one is expected to pay, given what all are. [batch, step]"""
    now, pulled = at_pulls(pay, history), history.actions[..., None].astype(np.intp)
    return now.max(axis=2) - np.take_along_axis(now, pulled, axis=2)[..., 0]


def pull_regimes(history: History) -> dict[str, Bool[np.ndarray, "batch step"]]:
    """Split the steps of lives at bandits by what is visible.

    Returns:
        *start*: fewer pulls than arms are visible. Then *after win* and *after loss*: the pull just before paid more
        than 0, or did not. Every step is in exactly one. [batch, step]
    """
    start = np.broadcast_to(np.arange(history.n_steps) < history.n_actions, history.actions.shape)
    won = history.previous_rewards > 0
    return {"start": start.copy(), "after win": ~start & won, "after loss": ~start & ~won}


ADVERSARIAL = {"arms": 10, "adversarial": True}  # what makes a Bernoulli bandit the "adversarial-bandit" of the paper


def place_best_arm(
    means: Float[np.ndarray, "task arm"], odd: float, rng: np.random.Generator
) -> Float[np.ndarray, "task arm"]:
    """Let the best arm of every task change places with a random odd or a random even one.

    Args:
        means: What the arms pay on average. [task, arm]
        odd: Probability that it is an odd one, arms being numbered from 0.
        rng: Decides which.

    Returns:
        Means that are as before but for the place of the greatest. [task, arm]
    """
    n_tasks, arms = means.shape
    parity = np.where(rng.random(n_tasks) < odd, 1, 0)
    place = 2 * rng.integers((arms + 1 - parity) // 2) + parity
    rows, greatest, placed = np.arange(n_tasks), means.argmax(axis=1), means.copy()
    placed[rows, greatest], placed[rows, place] = means[rows, place], means[rows, greatest]
    return placed


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
        drift: Standard deviation of the step that each arm's mean takes from pull to pull, turning back at -4 and 4;
            every episode of a task begins with the same arms, which drift alike.
    """

    arms: int = 5
    horizon: int = 100
    spread: float = 1.0
    noise: float = 1.0
    drift: float = field(default=0.0, metadata={"off": 0.0})

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
        check_range(self.name, "drift", self.drift, 0, 1)

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
        means = np.clip(self.spread * rng.standard_normal((n, self.arms)), *self.possible_means)
        if self.drift:
            means = drifting(means, self.drift, self.horizon, self.possible_means, rng).astype(np.float32)
        return {"means": means}

    def split(self, held_out: int, seed: int, train: int | None = None) -> tuple[Facts, Facts]:
        """Draw bandits to train on, 4096 by default, and others to hold out.

        Raises:
            ConfigError: A number is negative, or there is nothing to train on.
        """
        return draw_split(self.name, self.sample_tasks, held_out, seed, train)

    def reset(self, facts: Facts, rng: np.random.Generator | None = None) -> BanditState:
        """Take a seat at every bandit."""
        return BanditState.of(np.asarray(facts["means"]))

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
        return self.observe(state), (np.clip(pay, -MOST, MOST) + 0.0).astype(np.float32), state.pulled()

    def state_index(self, state: BanditState) -> Int[np.ndarray, " batch"]:
        """Return 0 for every bandit: it has one state. [batch]"""
        return np.zeros(len(state.means), dtype=np.intp)

    def expert(self, state: BanditState) -> Float[np.ndarray, "batch action"]:
        """Return the distribution of whoever knows the arms: the best one, which rounding leaves the best."""
        return best_of(state.means)

    def expected_pay(self, means: Float[np.ndarray, "*task"]) -> Float[np.ndarray, "*task"]:
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

    def counterfactuals(self) -> Mapping[str, Kind]:
        """Return the kinds of counterfactual of bandits, the most telling first."""
        return BANDIT_FAMILIES

    def optimal_return(self, facts: Facts) -> Float[np.ndarray, " task"]:
        """Return what pulling the best arm throughout is expected to pay in an episode. [task]"""
        best = np.asarray(facts["means"]).max(axis=-1)
        return self.expected_pay(best).sum(axis=1) if best.ndim == 2 else self.horizon * self.expected_pay(best)

    def regret(self, history: History) -> Float[np.ndarray, "batch step"]:
        """Return what each pull cost in expectation, compared to the best arm. [batch, step], at least 0

        Computed from what the arms pay on average, so the luck of the draw does not enter.
        """
        return regret_of(self.expected_pay(history.task["means"]), history)

    def regimes(self, history: History) -> dict[str, Bool[np.ndarray, "batch step"]]:
        """Say what a step is about, judged by what is visible at it; see :func:`pull_regimes`."""
        return pull_regimes(history)
