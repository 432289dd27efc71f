"""Calibration: many small jobs on known networks, each kept when it is done, put together to one record."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from ad_hypotheses.distill.checkpoint import versions
from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.evidence.plain_data import Number, build, plain
from ad_hypotheses.known.calibration.cases import Case, case_of
from ad_hypotheses.known.calibration.coverage import Datasets, estimates, pooled
from ad_hypotheses.known.calibration.error_rates import coverage_of, pooled_ratio
from ad_hypotheses.known.calibration.measures import Measures, facts
from ad_hypotheses.known.calibration.record import Calibration, ClaimFacts, Coverage, Network, TrialOutcome
from ad_hypotheses.known.calibration.trials import CalibrationTrial, TrialOfTruth, n_forwards, run_trial
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.storage.store import Store
from ad_hypotheses.studies.scrub.bind import ScrubSettings, data_sets
from ad_hypotheses.studies.scrub.study import MEASURED_AS

CALIBRATED_AS = 4  # raise it when jobs measure something else: interrupted calibrations then start anew
ACCEPT = 0.9  # of a claim that names none
INSIDE = (-0.5, 0.98)  # fidelity of a claim whose intervals are of interest: neither all nor nothing like it
WHOLLY_TESTED = 0.99  # share tested where a pool has donors for all: elsewhere the value itself depends on the pool
TARGETS = (0.9, 0.6, 0.3, 0.0)  # about what they should keep, so that they differ
AT_ONCE = 10  # data sets of a job
OUTCOME = "outcome"  # name of what a job gave, among what is kept of it

Job = CalibrationTrial | Measures | Datasets


@dataclass(frozen=True)
class Design:
    """How much is run.

    Attributes:
        replicates: Trials of each size, in which all claims are tested. {references: number}
        covered: Data sets of each size on which intervals are counted. {references: number}
        pairs: On how many claims.
        exact: References, donors and number of the data sets whose pooled value counts as exact.
        compared: Histories on which features are compared.
        of_truth: Further trials of each size, in which only true claims are tested. {references: number}
        passes: How often every reference is scrubbed.
        pool: Donors of each data set; None for as many as a study has.
        data: Data sets of the trials, as in `ScrubSettings`.
        seed: Of everything.
    """

    replicates: dict[int, int]
    covered: dict[int, int]
    pairs: int
    exact: tuple[int, int, int]
    compared: int
    of_truth: dict[int, int] = field(default_factory=dict)
    passes: int = ScrubSettings.passes
    pool: int | None = None
    data: tuple[str, ...] = ScrubSettings.data
    seed: int = 0

    @property
    def rows(self) -> int:
        """References of a study that nobody changed, or of the largest trial."""
        return ScrubSettings.rows if ScrubSettings.rows in self.replicates else max(self.replicates)


FULL = Design(
    replicates={64: 1, 256: 1}, covered={64: 40, 256: 60}, pairs=2, exact=(1024, 4096, 4), compared=256,
    of_truth={256: 2},
)  # fmt: skip
QUICK = Design(
    replicates={64: 1}, covered={64: 10}, pairs=1, exact=(256, 1024, 4), compared=256, passes=1, pool=512,
    data=("source", "own"),
)  # fmt: skip


@dataclass(frozen=True)
class Workplace:
    """Where everything is.

    Attributes:
        models: The checkpoints.
        hypotheses: The hypothesis files of known networks.
        scratch: What was done, job by job, so that an interrupted calibration goes on.
    """

    models: Path
    hypotheses: Path
    scratch: Scratch

    def case(self, network: str) -> Case:
        """Load a known network and its claims."""
        return case_of(network, self.models, self.hypotheses)

    def key(self, job: Job) -> str:
        """Name for the outcome of a job: another one if the weights, the claims or the job change."""
        identity = (CALIBRATED_AS, MEASURED_AS, self.case(job.network).digest, type(job).__name__, job)
        key = f"{job.network}-{hashlib.sha256(repr(identity).encode()).hexdigest()[:20]}"
        self.parts(key)  # what a worker leaves there goes when the calibration ends
        return key

    def outcome(self, key: str) -> dict[str, Any] | None:
        """Return the outcome of a job; None if it was not done yet."""
        outcome: dict[str, Any] | None = self.scratch.store(key).plain.get(OUTCOME)
        return outcome

    def parts(self, key: str) -> Path:
        """Folder for what a job has measured until it is done."""
        return self.scratch.file(f"{key}.parts")


def trial_jobs(networks: Sequence[str], design: Design) -> list[Job]:
    """Return what is to be done before claims are chosen whose intervals are counted; the longest jobs first."""
    how = (design.pool, design.passes, design.data)
    jobs: list[Job] = []
    for rows in sorted(design.replicates, reverse=True):
        for replicate in range(design.replicates[rows]):
            jobs += [CalibrationTrial(network, rows, *how, replicate, design.seed) for network in networks]
        for number in range(design.of_truth.get(rows, 0)):
            replicate = design.replicates[rows] + number
            jobs += [TrialOfTruth(network, rows, *how, replicate, design.seed) for network in networks]
    return jobs + [Measures(network, design.seed, design.compared) for network in networks]


def coverage_jobs(pairs: Sequence[tuple[str, str]], design: Design) -> list[Job]:
    """Return the data sets on which intervals are counted, and those whose pooled value counts as exact."""
    jobs: list[Job] = []
    rows, pool, n_sets = design.exact
    for pair in pairs:
        large = (rows, pool, design.passes)
        jobs += [Datasets(*pair, *large, first, 1, design.seed, exact=True) for first in range(n_sets)]
    for rows, count in sorted(design.covered.items(), reverse=True):
        for first in range(0, count, AT_ONCE):
            part = min(AT_ONCE, count - first)
            jobs += [Datasets(*pair, rows, design.pool, design.passes, first, part, design.seed) for pair in pairs]
    return jobs


def cost(job: Job, place: Workplace) -> float:
    """Return what a job takes: partial forward passes times histories, and what is done around them."""
    case = place.case(job.network)
    if isinstance(job, CalibrationTrial):
        settings = job.settings
        around = len(job.claims(case)) * (settings.donors + job.rows)
        return len(data_sets(case.checkpoint, settings)) * float(n_forwards(case, job) * job.rows + 3 * around)
    if isinstance(job, Measures):
        return float(len(case.claims) * (job.rows + 1000))
    hypothesis = next(claimed.hypothesis for claimed in case.claims if claimed.name == job.claim)
    inner = sum(1 for _ in hypothesis.tree())
    return job.count * float(2 * job.passes * inner * job.rows + 5 * (job.rows + job.settings[0].donors))


def run(job: Job, key: str, place: Workplace) -> None:
    """Do a job, unless it was done before, and keep its outcome.

    Args:
        job: Which.
        key: From `Workplace.key`, as it was when the calibration began.
        place: Where everything is.

    Raises:
        UserError: The network or its claims were changed since.
    """
    if place.outcome(key) is not None:
        return
    if place.key(job) != key:
        raise UserError(
            f"known-{job.network} or its claims were changed while they were calibrated.\n"
            "  The same command begins anew with that network, and keeps what was done on the others."
        )
    parts = place.parts(key)
    place.scratch.store(key).get(OUTCOME, lambda: _outcome(job, place.case(job.network), Store(parts)))
    rmtree(parts, ignore_errors=True)


def _outcome(job: Job, case: Case, parts: Store) -> dict[str, Any]:
    began = time.process_time()
    if isinstance(job, CalibrationTrial):
        results: Any = [asdict(item) for item in run_trial(case, job, parts)]
    elif isinstance(job, Measures):
        results = [asdict(item) for item in facts(case, job)]
    elif job.exact:
        results = pooled(case, job)
    else:
        results = [
            {
                regime: {figure: asdict(interval) for figure, interval in figures.items()}
                for regime, figures in of.items()
            }
            for of in estimates(case, job)
        ]
    return {"seconds": time.process_time() - began, "results": plain(results)}


def read(jobs: Iterable[Job], place: Workplace, kind: type[Job]) -> Iterator[tuple[Job, Any]]:
    """Yield the results of the jobs of a kind, as they were kept."""
    for job in jobs:
        if isinstance(job, kind):
            yield job, _outcome_of(job, place)["results"]


def seconds(jobs: Iterable[Job], place: Workplace) -> float:
    """Return the processor time that jobs took, whenever that was."""
    return sum(_outcome_of(job, place)["seconds"] for job in jobs)


def _outcome_of(job: Job, place: Workplace) -> dict[str, Any]:
    """Return the outcome of a job that was done.

    Raises:
        DataError: It was damaged or removed since.
    """
    key = place.key(job)
    outcome = place.outcome(key)
    if outcome is None:
        file = place.scratch.store(key).path
        raise DataError(f"{file} was damaged or removed. The same command does that part again.")
    return outcome


def outcomes(jobs: Sequence[Job], place: Workplace) -> list[TrialOutcome]:
    """Return what all trials found."""
    return [build(TrialOutcome, item) for _, results in read(jobs, place, CalibrationTrial) for item in results]


def choose_pairs(outcomes_seen: Sequence[TrialOutcome], design: Design) -> list[tuple[str, str]]:
    """Return the claims whose intervals are counted: of different networks, and keeping neither nothing nor all.

    Only claims count that are tested nearly everywhere. Of each network the claim counts that lies nearest to one of a
    few targets, the targets in turn.
    """
    values: dict[tuple[str, str], list[float]] = {}
    for outcome in outcomes_seen:
        cell = outcome.overall
        if outcome.rows != design.rows or cell is None or cell.tested < WHOLLY_TESTED:
            continue
        if cell.fidelity.estimable and cell.beyond_structure.estimable:
            values.setdefault((outcome.network, outcome.claim), []).append(cell.fidelity.value)
    means = {pair: float(np.mean(values_of_pair)) for pair, values_of_pair in values.items()}
    left = {pair: mean for pair, mean in means.items() if INSIDE[0] < mean < INSIDE[1]}
    pairs: list[tuple[str, str]] = []
    for turn in range(design.pairs):
        target = TARGETS[turn % len(TARGETS)]
        if not left:
            break
        pair = min(left, key=lambda pair: (abs(left[pair] - target), pair))
        pairs.append(pair)
        others = {outcome: mean for outcome, mean in left.items() if outcome[0] != pair[0]}
        left = others or {outcome: mean for outcome, mean in left.items() if outcome != pair}
    return pairs


def coverage(jobs: Sequence[Job], place: Workplace) -> list[Coverage]:
    """Count how often the intervals of each claim hold the exact value, in each regime with something to explain."""
    parts: dict[tuple[str, str, str, str], list[list[float]]] = {}
    intervals: dict[tuple[str, str, str, str], dict[tuple[int, int], list[Number]]] = {}
    for job, content in read(jobs, place, Datasets):
        assert isinstance(job, Datasets)
        for by_regime in content:
            for regime, by_figure in by_regime.items():
                for figure, value in by_figure.items():
                    where = (job.network, job.claim, regime, figure)
                    if job.exact:
                        parts.setdefault(where, []).append(value)
                    else:
                        size = (job.rows, job.settings[0].donors)
                        of_size = intervals.setdefault(where, {}).setdefault(size, [])
                        of_size.append(build(Number, value))
    counted = []
    for where, by_size in intervals.items():
        lost, whole = np.array(parts[where]).T
        for size, numbers in by_size.items():
            # where the model does what a constant does, there is no share to hold
            if np.mean([number.estimable for number in numbers]) > 0.5:
                share, error = pooled_ratio(lost, whole)
                counted.append(coverage_of(where, size, (1 - share, error), numbers))
    return counted


def put_together(
    networks: Sequence[str], jobs: Sequence[Job], design: Design, place: Workplace, command: str
) -> Calibration:
    """Make the record of what all jobs found."""
    cases = [place.case(name) for name in networks]
    return Calibration(
        networks=[_network(case) for case in cases],
        claims=[build(ClaimFacts, item) for _, results in read(jobs, place, Measures) for item in results],
        outcomes=outcomes(jobs, place),
        coverage=coverage(jobs, place),
        rows=design.rows,
        accept=ACCEPT,
        options=asdict(design),
        command=command,
        versions=versions(),
        seconds=seconds(jobs, place),
    )


def _network(case: Case) -> Network:
    shape, config = case.checkpoint.model.shape, case.checkpoint.config
    size = f"{shape.n_layers} layers, {shape.n_heads} heads, width {shape.d_model}, context {shape.n_ctx}"
    return Network(case.name, case.checkpoint.sha256, f"{case.words} ({config.experiment.task.name}; {size})")
