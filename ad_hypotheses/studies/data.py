"""Data sets that a claim is tested on: lives of the source, of the model, and of the model with an edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.errors import DataError, did_you_mean
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import Source
from ad_hypotheses.sources.variants import joined
from ad_hypotheses.studies.evaluate.curves import memory_needed, spread
from ad_hypotheses.studies.scrub.cost import Cost, history_bytes, refuse_too_large
from ad_hypotheses.tasks.counterfactuals import families_of
from ad_hypotheses.tasks.edits.kinds import Kind
from ad_hypotheses.tasks.edits.lives import EditedLives, Lives, unedited
from ad_hypotheses.tasks.task import Facts, Task, n_tasks_of

FRESH = 1_000_003  # added to the seed of the training histories: a study's histories were never trained on
ROWS_AT_ONCE = 256  # lives of a model that are lived side by side: keys and values of more would not stay in caches
TASK_SETS = ("train", "held-out", "all")
SOURCE, OWN, EDITED = "source", "own", "edited:"
DEFAULT_FAMILIES = 1  # of those that a family of tasks declares, `edited` alone means the first so many


@dataclass(frozen=True)
class Dataset:
    """Histories that a claim is tested on; the label of a step is the action that was taken there.

    Attributes:
        history: One learner a row, with the facts of its task.
        data: Which data set it is: `"source"`, `"own"` or `"edited:FAMILY"`.
        words: What it holds, in words.
        breaks: What always goes together in other lives and does not in these; nothing where that is not meant.
        sampled: Whether the action of a step was drawn by whoever lives the history, from what it sees there; where it
            was not, it is no prediction of what the model does. [row, step]
    """

    history: History
    data: str
    words: str
    breaks: str
    sampled: Bool[np.ndarray, "row step"]

    @property
    def family(self) -> str | None:
        """Name of the counterfactual family, None where nothing was edited."""
        return self.data.removeprefix(EDITED) if self.data.startswith(EDITED) else None

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
    own: History | None = None,
    source: Source | None = None,
) -> Dataset:
    """Make a data set for a model: fresh lives on its tasks, one learner a row.

    Args:
        checkpoint: The model.
        rows: How many lives, at least 2.
        data: `"source"`: the learners that the model was distilled from, whose loss is to be explained. `"own"`: the
            model itself, on tasks that it is told nothing about, each action drawn from its distribution.
            `"edited:FAMILY"`: the model in lives that a counterfactual family of its tasks makes, of those that are its
            own: on the same tasks, and the same up to the edit.
        seed: Decides everything. Several numbers tell apart what must not be the same, e.g. `(seed, 1)` for donors.
        tasks: `"train"`, `"held-out"` or `"all"`.
        first_learner: Number of the learner of the first row; those of two data sets differ if their numbers do.
        progress: Called with the number of steps lived and that of all, while the model lives.
        memory: Bytes that may be used; None for what is free.
        own: The model's own lives for the same arguments, if they are at hand: edited ones need not be lived again up
            to the edit.
        source: Whose learners live, of `"source"`; None for the source that the model was distilled from.

    Raises:
        DataError: There is no such data set, there are no such tasks, or too few rows were asked for; or another
            source is to live what the model lives.
        CapacityError: They would not fit into memory.
    """
    config = checkpoint.config
    task, episodes = config.experiment.task, config.kept_episodes
    kind = _family(data, task, episodes)
    if rows < 2:
        raise DataError(f"`rows` is {rows}, but donors need at least 2 histories; 256 is a good number.")
    refuse_too_large(Cost(0, _bytes(checkpoint, rows, data), 0), memory)
    if source is not None and data != SOURCE:
        raise DataError(
            f"`source` is {source.name}, but in {data} the model lives: a source goes with {SOURCE!r} only."
        )
    key = [config.histories.seed + FRESH, *([seed] if isinstance(seed, int) else seed)]
    # one stream for the source's histories, and one for those of the model, which edited ones begin with
    rng = np.random.default_rng(key if data == SOURCE else [*key, *OWN.encode()])
    facts = spread(facts_of(checkpoint, tasks), rows, rng)
    if data == SOURCE:
        history = config.experiment.live(facts, rng, source)
        sampled = np.ones(history.actions.shape, dtype=bool)
        words, breaks = f"histories of fresh {'source' if source is None else source.name} learners", ""
    else:
        lives = _lives_of_model(checkpoint, facts, kind, rng, progress, own)
        history, sampled = joined([life.history for life in lives]), np.concatenate([life.acted for life in lives])
        words = "the model's own lives, actions drawn from its distribution"
        words, breaks = (words, "") if kind is None else (f"{words}: {kind.lived or kind.words}", kind.breaks)
    learner = first_learner + np.arange(rows)
    return Dataset(replace(history, learner=learner), data, words, breaks, sampled)


def data_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of data sets, in a list or with commas between them: `"source,own,edited"`."""
    return tuple(name.strip() for name in (names.split(",") if isinstance(names, str) else names))


def chosen_data(names: Sequence[str], task: Task, episodes: int) -> tuple[str, ...]:
    """Return the data sets that names mean, each once.

    Args:
        names: What is asked for; `edited` alone means the first families that the tasks declare.
        task: The family of tasks that a model is about.
        episodes: Episodes of its lives.

    Raises:
        DataError: There is no such data set; the message lists those that the tasks declare.
    """
    edited = [f"{EDITED}{name}" for name in families_of(task, episodes)][:DEFAULT_FAMILIES]
    chosen: dict[str, None] = {}
    for asked in names:
        for name in edited if asked == "edited" else [asked]:
            _family(name, task, episodes)
            chosen[name] = None
    return tuple(chosen)


