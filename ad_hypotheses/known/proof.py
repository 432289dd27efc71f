"""What shows that a trained network is what it was trained to be: figures on histories that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.metrics import cross_entropy
from ad_hypotheses.causal.scrub import Options, Others, Scrubber
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.errors import DataError
from ad_hypotheses.known.shares import beyond_structure, expected_baseline, recovered
from ad_hypotheses.language.anatomy import plain_part
from ad_hypotheses.language.check import Bound, BoundGraph, BoundNode, bind
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis

PASSES = 3
LEAST_RECOVERED = 0.97  # of what is claimed to be true, features alone and with independent others too
MOST_OUTSIDE = 0.02  # of the gain that may be lost where all that is not claimed is resampled, in either way
LEAST_ALIKE = 0.99  # of the decisions whose likeliest action is the rule's


@dataclass(frozen=True)
class Share:
    """How much of a network's gain over the baseline a claim recovers.

    Attributes:
        recovered: As in a report of `scrub`.
        beyond_structure: The same of what the features add.
        independent: As `recovered`, where each part that the claim does not name comes from a history of its own.
    """

    recovered: float
    beyond_structure: float
    independent: float


@dataclass(frozen=True)
class Proof:
    """How far a network does what it should, where it should.

    Attributes:
        histories: How many were looked at.
        kl: Mean divergence of its decisions from the rule's, in nats.
        argmax: Share of the decisions whose likeliest action is one of the rule's.
        outside: Share of its gain over the baseline that is lost if all that `truth` does not name is resampled.
        outside_independent: The same, each part from a history of its own: this finds parts that cancel each other.
        idle: How much what is written by parts that `truth` does not name differs between histories, as a share of the
            same for those that it names, the liveliest part of each: with 0 nothing would be there to resample.
        claims: What each claim recovers, by name; what is true first.
    """

    histories: int
    kl: float
    argmax: float
    outside: float
    outside_independent: float
    idle: float
    claims: Mapping[str, Share]


def prove(
    model: ADTransformer,
    claims: Sequence[Hypothesis],
    history: History,
    policy: Float[np.ndarray, "row step action"],
    seed: int = 0,
) -> Proof:
    """Measure a network on histories.

    Args:
        model: The network.
        claims: About it, each with a name; the first is what it was trained to make true.
        history: Histories that it was not trained on.
        policy: What its rule does in them.
        seed: Of all draws.

    Raises:
        HypothesisError: A claim does not fit the network or the histories.
    """
    clean, bound = Clean.run(model, history), [bind(claim, model.anatomy, history) for claim in claims]
    shares = {}
    for claim, bound_claim in zip(claims, bound, strict=True):
        with clean.prepared():
            shares[str(claim.name)] = share(clean, bound_claim, seed)
    likely = policy.max(axis=-1, keepdims=True) - policy < 1e-9  # several, where the rule is indifferent
    same = np.take_along_axis(likely, clean.log_probs.argmax(axis=-1)[..., None], axis=-1)
    apart = (policy * (np.log(np.where(policy > 0, policy, 1)) - clean.log_probs)).sum(axis=-1)
    elsewhere = outside(clean, bound[0], seed), outside(clean, bound[0], seed, "independent")
    return Proof(history.n_rows, float(apart.mean()), float(same.mean()), *elsewhere, idle(clean, bound[0]), shares)


def share(clean: Clean, bound: Bound, seed: int) -> Share:
    """Return how much a claim recovers, without intervals."""
    scrubber, structure = (Scrubber(clean, graph, Options(), seed) for graph in (bound, bound.without_features()))
    independent = 1 - _lost(clean, bound, "independent", seed)
    return Share(recovered(scrubber, PASSES), beyond_structure(scrubber, structure, PASSES), independent)


def outside(clean: Clean, bound: Bound, seed: int, others: Others = "joint") -> float:
    """Return the share of a network's gain over the baseline that what a claim does not name is good for.

    Every node stays as it is in its own history; only what is not declared is resampled, at every visit anew.

    Args:
        clean: The network's own run.
        bound: The claim.
        seed: Of the draws.
        others: Whether all that is not declared comes from one history, or each part from one of its own.
    """
    nodes = {name: _alone(node, clean.n_rows) for name, node in bound.nodes.items()}
    return _lost(clean, BoundGraph(nodes, bound.root), others, seed)


def _lost(clean: Clean, bound: BoundGraph, others: Others, seed: int) -> float:
    """The share of a network's gain over the baseline that scrubbing takes away."""
    options, actions = Options(others=others), clean.history.actions
    scrubber = Scrubber(clean, bound, options, seed)
    runs = [cross_entropy(scrubber.run(number).log_probs, actions) for number in range(PASSES)]
    untouched = cross_entropy(clean.log_probs, actions).mean(dtype=np.float64)
    gain = expected_baseline(clean, options, PASSES, seed).mean() - untouched
    return float((np.mean(runs, dtype=np.float64) - untouched) / gain)


def idle(clean: Clean, bound: Bound) -> float:
    """Return how lively the parts of a network are that a claim does not name, compared with those that it names."""
    named = {part.writer for node in bound.nodes.values() for part in node.parts}
    liveliest = {True: 0.0, False: 0.0}
    for writer in clean.twin.anatomy.writers:
        group = (plain_part(writer),)
        with clean.prepared(groups=[group]):
            written = clean.written(group)
        differs = (written - written.mean(dim=0)).norm(dim=-1).mean().item()
        liveliest[writer in named] = max(liveliest[writer in named], differs)
    return liveliest[False] / liveliest[True]


def _alone(node: BoundNode, n_rows: int) -> BoundNode:
    """Return a node with which no two rows agree, so that each keeps its own."""
    if node.labels is None:
        return node
    rows = np.arange(n_rows).reshape(-1, *[1] * (node.labels.ndim - 1))
    return replace(node, labels=np.broadcast_to(rows, node.labels.shape))


def require_proof(name: str, proof: Proof) -> None:
    """Refuse a network that is not what it was trained to be.

    Raises:
        DataError: It is not; says in what.
    """
    truth = next(iter(proof.claims.values()))
    problems = [
        f"its likeliest action is the rule's in {proof.argmax:.1%} of the decisions, less than {LEAST_ALIKE:.0%}"
    ] * (proof.argmax < LEAST_ALIKE)
    shares = {
        "recovers": truth.recovered,
        "recovers beyond structure": truth.beyond_structure,
        "recovers with independent others": truth.independent,
    }
    for event, share in shares.items():
        problems += [f"its truth {event} {share:.3f}, less than {LEAST_RECOVERED}"] * (share < LEAST_RECOVERED)
    for manner, share in (("", proof.outside), (" with independent others", proof.outside_independent)):
        problems += [f"{share:.1%} of its gain comes from elsewhere{manner}"] * (abs(share) > MOST_OUTSIDE)
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        hidden = (
            " What only independent others find stays hidden in training, too, unless `others` of the network names "
            "them."
        ) * any("independent" in problem for problem in problems)
        raise DataError(f"{name} was trained, but not for long enough:{listed}\n  Raise training.updates.{hidden}")
