"""What two histories begin with alike is not computed again, and nothing differs for that."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from expand import tiny_history, tiny_model
from hooked import HERE, THERE, VARIANTS, Setting, any_path, any_setting, patched
from hypothesis import given
from hypothesis import strategies as st
from laws import law
from numpy.testing import assert_allclose
from torch.testing import assert_close

from ad_hypotheses.causal import clean, effects, twin
from ad_hypotheses.causal.attribute import attribute
from ad_hypotheses.causal.effects import Chain, Nodes, Together, measure, plan
from ad_hypotheses.causal.history_pairs import HistoryPairs, make_pairs
from ad_hypotheses.causal.patch import patch_edges, patch_path, patch_writers
from ad_hypotheses.causal.rewire import patch_together
from ad_hypotheses.causal.run_pair import RunPair
from ad_hypotheses.causal.search import Losses
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.language.edges import all_edges, find_edges
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.patch.screen import attribute_or_resume
from ad_hypotheses.tasks.counterfactuals import tokens_differ
from ad_hypotheses.tasks.dark_room import DarkRoom

EXACT = {"atol": 1e-12, "rtol": 0}
NOTICED = 1e-3
SINCE = 3


def tokens_of(setting, since):
    """Of a reference, and of a donor that begins like it."""
    reference, donor = setting.tokens(0), setting.tokens(1)
    donor[:, :since] = reference[:, :since]
    return reference, donor


def both(setting, since, dtype=torch.float64):
    """The same two runs, all steps computed and only those that may differ."""
    model, tokens = Twin(setting.model().to(dtype)), tokens_of(setting, since)
    return RunPair.of(model, *tokens), RunPair.of(model, *tokens, since)


def assert_same(short, whole, pair, **close):
    """Logits of the later steps are as in a whole computation, whose earlier ones are the plain run's."""
    assert short.shape[-2] == whole.shape[-2] - pair.since
    assert_close(short, whole[..., pair.since :, :], **close)
    plain = pair.log_probs[:, : pair.since]
    assert_close(whole[..., : pair.since, :].log_softmax(-1), plain.expand_as(whole[..., : pair.since, :]), **close)


# --- The law: the steps that are computed are what they were ----------------------------------------------------------


@pytest.mark.parametrize("setting", VARIANTS, ids=str)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["64", "32"])
@pytest.mark.default_cases(4)
def test_every_edge_is_the_same(setting, dtype, atol):
    for since in range(setting.n_steps):
        whole, short = both(setting, since, dtype)
        for together in (False, True):
            edges = all_edges(whole.twin.anatomy, together)
            assert_same(patched(short, edges), patched(whole, edges), short, atol=atol, rtol=atol)


@given(any_setting(), st.data())
@law(12)
def test_any_patch_is_the_same(setting, data):
    whole, short = both(setting, data.draw(st.integers(0, setting.n_steps - 1)))
    edges, writers, roles = all_edges(whole.twin.anatomy), whole.twin.anatomy.writers, setting.roles()
    role = st.sampled_from([None, HERE, THERE])
    some = data.draw(st.lists(st.sampled_from(edges), min_size=1, max_size=20))
    with_roles = [edge.at(data.draw(role), data.draw(role)) for edge in some]
    tokens = data.draw(st.integers(1, 200))
    assert_same(patched(short, some, tokens=tokens), patched(whole, some), short, **EXACT)
    assert_same(patched(short, with_roles, roles), patched(whole, with_roles, roles), short, **EXACT)
    assert_same(patch_together(short, some), patch_together(whole, some), short, **EXACT)
    path = data.draw(any_path(edges, data.draw(st.integers(1, 4))))
    path = tuple(edge.at(data.draw(role), data.draw(role)) for edge in path)
    assert_same(patch_path(short, path, roles), patch_path(whole, path, roles), short, **EXACT)
    groups = [(writer,) for writer in writers]
    for (_, one), (_, other) in zip(patch_writers(short, groups), patch_writers(whole, groups), strict=True):
        assert_same(one, other, short, **EXACT)


