"""The pictures that compare models: their learning curves, what they forget, how they start, and how size matters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.report.draw import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    array,
    episode_ticks,
    picture,
)
from ad_hypotheses.studies.evaluate.record import Evaluated

COLOURS = (BLUE, ORANGE, VERMILION, PURPLE, SKY, BLACK, YELLOW)  # green is the source, grey is chance
FEW = 7  # models that a picture can tell apart one by one
DASHED = (0, (4, 3))


def keys_of(models: Sequence[Evaluated]) -> dict[str, str]:
    """Return what every model is drawn as, by its name: itself, or its size where there are too many."""
    if len(models) <= FEW:
        return {model.name: model.name for model in models}
    layers = len({model.layers for model in models}) > 1
    return {model.name: _layers(model.layers) if layers else _tasks(model.train_tasks) for model in models}


def colours_of(models: Sequence[Evaluated]) -> dict[str, str]:
    """Return the colour of every key; a single model is black, as everywhere."""
    keys = list(dict.fromkeys(keys_of(models).values()))
    if len(models) == 1:
        return {keys[0]: BLACK}
    return {key: COLOURS[place % len(COLOURS)] for place, key in enumerate(keys)}


def curves(models: Sequence[Evaluated], shares: bool) -> bytes:
    """Draw the learning curves of models on the same tasks, above each other for the two sets of tasks.

    Many models that differ in their number of training tasks get a panel for each number.
    """
    sets = [name for name in ("held_out", "train") if all(name in model.results for model in models)]
    numbers = sorted({model.train_tasks for model in models})
    split = len(models) > FEW and len(numbers) > 1
    panels = [(sets[0], n) for n in numbers] if split else [(name, None) for name in sets]

    def draw(figure: Figure) -> None:
        n_columns = min(3, len(panels))
        n_rows = -(-len(panels) // n_columns)
        axes = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True).ravel()
        for ax, (name, number) in zip(axes, panels, strict=False):
            chosen = [model for model in models if number in (None, model.train_tasks)]
            _curves(ax, chosen, models, name, shares)
            ax.set_title(_set(name) if number is None else _tasks(number))
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        where = f", {_set(sets[0])}" if split else ""
        figure.supylabel(f"{'share of the optimum' if shares else 'mean return'}{where}", fontsize=9.5, color=INK)
        _legend(figure, models, source=True)

    return picture(draw, 1.0 + 2.9 * (-(-len(panels) // 3)))


def _curves(ax: Axes, chosen: Sequence[Evaluated], models: Sequence[Evaluated], name: str, shares: bool) -> None:
    keys, colours = keys_of(models), colours_of(models)
    first = chosen[0]
    spacing = int(first.unit.split()[0]) if first.unit.endswith("steps") else 1
    for learner, colour, style in (("source", GREEN, "-"), ("random", GREY, "-"), ("optimal", INK, DASHED)):
        series = _curve(first, name, learner, shares)
        if series is not None:
            ax.plot(spacing * np.arange(1, len(series[0]) + 1), series[0], color=colour, linestyle=style, linewidth=1.3)
    for model in chosen:
        series = _curve(model, name, "model", shares)
        assert series is not None, "every evaluation has its model"
        colour, steps = colours[keys[model.name]], spacing * np.arange(1, len(series[0]) + 1)
        if len(models) <= FEW and len(series[1]):
            ax.fill_between(steps, series[1], series[2], color=colour, alpha=0.13, linewidth=0)
        ax.plot(steps, series[0], color=colour, linewidth=2.0 if len(models) <= FEW else 1.1, zorder=4)
    n_points = max(len(model.results[name][0]["returns"]) for model in chosen)
    ax.set_xlim(0.5 * spacing, (n_points + 0.5) * spacing)
    if n_points * spacing <= 10:
        episode_ticks(ax, n_points * spacing)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_xlabel("step of the context" if spacing > 1 else "episode of the context")
    _y_axis(ax, shares)


def _curve(model: Evaluated, name: str, learner: str, shares: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    for content in model.results[name]:
        if content["name"] == learner:
            scale = model.point_optimum(name) if shares else 1.0
            return array(content["returns"]) / scale, array(content["low"]) / scale, array(content["high"]) / scale
    return None


def by_size(models: Sequence[Evaluated]) -> bytes:
    """Draw the last share of every model over its number of training tasks, or of layers where that is one number."""
    n_tasks = {model.train_tasks for model in models}
    across: Callable[[Evaluated], int] = (
        (lambda value: value.train_tasks) if len(n_tasks) > 1 else (lambda value: value.layers)
    )
    layers = sorted({model.layers for model in models}) if len(n_tasks) > 1 else [0]

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        for place, number in enumerate(layers):
            chosen = [model for model in models if number in (0, model.layers)]
            colour = COLOURS[place % len(COLOURS)]
            label = _layers(number) if number else "held-out tasks"
            for name, style, face in (("train", DASHED, "white"), ("held_out", "-", colour)):
                dots = [
                    (across(value), share_of_model)
                    for value in chosen
                    if (share_of_model := value.figure(name, "share"))
                ]
                if not dots:
                    continue
                shift = 1 + 0.03 * (place - (len(layers) - 1) / 2)
                at = sorted({x for x, _ in dots})
                means = [float(np.mean([share.value for x, share in dots if x == value])) for value in at]
                ax.plot(np.array(at) * shift, means, color=colour, linestyle=style, linewidth=1.8,
                        label=label if name == "held_out" else None)  # fmt: skip
                for x, share_of_model in dots:
                    _dot(ax, x * shift, share_of_model, colour, face, upright=True)
        if max(map(across, models)) >= 4 * min(map(across, models)):
            ax.set_xscale("log")
            ax.xaxis.set_minor_locator(NullLocator())
        ticks = sorted(set(map(across, models)))
        ax.set_xticks(ticks, list(map(str, ticks)))
        ax.set_xlabel("training tasks" if len(n_tasks) > 1 else "layers")
        ax.set_ylabel("share of the optimum, last episodes")
        ax.set_title("Solid, filled: held-out tasks; dashed, hollow: train tasks")
        _y_axis(ax, True)
        figure.legend(loc="outside upper left", ncols=6, fontsize=9)

    return picture(draw, 3.7)


def memory(models: Sequence[Evaluated], shares: bool) -> bytes:
    """Draw what models earn in their last episodes by how many episodes they may see."""
    keys, colours = keys_of(models), colours_of(models)

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        for model in models:
            figure_name, entries = "share" if shares else "last", model.results["memory"]
            numbers = [Number.read(entry[figure_name]) for entry in entries]
            numbers.append(model.figure(model.judged_on, figure_name))  # with all of its context
            points = [number for number in numbers if number is not None]
            x, colour = [*(entry["episodes"] for entry in entries), model.episodes], colours[keys[model.name]]
            ax.plot(x, [number.value for number in points], color=colour, linewidth=1.9, marker="o", markersize=4.5,
                    markeredgecolor="white")  # fmt: skip
            if len(models) <= FEW and all(number.has_interval for number in points):
                low, high = [number.low for number in points], [number.high for number in points]
                ax.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
        ticks = sorted({entry["episodes"] for model in models for entry in model.results["memory"]})
        ticks += sorted({model.episodes for model in models})[-1:]
        ax.set_xscale("log", base=2)
        ax.set_xticks(ticks, [*map(str, ticks[:-1]), f"all {ticks[-1]}"])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel("episodes that the model sees, its own among them")
        ax.set_ylabel("share of the optimum, last episodes" if shares else "mean return, last episodes")
        _y_axis(ax, shares)
        if len(models) > 1:
            _legend(figure, models, source=False)

    return picture(draw, 3.3 if len(models) == 1 else 3.7)


def starts(models: Sequence[Evaluated], shares: bool) -> bytes:
    """Draw what models earn in the episode after somebody else's life, a row a life."""
    keys, colours = keys_of(models), colours_of(models)
    names = list(dict.fromkeys(start["start"] for model in models for start in model.results["starts"]))
    says = {start["start"]: start["says"] for start in models[0].results["starts"]}

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        for place, model in enumerate(models):
            offset = 0.0 if len(models) == 1 else 0.56 * (place / (len(models) - 1) - 0.5)
            for start in model.results["starts"]:
                number = Number.read(start["share"] if shares else start["return"])
                colour = colours[keys[model.name]]
                _dot(ax, names.index(start["start"]) + offset, number, colour, colour, upright=False)
        ax.set_yticks(range(len(names)), [f"after {says.get(name, name)}" for name in names])
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.grid(axis="x")
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("share of the optimum, next episode" if shares else "return of the next episode")
        if shares:
            ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            ax.set_xlim(left=min(-0.02, ax.get_xlim()[0]))
        if len(models) > 1:
            _legend(figure, models, source=False)

    return picture(draw, 0.9 + max(0.36, 0.09 * len(models)) * len(names) + (0.4 if len(models) > 1 else 0))


