"""One rule that turns estimates into verdicts, for all hypotheses and controls of a file at once.

A claim is tested in *cells*: a regime of a data set each. The rule is fixed before the run and has no knob but
`accept`. All that are tested together share one error budget: the chance that any wrong one among them is called
*supported* is at most 2.5 %, and likewise for *refuted*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ad_hypotheses.evidence.bootstrap import Estimate
from ad_hypotheses.evidence.estimate import Evidence
from ad_hypotheses.evidence.p_values import holm, p_above, p_below

Verdict = str
"""`"supported"`, `"supported in explore, stay"`, `"refuted"`, `"inconclusive"` or `"vacuous"`."""

CellStatus = Literal["supported", "refuted", "open", "untested", "does not count"]

#: One-sided error rate of a family: each end of a 95 % interval.
ALPHA = 0.025
#: Below this share of the baseline's movement the root's input has hardly been touched.
VACUOUS_BELOW = 0.05
#: Where at a node fewer positions than this have another history as a donor, what the node says was hardly tested.
SWAPPED_AT_LEAST = 0.2
#: A regime whose tested positions carry less than this share of what there is to explain was hardly tested.
TESTED_AT_LEAST = 0.5
#: Where breaking the symmetries that donors are made by loses less than this, their donors test hardly anything.
POWER_AT_LEAST = 0.5
#: A regime counts where at least so many learners have a position in it ...
ENOUGH_LEARNERS = 30
#: ... and where the model is at least so many nats away from the best constant distribution.
ENOUGH_NATS = 0.02
_MOST_RATIOS = 5


@dataclass(frozen=True)
class Cell:
    """A claim in one regime of one data set.

    Attributes:
        data: Name of the data set.
        regime: Name of the regime.
        evidence: Figures over the tested positions.
        tested: Share of what there is to explain that lies on tested positions, 0 to 1.
        swapped: Share of the positions that have another history as a donor, at the node where it is smallest.
        labelled: Whether the labels are a learner's, so that `explained` says something that fidelity does not.
    """

    data: str
    regime: str
    evidence: Evidence
    tested: float
    swapped: float
    labelled: bool

    @property
    def why_not(self) -> str:
        """Why the regime does not count; empty if it does."""
        if self.evidence.all_learners < ENOUGH_LEARNERS:
            return f"only {self.evidence.all_learners} learners have a position in it ({ENOUGH_LEARNERS} needed)"
        gap = self.evidence.all_kl_ignorant
        if not gap.low > ENOUGH_NATS:
            return f"the model hardly differs from one constant distribution ({gap:.3f} nats; {ENOUGH_NATS} needed)"
        return ""

    @property
    def counts(self) -> bool:
        """Whether the claim must explain this cell."""
        return not self.why_not

    @property
    def was_tested(self) -> bool:
        """Whether enough was swapped for a verdict, and what was made could have made a difference."""
        return self.tested >= TESTED_AT_LEAST and self.swapped >= SWAPPED_AT_LEAST and self.has_power

    @property
    def has_power(self) -> bool:
        """Whether something is lost where symmetries are broken; true where no donors are made."""
        power = self.evidence.power
        return power is None or (power.estimable and power.value >= POWER_AT_LEAST)

    @property
    def ratios(self) -> dict[str, Estimate]:
        """What must all lie above `accept`, by the words that a reader knows them by.

        `explained` and `beyond structure` are asked for only where there is something that they could be shares of.
        """
        evidence = self.evidence
        ratios = {"fidelity": evidence.fidelity}
        if evidence.fidelity_with_self is not None:
            ratios["fidelity with self-donors"] = evidence.fidelity_with_self
        if evidence.fidelity_independent is not None:
            ratios["fidelity with independent others"] = evidence.fidelity_independent
        if evidence.beyond_structure.estimable:
            ratios["beyond structure"] = evidence.beyond_structure
        if self.labelled and evidence.gain.low > ENOUGH_NATS:
            ratios["explained"] = evidence.explained
        return ratios

    def weakest(self, accept: float) -> str:
        """Return the name of the ratio that decides: the first that lies below `accept`, else the lowest."""
        for name, ratio in self.ratios.items():
            if ratio.estimable and ratio.high < accept:
                return name
        return min(self.ratios, key=lambda name: self.ratios[name].value if self.ratios[name].estimable else -np.inf)


@dataclass(frozen=True)
class Tested:
    """One hypothesis or control, with what was measured about it.

    Attributes:
        name: What the file calls it.
        accept: The share from which on it counts as supported.
        cells: Every regime of every data set, without the averages over regimes where there are several.
        root_movement: How far the root's input moved, as a share of how far the baseline moves it, 0 or more.
        swapped: Share of the draws whose donor is another row, at the node where it is smallest.
        symmetries: By which symmetry the donors of each node are made; none where all are found.
        power: What is lost over all regimes where these symmetries are broken; 1 where all donors are found.
    """

    name: str
    accept: float
    cells: tuple[Cell, ...]
    root_movement: float
    swapped: float
    symmetries: Mapping[str, str] = field(default_factory=dict)
    power: float = 1.0

    @property
    def counting(self) -> list[Cell]:
        """The cells that count."""
        return [cell for cell in self.cells if cell.counts]


@dataclass(frozen=True)
class Judgement:
    """A verdict and why.

    Attributes:
        name: What was judged.
        verdict: Supported, supported in some regimes, refuted, inconclusive or vacuous.
        p_supported: Holm-adjusted p-value of "in some cell some ratio is at or below `accept`".
        p_refuted: Holm-adjusted p-value of "in every cell every ratio is at or above `accept`".
        reason: One plain sentence with the numbers that decided.
        sentence: What the claim explains and what not, by regime and data set.
        statuses: What is said of each cell, in their order.
    """

    name: str
    verdict: Verdict
    p_supported: float
    p_refuted: float
    reason: str
    sentence: str
    statuses: tuple[CellStatus, ...]


def draws_for(n_claims: int, n_cells: int = 1) -> int:
    """Return how many bootstrap draws a family needs, 2000 or more.

    The smallest p-value is one over the number of draws, and the correction multiplies it by the number of ratios.

    Args:
        n_claims: Claims that are judged together.
        n_cells: Regimes of all data sets together.
    """
    return max(2000, int(np.ceil(1.1 * _MOST_RATIOS * n_cells * n_claims / ALPHA)))


def judge(family: Sequence[Tested]) -> list[Judgement]:
    """Judge all hypotheses and controls of one file together.

    In a cell, a claim is *supported* if every ratio that is asked for lies above `accept`, and *refuted* if one lies
    below. A regime counts where enough learners have a position in it and where the model does something that a
    constant does not.

    *supported*: in every cell that counts, at least half of what there is to explain was tested, at every node at least
    a fifth of the positions had another donor, and the largest p-value of all ratios, Holm-adjusted over the family, is
    below 0.025. *supported in* some regimes: that holds of these regimes on every data set on which they count, after
    correction for the number of regimes. *refuted*: in some cell a ratio lies below (the smallest p-value, times the
    number of ratios, likewise adjusted). *vacuous*: the root's input moved less than 5 % of what the baseline moves it,
    and at some node hardly any history was swapped; where donors are made, a true claim moves nothing, so that it is
    vacuous if it is not refuted and less than half is lost over all regimes where the symmetries are broken. A cell
    where less is lost was not tested. *inconclusive*: anything else, or no regime counts.

    Args:
        family: Everything that was tested together; a corrected p-value depends on all of it.

    Returns:
        One judgement for each, in the order given.
    """
    for tested in family:
        assert tested.root_movement >= 0, f"{tested.name}: the root moved by {tested.root_movement}"
    supported = holm([_worst(tested.counting, tested.accept) for tested in family])
    refuted = holm([_harmed(tested.counting, tested.accept) for tested in family])
    n_regimes = sum(len(_regimes(tested)) for tested in family)
    n_cells = sum(len(tested.counting) for tested in family)
    judgements = []
    for tested, up, down in zip(family, supported, refuted, strict=True):
        # of one family: each regime, and each cell, is corrected for all of them
        by_regime = _regimes(tested)
        regimes = tuple(
            regime for regime, cells in by_regime.items() if min(1.0, n_regimes * _worst(cells, tested.accept)) < ALPHA
        )
        # where constant features do as well in a regime, only a claim that is supported as a whole explains it
        adding = {regime for regime, cells in by_regime.items() if up < ALPHA or _features_add(cells)}
        statuses = tuple(_status(cell, tested.accept, n_cells, cell.regime in adding) for cell in tested.cells)
        judgements.append(_judgement(tested, float(up), float(down), regimes, statuses))
    return judgements


def _regimes(tested: Tested) -> dict[str, list[Cell]]:
    """The cells that count, by regime."""
    regimes: dict[str, list[Cell]] = {}
    for cell in tested.counting:
        regimes.setdefault(cell.regime, []).append(cell)
    return regimes


def _worst(cells: Sequence[Cell], accept: float) -> float:
    """The p-value of "somewhere a ratio is at or below `accept`".

    It is 1 where a cell was hardly tested, where there is none, and where constant features do as well in all of them:
    then nothing was tested of what the features say.
    """
    return _lowest(cells, accept) if _features_add(cells) else 1.0


def _features_add(cells: Iterable[Cell]) -> bool:
    """Whether constant features do worse in some cell, so that there is something that the features could say."""
    return any(cell.evidence.beyond_structure.estimable for cell in cells)


def _lowest(cells: Sequence[Cell], accept: float) -> float:
    p_values = [p_above(ratio, accept) if cell.was_tested else 1.0 for cell in cells for ratio in cell.ratios.values()]
    return max(p_values, default=1.0)


def _harmed(cells: Iterable[Cell], accept: float) -> float:
    """The p-value of "nowhere a ratio is below `accept`", corrected for their number."""
    p_values = [p_below(ratio, accept) for cell in cells for ratio in cell.ratios.values() if cell.tested > 0]
    return min(1.0, len(p_values) * min(p_values)) if p_values else 1.0


def _status(cell: Cell, accept: float, n_cells: int, features_add: bool) -> CellStatus:
    if not cell.counts:
        return "does not count"
    if min(1.0, n_cells * _harmed([cell], accept)) < ALPHA:
        return "refuted"
    if not cell.was_tested or not features_add:
        return "untested"
    return "supported" if min(1.0, n_cells * _lowest([cell], accept)) < ALPHA else "open"


def _judgement(
    tested: Tested, up: float, down: float, regimes: tuple[str, ...], statuses: tuple[CellStatus, ...]
) -> Judgement:
    """Apply the rule to one claim whose p-values are adjusted already."""
    verdict: Verdict = "inconclusive"
    if not tested.counting:
        reason = "no regime counts: " + "; ".join(f"{_place(cell)}: {cell.why_not}" for cell in tested.cells)
    elif not tested.symmetries and tested.root_movement < VACUOUS_BELOW and tested.swapped < SWAPPED_AT_LEAST:
        verdict, reason = "vacuous", _why_vacuous(tested)
    elif down >= ALPHA and not tested.power >= POWER_AT_LEAST:
        verdict, reason = "vacuous", _why_powerless(tested)
    elif up < ALPHA:
        verdict, reason = "supported", _why_supported(tested)
    elif regimes:
        verdict = f"supported in {', '.join(regimes)}"
        reason = f"in {listed(regimes)} all ratios lie above the accepted {tested.accept:.2f}, elsewhere not"
    elif down < ALPHA:
        verdict, reason = "refuted", _why_refuted(tested)
    else:
        reason = _why_inconclusive(tested, up)
    return Judgement(tested.name, verdict, up, down, reason, _sentence(tested, statuses), statuses)


def _place(cell: Cell) -> str:
    return f"{cell.regime} ({cell.data})"


def listed(names: Sequence[str]) -> str:
    """Return names in a sentence: "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _ranked(tested: Tested) -> list[tuple[Cell, str, Estimate]]:
    """Every ratio of every cell that counts, the lowest first."""
    ratios = [(cell, name, ratio) for cell in tested.counting for name, ratio in cell.ratios.items()]
    return sorted(ratios, key=lambda item: item[2].low if item[2].estimable else -np.inf)


