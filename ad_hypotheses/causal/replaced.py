"""A run in which some parts write something else, for all who read them or along single edges, all at once.

What follows from a part that is replaced flows on: later parts are computed from what they then see. Along an edge one
reader alone sees what the writer is replaced by, in place of what it writes in this very run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ad_hypotheses.causal.twin import Stream, Twin
from ad_hypotheses.language.anatomy import Reader, Writer
from ad_hypotheses.language.edges import Edge

Part = Writer | Edge
ROWS_AT_ONCE = 16


@torch.no_grad()
def mean_written(twin: Twin, tokens: Int[Tensor, "batch step channel"]) -> dict[Writer, Stream]:
    """Return what every writer writes at each step, on average over rows.

    Args:
        twin: The model.
        tokens: Tokens of the rows.

    Returns:
        What each writes. {writer: [1, step, d_model]}
    """
    sums: dict[Writer, Tensor] = {}
    for rows in tokens.split(ROWS_AT_ONCE):
        seen = twin.streams(rows)
        for writer in twin.anatomy.writers:
            added = twin.write(writer, rows, seen).sum(0, keepdim=True)
            sums[writer] = sums[writer] + added if writer in sums else added
    return {writer: total / len(tokens) for writer, total in sums.items()}


@torch.no_grad()
def replaced_logits(
    twin: Twin,
    tokens: Int[Tensor, "batch step channel"],
    parts: Sequence[Part],
    instead: Mapping[Writer, Stream],
) -> Float[Tensor, "batch step action"]:
    """Run the model with some parts replaced, and return the logits.

    Args:
        twin: The model.
        tokens: Tokens of the run.
        parts: Writers that are replaced for all their readers, and edges.
        instead: What each writer is replaced by. {writer: [batch or 1, step, d_model]}
    """
    run = _Run(twin, tokens, parts, instead)
    for writer in twin.anatomy.writers:
        if writer.stage == 0:
            run.write(writer, twin.write(writer, tokens, ()))
    for layer in range(twin.shape.n_layers):
        run.attend(layer)
        if not twin.shape.attention_only:
            stage = 2 * layer + 2
            run.write(Writer(stage, "mlp", layer), twin.mlp(layer, run.normalised(Reader(stage, "mlp", layer))))
    return twin.logits(run.seen(twin.anatomy.logits))


class _Run:
    """A run as far as it has come: what every writer wrote, and their sum."""

    def __init__(self, twin: Twin, tokens: Tensor, parts: Sequence[Part], instead: Mapping[Writer, Stream]) -> None:
        self.twin, self.instead = twin, instead
        self.writers = {part for part in parts if isinstance(part, Writer)}
        self.edges = [part for part in parts if isinstance(part, Edge)]
        width = twin.shape.d_model
        self.sum = torch.zeros(*tokens.shape[:2], width, dtype=twin.model.dtype, device=tokens.device)
        self.wrote: dict[Writer, Stream] = {}

    def write(self, writer: Writer, stream: Stream) -> None:
        """Add what a writer writes, or what it is replaced by."""
        self.wrote[writer] = self.instead[writer].expand_as(self.sum) if writer in self.writers else stream
        self.sum = self.sum + self.wrote[writer]

    def seen(self, reader: Reader) -> Stream:
        """Return what a reader sees: the sum of what was written, with the edges into it replaced."""
        seen = self.sum
        for writer in {writer for edge in self.edges if edge.reader == reader for writer in edge.writers}:
            seen = seen + (self.instead[writer] - self.wrote[writer])
        return seen

    def normalised(self, reader: Reader) -> Stream:
        """Return the same after the layer norm in front of the reader."""
        return self.twin.normalise(reader.stage, self.seen(reader))

    def attend(self, layer: int) -> None:
        """Let the heads of a layer write, and add the constant of its attention."""
        twin, stage = self.twin, 2 * layer + 1
        plain, heads = twin.normalise(stage, self.sum), range(twin.shape.n_heads)
        inputs = {kind: twin.head_inputs(layer, kind, heads, plain).clone() for kind in "qkv"}
        for reader in {edge.reader for edge in self.edges if edge.reader.stage == stage and edge.reader.of_head}:
            inputs[reader.kind][:, :, reader.head] = twin.head_input(reader, self.normalised(reader))
        mixed = twin.mix(inputs["q"], inputs["k"], inputs["v"])
        for head in heads:
            self.write(Writer(stage, "head", layer, head), twin.wrote_together(layer, [head], mixed))
        self.sum = self.sum + twin.attention_bias(layer)
