"""The fast engine against Redwood's own: the same models, hypotheses, histories and draws, in both directions.

Where the two are meant to differ, a test shows both readings and how each is had in the other.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("rust_circuit", reason="Redwood's engine is not here: pip install -e '.[oracle]'")

from redwood import Claim, Theirs, agreeing, log_probs, rows_of
from replay import (
    INSIDE,
    Subject,
    Tables,
    bound,
    draw_tests,
    engine_draws,
    forced,
    ladder,
    one_by_one,
    random_subject,
    recorded,
)
from rust_circuit.causal_scrubbing.hypothesis import (
    ExactSampler,
    UncondSampler,
    UncondTogetherSampler,
    corr_root_matcher,
)

from ad_hypotheses.causal.metrics import cross_entropy, exact_baseline
from ad_hypotheses.causal.scrub import Options
from ad_hypotheses.language.check import BoundGraph
from ad_hypotheses.language.sites import embed, head, logits, mlp

# its sampler warns where several references share a class that is smaller than they are many
pytestmark = pytest.mark.filterwarnings("ignore:not enough unique dataset samples")
RANDOM = range(120)
CLOSE = {"rtol": 0, "atol": 1e-9}
UNLIKELY = 1e-6  # of some hundred p-values with fixed seeds, none is below
SPLIT = 1e-3  # what counts as another number


def losses(subject: Subject, found: np.ndarray) -> np.ndarray:
    return cross_entropy(found, subject.history.actions)


# --- The same draws, the same losses --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", RANDOM)
def test_their_draws_give_our_engine_their_losses(seed):
    subject = random_subject(seed)
    visited, others, theirs = Theirs(subject).draws(seed)
    ours = one_by_one(subject, visited, others)
    assert np.allclose(losses(subject, ours), losses(subject, theirs), **CLOSE)
    assert np.allclose(ours, theirs, **CLOSE)


@pytest.mark.parametrize("seed", RANDOM)
def test_our_draws_give_their_engine_our_losses(seed):
    subject = random_subject(seed)
    scrubber = subject.scrubber(Options(self_donors=seed % 2 == 0), seed)
    tables, ours = recorded(scrubber, number=3)
    theirs = Theirs(subject).replay(tables)
    assert np.allclose(losses(subject, ours), losses(subject, theirs), **CLOSE)
    assert np.allclose(ours, theirs, **CLOSE)
    assert np.abs(ours - scrubber.clean.log_probs).max() > SPLIT


def test_the_random_hypotheses_cover_what_can_be_said():
    subjects = [random_subject(seed) for seed in RANDOM]
    nodes = [node for subject in subjects for node in subject.nodes.values()]
    parts = [part for node in nodes for part in node.parts]
    features = [set(np.bincount(node.labels)) - {0} for node in nodes if node.labels is not None]
    depths = {max(map(len, BoundGraph(subject.nodes, "root").tree_paths())) for subject in subjects}
    assert depths == {2, 3, 4}
    assert {len(node.parents) for node in nodes} == {0, 1, 2, 3}
    assert {1} in features  # every row alone
    assert {7} in features  # all rows alike
    assert any(len(node.parts) > 1 for node in nodes)
    assert any(part.to is not None for part in parts)
    assert any(part.directions is not None for part in parts)
    assert {p.readers[0].kind for p in parts if p.writer is None} == {"q", "k", "v", "logits"}
    assert len({subject.model.shape for subject in subjects}) == 3


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_the_graph_is_the_model(seed, fused):
    subject = random_subject(seed)
    nothing = {"root": bound(subject.model, "root", logits)}
    theirs = log_probs(Claim(Theirs(subject, fused).graph, nothing, "root", None).scrub(Theirs(subject).data))
    assert np.allclose(theirs, subject.scrubber().clean.log_probs, **CLOSE)


# --- The same chances of each draw ----------------------------------------------------------------------------------

THEIR_DRAWS, OUR_DRAWS = 6000, 500


def their_draws(subject: Subject, reference: int):
    """Redwood's draws for one reference, many at once, as `visited` and `others`."""
    theirs = Theirs(subject)
    claim = theirs.claim()
    references = theirs.data[torch.full((THEIR_DRAWS,), reference)]
    donors = theirs.rows(subject.donors)
    drawn = claim.correspondence.sample(donors, torch.Generator().manual_seed(1), references)
    visited = {path: rows_of(drawn.datasets[node]) for path, node in claim.tree.items()}
    others = {p: rows_of(drawn.other_inputs_datasets[n]) for p, n in claim.tree.items() if not n.is_leaf()}
    return visited, others


