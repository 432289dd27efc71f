"""The graph of a claim as a Mermaid diagram, which GitHub and most Markdown readers draw."""

from __future__ import annotations

import re

from ad_hypotheses.report.words import NOT_ESTIMABLE, figure, percent
from ad_hypotheses.studies.scrub.claim_parts import NodeRecord
from ad_hypotheses.studies.scrub.record import Claim, kept

MAX_EDGES = 500  # GitHub refuses to draw more
MAX_LABEL = 60  # longer sites would make boxes that no page holds

#: What a node's colour says, by class.
CLASSES = {
    "ok": "recovers enough alone",
    "weak": "recovers too little alone",
    "exact": "exact by construction",
    "untested": "not tested",
    "made": "donors are made",
}
_STYLES = {
    "ok": "fill:#cfe8f7,stroke:#0072b2,stroke-width:2px,color:#10222e",
    "weak": "fill:#fde3c4,stroke:#d55e00,stroke-width:2px,color:#331a00",
    "exact": "fill:#e6e6e6,stroke:#6b6b6b,color:#222222",
    "untested": "fill:#ffffff,stroke:#6b6b6b,stroke-dasharray:5 4,color:#222222",
    "made": "fill:#e2efda,stroke:#009e73,stroke-width:2px,color:#0f2a20",
}


def mermaid(claim: Claim) -> str:
    """Return the diagram of a claim: its nodes, where they sit, what each recovered alone, and the arrows.

    Args:
        claim: Of a study.

    Returns:
        Mermaid source without the code fence. Of a graph with more than 500 arrows, which GitHub would refuse, the
        first 500 are drawn and the number of the others is written into a box.
    """
    ids = {node.name: f"n{index}" for index, node in enumerate(claim.nodes)}
    edges = [(parent, node.name) for node in claim.nodes for parent in node.parents if parent in ids]
    lines = ["flowchart TD"]
    lines += [f'    {ids[node.name]}["{_label(node, claim)}"]:::{node_class(node, claim)}' for node in claim.nodes]
    lines += [f"    {ids[source]} --> {ids[target]}" for source, target in edges[:MAX_EDGES]]
    if len(edges) > MAX_EDGES:
        lines.append(f'    more["and {len(edges) - MAX_EDGES} more arrows"]:::untested')
    else:
        lines += _undeclared(claim, ids)
    used = [name for name in CLASSES if any(line.endswith(f":::{name}") for line in lines)]
    lines += [f"    classDef {name} {_STYLES[name]}" for name in used]
    return "\n".join(lines)


def _undeclared(claim: Claim, ids: dict[str, str]) -> list[str]:
    """Return dashed lines for the strong arrows that a claim lacks, and boxes for components that it does not name."""
    lines, boxes = [], dict(ids)
    for arrow in claim.undeclared.arrows if claim.undeclared else []:
        if arrow.strong and arrow.target in ids:
            if arrow.source not in boxes:
                boxes[arrow.source] = f"u{len(boxes) - len(ids)}"
                label = f"<i>{escape(arrow.source)}</i><br/>not in the claim"
                lines.append(f'    {boxes[arrow.source]}["{label}"]:::untested')
            lines.append(f'    {boxes[arrow.source]} -.->|"lacking, {percent(arrow.share)}"| {ids[arrow.target]}')
    return lines


def node_class(node: NodeRecord, claim: Claim) -> str:
    """Return which of `CLASSES` a node belongs to; the root stands for the whole claim and its verdict."""
    if node.level == "root":
        return {"supported": "ok", "refuted": "weak"}.get(claim.verdict.split()[0], "untested")
    if node.symmetry is not None:
        return "made"
    if node.exact:
        return "exact"
    if figure(node.recovered) == NOT_ESTIMABLE or node.swapped == 0:
        return "untested"
    return "ok" if node.recovered is not None and node.recovered >= claim.accept else "weak"


def _label(node: NodeRecord, claim: Claim) -> str:
    """Return a node's lines: name, site, figure."""
    site = node.site if node.role is None else f"{node.site} at {node.role}"
    if node.level == "root":
        share = kept(claim)
        last = f"whole claim: {figure(share.value if share.estimable else None)}"
    else:
        last = "exact by construction" if node.exact else f"alone: {figure(node.recovered)}"
    if node.symmetry is not None:
        last = f"donors by {node.symmetry}"
    lines = [f"<b>{escape(node.name)}</b>", f"<i>{escape(site)}</i>", escape(last)]
    if node.hidden:
        lines.append("reads hidden facts")
    return "<br/>".join(lines)


def escape(text: str) -> str:
    """Return `text` as Mermaid shows it inside a quoted label: everything that means something there is an entity."""
    text = " ".join(text.split())
    text = text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"
    names = {'"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;"}
    return re.sub(r'["<>&#`\[\]{}|;%\\]', lambda found: names.get(found[0], f"#{ord(found[0])};"), text)
