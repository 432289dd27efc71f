"""The verbs that make the known networks, and that measure on them how often verdicts are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_hypotheses.cli.options import AsJson, Models, Reports, Seed, Threads, check_threads
from ad_hypotheses.studies.machine import require_writable, set_up_torch


def known(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Of known networks.", show_default="all of them"),
    ] = None,
    models: Models = Path("models"),
    threads: Threads = None,
) -> None:
    """Make the networks whose circuits are known, each from its configuration in models/known-<name>.

    Every one is compared with its rule on random histories before it is kept. Some are trained, which takes minutes.

    Ctrl-C stops it; finished networks are kept, and a training goes on where it stopped.
    """
    from ad_hypotheses.known.build import make_all

    set_up_torch("cpu", threads)
    make_all(names or [], models)


def calibrate(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NETWORK", help="Only this one; repeatable.", show_default="all known networks"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A rough answer in a few minutes.")] = False,
    models: Models = Path("models"),
    hypotheses: Annotated[
        Path, typer.Option("--hypotheses", metavar="FOLDER", help="Where the claims about known networks are.")
    ] = Path("hypotheses/known"),
    reports: Reports = Path("reports"),
    seed: Seed = 0,
    workers: Annotated[
        int,
        typer.Option("--workers", metavar="N", callback=check_threads, help="Processes, of one thread each."),
    ] = 2,
    as_json: AsJson = False,
) -> None:
    """Measure how often verdicts are wrong, on networks whose algorithm is known.

    Ctrl-C stops it; the same command goes on.
    """
    require_writable(reports, "reports")
    from ad_hypotheses.known.calibration.study import CalibrationSettings, calibrate_all

    set_up_torch("cpu", 1)
    calibrate_all(CalibrationSettings(tuple(only or ()), quick, models, hypotheses, reports, seed, workers), as_json)
