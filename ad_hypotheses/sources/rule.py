"""A rule that decides from what is visible: an algorithm written down exactly, on which a network can be checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks import Task


@dataclass(frozen=True)
class Rule:
    """An algorithm, as the decisions that it makes.

    Attributes:
        name: What configurations call it.
        words: What it does, in a sentence.
        family: Name of the task family in which it is at home.
        policy: Its interpreter: the distribution of the decision at every step of some histories, each from what is
            visible at that step. `(history, task) -> [batch, step, action]`
    """

    name: str
    words: str
    family: str
    policy: Callable[[History, Task], np.ndarray]


def soft(scores: Float[np.ndarray, "*batch action"], sharpness: float = 1.0) -> Float[np.ndarray, "*batch action"]:
    """Return the distribution in which a score that is 1 higher is `exp(sharpness)` times as likely."""
    raised = np.exp(sharpness * (scores - scores.max(axis=-1, keepdims=True)))
    return raised / raised.sum(axis=-1, keepdims=True)