@given(any_setting(), st.data())
@law(10)
def test_both_plain_runs_are_the_same(setting, data):
    whole, short = both(setting, data.draw(st.integers(0, setting.n_steps - 1)))
    assert_close(short.log_probs, whole.log_probs, **EXACT)
    assert_close(short.donor_log_probs, whole.donor_log_probs, **EXACT)
    for writer, change in short.changes.items():
        assert_close(change.full(), whole.changes[writer].full()[:, short.since :], **EXACT)
        assert not whole.changes[writer].full()[:, : short.since].abs().gt(1e-12).any()


@pytest.mark.parametrize("setting", [Setting(1, n_steps=150), Setting(2, n_steps=150, positions="rotary", window=70)])
def test_queries_in_several_blocks_are_the_same(setting):
    assert setting.n_steps > 2 * twin.QUERIES
    whole, short = both(setting, 10)
    edges = all_edges(whole.twin.anatomy)[::4]
    assert_same(patched(short, edges), patched(whole, edges), short, **EXACT)


@pytest.mark.parametrize("setting", [Setting(10), Setting(11, positions="rotary", window=2)], ids=str)
@pytest.mark.slow
def test_nothing_is_made_on_another_device(setting):
    """A device without data refuses to meet tensors of the processor, as a GPU would."""
    model = Twin(setting.model().to("meta"))
    pair = RunPair.of(model, *(tokens.to("meta") for tokens in tokens_of(setting, 2)), 2)
    edges, roles = all_edges(model.anatomy), {name: role.to("meta") for name, role in setting.roles().items()}
    for logits in (patched(pair, edges), patched(pair, [edge.at(HERE, THERE) for edge in edges], roles)):
        assert logits.is_meta
        assert logits.shape == (len(edges), setting.n_rows, setting.n_steps - 2, 3)
    assert patch_together(pair, edges).is_meta


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that CUDA can use")
@pytest.mark.parametrize("setting", [Setting(10), Setting(11, positions="rotary", window=2)], ids=str)
def test_a_gpu_gives_the_same(setting):
    here = both(setting, 2)[1]
    there = RunPair.of(Twin(setting.model().to("cuda")), *(tokens.to("cuda") for tokens in tokens_of(setting, 2)), 2)
    edges = all_edges(here.twin.anatomy)
    assert_close(patched(there, edges).cpu(), patched(here, edges), atol=1e-10, rtol=0)


# --- Nothing is computed of the steps before --------------------------------------------------------------------------


def test_no_step_before_is_computed(monkeypatch):
    """Whatever passes LayerNorm, GELU or the softmax of a patched run is of later steps."""
    setting = Setting(3, n_rows=2, n_steps=7, n_heads=4)
    widths = {"gelu": [], "mix": [], "onward": []}
    gelu, mix, onward = torch.nn.functional.gelu, Twin.mix, Twin.onward

    def counted(x, **kind):
        widths["gelu"].append(x.shape[:-1].numel())
        return gelu(x, **kind)

    monkeypatch.setattr(torch.nn.functional, "gelu", counted)
    monkeypatch.setattr(Twin, "mix", lambda self, q, *rest: widths["mix"].append(q.shape[1]) or mix(self, q, *rest))
    monkeypatch.setattr(
        Twin, "onward", lambda self, x, *rest: widths["onward"].append(x.shape[1]) or onward(self, x, *rest)
    )
    counts = []
    for pair in both(setting, SINCE):
        edges, roles = all_edges(pair.twin.anatomy), setting.roles()
        for numbers in widths.values():
            numbers.clear()
        patched(pair, edges, tokens=4 * setting.n_steps * setting.n_rows)
        patched(pair, [edge.at(HERE, THERE) for edge in edges], roles)
        list(patch_writers(pair, [(writer,) for writer in pair.twin.anatomy.writers]))
        patch_together(pair, edges)
        for path in pairwise(find_edges(["head(0, 1) -> mlp(0)", "mlp(0) -> head(1, 0).k"], pair.twin.anatomy)):
            patch_path(pair, path)
        assert set(widths["mix"]) == set(widths["onward"]) == {setting.n_steps - pair.since}
        counts.append(sum(widths["gelu"]))
    whole, short = counts
    assert short * setting.n_steps == whole * (setting.n_steps - SINCE) > 0


