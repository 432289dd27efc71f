"""Causal scrubbing as plainly as it can be written, exact on any small graph of Python functions.

This is the definition that the fast engine is tested against. `G` is a list of :class:`OracleComponent`, the
hypothesis a list of :class:`OracleNode`. One *execution* draws what it needs, lazily, into tables:
`donor[path, parent][row, step]`
(`[row]` where the parent's feature belongs to whole histories) and `other[path][row]`, with `path` the way from the
root to the node that is visited. :func:`expected_loss` replays the execution over every outcome of every draw,
:func:`sampled_loss` lets a generator draw. Each reference position `(row, step)` starts from empty tables.

Algorithm: Chan et al. 2022, "Causal Scrubbing: a method for rigorously testing interpretability hypotheses".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import prod
from typing import Any, Literal, no_type_check

import numpy as np
from jaxtyping import Float

from ad_hypotheses.errors import HypothesisError


@dataclass(frozen=True)
class OracleComponent:
    """One function of the model's graph, at every step of every row.

    `reads` maps each part ("q", "k"; a simple function has the one part "in") to the earlier components read there;
    `{}` makes an input, whose `compute(row, step)` returns its value. Any other has `compute(inputs)`, with
    `inputs[part]` the `{name: value}` at the same step or, if it `looks_back`, a list of these for the steps `0..t`.
    """

    name: str
    reads: Mapping[str, tuple[str, ...]]
    compute: Callable[..., Any]
    looks_back: bool = False


@dataclass(frozen=True)
class Site:
    """Where a node sits: a component's output, or (`part="q"`) everything that part reads, as `{name: value}`.

    `to` restricts an output to these readers `(component, part)`: every other reader sees it as unimportant.
    """

    component: str
    part: str | None = None
    to: frozenset[tuple[str, str]] | None = None


@dataclass(frozen=True)
class OracleSymmetry:
    """What makes donors of a node: any of `draws(row, step)` is as likely, so rows may come several times.

    A made row is anything that is not the number of a row of the data. Inputs are computed on it, `labels[made]` is
    asked for its features, `draws` makes further rows of it. `shown(row, step)` is what the model sees of a row up to
    a step: a draw that shows the same as the visited row is that row itself.
    """

    draws: Callable[[Any, int], Sequence[Any]]
    shown: Callable[[Any, int], Any]


@dataclass(frozen=True)
class OracleNode:
    """A node of the hypothesis: its sites, its parents' names and its feature's value on the data.

    `labels[row]` is a number, string or tuple for a history-level feature, a list or array over steps for a step-level
    one; the root's is None. Consumer rows at steps with `selected[row][step]` false read `other`; the role joins the
    feature, which makes it step-level. With a `symmetry` donors are not found among rows that agree, but made: for
    each step by itself.
    """

    name: str
    sites: tuple[Site, ...]
    parents: tuple[str, ...] = ()
    labels: Sequence[Any] | np.ndarray | None = None
    selected: Sequence[Sequence[bool]] | np.ndarray | None = None
    symmetry: OracleSymmetry | None = None


@dataclass(frozen=True)
class OracleOptions:
    """How draws are made.

    `others`: one `other` a visit, or one for each (visit, reader, writer). `self_donors`: whether a visit may draw its
    own row (where nothing else agrees it always does). `align`: step-level donors come from the same step, from the
    same `episode_step[row][step]`, or from any step. `shared`: a node has one set of tables however it is reached
    (`path` is its name alone), instead of one for each path from the root. `references`: the first so many rows are
    references, and only the others donors; None: every row is both.
    """

    others: Literal["joint", "independent"] = "joint"
    self_donors: bool = False
    align: Literal["step", "episode_step", "any"] = "step"
    shared: bool = False
    episode_step: Sequence[Sequence[int]] | np.ndarray | None = None
    references: int | None = None


@no_type_check  # called a million times by an enumeration: a run-time type checker would take most of it
class _Problem:
    """Everything that no draw changes: the graph, its clean values and the pools of donors."""

    def __init__(self, components, nodes, root, n_rows, n_steps, options):
        self.components = {component.name: component for component in components}
        self.nodes = {node.name: node for node in nodes}
        self.root, self.n_rows, self.n_steps, self.options = root, n_rows, n_steps, options
        self.clean_values, self.pools = {}, {}
        self.donor_rows = range(options.references or 0, n_rows)
        everyone = [(row, 0) for row in self.donor_rows]
        self.found = frozenset(range(n_rows))
        self.others = [[donor for donor, _ in self.self_ruled(everyone, row, 0)] for row in range(n_rows)]
        _check(self)

    def other_rows(self, row):
        """Return the rows from which unimportant inputs of a visit to `row` may come."""
        return self.others[row] if row in self.found else self.donor_rows

    def clean(self, name, row, step):
        """Return the value of a component in the untouched model."""
        if (name, row, step) not in self.clean_values:
            read = partial(self.clean_inputs, name, row)
            self.clean_values[name, row, step] = _compute(self.components[name], row, step, read)
        return self.clean_values[name, row, step]

    def clean_inputs(self, name, row, part, step):
        return {writer: self.clean(writer, row, step) for writer in self.components[name].reads[part]}

    def step_level(self, node):
        return node.selected is not None or isinstance(node.labels[0], list | np.ndarray)

    def feature(self, node, row, step):
        """Return what a donor must agree on."""
        label = node.labels[row]
        if isinstance(label, list | np.ndarray):
            label = label[step]
        label = tuple(np.ravel(label).tolist()) if isinstance(label, np.ndarray) else label
        return label if node.selected is None else (label, bool(node.selected[row][step]))

    def donors(self, node, row, step):
        """Return every (row, step) from which a visit to `row` may draw `node` for its `step`."""
        if node.symmetry is not None:
            return self.made(node, row, step)
        if (node.name, row, step) not in self.pools:
            align = self.options.align if self.step_level(node) else "step"
            steps = [step] if align == "step" else range(self.n_steps)
            wanted = self.feature(node, row, step)
            agreeing = [(r, s) for r in self.donor_rows for s in steps if self.feature(node, r, s) == wanted]
            if align == "episode_step":
                clock = self.options.episode_step
                agreeing = [(r, s) for r, s in agreeing if clock[r][s] == clock[row][step]]
            self.pools[node.name, row, step] = self.self_ruled(agreeing, row, step)
        return self.pools[node.name, row, step]

    def made(self, node, row, step):
        """Return every row that the node's symmetry makes of `row` at `step`; those that show the same are itself."""
        shown = node.symmetry.shown
        rows = node.symmetry.draws(row, step)
        if not self.options.self_donors:
            rows = [made for made in rows if shown(made, step) != shown(row, step)]
        return [(made, step) for made in rows]

    def self_ruled(self, pairs, row, step):
        """Take the own row out of some donors, or put a reference among them, as self-donors are allowed or not."""
        if row not in self.found:  # a made row is nobody's donor, its own neither
            return pairs
        different = [pair for pair in pairs if pair[0] != row]
        if not self.options.self_donors and different:
            return different
        return pairs if row in self.donor_rows else [*pairs, (row, step)]


