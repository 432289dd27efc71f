"""The transformer and its tokens: exact by hand, the same on every path, and at home in TransformerLens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from expand import tiny_history, tiny_model
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from transformer_lens import ActivationCache, patching
from transformer_lens.model_protocol import TransformerLensModel

from ad_hypotheses.distill.lens import HookedADTransformer, hooked
from ad_hypotheses.distill.model import ADTransformer, KVCache, Shape
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks import make_task

STEPS = 6
ROOM = Vocabulary((("x", 3), ("y", 4)), n_actions=5)
EXACT = {"atol": 1e-12, "rtol": 0}
LAYER_HOOKS = [
    "ln1.hook_scale",
    "ln1.hook_normalized",
    "attn.hook_q",
    "attn.hook_k",
    "attn.hook_v",
    "attn.hook_attn_scores",
    "attn.hook_pattern",
    "attn.hook_z",
    "attn.hook_result",
    "ln2.hook_scale",
    "ln2.hook_normalized",
    "mlp.hook_pre",
    "mlp.hook_post",
    "hook_resid_pre",
    "hook_resid_mid",
    "hook_resid_post",
    "hook_attn_out",
    "hook_mlp_out",
]


@pytest.fixture(scope="module")
def model() -> HookedADTransformer:
    return hooked(tiny_model(0, STEPS))


@pytest.fixture(scope="module")
def tokens(model) -> torch.Tensor:
    return model.to_tokens(tiny_history(1, n_rows=3, n_steps=STEPS))


@pytest.fixture(scope="module")
def cached(model, tokens) -> tuple[torch.Tensor, ActivationCache]:
    return model.run_with_cache(tokens)


def walk(**changes) -> History:
    """Two episodes of two steps in a room, by hand."""
    history = History(
        observations=np.array([[[1, 1], [1, 2], [1, 1], [0, 1]]]),
        actions=np.array([[2, 0, 3, 4]]),
        rewards=np.array([[1.0, 0.0, 1.0, 1.0]]),
        episode=np.array([[0, 0, 1, 1]]),
        channels=("x", "y"),
        n_actions=5,
    )
    return replace(history, **changes)


def touch(tensor, hook):
    """Leave an activation as it is; being there is what makes the model take the written-out path."""
    return tensor


# tokens


def test_tokens_are_what_one_writes_by_hand():
    assert ROOM.channels == ("x", "y", "action", "reward")
    assert ROOM.sizes == (3, 4, 6, 2)
    by_hand = [[[1, 1, 0, 0], [1, 2, 3, 1], [1, 1, 1, 0], [0, 1, 4, 1]]]
    encoded = ROOM.encode(walk())
    assert encoded.tolist() == by_hand
    assert encoded.dtype == torch.int64


def test_tokens_of_a_bandit_are_previous_action_and_reward_alone():
    history = walk(observations=np.empty((1, 4, 0), dtype=np.int8), channels=())
    assert Vocabulary((), n_actions=5).encode(history).tolist() == [[[0, 0], [3, 1], [1, 0], [4, 1]]]


def test_the_decision_and_its_reward_are_not_in_the_token_of_their_step():
    later = walk(actions=np.array([[2, 0, 3, 1]]), rewards=np.array([[1.0, 0.0, 1.0, 0.0]]))
    assert torch.equal(ROOM.encode(walk()), ROOM.encode(later))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rewards": np.array([[1.0, 0.5, 1.0, 1.0]])},
            "row 0, step 2 shows the reward 0.5, but the model knows only the rewards [0.0, 1.0].",
        ),
        ({"rewards": np.array([[np.nan, 0.0, 1.0, 1.0]])}, "row 0, step 1 shows the reward nan"),
        ({"rewards": np.array([[2.0, 0.0, 1.0, 1.0]])}, "row 0, step 1 shows the reward 2.0"),
        (
            {"observations": np.array([[[1, 1], [1, 2], [1, 4], [0, 1]]])},
            "row 0, step 2 has the y value 4, but the model knows only 0 to 3.",
        ),
        ({"observations": np.array([[[-1, 1], [1, 2], [1, 1], [0, 1]]])}, "row 0, step 0 has the x value -1"),
        (
            {"actions": np.array([[2, 0, 5, 4]])},
            "row 0, step 3 has the action value 6, but the model knows only 0 to 5.",
        ),
        (
            {"observations": np.zeros((1, 4, 1), dtype=int), "channels": ("x",)},
            "the histories have the observation channels ['x'], but the model reads ['x', 'y'].",
        ),
        ({"channels": ("y", "x")}, "the histories have the observation channels ['y', 'x']"),
    ],
    ids=["reward", "nan", "large reward", "observation", "negative", "action", "channels", "order"],
)
def test_what_has_no_embedding_is_refused_with_its_place(changes, message):
    with pytest.raises(DataError) as caught:
        ROOM.encode(walk(**changes))
    assert message in str(caught.value)


# the function


def test_a_model_of_one_layer_is_the_formula(tokens):
    model = tiny_model(4, STEPS, n_layers=1, n_heads=1)
    w = {name: weight.detach() for name, weight in model.named_parameters()}

    def norm(x, name):
        return (x - x.mean(-1, True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt() * w[f"{name}.w"] + w[
            f"{name}.b"
        ]

    x = w["W_pos"] + sum(w[f"embed.{name}"][tokens[..., n]] for n, name in enumerate(("x", "action", "reward")))
    y = norm(x, "blocks.0.ln1")
    q, k, v = (y @ w[f"blocks.0.attn.W_{a}"][0] + w[f"blocks.0.attn.b_{a}"][0] for a in "QKV")
    scores = q @ k.mT / 8**0.5 - torch.full((STEPS, STEPS), torch.inf, dtype=torch.float64).triu(1)
    x = x + scores.softmax(-1) @ v @ w["blocks.0.attn.W_O"][0] + w["blocks.0.attn.b_O"]
    pre = norm(x, "blocks.0.ln2") @ w["blocks.0.mlp.W_in"] + w["blocks.0.mlp.b_in"]
    gelu = pre * 0.5 * (1 + torch.erf(pre / 2**0.5))
    x = x + gelu @ w["blocks.0.mlp.W_out"] + w["blocks.0.mlp.b_out"]
    assert_close(model(tokens), norm(x, "ln_final") @ w["W_U"] + w["b_U"], **EXACT)


@given(data=st.data())
def test_later_tokens_change_no_earlier_logits(data):
    model = tiny_model(data.draw(st.integers(0, 5)), STEPS)
    sizes = model.vocabulary.sizes
    token = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    sequence = st.lists(token, min_size=STEPS, max_size=STEPS)
    first, second = (torch.tensor([data.draw(sequence)]) for _ in range(2))
    step = data.draw(st.integers(1, STEPS - 1))
    second[:, :step] = first[:, :step]
    assert_close(model(first)[:, :step], model(second)[:, :step], **EXACT)


def test_every_earlier_token_reaches_the_last_logits(model, tokens):
    plain = model(tokens)[:, -1]
    for step in range(STEPS):
        for channel, size in enumerate(model.vocabulary.sizes):
            other = tokens.clone()
            other[:, step, channel] = (other[:, step, channel] + 1) % size
            assert ((model(other)[:, -1] - plain).abs().amax(-1) > 1e-6).all()


@pytest.mark.parametrize("lengths", [[1] * 6, [2, 3, 1], [1, 5], [5, 1], [6]], ids=str)
def test_cached_steps_are_the_uncached_ones(model, tokens, lengths):
    cache = KVCache(len(tokens), model)
    logits = [model(part, cache) for part in tokens.split(lengths, dim=1)]
    assert cache.n_steps == STEPS
    assert_close(torch.cat(logits, dim=1), model(tokens), **EXACT)


def test_a_context_that_is_too_long_is_refused(model, tokens):
    with pytest.raises(ValueError, match="7 steps do not fit into a context of 6"):
        model(torch.cat([tokens, tokens[:, :1]], dim=1))
    cache = KVCache(len(tokens), model)
    model(tokens, cache)
    with pytest.raises(ValueError, match="7 steps do not fit into a context of 6"):
        model(tokens[:, :1], cache)


def test_dropout_is_off_in_evaluation_and_on_in_training():
    tokens = torch.zeros(2, STEPS, 3, dtype=torch.int64)
    shape = Shape(STEPS, n_layers=1, n_heads=1, d_model=8, dropout=0.5)
    model = ADTransformer(Vocabulary((("x", 3),), 3), shape, seed=1).eval()
    without = ADTransformer(model.vocabulary, replace(shape, dropout=0.0), seed=1)
    assert torch.equal(model(tokens), without(tokens))
    torch.manual_seed(0)
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


def test_the_seed_decides_the_weights():
    def weights(seed):
        return ADTransformer(ROOM, Shape(STEPS, n_layers=2, n_heads=2, d_model=32), seed).state_dict()

    same, again, other = weights(3), weights(3), weights(4)
    assert all(torch.equal(same[name], again[name]) for name in same)
    drawn = [name for name in same if same[name].ndim > 1 and ".b_" not in name]
    assert len(drawn) == 4 + 2 + 2 * 6
    assert not any(torch.equal(same[name], other[name]) for name in drawn)
    assert same["blocks.0.attn.W_Q"].std().item() == pytest.approx(0.02, rel=0.1)
    assert same["blocks.0.mlp.W_out"].std().item() == pytest.approx(0.01, rel=0.1)
    assert all((same[name] == (name.endswith(".w"))).all() for name in same if name not in drawn)


# rollouts


@pytest.mark.parametrize("task", [make_task("dark-room", size=3, horizon=4), make_task("bandit", arms=3, horizon=9)])
def test_a_rollout_takes_the_actions_of_the_uncached_model(task):
    vocabulary = Vocabulary(tuple(zip(task.channels, task.channel_sizes, strict=True)), task.n_actions)
    model = ADTransformer(vocabulary, Shape(3 * task.horizon, 2, 2, 8), seed=2).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(20)
    facts = task.sample_tasks(np.random.default_rng(0), 7)
    done: list[int] = []
    history = rollout(model, task, facts, 3, np.random.default_rng(1), sample=False, progress=done.append)
    assert np.array_equal(history.actions, model(model.to_tokens(history)).argmax(-1).numpy())
    assert len(np.unique(history.actions)) > 1
    assert done == list(range(1, 3 * task.horizon + 1))


def test_a_sampled_rollout_follows_the_models_distribution_and_its_generator():
    task = make_task("bandit", arms=3, horizon=2)
    model = ADTransformer(Vocabulary((), 3), Shape(2, 1, 1, 4), seed=0).eval()
    with torch.no_grad():
        model.b_U.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    facts = {"means": np.full((4000, 3), 0.5)}
    history, again = (rollout(model, task, facts, 1, np.random.default_rng(5)) for _ in range(2))
    expected = model(model.to_tokens(history)).softmax(-1).mean((0, 1)).detach().numpy()
    found = np.bincount(history.actions.ravel(), minlength=3) / history.actions.size
    assert np.abs(found - expected).max() < 4 * 0.5 / np.sqrt(8000)
    assert np.abs(found - [0.2, 0.3, 0.5]).max() < 0.05
    assert np.array_equal(history.actions, again.actions)
    assert np.array_equal(history.rewards, again.rewards)


# TransformerLens


def test_it_is_a_transformer_lens_model_with_its_hook_names(model, tokens):
    assert isinstance(model, TransformerLensModel)
    expected = [f"hook_embeds.{channel}" for channel in ("x", "action", "reward")] + ["hook_embed", "hook_pos_embed"]
    expected += [f"blocks.{layer}.{hook}" for layer in range(2) for hook in LAYER_HOOKS]
    expected += ["ln_final.hook_scale", "ln_final.hook_normalized"]
    assert list(model.hook_dict) == expected
    _, cache = model.run_with_cache(tokens)
    assert set(cache) == set(expected)


def test_the_hooked_model_shares_its_weights_with_the_plain_one(tokens):
    plain = tiny_model(3, STEPS).train()
    plain.name = "tiny"
    model = hooked(plain)
    assert torch.equal(model(tokens), plain(tokens))
    assert (model.name, model.training, model.dtype) == ("tiny", True, torch.float64)
    assert [id(weight) for weight in model.parameters()] == [id(weight) for weight in plain.parameters()]
    assert hooked(model) is model
    assert not isinstance(plain, HookedADTransformer)


def test_a_hook_on_the_hooked_model_leaves_the_plain_one_alone(tokens):
    plain = tiny_model(3, STEPS)
    model, before = hooked(plain), plain(tokens)
    model.add_hook("hook_embed", lambda tensor, hook: tensor * 2)
    assert not torch.equal(model(tokens), before)
    assert torch.equal(plain(tokens), before)


def test_caching_changes_no_logits_and_leaves_no_hook(model, tokens, cached):
    assert_close(cached[0], model(tokens), **EXACT)
    assert not any(point.has_hooks() for point in model.hook_dict.values())


@pytest.mark.parametrize("hooks", ["hook_pattern", "hook_attn_scores", "hook_scale", "hook_result"])
def test_written_out_computation_is_the_fused_one(model, tokens, hooks):
    written_out = model.run_with_hooks(tokens, fwd_hooks=[(lambda name: name.endswith(hooks), touch)])
    assert_close(written_out, model(tokens), **EXACT)


@pytest.mark.parametrize("hook", [*LAYER_HOOKS, "embeds.x"])
def test_every_hook_has_effect(model, tokens, hook):
    name = "hook_embeds.x" if hook == "embeds.x" else f"blocks.0.{hook}"
    doubled = model.run_with_hooks(tokens, fwd_hooks=[(name, lambda tensor, hook: tensor * 2)])
    assert (doubled - model(tokens)).abs().amax(-1)[:, -1].min() > 1e-6


def test_parts_of_the_token_sum_to_the_embedding(model, tokens, cached):
    parts = [cached[1][f"hook_embeds.{channel}"] for channel in model.vocabulary.channels]
    for number, (channel, part) in enumerate(zip(model.vocabulary.channels, parts, strict=True)):
        assert torch.equal(part, model.embed[channel][tokens[..., number]])
    assert_close(sum(parts), cached[1]["hook_embed"], **EXACT)
    assert_close(cached[1]["embed"] + cached[1]["pos_embed"], cached[1]["resid_pre", 0], **EXACT)


def test_the_residual_stream_decomposes(model, cached):
    logits, cache = cached
    parts, labels = cache.decompose_resid(return_labels=True)
    assert labels == ["embed", "pos_embed", "0_attn_out", "0_mlp_out", "1_attn_out", "1_mlp_out"]
    assert_close(parts.sum(0), cache["resid_post", 1], **EXACT)
    assert_close(model.ln_final(cache["resid_post", 1]) @ model.W_U + model.b_U, logits, **EXACT)
    assert_close(cache.accumulated_resid()[-1], cache["resid_post", 1], **EXACT)


def test_heads_sum_to_the_output_of_their_attention(model, cached):
    cache = cached[1]
    results, labels = cache.stack_head_results(return_labels=True)
    assert labels == ["L0H0", "L0H1", "L1H0", "L1H1"]
    for layer, block in enumerate(model.blocks):
        assert_close(cache["result", layer].sum(2) + block.attn.b_O, cache["attn_out", layer], **EXACT)
        assert_close(results[2 * layer : 2 * layer + 2].sum(0) + block.attn.b_O, cache["attn_out", layer], **EXACT)


def last_logit(logits):
    return logits[:, -1, 0].sum()


def different_before_the_end(model, tokens):
    """Tokens that differ everywhere but at the last step, so that only attention tells the runs apart there."""
    other = tokens.clone()
    other[:, :-1, 0] = (other[:, :-1, 0] + 1) % model.vocabulary.sizes[0]
    return other


def test_activation_patching_restores_the_clean_run_through_its_only_head(tokens):
    model = hooked(tiny_model(2, STEPS, n_layers=1, n_heads=1))
    clean, cache = model.run_with_cache(tokens)
    corrupted = different_before_the_end(model, tokens)
    assert (last_logit(model(corrupted)) - last_logit(clean)).abs() > 0.1
    patched = patching.get_act_patch_attn_head_out_all_pos(model, corrupted, cache, last_logit)
    assert patched.shape == (1, 1)
    assert patched.item() == pytest.approx(last_logit(clean).item(), abs=1e-5)


def test_activation_patching_tells_the_heads_apart(model, tokens, cached):
    corrupted = different_before_the_end(model, tokens)
    patched = patching.get_act_patch_attn_head_out_all_pos(model, corrupted, cached[1], last_logit)
    for layer in range(2):
        for head in range(2):

            def swap(z, hook, head=head):
                z = z.clone()
                z[:, :, head] = cached[1][hook.name][:, :, head]
                return z

            by_hand = model.run_with_hooks(corrupted, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", swap)])
            assert patched[layer, head].item() == pytest.approx(last_logit(by_hand).item(), abs=1e-5)


def test_patching_by_position_takes_its_steps_from_an_index(model, tokens, cached):
    """Tokens have a third axis, so TransformerLens cannot count the steps by itself."""
    corrupted = tokens.clone()
    corrupted[:, 2, 0] = (corrupted[:, 2, 0] + 1) % 3
    index = pd.DataFrame([(0, step) for step in range(STEPS)], columns=["layer", "pos"])
    patched = patching.generic_activation_patch(
        model, corrupted, cached[1], last_logit, patching.layer_pos_patch_setter, "resid_pre", index_df=index
    )
    clean, plain = last_logit(cached[0]).item(), last_logit(model(corrupted)).item()
    assert abs(clean - plain) > 1e-3
    for step in range(STEPS):
        assert patched[step].item() == pytest.approx(clean if step == 2 else plain, abs=1e-5)
