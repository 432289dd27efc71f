"""Made donors in the fast engine: draw by draw and in expectation as the oracle has them, and the laws they obey."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from expand import components, oracle_nodes, tiny_history, tiny_model
from made_claims import (
    REORDERED,
    STEPS,
    MadeSubject,
    Values,
    oracle_replays,
    random_made_subject,
    recorded,
    unlawful,
)

from ad_hypotheses.causal import made_visit, oracle
from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.made import MadeScrubber, make_scrubber
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.check import BoundGraph, BoundNode
from ad_hypotheses.language.history import History
from ad_hypotheses.language.sites import embed, head, logits, mlp
from ad_hypotheses.language.symmetries.symmetry import Symmetry, changed_tokens
from ad_hypotheses.sources.variants import joined

OPTIONS = [
    Options(),
    Options(self_donors=True),
    Options(others="independent"),
    Options(align="any"),
    Options(align="episode_step"),
]


def difference(seed: int, options: Options, references: int | None) -> tuple[float, str]:
    """How far a pass is from the oracle on the same draws, and what is wrong with these; and how much was compared."""
    subject = random_made_subject(seed)
    where = (np.random.default_rng(seed).random((subject.history.n_rows, STEPS)) < 0.7)[:references]
    scrubber = subject.scrubber(options, seed, references, where)
    draws, fast = recorded(subject, scrubber, 3)
    asked = scrubber.tested & where
    expected = oracle_replays(subject, draws, options, asked) if asked.any() else fast[asked]
    np.testing.assert_array_equal(fast[~where], scrubber.clean.log_probs[: len(where)][~where])
    return float(np.abs(fast[asked] - expected).max(initial=0)), unlawful(subject, scrubber, draws)


@pytest.mark.default_cases(4)
@pytest.mark.parametrize("seed", range(12))
def test_the_engine_with_made_donors_is_the_oracle_draw_by_draw(seed):
    far, breach = difference(seed, OPTIONS[seed % len(OPTIONS)], [None, 2][seed % 2])
    assert far < 2e-6
    assert not breach


def test_the_random_claims_make_donors_of_every_kind():
    """Else the test above would show little: at leaves and inner nodes, below made and found nodes, read by heads."""
    kinds = set()
    for seed in range(60):
        nodes = random_made_subject(seed).graph
        for path in nodes.tree_paths()[1:]:
            node, consumer = nodes.nodes[path[-1]], nodes.nodes[path[-2]]
            heads = any(part.writer is not None and part.writer.kind == "head" for part in consumer.parts)
            above = "root" if len(path) == 2 else "made" if consumer.symmetry else "found"
            kinds.add((node.symmetry is not None, above, bool(node.parents), heads, node.selected is not None))
    for is_made in (True, False):
        for above in ("made", "found"):
            those = [kind[2:] for kind in kinds if kind[:2] == (is_made, above)]
            inner, by_heads, narrowed = (set(values) for values in zip(*those, strict=True))
            assert inner == by_heads == narrowed == {True, False}


# --- In expectation -------------------------------------------------------------------------------------------------

COPIES, DISTINCT = 150, 3


def with_other_orders(history: History) -> tuple[History, dict[tuple[int, int], list[int]]]:
    """Rows and all orders of their pasts, and which rows reordering makes of each at a step. {(row, step): rows}"""
    rows, made_of = [history], {}
    count = history.n_rows
    for row in range(history.n_rows):
        for step in range(1, STEPS):
            orders = list(permutations(range(step)))
            places = np.array([[*order, *range(step, STEPS)] for order in orders])
            one = history[np.full(len(orders), row)]
            actions, rewards = (np.take_along_axis(values, places, axis=1) for values in (one.actions, one.rewards))
            rows.append(replace(one, actions=actions, rewards=rewards))
            numbers = list(range(count, count + len(orders)))
            made_of |= {(number, step): numbers for number in (row, *numbers)}
            count += len(orders)
    return joined(rows), made_of


def nested_claim(model, history: History) -> BoundGraph:
    """A record at a head, and an MLP that weighs it: both are made, by the same symmetry."""
    values = Values({"record": 1, "weighed": 2}, {"record": (1, False, False), "weighed": (1, False, False)})

    def node(name, site, parents=(), symmetry=REORDERED):
        labels = None if name == "root" else np.zeros(history.actions.shape, dtype=int)
        return BoundNode(name, site.resolve(model.anatomy), parents, labels, None, False, "", symmetry)

    nodes = [
        node("record", head(0, 0)),
        node("weighed", mlp(0), ("record",)),
        node("root", logits, ("record", "weighed"), None),
    ]
    return BoundGraph({item.name: item for item in nodes}, "root", read=values)


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("self_donors", [False, True])
def test_a_pass_has_the_mean_that_the_oracle_expects(self_donors):
    """References are copies of three lives; each has draws of its own. What is unimportant comes from three more."""
    lives = replace(tiny_history(5, 2 * DISTINCT, STEPS), task={"kind": np.zeros(2 * DISTINCT, dtype=int)})
    model = tiny_model(3, STEPS, n_layers=1)
    everything, made_of = with_other_orders(lives)
    graph = nested_claim(model, everything)
    tokens = model.vocabulary.encode(everything).numpy()
    shown = oracle.OracleSymmetry(
        lambda row, step: made_of[row, step], lambda row, step: tokens[row, : step + 1].tobytes()
    )
    claim = [
        replace(node, symmetry=None if node.name == "root" else shown) for node in oracle_nodes(dict(graph.nodes), {})
    ]
    rules = oracle.OracleOptions(self_donors=self_donors, references=DISTINCT)
    problem = oracle._Problem(components(model, everything), claim, "root", 2 * DISTINCT, STEPS, rules)

    def loss(value, row, step):
        return float(np.logaddexp.reduce(value) - value[0])

    rows = np.r_[np.repeat(np.arange(DISTINCT), COPIES), np.arange(DISTINCT, 2 * DISTINCT)]
    clean = Clean.run(model, lives[rows], DISTINCT * COPIES)
    scrubber = MadeScrubber(clean, nested_claim(model, lives[rows]), Options(self_donors=self_donors), 7)
    losses = -scrubber.run(0).log_probs[..., 0].reshape(DISTINCT, COPIES, STEPS)
    compared = 0
    for row, step in [(0, 2), (1, 2), (2, 2), *([] if self_donors else [(0, 3)])]:
        expected = oracle._expectation(problem, loss, row, step)
        tested = scrubber.tested.reshape(DISTINCT, COPIES, STEPS)[row, :, step]
        assert tested.all() if expected is not None else not tested.any()
        if expected is not None:
            error = losses[row, :, step].std(ddof=1) / COPIES**0.5
            assert abs(losses[row, :, step].mean() - expected) < 4 * error + 1e-9
            compared += error > 1e-3
    assert compared >= 2  # else nothing varied


# --- Rules by themselves --------------------------------------------------------------------------------------------


def one_node(model, history, symmetry, site) -> MadeSubject:
    values = Values({"only": 1}, {"only": (1, False, False)})
    labels = np.zeros(history.actions.shape, dtype=int)
    nodes = {
        "only": BoundNode("only", site.resolve(model.anatomy), (), labels, None, False, "", symmetry),
        "root": BoundNode("root", logits.resolve(model.anatomy), ("only",), None, None, False, ""),
    }
    return MadeSubject(model, history, BoundGraph(nodes, "root", read=values))


def everything_at(model):
    """All that the logits read, as one site."""
    return embed() + head(0) + mlp(0) + head(1) + mlp(1)


def lives(seed=2, n_rows=6):
    return replace(tiny_history(seed, n_rows, STEPS), task={"kind": np.zeros(n_rows, dtype=int)})


def test_a_node_that_supplies_everything_is_the_models_run_on_the_made_row():
    model, history = tiny_model(1, STEPS, positions="none"), lives()
    subject = one_node(model, history, REORDERED, everything_at(model))
    scrubber = subject.scrubber(Options(self_donors=True), 0)
    draws, result = recorded(subject, scrubber, 0)
    ((_, _, of, rows, _),) = draws.tables
    plain = Clean.run(model, rows.history).log_probs
    items = np.arange(len(rows.steps))
    np.testing.assert_allclose(result[of, rows.steps], plain[items, rows.steps], atol=1e-9)


def test_actions_are_read_by_their_names_in_the_made_row():
    """A symmetry that renames actions, and a model run on renamed histories: the prediction is that of the names."""

    def renamed(history, steps, rng):
        names = np.argsort(rng.random((history.n_rows, history.n_actions)), axis=1)
        past = np.arange(history.n_steps) < steps[:, None]
        return replace(
            history, actions=np.where(past, np.take_along_axis(names, history.actions, axis=1), history.actions)
        ), names

    model, history = tiny_model(1, STEPS, positions="none"), lives()
    subject = one_node(model, history, Symmetry("renamed", renamed), everything_at(model))
    scrubber = subject.scrubber(Options(self_donors=True), 0)
    draws, result = recorded(subject, scrubber, 0)
    ((_, _, of, rows, _),) = draws.tables
    plain = Clean.run(model, rows.history).log_probs
    for item, (row, step) in enumerate(zip(of, rows.steps, strict=True)):
        expected = [plain[item, step, rows.names[item, action]] for action in range(3)]
        np.testing.assert_allclose(result[row, step], expected, atol=1e-9)
    assert (rows.names != np.arange(3)).any()


def test_a_past_that_stays_is_drawn_again_and_one_that_must_is_untested():
    """Half of the time a coin leaves the past; where there is nothing to exchange, it always stays."""

    def coin(history, steps, rng):
        two = (steps >= 2) & (rng.random(len(steps)) < 0.5)
        order = np.tile(np.arange(history.n_steps), (history.n_rows, 1))
        order[two, 0], order[two, 1] = 1, 0
        actions, rewards = (np.take_along_axis(v, order, axis=1) for v in (history.actions, history.rewards))
        return replace(history, actions=actions, rewards=rewards)

    model, history = tiny_model(1, STEPS), lives(n_rows=40)
    differs = (history.actions[:, 0] != history.actions[:, 1]) | (history.rewards[:, 0] != history.rewards[:, 1])
    expected = differs[:, None] & (np.arange(STEPS) >= 2)
    subject = one_node(model, history, Symmetry("coin", coin), head(0))
    scrubber = subject.scrubber(Options(), 0)
    assert np.array_equal(scrubber.tested, np.ones_like(expected))  # before anything was tried
    scrubber.run(0)
    np.testing.assert_array_equal(scrubber.tested, expected)
    np.testing.assert_array_equal(scrubber.has_made(40)["only"], expected)
    change = scrubber.changes["root", "only"]
    assert change.positions == pytest.approx(expected.mean())
    shown = changed_tokens(history, coin(history, np.full(40, 3), AlwaysLow()), np.full(40, 3))
    shares = np.array([(shown[row, : step + 1].sum()) / (step + 1) for row, step in np.argwhere(expected)])
    assert change.tokens == pytest.approx(shares.mean())
    allowed = scrubber.with_self_donors()
    allowed.run(0)
    assert allowed.tested.all()
    assert 0.3 < allowed.changes["root", "only"].positions / expected.mean() < 0.7


class AlwaysLow:
    """A generator all of whose numbers are 0."""

    def random(self, shape):
        return np.zeros(shape)


def test_a_broken_symmetry_shows_other_rows_where_it_changed_something_and_nothing_else():
    model, history = tiny_model(1, STEPS), lives()
    subject = one_node(model, history, REORDERED, head(0))
    scrubber = subject.scrubber(Options(), 0)
    (whole, _), (broken, _) = recorded(subject, scrubber, 0), recorded(subject, scrubber.with_broken_symmetries(), 0)
    ((_, _, of, rows, _),), ((_, _, again, others, _),) = whole.tables, broken.tables
    assert np.array_equal(of, again)
    before = history[of]
    for item in range(len(rows.steps)):
        for place in range(STEPS):

            def token(at, row, place=place):
                previous = (at.previous_actions[row, place], at.previous_rewards[row, place])
                return (*at.observations[row, place], *previous)

            if rows.changed[item, place]:
                assert token(others.history, item) in {token(history, row) for row in range(6)}
            else:
                assert token(others.history, item) == token(before, item)
    assert (others.history.observations != before.observations).any()  # though reordering leaves them


def test_draws_do_not_depend_on_who_else_is_scrubbed_in_other_passes():
    subject = random_made_subject(11)
    first, second = subject.scrubber(Options(), 4), subject.scrubber(Options(), 4)
    first.run(0)
    np.testing.assert_array_equal(first.run(1).log_probs, second.run(1).log_probs)
    assert not np.array_equal(second.run(2).log_probs, second.run(1).log_probs)
    other = subject.scrubber(Options(), 5)
    assert not np.array_equal(other.run(1).log_probs, second.run(1).log_probs)


def test_movement_is_that_of_what_was_delivered():
    model, history = tiny_model(1, STEPS), lives()
    subject = one_node(model, history, REORDERED, head(0, 1))
    scrubber = subject.scrubber(Options(), 0)
    draws_and_result = recorded(subject, scrubber, 0)
    ((_, _, of, rows, _),) = draws_and_result[0].tables
    movement = scrubber.run(0, movements=True).movements["root", "only"]
    writer = subject.graph.nodes["only"].parts[0].writer
    written = []
    for of_rows in (history, rows.history):
        tokens = model.to_tokens(of_rows)
        twin = scrubber.twin
        with torch.no_grad():
            written.append(twin.write(writer, tokens, twin.streams(tokens)).numpy())
    own, new = written[0][of, rows.steps], written[1][np.arange(len(of)), rows.steps]
    norm = np.linalg.norm(own, axis=-1).sum()
    assert movement.moved == pytest.approx(np.linalg.norm(new - own, axis=-1).sum() / norm)
    assert movement.spread == pytest.approx(movement.moved)
    assert movement.swapped == pytest.approx(rows.changed.any(axis=1).mean())


def test_what_scrubs_is_chosen_by_the_claim():
    subject = random_made_subject(3)
    clean = Clean.run(subject.model, subject.history)
    assert isinstance(make_scrubber(clean, subject.graph), MadeScrubber)
    structure = make_scrubber(clean, subject.graph.without_features())
    assert type(structure) is Scrubber  # a value that is the same for all is found with anybody
    with pytest.raises(AssertionError, match="made donors need a MadeScrubber"):
        Scrubber(clean, subject.graph)
    with pytest.raises(HypothesisError, match=r"cannot be shared between consumers \(`shared`\)"):
        make_scrubber(clean, subject.graph, Options(shared=True))


# --- Mistakes are noticed -------------------------------------------------------------------------------------------


def made_from_the_reference(monkeypatch):
    """A nested donor is made from a row of the dataset, not from the one that was drawn for its consumer."""
    make = MadeScrubber._make

    def wrong(self, visit, parent, positions):
        if isinstance(visit, made_visit.MadeVisit):
            rows = visit.rows
            visit.rows = replace(rows, history=self.clean.history[np.arange(len(rows.steps)) % self.clean.n_rows])
            try:
                return make(self, visit, parent, positions)
            finally:
                visit.rows = rows
        return make(self, visit, parent, positions)

    monkeypatch.setattr(MadeScrubber, "_make", wrong)


def read_a_step_early(monkeypatch):
    leaf_of = MadeScrubber.leaf_of
    monkeypatch.setattr(
        MadeScrubber,
        "leaf_of",
        lambda self, rows, name: leaf_of(self, replace(rows, steps=np.maximum(rows.steps - 1, 0)), name),
    )


def agreement_with_the_first_rows(monkeypatch):
    """Found donors below a made row agree with rows of the dataset."""
    donors = made_visit.MadeVisit.donors

    def wrong(self, parent):
        rows = self.scrubber.clean.history[np.arange(len(self.rows.steps)) % self.scrubber.clean.n_rows]
        readings, self.readings = self.readings, self.scrubber.bound.read(rows)
        try:
            return donors(self, parent)
        finally:
            self.readings = readings

    monkeypatch.setattr(made_visit.MadeVisit, "donors", wrong)


def untouched_inside(monkeypatch):
    """An inner node runs as it is on the made row, whatever was drawn for what it reads."""
    deliver = made_visit.MadeVisit.deliver
    leaf = lambda visit: visit.scrubber.leaf_of(visit.rows, visit.path[-1])  # noqa: E731
    monkeypatch.setattr(made_visit.MadeVisit, "deliver", lambda visit: replace(deliver(visit), streams=leaf(visit)))


def made_row_as_other(monkeypatch):
    """What is unimportant to a made row comes from rows that are no donors."""
    monkeypatch.setattr(
        made_visit.MadeVisit, "_other_rows", lambda self, table: torch.zeros(len(self.rows.steps), dtype=torch.int64)
    )


MISTAKES = {
    "made from the reference": made_from_the_reference,
    "read a step early": read_a_step_early,
    "agreement with the first rows": agreement_with_the_first_rows,
    "untouched inside": untouched_inside,
    "a reference as other": made_row_as_other,
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.default_cases(2)
def test_a_mistake_with_made_rows_is_noticed(name, monkeypatch):
    MISTAKES[name](monkeypatch)
    found = (difference(seed, Options(), 2) for seed in range(20))
    assert any(far > 1e-3 or breach for far, breach in found)