def test_a_pair_keeps_nothing_of_the_steps_before_but_keys_and_values():
    pair = both(Setting(4, n_steps=6), SINCE)[1]
    patched(pair, all_edges(pair.twin.anatomy))
    held = [*pair.seen, *pair.mixed, *(change.along for change in pair.changes.values())]
    held += [tensor for norm in pair.norms.values() for tensor in (norm.x, norm.mapped)]
    assert {tensor.shape[1] for tensor in held} == {6 - SINCE}
    assert {tensor.shape[2] for tensor in pair.inputs} == {6 - SINCE}
    assert {tensor.shape[2] for tensor in pair.earlier} == {SINCE}
    for tensor in [*held, *pair.earlier]:
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.itemsize, "a view keeps all steps"


# --- Mistakes that must show ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [VARIANTS[0], VARIANTS[4], VARIANTS[6]], ids=str)
def test_a_step_too_late_shows(setting):
    model, tokens = Twin(setting.model()), tokens_of(setting, 2)
    tokens[1][:, 2] = (tokens[0][:, 2] + 1) % torch.tensor([3, 4, 2])
    edges, whole = all_edges(model.anatomy), RunPair.of(model, *tokens)
    right, late = (patched(RunPair.of(model, *tokens, since), edges) for since in (2, 3))
    assert_close(right, patched(whole, edges)[:, :, 2:], **EXACT)
    assert (late - right[:, :, 1:]).abs().max() > NOTICED


def without_them(right):
    return lambda earlier, k, v: (k, v)


def of_another_row(right):
    return lambda earlier, k, v: right(earlier if earlier is None else earlier.roll(1, dims=1), k, v)


def values_for_keys(right):
    return lambda earlier, k, v: right(earlier if earlier is None else earlier.flip(0), k, v)


@pytest.mark.parametrize("wrong", [without_them, of_another_row, values_for_keys])
def test_a_planted_mistake_shows(wrong, monkeypatch):
    setting = Setting(5, positions="rotary")
    whole, short = both(setting, SINCE)
    edges = all_edges(whole.twin.anatomy)
    expected = patched(whole, edges)
    monkeypatch.setattr(twin, "continued", wrong(twin.continued))
    assert (patched(short, edges) - expected[:, :, SINCE:]).abs().max() > NOTICED


def test_rows_in_several_parts_keep_their_own_past(monkeypatch):
    """The rows of a patch go through the rest of the model some at a time."""
    setting = Setting(6, n_rows=3)
    whole, short = both(setting, SINCE)
    edges = all_edges(whole.twin.anatomy)
    expected = patched(whole, edges)
    for cache in (1, 3000, 5000):
        monkeypatch.setattr(twin, "CACHE", cache)
        assert_same(patched(short, edges), expected, short, **EXACT)


# --- Effects, attributions and searches -------------------------------------------------------------------------------

N_ROWS, N_STEPS = 7, 6


@pytest.fixture(scope="module")
def model():
    return tiny_model(0, N_STEPS)


@pytest.fixture(scope="module")
def pairs():
    """Histories whose donors leave them at different steps, in no order, two of them not at all."""
    reference, other = tiny_history(1, N_ROWS, N_STEPS), tiny_history(2, N_ROWS, N_STEPS)
    later = np.arange(N_STEPS) >= np.array([4, 1, 9, 2, 0, 9, 5])[:, None]
    donor = replace(
        reference,
        observations=np.where(later[..., None], other.observations, reference.observations),
        actions=np.where(later, other.actions, reference.actions),
        rewards=np.where(later, other.rewards, reference.rewards),
    )
    differs = tokens_differ(reference, donor)
    first_step = np.where(differs.any(1), differs.argmax(1), N_STEPS)
    assert (first_step == N_STEPS).sum() == 2
    assert len(set(first_step.tolist())) > 3
    rng = np.random.default_rng(0)
    towards = {name: rng.random((N_ROWS, N_STEPS, 3)) < 0.4 for name in ("old", "new")}
    return HistoryPairs(reference, donor, "some", rows=np.arange(N_ROWS), first_step=first_step, towards=towards)


