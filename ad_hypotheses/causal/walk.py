"""Who stood in for whom in a pass over one context: the engine's visits are remembered, and followed from its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.made import MadeParent, MadeScrubber
from ad_hypotheses.causal.made_visit import MadeRows, MadeVisit
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.causal.visit import DrawnParent, Visit
from ad_hypotheses.errors import DataError, did_you_mean
from ad_hypotheses.language.check import BoundGraph, TreePath
from ad_hypotheses.language.history import History

REST = "everything else"  # what a claim calls irrelevant
NOBODY = -1
Pin = tuple[str, int, int, int]
"""Arrow, step of the context, and row and step of who is to stand in."""


@dataclass(frozen=True)
class Walked:
    """Where one arrow led from each step of the context, in one pass.

    Attributes:
        path: From the root; the last is what was drawn.
        positions: Flat position that stood in; -1 where nobody did, or a history that was made. [step]
        made: Number of the history that was made; -1 where none was. [step]
        consumer: Flat position of the dataset at which it was drawn, -1 for none; None where that was made. [step]
        n_steps: Steps of a history.
    """

    path: TreePath
    positions: Int[np.ndarray, " step"]
    made: Int[np.ndarray, " step"]
    consumer: Int[np.ndarray, " step"] | None
    n_steps: int


class MadeHistories:
    """The histories that were made, one after the other."""

    def __init__(self) -> None:
        self.histories: list[History] = []
        self.count = 0

    def add(self, rows: MadeRows) -> int:
        """Take some more, and return the number of the first."""
        first, self.count = self.count, self.count + rows.history.n_rows
        self.histories.append(rows.history)
        return first


class RecordingScrubber(Scrubber):
    """Scrubs as ever, and remembers the visits of a pass; some donors may be pinned."""

    def forget(self) -> None:
        """Forget the visits of former passes."""
        self.arrows: dict[TreePath, tuple[Visit, DrawnParent]] = {}
        self.visits: dict[TreePath, Visit] = {}

    def pin(self, pins: Sequence[tuple[Pin, Int[np.ndarray, " row"]]]) -> None:
        """Let some stand in, in every pass.

        Args:
            pins: Each with the rows as they are numbered in it.

        Raises:
            DataError: There is no such arrow, step or row, or its donors are made.
        """
        n_steps = self.clean.n_steps
        known = {" < ".join(path): path for path in self.paths()}
        self.pinned: dict[tuple[TreePath, int], int] = {}
        for (arrow, step, row, donor_step), others in pins:
            if arrow not in known:
                raise DataError(f"`pins`: there is no arrow {arrow!r}.{did_you_mean(arrow, known)}")
            if not 0 <= step < n_steps or not 0 <= donor_step < n_steps or row not in others:
                raise DataError(
                    f"`pins`: {arrow} has history {row}, step {donor_step} at step {step}, but the steps are 0 to "
                    f"{n_steps - 1}, and the history must be one of `among` that differs from the context."
                )
            path = known[arrow]
            if any(name in self.bound.made for name in path):
                raise DataError(f"`pins`: donors of {arrow} are made, so that none can be pinned.")
            place = 1 + int(np.flatnonzero(others == row)[0])
            self.pinned[path, step] = place * n_steps + donor_step

    def paths(self) -> Iterator[TreePath]:
        """Return the tree path of every arrow, in the order in which they are walked."""

        def below(path: TreePath) -> Iterator[TreePath]:
            if self.options.others == "joint":
                yield (*path, REST)
            for parent in self.nodes[path[-1]].parents:
                yield (*path, parent)
                if self.nodes[parent].parents:
                    yield from below((*path, parent))

        return below((self.root,))

    def measure(self, visit: Visit, arrow: DrawnParent) -> None:
        """Remember an arrow, and who read it."""
        self.arrows[*visit.path, arrow.parent] = visit, arrow
        # a node that is drawn once for all its consumers is visited on one of the paths to it
        self.arrows.setdefault((visit.path[-1], arrow.parent), (visit, arrow))
        self.visits[visit.path] = self.visits[visit.path[-1:]] = visit
        super().measure(visit, arrow)

    def donors_at(self, path: TreePath, parent: str, at: Int[Tensor, "*visited"]) -> Int[Tensor, "*visited"]:
        """Return where a declared parent is drawn from some positions, or who is pinned there."""
        drawn = super().donors_at(path, parent, at)
        for (pinned, step), donor in self.pinned.items():
            if pinned == (*path, parent):
                here = self.reached(path, step)
                if donor not in self.class_of(parent, here):
                    self._refuse(pinned, step, donor)
                drawn = torch.where(at == here, donor, drawn)
        return drawn

    def other_rows(self, path: TreePath, table: str = "other") -> Int[Tensor, " row"]:
        """Return the rows that unimportant inputs come from, or those that are pinned, for all steps of a history."""
        rows = super().other_rows(path, table)
        for (pinned, step), donor in self.pinned.items():
            if pinned == (*path, REST):
                rows = rows.clone()
                rows[self.reached(path, step) // self.clean.n_steps] = donor // self.clean.n_steps
        return rows

    def reached(self, path: TreePath, step: int) -> int:
        """Return the position at which the node of a path is visited for a step of the context."""
        if len(path) == 1:
            return step
        here = torch.tensor([self.reached(path[:-1], step)])
        return int(self.donors_at(path[:-1], path[-1], here)[0])

    def class_of(self, parent: str, position: int) -> Int[np.ndarray, " member"]:
        """Return the positions of other rows that may stand in for one, as far as a parent's feature goes."""
        n_steps, pools = self.clean.n_steps, self.any_row if parent == REST else self.classes[parent]
        at = position // n_steps if pools.history_level else position
        start, size, own_start, own_size = (
            int(table.ravel()[at]) for table in (pools.start, pools.size, pools.own_start, pools.own_size)
        )
        places = np.arange(start, start + size)
        members = pools.members[places[(places < own_start) | (places >= own_start + own_size)]]
        return members * n_steps + position % n_steps if pools.history_level else members

    def members(self, walked: Walked, step: int) -> Int[np.ndarray, " member"]:
        """Return who may stand in for an arrow at a step: none where nobody does, or where donors are made."""
        parent, consumer = walked.path[-1], walked.consumer
        speaks = walked.positions[step] >= 0
        if consumer is None or not speaks or parent in self.bound.made:
            return np.zeros(0, dtype=np.int64)
        return self.class_of(parent, int(consumer[step]))

    def walked(self, made: MadeHistories) -> Iterator[Walked]:
        """Follow every arrow from each step of the context, and take the histories that were made."""
        numbers: dict[int, int] = {}

        def follow(path: TreePath, at: np.ndarray, item: np.ndarray) -> Iterator[Walked]:
            """Follow what is below a node that is visited at positions, or as items that were made."""
            for parent in (REST, *self.nodes[path[-1]].parents):
                if parent == REST and self.options.others != "joint":
                    continue
                visit, arrow = self._found(path, parent)
                donors = self._donors(path, visit, arrow, at, item)
                is_made = isinstance(arrow, MadeParent)
                offset = 0
                if isinstance(arrow, MadeParent) and arrow.rows is not None:
                    offset = numbers.setdefault(id(arrow.rows), -1)
                    if offset < 0:
                        offset = numbers[id(arrow.rows)] = made.add(arrow.rows)
                nobody = np.full_like(donors, NOBODY)
                positions, items = (nobody, donors) if is_made else (donors, nobody)
                consumer = None if isinstance(visit, MadeVisit) else at
                numbered = np.where(items < 0, NOBODY, items + offset)
                yield Walked((*path, parent), positions, numbered, consumer, self.clean.n_steps)
                if parent != REST and self.nodes[parent].parents:
                    yield from follow((*path, parent), positions, items)

        steps = np.arange(self.clean.n_steps)
        return follow((self.root,), steps, np.full_like(steps, NOBODY))

    def _found(self, path: TreePath, parent: str) -> tuple[Visit | None, DrawnParent | None]:
        """Return the visit of a node and what it drew of a parent: no arrow to what a claim calls irrelevant."""
        if parent == REST:  # a root without parents is visited without drawing anything else
            return self.visits.get(path, self.visits.get(path[-1:])), None
        arrow = self.arrows.get((*path, parent))
        return self.arrows[path[-1], parent] if arrow is None else arrow

    def _donors(
        self,
        path: TreePath,
        visit: Visit | None,
        arrow: DrawnParent | None,
        at: Int[np.ndarray, " step"],
        item: Int[np.ndarray, " step"],
    ) -> Int[np.ndarray, " step"]:
        """Return where a visit drew a parent, or everything else: positions or items, -1 where nobody stands in."""
        n_steps = self.clean.n_steps
        if isinstance(visit, MadeVisit):
            there = item >= 0
            places = np.where(there, item, 0)
            own = visit.rows.at[places] if len(visit.rows.steps) else np.zeros_like(places)
            if arrow is None:
                donors = visit.other.numpy()[places] * n_steps + own % n_steps
            else:
                donors = visit.at_steps(arrow.donors).numpy()[places]
        else:
            there, own = at >= 0, np.where(at < 0, 0, at)
            if arrow is None or visit is None:
                other = self.other_rows(path) if visit is None else visit.other
                donors = other.numpy()[own // n_steps] * n_steps + own % n_steps
            else:
                visited = visit.positions.flatten().numpy()
                places = np.zeros(visit.n_positions, dtype=np.int64)
                places[visited] = np.arange(len(visited))
                donors = arrow.donors.flatten().numpy()[places[own]]
        if arrow is not None and arrow.selected is not None:
            there = there & arrow.selected.numpy()[own]
        return np.where(there, donors, NOBODY)

    def _refuse(self, path: TreePath, step: int, donor: int) -> None:
        raise DataError(
            f"`pins`: what is pinned for {' < '.join(path)} at step {step} does not agree with what is visited there, "
            "so that by the claim it may not stand in. `members` of `scrub_at(..., at=step)` are those that may."
        )


class RecordingMadeScrubber(RecordingScrubber, MadeScrubber):
    """The same for claims whose donors are made."""


def recording_scrubber(clean: Clean, bound: BoundGraph, options: Options, seed: int) -> RecordingScrubber:
    """Return what scrubs one context and remembers who stood in."""
    return (RecordingMadeScrubber if bound.made else RecordingScrubber)(clean, bound, options, seed)
