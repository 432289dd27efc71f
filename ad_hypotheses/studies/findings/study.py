"""Render the findings: the page beside a plan, and the parts of other pages that quote records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ad_hypotheses.errors import DataError
from ad_hypotheses.storage.files import write_files
from ad_hypotheses.storage.reading import read_file
from ad_hypotheses.studies.findings.blocks import BLOCKS, rendered_pages
from ad_hypotheses.studies.findings.figures import Figures, read_records
from ad_hypotheses.studies.findings.page import render, table_blocks
from ad_hypotheses.studies.findings.plan import RECORDS, Plan, read_plan
from ad_hypotheses.studies.findings.template import page_text

PLAN, TEMPLATE, PAGE = "study.yaml", "findings.md", "README.md"
FURTHER = "study-"  # how the names of further plans beside that of the study begin
EXAMPLES = "examples"  # folder with the records of scrubbing, beside that of the findings


@dataclass(frozen=True)
class Findings:
    """What was rendered.

    Attributes:
        files: Content by path, the page last.
    """

    files: Mapping[Path, bytes]

    def write(self) -> list[Path]:
        """Write all files; returns them, the page last.

        Raises:
            UserError: A folder cannot be written.
        """
        return write_files(self.files)

    def stale(self) -> list[Path]:
        """Return the files that are missing or other than what the records say; pictures by being there alone.

        Fonts and compression differ between versions of the library that paints, so bytes of pictures do not count.
        """
        return [path for path, content in self.files.items() if not _same(path, content)]


def _same(path: Path, content: bytes) -> bool:
    return path.is_file() and (path.suffix == ".png" or read_file(path) == content)


def findings(folder: Path, models: Path) -> Findings:
    """Render the page on what a study found, and the parts of other pages that quote records.

    Args:
        folder: With the plan, the template, and the records.
        models: With the records of trained models.

    Returns:
        The pages and pictures, not written yet.

    Raises:
        DataError: A file is missing or damaged, a model is in two plans, a reference is unknown, or a figure is typed.
    """
    further = _plans(folder)
    plan = further.pop(Path(PLAN).stem)
    figures = Figures(read_records(plan, folder / RECORDS, folder.parent / EXAMPLES, models, further))
    page, pictures = render(page_text(folder / TEMPLATE), str(folder / TEMPLATE), figures)
    others = rendered_pages(folder / BLOCKS, figures, table_blocks(figures))
    drawn = {folder / name: content for name, content in pictures.items()}
    return Findings({**drawn, **others, folder / PAGE: page.encode()})


def _plans(folder: Path) -> dict[str, Plan]:
    """Return the plans of a folder, that of the study first. {what the name of its file ends in: plan}"""
    plans: dict[str, Plan] = {}
    asked: dict[str, Path] = {}
    for path in [folder / PLAN, *sorted(folder.glob(f"{FURTHER}*.yaml"))]:
        plan = plans[path.stem.removeprefix(FURTHER)] = read_plan(path)
        for name in plan.models:
            if name in asked:
                raise DataError(f"{path} asks {name}, and so does {asked[name]}: take it out of one.")
            asked[name] = path
    return plans
