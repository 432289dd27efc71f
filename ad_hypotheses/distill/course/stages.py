"""Stages: what a model was like on its way, as small checkpoints of their own."""

from __future__ import annotations

import numpy as np

from ad_hypotheses.distill.sections import Training

FIRST = 30  # updates before which a model does next to nothing


def stage_updates(training: Training) -> frozenset[int]:
    """Return after which updates a stage is kept, evenly on a logarithmic scale; the last is the model itself."""
    if training.stages is None:
        return frozenset()
    first = min(FIRST, training.updates)
    spread = np.geomspace(first, training.updates, training.stages + 1)[:-1]
    return frozenset(np.rint(spread).astype(int).tolist()) - {training.updates}
