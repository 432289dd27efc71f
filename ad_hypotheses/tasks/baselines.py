"""Policies to measure an in-context learner against, without anything learned."""

from __future__ import annotations

import numpy as np

from ad_hypotheses.tasks.task import Policy, Task


def baselines(task: Task, rng: np.random.Generator) -> dict[str, Policy]:
    """Return "random" and every baseline of the family of `task`, by name.

    Args:
        task: The family to be played.
        rng: What the baselines that sample a belief (Thompson) draw from.
    """
    return {"random": uniform(task), **task.baselines(rng)}


def uniform(task: Task) -> Policy:
    """Do anything, always."""
    return lambda history: np.full((history.n_rows, task.n_actions), 1 / task.n_actions)
