"""`check`: find everything wrong with a hypothesis file before anything is run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich import box
from rich.table import Table
from rich.text import Text

from ad_hypotheses.causal.draws import classes
from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.distill.checkpoint import load as load_checkpoint
from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.check import Bound, bind
from ad_hypotheses.language.claims import chosen, shown_file
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.report.screen import out, print_json, say
from ad_hypotheses.studies.scrub.bind import ScrubSettings, reference_histories

ROWS = 64  # histories that features are tried on


def check_all(hypotheses: Sequence[Hypothesis], file: str, model: str | None, models: Path, as_json: bool) -> None:
    """Fit every hypothesis to its model, and print what fits and everything that does not.

    Raises:
        HypothesisError: Something does not; lists every problem once.
    """
    claims = [claim for main, controls in chosen(hypotheses, model) for claim in (main, *controls)]
    grounds: dict[str, tuple[Checkpoint, History]] = {}
    bound_claims: list[tuple[Hypothesis, Bound]] = []
    problems: dict[str, None] = {}  # an ordered set: a control repeats what is wrong with its hypothesis
    for claim in claims:
        try:
            bound_claims.append((claim, _bound(claim, models, grounds)))
        except HypothesisError as error:
            problems |= dict.fromkeys(_blocks(str(error)))
    if as_json:
        print_json(
            {
                "file": shown_file(file),
                "problems": list(problems),
                "hypotheses": [_plain(*bound_claim) for bound_claim in bound_claims],
            }
        )
    else:
        for claim, bound in bound_claims:
            _show(claim, bound)
    if problems and as_json:
        raise typer.Exit(2)
    if problems:
        heading = [f"{len(problems)} problems in {shown_file(file)}:"] if len(problems) > 1 else []
        raise HypothesisError("\n\n".join([*heading, *problems]))


def _bound(claim: Hypothesis, models: Path, grounds: dict[str, tuple[Checkpoint, History]]) -> Bound:
    if claim.model not in grounds:
        grounds[claim.model] = _ground(claim.model, models)
    checkpoint, history = grounds[claim.model]
    return bind(claim, checkpoint.model.anatomy, history, checkpoint.config.make_task().regimes(history))


def _ground(model: str, models: Path) -> tuple[Checkpoint, History]:
    """Return a model, whole but not run, and a few histories of its source."""
    checkpoint = load_checkpoint(model, models)
    return checkpoint, reference_histories(checkpoint, ScrubSettings(rows=ROWS))


def _blocks(message: str) -> list[str]:
    """Return the problems in a message apart, without the line that counts them."""
    blocks = message.split("\n\n")
    return blocks[1:] if len(blocks) > 1 and re.match(r"\d+ problems\b", blocks[0]) else blocks


def _plain(claim: Hypothesis, bound: Bound) -> dict[str, Any]:
    rows = [{"node": row[0], "site": row[1], "reads": row[2], "level": row[3], **_sizes(bound, row[0])}
            for row in _rows(claim, bound)]  # fmt: skip
    return {"name": claim.name, "model": claim.model, "nodes": rows, "warnings": list(bound.warnings)}


def _rows(claim: Hypothesis, bound: Bound) -> list[tuple[str, str, str, str]]:
    rows = []
    for node in claim.nodes:
        labels = bound.nodes[node.name].labels
        level = "policy" if labels is None else "each step" if labels.ndim > 1 else "history"
        rows.append((node.name, str(node.site), ", ".join(parent.name for parent in node.parents), level))
    return rows


def _sizes(bound: Bound, name: str) -> dict[str, Any]:
    """Return the number of classes of a node, and the share of the histories that are alone in theirs."""
    node = bound.nodes[name]
    if node.labels is None:
        return {"classes": None, "alone": None}
    alone = classes(node.labels, node.selected, "step", np.zeros(node.labels.shape[:2], dtype=np.int64)).alone
    inside = alone if node.selected is None else alone[node.selected]
    return {"classes": int(node.labels.max()) + 1, "alone": round(float(inside.mean()), 4)}


def _show(claim: Hypothesis, bound: Bound) -> None:
    console = out()
    kind = "" if claim.control_of is None else f", a control of {claim.control_of.name}"
    console.print(
        Text.assemble(("✓ ", "green"), (str(claim.name), "bold"), f" fits {claim.model}{kind}"), soft_wrap=True
    )
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for head in ("node", "site", "reads", "a value for", "classes", "alone"):
        table.add_column(head, justify="right" if head in ("classes", "alone") else "left", no_wrap=head == "node")
    crowds = []
    for row in _rows(claim, bound):
        sizes = _sizes(bound, row[0])
        alone = "" if sizes["alone"] is None else f"{sizes['alone']:.0%}"
        if sizes["alone"] == 1:
            crowds.append(row[0])
        count = "" if sizes["classes"] is None else f"{sizes['classes']:,}"
        table.add_row(*map(Text, (*row, count)), Text(alone, style="yellow" if sizes["alone"] == 1 else ""))
    console.print(table)
    for name in crowds:
        what = f"each of {ROWS} histories is alone in its class of {name}(): nothing could be swapped there"
        say(console, f"warning: {what}", "yellow")
    for warning in bound.warnings:
        say(console, f"warning: {warning}", "yellow")
