"""The highest rung: the source's own algorithm, run on what is visible and averaged over its own chance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from ad_hypotheses.errors import DataError
from ad_hypotheses.ladder.belief import ArmBelief
from ad_hypotheses.ladder.rung import Background, Begin, Learner, Rung, Sight, Span
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import (
    UCB1,
    AnnealedExpert,
    DynaQ,
    EpsilonGreedyQ,
    Scripted,
)
from ad_hypotheses.sources.bandit_learners import BanditLearner
from ad_hypotheses.sources.following import Follower
from ad_hypotheses.sources.rules import RULES
from ad_hypotheses.tasks import BernoulliBandit, GaussianBandit
from ad_hypotheses.tasks.bandit_policies import best_of, ucb1_index
from ad_hypotheses.tasks.play import begin as begin_episode
from ad_hypotheses.tasks.task import from_episode

SEEDS = 24  # learners that each context is shown to, each with chance of its own
AT_ONCE = 256  # learners side by side, whose tables fit into a cache


class SourceLearner:
    """Q-learners that see the context, several a row; episodes that are not shown they live by themselves.

    A hidden episode takes place in the world of the shown one before it; those before the first, in the first world.
    """

    def __init__(
        self, background: Background, spans: tuple[Span, ...], n_rows: int, seeds: int, rng: np.random.Generator
    ) -> None:
        self.background, self.seeds, self.n_rows = background, seeds, n_rows
        self.spans = [span.repeated(seeds, slice(None)) for span in spans]
        source = background.source
        assert isinstance(source, EpsilonGreedyQ | DynaQ)
        self.follower = Follower(source, background.task, n_rows * seeds, rng)
        self.lived = 0  # episodes of their lives, shown or not

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Learn from the last step, and average what the learners would do.

        Raises:
            DataError: The world does not show what the context does.
        """
        if sight.step:
            paid = np.repeat(sight.rewards, self.seeds)
            self.follower.learn(np.repeat(sight.actions, self.seeds).astype(np.int8), paid)
        if sight.begins:
            self._begin(sight)
        if (self.follower.seen[:: self.seeds] != sight.observations).any():
            raise DataError(
                f"step {sight.step} of a context shows what {self.background.task.name} does not show there, so its "
                "source cannot follow.\n  Give the world that the context takes place in (`spans`)."
            )
        policy = self.follower.policy()
        return np.asarray(policy.reshape(self.n_rows, self.seeds, -1).mean(axis=1))

    def _begin(self, sight: Sight) -> None:
        number = self.background.skip + sight.episode * self.background.keep_every
        before = self._span(max(sight.episode - 1, 0))
        while self.lived < number:
            facts = from_episode(before.world, before.facts, max(sight.episode - 1, 0))
            self.follower.live(before.world, facts, self.lived)
            self.lived += 1
        span = self._span(sight.episode)
        facts = from_episode(span.world, span.facts, sight.episode)
        self.follower.begin(span.world, facts, np.repeat(sight.observations, self.seeds, axis=0), number)
        self.lived += 1

    def _span(self, episode: int) -> Span:
        return [span for span in self.spans if span.first <= episode][-1]


class UCBLearner:
    """UCB1: exact, since all its chance is in ties."""

    def __init__(self, noise: float, arms: int, n_rows: int) -> None:
        self.noise, (self.pulls, self.paid) = noise, np.zeros((2, n_rows, arms))

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Count the last pull."""
        if sight.step:
            rows = np.arange(len(self.pulls))
            self.pulls[rows, sight.actions] += 1
            self.paid[rows, sight.actions] += sight.rewards
        return best_of(ucb1_index(self.pulls.astype(np.intp), self.paid, self.noise))


class RuleLearner:
    """Follow a rule that decides from the whole life so far."""

    def __init__(self, background: Background, n_rows: int) -> None:
        source, self.task = background.source, background.task
        assert isinstance(source, Scripted)
        self.rule = RULES[source.rule]
        none = np.zeros((n_rows, 0))
        self.history = History(
            observations=np.zeros((n_rows, 0, len(self.task.channels)), dtype=np.int8),
            actions=none.astype(np.int8),
            rewards=none.astype(np.float32),
            episode=none.astype(np.int16),
            channels=self.task.channels,
            n_actions=self.task.n_actions,
        )

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Add what has become visible to the life, and ask the rule about its last step."""
        past = self.history
        actions, rewards = past.actions.copy(), past.rewards.copy()
        if sight.step:
            actions[:, -1], rewards[:, -1] = sight.actions, sight.rewards
        blank = np.zeros((past.n_rows, 1))
        self.history = replace(
            past,
            observations=np.concatenate([past.observations, sight.observations[:, None].astype(np.int8)], axis=1),
            actions=np.concatenate([actions, blank.astype(np.int8)], axis=1),
            rewards=np.concatenate([rewards, blank.astype(np.float32)], axis=1),
            episode=np.concatenate([past.episode, np.full((past.n_rows, 1), sight.episode, np.int16)], axis=1),
        )
        return self.rule.policy(self.history, self.task)[:, -1]


class ExpertLearner:
    """Know the task, and act at random with the probability that belongs to the episode."""

    def __init__(self, background: Background, spans: tuple[Span, ...], rng: np.random.Generator) -> None:
        assert isinstance(background.source, AnnealedExpert)
        self.background, self.spans, self.rng = background, spans, rng
        self.epsilon = background.source.epsilon(background.skip + background.episodes)
        self.state: Any = None

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Let the world take the last step, and ask who knows it."""
        span = [span for span in self.spans if span.first <= sight.episode][-1]
        if sight.begins:
            self.state = begin_episode(span.world, span.facts, sight.observations, self.rng, sight.episode)
        else:
            _, _, self.state = span.world.step(self.state, sight.actions.astype(np.intp), self.rng)
        noise = self.epsilon[self.background.skip + sight.episode * self.background.keep_every]
        n_actions = self.background.task.n_actions
        return (1 - noise) * span.world.expert(self.state) + noise / n_actions


def _lacks(background: Background) -> str:
    source = background.source
    if isinstance(source, EpsilonGreedyQ | DynaQ | Scripted | AnnealedExpert):
        return ""
    if isinstance(source, BanditLearner):
        return "" if background.keep_every == 1 else "pulls that are not shown cannot be averaged over"
    return f"{source.name} cannot be shown a life that it did not live"


def source_rung(seeds: int = SEEDS) -> Rung:
    """Return the rung of the source, averaged over so many learners a context."""

    def fit(background: Background) -> Begin:
        source, task = background.source, background.task

        def begin(spans: tuple[Span, ...], n_rows: int, rng: np.random.Generator) -> Learner:
            if isinstance(source, Scripted):
                return RuleLearner(background, n_rows)
            if isinstance(source, AnnealedExpert):
                return ExpertLearner(background, spans, rng)
            if isinstance(source, EpsilonGreedyQ | DynaQ):
                return SourceLearner(background, spans, n_rows, seeds, rng)
            assert isinstance(task, BernoulliBandit | GaussianBandit)
            if isinstance(source, UCB1):
                return UCBLearner(task.noise, task.arms, n_rows)
            return ArmBelief(task, np.ones(task.arms), *np.zeros((2, n_rows, task.arms)))

        return begin

    words = "is the source itself, run on what is visible and averaged over its own chance"
    rows_at_once = max(1, AT_ONCE // seeds)
    return Rung("source", 8, words, "nothing", fit, _lacks, rows_at_once, needs_worlds=True)


RUNGS = (source_rung(),)
