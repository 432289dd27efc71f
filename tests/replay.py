"""Draws taken out of one engine and forced into another, random hypotheses for that, and tests of the draws."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import combinations

import numpy as np
import torch
from expand import components, oracle_nodes, tiny_history, tiny_model
from scipy.stats import binomtest, chi2, chi2_contingency

from ad_hypotheses.causal import oracle
from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.language.anatomy import Part, Reader, Writer, head_readers
from ad_hypotheses.language.check import BoundGraph, BoundNode, TreePath
from ad_hypotheses.language.sites import SiteSet, embed, head, logits, mlp

MAX_TREE, MAX_DEPTH, MAX_PARENTS = 24, 4, 3


@dataclass
class Tables:
    """The draws of one run: at which row a parent is visited, and where unimportant inputs come from.

    Attributes:
        donors: {(path of the consumer, parent): [row]}
        others: {(path, which): [row]}; `which` is "other", or names a reader and a writer that has a row of its own
    """

    donors: dict[tuple[TreePath, str], np.ndarray] = field(default_factory=dict)
    others: dict[tuple[TreePath, str], np.ndarray] = field(default_factory=dict)

    def visited(self, nodes: Mapping[str, BoundNode], root: str, references: np.ndarray) -> dict[TreePath, np.ndarray]:
        """At which row each tree node is visited for each reference."""
        rows = {(root,): references}
        for path in BoundGraph(nodes, root).tree_paths()[1:]:
            rows[path] = self.donors[path[:-1], path[-1]][rows[path[:-1]]]
        return rows


DEFAULT = Options()


@dataclass(eq=False)
class Subject:
    """A model, histories and a hypothesis about them, with the writers that it splits.

    The first rows are references, and the others alone donors, if `n_references` says how many; else all rows are both.
    """

    model: object
    history: object
    nodes: dict[str, BoundNode]
    along: dict[Writer, np.ndarray] = field(default_factory=dict)
    n_references: int | None = None

    def scrubber(self, options: Options = DEFAULT, seed: int = 0) -> Scrubber:
        clean = Clean.run(self.model, self.history, self.n_references)
        return Scrubber(clean, BoundGraph(self.nodes, "root"), options, seed)

    @property
    def references(self) -> range:
        return range(self.history.n_rows if self.n_references is None else self.n_references)

    @property
    def donors(self) -> range:
        return range(self.n_references or 0, self.history.n_rows)

    @property
    def paths(self) -> list[TreePath]:
        return BoundGraph(self.nodes, "root").tree_paths()


def bound(model, name: str, site: SiteSet, parents=(), labels=None) -> BoundNode:
    return BoundNode(name, site.resolve(model.anatomy), tuple(parents), labels, None, False, "")


def recorded(scrubber: Scrubber, number: int) -> tuple[Tables, np.ndarray]:
    """Run one pass and return what it drew for every tree node, with its result: [row, step, action]."""
    tables, donors, other_rows = Tables(), scrubber.donors, scrubber.other_rows

    def keep_donors(path, parent):
        tables.donors[path, parent] = donors(path, parent)
        return tables.donors[path, parent]

    def keep_others(path, what="other"):
        rows = other_rows(path, what)
        tables.others[path, what] = rows.numpy()
        return rows

    scrubber.donors, scrubber.other_rows = keep_donors, keep_others
    result = scrubber.run(number).log_probs
    for path in scrubber.bound.tree_paths():  # a shared node is visited once, but has a place in each
        if scrubber.nodes[path[-1]].parents:
            keep_others(path)
        for parent in scrubber.nodes[path[-1]].parents:
            keep_donors(path, parent)
    del scrubber.donors, scrubber.other_rows
    return tables, result


def forced(scrubber: Scrubber, tables: Tables) -> np.ndarray:
    """Run one pass with given draws: [row, step, action]."""
    scrubber.donors = lambda path, parent: tables.donors[path, parent]
    scrubber.other_rows = lambda path, what="other": torch.from_numpy(tables.others[path, what])
    result = scrubber.run(0).log_probs
    del scrubber.donors, scrubber.other_rows
    return result


def for_one_reference(
    subject: Subject,
    visited: Mapping[TreePath, int],
    others: Mapping[tuple[TreePath, str], int],
    rng: np.random.Generator,
) -> Tables:
    """Tables in which one reference finds the given draws; all entries that it never comes to are arbitrary."""
    n_rows, tables = subject.history.n_rows, Tables()
    for path in subject.paths:
        for parent in subject.nodes[path[-1]].parents:
            tables.donors[path, parent] = rng.integers(n_rows, size=n_rows)
            tables.donors[path, parent][visited[path]] = visited[*path, parent]
    for (path, what), row in others.items():
        tables.others[path, what] = rng.integers(n_rows, size=n_rows)
        tables.others[path, what][visited[path]] = row
    return tables


def one_by_one(
    subject: Subject,
    visited: Mapping[TreePath, np.ndarray],
    others: Mapping[tuple[TreePath, str], np.ndarray],
    options: Options = DEFAULT,
) -> np.ndarray:
    """Scrub each reference with draws of its own: [reference, step, action].

    Two references may visit one row with different draws, which a pass cannot, so each has a pass of its own.
    """
    scrubber, rng = subject.scrubber(options), np.random.default_rng(0)
    results = []
    for number, reference in enumerate(visited[("root",)]):
        here = {path: rows[number] for path, rows in visited.items()}
        tables = for_one_reference(subject, here, {key: rows[number] for key, rows in others.items()}, rng)
        results.append(forced(scrubber, tables)[reference])
    return np.array(results)


# --- The oracle as the judge ----------------------------------------------------------------------------------------


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.logaddexp.reduce(x)


def _problem(subject: Subject, options: Options):
    graph = components(subject.model, subject.history, subject.along)
    claim = oracle_nodes(subject.nodes, subject.along)
    rules = oracle.OracleOptions(
        options.others, options.self_donors, options.align, options.shared, references=subject.n_references
    )
    return oracle._Problem(graph, claim, "root", subject.history.n_rows, subject.history.n_steps, rules)


def _outcome(execution, subject: Subject, row: int) -> list[np.ndarray]:
    steps = range(subject.history.n_steps)
    return [log_softmax(execution.value(("root",), row, "logits", None, step)) for step in steps]


def oracle_replays(subject: Subject, tables: Tables, options: Options = DEFAULT) -> np.ndarray:
    """The oracle's result on given draws: [row, step, action]."""
    execution = oracle._Execution(_problem(subject, options), choose=None)
    for (path, parent), rows in tables.donors.items():
        execution.donor_table |= {(path, parent, row, None): (donor, 0) for row, donor in enumerate(rows.tolist())}
    for (path, _), rows in tables.others.items():
        execution.other_table |= {(path, row): other for row, other in enumerate(rows.tolist())}
    return np.array([_outcome(execution, subject, row) for row in subject.references])