def single_data(name: str, task: Task, episodes: int) -> str:
    """Return the data set that a name means, where one is needed.

    Raises:
        DataError: There is no such data set, or these are several.
    """
    names = chosen_data(data_names(name), task, episodes)
    if len(names) > 1:
        raise DataError(f"`data` is {name!r}, but these are {len(names)} data sets: name one.")
    return names[0]


def _family(data: str, task: Task, episodes: int) -> Kind | None:
    """Return the counterfactual family that a data set means, None for those without one.

    Raises:
        DataError: There is no such data set.
    """
    families = families_of(task, episodes)
    known = (SOURCE, OWN, *(f"{EDITED}{name}" for name in families))
    if data in known:
        return families.get(data.removeprefix(EDITED)) if data.startswith(EDITED) else None
    hint = did_you_mean(data, known) or did_you_mean(f"{EDITED}{data}", known)
    if data == EDITED.rstrip(":"):
        hint = " It stands for several: name one of them."
    raise DataError(
        f"there is no data set {data!r} of {task.name}.{hint}\n  Known: {', '.join(known)}.\n"
        + "\n".join(f"  {EDITED}{name}: {kind.lived or kind.words}" for name, kind in families.items())
    )


def facts_of(checkpoint: Checkpoint, tasks: str) -> Facts:
    """Return the tasks that a model was trained on, those that were held out, or all of them.

    Raises:
        DataError: There are none, or no such choice.
    """
    if tasks not in TASK_SETS:
        raise DataError(f"there are no tasks {tasks!r}.{did_you_mean(tasks, TASK_SETS)} Known: {', '.join(TASK_SETS)}.")
    trained, held_out = checkpoint.experiment.split()
    pools = {"train": [trained], "held-out": [held_out], "all": [trained, held_out]}[tasks]
    facts = {name: np.concatenate([pool[name] for pool in pools]) for name in trained}
    if not n_tasks_of(facts):
        raise DataError(f"{checkpoint.name} has no {tasks} tasks: histories.held_out is 0.")
    return facts


def _lives_of_model(
    checkpoint: Checkpoint,
    facts: Facts,
    kind: Kind | None,
    rng: np.random.Generator,
    progress: Callable[[int, int], None] | None,
    own: History | None,
) -> list[EditedLives]:
    """Let the model live, so many rows at once that what it remembers of them fits into caches."""
    task, n_rows, parts = checkpoint.experiment.task, n_tasks_of(facts), []
    episodes, steps = checkpoint.config.kept_episodes, checkpoint.experiment.history_steps
    for first, generator in zip(range(0, n_rows, ROWS_AT_ONCE), rng.spawn(-(-n_rows // ROWS_AT_ONCE)), strict=True):
        part = {name: fact[first : first + ROWS_AT_ONCE] for name, fact in facts.items()}

        def advance(step: int, first: int = first, size: int = n_tasks_of(part)) -> None:
            if progress is not None:
                progress(first * steps + size * step, n_rows * steps)

        actor = ModelActor(checkpoint, generator, advance)
        if kind is None or kind.live is None:
            parts.append(unedited(Lives(task, part, episodes, generator, actor)))
            continue
        (edits,) = generator.spawn(1)
        known = None if own is None else own[first : first + ROWS_AT_ONCE]
        begun = BegunActor(task, part, actor, replace(actor, rng=edits), known)
        parts.append(kind.live(Lives(task, part, episodes, edits, begun)))
    return parts


@dataclass(frozen=True)
class ModelActor:
    """A model that lives, with frozen weights and a context, an :class:`Actor`.

    Attributes:
        checkpoint: The model.
        rng: Randomness of the world and of sampled actions.
        advance: Called with the number of steps of the life.
    """

    checkpoint: Checkpoint
    rng: np.random.Generator
    advance: Callable[[int], None] | None = None

    def __call__(self, world: Any, facts: Facts, past: History | None, stop: int) -> History:
        """Live on from the end of `past`, until `stop` steps are lived."""
        model, config = self.checkpoint.model, self.checkpoint.config
        seen, episodes = memory_needed(model, config), -(-stop // world.horizon)
        lengths: dict[str, Any] = {"memory": seen, "past": past, "stop": stop}
        return rollout(model, world, facts, episodes, self.rng, progress=self.advance, **lengths)


@dataclass
class BegunActor:
    """A model whose first life on its tasks begins as its own one, which may be known; an :class:`Actor`.

    Attributes:
        task: The family of the tasks.
        facts: The tasks. [row, ...]
        first: Who lives its own life.
        then: Who lives on, and all other lives, with other randomness.
        own: Its own life, if it was lived already. [row, step]
        begun: Whether the first life was asked for.
    """

    task: Task
    facts: Facts
    first: ModelActor
    then: ModelActor
    own: History | None
    begun: bool = False

    def __call__(self, world: Any, facts: Facts, past: History | None, stop: int) -> History:
        """Live on from the end of `past`, until `stop` steps are lived."""
        if self.begun or past is not None or world is not self.task or facts is not self.facts:
            return self.then(world, facts, past, stop)
        self.begun = True
        if self.own is None:
            return self.first(world, facts, past, stop)
        return replace(self.own.window(stop=stop), task=dict(facts), learner=np.arange(self.own.n_rows))


def _bytes(checkpoint: Checkpoint, rows: int, data: str) -> int:
    """Bytes that the histories take and, while the model lives, its keys and values."""
    model = checkpoint.model
    size = history_bytes(model, rows, checkpoint.experiment.history_steps)
    if data == SOURCE:
        return size
    shape = model.shape
    held = shape.n_ctx if shape.window is None else shape.window
    return size + 2 * min(rows, ROWS_AT_ONCE) * held * shape.n_layers * shape.d_model * model.dtype.itemsize
