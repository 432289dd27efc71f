"""`scrub`: test every hypothesis of a file by causal scrubbing, and write a report of each."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ad_hypotheses.cli.messages import options_of, with_options
from ad_hypotheses.cli.options import (
    DATA,
    Adversary,
    AsJson,
    Device,
    EngineName,
    Findings,
    HypothesisFile,
    Memory,
    Models,
    OneModel,
    Reports,
    Seed,
    Tasks,
    Threads,
    Trust,
    at_least,
    load_named,
    parse_memory,
    threads_of,
    workers_of,
)
from ad_hypotheses.cli.rerun import is_typed, rerun_command
from ad_hypotheses.errors import UserError
from ad_hypotheses.report.screen import show_reports
from ad_hypotheses.studies.interrupt import resumable, watched
from ad_hypotheses.studies.machine import keep_freed_memory, require_writable, set_up_torch

if TYPE_CHECKING:
    from rich.console import Console

    from ad_hypotheses.progress import Progress
    from ad_hypotheses.studies.scrub.record import Study

FINDINGS = 3  # of an adversary that nobody asked for more


def scrub(
    context: typer.Context,
    file: HypothesisFile,
    model: OneModel = None,
    models: Models = Path("models"),
    reports: Reports = Path("reports"),
    rows: Annotated[
        int,
        typer.Option("--rows", metavar="N", callback=at_least(2, "256 is a good number"), help="Learning histories."),
    ] = 256,
    passes: Annotated[
        int,
        typer.Option(
            "--passes", metavar="N", callback=at_least(1), help="How often each history is scrubbed, at most."
        ),
    ] = 2,
    pool: Annotated[
        int | None,
        typer.Option(
            "--pool",
            metavar="N",
            callback=at_least(2),
            help="Donors, which are other histories; by default 4 times the references, at least 1024.",
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            "--data", metavar="NAMES", help="Data sets, separated by commas: source, own, edited or edited:FAMILY."
        ),
    ] = DATA,
    tasks: Tasks = "all",
    others: Annotated[
        Literal["joint", "independent"],
        typer.Option("--others", help="Whether unimportant inputs come from one random history, or each from its own."),
    ] = "joint",
    align: Annotated[
        Literal["step", "episode_step", "any"],
        typer.Option("--align", help="Which steps may stand in for a step: the same, the same of any episode, any."),
    ] = "step",
    shared: Annotated[
        bool, typer.Option("--shared", help="Draw a node once for all its readers: cheaper, and less strict.")
    ] = False,
    seed: Seed = 0,
    rollouts: Annotated[
        int,
        typer.Option("--rollouts", metavar="N", callback=at_least(0), help="Lives of the explanation as a learner."),
    ] = 64,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against",
            metavar="FILE",
            help="Compare with the claims of this file; by default with all about the same model. Repeatable.",
        ),
    ] = None,
    no_rivals: Annotated[
        bool, typer.Option("--no-rivals", help="Do not compare the claim with others about the same model.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="First figures in seconds, no verdict: 32 histories of the source alone, 1 pass, no report."
        ),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="A quick look whenever the file is saved, beside the latest ones.")
    ] = False,
    adversary: Adversary = False,
    findings: Findings = None,
    memory: Memory = None,
    trust: Trust = None,
    device: Device = "cpu",
    threads: Threads = None,
    engine: EngineName = "local",
    as_json: AsJson = False,
) -> None:
    """Test the hypotheses of a file by causal scrubbing, and write a report of each.

    Hypotheses, their controls and a claim at wrong sites are judged together.

    Ctrl-C stops it; the same command goes on.
    """
    hypotheses = load_named(file)
    how: dict[str, Any] = {"tasks": tasks, "others": others, "align": align, "shared": shared, "seed": seed}
    how["memory"] = None if memory is None else parse_memory(memory)
    if quick or watch:
        _refuse_with_quick(adversary, against, data)
        set_up_torch(device, threads)
        sizes = {"rows": rows, "passes": passes, "pool": pool}
        how |= {name: size for name, size in sizes.items() if is_typed(context, name)}
        _look(file, how, (model, models, device), watch, as_json)
        return
    require_writable(reports, "reports")
    from ad_hypotheses.distill.checkpoint import load as load_checkpoint
    from ad_hypotheses.language.load import places, shown_file
    from ad_hypotheses.storage.scratch import LIVES
    from ad_hypotheses.studies.data import data_names
    from ad_hypotheses.studies.parallel.scrubbing import measure_elsewhere
    from ad_hypotheses.studies.report_index import write_reports
    from ad_hypotheses.studies.scrub.bind import ScrubSettings
    from ad_hypotheses.studies.scrub.page import write_report
    from ad_hypotheses.studies.scrub.study import scrub as scrub_hypotheses

    set_up_torch(device, threads_of(engine, threads))
    settings = ScrubSettings(
        rows=rows, passes=passes, pool=pool, data=data_names(data), rollouts=rollouts,
        findings=_findings(adversary, findings), rivals=not no_rivals, **how,
    )  # fmt: skip
    command = rerun_command(context, shown_file(file), leave_out=("reports", "memory", "engine"))
    rivals = None if against is None else [claim for path in against for claim in load_named(str(path))]
    with (
        resumable(reports, Path(file).stem, "a claim", "measured") as (meter, scratch),
        workers_of(engine, meter, threads, device) as workers,
    ):
        if not workers.alone:
            load = partial(load_checkpoint, models=models, device=device)
            where = (model, load, settings, reports / LIVES, scratch)
            measure_elsewhere(workers, hypotheses, places(file)[0], *where, meter)
        studies = scrub_hypotheses(
            hypotheses, settings, model=model, models=models, device=device, against=rivals, command=command,
            scratch=scratch, lives=reports / LIVES, progress=meter,
        )  # fmt: skip
        pages = write_reports(studies, lambda study: write_report(study, reports), meter)
    show_reports(studies, pages, as_json, _show)


def _refuse_with_quick(adversary: bool, against: list[Path] | None, data: str) -> None:
    """Refuse what a quick look does not look at.

    Raises:
        UserError: It was asked for.
    """
    unseen = {"--adversary": adversary, "--against": against, "--data": data != DATA}
    named = [option for option, value in unseen.items() if value]
    if named:
        raise UserError(
            f"{' and '.join(named)}: a quick look is at the claim alone, on the source's data. Leave out --quick and "
            "--watch, or the rest."
        )


def _look(file: str, settings: dict[str, Any], where: tuple[str | None, Path, str], watch: bool, as_json: bool) -> None:
    """Look at the claims of a file, once or whenever it is saved, and show figures without a report."""
    from ad_hypotheses.language.load import places
    from ad_hypotheses.studies.quick_scrub import quick_looks, quick_settings
    from ad_hypotheses.studies.scrub.kept import Kept
    from ad_hypotheses.studies.watch import watch as watch_file

    kept = Kept()

    def look(progress: Progress | None = None) -> list[Study]:
        return quick_looks(load_named(file), quick_settings(**settings), *where, kept, progress)

    keep_freed_memory()
    if watch:
        watch_file(places(file)[0], look, lambda error: with_options(str(error), options_of(scrub)))
    with watched() as meter, meter.stopping(lambda: "nothing is kept of a quick look."):
        studies = look(meter)
    show_reports(studies, [None] * len(studies), as_json, _show)


def _findings(adversary: bool, findings: int | None) -> int | None:
    """Return how many findings an adversary may report; None if there is none.

    Raises:
        UserError: A number of findings was typed without an adversary.
    """
    if findings is not None and not adversary:
        raise UserError(f"--findings {findings} is about what an adversary reports: add --adversary, or leave it out.")
    return (findings or FINDINGS) if adversary else None


def _show(study: Study, console: Console, page: Path | None) -> None:
    from ad_hypotheses.studies.scrub.summary import show

    show(study, console, page)
    console.print()
