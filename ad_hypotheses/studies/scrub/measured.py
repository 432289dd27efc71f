"""What scrubbing one claim on one data set gave: arrays over the references, and figures with intervals from them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ad_hypotheses.evidence.bootstrap import Resampling
from ad_hypotheses.evidence.estimate import Evidence, Sums, estimate
from ad_hypotheses.evidence.verdict import Cell
from ad_hypotheses.studies.scrub.ground import Ground
from ad_hypotheses.studies.scrub.kept import array_bytes

SCRUBBED, STRUCTURE, WITH_SELF, INDEPENDENT = "scrubbed", "structure", "self-donors", "independent"
BROKEN = "broken symmetry"
GUARDS = ("any_step", "independent", "together", "half_pool")  # figures that are measured with the guards
PLAIN = ("nodes", "root_movement", *GUARDS, "figures", "most", "stopped", "guarded")
VARIANTS = ("losses", "kl", "has_donor")


@dataclass
class Measured:
    """What scrubbing one claim gave on one data set.

    Attributes:
        losses: Cross-entropy by variant, in nats. {variant: [pass, row, step]}
        kl: KL divergence from the model by variant, in nats; NaN where a variant was not measured or had no donor.
            {variant: [pass, row, step]}
        tested: Where every node has another donor. [row, step]
        has_donor: Share of the positions that have another donor, by node. {node: [row, step]}
        same_argmax: Share of passes that keep the likeliest action. [row, step]
        probabilities: Scrubbed distribution, mean over passes. [row, step, action]
        root_movement: How far the logits' input moved, relative to the baseline.
        nodes: Per node, what `NodeRecord` says of draws, movement and the node alone.
        any_step: Fidelity with donors from any step, in one pass; None where nobody asked, where no regime may stand,
            or where all donors are.
        independent: Fidelity on the first references and in one pass if each unimportant input has a history of its
            own; None where nobody asked, where no regime may stand, or where that is so anyway.
        together: The same if all unimportant inputs of a visit come from one, as is usual; on the first data set.
        half_pool: Fidelity with half as many donors, less that with all of them, on some of the references; None where
            the whole pool has donors for nearly all of them.
        most: How often every reference would have been scrubbed at most.
        stopped: Why no further pass was made, in words.
        guarded: Whether self-donors and independent others were measured.
        figures: Further figures of the claim by name, which go into the record and the table as they are.
        weights: Positions of the regime for each that was sampled, 0 elsewhere; None where every position was
            scrubbed. [row, step]
    """

    losses: dict[str, Float[np.ndarray, "pass row step"]]
    kl: dict[str, Float[np.ndarray, "pass row step"]]
    tested: Bool[np.ndarray, "row step"]
    has_donor: dict[str, Bool[np.ndarray, "row step"]]
    same_argmax: Float[np.ndarray, "row step"]
    probabilities: Float[np.ndarray, "row step action"]
    root_movement: float
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    any_step: float | None = None
    independent: float | None = None
    together: float | None = None
    half_pool: float | None = None
    most: int = 0
    stopped: str = ""
    guarded: bool = False
    figures: dict[str, float] = field(default_factory=dict)
    weights: Float[np.ndarray, "row step"] | None = None

    @property
    def sampled(self) -> Bool[np.ndarray, "row step"]:
        """Which positions were scrubbed."""
        return np.ones_like(self.tested) if self.weights is None else self.weights > 0

    @property
    def passes(self) -> int:
        """How often every reference was scrubbed."""
        return len(self.kl[SCRUBBED])

    def of_passes(self, n: int) -> Measured:
        """Return what was measured in the first passes, without what is measured after them."""
        losses, kl = ({name: runs[name][:n] for name in (SCRUBBED, STRUCTURE)} for runs in (self.losses, self.kl))
        return replace(self, losses=losses, kl=kl)

    @property
    def bytes(self) -> int:
        """Bytes of the arrays."""
        single = (self.tested, self.same_argmax, self.probabilities)
        return array_bytes(*single, *self.losses.values(), *self.kl.values(), *self.has_donor.values())

    @property
    def least_swapped(self) -> float:
        """Share of the draws whose donor is another row, at the node where it is smallest."""
        return min((float(node["swapped"]) for node in self.nodes.values()), default=0.0)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything as arrays, which :meth:`of_arrays` reads."""
        arrays = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        arrays["meta"] = np.array(json.dumps({name: getattr(self, name) for name in PLAIN}))
        for kind in VARIANTS:
            arrays |= {f"{kind} {name}": value for name, value in getattr(self, kind).items()}
        return arrays

    @classmethod
    def of_arrays(cls, content: Mapping[str, np.ndarray]) -> Measured:
        """Return what :meth:`arrays` was called on."""
        by_name: dict[str, dict[str, Any]] = {
            kind: {name.partition(" ")[2]: value for name, value in content.items() if name.startswith(f"{kind} ")}
            for kind in VARIANTS
        }
        names = ("tested", "same_argmax", "probabilities", "weights")
        arrays = {name: content[name] for name in names if name in content}
        fields: dict[str, Any] = by_name | arrays | json.loads(str(content["meta"]))
        return cls(**fields)


