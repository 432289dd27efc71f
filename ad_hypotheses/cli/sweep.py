"""`sweep`: train a grid of models, and compare them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_hypotheses.cli.options import Device, Reports, check_threads
from ad_hypotheses.studies.machine import set_up_torch


def sweep(
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the models and their cost; run nothing.")] = False,
) -> None:
    """Train a grid of models, several at a time, and compare them.

    Ctrl-C stops it; the same command goes on.
    """
    from ad_hypotheses.studies.sweep.grid import read_sweep

    grid = read_sweep(config)
    from ad_hypotheses.studies.sweep.plan import SweepSettings
    from ad_hypotheses.studies.sweep.study import show_plan, sweep_all, sweep_command
    from ad_hypotheses.studies.train.study import default_name

    set_up_torch(device, threads)
    target = Path("models") / default_name(config) if out is None else out
    typed = sweep_command(config, out, {"reports": reports, "device": device, "threads": threads})
    run = SweepSettings(grid, target, reports, device, workers, threads, typed)
    (show_plan if dry_run else sweep_all)(run)
