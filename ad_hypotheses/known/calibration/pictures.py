"""The pictures of a calibration: what claims keep, how errors fall, what intervals hold, what measures tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ad_hypotheses.known.calibration.answer import (
    MEASURES,
    accepts,
    kinds,
    name_of,
    separations,
    sizes,
    supported_share,
    true_claims,
    values,
    wrong_claims,
)
from ad_hypotheses.known.calibration.error_rates import Rate, exact_interval
from ad_hypotheses.known.calibration.record import Calibration, ClaimFacts, Coverage
from ad_hypotheses.report.draw import BLUE, FAINT, GREEN, GREY, INK, ORANGE, VERMILION, picture

AIM = (0.92, 0.98)  # what the coverage of a 95 % interval should be
LEFT = -1.0  # what is worse than that is drawn at the edge
SPREAD = 0.28  # half the height over which the dots of a kind are spread, so that equals can be seen
_EXPECTED = {"supported": BLUE, "refuted": VERMILION, "vacuous": GREY}


def by_kind(calibration: Calibration) -> bytes:
    """Draw what every claim keeps where it keeps least, a line a kind."""
    given = values(calibration)
    names = kinds(calibration)

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        for place, kind in enumerate(names):
            claims = [claim for claim in calibration.claims if claim.kind == kind]
            x = [_least(given, claim) for claim in claims]
            for value, y, claim in zip(x, place + _apart(len(claims)), claims, strict=True):
                if np.isfinite(value):
                    ax.plot(max(value, LEFT), y, "o", color=_EXPECTED[claim.expected], markersize=6, alpha=0.75)
        ax.axvline(calibration.accept, color=GREEN, linestyle=(0, (4, 3)), linewidth=1.3, zorder=0)
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.4, -0.6)
        for place in range(1, len(names)):
            ax.axhline(place - 0.5, color=FAINT, linewidth=0.8, zorder=0)
        ax.spines["left"].set_visible(False)
        ax.set_xlabel(f"lowest fidelity or share beyond structure    ({calibration.accept:.2f} is needed)")
        ax.set_xlim(left=LEFT)
        for expected in dict.fromkeys(claim.expected for claim in calibration.claims):
            ax.plot([], [], "o", color=_EXPECTED[expected], label=f"deserves: {expected}")
        figure.legend(loc="outside upper left", ncols=3, fontsize=9)

    return picture(draw, 1.2 + 0.5 * len(names))


def _least(given: dict[str, dict[str, float]], claim: ClaimFacts) -> float:
    ratios = [given[name][name_of(claim)] for name in ("fidelity", "beyond structure")]
    known = [value for value in ratios if np.isfinite(value)]
    return min(known) if known else float("nan")


def _apart(n: int) -> np.ndarray:
    return np.linspace(-SPREAD, SPREAD, n) if n > 1 else np.zeros(n)


def errors(calibration: Calibration) -> bytes:
    """Draw how often true and wrong claims are supported: over histories, and over what must be kept."""
    rows, by_rows, tried = calibration.rows, sizes(calibration), accepts(calibration)

    def shares(rows: int, accept: float) -> dict[bool, Rate]:
        return {true: supported_share(calibration, rows, accept, true) for true in (True, False)}

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, 2, sharey=True)
        over_rows = [shares(n, calibration.accept) for n in by_rows]
        _two(axes[0], by_rows, over_rows, f"references (accept {calibration.accept:.2f})", log=True)
        _two(axes[1], tried, [shares(rows, accept) for accept in tried], f"accept ({rows} references)", log=False)
        axes[0].set_ylabel("share of trials called supported")
        axes[0].set_ylim(-0.03, 1.03)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=9)

    return picture(draw, 3.2)


def _two(ax: Axes, x: Sequence[int | float], series: Sequence[dict[bool, Rate]], label: str, log: bool) -> None:
    for true, colour, name in ((True, BLUE, "true claims"), (False, VERMILION, "wrong claims")):
        intervals = [point[true].interval for point in series]
        ax.plot(
            x, [item.value for item in intervals], color=colour, marker="o", markersize=5, linewidth=1.9, label=name
        )
        ax.fill_between(
            x,
            [item.low for item in intervals],
            [item.high for item in intervals],
            color=colour,
            alpha=0.13,
            linewidth=0,
        )
    if log:
        ax.set_xscale("log")
        ax.minorticks_off()
    ax.set_xticks(x, [f"{item:g}" for item in x], rotation=0 if log else 45)
    ax.set_xlabel(label)
    ax.grid(axis="y")


def correlated(calibration: Calibration) -> bytes:
    """Draw what wrong claims keep over how much of the true feature their swaps keep."""
    given = values(calibration)
    chosen = [claim for claim in wrong_claims(calibration) if claim.kind not in ("wrong site", "made by the tool")]
    colours = dict(
        zip(dict.fromkeys(claim.kind for claim in chosen), (ORANGE, BLUE, VERMILION, GREEN, GREY, INK), strict=False)
    )

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        for kind, colour in colours.items():
            claims = [claim for claim in chosen if claim.kind == kind]
            x, y = [claim.kept for claim in claims], [_least(given, claim) for claim in claims]
            ax.plot(x, np.maximum(y, LEFT), "o", color=colour, markersize=6.5, alpha=0.75, label=kind)
        ax.axhline(calibration.accept, color=GREEN, linestyle=(0, (4, 3)), linewidth=1.3, zorder=0)
        ax.set_xlabel("how often a swap keeps the true feature    (0: by chance, 1: always)")
        ax.set_ylabel("lowest fidelity")
        ax.grid()
        if chosen:
            figure.legend(loc="outside upper left", ncols=4, fontsize=9)

    return picture(draw, 3.6)


def coverage(figures: Sequence[Coverage]) -> bytes:
    """Draw the share of intervals that hold the exact value, over the number of rows."""
    groups = list(dict.fromkeys((item.network, item.claim, item.regime, item.figure) for item in figures))
    by_rows = sorted({item.rows for item in figures})
    colours = dict(zip(dict.fromkeys(group[:2] for group in groups), (BLUE, ORANGE, GREEN, VERMILION), strict=False))

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        ax.axhspan(*AIM, color=GREEN, alpha=0.12, linewidth=0)
        ax.axhline(0.95, color=GREEN, linewidth=1.0, linestyle=(0, (4, 3)))
        offsets = np.linspace(-0.3, 0.3, len(groups)) if len(groups) > 1 else [0.0]
        for offset, group in zip(offsets, groups, strict=True):
            shape = {"fidelity": "o", "beyond_structure": "D"}.get(group[3], "s")
            fill = "white" if shape != "o" else colours[group[:2]]
            for item in figures:
                if (item.network, item.claim, item.regime, item.figure) != group:
                    continue
                x, share = by_rows.index(item.rows) + offset, exact_interval(item.covered, item.replicates)
                colour = colours[group[:2]]
                ax.plot([x, x], [share.low, share.high], color=colour, linewidth=1.6)
                ax.plot(x, share.value, shape, color=colour, markersize=6.5, markerfacecolor=fill)
            label = f"{group[0]}: {group[1]}, {group[3].replace('_', ' ')} in {group[2]}"
            ax.plot([], [], shape, color=colours[group[:2]], label=label, markerfacecolor=fill)
        ax.set_xticks(range(len(by_rows)), [f"{rows} histories" for rows in by_rows])
        ax.set_xlim(-0.5, len(by_rows) - 0.5)
        ax.set_ylabel("intervals that hold the exact value")
        ax.grid(axis="y")
        figure.legend(loc="outside upper left", ncols=2, fontsize=8.5)

    return picture(draw, 3.6 + 0.12 * len(groups))


def measures(calibration: Calibration) -> bytes:
    """Draw what every measure gives to true and to wrong claims."""
    given = values(calibration)
    separated = {item.measure: item for item in separations(calibration)}
    shown = [item for item in MEASURES if item.name in separated]
    true, wrong = (
        {name_of(item) for item in claims} for claims in (true_claims(calibration), wrong_claims(calibration))
    )

    def draw(figure: Figure) -> None:
        n_rows = -(-len(shown) // 2)
        axes = figure.subplots(n_rows, 2, squeeze=False).ravel()
        for ax, measure in zip(axes, shown, strict=False):
            for y, names, colour in ((0, true, BLUE), (1, wrong, VERMILION)):
                x = [given[measure.name][name] for name in sorted(names) if np.isfinite(given[measure.name][name])]
                ax.plot(x, y + _apart(len(x)), "o", color=colour, markersize=4, alpha=0.65)
            ax.axvline(separated[measure.name].worst_true, color=BLUE, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
            ax.set_yticks([0, 1], ["true", "wrong"])
            ax.set_ylim(1.5, -0.5)
            better = "more is better" if measure.larger_is_better else "less is better"
            ax.set_title(f"{measure.name} ({better})", fontsize=9.5)
            ax.grid(axis="x")
        for ax in axes[len(shown) :]:
            ax.set_visible(False)

    return picture(draw, 0.4 + 1.25 * -(-len(shown) // 2))
