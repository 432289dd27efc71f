"""The short form of a report on patches, for the terminal or a log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ad_hypotheses.report.screen import say
from ad_hypotheses.report.words import chance, figure, interval
from ad_hypotheses.studies.evaluate.summary import drawn
from ad_hypotheses.studies.patch.answer import arrows_of, by_size, plain_answer, undeclared_of
from ad_hypotheses.studies.patch.record import PatchRecord, PatchStudy

SHOWN = 10  # lines of a table


def show(study: PatchStudy, console: Console, page: Path) -> None:
    """Print the answer, the arrows and the strongest edges, and where the report is.

    Args:
        study: What to show.
        console: Where to.
        page: The report that was written.
    """
    subject = f"{study.name} on {study.model}" if study.name else study.model
    console.print(Text(f"{subject}: which edges matter", style="bold"))
    for line in plain_answer(study):
        console.print(Text(line))
    groups = {"declared arrows": arrows_of(study), "undeclared edges" if study.name else "edges": undeclared_of(study)}
    groups["edges that the claim leaves open"] = study.of_kind("open")
    groups["nodes and paths"] = study.of_kind("node", "path")
    for head, records in groups.items():
        if records:
            console.print(_table(head, by_size(records, study.metrics[0]), study))
    if study.warnings:
        count = len(study.warnings)
        say(console, f"{count} {'warning' if count == 1 else 'warnings'}, see the report", "yellow")
    say(console, f"report: {page}")


def _table(head: str, records: Sequence[PatchRecord], study: PatchStudy) -> Table:
    first, *rest = study.metrics
    rows = []
    for record in records[:SHOWN]:
        effect = record.effects[first]["all"]
        others = [figure(record.value(metric), 3) for metric in rest]
        rows.append(
            [record.name, interval(effect.value, 3), *others, "-" if effect.holm is None else chance(effect.holm)]
        )
    more = len(records) - SHOWN
    head += f" (strongest {SHOWN} of {len(records):,})" if more > 0 else ""
    return drawn([head, first, *rest, "p (Holm)"], rows)
