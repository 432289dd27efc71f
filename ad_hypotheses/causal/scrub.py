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

from ad_hypotheses.causal.clean import (
    CHUNK_TOKENS,
    Clean,
    Group,
    Movement,
    Strand,
    along,
    gather,
    plain_part,
    strands_of,
)
from ad_hypotheses.causal.draws import Align, classes, draw, uniforms
from ad_hypotheses.causal.twin import Stream
from ad_hypotheses.language.anatomy import Part, Reader
from ad_hypotheses.language.check import BoundGraph, BoundNode, TreePath

Others = Literal["joint", "independent"]


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


@dataclass(frozen=True, eq=False)
class Delivery:
    """What a node delivers to its consumers, at every position of the dataset or at those where it was visited.

    Attributes:
        streams: What each strand writes, and each query, key or value that the node sits at. [visited, d]
        places: Where each position of the dataset stands among those visited; None if all were, in order. [position]
    """

    streams: dict[Strand | Reader, Float[Tensor, "visited d"]]
    places: Int[Tensor, " position"] | None = None

    def at(self, key: Strand | Reader, positions: Int[Tensor, "*reference"]) -> Float[Tensor, "*reference d"]:
        """Return what is delivered at some positions `row * n_steps + step`, which were visited."""
        flat = positions.flatten()
        places = flat if self.places is None else self.places[flat]
        return self.streams[key].index_select(0, places).unflatten(0, positions.shape)


