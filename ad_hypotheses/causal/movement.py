"""How much of an arrow of a hypothesis was really tested in a pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int

from ad_hypotheses.causal.clean import Clean, Strand, gather
from ad_hypotheses.causal.twin import Stream
from ad_hypotheses.language.anatomy import Reader


@dataclass
class Movement:
    """How much of one arrow of the tree was really tested, in one pass.

    Attributes:
        swapped: Share of the draws whose donor is another row.
        moved: Mean norm of the change of what the parent delivers, relative to the norm of what it delivers.
        spread: The same for clean donors: how different the site is among histories that agree on the feature.
    """

    swapped: float
    moved: float
    spread: float


def movement(
    clean: Clean,
    selected: Bool[np.ndarray, "row step"] | None,
    donors: Int[np.ndarray, " row *step"],
    leaf: Mapping[Strand | Reader, Stream],
    delivery: Mapping[Strand | Reader, Stream],
) -> Movement:
    """Measure how far an arrow moved.

    Args:
        clean: The model's own run.
        selected: Steps that the parent speaks of. [row, step]
        donors: Where it was visited. [row] or [row, step]
        leaf: What it delivers in the model's own run.
        delivery: What it delivered.
    """
    table = torch.from_numpy(donors).to(clean.tokens.device)
    rows = np.arange(clean.n_rows)
    swapped = donors != rows if donors.ndim == 1 else donors // clean.n_steps != rows[:, None]
    mask = np.ones((clean.n_rows, clean.n_steps), dtype=bool) if selected is None else selected
    weight = torch.from_numpy(mask).to(clean.tokens.device)
    moved = spread = norm = 0.0
    for key, before in leaf.items():
        for chunk in clean.chunks():
            here = before[chunk]
            moved += ((gather(delivery[key], table[chunk]) - here).norm(dim=-1) * weight[chunk]).sum().item()
            spread += ((gather(before, table[chunk]) - here).norm(dim=-1) * weight[chunk]).sum().item()
            norm += (here.norm(dim=-1) * weight[chunk]).sum().item()
    share = swapped.mean() if swapped.ndim == 1 else swapped[mask].mean() if mask.any() else 0.0
    return Movement(float(share), moved / norm if norm else np.nan, spread / norm if norm else np.nan)
