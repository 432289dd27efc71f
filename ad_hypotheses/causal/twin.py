"""The model as functions of its readers' inputs: what both engines compute with, free of hooks.

Stage `0` writes the embeddings and positions; stage `2l + 1` is the attention of layer `l`, `2l + 2` its MLP, and
`2L + 1` the logits. What a reader of stage `s` sees is the sum of everything written at earlier stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ad_hypotheses.distill.finite import require_finite
from ad_hypotheses.distill.model import ADTransformer, Block, LayerNorm, project
from ad_hypotheses.distill.positions import angles, plainly_causal, rotate, visible
from ad_hypotheses.language.anatomy import Part, Reader, Writer

CACHE = 2**21  # bytes of the widest vectors computed together: about what the cache of one core holds
QUERIES = 32  # steps that are mixed together: each block of them looks at no key after its last query

Stream = Float[Tensor, "batch step d_model"]
Earlier = Float[Tensor, "2 batch earlier head d_head"]
"""Keys and values of the steps before those that are computed."""


class Layer(NamedTuple):
    """What one layer does in a run.

    Attributes:
        inputs: Queries, keys and values of its heads; none where only what is written was kept.
            [batch, step, head, d_head] each
        mixed: What the heads mix. [batch, step, head, d_head]
        middle: What its MLP sees. [batch, step, d_model]
        written: What the MLP writes: nothing where there is none. [batch, step, d_model]
        after: What the next layer sees. [batch, step, d_model]
    """

    inputs: tuple[Tensor, ...]
    mixed: Tensor
    middle: Tensor
    written: Tensor
    after: Tensor

    def at(self, steps: slice) -> Layer:
        """Return the same at some steps only, in memory of its own where they are not all."""
        inputs, rest = ([each[:, steps].contiguous() for each in part] for part in (self.inputs, self[1:]))
        return Layer(tuple(inputs), *rest)


class Twin:
    """Views of a model's weights, component by component.

    Args:
        model: In evaluation mode; its weights are shared, not copied.
    """

    def __init__(self, model: ADTransformer) -> None:
        self.model, self.shape, self.anatomy = model, model.shape, model.anatomy
        self.channels = model.vocabulary.channels
        self.last_stage = 2 * model.shape.n_layers + 1

    def block(self, layer: int) -> Block:
        """A layer's weights."""
        return cast(Block, self.model.blocks[layer])

    def embed(self, channel: str, tokens: Int[Tensor, "batch step channel"]) -> Stream:
        """Return what one part of the tokens writes."""
        return F.embedding(tokens[..., self.channels.index(channel)], self.model.embed[channel])

    def position(self, tokens: Int[Tensor, "batch step channel"]) -> Stream:
        """Return what the positions write, where they are embedded."""
        return self.model.W_pos[: tokens.shape[1]].expand(len(tokens), -1, -1)

    def norm(self, stage: int) -> LayerNorm:
        """Return the LayerNorm in front of the readers at `stage`."""
        layer, is_mlp = divmod(stage - 1, 2)
        if stage == self.last_stage:
            return cast(LayerNorm, self.model.ln_final)
        return cast(LayerNorm, self.block(layer).ln2 if is_mlp else self.block(layer).ln1)

    def normalise(self, stage: int, x: Stream) -> Stream:
        """Return LayerNorm of the readers at `stage`, recomputed on the sum that they see."""
        if self.shape.attention_only and stage % 2 == 0:  # there is no MLP that could read here
            return x
        return self.norm(stage).plain(x)

    def head_input(self, reader: Reader, normalised: Stream) -> Float[Tensor, "batch step d_head"]:
        """Return the query, key or value of one head."""
        return self.head_inputs(reader.layer, reader.kind, [reader.head], normalised)[:, :, 0]

    def head_inputs(
        self, layer: int, kind: str, heads: Sequence[int], normalised: Stream
    ) -> Float[Tensor, "batch step head d_head"]:
        """Return the queries, keys or values of some heads of a layer."""
        attention = self.block(layer).attn
        weight, bias = getattr(attention, f"W_{kind.upper()}"), getattr(attention, f"b_{kind.upper()}")
        if list(heads) != list(range(len(weight))):
            weight, bias = weight[list(heads)], bias[list(heads)]
        return project(normalised, weight, bias)

    def head_sum(self, layer: int, heads: Sequence[int], q: Tensor, k: Tensor, v: Tensor) -> Stream:
        """Return what some heads of a layer write together, without the layer's constant bias.

        With rotary positions a query or key is turned by the step where it stands here, wherever it came from.

        Args:
            layer: Layer of the heads.
            heads: Which ones, in the order of the arrays.
            q: Queries, not rotated. [batch, step, head, d_head], like `k` and `v`
            k: Keys, not rotated.
            v: Values.
        """
        weight: Tensor = self.block(layer).attn.W_O
        if list(heads) != list(range(len(weight))):
            weight = weight[list(heads)]
        return self.mix(q, k, v).flatten(2) @ weight.flatten(0, 1)

    def wrote_together(
        self, layer: int, heads: Sequence[int], mixed: Float[Tensor, "batch step head d_head"]
    ) -> Stream:
        """Return what some heads of a layer write together, given what all of its heads mix."""
        weight: Tensor = self.block(layer).attn.W_O
        if list(heads) != list(range(len(weight))):
            weight, mixed = weight[list(heads)], mixed[:, :, list(heads)]
        return mixed.flatten(2) @ weight.flatten(0, 1)

    def mix(
        self, q: Tensor, k: Tensor, v: Tensor, earlier: Earlier | None = None
    ) -> Float[Tensor, "batch query head d_head"]:
        """Mix the values of each head as its queries and keys say.

        Args:
            q: Queries of the last steps. [batch, query, head, d_head]
            k: Keys of all steps, or of those after the earlier ones. [batch, step, head, d_head]
            v: Values, likewise.
            earlier: What comes before them.
        """
        k, v = continued(earlier, k, v)
        n_queries, n_steps, window = q.shape[1], k.shape[1], self.shape.window
        q, k, v = (t.transpose(1, 2) for t in (*self._turned(q, k), v))
        in_one = q.device.type == "cuda" or n_queries <= QUERIES
        if n_queries == n_steps and in_one and plainly_causal(n_queries, n_steps, window):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        if q.device.type == "cuda":
            mask = visible(n_queries, n_steps, window, q.device)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)
        added, mixed_blocks = _added(n_queries, n_steps, window, q.device, q.dtype), []
        for first in range(0, n_queries, QUERIES):
            block = slice(first, min(first + QUERIES, n_queries))
            keys = slice(n_steps - n_queries + block.stop)
            mixed = F.scaled_dot_product_attention(q[:, :, block], k[:, :, keys], v[:, :, keys], added[block, keys])
            mixed_blocks.append(mixed.transpose(1, 2))
        return torch.cat(mixed_blocks, 1)

    def scores(self, q: Tensor, k: Tensor) -> Float[Tensor, "batch head query step"]:
        """Return how much each query of some heads looks at each key, before the softmax; what it cannot see is -inf.

        Args:
            q: Queries of the last steps. [batch, query, head, d_head]
            k: Keys of all steps. [batch, step, head, d_head]
        """
        seen = visible(q.shape[1], k.shape[1], self.shape.window, q.device)
        q, k = (t.transpose(1, 2) for t in self._turned(q, k))
        return (q @ k.transpose(-1, -2) / self.shape.d_head**0.5).masked_fill(~seen, float("-inf"))

    def _turned(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Queries, of the last steps, and keys as they meet: turned by their steps where positions are rotary."""
        if self.shape.positions != "rotary":
            return q, k
        cos, sin = angles(0, k.shape[1], self.shape.d_head, q)
        return rotate(q, (cos[-q.shape[1] :], sin[-q.shape[1] :])), rotate(k, (cos, sin))

    def mlp(self, layer: int, normalised: Stream) -> Stream:
        """Return what an MLP writes: nothing where there are none."""
        return torch.zeros_like(normalised) if self.shape.attention_only else self.block(layer).mlp(normalised)

    def logits(self, x: Stream, checked: bool = True) -> Float[Tensor, "batch step action"]:
        """Return the logits, from the residual stream before the last LayerNorm.

        Args:
            x: The stream.
            checked: Whether to ask whether they are finite, for which the host waits.

        Raises:
            NonFiniteError: They are not finite.
        """
        logits = self.normalise(self.last_stage, x) @ self.model.W_U + self.model.b_U
        return require_finite(logits, self.model, "the logits") if checked else logits

    def attention_bias(self, layer: int) -> Float[Tensor, " d_model"]:
        """Return the constant that a layer's attention adds in addition to its heads."""
        return self.block(layer).attn.b_O

    def embedded(self, tokens: Int[Tensor, "batch step channel"]) -> Stream:
        """Return what the parts of the tokens and the positions write together."""
        x = self.model.embed_sum(tokens)
        return x + self.position(tokens) if self.anatomy.has_positions else x

    def layers(self, x: Stream, first: int = 0, earlier: Sequence[Earlier] = ()) -> Iterator[Layer]:
        """Run the layers from `first` on, on what its heads see, and yield what each does.

        Args:
            x: What the heads see.
            first: A layer.
            earlier: Keys and values of each layer of the model, where there are steps before these; else none.
        """
        for number in range(first, self.shape.n_layers):
            layer = self._layer(number, x, earlier[number] if earlier else None)
            x = layer.after
            yield layer
            del layer  # whoever needs it longer has it: two layers at once take twice the room

    def _layer(self, number: int, x: Stream, earlier: Earlier | None) -> Layer:
        normalised = self.normalise(2 * number + 1, x)
        q, k, v = (self.head_inputs(number, kind, range(self.shape.n_heads), normalised) for kind in "qkv")
        mixed = self.mix(q, k, v, earlier)
        middle, written = self.after_heads(number, x, mixed)
        return Layer((q, k, v), mixed, middle, written, middle + written)

    def after_heads(
        self, layer: int, x: Stream, mixed: Float[Tensor, "batch step head d_head"]
    ) -> tuple[Stream, Stream]:
        """Return what the MLP of a layer sees and what it writes.

        Args:
            layer: The layer.
            x: What its heads see.
            mixed: What they mix.
        """
        middle = x + mixed.flatten(2) @ self.block(layer).attn.W_O.flatten(0, 1) + self.attention_bias(layer)
        return middle, self.mlp(layer, self.normalise(2 * layer + 2, middle))

    def onward(
        self, x: Float[Tensor, "row step d_model"], stage: int, earlier: Sequence[Earlier] = ()
    ) -> Float[Tensor, "row step action"]:
        """Run the rest of the model on what the readers of a stage see, some rows at a time, and return the logits.

        Args:
            x: What they see.
            stage: Stage of the readers.
            earlier: Keys and values of each layer of the model, where there are steps before these; else none. The
                rows of `x` are those of this batch, again and again.
        """
        n_steps = x.shape[1] + (earlier[0].shape[2] if earlier else 0)
        size = max(1, self.tokens_at_once // n_steps)
        folded = [self.block(layer).attn.stacked() for layer in range(stage // 2, self.shape.n_layers)]
        logits = []
        for first in range(0, len(x), size):
            rows = torch.arange(first, min(first + size, len(x)), device=x.device)
            logits.append(self._onward(x[first : first + size], stage, folded, earlier, rows))
        return torch.cat(logits)

    @property
    def tokens_at_once(self) -> int:
        """How many tokens to compute together so that a core's own cache holds the widest of their vectors."""
        if self.model.device.type == "cuda":
            return 2**31
        widest = 3 * self.shape.d_model if self.shape.attention_only else self.shape.d_mlp or 4 * self.shape.d_model
        return max(1, CACHE // (widest * self.model.dtype.itemsize))

    def _onward(
        self,
        x: Float[Tensor, "row step d_model"],
        stage: int,
        folded: Sequence[tuple[Tensor, Tensor]],
        earlier: Sequence[Earlier],
        numbers: Int[Tensor, " row"],
    ) -> Tensor:
        if stage % 2 == 0 and stage < self.last_stage:  # the MLP of a layer whose heads have written
            x = x + self.mlp(stage // 2 - 1, self.normalise(stage, x))
        rows, steps, width = x.shape
        for layer, (weight, bias) in enumerate(folded, stage // 2):
            attn = self.block(layer).attn
            inputs = F.linear(self.normalise(2 * layer + 1, x), weight, bias)
            q, k, v = inputs.view(rows, steps, 3, self.shape.n_heads, -1).unbind(2)
            before = earlier[layer].index_select(1, numbers % earlier[layer].shape[1]) if earlier else None
            mixed = self.mix(q, k, v, before).reshape(rows * steps, -1)
            x = torch.addmm(x.flatten(0, 1), mixed, attn.W_O.flatten(0, 1)).add_(attn.b_O).view(rows, steps, width)
            if not self.shape.attention_only:
                mlp = self.block(layer).mlp
                post = mlp.activate(F.linear(self.normalise(2 * layer + 2, x), mlp.W_in.T, mlp.b_in))
                x.view(-1, width).addmm_(post.flatten(0, 1), mlp.W_out).add_(mlp.b_out)
        return self.logits(x)

    def streams(self, tokens: Int[Tensor, "batch step channel"]) -> list[Stream]:
        """Run the model plainly and return what the readers of each stage see, from stage 0 (nothing) on."""
        x = self.embedded(tokens)
        return [torch.zeros_like(x), x, *(seen for layer in self.layers(x) for seen in (layer.middle, layer.after))]

    def write(self, writer: Writer, tokens: Int[Tensor, "batch step channel"], seen: Sequence[Stream]) -> Stream:
        """Return what one writer writes in a plain run whose readers see `seen`."""
        if writer.kind == "embed":
            return self.embed(writer.channel, tokens)
        if writer.kind == "pos":
            return self.position(tokens)
        normalised = self.normalise(writer.stage, seen[writer.stage])
        if writer.kind == "mlp":
            return self.mlp(writer.layer, normalised)
        q, k, v = (self.head_inputs(writer.layer, kind, [writer.head], normalised) for kind in "qkv")
        return self.head_sum(writer.layer, [writer.head], q, k, v)

    def wrote(
        self, writer: Writer, tokens: Int[Tensor, "batch step channel"], layers: Sequence[Layer] | Mapping[int, Layer]
    ) -> tuple[Tensor, Tensor | None]:
        """Return what a writer wrote in a run, in the fewest coordinates.

        Args:
            writer: The writer.
            tokens: Tokens of all steps of the run.
            layers: What its layers did, at those steps or the last of them; that of the writer is enough.

        Returns:
            Coordinates [batch, step, direction], and the directions [direction, d_model] along which they are; None
            for the axes of the stream themselves.
        """
        if writer.kind == "head":
            return layers[writer.layer].mixed[:, :, writer.head], self.block(writer.layer).attn.W_O[writer.head]
        if writer.kind == "mlp":
            return layers[writer.layer].written, None
        return self.write(writer, tokens, ()), None  # these read nothing


@lru_cache(maxsize=2)
def _added(
    queries: int, keys: int, window: int | None, device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "query key"]:
    """Return what is added to scores so that each query sees only what it may; made once for all that is patched."""
    hidden = ~visible(queries, keys, window, device)
    return torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, float("-inf"))


def continued(earlier: Earlier | None, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return keys and values of all steps, given those of the steps before. [batch, step, head, d_head]"""
    if earlier is None or not earlier.shape[2]:
        return k, v
    return torch.cat([earlier[0], k], 1), torch.cat([earlier[1], v], 1)


def along(part: Part, x: Stream) -> Stream:
    """Project what a part's writer writes onto the subspace that the node speaks of."""
    if part.directions is None:
        return x
    directions = torch.as_tensor(part.directions, dtype=x.dtype, device=x.device)
    return (x @ directions.T) @ directions
