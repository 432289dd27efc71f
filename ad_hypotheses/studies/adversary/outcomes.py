"""What an adversary's attempts on a claim say: chosen on one half of the histories, estimated on the other.

An attempt restricts who may stand in for whom. Under a right claim nothing changes then, whatever it restricts; so a
change is what the claim leaves out. It is measured twice: by the loss, and by the KL divergence of the scrubbed from
the model's distribution, which harm and help cannot cancel in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float

from ad_hypotheses.evidence.bootstrap import Estimate, Resampling, crossed_bootstrap
from ad_hypotheses.evidence.p_values import holm, p_above
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.evidence.verdict import ALPHA

MATERIAL = 0.01  # share of what the model gains over the baseline; a smaller change is nobody's mistake
CAUTION = 2.0  # standard errors that are taken off an effect before attempts are ranked
TESTS = 4  # of a finding: donors differ, or agree; in the loss, or in the divergence


@dataclass(frozen=True, eq=False)
class AttemptOutcome:
    """What scrubbing gave with some donors.

    Attributes:
        loss: Cross-entropy summed over the steps of a row, in nats. [pass, row]
        kl: Divergence of the scrubbed from the model's distribution likewise. [pass, row]
        loss_by_regime: Loss likewise, over the steps of each regime alone. [regime, pass, row]
        kl_by_regime: Divergence likewise. [regime, pass, row]
    """

    loss: Float[np.ndarray, "pass row"]
    kl: Float[np.ndarray, "pass row"]
    loss_by_regime: Float[np.ndarray, "regime pass row"]
    kl_by_regime: Float[np.ndarray, "regime pass row"]


@dataclass(frozen=True, eq=False)
class AttackGround:
    """What a half of the histories gives without any claim, summed over the steps of a row.

    Attributes:
        model: Loss of the model, in nats. [row]
        baseline: Loss when nothing is important. [row]
        kl_baseline: Divergence of another row's distribution from the model's. [row]
        counts: Number of steps. [row]
    """

    model: Float[np.ndarray, " row"]
    baseline: Float[np.ndarray, " row"]
    kl_baseline: Float[np.ndarray, " row"]
    counts: Float[np.ndarray, " row"]

    def scale(self, figure: str) -> Float[np.ndarray, " row"]:
        """What a change of the loss, or of the divergence, is a share of. [row]"""
        return self.kl_baseline if figure == "kl" else self.baseline - self.model


@dataclass(frozen=True)
class AttemptEffects:
    """By how much one attempt makes it worse than another: shares of what there is to lose, and nats a step."""

    loss: Estimate
    kl: Estimate
    loss_nats: Estimate
    kl_nats: Estimate

    def p_values(self) -> list[float]:
        """One-sided, of "it gets worse by no more than :data:`MATERIAL`"."""
        return [p_above(self.loss, MATERIAL), p_above(self.kl, MATERIAL)]


def worse(
    than: AttemptOutcome, outcome: AttemptOutcome, ground: AttackGround, resampling: Resampling
) -> AttemptEffects:
    """Estimate how much worse `one` is `than` another, on the same rows and passes."""
    changes = {"loss": outcome.loss - than.loss, "kl": outcome.kl - than.kl}
    shares = {name: crossed_bootstrap(c, ground.scale(name)[None], resampling) for name, c in changes.items()}
    nats = {f"{name}_nats": crossed_bootstrap(c, ground.counts[None], resampling) for name, c in changes.items()}
    return AttemptEffects(**shares, **nats)


def recovered(outcome: AttemptOutcome, ground: AttackGround, resampling: Resampling) -> Number:
    """Estimate the share of the loss that is recovered."""
    return crossed_bootstrap(outcome.loss - ground.baseline, -ground.scale("loss")[None], resampling).number()


def divergence(outcome: AttemptOutcome, ground: AttackGround, resampling: Resampling) -> Number:
    """Estimate the divergence of the scrubbed from the model's distribution, in nats a step."""
    return crossed_bootstrap(outcome.kl, ground.counts[None], resampling).number()


def rough(than: AttemptOutcome, outcome: AttemptOutcome, ground: AttackGround) -> tuple[float, float]:
    """Return the larger of the two effects in one pass, as a share, and the same after some caution; to rank with."""
    effects = []
    for figure in ("loss", "kl"):
        change = (getattr(outcome, figure) - getattr(than, figure)).mean(axis=0)
        total = ground.scale(figure).sum()
        error = np.sqrt(len(change)) * change.std(ddof=1) / total if len(change) > 1 else np.inf
        effect = float(change.sum() / total)
        effects.append((effect - CAUTION * float(error), effect))
    cautious, effect = max(effects)
    return effect, cautious


def corrected(attempts: Sequence[Sequence[AttemptEffects]]) -> list[Float[np.ndarray, " test"]]:
    """Return the p-values of each attempt, Holm-adjusted over all of them: of each effect, by loss and divergence."""
    p = holm([value for effects in attempts for effects_of_test in effects for value in effects_of_test.p_values()])
    ends = np.cumsum([0, *(2 * len(effects) for effects in attempts)])
    return [p[start:stop] for start, stop in pairwise(ends)]


def smallest(p_values: Float[np.ndarray, " test"]) -> float:
    """Return the p-value of "none of these changes anything", from adjusted ones."""
    return float(p_values.min(initial=1.0))


def passed(names: Sequence[str], p_values: Float[np.ndarray, " test"]) -> list[str]:
    """Return the names of the tests that passed."""
    return [name for name, p in zip(names, p_values, strict=True) if p < ALPHA]


def stands_out(
    figure: Literal["loss", "kl"],
    than: AttemptOutcome,
    outcome: AttemptOutcome,
    regimes: Mapping[str, Float[np.ndarray, " row"]],
    resampling: Resampling,
) -> str:
    """Return the regime in which `one` is worst `than` another, if its interval is apart from those of all others.

    Args:
        figure: What it is worse in.
        than: What it is compared with.
        one: The other outcome.
        regimes: Number of steps of each regime in a row, `"all"` first. {name: [row]}
        resampling: The weights.

    Returns:
        Its name; `"all"` if there is none.
    """
    change = getattr(outcome, f"{figure}_by_regime") - getattr(than, f"{figure}_by_regime")
    by_regime = {
        name: crossed_bootstrap(steps, counts[None], resampling)
        for (name, counts), steps in zip(regimes.items(), change, strict=True)
        if name != "all" and counts.any()
    }
    if len(by_regime) < 2 or not all(estimate.estimable for estimate in by_regime.values()):
        return "all"
    most = max(by_regime, key=lambda name: by_regime[name].value)
    return most if by_regime[most].low > max(by_regime[name].high for name in by_regime if name != most) else "all"


def resamples_for(n_findings: int) -> int:
    """Return how many bootstrap draws so many findings need, as :func:`verdict.draws_for` does for verdicts."""
    return max(2000, int(np.ceil(6 * TESTS * (1 + n_findings) / ALPHA)))
