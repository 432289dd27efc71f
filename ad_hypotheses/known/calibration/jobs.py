"""Calibration: many small jobs on known networks, each kept when it is done, put together to one record."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from jaxtyping import Float

from ad_hypotheses.distill.checkpoint import versions
from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.evidence.plain_data import Number, build, plain
from ad_hypotheses.known.calibration.cases import Case, case_of
from ad_hypotheses.known.calibration.coverage import Datasets, estimates, sums
from ad_hypotheses.known.calibration.error_rates import coverage_of, pooled_ratio
from ad_hypotheses.known.calibration.measures import Measures, facts
from ad_hypotheses.known.calibration.record import Calibration, ClaimFacts, Coverage, Network, TrialOutcome
from ad_hypotheses.known.calibration.trials import RATIOS, CalibrationTrial, n_forwards, run_trial
from ad_hypotheses.storage.checked import checked_json, read_checked_json
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.scrub.bind import ScrubSettings
from ad_hypotheses.studies.scrub.halves import SPLITS
from ad_hypotheses.studies.scrub.study import MEASURED_AS

CALIBRATED_AS = 2  # raise it when jobs measure something else: interrupted calibrations then start anew
ACCEPT = 0.9  # of a claim that names none
INSIDE = (0.2, 0.98)  # what a claim must recover for its intervals to be of interest: neither nothing nor all
TARGETS = (0.9, 0.75, 0.6, 0.4)  # about what they should recover, so that they differ
AT_ONCE = 20  # datasets of a job

Job = CalibrationTrial | Measures | Datasets


@dataclass(frozen=True)
class Design:
    """How much is run.

    Attributes:
        replicates: Datasets of each size on which all claims are tested. {rows: number}
        passes: Numbers of passes to judge by. {rows: numbers}
        covered: Datasets of each size on which intervals are counted. {rows: number}
        pairs: On how many claims.
        exact: Rows, passes and number of the datasets whose pooled value counts as exact.
        compared: Histories on which features are compared.
        seed: Of everything.
    """

    replicates: dict[int, int]
    passes: dict[int, tuple[int, ...]]
    covered: dict[int, int]
    pairs: int
    exact: tuple[int, int, int]
    compared: int
    seed: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Rows and passes of a study that nobody changed, or of the largest trial."""
        standard = ScrubSettings()
        if standard.passes in self.passes.get(standard.rows, ()):
            return standard.rows, standard.passes
        rows = max(self.replicates)
        return rows, max(self.passes[rows])


FULL = Design(
    replicates={32: 6, 64: 4, 128: 3, 256: 3},
    passes={32: (5,), 64: (1, 3, 5), 128: (5,), 256: (5,)},
    covered={40: 200, 64: 200, 256: 200},
    pairs=3,
    exact=(2048, 2, 16),
    compared=256,
)
QUICK = Design(
    replicates={32: 2, 64: 2, 256: 1},
    passes={32: (5,), 64: (1, 3, 5), 256: (5,)},
    covered={64: 20},
    pairs=1,
    exact=(1024, 1, 4),
    compared=256,
)


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

    def kept(self, job: Job) -> Path:
        """File for what a job found: another one if the weights, the claims or the job change."""
        identity = (CALIBRATED_AS, MEASURED_AS, self.case(job.network).digest, type(job).__name__, job)
        path = self.scratch.file(f"{job.network}-{hashlib.sha256(repr(identity).encode()).hexdigest()[:20]}.json")
        self.scratch.file(parts_of(path).name)
        return path


def parts_of(path: Path) -> Path:
    """Folder for what a job has found until it is done."""
    return path.with_suffix(".parts")


def trial_jobs(networks: Sequence[str], design: Design) -> list[Job]:
    """Return what is to be done before claims are chosen whose intervals are counted; the longest jobs first."""
    jobs: list[Job] = []
    for rows in sorted(design.replicates, reverse=True):
        for replicate in range(design.replicates[rows]):
            jobs += [
                CalibrationTrial(network, rows, design.passes[rows], replicate, design.seed) for network in networks
            ]
    return jobs + [Measures(network, design.seed, design.compared) for network in networks]


def coverage_jobs(pairs: Sequence[tuple[str, str]], design: Design) -> list[Job]:
    """Return the datasets on which intervals are counted, and those whose pooled value counts as exact."""
    jobs: list[Job] = []
    rows, passes, n_sets = design.exact
    for pair in pairs:
        jobs += [Datasets(*pair, rows, passes, first, 1, design.seed, exact=True) for first in range(n_sets)]
    standard = design.size[1]
    for n, count in sorted(design.covered.items(), reverse=True):
        for first in range(0, count, AT_ONCE):
            size = min(AT_ONCE, count - first)
            jobs += [Datasets(*pair, n, standard, first, size, design.seed) for pair in pairs]
    return jobs


