"""What a sweep has to do: which of its models are trained, what each costs, and how long the rest takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from ad_hypotheses.distill.checkpoint import CONFIG, build
from ad_hypotheses.distill.config import SCRATCH, Config, read_config
from ad_hypotheses.distill.record import read_record
from ad_hypotheses.distill.train import STATE
from ad_hypotheses.errors import ConfigError, UserError
from ad_hypotheses.progress import Pace
from ad_hypotheses.studies.machine import n_cpus
from ad_hypotheses.studies.sweep.grid import Grid, GridCell, labels
from ad_hypotheses.studies.train.study import is_finished


@dataclass(frozen=True)
class SweepSettings:
    """How to train a sweep.

    Attributes:
        grid: What to train.
        folder: Where the models go, a folder each.
        device: Where to compute; `cuda` spreads the workers over all that there are.
        workers: How many models are trained at a time; None for as many as there is room for.
        threads: Threads of each worker.
    """

    grid: Grid
    folder: Path
    device: str
    workers: int | None
    threads: int

    @property
    def devices(self) -> list[str]:
        """Where the workers compute, the first of them first."""
        if self.device != "cuda":
            return [self.device]
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]

    @property
    def n_workers(self) -> int:
        """How many models are trained at a time."""
        room = n_cpus() // self.threads if self.device == "cpu" else len(self.devices)
        return min(max(1, room) if self.workers is None else self.workers, len(self.grid.cells))

    def place(self, cell: GridCell) -> Path:
        """Return the folder of a model."""
        return self.folder / cell.name


@dataclass
class TimeEstimate(Pace):
    """How long a sweep takes yet, from what the finished models took and what each costs."""

    costs: dict[str, float]
    n_workers: int
    spent: list[tuple[float, float]] = field(default_factory=list)  # cost, and seconds of one worker
    waiting: list[str] = field(default_factory=list)
    running: dict[str, float] = field(default_factory=dict)  # seconds so far

    def note(self, done: int) -> None:
        """Models differ too much for their number to tell."""

    @property
    def rate(self) -> float | None:
        """Cost that a worker does in a second, None if no model is finished yet."""
        seconds = sum(took for _, took in self.spent)
        return sum(cost for cost, _ in self.spent) / seconds if seconds else None

    def left(self, total: int) -> float | None:
        """Return the seconds until all are done, None if none is finished yet."""
        rate = self.rate
        if rate is None:
            return None
        running = [max(0.0, self.costs[name] / rate - took) for name, took in self.running.items()]
        waiting = [self.costs[name] / rate for name in self.waiting]
        return max((sum(running) + sum(waiting)) / self.n_workers, *running, *waiting, 0.0)


@dataclass(frozen=True)
class SweepPlan:
    """What there is to do.

    Attributes:
        finished: Names of the models that are trained.
        begun: Names of those that an earlier sweep began.
        parameters: Of every model.
        costs: Of every model, in multiplications, about.
    """

    finished: set[str]
    begun: set[str]
    parameters: dict[str, int]
    costs: dict[str, float]


def make_plan(run: SweepSettings) -> SweepPlan:
    """Look at what is there and what the rest costs.

    Raises:
        UserError: Folders hold other models; all of them are listed.
    """
    finished, begun, wrong = set(), set(), []
    for cell in run.grid.cells:
        folder = run.place(cell)
        try:
            if is_finished(folder, cell.config):
                finished.add(cell.name)
            elif (folder / SCRATCH).is_dir():
                begun.add(cell.name)
                if (folder / SCRATCH / STATE).exists() and read_config(folder / CONFIG, "unmade") != cell.config:
                    wrong.append(f"{folder} holds a model that was begun with another configuration")
        except ConfigError as error:
            wrong.append(f"{folder} holds a model whose configuration cannot be read: {error}")
        except UserError:
            wrong.append(f"{folder} holds a model that was trained with another configuration")
    if wrong:
        listed = "\n".join(f"  {problem}" for problem in wrong)
        raise UserError(
            f"the sweep cannot go into {run.folder}; nothing was changed there.\n{listed}\n"
            "  Train into another folder (`out`), or delete these."
        )
    parameters = _parameters(run.grid)
    costs = {cell.name: _cost(cell.config, parameters[cell.name]) for cell in run.grid.cells}
    return SweepPlan(finished, begun, parameters, costs)


def _parameters(grid: Grid) -> dict[str, int]:
    known: dict[str, int] = {}  # models that differ in their data only are of one size
    sizes = {}
    for cell in grid.cells:
        config = cell.config
        shape = repr((config.task, config.model, config.context_episodes))
        if shape not in known:
            known[shape] = sum(weight.numel() for weight in build(config).parameters())
        sizes[cell.name] = known[shape]
    return sizes


def _cost(config: Config, parameters: int) -> float:
    """Return about how many multiplications a training takes, up to a factor."""
    context = config.experiment.context_steps
    tokens = config.training.updates * config.training.batch * context
    return float(tokens) * (parameters + config.model.n_layers * config.model.d_model * context)


def numbers(run: SweepSettings, plan: SweepPlan) -> str:
    """Return how many models there are, how many of them are trained, and how large they are."""
    low, high = min(plan.parameters.values()), max(plan.parameters.values())
    done = f", {len(plan.finished)} of them trained already" if plan.finished else ""
    begun = f", {len(plan.begun)} begun" if plan.begun else ""
    return (
        f"sweep {run.folder}: {count(len(run.grid.cells))}{done}{begun}; {low:,} "
        + (f"to {high:,} " if high > low else "")
        + "parameters"
    )


def estimate_of(run: SweepSettings, plan: SweepPlan) -> TimeEstimate:
    """Return an estimate that knows what the models took that are trained."""
    estimate = TimeEstimate(plan.costs, run.n_workers)
    for cell in run.grid.cells:
        if cell.name in plan.finished:
            estimate.spent.append((plan.costs[cell.name], read_record(run.place(cell)).get("seconds") or 0.0))
    return estimate


def coordinates(grid: Grid) -> list[tuple[str, ...]]:
    """Return what every model is called on every axis."""
    called = {key: (values, labels(values)) for key, values in grid.axes.items()}
    return [
        tuple(names[values.index(cell.values[key])] for key, (values, names) in called.items()) for cell in grid.cells
    ]


def count(number: int) -> str:
    """Return `1 model`, `18 models`."""
    return "1 model" if number == 1 else f"{number:,} models"