def oracle_draws(subject: Subject, seed: int, options: Options = DEFAULT):
    """The oracle's own draws for each reference, as `visited` and `others`, and its result on them."""
    problem, rng = _problem(subject, options), np.random.default_rng(seed)
    visited, others, results = defaultdict(list), defaultdict(list), []
    for row in subject.references:
        execution = oracle._Execution(problem, rng.integers)
        results.append(_outcome(execution, subject, row))
        here = {("root",): row}
        for path in subject.paths[1:]:
            here[path] = execution.donor(path[:-1], path[-1], here[path[:-1]], 0)[0]
        for path, at in here.items():
            visited[path].append(at)
            if subject.nodes[path[-1]].parents:  # an input that nobody reads was not drawn
                others[path, "other"].append(execution.other_table.get((path, at), 0))
    arrays = ({key: np.array(rows) for key, rows in found.items()} for found in (visited, others))
    return *arrays, np.array(results)


# --- Draws ----------------------------------------------------------------------------------------------------------


def fits(given: np.ndarray, drawn: np.ndarray, pool_of: Callable[[int], list[int]]) -> float:
    """p-value, by chi-square, that each draw is uniform over the pool of its condition; 0 if one is not in it."""
    statistic, freedom = 0.0, 0
    for condition in np.unique(given):
        allowed, found = pool_of(condition), drawn[given == condition]
        if not np.isin(found, allowed).all():
            return 0.0
        expected = len(found) / len(allowed)
        if expected >= 5:  # a condition that came too rarely says nothing of chances
            statistic += sum((np.count_nonzero(found == row) - expected) ** 2 / expected for row in allowed)
            freedom += len(allowed) - 1
    return float(chi2.sf(statistic, freedom)) if freedom else 1.0


def independent(one: np.ndarray, two: np.ndarray) -> float:
    """p-value, by chi-square, that two draws know nothing of each other; 1 where one of them cannot vary."""
    table = np.zeros((one.max() + 1, two.max() + 1))
    np.add.at(table, (one, two), 1)
    return float(chi2_contingency(table[table.any(axis=1)][:, table.any(axis=0)]).pvalue)


