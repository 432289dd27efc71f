"""The transformer that learns in its context.

Axes: batch, step (position in the context), head, d_model, d_head, d_mlp, action; channel = part of a token.

The residual stream is a sum of named writers: one embedding for each part of the token, the position (where it is
learned), every head of every layer (through its own `W_O`), and every MLP (where there are any). The points at which
it can be watched have TransformerLens's names (`blocks.0.attn.hook_q`, `blocks.1.hook_resid_pre`, ...), plus
`hook_embeds.<channel>` for the parts of the embedding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ad_hypotheses.distill.kv_cache import KVCache, LayerCache
from ad_hypotheses.distill.positions import Angles, angles, plainly_causal, rotate, visible
from ad_hypotheses.distill.shape import Shape
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.errors import UserError
from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.history import History

Model = TypeVar("Model", bound="ADTransformer")
APPROXIMATION = {"gelu": "none", "gelu_new": "tanh"}
LARGE_VOCABULARY = 4096  # embeddings of all channels together; beyond it zeros cost more than gathering


class Point(nn.Module):
    """A place where the computation can be watched; it costs nothing while nobody does, and a step passes dozens."""

    @property
    def hooked(self) -> bool:
        """Whether anybody watches."""
        return bool(self._forward_hooks or self._backward_hooks)

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x) if self.hooked else x

    def forward(self, x: Tensor) -> Tensor:
        return x


class LayerNorm(nn.Module):
    """LayerNorm whose scale and output can be hooked; fused while nobody looks at the scale."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.eps, self.on = shape.eps, shape.layer_norm
        self.w = nn.Parameter(torch.ones(shape.d_model))
        self.b = nn.Parameter(torch.zeros(shape.d_model))
        self.hook_scale = Point()
        self.hook_normalized = Point()

    @property
    def has_gain(self) -> bool:
        """Whether it does more than to centre and to scale."""
        return self.on and not bool((self.w == 1).all() and (self.b == 0).all())

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        if not self.on or not self.hook_scale.hooked:
            return self.hook_normalized(self.plain(x))
        centred = x - x.mean(-1, keepdim=True)
        scale = self.hook_scale((centred.pow(2).mean(-1, keepdim=True) + self.eps).sqrt())
        return self.hook_normalized(centred / scale * self.w + self.b)

    def plain(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """The same without hooks."""
        return F.layer_norm(x, self.w.shape, self.w, self.b, self.eps) if self.on else x

    def fold(self, readers: Iterable[tuple[nn.Parameter, nn.Parameter]]) -> None:
        """Move the gain and the bias into the weights `[..., d_model, out]` and biases `[..., out]` of the readers."""
        if self.on:
            for weight, bias in readers:
                bias.add_(self.b @ weight)
                weight.mul_(self.w[:, None])
            self.w.fill_(1)
            self.b.zero_()


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
        self.window = shape.window
        for name in "QKV":
            setattr(self, f"W_{name}", nn.Parameter(torch.empty(shape.n_heads, shape.d_model, shape.d_head)))
            setattr(self, f"b_{name}", nn.Parameter(torch.zeros(shape.n_heads, shape.d_head)))
        self.W_O = nn.Parameter(torch.empty(shape.n_heads, shape.d_head, shape.d_model))
        self.b_O = nn.Parameter(torch.zeros(shape.d_model))
        self.hook_q, self.hook_k, self.hook_v = Point(), Point(), Point()
        if shape.positions == "rotary":
            self.hook_rot_q, self.hook_rot_k = Point(), Point()
        self.hook_attn_scores, self.hook_pattern = Point(), Point()
        self.hook_z, self.hook_result = Point(), Point()

    def forward(
        self, x: Float[Tensor, "batch step d_model"], cache: LayerCache | None, turned: Angles | None
    ) -> Tensor:
        weight, bias = self.stacked() if cache is None else cache.once(self.stacked)
        qkv = F.linear(x, weight, bias).view(*x.shape[:-1], 3, *self.b_Q.shape)
        q, k, v = qkv.unbind(-3)  # [batch, step, head, d_head]
        q, k, v = self.hook_q(q), self.hook_k(k), self.hook_v(v)
        if turned is not None:
            q, k = self.hook_rot_q(rotate(q, turned)), self.hook_rot_k(rotate(k, turned))
        if cache is not None:
            k, v = cache.extend(k, v)
        z = self.hook_z(self.attend(q, k, v))
        if self.hook_result.hooked:
            result = self.hook_result(torch.einsum("bthd,hdm->bthm", z, self.W_O))
            return result.sum(2) + self.b_O
        return F.linear(z.flatten(2), self.W_O.flatten(0, 1).T, self.b_O)

    def stacked(self) -> tuple[Float[Tensor, "out d_model"], Float[Tensor, " out"]]:
        """Weights and biases of the queries, keys and values of all heads, one matrix."""
        weights = torch.stack([self.W_Q, self.W_K, self.W_V]).transpose(-1, -2)
        return weights.flatten(0, 2), torch.cat([self.b_Q, self.b_K, self.b_V]).flatten()

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Float[Tensor, "batch step head d_head"]:
        """Mix the values; queries are the last `q.shape[1]` steps of the keys."""
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # [batch, head, step, d_head]
        n_queries, n_keys = q.shape[2], k.shape[2]
        written_out = self.hook_attn_scores.hooked or self.hook_pattern.hooked
        if not written_out and plainly_causal(n_queries, n_keys, self.window):
            return F.scaled_dot_product_attention(q, k, v, is_causal=n_queries > 1).transpose(1, 2)
        seen = visible(n_queries, n_keys, self.window, q.device)
        if not written_out:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)
        scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~seen, float("-inf"))
        return (self.hook_pattern(self.hook_attn_scores(scores).softmax(-1)) @ v).transpose(1, 2)


