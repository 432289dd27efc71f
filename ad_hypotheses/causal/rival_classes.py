"""What a claim distinguishes end to end, and which positions may stand in for which when two claims are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from ad_hypotheses.causal.draws import Align
from ad_hypotheses.evidence.jackknife import GROUPS, learner_groups
from ad_hypotheses.language.check import PACKED, BoundGraph, without_gaps

Labels = Int[np.ndarray, "row step"]


@dataclass(frozen=True, eq=False)
class RivalData:
    """Histories, which of them may stand in for others, and the model's clean run over them.

    Attributes:
        actions: Labels. [row, step]
        learner: Number of the learner that a row comes from. [row]
        donors: Rows of the pool; the others are the references. None if every row is both. [row]
        log_probs: Log-probabilities of the clean run; None where only features are compared. [row, step, action]
        align: Donors come from the same step, from the same step of any episode, or from any step.
        episode_step: Steps since the episode began, for `align="episode_step"`. [row, step]
    """

    actions: Int[np.ndarray, "row step"]
    learner: Shaped[np.ndarray, " row"]
    donors: Bool[np.ndarray, " row"] | None = None
    log_probs: Float[np.ndarray, "row step action"] | None = None
    align: Align = "step"
    episode_step: Int[np.ndarray, "row step"] | None = None

    def __post_init__(self) -> None:
        assert self.align != "episode_step" or self.episode_step is not None, "needs the steps of episodes"
        if self.log_probs is not None:
            assert self.log_probs.shape[:2] == self.actions.shape, (self.log_probs.shape, self.actions.shape)
            assert np.isfinite(self.log_probs).all(), "log-probabilities that are not finite"
        if self.donors is not None:
            pool, references = self.learner[self.donors], self.learner[~self.donors]
            assert len(pool), "no row is a donor"
            assert len(references), "no row is a reference"
            assert not np.isin(references, pool).any(), "a learner is a reference and a donor"

    @property
    def references(self) -> Bool[np.ndarray, " row"]:
        """Rows whose prediction is to be explained. [row]"""
        return np.ones(len(self.learner), bool) if self.donors is None else ~self.donors

    @property
    def pool(self) -> Bool[np.ndarray, " row"]:
        """Rows that may stand in for others. [row]"""
        return np.ones(len(self.learner), bool) if self.donors is None else self.donors

    def groups(self) -> Int[np.ndarray, " row"]:
        """Return the group with which the jackknife removes each row; references and donors are dealt out apart."""
        groups = np.zeros(len(self.learner), dtype=np.int64)
        n_groups = min(GROUPS, *(len(np.unique(self.learner[rows])) for rows in (self.references, self.pool)))
        for rows in (self.references, self.pool):
            groups[rows] = learner_groups(self.learner[rows], n_groups)
        return groups

    def aligned(self, labels: Labels) -> Int[np.ndarray, " position"]:
        """Return classes of positions that agree on labels and may stand in for each other as far as steps go."""
        steps = []
        if self.align == "step":
            steps = [np.broadcast_to(np.arange(self.actions.shape[1]), self.actions.shape)]
        elif self.align == "episode_step":
            assert self.episode_step is not None
            steps = [self.episode_step]
        return numbered([labels, *steps])


def end_to_end(graph: BoundGraph, n_rows: int, n_steps: int) -> Int[np.ndarray, "row step"]:
    """Return the classes that a claim says suffice for the output: equal numbers where all parents of its root agree.

    Features of whole histories are repeated over steps; steps that a node is not narrowed to are one class of it. Where
    the root holds heads, they read these parents at every step so far, and all of these steps must agree.

    Args:
        graph: The claim, bound to data.
        n_rows: Number of histories.
        n_steps: Steps of each.
    """
    columns = []
    for name in graph.nodes[graph.root].parents:
        node = graph.nodes[name]
        assert node.labels is not None
        labels = np.broadcast_to(node.labels.reshape(n_rows, -1), (n_rows, n_steps))
        columns.append(labels if node.selected is None else np.where(node.selected, labels + 1, 0))
    if not columns:
        return np.zeros((n_rows, n_steps), dtype=np.int64)
    codes = numbered(columns).reshape(n_rows, n_steps)
    return _so_far(codes) if graph.root_reads_the_past else codes


def _so_far(codes: Int[np.ndarray, "row step"]) -> Int[np.ndarray, "row step"]:
    """Return numbers that are equal where all codes of a row up to this step are."""
    n_rows, n_steps = codes.shape
    paths = np.zeros_like(codes)
    for step in range(n_steps):
        paths[:, step] = numbered([paths[:, max(step - 1, 0)], codes[:, step]])
    return paths + n_rows * np.arange(n_steps)  # a path of another length is another one


def same_classes(left: Int[np.ndarray, "row step"], right: Int[np.ndarray, "row step"], data: RivalData) -> bool:
    """Whether two claims distinguish the same positions among those that can stand in for each other."""
    aligned = [data.aligned(labels) for labels in (left, right)]
    first, second, both = (int(code.max()) for code in (*aligned, numbered(aligned)))
    return first == second == both


def numbered(columns: Sequence[Int[np.ndarray, "*position"]]) -> Int[np.ndarray, " position"]:
    """Return numbers from 0 without gaps, equal where all columns are."""
    code, size = np.zeros(columns[0].size, dtype=np.int64), 1
    for column in (column.ravel().astype(np.int64) for column in columns):
        low, high = int(column.min()), int(column.max())
        if size * (high - low + 1) >= PACKED:
            code, size = without_gaps(code, size)
        code, size = code * (high - low + 1) + (column - low), size * (high - low + 1)
    return without_gaps(code, size)[0]
