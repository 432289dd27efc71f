"""Scrubbing with donors that are made: by a symmetry of the history that is visited, not found among other histories.

Everything else is as :mod:`ad_hypotheses.causal.scrub` has it. A made row serves the one position that it was made for,
so positions are scrubbed that were sampled, and what a node delivers there is kept *item* by item: item `i` is the
`i`-th row that one visit had made, visited at its own step. Where such a row is visited by a node that reads others,
these are made anew from it, or found among the rows of the dataset that agree with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ad_hypotheses.causal.clean import CHUNK_TOKENS, Clean, gather
from ad_hypotheses.causal.draws import generator
from ad_hypotheses.causal.made_visit import MadeRows, MadeVisit
from ad_hypotheses.causal.scrub import Options, Pass, PastChange, Scrubber
from ad_hypotheses.causal.twin import Stream
from ad_hypotheses.causal.visit import Chunk, Delivery, DrawnParent, Visit, distinct
from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.anatomy import Reader, Strand
from ad_hypotheses.language.check import BoundGraph, Reading
from ad_hypotheses.language.history import History
from ad_hypotheses.language.symmetries.symmetry import changed_tokens


@dataclass
class MadeParent(DrawnParent):
    """A parent whose donors were made; they are numbers of items, and so is what it delivers."""

    rows: MadeRows | None = None


class MadeScrubber(Scrubber):
    """Scrubs a hypothesis with made donors at some positions, pass by pass.

    Log-probabilities elsewhere are the model's own.

    Args:
        clean: The model's own run over the dataset, references and donors.
        bound: The hypothesis, bound to the model and the dataset.
        options: The choices of :class:`Options`.
        seed: Seed of all draws.
        pool: Rows that may be donors; those of the clean run if None. [row]
        where: Which positions of the references are scrubbed; all of them if None. [row, step]

    Raises:
        HypothesisError: The options share a node between its consumers.
    """

    makes_donors = True

    def __init__(
        self,
        clean: Clean,
        bound: BoundGraph,
        options: Options | None = None,
        seed: int = 0,
        pool: Bool[np.ndarray, " row"] | None = None,
        where: Bool[np.ndarray, "row step"] | None = None,
    ) -> None:
        if options is not None and options.shared:
            raise HypothesisError(
                f"{', '.join(bound.made)} cannot be shared between consumers (`shared`): donors are made for each."
            )
        super().__init__(clean, bound, options, seed, pool)
        assert bound.read is not None, "made rows need features that can be read on them"
        pool = clean.pool if pool is None else pool
        self.pool = np.ones(clean.n_rows, dtype=bool) if pool is None else pool
        self.where = np.ones((clean.n_explained, clean.n_steps), dtype=bool) if where is None else where
        self.readings: Mapping[str, Reading] = bound.read(clean.history)
        self.broken = False
        self._forget()

    def _forget(self) -> None:
        """Begin to tell anew where donors could be made."""
        self.tested = self.where.copy()
        self.changed: dict[str, Bool[np.ndarray, "row step"]] = {}
        self.changes = {}

    def with_self_donors(self) -> MadeScrubber:
        """Return the same where a row may stand in for itself, and a past may come out as it was."""
        allowed = copy(self)
        allowed.options = replace(self.options, self_donors=True)
        allowed._forget()
        return allowed

    def with_broken_symmetries(self) -> MadeScrubber:
        """Return the same where what a symmetry changes shows another row instead: what the model makes of no order."""
        broken = copy(self)
        broken.broken = True
        broken._forget()
        return broken

    def run(self, number: int, movements: bool = False, n_rows: int | None = None) -> Pass:
        """Scrub the chosen positions of references once; see :meth:`Scrubber.run`."""
        self._reached: list[tuple[np.ndarray, np.ndarray]] = []
        result = super().run(number, movements, n_rows)
        for positions, sound in self._reached:
            self.tested.ravel()[positions] &= sound
        return result

    def positions_asked(self, n_rows: int) -> Int[Tensor, " position"]:
        """Return the chosen positions of the first references."""
        return torch.from_numpy(np.flatnonzero(self.where[:n_rows].ravel())).to(self.device)

    def predicted(self, chunk: Chunk, x: Stream) -> Float[Tensor, "batch step action"]:
        """Return the log-probabilities of what the logits see, by the names that actions have where they are read."""
        log_probs = super().predicted(chunk, x)
        if chunk.sound is not None:
            self._reached.append((chunk.positions.flatten().cpu().numpy(), chunk.sound.flatten().cpu().numpy()))
        for arrow in chunk.visit.arrows:
            if isinstance(arrow, MadeParent) and arrow.rows is not None and arrow.rows.names is not None:
                names = torch.from_numpy(arrow.rows.names).to(self.device)[chunk.donors_of(arrow)]
                log_probs = log_probs.gather(-1, names)
        return log_probs

    def arranged(
        self, log_probs: Float[Tensor, "position action"], positions: Int[Tensor, " position"], n_rows: int
    ) -> Float[np.ndarray, "row step action"]:
        """Return the log-probabilities by row and step, the model's own where nothing was scrubbed."""
        everywhere = np.array(self.clean.log_probs[:n_rows])
        everywhere.reshape(-1, everywhere.shape[-1])[positions.cpu().numpy()] = log_probs.cpu().numpy()
        return everywhere

    def has_made(self, n_references: int) -> dict[str, Bool[np.ndarray, "row step"]]:
        """Return at which of the first references every pass so far made donors that differ. {node: [row, step]}

        Of a node that the last one does not read: where all that was to be made was.
        """
        return {name: (self.changed.get(name, self.tested) & self.where)[:n_references] for name in self.bound.made}

    def made_arrow(self, visit: Visit, parent: str) -> MadeParent:
        """Make a donor of a parent for every position at which a visit needs it, and visit these."""
        path = (*visit.path, parent)
        needed = _needed(visit, parent)
        positions = distinct(visit.positions[needed], visit.n_positions)
        rows = self._make(visit, parent, positions.cpu().numpy())
        if not len(positions):
            delivery = self.leaf(parent)  # which nobody reads
        elif self.nodes[parent].parents:
            delivery = MadeVisit(self, path, rows).deliver()
        else:
            delivery = Delivery(self.leaf_of(rows, parent))
        self.changes[path] = _change(rows)
        sound = torch.from_numpy(rows.changed.any(axis=1) | self.options.self_donors).to(self.device)
        if visit.path == (self.root,):
            self._note_changed(parent, positions.cpu().numpy(), sound.cpu().numpy())
        sound = sound if delivery.sound is None else sound & delivery.sound
        items = torch.zeros(visit.n_positions, dtype=torch.int64, device=self.device)
        items[positions] = torch.arange(len(positions), device=self.device)
        donors = items[visit.positions]
        everywhere = torch.where(needed, sound[donors] if len(sound) else needed, torch.ones_like(needed))
        return MadeParent(parent, donors, visit.selected(parent), delivery, everywhere, rows)

    def _note_changed(self, parent: str, positions: np.ndarray, changed: np.ndarray) -> None:
        mask = self.changed.setdefault(parent, np.ones_like(self.where)).ravel()
        inside = positions < mask.size
        mask[positions[inside]] &= changed[inside]

    def _make(self, visit: Visit, parent: str, positions: Int[np.ndarray, " item"]) -> MadeRows:
        """Make the donors of a parent at some positions of what is visited."""
        symmetry = self.nodes[parent].symmetry
        assert symmetry is not None
        history = visit.rows.history if isinstance(visit, MadeVisit) else self.clean.history
        at, steps = np.divmod(positions, self.clean.n_steps)
        before = history[at]
        rng = generator(self.seed, (self._pass, *self.key(visit.path), f"made <{parent}"))
        drawn, changed = symmetry.draw_other(before, steps, rng, may_stay=self.options.self_donors)
        after = drawn.history
        if self.broken:
            donors = self.any_row.members
            after = _broken(before, changed, self.clean.history[donors[rng.integers(len(donors), size=len(steps))]])
            changed = changed_tokens(before, after, steps)
        tokens = self.twin.model.to_tokens(after)
        return MadeRows(after, tokens, steps, changed, drawn.names)

    def leaf_of(self, rows: MadeRows, name: str) -> dict[Strand | Reader, Float[Tensor, "item d"]]:
        """Return what a node's sites are, as the model computes them, at the steps for which rows were made."""
        groups = list(self.strands[name].values())
        readers = [reader for part in self.nodes[name].parts if part.writer is None for reader in part.readers]
        streams: dict[Strand | Reader, Tensor] = {}
        for items, stop in _by_length(rows.steps):
            clean = Clean(self.twin, rows.history[items].window(stop=stop), rows.tokens[items, :stop])
            clean.prepare({reader.stage for reader in readers}, groups)
            at = torch.from_numpy(np.arange(len(items)) * stop + rows.steps[items]).to(self.device)
            parts: dict[Strand | Reader, Tensor] = {
                strand: gather(clean.written(group), at) for strand, group in self.strands[name].items()
            }
            for reader in readers:
                seen = gather(clean.seen(reader.stage), at)[None]
                parts[reader] = self.twin.head_input(reader, self.twin.normalise(reader.stage, seen))[0]
            for key, value in parts.items():
                if key not in streams:
                    streams[key] = value.new_zeros(len(rows.steps), value.shape[-1])
                streams[key][torch.from_numpy(items).to(self.device)] = value
        return streams

    def measure(self, visit: Visit, arrow: DrawnParent) -> None:
        """Record how far an arrow moved, if this pass is asked to; made rows that are visited, at their own step."""
        path = (*visit.path, arrow.parent)
        if self._movements is None:
            return
        if not isinstance(visit, MadeVisit) and not isinstance(arrow, MadeParent):
            super().measure(visit, arrow)
            return
        donors, places = arrow.donors, visit.positions
        if isinstance(visit, MadeVisit):
            own = self.leaf_of(visit.rows, arrow.parent)
            donors, places = (visit.at_steps(table) for table in (donors, places))
        else:
            before = self.leaf(arrow.parent)
            own = {key: before.at(key, places.flatten()) for key in before.streams}
        speaks = slice(None) if arrow.selected is None else arrow.selected[places.flatten()]
        own = {key: value[speaks] for key, value in own.items()}
        clean, swapped = self.leaf(arrow.parent), 1.0
        if isinstance(arrow, MadeParent):
            swapped = self.changes[path].positions
            clean = arrow.delivery
            if self.nodes[arrow.parent].parents and arrow.rows is not None and len(arrow.rows.steps):
                clean = Delivery(self.leaf_of(arrow.rows, arrow.parent))
        self._movements[path] = (swapped, *_moved(own, arrow.delivery, clean, donors.flatten()[speaks]))


