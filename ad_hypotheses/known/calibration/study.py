"""`calibrate`: test claims whose truth is known, many times over, and report how often verdicts are wrong."""

from __future__ import annotations

import json
import multiprocessing
import shlex
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ad_hypotheses.errors import UserError
from ad_hypotheses.known.calibration.cases import chosen
from ad_hypotheses.known.calibration.jobs import (
    FULL,
    QUICK,
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
from ad_hypotheses.known.calibration.page import headline, write_calibration
from ad_hypotheses.known.calibration.record import Calibration
from ad_hypotheses.known.calibration.trials import CalibrationTrial
from ad_hypotheses.report.progress import Meter, metered
from ad_hypotheses.report.screen import duration, out, print_json, say
from ad_hypotheses.storage.checked import read_checked_json
from ad_hypotheses.storage.lock import held
from ad_hypotheses.storage.scratch import PARTIAL, Scratch, clear_old
from ad_hypotheses.studies.evaluate.learners import counted
from ad_hypotheses.studies.interrupt import stoppable
from ad_hypotheses.studies.machine import keep_freed_memory
from ad_hypotheses.studies.sweep.workers import end_with_parent

Task = tuple[Job, Path]  # and the file that keeps what it finds
Workers = Callable[[Callable[[Task], Job], Sequence[Task]], Iterable[Job]]
SECONDS_MEASURED = 10  # of working, after which the time that all of it takes can be told


@dataclass(frozen=True)
class CalibrationSettings:
    """What was asked of a calibration.

    Attributes:
        only: Names of networks; none for all of them.
        quick: Whether a rough answer will do.
        models: Folder of the checkpoints.
        hypotheses: Folder of the hypothesis files of known networks.
        reports: Folder of the report.
        seed: Of everything random.
        workers: Processes.
    """

    only: Sequence[str]
    quick: bool
    models: Path
    hypotheses: Path
    reports: Path
    seed: int
    workers: int

    @property
    def design(self) -> Design:
        """How much is run."""
        return replace(QUICK if self.quick else FULL, seed=self.seed)

    @property
    def place(self) -> Workplace:
        """Where everything is."""
        return Workplace(self.models, self.hypotheses, Scratch(self.reports / PARTIAL / "calibration"))

    @property
    def command(self) -> str:
        """What makes the same report again; how many workers there are changes no number."""
        words = ["python", "cli.py", "calibrate"]
        words += [word for name in self.only for word in ("--only", name)]
        words += ["--quick"] if self.quick else []
        words += ["--seed", str(self.seed)] if self.seed else []
        words += [] if self.models == Path("models") else ["--models", self.models.as_posix()]
        return shlex.join(words)


def calibrate_all(asked: CalibrationSettings, as_json: bool) -> None:
    """Run everything, write the report, and print its headline.

    Raises:
        UserError: A network does not exist or cannot be loaded, the report cannot be written, or a process was killed.
        Stopped: The user pressed Ctrl-C.
    """
    networks, place, design = chosen(asked.only), asked.place, asked.design
    keep_freed_memory()
    with (
        metered() as meter,
        stoppable(lambda: _stopped(place.scratch)),
        held(place.scratch.folder, "calibrating", meter.say),
    ):
        meter.begin("loading", len(networks), "networks")
        for network in networks:
            place.case(network)
            meter.advance(1)
        jobs = trial_jobs(networks, design)
        _announce(asked, jobs, meter)
        with _processes(asked) as workers:
            _work(workers, jobs, place, meter, "testing claims")
            more = coverage_jobs(choose_pairs(outcomes(jobs, place), design), design)
            _work(workers, more, place, meter, "counting intervals")
        record = put_together(networks, [*jobs, *more], design, place, asked.command)
        page = write_calibration(record, asked.reports)[-1]
    place.scratch.discard()
    meter.say(clear_old(asked.reports / PARTIAL), "dim")
    _show(record, page, as_json)


def _announce(asked: CalibrationSettings, jobs: Sequence[Job], meter: Meter) -> None:
    place, design = asked.place, asked.design
    trials = [job for job in jobs if isinstance(job, CalibrationTrial)]
    studies = sum(len(place.case(job.network).claims) for job in trials)
    claims = sum(len(place.case(name).claims) for name in dict.fromkeys(job.network for job in jobs))
    datasets = design.pairs * (sum(design.covered.values()) + design.exact[2])
    networks = counted(len({job.network for job in jobs}), "network")
    meter.say(
        f"{counted(claims, 'claim')} about {networks}: {studies:,} studies of one claim, then {datasets:,} datasets to "
        f"count intervals on; {counted(asked.workers, 'process', 'processes')}"
    )


@contextmanager
def _processes(asked: CalibrationSettings) -> Iterator[Workers]:
    """Give what runs jobs: other processes, which end with this one's, or this process alone."""
    if asked.workers == 1:
        yield map
        return
    # a fork would copy the threads of torch in a state in which they never wake up
    with ProcessPoolExecutor(asked.workers, multiprocessing.get_context("spawn"), _begin) as processes:
        try:
            yield partial(_completed, processes)
        except BrokenProcessPool as error:
            raise UserError(
                "a process of the calibration was ended from outside; the system does so when memory runs out. "
                f"What was done is kept in {asked.place.scratch.folder}; the same command goes on, and takes less "
                f"memory with --workers {max(1, asked.workers // 2)}."
            ) from error
        except BaseException:
            processes.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()  # else what it has begun would be waited for
                process.join()
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


def _work(workers: Workers, jobs: Sequence[Job], place: Workplace, meter: Meter, title: str) -> None:
    costs, paths = {job: cost(job, place) for job in jobs}, {job: place.kept(job) for job in jobs}
    todo = [(job, path) for job, path in paths.items() if read_checked_json(path) is None]
    total = sum(costs.values())
    known = total - sum(costs[job] for job, _ in todo)
    done, began, announced = known, time.monotonic(), False
    meter.begin(title, 100, "%", int(100 * known / max(total, 1)))
    for job in workers(partial(_run, place=place), todo):
        done += costs[job]
        meter.reach(int(100 * done / max(total, 1)), job.network)
        passed = time.monotonic() - began
        if not announced and passed > SECONDS_MEASURED:
            announced = True
            meter.say(f"{title}: about {duration(passed * (total - known) / (done - known))} for all of it")


def _run(task: Task, place: Workplace) -> Job:
    run(*task, place)
    return task[0]


def _stopped(scratch: Scratch) -> str:
    if scratch.is_empty:
        return "stopped before anything was done; nothing was kept."
    return f"stopped; what was done is kept in {scratch.folder}; the same command goes on."


def _show(record: Calibration, page: Path, as_json: bool) -> None:
    if as_json:
        print_json({"report": str(page), **json.loads(record.to_json())})
        return
    for line in headline(record):
        say(out(), line.replace("*", ""))
    say(out(), f"report: {page}")