def patches_of(model):
    edges = all_edges(model.anatomy)
    path = find_edges(["head(0, 0) -> mlp(0)", "mlp(0) -> logits"], model.anatomy)
    nodes = [Nodes((writer,)) for writer in model.anatomy.writers]
    return [
        *edges,
        *(edge.at("rewarded", "itself") for edge in edges),
        *nodes,
        Chain(tuple(path)),
        Together(frozenset(edges)),
    ]


@pytest.mark.parametrize("direction", ["noising", "denoising"])
@pytest.mark.parametrize("rows", [1, 3, N_ROWS])
@pytest.mark.default_cases(2)
def test_effects_are_the_same_in_their_own_places(model, pairs, direction, rows):
    patches, metrics = patches_of(model), ("loss", "kl", "logit-difference", "towards-old", "towards-new")
    some = np.random.default_rng(1).random((N_ROWS, N_STEPS)) < 0.5
    some[3] = False
    regimes = {"all": np.ones_like(some), "some": some, "first": np.arange(N_STEPS) < np.full((N_ROWS, 1), 3)}
    memory = rows * plan(model, 1, N_STEPS, 1).bytes
    done = []
    found = measure(model, pairs, patches, metrics, regimes, direction=direction, memory=memory, progress=done.append)
    assert sum(done) == len(patches) * N_ROWS
    expected = measure(model, replace(pairs, first_step=None), patches, metrics, regimes, direction=direction)
    for name in metrics:
        assert_allclose(found.changes[name], expected.changes[name], atol=1e-12)
        assert_allclose(found.reference[name], expected.reference[name], atol=1e-12)
        assert_allclose(found.donor[name], expected.donor[name], atol=1e-12)
        assert np.nanmax(np.abs(expected.changes[name])) > NOTICED
        before = found.changes[name][:, pairs.first_step >= 3, 2]
        assert (before == 0).all(), "rounding looks like an effect on what comes before"
    assert np.isnan(found.changes["loss"][:, 3, 1]).all()
    assert_allclose(found.counts, expected.counts)


def test_whoever_patches_pairs_says_what_they_share(model, pairs, monkeypatch):
    said, of = [], RunPair.of.__func__
    monkeypatch.setattr(RunPair, "of", classmethod(lambda cls, *given: said.append(given[3]) or of(cls, *given)))
    edges, steps = all_edges(model.anatomy), sorted(pairs.first_step.tolist())
    measure(model, pairs, edges, ("loss",), memory=plan(model, 1, N_STEPS, 1).bytes)
    attribute(model, pairs, edges, memory=1)
    assert said == 2 * steps
    said.clear()
    monkeypatch.setattr(clean, "CHUNK_TOKENS", 3 * N_STEPS)
    Losses(model, pairs)
    assert said == steps[::3]


def test_what_was_measured_is_found_again(model, pairs, tmp_path, monkeypatch):
    memory = 2 * plan(model, 1, N_STEPS, 1).bytes
    first = measure(model, pairs, patches_of(model), ("loss",), memory=memory, scratch=Scratch(tmp_path))
    monkeypatch.setattr(effects, "_measure_rows", lambda *given: pytest.fail("it is there"))
    again = measure(model, pairs, patches_of(model), ("loss",), memory=memory, scratch=Scratch(tmp_path))
    assert (again.changes["loss"] == first.changes["loss"]).all()
    assert (again.reference["loss"] == first.reference["loss"]).all()


