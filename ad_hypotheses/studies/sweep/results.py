"""What the models of a sweep earn, from the records of their checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.record import read_record
from ad_hypotheses.storage.reading import real_path
from ad_hypotheses.studies.evaluate.summary import curve_unit, mean_optimum
from ad_hypotheses.studies.sweep.grid import GridCell, labels, short_names
from ad_hypotheses.studies.sweep.plan import SweepSettings, coordinates
from ad_hypotheses.studies.sweep.record import Earned, Sweep, Trained


def sweep_record(settings: SweepSettings, command: str, failed: Mapping[str, Sequence[str]]) -> Sweep:
    """Return what the models of a sweep earn, from their records.

    Args:
        settings: Of the sweep.
        command: What makes it again.
        failed: Models without a record, with the last lines that their training said.
    """
    grid = settings.grid
    short = short_names(list(grid.axes))
    models = [
        _trained(cell, at, settings.place(cell))
        for cell, at in zip(grid.cells, coordinates(grid), strict=True)
        if cell.name not in failed
    ]
    return Sweep(
        real_path(settings.folder).name,
        command,
        grid.base,
        {short[key]: labels(values) for key, values in grid.axes.items()},
        [short[key] for key in grid.seeds],
        {key: labels([value])[0] for key, value in grid.fixed.items()},
        models,
        failed,
        curve_unit(grid.cells[0].config),
    )


def _trained(cell: GridCell, at: tuple[str, ...], folder: Path) -> Trained:
    record = read_record(folder)
    results = record["evaluation"]
    train, held_out = _earned(results, cell.config, "train"), _earned(results, cell.config, "held_out")
    return Trained(cell.name, at, record["parameters"], train or Earned(), held_out, record["seconds"])


def _earned(results: dict[str, Any], config: Config, name: str) -> Earned | None:
    """Return what a model earned on a set of tasks, also where an older record tells less than one of today."""
    if name not in results:
        return None
    summary_numbers = results["summary"]
    last, first = summary_numbers.get(f"{name}_of_optimum"), summary_numbers.get(f"{name}_first_of_optimum")
    if first is None and last is not None:
        first = _first_share(results, config, name)
    gained = None if first is None or last is None else last - first
    return Earned(
        last, first, summary_numbers.get(f"{name}_improvement", gained), summary_numbers.get(f"{name}_regret")
    )


def _first_share(results: dict[str, Any], config: Config, name: str) -> float | None:
    """Return what a model earned at the first point of its learning curve, as a share of the optimum."""
    returns = next(curve for curve in results[name] if curve["name"] == "model")["returns"]
    optimum = mean_optimum(results, config, name) / (1 if curve_unit(config) == "episode" else len(returns))
    return float(returns[0]) / optimum if optimum else None
