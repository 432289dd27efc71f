"""Pictures of single positions: where the agent was, what it knew, and what scrubbing did to its choice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from ad_hypotheses.report.draw import BLACK, BLUE, FAINT, GREEN, GREY, INK, YELLOW, picture
from ad_hypotheses.studies.scrub.claim_parts import WorstPosition

MAX_DRAWN = 6
MAX_BARS = 10  # of more actions, those that matter most are shown
LAST_PULLS = 8
TAKEN = "#FFF3C4"


def positions(worst: Sequence[WorstPosition], action_names: Sequence[str], size: int | None) -> bytes:
    """Draw up to six positions, two side by side: the room or the arms, and both distributions over actions.

    Args:
        worst: What to draw; at least one.
        action_names: Of every action.
        size: Cells a side of the room, None if the task has none.
    """
    worst = worst[:MAX_DRAWN]
    rooms = size is not None and len(worst[0].path[-1]) == 2
    n_rows = math.ceil(len(worst) / 2)

    def draw(figure: Figure) -> None:
        cards = np.ravel(figure.subfigures(n_rows, 2, squeeze=False, wspace=0.03, hspace=0.03))
        for card, position, number in zip(cards, worst, range(1, 1 + len(worst)), strict=False):
            _card(card, position, number, action_names, size if rooms else None)
        handles = _room_legend() if rooms else _arm_legend()
        figure.legend(handles=handles, loc="outside upper left", ncols=4, fontsize=8.5, columnspacing=1.3,
                      handlelength=1.5, handletextpad=0.5)  # fmt: skip

    return picture(draw, 0.55 + (2.65 if rooms else 2.5) * n_rows)


def _card(card: SubFigure, position: WorstPosition, number: int, names: Sequence[str], size: int | None) -> None:
    shown = _shown_actions(position)
    before, bars = card.subplots(1, 2, width_ratios=(1.25, 1) if size else (1.1, 1))
    card.suptitle(
        f"{number}   {position.regime}: loss {position.loss_model:.2f} → {position.loss_scrubbed:.2f}",
        x=0.03, ha="left", fontsize=10, fontweight="bold",
    )  # fmt: skip
    if size is not None:
        _room(before, position, size)
    else:
        _arms(before, position, names, shown)
    _choice(bars, position, names, shown, labelled=size is not None)


def _room(ax: Axes, position: WorstPosition, size: int) -> None:
    ax.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal", xticks=[], yticks=[])
    for x, y in sorted({(cell[0], cell[1]) for cell in position.seen}):
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color="#DCE9F3", linewidth=0))
    for line in np.arange(0.5, size - 1):
        ax.axhline(line, color=FAINT, linewidth=0.7)
        ax.axvline(line, color=FAINT, linewidth=0.7)
    for side in ax.spines.values():
        side.set(visible=True, color=INK, linewidth=1.4)
    goal = position.facts.get("goal")
    if goal:
        ax.add_patch(
            Rectangle((goal[0] - 0.42, goal[1] - 0.42), 0.84, 0.84, fill=False, edgecolor=GREEN, linewidth=2.2)
        )
    if position.last_rewarded is not None:
        ax.plot(*position.last_rewarded[:2], "*", color=YELLOW, markeredgecolor=INK, markersize=17, zorder=3)
    _path(ax, np.array(position.path, dtype=float))
    ax.set_xlabel(
        f"row {position.row}, episode {position.episode + 1}, its step {position.episode_step + 1}", fontsize=8
    )


def _path(ax: Axes, path: np.ndarray) -> None:
    """Draw where the agent went in this episode, older moves fainter, and where it is."""
    moves = [(a, b) for a, b in itertools.pairwise(path) if (a != b).any()]
    for index, (a, b) in enumerate(moves):
        fade = 0.35 + 0.65 * (index + 1) / len(moves)
        ax.annotate("", b, a, arrowprops={"arrowstyle": "-|>", "color": INK, "alpha": fade, "linewidth": 1.3,
                                          "shrinkA": 2.5, "shrinkB": 2.5, "mutation_scale": 8})  # fmt: skip
    ax.plot(*path[0], "o", color=GREY, markersize=4)
    ax.plot(*path[-1], "o", color=BLACK, markersize=7.5, markeredgecolor="white", markeredgewidth=1.2, zorder=5)


def _arms(ax: Axes, position: WorstPosition, names: Sequence[str], shown: Sequence[int]) -> None:
    """Draw how often each arm was pulled and paid so far, and the last pulls one by one."""
    pulls, wins = _pulls_and_wins(position, len(names))
    places = np.arange(len(shown))
    ax.barh(places, pulls[shown], 0.66, color="#D0D0D0")
    ax.barh(places, wins[shown], 0.66, color=GREEN)
    for place, arm in enumerate(shown):
        ax.annotate(f"{wins[arm]:.0f} of {pulls[arm]:.0f}", (pulls[arm], place), (3, 0), "data", "offset points",
                    va="center", fontsize=7.5)  # fmt: skip
    _action_axis(ax, position, names, shown, labelled=True)
    ax.set_xlim(0, max(1.0, pulls.max(initial=0)) * 1.5)
    ax.set_xlabel(f"row {position.row}, step {position.step}: pulls, wins so far", fontsize=8)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.tick_params(axis="x", labelsize=8)
    last = list(zip(position.actions, position.rewards, strict=False))[-LAST_PULLS:]
    for place, (arm, reward) in enumerate(last):
        paid = reward > 0
        box = {"boxstyle": "round,pad=0.25", "facecolor": GREEN if paid else "#EDEDED", "edgecolor": "none"}
        tag = ax.annotate(str(names[arm]).split()[-1][-3:], (0, 1), (6 + 19 * place, 6), "axes fraction",
                          "offset points", fontsize=7, ha="center", color="white" if paid else INK, bbox=box,
                          annotation_clip=False)  # fmt: skip
        tag.set_in_layout(place == 0)  # the row of tags may reach over the plot beside it


def _pulls_and_wins(position: WorstPosition, n_arms: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each arm was pulled, and how often it paid, before this position. [arm]"""
    if position.seen:
        table = np.array([(*counts, 0)[:2] for counts in position.seen], dtype=float)
        return table[:, 0], table[:, 1]
    arms, paid = np.array(position.actions, dtype=int), np.array(position.rewards, dtype=float) > 0
    return np.bincount(arms, minlength=n_arms).astype(float), np.bincount(arms[paid], minlength=n_arms).astype(float)


