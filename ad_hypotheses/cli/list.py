"""`list`: which checkpoints and hypothesis files there are, read without running or loading any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ad_hypotheses.cli.options import AsJson, Hypotheses, Models
from ad_hypotheses.progress import duration
from ad_hypotheses.report.screen import out, print_json, say
from ad_hypotheses.storage.places import hypotheses_folders, program

if TYPE_CHECKING:
    from ad_hypotheses.language.load import FileListing
    from ad_hypotheses.studies.listing import CheckpointListing

NUMBERS = ("layers", "heads", "width", "weights", "held-out", "trained", "nodes")  # columns


def list_all(
    hypotheses: Hypotheses = Path("hypotheses"),
    models: Models = Path("models"),
    whole: Annotated[bool, typer.Option("--all", help="A line for each, none left out.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the hypotheses and the checkpoints.

    Hypothesis files are read, not run. Folders in the two folders, such as a grid of models, and known networks have a
    line each.
    """
    from ad_hypotheses.language.load import listing
    from ad_hypotheses.studies.listing import checkpoints

    rows = checkpoints(models)
    hypotheses = next((folder for folder in hypotheses_folders(hypotheses) if folder.exists()), hypotheses)
    listings = listing(hypotheses) if hypotheses.exists() else []
    if as_json:
        files = [{**asdict(file), "file": str(file.file)} for file in listings]
        print_json({"models": [asdict(row) for row in rows], "hypotheses": files})
        return
    console = out()
    _show_hypotheses(listings, hypotheses, console, whole)
    _show_models(rows, models, console, whole)


def _show_models(rows: list[CheckpointListing], models: Path, console: Console, whole: bool) -> None:
    from ad_hypotheses.report.words import counted
    from ad_hypotheses.studies.listing import model_folds, shortened

    folds = {} if whole else model_folds(rows)
    folded = {row.name for members in folds.values() for row in members}
    if not rows:
        say(console, f"no checkpoints in {models}/; make one: {program()} train CONFIG.yaml", "dim")
        return
    table = _table("model", "task", "layers", "heads", "width", "weights", "held-out", "trained")
    for row in rows:
        if row.name in folded:
            continue
        if row.error is not None:
            _add_broken(table, row.name, row.error)
            continue
        share = "-" if row.held_out_of_optimum is None else f"{row.held_out_of_optimum:.0%}"
        seconds = "-" if row.seconds is None else duration(row.seconds)
        sizes = (str(row.layers), str(row.heads), str(row.width), f"{row.parameters:,}")
        channels = shortened(row.channels) or "as its file says, which was not run"
        task = Text.assemble(row.task, "\nembed: ", (channels, "dim"))
        table.add_row(Text(row.name), task, *map(Text, (*sizes, share, seconds)))
    console.print(table)
    _say_folded({name: counted(len(members), "model") for name, members in folds.items()}, console)
    say(
        console,
        "held-out: return of the last three episodes (or of the only one) on tasks never trained on, of the optimum",
        "dim",
    )


def _show_hypotheses(listings: list[FileListing], folder: Path, console: Console, whole: bool) -> None:
    if not listings:
        say(console, f"no hypotheses in {folder}/; begin one: {program()} new win_stay", "dim")
        return
    from ad_hypotheses.language.load import shown_file

    table = _table("file", "hypotheses", "nodes", "what it says")
    folds: dict[str, list[FileListing]] = {}
    for file in listings:
        typed = shown_file(str(file.file))
        if file.error is not None:
            _add_broken(table, typed, file.error)
        elif not whole and file.file.parent != folder:
            folds.setdefault(f"{Path(typed).parent}/", []).append(file)
        else:
            names = ", ".join(file.hypotheses) or "none"
            table.add_row(*map(Text, (typed, names, str(file.n_nodes), file.title)))
    console.print(table)
    _say_folded({name: _contents(files) for name, files in folds.items()}, console)


def _contents(files: Sequence[FileListing]) -> str:
    from ad_hypotheses.report.words import counted  # loads numpy

    n_hypotheses = sum(len(file.hypotheses) for file in files)
    return f"{counted(len(files), 'file')} with {counted(n_hypotheses, 'hypothesis', 'hypotheses')}"


def _say_folded(contents: Mapping[str, str], console: Console) -> None:
    """Print a line for each group of things that a table leaves out."""
    for name, content in contents.items():
        console.print(Text.assemble((name, "cyan"), f"  {content}", ("  (--all lists them)", "dim")), soft_wrap=True)


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, collapse_padding=True)
    for head in heads:
        first = head == heads[0]
        table.add_column(
            head,
            justify="right" if head in NUMBERS else "left",
            no_wrap=first or head in NUMBERS,
            style="cyan" if first else None,
        )
    return table


def _add_broken(table: Table, name: str, error: str) -> None:
    table.add_row(Text(name, style="red"), Text(error, style="red"))
