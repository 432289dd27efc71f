"""What an adversary will try on a claim, and what that costs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter

import numpy as np

from ad_hypotheses.causal.scrub import Options
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.anatomy import Anatomy, plain_part
from ad_hypotheses.language.check import Bound, BoundNode
from ad_hypotheses.language.history import History
from ad_hypotheses.studies.adversary.candidates import Candidate, candidates

FEWEST = 32  # histories: 16 in each half are the least that a bootstrap can say anything of
DEEPEST = 3  # features that a refined claim may add
ELSEWHERE = "elsewhere for "  # with a node's name: the places that it reads and the claim does not name


@dataclass(frozen=True)
class AttackPlan:
    """What will be tried on a claim.

    Attributes:
        bound: The claim.
        nodes: Its nodes, and before each that reads anything else one more for the places that the claim does not name.
        root: Name of the last node.
        candidates: Features to try.
        findings: How many are measured.
        passes: How often each of them is.
        seed: Of the draws and of the halves.
        options: Of the engine.
    """

    bound: Bound
    nodes: Mapping[str, BoundNode]
    root: str
    candidates: list[Candidate]
    findings: int
    passes: int
    seed: int
    options: Options

    @property
    def key(self) -> str:
        """What the numbers of the candidates mean, in short."""
        return hashlib.sha256(repr([candidate.code for candidate in self.candidates]).encode()).hexdigest()[:8]

    @property
    def named(self) -> tuple[str, ...]:
        """Nodes of the claim whose donors are drawn step by step, parents first."""
        return tuple(
            name
            for name, node in self.bound.nodes.items()
            if node.labels is not None and (node.labels.ndim == 2 or node.selected is not None)
        )

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """Nodes for the places that the claim does not name."""
        return tuple(name for name in self.nodes if name not in self.bound.nodes)

    @property
    def runs(self) -> int:
        """Passes over half of the histories, at most."""
        n = min(self.findings, len(self.candidates))
        places = max(len(self.named), len(self.elsewhere))
        refining = sum(n - taken for taken in range(min(DEEPEST, n)))
        choosing = 2 + 3 * len(self.candidates) + 2 * n * places + refining
        return choosing + (3 + 3 * n) * self.passes

    @property
    def forwards(self) -> int:
        """Partial forward passes over all histories that this is worth, at most."""
        inner = self.bound.n_visits
        return self.runs * inner // 2

    def above(self, name: str) -> set[str]:
        """Return the names of all that a node gets to know of."""
        return set(self.nodes[name].parents) | {
            name for parent in self.nodes[name].parents for name in self.above(parent)
        }

    def writable(self, added: Mapping[str, Sequence[int]]) -> bool:
        """Whether a file can say it: nodes cannot learn each other's values, nor their own, in a circle.

        Args:
            added: Candidates that nodes say besides. {node: numbers}
        """
        learned = {
            name: {self.candidates[candidate].node for candidate in added.get(name, ())} - {""} for name in self.nodes
        }
        try:
            TopologicalSorter({name: learned[name] | set(node.parents) for name, node in self.nodes.items()}).prepare()
        except CycleError:
            return False
        return True

    def below(self, name: str) -> tuple[str, ...]:
        """Return a node and all that get to know of it, parents first, as far as donors are drawn step by step."""
        return tuple(node for node in (*self.named, *self.elsewhere) if node == name or (name in self.above(node)))


def plan(bound: Bound, history: History, findings: int, passes: int, seed: int, options: Options) -> AttackPlan:
    """Decide what to try on a claim.

    Raises:
        DataError: Donors come from other steps, or there are too few histories to be split.
    """
    if options.align != "step":
        raise DataError(
            f"the adversary compares histories at the same step, so it cannot be used with `align={options.align!r}`."
        )
    if history.n_rows < FEWEST:
        raise DataError(
            f"the adversary chooses on one half of the histories and measures on the other; "
            f"{history.n_rows} are too few.\n  Use {FEWEST} or more (`rows`), better 256."
        )
    tried = candidates(history, bound.nodes)
    nodes = with_elsewhere(bound.nodes, bound.anatomy, history)
    return AttackPlan(bound, nodes, bound.root, tried, findings, passes, seed, replace(options, self_donors=False))


def with_elsewhere(nodes: Mapping[str, BoundNode], anatomy: Anatomy, history: History) -> dict[str, BoundNode]:
    """Give each node that reads others one more parent: all that it reads and that the claim does not name there.

    Its feature is constant: any other history will do, as the claim says, but drawn step by step.
    """
    anything = np.zeros(history.actions.shape, dtype=np.int64)
    extended: dict[str, BoundNode] = {}
    for name, node in nodes.items():
        own = {part.writer for node_name in (name, *node.parents) for part in nodes[node_name].parts}
        readers = [reader for part in node.parts for reader in part.readers]
        rest = [w for w in anatomy.writers if w not in own and any(w.feeds(reader) for reader in readers)]
        if rest and (node.parents or node.labels is None):
            more = f"{ELSEWHERE}{name}"
            extended[more] = BoundNode(more, tuple(map(plain_part, rest)), (), anything, None, False, "")
            node = replace(node, parents=(*node.parents, more))
        extended[name] = node
    return extended
