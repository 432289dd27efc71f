"""`scrub`: test every hypothesis of a file by causal scrubbing, and write a report of each."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ad_hypotheses.errors import UserError
from ad_hypotheses.language.claims import shown_file
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.report.progress import metered
from ad_hypotheses.report.screen import out, print_json
from ad_hypotheses.storage.scratch import PARTIAL, Scratch, clear_old
from ad_hypotheses.studies.interrupt import stoppable
from ad_hypotheses.studies.machine import keep_freed_memory
from ad_hypotheses.studies.scrub.bind import ScrubSettings
from ad_hypotheses.studies.scrub.page import write_report
from ad_hypotheses.studies.scrub.record import Study
from ad_hypotheses.studies.scrub.study import scrub
from ad_hypotheses.studies.scrub.summary import show


@dataclass(frozen=True)
class ScrubCommand:
    """What to scrub where.

    Attributes:
        name: Of the hypothesis file.
        model: To test on; None for those that the file names.
        models: Folder of the checkpoints.
        reports: Folder of the reports.
        device: Where to compute.
        command: What makes the same study again.
    """

    name: str
    model: str | None
    models: Path
    reports: Path
    device: str
    command: str

    @cached_property
    def scratch(self) -> Scratch:
        """Where to keep what is measured on the way."""
        return Scratch(self.reports / PARTIAL / self.name)


def scrub_all(hypotheses: Sequence[Hypothesis], run: ScrubCommand, settings: ScrubSettings, as_json: bool) -> None:
    """Test the hypotheses of a file together, write a report of each, and print the short form.

    Raises:
        UserError: Something cannot be tested, or a report cannot be written.
        Stopped: The user pressed Ctrl-C.
    """
    keep_freed_memory()
    with metered() as meter, stoppable(lambda: _stopped(run.scratch)):
        studies = scrub(
            hypotheses,
            settings,
            model=run.model,
            models=run.models,
            device=run.device,
            command=run.command,
            scratch=run.scratch,
            progress=meter,
        )
        meter.begin("writing reports", len(studies))
        pages = [write_report(study, run.reports)[-1] for study in studies]
        run.scratch.discard()
        meter.say(clear_old(run.reports / PARTIAL), "dim")
    _show(studies, pages, as_json)


OPTIONS: dict[str, Any] = {
    "model": None, "models": Path("models"), "samples": 256, "passes": 5, "tasks": "all", "others": "joint",
    "align": "step", "shared": False, "seed": 0, "rollouts": 64, "adversary": False, "findings": None, "trust": None,
    "device": "cpu", "threads": None,
}  # fmt: skip


FINDINGS = 3  # of an adversary that nobody asked for more


def findings_of(adversary: bool, findings: int | None) -> int | None:
    """Return how many findings an adversary may report; None if there is none.

    Raises:
        UserError: A number of findings was typed without an adversary.
    """
    if findings is not None and not adversary:
        raise UserError(f"--findings {findings} is about what an adversary reports: add --adversary, or leave it out.")
    return (findings or FINDINGS) if adversary else None


def command(file: str, given: dict[str, Any]) -> str:
    """Return what makes the same study again: options that change no number, or have their default, are left out.

    Args:
        file: As it was typed.
        given: Every option by name.
    """
    words = ["python", "cli.py", "scrub", shown_file(file)]
    for name, default in OPTIONS.items():
        value = given[name]
        if isinstance(value, list):
            words += [word for file in value for word in (f"--{name}", str(file))]
        elif value != default:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return shlex.join(words)


def _stopped(scratch: Scratch) -> str:
    if scratch.is_empty:
        return "stopped before a claim was measured; nothing was kept."
    return f"stopped; what was measured is kept in {scratch.folder}; the same command goes on."


def _show(studies: list[Study], pages: list[Path], as_json: bool) -> None:
    if as_json:
        both = zip(studies, pages, strict=True)
        print_json([{"report": str(page), **json.loads(study.to_json())} for study, page in both])
        return
    console = out()
    for study, page in zip(studies, pages, strict=True):
        show(study, console, page)
        console.print()
