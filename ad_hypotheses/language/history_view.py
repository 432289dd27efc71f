"""Learning histories for the eye: as a table of steps, and as small drawings for a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ad_hypotheses.language.history import History

DRAWN = 4  # histories
STEPS = 120  # of a history without rooms
ROOM, STEP = 132, 7  # pixels
FACTS = 8  # numbers of a fact of the task that get columns
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#6b6b6b")


def frame(history: History) -> Any:
    """Return a pandas.DataFrame with a line for every step of every row.

    Args:
        history: Any.

    Returns:
        Columns `row`, `step`, `episode`, `episode_step`, one for each channel, `action`, `reward`, and one for each
        fact of the task, or for each of its first numbers: `goal_0`, `goal_1`.
    """
    import pandas as pd

    n_rows, n_steps = history.shape
    columns = {
        "row": np.repeat(np.arange(n_rows), n_steps),
        "step": np.tile(np.arange(n_steps), n_rows),
        "episode": history.episode.ravel(),
        "episode_step": history.episode_step.ravel(),
        **{name: history.observations[..., number].ravel() for number, name in enumerate(history.channels)},
        "action": history.actions.ravel(),
        "reward": history.rewards.ravel(),
    }
    for name, fact in history.task.items():
        values = np.asarray(fact).reshape(n_rows, -1)
        for number in range(min(values.shape[1], FACTS)):
            of = name if values.shape[1] == 1 else f"{name}_{number}"
            columns[of] = np.repeat(values[:, number], n_steps)
    return pd.DataFrame(columns)


def drawing(history: History) -> str:
    """Return the first histories as HTML with pictures in it, without scripts.

    Where an agent sees the two coordinates of its cell, its way in the first and in the last episode is drawn; else a
    bar for each step, coloured by the action, full height where it was paid.
    """
    draw = _rooms if history.channels[:2] == ("x", "y") else _bars
    rows = "".join(f"<tr><td>{row}</td><td>{draw(history[row])}</td></tr>" for row in range(min(len(history), DRAWN)))
    more = f"<p>and {len(history) - DRAWN} more</p>" if len(history) > DRAWN else ""
    return f"<p>{escape(repr(history))}</p><table>{rows}</table>{more}"


def _rooms(history: History) -> str:
    """Draw the first and the last episode of one history."""
    goals = np.asarray(history.task.get("goals", [[[-1, -1]]]))[0]  # where it moves: one an episode, again and again
    goal = np.asarray(history.task.get("goal", goals[:1]))[0]
    size = int(max(history.observations[..., :2].max(), np.max(goal, initial=0), np.max(goals))) + 1
    episodes = dict.fromkeys((int(history.episode[0, 0]), int(history.episode[0, -1])))
    moves = "goals" in history.task
    return " ".join(
        _room(history, episode, goals[episode % len(goals)] if moves else goal, size) for episode in episodes
    )


def _room(history: History, episode: int, goal: np.ndarray, size: int) -> str:
    steps, cell = history.episode[0] == episode, ROOM / size
    places = (history.observations[0, steps, :2] + 0.5) * cell
    way = " ".join(f"{x:.0f},{y:.0f}" for x, y in places)
    shapes = [f'<rect width="{ROOM}" height="{ROOM}" fill="#ffffff" stroke="#6b6b6b"/>']
    if goal.size == 2 and (goal >= 0).all():
        x, y = goal * cell
        shapes.append(f'<rect x="{x:.0f}" y="{y:.0f}" width="{cell:.0f}" height="{cell:.0f}" fill="#f0e442"/>')
    shapes.append(f'<polyline points="{way}" fill="none" stroke="#0072b2" stroke-width="2"/>')
    (x, y), paid = places[0], history.rewards[0, steps].sum()
    shapes.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="#0072b2"/>')
    title = f"<title>episode {episode}: paid {paid:g}</title>"
    side = ROOM + 2
    return f'<svg width="{side}" height="{side}" viewBox="-1 -1 {side} {side}">{title}{"".join(shapes)}</svg>'


def _bars(history: History) -> str:
    """Draw the first steps of one history as bars."""
    n_steps = min(history.n_steps, STEPS)
    most = max(float(history.rewards.max(initial=0)), 1e-9)

    def bars() -> Iterator[str]:
        for step in range(n_steps):
            action, paid = int(history.actions[0, step]), max(float(history.rewards[0, step]), 0.0)
            height = 6 + 18 * paid / most
            colour = COLOURS[action % len(COLOURS)]
            yield f'<rect x="{STEP * step}" y="{24 - height:.0f}" width="5" height="{height:.0f}" fill="{colour}"/>'

    return f'<svg width="{STEP * n_steps}" height="24">{"".join(bars())}</svg>'
