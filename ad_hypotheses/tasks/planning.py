"""What the best behaviour earns in small deterministic worlds, by dynamic programming over their tables.

A world is two tables, `next_state` and `reward`, of every state and action, one pair a task; all tasks are planned for
at once. Bellman 1957, "Dynamic Programming".
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.errors import CapacityError

SAME = 1e-4  # returns closer than this are equal: sums of rewards in float32 are rounded
NEVER = np.int32(2**30)  # steps to a reward that no way leads to; one more step does not overflow
MEMORY = 4 << 30  # bytes that the values of one plan may take


def plan(
    next_state: Int[np.ndarray, "task state action"], reward: Float[np.ndarray, "task state action"], horizon: int
) -> Float[np.ndarray, "task left state"]:
    """Return the greatest return that the last `0 .. horizon` steps of an episode can have, from every state.

    Args:
        next_state: Where each action leads. [task, state, action]
        reward: What it pays, in expectation where chance decides. [task, state, action]
        horizon: Steps an episode.

    Returns:
        Undiscounted values by the number of steps that are left. [task, horizon + 1, state], float32

    Raises:
        CapacityError: The values would take more than 4 GiB; :func:`optimal_value` needs a fraction of it.
    """
    n_tasks, n_states, _ = next_state.shape
    size = 4 * n_tasks * (horizon + 1) * n_states
    if size > MEMORY:
        raise CapacityError(
            f"planning {horizon} steps ahead for {n_tasks} tasks of {n_states} states would take {size / 2**30:.1f} GiB"
            f" of {MEMORY / 2**30:.0f} allowed; plan for fewer tasks at a time."
        )
    values = np.zeros((n_tasks, horizon + 1, n_states), dtype=np.float32)
    flat, paid = _flat(next_state), reward.astype(np.float32)
    for left in range(1, horizon + 1):
        values[:, left] = (paid + values[:, left - 1].reshape(-1)[flat]).max(axis=2)
    return values


def optimal_value(
    next_state: Int[np.ndarray, "task state action"], reward: Float[np.ndarray, "task state action"], horizon: int
) -> Float[np.ndarray, "task state"]:
    """Return the greatest return of a whole episode from every state, without keeping those of shorter ones.

    Args:
        next_state: As for :func:`plan`.
        reward: As for :func:`plan`.
        horizon: Steps an episode.
    """
    values = np.zeros(next_state.shape[:2], dtype=np.float32)
    flat, paid = _flat(next_state), reward.astype(np.float32)
    for _ in range(horizon):
        values = (paid + values.reshape(-1)[flat]).max(axis=2)
    return values


def best_actions(
    values: Float[np.ndarray, "task left state"],
    next_state: Int[np.ndarray, "task state action"],
    reward: Float[np.ndarray, "task state action"],
    task: Int[np.ndarray, " batch"],
    state: Int[np.ndarray, " batch"],
    steps_left: Int[np.ndarray, " batch"] | int,
) -> Float[np.ndarray, "batch action"]:
    """Return the distribution that is uniform over the actions that lose nothing.

    Args:
        values: From :func:`plan` of the same tables.
        next_state: Where each action leads. [task, state, action]
        reward: What it pays. [task, state, action]
        task: Which task each agent is in. [batch]
        state: Where it is. [batch]
        steps_left: Steps until its episode ends, this one included, at least 1. [batch]
    """
    left = np.broadcast_to(np.asarray(steps_left) - 1, task.shape)
    worth = reward[task, state] + values[task[:, None], left[:, None], next_state[task, state]]
    best = worth >= worth.max(axis=1, keepdims=True) - SAME
    return best / best.sum(axis=1, keepdims=True)


def steps_to_reward(
    next_state: Int[np.ndarray, "task state action"], rewarded: Bool[np.ndarray, "task state action"]
) -> Int[np.ndarray, "task state"]:
    """Return how many steps the shortest way to a rewarded action takes, that action included, or `NEVER`.

    Where every reward is the same and puts the agent back to one start, to hurry is optimal for every horizon.

    Args:
        next_state: Where each action leads. [task, state, action]
        rewarded: Whether it is paid. [task, state, action]
    """
    flat = _flat(next_state)
    steps = np.where(rewarded.any(axis=2), np.int32(1), NEVER)
    while True:
        sooner = np.minimum(steps, steps.reshape(-1)[flat].min(axis=2) + 1)
        if (sooner >= steps).all():
            return steps
        steps = sooner


def _flat(next_state: Int[np.ndarray, "task state action"]) -> Int[np.ndarray, "task state action"]:
    """Number the states of all tasks in one row, so that a single gather serves all of them."""
    n_tasks, n_states, _ = next_state.shape
    return next_state.astype(np.intp) + (np.arange(n_tasks) * n_states)[:, None, None]
