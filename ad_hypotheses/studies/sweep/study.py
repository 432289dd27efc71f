"""Train every model of a grid, several at a time, going on where an interrupted sweep stopped."""

from __future__ import annotations

from collections import Counter, deque
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ad_hypotheses.distill.checkpoint import WEIGHTS
from ad_hypotheses.progress import Progress
from ad_hypotheses.storage.lock import held
from ad_hypotheses.studies.machine import require_writable
from ad_hypotheses.studies.sweep.grid import Grid, GridCell
from ad_hypotheses.studies.sweep.plan import (
    SweepPlan,
    SweepSettings,
    coordinates,
    count,
    estimate_of,
    make_plan,
    numbers,
)
from ad_hypotheses.studies.sweep.record import Sweep
from ad_hypotheses.studies.sweep.results import sweep_record
from ad_hypotheses.studies.sweep.trainings import Trainings, clean_up, train_all
from ad_hypotheses.studies.sweep.workers import END
from ad_hypotheses.studies.train.study import write_missing_card

BYTES_A_WEIGHT = 4
LINE_EVERY = 60.0  # seconds between two lines in a log


def sweep(
    grid: Grid,
    out: Path,
    *,
    device: str = "cpu",
    workers: int | None = None,
    threads: int = 1,
    executor: Executor | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> Sweep:
    """Train what is not trained yet, each model in a process of its own.

    Args:
        grid: What to train.
        out: Folder of the models, a folder each.
        device: Where to compute; `cuda` spreads the models over all that there are.
        workers: How many models are trained at a time; None for as many as there is room for.
        threads: Threads of each process.
        executor: Where to run the processes instead; its workers see the same folders.
        command: What makes the same sweep again, for its record.
        progress: Listens on the way.

    Returns:
        What the models earn, and which of them failed.

    Raises:
        UserError: A folder holds another model or cannot be written, or another sweep is in there.
    """
    progress, settings = progress or Progress(), SweepSettings(grid, out, device, workers, threads)
    plan = make_plan(settings)
    todo = [cell for cell in grid.cells if cell.name not in plan.finished]
    require_writable(out, "out")
    failed: dict[str, list[str]] = {}
    with held(out, "training a sweep"):
        _announce(settings, plan, executor, progress)
        for cell in grid.cells:
            if cell.name in plan.finished:
                write_missing_card(settings.place(cell), cell.config)
                clean_up(settings.place(cell))
        if todo:
            with progress.stopping(lambda: _stopped(settings), at_once=False):
                failed = _train(settings, plan, todo, executor, progress)
    return sweep_record(settings, command, failed)


@dataclass(frozen=True)
class PlannedModel:
    """A model of a sweep before it is trained.

    Attributes:
        name: Name of the model.
        at: What it is called on every axis.
        parameters: Number of its weights.
        context: Number of steps that it sees.
        updates: Number of updates of its training.
        share: Its part of the arithmetic of the whole sweep, about.
        state: `"trained"`, `"begun"`, or empty.
    """

    name: str
    at: tuple[str, ...]
    parameters: int
    context: int
    updates: int
    share: float
    state: str


@dataclass(frozen=True)
class SweepForecast:
    """What a sweep would do.

    Attributes:
        models: Every model of the grid.
        summary: How many there are, and how large, in words.
        seconds: Time for those that are not trained, as fast as the others were; None if none is.
        work: The same on one worker.
        longest: Time of the longest of them, which no number of workers makes shorter.
        n_workers: How many are trained at a time.
        weights: Bytes of the weights of all of them.
    """

    models: tuple[PlannedModel, ...]
    summary: str
    seconds: float | None
    work: float | None
    longest: float | None
    n_workers: int
    weights: int


def forecast(
    grid: Grid, out: Path, *, device: str = "cpu", workers: int | None = None, threads: int = 1
) -> SweepForecast:
    """Return what the models of a sweep are and cost, and run nothing; arguments as for :func:`sweep`.

    Raises:
        UserError: A folder holds another model.
    """
    settings = SweepSettings(grid, out, device, workers, threads)
    plan = make_plan(settings)
    total = sum(plan.costs.values())
    models = tuple(
        PlannedModel(
            cell.name,
            at,
            plan.parameters[cell.name],
            cell.config.experiment.context_steps,
            cell.config.training.updates,
            plan.costs[cell.name] / total,
            "trained" if cell.name in plan.finished else "begun" if cell.name in plan.begun else "",
        )
        for cell, at in zip(grid.cells, coordinates(grid), strict=True)
    )
    estimate = estimate_of(settings, plan)
    estimate.waiting = [name for name in plan.costs if name not in plan.finished]
    rate = estimate.rate
    left = [plan.costs[name] / rate for name in estimate.waiting] if rate else []
    return SweepForecast(
        models,
        numbers(settings, plan),
        estimate.left(0),
        sum(left) if rate else None,
        max(left, default=0.0) if rate else None,
        settings.n_workers,
        BYTES_A_WEIGHT * sum(plan.parameters[name] for name in estimate.waiting),
    )


def _announce(settings: SweepSettings, plan: SweepPlan, executor: Executor | None, progress: Progress) -> None:
    progress.say(numbers(settings, plan))
    if len(plan.finished) == len(settings.grid.cells):
        progress.say("nothing to train; only the report is written anew", "dim")
        return
    if executor is not None:
        progress.say("an executor runs the trainings, the longest first", "dim")
        return
    threads = "1 thread" if settings.threads == 1 else f"{settings.threads} threads"
    each = " each" if settings.n_workers > 1 else ""
    workers = "1 worker" if settings.n_workers == 1 else f"{settings.n_workers} workers"
    progress.say(f"{workers} with {threads}{each} on {', '.join(settings.devices)}", "dim")


def _train(
    settings: SweepSettings, plan: SweepPlan, todo: list[GridCell], executor: Executor | None, progress: Progress
) -> dict[str, list[str]]:
    """Train models, so many at a time; returns the last words of those that failed."""
    estimate, n_done = estimate_of(settings, plan), len(plan.finished)
    trainings = Trainings(settings, plan, progress, n_done, {}, estimate, Counter())
    progress.begin("training", len(settings.grid.cells), "models", n_done, pace=estimate, line_every=LINE_EVERY)
    (settings.folder / END).unlink(missing_ok=True)
    if executor is not None:  # all jobs are sent at once, the longest first; where they run is not known here
        waiting, slots = sorted(todo, key=lambda cell: -plan.costs[cell.name]), [settings.device] * len(todo)
        train_all(trainings, deque(waiting), slots, executor)
        return trainings.failed
    slots = [settings.devices[number % len(settings.devices)] for number in range(settings.n_workers)]
    with ThreadPoolExecutor(settings.n_workers) as threads:  # each waits for a process
        train_all(trainings, deque(todo), slots, threads)
    return trainings.failed


def _stopped(settings: SweepSettings) -> str:
    done = sum((settings.place(cell) / WEIGHTS).exists() for cell in settings.grid.cells)
    return (
        f"stopped; {done} of {count(len(settings.grid.cells))} are trained, and what others had begun is kept; "
        "the same command goes on."
    )
