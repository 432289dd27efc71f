"""TransformerLens's recipes on this transformer: every attribution sums to the exact logits, or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from expand import tiny_history, tiny_model
from test_model_variants import VARIANTS
from torch.testing import assert_close
from transformer_lens import ActivationCache, patching
from transformer_lens.tools.analysis import direct_logit_attribution

from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.distill.lens import hooked
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.errors import UserError

STEPS = 6
EXACT = {"atol": 1e-12, "rtol": 0}
MODELS = Path(__file__).parent.parent / "models"
VARIANTS = VARIANTS | {
    "no layer norm": {"layer_norm": False},
    "linear": {"layer_norm": False, "attention_only": True, "positions": "rotary"},
}


@pytest.fixture(scope="module")
def history():
    return tiny_history(1, n_rows=3, n_steps=STEPS)


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS)
def setting(request, history):
    """A model of each kind, its folded copy, and what that one computes."""
    model = hooked(tiny_model(2, STEPS, **request.param))
    folded = model.folded()
    with torch.no_grad():
        return model, folded, *folded.run_with_cache(history)


# the folded copy


def test_the_folded_copy_computes_the_same_everywhere(setting, history):
    model, folded, logits, cache = setting
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        expected, plain = model.run_with_cache(history)
    assert_close(logits, expected, **EXACT)
    assert set(cache) == set(plain)
    for name, value in cache.items():
        if not name.endswith("hook_normalized"):  # the one place where a gain shows
            assert_close(value, plain[name], **EXACT)
    norms = [module for module in folded.modules() if hasattr(module, "has_gain")]
    assert len(norms) == (3 if model.shape.attention_only else 5)
    assert not any(norm.has_gain for norm in norms)
    assert any(module.has_gain for module in model.modules() if hasattr(module, "has_gain")) == model.shape.layer_norm
    folded.folded()
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_a_folded_copy_keeps_mode_and_number_type_and_shares_nothing():
    model = hooked(tiny_model(0, STEPS)).float().train()
    folded = model.folded()
    assert (folded.dtype, folded.training, folded.eval().folded().training) == (torch.float32, True, False)
    assert {weight.data_ptr() for weight in model.parameters()}.isdisjoint(
        {weight.data_ptr() for weight in folded.parameters()}
    )


@pytest.mark.parametrize("name", ["dark-room", "key-to-door", "graph-world", "gaussian-bandit"])
def test_folding_a_shipped_model_keeps_its_logits(name):
    model = hooked(load(str(MODELS / name)).model)
    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(np.stack([rng.integers(n, size=(2, 20)) for n in model.vocabulary.sizes], -1))
    with torch.no_grad():
        rounded, folded = model(tokens), model.folded()(tokens)
        exact = model.double()(tokens)
        assert_close(model.folded()(tokens), exact, atol=1e-11, rtol=0)
        # in single precision the copy rounds elsewhere, not more
        assert (folded - exact).abs().max() < 2 * (rounded - exact).abs().max() + 1e-6


# attributions


def pieces(cache):
    """The residual stream in parts, as finely as each recipe of TransformerLens's demo cuts it; each sums to it."""
    last = cache.model.shape.n_layers
    biases = cache.model.accumulated_bias(last).expand(cache["resid_post", last - 1].shape)[None]
    embeds = [cache["hook_embed"], *([cache["hook_pos_embed"]] if cache.model.anatomy.has_positions else [])]
    yield "parts", cache.decompose_resid()
    yield "neurons", cache.get_full_resid_decomposition()
    yield "components", cache.get_full_resid_decomposition(expand_neurons=False)
    yield "heads", cache.stack_head_results(incl_remainder=True)
    if cache.model.shape.attention_only:
        yield "by hand", torch.cat([cache.stack_head_results(), torch.stack(embeds), biases])


def test_attributions_sum_to_the_logits(setting, history):
    _, model, logits, cache = setting
    actions = torch.tensor(history.actions)
    for name, stack in pieces(cache):
        assert_close(stack.sum(0), cache["resid_post", 1], **EXACT, msg=name)
        for action in range(3):
            shares = cache.logit_attrs(stack, action)
            assert shares.shape == stack.shape[:-1]
            assert_close(shares.sum(0) + model.b_U[action], logits[..., action], **EXACT, msg=name)
        taken = cache.logit_attrs(stack, actions, (actions + 1) % 3).sum(0)
        expected = logits.gather(-1, actions[..., None]) - logits.gather(-1, (actions[..., None] + 1) % 3)
        shift = model.b_U[actions] - model.b_U[(actions + 1) % 3]
        assert_close(taken + shift, expected[..., 0], **EXACT, msg=name)
        assert_close(cache.logit_attrs(stack, history.actions), cache.logit_attrs(stack, actions), **EXACT)
        by_row = cache.logit_attrs(stack[..., -1, :], actions[:, -1], pos_slice=-1).sum(0)
        assert_close(by_row + model.b_U[actions[:, -1]], logits[:, -1].gather(-1, actions[:, -1:])[:, 0], **EXACT)


