"""Trials: studies of the claims about a known network, each on fresh data sets and with fresh draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence.bootstrap import Resampling
from ad_hypotheses.evidence.verdict import Judgement, Tested, draws_for, judge
from ad_hypotheses.known.calibration.cases import Case
from ad_hypotheses.known.calibration.error_rates import key
from ad_hypotheses.known.calibration.record import REFUSED, TrialCell, TrialOutcome
from ad_hypotheses.known.claims import KnownClaim
from ad_hypotheses.language.check import Bound, bind
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.progress import Progress
from ad_hypotheses.storage.store import Store
from ad_hypotheses.studies.scrub.bind import ScrubSettings, make_grounds, refuse_untestable
from ad_hypotheses.studies.scrub.claim import MeasuredClaim, tested
from ad_hypotheses.studies.scrub.cost import Extent
from ad_hypotheses.studies.scrub.ground import Ground
from ad_hypotheses.studies.scrub.measure import as_spent, measure
from ad_hypotheses.studies.scrub.measured import Measured, weigh

ACCEPTS = (0.8, 0.85, 0.9, 0.95, 0.97, 0.99)
SEEDS = 1_000_000  # sizes; another size, replicate, or seed of the whole never shares histories or draws


@dataclass(frozen=True)
class CalibrationTrial:
    """Fresh data sets on which all claims about a network are tested and judged together.

    Attributes:
        network: Which.
        rows: References of each data set.
        pool: Donors of each; None for as many as a study has.
        passes: How often every reference is scrubbed at most.
        data: Data sets, as in `ScrubSettings`.
        replicate: Number of the trial among those of this size.
        seed: Of the whole calibration.
    """

    network: str
    rows: int
    pool: int | None
    passes: int
    data: tuple[str, ...]
    replicate: int
    seed: int

    def claims(self, case: Case) -> list[KnownClaim]:
        """Return the claims that are tested and judged together."""
        return list(case.claims)

    @property
    def settings(self) -> ScrubSettings:
        """Of the studies; every trial has a seed of its own, so that no two share histories or draws."""
        own = (self.seed * SEEDS + self.rows) * 10_000 + self.replicate
        return ScrubSettings(rows=self.rows, passes=self.passes, pool=self.pool, data=self.data, seed=own, rollouts=0)

    @property
    def extent(self) -> Extent:
        """How much of each claim is measured: all that a verdict needs under any bar, of wrong ones too."""
        return Extent(self.passes, guards=True, nodes_alone=False, whole=True)


@dataclass(frozen=True)
class _OnData:
    """A claim with all that was measured of it on a data set.

    Attributes:
        whole: With figures from everything.
        resampled: Returns bootstrap weights for so many passes.
        extent: What a study measures at most.
    """

    whole: MeasuredClaim
    resampled: Callable[[int], Resampling]
    extent: Extent
    _known: dict[tuple[int, bool], MeasuredClaim] = field(default_factory=dict, repr=False)

    def spent(self, accept: float) -> MeasuredClaim:
        """Return what a study with that bar measures, and its figures."""
        ground, whole = self.whole.ground, self.whole.measured
        self._known.setdefault((whole.passes, whole.guarded), self.whole)
        measured = as_spent(ground, whole, replace(self.extent, accept=accept, whole=False))
        amount = measured.passes, measured.guarded
        if amount not in self._known:  # most bars ask for the same
            self._known[amount] = _weighed(self.whole, measured, self.resampled(measured.passes))
        return self._known[amount]


class TrialOfTruth(CalibrationTrial):
    """Fresh data sets on which the true claims about a network are tested, and judged among themselves."""

    def claims(self, case: Case) -> list[KnownClaim]:
        """Return the claims that deserve to be supported."""
        return [claim for claim in case.claims if claim.verdict == "supported"]


@dataclass(frozen=True)
class _Weighed:
    """A claim with what was measured of it on each data set; nothing if it was refused."""

    claim: KnownClaim
    on_data: list[_OnData]

    @property
    def by_data(self) -> list[MeasuredClaim]:
        return [part.whole for part in self.on_data]

    def tested(self, accept: float) -> Tested:
        return tested(self.claim.name, accept, [part.spent(accept) for part in self.on_data])


def _weighed(claim: MeasuredClaim, measured: Measured, resampling: Resampling) -> MeasuredClaim:
    evidence, at_stake = weigh(claim.ground, measured, resampling)
    return replace(claim, measured=measured, evidence=evidence, at_stake=at_stake)


def bound_to(case: Case, claim: Hypothesis, ground: Ground, settings: ScrubSettings) -> Bound:
    """Bind a claim to the network and to a data set.

    Raises:
        DataError: At some node no reference shares its feature value with a donor.
    """
    roles = {name: mask for name, mask in ground.regimes.items() if name != "all"}
    bound = bind(claim, case.checkpoint.model.anatomy, ground.history, roles, settings.seed)
    refuse_untestable(bound, ground, settings.align)
    return bound


def n_forwards(case: Case, trial: CalibrationTrial) -> int:
    """Return how many partial forward passes over the references of one data set a trial takes, about."""
    visits = sum(sum(1 for _ in claim.hypothesis.tree()) for claim in trial.claims(case))
    return (2 * trial.passes + 3) * visits


def run_trial(case: Case, trial: CalibrationTrial, store: Store | None = None) -> list[TrialOutcome]:
    """Test the claims of a trial on one set of data sets, as `scrub` does with a file, and judge them together.

    Everything is measured of each, and for each bar the verdict comes from what a study with that bar would have.

    Args:
        case: The network.
        trial: Which data sets.
        store: What was measured claim by claim, so that an interrupted trial goes on; None to keep nothing.
    """
    grounds = make_grounds(case.checkpoint, trial.settings, Progress())
    weighed = [_Weighed(claim, []) for claim in trial.claims(case)]
    draws = draws_for(len(weighed), sum(len(ground.judged) for ground in grounds))
    for ground in grounds:
        with ground.clean.one_run():
            _weigh_on(ground, case, trial, weighed, draws, store or Store(None))
    able = [claim for claim in weighed if len(claim.on_data) == len(grounds)]
    judged = {accept: dict(_judged(able, accept)) for accept in ACCEPTS}
    return [_outcome(trial, claim, len(able), judged) for claim in weighed]


def _weigh_on(
    ground: Ground, case: Case, trial: CalibrationTrial, weighed: Sequence[_Weighed], draws: int, store: Store
) -> None:
    """Measure every claim on one data set; what cannot be tested there is left out."""
    settings = trial.settings
    resampled = cache(lambda passes: Resampling.draw(trial.rows, passes, np.random.default_rng(settings.seed), draws))
    for number, claim in enumerate(weighed):
        try:
            bound = bound_to(case, claim.claim.hypothesis, ground, settings)
        except DataError:
            continue
        arrays = store.get(f"{number}-{ground.data.replace(':', '-')}", _measuring(ground, bound, trial))
        measured = Measured.of_arrays(arrays)
        no_policy = np.empty((*ground.log_probs.shape[:2], 0))  # what the explanation would do is not asked
        whole = _weighed(MeasuredClaim(ground, bound, measured, no_policy, {}, {}), measured, resampled(trial.passes))
        claim.on_data.append(_OnData(whole, resampled, trial.extent))


def _measuring(ground: Ground, bound: Bound, trial: CalibrationTrial) -> Callable[[], dict[str, np.ndarray]]:
    settings = trial.settings
    return lambda: measure(ground, bound, trial.extent, settings.options, settings.seed).arrays()


def _judged(able: Sequence[_Weighed], accept: float) -> Iterator[tuple[str, Judgement]]:
    """Judge all claims together, where so much has to be kept."""
    judgements = judge([claim.tested(accept) for claim in able]) if able else []
    return zip((claim.claim.name for claim in able), judgements, strict=True)


def _outcome(
    trial: CalibrationTrial, weighed: _Weighed, family: int, judged: dict[float, dict[str, Judgement]]
) -> TrialOutcome:
    name, by_data = weighed.claim.name, weighed.by_data
    verdicts = {
        key(accept): judgements[name].verdict if name in judgements else REFUSED
        for accept, judgements in judged.items()
    }
    able = name in judged[ACCEPTS[0]]
    return TrialOutcome(
        network=trial.network,
        claim=name,
        rows=trial.rows,
        pool=trial.settings.donors,
        passes=trial.passes,
        replicate=trial.replicate,
        family=family,
        root_movement=by_data[0].measured.root_movement if able else float("nan"),
        swapped=by_data[0].measured.least_swapped if able else float("nan"),
        half_pool=by_data[0].measured.half_pool if able else None,
        cells=[_cell(part, regime) for part in by_data for regime in part.ground.regimes] if able else [],
        verdicts=verdicts,
    )


def _cell(part: MeasuredClaim, regime: str) -> TrialCell:
    """Return what a record keeps of a regime; of one that is no average, whether it counts."""
    evidence = part.evidence[regime]
    judged = {cell.regime: cell for cell in part.cells()}
    with_self, independent = evidence.fidelity_with_self, evidence.fidelity_independent
    return TrialCell(
        data=part.ground.data,
        regime=regime,
        counts=regime in judged and judged[regime].counts,
        learners=evidence.learners,
        at_stake=evidence.kl_ignorant.value,
        fidelity=evidence.fidelity.number(),
        with_self=None if with_self is None else with_self.number(),
        independent=None if independent is None else independent.number(),
        beyond_structure=evidence.beyond_structure.number(),
        explained=evidence.explained.number() if part.ground.labelled else None,
        recovered=evidence.recovered.number(),
        same_argmax=_mean(part.measured.same_argmax, part, regime),
        tested=part.at_stake[regime],
        swapped=part.swapped(regime),
    )


def _mean(values: np.ndarray, part: MeasuredClaim, regime: str) -> float:
    mask = part.ground.masks[regime] & part.measured.tested
    return float(values[mask].mean()) if mask.any() else float("nan")
