"""What a run or a patch is measured by: numbers for every position, from log-probabilities of actions.

Pages and pictures read how a metric is called, so that this module does without torch: tensors bring their methods.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # shapes are checked all the same


def cross_entropy(
    log_probs: Float[np.ndarray, "row step action"], actions: Int[np.ndarray, "row step"]
) -> Float[np.ndarray, "row step"]:
    """Return the loss of the actions that the histories really took, in nats."""
    return -np.take_along_axis(log_probs, actions[..., None].astype(np.int64), axis=-1)[..., 0]


def exact_baseline(
    log_probs: Float[np.ndarray, "row step action"], actions: Int[np.ndarray, "row step"], self_donors: bool
) -> Float[np.ndarray, "row step"]:
    """Return the expected loss when nothing is important, in nats: at each step the mean over rows on this label.

    Args:
        log_probs: Log-probabilities of the clean model.
        actions: The labels.
        self_donors: Whether the row itself is among those averaged over.
    """
    n_rows = len(log_probs)
    all_rows = -log_probs.sum(axis=0, dtype=np.float64)  # [step, action]
    total = np.take_along_axis(all_rows[None].repeat(n_rows, 0), actions[..., None].astype(np.int64), axis=-1)[..., 0]
    if self_donors or n_rows == 1:
        return total / n_rows
    return (total - cross_entropy(log_probs, actions)) / (n_rows - 1)


LogProbs = Float[Tensor, "*patch batch step action"]
PerStep = Float[Tensor, "*patch batch step"]


@dataclass(frozen=True)
class MetricContext:
    """What a metric may look at in addition to a run: always the reference's, whichever run is patched.

    Attributes:
        reference: Log-probabilities of the reference's plain run. [batch, step, action]
        actions: Actions that its histories really took. [batch, step]
        towards: Which actions lead to the old or the new goal; see `HistoryPairs`. [batch, step, action]
    """

    reference: Float[Tensor, "batch step action"]
    actions: Int[Tensor, "batch step"]
    towards: Mapping[str, Bool[Tensor, "batch step action"]]

    def after(self, since: int) -> MetricContext:
        """Return the context of the steps from `since` on."""
        towards = {name: actions[:, since:] for name, actions in self.towards.items()}
        return MetricContext(self.reference[:, since:], self.actions[:, since:], towards)


@dataclass(frozen=True)
class Metric:
    """A number for every position of a run or of several patched ones.

    Attributes:
        name: Name on the command line and in records.
        words: Phrase for its change when a run is patched.
        quantity: Phrase for what a patch restores of it.
        measure: Function of log-probabilities and a context; differentiable.
        title: Name at the head of a column; the name itself, capitalised, if empty.
        falls_when_needed: Whether a patch of what is needed lowers it.
        never_negative: Whether it is 0 at the reference and above 0 elsewhere, so that a test against 0 says nothing.
        attribution_steps: Gradients along the way between the two runs that attribution averages by default when the
            reference's run is patched; more than 1 where the gradient at the reference itself is 0.
        goal: Goal that the pairs must know the ways to; None where none is needed.
    """

    name: str
    words: str
    quantity: str
    measure: Callable[[LogProbs, MetricContext], PerStep]
    title: str = ""
    falls_when_needed: bool = False
    never_negative: bool = False
    attribution_steps: int = 1
    goal: Literal["old", "new"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or self.name.capitalize())


def taken(log_probs: LogProbs, actions: Int[Tensor, "batch step"]) -> PerStep:
    """Return the log-probability of the actions that were taken, in nats."""
    return log_probs.gather(-1, actions.expand(log_probs.shape[:-1])[..., None])[..., 0]


def loss(log_probs: LogProbs, context: MetricContext) -> PerStep:
    """Return the cross-entropy of the actions that the reference took, in nats."""
    return -taken(log_probs, context.actions)


def kl(log_probs: LogProbs, context: MetricContext) -> PerStep:
    """Return the KL divergence from the reference's run, in nats."""
    return (context.reference.exp() * (context.reference - log_probs)).sum(-1)


def logit_difference(log_probs: LogProbs, context: MetricContext) -> PerStep:
    """Return the logit of the action that the reference took less the mean of the others."""
    logit = taken(log_probs, context.actions)
    return logit - (log_probs.sum(-1) - logit) / (log_probs.shape[-1] - 1)


def towards_old(log_probs: LogProbs, context: MetricContext) -> PerStep:
    """Return the probability of an action that leads to the old goal."""
    return (log_probs.exp() * context.towards["old"]).sum(-1)


def towards_new(log_probs: LogProbs, context: MetricContext) -> PerStep:
    """Return the probability of an action that leads to the new goal."""
    return (log_probs.exp() * context.towards["new"]).sum(-1)


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("loss", "change of the loss in nats", "loss", loss),
        Metric(
            "kl",
            "KL divergence in nats",
            "the KL divergence",
            kl,
            title="KL",
            never_negative=True,
            attribution_steps=4,
        ),
        Metric(
            "logit-difference",
            "change of the logit difference",
            "logit difference",
            logit_difference,
            falls_when_needed=True,
        ),
        Metric(
            "towards-old",
            "change of the probability of a move towards the old goal",
            "towards old",
            towards_old,
            falls_when_needed=True,
            goal="old",
        ),
        Metric(
            "towards-new",
            "change of the probability of a move towards the new goal",
            "towards new",
            towards_new,
            goal="new",
        ),
    )
}


def find_metric(name: str, donors: str, goals: Collection[str]) -> Metric:
    """Return the metric of a name, if it can be measured on some pairs of histories.

    Args:
        name: Name of the metric.
        donors: Name of the kind of donors.
        goals: Goals that the pairs know the ways to.

    Raises:
        DataError: There is no such metric, or not for these donors.
    """
    if name not in METRICS:
        raise DataError(f"there is no metric {name!r}.{did_you_mean(name, METRICS)}\n  metrics: {', '.join(METRICS)}")
    metric = METRICS[name]
    if metric.goal is not None and metric.goal not in goals:
        raise DataError(
            f"{name} needs pairs whose goals differ, but the donors are {donors!r}.\n"
            "  Use `donors='goal-moved'` on a task of rooms with ways to their goals, or another metric."
        )
    return metric
