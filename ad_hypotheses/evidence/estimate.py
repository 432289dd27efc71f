"""What a claim keeps of a model, on a set of positions: figures with intervals over references and passes.

Two zeros are used. *Ignorance*: one distribution for all positions of a regime, the mean of the model's own, so that 0
is what a constant explains; :attr:`Evidence.fidelity` and :attr:`Evidence.explained` are measured from it. *Swapping*:
what is left if everything, or everything but the structure, comes from other histories; `recovered` and
`beyond_structure` are measured from that, as in Chan et al. 2022.

Sums are pooled over positions, so a row with many positions of a regime weighs more in it. A ratio is never clamped: a
value below 0 or above 1 is news about the claim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, Shaped

from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence.bootstrap import Estimate, Resampling, crossed_bootstrap

ENOUGH_ROWS = 16  # below it, a gain that is not estimable says more about the rows than about the model


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums of each row of references over the positions that are asked about: the tested ones of a regime.

    Rows without such a position stay in, with a count of 0: then every regime has the same rows and clusters, and can
    be resampled together. Losses and divergences are in nats.

    Attributes:
        counts: Number of positions; where some of them were sampled, for how many they stand. [row]
        model: Loss of the model untouched. [row]
        scrubbed: Loss under the claim. [pass, row]
        structure: Loss under the same graph with constant features. [pass, row]
        baseline: Loss with nothing important, known exactly. [row]
        ignorant: Loss of the zero, one distribution for the regime. [row]
        kl: KL divergence from the model of what the claim leaves of it. [pass, row]
        kl_ignorant: The same of the zero. [row]
        kl_with_self: As `kl`, where a row may be its own donor; None where that was not measured. [pass, row]
        kl_independent: As `kl`, where each unimportant input has a history of its own, on some of the rows; None where
            that was not measured. [pass, row]
        kl_ignorant_there: As `kl_ignorant`, on those rows. [row]
        kl_broken: As `kl`, where what symmetries change shows another row; None where no donors are made. [pass, row]
        clusters: Learner that each row comes from; each row is its own cluster by default. [row]
        all_counts, all_kl_ignorant: As `counts` and `kl_ignorant`, on all positions of the regime, tested or not; None
            where all were tested. [row]
    """

    counts: Shaped[np.ndarray, " row"]
    model: Float[np.ndarray, " row"]
    scrubbed: Float[np.ndarray, "pass row"]
    structure: Float[np.ndarray, "pass row"]
    baseline: Float[np.ndarray, " row"]
    ignorant: Float[np.ndarray, " row"]
    kl: Float[np.ndarray, "pass row"]
    kl_ignorant: Float[np.ndarray, " row"]
    kl_with_self: Float[np.ndarray, "own_pass row"] | None = None
    kl_independent: Float[np.ndarray, "other_pass row"] | None = None
    kl_ignorant_there: Float[np.ndarray, " row"] | None = None
    kl_broken: Float[np.ndarray, "broken_pass row"] | None = None
    clusters: Shaped[np.ndarray, " row"] | None = None
    all_counts: Int[np.ndarray, " row"] | None = None
    all_kl_ignorant: Float[np.ndarray, " row"] | None = None

    def __post_init__(self) -> None:
        assert np.all(self.counts >= 0), "negative counts"
        for name, sums in vars(self).items():
            if sums is None:
                continue
            assert sums.shape[-1] == len(self.counts), f"{name} has {sums.shape[-1]} rows, not {len(self.counts)}"
            if name == "clusters":
                continue
            assert np.all(np.isfinite(sums)), f"{name} holds NaN or infinite sums"
            nowhere = (self.counts if not name.startswith("all_") or self.all_counts is None else self.all_counts) == 0
            assert np.all(sums[..., nowhere] == 0), f"{name} has a sum in a row that has no position"

    @property
    def n_clusters(self) -> int:
        """Number of clusters that are resampled, those without a position among them."""
        return len(self.model) if self.clusters is None else len(np.unique(self.clusters))

    @property
    def learners(self) -> int:
        """Number of clusters that have a position."""
        return int(np.count_nonzero(self.by_cluster(self.counts)))

    def by_cluster(self, sums: Shaped[np.ndarray, "*pass row"]) -> Float[np.ndarray, "#pass cluster"]:
        """Add up the rows of each cluster.

        Args:
            sums: [row] or [pass, row]

        Returns:
            One pass where `sums` has none; clusters in the order of their ids. [pass, cluster]
        """
        sums = np.atleast_2d(np.asarray(sums, dtype=np.float64))
        if self.clusters is None:
            return sums
        of_row = np.unique(self.clusters, return_inverse=True)[1]
        return np.stack([np.bincount(of_row, weights=values, minlength=self.n_clusters) for values in sums])


