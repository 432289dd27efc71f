"""What one node costs: it alone is replaced, everything else stays as the model has it.

The primitive is "this reader sees that writer from that run": readers see a changed sum, and the change flows on
exactly, LayerNorm included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ad_hypotheses.causal.clean import Strand, along, chunks, strand_of
from ad_hypotheses.causal.draws import draw, draw_rows, uniforms
from ad_hypotheses.causal.scrub import Delivery, Scrubber, gather
from ad_hypotheses.causal.twin import Stream, Twin
from ad_hypotheses.language.anatomy import Part, Reader, Writer, head_readers


def propagate(
    twin: Twin, seen: Sequence[Stream], changes: Mapping[Strand | Reader, Tensor], given: Sequence[Part] = ()
) -> Float[Tensor, "batch step action"]:
    """Return the logits when some readers see something else than in a plain run.

    Args:
        twin: The model.
        seen: What readers of each stage see in the plain run.
        changes: What is added to a strand, or the whole new query, key or value of a head.
        given: The parts whose change is in `changes`: it replaces how they would respond to what they read.
    """
    changes = dict(changes)
    narrowed = [part for part in given if part.to is not None or part.directions is not None]
    fixed = {part.writer for part in given if part not in narrowed}
    flow = torch.zeros_like(seen[-1])
    touched = False
    for stage in range(1, twin.last_stage):
        layer, is_mlp = divmod(stage - 1, 2)
        kind = "mlp" if is_mlp else "head"
        heads = [h for h in range(twin.shape.n_heads) if Writer(stage, "head", layer, h) not in fixed]
        readers = [Reader(stage, "mlp", layer)] if is_mlp else [r for h in heads for r in head_readers(layer, h)]
        affected = touched or any(_feeds(key, reader) for key in changes for reader in readers)
        if not affected or (is_mlp and Writer(stage, "mlp", layer) in fixed) or not readers:
            continue
        before = _write(twin, stage, kind, heads, lambda reader: seen[reader.stage], {})
        after = _write(twin, stage, kind, heads, partial(_changed, seen, flow, changes), changes)
        for part in narrowed:
            if part.writer is not None and part.writer.stage == stage:  # its readers get the given change, not this one
                lone = (twin, stage, kind, [part.writer.head])
                responds = _write(*lone, partial(_changed, seen, flow, changes), changes)
                responds = responds - _write(*lone, lambda reader: seen[reader.stage], {})
                changes[strand_of(part)] = changes[strand_of(part)] - along(part, responds)
        flow, touched = flow + after - before, True
    return twin.logits(_changed(seen, flow, changes, twin.anatomy.logits))


def _feeds(key: Strand | Reader, reader: Reader) -> bool:
    return key.feeds(reader) if isinstance(key, Strand) else key == reader


def _changed(seen: Sequence[Stream], flow: Stream, changes: Mapping[Strand | Reader, Tensor], reader: Reader) -> Stream:
    x = seen[reader.stage] + flow
    for key, change in changes.items():
        if isinstance(key, Strand) and key.feeds(reader):
            x = x + change
    return x


def _write(
    twin: Twin,
    stage: int,
    kind: str,
    heads: Sequence[int],
    see: Callable[[Reader], Stream],
    replaced: Mapping[Strand | Reader, Tensor],
) -> Stream:
    """What the writers of a stage write together when each reader sees `see(reader)`."""
    layer = (stage - 1) // 2
    if kind == "mlp":
        return twin.mlp(layer, twin.normalise(stage, see(Reader(stage, "mlp", layer))))
    inputs: dict[str, list[Tensor]] = {"q": [], "k": [], "v": []}
    for head in heads:
        for reader in head_readers(layer, head):
            value = replaced.get(reader)
            inputs[reader.kind].append(
                twin.head_input(reader, twin.normalise(stage, see(reader))) if value is None else value
            )
    return twin.head_sum(layer, heads, *(torch.stack(inputs[letter], dim=2) for letter in "qkv"))


@torch.no_grad()
def scrub_alone(
    scrubber: Scrubber, name: str, agreeing: bool, n_rows: int | None = None
) -> Float[np.ndarray, "row step action"]:
    """Return the model's log-probabilities when one node alone is replaced.

    Args:
        scrubber: Of the hypothesis.
        name: Of the node, not the root.
        agreeing: Replace it by what scrubbing makes of it on donors that agree on its feature; otherwise by its clean
            value on any other history, which shows how much the site matters at all.
        n_rows: How many references, the first ones; all by default.
    """
    clean, twin = scrubber.clean, scrubber.twin
    path = ("alone", name)
    delivery: Delivery = scrubber.deliver(path) if agreeing else scrubber.leaf(name)
    found = scrubber.classes[name]
    if agreeing:
        donors = draw(found, uniforms(scrubber.seed, path, found.size.shape), self_donors=False)
    else:
        donors = draw_rows(clean.n_rows, uniforms(scrubber.seed, path, (clean.n_rows,)), self_donors=False)
    table = torch.from_numpy(donors).to(clean.tokens.device)
    selected = scrubber.nodes[name].selected
    mask = None if selected is None else torch.from_numpy(selected).to(table.device)[..., None]
    own = scrubber.leaf(name)
    logits = []
    for rows in chunks(min(n_rows or clean.n_rows, clean.n_rows), clean.n_steps):
        changes: dict[Strand | Reader, Tensor] = {}
        for key, value in delivery.items():
            new, old = gather(value, table[rows]), own[key][rows]
            new = new if mask is None else torch.where(mask[rows], new, old)
            changes[key] = new - old if isinstance(key, Strand) else new
        logits.append(propagate(twin, twin.streams(clean.tokens[rows]), changes, scrubber.nodes[name].parts))
    return torch.cat(logits).log_softmax(-1).float().cpu().numpy()
