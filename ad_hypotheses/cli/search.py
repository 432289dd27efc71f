"""`patch MODEL --search SHARE`: a small set of edges that keeps a share of the loss, written as a hypothesis file."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.text import Text

from ad_hypotheses.causal.search import BUDGET, STEPS, SearchTrial
from ad_hypotheses.cli.patch_study import PatchArguments, is_hypothesis
from ad_hypotheses.distill.checkpoint import Checkpoint, find, load
from ad_hypotheses.distill.memory import free_memory
from ad_hypotheses.errors import CheckpointError, DataError, HypothesisError
from ad_hypotheses.language.load import FOLDER
from ad_hypotheses.language.problems import shown_path
from ad_hypotheses.language.write import WIDTH, hypothesis_source, is_deep, require_name
from ad_hypotheses.report.progress import Meter, metered
from ad_hypotheses.report.screen import out, print_json, say, size
from ad_hypotheses.report.words import figure, interval
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.storage.scratch import PARTIAL, Scratch, clear_old
from ad_hypotheses.studies.interrupt import stoppable
from ad_hypotheses.studies.machine import keep_freed_memory, require_writable
from ad_hypotheses.studies.patch.search import SearchProgress, SearchResult, histories_of, require_memory, search_edges
from ad_hypotheses.studies.patch.study import PatchSettings

NOT_WITH = ("model", "edges", "nodes", "path", "written", "read", "metric", "screen", "screen_steps", "parquet")


@dataclass(frozen=True)
class SearchArguments:
    """What to search for, and where to write it.

    Attributes:
        share: Of the gain that is to be kept.
        file: Where the found edges go; None for the usual place.
    """

    share: float
    file: Path | None


def refuse_what_does_not_go_with_it(typed: PatchArguments, given: Mapping[str, Any]) -> None:
    """Refuse a search in a hypothesis, and options that say what to patch.

    Args:
        typed: What to patch.
        given: Every option by name.

    Raises:
        DataError: Something does not go with `--search`.
    """
    if is_hypothesis(typed.what, typed.models):
        raise DataError(
            f"--search looks for edges in a model, and {typed.what} is a hypothesis, whose edges are declared.\n"
            "  Name its model instead: python cli.py patch MODEL --search 0.9"
        )
    others = [f"--{name.replace('_', '-')}" for name in NOT_WITH if given[name]]
    others += ["--direction denoising"] if given["direction"] != "noising" else []
    if others:
        raise DataError(
            f"--search does not go with {', '.join(others)}: it looks among all edges of the model, by the loss, with "
            "what the donors write outside the set."
        )


def search_model(typed: PatchArguments, wanted: SearchArguments, asked: PatchSettings, as_json: bool) -> None:
    """Search, write the hypothesis file, and print what it keeps and how to go on.

    Raises:
        UserError: There is no such model, the file exists or cannot be written, or there is nothing to keep.
        Stopped: The user pressed Ctrl-C.
    """
    checkpoint = load(typed.what, typed.models, typed.device)
    file = _place(wanted, checkpoint)
    keep_freed_memory()
    with metered() as meter, stoppable(lambda: _stopped(typed.scratch)):
        meter.begin("generating histories", 1)
        pairs = histories_of(checkpoint, asked)
        asked = replace(asked, memory=asked.memory or free_memory(typed.device))
        needed = require_memory(pairs, checkpoint.model, asked.memory)
        history = pairs.reference
        meter.say(
            f"searching in {history.n_rows:,} histories of {history.n_steps:,} steps: attribution takes {STEPS} runs "
            f"of each forwards and back, then up to {BUDGET:,} sets of edges are tried, a run each; "
            f"{size(needed)} of memory"
        )
        meter.begin("attributing edges", history.n_rows, "histories")
        result = search_edges(checkpoint, pairs, wanted.share, asked, _progress(meter, history.n_rows), typed.scratch)
        goes_on = _scrub(file, result, checkpoint, typed)
        _write(file, _source(file, result, checkpoint, typed))
        typed.scratch.discard()
        meter.say(clear_old(typed.reports / PARTIAL), "dim")
    if as_json:
        print_json(_record(result, checkpoint, file, goes_on))
        return
    _show(result, checkpoint, file, goes_on)


def _place(wanted: SearchArguments, checkpoint: Checkpoint) -> Path:
    """Where the file goes; refused before any work if it cannot go there."""
    name = re.sub(r"[^a-z0-9]+", "_", checkpoint.name.lower()).strip("_")
    file = FOLDER / f"found_{name}.py" if wanted.file is None else wanted.file
    if file.suffix != ".py":
        raise HypothesisError(f"--out {file} is no Python file: a hypothesis is written there, as in --out found.py.")
    try:
        require_name(file.stem)
    except HypothesisError as error:
        raise HypothesisError(f"--out {file}: {error}") from None
    if file.exists():
        raise _exists(file)
    require_writable(file.parent, "out")
    return file


def _exists(file: Path) -> HypothesisError:
    return HypothesisError(f"{shown_path(file)} exists and is left alone; choose another file (--out), or remove it.")


def _progress(meter: Meter, rows: int) -> SearchProgress:
    tried = 0

    def attributed(done: int) -> None:
        meter.advance(done)
        if meter.done >= rows:
            meter.begin("searching", 0)

    def trials(trial: SearchTrial) -> None:
        nonlocal tried
        tried += 1
        meter.reach(tried, f"{tried:,} sets tried; {trial.kept:,} edges keep {figure(trial.share, 3)}")

    return SearchProgress(attributed, trials)


def _write(file: Path, text: str) -> None:
    if file.exists():  # somebody made it during the search
        raise _exists(file)
    write_atomically(file, text.encode())


def _source(file: Path, result: SearchResult, checkpoint: Checkpoint, typed: PatchArguments) -> str:
    circuit = result.circuit
    text = (
        f"Found by: {typed.command}",
        f"Of what the model gains over the donors ({result.donors_text}; loss {figure(circuit.loss_all, 3)} against "
        f"{figure(circuit.loss_none, 3)}), these edges alone keep {figure(circuit.share, 3)} on the histories of the "
        f"search and {interval(result.fresh, 3)} on fresh ones.",
    )
    lines = [
        line
        for paragraph in text
        for line in textwrap.wrap(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False)
    ]
    anatomy = checkpoint.model.anatomy
    return hypothesis_source(circuit.edges, anatomy, file.stem, _name(checkpoint, typed), lines, circuit.wanted)


def _name(checkpoint: Checkpoint, typed: PatchArguments) -> str:
    """What finds the checkpoint again."""
    try:
        if find(checkpoint.name, typed.models).samefile(checkpoint.folder):
            return checkpoint.name
    except (CheckpointError, OSError):
        pass
    return str(checkpoint.folder)


def _scrub(file: Path, result: SearchResult, checkpoint: Checkpoint, typed: PatchArguments) -> str:
    words = ["python", "cli.py", "scrub", shown_path(file)]
    words += ["--models", str(typed.models)] if typed.models != Path("models") else []
    words += [word for trusted in typed.trusted for word in ("--trust", str(trusted))]
    words += ["--shared"] if is_deep(result.circuit.edges, checkpoint.model.anatomy) else []
    return shlex.join(words)


def _record(result: SearchResult, checkpoint: Checkpoint, file: Path, goes_on: str) -> dict[str, Any]:
    circuit = result.circuit
    return {
        "model": checkpoint.name,
        "wanted": circuit.wanted,
        "edges": [str(edge) for edge in circuit.edges],
        "edges_of_the_model": result.n_edges,
        "share": circuit.share,
        "share_on_fresh_histories": asdict(result.fresh),
        "loss": {"model": circuit.loss_all, "kept": circuit.loss, "donors": circuit.loss_none},
        "tried": len(circuit.trials),
        "finished": circuit.finished,
        "file": str(file),
        "scrub": goes_on,
    }


def _show(result: SearchResult, checkpoint: Checkpoint, file: Path, goes_on: str) -> None:
    console, circuit = out(), result.circuit
    head = f"{checkpoint.name}: {len(circuit.edges):,} of {result.n_edges:,} edges keep {figure(circuit.share, 3)}"
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
            f"that is less than {result.circuit.wanted:g}: the set fits its histories; more of them (--samples) help"
        )
    if not result.circuit.finished:
        doubts.append(f"the search ended after {BUDGET:,} sets: fewer edges may do")
    return doubts


def _stopped(scratch: Scratch) -> str:
    if scratch.is_empty:
        return "stopped before anything was tried; nothing was kept."
    return f"stopped; what was tried is kept in {scratch.folder}; the same command goes on."
