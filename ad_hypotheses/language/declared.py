"""Which edges of a model a hypothesis declares: an arrow is every edge from its parent's places to its child's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ad_hypotheses.language.anatomy import Anatomy, Part, Reader
from ad_hypotheses.language.check import Bound, BoundNode
from ad_hypotheses.language.edges import Edge, all_edges


@dataclass(frozen=True)
class Arrow:
    """One arrow of a hypothesis, or what connects the places of one of its nodes.

    Attributes:
        name: `"goal -> plan"`, `"inside goal"`, or, of what a claim leaves open, `"into goal"`.
        edges: Edges of the model, in the order in which they are read. Where the parent sits at an input of a head,
            which does not write, they are all that this input reads.
        single: Whether each edge alone is part of the claim; not so for a parent at an input of a head, whose own
            parents say which edges into it are.
    """

    name: str
    edges: tuple[Edge, ...]
    single: bool = True


def declared(bound: Bound) -> list[Arrow]:
    """Return every arrow, parents before children, and the insides of nodes at several places.

    A reader at which a parent sits (`head(1, 2).q`) takes what that parent delivers, so no other arrow ends there.
    """
    arrows = []
    for child in bound.nodes.values():
        parents = [bound.nodes[name] for name in child.parents]
        given = {
            reader for parent in parents for part in parent.parts if part.writer is None for reader in part.readers
        }
        readers = [reader for part in child.parts for reader in part.readers if reader not in given]
        for parent in parents:
            inputs = [reader for part in parent.parts if part.writer is None for reader in part.readers]
            own = {reader for part in child.parts for reader in part.readers}
            if inputs:
                wanted = [edge for edge in all_edges(bound.anatomy) if edge.reader in inputs and edge.reader in own]
                arrows.append(Arrow(f"{parent.name} -> {child.name}", tuple(wanted), single=False))
            else:
                edges = tuple(_between(parent.parts, readers))
                arrows.append(Arrow(f"{parent.name} -> {child.name}", edges))
        inside = tuple(_between(child.parts, readers))
        if inside:
            arrows.append(Arrow(f"inside {child.name}", inside))
    return [arrow for arrow in arrows if arrow.edges]


def left_open(bound: Bound, arrows: list[Arrow]) -> list[Arrow]:
    """Return the edges of which a hypothesis says nothing, because they lead to a node without parents.

    Scrubbing leaves the inputs of such a node alone, so however it comes by its value, nothing is held against the
    claim. Edges into components of no node count too if those write before such a node reads.
    """
    spoken = {edge for arrow in arrows if arrow.single for edge in arrow.edges}
    rest = [edge for edge in all_edges(bound.anatomy) if edge not in spoken]
    readers = {name: _readers(node) for name, node in bound.nodes.items()}
    leaves = [name for name, node in bound.nodes.items() if readers[name] and not node.parents and name != bound.root]
    into_leaves = [
        Arrow(f"into {name}", tuple(edge for edge in rest if edge.reader in readers[name])) for name in leaves
    ]
    claimed = {(r.stage, r.head) for of in readers.values() for r in of}
    last = max((reader.stage for name in leaves for reader in readers[name]), default=0)
    way = [edge for edge in rest if edge.stage < last and (edge.stage, edge.reader.head) not in claimed]
    return [arrow for arrow in (*into_leaves, Arrow(f"on the way to {', '.join(leaves)}", tuple(way))) if arrow.edges]


def undeclared(anatomy: Anatomy, arrows: list[Arrow]) -> list[Edge]:
    """Return the edges of the model of which no arrow speaks."""
    spoken = {edge for arrow in arrows if arrow.single for edge in arrow.edges}
    return [edge for edge in all_edges(anatomy) if edge not in spoken]


def unsaid(bound: Bound) -> list[str]:
    """Return in which respects the arrows of a hypothesis are finer than the edges that stand for them."""
    differences = []
    for node in bound.nodes.values():
        if node.selected is not None:
            problem = "is narrowed to some steps, but its arrows are patched at all of them"
            differences.append(f"{node.name} {problem}.")
        if any(part.directions is not None for part in node.parts):
            differences.append(f"{node.name} speaks of some directions, but its arrows are patched along all of them.")
    return differences


def places(node: BoundNode) -> list[str]:
    """Return where a node sits, as it is typed."""
    return [str(part) for part in node.parts]


def _readers(node: BoundNode) -> set[Reader]:
    return {reader for part in node.parts for reader in part.readers}


def _between(parts: tuple[Part, ...], readers: list[Reader]) -> Iterator[Edge]:
    """Return every edge from the places to the readers, in the order in which they read and write."""
    for reader in sorted(set(readers)):
        for writer in sorted({part.writer for part in parts if part.writer is not None and part.feeds(reader)}):
            yield Edge((writer,), reader)
