"""The model's own run over a dataset, cached as far as a hypothesis needs it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ad_hypotheses.causal.twin import Layer, Stream, Twin
from ad_hypotheses.distill.memory import give_back_freed_memory
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.language.anatomy import Part, Reader, Writer
from ad_hypotheses.language.history import History

CHUNK_TOKENS = 16_384  # tokens computed at once: large enough to fill two cores or a GPU, small enough for their caches


@dataclass(frozen=True)
class Strand:
    """What a node delivers to the same readers: the sum of its parts of one stage and one `.to`."""

    stage: int
    to: frozenset[Reader] | None

    def feeds(self, reader: Reader) -> bool:
        """Whether `reader` sees it."""
        return self.stage < reader.stage and (self.to is None or reader in self.to)


def strand_of(part: Part) -> Strand:
    """Return the strand that a writing part belongs to."""
    assert part.writer is not None
    return Strand(part.writer.stage, part.to)


def _stage(group: tuple[Part, ...]) -> int:
    """The stage of the parts of a group, which have it in common."""
    return strand_of(group[0]).stage


def strands_of(parts: Iterable[Part]) -> dict[Strand, tuple[Part, ...]]:
    """Group the writing parts of a node."""
    strands: dict[Strand, tuple[Part, ...]] = {}
    for part in parts:
        if part.writer is not None:
            strands[strand_of(part)] = (*strands.get(strand_of(part), ()), part)
    return strands


def along(part: Part, x: Stream) -> Stream:
    """Project what a part's writer writes onto the subspace that the node speaks of."""
    if part.directions is None:
        return x
    directions = torch.as_tensor(part.directions, dtype=x.dtype, device=x.device)
    return (x @ directions.T) @ directions


@dataclass
class Clean:
    """Plain runs of a model over the rows of a dataset.

    Attributes:
        twin: The model.
        history: The dataset, one context window a row.
        tokens: Its tokens. [row, step, channel]
        known_log_probs: What :attr:`log_probs` is, where it is known already.
        differentiable: Whether gradients flow through what is cached, so that a model can be trained on scrubbed runs.
    """

    twin: Twin
    history: History
    tokens: Int[Tensor, "row step channel"]
    known_log_probs: Float[np.ndarray, "row step action"] | None = None
    differentiable: bool = False
    _streams: dict[int, Stream] = field(default_factory=dict)
    _written: dict[tuple[Part, ...], Stream] = field(default_factory=dict)

    @classmethod
    def run(cls, model: ADTransformer, history: History) -> Clean:
        """Set a model up to be run over a dataset, once it is known what to keep of the run."""
        return cls(Twin(model.eval()), history, model.to_tokens(history))

    @property
    def log_probs(self) -> Float[np.ndarray, "row step action"]:
        """Log-probabilities of every action, as the model gives them. [row, step, action]"""
        if self.known_log_probs is None:
            self.prepare((), ())
        assert self.known_log_probs is not None
        return self.known_log_probs

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.tokens.shape[0]

    @property
    def n_steps(self) -> int:
        """Steps of each row."""
        return self.tokens.shape[1]

    def chunks(self) -> Iterator[slice]:
        """Return rows to compute together."""
        return chunks(self.n_rows, self.n_steps)

    def empty(self, width: int | None = None) -> Stream:
        """Return room for one vector at every position. [row, step, width or d_model]"""
        width = self.twin.shape.d_model if width is None else width
        return torch.empty(self.n_rows, self.n_steps, width, dtype=self._dtype, device=self.tokens.device)

    @property
    def _dtype(self) -> torch.dtype:
        return self.twin.model.dtype

    @contextmanager
    def prepared(self, stages: Iterable[int] = (), groups: Iterable[tuple[Part, ...]] = ()) -> Iterator[Clean]:
        """Keep in memory, until the block ends, what is prepared here and inside of it.

        Args:
            stages: Stages whose readers' input is needed.
            groups: Groups of parts whose writing is needed.
        """
        before = self._streams, self._written
        self._streams, self._written = dict(self._streams), dict(self._written)
        try:
            self.prepare(stages, groups)
            yield self
        finally:
            self._streams, self._written = before
            give_back_freed_memory()

    def prepare(self, stages: Iterable[int], groups: Iterable[tuple[Part, ...]]) -> None:
        """Cache what the readers of `stages` see and what `groups` of parts write, in one run of the model."""
        with torch.set_grad_enabled(self.differentiable):
            self._prepare(stages, groups)

    def _prepare(self, stages: Iterable[int], groups: Iterable[tuple[Part, ...]]) -> None:
        stages = [stage for stage in set(stages) if stage not in self._streams]
        missing = [group for group in dict.fromkeys(groups) if group not in self._written]
        for stage in stages:
            self._streams[stage] = self.empty()
        for group in missing:
            self._written[group] = self.empty()
        first, log_probs = self.known_log_probs is None, []
        for rows in self.chunks() if stages or missing or first else ():
            tokens = self.tokens[rows]
            x = self.twin.embedded(tokens)
            self._keep(rows, {0: torch.zeros_like(x), 1: x}, stages)
            for group in (group for group in missing if _stage(group) == 0):
                self._written[group][rows] = sum(along(part, self._wrote(part, tokens, {})) for part in group)
            for number, layer in enumerate(self.twin.layers(x)):
                attention, mlp = 2 * number + 1, 2 * number + 2  # the stages of its writers
                self._keep(rows, {mlp: layer.middle, mlp + 1: layer.after}, stages)
                for group in (group for group in missing if _stage(group) in (attention, mlp)):
                    wrote = (along(part, self._wrote(part, tokens, {number: layer})) for part in group)
                    self._written[group][rows] = sum(wrote)
                x = layer.after
                del layer  # before the next is computed: two at once take twice the room
            if first:
                log_probs.append(self.twin.logits(x).log_softmax(-1).detach().cpu())
        if first:
            self.known_log_probs = torch.cat(log_probs).numpy()

    def _keep(self, rows: slice, seen: Mapping[int, Stream], stages: Collection[int]) -> None:
        """Keep what the readers of some stages see, as far as it was asked for."""
        for stage in seen.keys() & set(stages):
            self._streams[stage][rows] = seen[stage]

    def _wrote(self, part: Part, tokens: Int[Tensor, "batch step channel"], layers: Mapping[int, Layer]) -> Stream:
        """Return what a part's writer wrote in a run; of the layers, its own is enough."""
        assert part.writer is not None
        written, directions = self.twin.wrote(part.writer, tokens, layers)
        return written if directions is None else written @ directions

    def seen(self, stage: int) -> Stream:
        """Return what the readers of a prepared stage see. [row, step, d_model]"""
        return self._streams[stage]

    def written(self, group: tuple[Part, ...]) -> Stream:
        """Return what the parts of a prepared group write together. [row, step, d_model]"""
        return self._written[group]


