"""The picture of a source: how its learners improve over their lives."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ad_hypotheses.report.draw import GREEN, GREY, INK, episode_ticks, picture
from ad_hypotheses.sources.learning import Learning


def source_curve(learning: Learning, title: str) -> bytes:
    """Return a PNG of the mean return over a life, with the band that holds 80 % of the learners.

    Args:
        learning: What was measured.
        title: Above the plot.
    """
    points = np.arange(1, len(learning.mean) + 1)

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        ax.set_title(title)
        marker = "o" if len(points) <= 30 else None
        ax.fill_between(points, learning.low, learning.high, color=GREEN, alpha=0.15, linewidth=0)
        ax.plot(points, learning.mean, color=GREEN, linewidth=2.4, marker=marker, label="learners: mean,\n10–90 %")
        ax.axhline(learning.optimum, color=INK, linestyle=(0, (4, 3)), linewidth=1.8, label="optimum")
        if learning.random is not None:
            ax.axhline(learning.random, color=GREY, linewidth=1.8, label="random")
        ax.set_xlim(0.5, len(points) + 0.5)
        ax.set_ylim(min(0.0, ax.get_ylim()[0]), None)
        episode_ticks(ax, len(points))
        ax.grid(axis="y")
        ax.set_xlabel(f"kept {learning.unit}" if learning.unit == "episode" else learning.unit)
        ax.set_ylabel("return")
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))

    return picture(draw, 3.6)
