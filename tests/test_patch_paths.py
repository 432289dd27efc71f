"""Paths and sets of edges equal hooks on the model, and fit what single edges and nodes say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hooked import HERE, THERE, VARIANTS, Setting, any_path, any_setting, patched
from hypothesis import given
from hypothesis import strategies as st
from laws import law
from torch.testing import assert_close

from ad_hypotheses.causal import patch, rewire
from ad_hypotheses.causal.patch import patch_path, patch_writers
from ad_hypotheses.causal.rewire import Given, PlainRun, patch_together
from ad_hypotheses.causal.run_pair import Change
from ad_hypotheses.causal.twin import Twin, along
from ad_hypotheses.language.anatomy import Part
from ad_hypotheses.language.edges import Edge, all_edges, find_edges

EXACT = {"atol": 1e-10, "rtol": 0}
NOTICED = 1e-3
PATHS = [
    ["head(0, 1) -> mlp(0)", "mlp(0) -> logits"],
    ["mlp(0) -> head(1, 0).k", "head(1, 0) -> mlp(1)"],
    ['embed("x") -> head(0, 0).v', "head(0, 0) -> head(1, 1).q", "head(1, 1) -> logits"],
    ['embed("x") + pos -> mlp(0)', "mlp(0) -> head(1, 1).v", "head(1, 1) -> mlp(1)"],
]


# --- Paths ---------------------------------------------------------------------------------------------------------


def test_a_path_of_two_edges_by_hand():
    """Only the last reader sees that what it reads of mlp(0) is as if mlp(0) had read the donor's head."""
    setting = Setting(1)
    pair, naive = setting.pair(), setting.naive()
    model, cache, change = naive.model, naive.cache, naive.change(pair.twin.anatomy.writers[4:5])
    block = model.blocks[0]
    with torch.no_grad():
        otherwise = block.mlp(block.ln2(cache["blocks.0.hook_resid_mid"] + change))
    into_logits = cache["blocks.1.hook_resid_post"] + otherwise - cache["blocks.0.hook_mlp_out"]
    by_hand = naive.run([("blocks.1.hook_resid_post", lambda x, hook: into_logits)])
    path = find_edges(["head(0, 0) -> mlp(0)", "mlp(0) -> logits"], pair.twin.anatomy)
    assert_close(patch_path(pair, tuple(path)), by_hand, **EXACT)


@pytest.mark.parametrize("texts", PATHS, ids=" then ".join)
def test_a_path_equals_hooks(texts):
    setting = Setting(2)
    pair, naive = setting.pair(), setting.naive()
    path = tuple(find_edges(texts, pair.twin.anatomy))
    assert_close(patch_path(pair, path), naive.path(path), **EXACT)
    assert (naive.path(path) - naive.plain).abs().max() > 1e-6, "a patch that does nothing proves nothing"


@given(any_setting(), st.integers(1, 4), st.booleans(), st.data())
@law(15)
def test_any_path_equals_hooks(setting, length, grouped, data):
    pair, naive = setting.pair(), setting.naive()
    path = data.draw(any_path(all_edges(pair.twin.anatomy, grouped), length))
    assert_close(patch_path(pair, path), naive.path(path), **EXACT)
    role = st.sampled_from([None, HERE, THERE])
    path = tuple(edge.at(data.draw(role), data.draw(role)) for edge in path)
    roles = setting.roles()
    assert_close(patch_path(pair, path, roles), naive.path(path, roles), **EXACT)


@pytest.mark.parametrize("setting", [VARIANTS[4], VARIANTS[5]], ids=str)
def test_a_path_or_a_set_of_one_edge_is_the_edge(setting):
    pair = setting.pair()
    edges = all_edges(pair.twin.anatomy)[::2]
    for edge, logits in zip(edges, patched(pair, edges), strict=True):
        assert_close(patch_path(pair, (edge,)), logits, **EXACT)
        assert_close(patch_together(pair, [edge]), logits, **EXACT)


def test_a_path_through_two_components_is_not_its_last_edge():
    setting = Setting(3)
    pair = setting.pair()
    path = tuple(find_edges(PATHS[0], pair.twin.anatomy))
    assert (patch_path(pair, path) - patched(pair, path[1:])[0]).abs().max() > NOTICED


# --- Sets of edges -------------------------------------------------------------------------------------------------


@given(any_setting(), st.booleans(), st.data())
@law(15)
def test_any_set_of_edges_equals_hooks(setting, grouped, data):
    pair, naive = setting.pair(), setting.naive()
    edges = data.draw(st.lists(st.sampled_from(all_edges(pair.twin.anatomy, grouped)), max_size=40))
    assert_close(patch_together(pair, edges), naive.together(edges), **EXACT)


@given(any_setting(), st.booleans())
@law(10)
def test_all_edges_are_the_donor(setting, grouped):
    pair, naive = setting.pair(), setting.naive()
    assert_close(patch_together(pair, all_edges(pair.twin.anatomy, grouped)), naive.other, **EXACT)
    assert_close(patch_together(pair, []), naive.plain, **EXACT)


