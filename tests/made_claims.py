"""Random claims some of whose donors are made, and the draws of a pass written out for the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from expand import components, oracle_nodes, owner, random_hypothesis, tiny_history, tiny_model
from jaxtyping import Int

from ad_hypotheses.causal import made, made_visit, oracle, visit
from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.scrub import Options
from ad_hypotheses.language.check import BoundGraph, BoundNode, Reading, classes
from ad_hypotheses.language.feature_check import Feature
from ad_hypotheses.language.history import History
from ad_hypotheses.language.symmetries.symmetry import Symmetry
from ad_hypotheses.sources.variants import joined

STEPS = 4


def another_past(history: History, steps: Int[np.ndarray, " batch"], rng: np.random.Generator) -> History:
    """Anything may have happened: what an engine makes of it does not ask whether a value stayed."""
    clock = np.arange(history.n_steps)
    before, seen = clock < steps[:, None], clock <= steps[:, None]
    shape = history.actions.shape
    return replace(
        history,
        observations=np.where(seen[..., None], rng.integers(3, size=(*shape, 1)), history.observations),
        actions=np.where(before, rng.integers(3, size=shape), history.actions),
        rewards=np.where(before, rng.integers(2, size=shape).astype(np.float32), history.rewards),
    )


def reordered(history: History, steps: Int[np.ndarray, " batch"], rng: np.random.Generator) -> History:
    """The same pulls with the same pay in another order."""
    clock = np.arange(history.n_steps)
    place = np.where(clock < steps[:, None], rng.random(history.actions.shape), 1 + clock)
    order = np.argsort(place, axis=1, kind="stable")
    actions, rewards = (np.take_along_axis(values, order, axis=1) for values in (history.actions, history.rewards))
    return replace(history, actions=actions, rewards=rewards)


ANOTHER_PAST, REORDERED = Symmetry("another_past", another_past), Symmetry("reordered", reordered)


@dataclass(frozen=True, eq=False)
class Values:
    """Features that can be worked out on any history: a code of what was seen and done, with few values."""

    seeds: Mapping[str, int]
    kinds: Mapping[str, tuple[int, bool, bool]]  # number of values; of whole histories; narrowed to some steps

    def __call__(self, history: History) -> dict[str, Reading]:
        return {name: self.reading(name, history) for name in self.kinds}

    def reading(self, name: str, history: History) -> Reading:
        n_values, whole, narrowed = self.kinds[name]
        weights = np.random.default_rng(self.seeds[name]).integers(1, 50, size=4)
        shown = history.observations[..., 0] * weights[0] + history.previous_actions * weights[1]
        code = np.cumsum(shown + history.previous_rewards.astype(int) * weights[2], axis=1)
        value = history.task["kind"] % n_values if whole else code % n_values
        selected = (code + weights[3]) % 3 > 0 if narrowed else None
        return Feature(value, "row" if whole else "step", whole), selected


@dataclass(eq=False)
class MadeSubject:
    """A model, histories and a claim about them, some of whose donors are made."""

    model: object
    history: History
    graph: BoundGraph
    along: dict = field(default_factory=dict)

    def scrubber(self, options: Options, seed: int, references: int | None = None, where=None) -> made.MadeScrubber:
        clean = Clean.run(self.model, self.history, references)
        return made.MadeScrubber(clean, self.graph, options, seed, where=where)


def random_made_subject(seed: int) -> MadeSubject:
    """A random claim whose nodes get features that can be read on made rows, and some of them a symmetry."""
    rng = np.random.default_rng(seed)
    history = replace(tiny_history(seed, 4, STEPS), task={"kind": rng.integers(6, size=4)})
    model = tiny_model(seed % 7, STEPS)
    drawn, along = random_hypothesis(rng, model, history)
    reached = {path[-1] for path in BoundGraph(drawn, "root").tree_paths()}
    drawn = {name: node for name, node in drawn.items() if name in reached}
    inner = [name for name in drawn if name != "root"]
    kinds = {
        name: (int(rng.integers(1, 4)), drawn[name].labels.ndim == 1, drawn[name].selected is not None)
        for name in inner
    }
    chosen = {name for name in inner if rng.random() < 0.5} or {inner[-1]}
    kinds |= {name: (kinds[name][0], False, kinds[name][2]) for name in chosen}
    values = Values({name: int(rng.integers(1000)) for name in inner}, kinds)
    return MadeSubject(model, history, rebound(drawn, values, history, chosen), along)


def rebound(nodes: Mapping[str, BoundNode], values: Values, history: History, chosen) -> BoundGraph:
    """The same nodes with the labels of some histories."""
    bound = {}
    for name, node in nodes.items():
        if node.labels is None:
            bound[name] = node
            continue
        feature, selected = values.reading(name, history)
        symmetry = ANOTHER_PAST if name in chosen else None
        labels = classes(feature, selected)
        bound[name] = replace(node, labels=labels, selected=selected, symmetry=symmetry)
    return BoundGraph(bound, "root", read=values)


@dataclass
class Draws:
    """Everything that one pass drew, with made rows numbered on from those of the dataset."""

    rows: list[History] = field(default_factory=list)
    donors: dict = field(default_factory=dict)
    others: dict = field(default_factory=dict)
    apart: dict = field(default_factory=dict)
    tables: list = field(default_factory=list)  # (path, numbers of what was visited, made rows, numbers of these)

    @property
    def n_made(self) -> int:
        return sum(row.n_rows for row in self.rows)


def recorded(subject: MadeSubject, scrubber: made.MadeScrubber, number: int) -> tuple[Draws, np.ndarray]:
    """Run one pass and return what it drew, with its result: [row, step, action]."""
    draws, n_rows, n_steps = Draws(), subject.history.n_rows, STEPS
    numbers: dict[int, np.ndarray] = {}  # of the rows that a made visit is at, by the visit's rows
    make = scrubber._make

    def recording_make(visit, parent, positions):
        rows = make(visit, parent, positions)
        of = numbers[id(visit.rows)] if isinstance(visit, made_visit.MadeVisit) else np.arange(n_rows)
        own = n_rows + draws.n_made + np.arange(len(rows.steps))
        numbers[id(rows)] = own
        draws.rows.append(rows.history)
        draws.tables.append((visit.path, parent, of[positions // n_steps], rows, own))
        for place, (at, step) in enumerate(zip(of[positions // n_steps], positions % n_steps, strict=True)):
            draws.donors[visit.path, parent, int(at), int(step)] = (int(own[place]), int(step))
        return rows

    scrubber._make = recording_make
    patched = _RecordedVisits(draws, numbers, subject)
    patched.install()
    try:
        result = scrubber.run(number).log_probs
    finally:
        patched.uninstall()
        del scrubber._make
    return draws, result


class _RecordedVisits:
    """Writes down the tables of every visit, found and made, when it has been set up."""

    def __init__(self, draws: Draws, numbers: dict, subject: MadeSubject) -> None:
        self.draws, self.numbers, self.subject = draws, numbers, subject
        self.drawn = visit.Visit.drawn, made_visit.MadeVisit.drawn
        self.compute = visit.Chunk.__init__

    def install(self) -> None:
        record, (found, at_made), begin = self, self.drawn, self.compute

        def tables(original):
            def drawn(visit, parent):
                is_made = isinstance(visit, made_visit.MadeVisit)
                table = visit.donors(parent) if is_made else visit.scrubber.donors(visit.path, parent)
                record.keep_donors(visit, parent, table)
                return original(visit, parent)

            return drawn

        def chunk(self, visit, part):
            begin(self, visit, part)
            record.keep_others(visit)

        visit.Visit.drawn, made_visit.MadeVisit.drawn = tables(found), tables(at_made)
        visit.Chunk.__init__ = chunk

    def uninstall(self) -> None:
        visit.Visit.drawn, made_visit.MadeVisit.drawn = self.drawn
        visit.Chunk.__init__ = self.compute

    def rows_of(self, visit) -> np.ndarray:
        if isinstance(visit, made_visit.MadeVisit):
            return self.numbers[id(visit.rows)]
        return np.arange(self.subject.history.n_rows)

    def keep_donors(self, visit, parent, table) -> None:
        rows = self.rows_of(visit)
        for place in np.ndindex(table.shape):
            step = place[1] if len(place) == 2 else None
            donor = divmod(int(table[place]), STEPS) if step is not None else (int(table[place]), 0)
            self.draws.donors[visit.path, parent, int(rows[place[0]]), step] = donor

    def keep_others(self, visit) -> None:
        for row, other in zip(self.rows_of(visit).tolist(), visit.other.tolist(), strict=True):
            self.draws.others[visit.path, row] = other
        if visit.scrubber.options.others == "independent":
            for reader in self.subject.model.anatomy.readers:
                component = owner(reader, self.subject.along)
                for writer in self.subject.model.anatomy.writers:
                    table = visit.other_for(reader, writer).tolist()
                    for suffix in (" along", " rest") if writer in self.subject.along else ("",):
                        edge = ((component, reader.kind), str(writer) + suffix)
                        for row, other in zip(self.rows_of(visit).tolist(), table, strict=True):
                            self.draws.apart[visit.path, row, *edge] = other


def oracle_replays(subject: MadeSubject, draws: Draws, options: Options, asked: np.ndarray) -> np.ndarray:
    """The oracle's result on given draws at the positions that are asked for: [position, action]."""
    everything = joined([subject.history, *draws.rows]) if draws.rows else subject.history
    read = subject.graph.read
    plain = {name: replace(node, symmetry=None) for name, node in subject.graph.nodes.items()}
    nodes = rebound(plain, read, everything, ())
    rules = oracle.OracleOptions(options.others, options.self_donors, options.align, False, everything.episode_step)
    claim = oracle_nodes(dict(nodes.nodes), subject.along)
    graph = components(subject.model, everything, subject.along)
    execution = oracle._Execution(oracle._Problem(graph, claim, "root", everything.n_rows, STEPS, rules), choose=None)
    execution.donor_table |= draws.donors
    execution.other_table |= draws.others | draws.apart
    where = np.argwhere(asked).tolist()
    return np.array([_log_softmax(execution.value(("root",), row, "logits", None, step)) for row, step in where])


