"""The fewest edges that keep a share of what a model gains over another history: a greedy search.

After Conmy et al. 2023, "Towards Automated Circuit Discovery for Mechanistic Interpretability" (ACDC): every edge
outside the set carries what the donor writes, all at once. Where ACDC tries edges in the order of the graph, the ones
that attribution thinks weakest are tried first here, and as many at once as succeed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ad_hypotheses.causal.attribute import attribute, screen
from ad_hypotheses.causal.clean import CHUNK_TOKENS, chunks
from ad_hypotheses.causal.effects import fingerprint
from ad_hypotheses.causal.history_pairs import HistoryPairs
from ad_hypotheses.causal.metrics import taken
from ad_hypotheses.causal.rewire import patch_together
from ad_hypotheses.causal.run_pair import RunPair
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.edges import Edge, all_edges, connected
from ad_hypotheses.storage.scratch import Scratch, store_in

STEPS = 8  # of the integrated gradients that say which edges are tried first
BUDGET = 400  # sets of edges that are tried
TRIED_AS = 1  # raise it when the same sets come to have other losses: interrupted searches then start again
LEAST_GAIN = 1e-3  # nats by which the model must beat the donor for a share of that to mean something


@dataclass(frozen=True)
class SearchTrial:
    """One set of edges that was tried.

    Attributes:
        phase: `"how many"` or `"without"`: the search for a number of edges, or the removal of some.
        kept: Number of edges in the set.
        share: Share that it keeps.
        enough: Whether that is the share asked for.
    """

    phase: str
    kept: int
    share: float
    enough: bool


@dataclass(frozen=True)
class Circuit:
    """Edges that together keep a share of the model's gain.

    Attributes:
        edges: The edges, in the order in which their readers read.
        share: Share that they keep, (loss with nothing kept - loss with these) / (the same with all kept).
        wanted: Share that they were to keep.
        loss_all: Mean loss of the model, in nats.
        loss_none: Mean loss when every edge carries the donor's writing.
        loss: Mean loss when all edges but these do.
        trials: Sets that were tried, in order.
        finished: Whether no single edge could be taken out any more; else the budget ended first.
    """

    edges: tuple[Edge, ...]
    share: float
    wanted: float
    loss_all: float
    loss_none: float
    loss: float
    trials: tuple[SearchTrial, ...]
    finished: bool


def search(
    model: ADTransformer,
    pairs: HistoryPairs,
    keep: float = 0.9,
    edges: Sequence[Edge] | None = None,
    attributions: Float[np.ndarray, " edge *row"] | None = None,
    mask: Bool[np.ndarray, "row step"] | None = None,
    budget: int = BUDGET,
    progress: Callable[[SearchTrial], None] = lambda trial: None,
    scratch: Scratch | None = None,
) -> Circuit:
    """Find few edges that keep a share of what the model gains over the donors.

    First a binary search over how many of the edges with the largest attribution are needed, then passes that take
    out the weakest as long as enough is kept. Nothing is drawn here: the same pairs give the same edges.

    Args:
        model: In evaluation mode.
        pairs: The histories whose actions are predicted, and the donors whose writing the edges outside the set carry.
        keep: The share, in (0, 1].
        edges: To choose from, without roles; all of the model by default. The others always carry the donor's.
        attributions: Attributions of these edges; integrated gradients of the loss by default.
        mask: Steps that count; all of them by default.
        budget: How many sets may be tried, at least those of the binary search.
        progress: Called after every trial.
        scratch: Where to keep the losses of what was tried, for an interrupted search; None to keep nothing.

    Returns:
        The edges, what they keep and what was tried; a set that was tried before is not a trial again.

    Raises:
        DataError: The model predicts no better than with the donors' writing: there is nothing to keep.
    """
    assert 0 < keep <= 1
    edges = all_edges(model.anatomy) if edges is None else list(edges)
    if attributions is None:
        attributions = attribute(model, pairs, edges, steps=STEPS, mask=mask)
    order = [edges[number] for number in screen(attributions, len(edges))]
    losses = Losses(model, pairs, mask, scratch)
    attempt = _Attempts(losses, model.anatomy, edges, keep, budget, progress)
    circuit = _how_many(attempt, order)
    circuit, finished = _without(attempt, circuit)
    return Circuit(
        tuple(edge for edge in edges if edge in set(circuit)),
        attempt.share(circuit),
        keep,
        attempt.best,
        attempt.worst,
        losses.of(circuit),
        tuple(attempt.trials),
        finished,
    )


class Losses:
    """Mean loss when only some edges of a model carry what the reference writes.

    Args:
        model: In evaluation mode.
        pairs: The histories whose actions are predicted, and the donors whose writing the other edges carry.
        mask: Steps that count; all of them by default.
        scratch: Where to keep losses that were worked out; None to keep nothing.

    Raises:
        DataError: No step counts.
    """

    def __init__(
        self,
        model: ADTransformer,
        pairs: HistoryPairs,
        mask: Bool[np.ndarray, "row step"] | None = None,
        scratch: Scratch | None = None,
    ) -> None:
        reference, donor = pairs.reference, pairs.donor
        mask = np.ones_like(reference.actions, dtype=bool) if mask is None else mask
        if not mask.any():
            raise DataError("No step counts: nothing could be kept.")
        self.everything = frozenset(all_edges(model.anatomy))
        self._parts: list[tuple[RunPair, Tensor, Tensor]] = []
        twin, order = Twin(model.eval()), pairs.order
        for chunk in chunks(reference.n_rows, reference.n_steps):
            rows = order[chunk]
            since = pairs.part(rows).since
            pair = RunPair.of(twin, model.to_tokens(reference[rows]), model.to_tokens(donor[rows]), since)
            actions = torch.as_tensor(reference.actions[rows].astype(np.int64), device=model.device)
            self._parts.append((pair, actions, torch.as_tensor(mask[rows], device=model.device)))
        self._known: dict[frozenset[Edge], float] = {}
        self._store = store_in(scratch, f"search-{fingerprint(model, pairs, TRIED_AS, [mask])}")

    def knows(self, circuit: Iterable[Edge]) -> bool:
        """Whether it has been worked out already."""
        return _single(circuit) in self._known

    def of(self, circuit: Iterable[Edge]) -> float:
        """Return the mean over the steps that count, in nats."""
        single = _single(circuit)
        if single not in self._known:
            name = hashlib.sha256("\n".join(sorted(map(str, single))).encode()).hexdigest()[:24]
            self._known[single] = self._store.get(name, lambda: self._work_out(self.everything - single))
        return self._known[single]

    def _work_out(self, outside: frozenset[Edge]) -> float:
        total, count = 0.0, 0
        for pair, actions, mask in self._parts:
            log_probs = pair.log_probs
            if outside:
                log_probs = torch.cat([log_probs[:, : pair.since], patch_together(pair, outside).log_softmax(-1)], 1)
            losses = -taken(log_probs, actions)
            total, count = total + losses[mask].double().sum().item(), count + int(mask.sum())
        return total / count


def memory_needed(model: ADTransformer, n_rows: int, n_steps: int) -> int:
    """Return the bytes of activations that a search holds: both runs of all histories, and a set that is tried."""
    shape, writers = model.shape, model.anatomy.writers
    a_step = shape.d_model * model.dtype.itemsize
    embedded = sum(writer.stage == 0 for writer in writers)
    held = n_rows * n_steps * (8 * shape.n_layers + 2 + embedded)
    return a_step * (held + min(n_rows * n_steps, CHUNK_TOKENS) * (len(writers) + 16))


def _single(edges: Iterable[Edge]) -> frozenset[Edge]:
    return frozenset(Edge((writer,), edge.reader) for edge in edges for writer in edge.writers)


@dataclass
class _Attempts:
    """Counts and remembers what was tried."""

    losses: Losses
    anatomy: Anatomy
    edges: Sequence[Edge]
    keep: float
    budget: int
    progress: Callable[[SearchTrial], None]
    trials: list[SearchTrial] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.best, self.worst = self.losses.of(self.edges), self.losses.of([])
        if self.worst - self.best < LEAST_GAIN:
            raise DataError(
                f"Nothing is to be kept: the loss is {self.best:.4f} nats as it is and {self.worst:.4f} with what the "
                "donors write. Choose donors that differ more, or other steps."
            )

    def share(self, circuit: Iterable[Edge]) -> float:
        return (self.worst - self.losses.of(circuit)) / (self.worst - self.best)

    def enough(self, phase: str, circuit: Sequence[Edge]) -> bool:
        new = not self.losses.knows(circuit)
        share = self.share(circuit)
        trial = SearchTrial(phase, len(circuit), share, share >= self.keep)
        if new:  # a set that was tried before costs nothing
            self.trials.append(trial)
            self.progress(trial)
        return trial.enough

    @property
    def over(self) -> bool:
        return len(self.trials) >= self.budget


def _how_many(attempt: _Attempts, order: Sequence[Edge]) -> list[Edge]:
    """Return the shortest beginning of an order that keeps enough, if a longer one always keeps more."""
    too_few, enough = 0, len(order)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if attempt.enough("how many", connected(order[:middle], attempt.anatomy)):
            enough = middle
        else:
            too_few = middle
    circuit = connected(order[:enough], attempt.anatomy)
    return circuit if attempt.share(circuit) >= attempt.keep else list(order)


def _without(attempt: _Attempts, circuit: Sequence[Edge]) -> tuple[list[Edge], bool]:
    """Take out edges from the end, several at once where that goes well, until no single one can go."""
    circuit, changed = list(circuit), True
    while changed:
        changed, block, rest = False, max(1, len(circuit) // 8), list(reversed(circuit))
        while rest:
            if attempt.over:
                return circuit, False
            tried = rest[:block]
            fewer = connected([edge for edge in circuit if edge not in set(tried)], attempt.anatomy)
            if attempt.enough("without", fewer):
                circuit, changed, block = fewer, True, 2 * block
                rest = [edge for edge in rest[len(tried) :] if edge in set(fewer)]
            elif len(tried) == 1:
                rest, block = rest[1:], 1
            else:
                block = len(tried) // 2
    return circuit, True
