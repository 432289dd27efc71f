"""Which tasks are trained on and which are held out, for families with a number of tasks and for those without end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.tasks.task import Facts


def split_numbers(
    family: str, n_tasks: int, held_out: int, seed: int, train: int | None, noun: str, there_are: str, advice: str = ""
) -> tuple[Int[np.ndarray, " trained"], Int[np.ndarray, " held_out"]]:
    """Split the numbers of all tasks at random into those to train on and those never seen.

    Args:
        family: Who asks, for messages.
        n_tasks: How many tasks there are.
        held_out: How many to hold out. A given seed holds out the same however many are trained on.
        seed: Decides which.
        train: How many of the others to train on; all by default.
        noun: What tasks are called in messages.
        there_are: How many there are, in words.
        advice: What else there is to say.

    Raises:
        ConfigError: There are not that many tasks.
    """
    train = n_tasks - held_out if train is None else train
    if held_out < 0 or train < 1 or held_out + train > n_tasks:
        raise ConfigError(
            f"{family}: cannot hold out {held_out} {noun} and train on {train}: {there_are}, and at least 1 is needed "
            f"to train on.{advice}"
        )
    order = np.random.default_rng(seed).permutation(n_tasks)
    return order[held_out : held_out + train], order[:held_out]


TRAINING_TASKS = 4096  # how many a split without a number draws to train on


Sample = Callable[[np.random.Generator, int], Facts]


def draw_split(
    family: str, sample: Sample, held_out: int, seed: int, train: int | None, sample_held_out: Sample | None = None
) -> tuple[Facts, Facts]:
    """Draw tasks to train on and others to hold out.

    Args:
        family: Who asks, for messages.
        sample: Draws that many tasks.
        held_out: How many to hold out. A given seed holds out the same however many are trained on.
        seed: Decides which.
        train: How many to train on, 4096 by default.
        sample_held_out: Draws those to hold out, where their distribution is another one.

    Raises:
        ConfigError: A number is negative, or there is nothing to train on.
    """
    train = TRAINING_TASKS if train is None else train
    if held_out < 0 or train < 1:
        raise ConfigError(f"{family}: cannot hold out {held_out} tasks and train on {train}; at least 0 and 1.")
    held_out_rng, train_rng = np.random.default_rng(seed).spawn(2)
    return sample(train_rng, train), (sample_held_out or sample)(held_out_rng, held_out)
