"""Whose writing is patched in: another history, one that agrees on a feature, or itself with one thing changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.causal.draws import classes, draw, uniforms
from ad_hypotheses.errors import DataError, did_you_mean
from ad_hypotheses.language.check import Bound, BoundNode
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.counterfactuals import Counterfactual, counterfactuals_of, make_counterfactual
from ad_hypotheses.tasks.edits.lives import tokens_differ
from ad_hypotheses.tasks.rewarded_places import moves_towards
from ad_hypotheses.tasks.task import Task

ANY, AGREE = "any", "agree:"


@dataclass(frozen=True)
class HistoryPairs:
    """Histories, and beside each the one that its donors' writing comes from.

    Attributes:
        reference: The histories whose loss is measured.
        donor: The histories whose writing is patched in, row by row.
        name: Name of the kind of donors: `"any"`, `"agree:goal"`, `"rewards-swapped"`.
        words: Sentence that says what they are.
        rows: Which of the histories that were given have a donor. [row]
        left_out: Number of those that have none.
        first_step: The first step at which the two differ, the number of steps where none does: what comes before is
            computed once for both; None where they may differ altogether. [row]
        towards: Which actions lead to the cell that paid before a change, and to the one that pays after it,
            `{"old" | "new": [row, step, action]}`; empty where none was moved.
    """

    reference: History
    donor: History
    name: str
    words: str = ""
    rows: Int[np.ndarray, " row"] | None = None
    left_out: int = 0
    first_step: Int[np.ndarray, " row"] | None = None
    towards: Mapping[str, Bool[np.ndarray, "row step action"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.first_step is not None:
            alike = np.arange(self.reference.n_steps) < self.first_step[:, None]
            assert not (alike & tokens_differ(self.reference, self.donor)).any(), "they differ before their first step"

    @property
    def since(self) -> int:
        """The first step at which any of the pairs differs."""
        return 0 if self.first_step is None else int(self.first_step.min())

    @property
    def order(self) -> Int[np.ndarray, " row"]:
        """The rows such that those which begin to differ at about the same step are neighbours."""
        first_step = np.zeros(self.reference.n_rows) if self.first_step is None else self.first_step
        return np.argsort(first_step, kind="stable")

    def split(self, size: int) -> Iterator[slice]:
        """Cut the rows into slices of no more than `size`; those at the end that do not differ at all are apart."""
        n_rows, n_steps = self.reference.actions.shape
        alike = 0 if self.first_step is None else int((self.first_step[::-1] == n_steps).cumprod().sum())
        for start, stop in ((0, n_rows - alike), (n_rows - alike, n_rows)):
            yield from (slice(first, min(first + size, stop)) for first in range(start, stop, size))

    def part(self, rows: slice | Int[np.ndarray, " some"]) -> HistoryPairs:
        """Return some of the pairs."""
        return replace(
            self,
            reference=self.reference[rows],
            donor=self.donor[rows],
            rows=None if self.rows is None else self.rows[rows],
            first_step=None if self.first_step is None else self.first_step[rows],
            towards={name: actions[rows] for name, actions in self.towards.items()},
        )


def make_pairs(donors: str, task: Task, history: History, seed: int, bound: Bound | None = None) -> HistoryPairs:
    """Find a donor for every history.

    Args:
        donors: `"any"`: another history, all alike; `"agree:NODE"`: one that agrees on the feature of a hypothesis
            node; or the name of a counterfactual of the task.
        task: The task of the histories.
        history: The references; those without a donor are left out.
        seed: Seed of the draws.
        bound: The hypothesis whose nodes are meant.

    Raises:
        DataError: There are no such donors, or hardly any history has one.
    """
    if donors == ANY:
        everyone = classes(np.zeros(history.n_rows, dtype=np.int64))
        table = draw(everyone, uniforms(seed, ("donors", ANY), (history.n_rows,)), self_donors=False)
        words = "each history reads from another one, drawn at random, never from itself"
        return HistoryPairs(history, history[table], donors, words, np.arange(history.n_rows))
    if donors.startswith(AGREE):
        return _agreeing(_node(donors, bound), history, donors, seed)
    kinds = counterfactuals_of(task)
    if donors not in kinds:
        known = (ANY, *(f"{AGREE}{name}" for name in _names(bound)), *kinds)
        raise DataError(
            f"there are no donors {donors!r} (`donors`).{did_you_mean(donors, known)}\n  donors: {', '.join(known)}"
        )
    counterfactual = make_counterfactual(donors, task, history, np.random.default_rng([seed, len(donors)]))
    words = f"each history reads from itself with one thing changed: {counterfactual.words}"
    pairs = _kept(history, counterfactual.history, counterfactual.changed, donors, words)
    assert pairs.rows is not None
    towards = towards_of(task, pairs.reference, counterfactual, pairs.rows)
    return replace(pairs, first_step=counterfactual.first_step[pairs.rows], towards=towards)


def towards_of(
    task: Task, reference: History, counterfactual: Counterfactual, rows: Int[np.ndarray, " row"]
) -> dict[str, Bool[np.ndarray, "row step action"]]:
    """Return which actions lead to where was paid before and after a change, if it moved that and the task has ways.

    Args:
        task: The family.
        reference: The histories that have a donor.
        counterfactual: The change of all histories.
        rows: Which of them those are.
    """
    if counterfactual.old is None or counterfactual.new is None:
        return {}
    try:
        return {
            name: moves_towards(task, reference, cells[rows])
            for name, cells in (("old", counterfactual.old), ("new", counterfactual.new))
        }
    except DataError:  # no rooms: there are no ways
        return {}


def _agreeing(node: BoundNode, history: History, donors: str, seed: int) -> HistoryPairs:
    labels = node.labels
    assert labels is not None
    u = uniforms(seed, ("donors", donors), (history.n_rows,))
    if labels.ndim == 1:
        pools = classes(labels)
        words = f"each history reads from another one, drawn among those with the same {node.name}"
        return _kept(history, history[draw(pools, u, self_donors=False)], ~pools.alone, donors, words)
    table, share, usual = _most_alike(labels, node.selected, u)
    words = (
        f"{node.name} has a value at each step, and no other history has the same at all of them: each reads from the "
        f"one that agrees at most steps, {share:.0%} of them on average (two histories drawn at random: {usual:.0%})"
    )
    return HistoryPairs(history, history[table], donors, words, np.arange(history.n_rows))


def _most_alike(
    labels: Int[np.ndarray, "row step"], selected: Bool[np.ndarray, "row step"] | None, u: Float[np.ndarray, " row"]
) -> tuple[Int[np.ndarray, " row"], float, float]:
    """Return for each row the other one that agrees at most steps, and how often those, and all others, agree."""
    n_rows = len(labels)
    table, shares, usual = np.arange(n_rows), np.zeros(n_rows), np.zeros(n_rows)
    for row in range(n_rows):
        steps = slice(None) if selected is None else np.flatnonzero(selected[row])
        agreeing = (labels[:, steps] == labels[row, steps]).sum(axis=1)
        usual[row] = (agreeing.sum() - agreeing[row]) / max(n_rows - 1, 1)
        agreeing[row] = -1
        best = np.flatnonzero(agreeing == agreeing.max())
        table[row] = best[int(u[row] * len(best))]
        n_asked = labels[row, steps].size
        shares[row], usual[row] = agreeing[table[row]] / max(n_asked, 1), usual[row] / max(n_asked, 1)
    return table, float(shares.mean()), float(usual.mean())


def _kept(
    history: History, donor: History, has_donor: Bool[np.ndarray, " row"], donors: str, words: str
) -> HistoryPairs:
    rows = np.flatnonzero(has_donor)
    if len(rows) < 2:
        raise DataError(
            f"`donors={donors!r}`: only {len(rows)} of the {history.n_rows} histories have such a donor, and 2 are the "
            "least.\n  Use more histories (`rows`), or other donors."
        )
    return HistoryPairs(history[rows], donor[rows], donors, words, rows, left_out=history.n_rows - len(rows))


def _names(bound: Bound | None) -> list[str]:
    return [] if bound is None else [name for name, node in bound.nodes.items() if node.labels is not None]


def _node(donors: str, bound: Bound | None) -> BoundNode:
    name = donors.removeprefix(AGREE)
    if bound is None:
        raise DataError(
            f"`donors={donors!r}` speaks of a node, but a model alone has none.\n"
            "  Name a hypothesis file instead of the model, or use other donors."
        )
    if name not in _names(bound):
        hint = did_you_mean(name, _names(bound))
        raise DataError(
            f"`donors={donors!r}`: {bound.hypothesis.name} has no node {name!r} with a feature.{hint}\n"
            f"  nodes: {', '.join(_names(bound))}"
        )
    return bound.nodes[name]
