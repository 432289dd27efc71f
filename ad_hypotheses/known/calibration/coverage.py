"""Do intervals hold the exact value? One claim over many fresh datasets, and over a very large one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.metrics import cross_entropy, exact_baseline
from ad_hypotheses.causal.scrub import Scrubber
from ad_hypotheses.evidence.estimate import LossSums, estimate
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.known.calibration.cases import Case
from ad_hypotheses.known.calibration.trials import RATIOS, SEEDS
from ad_hypotheses.language.check import BoundGraph, bind
from ad_hypotheses.studies.scrub.bind import ScrubSettings, reference_histories
from ad_hypotheses.studies.scrub.halves import n_splits, scrub_in_halves
from ad_hypotheses.studies.scrub.measure import REPEATS

DRAWS = 2000  # of the bootstrap, for an interval alone
FIRST = 2_000  # replicates are counted from here on, so that none shares its histories with a trial


@dataclass(frozen=True)
class Datasets:
    """Some of the fresh datasets on which one claim is estimated.

    Attributes:
        network, claim: Which.
        rows, passes: Size of each.
        first, count: Which of them.
        seed: Of the whole calibration.
        exact: Whether they are only to be pooled, so that no intervals are needed.
    """

    network: str
    claim: str
    rows: int
    passes: int
    first: int
    count: int
    seed: int
    exact: bool = False

    @property
    def settings(self) -> list[ScrubSettings]:
        """One a dataset."""
        base = (self.seed * SEEDS + self.rows) * 10_000 + FIRST + self.first
        return [ScrubSettings(rows=self.rows, passes=self.passes, seed=base + n, rollouts=0) for n in range(self.count)]


def estimates(case: Case, datasets: Datasets) -> list[dict[str, Number]]:
    """Estimate the two ratios with their intervals on each dataset, as a study does."""
    by_passes = []
    for settings in datasets.settings:
        losses = _losses(case, datasets.claim, settings, halves=True)
        resampling = losses.resampling(np.random.default_rng(settings.seed), DRAWS)
        evidence = estimate(losses, resampling)
        by_passes.append({name: getattr(evidence, name).number() for name in RATIOS})
    return by_passes


def sums(case: Case, datasets: Datasets) -> list[list[float]]:
    """Return what the two ratios are made of on each dataset: `[model, scrubbed, baseline, structure]`, nats a row."""
    pooled = []
    for settings in datasets.settings:
        losses = _losses(case, datasets.claim, settings)
        arrays = (losses.model, losses.scrubbed, losses.baseline, losses.structure)
        pooled.append([float(array.sum() / array.size) for array in arrays])
    return pooled


def _losses(case: Case, claim: str, settings: ScrubSettings, halves: bool = False) -> LossSums:
    """Scrub one claim on fresh histories, donors from other rows only."""
    history = reference_histories(case.checkpoint, settings)
    regimes = case.checkpoint.config.make_task().regimes(history)
    hypothesis = next(claimed.hypothesis for claimed in case.claims if claimed.name == claim)
    bound = bind(hypothesis, case.checkpoint.model.anatomy, history, regimes, settings.seed)
    clean, actions = Clean.run(case.checkpoint.model, history), history.actions

    def scrubbed(graph: BoundGraph, first: int) -> np.ndarray:
        scrubber = Scrubber(clean, graph, settings.options, settings.seed)
        runs = (scrubber.run(first + n).log_probs for n in range(settings.passes))
        return np.stack([cross_entropy(run, actions).sum(axis=1, dtype=np.float64) for run in runs])

    baseline, sums = exact_baseline(clean.log_probs, actions, self_donors=False), None
    if halves and n_splits(history):
        options = (settings.options, settings.seed, n_splits(history), baseline)
        apart = scrub_in_halves(clean, bound, *options)
        sums = apart.sums(np.ones_like(actions, dtype=bool))
    return LossSums(
        model=cross_entropy(clean.log_probs, actions).sum(axis=1, dtype=np.float64),
        scrubbed=scrubbed(bound, 0),
        baseline=baseline.sum(axis=1),
        structure=scrubbed(bound.without_features(), REPEATS),
        counts=np.full(history.n_rows, history.n_steps),
        clusters=history.learner,
        halves=sums,
    )
