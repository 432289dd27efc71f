"""Statistics of patches: an effect with its interval and p-values for every patch, metric and regime.

Rows are resampled (clusters of them where several come from one learner), steps are not. Effects are pooled like
losses: a row with many steps of a regime weighs more in it. A p-value is that of a sign-flip test, two-sided: under
"no effect" each cluster's change is as likely to have the other sign. It is corrected across the patches of a kind,
within a metric and regime: by Holm (the chance of any false one) and Benjamini and Hochberg (their expected share).
Patches that a screening left out count in it as if they showed nothing, since those that are left were picked by what
they seem to do in the same histories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from ad_hypotheses.evidence.bootstrap import BLOCK, Resampling, crossed_bootstrap
from ad_hypotheses.evidence.p_values import holm
from ad_hypotheses.evidence.plain_data import Number

ALPHA = 0.05  # two-sided
ENOUGH_FLIPS, FLIPS_A_PATCH = 10_000, 100  # the smallest p-value, times the number of patches, stays below 0.01
AT_ONCE = 4096  # flips; fewer where they would take more than a block of numbers
ROUNDING = 1e-5  # a patch that moves no row's mean by more does nothing: what float32 leaves could all have one sign


@dataclass(frozen=True)
class Effect:
    """What one patch does to one metric in one regime.

    Attributes:
        value: Mean change over the steps; for denoising the share of the difference that is restored.
        p: Two-sided p-value of "no change"; None where it cannot be tested.
        holm, bh: The same, corrected across patches.
    """

    value: Number
    p: float | None = None
    holm: float | None = None
    bh: float | None = None

    @property
    def sure(self) -> bool:
        """Whether there is an effect, by the stricter correction."""
        return self.holm is not None and self.holm < ALPHA


def weigh(
    changes: Float[np.ndarray, "patch row"],
    counts: Int[np.ndarray, " row"],
    seed: int,
    scale: Float[np.ndarray, " row"] | None = None,
    clusters: Shaped[np.ndarray, " row"] | None = None,
    tested: bool = True,
    families: Sequence[str] | None = None,
    left_out: Mapping[str, int] | None = None,
    n_boot: int = 2000,
) -> list[Effect]:
    """Estimate what some patches do to one metric in one regime.

    Args:
        changes: Means over the steps of a row; NaN where it has none.
        counts: Steps of each row.
        seed: Of the bootstrap and the flips.
        scale: What is divided by: the effect is then a ratio of means; None to divide by the number of steps.
        clusters: Which learner each row comes from; None where each comes from its own.
        tested: Whether "no effect" can be tested.
        families: The kind of each patch; p-values are corrected within a kind.
        left_out: How many more of a kind there are that were not measured.
        n_boot: Draws of the bootstrap.

    Returns:
        One effect a patch.
    """
    changes = np.where(counts > 0, changes, 0.0)
    assert np.isfinite(changes).all(), "an effect is NaN or infinite where there are steps"
    changes = np.where(np.abs(changes).max(axis=1, initial=0, keepdims=True) < ROUNDING, 0.0, changes)
    sums = _by_cluster(changes * counts, clusters)
    below = _by_cluster(counts if scale is None else np.where(counts > 0, scale, 0.0) * counts, clusters)
    resampling = Resampling.draw(len(below), 1, np.random.default_rng([seed, 1]), n_boot)
    values = [crossed_bootstrap(item[None], below[None], resampling).number() for item in sums]
    if not tested or not len(sums):
        return [Effect(value) for value in values]
    left_out = left_out or {}
    p = flip_test(sums, np.random.default_rng([seed, 2]), _flips_for(len(sums) + sum(left_out.values())))
    corrected = [np.empty(len(p)), np.empty(len(p))]
    for family in dict.fromkeys(families or [""] * len(p)):
        inside = np.array([item == family for item in families or [""] * len(p)])
        known, count = np.append(p[inside], np.ones(left_out.get(family, 0))), inside.sum()
        corrected[0][inside], corrected[1][inside] = holm(known)[:count], benjamini_hochberg(known)[:count]
    numbers = zip(values, p.tolist(), corrected[0].tolist(), corrected[1].tolist(), strict=True)
    return [Effect(*item) for item in numbers]


def flip_test(
    sums: Float[np.ndarray, "patch cluster"], rng: np.random.Generator, n_flips: int | None = None
) -> Float[np.ndarray, " patch"]:
    """Return two-sided p-values of "the mean over clusters is 0", by flipping the signs of clusters.

    All flips are tried where they are few; otherwise they are drawn, the same ones for every patch.

    Args:
        sums: What each cluster changed by.
        rng: Source of the flips.
        n_flips: How many to draw; enough for a correction across so many patches by default.
    """
    n_patches, n_clusters = sums.shape
    n_flips = _flips_for(n_patches) if n_flips is None else n_flips
    exhaustive = n_clusters <= 24 and 2 ** (n_clusters - 1) <= n_flips
    total = 2 ** (n_clusters - 1) if exhaustive else n_flips
    # rounding must not make a tie of equals an exceedance or none
    least = np.abs(sums.sum(axis=1)) - 1e-9 * np.abs(sums).sum(axis=1)
    reached = np.zeros(n_patches)
    at_once = min(AT_ONCE, max(1, BLOCK // (n_clusters + n_patches)))
    for first in range(0, total, at_once):
        size = min(at_once, total - first)
        if exhaustive:
            bits = (np.arange(first, first + size)[:, None] >> np.arange(n_clusters)) & 1
        else:
            bits = rng.integers(0, 2, size=(size, n_clusters), dtype=np.int8)
        reached += (np.abs((1.0 - 2.0 * bits) @ sums.T) >= least).sum(axis=0)
    return reached / total if exhaustive else (reached + 1) / (total + 1)


def _flips_for(n_patches: int) -> int:
    return max(ENOUGH_FLIPS, FLIPS_A_PATCH * n_patches)


def benjamini_hochberg(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Adjust p-values so that the expected share of false ones among those rejected is bounded (1995)."""
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p)) if len(p) else np.asarray(p)


def _by_cluster(
    values: Shaped[np.ndarray, "*patch row"], clusters: Shaped[np.ndarray, " row"] | None
) -> Float[np.ndarray, "*patch cluster"]:
    """Add up the rows of each cluster."""
    if clusters is None:
        return values.astype(np.float64)
    number = np.unique(clusters, return_inverse=True)[1]
    return np.apply_along_axis(lambda row: np.bincount(number, weights=row), -1, values)
