"""Data sets that a claim is tested on: lives of the source, and of the model itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int

from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.distill.train import split
from ad_hypotheses.errors import DataError, did_you_mean
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.variants import joined
from ad_hypotheses.studies.evaluate.curves import memory_needed, spread
from ad_hypotheses.studies.scrub.cost import Cost, history_bytes, refuse_too_large
from ad_hypotheses.tasks.task import Facts, n_tasks_of

FRESH = 1_000_003  # added to the seed of the training histories: a study's histories were never trained on
ROWS_AT_ONCE = 256  # lives of a model that are lived side by side: keys and values of more would not stay in caches
TASK_SETS = ("train", "held-out", "all")
SOURCE, OWN = "source", "own"


@dataclass(frozen=True)
class Dataset:
    """Histories that a claim is tested on; the label of a step is the action that was taken there.

    Attributes:
        history: One learner a row, with the facts of its task.
        data: Which data set it is: `"source"` or `"own"`.
        words: What it holds, in words.
        sampled: Whether the action of a step was drawn by whoever lives the history, from what it sees there; where it
            was not, it is no prediction of what the model does. [row, step]
    """

    history: History
    data: str
    words: str
    sampled: Bool[np.ndarray, "row step"]

    @property
    def labels(self) -> Int[np.ndarray, "row step"]:
        """The action that was taken at each step. [row, step]"""
        return self.history.actions


def histories(
    checkpoint: Checkpoint,
    rows: int,
    data: str = SOURCE,
    seed: int | Sequence[int] = 0,
    tasks: str = "held-out",
    first_learner: int = 0,
    progress: Callable[[int, int], None] | None = None,
    memory: int | None = None,
) -> Dataset:
    """Make a data set for a model: fresh lives on its tasks, one learner a row.

    Args:
        checkpoint: The model.
        rows: How many lives, at least 2.
        data: `"source"`: the learners that the model was distilled from, whose loss is to be explained. `"own"`: the
            model itself, on tasks that it is told nothing about, each action drawn from its distribution.
        seed: Decides everything. Several numbers tell apart what must not be the same, e.g. `(seed, 1)` for donors.
        tasks: `"train"`, `"held-out"` or `"all"`.
        first_learner: Number of the learner of the first row; those of two data sets differ if their numbers do.
        progress: Called with the number of steps lived and that of all, while the model lives.
        memory: Bytes that may be used; None for what is free.

    Raises:
        DataError: There is no such data set, there are no such tasks, or too few rows were asked for.
        CapacityError: They would not fit into memory.
    """
    data = checked(data)
    if rows < 2:
        raise DataError(f"`rows` is {rows}, but donors need at least 2 histories; 256 is a good number.")
    refuse_too_large(Cost(0, _bytes(checkpoint, rows, data), 0), memory)
    key = [checkpoint.config.histories.seed + FRESH, *([seed] if isinstance(seed, int) else seed)]
    # a stream of its own for each data set; that of the source's histories has no further key
    rng = np.random.default_rng(key if data == SOURCE else [*key, *data.encode()])
    facts = spread(facts_of(checkpoint, tasks), rows, rng)
    learner = first_learner + np.arange(rows)
    if data == SOURCE:
        history = checkpoint.config.live(facts, rng)
        words = "histories of fresh source learners"
    else:
        history = _own_lives(checkpoint, facts, rng, progress)
        words = "the model's own lives, actions drawn from its distribution"
    sampled = np.ones(history.actions.shape, dtype=bool)
    return Dataset(replace(history, learner=learner), data, words, sampled)


def checked(data: str) -> str:
    """Return the name of a data set.

    Raises:
        DataError: There is none of that name.
    """
    known = (SOURCE, OWN)
    if data not in known:
        raise DataError(f"there is no data set {data!r}.{did_you_mean(data, known)}\n  Known: {', '.join(known)}.")
    return data


def facts_of(checkpoint: Checkpoint, tasks: str) -> Facts:
    """Return the tasks that a model was trained on, those that were held out, or all of them.

    Raises:
        DataError: There are none, or no such choice.
    """
    if tasks not in TASK_SETS:
        raise DataError(f"there are no tasks {tasks!r}.{did_you_mean(tasks, TASK_SETS)} Known: {', '.join(TASK_SETS)}.")
    trained, held_out = split(checkpoint.config)
    pools = {"train": [trained], "held-out": [held_out], "all": [trained, held_out]}[tasks]
    facts = {name: np.concatenate([pool[name] for pool in pools]) for name in trained}
    if not n_tasks_of(facts):
        raise DataError(f"{checkpoint.name} has no {tasks} tasks: histories.held_out is 0.")
    return facts


def _own_lives(
    checkpoint: Checkpoint, facts: Facts, rng: np.random.Generator, progress: Callable[[int, int], None] | None
) -> History:
    """Let the model live, so many rows at once that what it remembers of them fits into caches."""
    model, config = checkpoint.model, checkpoint.config
    task, n_rows, lives = config.make_task(), n_tasks_of(facts), []
    seen, steps = memory_needed(model, config), config.kept_episodes * task.horizon
    for first, generator in zip(range(0, n_rows, ROWS_AT_ONCE), rng.spawn(-(-n_rows // ROWS_AT_ONCE)), strict=True):
        part = {name: fact[first : first + ROWS_AT_ONCE] for name, fact in facts.items()}
        size = n_tasks_of(part)

        def advance(step: int, first: int = first, size: int = size) -> None:
            if progress is not None:
                progress(first * steps + size * step, n_rows * steps)

        lives.append(rollout(model, task, part, config.kept_episodes, generator, progress=advance, memory=seen))
    return joined(lives)


def _bytes(checkpoint: Checkpoint, rows: int, data: str) -> int:
    """Bytes that the histories take and, while the model lives, its keys and values."""
    model, task = checkpoint.model, checkpoint.config.make_task()
    size = history_bytes(model, rows, checkpoint.config.kept_episodes * task.horizon)
    if data == SOURCE:
        return size
    shape = model.shape
    held = shape.n_ctx if shape.window is None else shape.window
    return size + 2 * min(rows, ROWS_AT_ONCE) * held * shape.n_layers * shape.d_model * model.dtype.itemsize


def chosen_data(text: str, task: object, episodes: int) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name != "edited")
