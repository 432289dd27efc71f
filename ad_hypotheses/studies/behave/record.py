"""What was found of the behaviour of models, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ad_hypotheses.evidence.plain_data import Number, as_recorded, read_record
from ad_hypotheses.report.result import Result
from ad_hypotheses.storage.places import program

SCHEMA = 1
MODEL, UNTRAINED, NOVICE, SOURCE, GATE = "model", "untrained", "novice", "source", "gate"


@dataclass(frozen=True)
class RungRecord:
    """A rung that was run.

    Attributes:
        name: Its name.
        level: Its place on the ladder.
        words: What it does.
        ignores: What it takes no notice of.
        of_reward: Whether rewards move it, more than by telling which episodes to copy.
    """

    name: str
    level: int
    words: str
    ignores: str
    of_reward: bool = True


@dataclass(frozen=True)
class BehaviourCell:
    """One cell of a test: contexts that are alike in what matters.

    Attributes:
        label: What was shown.
        x: Its place on the axis of the figure; NaN where cells have no order.
        contexts: How many.
        values: The critical quantity of the model, of every rung, and of an untrained network. {who: number}
    """

    label: str
    x: float
    contexts: int
    values: dict[str, Number]


@dataclass(frozen=True)
class TestRecord:
    """One test of the battery.

    Attributes:
        name: Name of the test.
        question: What it asks.
        quantity: What is measured.
        axis: What `x` of the cells is; empty where cells have no order.
        effect: How the cells become one figure, in words.
        cells: The cells, in order.
        effects: The one figure, of the model, every rung and the untrained network.
        control: Which rung had to show the effect, and whether it and the untrained network did as they should.
        reported: Whether the controls hold; where they do not, nothing is concluded.
        sentence: What came out.
        contrasts: Further figures of the cells by name, such as `step` and `rise`, of everybody. {name: {who: number}}
    """

    name: str
    question: str
    quantity: str
    axis: str
    effect: str
    cells: list[BehaviourCell]
    effects: dict[str, Number]
    control: str
    reported: bool
    sentence: str
    contrasts: dict[str, dict[str, Number]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackingRecord:
    """How the log-odds of the critical action follow those of a rung, context by context.

    Attributes:
        rung: Which rung.
        contexts: Decisions that are compared.
        slope, intercept, r2: Over all contexts; a slope of 1 and an intercept of 0 is the rung itself.
        within: Slope within a cell: equal averages alone leave it at 0.
        within_r2: Share of the variance within cells.
    """

    rung: str
    contexts: int
    slope: Number
    intercept: Number
    r2: Number
    within: Number
    within_r2: Number


@dataclass(frozen=True)
class MixtureRecord:
    """Which rungs a model is a mixture of, in one regime of one data set.

    Attributes:
        data: Name of the data set.
        regime: Name of the regime.
        positions: Decisions of the half that weights are judged on.
        weights: Share of each rung, fitted on the other half; of rungs that do the same there, the simplest stands for
            all. {rung: number}
        entropy: Mean entropy of the model's own decisions, in nats: the least cross-entropy that anything can have.
        cross_entropy: Mean cross-entropy of the mixture.
        unexplained: Kullback-Leibler divergence from the model to the mixture: what no rung explains.
        alone: The same for each rung alone. {rung: number}
        uniform: The same for chance.
        of_reward: Share of all rungs together that rewards move; None in records of earlier versions.
    """

    data: str
    regime: str
    positions: int
    weights: dict[str, Number]
    entropy: float
    cross_entropy: float
    unexplained: Number
    alone: dict[str, Number]
    uniform: float
    of_reward: Number | None = None


@dataclass(frozen=True)
class ModelBehaviour:
    """What was found of one model.

    Attributes:
        name: Name of the checkpoint.
        sha256: Of its weights.
        task: Its family of tasks, with parameters.
        source: What it was distilled from, with parameters.
        layers: Layers of the transformer.
        train_tasks: Tasks that it was trained on.
        rungs: Rungs that were run.
        absent: Why other rungs were not. {rung: reason}
        tests: The battery.
        left_out: Why other tests were not done. {test: reason}
        tracking: By rung.
        mixtures: By data set and regime; `all` is every regime.
        untrained: The same for an untrained network of the same size, over all regimes: a control.
    """

    name: str
    sha256: str
    task: str
    source: str
    layers: int
    train_tasks: int
    rungs: list[RungRecord]
    absent: dict[str, str]
    tests: list[TestRecord]
    left_out: dict[str, str]
    tracking: list[TrackingRecord]
    mixtures: list[MixtureRecord]
    untrained: list[MixtureRecord]


@dataclass(frozen=True, repr=False)
class Behaviour(Result):
    """The behaviour of some models.

    Attributes:
        command: What makes the same record again.
        contexts: Contexts a cell.
        seeds: Learners that the source is averaged over in each context.
        seed: Of everything random.
        versions: Of what the figures may depend on.
        subjects: What was found of each model.
        study: SHA-256 of the plan that the models were asked for; empty where there was none.
        exploratory: How that departs from the plan; empty where it does not.
        schema: Version of the format.
    """

    command: str
    contexts: int
    seeds: int
    seed: int
    versions: dict[str, str]
    subjects: list[ModelBehaviour]
    study: str = ""
    exploratory: str = ""
    schema: int = field(default=SCHEMA)

    @property
    def name(self) -> str:
        """Name of the report."""
        names = [model.name.replace("/", "-") for model in self.subjects]
        return "behave-" + (names[0] if len(names) == 1 else f"{names[0]}-and-{len(names) - 1}-more")

    @property
    def headline(self) -> str:
        """The models, and how many tests each was put to."""
        return "; ".join(f"{model.name}: {len(model.tests)} tests" for model in self.subjects)

    def to_frame(self) -> Any:
        """Return the figures of every test, a line for each cell and each learner, as a pandas.DataFrame."""
        from ad_hypotheses.studies.tables import table_of

        names = ("value", "low", "high")
        return table_of(
            [
                {"model": model.name, "test": test.name, "cell": cell.label, "x": cell.x, "of": who}
                | dict(zip(names, number.cells(), strict=True))
                for model in self.subjects
                for test in model.tests
                for cell in test.cells
                for who, number in cell.values.items()
            ]
        )

    def write(self, folder: str | Path) -> list[Path]:
        """Write the report, its pictures and its record; returns the files, the page last.

        Raises:
            UserError: The folder cannot be written.
        """
        from ad_hypotheses.studies.behave.page import write_behaviour

        return write_behaviour(self, Path(folder))

    def recorded(self) -> Behaviour:
        """Return the record as it comes back from its file."""
        return as_recorded(self)


def read_behaviour(path: Path) -> Behaviour:
    """Read a record.

    Raises:
        DataError: The file is missing, damaged or of another version.
    """
    again = f"Run {program()} behave again."
    return read_record(Behaviour, path, (SCHEMA,), "a record of behaviour", again)