def cost(job: Job, place: Workplace) -> float:
    """Return what a job takes: partial forward passes, times rows, times a constant for what is done around them."""
    case = place.case(job.network)
    if isinstance(job, CalibrationTrial):
        return n_forwards(case, job) * (job.rows + 8) * (1 + 0.3 * len(job.passes))
    if isinstance(job, Measures):
        return float(len(case.claims) * (job.rows + 400))
    hypothesis = next(claimed.hypothesis for claimed in case.claims if claimed.name == job.claim)
    inner = sum(1 for _ in hypothesis.tree())
    runs = 2.0 * (job.passes + (0 if job.exact else SPLITS))
    return runs * inner * (job.rows + 8) * job.count


def run(job: Job, path: Path, place: Workplace) -> None:
    """Do a job, unless it was done before, and keep what it found.

    Args:
        job: Which.
        path: From `Workplace.kept`, as it was when the calibration began.
        place: Where everything is.

    Raises:
        UserError: The network or its claims were changed since.
    """
    if read_checked_json(path) is not None:
        return
    if place.kept(job) != path:
        raise UserError(
            f"known-{job.network} or its claims were changed while they were calibrated.\n"
            "  The same command begins anew with that network, and keeps what was done on the others."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    case, parts = place.case(job.network), parts_of(path)
    if isinstance(job, CalibrationTrial):
        results: Any = [asdict(item) for item in run_trial(case, job, parts)]
    elif isinstance(job, Measures):
        results = [asdict(item) for item in facts(case, job)]
    elif job.exact:
        results = sums(case, job)
    else:
        results = [{name: asdict(item) for name, item in both.items()} for both in estimates(case, job)]
    content = {"seconds": time.process_time() - began, "found": plain(results)}
    write_atomically(path, checked_json(content))
    rmtree(parts, ignore_errors=True)


def read(jobs: Iterable[Job], place: Workplace, kind: type[Job]) -> Iterator[tuple[Job, Any]]:
    """Yield what the jobs of a kind found, as it was kept."""
    for job in jobs:
        if isinstance(job, kind):
            yield job, _kept(job, place)["found"]


def seconds(jobs: Iterable[Job], place: Workplace) -> float:
    """Return the processor time that jobs took, whenever that was."""
    return sum(_kept(job, place)["seconds"] for job in jobs)


def _kept(job: Job, place: Workplace) -> dict[str, Any]:
    """Return what a job that was done has left.

    Raises:
        DataError: It was damaged or removed since.
    """
    content: dict[str, Any] | None = read_checked_json(place.kept(job))
    if content is None:
        raise DataError(f"{place.kept(job)} was damaged or removed. The same command does that part again.")
    return content


def outcomes(jobs: Sequence[Job], place: Workplace) -> list[TrialOutcome]:
    """Return what all trials found."""
    return [build(TrialOutcome, item) for _, results in read(jobs, place, CalibrationTrial) for item in results]


def choose_pairs(outcomes_seen: Sequence[TrialOutcome], design: Design) -> list[tuple[str, str]]:
    """Return the claims whose intervals are counted: of different networks, and recovering neither nothing nor all.

    Of each network the claim counts that lies nearest to one of a few targets, the targets in turn.
    """
    values: dict[tuple[str, str], list[float]] = {}
    for outcome in outcomes_seen:
        if (
            (outcome.rows, outcome.passes) == design.size
            and outcome.recovered.estimable
            and outcome.beyond_structure.estimable
        ):
            values.setdefault((outcome.network, outcome.claim), []).append(outcome.recovered.value)
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
    """Count how often the intervals of each claim hold the exact value."""
    pooled: dict[tuple[str, str], list[list[float]]] = {}
    by_study: dict[tuple[str, str, int, int], list[dict[str, Number]]] = {}
    for job, content in read(jobs, place, Datasets):
        assert isinstance(job, Datasets)
        if job.exact:
            pooled.setdefault((job.network, job.claim), []).extend(content)
        else:
            both = [
                {name: build(Number, item) for name, item in estimates_of_study.items()}
                for estimates_of_study in content
            ]
            by_study.setdefault((job.network, job.claim, job.rows, job.passes), []).extend(both)
    exact = {pair: _exact(np.array(estimates_of_study)) for pair, estimates_of_study in pooled.items()}
    return [
        coverage_of(
            (network, claim, figure),
            (rows, passes),
            exact[network, claim][figure],
            [item[figure] for item in estimates_of_study],
        )
        for (network, claim, rows, passes), estimates_of_study in by_study.items()
        for figure in RATIOS
    ]


def _exact(losses: Float[np.ndarray, "dataset loss"]) -> dict[str, tuple[float, float]]:
    model, scrubbed, baseline, structure = losses.T
    return {
        "recovered": pooled_ratio(scrubbed - baseline, model - baseline),
        "beyond_structure": pooled_ratio(scrubbed - structure, model - structure),
    }


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
        standard=list(design.size),
        accept=ACCEPT,
        options=asdict(design),
        command=command,
        versions=versions(),
        seconds=seconds(jobs, place),
    )


def _network(case: Case) -> Network:
    shape, config = case.checkpoint.model.shape, case.checkpoint.config
    size = f"{shape.n_layers} layers, {shape.n_heads} heads, width {shape.d_model}, context {shape.n_ctx}"
    return Network(case.name, case.checkpoint.sha256, f"{case.words} ({config.make_task().name}; {size})")
