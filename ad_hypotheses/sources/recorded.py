"""Histories that were recorded earlier, as a source: from Stable-Baselines3, a Minari dataset, or altered ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NoReturn

import numpy as np
from jaxtyping import Bool

from ad_hypotheses.errors import ConfigError, DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.histories import HistoryFolder, Reached, make_shards, open_histories, recipe_of
from ad_hypotheses.sources.recording import check_episodes
from ad_hypotheses.sources.shards import FACT
from ad_hypotheses.sources.variants import check_skip, early, every, expert_only, shuffled_rewards, variant_recipe
from ad_hypotheses.tasks import Facts, Task

SHARD = 1024


@dataclass(frozen=True)
class Recorded:
    """Lives that were lived already: a folder of histories.

    Attributes:
        folder: Where `write_histories` put them; relative to where the command runs.
    """

    folder: str = ""

    name: ClassVar[str] = "recorded"
    can_live: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse to read from nowhere.

        Raises:
            ConfigError: No folder is named.
        """
        if not self.folder:
            raise ConfigError(f"{self.name}: folder is missing; name the folder that holds the histories.")

    def live(self, task: Task, facts: Facts, episodes: int, rng: np.random.Generator, keep_every: int = 1) -> NoReturn:
        """Refuse: what was recorded cannot be lived again on other tasks.

        Raises:
            DataError: Always.
        """
        raise DataError(
            f"the histories in {self.folder} were recorded: their learners cannot live again, so there are no fresh "
            "histories of this source. Name a source that can live (dyna-q, actor-critic, ...) where some are needed."
        )

    def open(self, task: Task) -> HistoryFolder:
        """Return the recorded histories.

        Raises:
            DataError: They are missing or corrupt, or are not of this task.
        """
        histories = open_histories(self.folder)
        problems = _problems(histories, task)
        if problems:
            listed = "\n".join(f"  {problem}" for problem in problems)
            raise DataError(f"the histories in {self.folder} do not fit {task.name}:\n{listed}")
        return histories


def select(
    folder: str | Path,
    task: Task,
    source: Recorded,
    facts: Facts | None,
    held_out: Facts,
    learners: int,
    episodes: int,
    keep_every: int = 1,
    seed: int = 0,
    progress: Reached | None = None,
    skip: int = 0,
    shuffle_rewards: bool = False,
) -> HistoryFolder:
    """Copy recorded histories that a model may be trained on into `folder`.

    Args:
        folder: Made if it is missing.
        task: The distribution that the tasks are from.
        source: Where the histories are.
        facts: Take only histories of these tasks; None takes those of every task that is not held out.
        held_out: Never take a history of these tasks.
        learners: How many histories; if there are more, as many at random.
        episodes: Episodes of a life that are read after the skipped ones.
        keep_every: Keep episodes 0, k, 2k, ...
        seed: Decides which histories, and how rewards are shuffled.
        progress: Called with the number of histories done and the number of all.
        skip: Episodes at the beginning of each recorded life that are left out.
        shuffle_rewards: Deal the rewards of each history out to other steps of it.

    Returns:
        The histories, checked.

    Raises:
        ConfigError: More histories or episodes are asked for than were recorded.
        DataError: The recorded histories do not fit the task, or the folder holds something else.
    """
    check_episodes(episodes, keep_every)
    check_skip(skip, keep_every)
    recorded = source.open(task)
    lived = recorded.n_steps // task.horizon
    if skip + episodes > lived:
        raise ConfigError(
            f"histories: skip + episodes is {skip + episodes}, but the lives in {source.folder} have {lived} episodes."
        )
    usable = np.flatnonzero(_usable(recorded, facts, held_out))
    if learners > len(usable):
        raise ConfigError(
            f"histories: learners is {learners:,}, but {source.folder} holds {recorded.n_histories:,} histories, "
            f"{len(usable):,} of them of tasks to train on. Lower learners, or hold out fewer tasks."
        )
    rng = np.random.default_rng(seed)
    chosen = usable if learners == len(usable) else np.sort(rng.choice(usable, size=learners, replace=False))
    numbers = {"learners": learners, "episodes": episodes, "keep_every": keep_every, "seed": seed, "shard_size": SHARD}
    of = {"name": source.name, "recipe": recorded.recipe}
    recipe = recipe_of(task, {"rows": chosen}) | {"source": of, **numbers} | variant_recipe(skip, shuffle_rewards)

    def part(number: int, rows: np.ndarray) -> History:
        history = every(early(expert_only(recorded.rows(rows), lived - skip), episodes), keep_every)
        return shuffled_rewards(history, np.random.default_rng([seed, number])) if shuffle_rewards else history

    return make_shards(Path(folder), recipe, chosen, SHARD, part, progress)


