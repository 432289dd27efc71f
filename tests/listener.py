"""Who remembers what a study reports on the way, and may stop it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ad_hypotheses.progress import LINE_EVERY, Pace, Progress


class Listener(Progress):
    """Remember what a study reports.

    Attributes:
        phases: Title and total of each.
        done: What was done of the last one.
        finished: What was done of each, by its title.
        notes: What the study was busy with.
        lines: What it said.
    """

    def __init__(self) -> None:
        self.phases: list[tuple[str, int]] = []
        self.done = 0
        self.finished: dict[str, int] = {}
        self.notes: list[str] = []
        self.lines: list[str] = []

    def begin(
        self,
        title: str,
        total: int,
        unit: str = "",
        done: int = 0,
        *,
        pace: Pace | None = None,
        line_every: float = LINE_EVERY,
    ) -> None:
        """Remember a phase."""
        self.phases.append((title, total))
        self.done = self.finished[title] = done

    def advance(self, by: int) -> None:
        """Count what is done."""
        self.done += by
        self.finished[self.phases[-1][0]] = self.done

    def note(self, text: str) -> None:
        """Remember a note."""
        self.notes.append(text)

    def say(self, line: str, style: str = "") -> None:
        """Remember a line."""
        self.lines.append(line)


class Updates(Progress):
    """Remember the updates and the evaluations of a training.

    Args:
        stop_after: Number of the update after which the training is stopped.
    """

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.seen: list[int] = []
        self.losses: list[float] = []
        self.evaluations: list[dict[str, Any]] = []

    def measured(self, name: str, figures: Mapping[str, Any]) -> None:
        """Remember the figures."""
        if name == "evaluation":
            self.evaluations.append(dict(figures))
            return
        self.seen.append(figures["update"])
        self.losses.append(figures["loss"])
        if figures["update"] == self.stop_after:
            raise KeyboardInterrupt
