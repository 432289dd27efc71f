"""Learning histories to look at: fresh, edited, or in pairs that differ in one thing, and lives of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ad_hypotheses.distill.config import Config
from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.library.arguments import require_whole
from ad_hypotheses.library.model import Model, loaded
from ad_hypotheses.library.scrub import model_of
from ad_hypotheses.library.scrubbed import ScrubbedModel
from ad_hypotheses.progress import Progress
from ad_hypotheses.sources.histories import open_histories
from ad_hypotheses.sources.minari_data import import_minari
from ad_hypotheses.studies import contexts, edits
from ad_hypotheses.studies.data import ModelActor, facts_of
from ad_hypotheses.studies.edits import Pair, Then
from ad_hypotheses.studies.evaluate.curves import spread
from ad_hypotheses.tasks import play as playing
from ad_hypotheses.tasks.task import Task

MINARI = "minari"  # how names begin that mean a dataset of Minari


def histories(
    model: Model | str | Path,
    rows: int = 64,
    data: str = "source",
    tasks: str = "held-out",
    seed: int = 0,
    progress: bool | Progress = False,
    source: str | None = None,
) -> History:
    """Generate learning histories that a model was never trained on, one learner a row.

    Args:
        model: The model, or its name.
        rows: As for :meth:`Model.histories`.
        data: As for :meth:`Model.histories`.
        tasks: As for :meth:`Model.histories`.
        seed: Decides everything.
        progress: As for :meth:`Model.histories`.
        source: As for :meth:`Model.histories`.

    Raises:
        ConfigError: There is no such source, or it cannot live on these tasks.
        DataError: There is no such data set, there are no such tasks, or too few rows were asked for.

    Example:
        >>> import ad_hypotheses as adh
        >>> adh.histories("bandit", 8, data="own").shape
        (8, 100)
    """
    return loaded(model).histories(rows, data, tasks, seed, progress, source)


def load_histories(source: str | Path, rows: int | None = None) -> History:
    """Read histories that were kept: those of a folder, or a dataset of Minari.

    Args:
        source: The folder that `histories` wrote, or `"minari:NAME"`, a dataset that Minari has on this machine.
        rows: How many, from the first on; None for all.

    Returns:
        The histories; of a dataset that was not exported from here one history of all its episodes, without facts.

    Raises:
        UserError: Minari is not installed.
        DataError: There are no such histories, they are damaged, or those of the dataset are none.

    Example:
        >>> import ad_hypotheses as adh
        >>> adh.load_histories("minari:dark-room/dyna-q-v0")  # doctest: +SKIP
    """
    require_whole(rows=rows)
    kind, _, name = str(source).partition(":")
    if kind == MINARI:
        return import_minari(name)[slice(rows)]
    folder = open_histories(source)
    return folder.rows(np.arange(folder.n_histories if rows is None else min(rows, folder.n_histories)))


def play(
    model: Model | str | Path,
    actions: Sequence[str | int],
    *,
    task: int = 0,
    tasks: str = "held-out",
    seed: int = 0,
) -> History:
    """Let a task answer actions that are written by hand, from an empty context on.

    Args:
        model: The model whose tasks are played, or its name.
        actions: What is done at every step, by names or numbers; episodes end where those of the tasks do.
        task: Number of the task among those of `tasks`, from 0.
        tasks: `"train"`, `"held-out"` or `"all"`.
        seed: Of what chance decides.

    Returns:
        One history of as many steps as actions.

    Raises:
        DataError: There is no such task or action, none was given, or more than the model reads.

    Example:
        >>> import ad_hypotheses as adh
        >>> adh.play("known-retrieval", ["up", "left", "left"]).actions.tolist()
        [[1, 3, 3]]
    """
    model = loaded(model)
    longest = None if model.shape.window is not None else model.shape.n_ctx
    history = contexts.played(model.task, facts_of(model.checkpoint_as_read, tasks), task, actions, longest, seed)
    return replace(history, family=model.task)


def edit(
    history: History,
    step: int,
    *,
    action: str | int | None = None,
    reward: float | None = None,
    observation: tuple[int, ...] | None = None,
    then: Then = "world",
    model: Model | str | Path | None = None,
    seed: int = 0,
) -> History:
    """Change what was done, paid or seen at a step of every history.

    Args:
        history: The histories; they stay as they are.
        step: Number of the step, from 0.
        action: What is done instead, by name or number.
        reward: What is paid instead.
        observation: What is seen instead, a number for each channel; only with `then="nothing"`.
        then: Who decides what follows: `"world"` answers the recorded actions to the end of the episode, `"model"`
            goes on from there, or `"nothing"` else changes.
        model: The model that goes on, or its name; also says of which tasks histories are that were made by hand.
        seed: Of what chance decides, and of the model's actions.

    Raises:
        DataError: There is no such step, action or reward, a model is missing, or the histories cannot be lived again.

    Example:
        >>> import ad_hypotheses as adh
        >>> history = adh.load("bandit").histories(2)
        >>> adh.edit(history, step=3, reward=1, then="nothing").rewards[:, 3]
        array([1., 1.], dtype=float32)
    """
    task = _task(history, model)
    checkpoint = None if model is None or then != "model" else loaded(model).checkpoint
    changed = edits.edit(history, step, task, action, reward, observation, then, checkpoint, seed)
    return replace(changed, family=task)


def rearrange(history: History, episodes: Sequence[int]) -> History:
    """Put the episodes of every history into another order; some may be left out, others stand twice.

    Args:
        history: Histories of episodes of one length; they stay as they are.
        episodes: Numbers of episodes in their new order, from 0.

    Raises:
        DataError: There is no such episode, none is left, or episodes are of different lengths.

    Example:
        >>> import ad_hypotheses as adh
        >>> history = adh.load("known-retrieval").histories(2)
        >>> int(adh.rearrange(history, [1, 0, 0]).episode.max())
        2
    """
    return contexts.rearrange(history, episodes)


def change_facts(
    history: History, step: int, *, model: Model | str | Path | None = None, seed: int = 0, **facts: Any
) -> History:
    """Let another task answer what was done, from a step on: move the goal, or change what arms pay.

    Args:
        history: The histories; they stay as they are.
        step: The first step that the other task answers.
        model: Model of whose tasks histories are that were made by hand, or its name.
        seed: Of what chance decides.
        **facts: What is different in that task: `goal=(2, 3)`, `means=(0.9, 0.1, 0.1, 0.1, 0.1)`.

    Raises:
        DataError: There is no such step or fact, a value does not fit, or the histories cannot be lived again.

    Example:
        >>> import ad_hypotheses as adh
        >>> history = adh.load("known-retrieval").histories(2)
        >>> adh.change_facts(history, step=30, goal=(0, 0)).task["goal"].tolist()
        [[0, 0], [0, 0]]
    """
    task = _task(history, model)
    return replace(contexts.change_facts(history, task, step, facts, seed), family=task)


def counterfactual(name: str, history: History, *, model: Model | str | Path | None = None, seed: int = 0) -> Pair:
    """Pair histories with the same ones but for one thing, the actions as recorded.

    Args:
        name: A kind of counterfactual of the task, e.g. `"goal-moved"`, `"arms-swapped"`.
        history: At least one history.
        model: Model of whose tasks histories are that were made by hand, or its name.
        seed: Decides on places, episodes and actions.

    Raises:
        ConfigError: There is no such counterfactual.
        DataError: It does not fit the histories, or none of them can be changed.

    Example:
        >>> import ad_hypotheses as adh
        >>> pair = adh.counterfactual("rewards-swapped", adh.load("bandit").histories(8))
        >>> bool((pair.reference.actions == pair.donor.actions).all())
        True
    """
    pair = edits.counterfactual(name, history, _task(history, model), seed)
    return replace(pair, donor=replace(pair.donor, family=pair.reference.family))


def rollout(
    actor: Model | Hypothesis | ScrubbedModel | str | Path,
    *,
    tasks: int = 8,
    episodes: int | None = None,
    of: str = "held-out",
    model: Model | str | Path | None = None,
    seed: int = 0,
) -> History:
    """Let a model live in its tasks with frozen weights, or a hypothesis as the policy that its last node is.

    A scrubbed model, `hypothesis.scrubbed(model)`, is scrubbed anew at every step, which takes a while: eight lives at
    a bandit about seven seconds of processor time.

    Args:
        actor: A model, its name, a hypothesis or a scrubbed model.
        tasks: How many lives, each in a task of its own as far as there are so many.
        episodes: Of each life; None for as many as the model was trained on.
        of: Which tasks: `"train"`, `"held-out"` or `"all"`.
        model: Model in whose tasks a hypothesis lives, or its name; None for the model that it names.
        seed: Decides everything.

    Raises:
        DataError: There are no such tasks, or the donors of a scrubbed model lived for fewer steps.
        UserError: There is not a single life or episode.
        CapacityError: So many episodes do not fit into the model's context.

    Example:
        >>> import ad_hypotheses as adh
        >>> adh.rollout(adh.load("bandit"), tasks=4)
        History(4 x 100 steps of bandit, episodes: 1, actions: 5, sees nothing)
    """
    lived = _whose_tasks(actor, model)
    config: Config = lived.config
    n_episodes = config.kept_episodes if episodes is None else episodes
    require_whole(tasks=tasks, episodes=episodes, seed=seed)
    for parameter, number in (("tasks", tasks), ("episodes", n_episodes)):
        if number < 1:
            raise UserError(f"`{parameter}` is {number}, but it must be at least 1.")
    rng = np.random.default_rng([seed, tasks])
    facts = spread(facts_of(lived.checkpoint, of), tasks, rng)
    if isinstance(actor, Hypothesis):
        history = playing.play(lived.task, facts, lambda so_far: actor.policy(so_far)[:, -1], n_episodes, rng)
    elif isinstance(actor, ScrubbedModel):
        history = actor.actor.live(lived.task, facts, n_episodes, rng)
    else:
        history = ModelActor(lived.checkpoint, rng)(lived.task, facts, None, n_episodes * lived.task.horizon)
    return replace(history, family=lived.task)


def _whose_tasks(actor: Model | Hypothesis | ScrubbedModel | str | Path, model: Model | str | Path | None) -> Model:
    """Return the model in whose tasks an actor lives."""
    if isinstance(actor, Hypothesis):
        return model_of(actor, model)
    return actor.model if isinstance(actor, ScrubbedModel) else loaded(actor)


def _task(history: History, model: Model | str | Path | None) -> Task:
    """Return of which tasks histories are.

    Raises:
        DataError: Nobody has said.
    """
    if model is not None:
        return loaded(model).task
    if history.family is None:
        raise DataError("these histories do not say of which tasks they are: give the model (`model`) whose they are.")
    task: Task = history.family
    return task