@pytest.mark.parametrize(("whose", "self_donors"), [("theirs", True), ("ours", True), ("ours", False)])
def test_draws_are_uniform_over_who_agrees_with_the_row_drawn_before(whose, self_donors):
    subject, references = ladder(), (0, 3)
    if whose == "theirs":
        found = [their_draws(subject, reference) for reference in references]
    else:
        found = engine_draws(subject, references, self_donors, OUR_DRAWS)
    for visited, others in found:
        chances = draw_tests(subject, visited, others, self_donors)
        assert min(chances.values()) > UNLIKELY, chances
        if self_donors:
            assert min(draw_tests(subject, visited, others, False).values()) == 0


# --- Donors that are no references ----------------------------------------------------------------------------------

APART = {"n_rows": 9, "n_references": 3}


@pytest.mark.parametrize("seed", range(6))
def test_donors_apart_from_references_are_the_dataset_that_they_draw_from(seed):
    subject = ladder(seed, **APART)
    visited, others, theirs = Theirs(subject).draws(seed)
    assert theirs.shape[0] == 3
    drawn = np.concatenate([*(rows for path, rows in visited.items() if len(path) > 1), *others.values()])
    assert drawn.min() >= 3
    assert np.allclose(one_by_one(subject, visited, others), theirs, **CLOSE)
    tables, ours = recorded(subject.scrubber(Options(self_donors=seed % 2 == 0), seed), 1)
    assert np.allclose(Theirs(subject).replay(tables), ours, **CLOSE)
    assert np.abs(ours - subject.scrubber().clean.log_probs[:3]).max() > SPLIT


@pytest.mark.parametrize(("whose", "self_donors"), [("theirs", True), ("ours", True), ("ours", False)])
def test_draws_are_uniform_over_donors_that_agree_and_are_no_references(whose, self_donors):
    subject, references = ladder(**APART), (0, 2)
    if whose == "ours":
        for visited, others in engine_draws(subject, references, self_donors, OUR_DRAWS):
            assert min(draw_tests(subject, visited, others, self_donors).values()) > UNLIKELY
            if self_donors:
                assert min(draw_tests(subject, visited, others, False).values()) == 0
        return
    for reference in references:  # which never stands in for itself there, since it is not in their dataset
        visited, others = their_draws(subject, reference)
        assert min(draw_tests(subject, visited, others, INSIDE).values()) > UNLIKELY
        assert min(draw_tests(subject, visited, others, False).values()) == 0


# --- Where the two are meant to differ ------------------------------------------------------------------------------


def everyone(subject: Subject) -> np.ndarray:
    return np.arange(subject.history.n_rows)


def chain(labels: np.ndarray, early: np.ndarray | None = None) -> Subject:
    """One head reads one head, and the logits read it."""
    subject = ladder()
    model = subject.model
    nodes = [
        bound(model, "early", head(0, 0), (), labels if early is None else early),
        bound(model, "late", head(1, 0), ["early"], labels),
        bound(model, "root", logits, ["late"]),
    ]
    return Subject(model, subject.history, {node.name: node for node in nodes})


