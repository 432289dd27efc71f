"""The page on findings: a template whose tables and pictures are made from records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ad_hypotheses.report.narrow import narrow_tables
from ad_hypotheses.report.words import Markdown, code
from ad_hypotheses.studies.findings import pictures, tables
from ad_hypotheses.studies.findings.figures import Figures
from ad_hypotheses.studies.findings.held import held
from ad_hypotheses.studies.findings.judging import failed_tests
from ad_hypotheses.studies.findings.plan import RECORDS, Plan, record_name
from ad_hypotheses.studies.findings.template import Block, fill

PICTURES = "pictures"  # folder beside the page


def render(template: str, place: str, figures: Figures) -> tuple[str, dict[str, bytes]]:
    """Return a page, and the pictures that it shows by their path beside it.

    Args:
        template: With references.
        place: Its file, for messages.
        figures: What records hold.

    Raises:
        DataError: A reference is unknown, or a figure is typed; names file and line.
    """
    drawn: dict[str, bytes] = {}
    blocks = {**table_blocks(figures), **_picture_blocks(figures, drawn)}
    return narrow_tables(fill(template, place, figures, blocks)), drawn


def table_blocks(figures: Figures) -> dict[str, Block]:
    """Return the tables by name."""
    general: Mapping[str, Callable[[Figures], Markdown]] = {
        "families": tables.families, "answers": tables.answers, "controls": tables.judged_controls,
        "confusion": tables.confusion, "pilots": tables.pilots, "sizes": tables.sizes, "scrubbed": tables.scrubbed,
        "claims": tables.claims, "regimes": tables.regimes, "records": records, "not-asked": not_asked,
        "tracking": tables.tracking, "rungs": tables.rungs, "held": held, "subjects": subjects, "cells": tables.cells,
    }  # fmt: skip
    blocks: dict[str, Block] = {f"table.{name}": partial(make, figures) for name, make in general.items()}
    of_plan = {"hypotheses": hypotheses, "thresholds": thresholds, "before": before, "question": question}
    for name, make in of_plan.items():
        blocks[f"table.{name}"] = partial(make, figures.records.plan)
        for further, plan in figures.records.further.items():
            blocks[f"table.{name}.{further}"] = partial(make, plan)
    of_models = {"held": held, "families": tables.families, "rungs": tables.rungs, "answers": tables.answers,
                 "tracking": tables.tracking}  # fmt: skip
    for further, plan in figures.records.further.items():
        for name, make_for in of_models.items():
            blocks[f"table.{name}.{further}"] = partial(make_for, figures, plan)
    for name in figures.records.asked:
        blocks[f"table.tests.{name}"] = partial(tables.tests, figures, name)
        blocks[f"command.{name}"] = partial(command, figures, name)
    return blocks


def _picture_blocks(figures: Figures, drawn: dict[str, bytes]) -> dict[str, Block]:
    records, withheld = figures.records, failed_tests(figures)
    made: Mapping[str, tuple[Callable[[], bytes], str, list[str]]] = {
        "behaviour": (partial(pictures.behaviour, records, withheld), "model, source and gate in five tests",
                      ["dark-room", "graph-world"]),
        "families": (partial(pictures.families, records), "shares of rungs by family",
                     tables.models_of(figures, tables.SUBJECT)),
        "tasks": (partial(pictures.tasks, records), "the pull of rewards by number of training goals",
                  tables.models_of(figures, tables.GRID)[:1]),
        "cells": (partial(pictures.cells, records), "chance of the first step of ways that are put together, by length",
                  [name for name, planned in records.planned.items() if planned.role == tables.CELL]),
    }  # fmt: skip

    def show(name: str) -> Markdown:
        draw, words, models = made[name]
        drawn[f"{PICTURES}/{name}.png"] = draw()
        links = [command(figures, model) for model in models if model in records.asked]
        return Markdown(f"![{words}]({PICTURES}/{name}.png)\n\nFrom {'; '.join(links) or 'no record yet'}.")

    return {f"picture.{name}": partial(show, name) for name in made}


def command(figures: Figures, model: str) -> Markdown:
    """Return a link to the record of a model and the command that makes it again."""
    asked = figures.records.asked[model]
    link = f"[the record of {model}]({RECORDS}/{record_name(model)})"
    return Markdown(f"{link}: {code(asked.command)}")


def question(plan: Plan) -> Markdown:
    """Return what the study asks."""
    return Markdown(plan.question)


def subjects(figures: Figures) -> Markdown:
    """Return a section for each model that was put to tests: the tests, those left out, and the record."""
    sections = []
    for name, asked in figures.records.asked.items():
        subject = asked.subjects[0]
        if not subject.tests or figures.records.planned[name].role in (tables.GRID, tables.CELL):
            continue
        left = "; ".join(f"{test}: {reason}" for test, reason in subject.left_out.items())
        parts = [f"### {code(name)}", f"{subject.task}, from {subject.source}. {command(figures, name)}",
                 tables.tests(figures, name), f"Not done: {left}." if left else ""]  # fmt: skip
        sections += [part for part in parts if part]
    return Markdown("\n\n".join(sections))


def hypotheses(plan: Plan) -> Markdown:
    """Return the hypotheses of the plan."""
    heads = ["hypothesis", "says", "wrong if"]
    return tables.table(heads, [[each.name, each.says, Markdown(each.wrong_if)] for each in plan.hypotheses])


def thresholds(plan: Plan) -> Markdown:
    """Return the thresholds of the plan."""
    rows = [[code(name), Markdown(f"{value:g}")] for name, value in plan.thresholds.items()]
    return tables.table(["threshold", "value"], rows, left=1)


def before(plan: Plan) -> Markdown:
    """Return what had been run before the plan was written, one item each."""
    return Markdown("\n".join(f"- {' '.join(text.split())}" for text in plan.before))


def records(figures: Figures) -> Markdown:
    """Return one row a record: contexts, and the command that makes it again."""
    planned = figures.records.planned
    rows = [
        [Markdown(f"[`{name}`]({RECORDS}/{record_name(name)})"), planned[name].role, asked.contexts,
         code(asked.command)]
        for name, asked in figures.records.asked.items()
    ]  # fmt: skip
    return tables.table(["record", "role", "contexts", "command"], rows, left=2)


def not_asked(figures: Figures) -> Markdown:
    """Return the models of the plans without a record yet, and those that the study excludes, with the reason."""
    records = figures.records
    lines = [f"- {code(name)}: in the plan, not measured yet" for name in records.planned if name not in records.asked]
    lines += [f"- {code(name)}: {reason}" for name, reason in records.plan.excluded.items()]
    return Markdown("\n".join(lines))
