"""The models of a sweep while they are trained, each in a process of its own, on this machine or on a cluster."""

from __future__ import annotations

import shutil
import time
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from ad_hypotheses.distill.checkpoint import CONFIG
from ad_hypotheses.distill.config import SCRATCH, read_config
from ad_hypotheses.distill.record import read_record
from ad_hypotheses.distill.train import HISTORIES
from ad_hypotheses.jobs.engines import RETRIES
from ad_hypotheses.progress import Progress, duration
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.studies.sweep.grid import GridCell, config_text
from ad_hypotheses.studies.sweep.plan import SweepPlan, SweepSettings, TimeEstimate
from ad_hypotheses.studies.sweep.workers import (
    END,
    LOG,
    SECONDS_A_LOOK,
    TrainingEnd,
    TrainingJob,
    last_words,
    run_training,
    train_arguments,
)
from ad_hypotheses.studies.train.study import is_finished

SECONDS_TO_STOP = 120.0  # that those of a cluster have to keep what they have
MOST_NAMED = 4  # models that are trained at a time, of which a progress bar tells the names


@dataclass
class Trainings:
    """The trainings of a sweep, some of which run.

    Attributes:
        settings: How to train.
        plan: What there is to do.
        progress: Listens.
        n_done: Models that are trained, or failed.
        failed: Last words of those that failed. {name: lines}
        estimate: How long the rest takes.
        attempts: How often the process of a model was ended from outside. {name: times}
    """

    settings: SweepSettings
    plan: SweepPlan
    progress: Progress
    n_done: int
    failed: dict[str, list[str]]
    estimate: TimeEstimate
    attempts: Counter[str]

    def job(self, cell: GridCell, device: str) -> TrainingJob:
        """Write the configuration of a model, and return the job that trains it on a device."""
        settings = self.settings
        folder = settings.place(cell)
        (folder / SCRATCH).mkdir(parents=True, exist_ok=True)
        written = folder / CONFIG
        if not written.exists() or read_config(written, "unmade") != cell.config:  # else keep its comments
            write_atomically(written, config_text(cell, settings.grid).encode())
        return TrainingJob(
            cell.name,
            tuple(train_arguments(written, folder, device, settings.threads)),
            settings.threads,
            Path.cwd(),
            folder / SCRATCH / LOG,
            settings.folder,
        )

    def end(self, cell: GridCell, end: TrainingEnd) -> bool:
        """Take note of how a training ended; returns whether it has to be done again."""
        name, folder = cell.name, self.settings.place(cell)
        if end.code < 0 and self.attempts[name] < RETRIES:
            self.attempts[name] += 1
            self.progress.say(f"{name} was ended by signal {-end.code}; it goes on where its state was saved last")
            return True
        self.n_done += 1
        of_all = f"{self.n_done} of {len(self.settings.grid.cells)}"
        if end.code or not is_finished(folder, cell.config):
            words = last_words(folder / SCRATCH / LOG, end.code)
            why = next((line for line in words if line.startswith("error: ")), [*words, "it said nothing"][0])
            self.progress.say(f"{name} failed ({of_all}): {why.removeprefix('error: ').strip()}", "red")
            self.failed[name] = words
            return False
        clean_up(folder)
        record = read_record(folder)
        whole = name not in self.plan.begun  # of one that was begun, the record knows what all of it took
        spent = end.seconds if whole else float(record["seconds"])
        self.estimate.spent.append((self.plan.costs[name], spent))
        summary = _short(record["evaluation"]["summary"])
        self.progress.say(f"{name}: {summary} ({duration(record['seconds'])}; {of_all})")
        return False


def train_all(trainings: Trainings, waiting: deque[GridCell], slots: list[str], executor: Executor) -> None:
    """Train models, each on a device that is free; when stopped, wait until all that run have kept what they have."""
    running: dict[Future[TrainingEnd], RunningTraining] = {}
    progress, estimate = trainings.progress, trainings.estimate
    try:
        while waiting or running:
            progress.may_stop()
            while waiting and slots:
                training = RunningTraining(waiting.popleft(), slots.pop(0))
                running[executor.submit(run_training, trainings.job(training.cell, training.device))] = training
            estimate.waiting = [cell.name for cell in waiting]
            estimate.running = {training.cell.name: training.seconds for training in running.values()}
            progress.reach(trainings.n_done, ", ".join([*estimate.running][:MOST_NAMED]))
            for future in wait(running, SECONDS_A_LOOK, FIRST_COMPLETED).done:
                training = running.pop(future)
                slots.append(training.device)
                if trainings.end(training.cell, future.result()):
                    waiting.appendleft(training.cell)
    finally:
        if running:
            progress.rename("waiting for the workers to keep what they have")
            (trainings.settings.folder / END).touch()
            wait(running, SECONDS_TO_STOP)  # those that a cluster has not begun end at once
            (trainings.settings.folder / END).unlink(missing_ok=True)


@dataclass(frozen=True)
class RunningTraining:
    """A model that is being trained: where, and since when on the monotonic clock."""

    cell: GridCell
    device: str
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began


def _short(summary_numbers: dict[str, float]) -> str:
    """Return what a model earned in a few words; regret where a share means nothing."""
    sets = ("held_out", "train")
    shares = [
        f"{n.replace('_', '-')} {summary_numbers[f'{n}_of_optimum']:.0%}"
        for n in sets
        if f"{n}_of_optimum" in summary_numbers
    ]
    regrets = [
        f"{n.replace('_', '-')} {summary_numbers[f'{n}_regret']:.2f}" for n in sets if f"{n}_regret" in summary_numbers
    ]
    return f"{', '.join(shares)} of the optimum" if shares else f"regret {', '.join(regrets) or 'unknown'}"


def clean_up(folder: Path) -> None:
    """Remove the histories of a finished model; they are large, and its seed makes them again."""
    shutil.rmtree(folder / SCRATCH / HISTORIES, ignore_errors=True)
