"""What patching every edge would do, to first order: one run forwards and one backwards for all edges at once.

Edge attribution patching (Nanda 2023, "Attribution Patching"; Syed et al. 2023, arXiv 2310.10348): the gradient of a
metric with respect to what a reader sees, times how differently a writer writes in the donor's run. With several
`steps` the gradient is averaged on the straight line between the embeddings of the two runs (integrated gradients,
Hanna et al. 2024, arXiv 2403.17806), since a gradient taken where the model is sure of itself is flat. By the rules of
layer-wise relevance propagation (RelP, Jafari et al. 2025, arXiv 2508.21258) one run is enough: a LayerNorm's scale
and the slope from 0 of a GELU are taken as constants, so that what they do to a change as large as the donor's is not
judged by a slope at one point. Attention keeps its gradient, so that queries and keys have a say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ad_hypotheses.causal.effects import Direction
from ad_hypotheses.causal.history_pairs import HistoryPairs
from ad_hypotheses.causal.metrics import Metric, MetricContext, find_metric
from ad_hypotheses.causal.patch import Roles, holds_at, holds_seen_from, role_masks
from ad_hypotheses.causal.run_pair import RunPair
from ad_hypotheses.causal.twin import Stream, Twin, continued
from ad_hypotheses.distill.finite import require_finite
from ad_hypotheses.distill.model import ADTransformer, LayerNorm
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.edges import Edge
from ad_hypotheses.language.history import History

Rule = Literal["gradient", "relevance"]
MEMORY = 2**28  # bytes that the activations of some rows may take
KINDS = "qkv"


def attribute(
    model: ADTransformer,
    pairs: HistoryPairs,
    edges: Sequence[Edge],
    metric: str | Metric = "loss",
    steps: int = 1,
    mask: Bool[np.ndarray, "row step"] | None = None,
    direction: Direction = "noising",
    memory: int = MEMORY,
    progress: Callable[[int], None] = lambda rows: None,
    rule: Rule = "gradient",
) -> Float[np.ndarray, "edge row"]:
    """Approximate how patching each edge alone changes a metric: what `measure` of the same pairs finds exactly.

    Args:
        model: In evaluation mode.
        pairs: The histories and their donors.
        edges: Which; they may speak of roles, judged in the reference's histories.
        metric: Name of one of :data:`ad_hypotheses.causal.metrics.METRICS`, or a metric of your own.
        steps: Runs per row. 1: the gradient at the run that is patched. More: integrated gradients, at the middles of
            so many pieces of the line between the two runs' embeddings.
        mask: Steps that count; all of them by default.
        direction: Which of the two runs is patched.
        memory: Bytes for activations; rows are computed together as far as it goes.
        progress: Called with the number of rows that were done.
        rule: What is taken backwards: gradients, or relevance.

    Returns:
        The change of the metric's mean over the steps that count; NaN in rows where none does. [edge, row]

    Raises:
        DataError: There is no such metric, not for these donors, or its gradient says nothing.
    """
    measured = _metric(metric, steps, direction, pairs)
    counted = np.ones_like(pairs.reference.actions, dtype=bool) if mask is None else mask
    attributions = np.zeros((len(edges), pairs.reference.n_rows))
    places = (np.arange(steps) + 0.5) / steps if steps > 1 else np.ones(1)
    twin, order = Twin(model.eval()), pairs.order
    for chunk in pairs.part(order).split(_size(twin, pairs.reference, edges, memory)):
        rows = order[chunk]
        pair, context = _runs(twin, pairs.part(rows), direction)
        steps_left = torch.as_tensor(counted[rows], device=model.device).to(model.dtype)
        weights = (steps_left / steps_left.sum(1, keepdim=True).clamp_min(1))[:, pair.since :]

        def total(log_probs: Tensor, context: MetricContext = context, weights: Tensor = weights) -> Tensor:
            return (measured.measure(log_probs, context) * weights).sum()

        roles = role_masks(edges, pairs.reference[rows], model.device)
        for place in places:
            attributions[:, rows] += _first_order(pair, float(place), total, edges, roles, rule) / steps
        progress(len(rows))
    attributions[:, ~counted.any(axis=1)] = np.nan
    return attributions


def _runs(twin: Twin, pairs: HistoryPairs, direction: Direction) -> tuple[RunPair, MetricContext]:
    """Return the run that is patched and the one that writes, and the context of the metric at their steps."""
    model, device = twin.model, twin.model.device
    reference_tokens, donor_tokens = (model.to_tokens(history) for history in (pairs.reference, pairs.donor))
    noising = direction == "noising"
    pair = (
        RunPair.of(twin, reference_tokens, donor_tokens, pairs.since)
        if noising
        else RunPair.of(twin, donor_tokens, reference_tokens, pairs.since)
    )
    reference = pair.log_probs if noising else pair.donor_log_probs
    actions = torch.as_tensor(pairs.reference.actions.astype(np.int64), device=device)
    towards = {name: torch.as_tensor(actions, device=device) for name, actions in pairs.towards.items()}
    return pair, MetricContext(reference, actions, towards).after(pair.since)


def screen(attributions: Float[np.ndarray, " edge *row"], n: int) -> list[int]:
    """Return the numbers of the `n` edges with the largest attributions, whatever their sign in a row, largest first.

    First-order terms of different rows cancel in their mean where the effects themselves do not.
    """
    order = np.argsort(-_means(np.abs(attributions)), kind="stable")  # what is not known comes last
    return [int(number) for number in order[:n]]


def agreement(
    approximate: Float[np.ndarray, " edge *row"], exact: Float[np.ndarray, " edge *other"], signed: bool = False
) -> float:
    """Return Spearman's rank correlation across edges; NaN where it is not defined.

    Args:
        approximate: From :func:`attribute`.
        exact: Exact effects of the same edges.
        signed: Whether to compare the means over rows with their signs. By default what :func:`screen` ranks is
            compared with the size of the exact mean: how well it picks.
    """
    if signed:
        pair = np.stack([_means(approximate), _means(exact)])
    else:
        pair = np.stack([_means(np.abs(approximate)), np.abs(_means(exact))])
    pair = pair[:, np.isfinite(pair).all(axis=0)]
    ranks = np.stack([_ranks(values) for values in pair])
    if pair.shape[1] < 2 or (np.ptp(ranks, axis=1) == 0).any():
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])


def _means(values: np.ndarray) -> Float[np.ndarray, " edge"]:
    flat = values.reshape(len(values), -1)
    known = np.isfinite(flat)
    sums = np.where(known, flat, 0).sum(axis=1)
    return np.divide(sums, known.sum(axis=1), out=np.full(len(flat), np.nan), where=known.any(axis=1))


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return ranks; equal values share the mean of theirs."""
    _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[number]


