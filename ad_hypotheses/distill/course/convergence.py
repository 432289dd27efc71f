"""When a training has converged: the loss of histories that it does not learn from hardly falls any more.

Models of several sizes, or of several numbers of tasks, compare at equal convergence and not at equal updates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.course.fresh import APART, FreshContexts
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.sections import Training
from ad_hypotheses.tasks.task import n_tasks_of

FRESH = 256  # histories that the loss is a mean over
ROWS_AT_ONCE = 64

Reason = Literal["ceiling", "convergence", "floor"]


@dataclass
class Course:
    """How long a training goes on.

    Attributes:
        updates: Number of updates after which it ends, as far as is known by now.
        reason: What ends it: `"ceiling"`, all the updates that it may take; `"convergence"`; or `"floor"`, the least
            that it has to take, if it had converged long before.
        losses: Mean loss of fresh histories, after so many updates.
    """

    updates: int
    reason: Reason = "ceiling"
    losses: list[tuple[int, float]] = field(default_factory=list)

    def due(self, update: int, training: Training) -> bool:
        """Whether the loss of fresh histories is to be measured after so many updates."""
        constant = self.reason == "ceiling" and update <= training.decay_from * training.updates
        known = bool(self.losses) and self.losses[-1][0] == update
        return constant and not known and update > 0 and update % training.converged_within == 0

    def note(self, update: int, loss: float, training: Training) -> bool:
        """Take in the loss of fresh histories; returns whether it has converged.

        From then on the learning rate decays for as long as it would have, had this been planned.
        """
        self.losses.append((update, round(loss, 6)))
        if training.converged_below is None or len(self.losses) < 2:
            return False
        (_, before), (_, now) = self.losses[-2:]
        if before - now >= training.converged_below * before:
            return False
        planned = math.ceil(update / training.decay_from)
        self.updates = min(max(planned, training.least_updates), training.updates)
        self.reason = "convergence" if self.updates == planned else "floor"
        return True

    def plain(self) -> dict[str, Any]:
        """Return it as a record keeps it."""
        return {"updates": self.updates, "reason": self.reason, "losses": [list(loss) for loss in self.losses]}

    @classmethod
    def of_plain(cls, content: dict[str, Any]) -> Course:
        """Return what :meth:`plain` wrote out."""
        losses = [(int(update), float(loss)) for update, loss in content["losses"]]
        return cls(int(content["updates"]), content["reason"], losses)


class FreshLoss:
    """The mean loss of histories that a training never learns from: the same ones whenever it is measured.

    Args:
        config: What is trained.
        model: The model that is trained.
    """

    def __init__(self, config: Config, model: ADTransformer) -> None:
        if config.contexts is None:
            rng = np.random.default_rng([config.histories.seed, config.training.seed, APART])
            facts = config.experiment.split()[0]
            rows = rng.integers(n_tasks_of(facts), size=FRESH)
            history = config.experiment.live({name: fact[rows] for name, fact in facts.items()}, rng)
            self.targets = torch.from_numpy(history.actions.astype(np.int64))
        else:
            history, labels = FreshContexts(config).drawn(FRESH, APART)
            self.targets = torch.from_numpy(labels)
        self.model, self.tokens = model, model.vocabulary.encode(history)

    @torch.inference_mode()
    def measure(self) -> float:
        """Return the mean cross-entropy of every step, in nats."""
        self.model.eval()
        total = 0.0
        for first in range(0, FRESH, ROWS_AT_ONCE):
            rows, device = slice(first, first + ROWS_AT_ONCE), self.model.device
            logits = self.model(self.tokens[rows].to(device)).float()
            total += float(F.cross_entropy(logits.flatten(0, 1), self.targets[rows].to(device).flatten(0, 1)))
        return total * ROWS_AT_ONCE / FRESH
