"""Whether a configuration can be trained at all, found out before anything is lived, trained or written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.memory import free_memory
from ad_hypotheses.errors import ConfigError
from ad_hypotheses.sources.contexts.planner import require_visible_states
from ad_hypotheses.sources.q_learning import DynaQ
from ad_hypotheses.sources.recorded import Recorded

CHUNK = 256  # learners that live at once, at least
MANY = 10**6  # tasks whose facts are worth being weighed


def require_feasible(config: Config, where: str) -> None:
    """Refuse a configuration that cannot be trained.

    Args:
        config: Which.
        where: What it is called in messages.

    Raises:
        ConfigError: Its parts do not go together, or this machine lacks what it needs; every problem is listed.
    """
    problems = list(infeasible(config))
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"{where} cannot be used:\n{listed}")


def infeasible(config: Config) -> Iterator[str]:
    """Yield why a configuration cannot be trained: the key, its value and what is allowed."""
    histories = config.histories
    if histories.skip % histories.keep_every:
        below = histories.skip - histories.skip % histories.keep_every
        yield (
            f"histories.skip: {histories.skip} is no multiple of histories.keep_every = {histories.keep_every}: "
            f"{below} or {below + histories.keep_every}"
        )
    if histories.episodes > 1 and histories.keep_every >= histories.episodes:
        yield (
            f"histories.keep_every: {histories.keep_every} leaves 1 of histories.episodes = {histories.episodes}, in "
            f"which no learning is seen: at most {histories.episodes - 1}, or raise histories.episodes"
        )
    yield from _source_problems(config)
    yield from _context_problems(config)
    heavy = list(_memory_problems(config))
    yield from heavy
    if not heavy:
        try:
            config.experiment.split()
        except ConfigError as error:
            train = "all others" if histories.train_tasks is None else histories.train_tasks
            yield f"histories.held_out: {histories.held_out}, histories.train_tasks: {train}: {error}"


def _source_problems(config: Config) -> Iterator[str]:
    task, source, histories = config.experiment.task, config.experiment.source, config.histories
    if isinstance(source, Recorded) and not Path(source.folder).is_dir():
        yield f"source.folder: there is no folder {source.folder!r} (from {Path.cwd()}); name one that holds histories"
    try:
        getattr(source, "require_fit", lambda task, episodes: None)(task, histories.skip + histories.episodes)
    except ConfigError as error:
        yield f"source: {error}"


def _context_problems(config: Config) -> Iterator[str]:
    """Yield why contexts cannot be labelled, or next states not be predicted."""
    task, source, histories = config.experiment.task, config.experiment.source, config.histories
    needing = [
        *(["contexts"] if config.contexts is not None else []),
        *(["training.next_state_until"] if config.training.next_state_until is not None else []),
    ]
    for owner in needing:
        try:
            require_visible_states(task, owner)
        except ConfigError as error:
            yield str(error)
    if config.training.converged_below is not None and not getattr(source, "can_live", True):
        yield f"training.converged_below: is judged on fresh histories, but those of {source.name} cannot be made"
    if config.contexts is None:
        return
    if not isinstance(source, DynaQ) or source.epsilon_first or source.epsilon_last:
        yield (
            f"contexts: labels are what dyna-q would do without exploring at random, but the source is {source.name}: "
            "take dyna-q with epsilon_first: 0 and epsilon_last: 0"
        )
    elif source.bonus:
        yield f"source.bonus: {source.bonus:g} does not go with contexts: labels are of dyna-q without it; leave it out"
    for key, unused in (("keep_every", 1), ("skip", 0), ("shuffle_rewards", False)):
        if getattr(histories, key) != unused:
            yield f"histories.{key}: {getattr(histories, key)} means nothing where contexts are labelled; set {unused}"
    if config.training.crop is not None:
        yield f"training.crop: {config.training.crop} means nothing where contexts are labelled; leave it out"
    if config.contexts.fresh_tasks and hasattr(task, "n_tasks"):
        yield (
            f"contexts.fresh_tasks: true, but {task.name} has {task.n_tasks} tasks only, so held-out ones would be "
            "trained on; leave it out"
        )


def _memory_problems(config: Config) -> Iterator[str]:
    """Yield what does not fit into memory, each a lower bound that depends on nothing but the configuration."""
    available = _memory()
    for keys, subject, needed in _needed(config):
        if needed > available:
            yield f"{keys}: {subject} at least {_size(needed)} of memory, but {_size(available)} are available"


def _needed(config: Config) -> Iterator[tuple[str, str, int]]:
    task, histories, size, training = config.experiment.task, config.histories, config.model, config.training
    context = config.experiment.context_steps
    layer = 4 * size.d_model**2 + (0 if size.attention_only else 2 * size.d_model * (size.d_mlp or 4 * size.d_model))
    learned = size.positions == "learned"
    weights = size.n_layers * layer + (context * size.d_model if learned else 0)
    keys = f"model.d_model: {size.d_model}, model.n_layers: {size.n_layers}"
    if size.d_mlp is not None:
        keys += f", model.d_mlp: {size.d_mlp}"
    if learned:
        keys += f", task.horizon {task.horizon} x {config.context_episodes} episodes"
    yield keys, "weights, gradients and their averages need", 16 * weights
    rows, number = training.batch // training.accumulate, 4 if training.precision == "float32" else 2
    yield (
        f"training.batch: {training.batch}, task.horizon {task.horizon} x {config.context_episodes} episodes",
        f"a batch of {rows} samples of {context:,} steps needs",
        rows * context * size.d_model * size.n_layers * 4 * number,
    )
    learners = min(histories.learners, CHUNK)
    yield (
        f"histories.episodes: {histories.episodes}, task.horizon {task.horizon}",
        f"the lives of {learners} learners need",
        learners * config.kept_episodes * task.horizon * (len(task.channels) + 5),
    )
    tasks = histories.held_out + (histories.train_tasks or 0) + histories.learners
    if tasks > MANY:
        task_bytes = sum(np.asarray(fact).nbytes for fact in task.sample_tasks(np.random.default_rng(0), 1).values())
        yield (
            f"histories.held_out: {histories.held_out}, histories.train_tasks: {histories.train_tasks}, "
            f"histories.learners: {histories.learners}",
            "the facts of their tasks need",
            tasks * task_bytes,
        )


def _memory() -> int:
    """Return the bytes that are free here, or that the largest accelerator has, if that is more."""
    most = [torch.cuda.get_device_properties(number).total_memory for number in range(torch.cuda.device_count())]
    free = free_memory()
    return max(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if free is None else free, *most, 0)


def _size(n_bytes: int) -> str:
    return f"{n_bytes // 10**12:,} TB" if n_bytes >= 10**13 else f"{n_bytes / 1e9:,.1f} GB"
