"""Numbers and names as a reader sees them, on the page and on the console alike.

What is written for a page is :class:`Markdown`; put together with `+` or in an f-string it is plain text again, which a
page escapes, so that nothing gets onto a page by accident.
"""

from __future__ import annotations

import hashlib
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from types import MappingProxyType
from urllib.parse import quote

from ad_hypotheses.evidence.plain_data import Number

NOT_ESTIMABLE = "not estimable"
NOT_IN_NAMES = ("model", "threads", "reports", "out", "trust")  # in the name already, or without a say in the figures
LONGEST_OPTIONS = 100  # characters of a file's name


class Markdown(str):
    """Text that is Markdown already, so that a page shows it unchanged."""

    __slots__ = ()

    def __html__(self) -> str:  # the name under which jinja2 asks for it
        return self


NONE = Markdown("-")


def figure(value: float | None, digits: int = 2) -> Markdown:
    """Return a number with `digits` decimals, or "not estimable"; no number is written as minus zero."""
    return Markdown(NOT_ESTIMABLE if value is None or not math.isfinite(value) else f"{value:z.{digits}f}")


def percent(value: float | None) -> Markdown:
    """Return a share as a percentage, with a decimal only below 10 %."""
    if value is None or not math.isfinite(value):
        return Markdown(NOT_ESTIMABLE)
    return Markdown(f"{value:.0%}" if value >= 0.0995 or value == 0 else f"{value:.1%}")


def interval(number: Number | None, digits: int = 2) -> Markdown:
    """Return `"0.62 [0.58, 0.66]"`, or "not estimable"; `"-"` where there is none."""
    if number is None:
        return Markdown("-")
    if not number.estimable or not all(map(math.isfinite, (number.value, number.low, number.high))):
        return Markdown(NOT_ESTIMABLE)
    return Markdown(f"{figure(number.value, digits)} [{figure(number.low, digits)}, {figure(number.high, digits)}]")


def share(number: Number | None, bounds: bool = True) -> Markdown:
    """Return a share as `"92% [89%, 94%]"`, `"-"` where there is none."""
    return _with_bounds(number, ".0%", bounds)


def points(number: Number | None, bounds: bool = True) -> Markdown:
    """Return a difference of shares in percentage points, `"+89 [+86, +92]"`."""
    return _with_bounds(number, "+z.0f", bounds, scale=100)


def amount(number: Number | None, bounds: bool = True, sign: bool = False) -> Markdown:
    """Return a return or a regret as `"3.51 [3.20, 3.82]"`, with a plus if a `sign` is wanted."""
    return _with_bounds(number, "+z.2f" if sign else "z.2f", bounds)


def _with_bounds(number: Number | None, form: str, bounds: bool, scale: float = 1) -> Markdown:
    if number is None or not math.isfinite(number.value):
        return NONE
    value, low, high = (format(scale * part, form) for part in (number.value, number.low, number.high))
    return Markdown(f"{value} [{low}, {high}]" if bounds and number.has_interval else value)


def chance(p: float | None) -> Markdown:
    """Return a p-value, `"below 0.001"` where it is, `"-"` where nothing was tested."""
    if p is None:
        return NONE
    return Markdown("below 0.001") if p < 0.001 else figure(p, 3)


def count(number: int) -> Markdown:
    """Return a whole number with commas, `"1,234"`."""
    return Markdown(f"{number:,}")


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number of things, `"1 life"` or `"1,000 lives"`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def sentence(text: str) -> str:
    """Return `text` with a capital first letter and a full stop, on one line."""
    text = " ".join(text.split())
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) or not text else text + "."


def options_of(command: str, defaults: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """Return what a command adds to the name of its report, so that runs with other options keep theirs.

    Args:
        command: What makes the report again; options that have their defaults are left out of it.
        defaults: Of options that it states all the same.

    Returns:
        `["rows-64", "shared"]`; of a long list a digest, since names of files have a limit.
    """
    options: list[list[str]] = []
    for word in shlex.split(command):
        if word.startswith("--"):
            options.append([word[2:]])
        elif options:
            folder = options[-1] in (["models"], ["hypotheses"])  # where they lie, of which the last part will do
            options[-1].append(PurePath(word).name if folder else word)
    parts = [
        file_name(name, *values)
        for name, *values in options
        if name not in NOT_IN_NAMES and [name, *values] != ["edges", "all"] and values != [defaults.get(name)]
    ]
    if sum(map(len, parts)) > LONGEST_OPTIONS:
        return ["options", hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]]
    return parts


def file_name(*parts: str) -> str:
    """Return a name for files that says what is in them."""
    return "-".join(re.sub(r"[^\w.]+", "-", part).strip("-.") or "unnamed" for part in parts)


def literal(text: str) -> Markdown:
    """Return `text` so that Markdown shows it as it is, on one line."""
    return Markdown(re.sub(r"([\\`*_\[\]<>|#$~])", r"\\\1", " ".join(text.split())))


def code(text: str) -> Markdown:
    """Return `text` as a code span that also holds in a table."""
    text = " ".join(text.split()).replace("|", r"\|")
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    return Markdown(f"{fence}{text}{fence}" if len(fence) == 1 else f"{fence} {text} {fence}")


def prose(text: str, emphasis: bool = False) -> Markdown:
    """Return what somebody wrote as Markdown without raw HTML and formulas; code spans stay as they are.

    Args:
        text: Any text.
        emphasis: Whether its asterisks may mean emphasis, as they may in a docstring.
    """
    special = r"([<$])" if emphasis else r"([<$*|])"
    parts = re.split(r"(`+[^`]+`+)", text)
    return Markdown("".join(part if i % 2 else re.sub(special, r"\\\1", part) for i, part in enumerate(parts)))


def address(text: str) -> Markdown:
    """Return a path as the address of a link."""
    return Markdown(re.sub(r"[\s()<>\\%#?]", lambda sign: quote(sign[0]), text))


def escaped(value: object) -> Markdown:
    """Return a value as a page shows it.

    Raises:
        TypeError: It is neither text nor a whole number.
    """
    if hasattr(value, "__html__"):
        return Markdown(value)
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Markdown(value)
    raise TypeError(f"a page cannot show {value}: give it a filter that says how it is spelt")


def joined(values: Iterable[object], separator: str = ", ") -> Markdown:
    """Return values behind each other, each escaped."""
    return Markdown(separator.join(map(escaped, values)))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], left: int | None = None) -> Markdown:
    """Return a table whose columns differ from page to page; each cell is escaped.

    Args:
        heads: Names of the columns.
        rows: Cells.
        left: How many columns are words, before those that are numbers; all by default.
    """
    n_words = len(heads) if left is None else left
    rule = ["---"] * n_words + ["--:"] * (len(heads) - n_words)
    lines = [joined(heads, " | "), " | ".join(rule), *(joined(row, " | ") for row in rows)]
    return Markdown("\n".join(f"| {line} |" for line in lines))
