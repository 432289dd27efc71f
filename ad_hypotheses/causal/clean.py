"""The model's own run over a dataset, cached as far as a hypothesis needs it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import chain

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from ad_hypotheses.causal.twin import Layer, Stream, Twin, along
from ad_hypotheses.distill.memory import give_back_freed_memory
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.language.anatomy import Group, Part, stage_of
from ad_hypotheses.language.history import History

POINTS = 2**14  # positions computed at once where no step looks at another, if a core's cache holds so many
CHUNK_TOKENS = 4096  # tokens computed at once: large enough to fill two cores, small enough for their caches
KEPT_AT_MOST = 6 * 10**8  # bytes on disk of what the heads mix in a run over one data set; of larger ones nothing
OF_DEVICE = 16  # times as much is computed at once where there is no such cache


Rest = tuple[int, tuple[Group, ...]]
"""A stage, and the groups that are taken out of what its readers see."""

Keeper = Callable[[str, Callable[[], np.ndarray]], np.ndarray]
"""Returns what is kept of the runs under a name; if nothing is, what it is given works it out, and it is kept."""


@dataclass
class Clean:
    """Plain runs of a model over the rows of a dataset.

    Attributes:
        twin: The model.
        history: The dataset, one context window a row.
        tokens: Its tokens. [row, step, channel]
        known_log_probs: What :attr:`log_probs` is, where it is known already.
        keeper: Keeps :attr:`log_probs` and, of the one run for all claims, what the heads mix; None for nobody.
        differentiable: Whether gradients flow through what is cached, so that a model can be trained on scrubbed runs.
        n_references: How many rows, the first ones, are references, while only the others are donors; None where every
            row is both.
    """

    twin: Twin
    history: History
    tokens: Int[Tensor, "row step channel"]
    known_log_probs: Float[np.ndarray, "row step action"] | None = None
    differentiable: bool = False
    n_references: int | None = None
    keeper: Keeper | None = None
    _layers: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    _keeps_layers: bool = False
    _spare: list[Stream] = field(default_factory=list)
    _streams: dict[int, Stream] = field(default_factory=dict)
    _written: dict[Group, Stream] = field(default_factory=dict)
    _rests: dict[Rest, Stream] = field(default_factory=dict)

    @classmethod
    def run(cls, model: ADTransformer, history: History, n_references: int | None = None) -> Clean:
        """Set a model up to be run over a dataset, once it is known what to keep of the run."""
        return cls(Twin(model.eval()), history, model.to_tokens(history), n_references=n_references)

    @property
    def pool(self) -> Bool[np.ndarray, " row"] | None:
        """Which rows may be donors; None where all may. [row]"""
        return None if self.n_references is None else np.arange(self.n_rows) >= self.n_references

    @property
    def references(self) -> slice:
        """The rows whose loss is to be explained."""
        return slice(self.n_explained)

    @property
    def log_probs(self) -> Float[np.ndarray, "row step action"]:
        """Log-probabilities of every action, as the model gives them. [row, step, action]"""
        if self.known_log_probs is None:
            self.known_log_probs = self._answers() if self.keeper is None else self.keeper("log_probs", self._answers)
        return self.known_log_probs

    @torch.no_grad()
    def _answers(self) -> Float[np.ndarray, "row step action"]:
        """Work out the log-probabilities of every action."""
        return np.concatenate([self._answered(deque(self.layers(rows), 1).pop().after) for rows in self.chunks()])

    def _answered(self, x: Stream) -> Float[np.ndarray, "batch step action"]:
        return self.twin.logits(x).log_softmax(-1).detach().cpu().numpy()

    @contextmanager
    def one_run(self, stays_below: int = 0) -> Iterator[Clean]:
        """Run the model no more than once until the block ends: what its layers do is kept for all that is prepared.

        Args:
            stays_below: Bytes up to which it stays after the block.
        """
        inside_another, self._keeps_layers = self._keeps_layers, True
        try:
            yield self
        finally:
            self._keeps_layers = inside_another
            if not inside_another:
                self._spare.clear()
                self._layers = self._layers if self.bytes <= stays_below else []
                give_back_freed_memory()

    def layers(self, rows: slice) -> Iterator[Layer]:
        """Yield what each layer does over some rows: from the one run where there is one, then without its inputs."""
        if self._keeps_layers and not self._layers:
            self._run_layers()
        if not self._layers:
            yield from self.twin.layers(self.twin.embedded(self.tokens[rows]))
        for mixed, middle, written in self._layers:
            yield Layer((), mixed[rows], middle[rows], written[rows], middle[rows] + written[rows])

    @torch.no_grad()
    def _run_layers(self) -> None:
        """Run the model over all rows, as far as an earlier study did not, and keep what its layers do."""
        n_layers, of_layer = self.twin.shape.n_layers, self.tokens.shape[:2].numel() * self.twin.shape.d_model
        if self.keeper is None or n_layers * of_layer * self._dtype.itemsize > KEPT_AT_MOST:
            self._layers = self._whole_run()
            return
        whole: list[tuple[Tensor, Tensor, Tensor]] = []

        def mixed(number: int) -> np.ndarray:
            whole.extend(() if whole else self._whole_run())
            return whole[number][0].cpu().numpy()

        of_layers = [self.keeper(f"mixed {number}", partial(mixed, number)) for number in range(n_layers)]
        self._layers = whole or self._continued_run([self.there(of_heads) for of_heads in of_layers])

    def _whole_run(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Run the model over all rows, and return what its layers do."""
        heads = (self.n_rows, self.n_steps, self.twin.shape.n_heads, self.twin.shape.d_head)
        layers = [(self.empty().view(heads), self.empty(), self.empty()) for _ in range(self.twin.shape.n_layers)]
        for rows in self.chunks():
            for kept, layer in zip(layers, self.twin.layers(self.twin.embedded(self.tokens[rows])), strict=True):
                for room, values in zip(kept, (layer.mixed, layer.middle, layer.written), strict=True):
                    room[rows] = values
                del layer
        return layers

    def _continued_run(self, mixed: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return what the layers do, given what their heads mix: no step looks at another any more."""
        layers = [(each, self.empty(), self.empty()) for each in mixed]
        for rows in self.chunks():
            x = self.twin.embedded(self.tokens[rows])
            for number, (of_heads, middle, written) in enumerate(layers):
                middle[rows], written[rows] = self.twin.after_heads(number, x, of_heads[rows])
                x = middle[rows] + written[rows]
        return layers

    def of_rows(self, rows: Int[np.ndarray, " row"], n_references: int) -> Clean:
        """Return the runs over some rows, the first of them references, without running the model again."""
        chosen = torch.from_numpy(rows).to(self.tokens.device)
        if self._keeps_layers and not self._layers:
            self._run_layers()
        part = Clean(
            self.twin, self.history[rows], self.tokens[chosen], self.log_probs[rows], n_references=n_references
        )
        part._layers = [tuple(stream[chosen] for stream in layer) for layer in self._layers]
        return part

    @property
    def n_explained(self) -> int:
        """How many rows, the first ones, are references: all where every row is both."""
        return self.n_rows if self.n_references is None else self.n_references

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.tokens.shape[0]

    @property
    def n_steps(self) -> int:
        """Steps of each row."""
        return self.tokens.shape[1]

    def chunks(self) -> Iterator[slice]:
        """Return rows to compute together."""
        return chunks(self.n_rows, self.n_steps, self.tokens_at_once)

    @property
    def on_host(self) -> bool:
        """Whether the model computes on the host, which elsewhere has to wait if it asks what was computed."""
        return self.tokens.device.type == "cpu"

    def there(self, array: Shaped[np.ndarray, "..."]) -> Shaped[Tensor, "..."]:
        """Return an array where the model computes, without waiting for what it computes."""
        tensor = torch.from_numpy(array)
        pinned = tensor.pin_memory() if self.tokens.device.type == "cuda" else tensor
        return pinned.to(self.tokens.device, non_blocking=True)

    @property
    def points_at_once(self) -> int:
        """How many positions to compute together where no step looks at another."""
        return min(POINTS, self.twin.tokens_at_once) if self.on_host else OF_DEVICE * POINTS

    @property
    def tokens_at_once(self) -> int:
        """How many tokens of whole rows to compute together."""
        return CHUNK_TOKENS if self.on_host else OF_DEVICE * CHUNK_TOKENS

    def empty(self) -> Stream:
        """Return room for one vector at every position. [row, step, d_model]"""
        if self._spare:
            return self._spare.pop()
        shape = (self.n_rows, self.n_steps, self.twin.shape.d_model)
        return torch.empty(shape, dtype=self._dtype, device=self.tokens.device)

    @property
    def _dtype(self) -> torch.dtype:
        return self.twin.model.dtype

    @contextmanager
    def prepared(
        self, stages: Collection[int] = (), groups: Collection[Group] = (), stays_below: int = 0
    ) -> Iterator[Clean]:
        """Keep in memory, until the block ends, what is prepared here and inside of it.

        Args:
            stages: Stages whose readers' input is needed.
            groups: Groups of parts whose writing is needed.
            stays_below: Bytes up to which it stays after the block.
        """
        before = self._streams, self._written, self._rests
        self._streams, self._written, self._rests = dict(self._streams), dict(self._written), dict(self._rests)
        whole = False
        try:
            if stages or groups:
                self.prepare(stages, groups)
            yield self
            whole = True
        finally:
            if not whole or self.bytes > stays_below:  # what was stopped may hold less than it says
                held = self._prepared
                self._streams, self._written, self._rests = before
                self._set_aside(held)
            if not self._spare:
                give_back_freed_memory()

    @property
    def _prepared(self) -> list[Stream]:
        return [*self._streams.values(), *self._written.values(), *self._rests.values()]

    def _set_aside(self, freed: Iterable[Stream]) -> None:
        """Keep room that the next claim of the one run needs again: the system would have to clear it anew."""
        if self._keeps_layers:
            used = {stream.data_ptr() for stream in (*self._prepared, *chain(*self._layers))}
            self._spare += [stream for stream in freed if stream.data_ptr() not in used]

    @property
    def bytes(self) -> int:
        """Bytes of what is kept of the run."""
        return sum({stream.data_ptr(): stream.nbytes for stream in (*self._prepared, *chain(*self._layers))}.values())

    def prepare(self, stages: Iterable[int], groups: Iterable[Group], rests: Iterable[Rest] = ()) -> None:
        """Cache what a claim needs, in one run of the model.

        Args:
            stages: Stages whose readers' input is needed.
            groups: Groups of parts whose writing is needed.
            rests: What is needed of readers' input without some of the groups.
        """
        with torch.set_grad_enabled(self.differentiable):
            self._prepare(stages, groups, rests)

    def _prepare(self, stages: Iterable[int], groups: Iterable[Group], rests: Iterable[Rest]) -> None:
        stages = [stage for stage in set(stages) if stage not in self._streams]
        rests = [rest for rest in dict.fromkeys(rests) if rest not in self._rests]
        groups = [*groups, *(group for _, taken_out in rests for group in taken_out)]
        missing = [group for group in dict.fromkeys(groups) if group not in self._written]
        if self.keeper is not None:
            _ = self.log_probs  # which may be kept, and otherwise are worked out in the one run
        if self._keeps_layers and not self._layers and (stages or rests or missing):
            self._run_layers()
        missing = [group for group in missing if not self._is_there(group)]
        for rest in rests:
            self._rests[rest] = self.empty()
        for stage in stages:
            self._streams[stage] = self.empty()
        for group in missing:
            self._written[group] = self.empty()
        first, log_probs = self.known_log_probs is None, []
        for rows in self.chunks() if stages or missing or rests or first else ():
            tokens = self.tokens[rows]
            x = self.twin.embedded(tokens)
            self._keep(rows, {0: torch.zeros_like(x), 1: x}, stages)
            for group in (group for group in missing if stage_of(group) == 0):
                self._written[group][rows] = self._of_group(group, tokens, {})
            self._keep_rests(rows, {1: x}, rests)
            for number, layer in enumerate(self.layers(rows)):
                attention, mlp = 2 * number + 1, 2 * number + 2  # the stages of its writers
                self._keep(rows, {mlp: layer.middle, mlp + 1: layer.after}, stages)
                for group in (group for group in missing if stage_of(group) in (attention, mlp)):
                    self._written[group][rows] = self._of_group(group, tokens, {number: layer})
                self._keep_rests(rows, {mlp: layer.middle, mlp + 1: layer.after}, rests)
                x = layer.after
                del layer  # before the next is computed: two at once take twice the room
            if first:
                log_probs.append(self._answered(x))
        if first:
            self.known_log_probs = np.concatenate(log_probs)

    def _keep(self, rows: slice, seen: Mapping[int, Stream], stages: Collection[int]) -> None:
        """Keep what the readers of some stages see, as far as it was asked for."""
        for stage in seen.keys() & set(stages):
            self._streams[stage][rows] = seen[stage]

    def _keep_rests(self, rows: slice, seen: Mapping[int, Stream], rests: Iterable[Rest]) -> None:
        """Keep what the readers of some stages see without the groups that are taken out; these are written already."""
        for stage, taken_out in rests:
            if stage in seen:
                room, rest = self._rests[stage, taken_out][rows], seen[stage]
                for group in taken_out:
                    rest = torch.sub(rest, self._written[group][rows], out=None if self.differentiable else room)
                if rest is not room:
                    self._rests[stage, taken_out][rows] = rest

    def _is_there(self, group: Group) -> bool:
        """Take what a whole MLP writes from the one run as it is, and say whether that was so."""
        writer = group[0].writer
        whole = len(group) == 1 and group[0].directions is None and writer is not None and writer.kind == "mlp"
        if whole and self._layers and writer is not None:
            self._written[group] = self._layers[writer.layer][2]
            return True
        return False

    def _of_group(self, group: Group, tokens: Int[Tensor, "batch step channel"], layers: Mapping[int, Layer]) -> Stream:
        """Return what the parts of a group wrote in a run; of the layers, their own is enough."""
        writers = [part.writer for part in group if part.writer is not None]
        if all(writer.kind == "head" for writer in writers) and all(part.directions is None for part in group):
            heads, layer = [writer.head for writer in writers], writers[0].layer
            return self.twin.wrote_together(layer, heads, layers[layer].mixed)
        # each when its turn comes: all of a group at once take most room
        return reduce(torch.add, (along(part, self._wrote(part, tokens, layers)) for part in group))

    def _wrote(self, part: Part, tokens: Int[Tensor, "batch step channel"], layers: Mapping[int, Layer]) -> Stream:
        """Return what a part's writer wrote in a run."""
        assert part.writer is not None
        written, directions = self.twin.wrote(part.writer, tokens, layers)
        return written if directions is None else written @ directions

    def seen(self, stage: int) -> Stream:
        """Return what the readers of a prepared stage see. [row, step, d_model]"""
        return self._streams[stage]

    def written(self, group: Group) -> Stream:
        """Return what the parts of a prepared group write together. [row, step, d_model]"""
        return self._written[group]

    def wrote_at(self, part: Part, positions: Int[Tensor, "*reference"]) -> Float[Tensor, "*reference d_model"]:
        """Return what one part wrote at single positions `row * n_steps + step`.

        A part of the tokens is looked up; every other one has to be prepared.
        """
        if not is_looked_up(part):
            return gather(self.written((part,)), positions)
        assert part.writer is not None
        tokens = self.tokens.flatten(0, 1).index_select(0, positions.flatten()).unflatten(0, positions.shape)
        return self.twin.embed(part.writer.channel, tokens)

    def rest(self, stage: int, taken_out: tuple[Group, ...]) -> Stream:
        """Return what the readers of a prepared stage see without some groups. [row, step, d_model]"""
        return self._rests[stage, taken_out]


def is_looked_up(part: Part) -> bool:
    """Return whether a part writes a row of a table for every token, which takes no run to know."""
    return part.writer is not None and part.writer.kind == "embed" and part.directions is None


def chunks(n_rows: int, n_steps: int, n_tokens: int | None = None) -> Iterator[slice]:
    """Split rows into slices of about so many tokens, :data:`CHUNK_TOKENS` by default."""
    size = max(1, (n_tokens or CHUNK_TOKENS) // n_steps)
    return (slice(first, min(first + size, n_rows)) for first in range(0, n_rows, size))


def gather(stream: Stream, positions: Int[Tensor, "*reference"]) -> Float[Tensor, "*reference d_model"]:
    """Take single positions `row * n_steps + step` from a stream over the dataset."""
    return stream.flatten(0, 1).index_select(0, positions.flatten()).unflatten(0, positions.shape)
