"""Run a rung on contexts, or let it live by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from ad_hypotheses.errors import DataError
from ad_hypotheses.ladder.rung import Begin, Context, Learner, Sight, Span
from ad_hypotheses.language.history import NO_ACTION, History
from ad_hypotheses.tasks.task import Policy, Task


def predict(
    begin: Begin,
    context: Context | History,
    task: Task,
    seed: int = 0,
    rows_at_once: int = 256,
    progress: Callable[[int], None] | None = None,
) -> Float[np.ndarray, "row step action"]:
    """Run a learner on contexts: what it would do at every step, given the life up to there.

    Args:
        begin: From `rung.fit(background)`.
        context: The lives, and in which worlds; a history takes place in its own tasks.
        task: The family, for a history without worlds of its own.
        seed: Of the learner's chance.
        rows_at_once: Rows that are run side by side.
        progress: Called with the number of steps that were run, after some rows.

    Returns:
        A distribution at every step, float32. [row, step, action]

    Raises:
        DataError: Episodes do not begin at the same steps in all rows, or a world does not show what a life does.
    """
    context = context if isinstance(context, Context) else Context(context)
    history = context.history
    if (history.episode != history.episode[:1]).any():
        raise DataError("episodes begin at different steps in different histories; run those of each kind apart.")
    spans = context.spans or (Span(0, task, history.task),)
    probabilities = np.empty((*history.shape, history.n_actions), dtype=np.float32)
    starts = range(0, history.n_rows, rows_at_once)
    for first, rng in zip(starts, np.random.default_rng(seed).spawn(len(starts)), strict=True):
        rows = slice(first, min(first + rows_at_once, history.n_rows))
        learner = begin(tuple(span.repeated(1, rows) for span in spans), rows.stop - rows.start, rng)
        for step in range(history.n_steps):
            probabilities[rows, step] = learner.decide(sight_of(history, step, rows))
        if progress is not None:
            progress((rows.stop - rows.start) * history.n_steps)
    return probabilities


def sight_of(history: History, step: int, rows: slice = slice(None)) -> Sight:
    """Return what has become visible at a step of some rows."""
    observations = history.observations[rows, step]
    n_rows, episode = len(observations), int(history.episode[0, step])
    if step == 0:
        return Sight(0, episode, True, observations, np.full(n_rows, NO_ACTION), np.zeros(n_rows))
    begins = episode != history.episode[0, step - 1]
    return Sight(step, episode, bool(begins), observations, history.actions[rows, step - 1],
                 history.rewards[rows, step - 1])  # fmt: skip


def living(learner: Learner) -> Policy:
    """Return a learner as a policy for `play`, which asks once a step from the first on.

    A past that `play` was given is taken in before the first decision.
    """
    seen = 0

    def policy(history: History) -> np.ndarray:
        nonlocal seen
        for step in range(seen, history.n_steps):
            decision = learner.decide(sight_of(history, step))
        seen = history.n_steps
        return decision

    return policy
