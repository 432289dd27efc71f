"""What a patch is measured by: numbers for every position, from what a run makes of the actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from ad_hypotheses.causal.history_pairs import HistoryPairs
from ad_hypotheses.errors import DataError, did_you_mean


@dataclass(frozen=True)
class MetricContext:
    """What a metric may look at besides a run: always the reference's, whichever run is patched.

    Attributes:
        reference: Log-probabilities of the reference's plain run. [batch, step, action]
        actions: What its histories really did. [batch, step]
        towards: Which actions lead to the old or the new goal; see `HistoryPairs`. [batch, step, action]
    """

    reference: Float[Tensor, "batch step action"]
    actions: Int[Tensor, "batch step"]
    towards: Mapping[str, Bool[Tensor, "batch step action"]]

    def after(self, since: int) -> MetricContext:
        """The same for the steps from one on."""
        towards = {name: actions[:, since:] for name, actions in self.towards.items()}
        return MetricContext(self.reference[:, since:], self.actions[:, since:], towards)


LogProbs = Float[Tensor, "*patch batch step action"]
PerStep = Float[Tensor, "*patch batch step"]
Metric = Callable[[LogProbs, MetricContext], PerStep]
"""A number for every position, from the log-probabilities of a run or of several patched ones; differentiable."""


def loss(log_probs: LogProbs, asked: MetricContext) -> PerStep:
    """Cross-entropy of the actions that the reference took, in nats."""
    return cross_entropy(log_probs, asked.actions)


def kl(log_probs: LogProbs, asked: MetricContext) -> PerStep:
    """KL divergence from the reference's run, in nats."""
    return (asked.reference.exp() * (asked.reference - log_probs)).sum(-1)


def logit_difference(log_probs: LogProbs, asked: MetricContext) -> PerStep:
    """Logit of the action that the reference took less the mean of the others."""
    taken = -loss(log_probs, asked)
    return taken - (log_probs.sum(-1) - taken) / (log_probs.shape[-1] - 1)


def towards_old(log_probs: LogProbs, asked: MetricContext) -> PerStep:
    """Probability of an action that leads to the old goal."""
    return (log_probs.exp() * asked.towards["old"]).sum(-1)


def towards_new(log_probs: LogProbs, asked: MetricContext) -> PerStep:
    """Probability of an action that leads to the new goal."""
    return (log_probs.exp() * asked.towards["new"]).sum(-1)


METRICS: Mapping[str, Metric] = {
    "loss": loss,
    "kl": kl,
    "logit-difference": logit_difference,
    "towards-old": towards_old,
    "towards-new": towards_new,
}


def require_metric(name: str, pairs: HistoryPairs) -> None:
    """Refuse a metric that does not exist, or not for these donors.

    Raises:
        DataError: It does not.
    """
    if name not in METRICS:
        raise DataError(f"there is no metric {name!r}.{did_you_mean(name, METRICS)}\n  metrics: {', '.join(METRICS)}")
    if name.startswith("towards-") and name.removeprefix("towards-") not in pairs.towards:
        raise DataError(
            f"{name} needs pairs whose goals differ, but the donors are {pairs.name!r}.\n"
            "  Use --donors goal-moved on a task of rooms with ways to their goals, or another metric."
        )


def cross_entropy(log_probs: LogProbs, actions: Int[Tensor, "batch step"]) -> PerStep:
    """Loss of actions, in nats."""
    return -log_probs.gather(-1, actions.expand(log_probs.shape[:-1])[..., None])[..., 0]
