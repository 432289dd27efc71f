"""The transformer that learns in its context, with TransformerLens's hooks.

Axes: batch, step (position in the context), head, d_model, d_head, d_mlp, action; channel = part of a token.

The residual stream is a sum of named writers: one embedding for each part of the token, the position, every head of
every layer (through its own `W_O`), and every MLP. All hooks have TransformerLens's names
(`blocks.0.attn.hook_q`, `blocks.1.hook_resid_pre`, ...), plus `hook_embeds.<channel>` for the parts of the embedding.
This is the only module that imports transformer_lens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens import ActivationCache, HookedRootModule
from transformer_lens.config import TransformerLensConfig
from transformer_lens.hook_points import HookPoint

from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.history import History


@dataclass(frozen=True)
class Shape:
    """Size of a transformer. `d_mlp=None` is four times `d_model`; dropout is off unless asked for.

    Without `layer_norm` the model is what hand-set weights make of it, and a linear one can be worked out by hand.
    """

    n_ctx: int
    n_layers: int = 4
    n_heads: int = 4
    d_model: int = 64
    d_mlp: int | None = None
    dropout: float = 0.0
    eps: float = 1e-5
    layer_norm: bool = True


class LayerNorm(nn.Module):
    """LayerNorm whose scale and output can be hooked; fused while nobody looks at the scale."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.eps, self.on = shape.eps, shape.layer_norm
        self.w = nn.Parameter(torch.ones(shape.d_model))
        self.b = nn.Parameter(torch.zeros(shape.d_model))
        self.hook_scale = HookPoint()
        self.hook_normalized = HookPoint()

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        if not self.on or not self.hook_scale.has_hooks():
            return self.hook_normalized(self.plain(x))
        centred = x - x.mean(-1, keepdim=True)
        scale = self.hook_scale((centred.pow(2).mean(-1, keepdim=True) + self.eps).sqrt())
        return self.hook_normalized(centred / scale * self.w + self.b)

    def plain(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """The same without hooks."""
        return F.layer_norm(x, self.w.shape, self.w, self.b, self.eps) if self.on else x


class Attention(nn.Module):
    """Causal self-attention; the pattern is only written out when it is hooked."""

    W_Q: nn.Parameter
    W_K: nn.Parameter
    W_V: nn.Parameter
    b_Q: nn.Parameter
    b_K: nn.Parameter
    b_V: nn.Parameter

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d_head = shape.d_model // shape.n_heads
        for name in "QKV":
            setattr(self, f"W_{name}", nn.Parameter(torch.empty(shape.n_heads, shape.d_model, d_head)))
            setattr(self, f"b_{name}", nn.Parameter(torch.zeros(shape.n_heads, d_head)))
        self.W_O = nn.Parameter(torch.empty(shape.n_heads, d_head, shape.d_model))
        self.b_O = nn.Parameter(torch.zeros(shape.d_model))
        self.hook_q, self.hook_k, self.hook_v = HookPoint(), HookPoint(), HookPoint()
        self.hook_attn_scores, self.hook_pattern = HookPoint(), HookPoint()
        self.hook_z, self.hook_result = HookPoint(), HookPoint()

    def forward(self, x: Float[Tensor, "batch step d_model"], cache: LayerCache | None) -> Tensor:
        q = self.hook_q(project(x, self.W_Q, self.b_Q))  # [batch, step, head, d_head]
        k = self.hook_k(project(x, self.W_K, self.b_K))
        v = self.hook_v(project(x, self.W_V, self.b_V))
        if cache is not None:
            k, v = cache.extend(k, v)
        z = self.hook_z(self.attend(q, k, v))
        if self.hook_result.has_hooks():
            result = self.hook_result(torch.einsum("bthd,hdm->bthm", z, self.W_O))
            return result.sum(2) + self.b_O
        return z.flatten(2) @ self.W_O.flatten(0, 1) + self.b_O

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Float[Tensor, "batch step head d_head"]:
        """Mix the values; queries are the last `q.shape[1]` steps of the keys."""
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # [batch, head, step, d_head]
        written_out = self.hook_attn_scores.has_hooks() or self.hook_pattern.has_hooks()
        if not written_out and q.shape[2] in (1, k.shape[2]):
            return F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1).transpose(1, 2)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        steps = torch.arange(k.shape[2], device=q.device)
        visible = steps <= steps[-q.shape[2] :, None]
        scores = self.hook_attn_scores(scores.masked_fill(~visible, float("-inf")))
        return (self.hook_pattern(scores.softmax(-1)) @ v).transpose(1, 2)