def test_self_donors_are_an_option_of_ours_and_a_rule_of_theirs():
    """Their samplers may draw the reference's own row; `self_donors` does, and without it no row replaces itself."""
    subject = chain(np.zeros(6, dtype=int))
    visited, others = their_draws(subject, 2)
    (with_self,) = engine_draws(subject, [2], True, OUR_DRAWS)
    (without,) = engine_draws(subject, [2], False, OUR_DRAWS)
    for found, expected in (((visited, others), 1 / 6), (with_self, 1 / 6), (without, 0)):
        assert np.mean(found[0]["root", "late"] == 2) == pytest.approx(expected, abs=0.06)
        assert np.mean(found[1][("root",)] == 2) == pytest.approx(expected, abs=0.06)


def test_a_node_without_parents_runs_on_its_own_draw_in_both():
    """To leave a leaf's inputs to chance, as the paper can be read, give it a feature that says nothing."""
    halves = np.arange(6) % 2
    own = chain(halves)
    visited, others, theirs = Theirs(own).draws(1)
    assert np.allclose(one_by_one(own, visited, others), theirs, **CLOSE)
    chance = chain(halves, np.zeros(6, dtype=int))
    drawn = Theirs(own).draws(1, sampler=lambda path: UncondSampler() if path[-1] == "early" else agreeing(halves))
    visited, others, by_chance = drawn
    assert np.allclose(one_by_one(chance, visited, others), by_chance, **CLOSE)
    assert np.abs(theirs - by_chance).max() > SPLIT
    assert (halves[visited["root", "late", "early"]] != halves[visited["root", "late"]]).any()


def test_a_root_without_parents_is_the_baseline_here_and_the_model_there():
    """Theirs runs a childless root on the reference; here nothing that it reads is important."""
    subject = ladder()
    subject.nodes = {"root": bound(subject.model, "root", logits)}
    scrubber = subject.scrubber(Options(self_donors=True))
    tables, ours = recorded(scrubber, 0)
    theirs = Theirs(subject).replay(tables)
    assert np.allclose(theirs, scrubber.clean.log_probs, **CLOSE)
    assert np.allclose(ours, scrubber.clean.log_probs[tables.others[("root",), "other"]], **CLOSE)
    mean = np.mean([losses(subject, scrubber.clean.log_probs[[row] * 6]) for row in range(6)], axis=0)
    assert np.allclose(exact_baseline(scrubber.clean.log_probs, subject.history.actions, True), mean, **CLOSE)


@pytest.mark.parametrize("seed", range(12))
def test_independent_others_are_a_node_for_every_other_input_there(seed):
    """Theirs draws one row for all unimportant inputs; a leaf for each makes it `others="independent"`."""
    subject = random_subject(seed)
    if subject.along:
        subject = ladder(seed)
    tables, ours = recorded(subject.scrubber(Options(others="independent"), seed), 1)
    theirs = Theirs(subject).replay(tables)
    assert np.allclose(ours, theirs, **CLOSE)
    joint = Tables(tables.donors, {key: rows for key, rows in tables.others.items() if key[1] == "other"})
    assert np.allclose(forced(subject.scrubber(), joint), Theirs(subject).replay(joint), **CLOSE)
    assert np.abs(Theirs(subject).replay(joint) - theirs).max() > SPLIT


def test_other_inputs_of_an_inner_node_never_come_from_its_own_draw():
    """Theirs can be told to (`ExactSampler`), as some engines do; here that reading is not offered, only reproduced."""
    subject = ladder()
    visited, others, theirs = Theirs(subject).draws(2)
    assert np.allclose(one_by_one(subject, visited, others), theirs, **CLOSE)
    visited, others, own = Theirs(subject).draws(2, other=lambda path: ExactSampler())
    assert all((rows == visited[path]).all() for (path, _), rows in others.items())
    assert np.allclose(one_by_one(subject, visited, others), own, **CLOSE)
    assert np.abs(theirs - own).max() > SPLIT


