"""`new` and `check`: begin a hypothesis file, and find everything wrong with one before anything is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ad_hypotheses.cli.claims import chosen
from ad_hypotheses.cli.options import AsJson, Models
from ad_hypotheses.cli.terminal import out, print_json, say
from ad_hypotheses.errors import HypothesisError

if TYPE_CHECKING:
    from ad_hypotheses.distill.zoo import Checkpoint
    from ad_hypotheses.language.check import Bound
    from ad_hypotheses.language.history import History
    from ad_hypotheses.language.hypothesis import Hypothesis

ROWS = 64  # histories that features are tried on


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the hypothesis and its file.", show_default=False)],
    folder: Annotated[
        Path, typer.Option("--folder", metavar="FOLDER", help="Where the hypothesis files are.")
    ] = Path("hypotheses"),
) -> None:
    """Begin a hypothesis file that runs as it is."""
    from ad_hypotheses.language.problems import shown_path
    from ad_hypotheses.language.template import write_template

    file = shown_path(write_template(name, folder))
    console = out()
    say(console, f"wrote {file}", "green")
    say(console, f"change it, then: python cli.py check {file}")


def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A hypothesis file; it is run.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Check on this model.", show_default="what the file names"),
    ] = None,
    models: Models = Path("models"),
    as_json: AsJson = False,
) -> None:
    """Check every hypothesis of a file without running a model.

    Sites, arrows and features are tried on the model's anatomy and on 64 fresh histories.
    """
    from ad_hypotheses.language.discover import load

    claims = [claim for main, controls in chosen(load(file), model) for claim in (main, *controls)]
    grounds: dict[str, tuple[Checkpoint, History]] = {}
    found: list[tuple[Hypothesis, Bound]] = []
    problems: dict[str, None] = {}  # an ordered set: a control repeats what is wrong with its hypothesis
    for claim in claims:
        try:
            found.append((claim, _bound(claim, models, grounds)))
        except HypothesisError as error:
            problems |= dict.fromkeys(_blocks(str(error)))
    if as_json:
        print_json({"file": file, "problems": list(problems), "hypotheses": [_plain(*one) for one in found]})
    else:
        for claim, bound in found:
            _show(claim, bound)
    if problems and as_json:
        raise typer.Exit(2)
    if problems:
        heading = [f"{len(problems)} problems in {file}:"] if len(problems) > 1 else []
        raise HypothesisError("\n\n".join([*heading, *problems]))


def _bound(claim: Hypothesis, models: Path, grounds: dict[str, tuple[Checkpoint, History]]) -> Bound:
    from ad_hypotheses.language.check import bind

    if claim.model not in grounds:
        grounds[claim.model] = _ground(claim.model, models)
    checkpoint, history = grounds[claim.model]
    return bind(claim, checkpoint.model.anatomy, history, checkpoint.config.make_task().regimes(history))


def _ground(model: str, models: Path) -> tuple[Checkpoint, History]:
    """Return a model of the right anatomy, weights unread, and a few histories of its source."""
    from ad_hypotheses.causal.study import Settings, reference_histories
    from ad_hypotheses.distill.config import read_config
    from ad_hypotheses.distill.zoo import CONFIG, Checkpoint, build, find

    folder = find(model, models)
    config = read_config(folder / CONFIG)
    checkpoint = Checkpoint(folder.name, folder, config, build(config), {})
    return checkpoint, reference_histories(checkpoint, Settings(rows=ROWS))


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
    from ad_hypotheses.causal.draws import classes

    node = bound.nodes[name]
    if node.labels is None:
        return {"classes": None, "alone": None}
    alone = classes(node.labels, node.selected, "step", _no_episodes(node.labels)).alone
    inside = alone if node.selected is None else alone[node.selected]
    return {"classes": int(node.labels.max()) + 1, "alone": round(float(inside.mean()), 4)}


def _no_episodes(labels: Any) -> Any:
    import numpy as np

    return np.zeros((len(labels), labels.shape[1] if labels.ndim > 1 else 1), dtype=np.int64)


def _show(claim: Hypothesis, bound: Bound) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

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
        classes = "" if sizes["classes"] is None else f"{sizes['classes']:,}"
        table.add_row(*(Text(text) for text in (*row, classes)), Text(alone, style="yellow" if sizes["alone"] == 1 else ""))
    console.print(table)
    for name in crowds:
        say(console, f"warning: every history is alone in its class of {name}() among {ROWS}: nothing would be swapped", "yellow")
    for warning in bound.warnings:
        say(console, f"warning: {warning}", "yellow")
