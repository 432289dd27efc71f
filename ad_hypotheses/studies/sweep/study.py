"""`sweep`: train every model of a grid, several at a time, going on where an interrupted sweep stopped."""

from __future__ import annotations

import shlex
import shutil
import time
from collections import deque
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from ad_hypotheses.distill.checkpoint import CONFIG, WEIGHTS
from ad_hypotheses.distill.config import SCRATCH, Config, read_config
from ad_hypotheses.distill.record import read_record
from ad_hypotheses.distill.train import HISTORIES
from ad_hypotheses.errors import UserError
from ad_hypotheses.report.progress import Meter, metered
from ad_hypotheses.report.screen import duration, is_live, out, say
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.storage.lock import held
from ad_hypotheses.studies.evaluate.summary import curve_unit, mean_optimum
from ad_hypotheses.studies.interrupt import Brake, braking
from ad_hypotheses.studies.machine import require_writable
from ad_hypotheses.studies.sweep.grid import GridCell, config_text, labels, short_names
from ad_hypotheses.studies.sweep.page import Earned, Sweep, Trained, summary, write_sweep
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
from ad_hypotheses.studies.sweep.workers import LOG, Worker, last_words, start, stop
from ad_hypotheses.studies.train.study import command, is_finished, write_missing_card

SECONDS_A_LOOK = 0.2  # between two looks at the workers
SECONDS_A_LINE = 60.0  # between two lines in a log


def sweep_all(run: SweepSettings) -> None:
    """Train what is not trained yet, and write the report.

    Raises:
        UserError: A folder holds another model or cannot be written, another sweep is in there, or models failed.
        Stopped: The user pressed Ctrl-C.
    """
    plan = make_plan(run)
    todo = [cell for cell in run.grid.cells if cell.name not in plan.finished]
    require_writable(run.reports, "reports")
    require_writable(run.folder, "out")
    failed: dict[str, list[str]] = {}
    with metered() as meter, held(run.folder, "training a sweep"):
        _announce(run, plan, meter)
        for cell in run.grid.cells:
            if cell.name in plan.finished:
                write_missing_card(run.place(cell), cell.config)
                _clean_up(run.place(cell))
        if todo:
            with braking(lambda: _stopped(run)) as brake:
                failed = _train(run, plan, todo, meter, brake)
    _report(run, failed)


def show_plan(run: SweepSettings) -> None:
    """Print what the models are and cost, and run nothing.

    Raises:
        UserError: A folder holds another model.
    """
    plan = make_plan(run)
    console, axes = out(), run.grid.axes
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for place, head in enumerate(
        ["model", *short_names(list(axes)).values(), "weights", "context", "updates", "cost", ""]
    ):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    total = sum(plan.costs.values())
    for cell, at in zip(run.grid.cells, coordinates(run.grid), strict=True):
        context = cell.config.context_episodes * cell.config.make_task().horizon
        state = "trained" if cell.name in plan.finished else "begun" if cell.name in plan.begun else ""
        table.add_row(cell.name, *at, f"{plan.parameters[cell.name]:,}", f"{context:,}",
                      f"{cell.config.training.updates:,}", f"{plan.costs[cell.name] / total:.0%}", state)  # fmt: skip
    console.print(table)
    say(console, numbers(run, plan))
    estimate = estimate_of(run, plan)
    estimate.waiting = [name for name in plan.costs if name not in plan.finished]
    left = estimate.left(0)
    if left:
        say(console, f"about {duration(left)} for those that are not trained, as fast as the others were")
    say(console, "cost: of the whole sweep's arithmetic, about. Nothing was run.", "dim")


def sweep_command(config: Path, folder: Path | None, run: dict[str, Any]) -> str:
    """Return what makes the same sweep again; how many workers there are changes no number."""
    words = ["python", "cli.py", "sweep", config.as_posix()]
    words += [] if folder is None else ["--out", folder.as_posix()]
    words += [] if run["reports"] == Path("reports") else ["--reports", run["reports"].as_posix()]
    words += [] if run["device"] == "cpu" else ["--device", run["device"]]
    words += [] if run["threads"] == 1 else ["--threads", str(run["threads"])]
    return shlex.join(words)


def _announce(run: SweepSettings, plan: SweepPlan, meter: Meter) -> None:
    meter.say(numbers(run, plan))
    if len(plan.finished) == len(run.grid.cells):
        meter.say("nothing to train; only the report is written anew", "dim")
        return
    threads = "1 thread" if run.threads == 1 else f"{run.threads} threads"
    each = " each" if run.n_workers > 1 else ""
    workers = "1 worker" if run.n_workers == 1 else f"{run.n_workers} workers"
    meter.say(f"{workers} with {threads}{each} on {', '.join(run.devices)}", "dim")


def _train(
    run: SweepSettings, plan: SweepPlan, todo: list[GridCell], meter: Meter, brake: Brake
) -> dict[str, list[str]]:
    """Train models, so many at a time; returns the last words of those that failed."""
    waiting, running = deque(todo), dict[int, Worker]()
    cells, failed = {cell.name: cell for cell in todo}, dict[str, list[str]]()
    estimate, shown = estimate_of(run, plan), 0.0
    n_done = len(plan.finished)
    meter.begin("training", len(run.grid.cells), "models", n_done)
    meter.pace = estimate
    try:
        while waiting or running:
            brake.stop_if_pulled()
            for slot in range(run.n_workers):
                if slot not in running and waiting:
                    running[slot] = _start(run, waiting.popleft(), slot)
            for slot, worker in list(running.items()):
                if worker.process.poll() is not None:
                    del running[slot]
                    n_done += 1
                    words = _end(run, cells[worker.name], worker, plan, estimate, meter, n_done)
                    failed |= {} if words is None else {worker.name: words}
            estimate.waiting = [cell.name for cell in waiting]
            estimate.running = {worker.name: worker.seconds for worker in running.values()}
            if is_live(meter.console) or time.monotonic() - shown >= SECONDS_A_LINE:
                shown = time.monotonic()
                meter.reach(n_done, ", ".join(worker.name for worker in running.values()))
            time.sleep(SECONDS_A_LOOK if running else 0)
    finally:
        if running:
            meter.rename("waiting for the workers to keep what they have")
        stop(list(running.values()))
    return failed


