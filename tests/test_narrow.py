"""No table of any page is wider than GitHub shows."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest

from ad_hypotheses.report.narrow import WIDEST, narrow_tables
from ad_hypotheses.report.templates import render
from ad_hypotheses.report.words import Markdown

ROOT = Path(__file__).parents[1]
DOCS = (ROOT / "docs").glob("*.md"), (ROOT / "docs" / "notebooks").glob("*.md")
SHIPPED = sorted(
    [*(ROOT / "reports").rglob("*.md"), *(ROOT / "models").rglob("card.md"), *ROOT.glob("*.md"), *chain(*DOCS)]
)


def widths(text: str) -> list[int]:
    """Number of columns of each table, read off the line under its head."""
    rules = re.findall(r"^\|(?:\s*:?-+:?\s*\|)+$", text, flags=re.MULTILINE)
    return [rule.count("|") - 1 for rule in rules]


def wide(keys: list[list[str]], n_others: int) -> str:
    heads = [*(f"key {n}" for n in range(len(keys[0]))), *(f"figure {n}" for n in range(n_others))]
    rows = [[*key, *(f"{number}.{n}" for n in range(n_others))] for number, key in enumerate(keys)]
    rule = ["---"] * len(keys[0]) + ["--:"] * n_others
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rule, *rows])


def test_a_wide_table_becomes_several_that_begin_with_what_tells_rows_apart():
    text = narrow_tables(f"Before.\n\n{wide([['a'], ['b']], 6)}\n\nAfter.")
    assert text == (
        "Before.\n\n"
        "| key 0 | figure 0 | figure 1 | figure 2 |\n| --- | --: | --: | --: |\n"
        "| a | 0.0 | 0.1 | 0.2 |\n| b | 1.0 | 1.1 | 1.2 |\n\n"
        "| key 0 | figure 3 | figure 4 | figure 5 |\n| --- | --: | --: | --: |\n"
        "| a | 0.3 | 0.4 | 0.5 |\n| b | 1.3 | 1.4 | 1.5 |\n\nAfter."
    )
    both = narrow_tables(wide([["a", "x"], ["a", "y"]], 9))
    assert widths(both) == [5, 5, 5]
    assert both.count("| a | y | ") == 3


@pytest.mark.parametrize(
    "text",
    [
        wide([["a"]], WIDEST - 1),
        f"```\n{wide([['a']], 9)}\n```",
        f"````\n```\n{wide([['a']], 9)}\n```\n````",
        "| a \\| b | c |\n| --- | --- |\n| 1 \\| 2 \\| 3 \\| 4 \\| 5 \\| 6 \\| 7 | 8 |",
    ],
)
def test_what_fits_and_what_is_code_is_left_as_it_is(text):
    assert narrow_tables(text) == text


def test_rows_that_nothing_tells_apart_keep_their_first_column():
    same = wide([["a"], ["a"]], 8).replace("1.", "0.")
    assert widths(narrow_tables(same)) == [5, 5]


def test_every_page_that_a_template_makes_is_narrow(monkeypatch):
    from ad_hypotheses.report import templates

    monkeypatch.setattr(templates, "_source", lambda name: "{{ table }}")
    templates._environment.cache_clear()
    assert max(widths(render("any.md", table=Markdown(wide([["a"], ["b"]], 11))))) <= WIDEST
    templates._environment.cache_clear()


@pytest.mark.parametrize("page", SHIPPED, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_shipped_page_has_a_table_that_is_cut_off(page):
    assert max(widths(page.read_text()), default=0) <= WIDEST
