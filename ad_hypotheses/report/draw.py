"""The plots of a report, as PNG: the same record gives the same bytes.

One colour means one thing everywhere (Okabe and Ito's palette, which colour-blind readers can tell apart): the model
is black, the hypothesis blue, the baseline grey, the structure orange.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.style
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ad_hypotheses.report.files import write_files
from ad_hypotheses.evidence.record import Claim, Curve, Number

BLACK, BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW = (
    "#000000", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442",
)  # fmt: skip
GREY, INK, FAINT = "#8C8C8C", "#333333", "#E4E4E4"
WIDTH = 8.2  # inches; 902 pixels, the width of a page on GitHub
LOSSES = {
    "baseline": (GREY, "baseline: nothing matters"),
    "structure": (ORANGE, "structure: constant features"),
    "scrubbed": (BLUE, "scrubbed: the hypothesis"),
    "model": (BLACK, "model"),
}

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
    with matplotlib.style.context(_STYLE, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        draw(figure)
        target = io.BytesIO()
        figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()


def losses(claim: Claim, horizon: int, n_actions: int) -> bytes:
    """Draw the four losses by step of the context and, if it holds several episodes, by episode.

    Args:
        claim: Whose losses.
        horizon: Steps an episode.
        n_actions: For the loss of a uniform guess.
    """
    by_episode = max(map(len, claim.episodes.values()), default=0) > 1

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1 + by_episode, squeeze=False)[:, 0]
        _by_step(axes[0], claim, horizon, n_actions)
        if by_episode:
            _by_episode(axes[1], claim, n_actions)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside upper left", ncols=4, columnspacing=1.4, fontsize=9)

    return picture(draw, 5.6 if by_episode else 3.2)


def _by_step(ax: Axes, claim: Claim, horizon: int, n_actions: int) -> None:
    n_steps = max(map(len, claim.steps.values()), default=0)
    for start in range(horizon, n_steps if horizon * 60 > n_steps else 0, 2 * horizon):
        ax.axvspan(start - 0.5, min(start + horizon, n_steps) - 0.5, color="#F4F4F4", linewidth=0)
    window = 1 + 2 * (n_steps // 100)
    for name, (colour, label) in LOSSES.items():
        loss = _array(claim.steps.get(name, []))
        if np.isfinite(loss).any():
            ax.plot(loss, color=colour, linewidth=0.7, alpha=0.3 if window > 1 else 0)
            ax.plot(_smooth(loss, window), color=colour, linewidth=1.9, label=label)
    smoothed = f"  (thick: mean over {window} steps)" if window > 1 else ""
    several = ", episodes in bands" if horizon < n_steps else ""
    _loss_axis(ax, n_actions, f"Loss at each step of the context{several}{smoothed}", "step", n_steps)


def _by_episode(ax: Axes, claim: Claim, n_actions: int) -> None:
    n_episodes = max(map(len, claim.episodes.values()))
    for name, (colour, _) in LOSSES.items():
        loss = _array(claim.episodes.get(name, []))
        if np.isfinite(loss).any():
            numbers = np.arange(1, len(loss) + 1)
            ax.plot(numbers, loss, color=colour, linewidth=1.9, marker="o", markersize=4.5, markeredgecolor="white")
    _loss_axis(ax, n_actions, "Mean loss of each episode", "episode", n_episodes)
    ax.set_xlim(0.5, n_episodes + 0.5)
    _episode_ticks(ax, n_episodes)


def _episode_ticks(ax: Axes, n_episodes: int) -> None:
    if n_episodes <= 20:
        ax.set_xticks(range(1, n_episodes + 1))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))


def _loss_axis(ax: Axes, n_actions: int, title: str, unit: str, length: int) -> None:
    ax.set_title(title)
    ax.set(xlabel=unit, ylabel="loss in nats", xlim=(-0.5, max(length, 1) - 0.5))
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]) if ax.lines else 0.0)
    ax.grid(axis="y")
    guess = math.log(n_actions) if n_actions > 1 else 0.0
    if 0 < guess < 1.25 * ax.get_ylim()[1]:
        ax.set_ylim(top=max(ax.get_ylim()[1], 1.08 * guess))
        ax.axhline(guess, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        ax.annotate("uniform guess", (1, guess), (-2, 2), ax.get_yaxis_transform(), "offset points", ha="right",
                    va="bottom", fontsize=8)  # fmt: skip


def recovered(claim: Claim) -> bytes:
    """Draw the two ratios of a claim by regime, with their intervals, against what it must recover."""

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        rows = [
            (regime.name, offset, number, colour, marker, filled)
            for regime in claim.regimes
            for offset, number, colour, marker, filled in (
                (-0.24, regime.recovered, BLUE, "o", True),
                (-0.08, regime.recovered_with_self, BLUE, "o", False),
                (0.08, regime.beyond_structure, ORANGE, "D", True),
                (0.24, regime.beyond_structure_with_self, ORANGE, "D", False),
            )
        ]
        low, high = _ratio_limits([number for _, _, number, *_ in rows], claim.accept)
        ax.set_xlim(low, high)
        places = {regime.name: index for index, regime in enumerate(claim.regimes)}
        for name, offset, number, colour, marker, filled in rows:
            _ratio(ax, places[name] + offset, number, colour, marker, filled)
        _ratio_axis(ax, claim, list(places))
        for y, regime in enumerate(claim.regimes):
            if not (_readable(regime.recovered) and _readable(regime.beyond_structure)):
                ax.text(0.015, y, "crosses: not estimable", color="#6B6B6B", fontsize=8, style="italic", va="center")

    return picture(draw, 1.15 + 0.62 * len(claim.regimes))


def _ratio(ax: Axes, y: float, number: Number, colour: str, marker: str, filled: bool) -> None:
    """Draw one estimate; what lies outside the axis becomes an arrow at its edge."""
    low, high = ax.get_xlim()
    if not _readable(number):
        ax.plot(0, y, "x", color=colour, markersize=4.5, markeredgewidth=1.2, alpha=0.6)
        return
    ax.plot(np.clip([number.low, number.high], low, high), [y, y], color=colour, linewidth=2.2 if filled else 1.2)
    inside = low <= number.value <= high
    shape = marker if inside else ("<" if number.value < low else ">")
    ax.plot(np.clip(number.value, low, high), y, shape, color=colour, markersize=6.5 if filled else 5.5,
            markerfacecolor=colour if filled else "white", markeredgewidth=1.3, clip_on=False, zorder=3)  # fmt: skip


def _readable(number: Number) -> bool:
    return number.estimable and all(map(math.isfinite, (number.value, number.low, number.high)))


def _ratio_limits(numbers: Sequence[Number], accept: float) -> tuple[float, float]:
    """Return an axis that holds 0, 1 and the intervals, unless those are so wide that nothing could be read."""
    ends = [end for number in numbers if _readable(number) for end in (number.low, number.high)]
    return max(-1.5, min([0.0, *ends]) - 0.06), min(2.5, max([1.0, accept, *ends]) + 0.06)


def _ratio_axis(ax: Axes, claim: Claim, names: list[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.45, -0.55)
    for place in range(1, len(names)):
        ax.axhline(place - 0.5, color=FAINT, linewidth=0.8)
    ax.axvspan(claim.accept, ax.get_xlim()[1], color=GREEN, alpha=0.08, linewidth=0)
    for x, style in ((0.0, "-"), (1.0, "-"), (claim.accept, (0, (4, 3)))):
        ax.axvline(x, color=GREEN if x == claim.accept else "#B0B0B0", linewidth=1.2, linestyle=style, zorder=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(f"share of the loss recovered    (0: none, 1: all of it; needed: {claim.accept:.2f}, dashed)")
    for colour, marker, filled, label in (
        (BLUE, "o", True, "recovered"),
        (BLUE, "o", False, "recovered, self-donors"),
        (ORANGE, "D", True, "beyond structure"),
        (ORANGE, "D", False, "beyond structure, self-donors"),
    ):
        ax.plot([], [], marker, color=colour, markerfacecolor=colour if filled else "white", label=label)
    ax.figure.legend(loc="outside upper left", ncols=4, columnspacing=1.4, fontsize=9)  # type: ignore[union-attr]


_CURVES = {"model": (BLACK, "-"), "explanation": (BLUE, "-"), "source": (GREEN, "-"), "random": (GREY, "-"),
           "optimum": (INK, (0, (4, 3))), "null": (ORANGE, "-")}  # fmt: skip
_OTHERS = ((VERMILION, "-"), (PURPLE, "-"), (SKY, "-"), (ORANGE, (0, (4, 2))), (VERMILION, (0, (4, 2))))


def learning_curves(curves: Sequence[Curve], title: str, optimum: float | None = None) -> bytes:
    """Draw what learners earn from episode to episode, in context, each named at its end.

    Learners of one episode only are drawn as bars.

    Args:
        curves: One a learner; "model", "explanation", "source", "optimum", "random" and "null" have colours of
            their own.
        title: Above the plot.
        optimum: Mean optimal return, drawn as a line, unless a curve of that name has it.
    """
    n_episodes = max((len(curve.returns) for curve in curves), default=1)
    if optimum is not None and all(curve.name != "optimum" for curve in curves):
        curves = [*curves, Curve("optimum", [optimum] * n_episodes, 0)]
    curves = [curve for curve in curves if np.isfinite(_array(curve.returns)).any()]
    others = iter(_OTHERS * (1 + len(curves) // len(_OTHERS)))
    styles = [_CURVES.get(curve.name) or next(others) for curve in curves]

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        ax.set_title(title)
        if n_episodes > 1:
            _lines(ax, curves, styles, n_episodes)
        else:
            _bars(ax, curves, styles)

    return picture(draw, 3.6 if n_episodes > 1 else 1.1 + 0.34 * len(curves))


def draw_learning_curves(
    path: Path, curves: Sequence[Curve], title: str, horizon_optimum: float | None = None
) -> None:
    """Write in-context learning curves as a PNG; see :func:`learning_curves`.

    Args:
        path: Where to; its folder is made if it does not exist.
        curves: One a learner.
        title: Above the plot.
        horizon_optimum: Mean return of an episode of whoever knows the hidden facts.

    Raises:
        UserError: The file cannot be written.
    """
    write_files({path: learning_curves(curves, title, horizon_optimum)})


def _lines(ax: Axes, curves: Sequence[Curve], styles: Sequence[tuple], n_episodes: int) -> None:
    marker = "o" if n_episodes <= 30 else None
    for curve, (colour, style) in zip(curves, styles, strict=True):
        numbers = np.arange(1, len(curve.returns) + 1)
        dotted = marker if curve.name != "optimum" else None
        ax.plot(numbers, _array(curve.returns), color=colour, linestyle=style, marker=dotted, markersize=4.5,
                markeredgecolor="white", linewidth=2.4 if curve.name == "model" else 1.8,
                zorder=4 if curve.name == "model" else 3)  # fmt: skip
    ax.set(xlabel="episode of the context", ylabel="mean return of the episode", xlim=(0.5, n_episodes + 0.5))
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]), top=ax.get_ylim()[1] if curves else 1.0)
    _episode_ticks(ax, n_episodes)
    ax.grid(axis="y")
    ends = [(len(curve.returns), _array(curve.returns)) for curve in curves]
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
    ax.set_xlabel("mean return of the episode")
    ax.spines["left"].set_visible(False)


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


def _array(values: Sequence[float | None]) -> Float[np.ndarray, " n"]:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _smooth(values: Float[np.ndarray, " n"], window: int) -> Float[np.ndarray, " n"]:
    """Return the centred running mean over `window` values, fewer at the ends, without those that are NaN."""
    known = np.isfinite(values)
    kernel = np.ones(window)
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="same")
    count = np.convolve(known.astype(float), kernel, mode="same")
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0.5)
