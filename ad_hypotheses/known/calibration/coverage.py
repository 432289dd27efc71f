"""Do intervals hold the exact value? One claim over many fresh data sets, and over very large ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ad_hypotheses.evidence.bootstrap import Resampling
from ad_hypotheses.evidence.estimate import Sums, estimate
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.known.calibration.cases import Case
from ad_hypotheses.known.calibration.trials import SEEDS, bound_to
from ad_hypotheses.progress import Progress
from ad_hypotheses.studies.data import SOURCE
from ad_hypotheses.studies.scrub.bind import ScrubSettings, make_grounds
from ad_hypotheses.studies.scrub.cost import Extent
from ad_hypotheses.studies.scrub.measure import measure
from ad_hypotheses.studies.scrub.measured import regime_sums

FIGURES = ("fidelity", "beyond_structure", "explained")
DRAWS = 2000  # of the bootstrap, for an interval alone
FIRST = 2_000  # replicates are counted from here on, so that none shares its histories with a trial


@dataclass(frozen=True)
class Datasets:
    """Some of the fresh data sets on which one claim is estimated.

    Attributes:
        network, claim: Which.
        rows: References of each.
        pool: Donors of each; None for as many as a study has.
        passes: How often every reference is scrubbed at most, as in a study.
        first, count: Which of them.
        seed: Of the whole calibration.
        exact: Whether they are only to be pooled, so that no intervals are needed.
    """

    network: str
    claim: str
    rows: int
    pool: int | None
    passes: int
    first: int
    count: int
    seed: int
    exact: bool = False

    @property
    def settings(self) -> list[ScrubSettings]:
        """One a data set."""
        base = (self.seed * SEEDS + self.rows) * 10_000 + FIRST + self.first
        common = ScrubSettings(rows=self.rows, pool=self.pool, passes=self.passes, data=(SOURCE,), rollouts=0)
        return [replace(common, seed=base + number) for number in range(self.count)]


def estimates(case: Case, datasets: Datasets) -> list[dict[str, dict[str, Number]]]:
    """Estimate the figures with their intervals on each data set, as a study does. [{regime: {figure: interval}}]"""
    return [_estimated(case, datasets, settings) for settings in datasets.settings]


def _estimated(case: Case, datasets: Datasets, settings: ScrubSettings) -> dict[str, dict[str, Number]]:
    by_regime = {}
    for regime, sums in _sums(case, datasets.claim, settings):
        resampling = Resampling.draw(datasets.rows, len(sums.kl), np.random.default_rng(settings.seed), DRAWS)
        evidence = estimate(sums, resampling)
        by_regime[regime] = {figure: getattr(evidence, figure).number() for figure in FIGURES}
    return by_regime


def pooled(case: Case, datasets: Datasets) -> list[dict[str, dict[str, list[float]]]]:
    """Return what the figures are made of on each data set: what is lost, and of how much, in nats a reference."""
    return [
        {regime: _parts(sums) for regime, sums in _sums(case, datasets.claim, settings)}
        for settings in datasets.settings
    ]


def _parts(sums: Sums) -> dict[str, list[float]]:
    lost, model = sums.scrubbed.mean(axis=0) - sums.model, sums.model
    ratios = {
        "fidelity": (sums.kl.mean(axis=0), sums.kl_ignorant),
        "beyond_structure": (lost, sums.structure.mean(axis=0) - model),
        "explained": (lost, sums.ignorant - model),
    }
    return {figure: [float(part.mean()) for part in ratios[figure]] for figure in FIGURES}


def _sums(case: Case, claim: str, settings: ScrubSettings) -> Iterator[tuple[str, Sums]]:
    """Scrub one claim on fresh histories of the source, and yield its sums by regime."""
    (ground,) = make_grounds(case.checkpoint, settings, Progress())
    hypothesis = next(claimed.hypothesis for claimed in case.claims if claimed.name == claim)
    bound = bound_to(case, hypothesis, ground, settings)
    extent = Extent(settings.passes, guards=False, nodes_alone=False, accept=hypothesis.accept)
    measured = measure(ground, bound, extent, settings.options, settings.seed)
    for regime in ground.regimes:
        yield regime, regime_sums(ground, measured, regime)
