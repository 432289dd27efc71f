"""`report`: draw the report of a record again, without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_hypotheses.report.screen import out, say


def report(
    record: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A .json file that lies beside a report.", show_default=False),
    ],
    reports: Annotated[
        Path | None,
        typer.Option(
            "--reports", metavar="FOLDER", help="Where to write the report.", show_default="where the record is"
        ),
    ] = None,
) -> None:
    """Draw the page, the pictures and the table of a record again.

    Records are what scrub, patch, evaluate, sweep, behave and calibrate write as JSON beside their pages.
    """
    from ad_hypotheses.studies.records import redraw
    from ad_hypotheses.studies.report_index import date_of, note_reports

    page = redraw(record, reports)[-1]
    note_reports([page], date_of(record))  # drawn today, measured then
    say(out(), f"report: {page}")
