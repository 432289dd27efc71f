"""What a study of patches found, as plain data: every patch with its effects, by metric and regime."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ad_hypotheses.evidence.effects import Effect
from ad_hypotheses.evidence.plain_data import Number, read_record
from ad_hypotheses.report.result import Result
from ad_hypotheses.report.words import counted

SCHEMA = 2


@dataclass(frozen=True)
class PatchRecord:
    """One patch and its effects.

    Attributes:
        name: As it is typed, or the name of a set of edges.
        kind: `"edge"`, `"arrow"` (all edges of a declared arrow), `"open"` (all edges into a node without parents, of
            which the claim says nothing), `"set"`, `"node"` or `"path"`.
        writers: Of an edge or a node.
        reader: Of an edge.
        arrow: The declared arrow that an edge belongs to, `"goal -> plan"`; `"inside goal"` where it connects two
            places of one node, `"into goal"` where the claim leaves it open; empty where nothing was declared.
        n_edges: How many edges were patched at once.
        effects: By metric and regime; empty where a screening left the patch out.
        attribution: Of an edge that was screened: to first order, what patching it does to the first metric over all
            steps, on the scale of the effects.
        attribution_size: The mean of its size over histories, by which edges are picked: terms of different histories
            may cancel in their mean.
    """

    name: str
    kind: str
    writers: list[str]
    reader: str
    arrow: str
    n_edges: int
    effects: dict[str, dict[str, Effect]]
    attribution: float | None = None
    attribution_size: float | None = None

    def value(self, metric: str, regime: str = "all") -> float:
        """The figure; NaN where it is not estimable."""
        number = self.effects[metric][regime].value
        return number.value if number.estimable else float("nan")


@dataclass(frozen=True)
class Screening:
    """Which edges were measured, of many, and how well they were picked.

    Attributes:
        steps: Runs of each history: 1 is the gradient at the run that is patched, more are integrated gradients.
        asked: Edges there were to choose from; declared ones are measured in any case.
        picked: Names of those with the largest attributions.
        sampled: Names of those that were drawn at random from all, picked or not.
        agreement: Spearman's rank correlation, across the sample, of the size of attributions and of effects.
        signed: The same with the signs of both.
        unmeasured: The others.
        rule: What was taken backwards, `"gradient"` or `"relevance"`; gradients in older records.
    """

    steps: int
    asked: int
    picked: list[str]
    sampled: list[str]
    agreement: Number
    signed: Number
    unmeasured: list[PatchRecord]
    rule: str = "gradient"

    @property
    def passed_over(self) -> set[str]:
        """Those of the sample that were not picked."""
        return set(self.sampled) - set(self.picked)


@dataclass(frozen=True, repr=False)
class PatchStudy(Result):
    """Everything a report on patches says.

    Attributes:
        name: Of the hypothesis; empty where a model alone was mapped.
        title: Of the hypothesis file.
        file: The hypothesis file.
        model, model_sha256: The checkpoint and its weights.
        model_text, data_text: One line about each.
        task: Name of the task family.
        donors: As they were asked for.
        donors_text: What they are.
        left_out: Histories without a donor.
        direction: `"noising"` or `"denoising"`.
        metrics: The first is what patches are ranked by.
        regimes: Steps of each, `"all"` first.
        rows, n_steps: Size of the dataset.
        runs: What the plain runs have. {"reference" | "donor": {metric: {regime: number}}}
        nodes: Of the hypothesis: name -> its places; the root last.
        arrows: Declared: `"goal -> plan"`.
        writers, readers: Of the model, in their order.
        patches: All of them.
        options, command, versions: What makes the same study again.
        warnings: What could not be tested, or only in part.
        screening: How it was decided what to measure; None where everything was.
        schema: Version of this format.
    """

    name: str
    title: str
    file: str
    model: str
    model_sha256: str
    model_text: str
    data_text: str
    task: str
    donors: str
    donors_text: str
    left_out: int
    direction: str
    metrics: list[str]
    regimes: dict[str, int]
    rows: int
    n_steps: int
    runs: dict[str, dict[str, dict[str, float]]]
    nodes: dict[str, list[str]]
    arrows: list[str]
    writers: list[str]
    readers: list[str]
    patches: list[PatchRecord]
    options: dict[str, Any]
    command: str
    versions: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    screening: Screening | None = None
    schema: int = SCHEMA

    def of_kind(self, *kinds: str) -> list[PatchRecord]:
        """The patches of some kinds."""
        return [patch for patch in self.patches if patch.kind in kinds]

    @property
    def headline(self) -> str:
        """Claim, model, number of patches, and the strongest edge."""
        edges, metric = self.strongest(1), self.metrics[0]
        best = f"; most: {edges[0].name} {edges[0].value(metric):+.3g} {metric}" if edges else ""
        subject = f"{self.name} on {self.model}" if self.name else self.model
        return f"{subject}: {len(self.patches)} patches in {counted(self.rows, 'history', 'histories')}{best}"

    def strongest(self, n: int) -> list[PatchRecord]:
        """Return the edges with the largest effects on the first metric over all steps, largest first."""
        edges = [edge for edge in self.of_kind("edge") if edge.value(self.metrics[0]) == edge.value(self.metrics[0])]
        return sorted(edges, key=lambda edge: -abs(edge.value(self.metrics[0])))[:n]

    def to_frame(self) -> Any:
        """Return every effect, a line each, as a pandas.DataFrame."""
        from ad_hypotheses.studies.tables import patch_table

        return patch_table(self)

    def top(self, n: int = 20) -> Any:
        """Return the edges that matter most to the first metric over all steps, as a pandas.DataFrame.

        Where no edges were patched: the nodes and paths.
        """
        table = self.to_frame()
        table = table[(table["metric"] == self.metrics[0]) & (table["regime"] == "all")]
        edges = table[table["kind"] == "edge"]
        if edges.empty:
            order = table["value"].abs().sort_values(ascending=False, kind="stable").index
            return table.loc[order].head(n).reset_index(drop=True)
        names = [edge.name for edge in self.strongest(n)]
        return edges.set_index("patch").loc[names].reset_index()

    def graph(self, n: int = 20) -> Any:
        """Return the edges that matter most as a networkx.DiGraph between components.

        Its edges have `weight`, the strongest effect on the first metric, and `read`, how the reader reads that.
        """
        import networkx as nx

        graph = nx.DiGraph()
        for edge in reversed(self.strongest(n)):
            component, _, part = (
                edge.reader.rpartition(".") if edge.reader[-2:] in (".q", ".k", ".v") else (edge.reader, "", "")
            )
            for writer in edge.writers:
                graph.add_edge(writer, component, weight=edge.value(self.metrics[0]), read=part)
        return graph

    def to_hypothesis(self, name: str, n: int = 20) -> str:
        """Return the text of a hypothesis file that says: the edges that matter most, and no others.

        Args:
            name: What to call the hypothesis, which is also the best name of the file.
            n: How many edges.

        Raises:
            HypothesisError: The name cannot be used, or there is no way from an embedding to the logits among them.
        """
        from ad_hypotheses.studies.patch.written import hypothesis_of

        return hypothesis_of(self, name, n)

    def write(self, folder: str | Path) -> list[Path]:
        """Write the report, its pictures, record and table; returns the files, the page last.

        Raises:
            UserError: The folder cannot be written.
        """
        from ad_hypotheses.studies.patch.page import write_patch_report

        return write_patch_report(self, Path(folder))


def read_patch_study(path: Path) -> PatchStudy:
    """Read a record that :meth:`PatchStudy.to_json` wrote.

    Raises:
        DataError: The file is missing, damaged or of another version.
    """
    return read_record(PatchStudy, path, (SCHEMA,), "a record of patches", "Patch again.")
