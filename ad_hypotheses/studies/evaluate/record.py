"""What was found of a model, as plain data, and what is told of it in a sentence, a row and a table of all figures."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence.bootstrap import Resampling
from ad_hypotheses.evidence.plain_data import Number, read_record
from ad_hypotheses.report.result import Result
from ad_hypotheses.report.words import NONE, amount, options_of, points, share
from ad_hypotheses.studies.evaluate.learners import SETS, judged_on, sets_of
from ad_hypotheses.studies.evaluate.results import require_results

_LONG = {"width", "mean", "train:\nregret"}  # columns that a terminal has no room for
FEWEST = 5  # tasks below which no interval is told
ENOUGH = 0.05  # of the optimum, that a model must gain to be said to improve
USUAL = {"rollouts": "500", "seed": "0"}  # what a command states although it is the default
LONGEST_NAME = 60
_DRAWS, _TAILS = 1000, (0.025, 0.975)


@dataclass(frozen=True)
class Evaluated:
    """A model and what was found of it.

    Attributes:
        name: Of the checkpoint.
        sha256: Of its weights.
        command: What trained it.
        task, source: As people write them, with their parameters.
        layers, heads, width, parameters: Its size.
        train_tasks, held_out_tasks: How many there are.
        episodes: Of a context, as it was played.
        horizon: Steps an episode.
        skip, keep_every: The source's episodes before the first that is kept, and how many go for one that is.
        seeds: Of its histories and of its training.
        unit: What a point of a learning curve is, `"episode"` or `"10 steps"`.
        optimum: Mean optimal return of an episode of the tasks that were played, by set.
        seen: Episodes that it sees at a time; None for all of its context.
        positions: How it tells steps apart.
        facts: A digest of the tasks, by set.
        by_task: What its last episodes are judged by, summed over the lives on each task, by set: `last`, `optimum`,
            `lives`.
        results: Learning curves, figures, and, unless only those were asked for, `memory` and `starts`.
    """

    name: str
    sha256: str
    command: str
    task: str
    source: str
    layers: int
    heads: int
    width: int
    parameters: int
    train_tasks: int
    held_out_tasks: int
    episodes: int
    horizon: int
    skip: int
    keep_every: int
    seeds: Mapping[str, int]
    unit: str
    optimum: Mapping[str, float]
    results: Mapping[str, Any]
    seen: int | None = None
    positions: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    by_task: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)

    @property
    def judged_on(self) -> str:
        """The set of tasks that it is judged by."""
        return judged_on(self.results)

    @property
    def has_share(self) -> bool:
        """Whether shares of the optimum mean something on its tasks."""
        return self.figure(self.judged_on, "share") is not None

    def figure(self, tasks: str, key: str, learner: str = "model") -> Number | None:
        """Return a figure of a learner; None where it has none."""
        return Number.read(self.results["figures"].get(tasks, {}).get(learner, {}).get(key))

    def reached(self, learner: str = "model") -> dict[str, Number]:
        """Return when a learner first earned each share of the optimum, by share; empty where that means nothing."""
        levels = self.results["figures"][self.judged_on].get(learner, {}).get("reached") or {}
        return {level: number for level, figure in levels.items() if (number := Number.read(figure)) is not None}

    def point_optimum(self, tasks: str) -> float:
        """Return the optimum of one point of a learning curve."""
        steps = int(self.unit.split()[0]) / self.horizon if self.unit.endswith("steps") else 1.0
        return self.optimum[tasks] * steps


@dataclass(frozen=True, repr=False)
class Evaluation(Result):
    """Everything that a report on models says.

    Attributes:
        command: What makes it again.
        models: What was found of each.
    """

    command: str
    models: Sequence[Evaluated]

    @property
    def name(self) -> str:
        """Name of the report's files without their ending, `"evaluate-dark-room"`."""
        return report_name([model.name for model in self.models], self.command)

    @property
    def headline(self) -> str:
        """The models, and what share of the optimum each earns in its last episodes."""
        return "; ".join(
            f"{model.name}: {share_text} of the optimum" if (share_text := _last_share(model)) else model.name
            for model in self.models
        )

    def to_frame(self) -> Any:
        """Return every figure, a line each, as a pandas.DataFrame."""
        from ad_hypotheses.studies.tables import evaluation_table

        return evaluation_table(figure_rows(self.models))

    def to_json(self) -> str:
        """Return the record as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    def write(self, folder: str | Path) -> list[Path]:
        """Write the report, its pictures, record and table; returns the files, the page last.

        Raises:
            UserError: The folder cannot be written.
        """
        from ad_hypotheses.studies.evaluate.page import write_evaluation

        return write_evaluation(self, Path(folder))


def _last_share(model: Evaluated) -> str:
    """Return the share of the optimum in the last episodes on the tasks that a model is judged by, if it is known."""
    number = Number.read(model.results["figures"][judged_on(model.results)]["model"].get("share"))
    return "" if number is None else f"{number.value:.0%}"


def read_evaluation(path: Path) -> Evaluation:
    """Read a record that :meth:`Evaluation.to_json` wrote.

    Raises:
        DataError: The file is missing or damaged.
    """
    evaluation = read_record(Evaluation, path, (None,), "an evaluation", "Evaluate again.")
    for model in evaluation.models:
        try:
            require_results(model.results)
        except ValueError as error:
            raise DataError(
                f"{path} does not hold what an evaluation holds: {model.name}: {error}. Evaluate again."
            ) from error
    return evaluation


def report_name(names: Sequence[str], command: str = "") -> str:
    """Return what the report of models is called: after all of them, or their folder, or how many there are.

    Args:
        names: Of the models.
        command: What makes the report again; its options follow where they are not the usual ones.
    """
    parents = {Path(name).parent.as_posix() for name in names}
    flat = [re.sub(r"[^\w.]+", "-", name).strip("-.") for name in names]
    if len(names) > 1 and len(parents) == 1 and parents != {"."}:
        flat = [re.sub(r"[^\w.]+", "-", parents.pop())]
    elif len("-".join(flat)) > LONGEST_NAME:
        flat = [flat[0], "and", str(len(names) - 1), "more"]
    return "-".join(["evaluate", *flat, *options_of(command, USUAL)])


def by_task(models: Sequence[Evaluated]) -> list[list[Evaluated]]:
    """Return the models in groups of the same task, with histories of the same length."""
    groups: dict[tuple[str, int], list[Evaluated]] = {}
    for model in models:
        groups.setdefault((model.task, model.episodes), []).append(model)
    return list(groups.values())


def task_letters(group: Sequence[Evaluated]) -> list[str]:
    """Return a letter for every model, the same for those that are judged by the same tasks; `A` for the first."""
    digests = [model.facts.get(model.judged_on, "") for model in group]
    known = list(dict.fromkeys(digests))
    return [chr(ord("A") + known.index(digest)) if known.index(digest) < 26 else "?" for digest in digests]


def same_references(model: Evaluated, other: Evaluated) -> bool:
    """Whether source, random and optimal of two models are those of the same tasks, and the same source."""

    def key(evaluated: Evaluated) -> tuple[Any, ...]:
        return evaluated.facts.get(evaluated.judged_on, ""), evaluated.source, evaluated.skip, evaluated.keep_every

    return key(model) == key(other)


def paired(model: Evaluated, other: Evaluated) -> bool:
    """Whether two models lived on the same tasks, so that they are compared task by task."""
    lives, others = (item.by_task.get(item.judged_on, {}).get("lives") for item in (model, other))
    digests = [item.facts.get(item.judged_on) for item in (model, other)]
    return None not in digests and digests[0] == digests[1] and lives == others


def difference(model: Evaluated, other: Evaluated) -> Number | None:
    """Return by how much the last episodes of one model exceed those of another: a share, or a return without shares.

    The interval is a bootstrap over tasks, pair by pair where they are the same; none below 5 tasks.

    Returns:
        None where it is not known what was earned on each task, or one is judged by training tasks and one is not.
    """
    below = "optimum" if model.has_share and other.has_share else "lives"
    sums = [item.by_task.get(item.judged_on) for item in (model, other)]
    known = [sums_of_model for sums_of_model in sums if sums_of_model]
    if model.judged_on != other.judged_on or len(known) < 2:
        return None
    means, draws = [], []
    for place, sums_of_model in enumerate(known):
        above, under = np.array(sums_of_model["last"], dtype=float), np.array(sums_of_model[below], dtype=float)
        rng = np.random.default_rng(0 if paired(model, other) else place)
        drawn = Resampling.draw(len(above), 1, rng, _DRAWS).clusters
        means.append(above.sum() / under.sum())
        with np.errstate(invalid="ignore", divide="ignore"):  # the optimum of all drawn tasks may be 0
            draws.append(drawn @ above / (drawn @ under))
    value, apart = means[0] - means[1], draws[0] - draws[1]
    if min(len(sums_of_model["last"]) for sums_of_model in sums if sums_of_model) < FEWEST:
        return Number(round(float(value), 4))
    low, high = np.quantile(apart[np.isfinite(apart)], _TAILS)
    return Number(round(float(value), 4), round(float(low), 4), round(float(high), 4))


def improves(number: Number) -> bool:
    """Whether an improvement is more than chance, and at least 5 points of the optimum."""
    return number.low > 0 and number.value >= ENOUGH


def headline(results: Mapping[str, Any], episodes: int, unit: str, seen: int | None = None) -> str:
    """Return in a few sentences whether a model learns in its context.

    Args:
        results: Of its evaluation.
        episodes: Of a context.
        unit: What a point of a learning curve is.
        seen: Episodes that the model sees at a time; None for all of them.
    """
    name = judged_on(results)
    keys = ("first_share", "share", "mean_share", "regret", "improvement")
    figures = {key: Number.read(results["figures"][name]["model"][key]) for key in keys}
    sentences, where = [], SETS[name]
    if figures["share"] and episodes > 1:
        whole = "its whole context" if seen is None else f"all {episodes:,}, of which it sees {seen:,} at a time"
        sentences.append(
            f"On {where} it earns {share(figures['first_share'], False)} of the optimum in its first episode and "
            f"{share(figures['share'])} in its last three, {share(figures['mean_share'])} over {whole}."
        )
    elif figures["share"]:
        sentences.append(f"On {where} it earns {share(figures['share'])} of the optimum.")
    if figures["regret"]:
        ratio = results["summary"].get(f"{name}_regret_of_ucb1")
        beside = "" if ratio is None else f", {ratio:.2f} times that of UCB1"
        sentences.append(f"Its regret on {where} is {amount(figures['regret'])}{beside}.")
    if figures["improvement"]:
        sentences.append(_verdict(figures["improvement"], unit))
    return " ".join(sentences)


def _verdict(improvement: Number, unit: str) -> str:
    measured = f"{points(improvement)} points of the optimum, {improvement_is(unit)}"
    if not improvement.has_interval:
        return (
            f"Within its context: {measured}; fewer than {FEWEST} tasks, so that chance cannot be told from learning."
        )
    verdict = "It improves" if improves(improvement) else "No improvement can be told from chance"
    if improvement.low > 0 and not improves(improvement):
        verdict = f"It improves by less than {100 * ENOUGH:.0f} points, too little to count as learning,"
    return f"**{verdict} within its context: {measured}.**"


def improvement_is(unit: str) -> str:
    """Say what an improvement is, where a point of the curve is `unit`."""
    difference = "episodes minus the first" if unit == "episode" else f"blocks of {unit} minus the first block"
    return f"the mean of the last three {difference}"


def overview_rows(models: Sequence[Evaluated], brief: bool = False) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the cells of one row a model; columns that are empty for all are left out.

    Args:
        models: What to compare.
        brief: Whether to tell no more than fits into a terminal.
    """
    bounds = not brief
    columns: dict[str, list[str]] = {
        "model": [model.name for model in models],
        "task": _task_names(models),
        "held-out\ntasks": _letters(models),
        "sees": [NONE if model.seen is None else f"{model.seen:,} of {model.episodes:,}" for model in models],
        "layers": [str(model.layers) for model in models],
        "width": [str(model.width) for model in models],
        "train\ntasks": [f"{model.train_tasks:,}" for model in models],
        "held-out:\nfirst": [share(model.figure("held_out", "first_share"), False) for model in models],
        "last": [share(model.figure("held_out", "share"), bounds) for model in models],
        "improvement": [points(model.figure("held_out", "improvement"), bounds) for model in models],
        "mean": [share(model.figure("held_out", "mean_share"), False) for model in models],
        "argmax": [share(model.figure("held_out", "share", "model, argmax"), False) for model in models],
        "regret": [amount(model.figure("held_out", "regret"), bounds) for model in models],
        "of\nUCB1's": [_ratio(model.results["summary"].get("held_out_regret_of_ucb1")) for model in models],
        "train:\nlast": [share(model.figure("train", "share"), False) for model in models],
        "train:\nregret": [amount(model.figure("train", "regret"), False) for model in models],
    }
    empty = {head for head, cells in columns.items() if set(cells) == {NONE}}
    shown = {head: cells for head, cells in columns.items() if head not in empty | (_LONG if brief else set())}
    return list(shown), [list(row) for row in zip(*shown.values(), strict=True)]


