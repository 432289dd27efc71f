"""The pictures of the findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Page

from ad_hypotheses.report.draw import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, picture
from ad_hypotheses.studies.behave.pictures import COLOURS, OTHER
from ad_hypotheses.studies.behave.record import MODEL, SOURCE, MixtureRecord, TestRecord
from ad_hypotheses.studies.findings.figures import Records, whole
from ad_hypotheses.studies.findings.tables import CELL, GRID, OWN, SUBJECT, test_of, training_of, ways_of

SHOWN: Mapping[str, str] = {MODEL: BLACK, SOURCE: GREEN, "gate": ORANGE, "counting": BLUE, "novice": GREY}
PANELS = (("paid", "dark-room"), ("stale", "dark-room"), ("moved", "dark-room"), ("paid", "key-to-door"),
          ("stitched", "graph-world"))  # fmt: skip
CELLS: Mapping[tuple[str, str], str] = {
    ("other agents", "yes"): GREEN, ("other agents", "no"): BLUE, ("its source", "yes"): ORANGE,
    ("its source", "no"): VERMILION,
}  # fmt: skip
DASHES = (0, (4, 3))
OF_TASKS = (VERMILION, BLUE, GREEN, ORANGE)


def behaviour(records: Records, withheld: Sequence[str]) -> bytes:
    """Draw the tests on which learners disagree most: the model, its source on the same contexts, and simpler ones."""

    panels = [(name, model, test) for name, model in PANELS if name not in withheld
              and (test := test_of(records, name, model)) is not None]  # fmt: skip

    def draw(page: Page) -> None:
        axes = page.subplots(2, 3).ravel()
        for ax, (name, model, test) in zip(axes, panels, strict=False):
            ax.set_title(f"{name}, {model}")
            (_line if test.axis else _dots)(ax, test)
            ax.grid(axis="y")
            ax.set_ylim(min(ax.get_ylim()[0], -0.02), 1.02)
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
        handles = [axes[-1].plot([], [], color=colour, marker="o", label=who)[0] for who, colour in SHOWN.items()]
        axes[-1].legend(handles=handles, loc="center")

    return picture(draw, 5.4)


def _line(ax: Axes, test: TestRecord) -> None:
    x = [cell.x for cell in test.cells]
    for who, colour in SHOWN.items():
        if who in test.effects:
            ax.plot(x, [cell.values[who].value for cell in test.cells], color=colour, marker="o", markersize=3,
                    linewidth=2.2 if who == MODEL else 1.4, zorder=4 if who == MODEL else 3)  # fmt: skip
    numbers = [cell.values[MODEL] for cell in test.cells]
    if all(number.has_interval for number in numbers):
        low, high = [number.low for number in numbers], [number.high for number in numbers]
        ax.fill_between(x, low, high, color=BLACK, alpha=0.12, linewidth=0)
    ax.set_xlabel(test.axis)


def _dots(ax: Axes, test: TestRecord) -> None:
    places = np.arange(len(test.cells))
    shown = [who for who in SHOWN if who in test.effects]
    for number, who in enumerate(shown):
        offset = (number - (len(shown) - 1) / 2) * 0.12
        ax.plot(places + offset, [cell.values[who].value for cell in test.cells], "o", color=SHOWN[who], markersize=5)
    labels = [cell.label for cell in test.cells]
    if len(labels) > 2:  # beside each other they would cover each other
        ax.set_xticks(places, labels, fontsize=6.5, rotation=40, ha="right", rotation_mode="anchor")
    else:
        ax.set_xticks(places, labels)


def families(records: Records) -> bytes:
    """Draw what each subject is a mixture of in its own lives."""
    names = [name for name, planned in records.plan.models.items() if planned.role == SUBJECT and name in records.asked]
    bars = [(name, mixture) for name in names if (mixture := whole(records.subject(name), OWN)) is not None]

    def draw(page: Page) -> None:
        ax = page.subplots()
        drawn: set[str] = set()
        for place, (_, mixture) in enumerate(bars):
            _bar(ax, place, mixture, drawn)
        ax.set_yticks(range(len(bars)), [name for name, _ in bars])
        ax.set_ylim(max(len(bars), 1) - 0.5, -0.5)
        ax.set_xlim(0, 1)
        ax.set_xlabel("share in the model's own lives; at the right what no rung explains, in nats a decision")
        if drawn:
            ax.legend(loc="center left", bbox_to_anchor=(1.14, 0.5))

    return picture(draw, 1.4 + 0.34 * max(len(bars), 4))


def _bar(ax: Axes, place: int, mixture: MixtureRecord, drawn: set[str]) -> None:
    begun = 0.0
    for rung, number in mixture.weights.items():
        label = None if rung in drawn or number.value < 0.01 else rung
        drawn |= {rung} if label else set()
        ax.barh(place, number.value, 0.7, left=begun, color=COLOURS.get(rung, OTHER), label=label)
        begun += number.value
    ax.annotate(f"{mixture.unexplained.value:.3f}", (1.0, place), (4, 0), "data", "offset points", va="center",
                annotation_clip=False)  # fmt: skip


def tasks(records: Records) -> bytes:
    """Draw how pay at a held-out goal pulls, by the number of training tasks: a line a model of a grid."""

    def draw(page: Page) -> None:
        ax = page.subplots()
        colours: dict[int, str] = {}
        for name, planned in records.plan.models.items():
            test, subject = test_of(records, "paid", name), records.subject(name)
            if planned.role != GRID or test is None or subject is None:
                continue
            number = subject.train_tasks
            label = None if number in colours else f"{number} training goals"
            colour = colours.setdefault(number, OF_TASKS[len(colours) % len(OF_TASKS)])
            ax.plot([cell.x for cell in test.cells], [cell.values[MODEL].value for cell in test.cells], color=colour,
                    marker="o", markersize=3, linewidth=1.3, label=label)  # fmt: skip
        ax.set_xlabel("visits to each of two cells that are no training goals")
        ax.set_ylabel("chance of a move towards one,\nif it pays less if the other does")
        ax.grid(axis="y")
        if colours:
            ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))

    return picture(draw, 3.2)


def cells(records: Records) -> bytes:
    """Draw how models go ways that must be put together, by the length of the way: a panel for each depth of model."""
    tests = {
        name: test for name, planned in records.planned.items()
        if planned.role == CELL and (test := test_of(records, "stitched", name)) is not None
    }  # fmt: skip
    depth = {name: int(records.cards[name]["config"]["model"]["n_layers"]) for name in tests}
    depths = sorted(set(depth.values())) or [0]

    def draw(page: Page) -> None:
        axes = page.subplots(1, len(depths), squeeze=False, sharey=True)[0]
        for ax, layers in zip(axes, depths, strict=True):
            ax.set_title(f"{layers} layers")
            for number, name in enumerate(name for name in tests if depth[name] == layers):
                _ways(ax, tests[name], CELLS[training_of(records.cards[name])], 0.04 * number)
            for name in [name for name in tests if depth[name] == layers][:1]:  # its contexts are like those of others
                source = {steps: cell.values[SOURCE].value for steps, cell in ways_of(tests[name]).items()}
                ax.plot(list(source), list(source.values()), color=BLACK, linewidth=1.0, linestyle=DASHES)
            ax.axhline(0.5, color=GREY, linewidth=1.0, linestyle=(0, (1, 2)))
            ax.set_xlabel("steps of the way")
            ax.set_xticks(sorted({steps for test in tests.values() for steps in ways_of(test)}))
            ax.set_ylim(0, 1.02)
            ax.grid(axis="y")
        axes[0].set_ylabel("chance of its first step")
        for (agents, first), colour in CELLS.items():
            label = f"contexts of {agents}, {'next states first' if first == 'yes' else 'actions alone'}"
            axes[0].plot([], [], color=colour, marker="o", label=label)
        axes[0].plot([], [], color=BLACK, linewidth=1.0, linestyle=DASHES, label="the source")
        page.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)

    return picture(draw, 3.6)


def _ways(ax: Axes, test: TestRecord, colour: str, shift: float) -> None:
    """Draw the chance of the first step by the length of the way."""
    ways = ways_of(test)
    steps = np.array(list(ways)) + shift
    numbers = [cell.values[MODEL] for cell in ways.values()]
    values = np.array([number.value for number in numbers])
    low, high = (np.clip([getattr(number, end) for number in numbers], 0, 1) for end in ("low", "high"))
    ax.errorbar(steps, values, np.abs([values - low, high - values]), color=colour, marker="o", markersize=4, zorder=3)
