"""Edges of a model: a reader, and what it reads of some writers.

An edge is typed as it is shown: `head(0, 1) -> head(1, 2).q`, `embed("reward") -> mlp(0)`, `mlp(1) -> logits`. Several
writers joined with `+` are one edge, read together: `embed() -> head(0, 0).k`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ad_hypotheses.errors import HypothesisError, did_you_mean
from ad_hypotheses.language.anatomy import Anatomy, Reader, Writer

ARROW = " -> "


@dataclass(frozen=True, order=True)
class Edge:
    """What one reader sees of some writers.

    Attributes:
        writers: Writers that are read together, in the order in which they write.
        reader: Reader that they are read by.
        written_at: Role of the steps whose writing counts, judged from the step that looks; None for all steps.
        read_at: Role of the steps that look; None for all steps.
    """

    writers: tuple[Writer, ...]
    reader: Reader
    written_at: str | None = None
    read_at: str | None = None

    def __str__(self) -> str:
        text = f"{shown(self.writers)}{ARROW}{self.reader}"
        text += "" if self.written_at is None else f" written at {self.written_at}"
        return text + ("" if self.read_at is None else f" read at {self.read_at}")

    @property
    def stage(self) -> int:
        """Stage of the reader."""
        return self.reader.stage

    def at(self, written: str | None = None, read: str | None = None) -> Edge:
        """Return the same edge as far as some steps write and some steps look."""
        return replace(self, written_at=written, read_at=read)


Path = tuple[Edge, ...]
"""Edges one after the other: each leaves from what the one before it arrives at."""


def shown(writers: Sequence[Writer]) -> str:
    """Return writers as one types them."""
    return " + ".join(map(str, writers))


def all_edges(anatomy: Anatomy, together: bool = False) -> list[Edge]:
    """Return every edge of a model, in the order in which its readers read.

    Args:
        anatomy: Sites of the model.
        together: Whether the embeddings and the position count as one writer.
    """
    groups: list[tuple[Writer, ...]] = [(writer,) for writer in anatomy.writers]
    if together:
        first = tuple(writer for writer in anatomy.writers if writer.stage == 0)
        groups = [first, *(group for group in groups if group[0].stage > 0)]
    return [Edge(group, reader) for reader in anatomy.readers for group in groups if group[-1].feeds(reader)]


def connected(edges: Iterable[Edge], anatomy: Anatomy) -> list[Edge]:
    """Return the edges that lie on a way from an embedding to the logits, in the order given."""
    edges = list(edges)
    fed: set[Writer | Reader] = {writer for writer in anatomy.writers if writer.stage == 0}
    ahead: list[Edge] = []
    for edge in sorted(edges, key=lambda edge: edge.stage):
        if fed & set(edge.writers):
            fed.add(edge.reader.owner)
            ahead.append(edge)
    needed: set[Writer | Reader] = {anatomy.logits}
    useful: set[Edge] = set()
    for edge in reversed(ahead):
        if edge.reader.owner in needed:
            needed |= set(edge.writers)
            useful.add(edge)
    return [edge for edge in edges if edge in useful]


def find_edges(texts: Iterable[str], anatomy: Anatomy) -> list[Edge]:
    """Return the edges that were typed.

    Args:
        texts: One edge each, `head(0, 1) -> head(1, 2).q`; a whole head reads with all of `.q .k .v`.
        anatomy: Sites of the model.

    Raises:
        HypothesisError: One is no edge of the model; all that are wrong are listed.
    """
    edges: list[Edge] = []
    problems = []
    for text in texts:
        try:
            edges += _edges_of(text, anatomy)
        except HypothesisError as error:
            problems.append(str(error))
    if problems:
        raise HypothesisError("\n".join(problems))
    return list(dict.fromkeys(edges))


def find_writers(texts: Iterable[str], anatomy: Anatomy) -> list[Writer]:
    """Return the writers that were typed, `head(0, 1)`, or all of a layer, `head(0)`.

    Raises:
        HypothesisError: One is no writer of the model.
    """
    known = _writers(anatomy)
    return list(dict.fromkeys(writer for text in texts for writer in _named(text, known, text)))


def _edges_of(text: str, anatomy: Anatomy) -> list[Edge]:
    left, arrow, right = text.partition("->")
    if not arrow:
        raise HypothesisError(f"{text!r} is no edge: write WRITER -> READER, for example head(0, 1) -> logits.")
    named = {w for part in left.split("+") for w in _named(part, _writers(anatomy), text)}
    writers = tuple(writer for writer in anatomy.writers if writer in named)  # in the order of `all_edges`
    edges = []
    for reader in _named(right, _readers(anatomy), text):
        early = tuple(writer for writer in writers if writer.feeds(reader))
        if len(early) < len(writers):
            late = shown([writer for writer in writers if writer not in early])
            raise HypothesisError(f"{text!r} is no edge: {late} writes after {reader} has read.")
        edges.append(Edge(writers, reader))
    return edges


def _writers(anatomy: Anatomy) -> dict[str, list[Writer]]:
    named = {str(writer): [writer] for writer in anatomy.writers}
    for writer in anatomy.writers:
        if writer.group != str(writer):
            named.setdefault(writer.group, []).append(writer)
    return named


def _readers(anatomy: Anatomy) -> dict[str, list[Reader]]:
    named = {str(reader): [reader] for reader in anatomy.readers}
    for reader in anatomy.readers:
        if reader.of_head:
            named.setdefault(str(reader.owner), []).append(reader)
    return named


def _named(text: str, known: dict[str, list], whole: str) -> list:
    wanted = "".join(text.split()).replace("'", '"')
    named = {"".join(name.split()): places for name, places in known.items()}.get(wanted)
    if named is None:
        hint = did_you_mean(text.strip(), known)
        raise HypothesisError(f"{whole!r}: {text.strip()!r} is none of the model's.{hint} It has {', '.join(known)}.")
    return named
