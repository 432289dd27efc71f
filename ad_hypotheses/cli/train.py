"""`train`: distil a checkpoint from one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_hypotheses.cli.options import Device, Threads
from ad_hypotheses.studies.machine import set_up_torch


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to keep the checkpoint.", show_default="models/<name>"),
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Train a model from a configuration.

    Ctrl-C stops it; the same command goes on.
    """
    from ad_hypotheses.distill.config import read_config

    settings = read_config(config, task_file="named")
    from ad_hypotheses.distill.parallel import Ranks
    from ad_hypotheses.studies.train.study import command, default_name, train_or_go_on

    set_up_torch(Ranks.from_environment().device(device), threads)
    target = Path("models") / default_name(config) if out is None else out
    train_or_go_on(settings, target, device, command(config, out, device, threads))
