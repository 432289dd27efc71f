"""`sweep`: train a grid of models, and compare them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from ad_hypotheses.cli.options import Device, EngineName, Reports, check_threads, default_name
from ad_hypotheses.cli.rerun import rerun_command
from ad_hypotheses.errors import UserError
from ad_hypotheses.progress import duration
from ad_hypotheses.report import screen
from ad_hypotheses.report.screen import say
from ad_hypotheses.studies.machine import require_writable, set_up_torch

if TYPE_CHECKING:
    from ad_hypotheses.studies.sweep.record import Sweep
    from ad_hypotheses.studies.sweep.study import SweepForecast


def sweep(
    context: typer.Context,
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A YAML file with a base and a grid.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to keep the models.", show_default="models/<name>"),
    ] = None,
    reports: Reports = Path("reports"),
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            callback=check_threads,
            help="Models trained at a time.",
            show_default="CPUs / threads",
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", metavar="N", callback=check_threads, help="Threads of each worker.")
    ] = 1,
    device: Device = "cpu",
    engine: EngineName = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the models and their cost; run nothing.")] = False,
) -> None:
    """Train a grid of models, several at a time, and compare them.

    Ctrl-C stops it; the same command goes on.
    """
    from ad_hypotheses.studies.sweep.grid import read_sweep

    grid = read_sweep(config)
    from ad_hypotheses.jobs.engines import Engine, Needs, executor_of
    from ad_hypotheses.studies.interrupt import watched
    from ad_hypotheses.studies.report_index import note_reports
    from ad_hypotheses.studies.sweep.grid import short_names
    from ad_hypotheses.studies.sweep.page import write_sweep
    from ad_hypotheses.studies.sweep.study import forecast
    from ad_hypotheses.studies.sweep.study import sweep as sweep_grid

    place = Engine.parse(engine)
    workers = workers or place.workers
    if place.kind == "local":  # else this process need not have the device that trains
        set_up_torch(device, threads)
    folder = Path("models") / default_name(config) if out is None else out
    if dry_run:
        planned = forecast(grid, folder, device=device, workers=workers, threads=threads)
        _show_forecast(planned, list(short_names(list(grid.axes)).values()))
        return
    require_writable(reports, "reports")
    command = rerun_command(context, config.as_posix(), leave_out=("workers", "engine"))
    with watched() as meter, executor_of(place, Needs(threads, gpus=float(device == "cuda"))) as executor:
        how = {"device": device, "workers": workers, "threads": threads, "executor": executor}
        trained = sweep_grid(grid, folder, command=command, progress=meter, **how)  # type: ignore[arg-type]
    if trained.models:
        page = write_sweep(trained, reports)[-1]
        note_reports([page])
        _show(trained, page)
    if trained.failed:
        raise UserError(_failures(trained, folder))


def _show_forecast(planned: SweepForecast, axes: Sequence[str]) -> None:
    console = screen.out()
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for place, head in enumerate(["model", *axes, "weights", "context", "updates", "cost", ""]):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    for model in planned.models:
        sizes = (f"{model.parameters:,}", f"{model.context:,}", f"{model.updates:,}", f"{model.share:.0%}")
        table.add_row(model.name, *model.at, *sizes, model.state)
    console.print(table)
    say(console, planned.summary)
    if planned.work and planned.longest and planned.seconds:
        workers = "1 worker" if planned.n_workers == 1 else f"{planned.n_workers} workers"
        say(
            console,
            f"not trained yet: about {duration(planned.work)} of one worker, as fast as the others were; "
            f"{duration(planned.seconds)} with {workers}, and the longest model {duration(planned.longest)} with any; "
            f"{planned.weights / 1e6:,.1f} MB of weights",
        )
    say(console, "cost: of the whole sweep's arithmetic, about. Nothing was run.", "dim")


def _show(trained: Sweep, page: Path) -> None:
    from ad_hypotheses.studies.sweep.page import summary

    console = screen.out()
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


def _failures(trained: Sweep, folder: Path) -> str:
    from ad_hypotheses.distill.config import SCRATCH
    from ad_hypotheses.studies.sweep.plan import count
    from ad_hypotheses.studies.sweep.workers import LOG

    listed = "\n".join(
        f"  {name}:\n" + "".join(f"    {line}\n" for line in words)
        + f"    the whole of it: {folder / name / SCRATCH / LOG}"
        for name, words in trained.failed.items()
    )  # fmt: skip
    n_models = len(trained.models) + len(trained.failed)
    return f"{len(trained.failed)} of {count(n_models)} failed; the same command tries them again.\n{listed}"
