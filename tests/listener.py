"""Who remembers what a study reports on the way."""

from __future__ import annotations

from ad_hypotheses.report.progress import Progress


class Listener(Progress):
    """Remember what a study reports.

    Attributes:
        phases: Title and total of each.
        done: What was done of the last one.
        notes: What the study was busy with.
        lines: What it said.
    """

    def __init__(self) -> None:
        self.phases: list[tuple[str, int]] = []
        self.done = 0
        self.notes: list[str] = []
        self.lines: list[str] = []

    def begin(self, title: str, total: int, unit: str = "", done: int = 0) -> None:
        """Remember a phase."""
        self.phases.append((title, total))
        self.done = done

    def advance(self, by: int) -> None:
        """Count what is done."""
        self.done += by

    def note(self, text: str) -> None:
        """Remember a note."""
        self.notes.append(text)

    def say(self, line: str, style: str = "") -> None:
        """Remember a line."""
        self.lines.append(line)
