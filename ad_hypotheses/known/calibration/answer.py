"""What a calibration says in the end: rates by group, measures side by side, what got through, what to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ad_hypotheses.known.calibration.error_rates import Rate, Separation, rate, said, separate
from ad_hypotheses.known.calibration.record import IN_PART, REFUSED, Calibration, ClaimFacts, Coverage, TrialOutcome

VERDICTS = ("supported", IN_PART, "refuted", "inconclusive", "vacuous", REFUSED)
ROUNDING = 1e-3  # differences of a measure up to this are none
VISIBLE = 0.01  # differences of a measure from that of the true claims from which on somebody would notice
ENOUGH = 0.95  # share of trials in which a true claim should be supported


@dataclass(frozen=True)
class CalibrationMeasure:
    """A figure that might tell true claims from wrong ones.

    Attributes:
        name: On the page.
        larger_is_better: Whether a true claim should have more of it.
        where: What it comes from.
    """

    name: str
    larger_is_better: bool
    where: str


MEASURES = (
    CalibrationMeasure("fidelity", True, "scrub"),
    CalibrationMeasure("fidelity with self-donors", True, "scrub"),
    CalibrationMeasure("fidelity with independent others", True, "scrub"),
    CalibrationMeasure("beyond structure", True, "scrub"),
    CalibrationMeasure("explained", True, "scrub"),
    CalibrationMeasure("fidelity over all steps", True, "scrub"),
    CalibrationMeasure("recovered over all steps", True, "scrub"),
    CalibrationMeasure("likeliest action kept", True, "scrub"),
    CalibrationMeasure("share tested", True, "scrub"),
    CalibrationMeasure("swap share", True, "scrub"),
    CalibrationMeasure("root movement", True, "scrub"),
    CalibrationMeasure("specificity", True, "scrub"),
    CalibrationMeasure("fidelity with donors from any step", True, "scrub, align='any'"),
    CalibrationMeasure("undeclared edges", False, "patch"),
    CalibrationMeasure("weakest arrow", True, "patch"),
    CalibrationMeasure("policy agreement", True, "behaviour"),
)
LOWEST = {
    "fidelity": "fidelity",
    "fidelity with self-donors": "with_self",
    "fidelity with independent others": "independent",
    "beyond structure": "beyond_structure",
    "explained": "explained",
    "likeliest action kept": "same_argmax",
    "share tested": "tested",
    "swap share": "swapped",
}  # figures of cells of which the lowest counts


def true_claims(calibration: Calibration) -> list[ClaimFacts]:
    """The claims that deserve support."""
    return [claim for claim in calibration.claims if claim.expected == "supported"]


def wrong_claims(calibration: Calibration) -> list[ClaimFacts]:
    """The claims that deserve refutation."""
    return [claim for claim in calibration.claims if claim.expected == "refuted"]


def kinds(calibration: Calibration) -> list[str]:
    """Kinds of claims, the true ones first."""
    return list(dict.fromkeys(claim.kind for claim in (*true_claims(calibration), *calibration.claims)))


def about(outcomes: Sequence[TrialOutcome], claims: Sequence[ClaimFacts]) -> list[TrialOutcome]:
    """The trials of some claims."""
    wanted = {(outcome.network, outcome.claim) for outcome in claims}
    return [outcome for outcome in outcomes if (outcome.network, outcome.claim) in wanted]


def name_of(claim: ClaimFacts | TrialOutcome | Coverage) -> str:
    """Return `win-stay: two_pulls`."""
    return f"{claim.network}: {claim.claim}"


def values(calibration: Calibration) -> dict[str, dict[str, float]]:
    """Return what every measure gives to every claim, means over standard trials. {measure: {claim: value}}"""
    by_measure: dict[str, dict[str, float]] = {measure.name: {} for measure in MEASURES}
    for claim in calibration.claims:
        trials = about(calibration.trials(), [claim])
        for name, value in (_from_trials(trials) | _from_facts(claim)).items():
            by_measure[name][name_of(claim)] = value
    return by_measure


def _from_trials(trials: Sequence[TrialOutcome]) -> dict[str, float]:
    def mean(numbers: Sequence[float]) -> float:
        known = [number for number in numbers if np.isfinite(number)]
        return float(np.mean(known)) if known else float("nan")

    overall = [trial.overall for trial in trials if trial.overall is not None]
    lowest = {name: mean([trial.lowest(figure) for trial in trials]) for name, figure in LOWEST.items()}
    return lowest | {
        "fidelity over all steps": mean([cell.fidelity.value for cell in overall if cell.fidelity.estimable]),
        "recovered over all steps": mean([cell.recovered.value for cell in overall if cell.recovered.estimable]),
        "root movement": mean([trial.root_movement for trial in trials]),
    }


def _from_facts(claim: ClaimFacts) -> dict[str, float]:
    return {
        "specificity": claim.specificity,
        "fidelity with donors from any step": claim.any_step,
        "undeclared edges": claim.undeclared,
        "weakest arrow": claim.weakest_arrow,
        "policy agreement": claim.agreement,
    }


def separations(calibration: Calibration) -> list[Separation]:
    """Compare what every measure gives to true claims with what it gives to wrong ones."""
    by_measure = values(calibration)
    true, wrong = ([name_of(item) for item in group] for group in (true_claims(calibration), wrong_claims(calibration)))
    separated = []
    for measure in MEASURES:
        given: Mapping[str, float] = by_measure[measure.name]
        good, bad = ({name: given[name] for name in group} for group in (true, wrong))
        separated.append(separate(measure.name, good, bad, measure.larger_is_better, ROUNDING))
    return [item for item in separated if item is not None]


def got_through(calibration: Calibration, verdict: str = "supported") -> list[tuple[ClaimFacts, Rate]]:
    """The wrong claims that got a verdict in any trial of the standard size, those that got it most often first."""
    passed = []
    for claim in wrong_claims(calibration):
        supported = rate(about(calibration.trials(), [claim]), said(calibration.accept, verdict))
        if supported.count:
            passed.append((claim, supported))
    return sorted(passed, key=lambda entry: (-entry[1].count / entry[1].trials, name_of(entry[0])))


def catches(calibration: Calibration) -> dict[str, list[str]]:
    """Return by which measures each wrong claim looks worse than every true one about its network. {claim: [measure]}

    Only differences that can be seen count, of :data:`VISIBLE` or more.
    """
    given = values(calibration)
    caught: dict[str, list[str]] = {}
    for wrong in wrong_claims(calibration):
        true_names = [name_of(item) for item in true_claims(calibration) if item.network == wrong.network]
        name = name_of(wrong)
        caught[name] = []
        for measure in MEASURES:
            sign = 1 if measure.larger_is_better else -1
            true = [sign * given[measure.name][item] for item in true_names if np.isfinite(given[measure.name][item])]
            if true and sign * given[measure.name][name] < min(true) - VISIBLE:
                caught[name].append(measure.name)
    return caught


def not_supported(calibration: Calibration) -> list[tuple[ClaimFacts, list[TrialOutcome]]]:
    """The true claims that were not supported in some trial of the standard size, with those trials."""
    failures = []
    for claim in true_claims(calibration):
        supported = said(calibration.accept, "supported")
        failed = [outcome for outcome in about(calibration.trials(), [claim]) if not supported(outcome)]
        failures += [(claim, failed)] if failed else []
    return failures


def supported_share(calibration: Calibration, rows: int, accept: float, true: bool) -> Rate:
    """How often true, or wrong, claims were supported at a size."""
    claims = true_claims(calibration) if true else wrong_claims(calibration)
    return rate(about(calibration.trials(rows), claims), said(accept, "supported"))


def sizes(calibration: Calibration) -> list[int]:
    """References of all trials."""
    return sorted({outcome.rows for outcome in calibration.outcomes})


def accepts(calibration: Calibration) -> list[float]:
    """Accepted shares that were tried."""
    return sorted(map(float, calibration.outcomes[0].verdicts))


def enough_rows(calibration: Calibration) -> int | None:
    """The fewest references from which on 95 % of the trials of true claims end in *supported*; None if none do."""
    fewest = None
    for rows in reversed(sizes(calibration)):
        if _share(supported_share(calibration, rows, calibration.accept, True)) < ENOUGH:
            break
        fewest = rows
    return fewest


def _share(share: Rate) -> float:
    return share.count / share.trials if share.trials else 0.0
