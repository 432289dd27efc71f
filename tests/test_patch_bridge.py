"""TransformerLens's own exact path patching, on its bridge to a GPT-2, agrees with the engine on the same weights."""

from __future__ import annotations

import pytest
import torch
from expand import tiny_model
from hooked import patched
from torch.testing import assert_close
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformer_lens.patching import get_act_patch_direct_path
from transformers import GPT2Config, GPT2LMHeadModel

from ad_hypotheses.causal.run_pair import RunPair
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.language.edges import find_edges

N_STEPS, N_LAYERS, N_HEADS, D_MODEL, N_WORDS = 5, 3, 2, 8, 3


@pytest.fixture(scope="module")
def model():
    """A transformer that reads one channel only and has no bias at the logits, as a GPT-2 is."""
    model = tiny_model(0, N_STEPS, N_LAYERS, N_HEADS, D_MODEL)
    with torch.no_grad():
        model.embed["action"].zero_()
        model.embed["reward"].zero_()
        model.b_U.zero_()
    return model


@pytest.fixture(scope="module")
def bridge(model):
    """A GPT-2 of the same weights, without a download."""
    config = GPT2Config(
        vocab_size=N_WORDS,
        n_positions=N_STEPS,
        n_embd=D_MODEL,
        n_layer=N_LAYERS,
        n_head=N_HEADS,
        n_inner=model.shape.d_mlp,
        activation_function="gelu",
        layer_norm_epsilon=model.shape.eps,
        tie_word_embeddings=False,
    )
    gpt2 = GPT2LMHeadModel(config).double().eval()
    gpt2.load_state_dict(as_gpt2(model.state_dict()))
    return build_bridge_from_module(gpt2, "GPT2LMHeadModel", hf_config=config).eval()


def as_gpt2(ours):
    """The weights under GPT-2's names and in its shapes."""
    theirs = {
        "transformer.wte.weight": ours["embed.x"],
        "transformer.wpe.weight": ours["W_pos"],
        "transformer.ln_f.weight": ours["ln_final.w"],
        "transformer.ln_f.bias": ours["ln_final.b"],
        "lm_head.weight": ours["W_U"].T,
    }
    for layer in range(N_LAYERS):
        block = {name.removeprefix(f"blocks.{layer}."): w for name, w in ours.items() if f"blocks.{layer}." in name}
        qkv = [block[f"attn.W_{kind}"].transpose(0, 1).flatten(1) for kind in "QKV"]
        found = {
            "attn.c_attn.weight": torch.cat(qkv, 1),
            "attn.c_attn.bias": torch.cat([block[f"attn.b_{kind}"].flatten() for kind in "QKV"]),
            "attn.c_proj.weight": block["attn.W_O"].flatten(0, 1),
            "attn.c_proj.bias": block["attn.b_O"],
            "mlp.c_fc.weight": block["mlp.W_in"],
            "mlp.c_fc.bias": block["mlp.b_in"],
            "mlp.c_proj.weight": block["mlp.W_out"],
            "mlp.c_proj.bias": block["mlp.b_out"],
        }
        for number in (1, 2):
            found |= {f"ln_{number}.weight": block[f"ln{number}.w"], f"ln_{number}.bias": block[f"ln{number}.b"]}
        theirs |= {f"transformer.h.{layer}.{name}": weight for name, weight in found.items()}
    return theirs


def test_edges_between_heads_agree_with_transformer_lens(model, bridge):
    generator = torch.Generator().manual_seed(0)
    words, others = torch.randint(N_WORDS, (2, 3, N_STEPS), generator=generator)
    with torch.no_grad():
        (logits, reference), (_, donor) = bridge.run_with_cache(words), bridge.run_with_cache(others)
    tokens = [torch.stack([w, torch.zeros_like(w), torch.zeros_like(w)], -1) for w in (words, others)]
    pair = RunPair.of(Twin(model), *tokens)
    assert_close(logits.log_softmax(-1), pair.log_probs, atol=1e-10, rtol=0)

    seen: list[torch.Tensor] = []
    for layer in range(N_LAYERS - 1):
        for head in range(N_HEADS):
            for kind in "qkv":
                seen.clear()
                with torch.no_grad():
                    get_act_patch_direct_path(
                        bridge, words, donor, reference, kept_in(seen), layer, head, kind, verbose=False
                    )
                texts = [
                    f"head({layer}, {head}) -> head({later}, {other}).{kind}"
                    for later in range(layer + 1, N_LAYERS)
                    for other in range(N_HEADS)
                ]
                found = patched(pair, find_edges(texts, model.anatomy))
                assert_close(torch.stack(seen), found, atol=1e-10, rtol=0)
                assert (found - logits).abs().amax(dim=(1, 2, 3)).min() > 1e-6, (
                    "a patch that does nothing proves nothing"
                )


def kept_in(seen):
    """A metric that keeps the logits of every patch, in the order in which they are made."""

    def metric(logits):
        seen.append(logits)
        return logits.sum()

    return metric
