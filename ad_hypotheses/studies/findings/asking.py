"""Ask the models of a plan what it says, one record a model, and leave alone what has been asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ad_hypotheses.errors import UserError
from ad_hypotheses.evidence.plain_data import plain
from ad_hypotheses.progress import Progress
from ad_hypotheses.storage.files import write_files
from ad_hypotheses.studies.behave.record import Behaviour, read_behaviour
from ad_hypotheses.studies.behave.study import CONTEXTS, behave
from ad_hypotheses.studies.evaluate.choose import CheckpointChoice
from ad_hypotheses.studies.findings.plan import AskedModel, Plan, record_name
from ad_hypotheses.studies.parallel.workers import ALONE, Workers

UNPLANNED = AskedModel("not in the study", "exploratory", CONTEXTS)


def ask(
    plan: Plan,
    choices: Sequence[CheckpointChoice],
    folder: Path,
    *,
    command: Callable[[str], str],
    changed: Mapping[str, Any] | None = None,
    kept: Path | None = None,
    workers: Workers = ALONE,
    progress: Progress | None = None,
) -> list[Path]:
    """Ask models what a plan says, and write a record of each as soon as it is known.

    Args:
        plan: The plan.
        choices: The models; one that the plan does not name is exploratory.
        folder: Where the records go.
        command: Given the name of a model, returns what makes its record again.
        changed: Settings of `behave` other than those of the plan, which make a record exploratory.
        kept: Folder for what is measured part by part.
        workers: Where the parts are measured.
        progress: Listens on the way.

    Returns:
        The records, one a model, those that were there already among them.
    """
    progress, changed = progress or Progress(), dict(changed or {})
    written = []
    for choice in choices:
        planned = plan.models.get(choice.name)
        exploratory = departure(choice.name, planned, changed)
        settings = {**settings_of(planned or UNPLANNED), "seeds": plan.source_seeds, "seed": plan.seed, **changed}
        path = folder / record_name(choice.name, bool(exploratory))
        if _is_there(path, plan, choice, exploratory):
            progress.say(f"{choice.name} has been asked", "dim")
        else:
            how: dict[str, Any] = {"kept": kept, "workers": workers, "progress": progress}
            behaviour = behave([choice], **settings, **how, command=command(choice.name))
            write_record(replace(behaviour, study=plan.sha256, exploratory=exploratory), path)
        written.append(path)
    return written


def settings_of(planned: AskedModel) -> dict[str, Any]:
    """Return what `behave` is to be given for a model."""
    return {
        "contexts": planned.contexts,
        "tests": planned.tests,
        "data": planned.data,
        "leave_out": planned.leave_out,
    }


def departure(name: str, planned: AskedModel | None, changed: Mapping[str, Any]) -> str:
    """Say how a run departs from the plan, or nothing."""
    if planned is None:
        return f"the study does not ask {name}"
    return f"other {', '.join(changed)} than in the study" if changed else ""


def write_record(behaviour: Behaviour, path: Path) -> None:
    """Write a record without spaces: many of them lie beside each other.

    Raises:
        UserError: It cannot be written.
    """
    text = json.dumps(plain(asdict(behaviour)), separators=(",", ":"), ensure_ascii=False)
    write_files({path: (text + "\n").encode()})


def _is_there(path: Path, plan: Plan, choice: CheckpointChoice, exploratory: str) -> bool:
    """Return whether a record is what would be measured; one that departs from the plan is measured anew."""
    if exploratory or not path.is_file():
        return False
    with suppress(UserError):
        record = read_behaviour(path)
        return record.study == plan.sha256 and record.subjects[0].sha256 == choice.checkpoint.sha256
    return False
