"""Judge the conditions of a plan: which controls hold, and which answer each model gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.studies.behave.record import MODEL, UNTRAINED, TestRecord
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
    limits = figures.records.plan_of(model).thresholds
    for need in answer.needs:
        name, sign, threshold = need[0].replace(ANY, model), need[1], need[2]
        limit = limits[threshold]
        figure = None if named_test(name) in withheld else figures.get(name)
        number = None if figure is None else number_of(figure)
        if number is None or not number.estimable:
            conditions.append(ConditionOutcome(name, number, sign, threshold, limit, None))
            continue
        holds = beyond(number, sign, limit) is True
        conditions.append(ConditionOutcome(name, number, sign, threshold, limit, holds))
    return conditions


def beyond(number: Number, sign: str, limit: float) -> bool | None:
    """Return whether a whole interval lies where it must, False where it all lies on the other side, None between."""
    low, high = (number.low, number.high) if number.has_interval else (number.value, number.value)
    right, wrong = (low > limit, high < limit) if sign == ABOVE else (high < limit, low > limit)
    return True if right else False if wrong else None


def named_test(figure: str) -> str:
    """Return the test that a figure is of, by its name."""
    return figure.split(".", maxsplit=1)[0]


def controls(figures: Figures) -> dict[str, list[ConditionOutcome]]:
    """Return the controls of the plan, judged. {control: conditions}"""
    return {control.answer: judged(control, figures) for control in figures.records.plan.controls}


def failed_tests(figures: Figures) -> list[str]:
    """Return the tests that are named in a condition of a control that does not hold, which nobody reports."""
    conditions = [condition for control in controls(figures).values() for condition in control]
    failed = {named_test(condition.figure) for condition in conditions if condition.holds is False}
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
    for answer in figures.records.plan_of(model).answers:
        if all(condition.holds for condition in judged(answer, figures, model, withheld)):
            return answer.answer
    return NONE_HOLDS


def nearest(test: TestRecord, leave_out: Sequence[str] = (MODEL, UNTRAINED)) -> str:
    """Return the rung whose cells lie nearest to those of the model, by the mean square."""
    distances = {
        who: sum((cell.values[who].value - cell.values[MODEL].value) ** 2 for cell in test.cells)
        for who in test.effects
        if who not in leave_out
    }
    return min(distances, key=lambda who: distances[who])