def chunks(n_rows: int, n_steps: int) -> Iterator[slice]:
    """Split rows into slices of about :data:`CHUNK_TOKENS` tokens."""
    size = max(1, CHUNK_TOKENS // n_steps)
    return (slice(first, min(first + size, n_rows)) for first in range(0, n_rows, size))


def plain_part(writer: Writer) -> Part:
    """Return the whole of a writer, for all its readers."""
    return Part(writer, ())


def gather(stream: Stream, donors: Int[Tensor, " reference *step"]) -> Float[Tensor, "reference step d_model"]:
    """Take whole rows, or single positions `row * n_steps + step`, from a stream over the dataset."""
    if donors.ndim == 1:
        return stream.index_select(0, donors)
    return stream.flatten(0, 1).index_select(0, donors.flatten()).unflatten(0, donors.shape)


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


def movement(
    clean: Clean,
    selected: Bool[np.ndarray, "row step"] | None,
    donors: Int[np.ndarray, " row *step"],
    leaf: Mapping[Strand | Reader, Stream],
    delivery: Mapping[Strand | Reader, Stream],
) -> Movement:
    """Measure how far an arrow moved.

    Args:
        clean: The model's own run.
        selected: Steps that the parent speaks of. [row, step]
        donors: Where it was visited. [row] or [row, step]
        leaf: What it delivers in the model's own run.
        delivery: What it delivered.
    """
    table = torch.from_numpy(donors).to(clean.tokens.device)
    rows = np.arange(clean.n_rows)
    swapped = donors != rows if donors.ndim == 1 else donors // clean.n_steps != rows[:, None]
    mask = np.ones((clean.n_rows, clean.n_steps), dtype=bool) if selected is None else selected
    weight = torch.from_numpy(mask).to(clean.tokens.device)
    moved = spread = norm = 0.0
    for key, before in leaf.items():
        for chunk in clean.chunks():
            own = before[chunk]
            moved += ((gather(delivery[key], table[chunk]) - own).norm(dim=-1) * weight[chunk]).sum().item()
            spread += ((gather(before, table[chunk]) - own).norm(dim=-1) * weight[chunk]).sum().item()
            norm += (own.norm(dim=-1) * weight[chunk]).sum().item()
    share = swapped.mean() if swapped.ndim == 1 else swapped[mask].mean() if mask.any() else 0.0
    return Movement(float(share), moved / norm if norm else np.nan, spread / norm if norm else np.nan)
