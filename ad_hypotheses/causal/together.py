"""Many edges patched at once: what a circuit leaves of a model, and what is left without it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ad_hypotheses.causal.run_pair import RunPair
from ad_hypotheses.causal.twin import Stream
from ad_hypotheses.language.anatomy import Reader, Writer
from ad_hypotheses.language.edges import Edge

KINDS: tuple[Literal["q", "k", "v"], ...] = ("q", "k", "v")


@torch.no_grad()
def patch_together(pair: RunPair, edges: Iterable[Edge]) -> Float[Tensor, "batch step action"]:
    """Patch edges at once: along them each reader sees the donor's writers, otherwise what is written now.

    The logits are of the pair's steps. All edges of a model make the donor's own run.

    Args:
        pair: The two runs.
        edges: Which; they speak of all steps.
    """
    twin = pair.twin
    from_donor: dict[Reader, frozenset[Writer]] = {}
    for edge in edges:
        assert (edge.written_at, edge.read_at) == (None, None), "roles are for single edges and paths"
        from_donor[edge.reader] = from_donor.get(edge.reader, frozenset()) | set(edge.writers)
    wanted: frozenset[Writer] = frozenset().union(*from_donor.values())
    ahead = {writer: pair.changes[writer].full() for writer in wanted}  # the donor's less what is written now
    x = pair.seen[1]

    def see(reader: Reader) -> Stream:
        return x + sum(ahead[writer] for writer in sorted(from_donor.get(reader, ())))

    for layer in range(twin.shape.n_layers):
        stage, block = 2 * layer + 1, twin.block(layer)
        inputs = []
        for kind in KINDS:
            alike: dict[frozenset[Writer], list[int]] = {}  # heads that see the same
            for head in range(twin.shape.n_heads):
                alike.setdefault(from_donor.get(Reader(stage, kind, layer, head), frozenset()), []).append(head)
            values = torch.empty_like(pair.inputs[layer][0])
            for heads in alike.values():
                normalised = twin.normalise(stage, see(Reader(stage, kind, layer, heads[0])))
                values[:, :, heads] = twin.head_inputs(layer, kind, heads, normalised)
            inputs.append(values)
        q, k, v = inputs
        z = twin.mix(q, k, v, pair.earlier[layer])
        for writer in (w for w in wanted if w.kind == "head" and w.layer == layer):
            ahead[writer] = ahead[writer] - (z - pair.mixed[layer])[:, :, writer.head] @ block.attn.W_O[writer.head]
        x = x + z.flatten(2) @ block.attn.W_O.flatten(0, 1) + twin.attention_bias(layer)
        if twin.shape.attention_only:
            continue
        written = twin.mlp(layer, twin.normalise(stage + 1, see(Reader(stage + 1, "mlp", layer))))
        mlp = Writer(stage + 1, "mlp", layer)
        if mlp in wanted:
            ahead[mlp] = ahead[mlp] - (written - (pair.seen[stage + 2] - pair.seen[stage + 1]))
        x = x + written
    return twin.logits(see(twin.anatomy.logits))