def _start(run: SweepSettings, cell: GridCell, slot: int) -> Worker:
    folder, device = run.place(cell), run.devices[slot % len(run.devices)]
    (folder / SCRATCH).mkdir(parents=True, exist_ok=True)
    written = folder / CONFIG
    if not written.exists() or read_config(written, "unmade") != cell.config:  # else keep its comments
        write_atomically(written, config_text(cell, run.grid).encode())
    words = shlex.split(command(written, folder, device, run.threads))
    return start(cell.name, slot, words, run.threads, folder / SCRATCH / LOG)


def _end(
    run: SweepSettings,
    cell: GridCell,
    worker: Worker,
    plan: SweepPlan,
    estimate: TimeEstimate,
    meter: Meter,
    n_done: int,
) -> list[str] | None:
    """Say how a worker ended; returns the last words of its log if it failed."""
    folder, of_all = run.place(cell), f"{n_done} of {len(run.grid.cells)}"
    if worker.process.returncode or not is_finished(folder, cell.config):
        words = last_words(worker)
        why = next((line for line in words if line.startswith("error: ")), [*words, "it said nothing"][0])
        meter.say(f"{cell.name} failed ({of_all}): {why.removeprefix('error: ').strip()}", "red")
        return words
    _clean_up(folder)
    record = read_record(folder)
    whole = worker.name not in plan.begun  # of one that was begun, the record knows what all of it took
    estimate.spent.append((plan.costs[cell.name], worker.seconds if whole else float(record["seconds"])))
    meter.say(f"{cell.name}: {_short(record['evaluation']['summary'])} ({duration(record['seconds'])}; {of_all})")
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


def _stopped(run: SweepSettings) -> str:
    done = sum((run.place(cell) / WEIGHTS).exists() for cell in run.grid.cells)
    return (
        f"stopped; {done} of {count(len(run.grid.cells))} are trained, and what others had begun is kept; "
        "the same command goes on."
    )


def _report(run: SweepSettings, failed: dict[str, list[str]]) -> None:
    """Write the report of the models that are trained, print its short form, and say what failed."""
    trained = _found(run, failed)
    if trained.models:
        page = write_sweep(trained, run.reports)
        console = out()
        table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, collapse_padding=True)
        heads, lines = summary(trained, ranges=False)
        for head in heads:
            table.add_column(head, justify="left" if head in trained.settings else "right")
        for line in lines:
            table.add_row(*line)
        console.print(table)
        if trained.seeds:
            say(console, f"means over {' and '.join(trained.seeds)}", "dim")
        say(console, f"report: {page}")
    if failed:
        listed = "\n".join(
            f"  {name}:\n" + "".join(f"    {line}\n" for line in words)
            + f"    the whole of it: {run.folder / name / SCRATCH / LOG}"
            for name, words in failed.items()
        )  # fmt: skip
        raise UserError(
            f"{len(failed)} of {count(len(run.grid.cells))} failed; the same command tries them again.\n{listed}"
        )


def _found(run: SweepSettings, failed: dict[str, list[str]]) -> Sweep:
    grid = run.grid
    short = short_names(list(grid.axes))
    models = [
        _trained(cell, at, run.place(cell))
        for cell, at in zip(grid.cells, coordinates(grid), strict=True)
        if cell.name not in failed
    ]
    return Sweep(
        run.folder.resolve().name,
        run.command,
        grid.base,
        {short[key]: labels(values) for key, values in grid.axes.items()},
        [short[key] for key in grid.seeds],
        {key: labels([value])[0] for key, value in grid.fixed.items()},
        models,
        list(failed),
        curve_unit(grid.cells[0].config),
    )


def _trained(cell: GridCell, at: tuple[str, ...], folder: Path) -> Trained:
    record = read_record(folder)
    results = record["evaluation"]
    train, held_out = _earned(results, cell.config, "train"), _earned(results, cell.config, "held_out")
    return Trained(cell.name, at, record["parameters"], train or Earned(), held_out, record["seconds"])


def _earned(results: dict[str, Any], config: Config, name: str) -> Earned | None:
    """Return what a model earned on a set of tasks, also where an older record tells less than one of today."""
    if name not in results:
        return None
    summary_numbers = results["summary"]
    last, first = summary_numbers.get(f"{name}_of_optimum"), summary_numbers.get(f"{name}_first_of_optimum")
    if first is None and last is not None:
        first = _first_share(results, config, name)
    gained = None if first is None or last is None else last - first
    return Earned(
        last, first, summary_numbers.get(f"{name}_improvement", gained), summary_numbers.get(f"{name}_regret")
    )


def _first_share(results: dict[str, Any], config: Config, name: str) -> float | None:
    """Return what a model earned at the first point of its learning curve, as a share of the optimum."""
    returns = next(curve for curve in results[name] if curve["name"] == "model")["returns"]
    optimum = mean_optimum(results, config, name) / (1 if curve_unit(config) == "episode" else len(returns))
    return float(returns[0]) / optimum if optimum else None
