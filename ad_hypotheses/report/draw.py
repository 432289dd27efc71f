"""The plots of a report, as PNG: the same record gives the same bytes.

One colour means one thing everywhere (Okabe and Ito's palette, which colour-blind readers can tell apart): the model
is black, the hypothesis blue, the baseline grey, the structure orange.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import BinaryIO

import matplotlib.style
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ad_hypotheses.evidence.plain_data import Curve

BLACK, BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW = (
    "#000000", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442",
)  # fmt: skip
GREY, INK, FAINT = "#8C8C8C", "#333333", "#E4E4E4"
WIDTH = 8.2  # inches; 902 pixels, the width of a page on GitHub
_STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "font.family": ["DejaVu Sans"],  # ships with matplotlib, so every machine draws the same letters
    "font.size": 9.5,
    "text.parse_math": False,  # a name may hold a dollar sign
    "text.color": INK,
    "axes.edgecolor": "#B0B0B0",
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
}


def picture(draw: Callable[[Figure], None], height: float) -> bytes:
    """Return a PNG of the width of a page, without anything in it that changes from run to run.

    Args:
        draw: What fills the figure.
        height: In inches.
    """
    target = io.BytesIO()
    _paint(draw, height, target)
    return target.getvalue()


def _paint(draw: Callable[[Figure], None], height: float, target: BinaryIO) -> None:
    with matplotlib.style.context(_STYLE, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        draw(figure)
        figure.savefig(target, format="png", metadata={"Software": None})


def episode_ticks(ax: Axes, n_episodes: int) -> None:
    if n_episodes <= 20:
        ax.set_xticks(range(1, n_episodes + 1))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))


_DASHED = (0, (4, 3))
_CURVES = {
    "model": (BLACK, "-"), "model, argmax": (BLACK, (0, (1, 1.5))), "explanation": (BLUE, "-"), "source": (GREEN, "-"),
    "random": (GREY, "-"), "optimum": (INK, _DASHED), "optimal": (INK, _DASHED), "null": (ORANGE, "-"),
    "gate-and-walk": (ORANGE, "-"), "thompson": (PURPLE, "-"), "thompson-over-goals": (PURPLE, "-"),
}  # fmt: skip
_OTHERS = ((SKY, "-"), (VERMILION, "-"), (YELLOW, "-"), (SKY, _DASHED), (VERMILION, _DASHED))


def learning_curves(curves: Sequence[Curve], title: str, optimum: float | None = None, unit: str = "episode") -> bytes:
    """Draw what learners earn as their context grows, each named at the end of its curve.

    Curves of one point only are drawn as bars.

    Args:
        curves: One a learner; those that every study has keep their colour from picture to picture.
        title: Above the plot.
        optimum: Mean optimal return of a unit, drawn as a line, unless a curve of that name has it.
        unit: What a point of a curve is, `"episode"` or `"10 steps"`.
    """
    n_episodes = max((len(curve.returns) for curve in curves), default=1)
    if optimum is not None and all(curve.name not in ("optimum", "optimal") for curve in curves):
        curves = [*curves, Curve("optimum", [optimum] * n_episodes, 0)]
    curves = [curve for curve in curves if np.isfinite(array(curve.returns)).any()]
    others = iter(_OTHERS * (1 + len(curves) // len(_OTHERS)))
    styles = [_CURVES.get(curve.name) or next(others) for curve in curves]

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        ax.set_title(title)
        if n_episodes > 1:
            steps = int(unit.split()[0]) if unit.endswith(" steps") else 1
            _lines(ax, curves, styles, n_episodes, steps)
            ax.set_xlabel("step of the context" if unit.endswith(" steps") else f"{unit} of the context")
            ax.set_ylabel(f"mean return of {_a(unit)}")
        else:
            _bars(ax, curves, styles)
            ax.set_xlabel(f"mean return of {_a(unit)}")

    return picture(draw, 3.6 if n_episodes > 1 else 1.1 + 0.34 * len(curves))


def _lines(ax: Axes, curves: Sequence[Curve], styles: Sequence[tuple], n_points: int, spacing: int) -> None:
    marker = "o" if n_points <= 30 else None
    for curve, (colour, style) in zip(curves, styles, strict=True):
        numbers = spacing * np.arange(1, len(curve.returns) + 1)
        dotted = marker if style == "-" else None
        if curve.low and style == "-":
            ax.fill_between(numbers, array(curve.low), array(curve.high), color=colour, alpha=0.12, linewidth=0)
        ax.plot(numbers, array(curve.returns), color=colour, linestyle=style, marker=dotted, markersize=4.5,
                markeredgecolor="white", linewidth=2.4 if curve.name == "model" else 1.8,
                zorder=4 if curve.name == "model" else 3)  # fmt: skip
    ax.set_xlim(0.5 * spacing, (n_points + 0.5) * spacing)
    low, high = ax.dataLim.intervaly if curves else (0.0, 1.0)
    if low < 0.4 * high:  # otherwise a zero on the axis would only press the curves together
        ax.set_ylim(min(0.0, low), high + 0.06 * (high - min(0.0, low)))
    episode_ticks(ax, n_points * spacing)
    ax.grid(axis="y")
    ends = [(len(curve.returns), array(curve.returns)) for curve in curves]
    heights = [float(returns[np.isfinite(returns)][-1]) for _, returns in ends]
    gap = 0.062 * (ax.get_ylim()[1] - ax.get_ylim()[0])
    for curve, (colour, _), y in zip(curves, styles, _apart(heights, gap), strict=True):
        ax.annotate(curve.name, (1, y), (8, 0), ax.get_yaxis_transform(), "offset points", color=colour, va="center",
                    fontweight="bold" if curve.name == "model" else "normal", annotation_clip=False)  # fmt: skip


def _bars(ax: Axes, curves: Sequence[Curve], styles: Sequence[tuple]) -> None:
    for place, (curve, (colour, style)) in enumerate(zip(curves, styles, strict=True)):
        hollow = style != "-"
        ax.barh(place, curve.returns[0], 0.62, color="white" if hollow else colour, edgecolor=colour)
        ax.annotate(f"{curve.returns[0]:.2f}", (max(curve.returns[0], 0), place), (4, 0), "data", "offset points",
                    va="center")  # fmt: skip
    ax.set_yticks(range(len(curves)), [curve.name for curve in curves])
    ax.set_ylim(max(len(curves), 1) - 0.5, -0.5)
    ax.margins(x=0.1)
    ax.spines["left"].set_visible(False)


def _a(unit: str) -> str:
    return unit if unit[:1].isdigit() else f"an {unit}" if unit[:1] in "aeiou" else f"a {unit}"


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights as little as needed for labels at them not to overlap, keeping their order."""
    order = np.argsort(heights, kind="stable")
    blocks: list[list[float]] = []  # [centre, number of labels], from below
    for index in order:
        blocks.append([heights[index], 1])
        while len(blocks) > 1 and blocks[-1][0] - blocks[-2][0] < gap * (blocks[-1][1] + blocks[-2][1]) / 2:
            (above, n_above), (below, n_below) = blocks.pop(), blocks.pop()
            blocks.append([(above * n_above + below * n_below) / (n_above + n_below), n_above + n_below])
    placed = [centre + gap * (rank - (n - 1) / 2) for centre, n in blocks for rank in range(int(n))]
    moved = np.empty(len(heights))
    moved[order] = placed
    return moved.tolist()


def array(values: Sequence[float | None]) -> Float[np.ndarray, " n"]:
    return np.array([np.nan if value is None else value for value in values], dtype=float)
