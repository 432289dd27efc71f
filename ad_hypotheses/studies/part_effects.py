"""What changes at one step if a part of the model alone writes, or is read as, something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ad_hypotheses.causal.patch import patch_edges, patch_writers
from ad_hypotheses.causal.run_pair import RunPair
from ad_hypotheses.language.edges import all_edges
from ad_hypotheses.studies.look import AskedValue

MOST_NAMED = 3


@torch.no_grad()
def part_effects(pair: RunPair, asked: AskedValue, edges: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Patch every writer alone, and every edge if wished.

    Args:
        pair: One row, whose last step is asked about.
        asked: What is asked about it.
        edges: Whether to patch edges, too.

    Returns:
        Changes of what is asked about, by writers, and by edges. {text of the part: change}
    """
    plain = float(asked(pair.log_probs[0, -1]))

    def changes(names: Sequence[str], patched: Iterator[tuple[list[int], Tensor]]) -> dict[str, float]:
        measured = {
            names[number]: float(asked(logits[0, -1].log_softmax(-1))) - plain
            for numbers, batch in patched
            for number, logits in zip(numbers, batch, strict=True)
        }
        return {name: measured[name] for name in names}

    anatomy = pair.twin.anatomy
    writers, every = anatomy.writers, all_edges(anatomy) if edges else []
    return (
        changes([str(writer) for writer in writers], patch_writers(pair, [(writer,) for writer in writers])),
        changes([str(edge) for edge in every], patch_edges(pair, every)) if every else {},
    )


def by_size(parts: Mapping[str, float]) -> list[str]:
    """Return the names of parts, the one with the largest change first."""
    return sorted(parts, key=lambda name: -abs(parts[name]))


def strongest(writers: Mapping[str, float]) -> str:
    """Name the writers with the largest changes."""
    return ", ".join(f"{name} {writers[name]:+.3g}" for name in by_size(writers)[:MOST_NAMED])
