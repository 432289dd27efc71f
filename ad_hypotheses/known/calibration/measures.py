"""What can be said of a claim besides scrubbing it: its features, its behaviour, and its arrows by path patching."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.causal.effects import Together, measure
from ad_hypotheses.causal.history_pairs import ANY, make_pairs
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.evidence.specificity import of_claim
from ad_hypotheses.known.calibration.cases import Case
from ad_hypotheses.known.calibration.error_rates import kept_by_swaps
from ad_hypotheses.known.calibration.record import ClaimFacts
from ad_hypotheses.known.calibration.trials import SEEDS
from ad_hypotheses.known.claims import KnownClaim
from ad_hypotheses.language.check import Bound, bind
from ad_hypotheses.language.declared import declared, left_open, undeclared
from ad_hypotheses.language.edges import all_edges
from ad_hypotheses.language.history import History
from ad_hypotheses.progress import Progress
from ad_hypotheses.studies.data import SOURCE
from ad_hypotheses.studies.scrub.bind import ScrubSettings, make_grounds
from ad_hypotheses.studies.scrub.claim import OPINION, node_bits
from ad_hypotheses.studies.scrub.ground import Ground

ROWS, PATCHED = 256, 64  # histories to compare features on, and others of which edges are patched
MEASURE = 9_000  # replicate whose histories are used; no trial has it


@dataclass(frozen=True)
class Measures:
    """Which claims to measure: all about a network, with histories of the calibration's seed."""

    network: str
    seed: int
    rows: int = ROWS


def facts(case: Case, asked: Measures) -> list[ClaimFacts]:
    """Return what is known of every claim about a network."""
    seed = (asked.seed * SEEDS + asked.rows) * 10_000 + MEASURE
    settings = ScrubSettings(rows=PATCHED, pool=asked.rows, data=(SOURCE,), seed=seed)
    (ground,) = make_grounds(case.checkpoint, settings, Progress())
    true = None
    results = []
    for claim in case.claims:
        roles = {name: mask for name, mask in ground.regimes.items() if name != "all"}
        bound = bind(claim.hypothesis, case.checkpoint.model.anatomy, ground.history, roles, settings.seed)
        last = read_last(bound, ground.history.n_steps)[PATCHED:]
        true = last if true is None else true
        results.append(_facts(case, claim, bound, ground, kept_by_swaps(true, last)))
    return results


def _facts(case: Case, claim: KnownClaim, bound: Bound, ground: Ground, kept_share: float) -> ClaimFacts:
    paths = bound.tree_paths()
    bits = [node_bits(node, ground, "step") for node in bound.nodes.values() if node.labels is not None]
    specificity = of_claim(bits)
    patched = replace(bound, nodes=bound.of_rows(np.arange(PATCHED)).nodes)
    undone, weakest, name = _patched(case, patched, ground.references)
    return ClaimFacts(
        network=case.name,
        claim=claim.name,
        kind=claim.kind,
        expected=claim.verdict,
        why=claim.why,
        depth=max(map(len, paths)) - 1,
        tree_nodes=len(paths),
        kept=kept_share,
        agreement=_agreement(claim, ground.references, ground.log_probs),
        undeclared=undone,
        weakest_arrow=weakest,
        weakest=name,
        specificity=float("nan") if specificity is None else specificity,
        any_step=_from_any_step(ground, bound),
    )


def _from_any_step(ground: Ground, bound: Bound) -> float:
    """Return the fidelity of a claim in one pass, over all steps, if donors may come from any step."""
    with ground.clean.prepared():
        log_probs = Scrubber(ground.clean, bound, Options(align="any")).run(0).log_probs
    zero = np.broadcast_to(ground.ignorant("all"), log_probs.shape)
    return float(1 - ground.divergence(log_probs).sum() / ground.divergence(zero).sum())


def read_last(bound: Bound, n_steps: int) -> Int[np.ndarray, "row step"]:
    """Return the joint class of the features that the last node of a claim reads."""
    parents = [bound.nodes[name] for name in bound.nodes[bound.root].parents]
    labels = [node.labels for node in parents if node.labels is not None]
    assert labels, "the last node of a known network's claim reads something"
    wide = [array if array.ndim == 2 else np.repeat(array[:, None], n_steps, axis=1) for array in labels]
    together = np.stack([array.ravel() for array in wide], axis=1)
    return np.unique(together, axis=0, return_inverse=True)[1].reshape(wide[0].shape)


def _agreement(claim: KnownClaim, history: History, log_probs: Float[np.ndarray, "row step action"]) -> float:
    """How often the explanation, run as a policy, likes best what the model likes best, where it has an opinion."""
    policy = claim.hypothesis.policy(history)
    opinion = policy.max(axis=-1) > 1 / history.n_actions + OPINION
    likeliest = log_probs.argmax(axis=-1)[..., None]
    agrees = np.take_along_axis(policy, likeliest, axis=-1)[..., 0] >= policy.max(axis=-1) - OPINION
    return float(agrees[opinion].mean()) if opinion.any() else float("nan")


def _patched(case: Case, bound: Bound, history: History) -> tuple[float, float, str]:
    """What all undeclared edges and the weakest declared arrow do, as shares of what all edges do, and its name."""
    anatomy, task = case.checkpoint.model.anatomy, case.checkpoint.experiment.task
    arrows = declared(bound)
    rest = undeclared(anatomy, [*arrows, *left_open(bound, arrows)])
    single = [arrow for arrow in arrows if arrow.single and not arrow.name.startswith("inside ")]
    sets = [all_edges(anatomy), rest, *(arrow.edges for arrow in single)]
    asked = [Together(frozenset(edges)) for edges in sets]
    pairs = make_pairs(ANY, task, history, seed=0)
    effects = measure(case.checkpoint.model, pairs, asked, ("kl",))
    everything, undone, *alone = effects.changes["kl"][:, :, 0].mean(axis=1).tolist()
    weakest = min(zip(alone, (arrow.name for arrow in single), strict=True), default=(float("nan"), ""))
    return undone / everything, weakest[0] / everything, weakest[1]
