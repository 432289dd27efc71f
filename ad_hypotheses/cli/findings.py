"""`findings`: render the page on what a study found, from its records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_hypotheses.cli.options import AsJson, Models
from ad_hypotheses.errors import DataError
from ad_hypotheses.report.screen import out, print_json, say
from ad_hypotheses.storage.places import program


def findings(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="With the plan (study.yaml), the template and the records.")
    ] = Path("reports/findings"),
    models: Models = Path("models"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where the page is other than what records say.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Render what a study found: a template in which every number is a reference to a record.

    Records are what `behave --study` writes.
    """
    from ad_hypotheses.studies.findings.study import findings as study

    rendered = study(folder, models)
    stale = rendered.stale()
    if check and stale:
        listed = ", ".join(map(str, stale))
        raise DataError(f"{listed}: other than what the records say. Run {program()} findings {folder} and commit it.")
    written = list(rendered.files) if check else rendered.write()
    if as_json:
        print_json({"page": written[-1].as_posix(), "changed": [path.as_posix() for path in stale]})
    else:
        say(out(), f"page: {written[-1]}" + (", as the records say" if check else ""))
