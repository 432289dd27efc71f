"""`calibrate`: measure on known networks how often verdicts are wrong, and write a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ad_hypotheses.cli.options import AsJson, EngineName, Models, Reports, Seed, check_threads, workers_of
from ad_hypotheses.cli.rerun import rerun_command
from ad_hypotheses.report.screen import out, print_json, say, with_report
from ad_hypotheses.studies.interrupt import resumable
from ad_hypotheses.studies.machine import require_writable, set_up_torch

if TYPE_CHECKING:
    from ad_hypotheses.known.calibration.record import Calibration


def calibrate(
    context: typer.Context,
    networks: Annotated[
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
    engine: EngineName = "local",
    as_json: AsJson = False,
) -> None:
    """Measure how often verdicts are wrong, on networks whose algorithm is known.

    Ctrl-C stops it; the same command goes on.
    """
    require_writable(reports, "reports")
    from ad_hypotheses.known.calibration.jobs import FULL, QUICK
    from ad_hypotheses.known.calibration.page import write_calibration
    from ad_hypotheses.known.calibration.study import calibrate as calibrate_networks
    from ad_hypotheses.studies.report_index import write_reports

    set_up_torch("cpu", 1)
    with (
        resumable(reports, "calibration", "anything", "done") as (meter, scratch),
        workers_of(engine, meter, workers=workers) as places,
    ):
        record = calibrate_networks(
            networks or (),
            replace(QUICK if quick else FULL, seed=seed),
            models=models,
            hypotheses=hypotheses,
            workers=places,
            command=rerun_command(context, leave_out=("reports", "workers", "engine")),
            scratch=scratch,
            progress=meter,
        )
        (page,) = write_reports([record], lambda record: write_calibration(record, reports), meter)
    _show(record, page, as_json)


def _show(record: Calibration, page: Path, as_json: bool) -> None:
    if as_json:
        print_json(with_report(record, page))
        return
    from ad_hypotheses.known.calibration.page import headline

    for line in headline(record):
        say(out(), line.replace("*", ""))
    say(out(), f"report: {page}")
