"""Let a policy live in a world and keep its history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.task import Facts, Policy, Task, n_tasks_of


def play(task: Task, facts: Facts, policy: Policy, episodes: int, rng: np.random.Generator) -> History:
    """Let `policy` live `episodes` episodes of every task of `facts`, one long history each.

    Args:
        task: The distribution that the tasks are from.
        facts: The tasks. The policy finds them in `history.task`; only one that may cheat should look. [row, ...]
        policy: What to do.
        episodes: How many episodes, at least 1.
        rng: Randomness of the world and of drawing actions.

    Returns:
        The histories, `episodes * horizon` steps each. [row, step]
    """
    return _play(task, facts, lambda history, state: policy(history), episodes, rng)


def play_expert(
    task: Task,
    facts: Facts,
    episodes: int,
    rng: np.random.Generator,
    epsilon: Float[np.ndarray, " episode"] | None = None,
) -> History:
    """Let whoever knows the facts live, acting at random with a probability that may change by episode.

    Args:
        task: The distribution that the tasks are from.
        facts: The tasks. [row, ...]
        episodes: How many episodes, at least 1.
        rng: Randomness of the world and of drawing actions.
        epsilon: Probability of a random action in each episode; 0 by default. [episode]

    Returns:
        The histories, `episodes * horizon` steps each. [row, step]
    """
    chance = np.zeros(episodes) if epsilon is None else epsilon

    def decide(history: History, state: Any) -> np.ndarray:
        noise = chance[history.episode[0, -1]]
        return (1 - noise) * task.expert(state) + noise / task.n_actions

    return _play(task, facts, decide, episodes, rng)


def _play(
    task: Task, facts: Facts, decide: Callable[[History, Any], np.ndarray], episodes: int, rng: np.random.Generator
) -> History:
    """Play with a decision that may look at the state of the world."""
    n_rows, n_steps = n_tasks_of(facts), episodes * task.horizon
    observations = np.zeros((n_rows, n_steps, len(task.channels)), dtype=np.int8)
    actions = np.zeros((n_rows, n_steps), dtype=np.int8)
    rewards = np.zeros((n_rows, n_steps), dtype=np.float32)
    number = np.repeat(np.arange(episodes, dtype=np.int16), task.horizon)
    history = History(  # sees what is written to the arrays, and cannot write to them itself
        observations=observations,
        actions=actions,
        rewards=rewards,
        episode=np.broadcast_to(number, (n_rows, n_steps)),
        channels=task.channels,
        n_actions=task.n_actions,
        task=dict(facts),
        learner=np.arange(n_rows),
    )
    for step in range(n_steps):
        if step % task.horizon == 0:
            state = task.reset(facts, rng)
            seen = task.observe(state)
        observations[:, step] = seen
        drawn = draw(decide(history.window(stop=step + 1), state), rng)
        seen, rewards[:, step], state = task.step(state, drawn, rng)
        actions[:, step] = drawn
    return history


def draw(probabilities: Float[np.ndarray, "batch action"], rng: np.random.Generator) -> Int[np.ndarray, " batch"]:
    """Draw one action a row; rows need not sum exactly to 1. [batch]"""
    heaped = np.cumsum(probabilities, axis=1, dtype=np.float64)
    # less than the total even after rounding, so that an action of probability 0 at the end is never drawn
    level = np.minimum(rng.random(len(heaped)) * heaped[:, -1], np.nextafter(heaped[:, -1], 0))
    return (heaped <= level[:, None]).sum(axis=1)


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
