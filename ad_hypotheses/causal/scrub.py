"""Causal scrubbing of a transformer, fast: every tree node is one partial forward pass over the whole dataset.

Chan et al. 2022, "Causal Scrubbing: a method for rigorously testing interpretability hypotheses". The definition that
this must agree with, number for number, is :mod:`ad_hypotheses.causal.oracle`. In short, for a node visited at a row:

    input at step s  =  what each declared parent delivers, visited at a donor that agrees on the parent's feature
                     +  the node's own earlier parts, as computed in this visit
                     +  everything else, clean, from one other row

A consumer gathers its donors from the tensor that the parent's visit to *all* rows made, so a node costs one partial
forward pass a pass, and a node without parents costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ad_hypotheses.causal.clean import Clean, Movement, Strand, along, chunks, gather, movement, plain_part, strands_of
from ad_hypotheses.causal.draws import Align, apart, classes, draw, draw_rows, uniforms
from ad_hypotheses.causal.twin import Stream
from ad_hypotheses.language.anatomy import Part, Reader
from ad_hypotheses.language.check import BoundGraph, TreePath

Others = Literal["joint", "independent"]
Delivery = dict[Strand | Reader, Stream]


@dataclass(frozen=True)
class Options:
    """What the specification leaves to choose.

    Attributes:
        others: `"joint"`: all unimportant inputs of a visit come from one other row. `"independent"`: each writer of
            each reader from a row of its own.
        self_donors: Whether a row may stand in for itself. It inflates what is recovered, the more the smaller the
            dataset.
        align: Whether donors come from the same step, the same step of any episode, or any step.
        shared: Draw a node once for all its consumers, instead of once for each (cheaper, and not what the paper does).
    """

    others: Others = "joint"
    self_donors: bool = False
    align: Align = "step"
    shared: bool = False


@dataclass
class Pass:
    """Outcome of one pass: every reference scrubbed once.

    Attributes:
        log_probs: Log-probabilities of every action. [row, step, action]
        root_moved: Mean norm of the change of the logits' input.
        root_moved_by_baseline: Mean norm of the change if the whole input came from the other row.
        movements: By tree path (consumer first); only where asked for.
    """

    log_probs: Float[np.ndarray, "row step action"]
    root_moved: float
    root_moved_by_baseline: float
    movements: dict[TreePath, Movement] = field(default_factory=dict)


class Scrubber:
    """Scrubs one hypothesis on one dataset, pass by pass.

    Args:
        clean: The model's own run over the dataset.
        bound: The hypothesis, bound to the model and the dataset.
        options: The choices of :class:`Options`.
        seed: Seed of all draws.
        halves: Rows that give each other no donors if they differ in it; None where every row may. [row]
    """

    def __init__(
        self,
        clean: Clean,
        bound: BoundGraph,
        options: Options | None = None,
        seed: int = 0,
        halves: Bool[np.ndarray, " row"] | None = None,
    ) -> None:
        self.clean, self.bound, self.seed = clean, bound, seed
        self.nodes, self.root = bound.nodes, bound.root
        self.options = options or Options()
        self.twin = clean.twin
        self._halves = None if halves is None else classes(halves.astype(np.int64))
        self._pass = 0
        self._shared: dict[str, Delivery] = {}
        self._movements: dict[TreePath, Movement] | None = None
        self.strands = {name: strands_of(node.parts) for name, node in bound.nodes.items()}
        self.readers = {name: [r for part in node.parts for r in part.readers] for name, node in bound.nodes.items()}
        self.classes = {
            name: classes(apart(node.labels, halves), node.selected, self.options.align, clean.history.episode_step)
            for name, node in bound.nodes.items()
            if node.labels is not None
        }
        groups = [group for strands in self.strands.values() for group in strands.values()]
        stages = {reader.stage for readers in self.readers.values() for reader in readers}
        if self.options.others == "independent":
            writers = self.twin.anatomy.writers
            groups += [(plain_part(writer),) for writer in writers if writer.stage < max(stages)]
            groups += [(part,) for node in bound.nodes.values() for part in node.parts if part.writer is not None]
            stages = {
                part.readers[0].stage for node in bound.nodes.values() for part in node.parts if part.writer is None
            }
        clean.prepare(stages | {self.twin.last_stage}, groups)

    def with_self_donors(self) -> Scrubber:
        """Return the same where a row may stand in for itself; all tables are shared."""
        allowed = copy(self)
        allowed.options = replace(self.options, self_donors=True)
        return allowed

    @torch.no_grad()
    def run(self, number: int, movements: bool = False, n_rows: int | None = None) -> Pass:
        """Scrub every reference once.

        Args:
            number: Number of the pass; with the seed it determines every draw.
            movements: Whether to measure how far each arrow moved, too.
            n_rows: How many references, the first ones; all by default. Donors come from all rows.
        """
        n_rows = self.clean.n_rows if n_rows is None else n_rows
        shape = (n_rows, self.clean.n_steps, self.twin.model.cfg.d_vocab)
        result = Pass(np.empty(shape, dtype=self.clean.log_probs.dtype), 0.0, 0.0)
        self._pass, self._shared = number, {}
        self._movements = result.movements if movements else None
        visit = _Visit(self, (self.root,), None if n_rows == self.clean.n_rows else np.arange(n_rows))
        root_stage = self.twin.last_stage
        moved = baseline = 0.0
        for rows, chunk in visit.chunks():
            x = chunk.compute_root()
            result.log_probs[rows] = self.twin.logits(x).log_softmax(-1).cpu().numpy()
            before = self.clean.seen(root_stage)
            moved += (x - before[rows]).norm(dim=-1).sum().item()
            baseline += (gather(before, chunk.other_rows) - before[rows]).norm(dim=-1).sum().item()
        positions = n_rows * self.clean.n_steps
        result.root_moved, result.root_moved_by_baseline = moved / positions, baseline / positions
        return result

    def logits(self, number: int) -> Float[Tensor, "row step action"]:
        """Scrub every reference once, as :meth:`run` does, and return the logits: differentiable if the clean run is.

        Args:
            number: Number of the pass.
        """
        self._pass, self._shared, self._movements = number, {}, None
        chunks = _Visit(self, (self.root,)).chunks()
        return torch.cat([self.twin.logits(chunk.compute_root()) for _, chunk in chunks])

    def deliver(self, path: TreePath, visited: np.ndarray | None = None) -> Delivery:
        """Visit the node at the end of `path`, at every row or those visited, and return what it delivers there."""
        name = path[-1]
        if not self.nodes[name].parents:
            return self.leaf(name)
        if self.options.shared and name in self._shared:
            return self._shared[name]
        visit = _Visit(self, path, visited)
        delivery = visit.room()
        for rows, chunk in visit.chunks():
            for key, value in chunk.compute().items():
                delivery[key][rows] = value
        if self.options.shared:
            self._shared[name] = delivery
        return delivery

    def leaf(self, name: str) -> Delivery:
        """Return what a node without parents delivers: its sites as the model computes them."""
        delivery: Delivery = {strand: self.clean.written(group) for strand, group in self.strands[name].items()}
        for part in self.nodes[name].parts:
            for reader in part.readers if part.writer is None else ():
                seen = self.clean.seen(reader.stage)
                inputs = (self.twin.head_input(reader, self.twin.normalise(reader.stage, x)) for x in seen.split(64))
                delivery[reader] = torch.cat(list(inputs))
        return delivery

    def key(self, path: TreePath) -> TreePath:
        """Return what the draws of a visit depend on: the tree path, or the node alone if its draws are shared."""
        return path[-1:] if self.options.shared else path

    def uniforms(self, path: TreePath, table: str, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
        """Return the uniform numbers behind one table of a visit."""
        return uniforms(self.seed, (self._pass, *self.key(path), table), shape)

    def donors(self, path: TreePath, parent: str) -> Int[np.ndarray, " row *step"]:
        """Draw the table of donors of a declared parent."""
        pools = self.classes[parent]
        return draw(pools, self.uniforms(path, f"<{parent}", pools.size.shape), self.options.self_donors)

    def other_rows(self, path: TreePath, table: str = "other") -> Int[Tensor, " row"]:
        """Draw the rows that unimportant inputs of a visit come from."""
        u = self.uniforms(path, table, (self.clean.n_rows,))
        own = self.options.self_donors
        rows = draw_rows(self.clean.n_rows, u, own) if self._halves is None else draw(self._halves, u, own)
        return torch.from_numpy(rows).to(self.clean.tokens.device)

    def measure(self, path: TreePath, parent: str, donors: np.ndarray, delivery: Delivery) -> None:
        """Record how far an arrow moved, if this pass is asked to."""
        if self._movements is not None:
            node, before = self.nodes[parent], self.leaf(parent)
            self._movements[(*path, parent)] = movement(self.clean, node.selected, donors, before, delivery)


@dataclass
class _Arrow:
    """One declared parent of a visit, with its donors and what it delivers at every row."""

    parent: str
    donors: Int[Tensor, " row *step"]
    selected: Bool[Tensor, "row step"] | None
    delivery: Delivery

    def gather(self, key: Strand | Reader, rows: slice | Tensor) -> Stream:
        return gather(self.delivery[key], self.donors[rows])


class _Visit:
    """One tree node of one pass, at every row or those visited: its tables, and what its parents deliver."""

    def __init__(self, scrubber: Scrubber, path: TreePath, visited: np.ndarray | None = None) -> None:
        self.scrubber, self.path, self.name, self.visited = scrubber, path, path[-1], visited
        self.other = scrubber.other_rows(path)
        self.others: dict[tuple[Reader, object], Tensor] = {}
        self.arrows = [self._arrow(parent) for parent in scrubber.nodes[self.name].parents]

    def _arrow(self, parent: str) -> _Arrow:
        scrubber, device = self.scrubber, self.scrubber.clean.tokens.device
        donors = scrubber.donors(self.path, parent)
        delivery = scrubber.deliver((*self.path, parent), self._come_to(donors))
        scrubber.measure(self.path, parent, donors, delivery)
        selected = scrubber.nodes[parent].selected
        mask = None if selected is None else torch.from_numpy(selected).to(device)
        return _Arrow(parent, torch.from_numpy(donors).to(device), mask, delivery)

    def _come_to(self, donors: Int[np.ndarray, " row *step"]) -> np.ndarray | None:
        """Return the rows at which a parent is visited from here: there is no need to visit it anywhere else."""
        scrubber, n_steps = self.scrubber, self.scrubber.clean.n_steps
        if scrubber.options.shared or scrubber._movements is not None:
            return None  # others look at it too
        drawn = donors if self.visited is None else donors[self.visited]
        reached = np.zeros(scrubber.clean.n_rows, dtype=bool)
        reached[drawn if donors.ndim == 1 else drawn // n_steps] = True
        return None if reached.all() else np.flatnonzero(reached)

    def chunks(self) -> Iterator[tuple[slice | Tensor, _Chunk]]:
        clean, visited = self.scrubber.clean, self.visited
        for rows in clean.chunks() if visited is None else chunks(len(visited), clean.n_steps):
            visited_rows = rows if visited is None else torch.from_numpy(visited[rows]).to(clean.tokens.device)
            yield visited_rows, _Chunk(self, visited_rows)

    def room(self) -> Delivery:
        """Return memory for what the node delivers at every row."""
        scrubber, d_head = self.scrubber, self.scrubber.twin.model.cfg.d_head
        room: Delivery = {strand: scrubber.clean.empty() for strand in scrubber.strands[self.name]}
        for part in scrubber.nodes[self.name].parts:
            if part.writer is None:
                room |= {reader: scrubber.clean.empty(d_head) for reader in part.readers}
        return room

    def other_for(self, reader: Reader, writer: object) -> Int[Tensor, " row"]:
        """Return the table of one writer at one reader, with independent others."""
        if (reader, writer) not in self.others:
            self.others[reader, writer] = self.scrubber.other_rows(self.path, f"other {reader} {writer}")
        return self.others[reader, writer]


class _Chunk:
    """A visit at some rows: inputs are put together, and the node's parts computed in the order of their stages."""

    def __init__(self, visit: _Visit, rows: slice | Tensor) -> None:
        self.visit, self.rows = visit, rows
        self.scrubber, self.clean, self.twin = visit.scrubber, visit.scrubber.clean, visit.scrubber.twin
        self.other_rows = visit.other[rows]
        self.parts = self.scrubber.nodes[visit.name].parts
        self.own: Delivery = {}
        self._inputs: dict[object, Stream] = {}

    def compute(self) -> Delivery:
        """Compute all parts and return what the node delivers."""
        by_stage: dict[int, list[Part]] = {}
        for part in self.parts:
            stage = part.writer.stage if part.writer is not None else part.readers[0].stage
            by_stage.setdefault(stage, []).append(part)
        for stage in sorted(by_stage):
            self._compute_stage(by_stage[stage])
        return self.own

    def compute_root(self) -> Stream:
        """Compute the root's parts before the logits, and return what the logits see."""
        logits = self.twin.anatomy.logits
        self.parts = tuple(part for part in self.parts if logits not in part.readers)
        self.compute()
        return self._seen(logits)

    def _compute_stage(self, parts: list[Part]) -> None:
        inputs_only = [part for part in parts if part.writer is None]
        for part in inputs_only:
            self.own |= {reader: self._head_input(reader) for reader in part.readers}
        for strand, group in strands_of(parts).items():
            if strand.stage == 0:
                self.own[strand] = self.clean.written(group)[self.rows]
                continue
            whole = [part for part in group if part.directions is None]
            written = [along(part, self._write([part])) for part in group if part.directions is not None]
            written += [self._write(whole)] if whole else []
            self.own[strand] = sum(written[1:], start=written[0])

    def _write(self, parts: list[Part]) -> Stream:
        """Return what some parts of one stage write together in this visit."""
        writer = parts[0].writer
        assert writer is not None
        if writer.kind == "mlp":
            return self.twin.mlp(writer.layer, self._normalised(parts[0].readers[0]))
        heads = [part.writer.head for part in parts if part.writer is not None]
        q, k, v = (self._head_inputs([part.readers[number] for part in parts]) for number in range(3))
        return self.twin.head_sum(writer.layer, heads, q, k, v)

    def _head_inputs(self, readers: list[Reader]) -> Float[Tensor, "batch step head d_head"]:
        """Return the queries, keys or values of some heads of a layer: at once, if all see the same."""
        replaced = any(reader in arrow.delivery for arrow in self.visit.arrows for reader in readers)
        if replaced or len({self._signature(reader) for reader in readers}) > 1:
            return torch.stack([self._head_input(reader) for reader in readers], dim=2)
        first, heads = readers[0], [reader.head for reader in readers]
        return self.twin.head_inputs(first.layer, first.kind, heads, self._normalised(first))

    def _head_input(self, reader: Reader) -> Float[Tensor, "batch step d_head"]:
        """A head's query, key or value: from the node at that input, if one is declared, else from what it sees."""
        for arrow in self.visit.arrows:
            if reader in arrow.delivery:
                return self._replaced(arrow, reader)
        return self.twin.head_input(reader, self._normalised(reader))

    def _replaced(self, arrow: _Arrow, reader: Reader) -> Float[Tensor, "batch step d_head"]:
        value = arrow.gather(reader, self.rows)
        if arrow.selected is None:
            return value
        unselected = self.twin.head_input(reader, self.twin.normalise(reader.stage, self._everything(reader)))
        return torch.where(arrow.selected[self.rows][..., None], value, unselected)

    def _normalised(self, reader: Reader) -> Stream:
        if self.scrubber.options.others == "independent":  # no other reader sees the same
            return self.twin.normalise(reader.stage, self._seen(reader))
        key = (reader.stage, self._signature(reader))
        if key not in self._inputs:
            self._inputs[key] = self.twin.normalise(reader.stage, self._seen(reader))
        return self._inputs[key]

    def _signature(self, reader: Reader) -> object:
        """Readers of a stage with the same signature see the same."""
        if self.scrubber.options.others == "independent":
            return reader
        keys = [key for arrow in self.visit.arrows for key in arrow.delivery] + list(self.own)
        return frozenset(key.to for key in keys if isinstance(key, Strand) and key.feeds(reader))

    def _seen(self, reader: Reader) -> Stream:
        """Return the sum that a reader sees in this visit."""
        x = self._everything(reader)
        for arrow in self.visit.arrows:
            for key in arrow.delivery:
                if isinstance(key, Strand) and key.feeds(reader):
                    parts = self.scrubber.strands[arrow.parent][key]
                    change = arrow.gather(key, self.rows).sub_(self._unimportant(parts, reader))
                    x += change if arrow.selected is None else change * arrow.selected[self.rows][..., None]
        for key, value in self.own.items():
            if isinstance(key, Strand) and key.feeds(reader):
                x += value
                x -= self._unimportant(self.scrubber.strands[self.visit.name][key], reader)
        return x

    def _everything(self, reader: Reader) -> Stream:
        """Return what a reader would see if all its inputs were unimportant."""
        if self.scrubber.options.others == "joint":
            return gather(self.clean.seen(reader.stage), self.other_rows)
        first, *others = (writer for writer in self.twin.anatomy.writers if writer.feeds(reader))
        total = self._unimportant((plain_part(first),), reader)
        for writer in others:  # one by one: all of them at once take most room
            total = total + self._unimportant((plain_part(writer),), reader)
        return sum((self.twin.attention_bias(layer) for layer in range(reader.stage // 2)), start=total)

    def _unimportant(self, parts: tuple[Part, ...], reader: Reader) -> Stream:
        """Return what some parts write where a reader takes them from other rows."""
        if self.scrubber.options.others == "joint":
            return gather(self.clean.written(parts), self.other_rows)
        tables = [self.visit.other_for(reader, part.writer)[self.rows] for part in parts]
        streams = [gather(self.clean.written((part,)), rows) for part, rows in zip(parts, tables, strict=True)]
        return sum(streams[1:], start=streams[0])
