"""Which checkpoints are meant by names, folders of checkpoints, and patterns such as `models/grid/*`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ad_hypotheses.distill.checkpoint import STAGES, WEIGHTS, Checkpoint, find, load
from ad_hypotheses.errors import CheckpointError, UserError
from ad_hypotheses.progress import Progress
from ad_hypotheses.storage.reading import real_path

DEEPEST = 3  # folders below a place to look into: models, a grid, one of its models


@dataclass(frozen=True)
class CheckpointChoice:
    """A checkpoint and what it is called, with the folders above it below that of all models."""

    name: str
    checkpoint: Checkpoint


def choose(
    typed: Sequence[str],
    models: Path,
    device: str,
    damaged: dict[str, UserError] | None = None,
    progress: Progress | None = None,
) -> list[CheckpointChoice]:
    """Load the checkpoints that are meant, each once, in the order in which they were typed.

    A folder of checkpoints means all of them. Where a pattern, or a shell, names what is no checkpoint besides, that
    is left out, with a word.

    Args:
        typed: Names, folders and patterns.
        models: Where named checkpoints lie.
        device: Where to load them.
        damaged: Takes what is wrong with those that are damaged, by name, if others are not; without it the first such
            is refused.
        progress: Listens on the way.

    Raises:
        CheckpointError: A name or pattern means no checkpoint, or one is damaged.
    """
    folders: dict[Path, Path] = {}
    for text in typed:
        for folder in _meant(text, models, len(typed) == 1, progress or Progress()):
            folders.setdefault(real_path(folder), folder)
    if not folders:
        raise CheckpointError(f"none of what was typed is a trained model: {', '.join(typed)}.")
    called = _names(list(folders.values()), models)
    choices: list[CheckpointChoice] = []
    wrong: dict[str, UserError] = {}
    for name, folder in zip(called, folders.values(), strict=True):
        try:
            choices.append(CheckpointChoice(name, load(folder, models, device)))
        except UserError as error:  # of its weights, its record or its configuration
            wrong[name] = error
            if damaged is None:
                raise
    if not choices:
        raise next(iter(wrong.values()))
    if damaged is not None:
        damaged |= wrong
    return choices


def _meant(text: str, models: Path, alone: bool, progress: Progress) -> list[Path]:
    places = [models / text, Path(text)]
    if any(sign in text for sign in "*?["):
        matched = sorted(
            {path for root in (models, Path()) if not Path(text).is_absolute() for path in root.glob(text)}
        )
        folders = [folder for path in matched for folder in _below(path)]
        if not folders:
            raise CheckpointError(f"no trained model matches {text!r}, in {real_path(models)} or {real_path(Path())}.")
        return folders
    for place in places:
        if folders := _below(place):
            return folders
    if not alone and any(place.exists() for place in places):
        progress.say(f"left out: {text} holds no trained model", "dim")
        return []
    return [find(text, models)]


def _below(place: Path) -> list[Path]:
    """Return the folder if it is a checkpoint, else those below it that are."""
    if (place / WEIGHTS).is_file():
        return [place]
    folders = []
    for text, below, files in os.walk(place):
        folder = Path(text)
        if WEIGHTS in files:
            folders.append(folder)
        if len(folder.relative_to(place).parts) == DEEPEST:
            below.clear()  # where something else lies, such as the whole of a disk, its search would not end
        below[:] = [name for name in below if name != STAGES]
    return sorted(folders)


def _names(folders: Sequence[Path], models: Path) -> list[str]:
    """Return what checkpoints are called: their place below the models, else their folder, in full where two agree."""
    root = real_path(models)
    names = [
        real_path(folder).relative_to(root).as_posix()
        if real_path(folder).is_relative_to(root)
        else real_path(folder).name
        for folder in folders
    ]
    return [
        name if names.count(name) == 1 else real_path(folder).as_posix().strip("/")
        for name, folder in zip(names, folders, strict=True)
    ]
