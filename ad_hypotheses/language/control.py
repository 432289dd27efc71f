"""The same claim at places where it should not hold: the control that every study carries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.anatomy import Anatomy, Part
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.sites import SiteSet, Term
from ad_hypotheses.language.structure import check_structure, examine_structure


def wrong_site(hypothesis: Hypothesis, anatomy: Anatomy) -> Hypothesis | None:
    """Return the hypothesis with its nodes at other heads, MLPs or, failing that, other channels of the same model.

    Heads move within their layer, whole layers of heads and MLPs to other layers, as many as can move; features, arrows
    and the number of sites stay. Sites that the hypothesis itself names are avoided where there are others.

    Returns:
        None if no other place fits, e.g. where the claim already names every head of a layer.
    """
    best: tuple[tuple[int, int], Hypothesis] | None = None
    named = _places(examine_structure(hypothesis, anatomy)[0].values())
    for shifts in _shifts(anatomy):
        sites = {node.name: _shifted(node.site, anatomy, *shifts) for node in hypothesis.nodes}
        moved = {node.name: sites[node.name] for node in hypothesis.nodes if sites[node.name] != node.site}
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


def _shifts(anatomy: Anatomy) -> Iterator[tuple[int, int, int]]:
    """Yield (head, mlp, channel) shifts; channels only move where nothing else can."""
    for heads in range(anatomy.n_heads):
        for layers in range(anatomy.n_layers):
            if heads or layers:
                yield heads, layers, 0
    yield from ((0, 0, channels) for channels in range(1, len(anatomy.channels)))


def _shifted(site: SiteSet, anatomy: Anatomy, heads: int, layers: int, channels: int) -> SiteSet:
    groups = tuple(
        replace(group, terms=tuple(_moved(term, anatomy, heads, layers, channels) for term in group.terms))
        for group in site.groups
    )
    return replace(site, groups=groups)


def _moved(term: Term, anatomy: Anatomy, heads: int, layers: int, channels: int) -> Term:
    if term.to is not None:
        term = replace(term, to=_shifted(term.to, anatomy, heads, layers, channels))
    if term.kind == "head" and term.head is not None:
        return replace(term, head=(term.head + heads) % anatomy.n_heads)
    if term.kind == "head" and term.layer is not None:
        return replace(term, layer=(term.layer + layers) % anatomy.n_layers)
    if term.kind == "mlp" and term.layer is not None:
        return replace(term, layer=(term.layer + layers) % anatomy.n_layers)
    if term.kind == "embed" and term.channel in anatomy.channels:
        number = (anatomy.channels.index(term.channel) + channels) % len(anatomy.channels)
        return replace(term, channel=anatomy.channels[number])
    return term
