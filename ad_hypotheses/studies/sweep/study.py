"""Train every model of a grid, several at a time, going on where an interrupted sweep stopped."""

from __future__ import annotations

import shutil
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from ad_hypotheses.distill.checkpoint import CONFIG, WEIGHTS
from ad_hypotheses.distill.config import SCRATCH, read_config
from ad_hypotheses.distill.record import read_record
from ad_hypotheses.distill.train import HISTORIES
from ad_hypotheses.progress import Progress, duration
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.storage.lock import held
from ad_hypotheses.studies.machine import require_writable
from ad_hypotheses.studies.sweep.grid import Grid, GridCell, config_text
from ad_hypotheses.studies.sweep.plan import (
    SweepPlan,
    SweepSettings,
    TimeEstimate,
    coordinates,
    count,
    estimate_of,
    make_plan,
    numbers,
)
from ad_hypotheses.studies.sweep.record import Sweep
from ad_hypotheses.studies.sweep.results import sweep_record
from ad_hypotheses.studies.sweep.workers import LOG, Worker, last_words, start, stop, train_arguments
from ad_hypotheses.studies.train.study import is_finished, write_missing_card

SECONDS_A_LOOK = 0.2  # between two looks at the workers
LINE_EVERY = 60.0  # seconds between two lines in a log


def sweep(
    grid: Grid,
    out: Path,
    *,
    device: str = "cpu",
    workers: int | None = None,
    threads: int = 1,
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
        _announce(settings, plan, progress)
        for cell in grid.cells:
            if cell.name in plan.finished:
                write_missing_card(settings.place(cell), cell.config)
                _clean_up(settings.place(cell))
        if todo:
            with progress.stopping(lambda: _stopped(settings), at_once=False):
                failed = _train(settings, plan, todo, progress)
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
    """

    models: tuple[PlannedModel, ...]
    summary: str
    seconds: float | None


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
    return SweepForecast(models, numbers(settings, plan), estimate.left(0))


def _announce(settings: SweepSettings, plan: SweepPlan, progress: Progress) -> None:
    progress.say(numbers(settings, plan))
    if len(plan.finished) == len(settings.grid.cells):
        progress.say("nothing to train; only the report is written anew", "dim")
        return
    threads = "1 thread" if settings.threads == 1 else f"{settings.threads} threads"
    each = " each" if settings.n_workers > 1 else ""
    workers = "1 worker" if settings.n_workers == 1 else f"{settings.n_workers} workers"
    progress.say(f"{workers} with {threads}{each} on {', '.join(settings.devices)}", "dim")


def _train(settings: SweepSettings, plan: SweepPlan, todo: list[GridCell], progress: Progress) -> dict[str, list[str]]:
    """Train models, so many at a time; returns the last words of those that failed."""
    waiting, running = deque(todo), dict[int, Worker]()
    cells, failed = {cell.name: cell for cell in todo}, dict[str, list[str]]()
    estimate, n_done = estimate_of(settings, plan), len(plan.finished)
    n_models = len(settings.grid.cells)
    progress.begin("training", n_models, "models", n_done, pace=estimate, line_every=LINE_EVERY)
    try:
        while waiting or running:
            progress.may_stop()
            for slot in range(settings.n_workers):
                if slot not in running and waiting:
                    running[slot] = _start(settings, waiting.popleft(), slot)
            for slot, worker in list(running.items()):
                if worker.process.poll() is not None:
                    del running[slot]
                    n_done += 1
                    words = _end(settings, cells[worker.name], worker, plan, estimate, progress, n_done)
                    failed |= {} if words is None else {worker.name: words}
            estimate.waiting = [cell.name for cell in waiting]
            estimate.running = {worker.name: worker.seconds for worker in running.values()}
            progress.reach(n_done, ", ".join(worker.name for worker in running.values()))
            time.sleep(SECONDS_A_LOOK if running else 0)
    finally:
        if running:
            progress.rename("waiting for the workers to keep what they have")
        stop(list(running.values()))
    return failed


def _start(settings: SweepSettings, cell: GridCell, slot: int) -> Worker:
    folder, device = settings.place(cell), settings.devices[slot % len(settings.devices)]
    (folder / SCRATCH).mkdir(parents=True, exist_ok=True)
    written = folder / CONFIG
    if not written.exists() or read_config(written, "unmade") != cell.config:  # else keep its comments
        write_atomically(written, config_text(cell, settings.grid).encode())
    arguments = train_arguments(written, folder, device, settings.threads)
    return start(cell.name, slot, arguments, settings.threads, folder / SCRATCH / LOG)


def _end(
    settings: SweepSettings,
    cell: GridCell,
    worker: Worker,
    plan: SweepPlan,
    estimate: TimeEstimate,
    progress: Progress,
    n_done: int,
) -> list[str] | None:
    """Say how a worker ended; returns the last words of its log if it failed."""
    folder, of_all = settings.place(cell), f"{n_done} of {len(settings.grid.cells)}"
    if worker.process.returncode or not is_finished(folder, cell.config):
        words = last_words(worker)
        why = next((line for line in words if line.startswith("error: ")), [*words, "it said nothing"][0])
        progress.say(f"{cell.name} failed ({of_all}): {why.removeprefix('error: ').strip()}", "red")
        return words
    _clean_up(folder)
    record = read_record(folder)
    whole = worker.name not in plan.begun  # of one that was begun, the record knows what all of it took
    estimate.spent.append((plan.costs[cell.name], worker.seconds if whole else float(record["seconds"])))
    progress.say(f"{cell.name}: {_short(record['evaluation']['summary'])} ({duration(record['seconds'])}; {of_all})")
    return None


def _short(summary_numbers: dict[str, float]) -> str:
    """Return what a model earned in a few words; regret where a share means nothing."""
    sets = ("held_out", "train")
    shares = [
        f"{n.replace('_', '-')} {summary_numbers[f'{n}_of_optimum']:.0%}"
        for n in sets
        if f"{n}_of_optimum" in summary_numbers
    ]
    regrets = [
        f"{n.replace('_', '-')} {summary_numbers[f'{n}_regret']:.2f}" for n in sets if f"{n}_regret" in summary_numbers
    ]
    return f"{', '.join(shares)} of the optimum" if shares else f"regret {', '.join(regrets) or 'unknown'}"


def _clean_up(folder: Path) -> None:
    """Remove the histories of a finished model; they are large, and its seed makes them again."""
    shutil.rmtree(folder / SCRATCH / HISTORIES, ignore_errors=True)


def _stopped(settings: SweepSettings) -> str:
    done = sum((settings.place(cell) / WEIGHTS).exists() for cell in settings.grid.cells)
    return (
        f"stopped; {done} of {count(len(settings.grid.cells))} are trained, and what others had begun is kept; "
        "the same command goes on."
    )
