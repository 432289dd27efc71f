"""`evaluate`: roll checkpoints out on training and held-out tasks, beside their source and the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ad_hypotheses.cli.options import (
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
    from ad_hypotheses.studies.evaluate.choose import CheckpointChoice
    from ad_hypotheses.studies.evaluate.record import Evaluated


def evaluate(
    context: typer.Context,
    model: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="Names or folders, or patterns such as 'grid/*'.", show_default=False),
    ],
    models: Models = Path("models"),
    rollouts: Annotated[
        int, typer.Option("--rollouts", metavar="N", callback=at_least(1), help="Lives of each learner.")
    ] = 500,
    seed: Seed = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Learning curves only; no shorter memory, no unusual starts.")
    ] = False,
    trust: Trust = None,
    device: Device = "cpu",
    threads: Threads = None,
    engine: EngineName = "local",
    reports: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to write the report.")] = Path(
        "reports"
    ),
    as_json: AsJson = False,
) -> None:
    """Let models learn in their context, and compare what they earn.

    Writes one page with pictures and a table of every figure.

    Ctrl-C stops it; the same command goes on.
    """
    from ad_hypotheses.storage.scratch import clear_old
    from ad_hypotheses.studies.evaluate.choose import choose
    from ad_hypotheses.studies.evaluate.page import write_evaluation
    from ad_hypotheses.studies.evaluate.study import KEPT
    from ad_hypotheses.studies.evaluate.study import evaluate as evaluate_models
    from ad_hypotheses.studies.interrupt import watched
    from ad_hypotheses.studies.report_index import note_reports

    set_up_torch(device, threads_of(engine, threads))
    damaged: dict[str, UserError] = {}
    command = rerun_command(context, *model, leave_out=("threads", "engine"), always=("rollouts", "seed"))
    with watched() as meter:
        chosen = choose(model, models, device, damaged, meter)
        require_writable(reports, "reports")
        with workers_of(engine, meter, threads, device) as workers:
            evaluation = evaluate_models(
                chosen,
                rollouts=rollouts,
                seed=seed,
                quick=quick,
                device=device,
                command=command,
                kept=reports / KEPT,
                workers=workers,
                progress=meter,
            )
        kept = f"what was measured is kept in {reports / KEPT}"
        with meter.stopping(lambda: f"stopped; {kept}; the same command goes on."):
            page = write_evaluation(evaluation, reports)[-1]
            note_reports([page])
        meter.say(clear_old(reports / KEPT), "dim")
    if as_json:
        print_json({"report": page.as_posix(), "models": [_plain(model) for model in evaluation.models]})
    else:
        _show(chosen, evaluation.models, page)
    if damaged:
        listed = "\n".join(f"  {name}: {error}" for name, error in damaged.items())
        raise CheckpointError(f"the others were evaluated; these are damaged:\n{listed}")


def _plain(evaluation: Evaluated) -> dict[str, Any]:
    return {
        "model": evaluation.name,
        "weights_sha256": evaluation.sha256,
        "task": evaluation.task,
        "parameters": evaluation.parameters,
        **evaluation.results,
    }


def _show(chosen: Sequence[CheckpointChoice], evaluations: Sequence[Evaluated], page: Path) -> None:
    from ad_hypotheses.studies.evaluate.learners import counted
    from ad_hypotheses.studies.evaluate.record import headline, overview_rows
    from ad_hypotheses.studies.evaluate.summary import drawn, meaning, table

    console = out()
    if len(evaluations) == 1:
        evaluation, config = evaluations[0], chosen[0].checkpoint.config
        results = dict(evaluation.results)
        say(console, f"{evaluation.name}, {counted(results['rollouts'], 'rollout')}", "bold")
        console.print(table(results, config))
        say(
            console,
            headline(results, evaluation.episodes, evaluation.unit, evaluation.seen).replace("*", ""),
        )
        say(console, meaning(results, config).replace("*", ""), "dim")
    else:
        heads, rows = overview_rows(evaluations, brief=True)
        console.print(drawn(heads, rows))
    say(console, f"report: {page}")
