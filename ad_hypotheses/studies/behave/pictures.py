"""The pictures of a report on behaviour: one a test, and what each model is a mixture of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ad_hypotheses.report.draw import BLACK, BLUE, FAINT, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, YELLOW, picture
from ad_hypotheses.studies.behave.record import (
    GATE,
    MODEL,
    NOVICE,
    SOURCE,
    UNTRAINED,
    MixtureRecord,
    ModelBehaviour,
    TestRecord,
)

COLOURS: Mapping[str, str] = {
    MODEL: BLACK, SOURCE: GREEN, GATE: ORANGE, "counting": BLUE, "belief": PURPLE, NOVICE: GREY,
    UNTRAINED: FAINT, "habit": VERMILION, "habit-often": "#A34A00", "way": YELLOW, "reflex": SKY,
    "library": "#7A5C00", "frequencies": "#BFBFBF",
    "chance": "#E0D8C8",
}  # fmt: skip
SHOWN = (MODEL, SOURCE, GATE, "counting", "belief", "way", NOVICE)
OTHER = "#5B5B9B"  # a rung of the user's own


def draw_test(test: TestRecord, name: str) -> bytes:
    """Draw the cells of a test: lines where they have an order, else points side by side."""
    shown = [who for who in SHOWN if who in test.effects]

    def draw(page: Figure) -> None:
        ax = page.subplots()
        ax.set_title(f"{name}: {test.name}")
        (_lines if test.axis else _points)(ax, test, shown)
        ax.grid(axis="y")
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))

    return picture(draw, 3.2)


def _lines(ax: Axes, test: TestRecord, shown: Sequence[str]) -> None:
    x = [cell.x for cell in test.cells]
    for who in shown:
        numbers = [cell.values[who] for cell in test.cells]
        heavy = who == MODEL
        ax.plot(x, [number.value for number in numbers], color=COLOURS[who], label=who, marker="o", markersize=4,
                linewidth=2.4 if heavy else 1.6, zorder=4 if heavy else 3)  # fmt: skip
        if who in (MODEL, SOURCE) and all(number.has_interval for number in numbers):
            low, high = ([getattr(number, bound) for number in numbers] for bound in ("low", "high"))
            ax.fill_between(x, low, high, color=COLOURS[who], alpha=0.12, linewidth=0)
    ax.set_xlabel(test.axis)


def _points(ax: Axes, test: TestRecord, shown: Sequence[str]) -> None:
    places = np.arange(len(test.cells))
    for number, who in enumerate(shown):
        offset = (number - (len(shown) - 1) / 2) * 0.11
        values = [cell.values[who] for cell in test.cells]
        below = [max(value.value - value.low, 0) if value.has_interval else 0 for value in values]
        above = [max(value.high - value.value, 0) if value.has_interval else 0 for value in values]
        ax.errorbar(places + offset, [value.value for value in values], yerr=[below, above], fmt="o", markersize=5,
                    color=COLOURS[who], label=who, elinewidth=1.2)  # fmt: skip
    ax.set_xticks(places, [cell.label.replace(", ", ",\n") for cell in test.cells])


def draw_mixtures(model: ModelBehaviour) -> bytes:
    """Draw the shares of the rungs, one bar for each data set and regime, and the untrained network's."""
    bars = [(f"{record.data}: {record.regime}", record) for record in model.mixtures]
    bars += [("untrained network", record) for record in model.untrained]

    def draw(page: Figure) -> None:
        ax = page.subplots()
        ax.set_title(f"{model.name} as a mixture of rungs")
        drawn: set[str] = set()
        for place, (_, record) in enumerate(bars):
            _bar(ax, place, record, drawn)
        ax.set_yticks(range(len(bars)), [label for label, _ in bars])
        ax.set_ylim(len(bars) - 0.5, -0.5)
        ax.set_xlim(0, 1.0)
        ax.set_xlabel("share; at the right what no rung explains, in nats a decision")
        ax.legend(loc="center left", bbox_to_anchor=(1.16, 0.5))

    return picture(draw, 1.4 + 0.3 * max(len(bars), 4))


def _bar(ax: Axes, place: int, record: MixtureRecord, drawn: set[str]) -> None:
    begun = 0.0
    for rung, number in record.weights.items():
        label = rung if rung not in drawn else None
        drawn.add(rung)
        ax.barh(place, number.value, 0.7, left=begun, color=COLOURS.get(rung, OTHER), label=label)
        begun += number.value
    if math.isfinite(record.unexplained.value):
        ax.annotate(f"{record.unexplained.value:.3f}", (1.0, place), (4, 0), "data", "offset points", va="center",
                    annotation_clip=False)  # fmt: skip
