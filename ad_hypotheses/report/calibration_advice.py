"""What a calibration speaks for: how many histories and passes, which accepted share, how much trust in intervals."""

from __future__ import annotations

from collections.abc import Sequence

from ad_hypotheses.evidence.calibration import Calibration, ClaimFacts
from ad_hypotheses.evidence.error_rates import Rate, rate, said
from ad_hypotheses.report.calibration_answer import (
    about,
    accepts,
    enough_passes,
    enough_rows,
    sizes,
    true_claims,
    wrong_claims,
)
from ad_hypotheses.report.calibration_plots import AIM


def advice(calibration: Calibration) -> str:
    """Say which rows, passes and accept the figures speak for, and what they warn of."""
    lines = [*_on_size(calibration), *_on_accept(calibration), *_on_intervals(calibration)]
    return "## What to use\n\n" + "\n".join(f"- {line}" for line in lines)


def _on_size(calibration: Calibration) -> list[str]:
    tried = [n for n, passes in sizes(calibration) if passes == calibration.standard[1]]
    n_rows, passes = enough_rows(calibration), enough_passes(calibration)
    if n_rows is None:
        found = [f"*Histories*: on none of {', '.join(map(str, tried))} were 95 % of the true claims supported."]
    else:
        found = [f"*Histories*: from {n_rows} on, 95 % of the studies of true claims end in *supported*."]
    if passes is not None:
        found.append(f"*Passes*: on {passes[0]} histories, {passes[1]} tell as much as more do.")
    return found


def _on_accept(calibration: Calibration) -> list[str]:
    def supported(claims: Sequence[ClaimFacts], accept: float) -> Rate:
        return rate(about(calibration.trials(), claims), said(accept, "supported"))

    now, strictest = calibration.accept, max(accepts(calibration))
    true, wrong = true_claims(calibration), wrong_claims(calibration)
    before, after = supported(wrong, now), supported(wrong, strictest)
    kept = supported(true, strictest)
    return [
        f"*Accept*: {strictest:.2f} instead of {now:.2f} leaves {after.count} of the {before.count} studies in which "
        f"wrong claims got through, and {kept.count} of {kept.trials} of those of true claims. The weights of these "
        "networks are mostly exact; a true claim about a trained one may leave a few percent, so a claim that recovers "
        f"less than {strictest:.2f} is no more than *nearly* true."
    ]


def _on_intervals(calibration: Calibration) -> list[str]:
    narrow = [one for one in calibration.coverage if one.covered < AIM[0] * one.replicates and one.claimed > 0]
    if not narrow:
        return []
    ratios = [one.deviation / one.claimed for one in narrow]
    return [
        "*Intervals* are too narrow where a claim recovers a part: estimates on fresh histories scatter "
        f"{min(ratios):.1f} to {max(ratios):.1f} times as much as intervals claim. Which donors there are is chance "
        "too, and intervals only know of the references. Claims that recover all, or nothing like enough, are not "
        "touched by it; one within some hundredths of the accepted share may be."
    ]
