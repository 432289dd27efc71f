"""The oracle against hand-derived answers, against the paper's own form, and against the laws that any engine obeys."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from cases import CASES, EXCLUSIVE, FLAT, INCLUSIVE, SAME, add_up, anything, by_step, function, node, stepless, stepped
from hypothesis import given
from hypothesis import strategies as st
from laws import law

from ad_hypotheses.causal.oracle import OracleNode, OracleOptions, Site, expected_loss, sampled_loss
from ad_hypotheses.errors import HypothesisError


def exact(case, **changes):
    case = replace(case, **changes)
    return expected_loss(case.components, case.nodes, case.root, len(case.rows), case.n_steps, case.loss, case.options)


def mean(losses):
    return sum(losses.values()) / len(losses)


def named(name):
    return next(case for case in CASES if case.name == name)


by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@by_name
@pytest.mark.default_cases(5)
def test_enumeration_gives_the_answer_worked_out_by_hand(case):
    result = mean(exact(case))
    assert isinstance(result, Fraction)
    assert result == case.answer


@by_name
@pytest.mark.default_cases(8)
def test_sampling_agrees_with_the_answer(case):
    samples = max(40, 2000 // (len(case.rows) * case.n_steps))
    losses = sampled_loss(
        case.components,
        case.nodes,
        case.root,
        len(case.rows),
        case.n_steps,
        case.loss,
        case.options,
        np.random.default_rng(7),
        samples,
    )
    assert losses.shape == (samples, len(case.rows), case.n_steps)
    means = losses.mean(axis=(1, 2))
    standard_error = means.std(ddof=1) / samples**0.5
    assert abs(means.mean() - float(case.answer)) <= 4 * standard_error + 1e-12


# --- The paper's form, one datum at a time, and the mistakes one makes in it ----------------------------------------

WRONG_VARIANTS = ("own datum", "agree with the root", "one draw a node", "one other an edge", "values")


class Fork(Exception):
    """The run wants one more outcome than it was given."""


def expectation(run, outcomes=()):
    """The expectation of `run(choose)`, branching wherever it asks for a draw."""
    given_outcomes = iter(outcomes)

    def choose(pool):
        for outcome in given_outcomes:
            return pool[outcome]
        raise Fork(len(pool))

    try:
        return Fraction(run(choose))
    except Fork as fork:
        size = fork.args[0]
        return sum(expectation(run, (*outcomes, outcome)) for outcome in range(size)) / size


def paper_form(case, variant=""):
    """The mean loss by `run_scrub(node, ref)` of the paper, on a graph without steps; `variant` makes one mistake."""
    components = {component.name: component for component in case.components}
    nodes = {n.name: n for n in case.nodes}
    everything = range(len(case.rows))

    def evaluate(name, row, read):
        reads = components[name].reads
        inputs = {part: {writer: read(writer) for writer in writers} for part, writers in reads.items()}
        return components[name].compute(inputs) if reads else components[name].compute(row, 0)

    def clean(name, row):
        return evaluate(name, row, lambda writer: clean(writer, row))

    def run(choose, reference):
        once = {}

        def run_scrub(n, ref):
            sites, drawn = [site.component for site in n.sites], {}
            if not n.parents and n.name != case.root:
                return {site: clean(site, ref) for site in sites}

            def other(writer):
                key = writer if variant == "one other an edge" else "all"
                if key not in drawn:
                    values = [row for row in everything if case.rows[row] not in case.rows[:row]]
                    drawn[key] = (
                        ref if variant == "own datum" else choose(values if variant == "values" else everything)
                    )
                return clean(writer, drawn[key])

            def important(parent):
                memory = once if variant == "one draw a node" else drawn
                if (parent, "scrubbed") not in memory:
                    like = nodes[parent].labels[reference if variant == "agree with the root" else ref]
                    new = choose([row for row in everything if nodes[parent].labels[row] == like])
                    memory[parent, "scrubbed"] = run_scrub(nodes[parent], new)
                return memory[parent, "scrubbed"]

            def read(writer):
                for parent in n.parents:
                    if any(site.component == writer for site in nodes[parent].sites):
                        return important(parent)[writer]
                return evaluate(writer, ref, read) if writer in sites else other(writer)

            return {site: evaluate(site, ref, read) for site in sites}

        root = nodes[case.root]
        return case.loss(run_scrub(root, reference)[root.sites[0].component], reference, 0)

    losses = [expectation(lambda choose, row=row: run(choose, row)) for row in everything]
    return sum(losses) / len(losses)


def is_single_datum(case):
    plain = all(site.part is None and site.to is None for n in case.nodes for site in n.sites)
    return case.n_steps == 1 and case.options == INCLUSIVE and plain and len(case.rows) <= 16


@pytest.mark.parametrize("case", [c for c in CASES if is_single_datum(c)], ids=lambda case: case.name)
@pytest.mark.default_cases(7)
def test_the_form_of_the_paper_gives_the_same(case):
    assert paper_form(case) == case.answer


@pytest.mark.parametrize(
    ("case", "variant"),
    [(case, variant) for case in CASES for variant in case.wrong],
    ids=lambda v: getattr(v, "name", v),
)
def test_a_known_mistake_gives_its_known_wrong_number(case, variant):
    assert variant in WRONG_VARIANTS
    assert paper_form(case, variant) == case.wrong[variant] != case.answer


# --- Laws -----------------------------------------------------------------------------------------------------------

numbers = st.integers(0, 3)


@st.composite
def problems(draw, others=("joint", "independent"), self_donors=(True, False)):
    """x and y over two steps feed two layers that look back; every label is arbitrary."""
    n_rows = draw(st.integers(2, 3))

    def table():
        return draw(st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=n_rows, max_size=n_rows))

    x, y = table(), table()
    features = {"X": table(), "A": table()}
    choices = {"others": others, "self_donors": self_donors, "align": ("step", "any")}
    return x, y, features, {name: draw(st.sampled_from(values)) for name, values in choices.items()}


def graph(x, y):
    return (
        stepped(x),
        stepped(y, "y"),
        function("A", "x y", lambda seen: sum(s["x"] * (1 + s["y"]) for s in seen), looks_back=True),
        function("B", "A x", lambda seen: sum(s["A"] + 2 * s["x"] for s in seen), looks_back=True),
    )


def hypothesis_graph(features):
    return (node("B", "B", "A"), by_step("A", "A", features["A"], "X"), by_step("X", "x", features["X"]))


def squared(value, row, step):
    return value**2


def value_on(x, y, nodes, options, steps=2):
    """The expected square of the scrubbed output at each position."""
    return expected_loss(graph(x, y), nodes, "B", len(x), steps, squared, OracleOptions(**options))


few = law(12)


def clean_outputs(x, y):
    """The untouched model, written out."""
    a = [[x[r][0] * (1 + y[r][0]), sum(x[r][s] * (1 + y[r][s]) for s in (0, 1))] for r in range(len(x))]
    return {(r, t): sum(a[r][s] + 2 * x[r][s] for s in range(t + 1)) for r in range(len(x)) for t in (0, 1)}


@few
@given(problems(self_donors=(True,)))
def test_everything_declared_and_finest_changes_nothing(problem):
    x, y, _, options = problem
    finest = [[(row, step) for step in (0, 1)] for row in range(len(x))]
    nodes = (
        node("B", "B", "A X"),
        by_step("A", "A", finest, "X Y"),
        by_step("X", "x", finest),
        by_step("Y", "y", finest),
    )
    assert value_on(x, y, nodes, options) == {at: value**2 for at, value in clean_outputs(x, y).items()}


@few
@given(problems())
def test_relabelling_by_a_bijection_changes_nothing(problem):
    x, y, features, options = problem
    renamed = {name: [[f"class {-v}" for v in row] for row in table] for name, table in features.items()}
    before = value_on(x, y, hypothesis_graph(features), options, steps=1)
    assert value_on(x, y, hypothesis_graph(renamed), options, steps=1) == before


@few
@given(problems(), st.randoms(use_true_random=False))
def test_row_order_changes_nothing(problem, random):
    x, y, features, options = problem
    order = list(range(len(x)))
    random.shuffle(order)

    def shuffled(table):
        return [table[row] for row in order]

    before = value_on(x, y, hypothesis_graph(features), options, steps=1)
    nodes = hypothesis_graph({name: shuffled(table) for name, table in features.items()})
    after = value_on(shuffled(x), shuffled(y), nodes, options, steps=1)
    assert after == {(new, 0): before[old, 0] for new, old in enumerate(order)}


@few
@given(problems(others=("joint",)))
def test_a_constant_leaf_at_every_input_is_the_baseline(problem):
    x, y, _, options = problem
    whole = node("All", "A x", "", x, anything)
    assert value_on(x, y, (node("B", "B", "All"), whole), options) == value_on(x, y, (node("B", "B"),), options)


@few
@given(problems(others=("joint",)))
def test_regrouping_unimportant_writers_changes_nothing(problem):
    x, y, features, options = problem
    heads = graph(x, y)
    split = (
        *heads[:2],
        function("A1", "x", lambda seen: sum(s["x"] for s in seen), looks_back=True),
        function("A2", "x y", lambda seen: sum(s["x"] * s["y"] for s in seen), looks_back=True),
        function("B", "A1 A2 x", lambda seen: sum(s["A1"] + s["A2"] + 2 * s["x"] for s in seen), looks_back=True),
    )
    nodes = (node("B", "B", "X"), by_step("X", "x", features["X"]))
    regrouped = expected_loss(split, nodes, "B", len(x), 2, squared, OracleOptions(**options))
    assert regrouped == value_on(x, y, nodes, options)


class AlwaysFirst(np.random.Generator):
    """A generator that draws the first donor every time."""

    def integers(self, low):
        return 0


@few
@given(problems(self_donors=(True,)))
def test_one_donor_row_for_every_draw_is_the_donors_own_run(problem):
    x, y, _, options = problem
    constant = [[0, 0]] * len(x)
    nodes = hypothesis_graph({"X": constant, "A": constant})
    rng, options = AlwaysFirst(np.random.PCG64(0)), replace(OracleOptions(**options), align="step")
    losses = sampled_loss(graph(x, y), nodes, "B", len(x), 2, lambda value, row, step: value, options, rng, 1)
    clean = clean_outputs(x, y)
    assert losses[0].tolist() == [[clean[0, 0], clean[0, 1]]] * len(x)


# --- What may be passed in ------------------------------------------------------------------------------------------


def test_arrays_are_step_level_and_their_last_axis_is_matched_as_a_tuple():
    case = named("two layers")
    labels = np.array([[(s, r) for s in (0, 1)] for r in (0, 1)])
    assert mean(exact(case, nodes=(*case.nodes[:2], by_step("X", "x", labels)))) == case.answer
    # A one-dimensional array belongs to histories.
    history = named("a donor for the history")
    assert mean(exact(history, nodes=(history.nodes[0], by_step("X", "x", np.zeros(2))))) == history.answer


def test_the_loss_reads_the_first_site_of_the_root():
    graph = (*stepless([0, 1], x=lambda r: r), function("a", "x", lambda x: x), function("b", "a", lambda a: 10 + a))
    for sites, expected in (("a b", Fraction(1, 2)), ("b a", Fraction(21, 2))):
        assert mean(expected_loss(graph, [node("R", sites)], "R", 2, 1, lambda v, row, step: v, INCLUSIVE)) == expected


def test_floats_are_enumerated_too():
    case = named("T3-squared")
    result = exact(case, error=lambda value, label: float(value - label) ** 2)
    assert isinstance(result[0, 0], float)
    assert mean(result) == pytest.approx(66)


def test_the_same_seed_gives_the_same_numbers():
    case = named("two layers")
    first, second, third = (
        sampled_loss(case.components, case.nodes, "B", 2, 2, case.loss, case.options, np.random.default_rng(seed), 50)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_a_single_row_can_only_draw_itself():
    graph = (*stepless([3], x=lambda r: r), function("f", "x", lambda x: x))
    assert expected_loss(graph, [node("F", "f")], "F", 1, 1, lambda v, row, step: v, EXCLUSIVE) == {(0, 0): 3}


def test_donors_exclude_the_visits_own_row_by_default():
    case = named("self-exclusion")
    assert mean(exact(case, options=OracleOptions())) == case.answer


def refused(nodes):
    graph = (stepped(SAME), function("A", "x", add_up, looks_back=True), function("B", "A", add_up, looks_back=True))
    with pytest.raises(HypothesisError) as error:
        expected_loss(graph, nodes, "B", 2, 2, lambda value, row, step: value)
    return str(error.value)


def test_an_arrow_that_is_no_path_is_refused():
    assert refused([node("B", "B", "X"), by_step("X", "x", FLAT)]) == "B reads none of X's sites."
    elsewhere = OracleNode("A", (Site("A", to=frozenset({("C", "in")})),), labels=FLAT)
    assert refused([node("B", "B", "A"), elsewhere]) == "B reads none of A's sites."


def test_a_part_is_only_read_by_its_own_component():
    part = by_step("P", [Site("A", "in")], FLAT)
    assert refused([node("B", "B", "P"), part]) == "B reads none of P's sites."


def test_a_site_that_two_nodes_share_is_refused():
    message = refused([node("B", "B", "A1 A2"), by_step("A1", "A", FLAT), by_step("A2", "A", FLAT)])
    assert message == "B reads 'A' of A1 and A2: give it to one."