def _metric(metric: str | Metric, steps: int, direction: Direction, pairs: HistoryPairs) -> Metric:
    if not isinstance(metric, str):
        return metric
    named = find_metric(metric, pairs.name, pairs.towards)
    if named.attribution_steps > 1 and steps == 1 and direction == "noising":
        raise DataError(
            f"{named.quantity} is smallest, 0, at the reference itself: its gradient there is 0 for every edge.\n"
            f"  Take several steps (integrated gradients; `screen_steps={named.attribution_steps}`), or another metric."
        )
    return named


def _size(twin: Twin, history: History, edges: Sequence[Edge], memory: int) -> int:
    """Return how many rows to compute together: each holds its run, every writing and what one stage's readers see."""
    shape = twin.shape
    vectors = len(twin.anatomy.writers) + 2 * 3 * shape.n_heads + 12 * shape.n_layers
    bytes_a_row = history.n_steps * vectors * shape.d_model * twin.model.dtype.itemsize
    if any(edge.written_at or edge.read_at for edge in edges):
        bytes_a_row += 8 * shape.n_heads * history.n_steps**2 * twin.model.dtype.itemsize
    return max(1, memory // bytes_a_row)


@dataclass
class _GradientRun:
    """One run with gradients.

    Attributes:
        seen: What the readers of each stage see.
        inputs: Queries, keys and values of each layer. [batch, step, head, d_head] each
        mixed: What its heads mix.
        normalised: What LayerNorm makes of what is seen, at the stages of MLPs and of the logits.
        gradients: Gradients of the metric with respect to each of the tensors above but `seen`, by identity.
    """

    seen: dict[int, Stream]
    inputs: list[dict[str, Tensor]]
    mixed: list[Tensor]
    normalised: dict[int, Stream]
    gradients: dict[int, Tensor]

    def gradient(self, tensor: Tensor) -> Tensor:
        return self.gradients[id(tensor)]


def _backwards(pair: RunPair, x: Stream, total: Callable[[Tensor], Tensor], rule: Rule) -> _GradientRun:
    """Run the model from the embeddings on, and back; before the steps of the pair nothing changes."""
    twin = pair.twin
    run = _GradientRun({1: x.detach().requires_grad_()}, [], [], {}, {})
    x, heads = run.seen[1], range(twin.shape.n_heads)
    with torch.enable_grad():
        for layer in range(twin.shape.n_layers):
            stage = 2 * layer + 1
            run.seen[stage] = x
            normalised = _normalised(twin, stage, x, rule)
            parts = {kind: twin.head_inputs(layer, kind, heads, normalised) for kind in KINDS}
            z = twin.mix(parts["q"], parts["k"], parts["v"], pair.earlier[layer])
            run.inputs.append(parts)
            run.mixed.append(z)
            x = x + z.flatten(2) @ twin.block(layer).attn.W_O.flatten(0, 1) + twin.attention_bias(layer)
            if not twin.shape.attention_only:
                # a tensor of its own even without LayerNorm: its gradient must not be that of the stream
                run.seen[stage + 1], run.normalised[stage + 1] = x, _normalised(twin, stage + 1, x, rule).clone()
                x = x + _mlp(twin, layer, run.normalised[stage + 1], rule)
        last = twin.last_stage
        run.seen[last], run.normalised[last] = x, _normalised(twin, last, x, rule)
        logits = require_finite(run.normalised[last] @ twin.model.W_U + twin.model.b_U, twin.model, "the logits")
        wanted = [*(t for parts in run.inputs for t in parts.values()), *run.mixed, *run.normalised.values()]
        gradients = torch.autograd.grad(total(logits.log_softmax(-1)), wanted)
    run.gradients = {id(tensor): gradient for tensor, gradient in zip(wanted, gradients, strict=True)}
    run.seen = {stage: seen.detach() for stage, seen in run.seen.items()}
    return run


def _normalised(twin: Twin, stage: int, x: Stream, rule: Rule) -> Stream:
    """Return what LayerNorm makes of what is seen; with its scale as a constant where relevance is taken backwards."""
    norm = twin.norm(stage)
    if rule == "gradient" or not norm.on:
        return twin.normalise(stage, x)
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.pow(2).mean(-1, keepdim=True) + norm.eps).rsqrt().detach()
    return centred * scale * norm.w + norm.b


