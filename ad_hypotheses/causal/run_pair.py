"""Two plain runs over the same rows, and how far each writer's output differs between them.

Where the rows of both begin with the same tokens, so do the runs, whatever is patched: of those steps only keys and
values are kept, which later steps look at.

A change is kept in the coordinates in which it is smallest: what a head writes lies in the `d_head` directions of its
`W_O`, so its effect on any linear map, and on the variance that LayerNorm divides by, is worked out there. With `c` a
change of the stream `x`, `bar` for what is centred over d_model::

    LN(x + c) W = (bar(x) W' + bar(c) W') / s' + b',     s'^2 = var(x) + 2 cov(x, c) + var(c) + eps

which is exact and costs nothing of width d_model for a new change.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ad_hypotheses.causal.twin import Earlier, Stream, Twin, continued
from ad_hypotheses.distill.model import LayerNorm
from ad_hypotheses.language.anatomy import Writer


@dataclass(frozen=True)
class Change:
    """A change of the residual stream, as coordinates along some directions.

    Attributes:
        along: Coordinates along each direction. [..., step, direction]
        directions: The directions; None for the axes of the stream themselves. [..., direction, d_model]
    """

    along: Float[Tensor, "... direction"]
    directions: Float[Tensor, "... direction d_model"] | None = None

    def full(self) -> Float[Tensor, "... d_model"]:
        """Return the change itself."""
        return self.along if self.directions is None else self.along @ self.directions

    def where(self, steps: Bool[Tensor, "... step"]) -> Change:
        """Return the change at some steps only."""
        return Change(self.along * steps[..., None], self.directions)

    def through(self, weight: Float[Tensor, "d_model out"]) -> Float[Tensor, "... out"]:
        """Return the change after a linear map, in new memory."""
        return self.along @ (weight if self.directions is None else self.directions @ weight)


class Norm:
    """The LayerNorm of a stage with the linear maps that follow it, at the stream of a plain run.

    Args:
        norm: The module.
        weight: What follows it. [d_model, out]
        bias: Added to that. [out]
        x: What the readers of the stage see. [batch, step, d_model]
    """

    def __init__(self, norm: LayerNorm, weight: Tensor, bias: Tensor, x: Stream) -> None:
        self.eps, self.weight = norm.eps, weight
        self.x = x - x.mean(-1, keepdim=True) if norm.on else x
        self.var: Tensor | None = None
        if norm.on:
            # LayerNorm's own scale and shift are folded into the map that follows
            scaled = norm.w[:, None] * weight
            # centring a change is the same as centring what reads it
            self.weight, bias = scaled - scaled.mean(0, keepdim=True), norm.b @ weight + bias
            self.var = self.x.pow(2).mean(-1)
        self.bias = bias
        # what the map makes of the plain stream is worked out once; each change adds to it
        self.mapped = self.x @ self.weight
        self._last: tuple[Change, Tensor | None] | None = None

    @property
    def plain(self) -> Float[Tensor, "batch step out"]:
        """What comes out in the plain run."""
        if self.var is None:
            return self.mapped + self.bias
        return self.mapped * (self.var + self.eps).rsqrt()[..., None] + self.bias

    @property
    def flat(self) -> Norm:
        """This norm with all tokens in one row, for changes of which each is a batch. [batch * step, ...]"""
        flat = copy(self)
        flat.x, flat.mapped = self.x.flatten(0, 1), self.mapped.flatten(0, 1)
        flat.var = None if self.var is None else self.var.flatten()
        return flat

    def at(self, tokens: slice) -> Norm:
        """Return the same for some tokens of a flat one."""
        part = copy(self)
        part.x, part.mapped = self.x[tokens], self.mapped[tokens]
        part.var = None if self.var is None else self.var[tokens]
        return part

    def of(
        self,
        change: Change,
        columns: slice | Sequence[int] = slice(None),
        scale: Float[Tensor, "... step 1"] | None = None,
        weight: Float[Tensor, "... direction out"] | None = None,
    ) -> Float[Tensor, "... step out"]:
        """Return what comes out when the stream is changed.

        Args:
            change: Change of the stream.
            columns: Which outputs.
            scale: From :meth:`scale`, where it is known already.
            weight: What the maps make of the change's directions, where that is known already.
        """
        # (bar(x) W' + bar(c) W') / s' + b', with the first term known
        mapped = change.through(self.weight[:, columns]) if weight is None else change.along @ weight
        mapped += self.mapped[..., columns]
        scale = self.scale(change) if scale is None else scale
        if scale is None:
            return mapped.add_(self.bias[columns])
        return torch.addcmul(self.bias[columns], mapped, scale, out=mapped)

    def scale_of(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... 1"] | None:
        """One over the standard deviation of what is seen, where that is at hand already; None without LayerNorm."""
        return None if self.var is None else torch.native_layer_norm(x, x.shape[-1:], None, None, self.eps)[2]

    def scale_again(self, change: Change) -> Float[Tensor, "... step 1"] | None:
        """Return the same as :meth:`scale`, worked out once for calls in a row with the same change."""
        if self._last is None or self._last[0] is not change:
            self._last = change, self.scale(change)
        return self._last[1]

    def scale(self, change: Change) -> Float[Tensor, "... step 1"] | None:
        """One over the standard deviation that LayerNorm divides by once the stream is changed; None without it."""
        if self.var is None:
            return None
        # 2 cov(x, c) + var(c): how far the variance moves
        width = self.x.shape[-1]
        if change.directions is None:
            centred = change.along - change.along.mean(-1, keepdim=True)
            moved = ((2 * self.x + centred) * centred).mean(-1)
        else:
            # in coordinates: nothing of width d_model for each new change
            directions = change.directions - change.directions.mean(-1, keepdim=True)
            towards = 2 * self.x @ directions.mT + change.along @ (directions @ directions.mT)
            moved = (towards * change.along).sum(-1) / width
        # rounding may leave a variance of 0 a little below it
        return ((self.var + moved).clamp_min(0) + self.eps).rsqrt()[..., None]


@dataclass
class RunPair:
    """Plain runs of a reference and of a donor for the same rows, of the steps from `since` on if nothing else is said.

    Attributes:
        twin: The model.
        since: The first step that is computed: before it both runs, and every patched one, are the same.
        seen: What the readers of each stage see in the reference's run. stage -> [batch, step, d_model]
        changes: How the donor's writing differs from the reference's. {writer: change}
        inputs: Queries, keys and values of the reference. layer -> [3, batch, step, head, d_head]
        mixed: What its heads mix. layer -> [batch, step, head, d_head]
        earlier: Keys and values of the steps before. layer -> [2, batch, earlier, head, d_head]
        log_probs: Log-probabilities of every action at every step, in the reference's run. [batch, any_step, action]
        donor_log_probs: Log-probabilities in the donor's run.
    """

    twin: Twin
    since: int
    seen: list[Stream]
    changes: dict[Writer, Change]
    inputs: list[Tensor]
    mixed: list[Tensor]
    earlier: list[Earlier]
    log_probs: Float[Tensor, "batch any_step action"]
    donor_log_probs: Float[Tensor, "batch any_step action"]
    norms: dict[int, Norm] = field(default_factory=dict)
    _patterns: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        twin: Twin,
        reference: Int[Tensor, "batch step channel"],
        donor: Int[Tensor, "batch step channel"],
        since: int = 0,
    ) -> RunPair:
        """Run the model on the tokens of both.

        Args:
            twin: The model.
            reference: Tokens of the run that is patched.
            donor: Tokens of the run whose writing is patched in.
            since: A step before which the tokens of both are the same; the last step is computed in any case.
        """
        # all steps of the reference are run once; of those before `since` keys and values are kept, for both runs
        since = min(since, reference.shape[1] - 1)
        x, after = twin.embedded(reference), slice(since, None)
        whole = list(twin.layers(x))
        earlier = [torch.stack([each[:, :since] for each in layer.inputs[1:]]) for layer in whole]
        # from there on the runs differ: the donor's later steps look at the earlier keys and values
        x, layers = x[:, after].contiguous(), [layer.at(after) for layer in whole]
        donor_layers = list(twin.layers(twin.embedded(donor)[:, after], earlier=earlier))
        seen = [torch.zeros_like(x), x, *(stream for layer in layers for stream in (layer.middle, layer.after))]
        # how differently each writer writes, in the coordinates of its output weights where it has some
        changes: dict[Writer, Change] = {}
        for writer in twin.anatomy.writers:
            new, directions = twin.wrote(writer, donor, donor_layers)
            old, _ = twin.wrote(writer, reference, layers)
            # embeddings are written at all steps, layers compute the last ones only
            changes[writer] = Change((new - old)[:, -x.shape[1] :].contiguous(), directions)
        inputs, mixed = [torch.stack(layer.inputs) for layer in layers], [layer.mixed for layer in layers]
        # the donor's log-probabilities before `since` are those of the reference
        plain, other = (twin.logits(run[-1].after).log_softmax(-1) for run in (whole, donor_layers))
        return cls(twin, since, seen, changes, inputs, mixed, earlier, plain, torch.cat([plain[:, :since], other], 1))

    @property
    def n_tokens(self) -> int:
        """Tokens of each run."""
        return self.seen[1].shape[0] * self.seen[1].shape[1]

    def change(self, writers: tuple[Writer, ...]) -> Change:
        """Return how what some writers write together differs between donor and reference."""
        if len(writers) == 1:
            return self.changes[writers[0]]
        return Change(cast(Tensor, sum(self.changes[writer].full() for writer in writers)))

    def pattern(self, layer: int) -> Float[Tensor, "batch head query step"]:
        """Return how much the heads of a layer look where, in the reference's run; kept for one layer at a time."""
        if layer not in self._patterns:
            # queries of these steps look at the keys of earlier ones, too; only columns of these steps are needed
            q, k, v = self.inputs[layer]
            k, _ = continued(self.earlier[layer], k, v)
            self._patterns = {layer: self.twin.scores(q, k).softmax(-1)[..., self.since :].contiguous()}
        return self._patterns[layer]

    def norm(self, stage: int) -> Norm:
        """Return the LayerNorm of a stage, with the maps that read it: q, k and v of all heads, `W_in`, or `W_U`."""
        if stage not in self.norms:
            self.norms[stage] = Norm(self.twin.norm(stage), *self._maps(stage), self.seen[stage])
        return self.norms[stage]

    def _maps(self, stage: int) -> tuple[Float[Tensor, "d_model out"], Float[Tensor, " out"]]:
        """Weight and bias of what reads a stage."""
        layer, is_mlp = divmod(stage - 1, 2)
        if stage == self.twin.last_stage:
            return self.twin.model.W_U, self.twin.model.b_U
        block = self.twin.block(layer)
        if is_mlp:
            return block.mlp.W_in, block.mlp.b_in
        # one map for all heads: q of head 0, 1, ..., then k, then v
        weights = [getattr(block.attn, f"W_{kind}").transpose(0, 1).flatten(1) for kind in "QKV"]
        return torch.cat(weights, 1), torch.cat([getattr(block.attn, f"b_{kind}").flatten() for kind in "QKV"])