def test_a_shared_node_is_one_pool_of_draws_there():
    """`shared` visits a node once for all its consumers; there both copies get one pool of one draw."""
    subject = ladder()

    def drawn_once(path):
        if path[-1] in ("early", "cell"):
            return UncondTogetherSampler()
        return agreeing(subject.nodes[path[-1]].labels)

    def other_once(path):
        return UncondTogetherSampler() if path[-1] == "early" else UncondSampler()

    visited, others, once = Theirs(subject).draws(3, sampler=drawn_once, other=other_once)
    assert (visited["root", "left", "early"] == visited["root", "right", "early"]).all()
    assert np.allclose(one_by_one(subject, visited, others, Options(shared=True)), once, **CLOSE)
    assert np.allclose(one_by_one(subject, visited, others), once, **CLOSE)
    visited, others, twice = Theirs(subject).draws(3)
    assert np.allclose(one_by_one(subject, visited, others), twice, **CLOSE)
    assert np.abs(one_by_one(subject, visited, others, Options(shared=True)) - twice).max() > SPLIT


def test_a_shared_pass_of_ours_is_theirs_with_both_copies_alike():
    subject = ladder()
    tables, ours = recorded(subject.scrubber(Options(shared=True)), 0)
    assert np.allclose(Theirs(subject).replay(tables), ours, **CLOSE)


def test_embeddings_of_a_node_with_parents_are_of_its_own_row_here():
    """An embedding is an input here; theirs has the tokens below it, which nobody declared, from the other row."""
    subject = ladder()
    model, halves = subject.model, np.arange(6) % 2
    nodes = [
        bound(model, "early", head(0, 0), (), halves),
        bound(model, "mixed", embed("x") + head(1, 0), ["early"], halves),
        bound(model, "root", logits, ["mixed"]),
    ]
    subject.nodes = {node.name: node for node in nodes}
    visited, others, own = Theirs(subject).draws(4)
    assert np.allclose(one_by_one(subject, visited, others), own, **CLOSE)
    _, _, other = Theirs(subject).draws(4, inputs_stay=False)
    assert np.abs(own - other).max() > SPLIT


def test_any_path_there_is_a_consumer_at_everything_between_here():
    """Left alone, a matcher takes every path to a writer; here an arrow is one edge of the model."""
    subject, halves = ladder(), np.arange(6) % 2
    model = subject.model
    early = bound(model, "early", head(0, 0), (), halves)
    between = mlp(0) + head(1) + mlp(1)

    def with_root(site):
        nodes = {"early": early, "root": bound(model, "root", site, ["early"])}
        return Subject(model, subject.history, nodes)

    direct, anywhere = with_root(logits), with_root(between + logits)
    theirs = Theirs(direct)
    claim = theirs.claim()
    claim.correspondence.replace(claim.tree["root", "early"], corr_root_matcher.chain("head(0, 0)"))
    scrubbed = claim.scrub(theirs.data, 5)
    visited, others = claim.donors(scrubbed)
    others = {(path, "other"): rows for path, rows in others.items()}
    assert np.allclose(one_by_one(anywhere, visited, others), log_probs(scrubbed), **CLOSE)
    assert np.abs(one_by_one(direct, visited, others) - log_probs(scrubbed)).max() > SPLIT


def test_references_of_a_pass_share_tables_here_and_nothing_there():
    """A row visited for two references has one donor in a pass of ours: cheaper, with the same chances for each."""
    subject = chain(np.zeros(6, dtype=int))
    tables, ours = recorded(subject.scrubber(Options(self_donors=True), 1), 0)
    visited = tables.visited(subject.nodes, "root", everyone(subject))
    late, early = visited["root", "late"], visited["root", "late", "early"]
    assert len(set(late)) < 6
    assert len(set(zip(late, early, strict=True))) == len(set(late))
    visited, others, theirs = Theirs(subject).draws(0)
    late, early = visited["root", "late"], visited["root", "late", "early"]
    assert len(set(zip(late, early, strict=True))) > len(set(late))
    assert np.allclose(one_by_one(subject, visited, others), theirs, **CLOSE)
    assert np.allclose(forced(subject.scrubber(), tables), ours, **CLOSE)
