"""Let a frozen model live in the world: it learns, if it does, from its context alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from ad_hypotheses.distill.finite import require_finite
from ad_hypotheses.distill.kv_cache import KVCache
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.errors import CapacityError, DataError, UserError
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks import Task
from ad_hypotheses.tasks.play import play
from ad_hypotheses.tasks.task import Policy, n_tasks_of

READ_STEPS = 1024  # steps of an earlier life that are read at once


def rollout(
    model: ADTransformer,
    task: Task,
    facts: Mapping[str, np.ndarray],
    episodes: int,
    rng: np.random.Generator,
    sample: bool = True,
    progress: Callable[[int], None] | None = None,
    prompt: History | None = None,
    memory: int | None = None,
    past: History | None = None,
    stop: int | None = None,
) -> History:
    """Run the model on tasks it is told nothing about, weights frozen, one long context each.

    Args:
        model: In evaluation mode.
        task: The task family.
        facts: Which task each row plays. [row, ...]
        episodes: Episodes to play.
        rng: Randomness of the world and of sampled actions.
        sample: Draw actions from the model's distribution; otherwise take the likeliest.
        progress: Called with the number of steps done.
        prompt: Whole episodes that somebody lived before on the same tasks, which the model reads as its own past.
            [row, step]
        memory: Episodes that the model sees, the one that it is in among them; None for all that its context holds. At
            the start of each episode the latest `memory - 1` are read anew, from the first position on, as a training
            history begins: nothing was done or paid before the first of their steps.
        past: The beginning of these very lives, whoever lived it, which the model reads as its own and goes on from;
            it may end within an episode, and its episodes count among those to play. [row, step]
        stop: Steps after which to stop, also within an episode; None for all of them.

    Returns:
        The model's own learning histories with their past, without the prompt. [row, episodes * horizon], or `stop`

    Raises:
        CapacityError: Prompt and episodes, or `memory` of them, do not fit into the context of a model without window.
        DataError: The prompt has other rows than `facts`, ends within an episode, or shows what has no embedding; or
            the past ends within an episode in which the world does not do what it says.
        NonFiniteError: The model's logits are not finite.
        UserError: `memory` is less than 1.
    """
    horizon = task.horizon
    _check_prompt(prompt, n_tasks_of(facts), horizon)
    _check_room(model, horizon, episodes, 0 if prompt is None else prompt.n_steps // horizon, memory)
    policy = acting(model, horizon, sample, progress, prompt, memory)
    return play(task, facts, policy, episodes, rng, past, stop)


def acting(
    model: ADTransformer,
    horizon: int,
    sample: bool = True,
    progress: Callable[[int], None] | None = None,
    prompt: History | None = None,
    memory: int | None = None,
) -> Policy:
    """Return a model as a policy for one life of a batch, which remembers what it has read; as :func:`rollout`.

    Args:
        model: In evaluation mode.
        horizon: Steps an episode.
        sample: As for :func:`rollout`.
        progress: As for :func:`rollout`.
        prompt: As for :func:`rollout`.
        memory: As for :func:`rollout`.

    Raises:
        NonFiniteError: The model's logits are not finite, once it is asked.
    """
    cache: KVCache | None = None

    @torch.inference_mode()
    def policy(history: History) -> Float[np.ndarray, "row action"]:
        nonlocal cache
        if cache is None or (memory is not None and history.n_steps % horizon == 1 % horizon):
            cache = KVCache(history.n_rows, model)
            logits = _read(model, _remembered(prompt, history, memory, horizon), cache)
        else:
            latest = history.window(-2)  # a token shows the action and reward of the step before it
            logits = model(model.to_tokens(latest)[:, -1:], cache)[:, -1]
        require_finite(logits, model, "the logits")
        if progress is not None:
            progress(history.n_steps)
        if sample:
            return logits.float().softmax(-1).cpu().numpy()
        return np.eye(history.n_actions, dtype=np.float32)[logits.argmax(-1).cpu().numpy()]

    return policy


def _read(model: ADTransformer, past: History, cache: KVCache) -> torch.Tensor:
    """Read a history from its first step on and return the logits of its last one. [row, action]"""
    for tokens in model.to_tokens(past).split(READ_STEPS, dim=1):
        stream = model.residual(tokens, cache)
    return model.unembed(stream[:, -1:])[:, -1]


def _remembered(prompt: History | None, history: History, memory: int | None, horizon: int) -> History:
    """What the model may look back on at a step: all, or whole episodes and what it has seen of the one it is in."""
    past = history if prompt is None else _joined(prompt, history, horizon)
    if memory is None:
        return past
    of_this_episode = (past.n_steps - 1) % horizon + 1
    return past.window(-min(past.n_steps, (memory - 1) * horizon + of_this_episode))


def _joined(first: History, second: History, horizon: int) -> History:
    number = np.arange(first.n_steps + second.n_steps) // horizon
    return replace(
        second,
        observations=np.concatenate([first.observations, second.observations], axis=1),
        actions=np.concatenate([first.actions, second.actions], axis=1),
        rewards=np.concatenate([first.rewards, second.rewards], axis=1),
        episode=np.broadcast_to(number, (second.n_rows, len(number))),
        channels=first.channels,  # those of the second are the model's: what differs is refused with its name
    )


def _check_prompt(prompt: History | None, n_rows: int, horizon: int) -> None:
    if prompt is not None and prompt.n_rows != n_rows:
        raise DataError(
            f"the prompt has {prompt.n_rows} rows, but {n_rows} tasks are played. Give one earlier life for each task."
        )
    if prompt is not None and prompt.n_steps % horizon:
        raise DataError(
            f"the prompt has {prompt.n_steps} steps, which are no whole episodes of {horizon}. "
            f"Cut it: prompt.window(stop={prompt.n_steps // horizon * horizon})."
        )


def _check_room(model: ADTransformer, horizon: int, episodes: int, before: int, memory: int | None) -> None:
    if memory is not None and memory < 1:
        raise UserError(f"memory is {memory}, but the model sees at least the episode it is in: give 1 or more.")
    seen = before + episodes if memory is None else min(memory, before + episodes)
    if model.shape.window is None and seen * horizon > model.shape.n_ctx:
        to_play = f"{before} episodes of prompt and {episodes} to play" if before else f"{episodes} episodes"
        reason = to_play if memory is None else f"memory = {memory}"
        raise CapacityError(
            f"{reason}: {seen * horizon} steps do not fit into the model's context of {model.shape.n_ctx} steps, "
            f"{model.shape.n_ctx // horizon} episodes of {horizon}.\n"
            f"  Play fewer episodes, give a shorter prompt or a smaller memory, or train a model with a window."
        )
