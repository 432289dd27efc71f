"""`train`: distil a checkpoint from one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ad_hypotheses.cli.options import Device, Threads, default_name
from ad_hypotheses.cli.rerun import rerun_command
from ad_hypotheses.progress import duration
from ad_hypotheses.report import screen
from ad_hypotheses.report.screen import say
from ad_hypotheses.studies.machine import set_up_torch

if TYPE_CHECKING:
    from ad_hypotheses.studies.train.study import TrainedModel


def train(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to keep the checkpoint.", show_default="models/<name>"),
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
    track: Annotated[
        str | None,
        typer.Option("--track", metavar="NAME", help="Send figures to wandb or trackio, too.", show_default="nowhere"),
    ] = None,
) -> None:
    """Train a model from a configuration.

    Ctrl-C stops it; the same command goes on.
    """
    from ad_hypotheses.distill.config import read_config

    settings = read_config(config, task_file="named")
    from ad_hypotheses.distill.parallel import Ranks
    from ad_hypotheses.report.track import tracking
    from ad_hypotheses.studies.interrupt import following, watched
    from ad_hypotheses.studies.train.study import train as train_model

    ranks = Ranks.from_environment()
    set_up_torch(ranks.device(device), threads)
    folder = Path("models") / default_name(config) if out is None else out
    if not ranks.first:
        with following():
            train_model(settings, folder, device=device)
        return
    command = rerun_command(context, config.as_posix(), ranks=ranks.count, leave_out=("track",))
    with watched() as meter, tracking(track, folder.name, settings.model_dump(), meter):
        trained = train_model(settings, folder, device=device, command=command, progress=meter)
    _show(trained, folder)


def _show(trained: TrainedModel, folder: Path) -> None:
    console = screen.out()
    if not trained.is_new:
        files = ", ".join(trained.written)
        wrote = f" Its {files} {'was' if len(trained.written) == 1 else 'were'} missing, and written." * bool(files)
        say(console, f"{folder} is trained already, with this very configuration; delete it to train it anew.{wrote}")
        return
    from ad_hypotheses.distill.config import SCRATCH
    from ad_hypotheses.studies.evaluate.summary import meaning, table

    evaluation = trained.record["evaluation"]
    console.print(table(evaluation, trained.config))
    say(console, meaning(evaluation, trained.config).replace("*", ""), "dim")
    say(console, f"kept in {folder} after {duration(trained.record['seconds'])}; its card: {folder / 'card.md'}")
    say(console, f"{folder / SCRATCH} holds the histories and may be deleted", "dim")
