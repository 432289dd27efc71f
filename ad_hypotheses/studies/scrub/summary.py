"""The short form of a report, for the terminal or a log."""

from __future__ import annotations

import re
from pathlib import Path

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ad_hypotheses.report.words import figure, interval, sentence
from ad_hypotheses.studies.adversary.page import at_stake, sentences
from ad_hypotheses.studies.rivals.page import outcome
from ad_hypotheses.studies.scrub.opening import status, undeclared_line
from ad_hypotheses.studies.scrub.record import Claim, Study, did_as_well, kept

_COLOURS = {"supported": "green", "refuted": "red", "inconclusive": "yellow", "vacuous": "magenta"}


def show(study: Study, console: Console, report: Path | None = None) -> None:
    """Print the verdict and its reason, the ratios by regime, a line for each control, and where the report is.

    On something that is not a terminal there are no colours, no boxes and no wrapped lines.

    Args:
        study: What to show.
        console: Where to.
        report: The page that was written, if one was.
    """
    claim = study.claims[0]
    if console.is_terminal:
        console.print(_panel(study), _table(claim))
    else:
        for line in (Text(f"{claim.name} on {study.model}: {claim.verdict}"), *_reason(claim), *_plain_table(claim)):
            _print(console, line)
    for control in study.claims[1:]:
        _print(console, _control(control, claim))
    if claim.challenge is not None:
        for found in sentences(claim.challenge):
            _print(console, Text(f"adversary: {found}"))
    if claim.warnings:
        count = len(claim.warnings)
        _print(console, Text(f"{count} {'warning' if count == 1 else 'warnings'}, see the report", style="yellow"))
    if report is not None:
        _print(console, Text(f"report: {report}"))


def plain_text(markdown: str) -> str:
    """Return Markdown of one line without its marks."""
    return re.sub(r"[`*\\]", "", markdown)


def _print(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=not console.is_terminal)


def _panel(study: Study) -> Panel:
    claim = study.claims[0]
    colour = _COLOURS.get(claim.verdict, "cyan")
    title = Text.assemble((f"{claim.name} on {study.model}: ", "bold"), (claim.verdict, f"bold {colour}"))
    return Panel(Group(*_reason(claim)), title=title, title_align="left", border_style=colour, padding=(0, 1))


def _reason(claim: Claim) -> list[Text]:
    stake = at_stake(claim)
    return [
        *([Text(sentence(claim.sentence))] if claim.sentence else []),
        Text(sentence(claim.reason)),
        Text(_overall(claim)),
        *([Text(stake)] if stake else []),
        *(Text(line) for line in [plain_text(outcome(claim.rivals))] if line),
        *([Text(f"next: {undeclared_line(claim.undeclared)}")] if claim.undeclared else []),
    ]


def _overall(claim: Claim) -> str:
    """Return the first figure over all steps, and what is needed of it."""
    first = claim.regimes[0]
    if first.fidelity is None:
        return f"recovered {interval(first.recovered)}, needed {figure(claim.accept)}"
    share = interval(first.fidelity)
    return f"fidelity over all steps of {first.data} {share}; needed {figure(claim.accept)} in every regime that counts"


def _rows(claim: Claim) -> list[list[str]]:
    heads = ["data", "regime", "positions", "fidelity", "beyond structure", "verdict there"]
    return [heads] + [
        [
            regime.data,
            regime.name,
            str(regime.positions),
            interval(regime.fidelity or regime.recovered),
            interval(regime.beyond_structure),
            status(regime),
        ]
        for regime in claim.regimes
    ]


def _table(claim: Claim) -> Table:
    heads, *rows = _rows(claim)
    table = Table(box=box.SIMPLE)
    for head in heads:
        table.add_column(head, justify="left" if head in ("data", "regime") else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _plain_table(claim: Claim) -> list[Text]:
    rows = _rows(claim)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [Text("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])) for row in rows]


def _control(control: Claim, claim: Claim) -> Text:
    moved = ", ".join(f"{node}: {change}" for node, change in control.moved_sites.items())
    line = Text(control.name if control.name.startswith(control.kind) else f"{control.kind} {control.name}")
    line.append(f" ({moved})" if moved else "")
    line.append(f": {control.verdict}, fidelity {interval(kept(control))}")
    if did_as_well(control, claim):
        line.append(" - as well as the hypothesis, or better", style="bold yellow")
    return line
