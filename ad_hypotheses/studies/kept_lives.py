"""What every study of a model wants again, kept on disk: its lives, which take long to live, and its runs over them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ad_hypotheses.causal.clean import Keeper
from ad_hypotheses.distill.checkpoint import Checkpoint, versions
from ad_hypotheses.language.history import History, history_digest
from ad_hypotheses.storage.scratch import make_room
from ad_hypotheses.storage.store import Store
from ad_hypotheses.studies.data import Dataset, histories

LIVED_AS = 2  # raise it when the same seed comes to give other lives: those kept are then lived anew
RUNS, ROOM = "runs", 2 * 10**9  # folder of what models compute over them, and bytes for all of it
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
        own: History | None = None,
    ) -> Dataset:
        """Return what `studies.data.histories` makes of the same arguments: read if it is there, else made and kept."""
        if self.folder is None:
            return histories(checkpoint, rows, data, seed, tasks, first_learner, progress, own=own)
        config = checkpoint.config
        made_by = (rows, data, seed, tasks, first_learner, config.model_dump_json(), config.experiment.code_digest)
        arrays = Store(self.folder).get(
            _name(checkpoint, made_by),
            lambda: _arrays(histories(checkpoint, rows, data, seed, tasks, first_learner, progress, own=own)),
        )
        return _dataset(arrays)

    def keeper(self, checkpoint: Checkpoint, history: History) -> Keeper | None:
        """Return what keeps the runs of a model over histories; None where nothing is kept."""
        if self.folder is None:
            return None
        folder, run = self.folder / RUNS, (str(checkpoint.model.device), history_digest(history))

        def keep(name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
            values = Store(folder, must_keep=False).get(_name(checkpoint, (*run, name)), lambda: {"values": make()})
            make_room(folder, ROOM)
            return values["values"]

        return keep


NOT_KEPT = LivesOnDisk()


def _name(checkpoint: Checkpoint, made_by: tuple[object, ...]) -> str:
    whole = repr((LIVED_AS, checkpoint.sha256, versions(), made_by))
    return hashlib.sha256(whole.encode()).hexdigest()[:24]


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


def _dataset(arrays: Mapping[str, np.ndarray]) -> Dataset:
    """Return the data set that arrays hold."""
    fields: dict[str, Any] = dict(arrays)
    data, words, breaks, channels, n_actions, names = json.loads(str(fields.pop("text")))
    facts = {name: fields.pop(FACT + name) for name in names}
    sampled = fields.pop("sampled")
    history = History(**fields, channels=tuple(channels), n_actions=n_actions, task=facts)
    return Dataset(history, data, words, breaks, sampled)
