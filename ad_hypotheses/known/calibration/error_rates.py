"""How often verdicts are wrong, how often intervals hold, and what tells true claims from wrong ones.

A *trial* is one study of one claim on histories of its own. Trials of one claim differ by chance alone, so a share of
trials says how sure a verdict on these claims is; how many claims ever failed is counted beside it, since claims are
few and each is hard or easy in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import beta

from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.known.calibration.record import Coverage, TrialOutcome


@dataclass(frozen=True)
class Rate:
    """How often something happened.

    Attributes:
        count, trials: In how many of how many trials.
        interval: Of the share, for fresh data on the same claims.
        claims, of_claims: To how many of how many claims it ever happened.
    """

    count: int
    trials: int
    interval: Number
    claims: int
    of_claims: int


def exact_interval(count: int, trials: int, level: float = 0.95) -> Number:
    """Return a share with its interval (Clopper and Pearson 1934), which covers at least `level`."""
    assert 0 <= count <= trials, (count, trials)
    if not trials:
        return Number(float("nan"), 0.0, 1.0, False)
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, count, trials - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, trials - count)) if count < trials else 1.0
    return Number(count / trials, low, high)


def rate(outcomes: Iterable[TrialOutcome], happened: Callable[[TrialOutcome], bool]) -> Rate:
    """Count in how many trials, and to how many claims, something happened."""
    trials = list(outcomes)
    hits = [trial for trial in trials if happened(trial)]
    claims, ever = ({(trial.network, trial.claim) for trial in group} for group in (trials, hits))
    return Rate(len(hits), len(trials), exact_interval(len(hits), len(trials)), len(ever), len(claims))


def said(accept: float, *verdicts: str) -> Callable[[TrialOutcome], bool]:
    """Return whether a trial ended in one of some verdicts when so much had to be recovered."""
    return lambda trial: trial.verdict(accept) in verdicts


def key(accept: float) -> str:
    """Name of an accepted share in `TrialOutcome.verdicts`."""
    return f"{accept:.2f}"


@dataclass(frozen=True)
class Separation:
    """How well a measure tells true claims from wrong ones.

    Attributes:
        measure: Which.
        worst_true, best_wrong: The least convincing true claim and the most convincing wrong one.
        worst_true_claim, best_wrong_claim: Which those are.
        area: Chance that a true claim looks better than a wrong one, ties counted half (area under the ROC curve).
        not_told_apart: Wrong claims that look at least as good as the worst true one.
        wrong: Number of wrong claims that have a value.
    """

    measure: str
    worst_true: float
    best_wrong: float
    worst_true_claim: str
    best_wrong_claim: str
    area: float
    not_told_apart: tuple[str, ...]
    wrong: int


def separate(
    measure: str, true: Mapping[str, float], wrong: Mapping[str, float], larger_is_better: bool, tie: float = 0.0
) -> Separation | None:
    """Compare the values that a measure gives to true claims with those that it gives to wrong ones.

    Args:
        measure: Its name.
        true: By claim; NaN where the measure says nothing.
        wrong: Likewise.
        larger_is_better: Whether a true claim should have more of it.
        tie: Differences up to this are rounding, and count as none.

    Returns:
        None where one of the two has no value.
    """
    sign = 1.0 if larger_is_better else -1.0
    good = {name: sign * value for name, value in true.items() if np.isfinite(value)}
    bad = {name: sign * value for name, value in wrong.items() if np.isfinite(value)}
    if not good or not bad:
        return None
    worst, best = min(good, key=lambda name: good[name]), max(bad, key=lambda name: bad[name])
    gaps = np.subtract.outer(list(good.values()), list(bad.values()))
    area = float(np.mean((gaps > tie) + 0.5 * (np.abs(gaps) <= tie)))
    through = tuple(name for name, value in bad.items() if value >= good[worst] - tie)
    return Separation(measure, sign * good[worst], sign * bad[best], worst, best, area, through, len(bad))


def coverage_of(
    where: tuple[str, str, str, str],
    size: tuple[int, int],
    exact: tuple[float, float],
    estimates: Sequence[Number],
) -> Coverage:
    """Count how often intervals hold the exact value.

    Args:
        where: Network, claim, regime and figure.
        size: References and donors.
        exact: The value and its standard error.
        estimates: One a dataset; those that are not estimable hold everything.
    """
    value, low, high = (
        np.array([getattr(estimate, name) for estimate in estimates]) for name in ("value", "low", "high")
    )
    known = np.array([estimate.estimable for estimate in estimates])
    low, high = np.where(known, low, -np.inf), np.where(known, high, np.inf)
    mean = float(value[known].mean()) if known.any() else float("nan")
    deviation = float(value[known].std(ddof=1)) if known.sum() > 1 else float("nan")
    claimed = float((high - low)[known].mean() / (2 * 1.959964)) if known.any() else float("nan")
    above, below = int((low > exact[0]).sum()), int((high < exact[0]).sum())
    covered_mean = int(((low <= mean) & (mean <= high)).sum())
    n = len(estimates)
    return Coverage(*where, *size, n, *exact, mean, deviation, claimed, n - above - below, above, below, covered_mean)


def pooled_ratio(
    numerators: Float[np.ndarray, " dataset"], denominators: Float[np.ndarray, " dataset"]
) -> tuple[float, float]:
    """Return the ratio of sums over independent data sets and its standard error (linearised)."""
    n = len(numerators)
    assert n == len(denominators) > 1, "the error is read from how datasets differ"
    value = float(numerators.sum() / denominators.sum())
    residual = numerators - value * denominators
    return value, float(np.sqrt(n / (n - 1) * (residual**2).sum()) / abs(denominators.sum()))


def kept_by_swaps(true: Int[np.ndarray, "row step"], claimed: Int[np.ndarray, "row step"]) -> float:
    """Return how often a donor that agrees on a claimed feature also agrees on the true one, corrected for chance.

    A reference draws its donor among the other rows that agree at its step, and keeps itself where there are none.
    1: the claimed feature says all that the true one says, as far as swaps can tell; 0: it says nothing of it.

    Returns:
        Cohen's kappa of the draws; NaN if the true feature never differs.
    """
    n_rows, n_steps = true.shape
    steps = np.broadcast_to(np.arange(n_steps), true.shape)
    alike, both = (_class_sizes(steps, *labels) for labels in ((claimed,), (claimed, true)))
    agree = np.where(alike > 1, (both - 1) / np.maximum(alike - 1, 1), 1.0).mean()
    chance = (_class_sizes(steps, true) - 1).mean() / max(n_rows - 1, 1)
    return float((agree - chance) / (1 - chance)) if chance < 1 else float("nan")


def _class_sizes(*labels: Int[np.ndarray, "row step"]) -> Int[np.ndarray, "row step"]:
    together = np.stack([array.ravel() for array in labels], axis=1)
    _, number, counts = np.unique(together, axis=0, return_inverse=True, return_counts=True)
    return counts[number.ravel()].reshape(labels[0].shape)