def test_the_recipe_of_the_demo_is_right_with_directions_by_hand(setting):
    """`apply_ln=True` while stacking, then products with columns of `W_U`; also projected on the way."""
    _, model, logits, cache = setting
    direction = model.W_U[:, 2] - model.W_U[:, 0]
    expected = (logits[:, -1, 2] - logits[:, -1, 0]) - (model.b_U[2] - model.b_U[0])
    heads = cache.stack_head_results(-1, pos_slice=-1, apply_ln=True, incl_remainder=True)
    parts = cache.decompose_resid(-1, pos_slice=-1, apply_ln=True)
    for stack in (heads, parts):
        assert_close((stack @ direction).sum(0), expected, **EXACT)
    for options in ({"apply_ln": True}, {"apply_ln": True, "project_output_onto": direction}):
        stack = cache.get_full_resid_decomposition(pos_slice=-1, **options)
        products = stack if "project_output_onto" in options else stack @ direction
        assert_close(products.sum(0), expected, **EXACT)
    directions = model.tokens_to_residual_directions(torch.tensor([2, 0]))
    assert_close(directions[0] - directions[1], direction, **EXACT)


def test_parts_scaled_for_an_inner_layer_sum_to_what_it_reads(setting):
    _, model, _, cache = setting
    for layer, block in enumerate(model.blocks):
        read = cache.decompose_resid(layer, apply_ln=True).sum(0)
        values = torch.einsum("btm,hmd->bthd", read, block.attn.W_V) + block.attn.b_V
        assert_close(values, cache["v", layer], **EXACT)
        if not model.shape.attention_only:
            read = cache.decompose_resid(layer, mlp_input=True, apply_ln=True).sum(0)
            assert_close(read @ block.mlp.W_in + block.mlp.b_in, cache["pre", layer], **EXACT)


@pytest.mark.parametrize("is_folded", [False, True])
def test_logit_lenses_apply_the_whole_layer_norm(setting, history, is_folded):
    model = setting[is_folded]
    with torch.no_grad():
        logits, cache = model.run_with_cache(history)
    stack, labels = cache.accumulated_resid(apply_ln=True, return_labels=True)
    assert labels == ["0_pre", "1_pre", "final_post"]
    for label, stream in zip(labels, stack @ model.W_U + model.b_U, strict=True):
        raw = cache["resid_post", 1] if label == "final_post" else cache["resid_pre", int(label[0])]
        assert_close(stream, model.unembed(raw), **EXACT)
    assert_close(stack[-1] @ model.W_U + model.b_U, logits, **EXACT)
    assert_close(cache.logit_lens(positions=None).values[-1].double(), logits, atol=1e-5, rtol=0)


HELPERS = {
    "apply_ln_to_stack": lambda cache: cache.apply_ln_to_stack(cache.decompose_resid()),
    "inner apply_ln_to_stack": lambda cache: cache.apply_ln_to_stack(cache.decompose_resid(1), 1, recompute_ln=True),
    "logit_attrs": lambda cache: cache.logit_attrs(cache.decompose_resid(), 1),
    "decompose_resid": lambda cache: cache.decompose_resid(apply_ln=True),
    "for an MLP": lambda cache: cache.decompose_resid(1, mlp_input=True, apply_ln=True),
    "inner accumulated_resid": lambda cache: cache.accumulated_resid(1, apply_ln=True),
    "stack_head_results": lambda cache: cache.stack_head_results(apply_ln=True),
    "stack_neuron_results": lambda cache: cache.stack_neuron_results(-1, apply_ln=True),
    "projected neurons": lambda cache: cache.stack_neuron_results(
        2, None, None, False, False, True, cache.model.W_U[:, 0]
    ),
    "get_full_resid_decomposition": lambda cache: cache.get_full_resid_decomposition(apply_ln=True),
    "direct_logit_attribution": lambda cache: direct_logit_attribution(cache.model, cache=cache, answer_tokens=1),
}