class MLP(nn.Module):
    """Two linear maps with a GELU between."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d_mlp = shape.d_mlp or 4 * shape.d_model
        self.W_in = nn.Parameter(torch.empty(shape.d_model, d_mlp))
        self.b_in = nn.Parameter(torch.zeros(d_mlp))
        self.W_out = nn.Parameter(torch.empty(d_mlp, shape.d_model))
        self.b_out = nn.Parameter(torch.zeros(shape.d_model))
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()

    def forward(self, x: Float[Tensor, "batch step d_model"]) -> Float[Tensor, "batch step d_model"]:
        pre = self.hook_pre(F.linear(x, self.W_in.T, self.b_in))
        return F.linear(self.hook_post(F.gelu(pre)), self.W_out.T, self.b_out)


class Block(nn.Module):
    """Pre-LN: attention, then MLP, each added to the residual stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.ln1, self.attn = LayerNorm(shape), Attention(shape)
        self.ln2, self.mlp = LayerNorm(shape), MLP(shape)
        self.dropout = nn.Dropout(shape.dropout)
        self.hook_resid_pre, self.hook_resid_mid, self.hook_resid_post = HookPoint(), HookPoint(), HookPoint()
        self.hook_attn_out, self.hook_mlp_out = HookPoint(), HookPoint()

    def forward(self, x: Float[Tensor, "batch step d_model"], cache: LayerCache | None) -> Tensor:
        x = self.hook_resid_pre(x)
        x = self.hook_resid_mid(x + self.hook_attn_out(self.dropout(self.attn(self.ln1(x), cache))))
        return self.hook_resid_post(x + self.hook_mlp_out(self.dropout(self.mlp(self.ln2(x)))))