def _choice(ax: Axes, position: WorstPosition, names: Sequence[str], shown: Sequence[int], labelled: bool) -> None:
    """Draw what the model and the scrubbed model would do."""
    places = np.arange(len(shown))
    for probabilities, shift, colour in ((position.model, -0.19, BLACK), (position.scrubbed, 0.19, BLUE)):
        values = np.array(probabilities, dtype=float)[shown]
        ax.barh(places + shift, values, 0.36, color=colour)
    _action_axis(ax, position, names, shown, labelled)
    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=8)
    ax.set_xlabel("probability of the action", fontsize=8)


def _action_axis(ax: Axes, position: WorstPosition, names: Sequence[str], shown: Sequence[int], labelled: bool) -> None:
    """Make a row of the axis for each action, the one that the history took on a coloured band."""
    ax.set_yticks(range(len(shown)), [str(names[action]) if labelled else "" for action in shown], fontsize=8.5)
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.spines["left"].set_visible(False)
    ax.axhspan(shown.index(position.taken) - 0.5, shown.index(position.taken) + 0.5, color=TAKEN, linewidth=0, zorder=0)
    if labelled:
        ax.get_yticklabels()[shown.index(position.taken)].set_fontweight("bold")


def _shown_actions(position: WorstPosition) -> list[int]:
    """Return the likeliest actions under either distribution and the one taken, in their order."""
    likely = np.maximum(position.model, position.scrubbed)
    likely[position.taken] = np.inf
    return sorted(np.argsort(-likely, kind="stable")[:MAX_BARS].tolist())


def _choice_legend() -> list[Patch]:
    return [Patch(color=BLACK, label="model"), Patch(color=BLUE, label="scrubbed"), Patch(color=TAKEN, label="taken")]


def _room_legend() -> list[Patch | Line2D]:
    def mark(marker: str, label: str, **style: object) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, label=label, **style)  # type: ignore[arg-type]

    return [
        *_choice_legend(),
        mark("o", "agent, its way in this episode", color=BLACK, markersize=7),
        Patch(color="#DCE9F3", label="seen earlier"),
        mark("*", "rewarded last", color=YELLOW, markeredgecolor=INK, markersize=11),
        mark("s", "goal, hidden", markerfacecolor="none", markeredgecolor=GREEN, markeredgewidth=2, markersize=8),
    ]


def _arm_legend() -> list[Patch]:
    arms = [Patch(color="#D0D0D0", label="pulls"), Patch(color=GREEN, label="paid")]
    return [*_choice_legend(), *arms, Patch(alpha=0, label="tags: last pulls, newest right")]
