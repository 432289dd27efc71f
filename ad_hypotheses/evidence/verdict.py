"""One rule that turns estimates into verdicts, for all hypotheses and controls of a file at once.

The rule is fixed before the run and has no knob but `accept`. All that are tested together share one error budget:
the chance that any wrong one among them is called *supported* is at most 2.5 %, and likewise for *refuted*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from ad_hypotheses.evidence.bootstrap import Estimate

Verdict = Literal["supported", "refuted", "inconclusive", "vacuous"]

#: One-sided error rate of a family: each end of a 95 % interval.
ALPHA = 0.025
#: Below this share of the baseline's movement the root's input has hardly been touched.
VACUOUS_BELOW = 0.05
#: Where fewer of a node's draws than this are another history, what the node says was hardly tested.
SWAPPED_AT_LEAST = 0.2
_N_RATIOS = 4


@dataclass(frozen=True)
class Tested:
    """One hypothesis or control, with what was measured about it.

    Attributes:
        name: What the file calls it.
        accept: The recovered share from which on it counts as supported.
        recovered: Share of the loss recovered; donors exclude the row itself.
        beyond_structure: The same against constant features.
        recovered_with_self: `recovered` where a row may be its own donor, which inflates it.
        beyond_structure_with_self: `beyond_structure` likewise.
        root_movement: How far the root's input moved, as a share of how far the baseline moves it, 0 or more.
        swapped: Share of the draws whose donor is another row, at the node where it is smallest.
    """

    name: str
    accept: float
    recovered: Estimate
    beyond_structure: Estimate
    recovered_with_self: Estimate
    beyond_structure_with_self: Estimate
    root_movement: float
    swapped: float

    @property
    def ratios(self) -> dict[str, Estimate]:
        """The four ratios that must all pass, by the words a reader knows them by."""
        return {
            "recovered": self.recovered,
            "beyond structure": self.beyond_structure,
            "recovered with self-donors": self.recovered_with_self,
            "beyond structure with self-donors": self.beyond_structure_with_self,
        }


@dataclass(frozen=True)
class Judgement:
    """A verdict and why.

    Attributes:
        name: What was judged.
        verdict: Supported, refuted, inconclusive or vacuous.
        p_supported: Holm-adjusted p-value of "some ratio is at or below `accept`".
        p_refuted: Holm-adjusted p-value of "every ratio is at or above `accept`".
        reason: One plain sentence with the numbers that decided.
    """

    name: str
    verdict: Verdict
    p_supported: float
    p_refuted: float
    reason: str


def p_above(estimate: Estimate, threshold: float) -> float:
    """Return the one-sided p-value of "the true value is at or below `threshold`", in (0, 1].

    It agrees with the interval: a 95 % interval lies above the threshold exactly if this is at most 0.025. An
    estimate that is not estimable can reject nothing and gives 1.
    """
    if not estimate.estimable:
        return 1.0
    # Written as "not above", so that a draw that is NaN counts against the claim.
    return float((np.sum(~(estimate.draws > threshold)) + 1) / (len(estimate.draws) + 1))


def p_below(estimate: Estimate, threshold: float) -> float:
    """Return the one-sided p-value of "the true value is at or above `threshold`", in (0, 1]; see `p_above`."""
    if not estimate.estimable:
        return 1.0
    return float((np.sum(~(estimate.draws < threshold)) + 1) / (len(estimate.draws) + 1))


def holm(p_values: Sequence[float] | Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Adjust p-values so that the chance of any false rejection among them is bounded (Holm 1979).

    Args:
        p_values: One for each test, in [0, 1].

    Returns:
        `[test]`, adjusted, in the order given; reject where it is below the error rate.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))), 1.0)
    return adjusted


def draws_for(n_tested: int) -> int:
    """Return how many bootstrap draws a family needs, 2000 or more.

    The smallest p-value is one over the number of draws, and the correction multiplies it by up to four times the
    family; this leaves room for five draws on the wrong side.
    """
    return max(2000, int(np.ceil(6 * _N_RATIOS * n_tested / ALPHA)))


def judge(family: Sequence[Tested]) -> list[Judgement]:
    """Judge all hypotheses and controls of one file together.

    *vacuous*: the root's input moved less than 5 % of what the baseline moves it, and at some node hardly any history
    was swapped; such a claim says nothing, whatever it recovers. (If nothing moves although histories were swapped at
    every node, they are indeed alike to the model.) *supported*: recovered and beyond structure, without and with
    self-donors, all lie above `accept` (the largest of their p-values, Holm-adjusted over the family, is below 0.025),
    and at every node at least a fifth of the draws was another history. *refuted*: at least one ratio lies below (the
    smallest, times four, likewise adjusted). *inconclusive*: anything else.

    Args:
        family: Everything that was tested together; a corrected p-value depends on all of it.

    Returns:
        One judgement for each, in the order given.
    """
    for tested in family:
        assert tested.root_movement >= 0, f"{tested.name}: the root moved by {tested.root_movement}"
        n_boot = min(len(ratio.draws) for ratio in tested.ratios.values())
        assert _N_RATIOS * len(family) < ALPHA * (n_boot + 1), (
            f"{n_boot} draws cannot refute any of {len(family)} tested together; use {draws_for(len(family))}"
        )
    supported = holm([max(p_above(ratio, claim.accept) for ratio in claim.ratios.values()) for claim in family])
    below = [min(p_below(ratio, claim.accept) for ratio in claim.ratios.values()) for claim in family]
    refuted = holm(np.minimum(np.multiply(_N_RATIOS, below), 1.0))
    return [
        _judge_one(claim, float(up), float(down), len(family))
        for claim, up, down in zip(family, supported, refuted, strict=True)
    ]


def _judge_one(tested: Tested, p_supported: float, p_refuted: float, n_tested: int) -> Judgement:
    """Apply the rule to one hypothesis whose p-values are adjusted already."""
    verdict: Verdict = "inconclusive"
    if tested.root_movement < VACUOUS_BELOW and tested.swapped < SWAPPED_AT_LEAST:
        verdict, reason = "vacuous", _why_vacuous(tested)
    elif p_supported < ALPHA and tested.swapped < SWAPPED_AT_LEAST:
        reason = _why_untested(tested)
    elif p_supported < ALPHA:
        verdict, reason = "supported", _why_supported(tested)
    elif p_refuted < ALPHA:
        verdict, reason = "refuted", _why_refuted(tested)
    else:
        reason = _why_inconclusive(tested, p_supported, p_refuted, n_tested)
    return Judgement(tested.name, verdict, p_supported, p_refuted, reason)


def _why_vacuous(tested: Tested) -> str:
    return (
        f"the root's input moved {tested.root_movement:.1%} of what the baseline moves it (less than "
        f"{VACUOUS_BELOW:.0%}), so almost nothing was put to the test, whatever is recovered ({tested.recovered})"
    )


def _why_untested(tested: Tested) -> str:
    return (
        f"at one node only {tested.swapped:.0%} of the draws were another history (less than {SWAPPED_AT_LEAST:.0%}), "
        f"so what it says was hardly tested, whatever is recovered ({tested.recovered}); with more histories, or a "
        "coarser feature, there is somebody to swap"
    )


def _why_supported(tested: Tested) -> str:
    name, ratio = min(tested.ratios.items(), key=lambda item: item[1].low)
    return f"all four ratios lie above the accepted {tested.accept:.2f}; the lowest is {name} {ratio}"


def _why_refuted(tested: Tested) -> str:
    name, ratio = min(tested.ratios.items(), key=lambda item: p_below(item[1], tested.accept))
    return f"{name} {ratio} lies below the accepted {tested.accept:.2f}"


def _why_inconclusive(tested: Tested, p_supported: float, p_refuted: float, n_tested: int) -> str:
    for name, ratio in tested.ratios.items():
        if not ratio.estimable and name.startswith("beyond structure"):
            return (
                f"{name} is not estimable: with constant features the loss cannot be told from the model's own, so "
                f"the features have nothing to explain beyond the structure (recovered {tested.recovered})"
            )
        if not ratio.estimable:
            return f"{name} is not estimable: the model does no better than with everything resampled"
    name, ratio = max(tested.ratios.items(), key=lambda item: p_above(item[1], tested.accept))
    if ratio.low <= tested.accept <= ratio.high:
        return f"{name} {ratio} reaches across the accepted {tested.accept:.2f}"
    side, p = ("above", p_supported) if ratio.low > tested.accept else ("below", p_refuted)
    return (
        f"{name} {ratio} lies {side} the accepted {tested.accept:.2f} on its own, "
        f"but not after correcting for all {n_tested} tested together (p = {p:.3f})"
    )
