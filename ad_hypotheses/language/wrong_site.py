"""The same claim at places where it should not hold: the control that every study carries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.anatomy import Anatomy, Part
from ad_hypotheses.language.check import BoundGraph
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.sites import SiteSet, Term
from ad_hypotheses.language.structure import check_structure, examine_structure


def wrong_site(hypothesis: Hypothesis, anatomy: Anatomy) -> Hypothesis | None:
    """Return the hypothesis with its nodes at other places of the same model: the first of :func:`wrong_sites`.

    Returns:
        None if no other place fits.
    """
    return next(iter(wrong_sites(hypothesis, anatomy)), None)


def wrong_sites(hypothesis: Hypothesis, anatomy: Anatomy) -> list[Hypothesis]:
    """Return the hypothesis with its nodes at other places of the same model, in every way that fits.

    Heads move within their layer, whole layers of heads and MLPs to other layers, or channels to others; only where
    none of these fits, MLPs change places with the heads of their layer. Features and arrows stay. First come the moves
    that lead to most places that the hypothesis itself does not name.
    """
    ranked: list[tuple[tuple[int, int], Hypothesis]] = []
    named = _places(examine_structure(hypothesis, anatomy)[0].values())
    for shift in _shifts(anatomy):
        if shift.swap and ranked:
            break
        sites = {node.name: _shifted(node.site, anatomy, shift) for node in hypothesis.nodes}
        moved = {
            node.name: sites[node.name]
            for node in hypothesis.nodes
            if set(sites[node.name].terms) != set(node.site.terms)
        }
        if not moved:
            continue
        try:
            control = hypothesis.on(None, **moved)
            parts = check_structure(control, anatomy)
        except HypothesisError:
            continue
        if any(_sites(control) == _sites(other) for _, other in ranked):
            continue
        new = _places(parts[name] for name in moved) - named
        ranked.append(
            ((len(new), len(moved)), replace(control, name=f"{hypothesis.name or hypothesis.root.name} at wrong sites"))
        )
    return [control for _, control in sorted(ranked, key=lambda item: item[0], reverse=True)]


def _sites(claim: Hypothesis) -> list[str]:
    return [str(node.site) for node in claim.nodes]


def is_finer(control: BoundGraph, claim: BoundGraph) -> bool:
    """Whether a control knows more at a place that the claim names: its feature there tells more histories apart.

    Such a control may do better than the claim without saying anything of the claim's sites.
    """
    return any(
        _tells_more(other.labels, node.labels)
        for node in claim.nodes.values()
        for other in control.nodes.values()
        if node.labels is not None and other.labels is not None and node.name != other.name
        if _places([node.parts]) & _places([other.parts])
    )


def _tells_more(control: Int[np.ndarray, "row ..."], claim: Int[np.ndarray, "row ..."]) -> bool:
    """Whether one feature splits classes of another, which does not split any of its own."""
    if control.ndim != claim.ndim:
        wide, narrow = (control, claim) if control.ndim > claim.ndim else (claim, control)
        narrow = np.broadcast_to(narrow[:, None], wide.shape)
        control, claim = (wide, narrow) if control.ndim > claim.ndim else (narrow, wide)
    control, claim = control.ravel(), claim.ravel()  # numbers from 0
    n_control, n_claim = (np.count_nonzero(np.bincount(labels)) for labels in (control, claim))
    of_class = np.zeros(int(control.max()) + 1, dtype=np.int64)
    of_class[control] = claim
    return bool(n_control > n_claim and (of_class[control] == claim).all())


def _places(sites: Iterable[tuple[Part, ...]]) -> set[tuple[object, ...]]:
    """Return the heads, MLPs and channels that some sites touch, whoever they are narrowed `.to`."""
    places = (part.writer or part.readers[0] for site in sites for part in site)
    return {(place.stage, place.head, getattr(place, "channel", None)) for place in places}


@dataclass(frozen=True)
class _Shift:
    """By how many heads, layers and channels places move, and whether MLPs and heads change places."""

    heads: int = 0
    layers: int = 0
    channels: int = 0
    swap: bool = False


def _shifts(anatomy: Anatomy) -> Iterator[_Shift]:
    for heads in range(anatomy.n_heads):
        for layers in range(anatomy.n_layers):
            if heads or layers:
                yield _Shift(heads, layers)
    yield from (_Shift(channels=channels) for channels in range(1, len(anatomy.channels)))
    yield _Shift(swap=True)


def _shifted(site: SiteSet, anatomy: Anatomy, by: _Shift) -> SiteSet:
    groups = tuple(
        replace(group, terms=tuple(_moved(term, anatomy, by) for term in group.terms)) for group in site.groups
    )
    return replace(site, groups=groups)


def _moved(term: Term, anatomy: Anatomy, by: _Shift) -> Term:
    if term.to is not None:
        term = replace(term, to=_shifted(term.to, anatomy, by))
    if by.swap and term.kind in ("head", "mlp") and term.part is None:
        return replace(term, kind="mlp" if term.kind == "head" else "head", head=None)
    if term.head is not None:
        return replace(term, head=(term.head + by.heads) % anatomy.n_heads)
    if term.layer is not None:
        return replace(term, layer=(term.layer + by.layers) % anatomy.n_layers)
    if term.channel in anatomy.channels:
        number = (anatomy.channels.index(term.channel) + by.channels) % len(anatomy.channels)
        return replace(term, channel=anatomy.channels[number])
    return term
