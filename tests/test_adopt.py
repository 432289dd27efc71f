"""A transformer that others trained becomes a model like any other, or is refused at the layer that differs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2Config, GPT2Model
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

import ad_hypotheses as adh
from ad_hypotheses import Hypothesis, head, logits, node
from ad_hypotheses.distill.checkpoint import build
from ad_hypotheses.distill.config import check_config
from ad_hypotheses.errors import CheckpointError, UserError
from ad_hypotheses.explorer.session import Session
from ad_hypotheses.explorer.state import read_state

CONFIG = {
    "task": {"name": "dark-room", "size": 3, "horizon": 4},
    "source": {"name": "epsilon-greedy-q"},
    "histories": {"held_out": 2, "learners": 14, "episodes": 8, "keep_every": 2, "check": False},
}
SIZES = {"x": 3, "y": 3, "action": 6, "reward": 2}
TABLES = {channel: f"embed_{channel}.weight" for channel in SIZES}
N_CTX, WIDTH, HEADS = 16, 16, 2


class Decisions(nn.Module):
    """A decision model as others write one: tables, some transformer, logits of actions from its end."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        for channel, size in SIZES.items():
            setattr(self, f"embed_{channel}", nn.Embedding(size, WIDTH))
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, tokens):
        parts = (getattr(self, f"embed_{channel}")(tokens[..., number]) for number, channel in enumerate(SIZES))
        return self.head(self.run(sum(parts)))


class GPT2Decisions(Decisions):
    def __init__(self, **options):
        super().__init__()
        sizes = {"n_embd": WIDTH, "n_layer": 2, "n_head": HEADS, "n_positions": N_CTX + 4, "vocab_size": 1}
        tokens = {"bos_token_id": None, "eos_token_id": None, "initializer_range": 0.3}
        self.transformer = GPT2Model(GPT2Config(**{**sizes, **tokens, **options})).eval()

    def run(self, x):
        return self.transformer(inputs_embeds=x).last_hidden_state


