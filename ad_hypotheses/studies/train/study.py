"""Distil a checkpoint from one configuration, going on where an interrupted run stopped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ad_hypotheses.distill.checkpoint import CARD, CONFIG, CURVE, WEIGHTS, alterations, build, load, save
from ad_hypotheses.distill.config import SCRATCH, Config, differences, read_config
from ad_hypotheses.distill.feasible import require_feasible
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.parallel import Ranks
from ad_hypotheses.distill.train import HISTORIES
from ad_hypotheses.distill.train import train as distil
from ad_hypotheses.errors import CheckpointError, UserError
from ad_hypotheses.progress import Progress
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.storage.lock import clear_after_kills, held
from ad_hypotheses.studies.evaluate.study import evaluated
from ad_hypotheses.studies.evaluate.summary import n_learners
from ad_hypotheses.studies.histories.study import SOURCE_CURVE, source_figures
from ad_hypotheses.studies.machine import require_writable
from ad_hypotheses.studies.train.card import card_files, machine, write_missing

ROLLOUTS = 256  # behind the figures of a card


@dataclass(frozen=True)
class TrainedModel:
    """A model that a training made, or that was there already.

    Attributes:
        config: What it was trained with.
        model: The transformer, in evaluation mode.
        record: Its training and its evaluation, as kept beside the weights.
        folder: Folder of the checkpoint; None if it was not kept.
        is_new: Whether this training made it.
        written: Names of files that a finished checkpoint lacked, and that were written now.
    """

    config: Config = field(repr=False)
    model: ADTransformer = field(repr=False)
    record: Mapping[str, Any] = field(repr=False)
    folder: Path | None = None
    is_new: bool = True
    written: tuple[str, ...] = ()


def train(
    config: Config,
    out: Path | None = None,
    *,
    device: str = "cpu",
    command: str = "",
    progress: Progress | None = None,
) -> TrainedModel:
    """Train a model and evaluate it, unless it is there already.

    Laskin et al. 2022, "In-context Reinforcement Learning with Algorithm Distillation" (arXiv 2210.14215).

    Args:
        config: What to train.
        out: Folder of the checkpoint, which an interrupted training goes on from; None to keep nothing.
        device: Where to train.
        command: What makes the same model again, for its record.
        progress: Listens on the way.

    Returns:
        The model with its record. Of several processes that train together, those after the first return a record
        without an evaluation, and keep nothing.

    Raises:
        UserError: The folder holds another model or cannot be written, or several processes should train together and
            others train into it already; a process alone waits until these have finished.
    """
    if out is None:
        with tempfile.TemporaryDirectory(prefix="ad-hypotheses-") as folder:
            return _trained(config, Path(folder), False, device, command, progress or Progress())
    return _trained(config, out, True, device, command, progress or Progress())


def _trained(config: Config, folder: Path, keep: bool, device: str, command: str, progress: Progress) -> TrainedModel:
    ranks, finished = Ranks.from_environment(), is_finished(folder, config)
    if finished:
        return _finished(config, folder, ranks.first)
    if not ranks.first:
        return TrainedModel(config, *distil(config, folder / SCRATCH, device))
    require_feasible(config, f"the configuration of {folder}")
    require_writable(folder / SCRATCH, "out")
    with (
        _nothing_empty_left(folder),
        # of several processes only the first comes here, and the others do not know that it waits
        held(folder, "training", progress.say if ranks.count == 1 else None) as waited,
    ):
        if waited and is_finished(folder, config):
            return _finished(config, folder)
        _announce(config, folder, ranks.count, progress)
        model, record = distil(config, folder / SCRATCH, device, progress, folder if keep else None)
        if config.training.kept_as == "float16":  # what is evaluated is what is kept
            model = model.half().float()
        with progress.stopping(
            lambda: "stopped during the evaluation; the model is trained: the same command goes on."
        ):
            record["command"] = command
            _evaluate(config, folder, model, record, progress)
            if not keep:
                return TrainedModel(config, model, record)
            # the weights come last, so that half of a checkpoint is never taken for all of it
            save(
                folder,
                config,
                model,
                record,
                lambda sha256: card_files(folder.name, config, record, sha256),
                getattr(torch, config.training.kept_as),
            )
    return TrainedModel(config, model, record, folder)


@contextmanager
def _nothing_empty_left(target: Path) -> Iterator[None]:
    """Remove the folders of a training that was refused, if there is nothing in them."""
    try:
        yield
    except UserError:
        for folder in (target / SCRATCH / HISTORIES, target / SCRATCH, target):
            with suppress(OSError):  # it holds something
                folder.rmdir()
        raise


def _announce(config: Config, folder: Path, n_processes: int, progress: Progress) -> None:
    """Say what the training will cost."""
    n_parameters = sum(weight.numel() for weight in build(config).parameters())
    n_steps = config.experiment.history_steps
    progress.say(
        f"training {folder}: {n_parameters:,} parameters, {config.training.updates:,} updates of "
        f"{config.training.batch} histories" + (f" in {n_processes} processes" * (n_processes > 1))
    )
    number = f"histories: {n_learners(config):,}" if config.contexts is None else "contexts: new ones for each batch,"
    progress.say(
        f"{number} of {n_steps:,} steps; {describe(config.experiment.source)} in {describe(config.experiment.task)}",
        "dim",
    )


def _evaluate(config: Config, folder: Path, model: ADTransformer, record: dict[str, Any], progress: Progress) -> None:
    """Add to the record of a training what the model and its source are worth."""
    record["machine"] = machine(record["threads"], record["device"])
    record["parameters"] = sum(weight.numel() for weight in model.parameters())
    record["context"] = model.shape.n_ctx
    if config.contexts is None:
        record["source"] = source_figures(config, folder / SCRATCH / HISTORIES)
    record["evaluation"] = evaluated(model, config, ROLLOUTS, 0, progress)


def _finished(config: Config, folder: Path, mend: bool = True) -> TrainedModel:
    """Return a finished model; clears what kills left beside it, and writes files that it lacks."""
    written: list[str] = []
    if mend:
        for inner in (folder, folder / SCRATCH, folder / SCRATCH / HISTORIES):
            clear_after_kills(inner)
        written = write_missing_card(folder, config)
    checkpoint = load(folder)
    return TrainedModel(config, checkpoint.model, checkpoint.record, folder, False, tuple(written))


def is_finished(folder: Path, config: Config) -> bool:
    """Whether a folder holds this model, trained and unharmed.

    Raises:
        UserError: It holds another one.
    """
    if not (folder / WEIGHTS).exists():
        return False
    other = differences(config, read_config(folder / CONFIG, "unmade")) if (folder / CONFIG).exists() else []
    try:
        other = other or alterations(folder, config)
    except CheckpointError:
        return False
    if other:
        listed = "".join(f"\n  {difference}" for difference in other)
        raise UserError(
            f"{folder} holds a model that was trained with another configuration; it is left alone.{listed}\n"
            f"  Train into another folder (`out`), or delete {folder}."
        )
    try:
        load(folder)
    except CheckpointError:
        return False
    return True


def write_missing_card(target: Path, config: Config) -> list[str]:
    """Write the card of a finished model and its pictures where they are missing; returns the names of those.

    Raises:
        UserError: They cannot be written.
    """
    record = load(target).record
    names = [CURVE, CARD] + ([SOURCE_CURVE] if "source" in record else [])
    try:
        return write_missing(target, names, lambda: card_files(target.name, config, record, record["weights_sha256"]))
    except KeyError:  # the record is of a version that did not tell all that a card says today
        return []
