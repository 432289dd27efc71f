"""Every kind of transformer: positions, windows, no MLPs, many channels; the same on each path, and in both engines."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from expand import random_hypothesis, tiny_history, tiny_model, turned
from hypothesis import given
from hypothesis import strategies as st
from laws import law
from safetensors.numpy import load_file
from test_scrub import OPTIONS, bound, replay
from torch.testing import assert_close

from ad_hypotheses import distill
from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.rewire import Given, PlainRun, rewire
from ad_hypotheses.causal.scrub import Scrubber
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.distill.config import check_config
from ad_hypotheses.distill.lens import hooked
from ad_hypotheses.distill.model import ADTransformer, KVCache, Shape
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.errors import ConfigError, HypothesisError
from ad_hypotheses.language.anatomy import Writer, plain_part
from ad_hypotheses.language.check import BoundGraph
from ad_hypotheses.language.sites import embed, head, logits, mlp, pos

STEPS = 6
MODELS = Path(__file__).parent.parent / "models"
EXACT = {"atol": 1e-12, "rtol": 0}
VARIANTS = {
    "learned": {},
    "rotary": {"positions": "rotary"},
    "none": {"positions": "none"},
    "attention only": {"attention_only": True},
    "rotary window": {"positions": "rotary", "window": 3},
    "window": {"positions": "none", "window": 2},
    "one step": {"positions": "none", "window": 1},
    "relu": {"activation": "relu", "eps": 0.1},
    "gelu of GPT-2": {"activation": "gelu_new"},
    "everything": {"positions": "rotary", "window": 4, "attention_only": True},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
WINDOWED = [variant for variant in VARIANTS.values() if "window" in variant]


def tokens_of(model, n_rows=3, n_steps=STEPS, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([rng.integers(n, size=(n_rows, n_steps)) for n in model.vocabulary.sizes], -1))


def by_hand(w: dict[str, np.ndarray], shape: Shape, channels, tokens) -> np.ndarray:
    """The logits in plain numpy, head by head and query by query, from the weights alone."""
    x = sum(w[f"embed.{name}"][tokens[..., number]] for number, name in enumerate(channels))
    x = x + w["W_pos"][: x.shape[1]] if shape.positions == "learned" else x

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + shape.eps) * w[f"{name}.w"] + w[f"{name}.b"]

    def attend(x, block, number):
        q, k, v = (x @ w[f"{block}.W_{a}"][number] + w[f"{block}.b_{a}"][number] for a in "QKV")
        if shape.positions == "rotary":
            q, k = turned(q), turned(k)
        z = np.empty_like(v)
        for step in range(len(x)):
            first = 0 if shape.window is None else max(0, step + 1 - shape.window)
            scores = k[first : step + 1] @ q[step] / np.sqrt(shape.d_head)
            pattern = np.exp(scores - scores.max())
            z[step] = pattern / pattern.sum() @ v[first : step + 1]
        return z @ w[f"{block}.W_O"][number]

    for layer in range(shape.n_layers):
        block = f"blocks.{layer}"
        read = norm(x, f"{block}.ln1")
        written = [[attend(row, f"{block}.attn", number) for row in read] for number in range(shape.n_heads)]
        x = x + np.sum(written, axis=0) + w[f"{block}.attn.b_O"]
        if not shape.attention_only:
            pre = norm(x, f"{block}.ln2") @ w[f"{block}.mlp.W_in"] + w[f"{block}.mlp.b_in"]
            passed = {
                "gelu": 0.5 * (1 + torch.erf(torch.from_numpy(pre / 2**0.5)).numpy()),
                "gelu_new": 0.5 * (1 + np.tanh((2 / np.pi) ** 0.5 * (pre + 0.044715 * pre**3))),
                "relu": pre > 0,
            }
            post = pre * passed[shape.activation]
            x = x + post @ w[f"{block}.mlp.W_out"] + w[f"{block}.mlp.b_out"]
    return norm(x, "ln_final") @ w["W_U"] + w["b_U"]


# the function


@every_variant
def test_every_variant_is_its_formula(variant):
    model = tiny_model(4, STEPS, **variant)
    weights = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    tokens = tokens_of(model)
    expected = by_hand(weights, model.shape, model.vocabulary.channels, tokens.numpy())
    assert_close(model(tokens).detach().numpy(), expected, **EXACT)


def test_a_variant_has_the_weights_that_it_needs_and_no_others():
    plain = set(tiny_model(0, STEPS).state_dict())
    assert plain - set(tiny_model(0, STEPS, positions="rotary").state_dict()) == {"W_pos"}
    without_mlps = plain - set(tiny_model(0, STEPS, attention_only=True).state_dict())
    assert without_mlps == {name for name in plain if ".mlp." in name or ".ln2." in name}
    assert len(without_mlps) == 2 * 6


@pytest.mark.parametrize("name", ["bandit", "dark-room"])
def test_shipped_models_are_the_function_of_their_weights(name):
    model, weights = load(name, MODELS).model, load_file(MODELS / name / "weights.safetensors")
    assert set(weights) == set(model.state_dict())
    tokens = tokens_of(model, n_rows=2, n_steps=40)
    expected = by_hand(weights, model.shape, model.vocabulary.channels, tokens.numpy())
    assert_close(model(tokens).detach().numpy(), expected.astype(np.float32), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", WINDOWED, ids=str)
def test_what_left_the_window_is_forgotten_and_the_rest_may_stand_anywhere(variant):
    model = tiny_model(1, STEPS, **variant)
    tokens = tokens_of(model, n_steps=5 * STEPS)
    reach = model.shape.n_layers * (model.shape.window - 1) + 1
    assert_close(model(tokens)[:, -3:], model(tokens[:, -reach - 2 :])[:, -3:], **EXACT)
    if reach > 1:
        assert (model(tokens)[:, -1] - model(tokens[:, 1 - reach :])[:, -1]).abs().max() > 1e-4


def test_without_positions_the_order_of_earlier_steps_is_lost_and_with_rotary_ones_it_is_not():
    for positions, lost in (("none", True), ("rotary", False)):
        model = tiny_model(3, STEPS, n_layers=1, positions=positions)
        tokens = tokens_of(model)
        turned_round = torch.cat([tokens[:, :-1].flip(1), tokens[:, -1:]], dim=1)
        assert ((model(tokens) - model(turned_round))[:, -1].abs().max() < 1e-12) == lost


@pytest.mark.parametrize(
    "shape",
    [
        Shape(20, 1, 1, 16),
        Shape(20, 1, 2, 16, positions="rotary", window=5, attention_only=True),
        Shape(20, 8, 8, 512, positions="rotary"),
        Shape(20, 8, 8, 512, attention_only=True),
    ],
    ids=lambda shape: f"{shape.n_layers}-{shape.d_model}-{shape.positions}",
)
def test_the_smallest_and_the_largest_can_be_built_run_and_trained(shape):
    model = ADTransformer(Vocabulary((("x", 9), ("y", 9)), 5), shape)
    loss = model(tokens_of(model, n_rows=2, n_steps=20)).log_softmax(-1)[..., 0].mean()
    loss.backward()
    assert -3 < loss.item() < -1  # about as likely as each of five
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    cache = KVCache(2, model.eval())
    with torch.no_grad():
        assert model(tokens_of(model, n_rows=2, n_steps=1), cache).shape == (2, 1, 5)


def test_what_writes_into_the_stream_starts_smaller_the_more_there_are():
    shapes = [Shape(STEPS, 2, 2, 64), Shape(STEPS, 2, 2, 64, attention_only=True)]
    spread = [ADTransformer(Vocabulary((), 3), shape).blocks[0].attn.W_O.std().item() for shape in shapes]
    assert spread == pytest.approx([0.02 / 2, 0.02 / 2**0.5], rel=0.1)


# the cache


@every_variant
@pytest.mark.parametrize("lengths", [[1] * 6, [2, 3, 1], [1, 5], [5, 1], [6]], ids=str)
def test_cached_steps_are_the_uncached_ones(variant, lengths):
    model = tiny_model(2, STEPS, **variant)
    tokens = tokens_of(model)
    cache = KVCache(len(tokens), model)
    parts = [model(part, cache) for part in tokens.split(lengths, dim=1)]
    assert cache.n_steps == STEPS
    assert_close(torch.cat(parts, dim=1), model(tokens), **EXACT)


@law(15)
@given(
    lengths=st.lists(st.sampled_from([1, 1, 1, 2, 5, 9, 20]), min_size=2, max_size=30),
    window=st.integers(1, 9),
    positions=st.sampled_from(["rotary", "none"]),
    attention_only=st.booleans(),
)
def test_a_ring_of_keys_is_the_banded_forward_however_long_and_in_whatever_chunks(
    lengths, window, positions, attention_only
):
    model = tiny_model(5, 4, positions=positions, window=window, attention_only=attention_only)
    tokens = tokens_of(model, n_rows=2, n_steps=sum(lengths), seed=len(lengths))
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        model.to(dtype)
        cache = KVCache(2, model)
        parts = [model(part, cache) for part in tokens.split(lengths, dim=1)]
        expected = model(tokens)
        scale = max(1.0, expected.abs().max().item())
        assert_close(torch.cat(parts, dim=1), expected, atol=tolerance * scale, rtol=0)
        assert cache.layers[0].k.shape[2] == window


def test_a_life_of_many_thousand_steps_keeps_its_digits():
    """The fastest pair has turned by 50,000 radians: angles in float32 would be off by 0.004."""
    model = tiny_model(5, 4, positions="rotary", window=8).to(torch.float32)
    tokens = tokens_of(model, n_rows=1, n_steps=30)
    early, late = KVCache(1, model), KVCache(1, model)
    for layer in late.layers:
        layer.n_steps = 50_000
        layer.k.zero_(), layer.v.zero_()
    for step in range(30):
        soon, later = (model(tokens[:, step : step + 1], cache) for cache in (early, late))
    assert_close(soon, later, atol=1e-4, rtol=1e-4)


def test_only_a_window_makes_a_context_endless():
    model = tiny_model(0, STEPS, positions="rotary")
    with pytest.raises(ValueError, match="7 steps do not fit into a context of 6"):
        model(tokens_of(model, n_steps=7))
    assert tiny_model(0, STEPS, positions="rotary", window=2)(tokens_of(model, n_steps=50)).shape == (3, 50, 3)


# TransformerLens


@every_variant
def test_hooks_and_activation_caches_work_on_every_variant(variant):
    model = hooked(tiny_model(1, STEPS, **variant))
    tokens = tokens_of(model)
    result, cache = model.run_with_cache(tokens)
    assert_close(result, model(tokens), **EXACT)
    assert ("hook_pos_embed" in cache) == model.anatomy.has_positions
    has_mlps = model.anatomy.has_mlps
    for name in ("hook_mlp_out", "hook_resid_mid", "mlp.hook_post", "ln2.hook_scale"):
        assert (f"blocks.0.{name}" in cache) == has_mlps
    parts, labels = cache.decompose_resid(return_labels=True)
    expected = ["embed", *(["pos_embed"] if model.anatomy.has_positions else [])]
    expected += [f"{n}_{part}_out" for n in range(2) for part in (("attn", "mlp") if has_mlps else ("attn",))]
    assert labels == expected
    assert_close(parts.sum(0), cache["resid_post", 1], **EXACT)
    for layer, block in enumerate(model.blocks):
        assert_close(cache["result", layer].sum(2) + block.attn.b_O, cache["attn_out", layer], **EXACT)
    pattern = cache["pattern", 0]
    far = torch.arange(STEPS)[:, None] - torch.arange(STEPS)
    seen = (far >= 0) & (far < (model.shape.window or STEPS))
    assert ((pattern > 0) == seen).all()


def test_queries_are_hooked_before_they_are_turned_and_after():
    model = hooked(tiny_model(1, STEPS, positions="rotary"))
    tokens = tokens_of(model)
    names = list(model.hook_dict)
    assert {"hook_rot_q", "hook_rot_k"} <= {name.rpartition(".")[2] for name in names}
    _, cache = model.run_with_cache(tokens)
    for letter in "qk":
        before, after = (cache[f"blocks.0.attn.hook_{name}{letter}"].detach().numpy() for name in ("", "rot_"))
        for row in range(3):
            for number in range(2):
                assert_close(after[row, :, number], turned(before[row, :, number]), **EXACT)
        for name in (letter, f"rot_{letter}"):
            hook = (f"blocks.0.attn.hook_{name}", lambda tensor, hook: tensor * 2)
            assert (model.run_with_hooks(tokens, fwd_hooks=[hook]) - model(tokens)).abs()[:, -1].max() > 1e-6
    assert not any("rot" in name for name in hooked(tiny_model(1, STEPS)).hook_dict)


# many channels


def many_channels(n=60, seed=0):
    sizes = np.random.default_rng(seed).integers(1, 12, size=n)
    vocabulary = Vocabulary(tuple((f"c{number}", int(size)) for number, size in enumerate(sizes)), n_actions=4)
    return ADTransformer(vocabulary, Shape(STEPS, 1, 1, 8), seed).double()


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_channels_together_are_channels_one_by_one(with_mask, large, monkeypatch):
    if large:
        monkeypatch.setattr(distill.model, "LARGE_VOCABULARY", 0)
    model = hooked(many_channels())
    tokens = tokens_of(model)
    kept = torch.from_numpy(np.random.default_rng(1).random(tokens.shape) < 0.7) if with_mask else None
    found = []
    for hooks in ([], [("hook_embeds.c7", lambda tensor, hook: tensor)]):
        model.zero_grad()
        out = model.run_with_hooks(tokens, unmasked=kept, fwd_hooks=hooks)
        (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
        found.append([out.detach(), *(model.embed[name].grad.clone() for name in model.vocabulary.channels)])
        with torch.no_grad():
            assert_close(model.run_with_hooks(tokens, unmasked=kept, fwd_hooks=hooks), out, **EXACT)
    for together, alone in zip(*found, strict=True):
        assert_close(together, alone, **EXACT)
    assert (found[0][0] - model(tokens)).abs().max() > 1e-4 or not with_mask


# the engines


@every_variant
def test_twin_is_the_model_and_writers_sum_to_what_readers_see(variant):
    model = tiny_model(3, STEPS, n_layers=3, **variant)
    tokens, twin = tokens_of(model), Twin(model)
    seen = twin.streams(tokens)
    assert_close(twin.logits(seen[-1]), model(tokens), **EXACT)
    for reader in model.anatomy.readers:
        total = sum(twin.write(writer, tokens, seen) for writer in model.anatomy.writers if writer.feeds(reader))
        total = total + sum(twin.attention_bias(layer) for layer in range(reader.stage // 2))
        assert_close(total, seen[reader.stage], **EXACT)
    kinds = {writer.kind for writer in model.anatomy.writers}
    assert ("pos" in kinds, "mlp" in kinds) == (model.anatomy.has_positions, model.anatomy.has_mlps)
    assert {reader.kind for reader in model.anatomy.readers} == (kinds & {"mlp"}) | set("qkv") | {"logits"}


@every_variant
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.default_cases(9)
def test_fast_engine_is_the_oracle_draw_by_draw(variant, seed):
    model, history = tiny_model(seed, n_steps=4, **variant), tiny_history(seed, n_rows=4, n_steps=4)
    nodes, along = random_hypothesis(np.random.default_rng(seed), model, history)
    options = OPTIONS[(seed + len(variant)) % len(OPTIONS)]
    scrubber = Scrubber(Clean.run(model, history), BoundGraph(nodes, "root"), options, seed=seed)
    assert np.allclose(scrubber.run(3).log_probs, replay(model, history, nodes, along, scrubber, 3), atol=2e-6)


def test_a_key_from_another_step_is_turned_by_the_step_where_it_is_put():
    model, history = tiny_model(2, 4, positions="rotary", window=3), tiny_history(2, 5, 4)
    labels = np.random.default_rng(2).integers(2, size=history.actions.shape)
    nodes = {
        "key": bound("key", head(1, 0).k, [], labels, anatomy=model.anatomy),
        "mix": bound("mix", head(1, 0), ["key"], labels, anatomy=model.anatomy),
        "root": bound("root", logits, ["mix"], anatomy=model.anatomy),
    }
    options = replace(OPTIONS[0], align="any")
    scrubber = Scrubber(Clean.run(model, history), BoundGraph(nodes, "root"), options, seed=1)
    assert np.allclose(scrubber.run(0).log_probs, replay(model, history, nodes, {}, scrubber, 0), atol=2e-6)


@every_variant
def test_a_change_flows_on_as_in_the_model(variant):
    model = tiny_model(6, STEPS, **variant)
    tokens, twin = tokens_of(model), Twin(model)
    other = torch.cat([tokens[1:], tokens[:1]])
    change = twin.embed("x", other) - twin.embed("x", tokens)
    out = rewire(twin, PlainRun.of(twin, tokens), [Given((plain_part(Writer(0, "embed", channel="x")),), change)])
    swapped = tokens.clone()
    swapped[..., 0] = other[..., 0]
    assert_close(out, model(swapped), **EXACT)


def test_sites_that_a_model_lacks_are_refused_with_those_that_it_has():
    bare = tiny_model(0, STEPS, positions="none", attention_only=True).anatomy
    exist = 'embed("x"), embed("action"), embed("reward"), head(0, 0) to head(1, 1), logits'
    for site, what in (
        (pos, "pos: the model embeds no positions."),
        (embed("x") + pos, "pos: the model embeds no positions."),
        (mlp(0), "mlp(0): the model has attention only, no MLPs."),
        (embed("x").to(mlp(1)), "mlp(1): the model has attention only, no MLPs."),
    ):
        with pytest.raises(HypothesisError) as caught:
            site.resolve(bare)
        assert what in str(caught.value)
        assert exist in str(caught.value)
    whole = tiny_model(0, STEPS).anatomy
    assert whole.sites[-4:] == ("pos", "head(0, 0) to head(1, 1)", "mlp(0) to mlp(1)", "logits")
    assert len(pos.resolve(whole)) == len(mlp(1).resolve(whole)) == 1


# sizes that do not go together


def config(**model):
    return {"task": {"name": "dark-room"}, "source": {"name": "dyna-q"}, "model": model}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"positions": "rotary", "d_model": 12, "n_heads": 4},
            "model.d_model: 12 makes heads of width 3, but model.positions = rotary turns pairs: "
            "model.d_model / model.n_heads must be even",
        ),
        (
            {"window": 40},
            "model.window: 40 does not go with model.positions = learned, which end with the context; "
            "with a window, positions must be rotary or none",
        ),
        ({"positions": "none", "window": 0}, "model.window: input should be greater than or equal to 1, but it is 0"),
        ({"positions": "alibi"}, "model.positions: input should be 'learned', 'rotary' or 'none', but it is 'alibi'"),
        ({"attention_only": "perhaps"}, "model.attention_only: "),
        ({"windows": 3}, "model.windows: no such key. Did you mean 'window'?"),
    ],
    ids=str,
)
def test_a_configuration_with_sizes_that_do_not_go_together_is_refused(model, message):
    with pytest.raises(ConfigError) as caught:
        check_config(config(**model), "the configuration")
    assert message in str(caught.value)


def test_a_configuration_can_ask_for_every_variant():
    for variant in VARIANTS.values():
        size = check_config(yaml.safe_load(yaml.safe_dump(config(**variant))), "here").model
        assert {key: getattr(size, key) for key in variant} == variant
        assert asdict(Shape(8, **size.model_dump()))["positions"] == variant.get("positions", "learned")


@pytest.mark.parametrize("sizes", [{"window": 0, "positions": "none"}, {"window": 3}, {"d_model": 9}], ids=str)
def test_a_shape_that_cannot_be_is_refused(sizes):
    with pytest.raises(ConfigError, match=next(iter(sizes))):
        Shape(STEPS, **sizes)