INSIDE = "inside"  # whether a row may stand in for itself: only if it is a donor


def pool(labels: np.ndarray, row: int, self_donors: bool | str, donors: Sequence[int]) -> list[int]:
    """Donors that agree with a row on a feature, worked out directly, and the row itself where it may be its own."""
    strangers = [r for r in donors if labels[r] == labels[row] and r != row]
    itself = row in donors if self_donors == INSIDE else self_donors
    return [*strangers, row] if itself or not strangers else strangers


def draw_tests(
    subject: Subject,
    visited: Mapping[TreePath, np.ndarray],
    others: Mapping[TreePath, np.ndarray],
    self_donors: bool | str,
) -> dict[str, float]:
    """p-values of many draws for one reference: of each given the row before it, and of what must be independent."""
    found: dict[str, float] = {}
    everything = np.zeros(subject.history.n_rows)
    for path in subject.paths[1:]:
        labels = subject.nodes[path[-1]].labels
        agreeing = partial(pool, labels, self_donors=self_donors, donors=subject.donors)
        found[f"donor {path}"] = fits(visited[path[:-1]], visited[path], lambda row, of=agreeing: of(row))
    anybody = partial(pool, everything, self_donors=self_donors, donors=subject.donors)
    for path, rows in others.items():
        found[f"other {path}"] = fits(visited[path], rows, anybody)
    for one, two in combinations(others, 2):
        nested = len(one) > 1 and two[: len(one)] == one
        # without self-donors both avoid rows that depend on each other, with them a reference may come again
        if not nested or (self_donors and subject.n_references is None):
            found[f"others of {one} and {two}"] = independent(others[one], others[two])
    for one, two in combinations(subject.paths, 2):
        apart = one[: len(two)] != two and two[: len(one)] != one
        if apart:  # neither is on the way to the other
            found[f"donors of {one} and {two}"] = independent(visited[one], visited[two])
        if apart and one[-1] == two[-1] and one in others:
            # the same donor, visited twice
            met = (visited[one] == visited[two]) & np.isin(visited[one], subject.donors)
            hits, chance = (others[one] == others[two])[met].sum(), 1 / (len(subject.donors) - (not self_donors))
            found[f"others of {one} and {two} at a row"] = float(binomtest(int(hits), int(met.sum()), chance).pvalue)
    return found


def engine_draws(subject: Subject, references: Sequence[int], self_donors: bool, draws: int):
    """The fast engine's draws for each of some references, one a pass, as `visited` and `others`."""
    scrubber = subject.scrubber(Options(self_donors=self_donors), seed=1)
    inner = [path for path in subject.paths if subject.nodes[path[-1]].parents]
    found = [({path: [] for path in subject.paths}, {path: [] for path in inner}) for _ in references]
    for scrubber._pass in range(draws):
        donors = {path: scrubber.donors(path[:-1], path[-1]) for path in subject.paths[1:]}
        other_rows = {path: scrubber.other_rows(path) for path in inner}
        for reference, (visited, others) in zip(references, found, strict=True):
            here = {("root",): reference}
            for path in subject.paths:
                if path[:-1]:
                    here[path] = int(donors[path][here[path[:-1]]])
                visited[path].append(here[path])
            for path in inner:
                others[path].append(int(other_rows[path][here[path]]))
    return [tuple({path: np.array(rows) for path, rows in tables.items()} for tables in pair) for pair in found]


# --- Hypotheses -----------------------------------------------------------------------------------------------------


@cache
def random_subject(seed: int, n_rows: int = 7, n_steps: int = 5) -> Subject:
    """A small model and a random hypothesis about it with history-level features, all that Redwood's engine knows."""
    rng = np.random.default_rng(seed)
    shape = [{}, {"layer_norm": False}, {"attention_only": True}][seed % 3]
    model, history = tiny_model(seed % 5, n_steps, **shape), tiny_history(seed, n_rows, n_steps)
    while True:
        nodes, along = _hypothesis(rng, model, n_rows)
        paths = BoundGraph(nodes, "root").tree_paths()
        if 3 <= len(paths) <= MAX_TREE and max(map(len, paths)) <= MAX_DEPTH:
            return Subject(model, history, nodes, along)