def _log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.logaddexp.reduce(x)


def unlawful(subject: MadeSubject, scrubber: made.MadeScrubber, draws: Draws) -> str:
    """What is wrong with the draws of a pass; nothing if every one may be drawn."""
    everything = joined([subject.history, *draws.rows]) if draws.rows else subject.history
    readings, n_rows = subject.graph.read(everything), subject.history.n_rows
    for _, parent, of, rows, own in draws.tables:
        before, after, steps = everything[of], everything[own], rows.steps[:, None]
        clock = np.arange(STEPS)
        for field_name, future in (("actions", clock >= steps), ("rewards", clock >= steps)):
            if (getattr(before, field_name) != getattr(after, field_name))[future].any():
                return f"{parent} was made of another row than was visited"
        if (before.observations != after.observations)[clock > steps].any():
            return f"{parent} was made of another row than was visited"
    pool = np.flatnonzero(scrubber.pool).tolist()
    for (_, parent, row, step), donor in draws.donors.items():
        if row >= n_rows > donor[0]:
            allowed = _agreeing(readings[parent], everything, pool, row, step, scrubber.options.align)
            if allowed and donor not in allowed:
                return f"a donor of {parent} does not agree with what was made"
    for key, other in {**draws.others, **draws.apart}.items():
        if key[1] >= n_rows and other not in pool:
            return "what is unimportant to a made row does not come from the pool"
    return ""


def _agreeing(
    reading: Reading, history: History, pool: list[int], row: int, step: int | None, align: str
) -> set[tuple[int, int]]:
    """Found donors that agree with a row on a feature, at a step or as whole histories."""
    (feature, selected), clock = reading, history.episode_step
    if step is None:
        return {(other, 0) for other in pool if feature.value[other] == feature.value[row]}
    value = np.broadcast_to(feature.value.reshape(len(feature.value), -1), clock.shape)
    speaks = np.ones(clock.shape, dtype=bool) if selected is None else selected
    if not speaks[row, step]:
        return set()  # nobody looks there
    return {
        (other, at)
        for other in pool
        for at in range(STEPS)
        if align == "any" or (at == step if align == "step" else clock[other, at] == clock[row, step])
        if speaks[other, at] and value[other, at] == value[row, step]
    }
