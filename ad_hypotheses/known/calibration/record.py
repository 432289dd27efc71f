"""The record of a calibration: what studies said of claims whose truth is known."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ad_hypotheses.evidence.plain_data import Number, plain, read_record
from ad_hypotheses.report.result import Result

SCHEMA = 2
IN_PART = "supported in part"  # in some regimes
REFUSED = "refused"  # the tool will not test the claim on so few histories: nobody shares a feature value with another


@dataclass(frozen=True)
class TrialCell:
    """What one study found of one claim in one regime of one data set (`"all"`: over all steps).

    Attributes:
        data, regime: Which.
        counts: Whether the verdict depends on it.
        learners: Number of learners with a tested position.
        at_stake: KL divergence of one constant distribution from the model, nats.
        fidelity: Share of what the model does that the claim keeps.
        with_self, independent: The same where rows may stand in for themselves, and where each unimportant input has a
            history of its own; None where that was not measured.
        beyond_structure: Share of the loss kept beyond constant features.
        explained: Share kept of what the model knows of the learner's actions; None where the model itself acts.
        recovered: Share of the loss kept, from swapping everything.
        same_argmax: Share of positions whose likeliest action stays.
        tested: Share of what there is to explain that lies on tested positions.
        swapped: Share of positions that have another donor, at the node where it is smallest.
    """

    data: str
    regime: str
    counts: bool
    learners: int
    at_stake: float
    fidelity: Number
    with_self: Number | None
    independent: Number | None
    beyond_structure: Number
    explained: Number | None
    recovered: Number
    same_argmax: float
    tested: float
    swapped: float


@dataclass(frozen=True)
class TrialOutcome:
    """What one study said of one claim.

    Attributes:
        network, claim: Which.
        rows, pool, passes: Size of the study: references and donors of each data set, and passes.
        replicate: Number of the study among those of this size; another one has other histories and other draws.
        family: Claims that were judged together.
        root_movement: How far the logits' input moved on the first data set, relative to the baseline.
        swapped: Share of the draws there whose donor is another row, at the node where it is smallest.
        half_pool: What half as many donors add to fidelity there, on some references; None where nothing was tested.
        cells: What was found, by data set and regime; none where the claim was refused.
        verdicts: By accepted share, `{"0.90": "supported in stay"}`.
    """

    network: str
    claim: str
    rows: int
    pool: int
    passes: int
    replicate: int
    family: int
    root_movement: float
    swapped: float
    half_pool: float | None
    cells: list[TrialCell]
    verdicts: dict[str, str]

    @property
    def counting(self) -> list[TrialCell]:
        """The cells that the verdict depends on."""
        return [cell for cell in self.cells if cell.counts]

    @property
    def overall(self) -> TrialCell | None:
        """All steps of the first data set; None where the claim was refused."""
        return self.cells[0] if self.cells else None

    def lowest(self, figure: str) -> float:
        """Return the lowest value of a figure where it can be read and the verdict depends on it; NaN if nowhere."""
        figures = [getattr(cell, figure) for cell in self.counting]
        values = [number.value if isinstance(number, Number) else number for number in figures if readable(number)]
        return min(values, default=float("nan"))

    def verdict(self, accept: float) -> str:
        """Return the verdict where so much has to be kept, `"supported in part"` for some regimes alone."""
        verdict = self.verdicts[f"{accept:.2f}"]
        return IN_PART if verdict.startswith("supported in") else verdict


def readable(figure: Number | float | None) -> bool:
    """Return whether a figure was measured and can be read."""
    return figure is not None and (not isinstance(figure, Number) or figure.estimable)


@dataclass(frozen=True)
class ClaimFacts:
    """What is known of a claim before it is tested, and what other measures say of it.

    Attributes:
        network, claim: Which.
        kind: `"true"`, `"wrong site"`, `"coarser"`, ...
        expected: The verdict that it deserves.
        why: One sentence.
        depth: Arrows on the longest way from a leaf to the root.
        tree_nodes: Nodes of the claim written out as a tree.
        kept: How often a swap that the claim allows also keeps what the true claim says, of what is read last: 1
            always, 0 as often as between any two rows; NaN where that never differs.
        agreement: How often the explanation's likeliest action is the model's, where it has an opinion; NaN if nowhere.
        undeclared: What patching all undeclared edges does to the model, as a share (of KL) of patching everything.
        weakest_arrow: What the weakest declared arrow does, likewise; NaN where no arrow can be patched alone.
        weakest: Its name.
        specificity: Share of what histories differ by that the node which leaves least leaves free; NaN if they do not
            differ.
        any_step: What the claim recovers with donors from any step.
    """

    network: str
    claim: str
    kind: str
    expected: str
    why: str
    depth: int
    tree_nodes: int
    kept: float
    agreement: float
    undeclared: float
    weakest_arrow: float
    weakest: str
    specificity: float
    any_step: float


@dataclass(frozen=True)
class Coverage:
    """How often the interval of a figure holds its exact value, over fresh data sets.

    Attributes:
        network, claim, regime, figure: Of what.
        rows, pool, replicates: Size and number of the data sets.
        exact, exact_error: From a very large run, with its standard error.
        mean, deviation: Of the estimates.
        claimed: Mean standard error that the intervals claim: a quarter of their length over 0.98.
        covered: Intervals that hold the exact value.
        too_high, too_low: Intervals that lie above, or below it.
        covered_mean: Intervals that hold the mean of the estimates: what is missed beyond that is bias.
    """

    network: str
    claim: str
    regime: str
    figure: str
    rows: int
    pool: int
    replicates: int
    exact: float
    exact_error: float
    mean: float
    deviation: float
    claimed: float
    covered: int
    too_high: int
    too_low: int
    covered_mean: int


@dataclass(frozen=True)
class Network:
    """A network that was calibrated on: its name, the SHA-256 of its weights, its rule and size in words."""

    name: str
    sha256: str
    words: str


@dataclass(frozen=True, repr=False)
class Calibration(Result):
    """Everything that a report on error rates says.

    Attributes:
        networks: That were used.
        claims: About them.
        outcomes: Of every trial.
        coverage: Of intervals.
        rows: References of each data set in a study that nobody changed, or in the largest trial.
        accept: The accepted share of a claim that names none.
        options, command, versions: What makes it again.
        seconds: Processor time that it took.
    """

    networks: list[Network]
    claims: list[ClaimFacts]
    outcomes: list[TrialOutcome]
    coverage: list[Coverage]
    rows: int
    accept: float
    options: dict[str, Any]
    command: str
    versions: dict[str, str]
    seconds: float
    schema: int = SCHEMA

    def facts(self) -> dict[tuple[str, str], ClaimFacts]:
        """What is known of every claim, by network and name."""
        return {(claim.network, claim.claim): claim for claim in self.claims}

    def trials(self, rows: int | None = None) -> list[TrialOutcome]:
        """The trials of a size; of the standard one by default."""
        rows = rows or self.rows
        return [outcome for outcome in self.outcomes if outcome.rows == rows]

    @property
    def headline(self) -> str:
        """How much was tested."""
        return f"{len(self.claims)} claims about {len(self.networks)} networks, {len(self.outcomes)} trials"

    def to_frame(self) -> Any:
        """Return a line for each claim, size of study, data set and regime, as a pandas.DataFrame."""
        from ad_hypotheses.known.calibration.page import rows
        from ad_hypotheses.studies.tables import table_of

        return table_of(rows(self))

    def write(self, folder: str | Path) -> list[Path]:
        """Write the report, its pictures, record and table; returns the files, the page last.

        Raises:
            UserError: The folder cannot be written.
        """
        from ad_hypotheses.known.calibration.page import write_calibration

        return write_calibration(self, Path(folder))

    def to_json(self) -> str:
        """Return the record as JSON; NaN and infinity are null."""
        return json.dumps(plain(dataclasses.asdict(self)), separators=(",", ":"))


def read_calibration(path: Path) -> Calibration:
    """Read a record that :meth:`Calibration.to_json` wrote.

    Raises:
        DataError: The file is missing, damaged or of another version.
    """
    return read_record(Calibration, path, (SCHEMA,), "a calibration", "Calibrate again.")
