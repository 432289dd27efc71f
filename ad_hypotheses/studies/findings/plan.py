"""The plan of a study, written before its runs: which models are asked what, and what would count as an answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ad_hypotheses.errors import DataError, UserError, did_you_mean
from ad_hypotheses.evidence.plain_data import build
from ad_hypotheses.storage.reading import read_file
from ad_hypotheses.storage.strict_yaml import YAMLError, load_yaml

SCHEMA = 1
ABOVE, BELOW = ">", "<"
RECORDS = "records"  # folder beside a plan


@dataclass(frozen=True)
class AskedModel:
    """What a model is asked.

    Attributes:
        family: Its family of tasks, in words.
        role: Whether it is a subject or a control, in words.
        contexts: Contexts a cell.
        tests: Names of the tests to do, all where there is no list.
        data: Data sets that it is taken apart on; empty for none.
        leave_out: Rungs that are not run.
        expected: The rung that explains it, where that is known.
    """

    family: str
    role: str
    contexts: int
    tests: list[str] | None = None
    data: str = "source,own,edited"
    leave_out: list[str] = field(default_factory=list)
    expected: str = ""


@dataclass(frozen=True)
class PlannedHypothesis:
    """A hypothesis: its name, what it says, and what would show it to be wrong."""

    name: str
    says: str
    wrong_if: str


@dataclass(frozen=True)
class PlannedAnswer:
    """An answer, or a control, and its conditions.

    Attributes:
        answer: In words.
        needs: A figure each, in which MODEL stands for a name, `>` or `<`, and the name of a threshold.
    """

    answer: str
    needs: list[list[str]]


@dataclass(frozen=True)
class Pilot:
    """A figure that was measured before the study, and the figure of the study that repeats it."""

    value: float
    reference: str


@dataclass(frozen=True)
class Plan:
    """A study before its runs.

    Attributes:
        question: What it asks.
        before: What had been run before it was written.
        seed: Of everything random.
        source_seeds: Learners that a source is averaged over.
        thresholds: By name.
        hypotheses: What is tested.
        answers: In order; the first whose conditions all hold is the answer.
        controls: What has to hold before anything is believed: a test named in a condition that fails is not reported.
        models: What each model is asked.
        excluded: Why others are not. {model: reason}
        pilots: Figures that were measured before. {words: pilot}
        schema: Version of the format.
        sha256: Of the file.
    """

    question: str
    before: list[str]
    seed: int
    source_seeds: int
    thresholds: dict[str, float]
    hypotheses: list[PlannedHypothesis]
    answers: list[PlannedAnswer]
    controls: list[PlannedAnswer]
    models: dict[str, AskedModel]
    excluded: dict[str, str]
    pilots: dict[str, Pilot]
    schema: int
    sha256: str = ""

    def model(self, name: str) -> AskedModel:
        """Return what a model is asked.

        Raises:
            DataError: The study does not ask it.
        """
        if name not in self.models:
            near = did_you_mean(name, self.models)
            raise DataError(f"the study does not ask {name!r}.{near} It asks: {', '.join(self.models)}.")
        return self.models[name]


def record_name(model: str, exploratory: bool = False) -> str:
    """Return the name of the file that holds the record of a model."""
    return f"behave-{model.replace('/', '-')}{'-exploratory' if exploratory else ''}.json"


def read_plan(path: Path) -> Plan:
    """Read the plan of a study.

    Raises:
        DataError: The file is missing, damaged, or names a threshold that it does not have.
    """
    advice = "A plan looks like reports/findings/study.yaml."
    try:
        content = read_file(path)
    except OSError as error:
        raise DataError(f"cannot read the plan {path}: {error.strerror or error}. {advice}") from error
    try:
        plan: Plan = build(Plan, _checked(load_yaml(content.decode()), hashlib.sha256(content).hexdigest()))
    except (UserError, YAMLError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not the plan of a study: {error}. {advice}") from error
    for answer in (*plan.answers, *plan.controls):
        for need in answer.needs:
            if len(need) != 3 or need[1] not in (ABOVE, BELOW) or need[2] not in plan.thresholds:
                raise DataError(
                    f"{path}: a condition of {answer.answer!r} is {need}, but it must be a figure, {ABOVE} or {BELOW}, "
                    f"and one of the thresholds {', '.join(plan.thresholds)}."
                )
    return plan


def _checked(content: Any, digest: str) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or "sha256" in content:
        raise ValueError(f"it must be a mapping with `schema: {SCHEMA}`")
    return {**content, "sha256": digest}