class _Untested(Exception):
    """No made donor differs from what is visited, or no row agrees with one that was made."""


@no_type_check
class _Execution:
    """One run of the scrubbed model on one reference, with `choose(n)` deciding every draw."""

    def __init__(self, problem, choose):
        self.problem, self.choose = problem, choose
        self.donor_table, self.other_table, self.values = {}, {}, {}

    def value(self, path, row, component, part, step):
        """Return the value at one site of the node at the end of `path`, visited at `row`."""
        key = (path, row, component, part, step)
        if key not in self.values:
            read = partial(self.inputs, path, row, component)
            whole = self.problem.components[component]
            self.values[key] = read(part, step) if part else _compute(whole, row, step, read)
        return self.values[key]

    def inputs(self, path, row, component, part, step):
        """Return what `part` of `component`, a site of the visited node, sees at `step`: `{writer: value}`."""
        node = self.problem.nodes[path[-1]]
        if not node.parents and node.name != self.problem.root:
            return self.problem.clean_inputs(component, row, part, step)
        source = self.input
        for parent in node.parents:
            if _is_part(self.problem.nodes[parent], component, part):
                donor = self.donor(path, parent, row, step)
                if donor is not None:
                    return self.value(self.below(path, parent), donor[0], component, part, donor[1])
                source = self.unimportant
        writers = self.problem.components[component].reads[part]
        return {writer: source(path, row, (component, part), writer, step) for writer in writers}

    def input(self, path, row, reader, writer, step):
        """What `reader` sees of `writer`: a parent's value on its donor, the node's own site, or the clean `other`."""
        node = self.problem.nodes[path[-1]]
        for parent in node.parents:
            if _writes(self.problem.nodes[parent], writer, reader):
                donor = self.donor(path, parent, row, step)
                if donor is None:
                    return self.unimportant(path, row, reader, writer, step)
                return self.value(self.below(path, parent), donor[0], writer, None, donor[1])
        if _writes(node, writer, reader):
            return self.value(path, row, writer, None, step)
        return self.unimportant(path, row, reader, writer, step)

    def unimportant(self, path, row, reader, writer, step):
        edge = () if self.problem.options.others == "joint" else (reader, writer)
        key = (path, row, *edge)
        if key not in self.other_table:
            self.other_table[key] = self.pick(self.problem.other_rows(row))
        return self.problem.clean(writer, self.other_table[key], step)

    def donor(self, path, parent, row, step):
        """Return the (row, step) drawn for `parent`, or None where this step of this row is not selected."""
        node = self.problem.nodes[parent]
        if node.selected is not None and not node.selected[row][step]:
            return None
        step_level = self.problem.step_level(node)
        if node.symmetry is not None and self.problem.options.shared:
            raise HypothesisError(f"{node.name} has made donors, which are drawn for each of its consumers.")
        key = (path, parent, row, step if step_level else None)
        if key not in self.donor_table:
            self.donor_table[key] = self.pick(self.problem.donors(node, row, step))
        return self.donor_table[key] if step_level else (self.donor_table[key][0], step)

    def pick(self, pool):
        if not len(pool):
            raise _Untested
        return pool[self.choose(len(pool))]

    def below(self, path, parent):
        return (parent,) if self.problem.options.shared else (*path, parent)


