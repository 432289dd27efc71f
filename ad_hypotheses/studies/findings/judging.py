"""Judge the conditions of a plan: which controls hold, and which answer each model gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.studies.behave.record import TestRecord
from ad_hypotheses.studies.findings.figures import Figures, number_of
from ad_hypotheses.studies.findings.plan import ABOVE, PlannedAnswer

ANY = "MODEL"  # stands for the name of a model
NONE_HOLDS = "no rule holds"
NOT_ASKED = "not measured"


@dataclass(frozen=True)
class ConditionOutcome:
    """A condition, judged.

    Attributes:
        figure: Name of the figure.
        number: The figure; None where no record holds it, or where its test is not reported.
        sign: Whether it must lie above or below.
        threshold: What it must lie beyond.
        limit: Value of the threshold.
        holds: Whether it does, with the whole interval; None where that is not known.
    """

    figure: str
    number: Number | None
    sign: str
    threshold: str
    limit: float
    holds: bool | None


def judged(
    answer: PlannedAnswer, figures: Figures, model: str = "", withheld: Sequence[str] = ()
) -> list[ConditionOutcome]:
    """Judge the conditions of an answer, or of a control, for a model.

    Args:
        answer: What the plan says.
        figures: What records hold.
        model: What MODEL stands for.
        withheld: Tests that are not reported, on which nothing is built.
    """
    conditions = []
    for need in answer.needs:
        name, sign, threshold = need[0].replace(ANY, model), need[1], need[2]
        limit = figures.records.plan.thresholds[threshold]
        figure = None if name.split(".", maxsplit=1)[0] in withheld else figures.get(name)
        number = None if figure is None else number_of(figure)
        if number is None or not number.estimable:
            conditions.append(ConditionOutcome(name, number, sign, threshold, limit, None))
            continue
        bound = number.value if not number.has_interval else number.low if sign == ABOVE else number.high
        holds = bound > limit if sign == ABOVE else bound < limit
        conditions.append(ConditionOutcome(name, number, sign, threshold, limit, holds))
    return conditions


def controls(figures: Figures) -> dict[str, list[ConditionOutcome]]:
    """Return the controls of the plan, judged. {control: conditions}"""
    return {control.answer: judged(control, figures) for control in figures.records.plan.controls}


def failed_tests(figures: Figures) -> list[str]:
    """Return the tests that are named in a condition of a control that does not hold, which nobody reports."""
    conditions = [condition for control in controls(figures).values() for condition in control]
    failed = {condition.figure.split(".", maxsplit=1)[0] for condition in conditions if condition.holds is False}
    return sorted(failed)


def withheld_of(figures: Figures, model: str) -> list[str]:
    """Return the tests of a model that are not reported: a control of theirs fails, for it or for all."""
    subject = figures.records.subject(model)
    own = [test.name for test in subject.tests if not test.reported] if subject else []
    return sorted({*own, *failed_tests(figures)})


def answer_of(figures: Figures, model: str) -> str:
    """Return the first answer whose conditions all hold for a model."""
    if model not in figures.records.asked:
        return NOT_ASKED
    withheld = withheld_of(figures, model)
    for answer in figures.records.plan.answers:
        if all(condition.holds for condition in judged(answer, figures, model, withheld)):
            return answer.answer
    return NONE_HOLDS


def nearest(test: TestRecord, leave_out: Sequence[str] = ("model", "untrained")) -> str:
    """Return the rung whose cells lie nearest to those of the model, by the mean square."""
    distances = {
        who: sum((cell.values[who].value - cell.values["model"].value) ** 2 for cell in test.cells)
        for who in test.effects
        if who not in leave_out
    }
    return min(distances, key=lambda who: distances[who])
