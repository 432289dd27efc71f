"""One tree node of one pass, visited at rows that were made for it, each at a step of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from ad_hypotheses.causal.draws import classes, draw, uniforms
from ad_hypotheses.causal.twin import Stream, along
from ad_hypotheses.causal.visit import Delivery, DrawnParent, Visit
from ad_hypotheses.language import check
from ad_hypotheses.language.anatomy import Group, Reader, Strand
from ad_hypotheses.language.check import TreePath
from ad_hypotheses.language.history import History

if TYPE_CHECKING:
    from ad_hypotheses.causal.made import MadeScrubber
else:
    MadeScrubber = Any  # which makes the visits


@dataclass(frozen=True, eq=False)
class MadeRows:
    """The rows that one visit had made for a parent.

    Attributes:
        history: The rows. [item, step]
        tokens: Their tokens. [item, step, channel]
        steps: Step for which each was made. [item]
        changed: Which tokens up to it show something else than those of the row that it was made of. [item, step]
        names: What each action is called in it; None where actions keep their names. [item, action]
    """

    history: History
    tokens: Int[Tensor, "item step channel"]
    steps: Int[np.ndarray, " item"]
    changed: Bool[np.ndarray, "item step"]
    names: Int[np.ndarray, "item action"] | None

    @property
    def at(self) -> Int[np.ndarray, " item"]:
        """Position `item * n_steps + step` at which each is visited."""
        return np.arange(len(self.steps)) * self.history.n_steps + self.steps


class MadeVisit(Visit):
    """One tree node of one pass, visited at rows that were made for it, each at its own step.

    Positions are `item * n_steps + step`: with heads all steps of every row, else the one that it was made for.
    """

    def __init__(self, scrubber: MadeScrubber, path: TreePath, rows: MadeRows) -> None:
        self.scrubber: MadeScrubber = scrubber
        self.path, self.node, self.rows = path, scrubber.nodes[path[-1]], rows
        self.n_steps = scrubber.clean.n_steps
        n_items = len(rows.steps)
        self.n_positions = n_items * self.n_steps
        self.steps = torch.from_numpy(rows.steps).to(scrubber.device)
        self.asked = self.positions = torch.from_numpy(rows.at).to(scrubber.device)
        self.looks_back = any(part.writer is not None and part.writer.kind == "head" for part in self.node.parts)
        if self.looks_back:
            self.positions = torch.arange(self.n_positions, device=scrubber.device).unflatten(0, (-1, self.n_steps))
        assert scrubber.bound.read is not None
        self.readings = scrubber.bound.read(rows.history)
        self.has_donor: dict[str, Tensor] = {}
        self.others = {}
        self.other = self._other_rows("other")
        self.arrows = [self._arrow(parent) for parent in self.node.parents]

    def _other_rows(self, table: str) -> Int[Tensor, " item"]:
        """Draw the found rows that unimportant inputs come from."""
        members = self.scrubber.any_row.members
        u = uniforms(self.scrubber.seed, (self.scrubber._pass, *self.path, f"made {table}"), (len(self.rows.steps),))
        return torch.from_numpy(members[(u * len(members)).astype(np.int64)]).to(self.scrubber.device)

    def other_for(self, reader: Reader, writer: object) -> Int[Tensor, " item"]:
        """Return the table of one writer at one reader, with independent others."""
        if (reader, writer) not in self.others:
            self.others[reader, writer] = self._other_rows(f"other {reader} {writer}")
        return self.others[reader, writer]

    def drawn(self, parent: str) -> Int[Tensor, "*visited"]:
        """Return where the found donors of a parent are, for the positions that are visited."""
        return self.scrubber.positions_of(self.donors(parent), self.positions)

    def donors(self, parent: str) -> Int[np.ndarray, " item *step"]:
        """Draw the found donors of a parent: rows of the dataset that agree with those that were made."""
        scrubber, clean = self.scrubber, self.scrubber.clean
        (found, where), (made, made_where) = scrubber.readings[parent], self.readings[parent]
        feature = replace(found, value=np.concatenate([found.value, made.value]))
        selected = None if where is None or made_where is None else np.concatenate([where, made_where])
        labels = check.classes(feature, selected)
        clock = np.concatenate([clean.history.episode_step, self.rows.history.episode_step])
        pool = np.concatenate([scrubber.pool, np.zeros(len(made.value), dtype=bool)])
        pools = classes(labels, selected, scrubber.options.align, clock, pool)
        key = (scrubber._pass, *self.path, f"<{parent}")
        donors = draw(pools, uniforms(scrubber.seed, key, pools.size.shape), self_donors=False)[clean.n_rows :]
        alone = pools.alone[clean.n_rows :]
        has_donor = torch.from_numpy(~alone).to(scrubber.device)
        self.has_donor[parent] = has_donor[:, None].expand(-1, self.n_steps) if alone.ndim == 1 else has_donor
        return np.where(alone, 0, donors)

    def selected(self, parent: str) -> Bool[Tensor, " position"] | None:
        """Return at which positions a parent speaks; None for all."""
        mask = self.readings[parent][1]
        return None if mask is None else torch.from_numpy(np.array(mask)).to(self.scrubber.device).flatten()

    def written(self, group: Group, positions: Int[Tensor, "batch step"]) -> Stream:
        """Return what parts that read nothing write at some positions of what is visited."""
        twin, tokens = self.scrubber.twin, self.rows.tokens.flatten(0, 1)[positions]
        written = []
        for part in group:
            assert part.writer is not None
            if part.writer.kind == "pos":
                whole = twin.model.W_pos[positions % self.n_steps]
            else:
                whole = twin.embed(part.writer.channel, tokens)
            written.append(along(part, whole))
        return sum(written[1:], start=written[0])

    def _found_arrow(self, parent: str) -> DrawnParent:
        arrow = super()._found_arrow(parent)
        sound = self.has_donor[parent].flatten()[self.positions]
        if arrow.selected is not None:
            sound = sound | ~arrow.selected[self.positions]
        arrow.sound = sound if arrow.sound is None else arrow.sound & sound
        return arrow

    def deliver(self) -> Delivery:
        """Compute the node at the step of every row."""
        streams: dict[Strand | Reader, Tensor] = {}
        first = 0
        for chunk in self.chunks():
            n_items = len(self.steps[chunk.part])
            for key, value in chunk.compute().items():
                at = value[torch.arange(n_items), self.steps[chunk.part]] if self.looks_back else value[0]  # [item, d]
                if key not in streams:
                    streams[key] = at.new_empty(len(self.steps), at.shape[-1])
                streams[key][first : first + n_items] = at
            first += n_items
        return Delivery(streams, None, None if self.sound is None else self.at_steps(self.sound))

    def at_steps(self, table: Shaped[Tensor, " item *step"]) -> Shaped[Tensor, " item"]:
        """Return what a table over what is visited says of each item at the step for which it was made."""
        return table[torch.arange(len(self.steps)), self.steps] if self.looks_back else table