def _mlp(twin: Twin, layer: int, normalised: Stream, rule: Rule) -> Stream:
    """Return what an MLP writes; with the share that a neuron passes on, `gelu(x) / x`, as a constant for relevance."""
    if rule == "gradient":
        return twin.mlp(layer, normalised)
    mlp = twin.block(layer).mlp
    pre = F.linear(normalised, mlp.W_in.T, mlp.b_in)
    known = pre.detach()
    passed = torch.where(known == 0, 0.5, mlp.activate(known) / known)
    return F.linear(pre * passed, mlp.W_out.T, mlp.b_out)


def _first_order(
    pair: RunPair, place: float, total: Callable[[Tensor], Tensor], edges: Sequence[Edge], roles: Roles, rule: Rule
) -> Float[np.ndarray, "edge row"]:
    """Gradient times change for every edge, the gradient taken at a place between donor (0) and reference (1)."""
    writers = pair.twin.anatomy.writers
    apart = sum(pair.changes[writer].full() for writer in writers if writer.stage == 0)
    run = _backwards(pair, pair.seen[1] + (1 - place) * apart, total, rule)
    attributions = np.empty((len(edges), len(pair.seen[1])))
    with torch.no_grad():
        changes = torch.stack([pair.changes[writer].full() for writer in writers], dim=1).flatten(2)
        for stage in sorted({edge.stage for edge in edges}):
            numbers = [number for number, edge in enumerate(edges) if edge.stage == stage]
            ends = list(dict.fromkeys(replace(edges[number], writers=()) for number in numbers))
            towards = torch.stack([_towards(pair, run, end, roles, rule) for end in ends], dim=1).flatten(2)
            by_writer = require_finite(towards @ changes.mT, pair.twin.model, "the gradients")
            products = by_writer.double().cpu().numpy()  # [batch, end, writer]
            for number in numbers:
                end = ends.index(replace(edges[number], writers=()))
                columns = [writers.index(writer) for writer in edges[number].writers]
                attributions[number] = products[:, end, columns].sum(axis=1)
    return attributions


