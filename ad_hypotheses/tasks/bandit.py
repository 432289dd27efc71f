"""Bernoulli bandits: arms that pay 1 with a probability of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.task import Facts, check_range

TRAINING_TASKS = 4096  # bandits never run out, so a split without a number draws this many to train on


class BanditState(NamedTuple):
    """The bandits that a batch of agents play.

    Attributes:
        means: Probability that an arm pays. [batch, arm]
    """

    means: Float[np.ndarray, "batch arm"]


@dataclass(frozen=True)
class BernoulliBandit:
    """The distribution of bandits whose arms pay with independent, uniform probabilities.

    There is nothing to see. Pulling an arm is an action; it pays 1 or 0.

    Attributes:
        arms: How many, from 2 to 100.
        horizon: Pulls an episode.
    """

    arms: int = 5
    horizon: int = 100

    name: ClassVar[str] = "bandit"
    channels: ClassVar[tuple[str, ...]] = ()
    channel_sizes: ClassVar[tuple[int, ...]] = ()
    deterministic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a bandit that cannot be played.

        Raises:
            ConfigError: `arms` or `horizon` is out of range.
        """
        check_range(self.name, "arms", self.arms, 2, 100)
        check_range(self.name, "horizon", self.horizon, 1)

    @property
    def n_actions(self) -> int:
        """One action an arm."""
        return self.arms

    @property
    def action_names(self) -> tuple[str, ...]:
        """What people call the actions."""
        return tuple(f"arm {arm}" for arm in range(self.arms))

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Facts:
        """Draw `n` bandits, `{"means": [task, arm]}`."""
        return {"means": rng.random((n, self.arms))}

    def split(self, held_out: int, seed: int, train: int | None = None) -> tuple[Facts, Facts]:
        """Draw bandits to train on and others to hold out.

        Args:
            held_out: How many to hold out. A given seed holds out the same however many are trained on.
            seed: Decides which.
            train: How many to train on, 4096 by default.

        Raises:
            ConfigError: A number is negative, or there is nothing to train on.
        """
        train = TRAINING_TASKS if train is None else train
        if held_out < 0 or train < 1:
            raise ConfigError(f"bandit: cannot hold out {held_out} bandits and train on {train}; at least 0 and 1.")
        held_out_rng, train_rng = np.random.default_rng(seed).spawn(2)
        return self.sample_tasks(train_rng, train), self.sample_tasks(held_out_rng, held_out)

    def reset(self, facts: Facts) -> BanditState:
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
        likely = state.means[np.arange(len(actions)), actions]
        return self.observe(state), (rng.random(len(actions)) < likely).astype(np.float32), state

    def optimal_return(self, facts: Facts) -> Float[np.ndarray, " task"]:
        """Return what pulling the best arm throughout is expected to pay in an episode. [task]"""
        return self.horizon * np.max(facts["means"], axis=1)

    def regret(self, history: History) -> Float[np.ndarray, "batch step"]:
        """Return what each pull cost in expectation, compared to the best arm. [batch, step], at least 0

        Computed from the arms' means, so the luck of the draw does not enter.
        """
        means = history.task["means"]
        return means.max(axis=1, keepdims=True) - np.take_along_axis(means, history.actions.astype(np.intp), axis=1)

    def regimes(self, history: History) -> dict[str, Bool[np.ndarray, "batch step"]]:
        """Say what a step is about, judged by what is visible at it.

        Returns:
            *start*: fewer pulls than arms are visible. Then *after win* and *after loss*, by the pull just before.
            Every step is in exactly one. [batch, step]
        """
        start = np.broadcast_to(np.arange(history.n_steps) < self.arms, history.actions.shape)
        won = history.previous_rewards > 0
        return {"start": start.copy(), "after win": ~start & won, "after loss": ~start & ~won}
