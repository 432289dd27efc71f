"""What writes to the residual stream, what reads it, and the places of a node among them.

Every reader sees the sum of the writers before it. *Stages* fix that order::

    stage      0            1           2          3           4       ...   2 * n_layers + 1
    writers    embed, pos   head(0, .)  mlp(0)     head(1, .)  mlp(1)
    readers                 head(0, .)  mlp(0)     head(1, .)  mlp(1)  ...   logits

A model without MLPs has the same stages, and nothing at those of the MLPs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Component:
    """What all components of one kind have in common.

    Attributes:
        kind: Kind, as it is typed in a site.
        first_stage: Stage of those in layer 0; each further layer comes two stages later.
        axes: What tells them apart: `"channel"`, `"layer"`, `"head"`; nothing where a model has one.
        reads: Kinds of their inputs, in order.
        writes: Whether they write to the residual stream.
        lacking: What is said of a model that has none.
    """

    kind: str
    first_stage: int
    axes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: bool = True
    lacking: str = ""

    def stage(self, layer: int) -> int:
        """Return the stage of those in a layer."""
        return self.first_stage + 2 * layer


COMPONENTS: Mapping[str, Component] = {
    component.kind: component
    for component in (
        Component("embed", 0, axes=("channel",)),
        Component("pos", 0, lacking="embeds no positions"),
        Component("head", 1, axes=("layer", "head"), reads=("q", "k", "v")),
        Component("mlp", 2, axes=("layer",), reads=("mlp",), lacking="has attention only, no MLPs"),
        Component("logits", 1, reads=("logits",), writes=False),  # they read like a layer after the last
    )
}
"""The kinds of components, in the order in which they write in a layer."""

_OWNERS = {kind: component for component in COMPONENTS.values() for kind in component.reads}


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

    @property
    def inputs(self) -> tuple[Reader, ...]:
        """What it reads with: q, k and v of a head; nothing for an embedding."""
        kinds = COMPONENTS[self.kind].reads
        return tuple(Reader(self.stage, kind, self.layer, self.head) for kind in kinds)  # type: ignore[arg-type]

    @property
    def group(self) -> str:
        """Name of all writers of its kind and layer together, as it is typed: `head(0)`, `embed()`."""
        return typed(self.kind, self.layer)

    def __str__(self) -> str:
        return typed(self.kind, self.layer, self.head if self.head >= 0 else None, self.channel or None)


@dataclass(frozen=True, order=True)
class Reader:
    """Something that reads the residual stream: the q, k or v input of a head, an mlp, or the logits."""

    stage: int
    kind: Literal["q", "k", "v", "mlp", "logits"]
    layer: int = -1
    head: int = -1

    @property
    def of_head(self) -> bool:
        """Whether it is one of several inputs of an attention head."""
        return self.head >= 0

    @property
    def looks_back(self) -> bool:
        """Whether it is read at other steps than its own, by the queries of later ones."""
        return self.kind in ("k", "v")

    @property
    def owner(self) -> Writer | Reader:
        """The component that it is an input of, by what that writes; the logits are their own."""
        component = _OWNERS[self.kind]
        if not component.writes:
            return self
        return Writer(self.stage, component.kind, self.layer, self.head)  # type: ignore[arg-type]

    @property
    def inputs(self) -> tuple[Reader, ...]:
        """What a component that only reads reads with."""
        return (self,)

    def __str__(self) -> str:
        if self.of_head:
            return f"{self.owner}.{self.kind}"
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

    def has(self, kind: str) -> bool:
        """Whether the model has components of a kind."""
        return {"pos": self.has_positions, "mlp": self.has_mlps}.get(kind, True)

    def parts(
        self, kind: str, layer: int | None = None, head: int | None = None, channel: str | None = None
    ) -> tuple[Part, ...]:
        """Return the components of a kind, whole: all of them, or those of a layer, of one head or of one channel."""
        component, parts = COMPONENTS[kind], []
        options: dict[str, Iterable[Any]] = {
            "channel": self.channels if channel is None else (channel,),
            "layer": range(self.n_layers) if layer is None else (layer,),
            "head": range(self.n_heads) if head is None else (head,),
        }
        for values in product(*(options[axis] for axis in component.axes)):
            place = dict(zip(component.axes, values, strict=True))
            if component.writes:
                writer = Writer(component.stage(place.get("layer", 0)), kind, **place)  # type: ignore[arg-type]
                parts.append(Part(writer, writer.inputs))
            else:
                stage = component.stage(self.n_layers)
                parts.append(Part(None, tuple(Reader(stage, read) for read in component.reads)))  # type: ignore[arg-type]
        return tuple(parts)

    @cached_property
    def components(self) -> tuple[Part, ...]:
        """Every component, whole, in the order of their stages."""
        kinds = [kind for kind in COMPONENTS if self.has(kind)]
        before = [part for kind in kinds if not COMPONENTS[kind].reads for part in self.parts(kind)]
        layers = [
            part
            for layer in range(self.n_layers)
            for kind in kinds
            if "layer" in COMPONENTS[kind].axes
            for part in self.parts(kind, layer)
        ]
        return (*before, *layers, *self.parts("logits"))

    @cached_property
    def writers(self) -> tuple[Writer, ...]:
        """Every writer, in the order in which they write."""
        return tuple(part.writer for part in self.components if part.writer is not None)

    @cached_property
    def readers(self) -> tuple[Reader, ...]:
        """Every reader, in the order in which they read."""
        return tuple(reader for part in self.components for reader in part.readers)

    @cached_property
    def logits(self) -> Reader:
        """The last reader."""
        return self.readers[-1]

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


def head_readers(layer: int, head: int) -> tuple[Reader, ...]:
    """Return the q, k and v inputs of a head."""
    return Writer(COMPONENTS["head"].stage(layer), "head", layer, head).inputs


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


def typed(kind: str, layer: int | None = None, head: int | None = None, channel: str | None = None) -> str:
    """Return a component, or all of a kind, as it is typed in a site."""
    if not COMPONENTS[kind].axes:
        return kind
    if COMPONENTS[kind].axes == ("channel",):
        return "embed()" if channel is None else f'embed("{channel}")'
    return f"{kind}({layer})" if head is None else f"{kind}({layer}, {head})"


Group = tuple[Part, ...]
"""Parts of one stage that write to the same readers."""


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


def stage_of(group: tuple[Part, ...]) -> int:
    """The stage of the parts of a group, which have it in common."""
    return strand_of(group[0]).stage


def strands_of(parts: Iterable[Part]) -> dict[Strand, tuple[Part, ...]]:
    """Group the writing parts of a node."""
    strands: dict[Strand, tuple[Part, ...]] = {}
    for part in parts:
        if part.writer is not None:
            strands[strand_of(part)] = (*strands.get(strand_of(part), ()), part)
    return strands


def plain_part(writer: Writer) -> Part:
    """Return the whole of a writer, for all its readers."""
    return Part(writer, ())
