"""What a rung of the ladder is: a learner that can be run on any context, and what it may know before.

Learners are run, never argued about: a rung sees a life step by step, whoever lived it, and says what it would do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.ladder.novice import Novice
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import Source
from ad_hypotheses.tasks.task import Facts, Task


@dataclass(frozen=True)
class Background:
    """What a learner may know before a context begins, as the model does from its training.

    Attributes:
        task: The family of tasks.
        source: The algorithm whose histories were distilled.
        trained: The tasks that were trained on. [task, ...]
        lives: Fresh lives of the source on those tasks, from which rungs with numbers of their own take them.
        episodes: Episodes that the source lives, kept or not, after those that are skipped.
        keep_every: Of those, 0, k, 2k, ... were kept.
        skip: Episodes that are lived before.
    """

    task: Task
    source: Source
    trained: Facts
    lives: History
    episodes: int
    keep_every: int = 1
    skip: int = 0

    @cached_property
    def novice(self) -> Novice:
        """What the source does before it was ever paid, as a table."""
        return Novice.fit(self.lives)


@dataclass(frozen=True)
class Span:
    """The episodes of a context in which one world answers, until the next span begins.

    Attributes:
        first: Number of the first of them.
        world: A task family, or a world changed from it.
        facts: Its tasks. [row, ...]
    """

    first: int
    world: Any
    facts: Facts

    def repeated(self, times: int, rows: slice) -> Span:
        """Return the span for some rows, each so many times."""
        facts = {name: np.repeat(np.asarray(fact)[rows], times, axis=0) for name, fact in self.facts.items()}
        return Span(self.first, self.world, facts)


@dataclass(frozen=True)
class Context:
    """A life that a model is shown, and the worlds in which it takes place.

    A learner whose episodes were not all kept lives the others by itself, in the world of the episode before.

    Attributes:
        history: The life. Episodes begin at the same steps in all rows. [row, step]
        spans: Worlds in their order, the first from episode 0; none for the plain tasks of the history.
    """

    history: History
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Sight:
    """What has become visible at a step, to every row of a batch.

    Attributes:
        step: Number of the step, from 0.
        episode: Number of the episode.
        begins: Whether the episode begins here.
        observations: What is seen. [row, channel]
        actions: What was done at the step before, -1 at the first. [row]
        rewards: What that was paid, 0 at the first. [row]
    """

    step: int
    episode: int
    begins: bool
    observations: Int[np.ndarray, "row channel"]
    actions: Int[np.ndarray, " row"]
    rewards: Float[np.ndarray, " row"]


@runtime_checkable
class Learner(Protocol):
    """A learner in the middle of a context, one memory a row."""

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Take in what has become visible, and return the distribution of the decision. Called once a step."""


Begin = Callable[[tuple[Span, ...], int, np.random.Generator], Learner]
"""Given the worlds, the number of rows and a generator, returns a learner at the start of a context."""


def _nothing(background: Background) -> str:
    return ""


@dataclass(frozen=True)
class Rung:
    """A rung of the ladder.

    Attributes:
        name: Name in records.
        level: Place on the ladder, from 0; variants of a rung share it.
        words: What the learner does, in words.
        ignores: What it takes no notice of.
        fit: Given the background, returns what begins a context; numbers of its own are fitted here, once.
        lacks: Says what a background lacks for it, or nothing.
        rows_at_once: Rows that are run side by side, so that what a learner remembers of them fits into caches.
        needs_worlds: Whether it looks at the worlds of a context; one that does not is run on contexts of several
            worlds at once.
        of_reward: Whether rewards move it, more than by telling which episodes to copy.
    """

    name: str
    level: int
    words: str
    ignores: str
    fit: Callable[[Background], Begin]
    lacks: Callable[[Background], str] = _nothing
    rows_at_once: int = 256
    needs_worlds: bool = False
    of_reward: bool = True
