"""What a claim recovers on histories that are references and donors at once, without intervals."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.metrics import cross_entropy, exact_baseline
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.language.anatomy import Part
from ad_hypotheses.language.check import BoundGraph, BoundNode

BASELINES, BASELINE_PASSES = 20_000, 4  # first pass of sampled baselines, and how many for one of the claim


def recovered(scrubber: Scrubber, passes: int) -> float:
    """Return `(E_scrubbed - E_baseline) / (E_model - E_baseline)`.

    Args:
        scrubber: Of the claim.
        passes: How often every history is scrubbed.
    """
    clean = scrubber.clean
    baseline = expected_baseline(clean, scrubber.options, passes, scrubber.seed).mean()
    return float((mean_loss(scrubber, passes) - baseline) / (_untouched(clean) - baseline))


def beyond_structure(scrubber: Scrubber, structure: Scrubber, passes: int) -> float:
    """Return `(E_scrubbed - E_structure) / (E_model - E_structure)`, the same against constant features."""
    constant = mean_loss(structure, passes, first=10_000)
    return float((mean_loss(scrubber, passes) - constant) / (_untouched(scrubber.clean) - constant))


def mean_loss(scrubber: Scrubber, passes: int, first: int = 0) -> float:
    """Return the mean loss of some passes, in nats."""
    actions = scrubber.clean.history.actions
    runs = (scrubber.run(first + number).log_probs for number in range(passes))
    return float(np.mean([cross_entropy(log_probs, actions).mean(dtype=np.float64) for log_probs in runs]))


def _untouched(clean: Clean) -> float:
    return float(cross_entropy(clean.log_probs, clean.history.actions).mean(dtype=np.float64))


def expected_baseline(clean: Clean, options: Options, passes: int, seed: int) -> Float[np.ndarray, "row step"]:
    """Return the loss when nothing is important, in nats: exact, or sampled where others are independent.

    Args:
        clean: The model's own run.
        options: Others and self-donors count.
        passes: Of what the baseline is compared with; a sampled one takes four for each.
        seed: Of the draws.
    """
    if options.others == "joint":
        return exact_baseline(clean.log_probs, clean.history.actions, options.self_donors)
    logits = clean.twin.anatomy.logits
    root = BoundNode("logits", (Part(None, (logits,)),), (), None, None, False, "")
    scrubber = Scrubber(clean, BoundGraph({root.name: root}, root.name), options, seed)
    runs = (scrubber.run(BASELINES + number).log_probs for number in range(BASELINE_PASSES * passes))
    losses = [cross_entropy(log_probs, clean.history.actions) for log_probs in runs]
    return np.asarray(np.mean(losses, axis=0, dtype=np.float64))
