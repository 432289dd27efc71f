"""The report on behaviour: a page with a picture a test, and the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.report.templates import render
from ad_hypotheses.report.words import Markdown, code, figure, file_name, interval, table
from ad_hypotheses.storage.files import write_report_files
from ad_hypotheses.studies.behave import pictures as plots
from ad_hypotheses.studies.behave.record import (
    GATE,
    MODEL,
    NOVICE,
    SOURCE,
    UNTRAINED,
    Behaviour,
    MixtureRecord,
    ModelBehaviour,
    TestRecord,
)

EVERYWHERE = "all"  # the regime of all decisions
LEAST_SHARE = 0.01  # of a rung that a table mentions


def write_behaviour(behaviour: Behaviour, folder: Path) -> list[Path]:
    """Write the page, its pictures and the record.

    Returns:
        The files, the page last.

    Raises:
        UserError: They cannot be written. An older report is then still whole.
    """
    return write_report_files(draw_report(behaviour), folder)


def draw_report(behaviour: Behaviour, name: str = "") -> dict[str, bytes]:
    """Return the files of a report by their path in its folder, the page last.

    Args:
        behaviour: What to report.
        name: Of the files; by default that of the models.
    """
    record, name = behaviour.recorded(), name or behaviour.name
    pictures: dict[str, bytes] = {}
    for model in record.subjects:
        for test in model.tests:
            pictures[_file(name, model, test.name)] = plots.draw_test(test, model.name)
        if model.mixtures:
            pictures[_file(name, model, "mixture")] = plots.draw_mixtures(model)
    return {
        **pictures,
        f"{name}.json": (behaviour.to_json() + "\n").encode(),
        f"{name}.md": page(record, name).encode(),
    }


def page(behaviour: Behaviour, name: str) -> str:
    """Return the page as Markdown, which `behave.md` says word for word."""
    return render(
        "studies/behave/behave.md",
        behaviour=behaviour,
        several=len(behaviour.subjects) > 1,
        overview=overview(behaviour.subjects),
        compared=compared(behaviour.subjects),
        models=[_model(model, name) for model in behaviour.subjects],
        name=name,
        command=Markdown(behaviour.command),
    )


def overview(models: Sequence[ModelBehaviour]) -> Markdown:
    """Return one row a model: whom it follows on the source's lives and how closely."""
    heads = ["model", "most like", "share", "unexplained (nats)", "slope on the source", "within cells"]
    rows = []
    for model in models:
        record = _over_all(model.mixtures)
        tracked = {tracking.rung: tracking for tracking in model.tracking}
        slopes = tracked.get(SOURCE)
        rows.append([
            code(model.name),
            *(_leading(record) if record else ("-", "-")),
            interval(record.unexplained, 3) if record else "-",
            interval(slopes.slope) if slopes else "-",
            interval(slopes.within) if slopes else "-",
        ])  # fmt: skip
    return table(heads, rows, left=2)


def compared(models: Sequence[ModelBehaviour]) -> dict[str, Markdown]:
    """Return what several models do in the cells of each test, one row a model. {test: table}"""
    tables = {}
    for name in dict.fromkeys(test.name for model in models for test in model.tests):
        tested = {model.name: test for model in models for test in model.tests if test.name == name}
        labels = list(dict.fromkeys(cell.label for test in tested.values() for cell in test.cells))
        rows = []
        for model, test in tested.items():
            values = {cell.label: cell.values[MODEL] for cell in test.cells}
            rows.append([code(model), *(interval(values[label]) if label in values else "-" for label in labels)])
        tables[name] = table(["model", *labels], rows, left=1)
    return tables


def _leading(record: MixtureRecord) -> tuple[str, Markdown]:
    name = max(record.weights, key=lambda rung: record.weights[rung].value)
    return name, interval(record.weights[name])


def _over_all(records: Sequence[MixtureRecord]) -> MixtureRecord | None:
    return next((record for record in records if record.regime == EVERYWHERE and record.data == SOURCE), None)


def _model(model: ModelBehaviour, name: str) -> Mapping[str, object]:
    return {
        "record": model,
        "tests": [
            {"record": test, "picture": _file(name, model, test.name), "cells": _cells(test)} for test in model.tests
        ],
        "summary": _summary(model.tests),
        "tracking": _tracking(model),
        "mixtures": _mixtures(model),
        "picture": _file(name, model, "mixture") if model.mixtures else "",
    }


def _summary(tests: Sequence[TestRecord]) -> Markdown:
    """Return one row a test: the one figure of the model, the source, the gate and the novice."""
    heads = ["test", "figure", MODEL, SOURCE, GATE, "counting", NOVICE, UNTRAINED, "reported"]
    rows = [
        [test.name, test.effect, interval(test.effects[MODEL]),
         *(_value(test.effects.get(who)) for who in (SOURCE, GATE, "counting", NOVICE, UNTRAINED)),
         "yes" if test.reported else "no"]
        for test in tests
    ]  # fmt: skip
    return table(heads, rows, left=2)


def _value(number: Number | None) -> Markdown:
    return Markdown("-") if number is None else figure(number.value)


def _cells(test: TestRecord) -> Markdown:
    """Return one row a cell, one column for everybody."""
    everybody = list(test.effects)
    rows = [
        [cell.label, cell.contexts, interval(cell.values[MODEL]),
         *(_value(cell.values[who]) for who in everybody if who != MODEL)]
        for cell in test.cells
    ]  # fmt: skip
    return table(["cell", "contexts", MODEL, *(who for who in everybody if who != MODEL)], rows, left=1)


def _tracking(model: ModelBehaviour) -> Markdown:
    heads = ["rung", "contexts", "slope", "intercept", "R²", "slope within cells", "R² within cells"]
    rows = [
        [tracking.rung, tracking.contexts,
         *map(interval, (tracking.slope, tracking.intercept, tracking.r2, tracking.within, tracking.within_r2))]
        for tracking in model.tracking
    ]  # fmt: skip
    return table(heads, rows, left=1) if rows else Markdown()


def _mixtures(model: ModelBehaviour) -> Markdown:
    heads = ["data", "regime", "decisions", "shares", "unexplained (nats)", "entropy", "best rung alone", "chance"]
    rows = []
    for who, records in (("", model.mixtures), ("untrained network, ", model.untrained)):
        for record in records:
            best = min(record.alone, key=lambda rung: record.alone[rung].value)
            shares = ", ".join(
                f"{rung} {figure(number.value)}"
                for rung, number in record.weights.items()
                if number.value >= LEAST_SHARE
            )
            rows.append([
                f"{who}{record.data}", record.regime, record.positions, shares, interval(record.unexplained, 3),
                figure(record.entropy, 3), f"{best} {figure(record.alone[best].value, 3)}", figure(record.uniform, 3),
            ])  # fmt: skip
    return table(heads, rows, left=2) if rows else Markdown()


def _file(name: str, model: ModelBehaviour, picture: str) -> str:
    return f"{name}/{file_name(model.name.replace('/', '-'), picture)}.png"
