"""One tree node of one pass of scrubbing: its inputs put together from donors, and its parts computed.

A node without heads is computed at the positions that are drawn and nowhere else; a node with heads at all steps of the
rows that they belong to. What is unimportant to a reader is gathered in one piece: the readers' input of the clean run
without what is declared, which the clean run has ready.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ad_hypotheses.causal.clean import gather
from ad_hypotheses.causal.twin import Stream, along
from ad_hypotheses.language.anatomy import Group, Part, Reader, Strand, plain_part, strands_of
from ad_hypotheses.language.check import TreePath

if TYPE_CHECKING:
    from ad_hypotheses.causal.scrub import Scrubber
else:
    Scrubber = Any  # which makes the visits


@dataclass(frozen=True, eq=False)
class Delivery:
    """What a node delivers to its consumers, at every position of the dataset or at those where it was visited.

    Attributes:
        streams: What each strand writes, and each query, key or value that the node sits at. [visited, d]
        places: Where each position of the dataset stands among those visited; None if all were, in order. [position]
        sound: Where all that was to be made below differs from what it was made of; None where nothing is made.
            [visited]
    """

    streams: dict[Strand | Reader, Float[Tensor, "visited d"]]
    places: Int[Tensor, " position"] | None = None
    sound: Bool[Tensor, " visited"] | None = None

    def at(self, key: Strand | Reader, positions: Int[Tensor, "*reference"]) -> Float[Tensor, "*reference d"]:
        """Return what is delivered at some positions `row * n_steps + step`, which were visited."""
        return self.streams[key].index_select(0, self._places(positions)).unflatten(0, positions.shape)

    def sound_at(self, positions: Int[Tensor, "*reference"]) -> Bool[Tensor, "*reference"] | None:
        """Return whether all that was to be made at some positions was."""
        return None if self.sound is None else self.sound[self._places(positions)].unflatten(0, positions.shape)

    def _places(self, positions: Int[Tensor, "*reference"]) -> Int[Tensor, " reference"]:
        flat = positions.flatten()
        return flat if self.places is None else self.places[flat]


@dataclass
class DrawnParent:
    """One declared parent of a visit: where each visited position draws it, and what it delivers there.

    Attributes:
        parent: Name of the parent.
        donors: Positions that stand in for those visited; as they are arranged.
        selected: Positions of the dataset at which the parent speaks; None for all. [position]
        delivery: What the parent delivers.
        sound: Where all that is made here and below differs from what it was made of, and each made row has found
            donors; None where nothing is made. As they are arranged.
    """

    parent: str
    donors: Int[Tensor, "*visited"]
    selected: Bool[Tensor, " position"] | None
    delivery: Delivery
    sound: Bool[Tensor, "*visited"] | None = None


class Visit:
    """One tree node of one pass, at some positions: its tables, and what its parents deliver.

    A node with heads is visited at all steps of the rows that the positions belong to, since heads look back; any
    other only at the positions themselves. On a device that the host would have to wait for, heads are visited in all
    rows, and positions that are drawn twice are visited twice.
    """

    def __init__(self, scrubber: Scrubber, path: TreePath, positions: Int[Tensor, " visited"]) -> None:
        self.scrubber, self.path, self.node = scrubber, path, scrubber.nodes[path[-1]]
        self.n_steps = scrubber.clean.n_steps
        self.n_positions = scrubber.clean.n_rows * self.n_steps
        self.looks_back = any(part.writer is not None and part.writer.kind == "head" for part in self.node.parts)
        self.asked = positions
        if self.looks_back and scrubber.clean.on_host:
            rows = torch.zeros(scrubber.clean.n_rows, dtype=torch.bool, device=positions.device)
            rows[positions // self.n_steps] = True
            steps = torch.arange(self.n_steps, device=positions.device)
            positions = rows.nonzero() * self.n_steps + steps
        elif self.looks_back:
            positions = scrubber.everywhere.unflatten(0, (-1, self.n_steps))
        self.positions = positions
        self.other = scrubber.other_rows(path)
        self.others: dict[tuple[Reader, object], Tensor] = {}
        self.arrows = [self._arrow(parent) for parent in self.node.parents]

    @cached_property
    def row_at(self) -> Int[Tensor, "*visited"]:
        """Row of each visited position."""
        return self.positions // self.n_steps

    def _arrow(self, parent: str) -> DrawnParent:
        is_made = self.scrubber.nodes[parent].symmetry is not None
        arrow = self.scrubber.made_arrow(self, parent) if is_made else self._found_arrow(parent)
        self.scrubber.measure(self, arrow)
        return arrow

    def drawn(self, parent: str) -> Int[Tensor, "*visited"]:
        """Draw the donors of a parent that are found, for the positions that are visited."""
        return self.scrubber.donors_at(self.path, parent, self.positions)

    def selected(self, parent: str) -> Bool[Tensor, " position"] | None:
        """Return at which positions a parent speaks; None for all."""
        mask = self.scrubber.nodes[parent].selected
        return None if mask is None else torch.from_numpy(mask).to(self.positions.device).flatten()

    def written(self, group: Group, positions: Int[Tensor, "batch step"]) -> Stream:
        """Return what parts that read nothing write at some positions of what is visited."""
        return gather(self.scrubber.clean.written(group), positions)

    @property
    def sound(self) -> Bool[Tensor, "*visited"] | None:
        """Where all that was to be made was, as positions are arranged; None where nothing is made."""
        sound = [arrow.sound for arrow in self.arrows if arrow.sound is not None]
        return None if not sound else torch.stack(sound).all(dim=0)

    def _found_arrow(self, parent: str) -> DrawnParent:
        scrubber = self.scrubber
        donors = self.drawn(parent)
        selected = self.selected(parent)
        if not scrubber.clean.on_host:
            delivery = scrubber.deliver((*self.path, parent), donors.flatten())
            return DrawnParent(parent, donors, selected, delivery, delivery.sound_at(donors))
        reached = donors if selected is None else donors[selected[self.positions]]
        if reached.numel():
            n_positions = scrubber.clean.n_rows * self.n_steps
            delivery = scrubber.deliver((*self.path, parent), distinct(reached, n_positions))
        else:
            delivery = scrubber.leaf(parent)  # which nobody reads
        if selected is not None and reached.numel():  # elsewhere something is gathered that nobody reads
            donors = torch.where(selected[self.positions], donors, reached[0])
        return DrawnParent(parent, donors, selected, delivery, delivery.sound_at(donors))

    def chunks(self) -> Iterator[Chunk]:
        """Return the visited positions in parts that are computed together."""
        clean = self.scrubber.clean
        size = max(1, clean.tokens_at_once // self.n_steps) if self.looks_back else clean.points_at_once
        for first in range(0, len(self.positions), size):
            yield Chunk(self, slice(first, first + size))

    def deliver(self) -> Delivery:
        """Compute the node at all visited positions."""
        flat = self.positions.flatten()
        streams: dict[Strand | Reader, Tensor] = {}
        first = 0
        for chunk in self.chunks():
            computed = chunk.compute()
            for key, value in computed.items():
                if key not in streams:
                    streams[key] = value.new_empty(len(flat), value.shape[-1])
                streams[key][first : first + chunk.positions.numel()] = value.flatten(0, 1)
            first += chunk.positions.numel()
        sound = None if self.sound is None else self.sound.flatten()
        in_order = self.looks_back or self.scrubber.clean.on_host
        if in_order and len(flat) == self.n_positions:
            return Delivery(streams, None, sound)
        places = torch.zeros(self.n_positions, dtype=torch.int64, device=flat.device)
        places[flat] = torch.arange(len(flat), device=flat.device)
        return Delivery(streams, places, sound)

    def other_for(self, reader: Reader, writer: object) -> Int[Tensor, " row"]:
        """Return the table of one writer at one reader, with independent others."""
        if (reader, writer) not in self.others:
            self.others[reader, writer] = self.scrubber.other_rows(self.path, f"other {reader} {writer}")
        return self.others[reader, writer]


def distinct(positions: Int[Tensor, "*drawn"], n_positions: int) -> Int[Tensor, " distinct"]:
    """Return which positions of a dataset are among those drawn, in order."""
    drawn = torch.zeros(n_positions, dtype=torch.bool, device=positions.device)
    drawn[positions.flatten()] = True
    return drawn.nonzero()[:, 0]


class Chunk:
    """A visit at some positions: inputs are put together, and the node's parts computed in the order of their stages.

    Attributes:
        positions: The positions. [row, step], or [1, position] where no step looks at another
    """

    def __init__(self, visit: Visit, part: slice) -> None:
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
        at, n_steps = self._of(self.visit.row_at), self.visit.n_steps
        return self.positions + (rows[at] - at) * n_steps

    @property
    def sound(self) -> Bool[Tensor, "batch step"] | None:
        """Where all that was to be made was; None where nothing is made."""
        return None if self.visit.sound is None else self._of(self.visit.sound)

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
                self.own[strand] = self.visit.written(group, self.positions)
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

    def _replaced(self, arrow: DrawnParent, reader: Reader) -> Float[Tensor, "batch step d_head"]:
        value = self._delivered(arrow, reader)
        if arrow.selected is None:
            return value
        unselected = self.twin.head_input(reader, self.twin.normalise(reader.stage, self._everything(reader)))
        return torch.where(arrow.selected[self.positions][..., None], value, unselected)

    def _delivered(self, arrow: DrawnParent, key: Strand | Reader) -> Float[Tensor, "batch step d"]:
        """Return what a parent delivers at the donors of this chunk."""
        return arrow.delivery.at(key, self.donors_of(arrow))

    def donors_of(self, arrow: DrawnParent) -> Int[Tensor, "batch step"]:
        """Return the donors of a parent at the positions of this chunk."""
        return self._of(arrow.donors)

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
        if joint:  # in memory of its own, to which the rest is added
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
                x = x.add_(value) if joint else x + (value - self._unimportant(group, reader))
        for own, value in self.own.items():
            if isinstance(own, Strand) and own.feeds(reader):
                group = self.scrubber.strands[self.visit.node.name][own]
                x = x.add_(value) if joint else x + (value - self._unimportant(group, reader))
        return x

    def _everything(self, reader: Reader) -> Stream:
        """Return what a reader would see if all its inputs were unimportant."""
        if self.scrubber.options.others == "joint":
            return gather(self.clean.seen(reader.stage), self.other)
        first, *others = feeding = [writer for writer in self.twin.anatomy.writers if writer.feeds(reader)]
        for writer in feeding:  # small tables that stay, before streams that go: in between, each would spoil a hole
            self.visit.other_for(reader, writer)
        total = self._unimportant((plain_part(first),), reader)
        for writer in others:  # one by one: all of them at once take most room
            total = total + self._unimportant((plain_part(writer),), reader)
        return sum((self.twin.attention_bias(layer) for layer in range(reader.stage // 2)), start=total)

    def _unimportant(self, parts: Group, reader: Reader) -> Stream:
        """Return what some parts write where a reader takes them from other rows."""
        if self.scrubber.options.others == "joint":
            return gather(self.clean.written(parts), self.other)
        rows = ((part, self._from(self.visit.other_for(reader, part.writer))) for part in parts)
        return reduce(torch.add, (self.clean.wrote_at(part, at) for part, at in rows))  # each when its turn comes
