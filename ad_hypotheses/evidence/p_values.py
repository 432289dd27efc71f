"""P-values from bootstrap draws, and their adjustment for how many there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ad_hypotheses.evidence.bootstrap import Estimate


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
