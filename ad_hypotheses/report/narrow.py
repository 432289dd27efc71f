"""Tables that fit a page: GitHub cuts off what is wider than about six columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

WIDEST = 6  # columns
_BAR = re.compile(r"(?<!\\)\|")
_FENCE = re.compile(r"^(`{3,}|~{3,})")


def narrow_tables(text: str) -> str:
    """Cut every table of a page that is too wide into several, one below the other.

    Each keeps the columns that tell its rows apart, which are as many of the first as that takes; the others are spread
    evenly. Tables that fit are left as they are, and so is code.

    Args:
        text: A page in Markdown.
    """
    lines: list[str] = []
    for in_code, block in _blocks(text.split("\n")):
        if in_code:
            lines += block
            continue
        for is_row, group in groupby(block, key=lambda line: line.startswith("|")):
            part = list(group)
            lines += _narrow(part) if is_row else part
    return "\n".join(lines)


def _blocks(lines: Sequence[str]) -> Iterator[tuple[bool, list[str]]]:
    """Cut a page where code begins and ends: whether it is code, and its lines."""
    block: list[str] = []
    fence = ""
    for line in lines:
        mark = _FENCE.match(line)
        if mark and not fence:
            yield False, block
            block, fence = [line], mark[1]
        elif fence and line.rstrip() == fence:
            yield True, [*block, line]
            block, fence = [], ""
        else:
            block.append(line)
    yield bool(fence), block


def _narrow(table: list[str]) -> list[str]:
    """Return the lines of a table, or of several with an empty line between two."""
    rows = [[cell.strip() for cell in _BAR.split(line)[1:-1]] for line in table]
    width = len(rows[0])
    if width <= WIDEST or any(len(row) != width for row in rows):
        return table
    n_keys = _keys(rows[2:])
    n_others = width - n_keys
    n_tables = -(-n_others // (WIDEST - n_keys))
    ends = [n_keys + -(-n_others * number // n_tables) for number in range(n_tables + 1)]
    lines: list[str] = []
    for start, end in pairwise(ends):
        cells = ([*row[:n_keys], *row[start:end]] for row in rows)
        lines += [*([""] if lines else []), *(f"| {' | '.join(row)} |" for row in cells)]
    return lines


def _keys(rows: Sequence[Sequence[str]]) -> int:
    """Return how many of the first columns tell all rows apart; 1 if that would leave no room for others."""
    for n_keys in range(1, WIDEST):
        if len({tuple(row[:n_keys]) for row in rows}) == len(rows):
            return n_keys
    return 1
