"""Let a policy live in a world and keep its history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.errors import DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.task import Facts, Policy, Task, from_episode, n_tasks_of

Decision = Callable[[History, Any], np.ndarray]
"""As a :data:`Policy`, of the history so far and of the state of the world, which no agent sees."""


def play(
    task: Task,
    facts: Facts,
    policy: Policy,
    episodes: int,
    rng: np.random.Generator,
    past: History | None = None,
    stop: int | None = None,
) -> History:
    """Let `policy` live `episodes` episodes of every task of `facts`, one long history each.

    Args:
        task: The distribution that the tasks are from.
        facts: The tasks. The policy finds them in `history.task`; only one that may cheat should look. [row, ...]
        policy: What to do.
        episodes: How many episodes, at least 1.
        rng: Randomness of the world and of drawing actions.
        past: The beginning of these lives, which is taken as it is: the policy is first asked after it. [row, step]
        stop: Steps after which to stop, also within an episode; None for all of them.

    Returns:
        The histories with their past, `episodes * horizon` steps each, or `stop`. [row, step]

    Raises:
        DataError: The past ends within an episode that these worlds do not answer as it says.
    """
    return play_knowing(task, facts, lambda history, state: policy(history), episodes, rng, past, stop)


def play_expert(
    task: Task,
    facts: Facts,
    episodes: int,
    rng: np.random.Generator,
    epsilon: Float[np.ndarray, " episode"] | None = None,
    stop: int | None = None,
) -> History:
    """Let whoever knows the facts live, acting at random with a probability that may change by episode.

    Args:
        task: The distribution that the tasks are from.
        facts: The tasks. [row, ...]
        episodes: How many episodes, at least 1.
        rng: Randomness of the world and of drawing actions.
        epsilon: Probability of a random action in each episode; 0 by default. [episode]
        stop: As for :func:`play`.

    Returns:
        The histories, `episodes * horizon` steps each, or `stop`. [row, step]
    """
    chance = np.zeros(episodes) if epsilon is None else epsilon

    def decide(history: History, state: Any) -> np.ndarray:
        noise = chance[history.episode[0, -1]]
        return (1 - noise) * task.expert(state) + noise / task.n_actions

    return play_knowing(task, facts, decide, episodes, rng, stop=stop)


def play_knowing(
    task: Task,
    facts: Facts,
    decide: Decision,
    episodes: int,
    rng: np.random.Generator,
    past: History | None = None,
    stop: int | None = None,
) -> History:
    """Play, as :func:`play` does, with a decision that may look at the state of the world."""
    *_, history = step_by_step(task, facts, decide, episodes, rng, past, stop)
    return history


def step_by_step(
    task: Task,
    facts: Facts,
    decide: Decision,
    episodes: int,
    rng: np.random.Generator,
    past: History | None = None,
    stop: int | None = None,
) -> Iterator[History]:
    """Play, as :func:`play_knowing` does, as far as it is asked for.

    Yields:
        The lives before the first step and after every step: always the same history of all steps, in which those that
        were not lived yet hold nothing.
    """
    n_rows, n_steps = n_tasks_of(facts), episodes * task.horizon if stop is None else stop
    observations = np.zeros((n_rows, n_steps, len(task.channels)), dtype=np.int8)
    actions = np.zeros((n_rows, n_steps), dtype=np.int8)
    rewards = np.zeros((n_rows, n_steps), dtype=np.float32)
    number = np.repeat(np.arange(episodes, dtype=np.int16), task.horizon)[:n_steps]
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
    begun = 0 if past is None else past.n_steps
    if past is not None:
        observations[:, :begun], actions[:, :begun], rewards[:, :begun] = past.observations, past.actions, past.rewards
    if begun % task.horizon:
        assert past is not None
        state = resume(task, facts, past.window(begun - begun % task.horizon), rng)
        seen = task.observe(state)
    yield history
    for step in range(begun, n_steps):
        if step % task.horizon == 0:
            state = task.reset(from_episode(task, facts, step // task.horizon), rng)
            seen = task.observe(state)
        observations[:, step] = seen
        drawn = draw(decide(history.window(stop=step + 1), state), rng)
        seen, rewards[:, step], state = task.step(state, drawn, rng)
        actions[:, step] = drawn
        yield history


def begin(
    task: Task, facts: Facts, seen: Int[np.ndarray, "batch channel"], rng: np.random.Generator, episode: int = 0
) -> Any:
    """Begin an episode where one began before: families whose first states chance decides on have `reset_at` for it.

    Args:
        task: The distribution that the tasks are from.
        facts: The tasks. [row, ...]
        seen: What was seen first. [row, channel]
        rng: Of `reset`, for families without `reset_at`.
        episode: Number of the episode, for families whose facts change from one to the next.

    Returns:
        The state of the world.
    """
    reset_at, facts = getattr(task, "reset_at", None), from_episode(task, facts, episode)
    return task.reset(facts, rng) if reset_at is None else reset_at(facts, seen)


def resume(task: Task, facts: Facts, episode: History, rng: np.random.Generator) -> Any:
    """Take the recorded actions of an unfinished episode anew and return the state of the world after them.

    Raises:
        DataError: The world does not show what the record does, so that it cannot go on from there.
    """
    state = begin(task, facts, episode.observations[:, 0], rng, int(episode.episode[0, 0]))
    for step in range(episode.n_steps):
        differs = (task.observe(state) != episode.observations[:, step]).any(axis=1)
        if differs.any():
            raise DataError(
                f"row {np.flatnonzero(differs)[0]}: step {step} of the episode that is to go on shows what {task.name} "
                "does not show there, so it cannot go on.\n  Go on from the start of an episode, or from a history of "
                "these tasks."
            )
        _, _, state = task.step(state, episode.actions[:, step].astype(np.intp), rng)
    return state


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