@pytest.mark.parametrize("helper", HELPERS.values(), ids=HELPERS)
@pytest.mark.parametrize("weight", ["w", "b"])
def test_helpers_that_leave_a_gain_out_refuse_it(helper, weight, history):
    model = hooked(tiny_model(2, STEPS)).folded()
    with torch.no_grad():
        _, cache = model.run_with_cache(history)
        helper(cache)
        for module in model.modules():
            if hasattr(module, "has_gain"):
                getattr(module, weight)[3] += 0.5
        with pytest.raises(UserError, match=r"ln\w+ has a gain or a bias.*model = model.folded\(\)"):
            helper(cache)


def test_what_is_refused_would_have_been_wrong(history):
    model = hooked(tiny_model(2, STEPS))
    with torch.no_grad():
        logits, activations = model.run_with_cache(history, return_cache_object=False)
        unguarded = ActivationCache(activations, model)
        shares = unguarded.logit_attrs(unguarded.decompose_resid(), 1).sum(0)
    assert (shares + model.b_U[1] - logits[..., 1]).abs().max() > 0.3
    cache = model.run_with_cache(history)[1]
    assert_close(cache.stack_head_results(), unguarded.stack_head_results(), **EXACT)  # nothing is scaled: right


# weights


def test_weights_are_stacked_and_circuits_multiply_them(setting):
    _, model, _, cache = setting
    pattern, read = cache["pattern", 1], cache["blocks.1.ln1.hook_normalized"]
    result = torch.einsum("bhqk,bkm,hmn->bqhn", pattern, read, model.OV.AB[1])
    bias = torch.einsum("hd,hdm->hm", model.blocks[1].attn.b_V, model.W_O[1])
    assert_close(result + bias, cache["result", 1], **EXACT)
    queries, keys = (torch.einsum("btm,hmd->bthd", read, weight) for weight in (model.W_Q[1], model.W_K[1]))
    products = torch.einsum("bqm,hmn,bkn->bhqk", read, model.QK.AB[1], read)
    assert_close(torch.einsum("bqhd,bkhd->bhqk", queries, keys), products, **EXACT)
    assert_close(queries + model.blocks[1].attn.b_Q, cache["q", 1], **EXACT)
    if model.shape.attention_only:
        for name in ("W_in", "W_out"):
            with pytest.raises(UserError, match=f"no MLPs .*no {name}"):
                getattr(model, name)
    else:
        assert_close(cache["post", 1] @ model.W_out[1] + model.blocks[1].mlp.b_out, cache["mlp_out", 1], **EXACT)
        assert torch.equal(model.W_in[0], model.blocks[0].mlp.W_in)


def test_accumulated_biases_are_what_was_written_of_them():
    model = hooked(tiny_model(0, STEPS))
    first, second = model.blocks
    assert model.accumulated_bias(0).abs().max() == 0
    assert_close(model.accumulated_bias(0, mlp_input=True), first.attn.b_O)
    assert_close(model.accumulated_bias(1, include_mlp_biases=False), first.attn.b_O)
    assert_close(model.accumulated_bias(1), first.attn.b_O + first.mlp.b_out)
    assert_close(model.accumulated_bias(1, mlp_input=True), first.attn.b_O + first.mlp.b_out + second.attn.b_O)


# histories in, losses and texts out


def test_histories_are_read_as_their_tokens_and_the_loss_is_that_of_their_actions(history):
    model = hooked(tiny_model(0, STEPS))
    logits = model(model.to_tokens(history))
    assert torch.equal(model(history), logits)
    loss = model(history, return_type="loss")
    log_probabilities = logits.log_softmax(-1).detach().numpy()
    expected = -np.take_along_axis(log_probabilities, history.actions[..., None], -1).mean()
    assert loss.item() == pytest.approx(expected, abs=1e-12)
    both, (again, same), (_, cache) = (
        model(history, return_type="both"),
        model.run_with_cache(history, return_type="both")[0],
        model.run_with_cache(history, return_type="loss", incl_bwd=True),
    )
    assert_close(both[0], logits)
    assert_close(again, logits, **EXACT)
    assert both[1].item() == pytest.approx(same.item(), abs=1e-12) == pytest.approx(loss.item(), abs=1e-12)
    assert cache["blocks.0.hook_mlp_out_grad"].abs().max() > 0


def test_what_has_no_loss_or_no_such_action_is_refused(history):
    model = hooked(tiny_model(0, STEPS))
    with pytest.raises(UserError, match="give the history for its loss"):
        model(model.to_tokens(history), return_type="loss")
    for wrong in (history, model.to_tokens(history)):
        with pytest.raises(UserError, match="'logits', 'loss' or 'both', not 'losses'"):
            model(wrong, return_type="losses")
    for wrong in (3, -1, np.array([0, 3])):
        with pytest.raises(UserError, match=r"actions 0 to 2, but a logit of action (3|-1)"):
            model.tokens_to_residual_directions(wrong)
    with pytest.raises(UserError, match="'up' is not an action: give its number, 0 to 2"):
        model.folded().run_with_cache(history)[1].logit_attrs(torch.zeros(1, 3, STEPS, 8).double(), "up")
    with pytest.raises(UserError, match="single history, but there are 3"):
        model.run_with_cache(history, remove_batch_dim=True)
    cache = model.run_with_cache(history[:1], remove_batch_dim=True)[1]
    assert cache["resid_pre", 0].shape == (STEPS, 8)


