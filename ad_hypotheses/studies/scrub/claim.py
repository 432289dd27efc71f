"""From arrays over positions to what a report says of one claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.causal.draws import Align, classes
from ad_hypotheses.evidence.estimate import Evidence
from ad_hypotheses.evidence.specificity import Specificity, of_claim, specificity
from ad_hypotheses.evidence.verdict import Cell, Judgement, Tested
from ad_hypotheses.language.check import Bound, BoundNode
from ad_hypotheses.studies.scrub.claim_parts import NodeRecord, Regime, Spending, WorstPosition
from ad_hypotheses.studies.scrub.ground import Ground
from ad_hypotheses.studies.scrub.measured import SCRUBBED, STRUCTURE, Measured, cells_of, swapped_in
from ad_hypotheses.studies.scrub.record import Claim

WORST = 6  # positions that a report draws
HARDLY_FREE = 0.05  # specificity of a node under which it is as good as injective
CANCELS = 0.05  # less recovered with independent others than with joint ones from which on inputs seem to cancel
OPINION = 1e-6  # how far the largest probability must be above uniform for the explanation to have an opinion


@dataclass
class MeasuredClaim:
    """A claim with what was measured of it on one data set.

    Attributes:
        ground: The data set.
        bound: The claim, bound to it.
        measured: From the model.
        policy: The explanation's distribution over actions at the references. [row, step, action]
        evidence: Figures by regime, `"all"` first.
        at_stake: Share of what there is to explain that lies on tested positions, by regime.
    """

    ground: Ground
    bound: Bound
    measured: Measured
    policy: Float[np.ndarray, "row step action"]
    evidence: dict[str, Evidence]
    at_stake: dict[str, float]

    def swapped(self, regime: str) -> float:
        """Share of a regime's positions that have another donor, at the node where it is smallest."""
        return swapped_in(self.ground, self.measured, regime)

    def cells(self) -> list[Cell]:
        """Return what a verdict is made from."""
        return cells_of(self.ground, self.measured, self.evidence, self.at_stake)


def tested(name: str, accept: float, by_data: Sequence[MeasuredClaim]) -> Tested:
    """Put together what the verdict on a claim is made from, over all of its data sets."""
    cells = tuple(cell for measured in by_data for cell in measured.cells())
    first = by_data[0].measured
    nodes = by_data[0].bound.nodes.values()
    symmetries = {node.name: node.symmetry.name for node in nodes if node.symmetry is not None}
    power = by_data[0].evidence["all"].power
    lost = 1.0 if power is None else power.value if power.estimable else 0.0
    return Tested(name, accept, cells, first.root_movement, first.least_swapped, symmetries, lost)


