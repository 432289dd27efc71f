"""What a study of patches found, as plain data: every patch with its effects, by metric and regime."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ad_hypotheses.evidence.effects import Effect
from ad_hypotheses.evidence.plain_data import Number, plain, read_record

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
    """

    steps: int
    asked: int
    picked: list[str]
    sampled: list[str]
    agreement: Number
    signed: Number
    unmeasured: list[PatchRecord]

    @property
    def passed_over(self) -> set[str]:
        """Those of the sample that were not picked."""
        return set(self.sampled) - set(self.picked)


@dataclass(frozen=True)
class PatchStudy:
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

    def to_json(self) -> str:
        """Return the record as JSON; what JSON does not know is null."""
        return json.dumps(plain(dataclasses.asdict(self)), indent=1)


def read_patch_study(path: Path) -> PatchStudy:
    """Read a record that :meth:`PatchStudy.to_json` wrote.

    Raises:
        DataError: The file is missing, damaged or of another version.
    """
    return read_record(PatchStudy, path, (SCHEMA,), "a record of patches", "Patch again.")
