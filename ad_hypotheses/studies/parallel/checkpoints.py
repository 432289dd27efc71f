"""Models as workers find them: on a disk that all see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.errors import CheckpointError
from ad_hypotheses.tasks import trust
from ad_hypotheses.tasks.task_file import file_of


@dataclass(frozen=True)
class CheckpointOnDisk:
    """A model that every worker reads for itself.

    Attributes:
        folder: Its folder, in full.
        name: What it is called.
        sha256: Of its weights.
        device: Where to put them.
        task_file: Python file of its task, which the user has named; None for a task that ships.
    """

    folder: Path
    name: str
    sha256: str
    device: str
    task_file: Path | None = None

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> CheckpointOnDisk:
        """Say where a model lies.

        Raises:
            CheckpointError: It is in this process alone.
        """
        if not checkpoint.folder.is_dir():
            raise CheckpointError(
                f"the model {checkpoint.name} is in this process alone, and workers read models from a disk that all "
                'see. Keep it first: model.save("models/NAME").'
            )
        file = file_of(checkpoint.config.task["name"])
        return cls(checkpoint.folder.absolute(), checkpoint.name, checkpoint.sha256, str(checkpoint.model.device), file)

    def load(self) -> Checkpoint:
        """Read the model, unless this process has it.

        Raises:
            CheckpointError: It was changed since, on disk or in the process that sends the job.
        """
        return _loaded(self)


@lru_cache(maxsize=2)
def _loaded(place: CheckpointOnDisk) -> Checkpoint:
    if place.task_file is not None:
        trust(place.task_file)
    checkpoint = load(place.folder, device=place.device)
    if checkpoint.sha256 != place.sha256:
        raise CheckpointError(
            f"the weights of {place.name} are not those in {place.folder}, which workers read. Keep a model that was "
            'changed first: model.save("models/NAME").'
        )
    checkpoint.model.name = place.name
    return replace(checkpoint, name=place.name)
