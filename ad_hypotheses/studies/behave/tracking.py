"""How the decisions of a model follow those of a rung, context by context."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.studies.behave.condition import LEAST
from ad_hypotheses.studies.behave.record import TrackingRecord

RESAMPLES = 500
NOTHING = 1e-12  # variance that is due to rounding
CERTAIN = 1 / 48  # nearer to 0 or 1 than half of one learner in 24 nothing can be told
assert LEAST < CERTAIN


def log_odds(chance: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return the log-odds of probabilities, none nearer to 0 or 1 than what 24 learners can tell."""
    clipped = np.clip(chance, CERTAIN, 1 - CERTAIN)
    return np.log(clipped / (1 - clipped))


def track(
    rung: str,
    model_chance: Float[np.ndarray, " context"],
    rung_chance: Float[np.ndarray, " context"],
    cells: Int[np.ndarray, " context"],
    clusters: Int[np.ndarray, " context"],
    seed: int,
) -> TrackingRecord:
    """Regress the log-odds of the critical action of a model on those of a rung in the same context.

    Args:
        rung: Name of the rung.
        model_chance: Probability of the critical action. [context]
        rung_chance: The same of the rung. [context]
        cells: Which cell of which test a context is from. [context]
        clusters: Contexts that are alike share a number, and are drawn together for the intervals. [context]
        seed: Of the intervals.
    """
    x, y = log_odds(rung_chance.astype(float)), log_odds(model_chance.astype(float))
    figures = _figures(x, y, cells, np.ones(len(x)))
    rng, n_clusters = np.random.default_rng(seed), int(clusters.max()) + 1
    draws = np.array([
        _figures(x, y, cells, np.bincount(rng.integers(n_clusters, size=n_clusters), minlength=n_clusters)[clusters])
        for _ in range(RESAMPLES)
    ])  # fmt: skip
    numbers = []
    for value, drawn in zip(figures, draws.T, strict=True):
        drawn = drawn[np.isfinite(drawn)]
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
        numbers.append(Number(float(value), float(low), float(high), bool(np.isfinite(value))))
    return TrackingRecord(rung, len(x), *numbers)


def _figures(
    x: Float[np.ndarray, " context"],
    y: Float[np.ndarray, " context"],
    cells: Int[np.ndarray, " context"],
    counts: Float[np.ndarray, " context"],
) -> Float[np.ndarray, " figure"]:
    """Return slope, intercept and R2 over all contexts, and slope and R2 within cells; NaN where x does not vary."""
    weight = counts / counts.sum()
    mean_x, mean_y = weight @ x, weight @ y
    slope, r2 = _line(x - mean_x, y - mean_y, weight)
    in_cell = np.bincount(cells, weights=weight)
    inner_x, inner_y = (
        part - (np.bincount(cells, weights=weight * part) / np.maximum(in_cell, NOTHING))[cells] for part in (x, y)
    )
    within, within_r2 = _line(inner_x, inner_y, weight)
    return np.array([slope, mean_y - slope * mean_x, r2, within, within_r2])


def _line(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    of_x, of_y, both = (weight @ (a * b) for a, b in ((x, x), (y, y), (x, y)))
    if of_x < NOTHING:
        return float("nan"), float("nan")
    return both / of_x, both**2 / (of_x * of_y) if of_y > NOTHING else 0.0