@dataclass(frozen=True)
class Evidence:
    """What a claim keeps of a model on a set of positions.

    Attributes:
        fidelity: `1 - KL(model || scrubbed) / KL(model || zero)`: how much of what the model does is kept.
        fidelity_with_self: The same where a row may be its own donor, which flatters a claim; None if not measured.
        fidelity_independent: The same where each unimportant input has a history of its own; None if not measured.
        explained: `1 - (E_scrubbed - E_model) / (E_ignorant - E_model)`: how much of what the model knows of the labels
            is kept; `fidelity` itself where the labels are the model's own.
        recovered: `(E_scrubbed - E_baseline) / (E_model - E_baseline)`, from swapping everything.
        beyond_structure: `(E_scrubbed - E_structure) / (E_model - E_structure)`, from constant features.
        model, scrubbed, structure, baseline, ignorant: The five losses, nats a position.
        kl: KL divergence of what the claim leaves from the model, nats a position.
        kl_ignorant: What there is to explain: that of the zero.
        gain: `E_ignorant - E_model`, nats a position.
        gain_on_baseline, gain_on_structure: `E_baseline - E_model`, `E_structure - E_model`, nats a position.
        learners: Number of learners with a position.
        positions: Number of positions.
        all_learners: Number of learners with a position of the regime, tested or not.
        all_kl_ignorant: What there is to explain on all positions of the regime, nats a position.
        power: What is lost of `fidelity` where what symmetries change shows another row; None where no donors are made.
    """

    fidelity: Estimate
    fidelity_with_self: Estimate | None
    fidelity_independent: Estimate | None
    explained: Estimate
    recovered: Estimate
    beyond_structure: Estimate
    model: Estimate
    scrubbed: Estimate
    structure: Estimate
    baseline: Estimate
    ignorant: Estimate
    kl: Estimate
    kl_ignorant: Estimate
    gain: Estimate
    gain_on_baseline: Estimate
    gain_on_structure: Estimate
    learners: int
    positions: int
    all_learners: int
    all_kl_ignorant: Estimate
    power: Estimate | None = None


def estimate(sums: Sums, resampling: Resampling, level: float = 0.95) -> Evidence:
    """Estimate all figures on one set of positions.

    A ratio is estimable only if its denominator's interval lies above 0: otherwise there is nothing on these positions
    that it could be a share of.

    Args:
        sums: Sums of each row.
        resampling: Weights; the same ones for whatever is to be compared.
        level: Coverage of the intervals, in (0, 1).
    """
    assert resampling.cluster_counts.shape[1] == sums.n_clusters, (resampling.cluster_counts.shape, sums.n_clusters)
    values = {
        name: sums.by_cluster(value) for name, value in vars(sums).items() if name != "clusters" and value is not None
    }

    def ratio(above: np.ndarray, below: np.ndarray) -> Estimate:
        return crossed_bootstrap(above, below, resampling, level)

    def share(above: np.ndarray, below: np.ndarray, gap: Estimate) -> Estimate:
        kept_share = ratio(above, below).complement()
        return replace(kept_share, estimable=kept_share.estimable and gap.low > 0)

    counts, model, scrubbed = values["counts"], values["model"], values["scrubbed"]
    losses = {name: ratio(values[name], counts) for name in ("model", "scrubbed", "structure", "baseline", "ignorant")}
    kl_ignorant = ratio(values["kl_ignorant"], counts)
    gains = {name: ratio(values[name] - model, counts) for name in ("ignorant", "baseline", "structure")}
    lost = scrubbed - model
    with_self = independent = None
    if "kl_with_self" in values:
        with_self = share(values["kl_with_self"], values["kl_ignorant"], kl_ignorant)
    if "kl_independent" in values:
        there = values["kl_ignorant_there"]
        independent = share(values["kl_independent"], there, ratio(there, counts))
    power = None
    if "kl_broken" in values:
        power = share(values["kl_broken"], values["kl_ignorant"], kl_ignorant).complement()
    return Evidence(
        fidelity=share(values["kl"], values["kl_ignorant"], kl_ignorant),
        fidelity_with_self=with_self,
        fidelity_independent=independent,
        explained=share(lost, values["ignorant"] - model, gains["ignorant"]),
        recovered=share(lost, values["baseline"] - model, gains["baseline"]),
        beyond_structure=share(lost, values["structure"] - model, gains["structure"]),
        **losses,
        kl=ratio(values["kl"], counts),
        kl_ignorant=kl_ignorant,
        gain=gains["ignorant"],
        gain_on_baseline=gains["baseline"],
        gain_on_structure=gains["structure"],
        learners=sums.learners,
        positions=round(float(sums.counts.sum())),
        all_learners=int(np.count_nonzero(values.get("all_counts", counts))),
        all_kl_ignorant=ratio(values.get("all_kl_ignorant", values["kl_ignorant"]), values.get("all_counts", counts)),
        power=power,
    )


def require_estimable(evidence: Evidence) -> None:
    """Refuse data on which the model has no loss to explain.

    Raises:
        DataError: `recovered` is not estimable: the rows are too few, or the model does no better than the baseline.
    """
    if not evidence.recovered.estimable:
        gap = evidence.gain_on_baseline
        if evidence.learners < ENOUGH_ROWS and gap.value > 0:
            raise DataError(
                f"{evidence.learners} histories are too few: the model gains {gap.value:.4f} nats over the baseline on "
                f"them, but no interval of that gain excludes 0. Use {ENOUGH_ROWS} or more (`rows`), better 256."
            )
        raise DataError(
            "the model does no better on these histories than with everything resampled: "
            f"E_model {evidence.model.value:.4f} vs E_baseline {evidence.baseline.value:.4f} "
            f"(difference {gap.value:.4f}, {gap.level:.0%} interval [{gap.low:.4f}, {gap.high:.4f}]; "
            f"{evidence.positions} positions in {evidence.learners} rows), so there is no loss to explain. "
            "Use more rows, another model, or histories like those that the model was trained on."
        )
