"""`check`: find everything wrong with a hypothesis file before anything is run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from ad_hypotheses.cli.options import AsJson, HypothesisFile, Models, OneModel, Trust, load_named
from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.report.screen import out, print_json, say

if TYPE_CHECKING:
    from ad_hypotheses.studies.check.record import CheckedClaim, CheckedNode

HARDLY = 0.9  # share of values that no other history has, from which on hardly anything is tested


def check(
    file: HypothesisFile,
    model: OneModel = None,
    models: Models = Path("models"),
    trust: Trust = None,
    as_json: AsJson = False,
) -> None:
    """Check every hypothesis of a file without running a model.

    Sites, arrows and features are tried on the model's anatomy and on 64 fresh histories.
    """
    hypotheses = load_named(file)
    from ad_hypotheses.language.load import shown_file
    from ad_hypotheses.studies.check.study import check as check_hypotheses

    record = check_hypotheses(hypotheses, model=model, models=models)
    if as_json:
        claims = [_plain(claim) for claim in record.claims]
        print_json({"file": shown_file(file), "problems": record.problems, "hypotheses": claims})
    else:
        for claim in record.claims:
            _show(claim, record.rows)
    if record.problems and as_json:
        raise typer.Exit(2)
    if record.problems:
        count = len(record.problems)
        heading = [f"{count} problems in {shown_file(file)}:"] if count > 1 else []
        raise HypothesisError("\n\n".join([*heading, *record.problems]))


def _plain(claim: CheckedClaim) -> dict[str, Any]:
    nodes = [
        {
            "node": node.name,
            "site": node.site,
            "reads": ", ".join(node.parents),
            "level": node.level,
            "classes": node.classes,
            "alone": node.alone,
            "symmetry": node.symmetry,
        }
        for node in claim.nodes
    ]
    return {
        "name": claim.name,
        "model": claim.model,
        "nodes": nodes,
        "warnings": claim.warnings,
        "undeclared": claim.undeclared,
    }


def _show(claim: CheckedClaim, rows: int) -> None:
    console = out()
    kind = "" if claim.control_of is None else f", a control of {claim.control_of}"
    console.print(
        Text.assemble(("✓ ", "green"), (str(claim.name), "bold"), f" fits {claim.model}{kind}"), soft_wrap=True
    )
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for head in ("node", "site", "reads", "a value for", "classes", "alone"):
        table.add_column(head, justify="right" if head in ("classes", "alone") else "left", no_wrap=head == "node")
    for node in claim.nodes:
        table.add_row(*_cells(node))
    console.print(table)
    for node in claim.nodes:
        if node.symmetry is not None:
            say(console, f"donors of {node.name} are made by {node.symmetry}")
        elif node.alone == 1:
            alone = f"each of {rows} histories is alone in its class of {node.name}()"
            say(console, f"warning: {alone}: nothing could be swapped there", "yellow")
        elif node.alone is not None and node.alone > HARDLY:
            alone = f"{node.alone:.0%} of the values of {node.name}() are alone among {rows} histories"
            advice = "return something coarser, or let donors be made, @node(at=..., symmetry=...)"
            say(console, f"warning: {alone}: hardly anything could be swapped there; {advice}", "yellow")
    for warning in claim.warnings:
        say(console, f"warning: {warning}", "yellow")
    if claim.undeclared and claim.control_of is None:  # a control lacks what its claim lacks
        arrows = ", ".join(claim.undeclared)
        say(console, f"not declared, so swapped: {arrows}; if one matters, make it a parameter of the node that reads")


def _cells(node: CheckedNode) -> list[Text]:
    count = "" if node.classes is None else f"{node.classes:,}"
    alone = "" if node.alone is None else f"{node.alone:.0%}"
    cells = (node.name, node.site, ", ".join(node.parents), node.level, count)
    return [*map(Text, cells), Text(alone, style="yellow" if node.alone == 1 else "")]
