"""The report of a sweep: a page, a plot and a table of how well every model learns in its context."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, PercentFormatter

from ad_hypotheses.report.draw import BLACK, BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILION, array, picture
from ad_hypotheses.report.templates import render
from ad_hypotheses.report.words import Markdown, code, count, table
from ad_hypotheses.storage.files import write_report_files
from ad_hypotheses.studies.sweep.record import Earned, Sweep, Trained, rows
from ad_hypotheses.studies.tables import sweep_csv

COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK, GREY)
LOG_FROM = 8  # largest number of an axis over its smallest, from which on it is drawn on a logarithmic scale
DASHED = (0, (4, 2.5))


def write_sweep(sweep: Sweep, folder: Path) -> list[Path]:
    """Write `sweep-<name>.md` with its plot beside it, and every figure as JSON and as CSV.

    Returns:
        The files, the page last.

    Raises:
        UserError: They cannot be written. An older report is then still whole.
    """
    return write_report_files(draw_report(sweep), folder)


def draw_report(sweep: Sweep, name: str = "") -> dict[str, bytes]:
    """Return the files of a report by their path in its folder, the page last.

    Args:
        sweep: What to report.
        name: Of the files; by default that of the sweep.
    """
    name = name or f"sweep-{sweep.name}"
    return {
        f"{name}.png": plot(sweep),
        f"{name}.json": (sweep.to_json() + "\n").encode(),
        f"{name}.csv": sweep_csv(rows(sweep)).encode(),
        f"{name}.md": text(sweep, name).encode(),
    }


def summary(sweep: Sweep, ranges: bool = True) -> tuple[list[str], list[list[str]]]:
    """Return the heads and rows of the table by setting.

    Args:
        sweep: Which.
        ranges: Whether the mean over seeds comes with the least and the greatest.
    """
    lines = []
    for setting, models in sweep.by_setting().items():
        values = [([figure(model) for model in models], shown) for figure, shown in _columns(sweep).values()]
        figures = [shown(numbers if ranges else [_mean(numbers)]) for numbers, shown in values]
        lines.append([*setting, f"{models[0].parameters:,}", *figures, str(len(models))])
    return [*sweep.settings, "weights", *_columns(sweep), "models"], lines


def text(sweep: Sweep, name: str) -> str:
    """Return the page as Markdown, which `sweep.md` says word for word; its plot and its table have its name."""
    heads, lines = summary(sweep)
    columns = _columns(sweep)
    models = [
        [code(model.name), *model.at, count(model.parameters),
         *(shown([figure(model)]) for figure, shown in columns.values()), f"{model.seconds:,.0f} s"]
        for model in sweep.models
    ]  # fmt: skip
    names = ["model", *sweep.axes, "weights", *columns, "training"]
    return render(
        "studies/sweep/sweep.md",
        sweep=sweep,
        name=name,
        n_models=len(sweep.models) + len(sweep.failed),
        best=_best(sweep),
        drawn=_drawn(sweep)[1].partition(",")[0].capitalize(),
        by_setting=table(heads, lines, left=len(sweep.settings)),
        has_regret="regret" in columns,
        every_model=table(names, models, left=1 + len(sweep.axes)),
        missing=[code(name) for name in sweep.failed],
        command=Markdown(sweep.command),
    )


Figured = Callable[[Trained], float | None]
Shown = Callable[[Sequence[float | None]], str]


def _columns(sweep: Sweep) -> dict[str, tuple[Figured, Shown]]:
    """Return the figures that mean something for these models, by the head of their column."""
    last = "last episodes" if sweep.unit == "episode" else "share"
    columns: dict[str, tuple[Figured, Shown]] = {
        f"held-out, {last}": (lambda model: model.held_out.last if model.held_out else None, _shares),
        f"train, {last}": (lambda model: model.train.last, _shares),
        f"first {sweep.unit}": (lambda model: model.judged.first, _shares),
        "improvement": (lambda model: model.judged.improvement, _points),
        "regret": (lambda model: model.judged.regret, _numbers),
    }
    return {
        head: (figure, shown)
        for head, (figure, shown) in columns.items()
        if any(figure(model) is not None for model in sweep.models)
    }


def plot(sweep: Sweep) -> bytes:
    """Draw the share of the optimum over the last axis, a line a value of the first one and a dot a model.

    Axes in between get a panel for each of their values.
    """
    settings = sweep.settings or list(sweep.axes)[-1:]
    x, line, panels = settings[-1], settings[0] if len(settings) > 1 else None, settings[1:-1]
    chosen = list(itertools.product(*(sweep.axes[axis] for axis in panels)))
    n_columns = min(2, len(chosen))
    n_rows = math.ceil(len(chosen) / n_columns)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True).ravel()
        for ax, values in zip(axes, chosen, strict=False):
            panel = dict(zip(panels, values, strict=True))
            _panel(ax, sweep, x, line, panel)
            ax.set_title(", ".join(f"{_words(axis)} {value}" for axis, value in panel.items()))
        for ax in axes[len(chosen) :]:
            ax.set_visible(False)
        figure.supylabel(_drawn(sweep)[1], fontsize=9.5, color=INK)
        handles = _legend(sweep, line)
        figure.legend(handles=handles, loc="outside upper left", ncols=min(6, len(handles)), columnspacing=1.4,
                      handlelength=3, fontsize=9)  # fmt: skip

    return picture(draw, 0.7 + (3.4 if n_rows == 1 else 2.7 * n_rows))


def _panel(ax: Axes, sweep: Sweep, x: str, line: str | None, panel: Mapping[str, str]) -> None:
    places, (figure, _) = _places(sweep.axes[x]), _drawn(sweep)
    for value, colour in _lines(sweep, line):
        wanted = {**panel, **({} if line is None else {line: value})}
        models = [
            model for model in sweep.models if wanted.items() <= dict(zip(sweep.axes, model.at, strict=True)).items()
        ]
        for style, filled, tasks in ((DASHED, False, "train"), ("-", True, "held_out")):
            seen: dict[str, list[float | None]] = {}
            for model in models:
                earned = getattr(model, tasks) or Earned()
                seen.setdefault(dict(zip(sweep.axes, model.at, strict=True))[x], []).append(getattr(earned, figure))
            at = [label for label in places if label in seen]
            ax.plot([places[label] for label in at], array([_mean(seen[label]) for label in at]), color=colour,
                    linestyle=style, linewidth=1.9, alpha=1 if filled else 0.75, zorder=3 if filled else 2)  # fmt: skip
            dots = [(places[label], number) for label in at for number in seen[label] if number is not None]
            if dots:
                ax.scatter(*zip(*dots, strict=True), s=24, facecolor=colour if filled else "white", edgecolor=colour,
                           linewidth=0.9, alpha=0.85, zorder=5 if filled else 4)  # fmt: skip
    _axes(ax, sweep.axes[x], places, x)
    if figure == "last":
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _axes(ax: Axes, labels: Sequence[str], places: Mapping[str, float], x: str) -> None:
    numbers = sorted(places.values())
    if _numeric(labels) and numbers[0] > 0 and numbers[-1] / numbers[0] >= LOG_FROM:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(list(places.values()), list(places), rotation=0 if sum(map(len, places)) < 60 else 25)
    if not _numeric(labels):
        ax.set_xlim(-0.4, len(labels) - 0.6)
    ax.set_xlabel(_words(x))
    ax.tick_params(labelbottom=True)
    low, high = ax.dataLim.intervaly
    if math.isfinite(low) and low < 0.4 * high:  # otherwise a zero on the axis would only press the lines together
        ax.set_ylim(min(0.0, 1.05 * low), 1.06 * high)
    ax.grid(axis="y")


def _places(labels: Sequence[str]) -> dict[str, float]:
    """Return where the values of an axis are drawn: numbers to scale, others side by side."""
    return {label: float(label) if _numeric(labels) else float(index) for index, label in enumerate(labels)}


def _numeric(labels: Sequence[str]) -> bool:
    try:
        return bool(np.isfinite([float(label) for label in labels]).all())
    except ValueError:
        return False


def _lines(sweep: Sweep, line: str | None) -> list[tuple[str, str]]:
    values = [""] if line is None else list(sweep.axes[line])
    return list(zip(values, itertools.cycle(COLOURS), strict=False))


def _legend(sweep: Sweep, line: str | None) -> list[Line2D]:
    by_value = [
        Line2D([], [], color=colour, linewidth=1.9, label=f"{_words(line)} {value}")
        for value, colour in _lines(sweep, line)
        if line is not None
    ]
    colour = INK if line is not None else COLOURS[0]
    held_out = any(model.held_out is not None for model in sweep.models)
    solid = Line2D([], [], color=colour, marker="o", markersize=5, label="held-out tasks")
    dashed = Line2D([], [], color=colour, linestyle=DASHED, marker="o", markersize=5, markerfacecolor="white",
                    label="train tasks")  # fmt: skip
    return [*by_value, *([solid] if held_out else []), dashed]


def _drawn(sweep: Sweep) -> tuple[str, str]:
    """Return the figure that models are compared by and what it is called: regret only where shares mean nothing."""
    if all(model.judged.last is None for model in sweep.models) and any(model.judged.regret for model in sweep.models):
        return "regret", "regret over the context"
    return "last", "share of the optimum, last episodes" if sweep.unit == "episode" else "share of the optimum"


def _best(sweep: Sweep) -> str:
    figure, _ = _drawn(sweep)
    by_setting = {
        setting: [getattr(model.judged, figure) for model in models] for setting, models in sweep.by_setting().items()
    }
    known = {setting: mean for setting, values in by_setting.items() if (mean := _mean(values)) is not None}
    if not known:
        return "No model was evaluated."
    better = min if figure == "regret" else max
    best = better(known, key=lambda setting: known[setting])
    held_out = any(model.held_out for model in sweep.models)
    where = "held-out tasks" if held_out else "train tasks (none are held out)"
    setting_words = ", ".join(f"{axis} {value}" for axis, value in zip(sweep.settings, best, strict=True))
    result = f"{_shares(by_setting[best])} of the optimum"
    result = f"a regret of {_numbers(by_setting[best])}" if figure == "regret" else result
    return f"Best on {where}: {setting_words or 'the one setting'}, {result}."


def _words(axis: str) -> str:
    return axis.replace("_", " ")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _shares(values: Sequence[float | None]) -> str:
    return _range(values, ".0%")


def _numbers(values: Sequence[float | None]) -> str:
    return _range(values, ".2f")


def _points(values: Sequence[float | None]) -> str:
    return _range([None if value is None else 100 * value for value in values], "+.0f")


def _range(values: Sequence[float | None], form: str) -> str:
    """Return a mean and, of several values, the least and the greatest: `"90% (88% to 91%)"`."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = format(sum(known) / len(known), form)
    return mean if len(known) == 1 else f"{mean} ({min(known):{form}} to {max(known):{form}})"
