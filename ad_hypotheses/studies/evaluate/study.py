"""Roll checkpoints out on training and held-out tasks, beside their source and the baselines."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.progress import Progress, duration
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.storage.checked import digest_of, read_checked_json
from ad_hypotheses.storage.store import Store
from ad_hypotheses.studies.evaluate.ablations import ablation_parts, ablations
from ad_hypotheses.studies.evaluate.choose import CheckpointChoice
from ad_hypotheses.studies.evaluate.curves import TASK_SETS, EvaluationPart, curve_parts, in_context
from ad_hypotheses.studies.evaluate.learners import counted
from ad_hypotheses.studies.evaluate.record import Evaluated, Evaluation
from ad_hypotheses.studies.evaluate.summary import curve_unit, mean_optimum, seen
from ad_hypotheses.studies.parallel.checkpoints import CheckpointOnDisk
from ad_hypotheses.studies.parallel.workers import ALONE, Workers
from ad_hypotheses.tasks.task import n_tasks_of

KEPT = ".evaluated"  # folder in the reports for what was measured, so that no run measures it again
MEASURED_AS = 1  # raise it when rollouts or their figures become others: what was measured is then measured again
SECONDS_MEASURED = 5  # of living, after which the time that all of it takes can be told


@dataclass(frozen=True)
class EvaluationSettings:
    """How to evaluate.

    Attributes:
        rollouts: Number of rollouts of each learner.
        seed: Seed of the tasks and of all sampling.
        quick: Whether learning curves are enough.
        device: Where to compute.
    """

    rollouts: int
    seed: int
    quick: bool
    device: str


def results_store(choice: CheckpointChoice, asked: Sequence[Any], folder: Path | None) -> Store:
    """Return what is known of a model; what was measured with other options has a file of its own, and stays.

    Args:
        choice: The model; its weights, its configuration and the code of its task and source count.
        asked: Everything else that the results depend on, as JSON can hold it.
        folder: Where results are kept, so that no run measures them again; None to keep nothing.
    """
    config = choice.checkpoint.config
    digest = hashlib.sha256(json.dumps([choice.checkpoint.sha256, config.model_dump(), *asked]).encode())
    digest.update(config.experiment.code_digest.encode())
    key = digest.hexdigest()
    store = Store(folder, f"{choice.name}-{key[:12]}", must_keep=False)
    if folder is not None and not store.plain:  # versions before kept all results of a model in one JSON object
        earlier = read_checked_json(folder / f"{store.key}.json")
        if isinstance(earlier, dict) and earlier.get("key") == key:
            for name, result in earlier["results"].items():
                store.get(name, lambda result=result: result)  # type: ignore[misc]
    return store


def evaluate(
    checkpoints: Sequence[CheckpointChoice],
    *,
    rollouts: int = 500,
    seed: int = 0,
    quick: bool = False,
    device: str = "cpu",
    command: str = "",
    kept: Path | None = None,
    workers: Workers = ALONE,
    progress: Progress | None = None,
) -> Evaluation:
    """Roll models out on training and held-out tasks, beside their source and the baselines.

    Args:
        checkpoints: From :func:`ad_hypotheses.studies.evaluate.choose.choose`.
        rollouts: Number of rollouts of each learner.
        seed: Seed of the tasks and of all sampling.
        quick: Whether learning curves are enough: no shorter memory, no unusual starts.
        device: Where the checkpoints were loaded.
        command: What makes the same evaluation again, for its record.
        kept: Folder for what is measured part by part, so that no later run measures it again; None to keep nothing.
        workers: Where the parts of all models are measured.
        progress: Listens on the way.

    Returns:
        What was found of each.
    """
    progress, settings = progress or Progress(), EvaluationSettings(rollouts, seed, quick, device)
    stores = [results_store(choice, _asked(settings), kept) for choice in checkpoints]
    with progress.stopping(lambda: _stopped(kept, stores)):
        parts = [_parts(choice.checkpoint.model, choice.checkpoint.config, settings) for choice in checkpoints]
        _announce(checkpoints, parts, stores, rollouts, progress)
        works = [
            _Work(choice.name, choice.checkpoint.model, own_parts, store)
            for choice, own_parts, store in zip(checkpoints, parts, stores, strict=True)
        ]
        if not workers.alone:
            _run_elsewhere(workers, [choice.checkpoint for choice in checkpoints], works, settings, kept, progress)
        _run(works, progress)
        evaluations = [
            _evaluated(choice, {part.name: store.plain[part.name] for part in own_parts}, settings)
            for choice, own_parts, store in zip(checkpoints, parts, stores, strict=True)
        ]
    return Evaluation(command, evaluations)


def evaluated(model: ADTransformer, config: Config, rollouts: int, seed: int, progress: Progress) -> dict[str, Any]:
    """Return the learning curves of a model, showing what is done."""
    store = Store(None)
    _run([_Work("", model, curve_parts(model, config, rollouts, seed), store)], progress)
    return in_context(store.plain, rollouts, seed)


@dataclass(frozen=True)
class _Work:
    """The parts of a model, and where their results go."""

    name: str
    model: ADTransformer
    parts: Sequence[EvaluationPart]
    store: Store


def _parts(model: ADTransformer, config: Config, settings: EvaluationSettings) -> list[EvaluationPart]:
    parts = curve_parts(model, config, settings.rollouts, settings.seed)
    return parts if settings.quick else [*parts, *ablation_parts(model, config, settings.rollouts, settings.seed)]


def _announce(
    chosen: Sequence[CheckpointChoice],
    parts: Sequence[Sequence[EvaluationPart]],
    stores: Sequence[Store],
    rollouts: int,
    progress: Progress,
) -> None:
    n_parts = sum(map(len, parts))
    known = sum(part.name in store.plain for own_parts, store in zip(parts, stores, strict=True) for part in own_parts)
    steps = sum(
        part.steps
        for own_parts, store in zip(parts, stores, strict=True)
        for part in own_parts
        if part.name not in store.plain
    )
    lives = f"in which models live {counted(steps, 'step')} in up to {counted(rollouts, 'life', 'lives')} at once"
    models = chosen[0].name if len(chosen) == 1 else f"{len(chosen)} models"
    progress.say(f"evaluating {models}: {counted(n_parts - known, 'part')}, {lives}")
    if known:
        where = ", ".join(str(store.path) for store in stores[:2]) + (", ..." if len(stores) > 2 else "")
        progress.say(f"{known} more are known from an earlier run ({where}; delete it to measure them anew)", "dim")


def _run(works: Sequence[_Work], progress: Progress) -> None:
    """Run every part that is not known yet; time is told by what the models cost, baselines hardly cost any."""
    left = [
        (work, part, part.steps * _cost(work.model))
        for work in works
        for part in work.parts
        if part.name not in work.store.plain
    ]
    total, done, announced = sum(cost for _, _, cost in left), 0.0, False
    progress.begin("evaluating", 100, "%")
    began = time.monotonic()
    for work, part, cost in left:
        says = f"{work.name}: {part.says}" if len(works) > 1 else part.says

        def lived(
            steps: int, part: EvaluationPart = part, cost: float = cost, done: float = done, says: str = says
        ) -> None:
            nonlocal announced
            share = (done + cost * min(1.0, steps / max(part.steps, 1))) / max(total, 1)
            progress.reach(int(100 * share), says)
            passed = time.monotonic() - began
            if not announced and share and passed > SECONDS_MEASURED:
                announced = True
                progress.say(f"about {duration(passed / share)} for all of it")

        lived(0)
        work.store.get(part.name, partial(part.run, lived))
        done += cost
    progress.reach(100)


@dataclass(frozen=True)
class EvaluationJob:
    """A part of a model, to be measured wherever a job may be sent.

    Attributes:
        number: Of the model, among those of the evaluation.
        model: Where it lies.
        settings: How to evaluate.
        part: Name of the part.
    """

    number: int
    model: CheckpointOnDisk
    settings: EvaluationSettings
    part: str


def run_part(job: EvaluationJob) -> Any:
    """Measure a part of a model; returns plain data."""
    checkpoint = job.model.load()
    parts = {part.name: part for part in _parts(checkpoint.model, checkpoint.config, job.settings)}
    return parts[job.part].run(lambda steps: None)


def _run_elsewhere(
    workers: Workers,
    checkpoints: Sequence[Checkpoint],
    works: Sequence[_Work],
    settings: EvaluationSettings,
    kept: Path | None,
    progress: Progress,
) -> None:
    """Let workers run every part that is not known yet, those that cost most first."""
    costs = {
        EvaluationJob(number, CheckpointOnDisk.of(checkpoint), settings, part.name): part.steps * _cost(work.model)
        for number, (work, checkpoint) in enumerate(zip(works, checkpoints, strict=True))
        for part in work.parts
        if part.name not in work.store.plain
    }
    progress.begin("evaluating", len(costs), "parts")
    for job, result in workers.do(run_part, sorted(costs, key=costs.__getitem__, reverse=True), kept):
        works[job.number].store.keep(job.part, result)
        progress.advance(1)


def _cost(model: ADTransformer) -> int:
    """What a step costs, about: every weight once, and attention to half of the context."""
    shape = model.shape
    return sum(weight.numel() for weight in model.parameters()) + shape.n_layers * shape.d_model * shape.n_ctx


def _evaluated(choice: CheckpointChoice, results: Mapping[str, Any], settings: EvaluationSettings) -> Evaluated:
    checkpoint = choice.checkpoint
    config, model = checkpoint.config, checkpoint.model
    curves = in_context(results, settings.rollouts, settings.seed)
    facts = dict(zip(TASK_SETS, config.experiment.split(), strict=True))
    train, held_out = map(n_tasks_of, facts.values())
    histories, task = config.histories, config.experiment.task
    return Evaluated(
        name=choice.name,
        sha256=checkpoint.sha256,
        command=str(checkpoint.record.get("command", "")),
        task=describe(task),
        source=describe(config.experiment.source),
        layers=config.model.n_layers,
        heads=config.model.n_heads,
        width=config.model.d_model,
        parameters=sum(weight.numel() for weight in model.parameters()),
        train_tasks=train,
        held_out_tasks=held_out,
        episodes=config.kept_episodes,
        horizon=task.horizon,
        skip=histories.skip,
        keep_every=histories.keep_every,
        seeds={"histories": histories.seed, "training": config.training.seed},
        unit=curve_unit(config),
        optimum={name: round(mean_optimum(curves, config, name), 4) for name in curves["figures"]},
        results={**curves, **ablations(results, config, settings.rollouts, settings.seed)},
        seen=seen(config),
        positions=config.model.positions,
        facts={tasks: digest_of(facts[tasks])[:16] for tasks in curves["figures"]},
        by_task={tasks: results[f"{tasks}/model"]["by_task"] for tasks in curves["figures"]},
    )


def _asked(settings: EvaluationSettings) -> list[int | str]:
    """Return what results depend on beside the model; `quick` only says how many of them are asked for."""
    return [MEASURED_AS, settings.seed, settings.rollouts, settings.device]


def _stopped(kept: Path | None, stores: Sequence[Store]) -> str:
    if kept is None or not any(store.plain for store in stores):
        return "stopped before anything was measured; nothing was written."
    return f"stopped; what was measured is kept in {kept}; the same command goes on."
