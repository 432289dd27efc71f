"""`patch`: which edges of a model matter, those that a hypothesis declares and those that it does not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from ad_hypotheses.causal.effects import Chain, Nodes
from ad_hypotheses.cli.options import load_named
from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.distill.memory import free_memory
from ad_hypotheses.errors import CheckpointError, DataError, HypothesisError, did_you_mean
from ad_hypotheses.evidence.effects import PatchRecord, PatchStudy
from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.claims import chosen
from ad_hypotheses.language.edges import Edge, all_edges, find_edges
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.load import FOLDER, places
from ad_hypotheses.language.roles import PAIR_ROLES
from ad_hypotheses.report.progress import Meter, metered
from ad_hypotheses.report.screen import out, print_json, say, size
from ad_hypotheses.report.words import chance, figure, interval
from ad_hypotheses.storage.scratch import PARTIAL, Scratch, clear_old
from ad_hypotheses.studies.evaluate.summary import drawn
from ad_hypotheses.studies.interrupt import stoppable
from ad_hypotheses.studies.machine import keep_freed_memory
from ad_hypotheses.studies.patch.answer import arrows_of, by_size, plain_answer, undeclared_of
from ad_hypotheses.studies.patch.page import write_patch_report
from ad_hypotheses.studies.patch.study import BoundPatches, Item, PatchSettings, prepare, run, screen
from ad_hypotheses.studies.tables import require_parquet

ALL = "all"
SHOWN = 10  # lines of a table on the terminal


@dataclass(frozen=True)
class PatchArguments:
    """What to patch, as it was typed.

    Attributes:
        what: A hypothesis file or a model.
        model: To test on; None for those that the file names.
        models: Folder of the checkpoints.
        reports: Folder of the reports.
        device: Where to compute.
        edges: `"all"`, or edges; every other edge of the model too where there is a hypothesis and nothing is typed.
        nodes: Writers.
        paths: Edges one after the other.
        written: Role of the steps whose writing counts, for the typed edges and paths.
        read: Role of the steps that look, likewise.
        command: What makes the same study again.
        parquet: Whether to write the table as a parquet file too.
        trusted: Python files that the user named, for models whose task is in one.
    """

    what: str
    model: str | None
    models: Path
    reports: Path
    device: str
    edges: tuple[str, ...]
    nodes: tuple[str, ...]
    paths: tuple[str, ...]
    written: str | None
    read: str | None
    command: str
    parquet: bool = False
    trusted: Sequence[Path] = ()

    @cached_property
    def scratch(self) -> Scratch:
        """Where to keep what is measured on the way."""
        return Scratch(self.reports / PARTIAL / f"patch-{Path(self.what).stem}")


def is_hypothesis(subject: str, models: Path) -> bool:
    """Return whether a hypothesis file is meant, by its path or its name, rather than a model."""
    given = Path(subject)
    if given.suffix == ".py":
        return True
    if any((folder / "config.yaml").is_file() for folder in (models / given, given)):
        return False
    return bool(places(given))


def refuse_loose_options(given: Mapping[str, Any]) -> None:
    """Refuse options that mean nothing without another one, or without something that is not installed.

    Raises:
        UserError: There is one.
    """
    if given["parquet"]:
        require_parquet()
    if given["screen_steps"] is not None and given["screen"] is None and given["search"] is None:
        raise DataError("--screen-steps says how edges are screened. Add --screen N, the number to measure.")
    if given["out"] is not None and given["search"] is None:
        raise DataError("--out says where --search writes what it finds. Add --search; for reports there is --reports.")


def subjects(typed: PatchArguments) -> list[tuple[Checkpoint, Hypothesis | None]]:
    """Load what is to be patched, and refuse what does not go together.

    Raises:
        UserError: There is no such file or model, or nothing to patch.
    """
    for role in (typed.written, typed.read):
        if role is not None and role not in PAIR_ROLES:
            hint = did_you_mean(role, PAIR_ROLES)
            raise DataError(
                f"there is no step role {role!r} (--written, --read).{hint}\n  roles: {', '.join(PAIR_ROLES)}"
            )
    if (typed.written or typed.read) and not (typed.edges or typed.paths):
        raise DataError("--written and --read narrow edges and paths that are typed. Add --edges or --path.")
    if is_hypothesis(typed.what, typed.models):
        groups = chosen(load_named(typed.what), typed.model)
        models_named = {main.model: None for main, _ in groups}
        checkpoints = {name: load(name, typed.models, typed.device) for name in models_named}
        return [(checkpoints[main.model], main) for main, _ in groups]
    if typed.model is not None:
        raise DataError(f"{typed.what} is a model itself; --model goes with a hypothesis file.")
    try:
        checkpoint = load(typed.what, typed.models, typed.device)
    except CheckpointError as error:
        names = ", ".join(sorted(path.stem for path in FOLDER.glob("*.py"))) or "none"
        raise CheckpointError(f"{error}\n  It is no hypothesis file either; of those there are: {names}.") from error
    if not (typed.edges or typed.nodes or typed.paths):
        raise DataError(
            f"nothing to patch: {typed.what} is a model, and no edges were named.\n"
            f"  Add --edges all, --edges 'head(0, 0) -> logits', --nodes 'head(0, 0)', --path or --search 0.9, "
            f"or name a hypothesis file."
        )
    return [(checkpoint, None)]


def patch_all(
    chosen_subjects: Sequence[tuple[Checkpoint, Hypothesis | None]],
    typed: PatchArguments,
    asked: PatchSettings,
    as_json: bool,
) -> None:
    """Patch everything, write a report of each, and print the short form.

    Raises:
        UserError: Something cannot be patched, or a report cannot be written.
        Stopped: The user pressed Ctrl-C.
    """
    keep_freed_memory()
    with metered() as meter, stoppable(lambda: _stopped(typed.scratch)):
        meter.begin("generating histories", len(chosen_subjects))
        trials = []
        for checkpoint, hypothesis in chosen_subjects:
            items = items_of(typed, checkpoint.model.anatomy, hypothesis is not None)
            trials.append(prepare(checkpoint, asked, items, hypothesis))
            _require_edges(trials[-1], asked)
            meter.advance(1)
        asked = replace(asked, memory=asked.memory or free_memory(typed.device))
        trials = _screened(trials, asked, typed.scratch, meter)
        done = _announce(trials, asked, meter)
        studies = [run(trial, asked, typed.command, typed.scratch, done) for trial in trials]
        meter.begin("writing reports", len(studies))
        pages = [write_patch_report(study, typed.reports, typed.parquet)[-1] for study in studies]
        typed.scratch.discard()
        meter.say(clear_old(typed.reports / PARTIAL), "dim")
    if as_json:
        both = zip(studies, pages, strict=True)
        print_json([{"report": str(page), **json.loads(study.to_json())} for study, page in both])
        return
    for study, page in zip(studies, pages, strict=True):
        show(study, page)


def items_of(typed: PatchArguments, anatomy: Anatomy, claimed: bool) -> list[Item]:
    """Return the patches that were typed.

    Args:
        typed: All of it.
        anatomy: Of the model.
        claimed: Whether a hypothesis is tested, which by default is held against every edge.

    Raises:
        HypothesisError: Something is no edge, writer or path of the model; all that are wrong are listed.
    """
    texts = typed.edges or ((ALL,) if claimed else ())
    items: list[Item] = []
    problems: list[str] = []

    def collect(find: Callable[[str, Anatomy], list[Item]], texts: Sequence[str]) -> None:
        for text in texts:
            try:
                items.extend(find(text, anatomy))
            except HypothesisError as error:
                problems.append(str(error))

    collect(_edge_items, texts)
    collect(_node_items, typed.nodes)
    collect(_path_items, typed.paths)
    if problems:
        raise HypothesisError("\n".join(problems))
    return [_at(item, typed) for item in items]


def _edge_items(text: str, anatomy: Anatomy) -> list[Item]:
    edges = all_edges(anatomy) if text.strip() == ALL else find_edges([text], anatomy)
    return [Item(edge, str(edge), "edge") for edge in edges]


def _node_items(text: str, anatomy: Anatomy) -> list[Item]:
    edge = f"{text} -> logits"  # the logits read every writer
    try:
        writers = find_edges([edge], anatomy)[0].writers
    except HypothesisError as error:
        raise HypothesisError(str(error).replace(repr(edge), f"--nodes {text!r}")) from None
    if len({writer.stage for writer in writers}) > 1:
        raise HypothesisError(f"--nodes {text!r}: these write one after the other; give each its own --nodes.")
    return [Item(Nodes(writers), text.strip(), "node")]


def _path_items(text: str, anatomy: Anatomy) -> list[Item]:
    places = [place.strip() for place in text.split("->")]
    if len(places) < 3:
        raise HypothesisError(
            f"--path {text!r} is no path: write at least two arrows, for example "
            'embed("reward") -> head(0, 1).v -> logits. For one arrow there is --edges.'
        )
    edges: list[Edge] = []
    for start, end in itertools.pairwise(places):
        writer = start[:-2].strip() if edges and start.endswith((".q", ".k", ".v")) else start
        matching = find_edges([f"{writer} -> {end}"], anatomy)
        if len(matching) > 1:
            raise HypothesisError(f"--path {text!r}: say with what {end} reads, {end}.q, {end}.k or {end}.v.")
        edges += matching
    return [Item(Chain(tuple(edges)), " -> ".join(places), "path")]


def _at(item: Item, typed: PatchArguments) -> Item:
    if (typed.written is None and typed.read is None) or isinstance(item.patch, Nodes):
        return item
    if isinstance(item.patch, Edge):
        edge = item.patch.at(typed.written, typed.read)
        return Item(edge, str(edge), item.kind)
    assert isinstance(item.patch, Chain)
    first, last = item.patch.edges[0], item.patch.edges[-1]
    middle = item.patch.edges[1:-1]
    edges = (replace(first, written_at=typed.written), *middle, replace(last, read_at=typed.read))
    name = item.name + (f" written at {typed.written}" if typed.written else "")
    return Item(Chain(edges), name + (f" read at {typed.read}" if typed.read else ""), item.kind)


def _screened(
    trials: Sequence[BoundPatches], asked: PatchSettings, scratch: Scratch, meter: Meter
) -> list[BoundPatches]:
    """Leave out the edges that attribution passes over, if somebody asked for that."""
    if asked.screen is None:
        return list(trials)
    edges, rows = (sum(counts) for counts in zip(*_sizes(trials), strict=True))
    steps = asked.attribution_steps
    method = "their gradients" if steps == 1 else "integrated gradients"
    meter.say(
        f"screening {edges:,} edges by {method} of {asked.metrics[0]}: {steps} {'run' if steps == 1 else 'runs'} of "
        f"each history forwards and back; the strongest {asked.screen:,} are then measured exactly"
    )
    meter.begin("screening", rows, "histories")
    return [screen(trial, asked, scratch, meter.advance) for trial in trials]


def _require_edges(trial: BoundPatches, asked: PatchSettings) -> None:
    if asked.screen is not None and not trial.to_screen():
        raise DataError(
            "--screen picks among single edges that no arrow declares, and there are none. Add --edges all."
        )


def _sizes(trials: Sequence[BoundPatches]) -> list[tuple[int, int]]:
    return [(len(trial.to_screen()), trial.pairs.reference.n_rows) for trial in trials]


def _announce(trials: Sequence[BoundPatches], asked: PatchSettings, meter: Meter) -> Callable[[int], None]:
    plans = [trial.plan(asked.memory) for trial in trials]
    rows = trials[0].pairs.reference.n_rows
    patches = sum(len(trial.items) for trial in trials)
    meter.say(
        f"{patches:,} patches in {rows:,} histories of {trials[0].pairs.reference.n_steps:,} steps, "
        f"{size(max(plan.bytes for plan in plans))} of memory"
    )
    meter.begin("patching", sum(plan.patched for plan in plans), "runs")
    return meter.advance


def _stopped(scratch: Scratch) -> str:
    if scratch.is_empty:
        return "stopped before anything was measured; nothing was kept."
    return f"stopped; what was measured is kept in {scratch.folder}; the same command goes on."


def show(study: PatchStudy, page: Path) -> None:
    """Print the answer, the arrows and the strongest edges, and where the report is."""
    console = out()
    subject = f"{study.name} on {study.model}" if study.name else study.model
    console.print(Text(f"{subject}: which edges matter", style="bold"))
    for line in plain_answer(study):
        console.print(Text(line))
    ranked = study.metrics[0]
    groups = {"declared arrows": arrows_of(study), "undeclared edges" if study.name else "edges": undeclared_of(study)}
    groups["edges that the claim leaves open"] = study.of_kind("open")
    groups["nodes and paths"] = study.of_kind("node", "path")
    for head, records in groups.items():
        if records:
            console.print(_table(head, by_size(records, ranked), study))
    if study.warnings:
        say(
            console,
            f"{len(study.warnings)} {'warning' if len(study.warnings) == 1 else 'warnings'}, see the report",
            "yellow",
        )
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
