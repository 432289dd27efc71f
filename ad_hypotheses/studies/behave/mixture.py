"""A model as a mixture of rungs: weights by EM on half of the contexts, judged on the other half."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.evidence.bootstrap import Resampling, crossed_bootstrap
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.studies.behave.record import MixtureRecord

ROUNDS, WARM_ROUNDS = 300, 40  # of EM; those of a resample begin where all data end
RESAMPLES = 60
SEED_WEIGHT = 1e-3  # of a rung whose share is 0, which could never grow again
MOST = 4000  # decisions that weights are fitted on
CHANCE = 0.05  # what a rung alone does at random, so that nothing is impossible to it
FEWEST = 50  # decisions of a half
LEAST = 1e-9
SAME = 1e-5  # rungs that differ by less than this everywhere are the same


@dataclass(frozen=True)
class Shown:
    """What everybody would do in the lives of a data set.

    Attributes:
        data: Name of the data set.
        model: Distributions of the model. [row, step, action]
        rungs: Distributions of each rung, in order. {rung: [row, step, action]}
        regimes: Steps of each regime. {regime: [row, step]}
        clusters: Rows of the same task share a number. [row]
        of_reward: Names of the rungs that rewards move.
    """

    data: str
    model: Float[np.ndarray, "row step action"]
    rungs: Mapping[str, Float[np.ndarray, "row step action"]]
    regimes: Mapping[str, Bool[np.ndarray, "row step"]]
    clusters: Int[np.ndarray, " row"]
    of_reward: frozenset[str] = frozenset()


def mixtures(shown: Shown, seed: int) -> list[MixtureRecord]:
    """Explain a model as a mixture, over all regimes and in each that has enough decisions."""
    everywhere = np.ones(shown.model.shape[:2], dtype=bool)
    records = []
    for number, (regime, inside) in enumerate({"all": everywhere, **shown.regimes}.items()):
        record = _mixture(shown, regime, inside, np.random.default_rng([seed, number]))
        if record is not None:
            records.append(record)
    return records


def distinct(rungs: Mapping[str, Float[np.ndarray, "*decision action"]]) -> dict[str, str]:
    """Return which rungs do the same as an earlier, simpler one everywhere: `{rung: the earlier one}`."""
    same: dict[str, str] = {}
    names = list(rungs)
    for number, name in enumerate(names):
        for earlier in names[:number]:
            if earlier not in same and np.abs(rungs[name] - rungs[earlier]).max() < SAME:
                same[name] = earlier
                break
    return same


def fitted_weights(
    model: Float[np.ndarray, "decision action"],
    rungs: Float[np.ndarray, "rung decision action"],
    counts: Float[np.ndarray, " decision"],
    weights: Float[np.ndarray, " rung"] | None = None,
    rounds: int = ROUNDS,
) -> Float[np.ndarray, " rung"]:
    """Return the shares of rungs under which the decisions of a model are likeliest, by EM.

    Args:
        model: What the model does.
        rungs: What each rung would do.
        counts: How often each decision counts.
        weights: Where to begin; equal shares by default.
        rounds: Of EM.
    """
    weights = np.full(len(rungs), 1 / len(rungs)) if weights is None else weights
    wanted = model * counts[:, None] / counts.sum()
    for _ in range(rounds):
        mixed = np.maximum(np.tensordot(weights, rungs, axes=1), LEAST)
        weights = weights * np.tensordot(rungs, wanted / mixed, axes=([1, 2], [0, 1]))
        weights = weights / weights.sum()
    return weights


def _mixture(
    shown: Shown, regime: str, inside: Bool[np.ndarray, "row step"], rng: np.random.Generator
) -> MixtureRecord | None:
    fit_rows = np.zeros(len(inside), dtype=bool)
    fit_rows[rng.permutation(len(inside))[: len(inside) // 2]] = True
    fit, judged = inside & fit_rows[:, None], inside & ~fit_rows[:, None]
    if min(fit.sum(), judged.sum()) < FEWEST:
        return None
    rows, steps = _sampled(fit, rng)
    same = distinct({name: policy[rows, steps] for name, policy in shown.rungs.items()})
    names = [name for name in shown.rungs if name not in same]
    model, rungs = shown.model[rows, steps].astype(float), _stacked(shown, names, rows, steps)
    weights = fitted_weights(model, rungs, np.ones(len(rows)))
    draws = []
    _, clusters = np.unique(shown.clusters[rows], return_inverse=True)
    n_clusters = clusters.max() + 1
    start = (weights + SEED_WEIGHT) / (weights + SEED_WEIGHT).sum()
    for _ in range(RESAMPLES):
        counts = np.bincount(rng.integers(n_clusters, size=n_clusters), minlength=n_clusters)[clusters]
        draws.append(fitted_weights(model, rungs, counts.astype(float), start, WARM_ROUNDS))
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    numbers = {name: _number(weights[k], low[k], high[k]) for k, name in enumerate(names)}
    rewarded = np.array([name in shown.of_reward for name in names])
    of_reward = _number(weights[rewarded].sum(), *np.quantile(np.array(draws)[:, rewarded].sum(axis=1), [0.025, 0.975]))
    return replace(_judged(shown, regime, judged, names, weights, numbers, rng), of_reward=of_reward)


def _number(value: float, low: float, high: float) -> Number:
    """Return a share with an interval that holds it."""
    return Number(float(value), float(min(low, value)), float(max(high, value)))


def _judged(
    shown: Shown,
    regime: str,
    judged: Bool[np.ndarray, "row step"],
    names: list[str],
    weights: Float[np.ndarray, " rung"],
    numbers: dict[str, Number],
    rng: np.random.Generator,
) -> MixtureRecord:
    rows, steps = _sampled(judged, rng)
    model, rungs = shown.model[rows, steps].astype(float), _stacked(shown, names, rows, steps)
    entropy = -(model * np.log(np.maximum(model, LEAST))).sum(axis=1)
    _, clusters = np.unique(shown.clusters[rows], return_inverse=True)
    resampling = Resampling.draw(clusters.max() + 1, 1, np.random.default_rng(0), 1000)

    def beyond(policy: Float[np.ndarray, "decision action"]) -> tuple[Number, float]:
        crossed = -(model * np.log(np.maximum(policy, LEAST))).sum(axis=1)
        sums = np.bincount(clusters, weights=crossed - entropy)[None]
        number = crossed_bootstrap(sums, np.bincount(clusters).astype(float)[None], resampling).number()
        return number, float(crossed.mean())

    n_actions = model.shape[1]
    unexplained, cross_entropy = beyond(np.tensordot(weights, rungs, axes=1))
    alone = {name: beyond((1 - CHANCE) * rungs[k] + CHANCE / n_actions)[0] for k, name in enumerate(names)}
    return MixtureRecord(
        data=shown.data,
        regime=regime,
        positions=len(rows),
        weights=numbers,
        entropy=float(entropy.mean()),
        cross_entropy=cross_entropy,
        unexplained=unexplained,
        alone=alone,
        uniform=float(np.log(n_actions) - entropy.mean()),
    )


def _sampled(inside: Bool[np.ndarray, "row step"], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return some of the decisions, as rows and steps."""
    rows, steps = np.nonzero(inside)
    chosen = np.sort(rng.permutation(len(rows))[:MOST])
    return rows[chosen], steps[chosen]


def _stacked(shown: Shown, names: list[str], rows: np.ndarray, steps: np.ndarray) -> np.ndarray:
    return np.stack([shown.rungs[name][rows, steps] for name in names]).astype(float)
