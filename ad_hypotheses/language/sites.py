"""How a person names places in a model.

Sites are values: `embed("x") + head(1, 2).to(mlp(1))` is a :class:`SiteSet`, and its `str` is what was typed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from ad_hypotheses.errors import did_you_mean
from ad_hypotheses.language.anatomy import COMPONENTS, Anatomy, Part, typed
from ad_hypotheses.language.problems import Problem, failure, listed
from ad_hypotheses.language.roles import STEP_ROLES

RANK_TOLERANCE = (
    1e-8  # a direction shorter than this share of the longest, after the others are taken out, is dependent
)


@dataclass(frozen=True)
class Term:
    """One summand of a site, as typed; which places it means depends on the model."""

    kind: Literal["embed", "pos", "head", "mlp", "logits"]
    layer: int | None = None
    head: int | None = None
    channel: str | None = None
    part: Literal["q", "k", "v"] | None = None
    to: SiteSet | None = None
    along: tuple[tuple[float, ...], ...] | None = None

    def __str__(self) -> str:
        text = typed(self.kind, self.layer, self.head, self.channel)
        text += f".{self.part}" if self.part else ""
        text += f".to({self.to})" if self.to is not None else ""
        return text + (".along(directions)" if self.along is not None else "")


@dataclass(frozen=True)
class Group:
    """Summands that were counted together by `.expect(n)`; `expected` is None where they were not counted."""

    terms: tuple[Term, ...]
    expected: int | None = None

    def __str__(self) -> str:
        text = " + ".join(map(str, self.terms))
        if self.expected is None:
            return text
        return (f"({text})" if len(self.terms) > 1 else text) + f".expect({self.expected})"


@dataclass(frozen=True)
class SiteSet:
    """Where a node sits: what `embed(...)`, `pos`, `head(...)`, `mlp(...)` and `logits` are, joined with `+`.

    A mistake in a site is kept in `problems` and reported when the hypothesis is checked, so that all of a file's
    mistakes come at once.

    Attributes:
        groups: What was joined, in the order in which it was typed.
        role: The step role that `.steps(role)` narrows to, one for the whole site; None for every step.
        problems: What is wrong with the site whatever the model.
    """

    groups: tuple[Group, ...]
    role: str | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def terms(self) -> tuple[Term, ...]:
        """Every summand."""
        return tuple(term for group in self.groups for term in group.terms)

    @property
    def q(self) -> SiteSet:
        """The query inputs of the heads."""
        return self._parts("q")

    @property
    def k(self) -> SiteSet:
        """The key inputs of the heads."""
        return self._parts("k")

    @property
    def v(self) -> SiteSet:
        """The value inputs of the heads."""
        return self._parts("v")

    def to(self, reader: Any) -> SiteSet:
        """Return the same writers as far as `reader` reads them.

        Args:
            reader: A site that reads: `head(l, h)`, one of its `.q .k .v`, `mlp(l)`, `logits`, or a sum of those.
        """
        if not isinstance(reader, SiteSet):
            return self._wrong(f"{self}.to({reader!r}): that is not a site.", "write for example .to(mlp(1))")
        plain = reader.role is None and all(
            g.expected is None and t.to is None and t.along is None for g in reader.groups for t in g.terms
        )
        if not plain or not all(COMPONENTS[term.kind].reads for term in reader.terms):
            advice = "name what reads: .to(head(1, 2)), .to(head(1, 2).q), .to(mlp(1)) or .to(logits)"
            return self._wrong(f"{self}.to({reader}): {reader} is not a reader.", advice)
        for term in self.terms:
            if term.to is not None:
                return self._wrong(f"{self}.to({reader}): .to stands twice.", f"write .to({term.to} + {reader})")
            if term.part or not COMPONENTS[term.kind].writes:
                return self._wrong(f"{term}.to({reader}): {term} reads and does not write.", "leave .to out")
        return self._each(lambda term: replace(term, to=reader))._with(reader.problems)

    def along(self, directions: Any) -> SiteSet:
        """Return the same writers as far as they write into a subspace.

        Args:
            directions: Vectors that span it, [k, d_model] or [d_model]; fit them on other data than you test on.
        """
        place = f"{self}.along(directions)"
        try:
            rows = np.atleast_2d(np.asarray(directions, dtype=np.float64))
        except (TypeError, ValueError):
            return self._wrong(f"{place}: directions must be an array of numbers.", "its shape: [k, d_model]")
        if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
            return self._wrong(
                f"{place}: directions must be finite numbers of shape [k, d_model].", f"yours: {rows.shape}"
            )
        rank = _orthonormal(rows).shape[0]
        if rank < rows.shape[0]:
            message = f"{place}: the {rows.shape[0]} directions span only {rank} dimension{'' if rank == 1 else 's'}."
            return self._wrong(message, "drop those that are zero or depend on the others")
        for term in self.terms:
            if term.along is not None:
                return self._wrong(f"{place}: .along stands twice.", "stack the directions into one array")
            if term.part or not COMPONENTS[term.kind].writes:
                return self._wrong(f"{term}.along(directions): {term} reads and does not write.", "leave .along out")
        return self._each(lambda term: replace(term, along=tuple(map(tuple, rows.tolist()))))

    def steps(self, role: Any) -> SiteSet:
        """Return the same site at the steps of one role.

        Args:
            role: Name of a step role: one of :data:`STEP_ROLES` or a regime of the task, e.g. `"rewarded"`.
        """
        if not isinstance(role, str):
            return self._wrong(f"{self}.steps({role!r}): a role is a name.", f"choose from: {listed(STEP_ROLES)}")
        if self.role not in (None, role):
            advice = "one node has one role: put the other role at another node"
            return self._wrong(f'{self}.steps("{role}"): the site has a role already.', advice)
        return replace(self, role=role)

    def expect(self, count: Any) -> SiteSet:
        """Return the same site, to be refused unless it selects `count` places of the model."""
        if not _is_index(count) or any(group.expected is not None for group in self.groups):
            return self._wrong(
                f"{self}.expect({count!r}): give one whole number, once.", "for example head(0).expect(4)"
            )
        return replace(self, groups=(Group(self.terms, int(count)),))

    def __add__(self, other: Any) -> SiteSet:
        if not isinstance(other, SiteSet):
            advice = f'call it, as in {other.__name__}("x")' if other is embed else "join sites: embed, pos, head, mlp"
            return self._wrong(f"{self} + {getattr(other, '__name__', repr(other))}: the second is not a site.", advice)
        problems = self.problems + other.problems
        if self.role != other.role:
            message = f"{self} + {other}: the two have different step roles."
            role = self.role or other.role
            advice = f'give the whole node one role, as in (... + ...).steps("{role}"), or make two nodes'
            problems += (Problem(message, advice=advice),)
        left, right = self.groups, other.groups
        if left and right and left[-1].expected is None and right[0].expected is None:
            left, right = (*left[:-1], Group(left[-1].terms + right[0].terms)), right[1:]
        return SiteSet(left + right, self.role or other.role, problems)

    def __str__(self) -> str:
        text = " + ".join(map(str, self.groups))
        if self.role is None:
            return text
        return (f"({text})" if len(self.terms) > 1 else text) + f'.steps("{self.role}")'

    def examine(self, anatomy: Anatomy) -> tuple[tuple[Part, ...], tuple[Problem, ...]]:
        """Return the places of this site in a model, and everything wrong with it; never raises."""
        parts: list[Part] = []
        problems = list(self.problems)
        for group in self.groups:
            before, wrong = len(parts), len(problems)
            for term in group.terms:
                places, more = _examine_term(term, anatomy)
                parts += places
                problems += more
            selected = len(parts) - before
            if group.expected not in (None, selected) and wrong == len(problems):
                message = (
                    f"{group}: the site selects {selected} place{'' if selected == 1 else 's'}, not {group.expected}."
                )
                problems.append(Problem(message, facts=(("selected", listed(parts[before:])),)))
        return tuple(parts), tuple(problems)

    def resolve(self, anatomy: Anatomy) -> tuple[Part, ...]:
        """Return the places of this site in a model.

        Raises:
            HypothesisError: The model has no such place; lists every problem of the site.
        """
        parts, problems = self.examine(anatomy)
        if problems:
            raise failure(problems, str(self))
        return parts

    def _each(self, change: Callable[[Term], Term]) -> SiteSet:
        groups = tuple(replace(group, terms=tuple(map(change, group.terms))) for group in self.groups)
        return replace(self, groups=groups)

    def _parts(self, part: Literal["q", "k", "v"]) -> SiteSet:
        for term in self.terms:
            if part not in COMPONENTS[term.kind].reads or term.part or term.to is not None or term.along is not None:
                return self._wrong(f"{self}.{part}: only a plain head has .q, .k and .v.", f"write head(1, 2).{part}")
        return self._each(lambda term: replace(term, part=part))

    def _with(self, problems: tuple[Problem, ...]) -> SiteSet:
        return replace(self, problems=self.problems + problems)

    def _wrong(self, message: str, advice: str) -> SiteSet:
        return self._with((Problem(message, advice=advice),))


def embed(channel: Any = None) -> SiteSet:
    """Return the embedding of one part of the input token, or of all parts.

    Args:
        channel: A name such as `"x"`, `"action"` or `"reward"`; None for all of them.
    """
    if channel is not None and not isinstance(channel, str):
        return SiteSet(())._wrong(f"embed({channel!r}): a channel is a name.", 'for example embed("x")')
    return SiteSet((Group((Term("embed", channel=channel),)),))


def head(layer: Any, head: Any = None) -> SiteSet:
    """Return one attention head, or all heads of a layer.

    Args:
        layer: Counted from 0.
        head: Counted from 0; None for the whole layer.
    """
    if not _is_index(layer) or not (head is None or _is_index(head)):
        given = f"{layer!r}" + ("" if head is None else f", {head!r}")
        return SiteSet(())._wrong(f"head({given}): layer and head are whole numbers.", "for example head(1, 2)")
    number = None if head is None else operator.index(head)
    return SiteSet((Group((Term("head", operator.index(layer), number),)),))


def mlp(layer: Any) -> SiteSet:
    """Return the multilayer perceptron of a layer, counted from 0."""
    if not _is_index(layer):
        return SiteSet(())._wrong(f"mlp({layer!r}): the layer is a whole number.", "for example mlp(0)")
    return SiteSet((Group((Term("mlp", operator.index(layer)),)),))


pos = SiteSet((Group((Term("pos"),)),))
logits = SiteSet((Group((Term("logits"),)),))


def _examine_term(term: Term, anatomy: Anatomy) -> tuple[list[Part], list[Problem]]:
    missing = _missing(term, anatomy)
    to, problems = None, [missing] if missing else []
    if term.to is not None:
        targets, more = term.to.examine(anatomy)
        to = frozenset(reader for part in targets for reader in part.readers)
        problems += more
    if problems:
        return [], problems
    directions = None if term.along is None else _orthonormal(np.array(term.along))
    parts = [replace(part, to=to, directions=directions) for part in _places(term, anatomy)]
    for part in parts:
        if to is not None and not any(part.feeds(reader) for reader in to):
            message = f"{term}: {part.writer} writes too late for {term.to} to read it."
            problems.append(Problem(message, advice="name a reader that comes after the writer"))
    return parts, problems


def _missing(term: Term, anatomy: Anatomy) -> Problem | None:
    if not anatomy.has(term.kind):
        advice = "leave it out, or choose from the sites"
        return Problem(
            f"{term}: the model {COMPONENTS[term.kind].lacking}.",
            facts=(("sites", listed(anatomy.sites)),),
            advice=advice,
        )
    if term.channel is not None and term.channel not in anatomy.channels:
        exists = listed(f'"{name}"' for name in anatomy.channels)
        advice = did_you_mean(term.channel, anatomy.channels).strip()
        return Problem(
            f'{term}: the model has no channel "{term.channel}".', facts=(("channels", exists),), advice=advice
        )
    if term.layer is not None and not 0 <= term.layer < anatomy.n_layers:
        return Problem(f"{term}: the model has no layer {term.layer}.", facts=(("layers", _numbers(anatomy.n_layers)),))
    if term.head is not None and not 0 <= term.head < anatomy.n_heads:
        return Problem(f"{term}: the model has no head {term.head}.", facts=(("heads", _numbers(anatomy.n_heads)),))
    return None


def _places(term: Term, anatomy: Anatomy) -> Iterator[Part]:
    for place in anatomy.parts(term.kind, term.layer, term.head, term.channel):
        if term.part:
            yield Part(None, tuple(reader for reader in place.readers if reader.kind == term.part))
        else:
            yield place


def site_of_hook(name: str) -> str:
    """Return how the place of a hook is written as a site, as advice; empty if no hook of a model has that name.

    Args:
        name: As TransformerLens has it, `"blocks.0.attn.hook_z"`.
    """
    inside = re.fullmatch(r"blocks\.(\d+)\.(?:attn\.|mlp\.|ln[12]\.)?hook_(?:rot_)?(\w+)", name)
    layer, hook = inside.groups() if inside else ("", name.removeprefix("hook_"))
    if hook.startswith("resid_"):
        return f'name what writes into it, for example embed("x") + head({max(int(layer) - 1, 0)})'
    if inside and hook in ("z", "result", "attn_out"):
        return f"write head({layer}), or head({layer}, 1) for one head"
    if inside and hook in ("q", "k", "v"):
        return f"write head({layer}).{hook}"
    if inside and hook in ("attn_scores", "pattern"):
        return f"write head({layer}).q + head({layer}).k"
    if inside and hook in ("pre", "post", "mlp_out"):
        return f"write mlp({layer})"
    if name.startswith("hook_embeds."):
        return f'write embed("{name.removeprefix("hook_embeds.")}")'
    whole = {"hook_embed": 'write embed("x"), for each part of the token', "hook_pos_embed": "write pos"}
    return whole.get(name, "write logits" if name.startswith("ln_final.") else "")


def _orthonormal(rows: Float[np.ndarray, "n d_model"]) -> Float[np.ndarray, "k d_model"]:
    # the right singular vectors span the rows whatever their scale or number
    _, sizes, vectors = np.linalg.svd(rows, full_matrices=False)
    return vectors[sizes > RANK_TOLERANCE * max(sizes[0], np.finfo(float).tiny)]


def _is_index(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _numbers(count: int) -> str:
    return "0" if count == 1 else f"0 to {count - 1}"
