"""Fit a hypothesis to a model and to data, or say everything that keeps it from fitting, at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from ad_hypotheses.errors import did_you_mean
from ad_hypotheses.language.anatomy import Anatomy, Part
from ad_hypotheses.language.feature_check import Feature, examine_features
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis, Node
from ad_hypotheses.language.problems import Problem, failure, listed
from ad_hypotheses.language.roles import STEP_ROLES
from ad_hypotheses.language.structure import (
    Parts,
    check_structure,
    examine_structure,
    subject,
    supplies_everything,
)
from ad_hypotheses.language.symmetries.symmetry import Symmetry
from ad_hypotheses.language.symmetries.trial import World, examine_symmetries

SMALL_RANGE = 2**20  # a difference is far cheaper than sorting, as long as packing has room
SPARSE = 16  # codes for each position, up to which marking those that occur is faster than sorting them
PACKED = 2**62  # codes of tuples are packed into one int64 while they fit
__all__ = [
    "Bound",
    "BoundGraph",
    "BoundNode",
    "TreePath",
    "bind",
    "check_structure",
    "classes",
    "outline",
    "without_gaps",
]


@dataclass(frozen=True, eq=False)
class BoundNode:
    """One node in one model, with the classes of its feature on one data set.

    Attributes:
        name: Its name.
        parts: Its places in the model.
        parents: Names of the nodes that it reads.
        labels: Class of every history [row], or of every step [row, step]; None for the root. Where a step role is
            given it has joined the feature: all steps outside of it are one class, apart from those inside.
        selected: Steps at which the node speaks, by the role of its site; None for all of them. [row, step]
        hidden: Whether it is made from facts of the task, which the model cannot see.
        doc: The function's docstring.
        symmetry: What its donors are made by; None where they are found among other histories.
    """

    name: str
    parts: tuple[Part, ...]
    parents: tuple[str, ...]
    labels: Int[np.ndarray, "row ..."] | None
    selected: Bool[np.ndarray, "row step"] | None
    hidden: bool
    doc: str
    symmetry: Symmetry | None = None

    @property
    def is_input(self) -> bool:
        """Whether it sits at the tokens and positions that the model is given, and nowhere else."""
        return all(part.writer is not None and part.writer.kind in ("embed", "pos") for part in self.parts)

    def of_rows(self, rows: slice | Int[np.ndarray, " row"]) -> BoundNode:
        """Return the node bound to some of the rows."""
        labels, selected = (None if values is None else values[rows] for values in (self.labels, self.selected))
        return replace(self, labels=labels, selected=selected)

    def agrees_where(self, other: BoundNode) -> bool:
        """Whether the node agrees in the very histories, or at the very steps, in which another one does."""
        own, others = (self.labels, self.selected), (other.labels, other.selected)
        return all(
            (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))
            for a, b in zip(own, others, strict=True)
        )


Reading = tuple[Feature, Bool[np.ndarray, "row step"] | None]
"""Values of a node on some histories, and the steps at which it speaks; None for all of them."""

TreePath = tuple[str, ...]
"""Names from the root to a node of the hypothesis written out as a tree."""


@dataclass(frozen=True, eq=False)
class BoundGraph:
    """The nodes of a claim that fit a model and a data set: all that scrubbing looks at.

    Attributes:
        nodes: Every node by name.
        root: Name of the node at the logits.
        read: Works out the nodes' values on other histories, those that symmetries make; None where nothing is made.
    """

    nodes: Mapping[str, BoundNode]
    root: str
    read: Callable[[History], Mapping[str, Reading]] | None = field(default=None, kw_only=True)

    def of_rows(self, rows: slice | Int[np.ndarray, " row"]) -> BoundGraph:
        """Return the graph bound to some of the rows."""
        return BoundGraph({name: node.of_rows(rows) for name, node in self.nodes.items()}, self.root, read=self.read)

    @property
    def made(self) -> tuple[str, ...]:
        """Names of the nodes whose donors are made."""
        return tuple(name for name, node in self.nodes.items() if node.symmetry is not None)

    def without_features(self) -> BoundGraph:
        """Return the graph with every feature constant, sites and shapes as they are: what structure alone explains.

        All donors are found then: any history keeps a value that is the same for all. Where the last node holds heads,
        nodes at the inputs keep their features: these heads read them at every step so far, so that the same tokens
        are the same history, whatever the model does with it.
        """
        constant = {
            name: replace(node, labels=None if node.labels is None else np.zeros_like(node.labels), symmetry=None)
            for name, node in self.nodes.items()
            if not (self.root_reads_the_past and node.is_input)
        }
        return BoundGraph({**self.nodes, **constant}, self.root)

    @property
    def root_reads_the_past(self) -> bool:
        """Whether the last node holds heads, which read what its parents deliver at every step so far."""
        return any(part.writer is not None and part.writer.kind == "head" for part in self.nodes[self.root].parts)

    def tree_paths(self) -> list[TreePath]:
        """Return every node of the graph written out as a tree, as paths from the root, a child before its parents."""
        paths: list[TreePath] = []

        def grow(path: TreePath) -> None:
            paths.append(path)
            for parent in self.nodes[path[-1]].parents:
                grow((*path, parent))

        grow((self.root,))
        return paths

    @property
    def n_visits(self) -> int:
        """Number of tree nodes that read others or are made: each costs a partial forward pass over the data set."""
        visited = (self.nodes[path[-1]] for path in self.tree_paths())
        return sum(bool(node.parents) or node.symmetry is not None for node in visited)


@dataclass(frozen=True, eq=False)
class Bound(BoundGraph):
    """A hypothesis that fits a model and a data set; its nodes stand parents before children.

    Attributes:
        hypothesis: The claim.
        anatomy: The model's sites.
        warnings: What is allowed but was hardly meant.
    """

    hypothesis: Hypothesis
    anatomy: Anatomy
    warnings: tuple[str, ...]


def bind(
    hypothesis: Hypothesis,
    anatomy: Anatomy,
    history: History,
    roles: Mapping[str, Bool[np.ndarray, "batch step"]] | None = None,
    seed: int = 0,
    again: bool = True,
    world: World | None = None,
) -> Bound:
    """Fit a hypothesis to a model and to data.

    Args:
        hypothesis: The claim.
        anatomy: The model's sites.
        history: The data, N rows.
        roles: Further step roles by name, the task's regimes; they join :data:`STEP_ROLES`.
        seed: Chooses the changed histories on which features and symmetries are tried.
        again: Whether they are tried on changed histories at all; not where they were, on other data of the model.
        world: Says what cannot be of the task, for what symmetries make; None if nobody knows.

    Raises:
        HypothesisError: It does not fit; lists every problem of the structure and of the features.
    """
    assert history.n_rows * history.n_steps, "no data to bind to"
    parts, problems = examine_structure(hypothesis, anatomy)
    known = {name: role(history) for name, role in STEP_ROLES.items()} | dict(roles or {})
    problems += _wrong_roles(hypothesis, known)
    rng = np.random.default_rng(seed)
    features, more = examine_features(hypothesis.nodes, history, rng, again=again)
    problems += more
    if again and not problems:  # what is made is looked at with features that are right
        renaming = supplies_everything(hypothesis, anatomy, parts)
        problems += examine_symmetries(hypothesis.nodes, history, features, rng, world, renaming)
    if problems:
        raise failure(problems, subject(hypothesis))
    nodes = {}
    for node in hypothesis.nodes:
        selected = None if node.site.role is None else known[node.site.role]
        labels = None if node is hypothesis.root else classes(features[node.name], selected)
        parents = tuple(parent.name for parent in node.parents)
        hidden = features[node.name].hidden
        place = (node.name, parts[node.name], parents)
        nodes[node.name] = BoundNode(*place, labels, selected, hidden, node.doc, node.symmetry)
    warnings = (*_dead_parts(hypothesis, parts), *_unused_nodes(hypothesis))
    read = partial(_read, hypothesis, features) if any(node.symmetry for node in hypothesis.nodes) else None
    return Bound(nodes, hypothesis.root.name, hypothesis, anatomy, warnings, read=read)


def _read(hypothesis: Hypothesis, features: Mapping[str, Feature], history: History) -> dict[str, Reading]:
    """Work out the values of all nodes but the last on other histories than those that they were bound to.

    Raises:
        HypothesisError: A feature raised.
    """
    values: dict[str, np.ndarray] = {}
    readings: dict[str, Reading] = {}
    for node in hypothesis.nodes[:-1]:
        try:
            values[node.name] = node.value(history, values)
        except Exception as error:  # the user's code may raise anything
            raise failure([node.raised(error)]) from error
        selected = None if node.site.role is None else STEP_ROLES[node.site.role](history)
        readings[node.name] = (replace(features[node.name], value=values[node.name]), selected)
    return readings


def classes(feature: Feature, selected: Bool[np.ndarray, "row step"] | None = None) -> Int[np.ndarray, "row ..."]:
    """Return which histories, or steps, agree: equal numbers for equal values. [row] or [row, step]

    Args:
        feature: Values [batch], [batch, k], [batch, step] or [batch, step, k]; the last axis is matched as a tuple.
        selected: Steps whose value counts; the others become one class of their own.
    """
    n_axes = 2 if feature.level == "step" else 1
    columns = feature.value.reshape(*feature.value.shape[:n_axes], -1)
    shape = columns.shape[:-1]
    everything = list(columns.reshape(-1, columns.shape[-1]).T)
    if selected is not None and feature.level == "step":
        inside = selected.reshape(-1)
        everything = [inside, *(np.where(inside, column, column[0]) for column in everything)]
    code, size = np.zeros(columns.size // columns.shape[-1], dtype=np.int64), 1
    for column in everything:
        numbers, count = _compact(column)
        if size * count >= PACKED:
            code, size = _compact(code)
        code, size = code * count + numbers, size * count
    return without_gaps(code, size)[0].reshape(shape)


def without_gaps(code: Int[np.ndarray, " position"], size: int) -> tuple[Int[np.ndarray, " position"], int]:
    """Number again the codes below `size` that occur; return the numbers and how many there are."""
    if size <= SPARSE * code.size:
        occurs = np.zeros(size, dtype=bool)
        occurs[code] = True
        return (np.cumsum(occurs) - 1)[code], int(occurs.sum())
    order = np.argsort(code)
    begins = np.diff(code[order], prepend=-1) != 0
    numbers = np.empty_like(code)
    numbers[order] = np.cumsum(begins) - 1
    return numbers, int(begins.sum())


def _compact(column: np.ndarray) -> tuple[Int[np.ndarray, " n"], int]:
    """Return whole numbers from 0 that are equal where the column is, and how many there may be."""
    low, high = int(column.min()), int(column.max())
    if high - low < SMALL_RANGE:
        return column.astype(np.int64) - low, high - low + 1
    values, numbers = np.unique(column, return_inverse=True)
    return numbers.astype(np.int64), len(values)


def outline(hypothesis: Hypothesis, anatomy: Anatomy) -> BoundGraph | None:
    """Return the graph of a claim in a model, without the data that gives features classes; None if it does not fit."""
    parts, problems = examine_structure(hypothesis, anatomy)
    if problems:
        return None
    nodes = {
        node.name: BoundNode(
            node.name, parts[node.name], tuple(p.name for p in node.parents), None, None, False, "", node.symmetry
        )
        for node in hypothesis.nodes
    }
    return BoundGraph(nodes, hypothesis.root.name)


def _wrong_roles(hypothesis: Hypothesis, known: Mapping[str, Any]) -> Iterator[Problem]:
    for node in hypothesis.nodes:
        role = node.site.role
        if role is not None and role not in known:
            advice = did_you_mean(role, known).strip()
            message = f'{node.name}() is narrowed to "{role}" steps, but there is no such role.'
            yield Problem(message, node.place, (("roles", listed(known)),), advice)
        elif role is not None and role not in STEP_ROLES and any(other.symmetry for other in hypothesis.nodes):
            message = f'{node.name}() is narrowed to "{role}" steps, a regime, in a claim with made donors.'
            facts = (("roles", listed(STEP_ROLES)),)
            yield Problem(message, node.place, facts, "drop .steps or use one of the roles: results come by regime")
        elif role is not None and not known[role].any():
            message = f'{node.name}() is narrowed to "{role}" steps, of which these histories have none.'
            yield Problem(message, node.place, advice="drop .steps, choose another role or use other histories")


def _dead_parts(hypothesis: Hypothesis, parts: Parts) -> Iterator[str]:
    for node in hypothesis.nodes:
        children = [child for child in hypothesis.nodes if node in child.parents]
        readers = [r for child in (*children, node) for part in parts[child.name] for r in part.readers]
        for part in parts[node.name]:
            if children and part.writer is not None and not any(part.feeds(reader) for reader in readers):
                yield (
                    f"{node.name}() names {part}, but nothing that reads {node.name} comes after it: "
                    f"it plays no role ({node.place})."
                )


def _unused_nodes(hypothesis: Hypothesis) -> Iterator[str]:
    scope: Mapping[str, Any] = getattr(hypothesis.root.function, "__globals__", {})
    claims = [hypothesis, *(value for value in scope.values() if isinstance(value, Hypothesis))]
    used: set[Callable[..., Any]] = {node.function for claim in claims for node in claim.nodes}
    for node in scope.values():
        if isinstance(node, Node) and node.file == hypothesis.root.file and node.function not in used:
            yield f"{node.name}() at {node.site} is part of no hypothesis ({node.place})."
