"""Learning histories on disk: made once, in shards, resumed after an interruption, read a batch at a time.

A folder holds `shard-00000/`, `shard-00001/`, ... and, once all are there, `manifest.json`. Every shard has a random
generator of its own, seeded by (seed, shard), so a shard is the same whether or not others were made in the same run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from ad_hypotheses.errors import DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.shards import (
    AGAIN,
    ARRAYS,
    FACT,
    Json,
    disk_errors,
    open_shard,
    read_description,
    read_json,
    shard_name,
    write_json,
    write_shard,
)
from ad_hypotheses.sources.variants import lived, variant_recipe
from ad_hypotheses.storage.checked import digest_of
from ad_hypotheses.storage.lock import held
from ad_hypotheses.tasks import Facts, Task
from ad_hypotheses.tasks.task import check_range, n_tasks_of, parameters

FORMAT = 1  # of the folder; a reader refuses another
MANIFEST = "manifest.json"
Reached = Callable[[int, int], None]


@dataclass(frozen=True)
class HistoryFolder:
    """Learning histories in a folder, of which only what is asked for is read.

    Attributes:
        folder: Where they are.
        recipe: What made them: task, source, seed, ...
        channels: Names of the observation channels.
        n_actions: How many actions exist.
        shards: The arrays of every shard, mapped into memory, by name.
        first: Row where each shard begins, and the number of rows at the end. [shard + 1]
    """

    folder: Path
    recipe: Json
    channels: tuple[str, ...]
    n_actions: int
    shards: tuple[Mapping[str, np.ndarray], ...]
    first: Int[np.ndarray, " boundary"]

    @property
    def n_histories(self) -> int:
        """How many histories there are."""
        return int(self.first[-1])

    @property
    def n_steps(self) -> int:
        """Steps of each."""
        return self.shards[0]["actions"].shape[1]

    def rows(self, rows: Int[np.ndarray, " batch"]) -> History:
        """Read whole histories.

        Args:
            rows: Which, from 0, in any order. [batch]
        """
        return self.windows(rows, np.zeros(len(rows), dtype=np.intp), self.n_steps)

    def windows(self, rows: Int[np.ndarray, " batch"], offsets: Int[np.ndarray, " batch"], n_steps: int) -> History:
        """Read a window of each of some histories.

        Args:
            rows: Which histories, from 0, in any order. [batch]
            offsets: Step where the window of each begins. [batch]
            n_steps: Steps of a window.

        Returns:
            The windows. Their episodes are numbered from 0, and the first step counts as the start of one.

        Raises:
            DataError: A row or a window is out of range.
        """
        self._check(rows, offsets, n_steps)
        shard_of = np.searchsorted(self.first, rows, side="right") - 1
        steps = offsets[:, None] + np.arange(n_steps)
        arrays: dict[str, np.ndarray] = {}
        for shard in np.unique(shard_of):
            here = np.flatnonzero(shard_of == shard)
            for name, array in self.shards[shard].items():
                shared = name == "episode" and len(array) == 1  # by all rows of the shard
                inside = np.zeros(len(here), dtype=np.intp) if shared else rows[here] - self.first[shard]
                timed = name in ARRAYS and name != "learner"
                part = array[inside[:, None], steps[here]] if timed else array[inside]
                if name not in arrays:
                    arrays[name] = np.empty((len(rows), *part.shape[1:]), dtype=part.dtype)
                arrays[name][here] = part
        return self._history(arrays)

    def _history(self, arrays: Mapping[str, np.ndarray]) -> History:
        return History(
            observations=arrays["observations"],
            actions=arrays["actions"],
            rewards=arrays["rewards"],
            episode=arrays["episode"] - arrays["episode"][:, :1],
            channels=self.channels,
            n_actions=self.n_actions,
            task={name.removeprefix(FACT): fact for name, fact in arrays.items() if name.startswith(FACT)},
            learner=arrays["learner"],
        )

    def _check(self, rows: np.ndarray, offsets: np.ndarray, n_steps: int) -> None:
        if len(rows) == 0 or rows.min() < 0 or rows.max() >= self.n_histories:
            raise DataError(f"{self.folder} holds {self.n_histories} histories, numbered from 0; asked for {rows}.")
        if n_steps < 1 or offsets.min() < 0 or offsets.max() + n_steps > self.n_steps:
            raise DataError(
                f"{self.folder} holds histories of {self.n_steps} steps; a window of {n_steps} steps from step "
                f"{offsets.max()} is not inside."
            )


@dataclass(frozen=True)
class ShardLives:
    """Let the learners of a shard live; arguments are those of :func:`generate`."""

    source: Any
    task: Task
    facts: Facts
    episodes: int
    keep_every: int
    skip: int
    shuffle_rewards: bool
    seed: int

    def __call__(self, number: int, learner: Int[np.ndarray, " row"]) -> History:
        """Return the histories of a shard, by its number and its learners."""
        facts = {name: fact[learner % n_tasks_of(self.facts)] for name, fact in self.facts.items()}
        rng, lengths = np.random.default_rng([self.seed, number]), (self.keep_every, self.skip)
        history = lived(self.source, self.task, facts, self.episodes, rng, *lengths, self.shuffle_rewards)
        return dataclasses.replace(history, learner=learner)


Ahead = Callable[[Sequence[tuple[int, np.ndarray]]], Iterable[tuple[int, History]]]
"""Given numbers of shards with their learners, yields the number and the histories of each, in whatever order."""


def generate(
    folder: str | Path,
    task: Task,
    source: Any,
    facts: Facts,
    learners_per_task: int,
    episodes: int,
    keep_every: int = 1,
    seed: int = 0,
    shard_size: int = 1024,
    progress: Reached | None = None,
    skip: int = 0,
    shuffle_rewards: bool = False,
    spread: Callable[[ShardLives], Ahead] | None = None,
) -> HistoryFolder:
    """Let learners live and keep their histories in `folder`; go on where an earlier run of the same stopped.

    Learner `i` lives on task `i % n_tasks`, so any run of learners mixes the tasks. One process a folder: a
    second one is refused while the first runs.

    Args:
        folder: Made if it is missing.
        task: The distribution that the tasks are from.
        source: How the learners learn.
        facts: The tasks. [task, ...]
        learners_per_task: Learners of every task, each with luck of its own.
        episodes: Episodes of a life, not counting those that are skipped.
        keep_every: Keep episodes 0, k, 2k, ...
        seed: Decides everything else.
        shard_size: Histories a shard.
        progress: Called with the number of histories done and the number of all, at the start and after every shard.
        skip: Episodes lived before the first that is kept.
        shuffle_rewards: Deal the rewards of each history out to other steps of it.
        spread: Given what makes a shard, returns what makes several at once elsewhere; None to make them here.

    Returns:
        The histories, checked.

    Raises:
        ConfigError: A number is too small, or `skip` does not fit `keep_every`.
        DataError: The folder holds something else, a shard in it is corrupt, or the disk is full.
    """
    for parameter, number, least in (
        ("learners_per_task", learners_per_task, 1),
        ("shard_size", shard_size, 1),
        ("seed", seed, 0),
    ):
        check_range("histories", parameter, number, least)
    numbers = {"learners_per_task": learners_per_task, "episodes": episodes, "keep_every": keep_every, "seed": seed}
    recipe = recipe_of(task, facts) | {"source": _describe(source), **numbers, "shard_size": shard_size}
    recipe |= variant_recipe(skip, shuffle_rewards)
    learners = np.arange(learners_per_task * n_tasks_of(facts))

    lives = ShardLives(source, task, facts, episodes, keep_every, skip, shuffle_rewards, seed)
    ahead = None if spread is None else spread(lives)
    return make_shards(Path(folder), recipe, learners, shard_size, lives, progress, ahead)


def write_histories(
    folder: str | Path, history: History, made_by: Mapping[str, Any], shard_size: int = 1024
) -> HistoryFolder:
    """Keep histories that are in memory already, e.g. altered ones, in `folder`.

    Args:
        folder: Made if it is missing.
        history: The histories; rows without a learner get their number.
        made_by: What made them, in words that JSON can hold.
        shard_size: Histories a shard.

    Returns:
        The histories, checked.

    Raises:
        DataError: The folder holds something else, a shard in it is corrupt, or the disk is full.
    """
    learner = np.arange(history.n_rows) if history.learner is None else history.learner
    arrays = {name: getattr(history, name) for name in ("observations", "actions", "rewards", "episode")}
    content = digest_of({**arrays, **history.task, "learner": learner})
    recipe = {"channels": list(history.channels), "n_actions": history.n_actions, "content": content, **made_by}

    def part(_: int, rows: np.ndarray) -> History:
        return dataclasses.replace(history, learner=learner)[rows]

    return make_shards(Path(folder), recipe, np.arange(history.n_rows), shard_size, part, None)


def open_histories(folder: str | Path, verify: bool = True) -> HistoryFolder:
    """Open the histories in `folder`.

    Args:
        folder: Where `generate` or `write_histories` put them.
        verify: Compare the checksum of every file; without it, only names, types and shapes.

    Raises:
        DataError: Something is missing or corrupt; the message names the shard and says what to do.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"there are no histories in {folder}: no such folder. Generate them first.")
    if not (folder / MANIFEST).exists():
        raise DataError(f"the histories in {folder} are unfinished: run the command that makes them again.")
    manifest = read_json(folder / MANIFEST, f"the manifest {folder / MANIFEST}")
    try:
        version, recipe, described = manifest["format"], manifest["recipe"], manifest["shards"]
        channels, n_actions = tuple(recipe["channels"]), int(recipe["n_actions"])
        numbers = [shard["number"] for shard in described]
    except (KeyError, TypeError, ValueError) as error:
        problem = f"the manifest {folder / MANIFEST} is corrupt: it lacks or garbles {error}"
        raise DataError(f"{problem}; {AGAIN}, finished shards are kept.") from error
    if version != FORMAT or not numbers or numbers != list(range(len(numbers))):
        raise DataError(f"the manifest {folder / MANIFEST} is corrupt or of another version than {FORMAT}; {AGAIN}.")
    arrays = tuple(_open(folder / shard_name(n), listed, recipe, verify) for n, listed in enumerate(described))
    _require_same_layout(folder, arrays)
    first = np.concatenate([[0], np.cumsum([len(shard["actions"]) for shard in arrays])])
    return HistoryFolder(folder, recipe, channels, n_actions, arrays, first)


