"""`patch`: which edges of a model matter, those that a hypothesis declares and those that it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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
    parse_memory,
    parse_share,
)
from ad_hypotheses.cli.rerun import rerun_command
from ad_hypotheses.studies.machine import require_writable, set_up_torch


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
    path: Annotated[
        list[str] | None,
        typer.Option("--path", metavar="PATH", help="Edges in a row: 'embed(\"x\") -> head(0, 1).v -> logits'."),
    ] = None,
    written: Annotated[
        str | None, typer.Option("--written", metavar="ROLE", help="Only what steps of this role write.")
    ] = None,
    read: Annotated[str | None, typer.Option("--read", metavar="ROLE", help="Only at steps of this role.")] = None,
    donors: Annotated[
        str,
        typer.Option("--donors", metavar="NAME", help="any, agree:NODE, or a counterfactual such as reward-moved."),
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
        int, typer.Option("--samples", metavar="N", callback=at_least(2, "64 is a good number"), help="Histories.")
    ] = 64,
    tasks: Tasks = "all",
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
    given = {name: value for name, value in locals().items() if name != "context"}
    require_writable(reports, "reports")
    from ad_hypotheses.cli.patch_study import PatchArguments, is_hypothesis, patch_all, refuse_loose_options, subjects
    from ad_hypotheses.cli.search import SearchArguments, refuse_what_does_not_go_with_it, search_model
    from ad_hypotheses.language.claims import shown_file
    from ad_hypotheses.studies.patch.study import PatchSettings

    set_up_torch(device, threads)
    # roles are spelt with "_", as Python names; "-" is accepted on the command line
    written, read = (None if role is None else role.replace("-", "_") for role in (written, read))
    argument = shown_file(subject) if is_hypothesis(subject, models) else subject
    command = rerun_command(context, argument, leave_out=("reports", "memory"))
    typed = PatchArguments(
        subject, model, models, reports, device, tuple(edges or ()), tuple(nodes or ()), tuple(path or ()), written,
        read, command, parquet, trust or (),
    )  # fmt: skip
    budget = None if memory is None else parse_memory(memory)
    metrics = tuple(metric) if metric else PatchSettings.metrics
    asked = PatchSettings(donors, direction, metrics, rows, tasks, seed, budget, screen, screen_steps)
    refuse_loose_options(given)
    if search is not None:
        refuse_what_does_not_go_with_it(typed, given)
        search_model(typed, SearchArguments(search, out), asked, as_json)
        return
    patch_all(subjects(typed), typed, asked, as_json)
