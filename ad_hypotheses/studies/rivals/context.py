"""Where two claims part on one context: which other histories each lets stand in, and what the model does there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.report.result import Result
from ad_hypotheses.sources.variants import joined
from ad_hypotheses.studies.rivals.classes import ClaimClasses, RivalDataset
from ad_hypotheses.studies.scrub.context import require_context
from ad_hypotheses.studies.tables import table_of


@dataclass(frozen=True, repr=False)
class ContextRivals(Result):
    """Two claims on one context, end to end: who may stand in at each step for the whole of what each says matters.

    Attributes:
        claim: Name of the first claim.
        rival: Name of the second.
        both: How many other histories agree with the context by both claims. [step]
        only_claim: How many by the first alone. [step]
        only_rival: How many by the second alone. [step]
        kl_claim: How far the model's distribution here is from its mean where the first alone agrees, in nats; None
            where nobody does. [step]
        kl_rival: The same where the second alone agrees. [step]
    """

    claim: str
    rival: str
    both: list[int]
    only_claim: list[int]
    only_rival: list[int]
    kl_claim: list[float | None]
    kl_rival: list[float | None]

    @property
    def headline(self) -> str:
        """At how many steps the two part, and where that costs most."""
        parted = [step for step in range(len(self.both)) if self.only_claim[step] or self.only_rival[step]]
        if not parted:
            return f"{self.claim} and {self.rival} let the same histories stand in at all {len(self.both)} steps"
        worst = [
            f"{name} at step {step} ({kls[step]:.3g} nats)"
            for name, kls in ((self.claim, self.kl_claim), (self.rival, self.kl_rival))
            if (step := _largest(kls)) is not None
        ]
        return f"{self.claim} and {self.rival} part at {len(parted)} of {len(self.both)} steps; most wrong: " + (
            ", ".join(worst)
        )

    def to_frame(self) -> Any:
        """Return a line for each step, as a pandas.DataFrame: how many agree, and what that costs."""
        columns = ("both", "only_claim", "only_rival", "kl_claim", "kl_rival")
        return table_of(
            [{"step": step} | {name: getattr(self, name)[step] for name in columns} for step in range(len(self.both))]
        )


def rivals_on_context(
    claim: Hypothesis, rival: Hypothesis, checkpoint: Checkpoint, history: History, among: History, seed: int = 0
) -> ContextRivals:
    """Say at which steps of a context two claims let other histories stand in, and how far the model is from there.

    Args:
        claim: The first claim.
        rival: The second.
        checkpoint: The model that both are about.
        history: The context, one row.
        among: Other histories of as many steps; rows that show the same as the context are left out.
        seed: Of the binding.

    Raises:
        HypothesisError: A claim does not fit the model or the data.
        DataError: The context is not a single row, or does not go with the others.
    """
    others = require_context(history, among)
    together = joined([replace(history, learner=None), replace(among[others], learner=None, family=history.family)])
    task = checkpoint.experiment.task
    dataset = RivalDataset("context", together, {"all": np.ones(together.shape, dtype=bool), **task.regimes(together)})
    first, second = (ClaimClasses.bound(hypothesis, checkpoint, [dataset], seed) for hypothesis in (claim, rival))
    agree = [classes.labels["context"] for classes in (first, second)]
    by_claim, by_rival = (labels[1:] == labels[0] for labels in agree)
    log_probs = Clean.run(checkpoint.model, together).log_probs
    only_claim, only_rival = by_claim & ~by_rival, by_rival & ~by_claim

    def counts(mask: Bool[np.ndarray, "row step"]) -> list[int]:
        return mask.sum(axis=0).tolist()  # type: ignore[no-any-return]

    return ContextRivals(
        first.name,
        second.name,
        counts(by_claim & by_rival),
        counts(only_claim),
        counts(only_rival),
        _costs(log_probs, only_claim),
        _costs(log_probs, only_rival),
    )


def _costs(
    log_probs: Float[np.ndarray, "row step action"], stand_in: Bool[np.ndarray, "other step"]
) -> list[float | None]:
    """Return how far the first row's distribution is from the mean of those that stand in, in nats. [step]"""
    own, counts = log_probs[0].astype(np.float64), stand_in.sum(axis=0)
    sums = (np.exp(log_probs[1:].astype(np.float64)) * stand_in[..., None]).sum(axis=0)
    means = np.log(np.maximum(sums, 1e-300)) - np.log(np.maximum(counts, 1))[:, None]
    kls = np.maximum((np.exp(own) * (own - means)).sum(axis=-1), 0)
    return [float(kl) if count else None for kl, count in zip(kls, counts, strict=True)]


def _largest(values: list[float | None]) -> int | None:
    """Return the step of the largest value that is there; None without any."""
    there: Int[np.ndarray, " step"] = np.array([-1.0 if value is None else value for value in values])
    return int(there.argmax()) if len(there) and there.max() >= 0 else None
