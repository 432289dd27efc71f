"""The measurements of a scrub on several processes: each data set of each hypothesis is a job.

Workers keep lives and measurements in the folders in which a study keeps them too, so that the study itself, run
afterwards, finds them there: what is measured, by what name it is kept and what is made of it is said in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.load import chosen
from ad_hypotheses.language.load import load as load_hypotheses
from ad_hypotheses.progress import Progress
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.kept_lives import LivesOnDisk
from ad_hypotheses.studies.parallel.checkpoints import CheckpointOnDisk
from ad_hypotheses.studies.parallel.workers import Workers
from ad_hypotheses.studies.scrub.bind import BoundStudy, ScrubSettings, data_sets, prepare
from ad_hypotheses.studies.scrub.ground import make_ground
from ad_hypotheses.studies.scrub.study import measured_claims
from ad_hypotheses.tasks import trust


@dataclass(frozen=True)
class ScrubPlace:
    """What workers need to find a study, all paths in full.

    Attributes:
        file: The hypothesis file, which the user has named.
        number: Of the hypothesis, among those of the file that are no controls of another.
        model: What it is tested on.
        renamed: Name of that model where it is not the one that the file names; None where it is.
        settings: How the study is made.
        lives: Folder in which lives of models are kept.
        scratch: Folder in which measurements are kept.
    """

    file: Path
    number: int
    model: CheckpointOnDisk
    renamed: str | None
    settings: ScrubSettings
    lives: Path
    scratch: Path


@dataclass(frozen=True)
class ScrubJob:
    """A data set of a study, whose lives are made, or whose claims are measured.

    Attributes:
        place: The study.
        data: Name of the data set.
    """

    place: ScrubPlace
    data: str


def measure_elsewhere(
    workers: Workers,
    hypotheses: Sequence[Hypothesis],
    file: Path,
    model: str | None,
    checkpoint_of: Callable[[str], Checkpoint],
    settings: ScrubSettings,
    lives: Path,
    scratch: Scratch,
    progress: Progress,
    only: str | None = None,
) -> None:
    """Let workers measure what a study needs and does not know yet.

    Args:
        workers: Where.
        hypotheses: All claims of the file.
        file: The hypothesis file.
        model: Name of the checkpoint to test on; None for those that the hypotheses name.
        checkpoint_of: Loads the checkpoint of a name.
        settings: How the study is made.
        lives: Folder in which lives of models are kept.
        scratch: Where measurements are kept.
        progress: Listens on the way.
        only: Name of the hypothesis that matters; None for all of the file.
    """
    jobs, loaded = [], cache(checkpoint_of)
    for number, (hypothesis, _) in enumerate(chosen(hypotheses, model)):
        if only is not None and hypothesis.name != only:
            continue
        checkpoint = loaded(hypothesis.model)
        where = (lives.absolute(), scratch.folder.absolute())
        place = ScrubPlace(file.absolute(), number, CheckpointOnDisk.of(checkpoint), model, settings, *where)
        jobs += [ScrubJob(place, name) for name in data_sets(checkpoint, settings)]
    of_models = {(job.place.model, job.data): job for job in jobs}
    for title, function, of_title in (("generating lives", live, [*of_models.values()]), ("scrubbing", measure, jobs)):
        progress.begin(title, len(of_title), "data sets")
        for job, _ in workers.do(function, of_title, scratch.folder):
            progress.note(job.data)
            progress.advance(1)


def live(job: ScrubJob) -> None:
    """Generate the histories of a data set, and keep them."""
    settings, place = job.place.settings, job.place
    how = (settings.rows, settings.donors, settings.tasks, settings.seed)
    make_ground(place.model.load(), job.data, *how, lives=LivesOnDisk(place.lives))


def measure(job: ScrubJob) -> None:
    """Measure all claims of a hypothesis on a data set, and keep what was measured."""
    place, study = job.place, _bound(job.place)
    (ground,) = (ground for ground in study.grounds if ground.data == job.data)
    with ground.clean.one_run():
        for _ in measured_claims(study, ground, place.settings, Scratch(place.scratch), Progress()):
            pass  # it is kept


@lru_cache(maxsize=1)
def _bound(place: ScrubPlace) -> BoundStudy:
    trust(place.file)
    hypothesis, controls = chosen(load_hypotheses(place.file), place.renamed)[place.number]
    return prepare(hypothesis, controls, place.model.load(), place.settings, lives=LivesOnDisk(place.lives))
