"""What can be said of a claim besides scrubbing it: its features, its behaviour, and its arrows by path patching."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.causal.clean import Clean
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
from ad_hypotheses.studies.scrub.bind import ScrubSettings, reference_histories
from ad_hypotheses.studies.scrub.claim import OPINION, node_bits
from ad_hypotheses.studies.scrub.measure import expected_baseline, recovered_in_a_pass

ROWS, PATCHED = 256, 64  # histories to compare features on, and those of them to patch
MEASURE = 9_000  # replicate whose histories are used; no trial has it


@dataclass(frozen=True)
class Measures:
    """Which claims to measure: all about a network, with histories of the calibration's seed."""

    network: str
    seed: int
    rows: int = ROWS


def facts(case: Case, asked: Measures) -> list[ClaimFacts]:
    """Return what is known of every claim about a network."""
    settings = ScrubSettings(rows=asked.rows, seed=(asked.seed * SEEDS + asked.rows) * 10_000 + MEASURE)
    history = reference_histories(case.checkpoint, settings)
    regimes = case.checkpoint.config.make_task().regimes(history)
    anatomy = case.checkpoint.model.anatomy
    bounds = [bind(claimed.hypothesis, anatomy, history, regimes, settings.seed) for claimed in case.claims]
    patched = history[: min(PATCHED, history.n_rows)]
    clean = Clean.run(case.checkpoint.model, patched)
    true = read_last(bounds[0], history.n_steps)
    results = []
    for claim, bound in zip(case.claims, bounds, strict=True):
        nodes = {name: node.of_rows(slice(patched.n_rows)) for name, node in bound.nodes.items()}
        bits = [node_bits(node, history, settings.align) for node in bound.nodes.values() if node.labels is not None]
        swaps = kept_by_swaps(true, read_last(bound, history.n_steps)), of_claim(bits)
        with clean.prepared():
            results.append(_facts(case, claim, replace(bound, nodes=nodes), swaps, clean))
    return results


def _facts(
    case: Case,
    claim: KnownClaim,
    bound: Bound,
    swaps: tuple[float, float | None],
    clean: Clean,
) -> ClaimFacts:
    """Measure a claim that is bound to the histories of `clean`; what its swaps keep and leave free is known."""
    kept_share, specificity = swaps
    paths = bound.tree_paths()
    undone, weakest, name = _patched(case, bound, clean.history)
    return ClaimFacts(
        network=case.name,
        claim=claim.name,
        kind=claim.kind,
        expected=claim.verdict,
        why=claim.why,
        depth=max(map(len, paths)) - 1,
        tree_nodes=len(paths),
        kept=kept_share,
        agreement=_agreement(claim, clean.history, clean.log_probs),
        undeclared=undone,
        weakest_arrow=weakest,
        weakest=name,
        specificity=float("nan") if specificity is None else specificity,
        any_step=_recovered(clean, bound, Options(align="any")),
        independent=_recovered(clean, bound, Options(others="independent")),
    )


def _recovered(clean: Clean, bound: Bound, options: Options) -> float:
    """What a claim recovers under other options than usual, in one pass."""
    baseline = expected_baseline(clean, options, passes=1, seed=0)
    return recovered_in_a_pass(Scrubber(clean, bound, options), baseline)


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
    anatomy, task = case.checkpoint.model.anatomy, case.checkpoint.config.make_task()
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
