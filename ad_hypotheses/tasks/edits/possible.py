"""Which steps of a history could not have been lived in a family of tasks."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.play import begin
from ad_hypotheses.tasks.task import Task, has_certain_ways


def impossible_steps(task: Task, history: History) -> dict[str, Bool[np.ndarray, "batch step"]]:
    """Return at which steps something stands that the task does not know or that does not follow, by what it is.

    Pay may be another than the task of a row would give: a family pays in many places. Where chance decides what is
    seen next, and where there is nothing to see, anything follows.

    Args:
        task: The family.
        history: Lives with the facts of their tasks. [batch, step]

    Returns:
        Masks [batch, step] by words that complete "row 3, step 5 has".
    """
    sizes = np.asarray(task.channel_sizes)
    outside = (history.observations < 0) | (history.observations >= sizes)
    unknown: np.ndarray = np.logical_or.reduce(outside, axis=-1)
    rewards = np.asarray(task.rewards, dtype=np.float32)
    strange = {
        "a reward that the task does not pay": ~np.isin(history.rewards.astype(np.float32), rewards),
        "an observation that the task does not show": unknown,
    }
    if has_certain_ways(task) and task.channels:
        strange["a step that does not follow from the one before"] = _unanswered(task, history, unknown)
    return strange


def _unanswered(
    task: Task, history: History, unknown: Bool[np.ndarray, "batch step"]
) -> Bool[np.ndarray, "batch step"]:
    """Return where the world shows something else than the history, having done what it says since the episode began.

    What comes after the first such step of an episode is not held against it.
    """
    rng, wrong = np.random.default_rng(0), np.zeros(history.actions.shape, dtype=bool)
    actions = np.clip(history.actions, 0, task.n_actions - 1).astype(np.intp)
    starts = history.episode_start[0]  # all lives of a data set have episodes of one length
    lost = np.zeros(history.n_rows, dtype=bool)
    for step in range(history.n_steps):
        if starts[step]:
            number = int(history.episode[0, step])
            state = begin(task, history.task, history.observations[:, step], rng, number)
            lost = unknown[:, step].copy()
        differs = (task.observe(state) != history.observations[:, step]).any(axis=1)
        wrong[:, step] = differs & ~lost
        lost |= differs
        _, _, state = task.step(state, actions[:, step], rng)
    return wrong
