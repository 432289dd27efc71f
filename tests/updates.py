"""Who follows the updates of a training, and may stop it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ad_hypotheses.progress import Progress


class Updates(Progress):
    """Remember the updates and the evaluations of a training.

    Args:
        stop_after: Number of the update after which the training is stopped.
    """

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.seen: list[int] = []
        self.losses: list[float] = []
        self.evaluations: list[dict[str, Any]] = []

    def measured(self, name: str, figures: Mapping[str, Any]) -> None:
        """Remember the figures."""
        if name == "evaluation":
            self.evaluations.append(dict(figures))
            return
        self.seen.append(figures["update"])
        self.losses.append(figures["loss"])
        if figures["update"] == self.stop_after:
            raise KeyboardInterrupt
