"""From arrays over positions to what a report says of one claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ad_hypotheses.causal.draws import Align, classes
from ad_hypotheses.causal.metrics import cross_entropy
from ad_hypotheses.evidence.bootstrap import Resampling
from ad_hypotheses.evidence.estimate import Evidence, LossSums, estimate
from ad_hypotheses.evidence.specificity import Specificity, of_claim, specificity
from ad_hypotheses.evidence.verdict import Judgement, Tested
from ad_hypotheses.language.check import Bound, BoundNode
from ad_hypotheses.language.history import History
from ad_hypotheses.studies.scrub.measure import Measured
from ad_hypotheses.studies.scrub.record import Claim, NodeRecord, Regime, WorstPosition

WORST = 6  # positions that a report draws
HARDLY_FREE = 0.05  # specificity of a node under which it is as good as injective
CANCELS = 0.05  # less recovered with independent others than with joint ones from which on inputs seem to cancel
OPINION = 1e-6  # how far the largest probability must be above uniform for the explanation to have an opinion


@dataclass
class MeasuredClaim:
    """A bound claim with everything that was measured of it, before verdicts.

    Attributes:
        bound: The claim.
        kind: As in :class:`Claim`.
        measured: From the model.
        evidence: By regime, `"all"` first: (donors from other rows, self-donors allowed).
        policy: The explanation's distribution over actions. [row, step, action]
    """

    bound: Bound
    kind: str
    measured: Measured
    evidence: dict[str, tuple[Evidence, Evidence]]
    policy: Float[np.ndarray, "row step action"]

    @property
    def name(self) -> str:
        """Of the hypothesis."""
        return self.bound.hypothesis.name or self.bound.root

    def tested(self) -> Tested:
        """What the verdict is made from."""
        other, own = self.evidence["all"]
        return Tested(
            self.name,
            self.bound.hypothesis.accept,
            other.recovered,
            other.beyond_structure,
            own.recovered,
            own.beyond_structure,
            self.measured.root_movement,
            self.measured.least_swapped,
        )


def weigh(
    measured: Measured,
    log_probs: Float[np.ndarray, "row step action"],
    history: History,
    regimes: Mapping[str, Bool[np.ndarray, "row step"]],
    resampling: Resampling,
) -> dict[str, tuple[Evidence, Evidence]]:
    """Estimate losses and ratios in every regime, with donors from other rows and with self-donors allowed."""
    model, halves = cross_entropy(log_probs, history.actions), measured.halves
    evidence = {}
    for name, mask in regimes.items():
        pair: list[Evidence] = []
        for self_donors in (False, True):
            suffix = " with self-donors" if self_donors else ""
            sums = LossSums(
                model=_row_sums(model, mask),
                scrubbed=_row_sums(measured.losses[f"scrubbed{suffix}"], mask),
                baseline=_row_sums(measured.baseline_with_self if self_donors else measured.baseline, mask),
                structure=_row_sums(measured.losses[f"structure{suffix}"], mask),
                counts=mask.sum(axis=1),
                clusters=history.learner,
                halves=None if self_donors or halves is None else halves.sums(mask),
            )
            pair.append(estimate(sums, resampling, donors_as=pair[0] if pair else None))
        evidence[name] = (pair[0], pair[1])
    return evidence


def _row_sums(losses: np.ndarray, mask: Bool[np.ndarray, "row step"]) -> np.ndarray:
    return np.where(mask, losses, 0).sum(axis=-1, dtype=np.float64)


def claim_record(
    tried: MeasuredClaim,
    judgement: Judgement,
    log_probs: Float[np.ndarray, "row step action"],
    history: History,
    regimes: Mapping[str, Bool[np.ndarray, "row step"]],
    align: Align,
) -> Claim:
    """Put together everything that a report says of one claim."""
    hypothesis, measured = tried.bound.hypothesis, tried.measured
    actions = history.actions
    curves = {
        "model": cross_entropy(log_probs, actions),
        "scrubbed": measured.losses["scrubbed"].mean(axis=0),
        "baseline": measured.baseline,
        "structure": measured.losses["structure"].mean(axis=0),
    }
    change = np.abs(measured.losses["scrubbed"] - curves["model"]).mean(axis=0)
    ranked = np.sort(change.ravel())[::-1]
    n_worst = max(1, ranked.size // 100)
    moved = {}
    if hypothesis.origin is not None:
        before = {node.name: str(node.site) for node in hypothesis.origin.nodes}
        moved = {n.name: f"{before[n.name]} → {n.site}" for n in hypothesis.nodes if str(n.site) != before[n.name]}
    bits = {
        name: node_bits(node, history, align) for name, node in tried.bound.nodes.items() if node.labels is not None
    }
    return Claim(
        name=tried.name,
        kind=tried.kind,
        doc=hypothesis.doc,
        moved_sites=moved,
        accept=hypothesis.accept,
        verdict=judgement.verdict,
        reason=judgement.reason,
        p_supported=judgement.p_supported,
        p_refuted=judgement.p_refuted,
        root_movement=measured.root_movement,
        nodes=[_node_record(tried, node, history, align, bits) for node in tried.bound.nodes.values()],
        regimes=[_regime(tried, name, mask, log_probs, change) for name, mask in regimes.items()],
        steps={name: loss.mean(axis=0).tolist() for name, loss in curves.items()},
        episodes={name: _by_episode(loss, history) for name, loss in curves.items()},
        worst_share=float(ranked[:n_worst].sum() / ranked.sum()) if ranked.sum() else 0.0,
        worst=_worst(tried, curves, history, regimes, log_probs),
        tree_nodes=len(tried.bound.tree_paths()),
        warnings=[*tried.bound.warnings, *_warnings(tried, align), *_idle(bits), *_only_as_measured(tried, judgement)],
        specificity=of_claim(list(bits.values())),
        any_step=measured.any_step,
        independent=measured.independent,
        together=measured.together,
    )


def _regime(tried: MeasuredClaim, name: str, mask: np.ndarray, log_probs: np.ndarray, change: np.ndarray) -> Regime:
    other, own = tried.evidence[name]
    n = max(1, int(mask.sum()))
    opinion = mask & (tried.policy.max(axis=-1) > 1 / log_probs.shape[-1] + OPINION)
    return Regime(
        name=name,
        positions=int(mask.sum()),
        model=other.model.number(),
        scrubbed=other.scrubbed.number(),
        baseline=other.baseline.number(),
        structure=other.structure.number(),
        recovered=other.recovered.number(),
        beyond_structure=other.beyond_structure.number(),
        recovered_with_self=own.recovered.number(),
        beyond_structure_with_self=own.beyond_structure.number(),
        loss_change=float(change[mask].sum() / n),
        kl=float(tried.measured.kl[mask].sum() / n),
        same_argmax=float(tried.measured.same_argmax[mask].sum() / n),
        agreement=float(_agrees(tried.policy, log_probs)[opinion].mean()) if opinion.any() else None,
        opinion=float(opinion.sum() / n),
    )


def _agrees(policy: np.ndarray, log_probs: np.ndarray) -> Bool[np.ndarray, "row step"]:
    likeliest = log_probs.argmax(axis=-1)[..., None]
    return np.take_along_axis(policy, likeliest, axis=-1)[..., 0] >= policy.max(axis=-1) - OPINION


def _by_episode(loss: Float[np.ndarray, "row step"], history: History) -> list[float]:
    n = np.bincount(history.episode.ravel())
    return (np.bincount(history.episode.ravel(), weights=loss.ravel()) / n).tolist()


def node_bits(node: BoundNode, history: History, align: Align) -> Specificity:
    """Measure how much the donors of a node leave free, over the steps that it speaks of."""
    assert node.labels is not None
    past = history.so_far() if node.labels.ndim == 2 or node.selected is not None else history.so_far()[:, -1]
    shown = np.unique(past, return_inverse=True)[1].reshape(past.shape)
    stepwise = np.broadcast_to(node.labels[:, None] if node.labels.ndim < shown.ndim else node.labels, shown.shape)
    both = stepwise.astype(np.int64) * (int(shown.max()) + 1) + shown
    sizes = []
    for labels in (stepwise, both, np.zeros_like(shown), shown):
        size = classes(labels, node.selected, align, history.episode_step).size
        sizes.append(size if node.selected is None else size[node.selected])
    return specificity(*sizes)


def _node_record(
    tried: MeasuredClaim, node: BoundNode, history: History, align: Align, bits: Mapping[str, Specificity]
) -> NodeRecord:
    written = next(one for one in tried.bound.hypothesis.nodes if one.name == node.name)
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
    found = classes(node.labels, node.selected, align, history.episode_step)
    sizes = found.size if node.selected is None else found.size[node.selected]
    alone = found.alone if node.selected is None else found.alone[node.selected]
    bounds = 2 ** np.arange(1, int(np.log2(max(2, sizes.max()))) + 2)
    counts, _ = np.histogram(sizes, bins=[1, *bounds])
    figures = tried.measured.nodes[node.name]
    return NodeRecord(
        **shared,
        level="history" if node.labels.ndim == 1 else "step",
        class_sizes={str(bound - 1): int(count) for bound, count in zip(bounds, counts, strict=True)},
        alone=float(alone.mean()),
        swapped=figures["swapped"],
        moved=figures["moved"],
        spread=figures["spread"],
        exact=bool(figures["exact"]),
        recovered=figures["recovered"],
        resampled=figures["resampled"],
        free_bits=bits[node.name].free,
        history_bits=bits[node.name].carried,
    )


def _warnings(tried: MeasuredClaim, align: Align) -> list[str]:
    found = []
    for node in tried.bound.nodes.values():
        if node.hidden and node.labels is not None:
            found.append(f"{node.name} is made from facts of the task that the model could not see.")
        kinds = {part.writer.kind for part in node.parts if part.writer is not None}
        if kinds == {"pos"} and align == "step":
            found.append(f"{node.name} sits at pos, which is the same in every row at a step: it is not tested.")
    return found


def _only_as_measured(tried: MeasuredClaim, judgement: Judgement) -> list[str]:
    """What a supported claim loses under other options."""
    if judgement.verdict != "supported":
        return []
    measured, accept, found = tried.measured, tried.bound.hypothesis.accept, []
    if measured.any_step is not None and measured.any_step < accept:
        found.append(
            f"With donors from any step {tried.name} recovers only {measured.any_step:.2f}: it holds among histories "
            "at the same step, and that the step itself plays no role was not shown. Test that with `align='any'`."
        )
    apart, together = measured.independent, measured.together
    if apart is not None and together is not None and apart < min(accept, together - CANCELS):
        found.append(
            f"With a history of its own for each input that {tried.name} does not name, it recovers only {apart:.2f} "
            f"instead of {together:.2f}: they play no role together, but each may, where they cancel each other out. "
            "Test that with `others='independent'`."
        )
    return found


def _idle(bits: Mapping[str, Specificity]) -> list[str]:
    return [
        f"{name} tells nearly all histories apart (it leaves {one.free:.1f} of {one.carried:.1f} bits free): what it "
        "says is hardly tested."
        for name, one in bits.items()
        if one.share is not None and one.share < HARDLY_FREE
    ]


def _worst(
    tried: MeasuredClaim,
    losses: Mapping[str, np.ndarray],
    history: History,
    regimes: Mapping[str, np.ndarray],
    log_probs: np.ndarray,
) -> list[WorstPosition]:
    """The positions where scrubbing did most harm, at most one a row, so that they show different histories."""
    harm = losses["scrubbed"] - losses["model"]
    step_of = harm.argmax(axis=1)
    rows = np.argsort(-harm.max(axis=1), kind="stable")[:WORST]
    return [_position(tried, losses, history, regimes, log_probs, int(row), int(step_of[row])) for row in rows]


def _position(
    tried: MeasuredClaim,
    losses: Mapping[str, np.ndarray],
    history: History,
    regimes: Mapping[str, np.ndarray],
    log_probs: np.ndarray,
    row: int,
    step: int,
) -> WorstPosition:
    start = step - int(history.episode_step[row, step])
    last = history.last_rewarded_cell()[row, step] if history.channels else np.empty(0)
    if history.channels:
        seen = np.unique(history.observations[row, :start], axis=0).tolist()
    else:
        tally = [history.action_counts()[row, step], history.action_rewards()[row, step]]
        seen = np.stack(tally, axis=1).astype(int).tolist()
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
        facts={name: np.atleast_1d(fact[row]).astype(float).tolist() for name, fact in history.task.items()},
        taken=int(history.actions[row, step]),
        model=np.exp(log_probs[row, step]).tolist(),
        scrubbed=tried.measured.probabilities[row, step].tolist(),
        loss_model=float(losses["model"][row, step]),
        loss_scrubbed=float(losses["scrubbed"][row, step]),
    )
