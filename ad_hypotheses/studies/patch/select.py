"""Which edges, nodes and paths of a model are patched, read from how a person writes them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ad_hypotheses.causal.effects import Chain, Nodes, Patch
from ad_hypotheses.errors import DataError, HypothesisError, did_you_mean
from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.edges import Edge, all_edges, find_edges
from ad_hypotheses.language.roles import PAIR_ROLES

ALL = "all"


@dataclass(frozen=True)
class Item:
    """One patch, and what the record says of it in addition to its effects.

    Attributes:
        patch: What is replaced.
        name: Its name in the record.
        kind: As in :class:`PatchRecord`.
        arrow: Name of the arrow that an edge belongs to; empty where no arrow declares it.
    """

    patch: Patch
    name: str
    kind: str
    arrow: str = ""


@dataclass(frozen=True)
class Selection:
    """Edges, nodes and paths of a model, as a person writes them.

    Attributes:
        edges: Edges such as `"head(0, 1) -> logits"`, or `"all"`.
        nodes: Writers such as `"head(0, 1)"`; each is replaced for all its readers.
        paths: Edges in a row, such as `'embed("x") -> head(0, 1).v -> logits'`.
        written: Role of the steps whose writing counts, for edges and paths; None for all steps.
        read: Role of the steps that read, likewise.

    Raises:
        DataError: There is no such role, or nothing that it could narrow.
    """

    edges: Sequence[str] = ()
    nodes: Sequence[str] = ()
    paths: Sequence[str] = ()
    written: str | None = None
    read: str | None = None

    def __post_init__(self) -> None:
        for role in (self.written, self.read):
            if role is not None and role not in PAIR_ROLES:
                hint = did_you_mean(role, PAIR_ROLES)
                raise DataError(
                    f"there is no step role {role!r} (`written`, `read`).{hint}\n  roles: {', '.join(PAIR_ROLES)}"
                )
        if (self.written or self.read) and not (self.edges or self.paths):
            raise DataError("`written` and `read` narrow edges and paths that are named. Add some (`edges`, `paths`).")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is selected."""
        return not (self.edges or self.nodes or self.paths)

    def items(self, anatomy: Anatomy, claimed: bool = False) -> list[Item]:
        """Return the patches that are selected.

        Args:
            anatomy: Of the model.
            claimed: Whether a hypothesis is tested, which is held against every edge where no edges are written.

        Raises:
            HypothesisError: A text is not an edge, writer or path of the model; all that are wrong are listed.
        """
        items: list[Item] = []
        problems: list[str] = []

        def collect(find: Callable[[str, Anatomy], list[Item]], texts: Sequence[str]) -> None:
            for text in texts:
                try:
                    items.extend(find(text, anatomy))
                except HypothesisError as error:
                    problems.append(str(error))

        collect(_edge_items, self.edges or ((ALL,) if claimed else ()))
        collect(_node_items, self.nodes)
        collect(_path_items, self.paths)
        if problems:
            raise HypothesisError("\n".join(problems))
        return [self._narrowed(item) for item in items]

    def _narrowed(self, item: Item) -> Item:
        """Return an edge or a path between steps of the roles, and a node as it is."""
        if (self.written is None and self.read is None) or isinstance(item.patch, Nodes):
            return item
        if isinstance(item.patch, Edge):
            edge = item.patch.at(self.written, self.read)
            return Item(edge, str(edge), item.kind)
        assert isinstance(item.patch, Chain)
        first, *middle, last = item.patch.edges
        edges = (replace(first, written_at=self.written), *middle, replace(last, read_at=self.read))
        name = item.name + (f" written at {self.written}" if self.written else "")
        return Item(Chain(edges), name + (f" read at {self.read}" if self.read else ""), item.kind)


def _edge_items(text: str, anatomy: Anatomy) -> list[Item]:
    edges = all_edges(anatomy) if text.strip() == ALL else find_edges([text], anatomy)
    return [Item(edge, str(edge), "edge") for edge in edges]


def _node_items(text: str, anatomy: Anatomy) -> list[Item]:
    edge = f"{text} -> logits"  # the logits read every writer
    try:
        writers = find_edges([edge], anatomy)[0].writers
    except HypothesisError as error:
        raise HypothesisError(str(error).replace(repr(edge), f"`nodes={text!r}`")) from None
    if len({writer.stage for writer in writers}) > 1:
        raise HypothesisError(f"`nodes={text!r}`: these write one after the other; name each on its own.")
    return [Item(Nodes(writers), text.strip(), "node")]


def _path_items(text: str, anatomy: Anatomy) -> list[Item]:
    places = [place.strip() for place in text.split("->")]
    if len(places) < 3:
        raise HypothesisError(
            f"`paths={text!r}` is not a path: write at least two arrows, for example "
            'embed("reward") -> head(0, 1).v -> logits. For one arrow there is `edges`.'
        )
    edges: list[Edge] = []
    for start, end in itertools.pairwise(places):
        # a component that was read with `head(0, 1).v` writes as `head(0, 1)`
        writer = start[:-2].strip() if edges and start.endswith((".q", ".k", ".v")) else start
        matching = find_edges([f"{writer} -> {end}"], anatomy)
        if len(matching) > 1:
            raise HypothesisError(f"`paths={text!r}`: say with what {end} reads, {end}.q, {end}.k or {end}.v.")
        edges += matching
    return [Item(Chain(tuple(edges)), " -> ".join(places), "path")]
