"""Parts of other pages that quote records: each is rendered from a template of its own, between two marks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ad_hypotheses.errors import DataError
from ad_hypotheses.storage.reading import real_path
from ad_hypotheses.studies.findings.figures import Figures
from ad_hypotheses.studies.findings.template import Block, fill, page_text

BLOCKS = "blocks"  # folder beside a plan
FIRST = re.compile(r"<!-- part of (?P<page>\S+) -->\n")


def marks(name: str) -> tuple[str, str]:
    """Return what stands before and after a part in its page."""
    return f"<!-- rendered from {name} -->\n", f"<!-- end of {name} -->"


def rendered_pages(folder: Path, figures: Figures, blocks: Mapping[str, Block]) -> dict[Path, bytes]:
    """Return pages with the parts renewed that quote records.

    Args:
        folder: With a template for each part, whose first line names the page, relative to the folder.
        figures: What records hold.
        blocks: Tables by name.

    Raises:
        DataError: A template names no page, a page has lost its marks, a reference is unknown, or a figure is typed.
    """
    pages: dict[Path, str] = {}
    for path in sorted(folder.glob("*.md")):
        template = page_text(path)
        first = FIRST.match(template)
        if first is None:
            raise DataError(f"{path}: the first line must name the page, <!-- part of ../../../README.md -->.")
        page = real_path(folder / first["page"])
        text = fill("\n" + template[first.end() :], str(path), figures, blocks).removeprefix("\n")
        pages[page] = _replaced(pages.get(page) or page_text(page), path.name, text, page)
    return {page: text.encode() for page, text in pages.items()}


def _replaced(page: str, name: str, text: str, place: Path) -> str:
    begin, end = marks(name)
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise DataError(f"{place} has lost a mark: {begin.strip()} and {end} must stand around the part of that name.")
    return f"{before}{begin}{text}{end}{after}"
