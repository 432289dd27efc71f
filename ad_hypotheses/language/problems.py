"""One shape for everything that can be wrong with a hypothesis: what, where, what exists, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.storage.reading import real_path


@dataclass(frozen=True)
class Problem:
    """One mistake, as a person reads it.

    Attributes:
        message: Sentence that says what was written and why it cannot be used.
        place: `file:line`, empty when unknown.
        facts: Pairs of a label and what exists, e.g. `("defined", "history, cell")`.
        advice: Advice what to do; empty when the sentence says it already.
    """

    message: str
    place: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    advice: str = ""

    def __str__(self) -> str:
        rows = ((("file", self.place),) if self.place else ()) + self.facts
        width = max((len(label) for label, _ in rows), default=0) + 1
        lines = [self.message, *(f"  {label + ':':<{width}} {text}" for label, text in rows)]
        return "\n".join(lines + ([f"  {self.advice}"] if self.advice else []))


def failure(problems: Sequence[Problem], subject: str = "") -> HypothesisError:
    """Return the exception that lists every one of `problems`.

    Args:
        problems: At least one.
        subject: What they are problems of; heads the list when there are several.
    """
    if len(problems) == 1:
        return HypothesisError(str(problems[0]))
    heading = f"{len(problems)} problems" + (f" in {subject}:" if subject else ":")
    return HypothesisError("\n\n".join([heading, *map(str, problems)]))


def shown_path(file: str | Path) -> str:
    """Return `file` relative to the working directory when it lies below it, as a person would type it."""
    path = Path(file)
    try:
        return str(real_path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def listed(names: Iterable[object]) -> str:
    """Return names with commas between them, or `nothing`."""
    return ", ".join(map(str, names)) or "nothing"