def _dot(ax: Axes, at: float, number: Number | None, colour: str, face: str, upright: bool) -> None:
    if number is None or not math.isfinite(number.value):
        return
    if number.has_interval:
        ends = [number.low, number.high]
        ax.plot(*(([at, at], ends) if upright else (ends, [at, at])), color=colour, linewidth=1.4, alpha=0.7)
    place = (at, number.value) if upright else (number.value, at)
    ax.plot(*place, "o", color=colour, markerfacecolor=face, markersize=5, zorder=5)


def _y_axis(ax: Axes, shares: bool) -> None:
    ax.grid(axis="y")
    if shares:
        low, high = ax.dataLim.intervaly
        ax.set_ylim(min(0.0, low) - 0.02, max(1.0, high) + 0.05)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _legend(figure: Figure, models: Sequence[Evaluated], source: bool) -> None:
    lines = [Line2D([], [], color=colour, linewidth=2, label=key) for key, colour in colours_of(models).items()]
    if source:
        learners = [content["name"] for content in models[0].results[models[0].judged_on]]
        grounds = (("source", GREEN, "-"), ("random", GREY, "-"), ("optimal", INK, DASHED))
        lines += [
            Line2D([], [], color=colour, linestyle=style, linewidth=1.3, label=name)  # type: ignore[arg-type]
            for name, colour, style in grounds
            if name in learners
        ]
    longest = max(len(str(line.get_label())) for line in lines)
    figure.legend(handles=lines, loc="outside upper left", ncols=max(1, min(6, 110 // (longest + 8))), fontsize=9,
                  columnspacing=1.4)  # fmt: skip


def _set(name: str) -> str:
    return f"{name.replace('_', '-')} tasks"


def _layers(number: int) -> str:
    return f"{number} layer{'s' if number != 1 else ''}"


def _tasks(number: int) -> str:
    return f"{number:,} training task{'s' if number != 1 else ''}"
