"""What was found of a model, as plain data, and what is told of it in a sentence, a row and a table of all figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ad_hypotheses.report.learners import NONE, SETS, judged_on, plain, points, sets_of, share

_LONG = {"width", "mean", "train:\nregret"}  # columns that a terminal has no room for


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

    @property
    def judged_on(self) -> str:
        """The set of tasks that it is judged by."""
        return judged_on(self.results)

    @property
    def has_share(self) -> bool:
        """Whether shares of the optimum mean something on its tasks."""
        return self.figure(self.judged_on, "share") is not None

    def figure(self, tasks: str, key: str, learner: str = "model") -> dict[str, Any] | None:
        """Return a figure of a learner; None where it has none."""
        found = self.results["figures"].get(tasks, {}).get(learner, {}).get(key)
        return found if found is None or isinstance(found, dict) else {"value": found, "low": None, "high": None}

    def point_optimum(self, tasks: str) -> float:
        """Return the optimum of one point of a learning curve."""
        steps = int(self.unit.split()[0]) / self.horizon if self.unit.endswith("steps") else 1.0
        return self.optimum[tasks] * steps


def by_task(models: Sequence[Evaluated]) -> list[list[Evaluated]]:
    """Return the models in groups of the same task, with histories of the same length."""
    groups: dict[tuple[str, int], list[Evaluated]] = {}
    for model in models:
        groups.setdefault((model.task, model.episodes), []).append(model)
    return list(groups.values())


def headline(results: Mapping[str, Any], episodes: int, unit: str) -> str:
    """Return in a few sentences whether a model learns in its context.

    Args:
        results: Of its evaluation.
        episodes: Of a context.
        unit: What a point of a learning curve is.
    """
    name = judged_on(results)
    told, where = results["figures"][name]["model"], SETS[name]
    said = []
    if told["share"] and episodes > 1:
        said.append(
            f"On {where} it earns {share(told['first_share'], False)} of the optimum in its first episode and "
            f"{share(told['share'])} in its last three, {share(told['mean_share'])} over its whole context."
        )
    elif told["share"]:
        said.append(f"On {where} it earns {share(told['share'])} of the optimum.")
    if told["regret"]:
        ratio = results["summary"].get(f"{name}_regret_of_ucb1")
        beside = "" if ratio is None else f", {ratio:.2f} times that of UCB1"
        said.append(f"Its regret on {where} is {plain(told['regret'])}{beside}.")
    improvement = told["improvement"]
    if improvement and improvement["low"] is not None:
        verdict = "It improves" if improvement["low"] > 0 else "No improvement can be told from chance"
        said.append(
            f"**{verdict} within its context: {points(improvement)} points of the optimum, last minus first "
            f"{'episodes' if unit == 'episode' else unit}.**"
        )
    return " ".join(said)


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
        "layers": [str(model.layers) for model in models],
        "width": [str(model.width) for model in models],
        "train\ntasks": [f"{model.train_tasks:,}" for model in models],
        "held-out:\nfirst": [share(model.figure("held_out", "first_share"), False) for model in models],
        "last": [share(model.figure("held_out", "share"), bounds) for model in models],
        "improvement": [points(model.figure("held_out", "improvement"), bounds) for model in models],
        "mean": [share(model.figure("held_out", "mean_share"), False) for model in models],
        "argmax": [share(model.figure("held_out", "share", "model, argmax"), False) for model in models],
        "regret": [plain(model.figure("held_out", "regret"), bounds) for model in models],
        "of\nUCB1's": [_ratio(model.results["summary"].get("held_out_regret_of_ucb1")) for model in models],
        "train:\nlast": [share(model.figure("train", "share"), False) for model in models],
        "train:\nregret": [plain(model.figure("train", "regret"), False) for model in models],
    }
    empty = {head for head, cells in columns.items() if set(cells) == {NONE}}
    shown = {head: cells for head, cells in columns.items() if head not in empty | (_LONG if brief else set())}
    return list(shown), [list(row) for row in zip(*shown.values(), strict=True)]


def _task_names(models: Sequence[Evaluated]) -> list[str]:
    """Return the tasks without their parameters, if that tells them apart; nothing if there is one only."""
    tasks = {model.task for model in models}
    if len(tasks) == 1:
        return [NONE] * len(models)
    short = {task: task.split(" (")[0] for task in tasks}
    return [short[model.task] if len(set(short.values())) == len(tasks) else model.task for model in models]


def figure_rows(models: Sequence[Evaluated]) -> list[tuple[Any, ...]]:
    """Return every figure: model, task, set of tasks, learner, figure, of what, value, low, high."""
    found: list[tuple[Any, ...]] = []
    for model in models:
        for tasks in sets_of(model.results):
            for learner, figures in model.results["figures"][tasks].items():
                start = (model.name, model.task, tasks, learner)
                for key in figures:
                    for of, number in _numbers(figures[key]):
                        found.append((*start, key, of, number["value"], number["low"], number["high"]))
            for curve in model.results[tasks]:
                start, empty = (model.name, model.task, tasks, curve["name"]), [None] * len(curve["returns"])
                bounds = zip(curve["returns"], curve["low"] or empty, curve["high"] or empty, strict=True)
                found += [(*start, "return", place, *numbers) for place, numbers in enumerate(bounds, 1)]
        for what, of, keys in (
            ("memory", "episodes", ("last", "share")),
            ("starts", "start", ("return", "share", "change")),
        ):
            for one in model.results.get(what) or ():
                for key in keys:
                    for _, number in _numbers(one[key]):
                        found.append((model.name, model.task, model.judged_on, "model", f"{what}: {key}", one[of],
                                      number["value"], number["low"], number["high"]))  # fmt: skip
    return found


def _numbers(figure: Any) -> list[tuple[str, dict[str, Any]]]:
    if figure is None:
        return []
    if not isinstance(figure, dict):
        return [("", {"value": figure, "low": None, "high": None})]
    return [("", figure)] if "value" in figure else list(figure.items())


def _ratio(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"
