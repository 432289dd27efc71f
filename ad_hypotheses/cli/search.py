"""`patch MODEL --search SHARE`: a small set of edges that keeps a share of the loss, written as a hypothesis file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.text import Text

from ad_hypotheses.causal.search import BUDGET
from ad_hypotheses.cli.options import parse_memory
from ad_hypotheses.distill.checkpoint import find, name_of
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.load import FOLDER
from ad_hypotheses.language.problems import shown_path
from ad_hypotheses.report.screen import out, print_json, say
from ad_hypotheses.report.words import figure, interval
from ad_hypotheses.storage.places import program
from ad_hypotheses.studies.interrupt import resumable
from ad_hypotheses.studies.patch.search import SearchResult, SearchSettings, search

NOT_WITH = ("model", "edges", "nodes", "paths", "written", "read", "metric", "screen", "screen_steps", "parquet")


@dataclass(frozen=True)
class SearchCommand:
    """What to search where.

    Attributes:
        model: Its name or folder, as it was typed.
        file: Where the edges go; None for the usual place.
        models: Folder of the checkpoints.
        reports: Folder of the reports.
        device: Where to compute.
        command: What makes the same search again.
        name: Name of the place in the reports where what is tried is kept on the way.
        trusted: Python files that the user named, for models whose task is in one.
        as_json: Whether to print JSON.
    """

    model: str
    file: Path | None
    models: Path
    reports: Path
    device: str
    command: str
    name: str
    trusted: Sequence[Path]
    as_json: bool


def _refuse_other_options(context: typer.Context, claimed: bool) -> None:
    """Refuse a search in a hypothesis, and options that say what to patch.

    Args:
        context: Parameters of `patch`.
        claimed: Whether a hypothesis file was named.

    Raises:
        DataError: Something does not go with `--search`.
    """
    given = context.params
    if claimed:
        raise DataError(
            f"--search looks for edges in a model, and {given['subject']} is a hypothesis, whose edges are declared.\n"
            f"  Name its model instead: {program()} patch MODEL --search 0.9"
        )
    others = [f"`{name}`" for name in NOT_WITH if given[name]]
    others += ["`direction='denoising'`"] if given["direction"] != "noising" else []
    if others:
        raise DataError(
            f"--search does not go with {', '.join(others)}: it looks among all edges of the model, by the loss, with "
            "what the donors write outside the set."
        )


def search_edges(run: SearchCommand, context: typer.Context, claimed: bool) -> None:
    """Search, write the hypothesis file, and print what it keeps and how to go on.

    Args:
        run: Where.
        context: Parameters of `patch`, which say what to search for.
        claimed: Whether a hypothesis file was named.

    Raises:
        UserError: There is no such model, the file exists or cannot be written, or there is nothing to keep.
        Stopped: The user pressed Ctrl-C.
    """
    _refuse_other_options(context, claimed)
    given = context.params
    asked = {name: given[name] for name in ("donors", "rows", "tasks", "seed", "data")}
    budget = None if given["memory"] is None else parse_memory(given["memory"])
    settings = SearchSettings(keep=given["search"], memory=budget, **asked)
    file = _usual_place(run) if run.file is None else run.file
    with resumable(run.reports, run.name, "anything", "tried") as (meter, scratch):
        result = search(
            run.model, settings, out=file, models=run.models, device=run.device, command=run.command,
            scratch=scratch, progress=meter,
        )  # fmt: skip
    if run.as_json:
        print_json({**result.to_plain(), "file": str(file), "scrub": _scrub(result, file, run)})
        return
    _show(result, file, _scrub(result, file, run))


def _usual_place(run: SearchCommand) -> Path:
    name = name_of(find(run.model, run.models), run.models)
    return FOLDER / f"found_{re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_')}.py"


def _scrub(result: SearchResult, file: Path, run: SearchCommand) -> str:
    """Return the command that tests the hypothesis of the edges."""
    words = [*program().split(), "scrub", shown_path(file)]
    words += ["--models", str(run.models)] if run.models != Path("models") else []
    words += [word for trusted in run.trusted for word in ("--trust", str(trusted))]
    words += ["--shared"] if result.deep else []
    return shlex.join(words)


def _show(result: SearchResult, file: Path, goes_on: str) -> None:
    console, circuit = out(), result.circuit
    head = f"{result.model}: {len(circuit.edges):,} of {result.n_edges:,} edges keep {figure(circuit.share, 3)}"
    console.print(Text(f"{head} of the loss that the model saves", style="bold"))
    say(console, f"on fresh histories: {interval(result.fresh, 3)}")
    for line in _doubts(result):
        say(console, line, "yellow")
    say(console, f"wrote {shown_path(file)}", "green")
    say(console, f"test it: {goes_on}")


def _doubts(result: SearchResult) -> Sequence[str]:
    doubts = []
    if result.fresh.estimable and result.fresh.high < result.circuit.wanted:
        doubts.append(
            f"that is less than {result.circuit.wanted:g}: the set fits its histories; more of them (--rows) help"
        )
    if not result.circuit.finished:
        doubts.append(f"the search ended after {BUDGET:,} sets: fewer edges may do")
    return doubts
