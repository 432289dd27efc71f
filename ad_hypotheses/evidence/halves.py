"""What a figure owes to the donors that there happened to be, which resampling references cannot show.

Rows are references and donors at once, so another dataset has other donors too. Random halves of the rows that give
each other no donors are such datasets: their differences scatter as figures on fresh data would (balanced half-samples,
McCarthy 1969; Wolter 2007, "Introduction to Variance Estimation", chapter 3), and what all of them have in common is
what half as many donors change. Measured on known networks, the error found so is that of fresh data within a sixth, on
average over datasets; of one dataset a few splits know it to a third. So donors may widen an interval, never narrow it:
where rows that are easily explained make bad donors, it stays too wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

FEWEST = 8  # clusters: halves of fewer have nobody to draw from


@dataclass(frozen=True, eq=False)
class HalfSums:
    """Loss sums of each row, scrubbed once in each of some splits of the rows into halves without common donors.

    Attributes:
        first: `[split, row]`, which rows are the first half.
        scrubbed: `[split, row]`, nats; under the hypothesis.
        baseline: `[split, row]`, nats; with nothing important.
        structure: `[split, row]`, nats; the same graph with constant features.
    """

    first: Bool[np.ndarray, "split row"]
    scrubbed: Float[np.ndarray, "split row"]
    baseline: Float[np.ndarray, "split row"]
    structure: Float[np.ndarray, "split row"]

    def __post_init__(self) -> None:
        for name in ("scrubbed", "baseline", "structure"):
            assert np.all(np.isfinite(getattr(self, name))), f"{name} holds NaN or infinite losses"


@dataclass(frozen=True)
class Donors:
    """What the choice of donors adds to a figure's interval.

    Attributes:
        scatter: Standard error with donors that vary too, in units of that of references and passes alone, 1 or more.
        bias: How far the figure rises where half of the donors are missing: about as far as it lies too high already.
    """

    scatter: float = 1.0
    bias: float = 0.0


def variances(residual: Float[np.ndarray, "#pass cluster"]) -> tuple[float, float]:
    """Return the variance of a sum of residuals that is due to the clusters, and to the passes that it is a mean of."""
    n_clusters = residual.shape[1]
    of_rows = n_clusters / max(n_clusters - 1, 1) * np.sum(residual.mean(axis=0) ** 2)
    between = residual.sum(axis=1).std(ddof=1) ** 2 / len(residual) if len(residual) > 1 else 0.0
    return float(of_rows), float(between)


def donors_of(
    residual: Float[np.ndarray, "#pass cluster"],
    residual_in_halves: Float[np.ndarray, "#split cluster"],
    first: Bool[np.ndarray, "split cluster"],
) -> Donors:
    """Compare halves with each other, and with the same rows when donors came from everywhere.

    Args:
        residual: What each cluster adds to the figure beyond its share.
        residual_in_halves: The same, scrubbed once with donors from the own half only.
        first: Which clusters are the first half.
    """
    sign = np.where(first, 1, -1)
    apart, together = ((sign * values).sum(axis=1) for values in (residual_in_halves, residual.mean(axis=0)))
    of_rows, between = variances(residual)
    known = of_rows + between
    one_pass_only = between * (len(residual) - 1)  # of the halves: the figure itself is a mean of several
    added = float(np.mean(apart**2 - together**2)) - one_pass_only
    scatter = np.sqrt(1 + max(added, 0) / known) if known > 0 else 1.0
    return Donors(float(scatter), float(residual_in_halves.sum(axis=1).mean()))