def _why_vacuous(tested: Tested) -> str:
    return (
        f"the root's input moved {tested.root_movement:.1%} of what the baseline moves it (less than "
        f"{VACUOUS_BELOW:.0%}), so almost nothing was put to the test, whatever is kept"
    )


def _why_powerless(tested: Tested) -> str:
    return (
        f"power {tested.power:.2f}: where what {_by_symmetry(tested)} changes shows another history instead, less than "
        f"{POWER_AT_LEAST:.0%} of what there is to explain is lost, so that donors made by it test hardly anything, "
        "whatever is kept"
    )


def _by_symmetry(tested: Tested) -> str:
    """Name the symmetries, and the nodes whose donors they make."""
    nodes: dict[str, list[str]] = {}
    for node, symmetry in tested.symmetries.items():
        nodes.setdefault(symmetry, []).append(node)
    return listed([f"{symmetry} (of {listed(of)})" for symmetry, of in nodes.items()])


def _why_supported(tested: Tested) -> str:
    cell, name, ratio = _ranked(tested)[0]
    return f"all ratios lie above the accepted {tested.accept:.2f}; the lowest is {name} {ratio} in {_place(cell)}"


def _why_refuted(tested: Tested) -> str:
    cell, name, ratio = min(
        _ranked(tested), key=lambda item: (p_below(item[2], tested.accept), item[1] != "fidelity", item[2].value)
    )
    return f"{name} {ratio} in {_place(cell)} lies below the accepted {tested.accept:.2f}"


