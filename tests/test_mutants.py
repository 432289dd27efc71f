"""The mistakes that engines make: each of them, put into the fast engine, is noticed.

A mistake in what is *computed* from the draws shows against a judge that is given the same draws: the oracle here, and
Redwood's engine where it is installed. A mistake in the draws themselves shows by chi-square.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from replay import (
    draw_tests,
    engine_draws,
    ladder,
    one_by_one,
    oracle_draws,
    oracle_replays,
    random_subject,
    recorded,
)

from ad_hypotheses.causal import scrub, visit
from ad_hypotheses.causal.scrub import Options, Scrubber

CLOSE, SPLIT = 1e-9, 1e-3
UNLIKELY, IMPOSSIBLE = 1e-6, 1e-12  # p-values: with fixed seeds the engine's are all above one, a mutant has one below


# --- How mistakes are noticed ---------------------------------------------------------------------------------------

judges = pytest.mark.parametrize("judge", ["oracle", "redwood"])
pytestmark = pytest.mark.filterwarnings("ignore:not enough unique dataset samples")
SUBJECT = ladder()
APART = ladder(n_rows=9, n_references=3)


@cache
def judgement(judge, subject):
    """A judge's own draws with its result on them, and a function from our draws to its result."""
    if judge == "oracle":
        return oracle_draws(subject, 1), lambda tables: oracle_replays(subject, tables)
    pytest.importorskip("rust_circuit", reason="Redwood's engine is not here: pip install -e '.[oracle]'")
    from redwood import Theirs

    theirs = Theirs(subject)
    return theirs.draws(1), theirs.replay


def difference(judge, subject=SUBJECT):
    """How far the fast engine's result is from a judge's: on the judge's draws, and on its own."""
    (visited, others, expected), replays = judgement(judge, subject)
    on_theirs = one_by_one(subject, visited, others)
    tables, on_ours = recorded(subject.scrubber(seed=2), 1)
    far = [np.abs(on_theirs - expected).max(), np.abs(on_ours - replays(tables)).max()]
    return np.nan_to_num(far, nan=np.inf).max()  # rows that should not be looked at may hold anything


def least_likely(self_donors=False, subject=SUBJECT):
    """The smallest p-value of the fast engine's draws for the first row."""
    ((visited, others),) = engine_draws(subject, [0], self_donors, draws=300)
    return min(draw_tests(subject, visited, others, self_donors).values())


# --- Mistakes in what is computed from the draws --------------------------------------------------------------------


def patch_visits(monkeypatch, change):
    """Change a visit after its tables were drawn."""
    begin = visit.Visit.__init__

    def changed(self, *arguments):
        begin(self, *arguments)
        change(self)

    monkeypatch.setattr(visit.Visit, "__init__", changed)


def own_datum_as_other(monkeypatch):
    patch_visits(monkeypatch, lambda visited: setattr(visited, "other", torch.arange(visited.scrubber.clean.n_rows)))


def one_other_for_all_visits(monkeypatch):
    patch_visits(monkeypatch, lambda visited: setattr(visited, "other", visited.scrubber.other_rows(("root",))))


def one_visit_a_node(monkeypatch):
    begin = Scrubber.__init__

    def shared(self, clean, bound, options=None, seed=0):
        begin(self, clean, bound, replace(options or Options(), shared=True), seed)

    monkeypatch.setattr(Scrubber, "__init__", shared)


def parents_not_resampled(monkeypatch):
    monkeypatch.setattr(
        visit.Chunk, "_delivered", lambda chunk, arrow, key: arrow.delivery.at(key, chunk.positions).clone()
    )


def parents_untouched_inside(monkeypatch):
    monkeypatch.setattr(Scrubber, "deliver", lambda scrubber, path, positions: scrubber.leaf(path[-1]))


def other_not_taken_out(monkeypatch):
    """A parent is added to what is already there of its site."""
    monkeypatch.setattr(Scrubber, "declared", lambda scrubber, node, reader: ())


def another_input(swapped, heads=0):
    """Some inputs of a head taken for others, or for another head's."""

    def mutate(monkeypatch):
        found = visit.Chunk._head_inputs

        def head_inputs(self, readers):
            n_heads, kinds = self.twin.shape.n_heads, [swapped.get(reader.kind, reader.kind) for reader in readers]
            places = [(reader.head + heads) % n_heads for reader in readers]
            changed = zip(readers, kinds, places, strict=True)
            return found(self, [replace(reader, kind=kind, head=head) for reader, kind, head in changed])

        monkeypatch.setattr(visit.Chunk, "_head_inputs", head_inputs)

    return mutate


COMPUTED = {
    "own datum as other": own_datum_as_other,
    "one other for all visits": one_other_for_all_visits,
    "one visit a node": one_visit_a_node,
    "parents not resampled": parents_not_resampled,
    "parents untouched inside": parents_untouched_inside,
    "other not taken out": other_not_taken_out,
    "queries for keys": another_input({"q": "k", "k": "q"}),
    "keys for values": another_input({"k": "v", "v": "k"}),
    "values for queries": another_input({"q": "v", "v": "q"}),
    "another head": another_input({}, heads=1),
}


@pytest.mark.default_cases(8)
@judges
@pytest.mark.parametrize("mutant", COMPUTED.values(), ids=COMPUTED)
def test_a_mistake_in_what_is_computed_changes_losses(mutant, judge, monkeypatch):
    mutant(monkeypatch)
    assert difference(judge) > SPLIT


@judges
@pytest.mark.parametrize("subject", [SUBJECT, APART, *(random_subject(seed, n_rows=4, n_steps=3) for seed in range(5))])
def test_the_engine_itself_changes_nothing(subject, judge):
    assert difference(judge, subject) < CLOSE


