"""The report of an evaluation: a Markdown page that compares any number of models, its pictures and its figures."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ad_hypotheses.evidence.plain_data import Curve, Number
from ad_hypotheses.report.draw import learning_curves
from ad_hypotheses.report.templates import render
from ad_hypotheses.report.words import NONE, Markdown, amount, code, points, share, table
from ad_hypotheses.storage.files import write_report_files
from ad_hypotheses.studies.evaluate import pictures as plots
from ad_hypotheses.studies.evaluate.learners import SETS, learner_table
from ad_hypotheses.studies.evaluate.record import (
    ENOUGH,
    Evaluated,
    Evaluation,
    by_task,
    difference,
    figure_rows,
    headline,
    improvement_is,
    improves,
    overview_rows,
    paired,
    same_references,
    task_letters,
)
from ad_hypotheses.studies.tables import evaluation_csv

Pictures = dict[str, bytes]


def write_evaluation(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write the page, its pictures beside it, and every figure as JSON and as CSV.

    Returns:
        The files, the page last.

    Raises:
        UserError: They cannot be written. An older report is then still whole.
    """
    return write_report_files(draw_report(evaluation), folder)


def draw_report(evaluation: Evaluation, name: str = "") -> dict[str, bytes]:
    """Return the files of a report by their path in its folder, the page last.

    Args:
        evaluation: What to report.
        name: Of the files; by default that of the models.
    """
    models, name = evaluation.models, name or evaluation.name
    pictures = draw_pictures(models)
    return {
        **{_file(name, picture): content for picture, content in pictures.items()},
        f"{name}.json": (evaluation.to_json() + "\n").encode(),
        f"{name}.csv": evaluation_csv(figure_rows(models)).encode(),
        f"{name}.md": page(models, name, evaluation.command, pictures).encode(),
    }


def draw_pictures(models: Sequence[Evaluated]) -> Pictures:
    """Return the pictures of a report by what they show and the number of the task; `"curves-0"`, `"memory-0"`."""
    pictures: Pictures = {}
    for number, group in enumerate(by_task(models)):
        shares = all(model.has_share for model in group)
        if len(group) == 1:
            pictures[f"curves-{number}"] = _own_curves(group[0])
        else:
            pictures[f"curves-{number}"] = plots.curves(group, shares)
        if shares and _grid(group):
            pictures[f"size-{number}"] = plots.by_size(group)
        for kind, draw in (("memory", plots.memory), ("starts", plots.starts)):
            measured = [model for model in group if model.results.get(kind)]
            if measured:
                pictures[f"{kind}-{number}"] = draw(measured, shares)
    return pictures


def page(models: Sequence[Evaluated], name: str, command: str, pictures: Collection[str]) -> str:
    """Return the page as Markdown, which `evaluate.md` and, for models on the same task, `group.md` say word for word.

    Args:
        models: What to compare.
        name: Of the report.
        command: What makes it again.
        pictures: Those that exist.
    """
    groups = by_task(models)
    improvements = [model.figure("held_out", "improvement") for model in models]
    judged = [number for number in improvements if number is not None and number.has_interval]
    return render(
        "studies/evaluate/evaluate.md",
        models=models,
        first=models[0],
        headlines=[Markdown(headline(model.results, model.episodes, model.unit, model.seen)) for model in models],
        overview=overview(models),
        n_judged=len(judged),
        n_improving=sum(map(improves, judged)),
        enough=f"{100 * ENOUGH:.0f}",
        improvements=list(dict.fromkeys(improvement_is(model.unit) for model in models)),
        other_tasks=any(len(set(task_letters(group))) > 1 for group in groups),
        groups=[
            _group(group, _shown(pictures, name, number), several=len(groups) > 1)
            for number, group in enumerate(groups)
        ],
        learners=[_learners(model) for model in models],
        fewest_tasks=min(model.held_out_tasks or model.train_tasks for model in models),
        name=name,
        command=Markdown(command),
    )


def overview(models: Sequence[Evaluated]) -> Markdown:
    """Return one row a model, as Markdown."""
    heads, rows = overview_rows(models)
    return table([head.replace("\n", " ") for head in heads], [[code(row[0]), *row[1:]] for row in rows], left=1)


def _own_curves(model: Evaluated) -> bytes:
    name = model.judged_on
    shown = [Curve(**content) for content in model.results[name]]
    if name == "held_out" and "train" in model.results:
        shown.append(Curve(**{**model.results["train"][0], "name": "model, train tasks"}))
    title = f"{model.name}: return as the context grows, {SETS[name]}, weights frozen"
    return learning_curves(shown, title, unit=model.unit)


def _grid(group: Sequence[Evaluated]) -> bool:
    sizes = {(model.layers, model.train_tasks) for model in group}
    return len(group) > 2 and len(sizes) > 1


def _shown(pictures: Collection[str], name: str, number: int) -> dict[str, str]:
    """Return the files of the pictures of a group that exist, by what they show; empty for those that do not."""
    kinds = ("curves", "size", "memory", "starts")
    return {kind: _file(name, key) if (key := f"{kind}-{number}") in pictures else "" for kind in kinds}