class Scrubber:
    """Scrubs one hypothesis on one dataset, pass by pass.

    Args:
        clean: The model's own run over the dataset, references and donors.
        bound: The hypothesis, bound to the model and the dataset.
        options: The choices of :class:`Options`.
        seed: Seed of all draws.
        pool: Rows that may be donors; those of the clean run if None. [row]
    """

    def __init__(
        self,
        clean: Clean,
        bound: BoundGraph,
        options: Options | None = None,
        seed: int = 0,
        pool: Bool[np.ndarray, " row"] | None = None,
    ) -> None:
        self.clean, self.bound, self.seed = clean, bound, seed
        self.nodes, self.root = bound.nodes, bound.root
        self.options = options or Options()
        self.twin = clean.twin
        self._pass = 0
        self._shared: dict[str, Delivery] = {}
        self._movements: dict[TreePath, Movement] | None = None
        pool = clean.pool if pool is None else pool
        self.strands = {name: strands_of(node.parts) for name, node in bound.nodes.items()}
        self.classes = {
            name: classes(node.labels, node.selected, self.options.align, clean.history.episode_step, pool)
            for name, node in bound.nodes.items()
            if node.labels is not None
        }
        self.any_row = classes(np.zeros(clean.n_rows, dtype=np.int64), pool=pool)
        self._prepare()

    def _prepare(self) -> None:
        """Have the clean run keep what visits will gather from it."""
        groups = [group for strands in self.strands.values() for group in strands.values()]
        inputs = [part for node in self.nodes.values() for part in node.parts if part.writer is None]
        stages = {reader.stage for part in inputs for reader in part.readers} | {self.twin.last_stage}
        if self.options.others == "independent":
            last = max(reader.stage for node in self.nodes.values() for part in node.parts for reader in part.readers)
            groups += [(plain_part(writer),) for writer in self.twin.anatomy.writers if writer.stage < last]
            groups += [(part,) for node in self.nodes.values() for part in node.parts if part.writer is not None]
            self.clean.prepare(stages, groups)
            return
        consumers = [node for node in self.nodes.values() if node.parents or node.name == self.root]
        readers = [(node, reader) for node in consumers for part in node.parts for reader in part.readers]
        self.clean.prepare(stages, groups, [(reader.stage, self.declared(node, reader)) for node, reader in readers])

    def declared(self, node: BoundNode, reader: Reader) -> tuple[Group, ...]:
        """Return what a reader of a node sees of the node's parents and of the node itself."""
        return tuple(
            group
            for name in (*node.parents, node.name)
            for strand, group in self.strands[name].items()
            if strand.feeds(reader)
        )

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
            n_rows: How many references, the first ones; all by default.
        """
        n_rows = len(range(self.clean.n_rows)[self.clean.references]) if n_rows is None else n_rows
        result = Pass(np.empty(0), 0.0, 0.0)
        self._pass, self._shared = number, {}
        self._movements = result.movements if movements else None
        visit = _Visit(self, (self.root,), torch.arange(n_rows * self.clean.n_steps, device=self.device))
        before = self.clean.seen(self.twin.last_stage)
        log_probs, moved, baseline = [], torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for chunk in visit.chunks():
            x = chunk.compute_root()
            log_probs.append(self.twin.logits(x).log_softmax(-1).flatten(0, 1))
            own = gather(before, chunk.positions)
            moved += (x - own).norm(dim=-1).sum()
            baseline += (gather(before, chunk.other) - own).norm(dim=-1).sum()
        result.log_probs = torch.cat(log_probs).unflatten(0, (n_rows, self.clean.n_steps)).cpu().numpy()
        result.root_moved, result.root_moved_by_baseline = (
            float(total) / (n_rows * self.clean.n_steps) for total in (moved, baseline)
        )
        return result

    def logits(self, number: int) -> Float[Tensor, "row step action"]:
        """Scrub every row once, as :meth:`run` does, and return the logits: differentiable if the clean run is.

        Args:
            number: Number of the pass.
        """
        self._pass, self._shared, self._movements = number, {}, None
        visit = _Visit(self, (self.root,), self.everywhere)
        logits = torch.cat([self.twin.logits(chunk.compute_root()).flatten(0, 1) for chunk in visit.chunks()])
        return logits.unflatten(0, (self.clean.n_rows, self.clean.n_steps))

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.clean.tokens.device

    @property
    def everywhere(self) -> Int[Tensor, " position"]:
        """All positions of the dataset."""
        return torch.arange(self.clean.n_rows * self.clean.n_steps, device=self.device)

    def deliver(self, path: TreePath, positions: Int[Tensor, " visited"]) -> Delivery:
        """Visit the node at the end of `path` and return what it delivers.

        Args:
            path: Tree path, from the root.
            positions: Where it is drawn; it may be visited at more positions.
        """
        name = path[-1]
        if not self.nodes[name].parents:
            return self.leaf(name)
        if not self.options.shared:
            return _Visit(self, path, positions).deliver()
        if name not in self._shared:  # other consumers will come to other positions
            self._shared[name] = _Visit(self, path, self.everywhere).deliver()
        return self._shared[name]

    def leaf(self, name: str) -> Delivery:
        """Return what a node without parents delivers: its sites as the model computes them."""
        streams: dict[Strand | Reader, Tensor] = {
            strand: self.clean.written(group).flatten(0, 1) for strand, group in self.strands[name].items()
        }
        for part in self.nodes[name].parts:
            for reader in part.readers if part.writer is None else ():
                seen = self.clean.seen(reader.stage)
                inputs = (self.twin.head_input(reader, self.twin.normalise(reader.stage, x)) for x in seen.split(64))
                streams[reader] = torch.cat(list(inputs)).flatten(0, 1)
        return Delivery(streams)

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
        rows = draw(self.any_row, self.uniforms(path, table, (self.clean.n_rows,)), self.options.self_donors)
        return torch.from_numpy(rows).to(self.device)

    def positions_of(
        self, donors: Int[np.ndarray, " row *step"], at: Int[Tensor, "*visited"]
    ) -> Int[Tensor, "*visited"]:
        """Return where a table of donors leads from some positions: a donor row is visited at the same step."""
        table, n_steps = torch.from_numpy(donors).to(self.device), self.clean.n_steps
        return table[at // n_steps] * n_steps + at % n_steps if donors.ndim == 1 else table.flatten()[at]

    def measure(self, path: TreePath, arrow: _Arrow, positions: Int[Tensor, " visited"]) -> None:
        """Record how far an arrow moved, if this pass is asked to."""
        if self._movements is None:
            return
        before, donors = self.leaf(arrow.parent), arrow.donors.flatten()
        positions = positions.flatten()
        if arrow.selected is not None:
            selected = arrow.selected[positions]
            positions, donors = positions[selected], donors[selected]
        moved = spread = norm = torch.zeros((), device=self.device)
        for at, drawn in zip(positions.split(CHUNK_TOKENS), donors.split(CHUNK_TOKENS), strict=True):
            for key in before.streams:
                own = before.at(key, at)
                moved = moved + (arrow.delivery.at(key, drawn) - own).norm(dim=-1).sum()
                spread = spread + (before.at(key, drawn) - own).norm(dim=-1).sum()
                norm = norm + own.norm(dim=-1).sum()
        swapped = (
            (donors // self.clean.n_steps != positions // self.clean.n_steps).float().mean() if len(donors) else 0.0
        )
        relative = (float(moved / norm), float(spread / norm)) if norm else (np.nan, np.nan)
        self._movements[(*path, arrow.parent)] = Movement(float(swapped), *relative)


@dataclass
class _Arrow:
    """One declared parent of a visit: where each visited position draws it, and what it delivers there.

    Attributes:
        parent: Name of the parent.
        donors: Positions that stand in for those visited; as they are arranged.
        selected: Positions of the dataset at which the parent speaks; None for all. [position]
        delivery: What the parent delivers.
    """

    parent: str
    donors: Int[Tensor, "*visited"]
    selected: Bool[Tensor, " position"] | None
    delivery: Delivery


class _Visit:
    """One tree node of one pass, at some positions: its tables, and what its parents deliver.

    A node with heads is visited at all steps of the rows that the positions belong to, since heads look back; any
    other only at the positions themselves.
    """

    def __init__(self, scrubber: Scrubber, path: TreePath, positions: Int[Tensor, " visited"]) -> None:
        self.scrubber, self.path, self.node = scrubber, path, scrubber.nodes[path[-1]]
        self.n_steps = scrubber.clean.n_steps
        self.looks_back = any(part.writer is not None and part.writer.kind == "head" for part in self.node.parts)
        if self.looks_back:
            rows = torch.zeros(scrubber.clean.n_rows, dtype=torch.bool, device=positions.device)
            rows[positions // self.n_steps] = True
            steps = torch.arange(self.n_steps, device=positions.device)
            positions = rows.nonzero() * self.n_steps + steps
        self.positions = positions
        self.other = scrubber.other_rows(path)
        self.others: dict[tuple[Reader, object], Tensor] = {}
        self.arrows = [self._arrow(parent) for parent in self.node.parents]

    def _arrow(self, parent: str) -> _Arrow:
        scrubber = self.scrubber
        donors = scrubber.positions_of(scrubber.donors(self.path, parent), self.positions)
        mask = scrubber.nodes[parent].selected
        selected = None if mask is None else torch.from_numpy(mask).to(donors.device).flatten()
        reached = donors if selected is None else donors[selected[self.positions]]
        if reached.numel():
            delivery = scrubber.deliver((*self.path, parent), _distinct(reached, scrubber.clean.n_rows * self.n_steps))
        else:
            delivery = scrubber.leaf(parent)  # which nobody reads
        if selected is not None and reached.numel():  # elsewhere something is gathered that nobody reads
            donors = torch.where(selected[self.positions], donors, reached[0])
        arrow = _Arrow(parent, donors, selected, delivery)
        scrubber.measure(self.path, arrow, self.positions)
        return arrow

    def chunks(self) -> Iterator[_Chunk]:
        """Return the visited positions in parts that are computed together."""
        clean, size = self.scrubber.clean, max(1, CHUNK_TOKENS // self.n_steps)
        if not self.looks_back:
            size = clean.points_at_once
        for first in range(0, len(self.positions), size):
            yield _Chunk(self, slice(first, first + size))

    def deliver(self) -> Delivery:
        """Compute the node at all visited positions."""
        clean, flat = self.scrubber.clean, self.positions.flatten()
        streams: dict[Strand | Reader, Tensor] = {}
        first = 0
        for chunk in self.chunks():
            computed = chunk.compute()
            for key, value in computed.items():
                if key not in streams:
                    streams[key] = value.new_empty(len(flat), value.shape[-1])
                streams[key][first : first + chunk.positions.numel()] = value.flatten(0, 1)
            first += chunk.positions.numel()
        n_positions = clean.n_rows * self.n_steps
        if len(flat) == n_positions:
            return Delivery(streams)
        places = torch.zeros(n_positions, dtype=torch.int64, device=flat.device)
        places[flat] = torch.arange(len(flat), device=flat.device)
        return Delivery(streams, places)

    def other_for(self, reader: Reader, writer: object) -> Int[Tensor, " row"]:
        """Return the table of one writer at one reader, with independent others."""
        if (reader, writer) not in self.others:
            self.others[reader, writer] = self.scrubber.other_rows(self.path, f"other {reader} {writer}")
        return self.others[reader, writer]


def _distinct(positions: Int[Tensor, "*drawn"], n_positions: int) -> Int[Tensor, " distinct"]:
    """Return which positions of a dataset are among those drawn, in order."""
    drawn = torch.zeros(n_positions, dtype=torch.bool, device=positions.device)
    drawn[positions.flatten()] = True
    return drawn.nonzero()[:, 0]


class _Chunk:
    """A visit at some positions: inputs are put together, and the node's parts computed in the order of their stages.

    Attributes:
        positions: The positions. [row, step], or [1, position] where no step looks at another
    """

    def __init__(self, visit: _Visit, part: slice) -> None:
        self.visit, self.part = visit, part
        self.scrubber, self.clean, self.twin = visit.scrubber, visit.scrubber.clean, visit.scrubber.twin
        self.positions = self._of(visit.positions)
        self.other = self._from(visit.other)
        self.parts = visit.node.parts
        self.own: dict[Strand | Reader, Stream] = {}
        self._inputs: dict[object, Stream] = {}

    def _of(self, table: Int[Tensor, " visited *step"]) -> Int[Tensor, "batch step"]:
        """Return the part of a table over the visited positions that belongs to this chunk."""
        return table[self.part] if self.visit.looks_back else table[self.part][None]

    def _from(self, rows: Int[Tensor, " row"]) -> Int[Tensor, "batch step"]:
        """Return the positions, at the same steps, of the rows that stand in for those of this chunk."""
        n_steps = self.visit.n_steps
        return rows[self.positions // n_steps] * n_steps + self.positions % n_steps

    def compute(self) -> dict[Strand | Reader, Stream]:
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
                self.own[strand] = gather(self.clean.written(group), self.positions)
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
        replaced = any(reader in arrow.delivery.streams for arrow in self.visit.arrows for reader in readers)
        if replaced or len({self._signature(reader) for reader in readers}) > 1:
            return torch.stack([self._head_input(reader) for reader in readers], dim=2)
        first, heads = readers[0], [reader.head for reader in readers]
        return self.twin.head_inputs(first.layer, first.kind, heads, self._normalised(first))

    def _head_input(self, reader: Reader) -> Float[Tensor, "batch step d_head"]:
        """A head's query, key or value: from the node at that input, if one is declared, else from what it sees."""
        for arrow in self.visit.arrows:
            if reader in arrow.delivery.streams:
                return self._replaced(arrow, reader)
        return self.twin.head_input(reader, self._normalised(reader))

    def _replaced(self, arrow: _Arrow, reader: Reader) -> Float[Tensor, "batch step d_head"]:
        value = self._delivered(arrow, reader)
        if arrow.selected is None:
            return value
        unselected = self.twin.head_input(reader, self.twin.normalise(reader.stage, self._everything(reader)))
        return torch.where(arrow.selected[self.positions][..., None], value, unselected)

    def _delivered(self, arrow: _Arrow, key: Strand | Reader) -> Float[Tensor, "batch step d"]:
        """Return what a parent delivers at the donors of this chunk."""
        return arrow.delivery.at(key, self._of(arrow.donors))

    def _normalised(self, reader: Reader) -> Stream:
        if self.scrubber.options.others == "independent":  # no other reader sees the same
            return self.twin.normalise(reader.stage, self._seen(reader))
        key = (reader.stage, self._signature(reader))
        if key not in self._inputs:
            self._inputs[key] = self.twin.normalise(reader.stage, self._seen(reader))
        return self._inputs[key]

    def _signature(self, reader: Reader) -> object:
        """Readers of a stage with the same signature see the same."""
        return reader if self.scrubber.options.others == "independent" else self._declared(reader)

    def _declared(self, reader: Reader) -> tuple[Group, ...]:
        return self.scrubber.declared(self.visit.node, reader)

    def _seen(self, reader: Reader) -> Stream:
        """Return the sum that a reader sees in this visit."""
        joint = self.scrubber.options.others == "joint"
        if joint:
            x = gather(self.clean.rest(reader.stage, self._declared(reader)), self.other)
        else:
            x = self._everything(reader)
        for arrow in self.visit.arrows:
            for key, group in self.scrubber.strands[arrow.parent].items():
                if not key.feeds(reader):
                    continue
                value = self._delivered(arrow, key)
                if arrow.selected is not None:
                    value = torch.where(
                        arrow.selected[self.positions][..., None], value, self._unimportant(group, reader)
                    )
                x = x + value if joint else x + (value - self._unimportant(group, reader))
        for key, value in self.own.items():
            if isinstance(key, Strand) and key.feeds(reader):
                group = self.scrubber.strands[self.visit.node.name][key]
                x = x + value if joint else x + (value - self._unimportant(group, reader))
        return x

    def _everything(self, reader: Reader) -> Stream:
        """Return what a reader would see if all its inputs were unimportant."""
        if self.scrubber.options.others == "joint":
            return gather(self.clean.seen(reader.stage), self.other)
        first, *others = (writer for writer in self.twin.anatomy.writers if writer.feeds(reader))
        total = self._unimportant((plain_part(first),), reader)
        for writer in others:  # one by one: all of them at once take most room
            total = total + self._unimportant((plain_part(writer),), reader)
        return sum((self.twin.attention_bias(layer) for layer in range(reader.stage // 2)), start=total)

    def _unimportant(self, parts: Group, reader: Reader) -> Stream:
        """Return what some parts write where a reader takes them from other rows."""
        if self.scrubber.options.others == "joint":
            return gather(self.clean.written(parts), self.other)
        tables = [self._from(self.visit.other_for(reader, part.writer)) for part in parts]
        streams = [gather(self.clean.written((part,)), rows) for part, rows in zip(parts, tables, strict=True)]
        return sum(streams[1:], start=streams[0])
