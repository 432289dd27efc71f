"""The model's own run over a dataset, cached as far as a hypothesis needs it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ad_hypotheses.causal.twin import Stream, Twin
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
    """The strand that a writing part belongs to."""
    assert part.writer is not None
    return Strand(part.writer.stage, part.to)


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
        log_probs: Of every action, as the model gives them. [row, step, action]
    """

    twin: Twin
    history: History
    tokens: Int[Tensor, "row step channel"]
    log_probs: Float[np.ndarray, "row step action"]
    _streams: dict[int, Stream] = field(default_factory=dict)
    _written: dict[tuple[Part, ...], Stream] = field(default_factory=dict)

    @classmethod
    @torch.no_grad()
    def run(cls, model: ADTransformer, history: History) -> Clean:
        """Run the model once over a dataset."""
        twin, tokens = Twin(model.eval()), model.to_tokens(history)
        logits = [twin.logits(twin.streams(tokens[rows])[-1]) for rows in chunks(*tokens.shape[:2])]
        return cls(twin, history, tokens, torch.cat(logits).log_softmax(-1).cpu().numpy())

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.tokens.shape[0]

    @property
    def n_steps(self) -> int:
        """Steps of each."""
        return self.tokens.shape[1]

    def chunks(self) -> Iterator[slice]:
        """Rows to compute together."""
        return chunks(self.n_rows, self.n_steps)

    def empty(self, width: int | None = None) -> Stream:
        """Room for one vector at every position. [row, step, width or d_model]"""
        width = self.twin.shape.d_model if width is None else width
        return torch.empty(self.n_rows, self.n_steps, width, dtype=self._dtype, device=self.tokens.device)

    @property
    def bytes_per_stream(self) -> int:
        """Memory of one vector at every position."""
        return self.n_rows * self.n_steps * self.twin.shape.d_model * self._dtype.itemsize

    @property
    def _dtype(self) -> torch.dtype:
        return self.twin.model.dtype

    @torch.no_grad()
    def prepare(self, stages: Iterable[int], groups: Iterable[tuple[Part, ...]]) -> None:
        """Cache what the readers of `stages` see and what `groups` of parts write, in one more run of the model."""
        stages = [stage for stage in set(stages) if stage not in self._streams]
        missing = [group for group in dict.fromkeys(groups) if group not in self._written]
        for stage in stages:
            self._streams[stage] = self.empty()
        for group in missing:
            self._written[group] = self.empty()
        for rows in self.chunks() if stages or missing else ():
            tokens = self.tokens[rows]
            seen = self.twin.streams(tokens)
            for stage in stages:
                self._streams[stage][rows] = seen[stage]
            for group in missing:
                written = (along(part, self.twin.write(part.writer, tokens, seen)) for part in group if part.writer)
                self._written[group][rows] = sum(written)

    def seen(self, stage: int) -> Stream:
        """What the readers of a prepared stage see. [row, step, d_model]"""
        return self._streams[stage]

    def written(self, group: tuple[Part, ...]) -> Stream:
        """What the parts of a prepared group write together. [row, step, d_model]"""
        return self._written[group]

    def forget(self) -> None:
        """Free what was prepared."""
        self._streams, self._written = {}, {}


def chunks(n_rows: int, n_steps: int) -> Iterator[slice]:
    """Split rows into slices of about :data:`CHUNK_TOKENS` tokens."""
    size = max(1, CHUNK_TOKENS // n_steps)
    return (slice(first, min(first + size, n_rows)) for first in range(0, n_rows, size))


def plain_part(writer: Writer) -> Part:
    """The whole of a writer, for all its readers."""
    return Part(writer, ())
