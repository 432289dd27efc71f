"""The rule of the verdict as plainly as it can be written: loops over positions, and interval ends in place of draws.

An independent judge of `studies/scrub/measure.py`, `studies/scrub/claim.py` and `evidence/verdict.py`. What the engine
makes of a model it takes as given; that has judges of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ad_hypotheses.evidence.bootstrap import Estimate
from ad_hypotheses.evidence.verdict import Cell, Tested
from ad_hypotheses.language.check import BoundGraph
from ad_hypotheses.studies.scrub.ground import Ground

# --- Figures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Runs:
    """Log-probabilities that a claim leaves, over all references, pass by pass: [reference, step, action] each."""

    scrubbed: Sequence[np.ndarray]
    structure: Sequence[np.ndarray]
    with_self: Sequence[np.ndarray]
    independent: Sequence[np.ndarray]


def has_donor(ground: Ground, claim: BoundGraph, name: str, row: int, step: int) -> bool:
    """Whether a learner of the pool has the same value at the same step, or the node does not speak there."""
    node = claim.nodes[name]
    if node.selected is not None and not node.selected[row, step]:
        return True
    for donor in range(ground.n_references, ground.history.n_rows):
        speaks = node.selected is None or node.selected[donor, step]
        where = (lambda r: (r, step)) if node.labels.ndim == 2 else (lambda r: (r,))
        if speaks and node.labels[where(donor)] == node.labels[where(row)]:
            return True
    return False


def divergence(own: np.ndarray, other: np.ndarray) -> float:
    """KL divergence of a distribution from another, of log-probabilities, in nats."""
    return float(sum(np.exp(p) * (p - q) for p, q in zip(own.tolist(), other.tolist(), strict=True)))


def figures(ground: Ground, claim: BoundGraph, runs: Runs) -> dict[str, dict[str, float]]:
    """Every figure that a verdict is made from, by regime; NaN where there is nothing to divide by."""
    names = [name for name in claim.nodes if name != claim.root]
    places = [(row, step) for row in range(ground.n_references) for step in range(ground.history.n_steps)]
    donors = {name: {place: has_donor(ground, claim, name, *place) for place in places} for name in names}
    return {
        regime: _of_regime(ground, runs, donors, [place for place in places if mask[place]], regime)
        for regime, mask in ground.regimes.items()
    }


def _of_regime(
    ground: Ground, runs: Runs, donors: Mapping[str, Mapping[tuple[int, int], bool]], places: list, regime: str
) -> dict[str, float]:
    own, labels = ground.clean.log_probs, ground.history.actions
    of_pool = [
        (row, step)
        for row, step in np.argwhere(ground.regimes[regime]).tolist()
        if row >= ground.n_references
    ]  # fmt: skip
    n_actions = own.shape[-1]
    zero = np.log((np.exp([own[p] for p in of_pool]).sum(axis=0) + 1 / n_actions) / (len(of_pool) + 1))
    counts = np.array([sum(labels[p] == action for p in of_pool) + 0.5 for action in range(n_actions)])
    frequent = np.log(counts / counts.sum()) if ground.labelled else zero
    tested = [place for place in places if all(of_node[place] for of_node in donors.values())]

    def loss(place, log_probs) -> float:
        if ground.labelled:
            return float(-log_probs[labels[place]])
        return float(-(np.exp(own[place]) * log_probs).sum())

    def mean(values: Iterable[float]) -> float:
        values = list(values)
        return sum(values) / len(values) if values else np.nan

    def fidelity(passes, at=tested) -> float:
        lost = mean(divergence(own[place], run[place]) for run in passes for place in at)
        return 1 - lost / mean(divergence(own[place], zero) for place in at)

    def lost_by(of_place) -> float:
        return mean(of_place(place) - loss(place, own[place]) for place in tested)

    lost = mean(lost_by(lambda place, run=run: loss(place, run[place])) for run in runs.scrubbed)
    structure = mean(lost_by(lambda place, run=run: loss(place, run[place])) for run in runs.structure)
    stake = sum(divergence(own[place], zero) for place in places)
    return {
        "fidelity": fidelity(runs.scrubbed),
        "fidelity_with_self": fidelity(runs.with_self),
        "fidelity_independent": fidelity(runs.independent),
        "explained": 1 - lost / lost_by(lambda place: loss(place, frequent)),
        "beyond_structure": 1 - lost / structure,
        "tested": sum(divergence(own[place], zero) for place in tested) / stake,
        "swapped": min(mean(float(of_node[place]) for place in places) for of_node in donors.values()),
        "learners": len({ground.history.learner[row] for row, _ in places}),
        "at_stake": stake / len(places),
    }


# --- Verdicts -------------------------------------------------------------------------------------------------------


def side(ratio: Estimate, accept: float) -> str:
    """Where an interval lies."""
    if not ratio.estimable:
        return "unknown"
    return "above" if ratio.low > accept else "below" if ratio.high < accept else "across"


def counts(cell: Cell) -> bool:
    """Whether at least 30 learners are there and the model is surely more than 0.02 nats from a constant."""
    return cell.evidence.all_learners >= 30 and cell.evidence.all_kl_ignorant.low > 0.02


def asked(cell: Cell) -> list[Estimate]:
    """The ratios that must lie above the bar."""
    evidence = cell.evidence
    ratios = [evidence.fidelity, evidence.fidelity_with_self]
    ratios += [] if evidence.fidelity_independent is None else [evidence.fidelity_independent]
    ratios += [evidence.beyond_structure] if evidence.beyond_structure.estimable else []
    return ratios + ([evidence.explained] if cell.labelled and evidence.gain.low > 0.02 else [])


def statuses(claim: Tested) -> tuple[str, ...]:
    """What is said of every regime of every data set."""
    counting = [cell for cell in claim.cells if counts(cell)]

    def features_add(regime: str | None) -> bool:
        cells = [cell for cell in counting if regime in (None, cell.regime)]
        return any(cell.evidence.beyond_structure.estimable for cell in cells)

    whole = features_add(None) and all(status(cell, claim.accept) == "supported" for cell in counting)
    return tuple(status(cell, claim.accept, whole or features_add(cell.regime)) for cell in claim.cells)


def status(cell: Cell, accept: float, features_add: bool = True) -> str:
    """What is said of one regime of one data set; `features_add`: whether in it a constant does worse."""
    if not counts(cell):
        return "does not count"
    sides = [side(ratio, accept) for ratio in asked(cell)]
    if "below" in sides and cell.tested > 0:
        return "refuted"
    power = cell.evidence.power
    weak = power is not None and not (power.estimable and power.value >= 0.5)
    if cell.tested < 0.5 or cell.swapped < 0.2 or weak or not features_add:
        return "untested"
    return "supported" if set(sides) == {"above"} else "open"


def verdict(claim: Tested) -> str:
    """What is said of a claim that is judged with so many draws that corrections decide nothing."""
    judged = [(cell, status(cell, claim.accept)) for cell in claim.cells if counts(cell)]
    if not judged:
        return "inconclusive"
    words = {word for _, word in judged}
    if claim.symmetries:
        if claim.power < 0.5 and "refuted" not in words:
            return "vacuous"
    elif claim.root_movement < 0.05 and claim.swapped < 0.2:
        return "vacuous"

    def holds(regime: str | None) -> bool:
        of_regime = [(cell, word) for cell, word in judged if regime in (None, cell.regime)]
        features_add = any(cell.evidence.beyond_structure.estimable for cell, _ in of_regime)
        return features_add and all(word == "supported" for _, word in of_regime)

    if holds(None):
        return "supported"
    regimes = [regime for regime in dict.fromkeys(cell.regime for cell, _ in judged) if holds(regime)]
    if regimes:
        return f"supported in {', '.join(regimes)}"
    return "refuted" if "refuted" in words else "inconclusive"
