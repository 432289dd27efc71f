"""What writes to the residual stream, what reads it, and the places of a node among them.

Every reader sees the sum of the writers before it. *Stages* fix that order::

    stage      0            1           2          3           4       ...   2 * n_layers + 1
    writers    embed, pos   head(0, .)  mlp(0)     head(1, .)  mlp(1)
    readers                 head(0, .)  mlp(0)     head(1, .)  mlp(1)  ...   logits

A model without MLPs has the same stages, and nothing at those of the MLPs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, order=True)
class Writer:
    """Something that adds to the residual stream, at a stage (see the module's table)."""

    stage: int
    kind: Literal["embed", "pos", "head", "mlp"]
    layer: int = -1  # -1 and "" where there is none, so that writers can be ordered
    head: int = -1
    channel: str = ""

    def feeds(self, reader: Reader) -> bool:
        """Whether the reader's input contains what this writes."""
        return self.stage < reader.stage

    def __str__(self) -> str:
        return typed(self.kind, self.layer, self.head if self.kind == "head" else None, self.channel)


@dataclass(frozen=True, order=True)
class Reader:
    """Something that reads the residual stream: the q, k or v input of a head, an mlp, or the logits."""

    stage: int
    kind: Literal["q", "k", "v", "mlp", "logits"]
    layer: int = -1
    head: int = -1

    def __str__(self) -> str:
        if self.kind in ("q", "k", "v"):
            return f"head({self.layer}, {self.head}).{self.kind}"
        return typed(self.kind, self.layer)


@dataclass(frozen=True)
class Anatomy:
    """What sites a model has.

    Attributes:
        channels: The parts of the input token, e.g. `("x", "y", "action", "reward")`.
        n_layers: Number of layers, each of heads and one mlp.
        n_heads: Number of heads of every layer.
        has_positions: Whether positions are embedded, so that `pos` is a site.
        has_mlps: Whether there are MLPs, so that `mlp(l)` is a site.
    """

    channels: tuple[str, ...]
    n_layers: int
    n_heads: int
    has_positions: bool = True
    has_mlps: bool = True

    @property
    def writers(self) -> tuple[Writer, ...]:
        """Every writer, in the order in which they write."""
        layers = [
            writer
            for n in range(self.n_layers)
            for writer in (*map(self._head(n), range(self.n_heads)), *([mlp_writer(n)] if self.has_mlps else []))
        ]
        inputs = [Writer(0, "embed", channel=name) for name in self.channels]
        return (*inputs, *([Writer(0, "pos")] if self.has_positions else []), *layers)

    @property
    def readers(self) -> tuple[Reader, ...]:
        """Every reader, in the order in which they read."""
        layers = [
            reader
            for n in range(self.n_layers)
            for reader in (
                *(r for h in range(self.n_heads) for r in head_readers(n, h)),
                *([Reader(2 * n + 2, "mlp", n)] if self.has_mlps else []),
            )
        ]
        return (*layers, self.logits)

    @property
    def logits(self) -> Reader:
        """The last reader."""
        return Reader(2 * self.n_layers + 1, "logits")

    @property
    def sites(self) -> tuple[str, ...]:
        """What can be named, as it is typed; heads and MLPs by the first and the last."""
        last, n_heads = self.n_layers - 1, self.n_heads
        heads = "head(0, 0)" if not last and n_heads == 1 else f"head(0, 0) to head({last}, {n_heads - 1})"
        mlps = "mlp(0)" if not last else f"mlp(0) to mlp({last})"
        return (
            *(typed("embed", channel=name) for name in self.channels),
            *(["pos"] if self.has_positions else []),
            heads,
            *([mlps] if self.has_mlps else []),
            "logits",
        )

    def _head(self, layer: int) -> Callable[[int], Writer]:
        return lambda head: Writer(2 * layer + 1, "head", layer, head)


def head_readers(layer: int, head: int) -> tuple[Reader, ...]:
    """Return the q, k and v inputs of a head."""
    return tuple(Reader(2 * layer + 1, kind, layer, head) for kind in ("q", "k", "v"))


@dataclass(frozen=True, eq=False)
class Part:
    """One concrete place of a node in one model.

    Attributes:
        writer: What writes here; None for the logits and for an input of a head (`head(l, h).q`).
        readers: What is read when this place is computed: q, k, v of a head; none for `embed` and `pos`.
        to: The only readers that the node speaks of (`site.to`); None for all of them.
        directions: The subspace that the node speaks of (`site.along`), orthonormal rows [k, d_model]; None for all.
    """

    writer: Writer | None
    readers: tuple[Reader, ...]
    to: frozenset[Reader] | None = None
    directions: Float[np.ndarray, "k d_model"] | None = None

    def feeds(self, reader: Reader) -> bool:
        """Whether `reader` reads what this writes, as far as the node speaks of that reader."""
        return self.writer is not None and self.writer.feeds(reader) and (self.to is None or reader in self.to)

    def _key(self) -> tuple[object, ...]:
        directions = None if self.directions is None else (self.directions.shape, self.directions.tobytes())
        return (self.writer, self.readers, self.to, directions)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        place = str(self.writer or self.readers[0])
        to = "" if self.to is None else f".to({' + '.join(map(str, sorted(self.to)))})"
        return place + to + ("" if self.directions is None else ".along(directions)")


def mlp_writer(layer: int) -> Writer:
    return Writer(2 * layer + 2, "mlp", layer)


def typed(kind: str, layer: int | None = None, head: int | None = None, channel: str | None = None) -> str:
    if kind in ("pos", "logits"):
        return kind
    if kind == "embed":
        return "embed()" if channel is None else f'embed("{channel}")'
    return f"{kind}({layer})" if head is None else f"{kind}({layer}, {head})"