def make_scrubber(
    clean: Clean,
    bound: BoundGraph,
    options: Options | None = None,
    seed: int = 0,
    pool: Bool[np.ndarray, " row"] | None = None,
    where: Bool[np.ndarray, "row step"] | None = None,
) -> Scrubber:
    """Return what scrubs a hypothesis: everywhere, or at some positions where donors are made."""
    if bound.made:
        return MadeScrubber(clean, bound, options, seed, pool, where)
    return Scrubber(clean, bound, options, seed, pool)


def _needed(visit: Visit, parent: str) -> Bool[Tensor, "*visited"]:
    """Return at which positions of a visit a parent's donor is ever looked at."""
    needed = torch.ones_like(visit.positions, dtype=torch.bool)
    if visit.looks_back:  # heads are computed at all steps, and read up to the last one that somebody asked for
        n_steps = visit.n_steps
        last = torch.full((visit.n_positions // n_steps,), -1, dtype=torch.int64, device=visit.positions.device)
        last.scatter_reduce_(0, visit.asked // n_steps, visit.asked % n_steps, "amax")
        needed = visit.positions % n_steps <= last[visit.positions // n_steps]
    selected = visit.selected(parent)
    return needed if selected is None else needed & selected[visit.positions]


def _by_length(steps: Int[np.ndarray, " item"]) -> Iterator[tuple[Int[np.ndarray, " item"], int]]:
    """Split items into those that are computed together, cut after the last step that one of them is read at."""
    order = np.argsort(-steps, kind="stable")
    first = 0
    while first < len(order):
        stop = int(steps[order[first]]) + 1
        size = max(1, CHUNK_TOKENS // stop)
        yield order[first : first + size], stop
        first += size


def _broken(before: History, changed: Bool[np.ndarray, "item step"], other: History) -> History:
    """Return rows whose changed tokens are those of other rows at the same steps."""
    # the token of a step shows its observation, and the action and the reward of the step before
    earlier = np.concatenate([changed[:, 1:], np.zeros_like(changed[:, :1])], axis=1)
    return replace(
        before,
        observations=np.where(changed[..., None], other.observations, before.observations),
        actions=np.where(earlier, other.actions, before.actions),
        rewards=np.where(earlier, other.rewards, before.rewards),
    )


def _change(rows: MadeRows) -> PastChange:
    changed = rows.changed.any(axis=1)
    shares = (rows.changed.sum(axis=1) / (rows.steps + 1))[changed]
    return PastChange(
        float(changed.mean()) if changed.size else 0.0,
        float(shares.mean()) if shares.size else 0.0,
    )


def _moved(
    own: Mapping[Strand | Reader, Tensor], delivered: Delivery, clean: Delivery, donors: Int[Tensor, " visited"]
) -> tuple[float, float]:
    """Return the mean norm of a change, and of that by clean donors, relative to what is there."""
    moved = spread = norm = 0.0
    for key, value in own.items():
        moved += float((delivered.at(key, donors) - value).norm(dim=-1).sum())
        spread += float((clean.at(key, donors) - value).norm(dim=-1).sum())
        norm += float(value.norm(dim=-1).sum())
    return (moved / norm, spread / norm) if norm else (float("nan"), float("nan"))