# --- Mistakes in the draws ------------------------------------------------------------------------------------------


def own_datum_drawn_as_other(monkeypatch):
    monkeypatch.setattr(Scrubber, "other_rows", lambda self, path, what="other": torch.arange(self.clean.n_rows))


def one_other_drawn_for_all(monkeypatch):
    other_rows = Scrubber.other_rows
    one = lambda self, path, what="other": other_rows(self, ("root",), what)[:1].expand(self.clean.n_rows)  # noqa: E731
    monkeypatch.setattr(Scrubber, "other_rows", one)


def one_draw_a_node(monkeypatch):
    monkeypatch.setattr(Scrubber, "key", lambda self, path: path[-1:])


def parents_drawn_together(monkeypatch):
    uniforms = Scrubber.uniforms
    monkeypatch.setattr(Scrubber, "uniforms", lambda self, path, what, shape: uniforms(self, path, what[0], shape))


def agreement_with_the_root(monkeypatch):
    """A parent agrees with the reference that its consumer stands in for, not with the row drawn for the consumer."""
    donors = Scrubber.donors

    def agreeing(self, path, parent):
        table = donors(self, path, parent)
        visited = np.arange(len(table))
        for depth in range(1, len(path)):
            visited = self.donors(path[:depth], path[depth])[visited]
        wrong = table.copy()
        wrong[visited] = table
        return wrong

    monkeypatch.setattr(Scrubber, "donors", agreeing)


def self_among(others):
    """The own row is drawn, among donors or as the row that unimportant inputs come from."""

    def mutate(monkeypatch):
        draw, rows = scrub.draw, Scrubber.other_rows

        def other_rows(scrubber, path, table="other"):
            with monkeypatch.context() as patch:
                patch.setattr(scrub, "draw", (lambda among, u, own: draw(among, u, True)) if others else draw)
                return rows(scrubber, path, table)

        if not others:
            monkeypatch.setattr(scrub, "draw", lambda among, u, own: draw(among, u, True))
        monkeypatch.setattr(Scrubber, "other_rows", other_rows)

    return mutate


def features_ignored(monkeypatch):
    found = scrub.classes
    monkeypatch.setattr(
        scrub, "classes", lambda labels, *rest, **options: found(np.zeros_like(labels), *rest, **options)
    )


DRAWN = {
    "own datum as other": own_datum_drawn_as_other,
    "one other for all visits": one_other_drawn_for_all,
    "one draw a node": one_draw_a_node,
    "parents drawn together": parents_drawn_together,
    "agreement with the root": agreement_with_the_root,
    "self-donors": self_among(others=False),
    "self as other": self_among(others=True),
    "features ignored": features_ignored,
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.default_cases(2)
def test_a_mistake_in_the_draws_is_impossible_by_chi_square(name, monkeypatch):
    DRAWN[name](monkeypatch)
    assert least_likely(self_donors="self" not in name) < IMPOSSIBLE


@pytest.mark.parametrize("subject", [SUBJECT, APART], ids=["both roles", "apart"])
@pytest.mark.parametrize("self_donors", [False, True])
@pytest.mark.default_cases(2)
def test_the_engines_own_draws_are_likely(self_donors, subject):
    assert least_likely(self_donors, subject) > UNLIKELY


# --- Mistakes about who is a donor ----------------------------------------------------------------------------------


def without_pool(what):
    """References are among the donors, or among the rows that unimportant inputs come from."""

    def mutate(monkeypatch):
        begin, found = Scrubber.__init__, scrub.classes

        def both_roles(scrubber, *arguments, **options):
            begin(scrubber, *arguments, **options)
            nodes, clean = scrubber.nodes, scrubber.clean
            if what == "others":
                scrubber.any_row = found(np.zeros(clean.n_rows, dtype=np.int64))
            else:
                scrubber.classes = {name: found(nodes[name].labels) for name in scrubber.classes}

        monkeypatch.setattr(Scrubber, "__init__", both_roles)

    return mutate


def counted_from_the_first_donor(monkeypatch):
    """A number among donors is taken for the number of a row."""
    found = scrub.classes

    def shifted(*arguments, **options):
        pools = found(*arguments, **options)
        return pools if pools.outside is None else replace(pools, members=pools.members - pools.outside.sum())

    monkeypatch.setattr(scrub, "classes", shifted)


def reference_as_a_donor(wanted):
    """A reference is, or is not, drawn for itself, whatever was asked for."""

    def mutate(monkeypatch):
        draw = scrub.draw
        monkeypatch.setattr(scrub, "draw", lambda among, u, own: draw(among, u, wanted))

    return mutate


def half_of_the_donors(monkeypatch):
    """Only the first half of those that agree is drawn from."""
    uniforms = Scrubber.uniforms
    monkeypatch.setattr(Scrubber, "uniforms", lambda self, *key: uniforms(self, *key) / 2)


DONORS = {
    "references as donors": (without_pool("donors"), False),
    "references as others": (without_pool("others"), False),
    "counted from the first donor": (counted_from_the_first_donor, False),
    "itself where it may not": (reference_as_a_donor(True), False),
    "never itself": (reference_as_a_donor(False), True),
    "half of the donors": (half_of_the_donors, False),
}


@pytest.mark.parametrize("name", DONORS)
@pytest.mark.default_cases(2)
def test_a_mistake_about_who_is_a_donor_is_impossible_by_chi_square(name, monkeypatch):
    mutant, self_donors = DONORS[name]
    mutant(monkeypatch)
    assert least_likely(self_donors, APART) < IMPOSSIBLE
