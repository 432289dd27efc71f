"""What a model does when some readers see a given writing instead of what is written now.

One primitive, :func:`rewire`: chosen readers see what they are given, every other reader sees what is written now, and
the change flows on exactly, LayerNorm included. One node replaced alone (:func:`scrub_alone`) and many edges patched at
once (:func:`patch_together`) are special cases of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ad_hypotheses.causal.clean import chunks
from ad_hypotheses.causal.draws import draw, uniforms
from ad_hypotheses.causal.run_pair import RunPair
from ad_hypotheses.causal.scrub import Scrubber
from ad_hypotheses.causal.twin import Earlier, Layer, Stream, Twin, along
from ad_hypotheses.language.anatomy import Part, Reader, Strand, Writer
from ad_hypotheses.language.edges import Edge

KINDS: tuple[Literal["q", "k", "v"], ...] = ("q", "k", "v")


@dataclass(frozen=True, eq=False)
class PlainRun:
    """A plain run, as far as the writing of a changed one is compared with it.

    Attributes:
        seen: What the readers of each stage see. stage -> [batch, step, d_model]
        mixed: What the heads mix. layer -> [batch, step, head, d_head]
        earlier: Keys and values of the steps before those that are computed. layer -> [2, batch, earlier, head, d_head]
    """

    seen: Sequence[Stream]
    mixed: Sequence[Tensor]
    earlier: Sequence[Earlier | None]

    @classmethod
    def of(
        cls, twin: Twin, tokens: Int[Tensor, "batch step channel"], layers: Iterable[Layer] | None = None
    ) -> PlainRun:
        """Run the model on tokens, all steps of them, unless it is known what its layers do then."""
        x = twin.embedded(tokens)
        seen, mixed = [torch.zeros_like(x), x], []
        for layer in twin.layers(x) if layers is None else layers:
            seen += [layer.middle, layer.after]
            mixed.append(layer.mixed)
        return cls(seen, mixed, [None] * len(mixed))


@dataclass(frozen=True, eq=False)
class Given:
    """A writing that some readers see, whatever its writers write now.

    Attributes:
        parts: Its writers, of one stage, with the readers that see it: the same ones for all parts.
        change: The given writing less that of the plain run. [batch, step, d_model]
    """

    parts: tuple[Part, ...]
    change: Stream

    @property
    def stage(self) -> int:
        """Stage at which it is written."""
        writer = self.parts[0].writer
        assert writer is not None, "inputs of heads are given apart"
        return writer.stage


def rewire(
    twin: Twin, plain: PlainRun, given: Sequence[Given], inputs: Mapping[Reader, Tensor] | None = None
) -> Float[Tensor, "batch step action"]:
    """Return the logits when some readers see a given writing, and everything else is what is written now.

    Args:
        twin: The model.
        plain: A run of the same tokens in which nothing is changed.
        given: The writings that are given; a reader that several of them feed sees all of them.
        inputs: Queries, keys or values of heads that are given whole. [batch, step, d_head] each
    """
    inputs = inputs or {}
    feeding = _feeding(twin, given)
    ahead = [writing.change for writing in given]  # the given writing less what is written now
    # before the first change every reader sees the plain run
    starts = [*(writing.stage // 2 for writing in given), *(reader.layer for reader in inputs)]
    first = min(min(starts, default=0), twin.shape.n_layers - 1)
    x = plain.seen[2 * first + 1]

    def see(numbers: Iterable[int]) -> Stream:
        return x + sum(ahead[number] for number in numbers)

    for layer in range(first, twin.shape.n_layers):
        block, mlp = twin.block(layer), Reader(2 * layer + 2, "mlp", layer)
        q, k, v = (_head_inputs(twin, plain, layer, kind, feeding, see, inputs) for kind in KINDS)
        mixed = twin.mix(q, k, v, plain.earlier[layer])
        # writers respond to what they read, but their given writing stays as it is
        for number, part, writer in _writers_at(2 * layer + 1, given):
            response = (mixed - plain.mixed[layer])[:, :, writer.head] @ block.attn.W_O[writer.head]
            ahead[number] = ahead[number] - along(part, response)
        x = x + mixed.flatten(2) @ block.attn.W_O.flatten(0, 1) + twin.attention_bias(layer)
        if twin.shape.attention_only:
            continue
        written = twin.mlp(layer, twin.normalise(mlp.stage, see(feeding.get(mlp, ()))))
        for number, part, _ in _writers_at(mlp.stage, given):
            response = written - (plain.seen[mlp.stage + 1] - plain.seen[mlp.stage])
            ahead[number] = ahead[number] - along(part, response)
        x = x + written
    return twin.logits(see(feeding.get(twin.anatomy.logits, ())))


def _feeding(twin: Twin, given: Sequence[Given]) -> dict[Reader, tuple[int, ...]]:
    """Return which of the given writings each reader sees, by their numbers."""
    feeding: dict[Reader, tuple[int, ...]] = {}
    for number, writing in enumerate(given):
        to = writing.parts[0].to
        for reader in twin.anatomy.readers if to is None else to:
            if writing.stage < reader.stage:
                feeding[reader] = (*feeding.get(reader, ()), number)
    return feeding


def _writers_at(stage: int, given: Sequence[Given]) -> Iterator[tuple[int, Part, Writer]]:
    """Return every part of a stage whose writing is given, with the number of that writing."""
    for number, writing in enumerate(given):
        for part in writing.parts if writing.stage == stage else ():
            assert part.writer is not None
            yield number, part, part.writer


def _head_inputs(
    twin: Twin,
    plain: PlainRun,
    layer: int,
    kind: Literal["q", "k", "v"],
    feeding: Mapping[Reader, tuple[int, ...]],
    see: Callable[[Iterable[int]], Stream],
    inputs: Mapping[Reader, Tensor],
) -> Float[Tensor, "batch step head d_head"]:
    """Return queries, keys or values of the heads of a layer: at once for those that see the same."""
    alike: dict[tuple[int, ...], list[int]] = {}
    replaced: dict[int, Tensor] = {}
    for head in range(twin.shape.n_heads):
        reader = Reader(2 * layer + 1, kind, layer, head)
        if reader in inputs:
            replaced[head] = inputs[reader]
        else:
            alike.setdefault(feeding.get(reader, ()), []).append(head)
    values = plain.mixed[layer].new_empty(plain.mixed[layer].shape)
    for numbers, heads in alike.items():
        values[:, :, heads] = twin.head_inputs(layer, kind, heads, twin.normalise(2 * layer + 1, see(numbers)))
    for head, value in replaced.items():
        values[:, :, head] = value
    return values


@torch.no_grad()
def scrub_alone(
    scrubber: Scrubber, name: str, agreeing: bool, n_rows: int | None = None
) -> Float[np.ndarray, "row step action"]:
    """Replace one node, leave the rest of the model untouched, and return its log-probabilities.

    Args:
        scrubber: The scrubber of the hypothesis.
        name: Name of the node, not the root.
        agreeing: Replace it by what scrubbing makes of it on donors that agree on its feature; otherwise by its clean
            value on any other history, which shows how much the site matters at all.
        n_rows: How many references, the first ones; all by default.
    """
    clean, twin, n_steps = scrubber.clean, scrubber.twin, scrubber.clean.n_steps
    path = ("alone", name)
    pools = scrubber.classes[name] if agreeing else scrubber.any_row
    donors = draw(pools, uniforms(scrubber.seed, path, pools.size.shape), self_donors=False)
    references = len(range(clean.n_explained)[:n_rows])
    positions = torch.arange(references * n_steps, device=clean.tokens.device).unflatten(0, (references, n_steps))
    drawn = scrubber.positions_of(donors, positions)
    delivery = scrubber.deliver(path, drawn.unique()) if agreeing else scrubber.leaf(name)
    selected = scrubber.nodes[name].selected
    mask = None if selected is None else torch.from_numpy(selected).to(drawn.device)[..., None]
    own = scrubber.leaf(name)
    logits = []
    for rows in chunks(references, n_steps):
        given: list[Given] = []
        inputs: dict[Reader, Tensor] = {}
        for key in delivery.streams:
            new, old = delivery.at(key, drawn[rows]), own.at(key, positions[rows])
            new = new if mask is None else torch.where(mask[rows], new, old)
            if isinstance(key, Strand):
                given.append(Given(scrubber.strands[name][key], new - old))
            else:
                inputs[key] = new
        logits.append(rewire(twin, PlainRun.of(twin, clean.tokens[rows], clean.layers(rows)), given, inputs))
    return torch.cat(logits).log_softmax(-1).float().cpu().numpy()


@torch.no_grad()
def patch_together(pair: RunPair, edges: Iterable[Edge]) -> Float[Tensor, "batch step action"]:
    """Patch edges at once: along them each reader sees the donor's writers, otherwise what is written now.

    The logits are of the pair's steps. All edges of a model make the donor's own run.

    Args:
        pair: The two runs.
        edges: The edges; they speak of all steps.
    """
    readers: dict[Writer, set[Reader]] = {}
    for edge in edges:
        assert (edge.written_at, edge.read_at) == (None, None), "roles are for single edges and paths"
        for writer in edge.writers:
            readers.setdefault(writer, set()).add(edge.reader)
    given = [
        Given((Part(writer, (), frozenset(readers[writer])),), pair.changes[writer].full())
        for writer in sorted(readers)
    ]
    return rewire(pair.twin, PlainRun(pair.seen, pair.mixed, pair.earlier), given)
