"""Pages in which every number is a reference: `{{ dose.dark-room.R1 }}`, `{{ dose.dark-room.effect | interval }}`.

A reference names a figure, a table or a picture; after a bar stands how it is spelt. What no record holds, and a figure
that somebody typed, is refused with the file and the line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ad_hypotheses.errors import DataError, UserError, did_you_mean
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.report.words import Markdown, count, figure, interval
from ad_hypotheses.storage.reading import read_file
from ad_hypotheses.studies.findings.figures import Figure, Figures, number_of

REFERENCE = re.compile(r"\{\{\s*([^{}|]+?)\s*(?:\|\s*([^{}|]+?)\s*)?\}\}")
UNDONE = re.compile(r"\{\{|\}\}|\{%")
TYPED = re.compile(r"-?\d+\.\d+|\d+ ?%|\b\d+ of (?:the )?\d+\b")
NO_PROSE = re.compile(r"`[^`]*`|\]\([^)]*\)|<!--.*?-->")  # code, addresses and remarks, which may hold digits

Block = Callable[[], Markdown]


def page_text(path: Path) -> str:
    """Return the text of a template, or of a page of which a part is rendered.

    Raises:
        DataError: The file is missing, or not text.
    """
    try:
        return read_file(path).decode()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"cannot read {path}: {reason}. The findings are rendered from it, or into it.") from error


def _figure(value: Figure) -> Markdown:
    if isinstance(value, Number | float):
        return figure(number_of(value).value)
    return Markdown(f"{value:,}") if isinstance(value, int) else Markdown(value)


def _written(digits: int, scale: float = 1, unit: str = "", kind: str = "f") -> Callable[[Figure], Markdown]:
    """Return a format with so many digits; no number is written as minus zero."""
    return lambda value: Markdown(f"{scale * number_of(value).value:z.{digits}{kind}}{unit}")


FORMATS: Mapping[str, Callable[[Figure], Markdown]] = {
    "figure": _figure,
    "one": _written(1),
    "three": _written(3),
    "power": _written(1, kind="e"),
    "interval": lambda value: interval(number_of(value)),
    "whole": _written(0, 100, " %"),
    "percent-one": _written(1, 100, " %"),
    "percent-two": _written(2, 100, " %"),
    "count": lambda value: count(round(number_of(value).value)),
}


def fill(text: str, place: str, figures: Figures, blocks: Mapping[str, Block]) -> str:
    """Return a template with every reference replaced.

    Args:
        text: The template.
        place: Its file, for messages.
        figures: What records hold.
        blocks: Tables and pictures by name, made when they are asked for.

    Raises:
        DataError: A reference or a format is unknown, or a figure is typed. It names file and line.
    """
    return "\n".join(
        _line(line, f"{place}, line {number}", figures, blocks) for number, line in enumerate(text.split("\n"), 1)
    )


def _line(line: str, place: str, figures: Figures, blocks: Mapping[str, Block]) -> str:
    plain = REFERENCE.sub("", line)
    if UNDONE.search(plain):
        raise DataError(f"{place}: a reference is not closed, or is more than a name and a format: {line.strip():.80}")
    if typed := TYPED.search(NO_PROSE.sub("", plain)):
        raise DataError(f"{place} types the figure {typed[0]!r}. Name the record that holds it: {{{{ ... }}}}.")
    return REFERENCE.sub(lambda match: _value(match[1], match[2] or "figure", place, figures, blocks), line)


def _value(name: str, form: str, place: str, figures: Figures, blocks: Mapping[str, Block]) -> str:
    if form not in FORMATS:
        raise DataError(
            f"{place}: there is no format {form!r}.{did_you_mean(form, FORMATS)} Known: {', '.join(FORMATS)}."
        )
    try:
        if name in blocks:
            return blocks[name]()
        return FORMATS[form](_known(name, figures, blocks))
    except (UserError, ValueError) as error:
        raise DataError(f"{place}: {error}") from error


def _known(name: str, figures: Figures, blocks: Mapping[str, Block]) -> Figure:
    value = figures.get(name)
    if value is None:
        near = did_you_mean(name, [*figures.by_name, *blocks])
        raise DataError(f"no record holds `{name}`.{near}")
    return value