def _problems(histories: HistoryFolder, task: Task) -> list[str]:
    """Say in what recorded histories differ from those of a task."""
    if histories.channels != task.channels:
        return [f"they show {_named(histories.channels)}, the task {_named(task.channels)}"]
    facts = task.sample_tasks(np.random.default_rng(0), 1)
    shards, problems = histories.shards, []
    recorded = {name.removeprefix(FACT): array.shape[1:] for name, array in shards[0].items() if name.startswith(FACT)}
    wanted = {name: np.asarray(fact).shape[1:] for name, fact in facts.items()}
    if recorded != wanted:
        problems.append(f"their facts are {recorded or 'missing'}, those of the task {wanted} (name: shape)")
    if histories.n_actions != task.n_actions:
        problems.append(f"they have {histories.n_actions} actions, the task {task.n_actions}")
    if not all(_in_range(shard["actions"], task.n_actions) for shard in shards):
        problems.append(f"an action is none of 0 to {task.n_actions - 1}")
    for channel, (name, size) in enumerate(zip(task.channels, task.channel_sizes, strict=True)):
        if not all(_in_range(shard["observations"][..., channel], size) for shard in shards):
            problems.append(f"{name} is not always in 0 to {size - 1}")
    number = np.arange(histories.n_steps) // task.horizon
    if histories.n_steps % task.horizon or not all((shard["episode"] == number).all() for shard in shards):
        problems.append(f"their episodes are not all of {task.horizon} steps, the task's horizon")
    exist = np.asarray(task.rewards, dtype=np.float32)
    paid = np.unique(np.concatenate([np.unique(shard["rewards"]) for shard in shards]))
    strange = paid[~np.isclose(paid[:, None], exist, atol=1e-6).any(axis=1)]
    if len(strange):
        problems.append(f"they pay {', '.join(f'{reward:g}' for reward in strange[:5])}; the task pays {task.rewards}")
    return problems


def _usable(histories: HistoryFolder, facts: Facts | None, held_out: Facts) -> Bool[np.ndarray, " history"]:
    """Say which histories a model may be trained on."""
    recorded = {name: np.concatenate([shard[FACT + name] for shard in histories.shards]) for name in sorted(held_out)}
    rows = _keys(recorded)
    usable = ~np.isin(rows, _keys(held_out))
    return usable if facts is None else usable & np.isin(rows, _keys(facts))


def _keys(facts: Facts) -> np.ndarray:
    """Return something for each task that equals another's where all facts do. [task]"""
    arrays = [np.asarray(facts[name], dtype=float) for name in sorted(facts)]
    flat = [array.reshape(len(array), math.prod(array.shape[1:])) for array in arrays]
    rows = np.ascontiguousarray(np.concatenate(flat, axis=1)) + 0.0  # -0 is 0
    return rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).reshape(-1)


def _in_range(array: np.ndarray, size: int) -> bool:
    return bool(array.min(initial=0) >= 0 and array.max(initial=0) < size)


def _named(channels: tuple[str, ...]) -> str:
    return ", ".join(channels) or "nothing"
