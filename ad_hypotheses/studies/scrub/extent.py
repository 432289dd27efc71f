"""How much of a claim is measured."""

from __future__ import annotations

from dataclasses import dataclass

from ad_hypotheses.causal.scrub import Options
from ad_hypotheses.language.check import BoundGraph

ROWS_APART = 64  # references of runs with independent others, which hold every writer at every position
POOL_APART = 4  # times as many donors
ROWS_ALONE = 64  # references of a node alone, which costs whole forward passes; donors come from the whole pool


@dataclass(frozen=True)
class Extent:
    """How much of a claim is measured on a data set.

    Attributes:
        passes: How often every reference is scrubbed, with the claim's features and with constant ones.
        guards: Whether to scrub once more with self-donors, once with independent others and once with half of the
            pool.
        nodes_alone: Whether to replace each node alone too, which costs whole forward passes, and to scrub once with
            donors from any step, and the references of independent others with joint ones. Where donors are made no
            node is replaced alone: each position would need donors of its own.
    """

    passes: int
    guards: bool
    nodes_alone: bool

    def forwards(self, bound: BoundGraph, options: Options) -> int:
        """Return the number of partial forward passes that :func:`measure` needs."""
        whole = self.passes + bool(bound.made)  # once with broken symmetries
        if self.guards:
            whole += 2 + (1 + self.nodes_alone) * (options.others == "joint")
        if self.nodes_alone:
            whole += options.align != "any"
        structure = self.passes * bound.without_features().n_visits
        alone = 2 * (len(bound.nodes) - 1) * (self.nodes_alone and not bound.made)
        return whole * bound.n_visits + structure + alone
