"""The record of a calibration: what studies said of claims whose truth is known."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ad_hypotheses.evidence.plain_data import Number, plain, read_record

SCHEMA = 1
REFUSED = "refused"  # the tool will not test the claim on so few histories: nobody shares a feature value with another
UNDECIDED = ("inconclusive", REFUSED)


@dataclass(frozen=True)
class TrialOutcome:
    """What one study said of one claim.

    Attributes:
        network, claim: Which.
        rows, passes: Size of the study.
        replicate: Number of the dataset among those of this size; another one has other histories and other draws.
        family: Claims that were judged together.
        model, scrubbed, baseline, structure: The four losses, nats.
        recovered, beyond_structure, recovered_with_self, beyond_structure_with_self: The four ratios.
        root_movement: How far the logits' input moved, relative to the baseline.
        swapped: Share of the draws whose donor is another row, at the node where it is smallest.
        kl: Mean KL divergence of the scrubbed from the model's distribution, nats, over all passes that were run.
        kl_baseline: The same of another row's clean distribution at the same step.
        loss_change, loss_change_baseline: The same of the size of the change of the loss.
        same_argmax, same_argmax_baseline: The same of the share of positions whose likeliest action stays.
        verdicts: By accepted share, `{"0.90": "supported"}`.
    """

    network: str
    claim: str
    rows: int
    passes: int
    replicate: int
    family: int
    model: float
    scrubbed: float
    baseline: float
    structure: float
    recovered: Number
    beyond_structure: Number
    recovered_with_self: Number
    beyond_structure_with_self: Number
    root_movement: float
    swapped: float
    kl: float
    kl_baseline: float
    loss_change: float
    loss_change_baseline: float
    same_argmax: float
    same_argmax_baseline: float
    verdicts: dict[str, str]


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
        independent: What it recovers if each unimportant input has a history of its own.
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
    independent: float


@dataclass(frozen=True)
class Coverage:
    """How often the interval of a figure holds its exact value, over fresh datasets.

    Attributes:
        network, claim, figure: Of what.
        rows, passes, replicates: Size and number of the datasets.
        exact, exact_error: From a very large run, with its standard error.
        mean, deviation: Of the estimates.
        claimed: Mean standard error that the intervals claim: a quarter of their length over 0.98.
        covered: Intervals that hold the exact value.
        too_high, too_low: Intervals that lie above, or below it.
        covered_mean: Intervals that hold the mean of the estimates: what is missed beyond that is bias.
    """

    network: str
    claim: str
    figure: str
    rows: int
    passes: int
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


@dataclass(frozen=True)
class Calibration:
    """Everything that a report on error rates says.

    Attributes:
        networks: That were used.
        claims: About them.
        outcomes: Of every trial.
        coverage: Of intervals.
        standard: Rows and passes of a study that nobody changed: the defaults of `scrub`.
        accept: The accepted share of a claim that names none.
        options, command, versions: What makes it again.
        seconds: Processor time that it took.
    """

    networks: list[Network]
    claims: list[ClaimFacts]
    outcomes: list[TrialOutcome]
    coverage: list[Coverage]
    standard: list[int]
    accept: float
    options: dict[str, Any]
    command: str
    versions: dict[str, str]
    seconds: float
    schema: int = SCHEMA

    def facts(self) -> dict[tuple[str, str], ClaimFacts]:
        """What is known of every claim, by network and name."""
        return {(claim.network, claim.claim): claim for claim in self.claims}

    def trials(self, rows: int | None = None, passes: int | None = None) -> list[TrialOutcome]:
        """The trials of a size; of the standard one by default."""
        rows, passes = rows or self.standard[0], passes or self.standard[1]
        return [outcome for outcome in self.outcomes if (outcome.rows, outcome.passes) == (rows, passes)]

    def to_json(self) -> str:
        """Return the record as JSON; NaN and infinity are null."""
        return json.dumps(plain(dataclasses.asdict(self)), separators=(",", ":"))


def read_calibration(path: Path) -> Calibration:
    """Read a record that :meth:`Calibration.to_json` wrote.

    Raises:
        DataError: The file is missing, damaged or of another version.
    """
    return read_record(Calibration, path, (SCHEMA,), "a calibration", "Calibrate again.")