def _why_inconclusive(tested: Tested, p_supported: float) -> str:
    for cell in tested.counting:
        if cell.tested < TESTED_AT_LEAST:
            return (
                f"in {_place(cell)} only {cell.tested:.0%} of what there is to explain has another donor (less than "
                f"{TESTED_AT_LEAST:.0%}), so what it says was hardly tested; with more histories, or a coarser "
                "feature, there is somebody to swap"
            )
        if cell.swapped < SWAPPED_AT_LEAST:
            return (
                f"in {_place(cell)} only {cell.swapped:.0%} of the positions of one node have another donor (less than "
                f"{SWAPPED_AT_LEAST:.0%}), so what it says was hardly tested; with more histories, or a coarser "
                "feature, there is somebody to swap"
            )
        if not cell.has_power:
            power = cell.evidence.power
            assert power is not None
            return (
                f"in {_place(cell)} the power is {power:.2f}, less than {POWER_AT_LEAST}: what {_by_symmetry(tested)} "
                "changes hardly matters to the model there, so what is said was hardly tested"
            )
    if not _features_add(tested.counting):
        return (
            "beyond structure is not estimable: with constant features the loss cannot be told from the model's own, "
            "so the features have nothing to explain beyond the structure"
        )
    cell, name, ratio = max(_ranked(tested), key=lambda item: p_above(item[2], tested.accept))
    if not ratio.estimable:
        return f"{name} is not estimable in {_place(cell)}"
    if ratio.low <= tested.accept <= ratio.high:
        return f"{name} {ratio} in {_place(cell)} reaches across the accepted {tested.accept:.2f}"
    side = "above" if ratio.low > tested.accept else "below"
    return (
        f"{name} {ratio} in {_place(cell)} lies {side} the accepted {tested.accept:.2f} on its own, "
        f"but not after correcting for all that was tested together (p = {p_supported:.3f})"
    )


def _sentence(tested: Tested, statuses: Sequence[CellStatus]) -> str:
    """Say what the claim explains and what not: "on source it explains stay (0.96), not explore (-0.14)"."""
    words = {"supported": "explains", "refuted": "does not explain", "open": "may explain", "untested": "hardly tests"}
    parts = []
    for data in dict.fromkeys(cell.data for cell in tested.cells):
        groups: dict[str, list[str]] = {}
        for cell, status in zip(tested.cells, statuses, strict=True):
            if cell.data == data and status in words:
                fidelity = cell.evidence.fidelity
                value = f"{fidelity.value:.2f}" if fidelity.estimable else "not estimable"
                groups.setdefault(words[status], []).append(f"{cell.regime} ({value})")
        if groups:
            clauses = ", ".join(f"{word} {listed(regimes)}" for word, regimes in groups.items())
            parts.append(f"on {data} {tested.name} {clauses}")
    if not parts:
        return f"no regime of any data set counts for {tested.name}"
    if tested.symmetries:
        parts.append(f"its donors are made by {_by_symmetry(tested)}, and nothing else of its classes was tested")
    return "; ".join(parts)
