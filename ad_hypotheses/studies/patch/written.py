"""The strongest edges of a study of patches, written out as a hypothesis file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.edges import Edge, find_edges
from ad_hypotheses.language.write import hypothesis_source
from ad_hypotheses.studies.patch.record import PatchStudy


def hypothesis_of(study: PatchStudy, name: str, n: int) -> str:
    """Return the text of a hypothesis file that says: these edges matter, and no others.

    Args:
        study: Of patches, edges among them.
        name: What to call the hypothesis.
        n: How many edges, the strongest.

    Raises:
        HypothesisError: The name cannot be used, or there is no way from an embedding to the logits among them.
    """
    anatomy = anatomy_of(study.writers)
    edges: list[Edge] = find_edges([edge.name for edge in study.strongest(n)], anatomy)
    lines = [f"The {len(edges)} edges that move {study.metrics[0]} most: {study.donors_text}."]
    return hypothesis_source(edges, anatomy, name, study.model, lines)


def anatomy_of(writers: Sequence[str]) -> Anatomy:
    """Return the sites of a model whose writers have these names: `embed("x")`, `pos`, `head(0, 1)`, `mlp(0)`."""
    heads = [(int(layer), int(head)) for layer, head in re.findall(r"head\((\d+), (\d+)\)", "\n".join(writers))]
    return Anatomy(
        tuple(re.findall(r'embed\("(.*?)"\)', "\n".join(writers))),
        1 + max(layer for layer, _ in heads),
        1 + max(head for _, head in heads),
        has_positions="pos" in writers,
        has_mlps="mlp(0)" in writers,
    )
