"""Losses and ratios with intervals that know three sources of chance: references, passes, and which donors there are.

Losses are pooled, `E = sum over rows / number of positions`, so a row with many positions of a regime weighs more
in that regime. A ratio is never clamped: a value below 0 or above 1 is news about the hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int, Shaped

from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence.bootstrap import Estimate, Resampling, crossed_bootstrap, stretched
from ad_hypotheses.evidence.halves import HalfSums, donors_of

ENOUGH_ROWS = 16  # below it, a gain that is not estimable says more about the rows than about the model


@dataclass(frozen=True, eq=False)
class LossSums:
    """Loss sums of each row over the positions that are asked about (all, or one regime).

    Rows without such a position stay in, with a count of 0: then every regime has the same rows and clusters, and
    can be resampled together.

    Attributes:
        model: `[row]`, nats; the model untouched.
        scrubbed: `[pass, row]`, nats; under the hypothesis.
        baseline: `[row]`, nats; with nothing important, known exactly.
        structure: `[pass, row]`, nats; the same graph with constant features, drawn with the passes of `scrubbed`.
        counts: `[row]`, number of positions.
        clusters: `[row]`, which learner the row comes from; each row is its own cluster by default.
        halves: The same in halves without common donors; None where nobody scrubbed them.
    """

    model: Float[np.ndarray, " row"]
    scrubbed: Float[np.ndarray, "pass row"]
    baseline: Float[np.ndarray, " row"]
    structure: Float[np.ndarray, "pass row"]
    counts: Int[np.ndarray, " row"]
    clusters: Shaped[np.ndarray, " row"] | None = None
    halves: HalfSums | None = None

    def __post_init__(self) -> None:
        rows = self.model.shape
        assert len(rows) == 1, f"model must be [row], not {rows}"
        assert self.baseline.shape == self.counts.shape == rows, (self.baseline.shape, self.counts.shape, rows)
        assert self.scrubbed.shape == (len(self.scrubbed), *rows), (self.scrubbed.shape, rows)
        assert self.structure.shape == self.scrubbed.shape, (self.structure.shape, self.scrubbed.shape)
        assert len(self.scrubbed) > 0, "no pass"
        assert self.clusters is None or self.clusters.shape == rows, "clusters must be [row]"
        assert self.halves is None or self.halves.first.shape[1:] == rows, "halves must be [split, row]"
        assert np.all(self.counts >= 0), "negative counts"
        for name in ("model", "scrubbed", "baseline", "structure"):
            sums = getattr(self, name)
            assert np.all(np.isfinite(sums)), f"{name} holds NaN or infinite losses"
            assert np.all(sums[..., self.counts == 0] == 0), f"{name} has a loss in a row that has no position"

    @property
    def n_passes(self) -> int:
        """Number of passes."""
        return len(self.scrubbed)

    @property
    def n_clusters(self) -> int:
        """Number of clusters that are resampled, those without a position among them."""
        return len(self.model) if self.clusters is None else len(np.unique(self.clusters))

    def resampling(self, rng: np.random.Generator, n_boot: int = 2000) -> Resampling:
        """Draw weights that fit these sums, and every other regime or hypothesis with the same rows and passes."""
        return Resampling.draw(self.n_clusters, self.n_passes, rng, n_boot)

    def by_cluster(self, sums: Shaped[np.ndarray, "*pass row"]) -> Float[np.ndarray, "#pass cluster"]:
        """Add up the rows of each cluster.

        Args:
            sums: `[row]` or `[pass, row]`.

        Returns:
            `[pass, cluster]`, with one pass where `sums` has none; clusters in the order of their ids.
        """
        sums = np.atleast_2d(np.asarray(sums, dtype=np.float64))
        if self.clusters is None:
            return sums
        of_row = np.unique(self.clusters, return_inverse=True)[1]
        return np.stack([np.bincount(of_row, weights=values, minlength=self.n_clusters) for values in sums])


@dataclass(frozen=True)
class Evidence:
    """What one hypothesis recovers on a set of positions: four losses, two ratios and the ratios' denominators.

    Attributes:
        model: `E_model`, nats a position.
        scrubbed: `E_scrubbed`, nats a position.
        baseline: `E_baseline`, nats a position.
        structure: `E_structure`, nats a position.
        recovered: `(E_scrubbed - E_baseline) / (E_model - E_baseline)`, 1 for a perfect hypothesis; not clamped.
        beyond_structure: `(E_scrubbed - E_structure) / (E_model - E_structure)`, the same against constant features.
        baseline_minus_model: The loss that there is to recover; `recovered` is estimable only if it lies above 0.
        structure_minus_model: The same for `beyond_structure`.
        rows: Number of rows with at least one position.
        positions: Number of positions.
        resampling: The weights behind every figure.
    """

    model: Estimate
    scrubbed: Estimate
    baseline: Estimate
    structure: Estimate
    recovered: Estimate
    beyond_structure: Estimate
    baseline_minus_model: Estimate
    structure_minus_model: Estimate
    rows: int
    positions: int
    resampling: Resampling = field(repr=False, compare=False)


@dataclass(frozen=True)
class _Clustered:
    """Loss sums of each cluster, of all passes or of all splits into halves. [#pass, cluster] each"""

    model: Float[np.ndarray, "#pass cluster"]
    scrubbed: Float[np.ndarray, "#pass cluster"]
    baseline: Float[np.ndarray, "#pass cluster"]
    structure: Float[np.ndarray, "#pass cluster"]
    counts: Float[np.ndarray, "#pass cluster"]


_RATIOS: dict[str, tuple[Callable[[_Clustered], np.ndarray], Callable[[_Clustered], np.ndarray]]] = {
    "model": (lambda sums: sums.model, lambda sums: sums.counts),
    "scrubbed": (lambda sums: sums.scrubbed, lambda sums: sums.counts),
    "baseline": (lambda sums: sums.baseline, lambda sums: sums.counts),
    "structure": (lambda sums: sums.structure, lambda sums: sums.counts),
    "recovered": (lambda sums: sums.scrubbed - sums.baseline, lambda sums: sums.model - sums.baseline),
    "beyond_structure": (lambda sums: sums.scrubbed - sums.structure, lambda sums: sums.model - sums.structure),
    "baseline_minus_model": (lambda sums: sums.baseline - sums.model, lambda sums: sums.counts),
    "structure_minus_model": (lambda sums: sums.structure - sums.model, lambda sums: sums.counts),
}  # numerator and denominator of every figure


def estimate(
    losses: LossSums, resampling: Resampling, level: float = 0.95, donors_as: Evidence | None = None
) -> Evidence:
    """Estimate the four losses and the two ratios on one set of positions.

    A ratio is estimable only if its denominator's interval lies above 0: otherwise the model does no better on these
    positions than what it is measured against, and there is no loss to explain.

    Args:
        losses: Loss sums of each row.
        resampling: Weights from `LossSums.resampling`; the same ones for whatever is to be compared.
        level: Coverage of the intervals, in (0, 1).
        donors_as: What the choice of donors adds is taken from here, for `losses` without halves of their own.
    """
    assert resampling.cluster_counts.shape[1] == losses.n_clusters, (resampling.cluster_counts.shape, losses.n_clusters)
    assert resampling.pass_counts.shape[1] == losses.n_passes, (resampling.pass_counts.shape, losses.n_passes)
    whole, halves = _clustered(losses, losses), None
    if losses.halves is not None:
        halves = _clustered(losses, losses.halves)
        first = losses.by_cluster(losses.halves.first) > 0
    estimates: dict[str, Estimate] = {}
    for name, (above, below) in _RATIOS.items():
        numerator, denominator = above(whole), below(whole)
        ratio_estimate = crossed_bootstrap(numerator, denominator, resampling, level)
        if donors_as is not None:
            ratio_estimate = stretched(ratio_estimate, getattr(donors_as, name).donors)
        elif halves is not None and ratio_estimate.estimable:
            total = denominator.mean(axis=0).sum()
            residual, in_halves = (
                (above(sums) - ratio_estimate.value * below(sums)) / total for sums in (whole, halves)
            )
            ratio_estimate = stretched(ratio_estimate, donors_of(residual, in_halves, first))
        estimates[name] = ratio_estimate
    for ratio, gap in (("recovered", "baseline_minus_model"), ("beyond_structure", "structure_minus_model")):
        estimates[ratio] = replace(estimates[ratio], estimable=estimates[ratio].estimable and estimates[gap].low > 0)
    n_rows, n_positions = int(np.count_nonzero(losses.counts)), int(losses.counts.sum())
    return Evidence(**estimates, rows=n_rows, positions=n_positions, resampling=resampling)


def _clustered(losses: LossSums, lost: LossSums | HalfSums) -> _Clustered:
    model, counts = losses.by_cluster(losses.model), losses.by_cluster(losses.counts)
    scrubbed, baseline, structure = (
        losses.by_cluster(values) for values in (lost.scrubbed, lost.baseline, lost.structure)
    )
    return _Clustered(model, scrubbed, baseline, structure, counts)


def require_estimable(evidence: Evidence) -> None:
    """Refuse data on which the model has no loss to explain.

    Raises:
        DataError: `recovered` is not estimable: the rows are too few, or the model does no better than the baseline.
    """
    if not evidence.recovered.estimable:
        gap = evidence.baseline_minus_model
        if evidence.rows < ENOUGH_ROWS and gap.value > 0:
            raise DataError(
                f"{evidence.rows} histories are too few: the model gains {gap.value:.4f} nats over the baseline on "
                f"them, but no interval of that gain excludes 0. Use {ENOUGH_ROWS} or more (`rows`), better 256."
            )
        raise DataError(
            "the model does no better on these histories than with everything resampled: "
            f"E_model {evidence.model.value:.4f} vs E_baseline {evidence.baseline.value:.4f} "
            f"(difference {gap.value:.4f}, {gap.level:.0%} interval [{gap.low:.4f}, {gap.high:.4f}]; "
            f"{evidence.positions} positions in {evidence.rows} rows), so there is no loss to explain. "
            "Use more rows, another model, or histories like those that the model was trained on."
        )
