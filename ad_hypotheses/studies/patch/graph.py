"""The strongest edges as a Mermaid diagram: over the graph of a hypothesis, or between the components of a model."""

from __future__ import annotations

from collections.abc import Sequence

from ad_hypotheses.report.words import figure
from ad_hypotheses.studies.patch.record import PatchRecord, PatchStudy
from ad_hypotheses.studies.scrub.graph import escape

_NODE = "fill:#cfe8f7,stroke:#0072b2,stroke-width:2px,color:#10222e"
_PLACE = "fill:#ffffff,stroke:#6b6b6b,color:#222222"
_WIDEST = 7  # pixels


def drawing(study: PatchStudy, edges: Sequence[PatchRecord], metric: str) -> str:
    """Return a diagram: nodes with their declared arrows, and edges of the model dashed over them.

    An edge of the model leaves from the node that sits at its writer, or from a box of its own where none does. What
    is as wide as seven pixels has the largest effect.

    Args:
        study: With the arrows of a hypothesis, or without.
        edges: Of the model, not more than a reader can follow.
        metric: Which effect is written at an arrow.
    """
    arrows = [record for record in study.of_kind("arrow") if " -> " in record.name]
    ids = {name: f"n{number}" for number, name in enumerate(study.nodes)}
    boxes = [f'    {ids[name]}["{_label(name, places)}"]:::claimed' for name, places in study.nodes.items()]
    lines: list[tuple[str, str, float, str]] = []
    for record in arrows:
        parent, child = record.name.split(" -> ")
        lines.append((ids[parent], ids[child], record.value(metric), "-->"))
    places: dict[str, str] = {}
    for (start, end), value in _strongest_between(study, edges, metric).items():
        for place in (start, end):
            if place not in ids and place not in places:
                places[place] = f"m{len(places)}"
                boxes.append(f'    {places[place]}["{escape(place)}"]:::place')
        lines.append((ids.get(start) or places[start], ids.get(end) or places[end], value, "-.->" if arrows else "-->"))
    top = max((abs(value) for _, _, value, _ in lines if value == value), default=0.0)
    drawn = [f'    {start} {kind}|"{_signed(value)}"| {end}' for start, end, value, kind in lines]
    widths = [
        f"    linkStyle {number} stroke:{'#0072b2' if kind == '-->' and arrows else '#d55e00'},"
        f"stroke-width:{max(1.0, _WIDEST * abs(value) / top if top and value == value else 1.0):.1f}px"
        for number, (_, _, value, kind) in enumerate(lines)
    ]
    styles = [f"    classDef claimed {_NODE}"] * bool(study.nodes) + [f"    classDef place {_PLACE}"] * bool(places)
    return "\n".join(["flowchart TD", *boxes, *drawn, *styles, *widths])


def _strongest_between(study: PatchStudy, edges: Sequence[PatchRecord], metric: str) -> dict[tuple[str, str], float]:
    """The strongest of the edges between any two boxes; those inside one box are left out."""
    owner = {place: name for name, places in study.nodes.items() for place in places}
    strongest: dict[tuple[str, str], float] = {}
    for edge in edges:
        reader = edge.reader
        component = reader.rpartition(".")[0] if reader.endswith((".q", ".k", ".v")) else reader
        start = next((owner[writer] for writer in edge.writers if writer in owner), " + ".join(edge.writers))
        end = owner.get(reader) or owner.get(component) or component
        value = edge.value(metric)
        if start != end and abs(value) > abs(strongest.get((start, end), 0.0)):
            strongest[start, end] = value
    return strongest


def _label(name: str, places: Sequence[str]) -> str:
    return f"<b>{escape(name)}</b><br/><i>{escape(' + '.join(places))}</i>"


def _signed(value: float) -> str:
    return f"+{figure(value, 3)}" if value >= 0 else escape(figure(value, 3))
