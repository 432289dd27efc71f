"""What a test shows a model, and how what it does there becomes a figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.distill.config import Config
from ad_hypotheses.ladder.rung import Background, Context
from ad_hypotheses.language.history import History
from ad_hypotheses.studies.data import facts_of, histories
from ad_hypotheses.studies.evaluate.curves import spread
from ad_hypotheses.studies.evaluate.figures import task_numbers
from ad_hypotheses.tasks.task import Facts, Task

Probabilities = Float[np.ndarray, "row step action"]
Sums = tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]
"""What a row adds to the numerator and to the denominator of a mean."""


@dataclass(frozen=True)
class Subject:
    """A model whose behaviour is asked about.

    Attributes:
        checkpoint: The model.
        background: What rungs may know.
        rows: Contexts a cell.
        seed: Of everything random.
    """

    checkpoint: Checkpoint
    background: Background
    rows: int
    seed: int

    @property
    def config(self) -> Config:
        return self.checkpoint.config

    @property
    def task(self) -> Task:
        return self.background.task

    @property
    def episodes(self) -> int:
        """Episodes that a context holds."""
        return self.config.context_episodes

    @cached_property
    def own(self) -> History:
        """The model's own lives on held-out tasks, or on those of training where none were held out."""
        tasks = "held-out" if self.config.histories.held_out else "train"
        lives = histories(self.checkpoint, max(self.rows, 2), "own", [self.seed, 1], tasks).history
        return lives.window(stop=self.episodes * self.task.horizon)

    def rng(self, test: str) -> np.random.Generator:
        """Return the generator of a test: what one draws does not depend on the others."""
        return np.random.default_rng([self.seed, *test.encode()])


@dataclass(frozen=True)
class Condition:
    """Contexts that are alike in what matters, and the critical quantity in them.

    Attributes:
        label: What they show.
        contexts: The contexts; two, of the same rows, where one is compared with the other.
        measure: Given the distributions of one who was shown them, returns the sums of a mean.
        x: Place on the axis of a figure; NaN where conditions have no order.
        critical: The actions whose probability at the last step of each context is tracked; None where contexts do not
            end in such a decision. [row, action]
        places: What rows that are alike share, where that is not their task. [row]
    """

    label: str
    contexts: tuple[Context, ...]
    measure: Callable[[Sequence[Probabilities]], Sums]
    x: float = float("nan")
    critical: Bool[np.ndarray, "row action"] | None = None
    places: Int[np.ndarray, " row"] | None = None

    @property
    def n_rows(self) -> int:
        """Contexts of the condition."""
        return self.contexts[0].history.n_rows

    @property
    def clusters(self) -> Int[np.ndarray, " row"]:
        """Rows that are alike, since they are about the same task, share a number. [row]"""
        context = self.contexts[0]
        facts = context.spans[0].facts if context.spans else context.history.task
        if self.places is not None:
            return np.unique(self.places, return_inverse=True)[1]
        return task_numbers(facts) if facts else np.arange(self.n_rows)


PAIRED = (1, 2, 4, 8)  # how often each of two places is gone to, as far as a context holds it


def at_last(critical: Bool[np.ndarray, "row action"]) -> Callable[[Sequence[Probabilities]], Sums]:
    """Return the probability of some actions at the last step of each context."""

    def measure(shown: Sequence[Probabilities]) -> Sums:
        chance = (shown[0][:, -1] * critical).sum(axis=1, dtype=float)
        return chance, np.ones(len(chance))

    return measure


def difference_at_last(critical: Bool[np.ndarray, "row action"]) -> Callable[[Sequence[Probabilities]], Sums]:
    """Return the probability of some actions at the last step in the first of two contexts, less that in the second."""
    chance = at_last(critical)

    def measure(shown: Sequence[Probabilities]) -> Sums:
        (first, below), (second, _) = chance(shown[:1]), chance(shown[1:])
        return first - second, below

    return measure


