"""`behave`: show models what simpler learners and their source would take differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ad_hypotheses.cli.options import (
    DATA,
    AsJson,
    Device,
    EngineName,
    Models,
    Seed,
    Threads,
    Trust,
    at_least,
    threads_of,
    workers_of,
)
from ad_hypotheses.cli.rerun import rerun_command
from ad_hypotheses.errors import CheckpointError, UserError
from ad_hypotheses.report.screen import out, print_json, say
from ad_hypotheses.studies.machine import require_writable, set_up_torch

if TYPE_CHECKING:
    from ad_hypotheses.studies.behave.record import ModelBehaviour


def behave(
    context: typer.Context,
    model: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL", help="Names or folders, or patterns such as 'grid/*'.", show_default="all of a study"
        ),
    ] = None,
    models: Models = Path("models"),
    test: Annotated[
        list[str] | None,
        typer.Option("--test", metavar="NAME", help="Do only this test; repeatable.", show_default="all"),
    ] = None,
    rung: Annotated[
        list[Path] | None,
        typer.Option("--rung", metavar="FILE", help="Python file with rungs of your own, which is run; repeatable."),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", metavar="RUNG", help="Do not run this rung; repeatable.")
    ] = None,
    study_file: Annotated[
        Path | None,
        typer.Option(
            "--study",
            metavar="FILE",
            help="Ask what the plan of a study says, and write a record a model beside it; other options than its own "
            "make a record exploratory.",
        ),
    ] = None,
    contexts: Annotated[
        int | None,
        typer.Option(
            "--contexts", metavar="N", callback=at_least(2), help="Contexts a cell.", show_default="200; quick 12"
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--source-seeds",
            metavar="N",
            callback=at_least(1),
            help="Learners that the source is averaged over in each context.",
            show_default="24; quick 8",
        ),
    ] = None,
    data: Annotated[
        str, typer.Option("--data", metavar="NAMES", help="Data sets to take a model apart on, with commas.")
    ] = DATA,
    seed: Seed = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Few contexts, for a first look.")] = False,
    trust: Trust = None,
    device: Device = "cpu",
    threads: Threads = None,
    engine: EngineName = "local",
    reports: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to write the report.")] = Path(
        "reports"
    ),
    as_json: AsJson = False,
) -> None:
    """Ask whether models do reinforcement learning in their context, or something simpler.

    Shows each model, its source and a ladder of simpler learners the same contexts, on which they disagree.

    Ctrl-C stops it; the same command goes on.
    """
    from ad_hypotheses.storage.scratch import clear_old
    from ad_hypotheses.studies.behave.page import write_behaviour
    from ad_hypotheses.studies.behave.study import CONTEXTS, FEW_CONTEXTS, FEW_SEEDS, KEPT, SEEDS
    from ad_hypotheses.studies.behave.study import behave as study
    from ad_hypotheses.studies.evaluate.choose import choose
    from ad_hypotheses.studies.interrupt import watched
    from ad_hypotheses.studies.report_index import note_reports

    if quick:
        contexts, seeds = contexts or FEW_CONTEXTS, seeds or FEW_SEEDS
    if study_file is not None:
        typed = {"contexts": contexts, "seeds": seeds, "tests": test or None, "leave_out": without or None,
                 "rungs": rung or None, "data": None if data == DATA else data, "seed": seed or None}  # fmt: skip
        changed = {name: value for name, value in typed.items() if value is not None}
        _ask_the_plan(context, study_file, model or [], models, changed, device, threads, engine, reports, as_json)
        return
    if not model:
        raise typer.BadParameter("name a model, or the plan of a study (--study).", param_hint="MODEL")
    set_up_torch(device, threads_of(engine, threads))
    damaged: dict[str, UserError] = {}
    command = rerun_command(context, *model, leave_out=("threads", "engine"), always=("seed",))
    with watched() as meter:
        chosen = choose(model, models, device, damaged, meter)
        require_writable(reports, "reports")
        with workers_of(engine, meter, threads, device) as workers:
            behaviour = study(
                chosen,
                contexts=contexts or CONTEXTS,
                seeds=seeds or SEEDS,
                seed=seed,
                tests=test or None,
                rungs=rung or (),
                leave_out=without or (),
                data=data,
                command=command,
                kept=reports / KEPT,
                workers=workers,
                progress=meter,
            )
        page = write_behaviour(behaviour, reports)[-1]
        note_reports([page])
        meter.say(clear_old(reports / KEPT), "dim")
    if as_json:
        print_json({"report": page.as_posix(), "record": page.with_suffix(".json").as_posix()})
    else:
        _show(behaviour.subjects, page)
    if damaged:
        listed = "\n".join(f"  {name}: {error}" for name, error in damaged.items())
        raise CheckpointError(f"the others were asked; these are damaged:\n{listed}")


def _ask_the_plan(
    context: typer.Context,
    file: Path,
    names: Sequence[str],
    models: Path,
    changed: Mapping[str, Any],
    device: str,
    threads: int | None,
    engine: str,
    reports: Path,
    as_json: bool,
) -> None:
    """Ask models what a plan says."""
    from ad_hypotheses.studies.behave.study import KEPT
    from ad_hypotheses.studies.evaluate.choose import choose
    from ad_hypotheses.studies.findings.asking import ask
    from ad_hypotheses.studies.findings.plan import RECORDS, read_plan
    from ad_hypotheses.studies.interrupt import watched

    plan, folder = read_plan(file), file.parent / RECORDS
    set_up_torch(device, threads_of(engine, threads))
    with watched() as meter, workers_of(engine, meter, threads, device) as workers:
        require_writable(folder, "reports")
        written = ask(
            plan,
            choose(list(names) or list(plan.models), models, device, progress=meter),
            folder,
            command=lambda name: rerun_command(context, name, leave_out=("threads", "seed", "engine")),
            changed=changed,
            kept=reports / KEPT,
            workers=workers,
            progress=meter,
        )
    if as_json:
        print_json({"records": [path.as_posix() for path in written]})
    else:
        for path in written:
            say(out(), f"record: {path}")


def _show(models: Sequence[ModelBehaviour], page: Path) -> None:
    console = out()
    for model in models:
        say(console, model.name, "bold")
        for test in model.tests:
            say(console, f"  {test.name}: {test.sentence}")
        for name, reason in model.left_out.items():
            say(console, f"  {name}: not done, {reason}", "dim")
    say(console, f"report: {page}")
