"""Scrub a claim again in random halves of the dataset that give each other no donors: other datasets, half as large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.metrics import cross_entropy, exact_baseline
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.evidence.halves import FEWEST, HalfSums
from ad_hypotheses.language.check import BoundGraph
from ad_hypotheses.language.history import History

SPLITS = 8  # with 4, intervals of a seventh of the figures missed what they should hold
FIRST = 40_000  # pass, so that they share no draw with any other run
HALVED = ("scrubbed", "baseline", "structure")


@dataclass(frozen=True, eq=False)
class Halves:
    """Losses when donors come from the own half only, one pass a split.

    Attributes:
        first: Which rows are the first half. [split, row]
        losses: Cross-entropy by kind: of the claim, with nothing important, and with constant features, in nats.
            [split, row, step] each
    """

    first: Bool[np.ndarray, "split row"]
    losses: dict[str, Float[np.ndarray, "split row step"]]

    def sums(self, mask: Bool[np.ndarray, "row step"]) -> HalfSums:
        """Add up what each row loses at some of its steps."""
        sums = {kind: np.where(mask, one, 0).sum(axis=-1, dtype=np.float64) for kind, one in self.losses.items()}
        return HalfSums(self.first, **sums)


def n_splits(history: History) -> int:
    """Return how many splits into halves a dataset should get: none if its learners are too few."""
    return SPLITS if len(np.unique(clusters_of(history))) >= FEWEST else 0


def clusters_of(history: History) -> np.ndarray:
    """Return which rows stay together: those of one learner. [row]"""
    return np.arange(history.n_rows) if history.learner is None else history.learner


def split_rows(history: History, seed: int, count: int) -> Bool[np.ndarray, "split row"]:
    """Split the learners of a dataset at random, as evenly as can be; the same way for every claim."""
    ids, of_row = np.unique(clusters_of(history), return_inverse=True)
    rng = np.random.default_rng([seed, FIRST])
    first = [rng.permutation(len(ids)) < len(ids) // 2 for _ in range(count)]
    return np.array(first)[:, of_row]


def scrub_in_halves(
    clean: Clean,
    bound: BoundGraph,
    options: Options,
    seed: int,
    splits: int,
    baseline: Float[np.ndarray, "row step"],
    progress: Callable[[int], None] = lambda done: None,
) -> Halves:
    """Scrub one claim in every split.

    Args:
        clean: The model's own run.
        bound: The claim, bound to model and data.
        options: Without self-donors.
        seed: Of all draws.
        splits: How many, at least 1.
        baseline: Expected loss when nothing is important, for others that are independent: it is not sampled anew.
        progress: Called with the number of runs that were done.
    """
    first, actions = split_rows(clean.history, seed, splits), clean.history.actions
    losses = {kind: np.empty((splits, *actions.shape), dtype=np.float32) for kind in HALVED}
    graphs = ("scrubbed", bound, 0), ("structure", bound.without_features(), splits)
    for number, half in enumerate(first):
        for kind, graph, at in graphs:
            scrubber = Scrubber(clean, graph, options, seed, halves=half)
            losses[kind][number] = cross_entropy(scrubber.run(FIRST + at + number).log_probs, actions)
            progress(1)
        losses["baseline"][number] = baseline
        for side in (half, ~half) if options.others == "joint" else ():
            losses["baseline"][number, side] = exact_baseline(clean.log_probs[side], actions[side], self_donors=False)
    return Halves(first, losses)
