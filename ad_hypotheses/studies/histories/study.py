"""Generate the learning histories of a configuration, and measure whether its learners learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.feasible import require_feasible
from ad_hypotheses.distill.train import training_histories
from ad_hypotheses.errors import UserError
from ad_hypotheses.language.history import History
from ad_hypotheses.progress import Progress, counting
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.sources.histories import Ahead, HistoryFolder, ShardLives, open_histories
from ad_hypotheses.sources.learning import Learning, learning_of_histories
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.storage.lock import held
from ad_hypotheses.studies.histories.pictures import source_curve
from ad_hypotheses.studies.machine import require_writable
from ad_hypotheses.studies.parallel.workers import ALONE, Workers
from ad_hypotheses.tasks.task_file import file_of

CURVE = "learning.png"  # beside the histories
SOURCE_CURVE = "source.png"  # beside the weights of a model that was distilled from them


@dataclass(frozen=True)
class GeneratedHistories:
    """Learning histories on disk, and how their learners learn.

    Attributes:
        config: Configuration whose they are.
        histories: The histories.
        learning: What the learners earn in the course of them.
        folder: Where the histories are kept, with a picture of the learning curve.
    """

    config: Config = field(repr=False)
    histories: HistoryFolder = field(repr=False)
    learning: Learning = field(repr=False)
    folder: Path

    @property
    def title(self) -> str:
        """`dyna-q learning dark-room (size 9, horizon 20)`."""
        return _title(self.config)


def histories(
    config: Config, out: Path, *, workers: Workers = ALONE, progress: Progress | None = None
) -> GeneratedHistories:
    """Generate the histories of a configuration, or open those that are there, and measure how they learn.

    Whether learners learn that should is not judged: :func:`ad_hypotheses.sources.learning.require_improvement`.

    Args:
        config: Task, source and number of the histories.
        out: Folder that keeps them.
        workers: Where learners live.
        progress: Listens on the way.

    Raises:
        UserError: The folder cannot be written, or holds other histories; or workers would not find the task.
    """
    progress = progress or Progress()
    if not workers.alone and file_of(config.task["name"]) is not None:
        raise UserError(
            f"the task is in {file_of(config.task['name'])}, which is run in this process alone: leave the engine away "
            "(`engine`)."
        )
    require_feasible(config, f"the configuration of {out}")
    require_writable(out, "out")
    with (
        progress.stopping(lambda: "stopped; finished parts are kept, the same command goes on."),
        held(out, "generating histories", progress.say),
    ):
        progress.begin("histories", 0, "learners")
        spread = None if workers.alone else partial(_spread, workers, out)
        generated = training_histories(config, out, counting(progress, "histories"), check=False, spread=spread)
        progress.begin("looking at what they earn", 0)
        learning = learning_of_histories(generated, config.experiment.task, config.histories.seed)
        write_atomically(out / CURVE, source_curve(learning, _title(config)))
    return GeneratedHistories(config, generated, learning, out)


def _spread(workers: Workers, out: Path, lives: ShardLives) -> Ahead:
    """Return what lets the learners of several shards live at once."""

    def ahead(shards: Sequence[tuple[int, np.ndarray]]) -> Iterator[tuple[int, History]]:
        for (number, _), history in workers.do(partial(_shard, lives), shards, out):
            yield number, history

    return ahead


def _shard(lives: ShardLives, shard: tuple[int, np.ndarray]) -> History:
    return lives(*shard)


def export(generated: GeneratedHistories, name: str, *, progress: Progress | None = None) -> None:
    """Write histories as a Minari dataset too.

    Args:
        generated: From :func:`histories`.
        name: Name of the dataset, `dark-room/dyna-q-v0`.
        progress: Listens on the way.

    Raises:
        UserError: Minari is not installed, or has such a dataset.
    """
    from ad_hypotheses.sources.minari_data import export_minari

    progress = progress or Progress()
    with progress.stopping(lambda: f"stopped; the Minari dataset {name} was not written."):
        progress.begin("writing for Minari", generated.histories.n_histories)
        task = generated.config.experiment.task
        export_minari(generated.histories, name, task, counting(progress, "writing for Minari"))


def source_figures(config: Config, folder: Path) -> dict[str, Any]:
    """Return how the learners improved that a model is distilled from, for its record.

    Args:
        config: Of the model.
        folder: Where its histories are.

    Raises:
        DataError: The histories are damaged.
    """
    histories = open_histories(folder, verify=False)
    return asdict(learning_of_histories(histories, config.experiment.task, config.histories.seed))


def draw_source_curve(figures: dict[str, Any], config: Config) -> bytes:
    """Return the picture of what :func:`source_figures` returned, as a PNG."""
    return source_curve(Learning(**figures), _title(config))


def sentence(learning: Learning) -> str:
    """Say how learners improved."""
    return (
        f"{learning.learners:,} learners earn {learning.first:.2f} in the first {learning.span} and "
        f"{learning.last:.2f} in the last, on average; {learning.optimum:.2f} is the optimum. "
        f"{learning.improved:.0%} of those with something to learn improve."
    )


def _title(config: Config) -> str:
    return f"{config.source['name']} learning {describe(config.experiment.task)}"