def _towards(pair: RunPair, run: _GradientRun, end: Edge, roles: Roles, rule: Rule) -> Stream:
    """Gradient of the metric with respect to what a reader sees, as far as an edge that ends there speaks of it."""
    twin, reader = pair.twin, end.reader
    if reader.of_head:
        weight = getattr(twin.block(reader.layer).attn, f"W_{reader.kind.upper()}")[reader.head]
        gradient = _input_gradient(pair, run, end, roles) @ weight.T
    else:
        gradient = run.gradient(run.normalised[reader.stage])
    if not reader.looks_back:
        for role in (end.written_at, end.read_at):
            if role is not None:
                gradient = gradient * holds_at(pair, role, roles)[..., None]
    return _through_norm(twin.norm(reader.stage), run.seen[reader.stage], gradient, rule)


def _input_gradient(pair: RunPair, run: _GradientRun, end: Edge, roles: Roles) -> Float[Tensor, "batch step d_head"]:
    """Gradient with respect to a query, key or value; of keys and values as far as the roles of both ends go."""
    twin, reader = pair.twin, end.reader
    layer, kind, only = reader.layer, reader.kind, slice(reader.head, reader.head + 1)
    if kind == "q" or (end.written_at is None and end.read_at is None):
        return run.gradient(run.inputs[layer][kind])[:, :, reader.head]
    q, k, v = (run.inputs[layer][name][:, :, only].detach() for name in KINDS)
    after = run.gradient(run.mixed[layer])[:, :, only]
    if end.read_at is not None:
        after = after * holds_at(pair, end.read_at, roles)[..., None, None]
    with torch.enable_grad():
        new = (k if kind == "k" else v).requires_grad_()
        all_k, all_v = continued(pair.earlier[layer][:, :, :, only], k, v)
        scores = twin.scores(q, all_k)
        seen = None if end.written_at is None else holds_seen_from(pair, end.written_at, roles)[:, None]
        if seen is not None and kind == "k":
            scores = torch.where(seen, scores, scores.detach())
        pattern = scores.softmax(-1)
        if seen is not None and kind == "v":
            pattern = pattern * seen
        mixed = (pattern @ all_v.transpose(1, 2)).transpose(1, 2)
        return torch.autograd.grad(mixed, new, after)[0][:, :, 0]


def _through_norm(norm: LayerNorm, x: Stream, gradient: Stream, rule: Rule) -> Stream:
    """Return the gradient with respect to what LayerNorm is given, from that with respect to what it returns."""
    if not norm.on:
        return gradient
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.pow(2).mean(-1, keepdim=True) + norm.eps).rsqrt()
    unit, scaled = centred * scale, gradient * norm.w
    if rule == "relevance":
        return scale * (scaled - scaled.mean(-1, keepdim=True))
    return scale * (scaled - scaled.mean(-1, keepdim=True) - unit * (unit * scaled).mean(-1, keepdim=True))