def _hypothesis(rng, model, n_rows):
    writers = [writer for writer in model.anatomy.writers if writer.kind != "pos"]
    chosen = sorted(rng.choice(len(writers), size=rng.integers(2, 7), replace=False))
    nodes, along = {}, {}
    groups: list[list[Part]] = []
    for writer in (writers[n] for n in chosen):
        directions = np.linalg.qr(rng.normal(size=(model.shape.d_model, 3)))[0].T if rng.random() < 0.15 else None
        if directions is not None:
            along[writer] = directions
        part = Part(writer, _reads(writer), None, directions)
        if groups and rng.random() < 0.2:
            groups[-1].append(part)
        else:
            groups.append([part])
    for number, parts in enumerate([*groups, [Part(None, (model.anatomy.logits,))]]):
        _add(rng, nodes, f"n{number}" if number < len(groups) else "root", parts, n_rows)
    return _narrowed(rng, nodes), along


def _reads(writer: Writer) -> tuple[Reader, ...]:
    if writer.kind == "head":
        return head_readers(writer.layer, writer.head)
    return (Reader(writer.stage, "mlp", writer.layer),) if writer.kind == "mlp" else ()


def _feature(rng, n_rows):
    kinds = [np.zeros(n_rows, dtype=int), np.arange(n_rows), rng.integers(2, size=n_rows), rng.integers(3, size=n_rows)]
    return kinds[rng.choice(4, p=[0.15, 0.1, 0.4, 0.35])]


def _parents(rng, nodes, readers):
    fitting = [n.name for n in nodes.values() if any(part.feeds(r) for part in n.parts for r in readers)]
    return list(rng.permutation(fitting)[: rng.integers(1, MAX_PARENTS + 1)]) if fitting else []


def _add(rng, nodes, name, parts, n_rows):
    """Add a node; sometimes one of its heads' inputs is a node of its own."""
    labels = None if name == "root" else _feature(rng, n_rows)
    parents = (
        [] if name != "root" and rng.random() < 0.2 else _parents(rng, nodes, [r for p in parts for r in p.readers])
    )
    heads = [
        part for part in parts if part.writer is not None and part.writer.kind == "head" and part.directions is None
    ]
    if heads and rng.random() < 0.3:
        reader = heads[0].readers[rng.integers(3)]
        inner = f"{name}.{reader.kind}"
        below = [] if rng.random() < 0.3 else _parents(rng, nodes, [reader])
        nodes[inner] = BoundNode(inner, (Part(None, (reader,)),), tuple(below), _feature(rng, n_rows), None, False, "")
        parents = [*parents[: MAX_PARENTS - 1], inner]
    nodes[name] = BoundNode(name, tuple(parts), tuple(map(str, parents)), labels, None, False, "")


def _narrowed(rng, nodes):
    """Restrict some parts, with `.to`, to some readers of the one node that has them as a parent."""
    for name, node in list(nodes.items()):
        consumers = [other for other in nodes.values() if name in other.parents]
        reads = {reader for other in consumers for part in other.parts for reader in part.readers}
        parts = []
        for part in node.parts:
            readers = sorted(reader for reader in reads if part.feeds(reader))
            if len(readers) > 1 and len(consumers) == 1 and rng.random() < 0.3:
                kept = frozenset(r for r in readers if rng.random() < 0.6) or frozenset(readers[:1])
                part = Part(part.writer, part.readers, kept, part.directions)
            parts.append(part)
        nodes[name] = BoundNode(name, tuple(parts), node.parents, node.labels, None, False, "")
    return {name: node for name, node in nodes.items() if name in _reached(nodes)}


def _reached(nodes):
    return {path[-1] for path in BoundGraph(nodes, "root").tree_paths()}


def ladder(seed: int = 0, n_rows: int = 6, n_references: int | None = None) -> Subject:
    """A node with two consumers and a parent of its own, so that every rule about draws matters: depth 4."""
    model, history = tiny_model(seed, n_steps=3), tiny_history(seed, n_rows, 3)
    halves, thirds = np.arange(n_rows) % 2, np.arange(n_rows) // 2 % 3
    nodes = [
        bound(model, "cell", embed("x"), (), halves),
        bound(model, "early", head(0, 0), ["cell"], thirds),
        bound(model, "left", head(1, 0), ["early"], halves),
        bound(model, "right", mlp(0), ["early"], np.zeros(n_rows, dtype=int)),
        bound(model, "root", logits, ["left", "right"]),
    ]
    return Subject(model, history, {node.name: node for node in nodes}, n_references=n_references)
