"""Path patching, exact and batched: a reader sees a writer from another run, and the change flows on.

Goldowsky-Dill et al. 2023, "Localizing Model Behavior with Path Patching" (arXiv 2304.05969), with LayerNorm and every
later component computed again. Everything before the reader is taken from the plain run; patches of one stage are
computed together; a change is carried in the few directions that it has (:mod:`ad_hypotheses.causal.run_pair`), and
what no longer looks at other steps is computed for as many tokens at a time as stay in a core's cache. Steps before
the first at which the two runs differ are the plain run's, and are not computed: all logits are of the pair's steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ad_hypotheses.causal.run_pair import Change, RunPair
from ad_hypotheses.causal.twin import continued
from ad_hypotheses.language.anatomy import Writer
from ad_hypotheses.language.edges import Edge, Path
from ad_hypotheses.language.history import History
from ad_hypotheses.language.roles import PAIR_ROLES

TOKENS_AT_ONCE = 4096  # patched tokens computed together: enough to be worth a call, few enough for a core's cache
Logits = Float[Tensor, "patch batch step action"]
Roles = Mapping[str, Bool[Tensor, "batch all_steps all_steps"]]
"""Which steps have a role, judged from the step that looks, for all steps of a history; see `language.roles`."""


def patch_edges(
    pair: RunPair, edges: Sequence[Edge], roles: Roles | None = None, tokens: int = TOKENS_AT_ONCE
) -> Iterator[tuple[list[int], Logits]]:
    """Patch one edge at a time.

    Args:
        pair: The two runs.
        edges: The edges, in any order.
        roles: Where the roles that edges speak of hold.
        tokens: Patched tokens to compute together.

    Yields:
        The numbers of some of the edges, and the logits when each alone is patched.
    """
    # edges from one writer are neighbours within a stage, so that they share what LayerNorm makes of its change
    in_turn = sorted(range(len(edges)), key=lambda number: edges[number].writers)
    for stage, places in _by_stage([edges[number].stage for number in in_turn]):
        numbers = [in_turn[place] for place in places]
        # nothing is computed after the logits, so that there is nothing to gain from patching more than one together
        size = 1 if stage == pair.twin.last_stage else at_once(pair, tokens)
        if stage % 2 and stage < pair.twin.last_stage:
            size *= 3 * pair.twin.shape.n_heads  # what such patches hold is as wide as one head
        for batch in _split(numbers, size):
            with torch.no_grad():
                logits = _patched(pair, stage, [edges[number] for number in batch], roles)
            yield batch, logits


def patch_writers(
    pair: RunPair, groups: Sequence[tuple[Writer, ...]], tokens: int = TOKENS_AT_ONCE
) -> Iterator[tuple[list[int], Logits]]:
    """Replace what writers write for all who read it, one group at a time.

    Args:
        pair: The two runs.
        groups: Writers of one stage each.
        tokens: Patched tokens to compute together.

    Yields:
        The numbers of some of the groups, and the logits when each alone is replaced.
    """
    for stage, numbers in _by_stage([group[0].stage for group in groups]):
        for batch in _split(numbers, at_once(pair, tokens)):
            with torch.no_grad():
                # every later reader sees the change, so that it can be added to the stream itself
                changes = torch.stack([pair.change(groups[number]).full() for number in batch])
                logits = finish(pair, stage + 1, (pair.seen[stage + 1] + changes).flatten(0, 1))
            yield batch, logits


@torch.no_grad()
def patch_path(pair: RunPair, path: Path, roles: Roles | None = None) -> Float[Tensor, "batch step action"]:
    """Patch a chain of edges: only what passes along it changes, until its last reader, from where all flows on.

    Args:
        pair: The two runs.
        path: The edges; each after the first leaves from what the one before it arrives at.
        roles: Where the roles that edges speak of hold.
    """
    # how far each component on the way writes something else, if it alone reads the change of the one before it
    change = pair.change(path[0].writers)
    for edge in path[:-1]:
        change = _arrived(pair, edge, change, roles)
    last = path[-1]
    if last.stage == pair.twin.last_stage:
        return pair.norm(last.stage).of(_at(pair, change, last, roles))
    # what the last reader writes is seen by all that come after it
    moved = _arrived(pair, last, change, roles).full()
    return finish(pair, last.stage + 1, pair.seen[last.stage + 1] + moved)[0]


def at_once(pair: RunPair, tokens: int) -> int:
    """Return how many patches of these runs make so many tokens, with the steps that are looked at only."""
    n_rows, n_steps = pair.log_probs.shape[:2]
    return max(1, tokens // max(1, n_rows * n_steps))


def _by_stage(stages: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    order = sorted(range(len(stages)), key=stages.__getitem__)
    return ((stage, list(numbers)) for stage, numbers in groupby(order, key=stages.__getitem__))


def _split(numbers: list[int], size: int) -> Iterator[list[int]]:
    return (numbers[first : first + size] for first in range(0, len(numbers), size))


def _patched(pair: RunPair, stage: int, edges: Sequence[Edge], roles: Roles | None) -> Logits:
    """Return the logits when each of some edges into one stage is patched."""
    # one object for each group of writers: later steps recognise a change that they have met by its identity
    shared = {writers: pair.change(writers) for writers in dict.fromkeys(edge.writers for edge in edges)}
    changes = [shared[edge.writers] for edge in edges]
    if stage % 2 and stage < pair.twin.last_stage:  # inputs of heads
        moved = _mixed_otherwise(pair, stage, edges, changes, roles)
        return _flow_on(pair, stage, [edge.reader.head for edge in edges], moved)
    changes = [_at(pair, change, edge, roles) for change, edge in zip(changes, edges, strict=True)]
    if stage == pair.twin.last_stage:
        return torch.stack([pair.norm(stage).of(change) for change in changes])
    logits: dict[int, Tensor] = {}
    # an MLP reads changes in few directions and changes of full width, which cannot be stacked together
    for narrow in (True, False):
        chosen = [n for n, change in enumerate(changes) if (change.directions is not None) == narrow]
        if chosen:
            along = torch.stack([changes[n].along.flatten(0, 1) for n in chosen])
            directions = torch.stack([cast(Tensor, changes[n].directions) for n in chosen]) if narrow else None
            logits |= dict(
                zip(chosen, _through_mlp(pair, stage, Change(along, directions), carried=False), strict=True)
            )
    return torch.stack([logits[n] for n in range(len(edges))])


def _at(pair: RunPair, change: Change, edge: Edge, roles: Roles | None) -> Change:
    """Return what an edge carries to a reader that looks where it stands: only at steps of both its roles."""
    for role in (edge.written_at, edge.read_at):
        if role is not None:
            change = change.where(holds_at(pair, role, roles))
    return change


def role_masks(
    edges: Iterable[Edge],
    history: History,
    device: torch.device,
    roles: Mapping[str, Callable[[History], Bool[np.ndarray, "batch query step"]]] = PAIR_ROLES,
) -> Roles:
    """Return where the roles that edges speak of hold in the histories whose run is asked about."""
    names = {name for edge in edges for name in (edge.written_at, edge.read_at) if name is not None}
    return {name: torch.as_tensor(np.ascontiguousarray(roles[name](history)), device=device) for name in names}


def holds_seen_from(pair: RunPair, role: str, roles: Roles | None) -> Bool[Tensor, "batch query step"]:
    """Return which steps have a role, judged from each of the steps of a pair."""
    assert roles is not None, "an edge speaks of roles, but none were given"
    return roles[role][:, pair.since :]


def holds_at(pair: RunPair, role: str, roles: Roles | None) -> Bool[Tensor, "batch query"]:
    """Return which of the steps of a pair have a role where they stand."""
    return holds_seen_from(pair, role, roles).diagonal(pair.since, dim1=1, dim2=2)


def _arrived(pair: RunPair, edge: Edge, change: Change, roles: Roles | None) -> Change:
    """Return how differently the component that an edge arrives at writes."""
    stage = edge.stage
    if not edge.reader.of_head:
        norm = pair.norm(stage)
        now, before = norm.of(_at(pair, change, edge, roles)), norm.plain
        return Change(_after_activation(pair, stage, now) - _after_activation(pair, stage, before))
    moved = _mixed_otherwise(pair, stage, [edge], [change], roles)[0]
    return Change(moved, pair.twin.block(edge.reader.layer).attn.W_O[edge.reader.head])


def _mixed_otherwise(
    pair: RunPair, stage: int, edges: Sequence[Edge], changes: Sequence[Change], roles: Roles | None
) -> Float[Tensor, "edge batch step d_head"]:
    """Return how far the head of each edge into a layer mixes something else, along its own `W_O`."""
    mixed: list[Tensor] = [torch.empty(0)] * len(edges)
    # queries, keys and values respond in different ways, and with a role of what is written in others still
    ways = {(edge.reader.kind, edge.written_at is None) for edge in edges}
    for kind, everywhere in sorted(ways):
        chosen = [n for n, e in enumerate(edges) if (e.reader.kind, e.written_at is None) == (kind, everywhere)]
        moved = _moved(pair, stage, [edges[n] for n in chosen], [changes[n] for n in chosen], roles)
        for place, n in enumerate(
            chosen
        ):  # back in the order of the edges; steps that look without the role stay as they are
            read_at = edges[n].read_at
            mixed[n] = moved[:, :, place]
            if read_at is not None:
                mixed[n] = mixed[n] * holds_at(pair, read_at, roles)[..., None]
    return torch.stack(mixed)


def _moved(
    pair: RunPair, stage: int, edges: Sequence[Edge], changes: Sequence[Change], roles: Roles | None
) -> Float[Tensor, "batch step edge d_head"]:
    """Return the same for edges into inputs of one kind, all of them with a role of what is written or none."""
    # arrays with one entry an edge: the head of that edge, which may come several times
    kind, heads, layer = edges[0].reader.kind, [edge.reader.head for edge in edges], edges[0].reader.layer
    chosen = slice(None) if heads == list(range(pair.twin.shape.n_heads)) else heads
    (q, k, v), earlier = pair.inputs[layer][:, :, :, chosen], pair.earlier[layer][:, :, :, chosen]
    new, before = _inputs(pair, stage, kind, heads, changes), pair.mixed[layer][:, :, chosen]
    # without a role of what is written, a changed input is seen wherever it is looked at
    if edges[0].written_at is None and kind == "v":  # the pattern stays, so that only the change is mixed
        return _looked_at(pair.pattern(layer), heads, new - v)
    if edges[0].written_at is None:
        parts = {"q": q, "k": k, "v": v} | {kind: new}
        return pair.twin.mix(parts["q"], parts["k"], parts["v"], earlier) - before
    if kind == "q":  # a query stands where it looks
        written = torch.stack([holds_at(pair, edge.written_at or "", roles) for edge in edges], dim=2)[..., None]
        return pair.twin.mix(torch.where(written, new, q), k, v, earlier) - before
    # with one, each query sees the changed keys or values of some steps, and those of the plain run elsewhere
    seen = torch.stack([holds_seen_from(pair, edge.written_at or "", roles) for edge in edges], dim=1)
    all_k, all_v = continued(earlier, k, v)
    scores = pair.twin.scores(q, all_k)  # [batch, edge, query, step]
    if kind == "k":
        scores = torch.where(seen, pair.twin.scores(q, continued(earlier, new, v)[0]), scores)
        return (scores.softmax(-1) @ all_v.transpose(1, 2)).transpose(1, 2) - before
    pattern = (scores.softmax(-1) * seen)[..., pair.since :]  # values before are what they were
    return (pattern @ (new - v).transpose(1, 2)).transpose(1, 2)


def _inputs(
    pair: RunPair, stage: int, kind: str, heads: Sequence[int], changes: Sequence[Change]
) -> Float[Tensor, "batch step edge d_head"]:
    """Return queries, keys or values of some heads, each of a stream with another change."""
    norm, d_head = pair.norm(stage), pair.twin.shape.d_head
    # the maps of a stage lie side by side: the queries of all heads, their keys, their values
    first = "qkv".index(kind) * pair.twin.shape.d_model
    places: dict[int, list[int]] = {}  # edges from one writer share a change
    for place, change in enumerate(changes):
        places.setdefault(id(change), []).append(place)
    blocks = [
        norm.of(
            changes[group[0]], _columns(first, [heads[n] for n in group], d_head), norm.scale_again(changes[group[0]])
        )
        for group in places.values()
    ]
    # blocks stand in the order of the changes; edges want theirs in their own
    values = torch.cat(blocks, dim=-1).unflatten(-1, (-1, d_head))
    order = [place for group in places.values() for place in group]
    return values if order == sorted(order) else values[:, :, np.argsort(order).tolist()]


def _columns(first: int, heads: Sequence[int], d_head: int) -> slice | list[int]:
    """Return where the vectors of some heads lie, side by side from `first` on."""
    if list(heads) == list(range(heads[0], heads[0] + len(heads))):
        return slice(first + heads[0] * d_head, first + (heads[-1] + 1) * d_head)
    return [first + head * d_head + n for head in heads for n in range(d_head)]


def _looked_at(
    pattern: Float[Tensor, "batch head query step"],
    heads: Sequence[int],
    values: Float[Tensor, "batch step edge d_head"],
) -> Float[Tensor, "batch query edge d_head"]:
    """Return what heads mix of other values, one head an edge."""
    if list(heads) == list(range(pattern.shape[1])):
        return (pattern @ values.transpose(1, 2)).transpose(1, 2)
    mixed_values = torch.empty_like(values)
    # the pattern of a head is used once for all edges into it
    for head in set(heads):
        edges = [n for n, other in enumerate(heads) if other == head]
        mixed = pattern[:, head] @ values[:, :, edges].flatten(2)
        mixed_values[:, :, edges] = mixed.unflatten(-1, (len(edges), -1))
    return mixed_values


def _flow_on(
    pair: RunPair, stage: int, heads: Sequence[int], moved: Float[Tensor, "patch batch step d_head"]
) -> Logits:
    """Return the logits when a head of a layer mixes something else, one head a patch."""
    directions = pair.twin.block((stage - 1) // 2).attn.W_O[list(heads)]  # [patch, d_head, d_model]
    change = Change(moved.flatten(1, 2), directions)  # patches are batches of it, with all their tokens in a row
    if not pair.twin.shape.attention_only:
        return _through_mlp(pair, stage + 1, change, carried=True)
    x = change.full().view(*moved.shape[:3], -1) + pair.seen[stage + 1]
    return finish(pair, stage + 2, x.flatten(0, 1))


def _through_mlp(pair: RunPair, stage: int, changes: Change, carried: bool) -> Logits:
    """Return the logits when what an MLP reads has changed, one change a patch.

    Args:
        pair: The two runs.
        stage: Stage of the MLP.
        changes: Changes of what it reads. [patch, batch * step, direction]
        carried: Whether later readers see the change itself too.
    """
    logits = []
    size = max(1, pair.twin.tokens_at_once // pair.n_tokens)
    # as many patches at a time as make the tokens that a core's cache holds
    for first in range(0, len(changes.along), size):
        batch = slice(first, first + size)
        directions = None if changes.directions is None else changes.directions[batch]
        x = _after_mlp(pair, stage, Change(changes.along[batch], directions), carried)
        logits.append(finish(pair, stage + 1, x.view(-1, *pair.seen[stage].shape[1:])))
    return torch.cat(logits)


def _after_mlp(pair: RunPair, stage: int, change: Change, carried: bool) -> Float[Tensor, "patch token d_model"]:
    """Return what is seen after an MLP; arguments as those of :func:`_through_mlp`."""
    norm, mlp = pair.norm(stage).flat, pair.twin.block((stage - 1) // 2).mlp
    weight = norm.weight if change.directions is None else change.directions @ norm.weight
    # x holds first what the MLP sees, for the scale of LayerNorm, and then what is seen after it, in the same memory
    base = pair.seen[stage].flatten(0, 1)
    x = base.new_empty(len(change.along), *base.shape)
    for first in range(0, len(base), pair.twin.tokens_at_once):
        tokens = slice(first, first + pair.twin.tokens_at_once)
        part = Change(change.along[:, tokens], change.directions)
        seen = torch.add(part.full(), base[tokens], out=x[:, tokens])
        pre = norm.at(tokens).of(part, scale=norm.scale_of(seen), weight=weight)
        if not carried:  # later readers see the response of the MLP, but not the change that it read
            x[:, tokens] = base[tokens]
        x[:, tokens].view(-1, base.shape[-1]).addmm_(mlp.activate(pre).flatten(0, 1), mlp.W_out).add_(mlp.b_out)
    return x


def _after_activation(pair: RunPair, stage: int, pre: Tensor) -> Tensor:
    mlp = pair.twin.block((stage - 1) // 2).mlp
    return F.linear(mlp.activate(pre), mlp.W_out.T, mlp.b_out)


def finish(pair: RunPair, stage: int, x: Float[Tensor, "row step d_model"]) -> Logits:
    """Run the rest of the model on what the readers of a stage see; the rows are [patch * batch]."""
    # steps before the first difference are not run again: later ones look at their keys and values
    earlier = pair.earlier if pair.since else ()
    return pair.twin.onward(x, stage, earlier).unflatten(0, (-1, len(pair.seen[1])))
