"""Causal scrubbing of a transformer, fast: every tree node is at most one partial forward pass over the whole dataset.

Chan et al. 2022, "Causal Scrubbing: a method for rigorously testing interpretability hypotheses". The definition that
this must agree with, number for number, is :mod:`ad_hypotheses.causal.oracle`. In short, for a node visited at a row:

    input at step s  =  what each declared parent delivers, visited at a donor that agrees on the parent's feature
                     +  the node's own earlier parts, as computed in this visit
                     +  everything else, clean, from one other row

A consumer gathers its donors from what the parent's visit made of all positions that are drawn, so a node costs one
partial forward pass over these, and a node without parents costs nothing.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ad_hypotheses.causal.clean import CHUNK_TOKENS, Clean, gather, is_looked_up
from ad_hypotheses.causal.draws import Align, Classes, classes, draw, uniforms
from ad_hypotheses.causal.twin import Stream
from ad_hypotheses.causal.visit import Chunk, Delivery, DrawnParent, Visit
from ad_hypotheses.distill.finite import require_finite
from ad_hypotheses.language.anatomy import Group, Reader, Strand, plain_part, strands_of
from ad_hypotheses.language.check import BoundGraph, BoundNode, TreePath

Others = Literal["joint", "independent"]
_Measured = tuple[float | Tensor, ...]
"""What a `Movement` is made from, where the model computes: the host is not to wait for it within a pass."""


@dataclass(frozen=True, kw_only=True)
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
class Movement:
    """How much of one arrow of the tree was really tested, in one pass.

    Attributes:
        swapped: Share of the draws whose donor is another row.
        moved: Mean norm of the change of what the parent delivers, relative to the norm of what it delivers.
        spread: Mean norm of the change for clean donors, likewise relative: how different the site is among histories
            that agree on the feature.
    """

    swapped: float
    moved: float
    spread: float


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


@dataclass(frozen=True)
class PastChange:
    """How much a symmetry changed in one table of one pass.

    Attributes:
        positions: Share of the positions for which it made another past.
        tokens: Share of the tokens of these pasts that it changed.
    """

    positions: float
    tokens: float


class Scrubber:
    """Scrubs one hypothesis on one dataset, pass by pass.

    Args:
        clean: The model's own run over the dataset, references and donors.
        bound: The hypothesis, bound to the model and the dataset.
        options: The choices of :class:`Options`.
        seed: Seed of all draws.
        pool: Rows that may be donors; those of the clean run if None. [row]

    Attributes:
        changes: How much was changed where donors were made, in the last pass, by tree path.
    """

    makes_donors: ClassVar[bool] = False

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
        assert not bound.made or self.makes_donors, "made donors need a MadeScrubber"
        self._pass = 0
        self._shared: dict[str, Delivery] = {}
        self._movements: dict[TreePath, _Measured] | None = None
        self.changes: dict[TreePath, PastChange] = {}
        pool = clean.pool if pool is None else pool
        self.strands = {name: strands_of(node.parts) for name, node in bound.nodes.items()}
        self.classes: dict[str, Classes] = {}
        for name, node in bound.nodes.items():
            if node.labels is not None and node.symmetry is None:
                alike = (other for other in self.classes if self.nodes[other].agrees_where(node))
                same = next(alike, None)
                how = (self.options.align, clean.history.episode_step, pool)
                self.classes[name] = self.classes[same] if same else classes(node.labels, node.selected, *how)
        self.any_row = classes(np.zeros(clean.n_rows, dtype=np.int64), pool=pool)
        self._prepare()

    def _prepare(self) -> None:
        """Have the clean run keep what visits will gather from it."""
        groups = [group for strands in self.strands.values() for group in strands.values()]
        inputs = [part for node in self.nodes.values() for part in node.parts if part.writer is None]
        stages = {reader.stage for part in inputs for reader in part.readers} | {self.twin.last_stage}
        if self.options.others == "independent":
            last = max(reader.stage for node in self.nodes.values() for part in node.parts for reader in part.readers)
            alone = [plain_part(writer) for writer in self.twin.anatomy.writers if writer.stage < last]
            alone += [part for node in self.nodes.values() for part in node.parts if part.writer is not None]
            self.clean.prepare(stages, [*groups, *((part,) for part in alone if not is_looked_up(part))])
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
        n_rows = self.clean.n_explained if n_rows is None else n_rows
        recorded: dict[TreePath, _Measured] = {}
        self._pass, self._shared = number, {}
        self._movements = recorded if movements else None
        visit = Visit(self, (self.root,), self.positions_asked(n_rows))
        before = self.clean.seen(self.twin.last_stage)
        log_probs, moved, baseline = [], torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for chunk in visit.chunks():
            x = chunk.compute_root()
            log_probs.append(self.predicted(chunk, x).flatten(0, 1))
            own = gather(before, chunk.positions)
            moved += (x - own).norm(dim=-1).sum()
            baseline += (gather(before, chunk.other) - own).norm(dim=-1).sum()
        n_positions = max(1, visit.positions.numel())
        whole = self._checked(torch.cat(log_probs))
        scrubbed = self.arranged(whole, visit.positions.flatten(), n_rows)
        return Pass(
            scrubbed,
            float(moved) / n_positions,
            float(baseline) / n_positions,
            {path: Movement(*map(float, figures)) for path, figures in recorded.items()},
        )

    def _checked(self, computed: Tensor) -> Tensor:
        """Refuse what is not finite, once a pass: the host would wait for every chunk of a device."""
        return computed if self.clean.on_host else require_finite(computed, self.twin.model, "the logits")

    def positions_asked(self, n_rows: int) -> Int[Tensor, " position"]:
        """Return the positions of the first references that a pass scrubs: all of them."""
        return torch.arange(n_rows * self.clean.n_steps, device=self.device)

    def predicted(self, chunk: Chunk, x: Stream) -> Float[Tensor, "batch step action"]:
        """Return the log-probabilities of what the logits see at some positions."""
        return self.twin.logits(x, checked=self.clean.on_host).log_softmax(-1)

    def arranged(
        self, log_probs: Float[Tensor, "position action"], positions: Int[Tensor, " position"], n_rows: int
    ) -> Float[np.ndarray, "row step action"]:
        """Return the log-probabilities of the positions of a pass by row and step."""
        return log_probs.unflatten(0, (n_rows, self.clean.n_steps)).cpu().numpy()

    def made_arrow(self, visit: Visit, parent: str) -> DrawnParent:
        """Make the donors of a parent for a visit: where donors are found, there are none to make."""
        raise NotImplementedError

    def has_made(self, n_references: int) -> dict[str, Bool[np.ndarray, "row step"]]:
        """Return at which of the first references the donors of each node could be made; nothing is made here."""
        return {}

    def logits(self, number: int) -> Float[Tensor, "row step action"]:
        """Scrub every row once, as :meth:`run` does, and return the logits: differentiable if the clean run is.

        Args:
            number: Number of the pass.
        """
        self._pass, self._shared, self._movements = number, {}, None
        visit = Visit(self, (self.root,), self.everywhere)
        seen = (chunk.compute_root() for chunk in visit.chunks())
        logits = torch.cat([self.twin.logits(x, checked=self.clean.on_host).flatten(0, 1) for x in seen])
        return self._checked(logits).unflatten(0, (self.clean.n_rows, self.clean.n_steps))

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
            return Visit(self, path, positions).deliver()
        if name not in self._shared:  # other consumers will come to other positions
            self._shared[name] = Visit(self, path, self.everywhere).deliver()
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

    def donors_at(self, path: TreePath, parent: str, at: Int[Tensor, "*visited"]) -> Int[Tensor, "*visited"]:
        """Return where the table of donors of a declared parent leads from some positions."""
        pools = self.classes[parent]
        if pools.history_level or not self.clean.on_host:  # elsewhere it would have to wait for the positions
            return self.positions_of(self.donors(path, parent), at)
        u = self.uniforms(path, f"<{parent}", pools.size.shape)
        return torch.from_numpy(draw(pools, u, self.options.self_donors, at.numpy()))

    def other_rows(self, path: TreePath, table: str = "other") -> Int[Tensor, " row"]:
        """Draw the rows that unimportant inputs of a visit come from."""
        rows = draw(self.any_row, self.uniforms(path, table, (self.clean.n_rows,)), self.options.self_donors)
        return self.clean.there(rows)

    def positions_of(
        self, donors: Int[np.ndarray, " row *step"], at: Int[Tensor, "*visited"]
    ) -> Int[Tensor, "*visited"]:
        """Return where a table of donors leads from some positions: a donor row is visited at the same step."""
        table, n_steps = self.clean.there(donors), self.clean.n_steps
        return table[at // n_steps] * n_steps + at % n_steps if donors.ndim == 1 else table.flatten()[at]

    def measure(self, visit: Visit, arrow: DrawnParent) -> None:
        """Record how far an arrow moved, if this pass is asked to."""
        if self._movements is None:
            return
        before, donors = self.leaf(arrow.parent), arrow.donors.flatten()
        positions, unheard = visit.positions.flatten(), None
        if arrow.selected is not None:
            speaks = arrow.selected[positions]
            if self.clean.on_host:
                positions, donors = positions[speaks], donors[speaks]
            else:  # it would have to wait to know how many they are
                unheard = speaks.logical_not()

        def total(of_positions: Tensor, first: int) -> Tensor:
            if unheard is not None:
                of_positions = of_positions.masked_fill(unheard[first : first + len(of_positions)], 0)
            return of_positions.sum()

        moved = spread = norm = torch.zeros((), device=self.device)
        for first in range(0, len(donors), CHUNK_TOKENS):
            at, drawn = (table[first : first + CHUNK_TOKENS] for table in (positions, donors))
            for key in before.streams:
                own = before.at(key, at)
                moved = moved + total((arrow.delivery.at(key, drawn) - own).norm(dim=-1), first)
                spread = spread + total((before.at(key, drawn) - own).norm(dim=-1), first)
                norm = norm + total(own.norm(dim=-1), first)
        elsewhere = donors // self.clean.n_steps != positions // self.clean.n_steps
        swapped: float | Tensor = elsewhere.float().mean() if len(donors) else 0.0
        if unheard is not None:
            swapped = total(elsewhere.float(), 0) / unheard.logical_not().sum()
        relative = [torch.where(norm > 0, change / norm, torch.nan) for change in (moved, spread)]
        self._movements[(*visit.path, arrow.parent)] = (swapped, *relative)
