"""Twenty guesses that a user of TransformerLens would type, written down before any of it was built.

Each is a test of its own that says what comes of it. Two are refused, with what to type instead.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.testing import assert_close
from transformer_lens import patching
from transformer_lens import utilities as utils

import ad_hypotheses as adh
from ad_hypotheses.errors import UserError


@pytest.fixture(scope="module")
def model():
    """Return a trained model, in single precision."""
    return adh.load("bandit")


@pytest.fixture(scope="module")
def history(model):
    return model.histories(3, seed=0)


@pytest.fixture(scope="module")
def logits_and_cache(model, history):
    with torch.no_grad():
        return model.run_with_cache(history)


def test_01_load_a_model_by_its_name(model):
    assert (model.name, model.task.name, model.training) == ("bandit", "bandit", False)


def test_02_from_pretrained():
    with pytest.raises(AttributeError, match=r"HookedTransformer.*load\(\"dark-room\"\)"):
        _ = adh.HookedTransformer.from_pretrained("dark-room")


def test_03_sizes_are_in_cfg(model):
    assert model.cfg.n_layers == len(model.blocks)
    assert model.cfg.d_head * model.cfg.n_heads == model.cfg.d_model
    assert model.cfg.d_vocab_out == model.task.n_actions


def test_04_run_with_cache(model, logits_and_cache):
    logits, cache = logits_and_cache
    assert logits.shape == (3, 100, 5)
    assert cache["pattern", 0].shape == (3, model.cfg.n_heads, 100, 100)
    assert cache["blocks.0.attn.hook_pattern"] is cache["pattern", 0]


def test_05_the_loss(model, history):
    loss = model(history, return_type="loss")
    assert loss.shape == ()
    assert 0 < loss.item() < 1.6


def test_06_the_loss_at_each_position(model, history):
    each = model(history, return_type="loss", loss_per_token=True)
    assert each.shape == (3, 100)
    assert_close(each.mean(), model(history, return_type="loss"))


def test_07_ablate_a_head_with_a_hook(model, history, logits_and_cache):
    def zero(z, hook, head):
        z[:, :, head] = 0
        return z

    hooks = [(utils.get_act_name("z", 0), partial(zero, head=1))]
    ablated = model.run_with_hooks(history, fwd_hooks=hooks, return_type="loss")
    assert ablated > model(history, return_type="loss")
    assert_close(model(history), logits_and_cache[0])  # no hook outlives the call


def test_08_a_context_of_hooks(model, history):
    seen = []
    with model.hooks(fwd_hooks=[("blocks.0.hook_resid_pre", lambda x, hook: seen.append(hook.name))]):
        model(history)
    model(history)
    assert seen == ["blocks.0.hook_resid_pre"]


def test_09_tokens_and_their_texts(model, history):
    tokens = model.to_tokens(history)
    assert tokens.shape[:2] == (3, 100)
    assert model.to_str_tokens(history[0])[0] == "action=none reward=0"


def test_10_one_history(history):
    assert len(history) == 3
    assert len(history[1]) == 1
    assert (history[1].actions == history.actions[1]).all()


def test_11_weights_of_all_layers(model):
    sizes = (model.cfg.n_layers, model.cfg.n_heads, model.cfg.d_model)
    assert model.W_Q.shape[:3] == model.W_K.shape[:3] == model.W_V.shape[:3] == sizes
    assert model.W_O.shape[-1] == model.W_U.shape[0] == model.W_pos.shape[1] == model.W_E.shape[1]
    assert model.b_Q.shape == model.b_K.shape == model.b_V.shape
    assert model.b_O.shape == model.b_out.shape


def test_12_circuits_of_weights(model):
    assert model.OV.AB.shape == model.QK.AB.shape == (*model.W_Q.shape[:3], model.cfg.d_model)


def test_13_direct_logit_attribution(model, history):
    model = model.folded()
    with torch.no_grad():
        logits, cache = model.run_with_cache(history)
        stack, labels = cache.decompose_resid(layer=-1, return_labels=True)
        shares = cache.logit_attrs(stack, tokens=2).sum(0)
    assert labels[0] == "embed"
    assert_close(shares + model.b_U[2], logits[..., 2], atol=1e-4, rtol=0)


def test_14_a_token_by_its_name(model):
    name = model.task.action_names[3]
    assert model.to_single_token(name) == 3
    assert_close(model.tokens_to_residual_directions(name), model.W_U[:, 3])


def test_15_every_head_and_a_logit_lens(model, logits_and_cache):
    _, cache = logits_and_cache
    heads, labels = cache.stack_head_results(layer=-1, pos_slice=-1, return_labels=True)
    assert labels[:2] == ["L0H0", "L0H1"]
    assert heads.shape == (model.cfg.n_layers * model.cfg.n_heads, 3, model.cfg.d_model)
    assert cache.accumulated_resid(layer=-1, incl_mid=True).shape[-1] == model.cfg.d_model


def test_16_activation_patching(model, history):
    clean, corrupted = history[:2], history[1:]
    _, cache = model.run_with_cache(clean)
    patched = patching.get_act_patch_resid_pre(model, corrupted, cache, lambda logits: logits[:, -1, 0].mean())
    assert patched.shape == (model.cfg.n_layers, 100)

    def put(stream, hook):
        stream[:, -1] = cache[hook.name][:, -1]
        return stream

    by_hand = model.run_with_hooks(corrupted, fwd_hooks=[("blocks.1.hook_resid_pre", put)])
    assert_close(patched[1, -1], by_hand[:, -1, 0].mean(), atol=1e-5, rtol=0)


def test_17_results_of_heads_are_asked_for(model, history):
    model.set_use_attn_result(True)  # they are there whenever a hook or a cache asks for them
    _, cache = model.run_with_cache(history)
    assert_close(cache["result", 0].sum(2) + model.blocks[0].attn.b_O, cache["attn_out", 0], atol=1e-5, rtol=1e-4)


def test_18_only_some_activations(model, history):
    _, cache = model.run_with_cache(history, names_filter=lambda name: name.endswith("hook_pattern"))
    assert set(cache) == {f"blocks.{layer}.attn.hook_pattern" for layer in range(model.cfg.n_layers)}


def test_19_generate(model, history):
    with pytest.raises(AttributeError, match=r"generate.*rollout\(model"):
        model.generate(history)


def test_20_how_large_it_is(model):
    assert model.cfg.n_params == sum(weight.numel() for weight in model.parameters())
    assert "bandit" in repr(model)
    assert len(repr(model)) <= 200


# twenty more, of a user of TransformerLens or nnsight, written down before they were tried


def test_21_which_hooks_there_are(model):
    assert "blocks.0.attn.hook_z" in model.hook_dict
    assert "blocks.1.hook_resid_post" in model.hook_dict
    assert repr(model).startswith("Model('bandit' of bandit: 2 layers")


def test_22_a_name_that_is_nearly_right():
    with pytest.raises(UserError, match="dark-room"):
        adh.load("dark_room")


@pytest.mark.parametrize(
    "chosen",
    ["blocks.0.hook_resid_post", ["blocks.0.hook_resid_post"], lambda name: name == "blocks.0.hook_resid_post"],
    ids=["text", "list", "function"],
)
def test_23_only_some_activations(model, history, chosen):
    _, cache = model.run_with_cache(history, names_filter=chosen)
    assert list(cache.keys()) == ["blocks.0.hook_resid_post"]


def test_24_hooks_that_stay_until_they_are_reset(model, history, logits_and_cache):
    model.add_hook("blocks.1.attn.hook_z", lambda z, hook: z * 0)
    assert (model(history) - logits_and_cache[0]).abs().max() > 0.01
    model.reset_hooks()
    assert_close(model(history), logits_and_cache[0])


def test_25_hooks_of_torch(model, history):
    shapes = []
    handle = model.blocks[0].mlp.register_forward_hook(lambda module, given, made: shapes.append(made.shape))
    model(history)
    handle.remove()
    assert shapes == [(3, 100, model.cfg.d_model)]


def test_26_a_trace(model, history):
    with pytest.raises(AttributeError, match=r"no 'trace'.*run_with_cache\(history\)"), model.trace(history):
        pass


def test_27_one_row_without_its_batch(model, history):
    _, cache = model.run_with_cache(history[0])
    assert cache.remove_batch_dim()["pattern", 1].shape == (model.cfg.n_heads, 100, 100)


def test_28_gradients(model, history):
    model(history, return_type="loss").backward()
    assert model.blocks[0].attn.W_Q.grad.abs().sum() > 0
    model.zero_grad()
    gradients = {}
    model.reset_hooks()
    model.add_hook("blocks.0.hook_resid_post", lambda g, hook: gradients.update({hook.name: g}), dir="bwd")
    model(history, return_type="loss").backward()
    model.reset_hooks()
    model.zero_grad()
    assert gradients["blocks.0.hook_resid_post"].shape == (3, 100, model.cfg.d_model)


def test_29_stop_at_a_layer(model, history, logits_and_cache):
    assert_close(model(history, stop_at_layer=1), logits_and_cache[1]["resid_pre", 1])
    assert_close(model(history, stop_at_layer=2), logits_and_cache[1]["resid_post", 1])
    with pytest.raises(UserError, match="stop_at_layer is 3, but there are 2 layers"):
        model(history, stop_at_layer=3)


def test_30_what_each_head_writes(model, history):
    model.set_use_attn_result(True)
    _, cache = model.run_with_cache(history)
    written = cache["result", 0]
    assert_close(written.sum(2) + model.b_O[0], cache["attn_out", 0], atol=1e-5, rtol=0)


def test_31_what_it_would_do_in_words(model, logits_and_cache):
    words = model.to_string(logits_and_cache[0].argmax(-1)[0])
    assert words.split()[0] in " ".join(model.task.action_names)
    assert model.to_string([[0], [1]]) == [model.task.action_names[0], model.task.action_names[1]]
    with pytest.raises(UserError, match="actions 0 to 4"):
        model.to_string([5])


def test_32_the_first_steps(history):
    assert history[:, :50].shape == (3, 50)
    assert (history[1, 10:].actions == history.actions[1:2, 10:]).all()
    with pytest.raises(IndexError, match=r"history\[:, 10:50\]"):
        _ = history[:, ::2]


def test_33_a_table_by_another_name(history):
    with pytest.raises(AttributeError, match="Did you mean 'to_frame"):
        history.to_df()
    assert len(history.to_frame()) == 300


def test_34_a_clean_and_a_corrupted_run(model, history):
    corrupted = adh.edit(history, step=20, reward=1, then="nothing")
    corrupted = adh.edit(corrupted, step=21, reward=0, then="nothing")
    effects = adh.patch(model, history, corrupted, nodes=["mlp(1)"], metric="kl")
    differs = ((corrupted.rewards != history.rewards)[:, :99]).any(axis=1)
    assert effects.rows == differs.sum()
    with pytest.raises(UserError, match="the two histories show the same at every step"):
        adh.patch(model, history, history)
    with pytest.raises(UserError, match="must have the same rows, steps and channels"):
        adh.patch(model, history, history[:1])
    with pytest.raises(UserError, match=r"give a Pair, ad_hypotheses.counterfactual\(name, history\)"):
        adh.patch(model, history)


def test_35_the_runs_of_a_pair(history):
    pair = adh.counterfactual("rewards-swapped", history)
    for name, meant in (("clean", "reference"), ("corrupted", "donor")):
        with pytest.raises(AttributeError, match=f"a Pair has no '{name}'. Write {meant}"):
            getattr(pair, name)


def test_36_the_model_beside_the_claim(model):
    study = adh.scrub("win_stay", model, rows=4, pool=16, quick=True)
    assert (study.model, study.rows) == ("bandit", 4)


def test_37_a_measure_of_ones_own(model, history):
    pair = adh.counterfactual("rewards-swapped", history)
    with pytest.raises(UserError, match=r"`metric` is a function.*loss, kl.*run_with_hooks"):
        adh.patch(model, pair, metric=lambda logits: logits[:, -1, 0].mean())


def test_38_the_last_step_is_usual(model, history):
    assert adh.attribution(model, history[0]) == adh.attribution(model, history[0], step=99)
    assert adh.attribution(model, history[0]) != adh.attribution(model, history[0], step=98)


def test_39_where_the_last_step_looks(model, history):
    assert len(adh.attention(model, history[0]).to_frame()) == 100


def test_40_save_and_plot(model, history):
    parts = adh.attribution(model, history[0])
    for name, meant in (("save", r"write\(\"reports\"\)"), ("plot", r"write\(\"reports\"\)"), ("to_df", "to_frame")):
        with pytest.raises(AttributeError, match=f"an? Attribution has no '{name}'. Write {meant}"):
            getattr(parts, name)


# what a newcomer met, away from a clone


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (lambda model, history: model.histories("4"), "`rows` is '4', but it must be a whole number"),
        (lambda model, history: adh.scrub("win_stay", rows=10.5), r"`rows` is 10\.5, but it must be a whole number"),
        (lambda model, history: adh.rollout(model, tasks=True), "`tasks` is True, but it must be a whole number"),
        (lambda model, history: adh.evaluate(model, rollouts=2.0), r"`rollouts` is 2\.0, but it must be a whole"),
        (
            lambda model, history: adh.scrub(model, "win_stay"),
            r"hypothesis comes first.*scrub\(hypothesis, model\)",
        ),
        (lambda model, history: adh.load("mimic"), r"mimic is a hypothesis: ad_hypotheses.scrub\('mimic'\)"),
        (lambda model, history: adh.rollout("mimic"), r"mimic is a hypothesis: ad_hypotheses.scrub\('mimic'\)"),
        (lambda model, history: model(history.actions), r"reads a History.*model.to_tokens\(history\); not a ndarray"),
        (lambda model, history: adh.rollout(model, episodes=3), "^3 episodes: 300 steps do not fit"),
        (lambda model, history: adh.edit(history, 5, action=1, then="model"), r"goes on: give `model`\.$"),
    ],
)
def test_what_is_wrong_is_said(model, history, typed, message):
    with pytest.raises(UserError, match=message):
        typed(model, history)


def test_a_size_lies_in_cfg(model):
    with pytest.raises(AttributeError, match=r"no 'n_layers' of its own: model\.cfg\.n_layers is 2"):
        _ = model.n_layers
    with pytest.raises(AttributeError, match=r"ScrubbedModel\(hypothesis, model\)"):
        _ = adh.scrubbed


def test_the_nodes_that_matter_most(model, history):
    effects = adh.patch(model, adh.counterfactual("rewards-swapped", history), nodes=["mlp(0)", "mlp(1)"], metric="kl")
    top = effects.top(1)
    frame = effects.to_frame()
    assert len(top) == 1
    assert abs(top["value"][0]) == frame[frame["regime"] == "all"]["value"].abs().max()
