"""Test claims whose truth is known, many times over, and count how often verdicts are wrong."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ad_hypotheses.errors import UserError
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
from ad_hypotheses.studies.sweep.workers import end_with_parent

Task = tuple[Job, str]  # and the name under which its outcome is kept
Workers = Callable[[Callable[[Task], Job], Sequence[Task]], Iterable[Job]]
SECONDS_MEASURED = 10  # of working, after which the time that all of it takes can be told


def calibrate(
    networks: Sequence[str] = (),
    design: Design = FULL,
    *,
    models: Path = Path("models"),
    hypotheses: Path = Path("hypotheses/known"),
    workers: int = 1,
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
    if scratch is None:
        with tempfile.TemporaryDirectory(prefix="ad-hypotheses-") as folder:
            place = Workplace(models, hypotheses, Scratch(Path(folder)))
            return _calibrated(chosen(networks), design, place, workers, command, progress)
    place = Workplace(models, hypotheses, scratch)
    with held(scratch.folder, "calibrating", progress.say):
        return _calibrated(chosen(networks), design, place, workers, command, progress)


def _calibrated(
    networks: Sequence[str], design: Design, place: Workplace, n_workers: int, command: str, progress: Progress
) -> Calibration:
    progress.begin("loading", len(networks), "networks")
    for network in networks:
        place.case(network)
        progress.advance(1)
    jobs = trial_jobs(networks, design)
    _announce(jobs, design, place, n_workers, progress)
    with _processes(n_workers, place.scratch) as workers:
        _work(workers, jobs, place, progress, "testing claims")
        # which claims have intervals to count is known once all are tested
        more = coverage_jobs(choose_pairs(outcomes(jobs, place), design), design)
        _work(workers, more, place, progress, "counting intervals")
    return put_together(networks, [*jobs, *more], design, place, command)


def _announce(jobs: Sequence[Job], design: Design, place: Workplace, n_workers: int, progress: Progress) -> None:
    trials = [job for job in jobs if isinstance(job, CalibrationTrial)]
    studies = sum(len(job.claims(place.case(job.network))) for job in trials)
    claims = sum(len(place.case(name).claims) for name in dict.fromkeys(job.network for job in jobs))
    more = design.pairs * (sum(design.covered.values()) + design.exact[2])
    networks = counted(len({job.network for job in jobs}), "network")
    progress.say(
        f"{counted(claims, 'claim')} about {networks}: {studies:,} studies of one claim, then {more:,} data sets to "
        f"count intervals on; {counted(n_workers, 'process', 'processes')}"
    )


@contextmanager
def _processes(n_workers: int, scratch: Scratch) -> Iterator[Workers]:
    """Give what runs jobs: other processes, which end with this one's, or this process alone."""
    if n_workers == 1:
        yield map
        return
    # a fork would copy the threads of torch in a state in which they never wake up
    with ProcessPoolExecutor(n_workers, multiprocessing.get_context("spawn"), _begin) as processes:
        try:
            yield partial(_completed, processes)
        except BrokenProcessPool as error:
            raise UserError(
                "a process of the calibration was ended from outside; the system does so when memory runs out. "
                f"What was done is kept in {scratch.folder}; the same command goes on, and takes less "
                f"memory with `workers={max(1, n_workers // 2)}`."
            ) from error
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()  # else what it has begun would be waited for
            # only the executor's own thread joins them: of two threads that wait for one process, one is told nothing
            processes.shutdown(cancel_futures=True)
            raise


def _completed(processes: ProcessPoolExecutor, function: Callable[[Task], Job], tasks: Sequence[Task]) -> Iterator[Job]:
    """Run jobs in processes, and yield each once it is done."""
    for future in as_completed([processes.submit(function, task) for task in tasks]):
        yield future.result()


def _begin() -> None:
    """Be a worker: one thread, and Ctrl-C is left to the process that began it, with which this one ends."""
    import torch

    end_with_parent(signal.SIGTERM)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    keep_freed_memory()


def _work(workers: Workers, jobs: Sequence[Job], place: Workplace, progress: Progress, title: str) -> None:
    costs, keys = {job: cost(job, place) for job in jobs}, {job: place.key(job) for job in jobs}
    todo = [(job, key) for job, key in keys.items() if place.outcome(key) is None]
    total = max(sum(costs.values()), 1)
    known = sum(costs.values()) - sum(costs[job] for job, _ in todo)
    done, began, announced = known, time.monotonic(), False
    progress.begin(title, 100, "%", int(100 * known / total))
    for job in workers(partial(_run, place=place), todo):
        done += costs[job]
        progress.reach(int(100 * done / total), job.network)
        passed = time.monotonic() - began
        if not announced and passed > SECONDS_MEASURED:
            announced = True
            progress.say(f"{title}: about {duration(passed * (total - known) / (done - known))} for all of it")


def _run(task: Task, place: Workplace) -> Job:
    run(*task, place)
    return task[0]
