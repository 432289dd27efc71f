"""Effects of patches: exact numbers on small models, donors, statistics, and what a hypothesis declares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from expand import tiny_history, tiny_model
from numpy.testing import assert_allclose
from scipy import stats

from ad_hypotheses.causal import effects
from ad_hypotheses.causal.effects import Chain, Nodes, Together, measure, plan
from ad_hypotheses.causal.history_pairs import HistoryPairs, make_pairs
from ad_hypotheses.errors import CapacityError, DataError
from ad_hypotheses.evidence.effects import benjamini_hochberg, flip_test, weigh
from ad_hypotheses.language.check import bind
from ad_hypotheses.language.declared import declared, left_open, undeclared
from ad_hypotheses.language.edges import all_edges, find_edges
from ad_hypotheses.language.hypothesis import Hypothesis, node
from ad_hypotheses.language.sites import embed, head, logits, mlp
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.tasks.dark_room import DarkRoom

N_ROWS, N_STEPS = 5, 6
TASK = DarkRoom(size=3, horizon=2)


@pytest.fixture(scope="module")
def model():
    return tiny_model(0, N_STEPS)


@pytest.fixture(scope="module")
def pairs():
    history = tiny_history(1, N_ROWS, N_STEPS)
    return HistoryPairs(history, history[np.roll(np.arange(N_ROWS), 1)], "any")


def plain(model, history):
    """What the model itself gives, by its own forward pass. [row, step, action]"""
    with torch.no_grad():
        return model(model.to_tokens(history)).log_softmax(-1).numpy()


def cross_entropy(log_probs, actions):
    return -np.take_along_axis(log_probs, actions[..., None], -1)[..., 0]


# --- Measuring -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_all_edges_at_once_make_the_other_run(model, pairs, direction):
    everything = Together(frozenset(all_edges(model.anatomy)))
    found = measure(model, pairs, [everything], ("loss", "kl", "logit-difference"), direction=direction)
    ends = {"reference": plain(model, pairs.reference), "donor": plain(model, pairs.donor)}
    labels = pairs.reference.actions
    loss = {name: cross_entropy(run, labels).mean(1) for name, run in ends.items()}
    kl = (np.exp(ends["reference"]) * (ends["reference"] - ends["donor"])).sum(-1).mean(1)
    sign = 1 if direction == "noising" else -1
    assert_allclose(found.changes["loss"][0, :, 0], sign * (loss["donor"] - loss["reference"]), atol=1e-10)
    assert_allclose(found.changes["kl"][0, :, 0], sign * kl, atol=1e-10)
    assert_allclose(found.reference["loss"][:, 0], loss["reference"], atol=1e-10)
    assert_allclose(found.donor["loss"][:, 0], loss["donor"], atol=1e-10)
    others = np.delete(np.arange(3), labels[0, 0])
    first = {"first": np.eye(1, N_STEPS, dtype=bool).repeat(N_ROWS, axis=0)}
    logits = measure(model, pairs, [everything], ("logit-difference",), first).reference["logit-difference"]
    run = ends["reference"][0, 0]
    assert_allclose(logits[0, 0], run[labels[0, 0]] - run[others].mean(), atol=1e-10)


def test_each_way_of_saying_the_same_patch_gives_the_same_number(model, pairs):
    (edge,) = find_edges(["head(1, 0) -> logits"], model.anatomy)
    writer = edge.writers[0]
    everyone = frozenset(one for one in all_edges(model.anatomy) if one.writers == (writer,))
    patches = [edge, Together(frozenset([edge])), Chain((edge,)), Nodes((writer,)), Together(everyone)]
    changes = measure(model, pairs, patches).changes["loss"]
    assert_allclose(changes[1], changes[0], atol=1e-10)
    assert_allclose(changes[2], changes[0], atol=1e-10)
    assert_allclose(changes[4], changes[3], atol=1e-10)
    assert np.abs(changes[3] - changes[0]).max() > 1e-4


def test_effects_are_means_over_the_steps_of_a_regime_and_missing_where_there_are_none(model, pairs):
    some = np.zeros((N_ROWS, N_STEPS), dtype=bool)
    some[1:, 2] = some[1:, 4] = True
    regimes = {"all": np.ones_like(some), "some": some, "rest": ~some}
    edges = all_edges(model.anatomy)[:4]
    found = measure(model, pairs, edges, ("loss",), regimes)
    assert np.isnan(found.changes["loss"][:, 0, 1]).all()
    assert np.isfinite(found.changes["loss"][:, 1:]).all()
    assert found.counts.tolist() == [[6, 0, 6], *[[6, 2, 4]] * 4]
    whole, inside, outside = np.moveaxis(found.changes["loss"][:, 1:], -1, 0)
    assert_allclose(6 * whole, 2 * inside + 4 * outside, atol=1e-10)


def test_a_donor_that_is_the_reference_changes_nothing(model, pairs):
    same = replace(pairs, donor=pairs.reference)
    found = measure(model, same, [*all_edges(model.anatomy), Together(frozenset(all_edges(model.anatomy)))])
    assert all(np.abs(one).max() < 1e-12 for one in found.changes.values())


def test_neither_memory_nor_an_interruption_changes_a_number(model, pairs, tmp_path, monkeypatch):
    patches = [*all_edges(model.anatomy)[::7], Together(frozenset(all_edges(model.anatomy)))]
    whole = measure(model, pairs, patches)
    one_row = plan(model, N_ROWS, N_STEPS, 1).bytes // N_ROWS
    done = []

    def stop(count):
        done.append(count)
        if sum(done) > len(patches) + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(model, pairs, patches, memory=one_row, progress=stop, scratch=Scratch(tmp_path))
    kept = sorted(tmp_path.glob("*.npz"))
    assert len(kept) == 1
    rows = []
    really = effects._measure_rows
    monkeypatch.setattr(effects, "_measure_rows", lambda task, at, say: rows.append(at) or really(task, at, say))
    done.clear()
    resumed = measure(model, pairs, patches, memory=one_row, progress=done.append, scratch=Scratch(tmp_path))
    assert rows == [slice(n, n + 1) for n in range(1, N_ROWS)]
    assert sum(done) == N_ROWS * len(patches)
    kept[0].write_bytes(kept[0].read_bytes()[:100])  # a damaged file is measured again
    again = measure(model, pairs, patches, memory=one_row, scratch=Scratch(tmp_path))
    assert len(rows) == N_ROWS
    for name, changes in whole.changes.items():
        assert_allclose(resumed.changes[name], changes, atol=1e-10)
        assert_allclose(again.changes[name], changes, atol=1e-10)
    measure(model, replace(pairs, donor=pairs.reference), patches, memory=one_row, scratch=Scratch(tmp_path))
    assert len(rows) == 2 * N_ROWS, "other donors are other numbers"


def test_what_cannot_be_measured_is_refused(model, pairs):
    with pytest.raises(DataError, match=r"no metric 'los'. Did you mean 'loss'"):
        measure(model, pairs, [], ("los",))
    with pytest.raises(DataError, match="towards-new needs pairs whose goals differ"):
        measure(model, pairs, [], ("towards-new",))
    with pytest.raises(CapacityError, match=r"patching one history needs .* MB"):
        measure(model, pairs, [], memory=100)


def test_the_probability_of_moves_towards_goals_is_measured(model, pairs):
    rng = np.random.default_rng(0)
    towards = {name: rng.random((N_ROWS, N_STEPS, 3)) < 0.4 for name in ("old", "new")}
    found = measure(model, replace(pairs, towards=towards), [], ("towards-old", "towards-new"))
    probabilities = np.exp(plain(model, pairs.reference))
    for name, mask in towards.items():
        expected = (probabilities * mask).sum(-1).mean(1)
        assert_allclose(found.reference[f"towards-{name}"][:, 0], expected, atol=1e-10)


# --- Donors --------------------------------------------------------------------------------------------------------


@pytest.fixture
def lives():
    rng = np.random.default_rng(3)
    facts = {**TASK.sample_tasks(rng, 12), "treasure": np.zeros(12, dtype=int)}
    cells = rng.integers(3, size=(12, N_STEPS, 2))
    return replace(tiny_history(4, 12, N_STEPS), observations=cells, channels=("x", "y"), task=facts)


@node(at=head(0))
def rich(history):
    """Whether there is a treasure; a fact of the whole history."""
    return history.task["treasure"]


@node(at=mlp(0))
def seen(history):
    """What is observed."""
    return history.observations[..., 0]


@node(at=logits)
def choice(rich, seen):
    """Anything."""
    return np.full(seen.shape, -1)


def bound_to(history, root=choice):
    return bind(Hypothesis(root, model="tiny"), tiny_model(0, N_STEPS).anatomy, history)


def test_any_donor_is_another_row_and_its_draw_is_seeded(lives):
    def first_cells(pairs):
        return pairs.donor.observations[:, 0].tolist()

    found = make_pairs("any", TASK, lives, 0)
    assert not (found.donor.observations == lives.observations).all(axis=(1, 2)).any()
    assert first_cells(found) == first_cells(make_pairs("any", TASK, lives, 0))
    assert first_cells(found) != first_cells(make_pairs("any", TASK, lives, 1))


def test_donors_agree_on_a_node_of_whole_histories_and_the_lonely_are_left_out(lives):
    treasure = lives.task["treasure"].copy()
    treasure[0] = 1
    lives = replace(lives, task={**lives.task, "treasure": treasure})
    with pytest.raises(DataError, match="agree:rich'`: only 0 of the 2 histories"):
        make_pairs("agree:rich", TASK, lives[:2], 0, bound_to(lives[:2]))
    found = make_pairs("agree:rich", TASK, lives, 0, bound_to(lives))
    assert found.left_out == 1
    assert found.rows.tolist() == list(range(1, 12))
    treasure[1] = 1  # which the histories see
    found = make_pairs("agree:rich", TASK, lives, 0, bound_to(lives))
    assert found.left_out == 0
    assert (found.donor.observations[0] == lives.observations[1]).all()


def test_of_a_node_with_steps_donors_agree_at_most_of_them(lives):
    found = make_pairs("agree:seen", TASK, lives, 0, bound_to(lives))
    values = lives.observations[..., 0]
    agreeing = (values[:, None] == values[None]).sum(-1) - 99 * np.eye(12, dtype=int)
    chosen = (found.donor.observations[..., 0] == values).sum(-1)
    assert (chosen == agreeing.max(axis=1)).all()
    assert f"{chosen.mean() / N_STEPS:.0%}" in found.words
    assert "at most steps" in found.words


def test_counterfactual_donors_leave_out_rows_without_one(lives):
    rewards = lives.rewards.copy()
    rewards[:3] = 0
    found = make_pairs("no-rewards", TASK, replace(lives, rewards=rewards), 0)
    paid = (rewards[:, :-1] > 0).any(axis=1)
    assert found.left_out == int((~paid).sum()) >= 3
    assert not found.donor.rewards.any()
    assert (found.first_step == 1 + (rewards[paid] > 0).argmax(axis=1)).all()
    assert (found.donor.observations == found.reference.observations).all()


@pytest.mark.parametrize(
    ("donors", "message"),
    [
        ("eny", r"no donors 'eny'.*Did you mean 'any'.*agree:rich.*no-rewards"),
        ("agree:ritch", r"no node 'ritch'.*Did you mean 'rich'"),
        ("agree:choice", r"no node 'choice' with a feature"),
    ],
)
def test_unknown_donors_are_refused(lives, donors, message):
    with pytest.raises(DataError, match=f"(?s){message}"):
        make_pairs(donors, TASK, lives, 0, bound_to(lives))


def test_a_model_alone_has_no_nodes_to_agree_on(lives):
    with pytest.raises(DataError, match="a model alone has none"):
        make_pairs("agree:rich", TASK, lives, 0)


# --- Statistics ----------------------------------------------------------------------------------------------------


def test_flip_test_is_the_exact_permutation_test():
    sums = np.random.default_rng(0).normal(0.3, 1, size=(4, 9))
    expected = [
        stats.permutation_test((one,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue for one in sums
    ]
    assert_allclose(flip_test(sums, np.random.default_rng(0)), expected)


def test_drawn_flips_come_close_to_all_of_them():
    sums = np.random.default_rng(1).normal(0.4, 1, size=(3, 12))
    exact = flip_test(sums, np.random.default_rng(0))
    drawn = flip_test(sums, np.random.default_rng(0), n_flips=2000)
    assert_allclose(drawn, exact, atol=4 * np.sqrt(0.25 / 2000))


def test_false_alarms_are_as_rare_as_promised():
    sums = np.random.default_rng(2).normal(size=(2000, 20))
    p = flip_test(sums, np.random.default_rng(3), n_flips=1000)
    assert 0.03 < (p < 0.05).mean() < 0.07
    assert flip_test(np.zeros((1, 5)), np.random.default_rng(0)) == 1


def test_effects_pool_steps_cluster_rows_and_correct_within_a_kind():
    rng = np.random.default_rng(4)
    changes = rng.normal(0, 0.1, size=(6, 40))
    changes[0] += 0.5
    changes[:, 0] = np.nan
    counts = np.r_[0, rng.integers(1, 9, size=39)]
    found = weigh(changes, counts, 0, families=["edge"] * 4 + ["arrow"] * 2)
    pooled = (np.nan_to_num(changes) * counts).sum(1) / counts.sum()
    assert_allclose([one.value.value for one in found], pooled)
    assert found[0].sure
    assert found[0].value.low > 0.4
    assert not any(one.sure for one in found[1:])
    p = np.array([one.p for one in found])
    assert_allclose([one.bh for one in found[:4]], benjamini_hochberg(p[:4]))
    assert found[0].holm == pytest.approx(4 * p[0])
    halves = weigh(np.repeat(changes, 2, axis=1), np.repeat(counts, 2), 0, clusters=np.repeat(np.arange(40), 2))
    assert_allclose([one.value.low for one in halves], [one.value.low for one in found])
    assert [one.p for one in weigh(changes, counts, 0, tested=False)] == [None] * 6


def test_what_rounding_leaves_is_no_effect():
    (found,) = weigh(np.full((1, 20), 3e-7), np.full(20, 5), 0)
    assert found.p == 1
    assert found.value.value == 0


def test_what_is_restored_is_a_ratio_of_means():
    rng = np.random.default_rng(5)
    gap = rng.normal(1, 0.3, size=30)
    found = weigh(0.25 * gap[None] + rng.normal(0, 0.01, (1, 30)), np.full(30, 7), 0, scale=gap)
    assert found[0].value.value == pytest.approx(0.25, abs=0.01)
    assert found[0].value.low < 0.25 < found[0].value.high


# --- What a hypothesis declares ------------------------------------------------------------------------------------


@node(at=embed("x"))
def cell(history):
    """Where it is."""
    return history.observations[..., 0]


@node(at=head(1, 0).q)
def asks(cell):
    """What it looks for."""
    return cell


@node(at=head(1, 0))
def found_there(asks, cell):
    """What it finds."""
    return cell


@node(at=mlp(1).to(logits) + mlp(0))
def worked_out(cell, found_there):
    """Something."""
    return cell


@node(at=logits)
def answer(worked_out, found_there):
    """Anything."""
    return np.full(worked_out.shape, -1)


def test_arrows_are_the_edges_between_the_places_of_nodes():
    bound = bound_to(tiny_history(0, 8, N_STEPS), answer)
    found = {arrow.name: arrow for arrow in declared(bound)}
    named = {name: [str(edge) for edge in arrow.edges] for name, arrow in found.items()}
    assert named["cell -> asks"] == ['embed("x") -> head(1, 0).q']
    # the query comes from a node of its own, so the cell enters by the others
    assert named["cell -> found_there"] == ['embed("x") -> head(1, 0).k', 'embed("x") -> head(1, 0).v']
    assert named["found_there -> worked_out"] == ["head(1, 0) -> mlp(1)"]
    assert named["inside worked_out"] == ["mlp(0) -> mlp(1)"]
    assert named["worked_out -> answer"] == ["mlp(0) -> logits", "mlp(1) -> logits"]
    assert not found["asks -> found_there"].single
    assert {edge.reader.kind for edge in found["asks -> found_there"].edges} == {"q"}
    rest = undeclared(bound.anatomy, list(found.values()))
    spoken = {edge for arrow in found.values() if arrow.single for edge in arrow.edges}
    assert set(rest) | spoken == set(all_edges(bound.anatomy))
    assert not set(rest) & spoken
    assert left_open(bound, list(found.values())) == []


def test_what_leads_to_a_node_without_parents_is_left_open():
    bound = bound_to(replace(tiny_history(0, 8, N_STEPS), task={"treasure": np.zeros(8, dtype=int)}))
    arrows = declared(bound)
    found = {arrow.name: arrow.edges for arrow in left_open(bound, arrows)}
    assert set(found) == {"into rich", "into seen"}
    assert {edge.stage for edge in found["into rich"]} == {1}
    assert len(found["into rich"]) == 4 * 6
    assert {str(edge.reader) for edge in found["into seen"]} == {"mlp(0)"}
    later = replace(
        bound, nodes={**bound.nodes, "seen": replace(bound.nodes["seen"], parts=mlp(1).resolve(bound.anatomy))}
    )
    found = {arrow.name: arrow.edges for arrow in left_open(later, declared(later))}
    assert {str(edge.reader) for edge in found["on the way to rich, seen"]} == {
        "mlp(0)", *(f"head(1, {n}).{kind}" for n in range(2) for kind in "qkv"),
    }  # fmt: skip