def claim_record(kind: str, by_data: Sequence[MeasuredClaim], judgement: Judgement, align: Align) -> Claim:
    """Put together everything that a report says of one claim.

    Args:
        kind: As in :class:`Claim`.
        by_data: What was measured on each data set; curves, nodes and the worst positions are those of the first.
        judgement: The verdict.
        align: As in `Options`.
    """
    main = by_data[0]
    ground, hypothesis, measured = main.ground, main.bound.hypothesis, main.measured
    curves = {
        "model": ground.loss(ground.log_probs),
        "scrubbed": measured.losses[SCRUBBED].mean(axis=0),
        "baseline": ground.baseline,
        "structure": measured.losses[STRUCTURE].mean(axis=0),
    }
    clock = np.broadcast_to(np.arange(ground.history.n_steps), measured.tested.shape)
    ranked = np.sort(_change(main)[measured.sampled])[::-1]
    n_worst = max(1, ranked.size // 100)
    moved = {}
    if hypothesis.origin is not None:
        before = {node.name: str(node.site) for node in hypothesis.origin.nodes}
        moved = {
            node.name: f"{before[node.name]} → {node.site}"
            for node in hypothesis.nodes
            if before.get(node.name, str(node.site)) != str(node.site)  # a control may have nodes of its own
        }
    nodes = main.bound.nodes.values()
    found = [node for node in nodes if node.labels is not None and node.symmetry is None]
    bits = {node.name: node_bits(node, ground, align) for node in found}
    statuses = iter(judgement.statuses)
    regimes = []
    for part in by_data:
        cells = {cell.regime: (cell, next(statuses)) for cell in part.cells()}
        regimes += [_regime(part, name, *cells.get(name, (None, "average"))) for name in part.ground.regimes]
    return Claim(
        name=hypothesis.name or main.bound.root,
        kind=kind,
        doc=hypothesis.doc,
        moved_sites=moved,
        accept=hypothesis.accept,
        verdict=judgement.verdict,
        reason=judgement.reason,
        p_supported=judgement.p_supported,
        p_refuted=judgement.p_refuted,
        root_movement=measured.root_movement,
        nodes=[_node_record(main, node, align, bits) for node in nodes],
        regimes=regimes,
        steps={name: _means_over(clock, loss, measured) for name, loss in curves.items()},
        episodes={name: _means_over(ground.references.episode, loss, measured) for name, loss in curves.items()},
        worst_share=float(ranked[:n_worst].sum() / ranked.sum()) if ranked.sum() else 0.0,
        worst=_worst(main, curves),
        tree_nodes=len(main.bound.tree_paths()),
        warnings=[*main.bound.warnings, *_warnings(main, align), *_idle(bits), *_only_as_measured(main, judgement)],
        specificity=of_claim(list(bits.values())),
        sentence=judgement.sentence,
        spending=[_spending(part) for part in by_data],
        **{name: getattr(measured, name) for name in ("any_step", "independent", "together", "half_pool", "figures")},
    )


def _spending(part: MeasuredClaim) -> Spending:
    measured = part.measured
    return Spending(part.ground.data, measured.passes, measured.most, measured.stopped, measured.guarded)


def _change(part: MeasuredClaim) -> Float[np.ndarray, "row step"]:
    """How far the loss changes at each position, draw by draw, so that harm and help do not cancel."""
    model = part.ground.loss(part.ground.log_probs)
    return np.abs(part.measured.losses[SCRUBBED] - model).mean(axis=0)


def _regime(part: MeasuredClaim, name: str, cell: Cell | None, status: str) -> Regime:
    evidence, ground = part.evidence[name], part.ground
    mask = ground.masks[name] & part.measured.tested
    weights = np.ones(mask.shape) if part.measured.weights is None else part.measured.weights
    opinion = mask & (part.policy.max(axis=-1) > 1 / ground.log_probs.shape[-1] + OPINION)
    with_self, independent = evidence.fidelity_with_self, evidence.fidelity_independent
    return Regime(
        name=name,
        positions=int(mask.sum()),
        model=evidence.model.number(),
        scrubbed=evidence.scrubbed.number(),
        baseline=evidence.baseline.number(),
        structure=evidence.structure.number(),
        recovered=evidence.recovered.number(),
        beyond_structure=evidence.beyond_structure.number(),
        recovered_with_self=None,
        beyond_structure_with_self=None,
        loss_change=_mean(_change(part), mask, weights),
        kl=_mean(part.measured.kl[SCRUBBED].mean(axis=0), mask, weights),
        same_argmax=_mean(part.measured.same_argmax, mask, weights),
        agreement=_mean(_agrees(part.policy, ground.log_probs), opinion, weights) if opinion.any() else None,
        opinion=_mean(opinion, mask, weights),
        data=ground.data,
        learners=evidence.learners,
        fidelity=evidence.fidelity.number(),
        fidelity_with_self=None if with_self is None else with_self.number(),
        fidelity_independent=None if independent is None else independent.number(),
        explained=evidence.explained.number() if ground.labelled else None,
        divergence=evidence.kl.number(),
        at_stake=evidence.kl_ignorant.number(),
        tested=part.at_stake[name],
        swapped=part.swapped(name),
        status=status if cell is not None or len(ground.regimes) > 1 else None,
        why_not="" if cell is None else cell.why_not,
        weakest=cell.weakest(part.bound.hypothesis.accept) if cell is not None and cell.counts else "",
        power=None if evidence.power is None else evidence.power.number(),
    )


def _mean(values: np.ndarray, mask: Bool[np.ndarray, "row step"], weights: Float[np.ndarray, "row step"]) -> float:
    """Return the mean over some positions, each as often as it stands for; 0 if there are none."""
    total = weights[mask].sum()
    return float((values[mask] * weights[mask]).sum(dtype=np.float64) / total) if total else 0.0


def _agrees(policy: np.ndarray, log_probs: np.ndarray) -> Bool[np.ndarray, "row step"]:
    likeliest = log_probs.argmax(axis=-1)[..., None]
    return np.take_along_axis(policy, likeliest, axis=-1)[..., 0] >= policy.max(axis=-1) - OPINION


def _means_over(
    group: Int[np.ndarray, "row step"], loss: Float[np.ndarray, "row step"], measured: Measured
) -> list[float]:
    """Return the mean over the positions of each group, NaN where none was sampled."""
    weights = np.ones(loss.shape) if measured.weights is None else measured.weights
    n, total = (np.bincount(group.ravel(), weights=values.ravel()) for values in (weights, loss * weights))
    means: list[float] = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0).tolist()
    return means


