"""The table of exact cases: tiny graphs whose scrubbed loss is worked out by hand, shared by the engines' tests.

Data are all rows, each equally likely; `answer` is the mean over reference positions of the expected loss, which is
the squared error against `label` unless `loss` says otherwise. Draws include a visit's own row unless the case's
options say otherwise. `wrong` holds what a known mistake would give (see `WRONG_VARIANTS` in test_oracle.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product
from typing import Any

from ad_hypotheses.causal.oracle import OracleComponent, OracleNode, OracleOptions, Site

INCLUSIVE = OracleOptions(self_donors=True)
EXCLUSIVE = OracleOptions(self_donors=False)
INDEPENDENT = OracleOptions(self_donors=True, others="independent")


@dataclass(frozen=True)
class Case:
    """One graph, one hypothesis (its first node is the root), one answer."""

    name: str
    rows: Sequence[Any]
    components: tuple[OracleComponent, ...]
    nodes: tuple[OracleNode, ...]
    label: Callable[[int, int], Any]
    answer: Fraction
    catches: str
    options: OracleOptions = INCLUSIVE
    n_steps: int = 1
    wrong: Mapping[str, Fraction] = field(default_factory=dict)
    error: Callable[[Any, Any], Any] = lambda value, label: (value - label) ** 2

    @property
    def root(self) -> str:
        return self.nodes[0].name

    def loss(self, value, row, step):
        return self.error(value, self.label(row, step))


def function(name, reads, compute, looks_back=False):
    """A component with the one part "in"; without `looks_back`, `compute` takes what it reads by position."""
    names = tuple(reads.split())
    if looks_back:
        return OracleComponent(name, {"in": names}, lambda inputs: compute(inputs["in"]), looks_back=True)
    return OracleComponent(name, {"in": names}, lambda inputs: compute(*(inputs["in"][n] for n in names)))


def stepless(rows, **columns):
    """One input for each keyword, a function of the row."""
    return tuple(
        OracleComponent(name, {}, lambda row, step, column=column: column(rows[row]))
        for name, column in columns.items()
    )


def stepped(rows, name="x"):
    """The input whose value at (row, step) is rows[row][step]."""
    return OracleComponent(name, {}, lambda row, step: rows[row][step])


def node(name, at, parents="", rows=None, feature=None, selected=None):
    """A node at the sites `at`, whose history-level feature is a function of the row."""
    sites = tuple(Site(c) for c in at.split()) if isinstance(at, str) else tuple(at)
    labels = None if feature is None else [feature(row) for row in rows]
    return OracleNode(name, sites, tuple(parents.split()), labels, selected)


def by_step(name, at, labels, parents="", selected=None):
    """A node with a step-level feature, given as its values."""
    return replace(node(name, at, parents, selected=selected), labels=labels)


def anything(row):
    """The constant feature."""
    return 0


def itself(row):
    """The finest feature."""
    return row


def bits(n):
    return list(product((0, 1), repeat=n))


def half(n):
    return Fraction(n, 2)


# --- Functions of a whole datum ------------------------------------------------------------------------------------


def xor_cases():
    rows = bits(3)
    inputs = stepless(rows, x0=lambda r: r[0], x1=lambda r: r[1], x2=lambda r: r[2])
    g = function("g", "x1", lambda x1: x1)
    f = function("f", "h g", lambda h, g: h ^ g)
    h = function("h", "x0 x1", lambda x0, x1: x0 ^ x1)
    leaves = tuple(node(f"X{i}", f"x{i}", rows=rows, feature=lambda r, i=i: r[i]) for i in (0, 1))
    root = node("F", "f", "H G")
    g_node = node("G", "g", "X1", rows, lambda r: r[1])
    h_true = node("H", "h", "X0 X1", rows, lambda r: r[0] ^ r[1])
    h_wrong = node("H", "h", "X0 X1", rows, lambda r: r[0])
    graph = (*inputs, h, g, f)

    def label(row, step):
        return rows[row][0]

    finest = node("F", "f", rows=rows, feature=itself)
    out = function("out", "f", lambda f: f)
    return [
        Case("T0", rows, graph, (root, h_true, g_node, *leaves), label, Fraction(0), "anything"),
        Case("T1", rows, graph, (node("F", "f"),), label, half(1), "the baseline"),
        Case("T2", rows, graph, (root, h_wrong, g_node, *leaves), label, half(1), "a wrong feature"),
        # f' = the whole datum: every class has one row, so the model's own loss (0, it computes x0) stays.
        Case("T11", rows, (*graph, out), (node("Out", "out", "F"), finest), label, Fraction(0), "vacuous claims"),
        Case(
            "T11-exclusive",
            rows,
            (*graph, out),
            (node("Out", "out", "F"), finest),
            label,
            Fraction(0),
            "singletons",
            EXCLUSIVE,
        ),
    ]


def correlation_cases():
    rows = [(r, 2 * r) for r in range(10)]
    inputs = stepless(rows, x0=lambda r: r[0], x1=lambda r: r[1])
    graph = (
        *inputs,
        function("a", "x0", lambda x0: x0),
        function("b", "x1", lambda x1: x1),
        function("C", "a b", lambda a, b: a + b),
        function("out", "C", lambda c: c),
    )
    nodes = (
        node("Out", "out", "C"),
        node("C", "C", "A", rows, lambda r: r[0]),
        node("A", "a", "X0", rows, lambda r: r[0]),
        node("X0", "x0", "", rows, lambda r: r[0]),
    )
    # b sees 2 r~ of an unrelated row: the error is 2 (r~ - r).  E|r~ - r| = 33/10 and E(r~ - r)^2 = 2 * 99/12 on 0..9.
    absolute = Case(
        "T3-absolute",
        rows,
        graph,
        nodes,
        lambda row, step: sum(rows[row]),
        Fraction(33, 5),
        "correlation leaking from the reference",
        wrong={"own datum": Fraction(0)},
        error=lambda value, label: abs(value - label),
    )
    squared = replace(absolute, name="T3-squared", answer=Fraction(66), error=lambda v, y: (v - y) ** 2)
    return [absolute, squared]


def two_paths_case():
    rows = list(product(range(4), repeat=2))
    graph = (
        *stepless(rows, x1=lambda r: r[0], x2=lambda r: r[1]),
        function("A", "x1 x2", lambda x1, x2: x1 + x2),
        function("C", "A x2", lambda a, x2: a + x2),
    )
    nodes = (
        node("C", "C", "A X2"),
        node("A", "A", "X1 X2", rows, lambda r: r[0]),
        node("X1", "x1", "", rows, lambda r: r[0]),
        node("X2", "x2", "", rows, lambda r: r[1]),
    )
    # C = x1 + x2~ + x2, so the error is x2~ - x2: twice the variance 5/4 of a digit.
    return [
        Case(
            "T5",
            rows,
            graph,
            nodes,
            lambda row, step: rows[row][0] + 2 * rows[row][1],
            half(5),
            "one writer on two paths",
        )
    ]


def sharing_of_other_cases():
    rows = bits(2)
    graph = (
        *stepless(rows, s=lambda r: r[0], U=lambda r: r[1], V=lambda r: -r[1]),
        function("f", "s U V", lambda s, u, v: s + u + v),
    )
    nodes = (node("F", "f", "S"), node("S", "s", "", rows, lambda r: r[0]))
    joint = Case(
        "T6-joint",
        rows,
        graph,
        nodes,
        lambda row, step: rows[row][0],
        Fraction(0),
        "sharing of `other`",
        wrong={"one other an edge": half(1)},
    )
    edge = replace(joint, name="T6-independent", answer=half(1), options=INDEPENDENT, wrong={})
    merged = replace(
        edge,
        name="T6-merged",
        # U + V as one component is 0 on any row, however `other` is drawn.
        components=(
            *graph[:3],
            function("W", "U V", lambda u, v: u + v),
            function("f", "s W", lambda s, w: s + w),
        ),
        answer=Fraction(0),
        catches="a table for each writer, not for each input of that writer",
    )
    graph_c = (
        *stepless(rows, x=lambda r: r[0]),
        function("s", "x", lambda x: x),
        function("U", "x", lambda x: x),
        function("f", "s U", lambda s, u: s + u),
        function("out", "f", lambda f: f),
    )
    nodes_c = (
        node("Out", "out", "F"),
        node("F", "f", "S", rows, lambda r: r[0]),
        node("S", "s", "", rows, lambda r: r[0]),
    )
    scope = Case(
        "T6c",
        rows,
        graph_c,
        nodes_c,
        lambda row, step: 2 * rows[row][0],
        half(1),
        "scope of `other`",
        wrong={"own datum": Fraction(0)},
    )
    return [joint, edge, merged, scope]


def treeification_cases():
    rows = bits(2)
    graph = (
        *stepless(rows, x=lambda r: r),
        function("S", "x", lambda x: x),
        function("A", "S", lambda s: s),
        function("B", "S", lambda s: s),
        function("out", "A B", lambda a, b: int(a == b)),
    )
    nodes = (
        node("Out", "out", "A B"),
        node("A", "A", "S", rows, lambda r: r[0]),
        node("B", "B", "S", rows, lambda r: r[0]),
        node("S", "S", "", rows, lambda r: r[0]),
    )
    tree = Case(
        "T7",
        rows,
        graph,
        nodes,
        lambda row, step: 0,
        half(1),
        "treeification",
        wrong={"one draw a node": Fraction(1)},
        error=lambda value, label: value,
    )
    # Both consumers of S are visited on the reference's own row, so they reach S on rows that both are that row's.
    # Two draws: x~ + x~' - 2x has variance 1/2 and mean 1 away: 3/2.  One draw, if S has one set of tables:
    # 2 (x~ - x), 4/2.
    diamond = Case(
        "diamond",
        [(0,), (1,)],
        (
            *stepless([0, 1], x=lambda r: r),
            function("S", "x", lambda x: x),
            function("A", "S", lambda s: s),
            function("B", "S", lambda s: s),
            function("out", "A B", lambda a, b: a + b),
        ),
        (
            node("Out", "out", "A B"),
            node("A", "A", "S", [0, 1], itself),
            node("B", "B", "S", [0, 1], itself),
            node("S", "S", "X", [0, 1], itself),
            node("X", "x", "", [0, 1], anything),
        ),
        lambda row, step: 2 * row,
        half(3),
        "two paths through nodes visited on the same row",
        wrong={"one draw a node": Fraction(2)},
    )
    # A and B are visited on the reference's row and x is unimportant to both, each visit with its own other row.
    fresh = replace(
        diamond,
        name="a fresh other a visit",
        components=(
            *stepless([0, 1], x=itself, k=anything),
            function("A", "x k", lambda x, k: x + k),
            function("B", "x k", lambda x, k: x + k),
            function("out", "A B", lambda a, b: a + b),
        ),
        nodes=(
            node("Out", "out", "A B"),
            node("A", "A", "K", [0, 1], itself),
            node("B", "B", "K", [0, 1], itself),
            node("K", "k", "", [0, 1], anything),
        ),
        wrong={},
    )
    shared = replace(INCLUSIVE, shared=True)
    return [
        tree,
        # A and B are still drawn apart, on different rows or with tables of their own.
        replace(tree, name="T7-shared", options=shared, wrong={}, catches="tables of S belong to its consumers"),
        diamond,
        fresh,
        replace(diamond, name="diamond-shared", answer=Fraction(2), options=shared, wrong={}),
    ]


def nesting_case():
    rows = list(range(8))
    graph = (
        *stepless(rows, x=lambda r: r),
        function("Q", "x", lambda x: x % 4),
        function("P", "Q", lambda q: q),
        function("out", "P", lambda p: p),
    )
    nodes = (
        node("Out", "out", "P"),
        node("P", "P", "Q", rows, lambda r: r % 2),
        node("Q", "Q", "", rows, lambda r: r % 4),
    )
    # Q agrees with P's datum modulo 4, which agrees with x modulo 2: off by 0 or 2.
    return [
        Case(
            "T12",
            rows,
            graph,
            nodes,
            lambda row, step: rows[row] % 4,
            Fraction(2),
            "nesting",
            wrong={"agree with the root": Fraction(0)},
        )
    ]


def repeated_rows_cases():
    rows = [0, 0, 0, 1]
    inclusive = Case(
        "T14",
        rows,
        (*stepless(rows, x=lambda r: r), function("f", "x", lambda x: x)),
        (node("F", "f"),),
        lambda row, step: rows[row],
        Fraction(3, 8),
        "sampling rows, not values",
        wrong={"values": half(1)},
    )
    # Without the own row: a 0 meets one 1 among three others, the 1 only zeros: (3 * 1/3 + 1) / 4.
    return [inclusive, replace(inclusive, name="T14-exclusive", answer=half(1), options=EXCLUSIVE, wrong={})]


def bandit_cases():
    rows = list(product(product((0, 1), repeat=2), repeat=3))

    def wins(arm):
        return lambda row: sum(reward for a, reward in row if a == arm)

    def sign(w0, w1):
        return Fraction(1 + (w1 > w0) - (w1 < w0), 2)

    graph = (
        *stepless(rows, pairs=itself),
        function("w0", "pairs", wins(0)),
        function("w1", "pairs", wins(1)),
        function("p", "w0 w1", sign),
        function("out", "p", lambda p: p),
    )
    w0, w1 = (node(f"W{arm}", f"w{arm}", "", rows, wins(arm)) for arm in (0, 1))

    def case(name, nodes, answer):
        return Case(
            name, rows, graph, nodes, lambda row, step: sign(wins(0)(rows[row]), wins(1)(rows[row])), answer, "bandits"
        )

    return [
        case("T17-base", (node("P", "p"),), Fraction(11, 32)),
        case("T17-true", (node("P", "p", "W0 W1"), w0, w1), Fraction(0)),
        case("T17-last-pair", (node("Out", "out", "P"), node("P", "p", "", rows, lambda r: r[2])), Fraction(63, 256)),
        case("T17-w1-only", (node("P", "p", "W1"), w1), Fraction(645, 4096)),
    ]


def path_patching_cases():
    """Patching an edge is scrubbing in which everything but the edge is exact, or agrees with the reference."""
    rows = [0, 1]
    graph = (
        *stepless(rows, x=itself),
        function("h", "x", lambda x: x),
        function("m", "h", lambda h: 2 * h),
        function("f", "h m", lambda h, m: h + m),
    )

    def case(name, nodes, answer, options=INCLUSIVE):
        return Case(name, rows, graph, nodes, lambda row, step: 3 * rows[row], answer, "path patching", options)

    h, m = node("H", "h", "", rows, itself), node("M", "m", "", rows, itself)
    return [
        case("T20-direct", (node("F", "f", "M"), m), half(1)),
        case("T20-via-m", (node("F", "f", "H"), h), Fraction(2)),
        case("T20-both-apart", (node("F", "f"),), half(7), INDEPENDENT),
        case("T20-both-together", (node("F", "f"),), half(9)),
    ]


def own_row_cases():
    rows = [0, 1, 2, 3, 8]
    graph = (*stepless(rows, x=itself), function("f", "x", lambda x: x))
    # Classes {0, 2}, {1, 3} and the singleton {8}: without the own row always 2 apart, the singleton keeps itself.
    exclusive = Case(
        "self-exclusion",
        rows,
        graph,
        (node("F", "f", "X"), node("X", "x", "", rows, lambda r: r if r == 8 else r % 2)),
        lambda row, step: rows[row],
        Fraction(4 * 4, 5),
        "own row among the donors; a singleton without donors",
        options=EXCLUSIVE,
    )
    # With two rows P's donor is the other row, and Q's is other than P's, which is the reference again.
    nested = Case(
        "nested self-exclusion",
        [0, 1],
        graph_of_three([0, 1]),
        (node("Out", "out", "P"), node("P", "p", "Q", [0, 1], anything), node("Q", "x", "", [0, 1], anything)),
        lambda row, step: row,
        Fraction(0),
        "excluding the reference instead of the visit's own row",
        options=EXCLUSIVE,
    )
    # Each visit has its own `other`: P's unimportant input is other than P's row, so it is the reference again.
    own_other = replace(
        nested,
        name="other's self-exclusion",
        nodes=(nested.nodes[0], replace(nested.nodes[1], parents=("K",)), node("K", "k", "", [0, 1], anything)),
    )
    return [
        exclusive,
        replace(exclusive, name="self-inclusion", answer=Fraction(4 * 2, 5), options=INCLUSIVE),
        nested,
        replace(nested, name="nested self-inclusion", answer=half(1), options=INCLUSIVE),
        own_other,
    ]


def graph_of_three(rows):
    """x and a constant k feed p, which out repeats."""
    return (
        *stepless(rows, x=itself, k=anything),
        function("p", "x k", lambda x, k: x + k),
        function("out", "p", lambda p: p),
    )


def own_sites_case():
    rows = bits(2)
    graph = (
        *stepless(rows, a=lambda r: r[0], b=lambda r: r[1]),
        function("h", "a b", lambda a, b: a + 2 * b),
        function("m", "a h", lambda a, h: 4 * a + h),
        function("out", "m h", lambda m, h: m + h),
    )
    # M = {h, m}: h = a~ + 2b, and m reads the same h and, of the same `other`, the same a~: m = 5a~ + 2b.
    # The root has h from M by its own arrow too (same draw): out = 6a~ + 4b against 6a + 4b, so 36/2.
    return [
        Case(
            "several sites",
            rows,
            graph,
            (
                node("Out", "out", "M"),
                node("M", "h m", "B", rows, lambda r: r[1]),
                node("B", "b", "", rows, lambda r: r[1]),
            ),
            lambda row, step: 6 * rows[row][0] + 4 * rows[row][1],
            Fraction(18),
            "direct edges inside a node with several sites stay intact",
        )
    ]


def part_cases():
    rows = bits(2)
    head = OracleComponent(
        "head",
        {"q": ("a", "b"), "k": ("a", "b")},
        lambda i: i["q"]["a"] + 2 * i["q"]["b"] + 4 * i["k"]["a"] + 8 * i["k"]["b"],
    )
    graph = (*stepless(rows, a=lambda r: r[0], b=lambda r: r[1]), head)
    a, b = (node(name, name.lower(), "", rows, lambda r, i=i: r[i]) for i, name in enumerate("AB"))
    query = replace(node("Q", [Site("head", "q")], "A", rows, lambda r: r[0]))
    # q is Q's whole mapping: a agrees, b is of Q's own `other`.  k: b of B agrees, a is of the root's `other`.
    # The error 2 (b~ - b) + 4 (a~ - a) has independent terms of mean 0: (4 + 16) / 2.
    parts = Case(
        "q as a node",
        rows,
        graph,
        (node("H", "head", "Q B"), query, a, b),
        lambda row, step: 5 * rows[row][0] + 10 * rows[row][1],
        Fraction(10),
        "other parents entering the part that a q node replaces",
    )
    xs = (*stepless(rows, x=itself), OracleComponent("head", {"q": ("x",), "k": ("x",)}, read_two_features))
    # One writer, two features: q gets the right a, k the right b, and 4 (a~ - a) is all that is lost: 16/2.
    narrow = Case(
        "one writer for two readers",
        rows,
        xs,
        (
            node("H", "head", "E F"),
            node("E", [Site("x", to=frozenset({("head", "q")}))], "", rows, lambda r: r[0]),
            node("F", [Site("x", to=frozenset({("head", "k")}))], "", rows, lambda r: r[1]),
        ),
        lambda row, step: 5 * rows[row][0] + 2 * rows[row][1],
        Fraction(8),
        "a site restricted to one reader",
    )
    # Only q sees E; k sees the root's `other`: the error is 4 (a~ - a) + 2 (b~ - b) from k alone.
    unread = replace(
        narrow, name="a reader left out", nodes=(node("H", "head", "E"), narrow.nodes[1]), answer=Fraction(10)
    )
    # No part is important.  One other row: 3 (r~ - r), 9/2.  One for q and one for k: (1 + 4 + 3^2) / 4.
    two_readers = Case(
        "one other for two readers",
        [0, 1],
        (
            *stepless([0, 1], x=itself),
            OracleComponent("head", {"q": ("x",), "k": ("x",)}, lambda i: i["q"]["x"] + 2 * i["k"]["x"]),
        ),
        (node("H", "head"),),
        lambda row, step: 3 * row,
        half(9),
        "a table for each reader",
    )
    apart = replace(two_readers, name="an other for each reader", answer=half(7), options=INDEPENDENT)
    return [parts, narrow, unread, two_readers, apart]


def read_two_features(inputs):
    return inputs["q"]["x"][0] + 2 * inputs["k"]["x"][1] + 4 * inputs["k"]["x"][0]


# --- Functions of a history, step by step --------------------------------------------------------------------------

SAME = [(0, 0), (1, 1)]  # two histories of two steps; r is what a row repeats
FLAT = [[0, 0], [0, 0]]  # the constant step-level feature


def add_up(seen):
    return sum(value for step in seen for value in step.values())


def attention_cases():
    sums = function("out", "x", add_up, looks_back=True)
    step = Case(
        "a donor for each step",
        SAME,
        (stepped(SAME), sums),
        (node("Out", "out", "X"), by_step("X", "x", FLAT)),
        lambda row, step: (step + 1) * row,
        # Step 0: E(r~ - r)^2 = 1/2.  Step 1: r~ + r~' - 2r, variance 1/2 and mean 1 away: 3/2.
        Fraction(1),
        "a step-level feature draws every step apart",
        n_steps=2,
    )
    history = replace(
        step,
        name="a donor for the history",
        nodes=(step.nodes[0], node("X", "x", "", SAME, anything)),
        # Step 1 is 2 (r~ - r): 4/2.  (1/2 + 2) / 2.
        answer=Fraction(5, 4),
        catches="a history-level feature draws one row",
    )
    baseline = replace(
        history, name="baseline over steps", nodes=(node("Out", "out"),), catches="`other` is one row a visit"
    )
    return [step, history, baseline]


def chained_attention_cases():
    graph = (
        stepped(SAME),
        function("A", "x", add_up, looks_back=True),
        function("B", "A", add_up, looks_back=True),
    )
    b, a = node("B", "B", "A"), by_step("A", "A", FLAT, "X")

    def case(name, nodes, answer, catches, options=INCLUSIVE):
        def label(row, step):
            return (1, 3)[step] * row

        return Case(name, SAME, graph, nodes, label, answer, catches, options, n_steps=2)

    # B_1 = A_0(row a0) + A_1(row a1), with a0, a1 drawn apart; X agrees with the row that A is visited on, whose steps
    # are alike: B_1 = a0 + 2 a1, variance (1 + 4) / 4 and mean 3/2 away: 7/2.  Step 0: 1/2.
    exact = case(
        "two layers", (b, a, by_step("X", "x", SAME)), Fraction(2), "grandchildren agree with their child's row"
    )
    # X unconditional: A_0(a) = x~[a, 0] and A_1(a) = x~[a, 0] + x~[a, 1].  Step 1 is u + u' + v where u is u' if
    # a0 = a1 (half of the time): variance (1 + 1/2) / 2 + 1/4 = 1, mean 3/2 away: 13/4.  Step 0: 1/2.
    tables = case(
        "two layers, one table a row", (b, a, by_step("X", "x", FLAT)), Fraction(15, 8), "tables belong to rows"
    )
    # The same with x left out of the hypothesis and A's `other` one row: A_0(a) = o[a], A_1(a) = 2 o[a].  Step 1 is
    # o[a0] + 2 o[a1]: variance (9 + 5) / 8 = 7/4, mean 3/2 away: 4.  Step 0: 1/2.
    # (A leaf runs untouched, so A needs a parent that does not matter: a constant.)
    other = replace(
        case(
            "two layers, one other a row",
            (b, by_step("A", "A", FLAT, "K"), by_step("K", "k", FLAT)),
            Fraction(9, 4),
            "`other` belongs to rows",
        ),
        components=(graph[0], stepped(FLAT, "k"), function("A", "x k", add_up, looks_back=True), graph[2]),
    )
    return [exact, tables, other]


def head_over_steps_cases():
    head = OracleComponent(
        "head",
        {"q": ("x",), "k": ("x",)},
        lambda i: i["q"][-1]["x"] + 2 * sum(seen["x"] for seen in i["k"]),
        looks_back=True,
    )

    def case(name, nodes, answer, catches):
        def label(row, step):
            return (3, 5)[step] * row

        return Case(name, SAME, (stepped(SAME), head), nodes, label, answer, catches, n_steps=2)

    # Independent coins c_i times weights w_i against r times their sum: (sum w^2 + (sum w)^2) / 4.
    # Apart: weights (1, 2) and (1, 2, 2): (5 + 9) / 4 = 7/2 and (9 + 25) / 4 = 17/2, mean 6.
    # Together: q_t is the key of step t: weights 3 and (2, 3): 18/4 and (13 + 25) / 4 = 19/2, mean 7.
    reader = {part: frozenset({("head", part)}) for part in "qk"}
    return [
        case(
            "k as a node", (node("H", "head", "K"), by_step("K", [Site("head", "k")], FLAT)), Fraction(6), "leaf parts"
        ),
        case(
            "q and k together", (node("H", "head", "E"), by_step("E", "x", FLAT)), Fraction(7), "one table for q, k, v"
        ),
        case(
            "q and k apart",
            (
                node("H", "head", "E F"),
                by_step("E", [Site("x", to=reader["q"])], FLAT),
                by_step("F", [Site("x", to=reader["k"])], FLAT),
            ),
            Fraction(6),
            "two nodes draw apart",
        ),
    ]


def selected_cases():
    rows = bits(2)
    role = [[bool(x) for x in row] for row in rows]
    flat = [[0, 0]] * 4
    # Selected: steps where x = 1, so a donor has x = 1 and is exact.  Other steps (x = 0) read one other row.
    # Step 0: x = 1 exact, x = 0 gives 1/2: mean 1/4.
    # Step 1: (1,1) 0; (1,0) and (0,1) 1/2 each; (0,0) both of one row, E(x~0 + x~1)^2 = 1/2 + 1: mean 5/8.
    sums = Case(
        "selected by role",
        rows,
        (stepped(rows), function("out", "x", add_up, looks_back=True)),
        (node("Out", "out", "X"), by_step("X", "x", flat, selected=role)),
        lambda row, step: sum(rows[row][: step + 1]),
        Fraction(7, 16),
        "the consumer row's role selects, and joins the feature",
        n_steps=2,
    )
    # A history-level feature becomes step-level with a role.  With SAME-like rows and every step selected at step 1
    # only: step 0 reads `other`, step 1 a donor: r~ + r~' - 2r, 3/2; step 0 alone 1/2.
    late = replace(
        sums,
        name="selected late",
        rows=SAME,
        components=(stepped(SAME), sums.components[1]),
        nodes=(node("Out", "out", "X"), node("X", "x", "", SAME, anything, [[False, True]] * 2)),
        label=lambda row, step: (step + 1) * row,
        answer=Fraction(1),
    )
    # The same at a q node: unselected, its whole mapping is of `other`, although E is exact elsewhere.
    head = OracleComponent("head", {"q": ("x",), "k": ("x",)}, lambda i: i["q"]["x"] + 2 * i["k"]["x"])
    part = replace(
        late,
        name="selected part",
        components=(stepped(SAME), head),
        nodes=(
            node("H", "head", "Q E"),
            by_step("Q", [Site("head", "q")], SAME, selected=[[False, True]] * 2),
            by_step("E", "x", SAME),
        ),
        label=lambda row, step: 3 * row,
        answer=Fraction(1, 4),  # step 0: r~ - r from q, 1/2; step 1 exact
    )
    always = replace(
        late,
        name="a role makes a feature step-level",
        nodes=(late.nodes[0], node("X", "x", "", SAME, anything, [[True, True]] * 2)),
        catches="one donor row where every step draws its own",
    )
    return [sums, late, always, part]


def alignment_cases():
    rows = [(0, 1), (2, 3)]
    here = Case(
        "align step",
        rows,
        (stepped(rows), function("out", "x", lambda x: x)),
        (node("Out", "out", "X"), by_step("X", "x", FLAT)),
        lambda row, step: rows[row][step],
        Fraction(2),  # 2 apart or the same
        "donors at the same step",
        n_steps=2,
    )
    anywhere = replace(INCLUSIVE, align="any")
    # All four values: twice the variance 5/4.  Without the own row's pairs: 0 and 3 are (2^2 + 3^2) / 2 away, 1 and 2
    # are (1^2 + 2^2) / 2 away: mean 9/2.
    episodes = [(0, 1, 2), (3, 4, 5)]
    clock = [[0, 1, 0], [0, 0, 1]]
    # Episode step 0 has the values 0, 2, 3, 4 (twice the variance: 2 (29/4 - 81/16) = 35/8), step 1 has 1 and 5 (8):
    # (4 * 35/8 + 2 * 8) / 6.
    by_clock = replace(
        here,
        name="align episode step",
        rows=episodes,
        components=(stepped(episodes), here.components[1]),
        nodes=(here.nodes[0], by_step("X", "x", [[0] * 3] * 2)),
        label=lambda row, step: episodes[row][step],
        answer=Fraction(67, 12),
        options=replace(INCLUSIVE, align="episode_step", episode_step=clock),
        n_steps=3,
    )
    # A counts its steps, and is evaluated at the donor's step: 1 or 2 against step + 1.
    ones = [(1, 1), (1, 1)]
    moved = replace(
        here,
        name="the donor's step",
        rows=ones,
        components=(stepped(ones), function("A", "x", add_up, looks_back=True), function("out", "A", lambda a: a)),
        nodes=(node("Out", "out", "A"), by_step("A", "A", FLAT, "X"), by_step("X", "x", FLAT)),
        label=lambda row, step: step + 1,
        answer=half(1),
        options=anywhere,
    )
    # The same for a whole q input: q is 0 or 1 at any step, k is exact.
    coins = [(0, 1), (0, 1)]
    part = replace(
        moved,
        name="the donor's step, of a part",
        rows=coins,
        components=(
            stepped(coins),
            OracleComponent("head", {"q": ("x",), "k": ("x",)}, lambda i: i["q"]["x"] + 2 * i["k"]["x"]),
        ),
        nodes=(node("H", "head", "Q E"), by_step("Q", [Site("head", "q")], FLAT), by_step("E", "x", coins)),
        label=lambda row, step: 3 * step,
    )
    # A history-level feature has no step to move: the same step of the row drawn, and no clock to agree on.
    unclocked = replace(
        by_clock,
        name="align episode step, whole history",
        nodes=(here.nodes[0], node("X", "x", "", episodes, anything)),
        answer=half(9),  # 3 apart or the same
        options=replace(INCLUSIVE, align="episode_step", episode_step=[[0, 0, 0], [0, 1, 1]]),
    )
    return [
        here,
        replace(here, name="align any", answer=half(5), options=anywhere),
        replace(here, name="align any, exclusive", answer=half(9), options=replace(EXCLUSIVE, align="any")),
        replace(
            here,
            name="align any, whole history",
            nodes=(here.nodes[0], node("X", "x", "", rows, anything)),
            options=anywhere,
        ),
        by_clock,
        unclocked,
        moved,
        part,
    ]


CASES = [
    *xor_cases(),
    *correlation_cases(),
    *two_paths_case(),
    *sharing_of_other_cases(),
    *treeification_cases(),
    *nesting_case(),
    *repeated_rows_cases(),
    *bandit_cases(),
    *path_patching_cases(),
    *own_row_cases(),
    *own_sites_case(),
    *part_cases(),
    *attention_cases(),
    *chained_attention_cases(),
    *head_over_steps_cases(),
    *selected_cases(),
    *alignment_cases(),
]