def _open(shard: Path, listed: Json, recipe: Json, verify: bool) -> Mapping[str, np.ndarray]:
    """Open a shard if it is the one that the manifest lists."""
    if not shard.is_dir():
        raise DataError(f"shard {shard} is missing; run the same command again, the others are kept.")
    description = read_description(shard)
    wrong = [key for key in ("number", "n_histories", "files") if description[key] != listed.get(key)]
    if wrong or description["recipe"] != recipe:
        differ = f" ({wrong[0]} differs)" if wrong else ""
        raise DataError(f"shard {shard} is not the one that {MANIFEST} lists{differ}; {AGAIN}.")
    return open_shard(shard, description, verify)


def _require_same_layout(folder: Path, shards: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Refuse a shard whose arrays have other names or steps than those of the first."""
    layouts = [{name: array.shape[1:] for name, array in shard.items()} for shard in shards]
    for number, layout in enumerate(layouts):
        if layout != layouts[0]:
            names = sorted(name for name in {**layout, **layouts[0]} if layout.get(name) != layouts[0].get(name))
            raise DataError(
                f"shard {folder / shard_name(number)} is corrupt: its {', '.join(names)} are not like those of "
                f"{shard_name(0)}; {AGAIN}."
            )


def make_shards(
    folder: Path,
    recipe: Json,
    rows: np.ndarray,
    shard_size: int,
    make: Callable[[int, np.ndarray], History],
    progress: Reached | None,
    ahead: Ahead | None = None,
) -> HistoryFolder:
    """Make the shards that are not there yet, then the manifest.

    Args:
        folder: Made if it is missing.
        recipe: What makes them; holds `channels` and `n_actions`.
        rows: Which histories, in order; every shard takes the next `shard_size` of them.
        shard_size: Histories a shard.
        make: Given the number of a shard and its rows, makes the histories.
        progress: Called with the number of histories done and the number of all.
        ahead: Given shards that are not there, yields their histories in whatever order, made elsewhere at once.

    Raises:
        DataError: The folder holds something else, a shard in it is corrupt, or the disk is full.
        UserError: Another process is making histories in the folder.
    """
    recipe = json.loads(json.dumps(recipe))  # as it will be read back, where a tuple is a list
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    shards = []
    with held(folder, "generating histories"):
        parts = dict(enumerate(rows[first : first + shard_size] for first in range(0, len(rows), shard_size)))
        missing = [(number, part) for number, part in parts.items() if not (folder / shard_name(number)).exists()]
        for done, (number, history) in enumerate(ahead(missing) if ahead is not None else ()):
            if progress is not None:
                progress(min(len(rows), (len(parts) - len(missing) + done) * shard_size), len(rows))
            write_shard(folder, number, history, recipe)
        for number, part in parts.items():
            if progress is not None:
                progress(number * shard_size, len(rows))
            shard = folder / shard_name(number)
            if shard.exists():
                shards.append(_finished(shard, number, recipe))
            else:
                shards.append(write_shard(folder, number, make(number, part), recipe))
        listed = [{key: value for key, value in shard.items() if key != "recipe"} for shard in shards]
        with disk_errors(manifest):
            partial = folder / f".{MANIFEST}.partial"
            write_json(partial, {"format": FORMAT, "recipe": recipe, "shards": listed})
            partial.replace(manifest)
    if progress is not None:
        progress(len(rows), len(rows))
    return open_histories(folder, verify=False)


def _finished(shard: Path, number: int, recipe: Json) -> Json:
    """Return the description of a shard made earlier, all of it checked.

    Raises:
        DataError: It is corrupt, or was made by something else.
    """
    description = read_description(shard)
    theirs = description["recipe"]
    if theirs != recipe:
        before, now = _flat(theirs), _flat(recipe)
        keys = [key for key in {**now, **before} if now.get(key) != before.get(key)]
        listed = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in keys)
        raise DataError(f"{shard.parent} holds other histories ({listed}); name another folder, or delete this one.")
    if description["number"] != number:
        raise DataError(f"shard {shard} is corrupt: it was written as number {description['number']}; {AGAIN}.")
    open_shard(shard, description, verify=True)
    return description


def _flat(recipe: Json) -> Json:
    """Return the recipe with `{"source": {"alpha": 1}}` written `{"source.alpha": 1}`."""
    flat: Json = {}
    for key, value in recipe.items():
        flat |= {f"{key}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def recipe_of(task: Task, facts: Facts) -> Json:
    """Return what a recipe says of the tasks."""
    channels = {"channels": list(task.channels), "n_actions": task.n_actions}
    return {"task": _describe(task), **channels, "facts": digest_of(facts)}


def _describe(made: Any) -> Json:
    return {"name": made.name, **parameters(made)}