def node_bits(node: BoundNode, ground: Ground, align: Align) -> Specificity:
    """Measure how much the donors of a node leave free, over the steps that it speaks of, among the pool."""
    assert node.labels is not None
    history, pool = ground.history[ground.n_references :], slice(ground.n_references, None)
    labels, selected = node.labels[pool], None if node.selected is None else node.selected[pool]
    past = history.so_far() if labels.ndim == 2 or selected is not None else history.so_far()[:, -1]
    shown = np.unique(past, return_inverse=True)[1].reshape(past.shape)
    stepwise = np.broadcast_to(labels[:, None] if labels.ndim < shown.ndim else labels, shown.shape)
    both = stepwise.astype(np.int64) * (int(shown.max()) + 1) + shown
    sizes = []
    for values in (stepwise, both, np.zeros_like(shown), shown):
        size = classes(values, selected, align, history.episode_step).size
        sizes.append(size if selected is None else size[selected])
    return specificity(*sizes)


def _node_record(part: MeasuredClaim, node: BoundNode, align: Align, bits: Mapping[str, Specificity]) -> NodeRecord:
    written = next(item for item in part.bound.hypothesis.nodes if item.name == node.name)
    first = (node.doc.splitlines() or [""])[0]
    shared: dict[str, Any] = {
        "name": node.name,
        "site": str(written.site),
        "parents": list(node.parents),
        "doc": first,
        "role": written.site.role,
        "hidden": node.hidden,
    }
    if node.labels is None:
        shared |= dict.fromkeys(("alone", "swapped", "moved", "spread"), float("nan"))
        return NodeRecord(**shared, level="root", class_sizes={}, exact=False, recovered=None, resampled=None)
    figures = part.measured.nodes[node.name]
    shared |= {key: figures[key] for key in ("swapped", "moved", "spread", "recovered", "resampled")}
    shared["exact"] = bool(figures["exact"])
    if node.symmetry is not None:
        donors = part.measured.has_donor[node.name][part.measured.sampled]
        return NodeRecord(
            **shared,
            level="step",
            class_sizes={},
            alone=float(1 - donors.mean()) if donors.size else 1.0,
            symmetry=node.symmetry.name,
            changed=figures["changed"],
            changed_tokens=figures["changed_tokens"],
        )
    ground, rows = part.ground, slice(part.ground.n_references)
    pools = classes(node.labels, node.selected, align, ground.history.episode_step, ground.clean.pool)
    where = slice(None) if node.selected is None else node.selected[rows]
    sizes, alone = pools.size[rows][where].ravel(), pools.alone[rows][where]
    bounds = 2 ** np.arange(1, int(np.log2(max(2, sizes.max(initial=1)))) + 2)
    counts, _ = np.histogram(np.maximum(sizes, 1), bins=[1, *bounds])
    return NodeRecord(
        **shared,
        level="history" if node.labels.ndim == 1 else "step",
        class_sizes={str(bound - 1): int(count) for bound, count in zip(bounds, counts, strict=True)},
        alone=float(alone.mean()) if alone.size else 0.0,
        free_bits=bits[node.name].free,
        history_bits=bits[node.name].carried,
    )


