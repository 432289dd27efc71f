"""The index of a folder of reports, `README.md`: what each says, read off the first line of its page."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ad_hypotheses.progress import Progress
from ad_hypotheses.report.words import address
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.storage.lock import held
from ad_hypotheses.storage.reading import read_file

INDEX = "README.md"
_HEAD = "# Reports\n\nEvery report of this folder; whatever writes one here keeps this list.\n"
_TITLE = re.compile(r"# (?P<claim>.+) on (?P<model>.+?): (?P<verdict>.+)")  # of a page about a claim and a model
_ROW = re.compile(r"^\| \[.*\]\((?P<page>[^)]*)\) \|.*\| (?P<date>\d{4}-\d\d-\d\d) \|$", re.MULTILINE)


def write_reports(records: Sequence[Any], write: Callable[[Any], Sequence[Path]], progress: Progress) -> list[Path]:
    """Write the report of every record, list them in the index of their folder, and return their pages."""
    progress.begin("writing reports", len(records))
    pages = [write(record)[-1] for record in records]
    note_reports(pages)
    return pages


def note_reports(pages: Iterable[Path], date: datetime.date | None = None) -> None:
    """Bring the index beside some pages up to date: claim, model, verdict and date of every report there.

    A README.md that is not such an index is left alone. Processes that write reports into one folder at once take
    turns, and each lists what is there then, so that none is lost.

    Args:
        pages: Pages that were just written; others keep their date.
        date: Their date, when their studies were made; that of the clock by default.

    Raises:
        UserError: The folder cannot be written.
    """
    pages = list(pages)
    for folder in dict.fromkeys(page.parent for page in pages):
        with held(folder, "listing its reports", lambda line: None):
            index = folder / INDEX
            before = read_file(index).decode(errors="replace") if index.exists() else _HEAD
            if not before.startswith(_HEAD):
                continue
            dates = _dates(before)
            written = (date or datetime.date.today()).isoformat()
            dates |= {str(address(page.name)): written for page in pages if page.parent == folder}
            write_atomically(index, _text(folder, dates).encode())


def date_of(record: Path) -> datetime.date:
    """Return when the study of a record was made: the date of its report in the index beside it, else of its file.

    Raises:
        OSError: There is no such file.
    """
    changed = datetime.date.fromtimestamp(record.stat().st_mtime)
    index = record.parent / INDEX
    dates = _dates(read_file(index).decode(errors="replace")) if index.is_file() else {}
    try:
        return datetime.date.fromisoformat(dates[str(address(f"{record.stem}.md"))])
    except (KeyError, ValueError):  # it is not listed, or with a date that is none
        return changed


def _dates(index: str) -> dict[str, str]:
    """Return the date of each page that an index lists."""
    return {row["page"]: row["date"] for row in _ROW.finditer(index)}


def _text(folder: Path, dates: Mapping[str, str]) -> str:
    """Return the index of a folder; what it has no date of gets that of its file."""
    lines = ["| Claim | Model | Verdict | Date |", "| --- | --- | --- | --- |"]
    for page in sorted(folder.glob("*.md")):
        with page.open(encoding="utf-8", errors="replace") as file:
            first = file.readline().strip()
        if page.name == INDEX or not first.startswith("# "):
            continue
        title = _TITLE.fullmatch(first)
        claim, model, verdict = (first[2:], "-", "-") if title is None else title.groups()
        link = str(address(page.name))
        changed = datetime.date.fromtimestamp(page.stat().st_mtime).isoformat()
        lines.append(f"| [{claim}]({link}) | {model} | {verdict} | {dates.get(link, changed)} |")
    return "\n".join([_HEAD, *lines, ""])
