"""Trials: studies of the claims about a known network, each on fresh histories and with fresh draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.metrics import cross_entropy
from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence.bootstrap import Resampling
from ad_hypotheses.evidence.estimate import Evidence
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.evidence.verdict import Tested, draws_for, judge
from ad_hypotheses.known.calibration.cases import Case
from ad_hypotheses.known.calibration.error_rates import key
from ad_hypotheses.known.calibration.record import REFUSED, TrialOutcome
from ad_hypotheses.known.claims import KnownClaim
from ad_hypotheses.language.check import Bound, bind
from ad_hypotheses.studies.scrub.bind import ScrubSettings, reference_histories, refuse_untestable
from ad_hypotheses.studies.scrub.claim import weigh
from ad_hypotheses.studies.scrub.halves import SPLITS, clusters_of, n_splits
from ad_hypotheses.studies.scrub.measure import VARIANTS, Measured, forwards, kept_or_measured, measure

ACCEPTS = (0.8, 0.85, 0.9, 0.95, 0.97, 0.99)
RATIOS = ("recovered", "beyond_structure")
RATIOS_BOTH_WAYS = (*RATIOS, *(f"{name}_with_self" for name in RATIOS))
FIGURES = (
    "model", "scrubbed", "baseline", "structure", "root_movement", "swapped", "kl", "loss_change", "same_argmax",
)  # fmt: skip
UNKNOWN = Number(float("nan"), float("nan"), float("nan"), False)
SEEDS = 1_000_000  # sizes; another size, replicate, or seed of the whole never shares histories or draws


@dataclass(frozen=True)
class CalibrationTrial:
    """One dataset on which all claims about a network are tested and judged together.

    Attributes:
        network: Which.
        rows: Histories.
        passes: Numbers of passes to judge by: the first ones of as many as the largest number.
        replicate: Number of the dataset among those of this size.
        seed: Of the whole calibration.
    """

    network: str
    rows: int
    passes: tuple[int, ...]
    replicate: int
    seed: int

    @property
    def settings(self) -> ScrubSettings:
        """Of the studies; every trial has a seed of its own, so that no two share histories or draws."""
        own = (self.seed * SEEDS + self.rows) * 10_000 + self.replicate
        return ScrubSettings(rows=self.rows, passes=max(self.passes), seed=own, rollouts=0)


@dataclass(frozen=True)
class _Weighed:
    """A claim with what was measured of it, and its evidence by number of passes; None if it was refused."""

    claim: KnownClaim
    measured: Measured | None
    evidence: dict[int, tuple[Evidence, Evidence]]


def n_forwards(case: Case, trial: CalibrationTrial) -> int:
    """Return how many partial forward passes over its histories a trial takes, about."""
    trees = (item.hypothesis.tree() for item in case.claims)
    parents = [{item.name: bool(item.parents) for item in claim.hypothesis.nodes} for claim in case.claims]
    inner = sum(has[path[-1]] for tree, has in zip(trees, parents, strict=True) for path in tree)
    return (len(VARIANTS) * max(trial.passes) + 2 * SPLITS) * inner


def run_trial(
    case: Case,
    trial: CalibrationTrial,
    scratch: Path | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[TrialOutcome]:
    """Test every claim about a network on one dataset, as `scrub` does with a file, and judge them together.

    Args:
        case: The network.
        trial: Which dataset.
        scratch: Folder for what was measured claim by claim, so that an interrupted trial goes on; None for none.
        progress: Called with the number of partial forwards that were done.
    """
    settings, model = trial.settings, case.checkpoint.model
    history = reference_histories(case.checkpoint, settings)
    regimes = case.checkpoint.config.make_task().regimes(history)
    clean = Clean.run(model, history)
    clusters = len(np.unique(clusters_of(history)))
    draws = draws_for(len(case.claims))
    resamplings = {n: Resampling.draw(clusters, n, np.random.default_rng(settings.seed), draws) for n in trial.passes}
    everywhere = {"all": np.ones_like(history.actions, dtype=bool)}
    weighed = []
    for number, claim in enumerate(case.claims):
        bound = bind(claim.hypothesis, model.anatomy, history, regimes, settings.seed)
        path = None if scratch is None else scratch / f"{number}.npz"
        with clean.prepared():
            measured = _measured(clean, bound, settings, path)
        progress(forwards(bound, settings.passes, nodes_alone=False, splits=n_splits(history)))
        evidence = {}
        if measured is not None:
            for n, resampling in resamplings.items():
                first = replace(measured, losses={name: loss[:n] for name, loss in measured.losses.items()})
                evidence[n] = weigh(first, clean.log_probs, history, everywhere, resampling)["all"]
        weighed.append(_Weighed(claim, measured, evidence))
    chance = _unlike(clean)
    return [outcome for n in trial.passes for outcome in _outcomes(trial, n, weighed, clean, chance)]


def _measured(clean: Clean, bound: Bound, settings: ScrubSettings, path: Path | None) -> Measured | None:
    """Scrub one claim, or read what an interrupted trial kept; None if it cannot be tested on these histories."""
    try:
        refuse_untestable(bound, clean.history, settings.align)
    except DataError:
        return None
    options = (settings.passes, settings.options, settings.seed, False, n_splits(clean.history))
    return kept_or_measured(path, lambda: measure(clean, bound, *options))


def _unlike(clean: Clean) -> dict[str, float]:
    """How far any two rows are apart, in the measures that a claim is compared with."""
    other, actions = np.roll(clean.log_probs, 1, axis=0), clean.history.actions
    change = np.abs(cross_entropy(other, actions) - cross_entropy(clean.log_probs, actions))
    return {
        "kl_baseline": float(_kl(clean.log_probs, other).mean()),
        "loss_change_baseline": float(change.mean()),
        "same_argmax_baseline": float((other.argmax(-1) == clean.log_probs.argmax(-1)).mean()),
    }


def _kl(of: Float[np.ndarray, "row step action"], to: Float[np.ndarray, "row step action"]) -> np.ndarray:
    return (np.exp(of) * (of - to)).sum(-1)


def _outcomes(
    trial: CalibrationTrial, passes: int, weighed: Sequence[_Weighed], clean: Clean, chance: dict[str, float]
) -> list[TrialOutcome]:
    """Judge all claims together, once for every share that might have to be recovered."""
    able = [item for item in weighed if item.measured is not None and item.evidence[passes][0].recovered.estimable]
    verdicts: dict[str, dict[str, str]] = {item.claim.name: {} for item in weighed}
    for accept in ACCEPTS:
        judged = judge([_tested(item, passes, accept) for item in able]) if able else []
        by_name = {item.name: str(item.verdict) for item in judged}
        for name, by_accept in verdicts.items():
            by_accept[key(accept)] = by_name.get(name, REFUSED)
    return [_outcome(trial, passes, item, len(weighed), clean, chance, verdicts[item.claim.name]) for item in weighed]


def _tested(claim: _Weighed, passes: int, accept: float) -> Tested:
    assert claim.measured is not None
    other, own = claim.evidence[passes]
    ratios = (other.recovered, other.beyond_structure, own.recovered, own.beyond_structure)
    return Tested(claim.claim.name, accept, *ratios, claim.measured.root_movement, claim.measured.least_swapped)


def _outcome(
    trial: CalibrationTrial,
    passes: int,
    weighed: _Weighed,
    family: int,
    clean: Clean,
    chance: dict[str, float],
    verdicts: dict[str, str],
) -> TrialOutcome:
    measured, nothing = weighed.measured, float("nan")
    figures: dict[str, Any] = dict.fromkeys(FIGURES, nothing) | dict.fromkeys(RATIOS_BOTH_WAYS, UNKNOWN)
    if measured is not None:
        other, own = weighed.evidence[passes]
        change = np.abs(measured.losses["scrubbed"] - cross_entropy(clean.log_probs, clean.history.actions))
        figures |= {name: getattr(other, name).value for name in ("model", "scrubbed", "baseline", "structure")}
        figures |= {name: getattr(other, name).number() for name in RATIOS}
        figures |= {f"{name}_with_self": getattr(own, name).number() for name in RATIOS}
        figures |= {
            "root_movement": measured.root_movement,
            "swapped": measured.least_swapped,
            "kl": float(measured.kl.mean()),
            "loss_change": float(change.mean()),
            "same_argmax": float(measured.same_argmax.mean()),
        }
    where = (trial.network, weighed.claim.name, trial.rows, passes, trial.replicate, family)
    return TrialOutcome(*where, **(figures | chance), verdicts=verdicts)