def _group(group: Sequence[Evaluated], pictures: Mapping[str, str], several: bool) -> Markdown:
    """Return the sections on models on the same task, with headings one level lower if there are several groups."""
    remembering = [model for model in group if model.results.get("memory")]
    starting = [model for model in group if model.results.get("starts")]
    reaching = [model for model in group if model.reached()]
    return render(
        "studies/evaluate/group.md",
        several=several,
        level=Markdown("###" if several else "##"),
        models=group,
        first=group[0],
        pictures=pictures,
        sets=SETS,
        learners=_learners(group[0]),
        banded=len(group) <= plots.FEW,
        on_other_tasks=[
            code(model.name) for model, letter in zip(group, task_letters(group), strict=True) if letter != "A"
        ],
        references=_references(group),
        differences=_differences(group),
        shares=_all_shares(group),
        reaching=reaching,
        efficiency=_efficiency(reaching),
        kept_of_source=_kept_of_source(reaching),
        remembering=remembering,
        remembering_shares=_all_shares(remembering),
        memory=_memory(remembering),
        learned_positions=[code(model.name) for model in remembering if model.positions == "learned"],
        starting=starting,
        starting_shares=_all_shares(starting),
        starts=_starts(starting),
        prompt_length=starting[0].results["starts"][-1]["episodes"] if starting else 0,
    )


def _all_shares(models: Sequence[Evaluated]) -> bool:
    return all(model.has_share for model in models)


def _references(group: Sequence[Evaluated]) -> Markdown:
    """Return what source, random and optimal earn beside each model; empty where that is the same for all."""
    if all(same_references(model, group[0]) for model in group):
        return Markdown()
    learners = ("source", "random", "optimal")
    rows = [
        [code(model.name), letter, *(amount(model.figure(model.judged_on, "last", learner)) for learner in learners)]
        for model, letter in zip(group, task_letters(group), strict=True)
    ]
    return table(["model", "tasks", *learners], rows, left=2)


def _differences(group: Sequence[Evaluated]) -> Markdown:
    """Return by how much each model exceeds the first; empty where that is not known of any."""
    differences = [(model, difference(model, group[0])) for model in group[1:]]
    rows = [
        [
            code(model.name),
            points(number) if model.has_share and group[0].has_share else amount(number, sign=True),
            "task by task" if paired(model, group[0]) else "other tasks",
        ]
        for model, number in differences
        if number is not None
    ]
    heads = ["model", Markdown(f"minus {code(group[0].name)}"), "compared"]
    return table(heads, rows, left=1) if rows else Markdown()


def _learners(model: Evaluated) -> Markdown:
    return learner_table(model.results, model.episodes, model.seen)


def _efficiency(models: Sequence[Evaluated]) -> Markdown:
    """Return when each model and its source first earned each share of the optimum."""
    levels = list(models[0].reached()) if models else []
    heads = ["model", *(f"{float(level):.0%}: {who}" for level in levels for who in ("model", "source"))]
    rows = []
    for model in models:
        own, of_source = model.reached(), model.reached("source")
        cells = [
            cell
            for level in levels
            for cell in (_when(own[level], model, False), _when(of_source[level], model, True) if of_source else NONE)
        ]
        rows.append([code(model.name), *cells])
    return table(heads, rows, left=1)


def _kept_of_source(models: Sequence[Evaluated]) -> str:
    """Return which of the source's episodes went into the histories; empty where that was each."""
    kept = {(model.keep_every, model.skip) for model in models}
    listed = (f"1 in {every}" + (f" after the first {skip:,}" if skip else "") for every, skip in sorted(kept))
    return ", ".join(listed) if kept != {(1, 0)} else ""


def _when(number: Number, model: Evaluated, source: bool) -> Markdown:
    """Say when a share was reached; a bound that was never reached is "never"."""

    def place(point: float) -> str:
        if not math.isfinite(point):
            return "never"
        if model.unit != "episode":
            return f"{int(model.unit.split()[0]) * point:.0f}"
        if not source:
            return f"{point:.0f}"
        earlier = "≤ " if point == 1 and model.skip else ""  # what it earned before was not kept
        return f"{earlier}{model.skip + 1 + (point - 1) * model.keep_every:.0f}"

    first = place(number.value)
    if not math.isfinite(number.low) or number.low == number.high:
        return Markdown(first)
    return Markdown(f"{first} [{place(number.low)}, {place(number.high)}]")


def _memory(models: Sequence[Evaluated]) -> Markdown:
    """Return what models earn by how many episodes they see."""
    shares = _all_shares(models)
    spelt, key = (share, "share") if shares else (amount, "last")
    numbers = sorted({entry["episodes"] for model in models for entry in model.results["memory"]})
    rows = []
    for model in models:
        by_number = {entry["episodes"]: Number.read(entry[key]) for entry in model.results["memory"]}
        whole = model.figure(model.judged_on, key)
        rows.append([code(model.name), *(spelt(by_number.get(number)) for number in numbers), spelt(whole)])
    return table(["model", *map(str, numbers), "all"], rows, left=1)


def _starts(models: Sequence[Evaluated]) -> Markdown:
    """Return what models earn after other lives: a row a life, or a column a life if there are several models."""
    if not models:
        return Markdown()
    shares = _all_shares(models)
    names = {entry["start"]: entry["says"] for entry in models[0].results["starts"]}
    by_model = {model.name: {entry["start"]: entry for entry in model.results["starts"]} for model in models}
    if len(models) == 1:
        heads = ["the context begins with", "next episode", "change"]
        rows = [[says, *_start_cells(by_model[models[0].name][start], shares)] for start, says in names.items()]
    else:
        heads = ["model", *names.values()]
        rows = [
            [code(name), *(_start_cells(starts[start], shares)[0] if start in starts else NONE for start in names)]
            for name, starts in by_model.items()
        ]
    return table(heads, rows, left=1)


def _start_cells(start: Mapping[str, Any], shares: bool) -> list[Markdown]:
    returns, change = Number.read(start["share" if shares else "return"]), Number.read(start["change"])
    return [share(returns), points(change)] if shares else [amount(returns), amount(change, sign=True)]


def _file(name: str, picture: str) -> str:
    """Return the file of a picture: the curves of the first task have the report's own name."""
    ending = re.sub("-0$", "", picture)
    return f"{name}.png" if ending == "curves" else f"{name}-{ending}.png"
