"""Test claims whose truth is known, many times over, and count how often verdicts are wrong."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ad_hypotheses.errors import UserError
from ad_hypotheses.jobs.local import end_with_parent, processes
from ad_hypotheses.jobs.run import run_jobs
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
from ad_hypotheses.studies.machine import keep_freed_memory

Task = tuple[Job, str]  # and the name under which its outcome is kept
SECONDS_MEASURED = 10  # of working, after which the time that all of it takes can be told


def calibrate(
    networks: Sequence[str] = (),
    design: Design = FULL,
    *,
    models: Path = Path("models"),
    hypotheses: Path = Path("hypotheses/known"),
    workers: int = 1,
    executor: Executor | None = None,
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
        workers: Processes, of one thread each; 1 to work in this one.
        executor: Where to run jobs instead; its workers see the same folders.
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
    if executor is not None:  # its workers need not be where this process is
        models, hypotheses = models.absolute(), hypotheses.absolute()
        scratch = None if scratch is None else Scratch(scratch.folder.absolute(), scratch.used)
    work = _Work(workers, executor, progress)
    if scratch is None:
        near = None if executor is None else Path.cwd()  # which the workers see, unlike the folder for what is brief
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
        f"count intervals on; {work.where}"
    )


def _begin() -> None:
    """Be a worker: one thread, and Ctrl-C is left to the process that began it, with which this one ends."""
    import torch

    end_with_parent(signal.SIGTERM)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    keep_freed_memory()


@dataclass(frozen=True)
class _Work:
    """Does jobs in this process, in others of this machine, or wherever an executor runs them.

    Attributes:
        n_workers: Processes, unless there is an executor; 1 for this one alone.
        executor: Where jobs run instead.
        progress: Listens on the way.
    """

    n_workers: int
    executor: Executor | None
    progress: Progress

    @property
    def where(self) -> str:
        """Where jobs are done, in words."""
        return counted(self.n_workers, "process", "processes") if self.executor is None else "workers of an executor"

    def do(self, jobs: Sequence[Job], place: Workplace, title: str) -> None:
        """Do what is not done yet, and show how much that is of all that it costs."""
        costs, keys = {job: cost(job, place) for job in jobs}, {job: place.key(job) for job in jobs}
        todo = [(job, key) for job, key in keys.items() if place.outcome(key) is None]
        total = max(sum(costs.values()), 1)
        known = sum(costs.values()) - sum(costs[job] for job, _ in todo)
        done, began, announced = known, time.monotonic(), False
        self.progress.begin(title, 100, "%", int(100 * known / total))
        for job in self._done(todo, place):
            done += costs[job]
            self.progress.reach(int(100 * done / total), job.network)
            passed = time.monotonic() - began
            if not announced and passed > SECONDS_MEASURED:
                announced = True
                left = passed * (total - known) / (done - known)
                self.progress.say(f"{title}: about {duration(left)} for all of it")

    def _done(self, tasks: Sequence[Task], place: Workplace) -> Iterator[Job]:
        """Yield each job once it is done."""
        function = partial(_run, place=place)
        if self.executor is None and self.n_workers == 1:
            yield from map(function, tasks)
            return
        try:
            for _, job in run_jobs(function, tasks, self._opened, lost=self._lost):
                yield job
        except BrokenExecutor as error:
            raise UserError(
                "processes of the calibration were ended from outside again and again; the system does so when memory "
                f"runs out. What was done is kept in {place.scratch.folder}; the same command goes on, and takes less "
                f"memory with `workers={max(1, self.n_workers // 2)}`."
            ) from error

    def _opened(self) -> AbstractContextManager[Executor]:
        return processes(self.n_workers, _begin) if self.executor is None else nullcontext(self.executor)

    def _lost(self, attempt: int) -> None:
        self.progress.say(f"a process was ended from outside; what it was at is done again (attempt {attempt + 1})")


def _run(task: Task, place: Workplace) -> Job:
    run(*task, place)
    return task[0]
