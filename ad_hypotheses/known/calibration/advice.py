"""What a calibration speaks for: how many histories, which accepted share, how much trust in intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ad_hypotheses.known.calibration.answer import (
    about,
    accepts,
    enough_rows,
    name_of,
    not_supported,
    sizes,
    true_claims,
    wrong_claims,
)
from ad_hypotheses.known.calibration.error_rates import Rate, rate, said
from ad_hypotheses.known.calibration.pictures import AIM
from ad_hypotheses.known.calibration.record import Calibration, ClaimFacts, Coverage
from ad_hypotheses.report.words import code


def advice(calibration: Calibration) -> str:
    """Say which sizes and accepted shares the figures speak for, and what they warn of."""
    lines = [*_on_size(calibration), *_on_accept(calibration), *_on_intervals(calibration), *_on_vacuous(calibration)]
    return "## What to use\n\n" + "\n".join(f"- {line}" for line in lines)


def _on_size(calibration: Calibration) -> list[str]:
    rows = enough_rows(calibration)
    if rows is None:
        tried = ", ".join(map(str, sizes(calibration)))
        return [f"*Histories*: with none of {tried} references were 95 % of the true claims supported."]
    return [f"*Histories*: from {rows} references on, 95 % of the studies of true claims end in *supported*."]


def _on_accept(calibration: Calibration) -> list[str]:
    def supported(claims: Sequence[ClaimFacts], accept: float) -> Rate:
        return rate(about(calibration.trials(), claims), said(accept, "supported"))

    now, strictest = calibration.accept, max(accepts(calibration))
    true, wrong = true_claims(calibration), wrong_claims(calibration)
    before, after = supported(wrong, now), supported(wrong, strictest)
    passing = supported(true, strictest)
    return [
        f"*Accept*: {strictest:.2f} instead of {now:.2f} leaves {after.count} of the {before.count} studies in which "
        f"wrong claims got through, and {passing.count} of {passing.trials} of those of true claims. The weights of "
        "these networks are mostly exact; a true claim about a trained one may leave a few percent, so a claim that "
        f"keeps less than {strictest:.2f} is no more than *nearly* true."
    ]


def _on_intervals(calibration: Calibration) -> list[str]:
    large = max((figure.rows for figure in calibration.coverage), default=0)
    largest = [figure for figure in calibration.coverage if figure.rows == large and figure.claimed > 0]
    narrow = [figure for figure in largest if figure.covered < AIM[0] * figure.replicates]
    wide = [figure for figure in largest if figure.covered > AIM[1] * figure.replicates]
    sentences = []
    if narrow:
        sentences.append(
            f"*Intervals* of {len(narrow)} of {len(largest)} figures are too narrow at {large} histories: estimates on "
            f"fresh histories scatter {_ratios(narrow)} times as much as intervals claim, and lie {_bias(narrow)} too "
            "high on average. Claims that keep all, or nothing like enough, are not touched by it; one within some "
            "hundredths of the accepted share may be."
        )
    if largest and not narrow:
        sentences.append(
            f"*Intervals* of {len(largest) - len(wide)} of {len(largest)} figures hold the exact value as often as "
            f"they should at {large} histories, and none less often."
        )
    if wide:
        sentences.append(
            f"*Intervals* of {len(wide)} of {len(largest)} figures are wider than need be: estimates scatter "
            f"{_ratios(wide)} times as much."
        )
    return sentences


def _ratios(figures: Sequence[Coverage]) -> str:
    ratios = [figure.deviation / figure.claimed for figure in figures]
    low, high = f"{min(ratios):.1f}", f"{max(ratios):.1f}"
    return low if low == high else f"{low} to {high}"


def _bias(figures: Sequence[Coverage]) -> str:
    return f"{float(np.mean([figure.mean - figure.exact for figure in figures])):.3f}"


def _on_vacuous(calibration: Calibration) -> list[str]:
    moved = [
        (name_of(claim), trials[0].root_movement)
        for claim, trials in not_supported(calibration)
        if any(trial.verdict(calibration.accept) == "vacuous" for trial in trials)
    ]
    if not moved:
        return []
    names = ", ".join(f"{code(name)} ({movement:.1%})" for name, movement in moved)
    return [
        f"*Vacuous*: the logits' input moved less than 5 % of what the baseline moves it under {names}, though the "
        "claim is true: all that matters there is named, and the rest hardly writes. *Vacuous* says that little was "
        "put to the test at the logits, not that the claim is empty."
    ]
