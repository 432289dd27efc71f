"""The record of a sweep: how well every model of a grid learns in its context."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ad_hypotheses.evidence.plain_data import read_record
from ad_hypotheses.report.result import Result
from ad_hypotheses.studies.tables import table_of


@dataclass(frozen=True)
class Earned:
    """What a model earned on a set of tasks; None what means nothing there.

    Attributes:
        last: Mean return of its last episodes as a share of the optimum.
        first: The same of its first episode.
        improvement: By how much the share grows within a context.
        regret: What it missed over the whole context.
    """

    last: float | None = None
    first: float | None = None
    improvement: float | None = None
    regret: float | None = None


@dataclass(frozen=True)
class Trained:
    """One model of a sweep.

    Attributes:
        name: Of its folder.
        at: What it is called on every axis.
        parameters: How many weights it has.
        train, held_out: What it earned on tasks that it was trained on, and on tasks that it was not, if there are any.
        seconds: That its training took.
    """

    name: str
    at: tuple[str, ...]
    parameters: int
    train: Earned
    held_out: Earned | None
    seconds: float

    @property
    def judged(self) -> Earned:
        """What it is judged by: what it earned on held-out tasks, if there are any."""
        return self.held_out or self.train


@dataclass(frozen=True, repr=False)
class Sweep(Result):
    """What a sweep found.

    Attributes:
        name: Of the sweep.
        command: What makes it again.
        base: What its configurations start from.
        axes: The values of every axis, as they are called.
        seeds: Axes that are averaged over.
        fixed: What was set for all models.
        models: Those that are trained.
        failed: Names of those that are not, each with the last lines that its training said.
        unit: What a point of a learning curve is, `"episode"` or `"10 steps"`.
    """

    name: str
    command: str
    base: str
    axes: Mapping[str, Sequence[str]]
    seeds: Sequence[str]
    fixed: Mapping[str, str]
    models: Sequence[Trained]
    failed: Mapping[str, Sequence[str]]
    unit: str = "episode"

    @property
    def headline(self) -> str:
        """Name, axes and number of models."""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"{self.name}: {len(self.models)} models by {', '.join(self.axes)}{failed}"

    def to_frame(self) -> Any:
        """Return a line for each model, as a pandas.DataFrame."""
        return table_of(rows(self))

    def to_json(self) -> str:
        """Return the record as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    def write(self, folder: str | Path) -> Path:
        """Write the page with its plot, its record and its table; returns the page.

        Raises:
            UserError: They cannot be written.
        """
        from ad_hypotheses.studies.sweep.page import write_sweep

        return write_sweep(self, Path(folder))[-1]

    @property
    def settings(self) -> list[str]:
        """Axes that are no seeds."""
        return [axis for axis in self.axes if axis not in self.seeds]

    def by_setting(self) -> dict[tuple[str, ...], list[Trained]]:
        """Return the models of every setting, one a seed."""
        places = [list(self.axes).index(axis) for axis in self.settings]
        groups: dict[tuple[str, ...], list[Trained]] = {}
        for model in self.models:
            groups.setdefault(tuple(model.at[place] for place in places), []).append(model)
        return groups


def read_sweep_record(path: Path) -> Sweep:
    """Read a record that :meth:`Sweep.to_json` wrote.

    Raises:
        DataError: The file is missing or damaged.
    """
    return read_record(Sweep, path, (None,), "a sweep", "Run the sweep again, which trains nothing twice.")


def rows(sweep: Sweep) -> list[dict[str, Any]]:
    """Return one row a model, for a spreadsheet."""
    names = {"last": "of_optimum", "first": "first_of_optimum", "improvement": "improvement", "regret": "regret"}
    return [
        {
            "model": model.name,
            **dict(zip(sweep.axes, model.at, strict=True)),
            "parameters": model.parameters,
            **{
                f"{tasks}_{name}": getattr(earned, key)
                for tasks, earned in (("train", model.train), ("held_out", model.held_out or Earned()))
                for key, name in names.items()
            },
            "seconds": model.seconds,
        }
        for model in sweep.models
    ]
