"""The report of an evaluation: a Markdown page that compares any number of models, its pictures and its figures."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ad_hypotheses.evidence.plain_data import Curve
from ad_hypotheses.report.draw import learning_curves
from ad_hypotheses.report.words import code, literal
from ad_hypotheses.storage.files import write_files
from ad_hypotheses.studies.evaluate import pictures as plots
from ad_hypotheses.studies.evaluate.learners import (
    NONE,
    SETS,
    counted,
    learner_table,
    markdown_table,
    plain,
    points,
    share,
)
from ad_hypotheses.studies.evaluate.record import (
    ENOUGH,
    Evaluated,
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
_ALT = {
    "curves": "What is earned as the context grows",
    "size": "What is earned by size and number of training tasks",
    "memory": "What is earned by how much of the past is seen",
    "starts": "What is earned after somebody else's life",
}


def write_comparison(models: Sequence[Evaluated], name: str, command: str, folder: Path) -> Path:
    """Write `<name>.md`, its pictures beside it, and every figure as JSON and as CSV; returns the page.

    Raises:
        UserError: They cannot be written. An older report is then still whole.
    """
    pictures = draw_pictures(models)
    files = {folder / _file(name, picture): content for picture, content in pictures.items()}
    record = {"command": command, "models": [dataclasses.asdict(model) for model in models]}
    files[folder / f"{name}.json"] = (json.dumps(record, indent=1) + "\n").encode()
    files[folder / f"{name}.csv"] = evaluation_csv(figure_rows(models)).encode()
    files[folder / f"{name}.md"] = page(models, name, command, pictures).encode()
    write_files(files)
    return folder / f"{name}.md"


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


def page(models: Sequence[Evaluated], name: str, command: str, pictures: Mapping[str, bytes]) -> str:
    """Return the page as Markdown.

    Args:
        models: What to compare.
        name: Of the report.
        command: What makes it again.
        pictures: Those that exist.
    """
    title = f"{literal(models[0].name)}, evaluated" if len(models) == 1 else f"{len(models)} models compared"
    parts = [f"# {title}"]
    parts += [_headline(models[0])] if len(models) == 1 else [f"{overview(models)}\n\n{_overview_meaning(models)}"]
    groups = by_task(models)
    for number, group in enumerate(groups):
        if len(groups) > 1:
            parts.append(f"## {literal(group[0].task)}, {counted(group[0].episodes, 'episode')}")
        shown = {
            kind: f"![{alt}]({_file(name, f'{kind}-{number}')})"
            for kind, alt in _ALT.items()
            if f"{kind}-{number}" in pictures
        }
        parts += _group(group, shown, "###" if len(groups) > 1 else "##")
    parts += [_model(model, len(models) == 1) for model in models]
    parts.append(_rerun(models, name, command))
    return "\n\n".join(part for part in parts if part) + "\n"


def overview(models: Sequence[Evaluated]) -> str:
    """Return one row a model, as Markdown."""
    heads, rows = overview_rows(models)
    return markdown_table([head.replace("\n", " ") for head in heads], [[code(row[0]), *row[1:]] for row in rows])


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


def _group(group: Sequence[Evaluated], shown: Mapping[str, str], level: str) -> list[str]:
    parts = []
    if len(group) == 1:
        parts.append(f"{level} What it earns\n\n{_learners(group[0])}\n\n{shown['curves']}")
    else:
        parts.append(f"{level} As the context grows\n\n{shown['curves']}\n\n{_bands(group)}")
        parts += [_references(group), _differences(group, level)]
    if "size" in shown:
        parts.append(f"{level} By size\n\n{shown['size']}\n\nA dot is a model, a line joins means.")
    parts.append(_efficiency(group, level))
    measured = [model for model in group if model.results.get("memory")]
    if measured:
        parts.append(f"{level} How much of its past it needs\n\n{_memory(measured)}\n\n{shown['memory']}")
    measured = [model for model in group if model.results.get("starts")]
    if measured:
        parts.append(f"{level} Unusual starts\n\n{_starts(measured)}\n\n{shown['starts']}")
    return parts


def _bands(group: Sequence[Evaluated]) -> str:
    bands = "Bands: 95 % by bootstrap over tasks. " if len(group) <= plots.FEW else ""
    text = f"{bands}Source, random and optimal are those of {code(group[0].name)}."
    letters = task_letters(group)
    if len(set(letters)) > 1:
        others = ", ".join(code(model.name) for model, letter in zip(group, letters, strict=True) if letter != "A")
        text += (
            f" **Not all of these models are judged by the same tasks: those of {others} are others** (another seed or "
            "number of tasks), so that their references are others too and differences between models are also "
            "differences between tasks."
        )
    return text


def _references(group: Sequence[Evaluated]) -> str:
    """Return what source, random and optimal earn beside each model, where that is not the same for all."""
    if all(same_references(model, group[0]) for model in group):
        return ""
    learners = ("source", "random", "optimal")
    rows = [
        [code(model.name), letter, *(plain(model.figure(model.judged_on, "last", learner)) for learner in learners)]
        for model, letter in zip(group, task_letters(group), strict=True)
    ]
    table = markdown_table(["model", "tasks", *learners], rows, left=2)
    return f"{table}\n\nMean return of the last three episodes, or of the only one, on each model's own tasks."


def _differences(group: Sequence[Evaluated], level: str) -> str:
    """Return by how much each model exceeds the first."""
    differences = [(model, difference(model, group[0])) for model in group[1:]]
    rows = [
        [
            code(model.name),
            points(number) if model.has_share and group[0].has_share else plain(number, sign=True),
            "task by task" if paired(model, group[0]) else "other tasks",
        ]
        for model, number in differences
        if number is not None
    ]
    if not rows:
        return ""
    first = code(group[0].name)
    unit = "in points of the optimum" if all(model.has_share for model in group) else "in return"
    return (
        f"{level} Differences\n\n{markdown_table(['model', f'minus {first}', 'compared'], rows)}\n\nThe last three "
        f"episodes, or the only one, minus those of {first}, {unit}, with 95 % intervals by bootstrap over tasks: pair "
        "by pair where both lived on the same tasks. They hold the trained models fixed: each is one training with one "
        "seed, and another training of the same configuration may differ by more. No correction is made for how many "
        "models are compared."
    )


def _learners(model: Evaluated) -> str:
    return learner_table(model.results, model.episodes, model.seen)


def _efficiency(group: Sequence[Evaluated], level: str) -> str:
    measured = [model for model in group if model.figure(model.judged_on, "reached")]
    if not measured:
        return ""
    levels = list(measured[0].figure(measured[0].judged_on, "reached") or ())
    heads = ["model", *(f"{float(one):.0%}: {who}" for one in levels for who in ("model", "source"))]
    rows = []
    for model in measured:
        own = model.figure(model.judged_on, "reached") or {}
        others = model.figure(model.judged_on, "reached", "source")
        cells = [
            cell
            for one in levels
            for cell in (_when(own[one], model, False), _when(others[one], model, True) if others else NONE)
        ]
        rows.append([code(model.name), *cells])
    unit = "Episodes" if measured[0].unit == "episode" else "Steps, counted in tens,"
    kept = {(model.keep_every, model.skip) for model in measured}
    how = ", ".join(f"1 in {every}" + (f" after the first {skip:,}" if skip else "") for every, skip in sorted(kept))
    counted = f"The source's are its own, of which {how} went into the histories. " if kept != {(1, 0)} else ""
    return (
        f"{level} Against its source\n\n{markdown_table(heads, rows)}\n\n{unit} until the mean return first reaches "
        f"that share of the optimum on {SETS[measured[0].judged_on]}, with 95 % intervals. {counted}"
        "A model that needs fewer is more data-efficient than what it was distilled from."
    )


def _when(number: Mapping[str, Any], model: Evaluated, source: bool) -> str:
    """Say when a share was reached; a bound that was never reached is "never"."""

    def place(point: float | int | None) -> str:
        if point is None:
            return "never"
        if model.unit != "episode":
            return f"{int(model.unit.split()[0]) * point:.0f}"
        if not source:
            return f"{point:.0f}"
        earlier = "≤ " if point == 1 and model.skip else ""  # what it earned before was not kept
        return f"{earlier}{model.skip + 1 + (point - 1) * model.keep_every:.0f}"

    told = place(number["value"])
    if number["low"] is None or number["low"] == number["high"]:
        return told
    return f"{told} [{place(number['low'])}, {place(number['high'])}]"


def _memory(group: Sequence[Evaluated]) -> str:
    shares = all(model.has_share for model in group)
    numbers = sorted({one["episodes"] for model in group for one in model.results["memory"]})
    heads = ["model", *(f"{number}" for number in numbers), "all"]
    rows = []
    for model in group:
        by = {one["episodes"]: one for one in model.results["memory"]}
        cells = [(share(by[n]["share"]) if shares else plain(by[n]["last"])) if n in by else NONE for n in numbers]
        figure = model.figure(model.judged_on, "share" if shares else "last")
        rows.append([code(model.name), *cells, share(figure) if shares else plain(figure)])
    what = "Share of the optimum" if shares else "Mean return"
    return (
        f"{markdown_table(heads, rows)}\n\n{what} in the last three episodes of a life in which the model sees only so "
        f"many episodes: the one that it is in and those just before. {_lives(group)} on "
        f"{SETS[group[0].judged_on]}; *all* from the learning curves. One episode leaves no way to learn across them."
        f"{_confounded(group)}"
    )


def _lives(group: Sequence[Evaluated]) -> str:
    return counted(group[0].results["lives"], "life", "lives")


def _confounded(group: Sequence[Evaluated]) -> str:
    """Return why less memory may mean something else, for models whose positions are learned."""
    names = [code(model.name) for model in group if model.positions == "learned"]
    if not names:
        return ""
    who = "" if len(names) == len(group) else f" of {', '.join(names)}"
    return (
        f" Positions{who} are learned, and what is seen stands at the first ones, where training showed beginners "
        "only: a loss may be due to the place of what is seen as well as to how little it is."
    )


def _starts(group: Sequence[Evaluated]) -> str:
    shares = all(model.has_share for model in group)
    names = {entry["start"]: entry["says"] for entry in group[0].results["starts"]}
    by = {model.name: {entry["start"]: entry for entry in model.results["starts"]} for model in group}
    if len(group) == 1:
        heads = ["the context begins with", "next episode", "change"]
        rows = [[says, *_start_cells(by[group[0].name][start], shares)] for start, says in names.items()]
    else:
        heads = ["model", *names.values()]
        rows = [
            [code(name), *(_start_cells(starts[start], shares)[0] if start in starts else NONE for start in names)]
            for name, starts in by.items()
        ]
    unit = "its return as a share of the optimum" if shares else "its mean return"
    change = f"; the change{', in points,' if shares else ''} is against an empty context" if len(group) == 1 else ""
    n = group[0].results["starts"][-1]["episodes"]
    return (
        f"{markdown_table(heads, rows)}\n\nThe model reads {n} episode{'s' if n > 1 else ''} that somebody lived on "
        f"the same task as if they were its own, and then plays one: {unit}{change}. {_lives(group)}. "
        "A model that copies the skill it sees plays well after an expert even without rewards, and badly after "
        "a random agent; one that learns from rewards needs them."
    )


def _start_cells(start: Mapping[str, Any], shares: bool) -> list[str]:
    if shares:
        return [share(start["share"]), points(start["change"])]
    return [plain(start["return"]), plain(start["change"], sign=True)]


def _headline(model: Evaluated) -> str:
    return headline(model.results, model.episodes, model.unit, model.seen)


def _model(model: Evaluated, alone: bool) -> str:
    seeds = ", ".join(f"{label} {seed}" for label, seed in model.seeds.items())
    facts = {
        "Size": f"{counted(model.layers, 'layer')}, {counted(model.heads, 'head')}, width {model.width}; "
        f"{counted(model.parameters, 'parameter')}",
        "Task": f"{literal(model.task)}; {model.train_tasks:,} to train on, {model.held_out_tasks:,} held out",
        "Context": f"{counted(model.episodes, 'episode')} of {counted(model.horizon, 'step')}"
        + ("" if model.seen is None else f"; the model sees {model.seen:,} of {model.episodes:,} at a time"),
        "Source": literal(model.source),
        "Seeds": seeds,
        "Trained by": code(model.command),
        "Weights (SHA-256)": code(model.sha256),
    }
    table = "| | |\n| --- | --- |\n" + "\n".join(f"| {label} | {text} |" for label, text in facts.items())
    if alone:
        return f"## The model\n\n{table}"
    return f"## {literal(model.name)}\n\n{_headline(model)}\n\n{_learners(model)}\n\n{table}"


def _rerun(models: Sequence[Evaluated], name: str, command: str) -> str:
    results = models[0].results
    fewest = min(model.held_out_tasks or model.train_tasks for model in models)
    narrow = " With so few tasks they are somewhat too narrow." if fewest < 20 else ""
    narrow += " Fewer than 5 tasks have none." if fewest < 5 else ""
    lives = counted(results["rollouts"], "life", "lives")
    return (
        f"## Rerun\n\n```sh\n{command}\n```\n\nSeed {results['seed']}, {lives} of each learner. "
        f"Intervals are 95 %, by bootstrap over tasks, and hold the trained model fixed: they say nothing of what "
        f"another training seed would give.{narrow} Shares are ratios of means over lives. Every figure: "
        f"[{name}.json]({name}.json), as a table [{name}.csv]({name}.csv)."
    )


def _overview_meaning(models: Sequence[Evaluated]) -> str:
    bounds = [model.figure("held_out", "improvement") for model in models]
    known = [number for number in bounds if number and number["low"] is not None]
    out = len(models) - len(known)
    left = f" ({out} left out: no held-out tasks or fewer than 5, or one point only)" if out else ""
    count = (
        f"{sum(map(improves, known))} of {len(known)} improve within their context by {100 * ENOUGH:.0f} points or "
        f"more, with an interval above 0{left}. "
        if known
        else "Whether any of them improves within its context cannot be told. "
    )
    units = dict.fromkeys(improvement_is(model.unit) for model in models)
    return (
        f"{count}Shares of the optimum on tasks never trained on (*first*, *last* three episodes, *mean* over the "
        "context, *argmax*: the last when it takes the likeliest action) and on train tasks. *Improvement*: "
        f"{' or '.join(units)}, in points, with its 95 % interval; a model that learns in its context lies above 0."
        f"{_sets(models)}"
    )


def _sets(models: Sequence[Evaluated]) -> str:
    mixed = any(len(set(task_letters(group))) > 1 for group in by_task(models))
    return " *Held-out tasks*: models of a family with the same letter are judged by the same tasks." if mixed else ""


def _file(name: str, picture: str) -> str:
    """Return the file of a picture: the curves of the first task have the report's own name."""
    ending = re.sub("-0$", "", picture)
    return f"{name}.png" if ending == "curves" else f"{name}-{ending}.png"