def test_histories_that_are_their_own_donors_are_not_patched(model, pairs, monkeypatch):
    computed = []
    edges = effects.patch_edges
    monkeypatch.setattr(
        effects, "patch_edges", lambda pair, *rest: computed.append(len(pair.seen[1])) or edges(pair, *rest)
    )
    found = measure(model, pairs, all_edges(model.anatomy), ("loss", "kl"))
    assert sum(computed) == N_ROWS - 2
    for change in found.changes.values():
        assert (change[:, pairs.first_step == N_STEPS] == 0).all()
        assert (change[:, pairs.first_step < N_STEPS] != 0).any(axis=0).all()


@pytest.mark.parametrize(("metric", "steps"), [("loss", 1), ("kl", 3)])
@pytest.mark.parametrize("direction", ["noising", "denoising"])
@pytest.mark.default_cases(2)
def test_attributions_are_the_same(model, pairs, metric, steps, direction):
    edges = [edge for edge in patches_of(model) if not isinstance(edge, Nodes | Chain | Together)]
    mask = np.random.default_rng(1).random((N_ROWS, N_STEPS)) < 0.5
    mask[3] = False
    rest = (edges, metric, steps, mask, direction)
    expected = attribute(model, replace(pairs, first_step=None), *rest)
    for memory in (1, 2**28):
        assert_allclose(attribute(model, pairs, *rest, memory=memory), expected, atol=1e-12)
    assert np.nanmax(np.abs(expected)) > NOTICED
    plain = [edge for edge in edges if edge.written_at is None]
    rest = (plain, metric, steps, direction)
    whole = attribute_or_resume(model, replace(pairs, first_step=None), *rest)
    assert_allclose(attribute_or_resume(model, pairs, *rest), whole, atol=1e-12)


def test_losses_of_sets_are_the_same(model, pairs):
    edges, mask = all_edges(model.anatomy), np.random.default_rng(1).random((N_ROWS, N_STEPS)) < 0.5
    for kept in (edges, edges[::2], []):
        one, other = (Losses(model, some, mask).of(kept) for some in (pairs, replace(pairs, first_step=None)))
        assert one == pytest.approx(other, abs=1e-12)


# --- Which pairs are computed together --------------------------------------------------------------------------------


def test_a_first_step_that_is_too_late_is_refused(pairs):
    with pytest.raises(AssertionError, match="before their first step"):
        replace(pairs, first_step=np.minimum(pairs.first_step + 1, N_STEPS))
    assert replace(pairs, first_step=np.maximum(pairs.first_step - 1, 0)).since == 0, "sooner is only slower"


def test_pairs_that_begin_to_differ_at_about_the_same_step_are_neighbours(pairs):
    ordered = pairs.part(pairs.order)
    assert (np.diff(ordered.first_step) >= 0).all()
    assert [(rows.start, rows.stop) for rows in ordered.split(2)] == [(0, 2), (2, 4), (4, 5), (5, 7)]
    assert [(rows.start, rows.stop) for rows in ordered.split(9)] == [(0, 5), (5, 7)]
    assert [ordered.part(rows).since for rows in ordered.split(9)] == [ordered.first_step[0], N_STEPS]
    loose = replace(pairs, first_step=None)
    assert (loose.order == np.arange(N_ROWS)).all()
    assert [(rows.start, rows.stop) for rows in loose.split(4)] == [(0, 4), (4, 7)]
    assert loose.since == 0


def test_a_matched_counterfactual_says_where_it_begins(model):
    task = DarkRoom(size=3, horizon=2)
    rng = np.random.default_rng(3)
    history = replace(
        tiny_history(4, 12, N_STEPS),
        observations=rng.integers(3, size=(12, N_STEPS, 2)),
        channels=("x", "y"),
        task=task.sample_tasks(rng, 12),
    )
    found = make_pairs("no-rewards", task, history, 0)
    assert 0 < found.since < found.first_step.max() < N_STEPS
    assert make_pairs("any", task, history, 0).since == 0
    assert (
        list(patch_edges(RunPair.of(Twin(model), *[model.to_tokens(tiny_history(1, 2, N_STEPS))] * 2, N_STEPS), []))
        == []
    )
