"""What the parts of a hand-set network read and write, told from its weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ad_hypotheses.known.wiring import Wiring


@dataclass(frozen=True)
class Wire:
    """One part of a network, with the subspaces that it reads and writes.

    Attributes:
        part: The site, `"head(0, 1)"`.
        looks_by: What its queries and keys are made of; empty for what is no head, and for one that looks at all alike.
        reads: What it takes.
        writes: Where it leaves something.
    """

    part: str
    looks_by: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def circuit(net: Wiring) -> list[Wire]:
    """Return every part that is not silent, in the order in which they compute."""
    return [wire for wire in _wires(net) if wire.reads or wire.writes]


def _wires(net: Wiring) -> Iterator[Wire]:
    model = net.model
    for channel, table in model.embed.items():
        yield Wire(f'embed("{channel}")', (), (), _used(net, [table.T]))
    if model.shape.positions == "learned":
        yield Wire("pos", (), (), _used(net, [model.W_pos.T]))
    for layer, block in enumerate(model.blocks):
        weights: Any = block.attn
        for head in range(model.shape.n_heads):
            yield Wire(
                f"head({layer}, {head})",
                _used(net, [weights.W_Q[head], weights.W_K[head]]),
                _used(net, [weights.W_V[head]]),
                _used(net, [weights.W_O[head].T]),
            )
        if not model.shape.attention_only:
            neurons: Any = block.mlp
            yield Wire(f"mlp({layer})", (), _used(net, [neurons.W_in]), _used(net, [neurons.W_out.T]))
    yield Wire("logits", (), _used(net, [model.W_U]), ())


def _used(net: Wiring, matrices: Iterable[torch.Tensor]) -> tuple[str, ...]:
    """Names of the subspaces in which a matrix has a row that is not 0. [d_model, any] each"""
    rows = torch.stack([matrix.detach().abs().sum(1) for matrix in matrices]).sum(0)
    return tuple(space.name for space in net.spaces.values() if rows[space.coordinates].any())
