"""The record of a study: every number of a report, as plain data that goes to JSON and back.

Reports are drawn from records, never from tensors, so a report can be drawn again, compared or read by a machine.
Losses are cross-entropies in nats; `steps` are positions in the context, from 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ad_hypotheses.evidence.plain_data import Curve, Number, read_record, record_of
from ad_hypotheses.report.result import Result
from ad_hypotheses.report.words import file_name, options_of
from ad_hypotheses.storage.reading import parse_json
from ad_hypotheses.studies.adversary.findings import Challenge
from ad_hypotheses.studies.rivals.record import Rivalry
from ad_hypotheses.studies.scrub.claim_parts import NodeRecord, Regime, Spending, UndeclaredArrows, WorstPosition

SCHEMA = 4
READABLE = (1, 2, 3, SCHEMA)  # what was added since is not recorded in older ones


@dataclass(frozen=True)
class Claim:
    """A hypothesis, or a control, and what scrubbing said about it.

    Attributes:
        name: Of the hypothesis.
        kind: `"hypothesis"`, `"control"` (written by the researcher) or `"wrong site"` (made by the tool).
        doc: What it claims.
        moved_sites: For controls: which nodes sit elsewhere, `{node: "head(1, 2) -> head(1, 3)"}`.
        accept: Share of the loss that it must recover.
        verdict: `"supported"`, `"supported in ..."` some regimes, `"refuted"`, `"inconclusive"` or `"vacuous"`.
        reason: One sentence with the figures that decided.
        p_supported, p_refuted: Holm-adjusted over the claims of the report.
        root_movement: How far the logits' input moved, relative to the baseline.
        nodes: Parents before children, the root last.
        regimes: By data set, `"all"` first.
        steps: Mean loss at each step: `{"model" | "scrubbed" | "baseline" | "structure": [step]}`.
        episodes: The same by episode of the window. [episode]
        worst_share: Share of the whole loss change that falls on the worst 1 % of the positions.
        worst: The worst positions.
        tree_nodes: Nodes of the hypothesis written out as a tree.
        warnings: What was allowed but was hardly meant, and what could not be tested.
        specificity: Share of the bits by which histories differ that the node which leaves least leaves free, 0 to 1;
            None in older records, and where a claim has no node besides its root.
        challenge: What an adversary found, if one was asked.
        any_step: Fidelity with donors from any step, in one pass; None for controls, where no regime may stand, and
            where all donors are. In older records it is the share recovered, like the two that follow.
        independent: Fidelity if each unimportant input has a history of its own, on the first 64 references and in one
            pass; None likewise.
        together: The same on those histories where all of a visit have one.
        sentence: What the claim explains and what not, by data set and regime; empty in older records.
        half_pool: How much fidelity changes with half as many donors, on a quarter of the references; None where nearly
            all of them have donors in the whole pool, and where no regime may stand.
        rivals: How it stands to other claims about the same model.
        undeclared: The strongest arrows that it lacks; None for controls, in older records, and where nothing is left
            to look for.
        figures: Further figures by name.
        spending: How much was measured on each data set, in their order; empty in older records.
    """

    name: str
    kind: str
    doc: str
    moved_sites: dict[str, str]
    accept: float
    verdict: str
    reason: str
    p_supported: float
    p_refuted: float
    root_movement: float
    nodes: list[NodeRecord]
    regimes: list[Regime]
    steps: dict[str, list[float]]
    episodes: dict[str, list[float]]
    worst_share: float
    worst: list[WorstPosition]
    tree_nodes: int
    warnings: list[str]
    specificity: float | None = None
    challenge: Challenge | None = None
    any_step: float | None = None
    independent: float | None = None
    together: float | None = None
    sentence: str = ""
    half_pool: float | None = None
    rivals: list[Rivalry] = field(default_factory=list)
    undeclared: UndeclaredArrows | None = None
    figures: dict[str, float] = field(default_factory=dict)
    spending: list[Spending] = field(default_factory=list)

    def of_data(self, data: str) -> list[Regime]:
        """Return the regimes of one data set, `"all"` first."""
        return [regime for regime in self.regimes if regime.data == data]

    @property
    def data_sets(self) -> list[str]:
        """Names of the data sets that the claim was tested on, in order."""
        return list(dict.fromkeys(regime.data for regime in self.regimes))


@dataclass(frozen=True)
class DataRecord:
    """One data set of a study.

    Attributes:
        name: `"source"`, `"own"` or `"edited:..."`.
        words: What it holds.
        rows: Number of references.
        pool: Number of donors, which are other learners.
        tasks: How many tasks there are among the donors.
    """

    name: str
    words: str
    rows: int
    pool: int
    tasks: int


@dataclass(frozen=True, repr=False)
class Study(Result):
    """Everything a report says.

    Attributes:
        title: First line of the hypothesis file's docstring.
        text: The rest of it.
        file: The hypothesis file.
        model: Name of the checkpoint.
        model_sha256: Of its weights.
        task: Name of the task family.
        task_facts: What is needed to draw the task: `{"size": 9}`.
        action_names: Of every action.
        model_text: One line about the model: its size and its context.
        data_text: One line about the histories.
        rows, n_steps, horizon: Size of the dataset; steps an episode.
        options: Of the run: passes, resamples, others, align, seed, ...
        command: What reruns the study.
        versions: Of the packages that numbers depend on.
        claims: The hypothesis first, then its controls.
        curves: In-context learning curves on held-out tasks: model, explanation, source, optimum, random.
        curve_unit: What a point of a curve is: `"episode"`, or `"10 steps"` where there is only one episode.
        data: The data sets, in the order in which they were tested; empty in older records.
        schema: Version of this format.
    """

    title: str
    text: str
    file: str
    model: str
    model_sha256: str
    task: str
    task_facts: dict[str, int]
    action_names: list[str]
    model_text: str
    data_text: str
    rows: int
    n_steps: int
    horizon: int
    options: dict[str, Any]
    command: str
    versions: dict[str, str]
    claims: list[Claim]
    curves: list[Curve]
    curve_unit: str = "episode"
    data: list[DataRecord] = field(default_factory=list)
    schema: int = SCHEMA

    @property
    def verdict(self) -> str:
        """Verdict on the hypothesis."""
        return self.claims[0].verdict

    @property
    def reason(self) -> str:
        """Why the verdict is what it is: one sentence with the figures that decided."""
        return self.claims[0].reason

    @property
    def warnings(self) -> list[str]:
        """What was allowed but was hardly meant, and what could not be tested."""
        return self.claims[0].warnings

    @property
    def undeclared(self) -> UndeclaredArrows | None:
        """The strongest arrows that the hypothesis lacks, and what to paste; None where nothing is left to look for."""
        return self.claims[0].undeclared

    @property
    def recovered(self) -> Number:
        """Share of the loss that the hypothesis recovers, over all steps of the first data set."""
        return self.claims[0].regimes[0].recovered

    @property
    def fidelity(self) -> Number:
        """How much of what the model does the hypothesis keeps, over all steps of the first data set."""
        return kept(self.claims[0])

    @property
    def headline(self) -> str:
        """Claim, model, verdict and fidelity."""
        claim = self.claims[0]
        return f"{claim.name} on {self.model}: {claim.verdict}, fidelity {self.fidelity}, {self.rows} histories"

    def to_frame(self, of: str = "regimes") -> Any:
        """Return a table of the hypothesis and its controls as a pandas.DataFrame.

        Args:
            of: `"regimes"`: figures of every data set and regime. `"nodes"`: of every node. `"positions"`: where
                scrubbing did most harm. `"donors"`: how many references have a class of how many donors, by node.
                `"undeclared"`: the strongest arrows that the hypothesis lacks.

        Raises:
            UserError: There is no such table.
        """
        from ad_hypotheses.studies.scrub.frames import frame

        return frame(self, of)

    def worst(self, n: int = 6) -> Any:
        """Return the positions where scrubbing did most harm, a line each, as a pandas.DataFrame."""
        return self.to_frame("positions").head(n)

    def write(self, folder: str | Path) -> list[Path]:
        """Write the report `<hypothesis>-<model>.md`, its pictures, record and table; returns the files, the page last.

        Raises:
            UserError: The folder cannot be written.
        """
        from ad_hypotheses.studies.scrub.page import write_report

        return write_report(self, Path(folder))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the record that :meth:`to_json` wrote.

        Raises:
            DataError: The text is not such a record, or one of another version.
        """
        return record_of(cls, parse_json(text), "`text`", READABLE, "a record", "Run the study again.")


def read_study(path: Path) -> Study:
    """Read a record that :meth:`Study.to_json` wrote.

    Raises:
        DataError: The file is missing, damaged or of another version.
    """
    return read_record(Study, path, READABLE, "a record", "Run the study again.")


def report_name(study: Study) -> str:
    """Return the name of the study's files without their ending, `"mimic-dark-room"`, or `"mimic-dark-room-seed-1"`."""
    return file_name(study.claims[0].name, study.model, *options_of(study.command))


def kept(claim: Claim) -> Number:
    """Return what a claim keeps over all steps of the first data set: its fidelity, in older records `recovered`."""
    return claim.regimes[0].fidelity or claim.regimes[0].recovered


def did_as_well(control: Claim, claim: Claim) -> bool:
    """Whether a control keeps as much of the model as the claim, or cannot be told from one that does.

    Compared is fidelity, whose zero is the same for every claim about a model.
    """
    own, other = kept(claim), kept(control)
    return own.estimable and other.estimable and other.high >= own.low
