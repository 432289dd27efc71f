"""What every study of a model wants again, kept on disk: its lives, which take long to live, and its own answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ad_hypotheses.distill.checkpoint import Checkpoint, versions
from ad_hypotheses.language.history import History
from ad_hypotheses.storage.checked import read_checked_arrays, write_checked_arrays
from ad_hypotheses.storage.files import replacing
from ad_hypotheses.studies.data import SOURCE, Dataset, histories

LIVED_AS = 1  # raise it when the same seed comes to give other lives: those kept are then lived anew
FACT = "fact "  # before the names of facts among the arrays


@dataclass(frozen=True)
class LivesOnDisk:
    """A folder of lives, each file named by all that its content depends on.

    Attributes:
        folder: Made when it is needed; None to keep nothing.
    """

    folder: Path | None = None

    def histories(
        self,
        checkpoint: Checkpoint,
        rows: int,
        data: str,
        seed: int | tuple[int, ...],
        tasks: str,
        first_learner: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Dataset:
        """Return what `studies.data.histories` makes of the same arguments: read if it is there, else made and kept.

        Histories of the source are always made: that takes no longer than reading the model takes.
        """
        if self.folder is None or data == SOURCE:
            return histories(checkpoint, rows, data, seed, tasks, first_learner, progress)
        config = checkpoint.config
        digest = hashlib.sha256(repr((rows, data, seed, tasks, first_learner)).encode())
        digest.update(json.dumps(config.model_dump(), sort_keys=True, default=str).encode())
        digest.update(config.code_digest().encode())
        path = self._path(checkpoint, digest)
        dataset = _read(path)
        if dataset is None:
            dataset = histories(checkpoint, rows, data, seed, tasks, first_learner, progress)
            _write(path, _arrays(dataset))
        return dataset

    def log_probs(
        self, checkpoint: Checkpoint, history: History, run: Callable[[], Float[np.ndarray, "row step action"]]
    ) -> Float[np.ndarray, "row step action"]:
        """Return the model's log-probabilities over histories: read if they are there, else worked out and kept."""
        if self.folder is None:
            return run()
        digest = hashlib.sha256(str(checkpoint.model.device).encode())
        for array in (history.observations, history.actions, history.rewards):
            digest.update(f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes())
        path = self._path(checkpoint, digest)
        arrays = read_checked_arrays(path)
        if arrays is None:
            arrays = {"log_probs": run()}
            _write(path, arrays)
        return arrays["log_probs"]

    def _path(self, checkpoint: Checkpoint, digest: hashlib._Hash) -> Path:
        assert self.folder is not None
        digest.update(json.dumps([LIVED_AS, checkpoint.sha256, versions()], sort_keys=True).encode())
        return self.folder / f"{digest.hexdigest()[:24]}.npz"


NOT_KEPT = LivesOnDisk()


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        write_checked_arrays(file, arrays)


def _arrays(dataset: Dataset) -> dict[str, np.ndarray]:
    history = dataset.history
    assert history.learner is not None, "data sets say who lived their histories"
    text = [dataset.data, dataset.words, dataset.breaks, list(history.channels), history.n_actions, list(history.task)]
    arrays = {
        "observations": history.observations,
        "actions": history.actions,
        "rewards": history.rewards,
        "episode": history.episode,
        "learner": history.learner,
        "sampled": dataset.sampled,
        "text": np.array(json.dumps(text)),
    }
    return arrays | {FACT + name: np.asarray(fact) for name, fact in history.task.items()}


def _read(path: Path) -> Dataset | None:
    """Return the data set that a file holds; None if it is not there as it was written."""
    arrays: dict[str, Any] | None = read_checked_arrays(path)
    if arrays is None:
        return None
    data, words, breaks, channels, n_actions, names = json.loads(str(arrays.pop("text")))
    facts = {name: arrays.pop(FACT + name) for name in names}
    sampled = arrays.pop("sampled")
    history = History(**arrays, channels=tuple(channels), n_actions=n_actions, task=facts)
    return Dataset(history, data, words, breaks, sampled)
