"""How much of a claim is measured, and what a study will cost at most: partial forward passes, and bytes.

Bytes are those of the arrays that are alive together at the worst moment of each phase: while the model is run plainly,
while a node is visited, while one is replaced alone, while inputs come from rows of their own, and while intervals are
made. They agree with the peak that the operating system reports within a quarter (`tests/test_memory.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ad_hypotheses.causal.clean import CHUNK_TOKENS, POINTS, is_looked_up
from ad_hypotheses.causal.scrub import Options
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.distill.memory import free_memory
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.errors import CapacityError
from ad_hypotheses.evidence.bootstrap import BLOCK, PICKED, numbers_a_draw
from ad_hypotheses.language.anatomy import plain_part, strands_of
from ad_hypotheses.language.check import BoundGraph, BoundNode
from ad_hypotheses.report.screen import size
from ad_hypotheses.studies.scrub.made import MOST_TOKENS, POSITIONS, made_tables

ROWS_APART = 64  # references of runs with independent others, which hold every writer at every position
POOL_APART = 4  # times as many donors
ROWS_ALONE = 64  # references of a node alone, which costs whole forward passes; donors come from the whole pool
FIXED = 16_000_000  # bytes that any study takes: what libraries load and allocate when they are first used
GAPS = 1.26  # bytes taken for each that is used, since freed blocks leave gaps into which others do not fit
TABLES = 40  # bytes of the classes of a node at a position: five whole numbers
GROUPING = 100  # bytes more while they are worked out
MOST_REGIMES = 4  # that a task has
OF_LAYER = 3  # vectors that are kept of a layer, where the model is run once for all claims
TAKEN = 3  # vectors while something is written from what is kept
HEADS, PUT_TOGETHER = 7, 3  # vectors while heads are computed, and while what a reader sees is put together


@dataclass(frozen=True)
class Extent:
    """How much of a claim is measured on a data set, at most: `evidence.spending` says where less is enough.

    Attributes:
        passes: How often every reference is scrubbed, with the claim's features and with constant ones.
        guards: Whether to scrub once more with self-donors, once with independent others and, where the pool lacks
            donors, once with half of it.
        nodes_alone: Whether to replace each node alone too, which costs whole forward passes, and, with the guards, to
            scrub once with donors from any step, and the references of independent others with joint ones. Where donors
            are made no node is replaced alone: each position would need donors of its own.
        accept: The bar that the claim must clear.
        control: Whether the claim is a control, for which one refuted regime is enough.
        whole: Whether to measure all of that, whatever the first passes show.
    """

    passes: int
    guards: bool
    nodes_alone: bool
    accept: float = 0.9
    control: bool = False
    whole: bool = False

    def forwards(self, bound: BoundGraph, options: Options) -> int:
        """Return the number of partial forward passes that :func:`measure` needs at most."""
        whole = self.passes + bool(bound.made)  # once with broken symmetries
        if self.guards:
            whole += 2 + (1 + self.nodes_alone) * (options.others == "joint")
        if self.nodes_alone:
            whole += options.align != "any"
        structure = self.passes * bound.without_features().n_visits
        alone = 2 * (len(bound.nodes) - 1) * (self.nodes_alone and not bound.made)
        return whole * bound.n_visits + structure + alone


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
    extents: Sequence[Extent],
    shape: tuple[int, int, int],
    n_data: int,
    options: Options,
    n_boot: int,
    one_run: bool = True,
) -> Cost:
    """Return what testing some claims, one after another, will cost.

    Args:
        model: It is run.
        claims: The hypothesis first; classes of features may be missing.
        extents: How much is measured of each on the first data set.
        shape: References, donors, and steps of each history.
        n_data: Number of data sets that the hypothesis is tested on; controls are tested on the first alone.
        options: As in `measure`.
        n_boot: Draws of the bootstrap.
        one_run: Whether the model's run over a data set is kept for all claims.
    """
    rows, pool, steps = shape
    room = _Room(model, shape, max(extent.passes for extent in extents), options, one_run)
    total = sum(extent.forwards(claim, options) for claim, extent in zip(claims, extents, strict=True))
    total += (n_data - 1) * replace(extents[0], nodes_alone=False).forwards(claims[0], options)
    kept = n_data * history_bytes(model, rows + pool, steps) + sum(map(room.outcome, claims))
    kept += (n_data - 1) * room.outcome(claims[0])
    measuring = max(room.measuring(claim, extent) for claim, extent in zip(claims, extents, strict=True))
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

    def __init__(
        self, model: ADTransformer, shape: tuple[int, int, int], passes: int, options: Options, one_run: bool
    ) -> None:
        (self.rows, self.pool, steps), cfg = shape, model.shape
        self.anatomy, self.options, self.passes = model.anatomy, options, passes
        self.positions, self.references, self.n_actions = (
            (self.rows + self.pool) * steps,
            self.rows * steps,
            model.vocabulary.n_actions,
        )
        self.model, self.steps = model, steps
        self.run = OF_LAYER * cfg.n_layers * one_run  # vectors at every position that are kept of the one run
        self.of_head = cfg.d_head / cfg.d_model
        hidden = 0 if cfg.attention_only else 2 * (cfg.d_mlp or 4 * cfg.d_model) / cfg.d_model
        self.mlp, self.layer = 2 + hidden, 8 + hidden  # vectors while an MLP is computed, and while a layer is
        self.vector = self.positions * cfg.d_model * model.dtype.itemsize  # one at every position
        twin, rows = Twin(model), self.rows + self.pool
        self.points = self.vector / self.positions * min(POINTS, twin.tokens_at_once)
        self.chunk = self.vector * min(rows, max(1, CHUNK_TOKENS // steps)) / rows  # one at every position of a chunk

    def outcome(self, claim: BoundGraph) -> float:
        """Features of a claim, and what is measured of it, as far as it stays."""
        measured = 8 * (2 * self.passes + 2) + len(claim.nodes) + 16 + 4 * self.n_actions
        return self.positions * 8 * len(claim.nodes) + self.references * (measured + 8 * self.n_actions)

    def measuring(self, claim: BoundGraph, extent: Extent) -> float:
        """The model's runs for one claim."""
        written = sum(len(strands_of(node.parts)) for node in claim.nodes.values())
        consumers = [node for node in claim.nodes.values() if node.parents or node.name == claim.root]
        rests = len({(node.name, reader.stage) for node in consumers for part in node.parts for reader in part.readers})
        seen = len(
            {part.readers[0].stage for node in claim.nodes.values() for part in node.parts if part.writer is None}
        )
        parts = {part for node in claim.nodes.values() for part in node.parts if part.writer is not None}
        every = (*parts, *map(plain_part, self.anatomy.writers))
        alone = {(part,) for part in every if not is_looked_up(part)}
        together = {group for node in claim.nodes.values() for group in strands_of(node.parts).values()}
        # what a whole MLP writes is taken from the one run as it is
        mlps = {(plain_part(writer),) for writer in self.anatomy.writers if writer.kind == "mlp" and self.run}
        joint, apart = written + rests + seen, len((alone | together) - mlps) + seen
        independent = self.options.others == "independent"
        held = self.vector * self._held(claim, claim.root)
        kept = self.run + (apart if independent else joint)
        # what is needed of a layer is written from its run, or from the one run that was made before
        writing = TAKEN if self.run else self.layer
        phases = [self.vector * kept + max(self.chunk * writing, held + self._computed(claim, self.chunk))]
        phases[0] += self._made(claim)
        phases.append(self.vector * self.run + self.chunk * self.layer)
        if extent.nodes_alone and not claim.made:
            few = min(1.0, ROWS_ALONE / (self.rows + self.pool))
            chunk = min(few * self.vector, self.chunk)
            replaced = max(self._held(claim, name) for name in claim.nodes)
            # two vectors and what the heads mix of each layer, or one more where these are kept of the one run
            streams = (0.5 if self.run else 1.5) * self.anatomy.logits.stage
            phases.append(self.vector * (kept + replaced) + chunk * (streams + 4 + self.layer))
        if extent.guards and not independent:
            share = min(1.0, (1 + POOL_APART) * ROWS_APART / (self.rows + self.pool))
            vector, chunk = share * self.vector, min(share * self.vector, self.chunk)
            phases.append(self.vector * self.run + vector * (self.run + apart))
            phases[-1] += max(chunk * writing, share * held + self._computed(claim, chunk))
        tables = 3 * TABLES * (len(claim.nodes) - 1) + GROUPING
        return max(phases) + self.positions * (tables + 8 * self.n_actions)

    def _made(self, claim: BoundGraph) -> float:
        """Rows that are made, of all tables that are held at once, and what makes and reads them."""
        if not claim.made:
            return 0.0
        rows, positions = self.rows + self.pool, min(self.references, MOST_REGIMES * POSITIONS)
        most = 2 * MOST_TOKENS // (self.steps + 1)  # rows for heads: more are refused
        tables = made_tables(claim, positions, rows, self.steps)
        made = {path: min(n, most) if heads else n for path, heads, n in tables}
        of_row = history_bytes(self.model, 1, self.steps) + 8 * self.steps * len(claim.nodes)
        held = max(sum(n for path, n in made.items() if path == last[: len(path)]) for last in made)
        # a row is held before and after it was made; who agrees with made rows is looked up among all rows
        return 2 * of_row * held + (rows + max(made.values())) * self.steps * (TABLES + GROUPING)

    def weighing(self, n_boot: int) -> float:
        """Sums of losses, the bootstrap, and the classes that a record tells of."""
        estimating = n_boot * numbers_a_draw(self.rows, self.passes, self.passes, self.passes)
        drawing = n_boot * PICKED * max(self.rows, self.passes)
        weights = n_boot * (self.rows + self.passes) + 8 * min(BLOCK, max(estimating, drawing))
        return weights + self.positions * (2 * TABLES + GROUPING)

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
        """Vectors at every position that a node delivers; what one without parents writes is there already.

        Without heads it is visited only where it is drawn: at most once for each position of the references.
        """
        inputs = sum(len(part.readers) for part in node.parts if part.writer is None) * self.of_head
        delivered = inputs + (len(strands_of(node.parts)) if node.parents else 0)
        return delivered if _looks_back(node) else delivered * min(1.0, self.references / self.positions)

    def _computed(self, claim: BoundGraph, chunk: float) -> float:
        """Bytes that are held at once while a node is computed, with so many for a vector of all rows of a chunk."""
        own = max(len(strands_of(node.parts)) for node in claim.nodes.values())
        vectors = PUT_TOGETHER + own + 1 + max(HEADS, self.mlp)
        looks_back = any(_looks_back(node) for node in claim.nodes.values() if node.parents)
        return vectors * (chunk if looks_back else min(chunk, self.points))


def _looks_back(node: BoundNode) -> bool:
    return any(part.writer is not None and part.writer.kind == "head" for part in node.parts)


def fits(cost: Cost, memory: int | None, device: str = "cpu") -> bool:
    """Whether a run needs no more memory than `memory`, or than is free."""
    free = memory if memory is not None else free_memory(device)
    return free is None or cost.bytes <= free


def refuse_too_large(cost: Cost, memory: int | None, device: str = "cpu") -> None:
    """Refuse a run that would not fit.

    Raises:
        CapacityError: It needs more memory than `memory`, or than is free.
    """
    if not fits(cost, memory, device):
        allowed = memory if memory is not None else free_memory(device) or 0
        raise CapacityError(
            f"the run needs {size(cost.bytes)} of memory, but only {size(allowed)} may be used.\n"
            f"  Use fewer histories (`rows`), passes (`passes`) or rollouts (`rollouts`), or allow more (`memory`)."
        )