def decided(
    label: str,
    contexts: Sequence[Context],
    critical: Bool[np.ndarray, "row action"],
    x: float = float("nan"),
    places: Int[np.ndarray, " row"] | None = None,
) -> Condition:
    """Return a context that ends in a decision; or two, which differ, and whose difference is measured."""
    measure = at_last(critical) if len(contexts) == 1 else difference_at_last(critical)
    return Condition(label, tuple(contexts), measure, x, critical, places)


def over_steps(
    critical: Bool[np.ndarray, "row step action"], inside: Bool[np.ndarray, "row step"]
) -> Callable[[Sequence[Probabilities]], Sums]:
    """Return the mean probability of some actions over some steps."""

    def measure(shown: Sequence[Probabilities]) -> Sums:
        chance = (shown[0] * critical).sum(axis=2, dtype=float)
        return (chance * inside).sum(axis=1), inside.sum(axis=1).astype(float)

    return measure


def likeliest_over_steps(
    critical: Bool[np.ndarray, "row step action"], inside: Bool[np.ndarray, "row step"]
) -> Callable[[Sequence[Probabilities]], Sums]:
    """Return how often the likeliest action of some steps is among some actions; of equally likely ones, by share."""

    def measure(shown: Sequence[Probabilities]) -> Sums:
        likeliest = shown[0] == shown[0].max(axis=2, keepdims=True)
        chance = (likeliest & critical).sum(axis=2) / likeliest.sum(axis=2)
        return (chance * inside).sum(axis=1), inside.sum(axis=1).astype(float)

    return measure


def divergence(inside: Bool[np.ndarray, "row step"]) -> Callable[[Sequence[Probabilities]], Sums]:
    """Return the mean divergence of what is done in the second context from what is done in the first, in nats."""

    def measure(shown: Sequence[Probabilities]) -> Sums:
        first, second = (np.maximum(part.astype(float), LEAST) for part in shown)
        nats = (first * np.log(first / second)).sum(axis=2)
        return (nats * inside).sum(axis=1), inside.sum(axis=1).astype(float)

    return measure


def same_likeliest(inside: Bool[np.ndarray, "row step"]) -> Callable[[Sequence[Probabilities]], Sums]:
    """Return the share of steps at which the likeliest action is the same in both contexts."""

    def measure(shown: Sequence[Probabilities]) -> Sums:
        same = shown[0].argmax(axis=2) == shown[1].argmax(axis=2)
        return (same & inside).sum(axis=1).astype(float), inside.sum(axis=1).astype(float)

    return measure


def tasks_of(subject: Subject, rng: np.random.Generator, rows: int | None = None) -> Facts:
    """Return tasks that were held out, or those of training where none were; one a row of the subject by default."""
    tasks = "held-out" if subject.config.histories.held_out else "train"
    return spread(facts_of(subject.checkpoint, tasks), rows or subject.rows, rng)


LEAST = 1e-3  # chance below which a divergence and log-odds make no difference: that of one in some hundred learners


def joined_steps(parts: Sequence[History]) -> History:
    """Return the steps of several histories of the same rows, one after the other, as whole episodes of one life."""
    lengths = [part.episode[:, -1:] + 1 for part in parts]
    offsets = np.cumsum([np.zeros_like(lengths[0]), *lengths[:-1]], axis=0)
    return replace(
        parts[0],
        observations=np.concatenate([part.observations for part in parts], axis=1),
        actions=np.concatenate([part.actions for part in parts], axis=1),
        rewards=np.concatenate([part.rewards for part in parts], axis=1),
        episode=np.concatenate([part.episode + offset for part, offset in zip(parts, offsets, strict=True)], axis=1),
    )


def episodes_of(history: History, order: Int[np.ndarray, "row episode"], horizon: int) -> History:
    """Return the episodes of a life in another order, or some of them. [row, episode]"""
    steps = (order[..., None] * horizon + np.arange(horizon)).reshape(len(order), -1)
    rows = np.arange(len(order))[:, None]
    number = np.repeat(np.arange(order.shape[1]), horizon).astype(history.episode.dtype)
    return replace(
        history,
        observations=history.observations[rows, steps],
        actions=history.actions[rows, steps],
        rewards=history.rewards[rows, steps],
        episode=np.broadcast_to(number, steps.shape),
    )