@given(any_setting())
@law(8)
def test_all_edges_of_a_writer_are_the_writer(setting):
    pair = setting.pair()
    writers, edges = pair.twin.anatomy.writers, all_edges(pair.twin.anatomy)
    for numbers, logits in patch_writers(pair, [(writer,) for writer in writers]):
        for number, node in zip(numbers, logits, strict=True):
            of_writer = [edge for edge in edges if edge.writers == (writers[number],)]
            assert_close(patch_together(pair, of_writer), node, **EXACT)


def test_all_edges_into_the_logits_give_the_donors_logits():
    """A reader that sees everything of the donor does what it did there, whatever happened before."""
    setting = Setting(4, n_layers=3)
    pair = setting.pair()
    edges = [edge for edge in all_edges(pair.twin.anatomy) if edge.reader.kind == "logits"]
    assert_close(patch_together(pair, edges), setting.naive().other, **EXACT)


def test_an_edge_of_several_writers_is_their_edges_at_once():
    pair = Setting(5).pair()
    for edge in all_edges(pair.twin.anatomy, together=True):
        apart = [Edge((writer,), edge.reader) for writer in edge.writers]
        assert_close(patch_together(pair, apart), patched(pair, [edge])[0], **EXACT)


def test_edges_twice_are_edges_once():
    pair = Setting(6).pair()
    edges = all_edges(pair.twin.anatomy)[::5]
    assert_close(patch_together(pair, edges + edges[::-1]), patch_together(pair, edges), **EXACT)


def test_edges_of_a_set_meet_in_later_components():
    """Two edges at once are not the sum of both where what they change meets: a LayerNorm is enough."""
    pair = Setting(7).pair()
    some = find_edges(["head(0, 0) -> mlp(0)", "mlp(0) -> logits"], pair.twin.anatomy)
    plain, (one, two) = pair.twin.logits(pair.seen[-1]), patched(pair, some)
    assert (patch_together(pair, some) - (one + two - plain)).abs().max() > NOTICED


# --- Mistakes that must show ---------------------------------------------------------------------------------------


def a_step_late(right):
    def arrived(*args):
        change = right(*args)
        return Change(change.along.roll(1, dims=1), change.directions)

    return arrived


def of_another_head(right):
    def arrived(pair, edge, *rest):
        change, reader = right(pair, edge, *rest), edge.reader
        if reader.kind == "mlp":
            return change
        weights = pair.twin.model.blocks[reader.layer].attn.W_O
        return Change(change.along, weights[(reader.head + 1) % len(weights)])

    return arrived


def all_that_was_read(right):
    """What arrives is carried on, not only what the component makes of it."""

    def arrived(pair, edge, change, roles):
        return Change(right(pair, edge, change, roles).full() + change.full())

    return arrived


@pytest.mark.parametrize("wrong", [a_step_late, of_another_head, all_that_was_read])
def test_a_planted_mistake_in_a_path_shows(wrong, monkeypatch):
    setting = Setting(8)
    pair, naive = setting.pair(), setting.naive()
    path = tuple(find_edges(PATHS[2], pair.twin.anatomy))
    assert_close(patch_path(pair, path), naive.path(path), **EXACT)
    monkeypatch.setattr(patch, "_arrived", wrong(patch._arrived))
    assert (patch_path(pair, path) - naive.path(path)).abs().max() > NOTICED


def the_next_head_reads(right):
    def inputs(twin, layer, kind, heads, normalised):
        return right(twin, layer, kind, [(head + 1) % twin.shape.n_heads for head in heads], normalised)

    return inputs


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        (Twin, "head_inputs", the_next_head_reads(Twin.head_inputs)),
        (rewire, "KINDS", ("k", "q", "v")),
    ],
    ids=["wrong head", "q and k swapped"],
)
def test_a_planted_mistake_in_a_set_shows(owner, name, wrong, monkeypatch):
    setting = Setting(9)
    pair, naive = setting.pair(), setting.naive()
    edges = all_edges(pair.twin.anatomy)[::5]
    assert_close(patch_together(pair, edges), naive.together(edges), **EXACT)
    monkeypatch.setattr(owner, name, wrong)
    assert (patch_together(pair, edges) - naive.together(edges)).abs().max() > NOTICED


@pytest.mark.parametrize("setting", [Setting(12, n_layers=3), Setting(13, attention_only=True, layer_norm=False)])
def test_a_writing_is_given_in_pieces_or_as_inputs_of_heads_to_the_same_effect(setting):
    pair, naive, anatomy = setting.pair(), setting.naive(), setting.model().anatomy
    plain = PlainRun(pair.seen, pair.mixed, pair.earlier)
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(pair.twin.shape.d_model,) * 2))[0]
    for writer in anatomy.writers:
        readers = [reader for reader in anatomy.readers if writer.feeds(reader)][::2]
        expected = naive.together([Edge((writer,), reader) for reader in readers])
        pieces = [Part(writer, (), frozenset(readers), some) for some in (directions[:3], directions[3:])]
        given = [Given((piece,), along(piece, pair.changes[writer].full())) for piece in pieces]
        assert_close(rewire.rewire(pair.twin, plain, given), expected, **EXACT)
        reader = readers[0]
        if reader.kind in ("q", "k", "v"):
            seen = pair.twin.normalise(reader.stage, pair.seen[reader.stage] + pair.changes[writer].full())
            inputs = {reader: pair.twin.head_input(reader, seen)}
            assert_close(rewire.rewire(pair.twin, plain, [], inputs), naive.edge(Edge((writer,), reader)), **EXACT)
