"""`evaluate`: roll checkpoints out on training and held-out tasks, beside their source and the baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_hypotheses.cli.options import AsJson, Device, Models, Seed, Threads, Trust, at_least
from ad_hypotheses.studies.machine import require_writable, set_up_torch


def evaluate(
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
    reports: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to write the report.")] = Path(
        "reports"
    ),
    as_json: AsJson = False,
) -> None:
    """Let models learn in their context, and compare what they earn.

    Writes one page with pictures and a table of every figure.

    Ctrl-C stops it; the same command goes on.
    """
    from ad_hypotheses.errors import CheckpointError, UserError
    from ad_hypotheses.studies.evaluate.choose import choose
    from ad_hypotheses.studies.evaluate.study import EvaluationSettings, evaluate_all

    set_up_torch(device, threads)
    damaged: dict[str, UserError] = {}
    chosen = choose(model, models, device, damaged)
    require_writable(reports, "reports")
    evaluate_all(
        chosen, EvaluationSettings(model, models, rollouts, seed, quick, device, reports, trust or ()), as_json
    )
    if damaged:
        listed = "\n".join(f"  {name}: {error}" for name, error in damaged.items())
        raise CheckpointError(f"the others were evaluated; these are damaged:\n{listed}")
