"""What a study will cost, known before anything is allocated: partial forward passes, and bytes.

Bytes are those of the arrays that are alive together at the worst moment of each phase: while the model is run plainly,
while a node is visited, while one is replaced alone, while inputs come from rows of their own, and while intervals are
made. They agree with the peak that the operating system reports within a quarter (`tests/test_memory.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ad_hypotheses.causal.clean import CHUNK_TOKENS, strands_of
from ad_hypotheses.causal.scrub import Options
from ad_hypotheses.distill.memory import free_memory
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.errors import CapacityError
from ad_hypotheses.evidence.bootstrap import BLOCK, PICKED, numbers_a_draw
from ad_hypotheses.evidence.halves import FEWEST
from ad_hypotheses.language.check import BoundGraph, BoundNode
from ad_hypotheses.report.screen import size
from ad_hypotheses.studies.scrub.halves import HALVED, SPLITS
from ad_hypotheses.studies.scrub.measure import ROWS_ALONE, VARIANTS, forwards

FIXED = 16_000_000  # bytes that any study takes: what libraries load and allocate when they are first used
GAPS = 1.4  # bytes taken for each that is used, since freed blocks leave gaps into which others do not fit
TABLES = 40  # bytes of the classes of a node at a position: five whole numbers
GROUPING = 100  # bytes more while they are worked out
HEADS, PUT_TOGETHER = 7, 3  # vectors while heads are computed, and while what a reader sees is put together


@dataclass(frozen=True)
class Cost:
    """What a study will cost, known beforehand.

    Attributes:
        forwards: Partial forward passes over the dataset.
        kept: Bytes of what stays until the end: histories, features, losses.
        work: Bytes more of what comes and goes, at most.
    """

    forwards: int
    kept: int
    work: int

    @property
    def bytes(self) -> int:
        """Memory that the study takes at most."""
        return FIXED + self.kept + self.work

    @classmethod
    def together(cls, costs: Sequence[Cost]) -> Cost:
        """Return what several studies cost, one after the other, whose results are kept."""
        forwards, kept, work = zip(*((cost.forwards, cost.kept, cost.work) for cost in costs), strict=True)
        return cls(sum(forwards), sum(kept), max(work))


def predict(
    model: ADTransformer,
    claims: Sequence[BoundGraph],
    rows: int,
    steps: int,
    passes: int,
    options: Options,
    n_boot: int,
) -> Cost:
    """Return what testing some claims, one after another, will cost.

    Args:
        model: It is run.
        claims: The hypothesis first; classes of features may be missing.
        rows: Histories of the dataset.
        steps: Of each.
        passes: As in `measure`.
        options: As in `measure`.
        n_boot: Draws of the bootstrap.
    """
    room = _Room(model, rows, steps, passes, options)
    splits = SPLITS if rows >= FEWEST else 0
    total = sum(forwards(claim, passes, number == 0, splits) for number, claim in enumerate(claims))
    kept = history_bytes(model, rows, steps) + sum(map(room.outcome, claims))
    measuring = max(room.measuring(claim, nodes_alone=number == 0) for number, claim in enumerate(claims))
    return Cost(total, int(kept), int(max(GAPS * measuring, room.weighing(n_boot))))


def history_bytes(model: ADTransformer, rows: int, steps: int) -> int:
    """Return what histories take: their arrays, tokens, what is worked out from them, and the model's probabilities.

    Args:
        model: It reads them.
        rows: Their number.
        steps: Of each.
    """
    return rows * steps * (8 * (2 * len(model.anatomy.channels) + 8) + 4 * model.vocabulary.n_actions)


class _Room:
    """Bytes that the arrays of a study take, phase by phase."""

    def __init__(self, model: ADTransformer, rows: int, steps: int, passes: int, options: Options) -> None:
        shape, self.anatomy, self.options, self.passes = model.shape, model.anatomy, options, passes
        self.rows, self.positions, self.n_actions = rows, rows * steps, model.cfg.d_vocab
        self.of_head = shape.d_head / shape.d_model
        hidden = 0 if shape.attention_only else 2 * (shape.d_mlp or 4 * shape.d_model) / shape.d_model
        self.mlp, self.layer = 2 + hidden, 8 + hidden  # vectors while an MLP is computed, and while a layer is
        self.vector = self.positions * shape.d_model * model.dtype.itemsize  # one at every position
        self.chunk = self.vector * min(rows, max(1, CHUNK_TOKENS // steps)) / rows  # one at every position of a chunk

    def outcome(self, claim: BoundGraph) -> float:
        """Features of a claim, and what is measured of it, as far as it stays."""
        return self.positions * (8 * len(claim.nodes) + 4 * len(VARIANTS) * self.passes + 32 + 12 * self.n_actions)

    def measuring(self, claim: BoundGraph, nodes_alone: bool) -> float:
        """The model's runs for one claim."""
        written = sum(len(strands_of(node.parts)) for node in claim.nodes.values())
        stages = {reader.stage for node in claim.nodes.values() for part in node.parts for reader in part.readers}
        joint = len(stages | {self.anatomy.logits.stage}) + written
        parts = sum(part.writer is not None for node in claim.nodes.values() for part in node.parts)
        apart = joint + parts + len(self.anatomy.writers)  # with independent inputs every writer is kept
        held, computed = self._held(claim, claim.root), self._computed(claim)
        kept = apart if self.options.others == "independent" else joint
        phases = [self.vector * kept + max(self.chunk * self.layer, self.vector * held + self.chunk * computed)]
        if nodes_alone:
            few = min(1.0, ROWS_ALONE / self.rows)
            vector, chunk = few * self.vector, min(few * self.vector, self.chunk)
            replaced = max(self._held(claim, name) for name in claim.nodes)
            seen = 1.5 * self.anatomy.logits.stage  # two vectors and what the heads mix of each layer
            phases.append(self.vector * (kept + replaced) + chunk * (seen + 4 + self.layer))
            if kept == joint:
                phases.append(vector * apart + max(chunk * self.layer, vector * held + chunk * computed))
        tables = 3 * TABLES * (len(claim.nodes) - 1) + GROUPING
        return max(phases) + self.positions * (tables + 4 * len(HALVED) * SPLITS + 8 * self.n_actions)

    def weighing(self, n_boot: int) -> float:
        """Sums of losses, the bootstrap, and the classes that a record tells of."""
        estimating = n_boot * numbers_a_draw(self.rows, self.passes, self.passes, self.passes)
        drawing = n_boot * PICKED * max(self.rows, self.passes)
        weights = n_boot * (self.rows + self.passes) + 8 * min(BLOCK, max(estimating, drawing))
        return weights + self.positions * max(4 * self.passes + 4 * len(HALVED) * SPLITS, 2 * TABLES + GROUPING)

    def _held(self, claim: BoundGraph, name: str) -> float:
        """Vectors at every position, of what a node and visits below it deliver, that are held at once."""
        if self.options.shared:
            return sum(map(self._delivered, claim.nodes.values()))
        held = most = 0.0
        for parent in claim.nodes[name].parents:
            most = max(most, held + self._held(claim, parent))
            held += self._delivered(claim.nodes[parent])
        return max(most, held + self._delivered(claim.nodes[name]))

    def _delivered(self, node: BoundNode) -> float:
        """Vectors at every position that a node delivers; what one without parents writes is there already."""
        inputs = sum(len(part.readers) for part in node.parts if part.writer is None) * self.of_head
        return inputs + (len(strands_of(node.parts)) if node.parents else 0)

    def _computed(self, claim: BoundGraph) -> float:
        """Vectors at every position of a chunk that are held at once while a node is computed."""
        own = max(len(strands_of(node.parts)) for node in claim.nodes.values())
        return PUT_TOGETHER + own + 1 + max(HEADS, self.mlp)


def refuse_too_large(cost: Cost, memory: int | None, device: str = "cpu") -> None:
    """Refuse a run that would not fit.

    Raises:
        CapacityError: It needs more memory than `memory`, or than is free.
    """
    free = memory if memory is not None else free_memory(device)
    if free is not None and cost.bytes > free:
        raise CapacityError(
            f"the run needs {size(cost.bytes)} of memory, but only {size(free)} may be used.\n"
            f"  Use fewer histories (`rows`), passes (`passes`) or rollouts (`rollouts`), or allow more (`memory`)."
        )
