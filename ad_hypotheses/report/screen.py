"""What is printed where: results on stdout, everything said on the way on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

PLAIN_WIDTH = 120
_results: ContextVar[TextIO | None] = ContextVar("results", default=None)  # None: sys.stdout


@contextmanager
def results_alone() -> Iterator[None]:
    """Keep stdout for results: what anybody else prints meanwhile, a hypothesis for example, goes to stderr."""
    token = _results.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results.reset(token)


def out() -> Console:
    """Return the console for results; in a log, where nobody chose a width, tables need not wrap."""
    console = Console(file=_results.get(), highlight=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = PLAIN_WIDTH
    return console


def aside() -> Console:
    """Return the console for progress, notes and errors."""
    return Console(stderr=True, highlight=False)


def is_live(console: Console) -> bool:
    """Whether lines can be drawn over."""
    return console.is_terminal and not console.is_dumb_terminal


def say(console: Console, line: str, style: str = "") -> None:
    """Print a line without breaking or marking up what is in it."""
    console.print(Text(line, style=style), soft_wrap=True)


def say_error(message: str) -> None:
    """Print what went wrong."""
    console = aside()
    console.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)


def print_json(content: Any) -> None:
    """Print plain data as JSON, and nothing else."""
    (_results.get() or sys.stdout).write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def with_report(record: Any, page: object) -> dict[str, Any]:
    """Return what a record says, as plain data, and where its page is.

    Args:
        record: Has `to_json`.
        page: Path of the page that was written; None where none was.
    """
    return {"report": None if page is None else str(page), **json.loads(record.to_json())}


def show_reports(
    records: Sequence[Any], pages: Sequence[Path | None], as_json: bool, show: Callable[[Any, Console, Any], None]
) -> None:
    """Print records with the paths of their pages, where they have one, as JSON or in words."""
    if as_json:
        print_json(list(map(with_report, records, pages)))
        return
    console = out()
    for record, page in zip(records, pages, strict=True):
        show(record, console, page)


def size(n_bytes: float | int) -> str:
    """Return a number of bytes as a person says it: `640 kB`, `1.2 GB`."""
    for unit in ("bytes", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"
