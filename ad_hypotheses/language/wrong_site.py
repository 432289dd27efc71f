"""The same claim at places where it should not hold: the control that every study carries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.anatomy import Anatomy, Part
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.sites import SiteSet, Term
from ad_hypotheses.language.structure import check_structure, examine_structure


def wrong_site(hypothesis: Hypothesis, anatomy: Anatomy) -> Hypothesis | None:
    """Return the hypothesis with its nodes at other places of the same model.

    Heads move within their layer, whole layers of heads and MLPs to other layers, or channels to others; only where
    none of these fits, MLPs change places with the heads of their layer. Features and arrows stay. The move is taken
    that leads to most places that the hypothesis itself does not name.

    Returns:
        None if no other place fits.
    """
    best: tuple[tuple[int, int], Hypothesis] | None = None
    named = _places(examine_structure(hypothesis, anatomy)[0].values())
    for shift in _shifts(anatomy):
        if shift.swap and best is not None:
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
        new = _places(parts[name] for name in moved) - named
        score = (len(new), len(moved))
        if best is None or score > best[0]:
            best = score, replace(control, name=f"{hypothesis.name or hypothesis.root.name} at wrong sites")
    return None if best is None else best[1]


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
