"""Which hypotheses of a plan hold for which model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.report.words import Markdown, code, interval, table
from ad_hypotheses.studies.findings.figures import Figures, number_of
from ad_hypotheses.studies.findings.judging import beyond, named_test, withheld_of
from ad_hypotheses.studies.findings.plan import ABOVE, BELOW, Plan
from ad_hypotheses.studies.findings.tables import SUBJECT, models_of

HELD: Mapping[str, Sequence[tuple[str, str, str]]] = {
    "tracks": (("tracking.{}.source.slope", ABOVE, "steep"), ("tracking.{}.source.within", ABOVE, "steep")),
    "step": (("paid.{}.rise", BELOW, "pull"),),
    "counts": (("paid.{}.rise", ABOVE, "pull"), ("failure.{}.effect", BELOW, "pull")),
    "withdraws": (("moved.{}.ratio", ABOVE, "as_good"),),
    "learns moves": (("remapped.{}.ratio", ABOVE, "as_good"),),
    "failures count": (("stale.{}.effect", ABOVE, "pull"),),
    "values": (("value.{}.effect", ABOVE, "pull"),),
    "ignores order": (("order.{}.effect", BELOW, "ordered"),),
    "composes": (("stitched.{}.beyond-chance", ABOVE, "none"),),
    "copies": (("erased.{}.same", ABOVE, "copied"),),
    "is put together": (("stitched.{}.beyond-chance", ABOVE, "better"),),
    "plans two": (("stitched.{}.2-steps-put-together", ABOVE, "plans"),),
    "plans three": (("stitched.{}.3-steps-put-together-the-source-being-sure:-the-likeliest-action", ABOVE, "plans"),),
}
"""What each hypothesis of a plan comes down to: it holds if all of these do, and is wrong if one is."""


def held(figures: Figures, plan: Plan | None = None) -> Markdown:
    """Return one row a hypothesis and model: its figures, and whether it holds with their whole intervals.

    Args:
        figures: All figures.
        plan: Whose hypotheses and models; those that are subjects, of the plan of the study, by default.
    """
    models = models_of(figures, SUBJECT) if plan is None else list(plan.models)
    plan = plan or figures.records.plan
    rows = []
    for hypothesis in plan.hypotheses:
        for name in models:
            known = _known(figures, name, HELD.get(hypothesis.name, ()), plan.thresholds)
            if not known:
                continue
            ways = [beyond(number, sign, limit) for _, number, sign, limit in known]
            word = "wrong" if False in ways else "open" if None in ways else "holds"
            shown = "; ".join(f"{code(place)} {interval(number)}" for place, number, _, _ in known)
            rows.append([hypothesis.name, code(name), Markdown(shown), word])
    return table(["hypothesis", "model", "figures", ""], rows)


def _known(
    figures: Figures, model: str, parts: Sequence[tuple[str, str, str]], thresholds: Mapping[str, float]
) -> list[tuple[str, Number, str, float]]:
    """Return the parts of a hypothesis with their figures; nothing if one is not measured or not reported.

    A slope within cells is not estimable where the source does the same in all contexts of a cell, and left out.
    """
    thresholds, withheld = {"none": 0.0, **thresholds}, withheld_of(figures, model)
    known = []
    for place, sign, limit in parts:
        name = place.format(model)
        value = figures.get(name)
        if value is None or named_test(name) in withheld:
            return []
        known.append((name, number_of(value), sign, thresholds[limit]))
    return [part for part in known if part[1].estimable]
