"""Figures of a training sent to an experiment tracker, as they are measured; off unless it is asked for.

A tracker is a package with three functions: `init(project, name, config)`, `log(figures, step)` and `finish()`, such as
Weights & Biases (`wandb`) and Trackio (`trackio`). Where they keep what they get is their own affair: with
`WANDB_MODE=offline` it stays on this machine, as it does with Trackio by itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, cast

from ad_hypotheses.errors import UserError, did_you_mean
from ad_hypotheses.progress import Progress

TRACKERS = ("wandb", "trackio")
PROJECT = "ad_hypotheses"


class Tracker(Protocol):
    """What a tracker offers."""

    def init(self, *, project: str, name: str, config: dict[str, Any]) -> Any:
        """Begin a run."""

    def log(self, metrics: dict[str, float], *, step: int) -> Any:
        """Take figures after an update."""

    def finish(self) -> Any:
        """End the run; what is on its way is sent."""


@contextmanager
def tracking(kind: str | None, name: str, config: Mapping[str, Any], progress: Progress) -> Iterator[None]:
    """Send what a run measures to a tracker, too.

    Args:
        kind: `"wandb"` or `"trackio"`; None for no tracker.
        name: Name of the run.
        config: What the run is of.
        progress: The listener of the run.

    Raises:
        UserError: There is no such tracker, or it is not installed.
    """
    if kind is None:
        yield
        return
    tracker = tracker_of(kind)
    tracker.init(project=PROJECT, name=name, config=dict(config))

    def measured(name: str, figures: Mapping[str, Any]) -> None:
        numbers = {key: value for key, value in figures.items() if isinstance(value, int | float) and key != "update"}
        prefix = "" if name == "update" else f"{name}/"
        tracker.log({f"{prefix}{key}": float(value) for key, value in numbers.items()}, step=int(figures["update"]))

    progress.measured = measured  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        tracker.finish()


def tracker_of(kind: str) -> Tracker:
    """Return the package of a tracker.

    Raises:
        UserError: There is no such tracker, or it is not installed.
    """
    if kind not in TRACKERS:
        raise UserError(f"there is no tracker {kind!r} (`track`).{did_you_mean(kind, TRACKERS)} Known: wandb, trackio.")
    try:
        return cast("Tracker", importlib.import_module(kind))
    except ImportError as error:
        raise UserError(
            f"{kind} cannot be loaded, so nothing can be sent there (`track`): {error}.\n"
            f"  Install it (pip install {kind}), or leave it away: the record of a model holds every figure too."
        ) from error
