"""`histories`: generate what learners do, and see whether they learn."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from ad_hypotheses.cli.options import AsJson, EngineName, Threads, at_least, default_name, threads_of, workers_of
from ad_hypotheses.report import screen
from ad_hypotheses.report.screen import print_json, say
from ad_hypotheses.studies.machine import set_up_torch

if TYPE_CHECKING:
    from ad_hypotheses.studies.histories.study import GeneratedHistories


def histories(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file, as for train.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to keep them.", show_default="histories/<name>"),
    ] = None,
    learners: Annotated[
        int | None,
        typer.Option(
            "--learners", metavar="N", callback=at_least(1), help="How many.", show_default="what CONFIG says"
        ),
    ] = None,
    minari: Annotated[
        str | None,
        typer.Option("--export-minari", metavar="NAME", help="Also write a Minari dataset, e.g. dark-room/dyna-q-v0."),
    ] = None,
    threads: Threads = None,
    engine: EngineName = "local",
    as_json: AsJson = False,
) -> None:
    """Generate the histories of a configuration's learners, and see whether they learn.

    Ctrl-C stops it; the same command goes on.
    """
    from ad_hypotheses.distill.config import read_config

    settings = read_config(config, task_file="named")
    from ad_hypotheses.sources.learning import require_improvement
    from ad_hypotheses.studies.histories.study import export
    from ad_hypotheses.studies.histories.study import histories as generate_histories
    from ad_hypotheses.studies.interrupt import watched

    set_up_torch("cpu", threads_of(engine, threads))
    if learners is not None:
        fewer = settings.histories.model_copy(update={"learners": learners})
        settings = settings.model_copy(update={"histories": fewer})
    folder = Path("histories") / default_name(config) if out is None else out
    with watched() as meter, workers_of(engine, meter, threads) as workers:
        generated = generate_histories(settings, folder, workers=workers, progress=meter)
    if as_json:
        counts = {"histories": generated.histories.n_histories, "steps": generated.histories.n_steps}
        print_json({"folder": str(folder), **counts, "learning": asdict(generated.learning)})
    else:
        _show(generated)
    if minari is not None:
        with watched() as meter:
            export(generated, minari, progress=meter)
        if not as_json:
            say(screen.out(), f"Minari has them as {minari}")
    if settings.histories.check:
        require_improvement(generated.learning)


def _show(generated: GeneratedHistories) -> None:
    from ad_hypotheses.studies.histories.study import CURVE

    console, histories, learning = screen.out(), generated.histories, generated.learning
    episodes = generated.config.kept_episodes
    rows = {
        "histories": f"{histories.n_histories:,} of {histories.n_steps:,} steps, {episodes:,} episodes",
        f"first {learning.span}": f"{learning.first:.2f}",
        f"last {learning.span}": f"{learning.last:.2f}",
        "optimum": f"{learning.optimum:.2f}",
        "acting at random": "" if learning.random is None else f"{learning.random:.2f}",
        "learners that improve": f"{learning.improved:.0%} of those with something to learn",
        "learners with nothing to learn": f"{learning.satisfied:.0%}",
    }
    table = Table(box=box.SIMPLE_HEAD, show_header=False, title=generated.title, title_justify="left")
    for label, figure in rows.items():
        table.add_row(label, figure)
    console.print(table)
    say(console, f"kept in {generated.folder}; the learning curve: {generated.folder / CURVE}")