def weigh(
    ground: Ground, measured: Measured, resampling: Resampling, regimes: Collection[str] | None = None
) -> tuple[dict[str, Evidence], dict[str, float]]:
    """Estimate every figure in every regime, or in some of them, over the tested positions.

    Returns:
        Figures by regime, `"all"` first; and the share of what there is to explain that lies on tested positions.
    """
    evidence, at_stake = {}, {}
    for name in ground.masks:
        if regimes is not None and name not in regimes:
            continue
        evidence[name] = estimate(regime_sums(ground, measured, name), resampling)
        at_stake[name] = share_tested(ground, measured, name)
    return evidence, at_stake


def share_tested(ground: Ground, measured: Measured, regime: str) -> float:
    """Return the share of what there is to explain in a regime that lies on tested positions."""
    mask, divergence = ground.masks[regime], ground.divergence_of_ignorant(regime)
    if measured.weights is not None:  # of sampled positions, each stands for so many of its regime
        divergence = divergence * measured.weights
    everything = float(divergence[mask].sum())
    return float(divergence[mask & measured.tested].sum()) / everything if everything > 0 else 0.0


def regime_sums(ground: Ground, measured: Measured, regime: str) -> Sums:
    """Add up losses and divergences over the tested positions of a regime, for each reference."""
    mask, shape = ground.masks[regime] & measured.tested, ground.log_probs.shape
    weights = 1.0 if measured.weights is None else measured.weights
    divergence = ground.divergence_of_ignorant(regime)

    def added(values: np.ndarray, where: Bool[np.ndarray, "row step"] = mask) -> np.ndarray:
        return _row_sums(values * weights, where)

    independent, kl_independent, kl_ignorant_there = measured.kl.get(INDEPENDENT), None, None
    if independent is not None:
        there = mask & np.isfinite(independent).all(axis=0)  # measured on the first references alone
        kl_independent, kl_ignorant_there = added(independent, there), added(divergence, there)
    return Sums(
        counts=mask.sum(axis=1) if measured.weights is None else added(np.ones(mask.shape)),
        model=added(ground.loss(ground.log_probs)),
        scrubbed=added(measured.losses[SCRUBBED]),
        structure=added(measured.losses[STRUCTURE]),
        baseline=added(ground.baseline),
        ignorant=added(ground.loss(np.broadcast_to(ground.label_frequencies(regime), shape))),
        kl=added(measured.kl[SCRUBBED]),
        kl_ignorant=added(divergence),
        kl_with_self=added(measured.kl[WITH_SELF]) if WITH_SELF in measured.kl else None,
        kl_independent=kl_independent,
        kl_ignorant_there=kl_ignorant_there,
        kl_broken=added(measured.kl[BROKEN]) if BROKEN in measured.kl else None,
        clusters=ground.learners,
        all_counts=ground.masks[regime].sum(axis=1),
        all_kl_ignorant=_row_sums(divergence, ground.masks[regime]),
    )


def _row_sums(losses: np.ndarray, mask: Bool[np.ndarray, "row step"]) -> np.ndarray:
    return np.where(mask, losses, 0).sum(axis=-1, dtype=np.float64)


def cells_of(
    ground: Ground, measured: Measured, evidence: Mapping[str, Evidence], at_stake: Mapping[str, float]
) -> list[Cell]:
    """Return what a verdict on one data set is made from, or a look at it."""
    return [
        Cell(ground.data, name, evidence[name], at_stake[name], swapped_in(ground, measured, name), ground.labelled)
        for name in ground.judged
    ]


def swapped_in(ground: Ground, measured: Measured, regime: str) -> float:
    """Return the share of a regime's positions that have another donor, at the node where it is smallest."""
    mask = ground.masks[regime] & measured.sampled
    shares = [float(donors[mask].mean()) for donors in measured.has_donor.values()] if mask.any() else []
    return min(shares, default=0.0)
