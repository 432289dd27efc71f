"""Test claims whose truth is known, many times over, and count how often verdicts are wrong."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ad_hypotheses.known.calibration.cases import chosen
from ad_hypotheses.known.calibration.jobs import (
    FULL,
    Design,
    Job,
    Workplace,
    choose_pairs,
    cost,
    coverage_jobs,
    outcomes,
    put_together,
    run,
    trial_jobs,
)
from ad_hypotheses.known.calibration.record import Calibration
from ad_hypotheses.known.calibration.trials import CalibrationTrial
from ad_hypotheses.progress import Progress, duration
from ad_hypotheses.storage.lock import held
from ad_hypotheses.storage.places import known_hypotheses
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.evaluate.learners import counted
from ad_hypotheses.studies.parallel.workers import ALONE, Workers

Task = tuple[Job, str]  # and the name under which its outcome is kept
SECONDS_MEASURED = 10  # of working, after which the time that all of it takes can be told


def calibrate(
    networks: Sequence[str] = (),
    design: Design = FULL,
    *,
    models: Path = Path("models"),
    hypotheses: Path = Path("hypotheses/known"),
    workers: Workers = ALONE,
    command: str = "",
    scratch: Scratch | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Test claims whose truth is known, many times over, and count how often verdicts are wrong.

    Args:
        networks: Names of known networks; none for all of them.
        design: How much is run.
        models: Folder of the checkpoints.
        hypotheses: Folder of the hypothesis files of known networks.
        workers: Where jobs are done; those of an executor see the same folders.
        command: What makes the same calibration again, for its record.
        scratch: Where to keep what is done job by job, so that an interrupted calibration goes on where it stopped;
            None to keep nothing.
        progress: Listens on the way.

    Raises:
        UserError: A network does not exist, or a process was killed.
        CheckpointError: A checkpoint is missing or damaged.
        HypothesisError: A hypothesis file lacks a claim.
    """
    progress, hypotheses = progress or Progress(), known_hypotheses(hypotheses)
    if workers.executor is not None:  # its workers need not be where this process is
        models, hypotheses = models.absolute(), hypotheses.absolute()
        scratch = None if scratch is None else Scratch(scratch.folder.absolute(), scratch.used)
    work = _Work(workers, progress)
    if scratch is None:
        # workers of an executor see this folder, unlike that for what is brief
        near = None if workers.executor is None else Path.cwd()
        with tempfile.TemporaryDirectory(prefix="ad-hypotheses-", dir=near) as folder:
            place = Workplace(models, hypotheses, Scratch(Path(folder)))
            return _calibrated(chosen(networks), design, place, work, command)
    place = Workplace(models, hypotheses, scratch)
    with held(scratch.folder, "calibrating", progress.say):
        return _calibrated(chosen(networks), design, place, work, command)


def _calibrated(networks: Sequence[str], design: Design, place: Workplace, work: _Work, command: str) -> Calibration:
    progress = work.progress
    progress.begin("loading", len(networks), "networks")
    for network in networks:
        place.case(network)
        progress.advance(1)
    jobs = trial_jobs(networks, design)
    _announce(jobs, design, place, work)
    work.do(jobs, place, "testing claims")
    # which claims have intervals to count is known once all are tested
    more = coverage_jobs(choose_pairs(outcomes(jobs, place), design), design)
    work.do(more, place, "counting intervals")
    return put_together(networks, [*jobs, *more], design, place, command)


def _announce(jobs: Sequence[Job], design: Design, place: Workplace, work: _Work) -> None:
    trials = [job for job in jobs if isinstance(job, CalibrationTrial)]
    studies = sum(len(job.claims(place.case(job.network))) for job in trials)
    claims = sum(len(place.case(name).claims) for name in dict.fromkeys(job.network for job in jobs))
    more = design.pairs * (sum(design.covered.values()) + design.exact[2])
    networks = counted(len({job.network for job in jobs}), "network")
    work.progress.say(
        f"{counted(claims, 'claim')} about {networks}: {studies:,} studies of one claim, then {more:,} data sets to "
        f"count intervals on; {work.workers.where}"
    )


@dataclass(frozen=True)
class _Work:
    """Does jobs, and shows how far it is.

    Attributes:
        workers: Where they are done.
        progress: Listens on the way.
    """

    workers: Workers
    progress: Progress

    def do(self, jobs: Sequence[Job], place: Workplace, title: str) -> None:
        """Do what is not done yet, and show how much that is of all that it costs."""
        costs, keys = {job: cost(job, place) for job in jobs}, {job: place.key(job) for job in jobs}
        todo = [(job, key) for job, key in keys.items() if place.outcome(key) is None]
        total = max(sum(costs.values()), 1)
        known = sum(costs.values()) - sum(costs[job] for job, _ in todo)
        done, began, announced = known, time.monotonic(), False
        self.progress.begin(title, 100, "%", int(100 * known / total))
        for (job, _), _ in self.workers.do(partial(_run, place=place), todo, place.scratch.folder):
            done += costs[job]
            self.progress.reach(int(100 * done / total), job.network)
            passed = time.monotonic() - began
            if not announced and passed > SECONDS_MEASURED:
                announced = True
                left = passed * (total - known) / (done - known)
                self.progress.say(f"{title}: about {duration(left)} for all of it")


def _run(task: Task, place: Workplace) -> None:
    run(*task, place)
