"""How the world of a task is drawn: as a room, as arms, as a graph, as a grid, or else as a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks import BernoulliBandit, GaussianBandit, GraphWorld, MinigridTask
from ad_hypotheses.tasks.options.drift import over_pulls
from ad_hypotheses.tasks.task import Task


def world_of(task: Task, context: History) -> dict[str, Any]:
    """Return what a picture of the world needs, beside what the context shows.

    Returns:
        `kind`: `"room"` with `width`, `height` and hidden `places` (by fact, a cell for every episode, or one for all),
        `"arms"` with `means`, `"graph"`
        with `next`, `start` and `goal`, `"grid"` with cells a side of the agent's `view` and the `map`, or `"table"`.
        Of arms that drift, these are the means over an episode.
    """
    if task.channels == ("x", "y"):
        places = {name: fact[:1].tolist() for name, fact in context.task.items() if np.shape(fact)[1:] == (2,)}
        if "goals" in context.task:
            goals = np.asarray(context.task["goals"])[0]
            places["goal"] = goals[np.unique(context.episode[0]) % len(goals)].tolist()
        return {"kind": "room", "width": task.channel_sizes[0], "height": task.channel_sizes[1], "places": places}
    if isinstance(task, BernoulliBandit | GaussianBandit):
        means = over_pulls(np.asarray(context.task["means"]))[0].tolist() if "means" in context.task else None
        return {"kind": "arms", "means": means}
    if isinstance(task, GraphWorld) and {"next", "start", "goal"} <= set(context.task):
        facts = {name: np.asarray(context.task[name])[0].tolist() for name in ("next", "start", "goal")}
        return {"kind": "graph", "states": task.states, **facts}
    if isinstance(task, MinigridTask):
        return {"kind": "grid", "view": task.view, "map": _map(task, context)}
    return {"kind": "table"}


def _map(task: MinigridTask, context: History) -> dict[str, Any] | None:
    """Return the grid as an episode begins, and the way of the agent on it; None where the layout is not known."""
    if not context.task:
        return None
    grid = task.atlas.grid(int(np.asarray(context.task["layout"])[0]))
    goal = np.asarray(context.task["goal"])[0].tolist() if "goal" in context.task else None
    agent = task.agents(context)[0].tolist()
    return {"width": grid.shape[0], "height": grid.shape[1], "cells": grid.tolist(), "agent": agent, "goal": goal}
