"""Weights of a transformer that others wrote, under the names and in the axes of ours.

GPT-2's layout in its usual spellings: Hugging Face's, nanoGPT's and minGPT's, and `torch.nn.TransformerEncoder` with
`norm_first`. Axes: head, d_model, d_head, d_mlp, action.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ad_hypotheses.errors import CheckpointError, did_you_mean

Rotary = Literal["neighbours", "halves"]
"""Which coordinates of a query rotary positions turn together: 0 with 1 (GPT-J), or 0 with d_head / 2 (Llama)."""

LAYER = re.compile(r"(?P<stack>(?:.*\.)?[A-Za-z_]+)\.(?P<number>\d+)\.(?P<rest>.+)")
SPELLINGS = {
    "ln1": ("ln_1", "ln1", "norm1", "input_layernorm"),
    "qkv": ("attn.c_attn", "attn.qkv", "self_attn.in_proj", "attn.in_proj"),
    "q": ("attn.q_proj", "self_attn.q_proj", "attn.query", "attn.q"),
    "k": ("attn.k_proj", "self_attn.k_proj", "attn.key", "attn.k"),
    "v": ("attn.v_proj", "self_attn.v_proj", "attn.value", "attn.v"),
    "out": ("attn.c_proj", "attn.out_proj", "self_attn.out_proj", "self_attn.o_proj", "attn.proj", "attn.o_proj"),
    "ln2": ("ln_2", "ln2", "norm2", "post_attention_layernorm"),
    "mlp in": ("mlp.c_fc", "linear1", "mlp.fc1", "mlp.fc_in", "mlp.0"),
    "mlp out": ("mlp.c_proj", "linear2", "mlp.fc2", "mlp.fc_out", "mlp.2"),
    "final": ("ln_f", "ln_final", "norm_f", "final_layernorm", "norm"),
    "positions": ("wpe", "pos_emb", "pos_embed", "pos_embedding", "position_embedding", "position_embeddings"),
    "logits": ("lm_head", "head", "action_head", "predict_action", "predict_action.0", "unembed"),
}


@dataclass(frozen=True)
class ForeignWeights:
    """A state dict, whose parts are found by what they are.

    Attributes:
        tensors: By their names.
        stack: What stands before the numbers of the layers, e.g. `"transformer.h"`.
        n_layers: Number of layers.
        linear: Whether matrices are `[out, in]`, as those of `torch.nn.Linear`; else `[in, out]`, as GPT-2's.
    """

    tensors: Mapping[str, Tensor]
    stack: str
    n_layers: int
    linear: bool

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> ForeignWeights:
        """Find the layers.

        Raises:
            CheckpointError: There are none whose attention has a name that is known here.
        """
        attention = (*SPELLINGS["qkv"], *SPELLINGS["q"])
        layers: dict[str, set[int]] = {}
        for match in filter(None, map(LAYER.fullmatch, tensors)):
            if match["rest"].removesuffix(".weight").removesuffix("_weight") in attention:
                layers.setdefault(match["stack"], set()).add(int(match["number"]))
        if len(layers) != 1:
            raise CheckpointError(
                f"{'no' if not layers else 'more than one'} stack of layers with attention is in the checkpoint.\n"
                f"  Looked for: STACK.NUMBER.NAME.weight, with NAME one of {', '.join(attention)}.\n"
                f"  It has: {_few(tensors)}. Rename its weights to one of these spellings."
            )
        ((stack, numbers),) = layers.items()
        if numbers != set(range(len(numbers))):
            raise CheckpointError(f"of the layers {stack}.0 to {stack}.{max(numbers)} some are missing.")
        fused = cls(tensors, stack, len(numbers), False).pair(f"{stack}.0", "qkv")
        return cls(tensors, stack, len(numbers), fused is None or fused[0].shape[0] > fused[0].shape[1])

    def pair(self, place: str, part: str) -> tuple[Tensor, Tensor | None] | None:
        """Return weight and bias of a part as they are stored, None where there is no such part or no bias.

        Args:
            place: What its name begins with; empty where it may be anything.
            part: Key of the known spellings.
        """
        for spelling in SPELLINGS[part]:
            for joint in (".", "_"):
                ending = f"{spelling}{joint}weight"
                for name in [f"{place}.{ending}"] if place else self._outside(ending):
                    if name in self.tensors:
                        bias = self.tensors.get(name.removesuffix("weight") + "bias")
                        return self.tensors[name].detach(), None if bias is None else bias.detach()
        return None

    def _outside(self, ending: str) -> list[str]:
        """Return names of parts outside of the layers that end like this."""
        inside = f"{self.stack}."
        names = (name for name in self.tensors if not name.startswith(inside))
        return [name for name in names if name == ending or name.endswith(f".{ending}")]

    def need(self, place: str, part: str) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias of a part that must be there.

        Raises:
            CheckpointError: It is not.
        """
        stored = self.pair(place, part)
        if stored is None:
            spelled = ", ".join(f"{place}.{name}".lstrip(".") for name in SPELLINGS[part])
            raise CheckpointError(
                f"the checkpoint has no weights of '{part}'{f' in {place}' if place else ''}. Looked for: {spelled}.\n"
                f"  It has: {_few([name for name in self.tensors if name.startswith(place)])}."
            )
        return stored

    def matrix(self, place: str, part: str) -> tuple[Tensor, Tensor]:
        """Return a linear map as `[in, out]` and its bias `[out]`, zeros where there is none."""
        weight, bias = self.need(place, part)
        weight = weight.T if self.linear or part in ("q", "k", "v", "logits") else weight
        return weight, torch.zeros(weight.shape[1], dtype=weight.dtype) if bias is None else bias

    def norm(self, place: str, part: str) -> dict[str, Tensor]:
        """Return gain and bias of a layer norm."""
        weight, bias = self.need(place, part)
        return {"w": weight, "b": torch.zeros_like(weight) if bias is None else bias}

    def attention(self, place: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the maps to the queries, keys and values of a layer, `[in, out]` and `[out]`, by `Q`, `K` and `V`."""
        if self.pair(place, "qkv") is None:
            return {letter.upper(): self.matrix(place, letter) for letter in "qkv"}
        weight, bias = self.matrix(place, "qkv")
        return dict(zip("QKV", zip(weight.chunk(3, dim=1), bias.chunk(3), strict=True), strict=True))

    def table(self, channel: str, given: str | Tensor, size: int) -> Tensor:
        """Return the embeddings of a part of the tokens. [value, d_model]

        Args:
            channel: Name of that part.
            given: Name of the weights, or the embeddings.
            size: Number of values.

        Raises:
            CheckpointError: There are no such weights, or not as many.
        """
        if isinstance(given, str) and given not in self.tensors:
            raise CheckpointError(
                f"the checkpoint has no weights {given!r}, which should embed {channel}."
                f"{did_you_mean(given, self.tensors)}\n  It has: {_few(self._outside_names())}."
            )
        table = (self.tensors[given] if isinstance(given, str) else given).detach()
        if table.ndim != 2 or len(table) != size:
            advice = "Give the tensor in that order (`embeddings`)."
            if channel == "action" and len(table) == size - 1:
                advice = (
                    "The first is the action before the first step: where that adds nothing, give "
                    "torch.cat([torch.zeros(1, d_model), table])."
                )
            raise CheckpointError(
                f"the embeddings of {channel} are {list(table.shape)}, but they must be [{size}, d_model]: "
                f"one for each value, ascending. {advice}"
            )
        return table

    def _outside_names(self) -> list[str]:
        return [name for name in self.tensors if not name.startswith(f"{self.stack}.")]


def house_weights(
    source: ForeignWeights,
    tables: Mapping[str, Tensor],
    n_heads: int,
    n_ctx: int,
    rotary: Rotary | None,
) -> dict[str, Tensor]:
    """Return the weights of our transformer, by its names, in float32.

    Args:
        source: The checkpoint.
        tables: Embeddings of each part of the tokens.
        n_heads: Heads of every layer.
        n_ctx: Steps of a context; further learned positions are left out.
        rotary: Which coordinates are turned together; None without rotary positions.

    Raises:
        CheckpointError: A part is missing, or there are fewer positions than steps.
    """
    weights = {f"embed.{channel}": table for channel, table in tables.items()}
    positions = None if rotary else learned_positions(source)
    if positions is not None:
        if len(positions) < n_ctx:
            raise CheckpointError(
                f"the checkpoint has {len(positions)} positions, but a context of the configuration has {n_ctx} steps: "
                "let `config` have fewer episodes (histories.episodes, training.crop)."
            )
        weights["W_pos"] = positions[:n_ctx]
    for number in range(source.n_layers):
        place, block = f"{source.stack}.{number}", f"blocks.{number}"
        weights |= {f"{block}.ln1.{name}": value for name, value in source.norm(place, "ln1").items()}
        for letter, (weight, bias) in source.attention(place).items():
            by_head = weight.unflatten(1, (n_heads, -1)).movedim(1, 0), bias.unflatten(0, (n_heads, -1))
            if rotary == "halves" and letter != "V":  # scores are the same in any order of the coordinates
                by_head = _neighbours(by_head[0]), _neighbours(by_head[1])
            weights[f"{block}.attn.W_{letter}"], weights[f"{block}.attn.b_{letter}"] = by_head
        out, weights[f"{block}.attn.b_O"] = source.matrix(place, "out")
        weights[f"{block}.attn.W_O"] = out.unflatten(0, (n_heads, -1))
        if has_mlps(source):
            weights |= {f"{block}.ln2.{name}": value for name, value in source.norm(place, "ln2").items()}
            for letter, part in (("in", "mlp in"), ("out", "mlp out")):
                weights[f"{block}.mlp.W_{letter}"], weights[f"{block}.mlp.b_{letter}"] = source.matrix(place, part)
    weights |= {f"ln_final.{name}": value for name, value in source.norm("", "final").items()}
    weights["W_U"], weights["b_U"] = source.matrix("", "logits")
    return {name: weight.float().cpu().contiguous() for name, weight in weights.items()}


def learned_positions(source: ForeignWeights) -> Tensor | None:
    """Return the embeddings of the positions, None where there are none. [step, d_model]"""
    stored = source.pair("", "positions")
    if stored is None:  # a bare parameter, as minGPT's
        bare = (source._outside(spelling) for spelling in SPELLINGS["positions"])
        name = next((name for names in bare for name in names), None)
        stored = None if name is None else (source.tensors[name].detach(), None)
    return None if stored is None else stored[0].squeeze(0)


def has_mlps(source: ForeignWeights) -> bool:
    """Whether the layers have MLPs."""
    return source.pair(f"{source.stack}.0", "mlp in") is not None


def _neighbours(x: Tensor) -> Tensor:
    """Put the coordinates 0, d/2, 1, d/2 + 1, ... of the last axis beside each other."""
    return x.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)


def _few(names: Mapping[str, Tensor] | Sequence[str], most: int = 12) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