class MLP(nn.Module):
    """Two linear maps with a GELU, or what the shape says, between."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d_mlp = shape.d_mlp or 4 * shape.d_model
        self.W_in = nn.Parameter(torch.empty(shape.d_model, d_mlp))
        self.b_in = nn.Parameter(torch.zeros(d_mlp))
        self.W_out = nn.Parameter(torch.empty(d_mlp, shape.d_model))
        self.b_out = nn.Parameter(torch.zeros(shape.d_model))
        self.hook_pre, self.hook_post, self.activation = Point(), Point(), shape.activation

    def forward(self, x: Float[Tensor, "batch step d_model"]) -> Float[Tensor, "batch step d_model"]:
        pre = self.hook_pre(F.linear(x, self.W_in.T, self.b_in))
        return F.linear(self.hook_post(self.activate(pre)), self.W_out.T, self.b_out)

    def activate(self, pre: Float[Tensor, "... d_mlp"]) -> Float[Tensor, "... d_mlp"]:
        """Return what the neurons pass on."""
        return F.relu(pre) if self.activation == "relu" else F.gelu(pre, approximate=APPROXIMATION[self.activation])


class Block(nn.Module):
    """Pre-LN: attention, then MLP unless there is none, each added to the residual stream."""

    hook_resid_pre: Point
    hook_resid_mid: Point
    hook_resid_post: Point
    hook_attn_out: Point
    hook_mlp_out: Point
    hook_out_is_single_residual_stream = True  # TransformerLens's logit lens asks

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_only = shape.attention_only
        self.ln1, self.attn = LayerNorm(shape), Attention(shape)
        if not self.attention_only:
            self.ln2, self.mlp = LayerNorm(shape), MLP(shape)
        self.dropout = shape.dropout
        names = ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]
        for name in names if not self.attention_only else names[::2] + names[3:4]:
            setattr(self, f"hook_{name}", Point())

    def forward(
        self, x: Float[Tensor, "batch step d_model"], cache: LayerCache | None, turned: Angles | None
    ) -> Tensor:
        x = self.hook_resid_pre(x)
        x = x + self.hook_attn_out(self.dropped(self.attn(self.ln1(x), cache, turned)))
        if not self.attention_only:
            x = self.hook_resid_mid(x)
            x = x + self.hook_mlp_out(self.dropped(self.mlp(self.ln2(x))))
        return self.hook_resid_post(x)

    def fold(self) -> None:
        """Move the gains and biases of the layer norms into the weights that read them."""
        attn = self.attn
        self.ln1.fold([(attn.W_Q, attn.b_Q), (attn.W_K, attn.b_K), (attn.W_V, attn.b_V)])
        if not self.attention_only:
            self.ln2.fold([(self.mlp.W_in, self.mlp.b_in)])

    def dropped(self, x: Float[Tensor, "batch step d_model"]) -> Float[Tensor, "batch step d_model"]:
        """Drop what training drops of what is written."""
        return F.dropout(x, self.dropout) if self.training and self.dropout else x


class ADTransformer(nn.Module):
    """A decoder-only transformer that predicts the next action of a learning history.

    `name` is that of its checkpoint, empty where there is none. `lens.hooked` returns the same model with
    TransformerLens's methods, such as `run_with_cache`.

    Args:
        vocabulary: What the tokens are made of.
        shape: How large the transformer is.
        seed: Of the initial weights.
    """

    _offsets: Tensor

    def __init__(self, vocabulary: Vocabulary, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        self.vocabulary, self.shape = vocabulary, shape
        self.embed = nn.ParameterDict(
            {
                name: torch.empty(size, shape.d_model)
                for name, size in zip(vocabulary.channels, vocabulary.sizes, strict=True)
            }
        )
        self.hook_embeds = nn.ModuleDict({name: Point() for name in vocabulary.channels})
        self._embed_hooks = tuple(self.hook_embeds.values())  # looked at in every step of a rollout
        self.register_buffer("_offsets", torch.tensor([0, *vocabulary.sizes[:-1]]).cumsum(0), persistent=False)
        self.hook_embed = Point()
        if shape.positions == "learned":
            self.W_pos = nn.Parameter(torch.empty(shape.n_ctx, shape.d_model))
            self.hook_pos_embed = Point()
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layers))
        self.ln_final = LayerNorm(shape)
        self.W_U = nn.Parameter(torch.empty(shape.d_model, vocabulary.n_actions))
        self.b_U = nn.Parameter(torch.zeros(vocabulary.n_actions))
        self._initialise(seed)
        self.name = ""

    def _initialise(self, seed: int) -> None:
        """Draw the weights as GPT-2 does: 0.02, and what writes into the residual stream smaller with depth."""
        generator = torch.Generator().manual_seed(seed)
        n_writes = self.shape.n_layers * (1 if self.shape.attention_only else 2)
        for name, weight in self.named_parameters():
            leaf = name.rsplit(".", 1)[-1]
            if weight.ndim > 1 and not leaf.startswith("b_"):
                deep = leaf in ("W_O", "W_out")
                std = 0.02 / n_writes**0.5 if deep else 0.02
                nn.init.normal_(weight, std=std, generator=generator)

    @property
    def anatomy(self) -> Anatomy:
        """The sites that a hypothesis can name in this model."""
        return Anatomy(
            self.vocabulary.channels,
            self.shape.n_layers,
            self.shape.n_heads,
            has_positions=self.shape.positions == "learned",
            has_mlps=not self.shape.attention_only,
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_U.device

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the weights."""
        return self.W_U.dtype

    def to(self: Model, *args: Any, **kwargs: Any) -> Model:
        """Move or cast the weights."""
        super().to(*args, **kwargs)
        return self

    def to_tokens(self, history: History) -> Int[Tensor, "batch step channel"]:
        """Return a history's tokens on the model's device."""
        return self.vocabulary.encode(history).to(self.device)

    def forward(
        self,
        tokens: Int[Tensor, "batch step channel"] | History,
        cache: KVCache | None = None,
        unmasked: Bool[Tensor, "batch step channel"] | None = None,
        return_type: str = "logits",
        loss_per_token: bool = False,
    ) -> Float[Tensor, "batch step action"] | Float[Tensor, ""] | Float[Tensor, "batch step"] | tuple[Tensor, Tensor]:
        """Return the logits of the action at every step, or how badly they predict what a history did.

        Args:
            tokens: A history, or the tokens that `to_tokens` makes of it.
            cache: Keys and values of earlier steps; the tokens then continue them, and are added to it.
            unmasked: Which parts of the tokens are read; all of them unless in training.
            return_type: `"logits"`; `"loss"`, the mean cross-entropy of the history's actions, in nats; or `"both"`.
            loss_per_token: Whether the loss is that of every step, [batch, step], instead of their mean.

        Raises:
            ValueError: There are more steps than the context holds, and no window.
            UserError: The loss is asked for, but not of a history.
        """
        if isinstance(tokens, Tensor) and return_type == "logits":
            return self.unembed(self.residual(tokens, cache, unmasked))
        if return_type not in ("logits", "loss", "both"):
            raise UserError(f"return_type must be 'logits', 'loss' or 'both', not {return_type!r}.")
        if isinstance(tokens, Tensor):
            raise UserError("tokens do not say what was done at their last step: give the history for its loss.")
        logits = self.unembed(self.residual(self.to_tokens(tokens), cache, unmasked))
        if return_type == "logits":
            return logits
        actions = torch.tensor(tokens.actions, dtype=torch.long, device=logits.device)
        loss = F.cross_entropy(logits.transpose(1, 2), actions, reduction="none" if loss_per_token else "mean")
        return loss if return_type == "loss" else (logits, loss)

    def residual(
        self,
        tokens: Int[Tensor, "batch step channel"],
        cache: KVCache | None = None,
        unmasked: Bool[Tensor, "batch step channel"] | None = None,
    ) -> Float[Tensor, "batch step d_model"]:
        """Return the residual stream after the last layer; arguments and errors as those of `forward`."""
        start = 0 if cache is None else cache.n_steps
        stop = start + tokens.shape[1]
        if stop > self.shape.n_ctx and self.shape.window is None:
            raise ValueError(f"{stop} steps do not fit into a context of {self.shape.n_ctx}")
        if any(hook.hooked for hook in self._embed_hooks):
            x = self.hook_embed(self._embed_each(tokens, unmasked))
        else:
            x = self.hook_embed(self.embed_sum(tokens, unmasked))
        if self.shape.positions == "learned":
            x = x + self.hook_pos_embed(self.W_pos[start:stop].expand_as(x))
        turned = angles(start, stop, self.shape.d_head, x) if self.shape.positions == "rotary" else None
        for layer, block in enumerate(self.blocks):
            x = block(x, None if cache is None else cache.layers[layer], turned)
        return x

    def unembed(self, x: Float[Tensor, "batch step d_model"]) -> Float[Tensor, "batch step action"]:
        """Return the logits that the last reader makes of the residual stream."""
        return self.ln_final(x) @ self.W_U + self.b_U

    def _embed_each(self, tokens: Tensor, unmasked: Tensor | None) -> Float[Tensor, "batch step d_model"]:
        """Embed channel by channel, so that each part can be hooked."""
        parts = []
        for channel, name in enumerate(self.vocabulary.channels):
            part = F.embedding(tokens[..., channel], self.embed[name])
            parts.append(self.hook_embeds[name](part if unmasked is None else part * unmasked[..., channel, None]))
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]

    def embed_sum(
        self, tokens: Int[Tensor, "batch step channel"], unmasked: Bool[Tensor, "batch step channel"] | None = None
    ) -> Float[Tensor, "batch step d_model"]:
        """Return the sum of the embeddings of all parts of the tokens, without hooks and all channels at once.

        Where a gradient is wanted it is a product with the tokens as rows of zeros and ones, whose backward is a
        product too: 2 to 4 times faster than gathering, as long as the vocabularies are small.
        """
        tables = torch.cat([self.embed[name] for name in self.vocabulary.channels])
        rows = (tokens + self._offsets).flatten(0, 1)
        if not torch.is_grad_enabled() or len(tables) > LARGE_VOCABULARY:
            weights = None if unmasked is None else unmasked.flatten(0, 1).to(tables.dtype)
            x = F.embedding_bag(rows, tables, mode="sum", per_sample_weights=weights)
        else:
            with torch.autocast(tables.device.type, enabled=False):  # a sum of many embeddings deserves all its digits
                chosen = tables.new_zeros(len(rows), len(tables))
                weights = torch.ones_like(rows, dtype=tables.dtype) if unmasked is None else unmasked.flatten(0, 1)
                x = chosen.scatter_(1, rows, weights.to(tables.dtype)) @ tables
        return x.view(*tokens.shape[:2], -1)

    def double(self: Model) -> Model:
        """Cast the weights to float64."""
        return self.to(torch.float64)

    def folded(self) -> ADTransformer:
        """Return a copy that computes the same, with gains and biases of the layer norms in the weights that read them.

        Its layer norms only centre and scale. TransformerLens's helpers and circuits of weights (`QK`, `OV`) assume so.
        """
        model = ADTransformer(self.vocabulary, self.shape).to(self.device, self.dtype).train(self.training)
        model.load_state_dict(self.state_dict())
        with torch.no_grad():
            for block in model.blocks:
                assert isinstance(block, Block)
                block.fold()
            model.ln_final.fold([(model.W_U, model.b_U)])
        return model


def project(x: Float[Tensor, "batch step d_model"], weight: Tensor, bias: Tensor) -> Tensor:
    """Apply per-head weights `[head, d_model, d_head]` in one matrix product: [batch, step, head, d_head]."""
    heads, d_model, d_head = weight.shape
    flat = F.linear(x, weight.transpose(1, 2).reshape(heads * d_head, d_model), bias.flatten())
    return flat.view(*x.shape[:-1], heads, d_head)
