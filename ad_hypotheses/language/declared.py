"""Which edges of a model a hypothesis declares: an arrow is every edge from its parent's places to its child's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ad_hypotheses.language.anatomy import Anatomy, Part, Reader
from ad_hypotheses.language.check import Bound, BoundGraph, BoundNode
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


@dataclass(frozen=True)
class MissingArrow:
    """What a node of a hypothesis reads in the model and does not declare.

    Attributes:
        source: Name of the node that writes, or the component as it is typed where no node sits there.
        target: Name of the node that reads.
        edges: Edges of the model, each with one writer.
        from_node: Whether the source is a node.
        circular: Whether the source is computed from the target, so that the arrow would close a circle.
    """

    source: str
    target: str
    edges: tuple[Edge, ...]
    from_node: bool
    circular: bool


def missing_arrows(graph: BoundGraph, anatomy: Anatomy) -> list[MissingArrow]:
    """Return the arrows that a hypothesis lacks: what scrubbing swaps because no arrow speaks of it.

    They end at the nodes that read others. What a node without parents reads is left open, not swapped. Edges from one
    node, or from one component of no node, are one arrow.

    Args:
        graph: The nodes of the hypothesis, bound to a model.
        anatomy: Sites of that model.

    Returns:
        Arrows in the order in which their targets read.
    """
    arrows: dict[tuple[str, str], list[Edge]] = {}
    for child in graph.nodes.values():
        if child.parents:
            for edge in _swapped(graph, child, anatomy):
                arrows.setdefault((_source(graph, edge), child.name), []).append(edge)
    return [
        MissingArrow(source, target, tuple(edges), source in graph.nodes, target in ancestors(graph.nodes, source))
        for (source, target), edges in arrows.items()
    ]


def with_arrows(graph: BoundGraph, arrows: Iterable[tuple[str, str]]) -> BoundGraph:
    """Return a graph with arrows added, from one node to another each; the features stay as they are.

    Args:
        graph: The nodes of a hypothesis, bound to a model.
        arrows: Pairs (parent, child); those that would close a circle are left out.
    """
    nodes = dict(graph.nodes)
    for parent, child in arrows:
        if parent != child and child not in ancestors(nodes, parent):
            nodes[child] = replace(nodes[child], parents=(*nodes[child].parents, parent))
    ordered: dict[str, BoundNode] = {}
    for name in nodes:  # parents before children, as they stand in any graph
        for before in (*ancestors(nodes, name), name):
            ordered.setdefault(before, nodes[before])
    return BoundGraph(ordered, graph.root)


def ancestors(nodes: Mapping[str, BoundNode], name: str) -> list[str]:
    """Return the names of the nodes that one is computed from, parents before children; none of what is no node."""
    above: dict[str, None] = {}
    for parent in nodes[name].parents if name in nodes else ():
        above |= dict.fromkeys((*ancestors(nodes, parent), parent))
    return list(above)


def _swapped(graph: BoundGraph, child: BoundNode, anatomy: Anatomy) -> list[Edge]:
    """The edges into a node of which neither an arrow nor the node itself speaks."""
    parents = [graph.nodes[name] for name in child.parents]
    given = {reader for parent in parents for part in parent.parts if part.writer is None for reader in part.readers}
    readers = _readers(child) - given
    spoken = {edge for node in (*parents, child) for edge in _between(node.parts, sorted(readers))}
    return [edge for edge in all_edges(anatomy) if edge.reader in readers and edge not in spoken]


def _source(graph: BoundGraph, edge: Edge) -> str:
    """Name of the node that writes what an edge carries, else of the component."""
    (writer,) = edge.writers
    owners = (
        node.name
        for node in graph.nodes.values()
        if any(part.writer == writer and part.feeds(edge.reader) for part in node.parts)
    )
    return next(owners, str(writer))


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