def test_tokens_have_texts(history):
    model = hooked(tiny_model(0, STEPS))
    texts = model.to_str_tokens(history)
    assert [len(row) for row in texts] == [STEPS] * 3
    assert texts[1][0] == f"x={history.observations[1, 0, 0]} action=none reward=0"
    seen, did, paid = history.observations[1, 3, 0], history.actions[1, 2], history.rewards[1, 2]
    assert texts[1][3] == f"x={seen} action={did} reward={paid:g}"
    assert model.to_str_tokens(history[1:2]) == texts[1] == model.to_str_tokens(model.to_tokens(history)[1])


# the main demo, on a model that ships


@pytest.fixture(scope="module")
def shipped():
    """A trained model, and the first steps of two lives of its own."""
    checkpoint = load(str(MODELS / "dark-room"))
    task = checkpoint.experiment.task
    lives = rollout(checkpoint.model, task, {"goal": np.array([[4, 4], [2, 6]])}, 1, np.random.default_rng(0))
    return hooked(checkpoint.model), lives.window(0, 8)


def test_the_gain_that_the_recipe_leaves_out_matters_on_a_shipped_model(shipped):
    model, history = shipped
    with torch.no_grad():
        logits, activations = model.run_with_cache(history, return_cache_object=False)
        unguarded = ActivationCache(activations, model)
        naive = unguarded.logit_attrs(unguarded.decompose_resid(), 1).sum(0) + model.b_U[1]
        folded = model.folded()
        again, cache = folded.run_with_cache(history)
        right = cache.logit_attrs(cache.decompose_resid(), 1).sum(0) + folded.b_U[1]
        assert (naive - logits[..., 1]).abs().max() > 0.1
        assert_close(right, logits[..., 1], atol=1e-5, rtol=0)
        assert_close(again, logits, atol=1e-5, rtol=0)
        tool = direct_logit_attribution(folded, cache=cache, answer_tokens=1, incorrect_tokens=0)
        difference = logits[:, -1, 1] - logits[:, -1, 0] - (folded.b_U[1] - folded.b_U[0])
        assert_close(tool.attribution.sum(0), difference, atol=1e-5, rtol=0)
        for action in range(5):  # one head at a time, against the stream without it
            heads = cache.logit_attrs(cache.stack_head_results(), action)
            for layer, head in [(0, 0), (1, 3), (2, 2)]:
                stream = cache["resid_post", 2] - cache["result", layer][:, :, head]
                scaled = (stream - stream.mean(-1, keepdim=True)) / cache["ln_final.hook_scale"]
                without = scaled @ folded.W_U[:, action] + folded.b_U[action]
                share = heads[layer * 4 + head]
                assert_close(logits[..., action] - share, without, atol=1e-5, rtol=0)


def test_patching_by_position_sweeps_the_steps_of_a_history(shipped):
    """As in the demo: where does it matter that the second life saw another cell?"""
    model, clean = shipped
    corrupted = clean[np.array([1, 0])]

    def metric(logits):
        return (logits[:, -1, 1] - logits[:, -1, 0]).sum()

    with torch.no_grad():
        _, cache = model.run_with_cache(clean)
        patched = patching.get_act_patch_resid_pre(model, corrupted, cache, metric)
        assert patched.shape == (3, clean.n_steps)
        for layer, step in [(0, 0), (1, 4), (2, clean.n_steps - 1)]:

            def put(stream, hook, step=step):
                stream = stream.clone()
                stream[:, step] = cache[hook.name][:, step]
                return stream

            by_hand = metric(model.run_with_hooks(corrupted, fwd_hooks=[(f"blocks.{layer}.hook_resid_pre", put)]))
            assert patched[layer, step].item() == pytest.approx(by_hand.item(), abs=1e-5)
        last = metric(model.unembed(model.blocks[2](cache["resid_pre", 2], None, None)))
        whole = model.run_with_hooks(
            corrupted, fwd_hooks=[("blocks.2.hook_resid_pre", lambda stream, hook: cache[hook.name])]
        )
        assert metric(whole).item() == pytest.approx(last.item(), abs=1e-5)