class EncoderDecisions(Decisions):
    """PyTorch's own transformer, whose positions are a bare parameter."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 24, 0.0, norm_first=True, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.pos_emb = nn.Parameter(torch.randn(1, N_CTX, WIDTH))

    def run(self, x):
        n_steps = x.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(n_steps, dtype=x.dtype)
        return self.encoder(x + self.pos_emb[:, :n_steps], mask=mask, is_causal=True)


class RotaryLayer(nn.Module):
    """Attention alone, turned as Llama turns it."""

    def __init__(self):
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn = nn.ModuleDict({f"{name}_proj": nn.Linear(WIDTH, WIDTH, name == "o") for name in "qkvo"})

    def forward(self, x):
        half = torch.arange(0, WIDTH // HEADS, 2, dtype=x.dtype) / (WIDTH // HEADS)
        turned = torch.arange(x.shape[1], dtype=x.dtype)[:, None] * 10_000.0**-half
        turned = torch.cat([turned, turned], -1)[None]
        seen = self.ln_1(x)
        q, k, v = (self.attn[f"{name}_proj"](seen).unflatten(-1, (HEADS, -1)).transpose(1, 2) for name in "qkv")
        q, k = apply_rotary_pos_emb(q, k, turned.cos(), turned.sin())
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.attn["o_proj"](mixed.transpose(1, 2).flatten(2))


class RotaryDecisions(Decisions):
    def __init__(self):
        super().__init__()
        self.layers, self.norm_f = nn.ModuleList([RotaryLayer(), RotaryLayer()]), nn.LayerNorm(WIDTH, eps=1e-6)

    def run(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.norm_f(x)


def source_tokens():
    """Histories of the source, as the owner of a model has them, in tokens."""
    experiment = check_config(CONFIG, "test").experiment
    facts = {name: np.repeat(fact, 4, axis=0) for name, fact in experiment.split()[0].items()}
    history = experiment.live(facts, np.random.default_rng(0))
    return build(experiment.config).vocabulary.encode(history), torch.tensor(history.actions.astype(np.int64))


@pytest.fixture(scope="module")
def theirs():
    """A GPT-2 of Hugging Face's that was trained without anything of ours but the histories."""
    model, (tokens, actions) = GPT2Decisions(initializer_range=0.02), source_tokens()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        loss = F.cross_entropy(model(tokens).flatten(0, 1), actions.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 1.45  # it has learned something: chance is 1.61
    return model


@pytest.fixture(scope="module")
def adopted(theirs):
    return adh.adopt(theirs, CONFIG, TABLES)


def test_the_logits_are_theirs(theirs, adopted):
    tokens = source_tokens()[0]
    with torch.no_grad():
        assert (adopted(tokens) - theirs(tokens)).abs().max() < 1e-5
    assert adopted.record["adopted"]["largest_difference"] < 1e-10  # computed in float64
    assert adopted.shape.activation == "gelu_new"
    assert adopted.shape.n_ctx == N_CTX


def test_what_is_adopted_is_studied_like_any_other(adopted, tmp_path):
    @node(at=head(0))
    def last(history):
        """What was done."""
        return history.previous_actions

    @node(at=logits)
    def choice(last):
        """The same again."""
        return last

    claim = Hypothesis(choice, model="adopted", name="again")
    look = adh.scrub(claim, adopted, rows=8, pool=16, data="source", rollouts=0, rivals=False)
    assert look.verdict
    pair = adh.counterfactual("goal-moved", adopted.histories(4))
    effects = adh.patch(adopted, pair, edges=["head(0) -> logits"]).to_frame()
    assert len(effects) > 0
    attribution = adh.attribution(adopted, pair.reference[0])
    assert abs(attribution.remainder) < 1e-4
    state = read_state(
        {"schema": 1, "model": {"name": "adopted"}, "edits": [{"kind": "rearrange", "episodes": [1, 0]}]}
    )
    session = Session({"adopted": adopted})  # what a page of the explorer asks
    assert session.context(state).n_steps == N_CTX // 2
    adopted.save(tmp_path / "theirs")
    again = adh.load(tmp_path / "theirs")
    assert again.sha256 == adopted.sha256
    assert again.record["adopted"] == adopted.record["adopted"]
    assert again.shape == adopted.shape


@pytest.mark.parametrize(
    ("theirs", "options"),
    [
        (EncoderDecisions, {"activation": "relu"}),
        (RotaryDecisions, {"rotary": "halves", "n_heads": HEADS}),
        (lambda: GPT2Decisions(activation_function="relu", layer_norm_epsilon=1e-3), {}),
        (lambda: GPT2Decisions(activation_function="gelu", n_inner=20), {"n_heads": 2}),
    ],
)
def test_usual_spellings_are_known(theirs, options):
    model = theirs().eval()
    adopted = adh.adopt(model, CONFIG, TABLES, **options)
    assert adopted.record["adopted"]["largest_difference"] < 1e-9


def test_a_state_dict_is_proven_by_what_its_model_returned():
    model = GPT2Decisions()
    tokens = source_tokens()[0]
    with torch.no_grad():
        recorded = (tokens, model(tokens))
    how = {"n_heads": HEADS, "activation": "gelu_new"}
    adopted = adh.adopt(model.state_dict(), CONFIG, TABLES, recorded=recorded, **how)
    assert adopted.record["adopted"]["tokens"] == tokens[..., 0].numel()
    with pytest.raises(CheckpointError, match="the first to differ is the logits, by 0"):
        adh.adopt(model.state_dict(), CONFIG, TABLES, recorded=(tokens, recorded[1] + 0.01), **how)
    with pytest.raises(UserError, match="give the module itself, or `recorded`"):
        adh.adopt(model.state_dict(), CONFIG, TABLES, **how)
    with pytest.raises(UserError, match="how many heads"):
        adh.adopt(model.state_dict(), CONFIG, TABLES, recorded=recorded)


class Scaled(GPT2Decisions):
    def run(self, x):
        return super().run(2 * x)


class Bounded(GPT2Decisions):
    def forward(self, tokens):
        return super().forward(tokens).tanh()


@pytest.mark.parametrize(
    ("theirs", "options", "words"),
    [
        (GPT2Decisions, {"n_heads": 4}, r"the attention of layer 0 \(transformer.h.0.attn\).*\n.*`n_heads`"),
        (GPT2Decisions, {"activation": "relu"}, r"is layer 0 \(transformer.h.0\).*\n.*`activation`"),
        (GPT2Decisions, {"rotary": "halves"}, "is the embedding"),
        (lambda: GPT2Decisions(scale_attn_by_inverse_layer_idx=True), {}, "is the attention of layer 1"),
        (Scaled, {}, "the first to differ is the embedding"),
        (Bounded, {}, r"the first to differ is the logits.*\n.*`unembed`"),
        (RotaryDecisions, {"rotary": "neighbours", "n_heads": HEADS}, r"attention of layer 0|layer 0 \(layers.0\)"),
        (lambda: GPT2Decisions(activation_function="silu"), {}, "the activation 'silu' are not known"),
        (GPT2Decisions, {"n_heads": 3}, "3 heads"),
        (GPT2Decisions, {"unembed": "value"}, "no weights value.weight"),
        (GPT2Decisions, {"call": lambda module, tokens: None}, "must return logits.*no tensor"),
        (Decisions, {}, "no stack of layers"),
    ],
)
def test_what_computes_something_else_is_refused_where_it_first_differs(theirs, options, words):
    with pytest.raises(UserError, match=words):
        adh.adopt(theirs().eval(), CONFIG, TABLES, **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"action": torch.zeros(5, WIDTH)}, r"\[6, d_model\].*torch.cat"),
        ({"reward": "embed_rewards.weight"}, "Did you mean 'embed_reward.weight'"),
        ({"goal": "embed_x.weight"}, "must name the tables of x, y, action, reward"),
        ({"reward": torch.full((2, WIDTH), torch.nan)}, "not finite"),
    ],
)
def test_tables_that_do_not_fit_are_refused(change, words):
    with pytest.raises(UserError, match=words):
        adh.adopt(GPT2Decisions(), CONFIG, {**TABLES, **change})


def test_a_context_longer_than_the_positions_is_refused():
    longer = {**CONFIG, "histories": {**CONFIG["histories"], "episodes": 12}}
    with pytest.raises(CheckpointError, match="20 positions, but a context of the configuration has 24 steps"):
        adh.adopt(GPT2Decisions(), longer, TABLES)
