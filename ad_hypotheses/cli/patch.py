"""`patch`: which edges of a model matter, those that a hypothesis declares and those that it does not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ad_hypotheses.cli.options import (
    AsJson,
    Device,
    Memory,
    Models,
    OneModel,
    Parquet,
    Reports,
    Seed,
    Tasks,
    Trust,
    at_least,
    check_threads,
    is_hypothesis,
    load_named,
    parse_memory,
    parse_share,
)
from ad_hypotheses.cli.rerun import rerun_command
from ad_hypotheses.errors import CheckpointError, DataError
from ad_hypotheses.report.screen import show_reports
from ad_hypotheses.studies.interrupt import resumable
from ad_hypotheses.studies.machine import require_writable, set_up_torch

if TYPE_CHECKING:
    from rich.console import Console

    from ad_hypotheses.studies.patch.record import PatchStudy
    from ad_hypotheses.studies.patch.select import Selection


def patch(
    context: typer.Context,
    subject: Annotated[
        str, typer.Argument(metavar="FILE or MODEL", help="A hypothesis file; or a model alone.", show_default=False)
    ],
    model: OneModel = None,
    models: Models = Path("models"),
    edges: Annotated[
        list[str] | None,
        typer.Option("--edges", metavar="EDGE", help="'all', or one such as 'head(0, 1) -> logits'; repeatable."),
    ] = None,
    nodes: Annotated[
        list[str] | None,
        typer.Option("--nodes", metavar="WRITER", help="Replace it for all its readers; repeatable."),
    ] = None,
    paths: Annotated[
        list[str] | None,
        typer.Option("--path", metavar="PATH", help="Edges in a row: 'embed(\"x\") -> head(0, 1).v -> logits'."),
    ] = None,
    written: Annotated[
        str | None, typer.Option("--written", metavar="ROLE", help="Only what steps of this role write.")
    ] = None,
    read: Annotated[str | None, typer.Option("--read", metavar="ROLE", help="Only at steps of this role.")] = None,
    donors: Annotated[
        str,
        typer.Option("--donors", metavar="NAME", help="any, agree:NODE, or a counterfactual such as rewards-swapped."),
    ] = "any",
    direction: Annotated[
        Literal["noising", "denoising"],
        typer.Option("--direction", help="Patch the donor's writing into the reference's run, or the other way round."),
    ] = "noising",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", metavar="NAME", help="The first ranks; repeatable.", show_default="loss, kl, logit-difference"
        ),
    ] = None,
    screen: Annotated[
        int | None,
        typer.Option(
            "--screen",
            metavar="N",
            callback=at_least(1),
            help="Measure only the N undeclared edges with the largest attribution.",
            show_default="all",
        ),
    ] = None,
    screen_steps: Annotated[
        int | None,
        typer.Option(
            "--screen-steps",
            metavar="N",
            callback=at_least(1),
            help="1: attribution by gradients; more: by integrated gradients.",
            show_default="1; for kl 4",
        ),
    ] = None,
    screen_rule: Annotated[
        Literal["gradient", "relevance"],
        typer.Option("--screen-rule", help="What attribution takes backwards: gradients, or relevance (RelP)."),
    ] = "gradient",
    search: Annotated[
        float | None,
        typer.Option(
            "--search",
            metavar="SHARE",
            parser=parse_share,
            help="Find few edges that keep so much; write a hypothesis.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Where --search writes.", show_default="hypotheses/found_<model>.py"
        ),
    ] = None,
    reports: Reports = Path("reports"),
    rows: Annotated[
        int, typer.Option("--rows", metavar="N", callback=at_least(2, "64 is a good number"), help="Histories.")
    ] = 64,
    tasks: Tasks = "all",
    data: Annotated[
        str, typer.Option("--data", metavar="NAME", help="Whose lives: source, own, or edited:FAMILY.")
    ] = "source",
    seed: Seed = 0,
    memory: Memory = None,
    trust: Trust = None,
    device: Device = "cpu",
    threads: Annotated[
        int,
        typer.Option("--threads", metavar="N", callback=check_threads, help="Threads that torch may use."),
    ] = 2,
    parquet: Parquet = False,
    as_json: AsJson = False,
) -> None:
    """Test single edges by path patching: which declared ones are needed, which undeclared ones matter more.

    Given a model alone, edges, nodes and paths of it are mapped without a claim, or few edges are searched for.

    Ctrl-C stops it; the same command goes on.
    """
    require_writable(reports, "reports")
    _refuse_stray(screen, screen_steps, screen_rule, search, out)
    if parquet:
        _require_parquet()
    from ad_hypotheses.language.load import shown_file
    from ad_hypotheses.studies.patch.bind import PatchSettings
    from ad_hypotheses.studies.patch.page import write_patch_report
    from ad_hypotheses.studies.patch.select import Selection
    from ad_hypotheses.studies.patch.study import patch as patch_model
    from ad_hypotheses.studies.report_index import write_reports

    set_up_torch(device, threads)
    claimed, name = is_hypothesis(subject, models), f"patch-{Path(subject).stem}"
    command = rerun_command(context, shown_file(subject) if claimed else subject, leave_out=("reports", "memory"))
    if search is not None:
        from ad_hypotheses.cli.search import SearchCommand, search_edges

        run = SearchCommand(subject, out, models, reports, device, command, name, trust or (), as_json)
        search_edges(run, context, claimed)
        return
    selection = Selection(edges or (), nodes or (), paths or (), _role(written), _role(read))
    settings = PatchSettings(
        donors=donors, direction=direction, metrics=tuple(metric or PatchSettings.metrics), rows=rows, tasks=tasks,
        seed=seed, data=data, screen=screen, screen_steps=screen_steps, screen_rule=screen_rule,
        memory=parse_memory(memory) if memory else None,
    )  # fmt: skip
    hypotheses = load_named(subject) if claimed else []
    if not claimed:
        _require_patchable(subject, model, models, selection)
    with resumable(reports, name, "anything", "measured") as (meter, scratch):
        studies = patch_model(
            hypotheses, selection, settings, model=model if claimed else subject, models=models, device=device,
            command=command, scratch=scratch, progress=meter,
        )  # fmt: skip
        pages = write_reports(studies, lambda study: write_patch_report(study, reports, parquet), meter)
    show_reports(studies, pages, as_json, _show)


def _refuse_stray(
    screen: int | None, screen_steps: int | None, screen_rule: str, search: float | None, out: Path | None
) -> None:
    """Refuse options that say how to do what was not asked.

    Raises:
        DataError: One was typed.
    """
    if screen_steps is not None and screen is None and search is None:
        raise DataError("--screen-steps says how edges are screened. Add --screen N, the number to measure.")
    if screen_rule != "gradient" and screen is None:
        raise DataError("--screen-rule says how edges are screened. Add --screen N, the number to measure.")
    if out is not None and search is None:
        raise DataError("--out says where --search writes what it finds. Add --search; for reports there is --reports.")


def _require_parquet() -> None:
    from ad_hypotheses.studies.tables import require_parquet

    require_parquet()


def _role(typed: str | None) -> str | None:
    """Return a role as Python names it; `-` is accepted for `_`."""
    return None if typed is None else typed.replace("-", "_")


def _require_patchable(subject: str, model: str | None, models: Path, selection: Selection) -> None:
    """Refuse a model that does not exist, or with which nothing is to be done."""
    from ad_hypotheses.distill.checkpoint import find
    from ad_hypotheses.language.load import FOLDER

    if model is not None:
        raise DataError(f"{subject} is a model itself; --model goes with a hypothesis file.")
    try:
        find(subject, models)
    except CheckpointError as error:
        names = ", ".join(sorted(path.stem for path in FOLDER.glob("*.py"))) or "none"
        raise CheckpointError(f"{error}\n  It is no hypothesis file either; of those there are: {names}.") from error
    if selection.is_empty:
        raise DataError(
            f"nothing to patch: {subject} is a model, and no edges were named.\n"
            f"  Add --edges all, --edges 'head(0, 0) -> logits', --nodes 'head(0, 0)', --path or --search 0.9, "
            f"or name a hypothesis file."
        )


def _show(study: PatchStudy, console: Console, page: Path) -> None:
    from ad_hypotheses.studies.patch.summary import show

    show(study, console, page)