def _warnings(part: MeasuredClaim, align: Align) -> list[str]:
    found = []
    if part.bound.root_reads_the_past:
        found.append(
            f"{part.bound.root} holds heads of the model, in which nothing is swapped: that what it does follows from "
            "the inputs is no evidence then, and structure keeps what nodes say of them."
        )
    for node in part.bound.nodes.values():
        if node.hidden and node.labels is not None:
            found.append(f"{node.name} is made from facts of the task that the model could not see.")
        kinds = {part.writer.kind for part in node.parts if part.writer is not None}
        if kinds == {"pos"} and align == "step":
            found.append(f"{node.name} sits at pos, which is the same in every row at a step: it is not tested.")
    return found


def _only_as_measured(part: MeasuredClaim, judgement: Judgement) -> list[str]:
    """What a supported claim loses under other options."""
    if not judgement.verdict.startswith("supported"):
        return []
    measured, accept, warnings = part.measured, part.bound.hypothesis.accept, []
    name = part.bound.hypothesis.name or part.bound.root
    if measured.any_step is not None and measured.any_step < accept:
        warnings.append(
            f"With donors from any step its fidelity is only {measured.any_step:.2f}: the claim holds among histories "
            "at the same step, and that the step itself plays no role was not shown. Test that with `align='any'`."
        )
    apart, together = measured.independent, measured.together
    if apart is not None and together is not None and apart < min(accept, together - CANCELS):
        warnings.append(
            f"With a history of its own for each input that {name} does not name, its fidelity is only {apart:.2f} "
            f"instead of {together:.2f}: they play no role together, but each may, where they cancel each other out. "
            "Test that with `others='independent'`."
        )
    return warnings


def _idle(bits: Mapping[str, Specificity]) -> list[str]:
    return [
        f"{name} tells nearly all histories apart (it leaves {node.free:.1f} of {node.carried:.1f} bits free): what it "
        "says is hardly tested."
        for name, node in bits.items()
        if node.share is not None and node.share < HARDLY_FREE
    ]


def _worst(part: MeasuredClaim, losses: Mapping[str, np.ndarray]) -> list[WorstPosition]:
    """The positions where scrubbing did most harm, at most one a row, so that they show different histories."""
    harm = np.where(part.measured.tested, losses["scrubbed"] - losses["model"], -np.inf)
    step_of = harm.argmax(axis=1)
    rows = np.argsort(-harm.max(axis=1), kind="stable")[:WORST]
    return [
        _position(part, losses, int(row), int(step_of[row])) for row in rows if np.isfinite(harm[row, step_of[row]])
    ]


def _position(part: MeasuredClaim, losses: Mapping[str, np.ndarray], row: int, step: int) -> WorstPosition:
    history, log_probs = part.ground.references, part.ground.log_probs
    start = step - int(history.episode_step[row, step])
    last = history.last_rewarded_cell()[row, step] if history.channels else np.empty(0)
    if history.channels:
        seen = np.unique(history.observations[row, :start], axis=0).tolist()
    else:
        tally = [history.action_counts()[row, step], history.action_rewards()[row, step]]
        seen = np.stack(tally, axis=1).astype(int).tolist()
    regimes = part.ground.masks
    return WorstPosition(
        row=row,
        step=step,
        episode=int(history.episode[row, step]),
        episode_step=step - start,
        regime=next((name for name, mask in regimes.items() if name != "all" and mask[row, step]), "all"),
        path=history.observations[row, start : step + 1].tolist(),
        actions=history.actions[row, start:step].tolist(),
        rewards=history.rewards[row, start:step].tolist(),
        seen=seen,
        last_rewarded=[int(value) for value in last] if last.size and (last >= 0).all() else None,
        facts={name: np.ravel(fact[row]).astype(float).tolist() for name, fact in history.task.items()},
        taken=int(history.actions[row, step]),
        model=np.exp(log_probs[row, step]).tolist(),
        scrubbed=part.measured.probabilities[row, step].tolist(),
        loss_model=float(losses["model"][row, step]),
        loss_scrubbed=float(losses["scrubbed"][row, step]),
    )