def expected_loss(
    components: Sequence[OracleComponent],
    nodes: Sequence[OracleNode],
    root: str,
    n_rows: int,
    n_steps: int,
    loss: Callable[[Any, int, int], Any],
    options: OracleOptions = OracleOptions(),
) -> dict[tuple[int, int], Any]:
    """Compute the exact expected loss of the scrubbed model at each reference position, over every draw.

    Args:
        components: The graph, in any order.
        nodes: The hypothesis, a DAG; a root without parents is the baseline, in which nothing is important.
        root: Name of the node that the loss reads, at the first of its sites; it is never resampled.
        n_rows: Rows of the data.
        n_steps: Steps of every row; 1 for a graph without steps.
        loss: `loss(value, row, step)`, of the root's value on the reference (row, step), which owns the label.
        options: How draws are made.

    Returns:
        `{(row, step): expectation}`, a Fraction wherever `loss` returns integers or Fractions. Of made donors, those
        that differ from what is visited are drawn; None where there are none.

    Raises:
        HypothesisError: A node reads none of a parent's sites, one site belongs to two nodes, or a node with made
            donors is shared.
    """
    problem = _Problem(components, nodes, root, n_rows, n_steps, options)
    return {position: _expectation(problem, loss, *position) for position in np.ndindex(n_rows, n_steps)}


def sampled_loss(
    components: Sequence[OracleComponent],
    nodes: Sequence[OracleNode],
    root: str,
    n_rows: int,
    n_steps: int,
    loss: Callable[[Any, int, int], Any],
    options: OracleOptions,
    rng: np.random.Generator,
    samples: int,
) -> Float[np.ndarray, "samples row step"]:
    """Sample what :func:`expected_loss` enumerates, each (sample, row, step) with draws of its own from `rng`.

    NaN where a made donor that differs could not be drawn.
    """
    problem = _Problem(components, nodes, root, n_rows, n_steps, options)
    losses = np.full((samples, n_rows, n_steps), np.nan)
    for sample, row, step in np.ndindex(losses.shape):
        with suppress(_Untested):
            losses[sample, row, step] = _scrubbed_loss(problem, loss, row, step, rng.integers)
    return losses


@no_type_check
def _expectation(problem, loss, row, step):
    """Replay the execution over all outcomes of its draws, depth first; None if none of them comes to an end."""
    total, tested, script = Fraction(0), Fraction(0), []
    while True:
        draws = []  # (outcome, number of outcomes) of each draw of this execution
        with suppress(_Untested):
            value = _scrubbed_loss(problem, loss, row, step, partial(_follow, script, draws))
            chance = Fraction(1, prod(n for _, n in draws))
            total, tested = total + value * chance, tested + chance
        while draws and draws[-1][0] == draws[-1][1] - 1:
            draws.pop()
        if not draws:
            return total / tested if tested else None
        script = [outcome for outcome, _ in draws]
        script[-1] += 1


@no_type_check
def _follow(script, draws, n):
    draws.append((script[len(draws)] if len(draws) < len(script) else 0, n))
    return draws[-1][0]


@no_type_check
def _scrubbed_loss(problem, loss, row, step, choose):
    site = problem.nodes[problem.root].sites[0]
    return loss(_Execution(problem, choose).value((problem.root,), row, site.component, site.part, step), row, step)


@no_type_check
def _compute(component, row, step, read):
    """Evaluate one component; `read(part, step)` returns what a part sees."""
    if not component.reads:
        return component.compute(row, step)
    if component.looks_back:
        return component.compute({part: [read(part, s) for s in range(step + 1)] for part in component.reads})
    return component.compute({part: read(part, step) for part in component.reads})


@no_type_check
def _writes(node, writer, reader):
    """Whether what `reader` sees of `writer` belongs to the node."""
    return any(s.component == writer and s.part is None and (s.to is None or reader in s.to) for s in node.sites)


@no_type_check
def _is_part(node, component, part):
    """Whether the node is that whole input of the component."""
    return any((s.component, s.part) == (component, part) for s in node.sites)


def _check(problem):
    """Refuse what would silently be unimportant, or silently belong to the first of two nodes."""
    for node in problem.nodes.values():
        reads = [(site, problem.components[site.component].reads) for site in node.sites]
        readers = [(s.component, part, r[part]) for s, r in reads for part in r if s.part in (None, part)]
        arrows = [(writer, (component, part)) for component, part, writers in readers for writer in writers]
        parents = [problem.nodes[parent] for parent in node.parents]
        for parent in parents:
            if not any(_writes(parent, *arrow) or _is_part(parent, *arrow[1]) for arrow in arrows):
                raise HypothesisError(f"{node.name} reads none of {parent.name}'s sites.")
        for arrow in arrows:
            owners = [owner.name for owner in (node, *parents) if _writes(owner, *arrow)]
            if len(owners) > 1:
                raise HypothesisError(f"{node.name} reads {arrow[0]!r} of {' and '.join(owners)}: give it to one.")
