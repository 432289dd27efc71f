"""Path patching of single edges and nodes equals hooks on the model, and planted mistakes are noticed."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hooked import HERE, THERE, VARIANTS, Setting, any_setting, furthest, patched
from hypothesis import given
from hypothesis import strategies as st
from laws import law
from test_transformer_cases import dataset, network, wire
from torch.testing import assert_close

from ad_hypotheses.causal import patch
from ad_hypotheses.causal.patch import patch_edges, patch_path, patch_writers
from ad_hypotheses.causal.rewire import patch_together
from ad_hypotheses.causal.run_pair import Change, Norm, RunPair
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.language.edges import Edge, all_edges, find_edges

EXACT = {"atol": 1e-10, "rtol": 0}
NOTICED = 1e-3


# --- The law: an edge is what hooks make of it ---------------------------------------------------------------------


@pytest.mark.parametrize("setting", VARIANTS, ids=str)
@pytest.mark.default_cases(2)
def test_every_edge_equals_hooks(setting):
    pair, naive = setting.pair(), setting.naive()
    for together in (False, True):
        assert furthest(pair, naive, all_edges(pair.twin.anatomy, together)) < 1e-10


@given(any_setting(), st.booleans(), st.data())
@law(15)
def test_any_edges_in_any_order_equal_hooks(setting, together, data):
    pair, naive = setting.pair(), setting.naive()
    edges = all_edges(pair.twin.anatomy, together)
    some = data.draw(st.lists(st.sampled_from(edges), min_size=1, max_size=30))
    assert furthest(pair, naive, some) < 1e-10


@pytest.mark.parametrize("setting", VARIANTS, ids=str)
@pytest.mark.default_cases(2)
def test_float32_is_as_close_as_float32_can_be(setting):
    pair, naive = setting.pair(torch.float32), setting.naive(torch.float32)
    edges = all_edges(pair.twin.anatomy)
    logits, expected = patched(pair, edges), torch.stack([naive.edge(edge) for edge in edges])
    assert logits.dtype == torch.float32
    assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@given(any_setting(max_layers=2), st.integers(1, 200), st.randoms(use_true_random=False))
@law(8)
def test_neither_chunks_nor_order_matter(setting, tokens, random):
    pair = setting.pair()
    edges = all_edges(pair.twin.anatomy)
    order = random.sample(range(len(edges)), k=random.randint(1, len(edges)))
    assert_close(patched(pair, [edges[n] for n in order], tokens=tokens), patched(pair, edges)[order], **EXACT)


@given(any_setting(), st.data())
@law(10)
def test_several_writers_are_read_together(setting, data):
    """Writers of different stages too."""
    pair, naive = setting.pair(), setting.naive()
    reader = data.draw(st.sampled_from(pair.twin.anatomy.readers))
    early = [writer for writer in pair.twin.anatomy.writers if writer.feeds(reader)]
    writers = data.draw(st.lists(st.sampled_from(early), min_size=1, unique=True))
    assert furthest(pair, naive, [Edge(tuple(sorted(writers)), reader)]) < 1e-10


@given(any_setting(), st.data())
@law(12)
def test_nodes_equal_hooks_on_what_they_write(setting, data):
    pair, naive = setting.pair(), setting.naive()
    writers = pair.twin.anatomy.writers
    groups = [(writer,) for writer in writers]
    for stage in {writer.stage for writer in writers}:
        alike = [writer for writer in writers if writer.stage == stage]
        groups.append(tuple(data.draw(st.lists(st.sampled_from(alike), min_size=1, unique=True))))
    found = {}
    for numbers, logits in patch_writers(pair, groups, tokens=data.draw(st.integers(1, 200))):
        found |= dict(zip(numbers, logits, strict=True))
    assert sorted(found) == list(range(len(groups)))
    for number, group in enumerate(groups):
        assert_close(found[number], naive.writers(group), **EXACT)


@given(any_setting())
@law(10)
def test_a_pair_holds_two_plain_runs(setting):
    pair, naive = setting.pair(), setting.naive()
    assert_close(pair.log_probs, naive.plain.log_softmax(-1), **EXACT)
    for writer in pair.twin.anatomy.writers:
        assert_close(pair.changes[writer].full(), naive.change((writer,)), **EXACT)


# --- What follows from it ------------------------------------------------------------------------------------------


@given(any_setting(max_layers=2))
@law(5)
def test_a_donor_that_is_the_reference_changes_nothing(setting):
    tokens, model = setting.tokens(0), setting.model()
    pair, plain = RunPair.of(Twin(model), tokens, tokens), setting.naive().plain
    edges = all_edges(pair.twin.anatomy)
    assert_close(patched(pair, edges), plain.expand(len(edges), -1, -1, -1), **EXACT)
    assert_close(patched(pair, [edge.at(HERE, THERE) for edge in edges], setting.roles())[0], plain, **EXACT)
    assert_close(patch_together(pair, edges), plain, **EXACT)
    assert_close(patch_path(pair, (edges[0],)), plain, **EXACT)
    for _, logits in patch_writers(pair, [(writer,) for writer in pair.twin.anatomy.writers]):
        assert_close(logits, plain.expand_as(logits), **EXACT)


def test_no_edges_make_no_patches():
    pair = Setting().pair()
    assert list(patch_edges(pair, [])) == list(patch_writers(pair, [])) == []


def test_the_logits_of_a_step_do_not_depend_on_later_donor_steps():
    setting = Setting(3)
    donor = setting.tokens(1)
    later = donor.clone()
    later[:, 3:] = setting.tokens(0)[:, 3:]
    twin = Twin(setting.model())
    edges = all_edges(twin.anatomy)
    one, other = (patched(RunPair.of(twin, setting.tokens(0), tokens), edges) for tokens in (donor, later))
    assert_close(one[:, :, :3], other[:, :, :3], **EXACT)
    assert (one - other).abs().max() > NOTICED


# --- Mistakes that must show ---------------------------------------------------------------------------------------


def of_the_next_head(right):
    return lambda pair, stage, kind, heads, changes: right(
        pair, stage, kind, [(head + 1) % pair.twin.shape.n_heads for head in heads], changes
    )


def q_and_k_swapped(right):
    return lambda pair, stage, kind, *rest: right(pair, stage, {"q": "k", "k": "q"}.get(kind, kind), *rest)


def a_step_late(right):
    def change(pair, writers):
        whole = right(pair, writers)
        return Change(whole.along.roll(1, dims=1), whole.directions)

    return change


def the_other_way(right):
    def change(pair, writers):
        whole = right(pair, writers)
        return Change(-whole.along, whole.directions)

    return change


def frozen(right):
    return lambda norm, change: None if norm.var is None else (norm.var + norm.eps).rsqrt()[..., None]


def read_by_k_and_q(right):
    def moved(pair, stage, edges, changes, roles):
        if edges[0].reader.kind != "q":
            return right(pair, stage, edges, changes, roles)
        heads, layer = [edge.reader.head for edge in edges], edges[0].reader.layer
        q, k = (patch._inputs(pair, stage, kind, heads, changes) for kind in "qk")
        return pair.twin.mix(q, k, pair.inputs[layer][2][:, :, heads]) - pair.mixed[layer][:, :, heads]

    return moved


def the_rest_as_it_was(right):
    def finish(pair, stage, x):
        rows = (-1, len(pair.seen[1]))
        x = x.unflatten(0, rows) - pair.seen[stage] + pair.seen[-1]
        return pair.twin.logits(x.flatten(0, 1)).unflatten(0, rows)

    return finish


def a_stage_left_out(right):
    return lambda pair, stage, x: right(pair, stage + 1, x)


def without_the_mlp_beside(right):
    def flow_on(pair, stage, heads, moved):
        written = torch.einsum("pbth,phd->pbtd", moved, pair.twin.model.blocks[(stage - 1) // 2].attn.W_O[heads])
        return patch.finish(pair, stage + 2, (pair.seen[stage + 2] + written).flatten(0, 1))

    return flow_on


MISTAKES = {
    "wrong head": (patch, "_inputs", of_the_next_head),
    "q and k swapped": (patch, "_inputs", q_and_k_swapped),
    "wrong step": (RunPair, "change", a_step_late),
    "donor and reference swapped": (RunPair, "change", the_other_way),
    "LayerNorm frozen": (Norm, "scale", frozen),
    "a second reader": (patch, "_moved", read_by_k_and_q),
    "later components frozen": (patch, "finish", the_rest_as_it_was),
    "a later stage left out": (patch, "finish", a_stage_left_out),
    "the same layer's MLP frozen": (patch, "_flow_on", without_the_mlp_beside),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.default_cases(2)
def test_a_planted_mistake_shows(mistake, monkeypatch):
    setting = Setting(8)
    edges, naive = all_edges(setting.model().anatomy), setting.naive()
    assert furthest(setting.pair(), naive, edges) < 1e-10
    owner, name, wrong = MISTAKES[mistake]
    monkeypatch.setattr(owner, name, wrong(getattr(owner, name)))
    assert furthest(setting.pair(), naive, edges) > NOTICED


def test_a_node_is_more_than_one_of_its_edges():
    """What a change that all readers see would be taken for."""
    setting = Setting(9)
    pair, naive = setting.pair(), setting.naive()
    for edge in find_edges(["head(0, 0) -> mlp(0)", "head(0, 0) -> logits"], pair.twin.anatomy):
        ((_, node),) = patch_writers(pair, [edge.writers])
        assert (node[0] - naive.edge(edge)).abs().max() > NOTICED


# --- An exact case, and another device -----------------------------------------------------------------------------


def test_t20_the_direct_edge_the_way_through_m_and_both():
    """h = x, m = 2 h, f = h + m, y = 3 x, over bits; every component is linear, so separate changes of f add up."""
    model, history = network(2, 2, 1, [{2: 1, 3: 1}]), dataset([(0, 0), (1, 0)])
    wire(model, 0, 0, {0: 1}, {2: 1})
    wire(model, 1, 0, {2: 2}, {3: 1})
    twin, tokens, y = Twin(model), model.to_tokens(history), 3 * history.observations[:, 0, 0]
    direct, into_m, out = find_edges(
        ["head(0, 0) -> logits", "head(0, 0) -> head(1, 0).v", "head(1, 0) -> logits"], model.anatomy
    )
    draws = [list(draw) for draw in product(range(2), repeat=2)]
    pairs = [RunPair.of(twin, tokens, tokens[draw]) for draw in draws]

    def f(logits):
        return (logits[..., 0, 1] - logits[..., 0, 0]).numpy()

    def loss(some):
        return np.mean([(one - y) ** 2 for one in some])

    plain = f(pairs[0].log_probs)
    alone = [f(patched(pair, [direct, into_m])) for pair in pairs]
    assert loss([plain]) == pytest.approx(0)
    assert loss([one[0] for one in alone]) == pytest.approx(1 / 2)
    assert loss([one[1] for one in alone]) == pytest.approx(2)
    assert loss([f(patch_path(pair, (into_m, out))) for pair in pairs]) == pytest.approx(2)
    assert loss([a[0] + b[1] - plain for a in alone for b in alone]) == pytest.approx(7 / 2)
    assert loss([f(patch_together(pair, [direct, into_m])) for pair in pairs]) == pytest.approx(9 / 2)
    assert loss([f(next(patch_writers(pair, [direct.writers]))[1][0]) for pair in pairs]) == pytest.approx(9 / 2)


def everything(setting, device):
    """The results of all that patches, on a device."""
    pair = RunPair.of(Twin(setting.model().to(device)), setting.tokens(0).to(device), setting.tokens(1).to(device))
    edges = all_edges(pair.twin.anatomy)
    roles = {name: role.to(device) for name, role in setting.roles().items()}
    yield patched(pair, edges)
    yield patched(pair, [edge.at(HERE, THERE) for edge in edges], roles)
    yield patch_together(pair, edges[::2])
    yield from (logits for _, logits in patch_writers(pair, [(writer,) for writer in pair.twin.anatomy.writers]))
    path = find_edges(['embed("x") -> head(0, 0).k', "head(0, 0) -> mlp(1)", "mlp(1) -> logits"], pair.twin.anatomy)
    yield patch_path(pair, tuple(path))
    yield patch_path(pair, tuple(edge.at(HERE) for edge in path[:2]), roles)


@pytest.mark.parametrize("setting", [Setting(10), Setting(11, positions="rotary", window=2)], ids=str)
@pytest.mark.slow
def test_nothing_is_made_on_another_device(setting):
    """A device without data refuses to meet tensors of the processor, as a GPU would."""
    for here, there in zip(everything(setting, "cpu"), everything(setting, "meta"), strict=True):
        assert there.is_meta
        assert there.shape == here.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that CUDA can use")
@pytest.mark.parametrize("setting", [Setting(10), Setting(11, positions="rotary", window=2)], ids=str)
def test_a_gpu_gives_the_same(setting):
    for here, there in zip(everything(setting, "cpu"), everything(setting, "cuda"), strict=True):
        assert there.is_cuda
        assert_close(there.cpu(), here, **EXACT)