def _letters(models: Sequence[Evaluated]) -> list[str]:
    """Return which models of a family were judged by the same tasks; nothing where all of each family were."""
    letters = {model.name: letter for group in by_task(models) for model, letter in _lettered(group)}
    return [letters[model.name] for model in models] if set(letters.values()) != {"A"} else [NONE] * len(models)


def _lettered(group: Sequence[Evaluated]) -> list[tuple[Evaluated, str]]:
    return list(zip(group, task_letters(group), strict=True))


def _task_names(models: Sequence[Evaluated]) -> list[str]:
    """Return the tasks without their parameters, if that tells them apart; nothing if there is one only."""
    tasks = {model.task for model in models}
    if len(tasks) == 1:
        return [NONE] * len(models)
    short = {task: task.split(" (")[0] for task in tasks}
    return [short[model.task] if len(set(short.values())) == len(tasks) else model.task for model in models]


def figure_rows(models: Sequence[Evaluated]) -> list[tuple[Any, ...]]:
    """Return every figure: model, task, set of tasks, learner, figure, of what, value, low, high."""
    rows: list[tuple[Any, ...]] = [
        (model.name, model.task, model.judged_on, "model", "last: difference", group[0].name, *number.cells())
        for group in by_task(models)
        for model in group[1:]
        if (number := difference(model, group[0])) is not None
    ]
    for model in models:
        for tasks in sets_of(model.results):
            for learner, figures in model.results["figures"][tasks].items():
                start = (model.name, model.task, tasks, learner)
                for key in figures:
                    for of, number in _numbers(figures[key]):
                        rows.append((*start, key, of, *number.cells()))
            for curve in model.results[tasks]:
                start, empty = (model.name, model.task, tasks, curve["name"]), [None] * len(curve["returns"])
                bounds = zip(curve["returns"], curve["low"] or empty, curve["high"] or empty, strict=True)
                rows += [(*start, "return", place, *numbers) for place, numbers in enumerate(bounds, 1)]
        for kind, of, keys in (
            ("memory", "episodes", ("last", "share")),
            ("starts", "start", ("return", "share", "change")),
        ):
            for entry in model.results.get(kind) or ():
                for key in keys:
                    for _, number in _numbers(entry[key]):
                        start = (model.name, model.task, model.judged_on, "model")
                        rows.append((*start, f"{kind}: {key}", entry[of], *number.cells()))
    return rows


def _numbers(figure: Any) -> list[tuple[str, Number]]:
    """Return the numbers of a figure, by what they are of: one, or one for each share of the optimum."""
    several = isinstance(figure, Mapping) and "value" not in figure
    read = {of: Number.read(part) for of, part in (figure if several else {"": figure}).items()}
    return [(of, number) for of, number in read.items() if number is not None]


def _ratio(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"
