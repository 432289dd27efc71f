"""What shows that a trained network is what it was trained to be: figures on histories that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from ad_hypotheses.causal.clean import Clean, plain_part
from ad_hypotheses.causal.measure import cross_entropy, exact_baseline, measure
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.check import Bound, BoundNode, bind
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis

PASSES = 3
LEAST_RECOVERED = 0.97  # of what is claimed to be true, features alone too
MOST_OUTSIDE = 0.02  # of the gain over the baseline that may be lost where all that is not claimed is resampled
LEAST_ALIKE = 0.99  # of the decisions whose likeliest action is the rule's


@dataclass(frozen=True)
class Share:
    """How much of a network's gain over the baseline a claim recovers.

    Attributes:
        recovered: As in a report of `scrub`.
        beyond_structure: The same of what the features add.
    """

    recovered: float
    beyond_structure: float


@dataclass(frozen=True)
class Proof:
    """How far a network does what it should, where it should.

    Attributes:
        histories: How many were looked at.
        kl: Mean divergence of its decisions from the rule's, in nats.
        argmax: Share of the decisions whose likeliest action is one of the rule's.
        outside: Share of its gain over the baseline that is lost if all that `truth` does not name is resampled.
        idle: How much what is written by parts that `truth` does not name differs between histories, as a share of the
            same for those that it names, the liveliest part of each: with 0 nothing would be there to resample.
        claims: What each claim recovers, by name; what is true first.
    """

    histories: int
    kl: float
    argmax: float
    outside: float
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
    for claim, one in zip(claims, bound, strict=True):
        shares[str(claim.name)] = share(clean, one, seed)
        clean.forget()
    likely = policy.max(axis=-1, keepdims=True) - policy < 1e-9  # several, where the rule is indifferent
    same = np.take_along_axis(likely, clean.log_probs.argmax(axis=-1)[..., None], axis=-1)
    apart = (policy * (np.log(np.where(policy > 0, policy, 1)) - clean.log_probs)).sum(axis=-1)
    elsewhere = outside(clean, bound[0], seed), idle(clean, bound[0])
    return Proof(history.n_rows, float(apart.mean()), float(same.mean()), *elsewhere, shares)


def share(clean: Clean, bound: Bound, seed: int) -> Share:
    """Return how much a claim recovers, without intervals."""
    measured = measure(clean, bound.nodes, bound.root, PASSES, Options(), seed, nodes_alone=False)
    untouched = cross_entropy(clean.log_probs, clean.history.actions).mean(dtype=np.float64)
    scrubbed, structure = (measured.losses[name].mean(dtype=np.float64) for name in ("scrubbed", "structure"))
    recovered, beyond = ((scrubbed - low) / (untouched - low) for low in (measured.baseline.mean(), structure))
    return Share(float(recovered), float(beyond))


def outside(clean: Clean, bound: Bound, seed: int) -> float:
    """Return the share of a network's gain over the baseline that what a claim does not name is good for.

    Every node stays as it is in its own history; only what is not declared is resampled, at every visit anew.
    """
    nodes = {name: _alone(node, clean.n_rows) for name, node in bound.nodes.items()}
    scrubber, actions = Scrubber(clean, nodes, bound.root, seed=seed), clean.history.actions
    runs = [cross_entropy(scrubber.run(number).log_probs, actions) for number in range(PASSES)]
    untouched = cross_entropy(clean.log_probs, actions).mean(dtype=np.float64)
    gain = exact_baseline(clean.log_probs, actions, self_donors=False).mean() - untouched
    return float((np.mean(runs, dtype=np.float64) - untouched) / gain)


def idle(clean: Clean, bound: Bound) -> float:
    """Return how lively the parts of a network are that a claim does not name, compared with those that it names."""
    named = {part.writer for node in bound.nodes.values() for part in node.parts}
    liveliest = {True: 0.0, False: 0.0}
    for writer in clean.twin.anatomy.writers:
        group = (plain_part(writer),)
        clean.prepare((), [group])
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
    for what, found in (("recovers", truth.recovered), ("recovers beyond structure", truth.beyond_structure)):
        problems += [f"its truth {what} {found:.3f}, less than {LEAST_RECOVERED}"] * (found < LEAST_RECOVERED)
    problems += [f"{proof.outside:.1%} of its gain comes from elsewhere"] * (abs(proof.outside) > MOST_OUTSIDE)
    if problems:
        listed = "".join(f"\n  {one}" for one in problems)
        raise DataError(f"{name} was trained, but not for long enough:{listed}\n  Raise training.updates.")