class ADTransformer(HookedRootModule):
    """A decoder-only transformer that predicts the next action of a learning history.

    Satisfies TransformerLens's model protocol, so `run_with_cache`, `ActivationCache` and `transformer_lens.patching`
    work on it. Tokens have a third axis, so the patching functions that sweep positions need an `index_df`.

    Args:
        vocabulary: What the tokens are made of.
        shape: How large the transformer is.
        seed: Of the initial weights.
    """

    def __init__(self, vocabulary: Vocabulary, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        self.vocabulary, self.shape = vocabulary, shape
        self.cfg = TransformerLensConfig(
            d_model=shape.d_model,
            d_head=shape.d_model // shape.n_heads,
            n_heads=shape.n_heads,
            n_layers=shape.n_layers,
            n_ctx=shape.n_ctx,
            d_mlp=shape.d_mlp or 4 * shape.d_model,
            d_vocab=vocabulary.n_actions,
            act_fn="gelu",
            normalization_type="LN" if shape.layer_norm else None,
            eps=shape.eps,
            device="cpu",
        )
        self.embed = nn.ParameterDict(
            {
                name: torch.empty(size, shape.d_model)
                for name, size in zip(vocabulary.channels, vocabulary.sizes, strict=True)
            }
        )
        self.hook_embeds = nn.ModuleDict({name: HookPoint() for name in vocabulary.channels})
        self.W_pos = nn.Parameter(torch.empty(shape.n_ctx, shape.d_model))
        self.hook_embed, self.hook_pos_embed = HookPoint(), HookPoint()
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layers))
        self.ln_final = LayerNorm(shape)
        self.W_U = nn.Parameter(torch.empty(shape.d_model, vocabulary.n_actions))
        self.b_U = nn.Parameter(torch.zeros(vocabulary.n_actions))
        self._initialise(seed)
        self.setup()

    def _initialise(self, seed: int) -> None:
        """Draw the weights as GPT-2 does: 0.02, and what writes into the residual stream smaller with depth."""
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            leaf = name.rsplit(".", 1)[-1]
            if weight.ndim > 1 and not leaf.startswith("b_"):
                deep = leaf in ("W_O", "W_out")
                std = 0.02 / (2 * self.shape.n_layers) ** 0.5 if deep else 0.02
                nn.init.normal_(weight, std=std, generator=generator)

    @property
    def anatomy(self) -> Anatomy:
        """The sites that a hypothesis can name in this model."""
        return Anatomy(self.vocabulary.channels, self.shape.n_layers, self.shape.n_heads)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_pos.device

    def to(self, *args: Any, **kwargs: Any) -> ADTransformer:
        """Move or cast the weights, and tell TransformerLens where they are."""
        super().to(*args, **kwargs)
        self.cfg.device, self.cfg.dtype = str(self.device), self.W_pos.dtype
        return self

    def to_tokens(self, history: History) -> Int[Tensor, "batch step channel"]:
        """Return a history's tokens on the model's device."""
        return self.vocabulary.encode(history).to(self.device)

    def forward(
        self, tokens: Int[Tensor, "batch step channel"], cache: KVCache | None = None
    ) -> Float[Tensor, "batch step action"]:
        """Return the logits of the action at every step.

        Args:
            tokens: As `Vocabulary.encode` makes them.
            cache: Keys and values of earlier steps; the tokens then continue them, and are added to it.

        Raises:
            ValueError: There are more steps than the context holds.
        """
        start = 0 if cache is None else cache.n_steps
        stop = start + tokens.shape[1]
        if stop > self.shape.n_ctx:
            raise ValueError(f"{stop} steps do not fit into a context of {self.shape.n_ctx}")
        parts = [
            self.hook_embeds[name](F.embedding(tokens[..., channel], self.embed[name]))
            for channel, name in enumerate(self.vocabulary.channels)
        ]
        embedded = self.hook_embed(torch.stack(parts).sum(0) if len(parts) > 1 else parts[0])
        position = self.hook_pos_embed(self.W_pos[start:stop].expand_as(embedded))
        x = embedded + position
        for layer, block in enumerate(self.blocks):
            x = block(x, None if cache is None else cache.layers[layer])
        return self.ln_final(x) @ self.W_U + self.b_U

    def double(self) -> ADTransformer:
        """Cast the weights to float64."""
        return self.to(torch.float64)

    def run_with_cache(
        self, *model_args: Any, return_cache_object: bool = True, **kwargs: Any
    ) -> tuple[Tensor, ActivationCache | dict[str, Tensor]]:
        """Run the model and return its logits and every activation.

        Args:
            *model_args: The tokens.
            return_cache_object: Whether to return TransformerLens's `ActivationCache`, or the plain dictionary.
            **kwargs: As TransformerLens's `HookedRootModule.run_with_cache` takes them.
        """
        remove_batch_dim = kwargs.pop("remove_batch_dim", False)
        logits, cache = super().run_with_cache(*model_args, remove_batch_dim=remove_batch_dim, **kwargs)
        return logits, ActivationCache(
            cache, self, has_batch_dim=not remove_batch_dim
        ) if return_cache_object else cache


def project(x: Float[Tensor, "batch step d_model"], weight: Tensor, bias: Tensor) -> Tensor:
    """Apply per-head weights `[head, d_model, d_head]` in one matrix product: [batch, step, head, d_head]."""
    heads, d_model, d_head = weight.shape
    flat = F.linear(x, weight.transpose(1, 2).reshape(heads * d_head, d_model), bias.flatten())
    return flat.view(*x.shape[:-1], heads, d_head)


class LayerCache:
    """Keys and values of one layer, in memory reserved for the whole context."""

    def __init__(self, batch: int, model: ADTransformer) -> None:
        size = (batch, model.shape.n_ctx, model.shape.n_heads, model.cfg.d_head)
        self.k = torch.empty(size, device=model.device, dtype=model.W_pos.dtype)
        self.v = torch.empty_like(self.k)
        self.n_steps = 0

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append new steps and return all of them. [batch, step, head, d_head]"""
        stop = self.n_steps + k.shape[1]
        self.k[:, self.n_steps : stop], self.v[:, self.n_steps : stop] = k, v
        self.n_steps = stop
        return self.k[:, :stop], self.v[:, :stop]


class KVCache:
    """Keys and values of all layers, so that a rollout computes each step once."""

    def __init__(self, batch: int, model: ADTransformer) -> None:
        self.layers = [LayerCache(batch, model) for _ in model.blocks]

    @property
    def n_steps(self) -> int:
        """Number of steps held."""
        return self.layers[0].n_steps
