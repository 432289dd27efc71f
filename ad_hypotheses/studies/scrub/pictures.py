"""The pictures of a study: losses along the context, what was recovered by regime, the worst positions, curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.report.draw import (
    BLACK,
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    array,
    episode_ticks,
    learning_curves,
    picture,
)
from ad_hypotheses.studies.scrub.claim_parts import Regime
from ad_hypotheses.studies.scrub.position_pictures import positions
from ad_hypotheses.studies.scrub.record import Claim, Study

CURVES_TITLE = "Learning in context on held-out tasks, weights frozen"
LOSSES = {
    "baseline": (GREY, "baseline: nothing matters"),
    "structure": (ORANGE, "structure: constant features"),
    "scrubbed": (BLUE, "scrubbed: the hypothesis"),
    "model": (BLACK, "model"),
}


def draw_pictures(study: Study) -> dict[str, bytes]:
    """Return the pictures of a study by file name; those that would have nothing to show are left out."""
    claim = study.claims[0]
    pictures = {
        "fidelity.png": fidelity(claim),
        "losses.png": losses(claim, study.horizon, len(study.action_names)),
    }
    if claim.worst:
        pictures["worst.png"] = positions(claim.worst, study.action_names, study.task_facts.get("size"))
    if study.curves:
        pictures["curves.png"] = learning_curves(study.curves, CURVES_TITLE, unit=study.curve_unit)
    return pictures


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
        loss = array(claim.steps.get(name, []))
        if np.isfinite(loss).any():
            ax.plot(loss, color=colour, linewidth=0.7, alpha=0.3 if window > 1 else 0)
            ax.plot(_smooth(loss, window), color=colour, linewidth=1.9, label=label)
    smoothed = f"  (thick: mean over {window} steps)" if window > 1 else ""
    several = ", episodes in bands" if horizon < n_steps else ""
    _loss_axis(ax, n_actions, f"Loss at each step of the context{several}{smoothed}", "step", n_steps)


def _by_episode(ax: Axes, claim: Claim, n_actions: int) -> None:
    n_episodes = max(map(len, claim.episodes.values()))
    for name, (colour, _) in LOSSES.items():
        loss = array(claim.episodes.get(name, []))
        if np.isfinite(loss).any():
            numbers = np.arange(1, len(loss) + 1)
            ax.plot(numbers, loss, color=colour, linewidth=1.9, marker="o", markersize=4.5, markeredgecolor="white")
    _loss_axis(ax, n_actions, "Mean loss of each episode", "episode", n_episodes)
    ax.set_xlim(0.5, n_episodes + 0.5)
    episode_ticks(ax, n_episodes)


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


class RatioStyle(NamedTuple):
    """How one ratio is drawn."""

    label: str
    colour: str
    marker: str
    filled: bool


RATIO_STYLES = (
    RatioStyle("fidelity", BLUE, "o", True),
    RatioStyle("fidelity, independent others", BLUE, "o", False),
    RatioStyle("beyond structure", ORANGE, "D", True),
    RatioStyle("explained", GREEN, "s", True),
)


def fidelity(claim: Claim) -> bytes:
    """Draw what a claim keeps by data set and regime, with intervals, against what it must keep."""

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        rows = [
            (place, offset, number, style)
            for place, regime in enumerate(claim.regimes)
            for offset, number, style in zip((-0.24, -0.08, 0.08, 0.24), _ratios(regime), RATIO_STYLES, strict=True)
            if number is not None
        ]
        low, high = _ratio_limits([number for _, _, number, _ in rows], claim.accept)
        ax.set_xlim(low, high)
        for place, offset, number, style in rows:
            _ratio(ax, place + offset, number, style)
        names = [
            regime.name if len(claim.data_sets) == 1 else f"{regime.data}: {regime.name}" for regime in claim.regimes
        ]
        measured = {style for *_, style in rows}
        _ratio_axis(ax, claim, names, [style for style in RATIO_STYLES if style in measured])
        for place in range(len(claim.regimes)):
            crosses = [offset for at, offset, number, _ in rows if at == place and not _readable(number)]
            if crosses:
                y = place + float(np.mean(crosses))
                ax.text(0.015, y, "not estimable", color="#6B6B6B", fontsize=8, style="italic", va="center")

    return picture(draw, 1.15 + 0.62 * len(claim.regimes))


def _ratios(regime: Regime) -> tuple[Number | None, ...]:
    """Return what `RATIO_STYLES` draws of one regime; None for what was not measured."""
    return (
        regime.fidelity or regime.recovered, regime.fidelity_independent, regime.beyond_structure, regime.explained,
    )  # fmt: skip


def _ratio(ax: Axes, y: float, number: Number, style: RatioStyle) -> None:
    """Draw one estimate; what lies outside the axis becomes an arrow at its edge."""
    colour, filled = style.colour, style.filled
    low, high = ax.get_xlim()
    if not _readable(number):
        ax.plot(0, y, "x", color=colour, markersize=4.5, markeredgewidth=1.2, alpha=0.6)
        return
    ax.plot(np.clip([number.low, number.high], low, high), [y, y], color=colour, linewidth=2.2 if filled else 1.2)
    inside = low <= number.value <= high
    shape = style.marker if inside else ("<" if number.value < low else ">")
    ax.plot(np.clip(number.value, low, high), y, shape, color=colour, markersize=6.5 if filled else 5.5,
            markerfacecolor=colour if filled else "white", markeredgewidth=1.3, clip_on=False, zorder=3)  # fmt: skip


def _readable(number: Number) -> bool:
    return number.estimable and all(map(math.isfinite, (number.value, number.low, number.high)))


def _ratio_limits(numbers: Sequence[Number], accept: float) -> tuple[float, float]:
    """Return an axis that holds 0, 1 and the intervals, unless those are so wide that nothing could be read."""
    ends = [end for number in numbers if _readable(number) for end in (number.low, number.high)]
    return max(-1.5, min([0.0, *ends]) - 0.06), min(2.5, max([1.0, accept, *ends]) + 0.06)


def _ratio_axis(ax: Axes, claim: Claim, names: list[str], styles: Sequence[RatioStyle]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.45, -0.55)
    for place in range(1, len(names)):
        ax.axhline(place - 0.5, color=FAINT, linewidth=0.8)
    ax.axvspan(claim.accept, ax.get_xlim()[1], color=GREEN, alpha=0.08, linewidth=0)
    for x, line in ((0.0, "-"), (1.0, "-"), (claim.accept, (0, (4, 3)))):
        ax.axvline(x, color=GREEN if x == claim.accept else "#B0B0B0", linewidth=1.2, linestyle=line, zorder=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(f"share kept    (0: a constant does as well, 1: nothing is lost; needed: {claim.accept:.2f}, dashed)")
    for style in styles:
        face = style.colour if style.filled else "white"
        ax.plot([], [], style.marker, color=style.colour, markerfacecolor=face, label=style.label)
    ax.figure.legend(loc="outside upper left", ncols=4, columnspacing=1.4, fontsize=9)  # type: ignore[union-attr]


def _smooth(values: Float[np.ndarray, " n"], window: int) -> Float[np.ndarray, " n"]:
    """Return the centred running mean over `window` values, fewer at the ends, without those that are NaN."""
    known = np.isfinite(values)
    kernel = np.ones(window)
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="same")
    count = np.convolve(known.astype(float), kernel, mode="same")
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0.5)
