"""Contexts on graphs: a way that must be put together from several episodes, beside one that was gone whole."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from ad_hypotheses.ladder.places import FAR, WayPlaces
from ad_hypotheses.ladder.run import sight_of
from ad_hypotheses.ladder.rung import Context, Span
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import DynaQ, Source
from ad_hypotheses.sources.contexts.planner import decisions
from ad_hypotheses.studies.behave.condition import LEAST, Condition, Subject, likeliest_over_steps, over_steps, tasks_of
from ad_hypotheses.tasks import GraphWorld
from ad_hypotheses.tasks.play import play, uniform

LENGTHS = (2, 3, 4, 5)  # of the shortest known way, its last step being paid


def lacks_graph(subject: Subject) -> str:
    """Say why no way has to be put together, or nothing."""
    if not isinstance(subject.task, GraphWorld):
        return "the ways of its tasks are not unknown"
    return "" if subject.episodes > 1 else "a context holds one episode only"


def stitched(subject: Subject) -> list[Condition]:
    """Return lives of chance, and where in them the shortest known way was gone whole in an episode, or was not."""
    rng, task = subject.rng("stitched"), subject.task
    assert isinstance(task, GraphWorld)
    facts = tasks_of(subject, rng)
    life = play(task, facts, uniform(task), subject.episodes, rng)
    length, best, whole = known_ways(life, task)
    sure = source_is_sure(subject.background.source, life, task, best)
    context = Context(life, (Span(0, task, facts),))
    conditions = []
    for number in LENGTHS:
        for label, gone in (("gone whole", whole), ("put together", ~whole)):
            inside = (length == number) & gone
            if inside.any(axis=1).sum() > 1:
                cell = f"{number} steps, {label}"
                conditions.append(Condition(cell, (context,), over_steps(best, inside)))
                alike = inside & sure
                if alike.any(axis=1).sum() > 1:
                    chance, likeliest = over_steps(best, alike), likeliest_over_steps(best, alike)
                    conditions.append(Condition(f"{cell}, the source being sure", (context,), chance))
                    conditions.append(
                        Condition(f"{cell}, the source being sure: the likeliest action", (context,), likeliest)
                    )
    return conditions


def source_is_sure(
    source: Source, life: History, task: GraphWorld, best: Bool[np.ndarray, "row step action"]
) -> Bool[np.ndarray, "row step"]:
    """Return where the source, with endless replay, would do nothing but the given actions; nowhere if nobody can tell.

    Elsewhere it prefers what was not tried to the shortest known way, so that a model need not go that way either.
    """
    if not isinstance(source, DynaQ) or source.bonus:
        return np.zeros(life.shape, dtype=bool)
    return np.asarray((decisions(source, life, task) * best).sum(axis=2) > 1 - LEAST)


def known_ways(
    life: History, task: object
) -> tuple[Int[np.ndarray, "row step"], Bool[np.ndarray, "row step action"], Bool[np.ndarray, "row step"]]:
    """Find the decisions in which a known way is the shortest, all others being known to be longer.

    Returns:
        Steps of the shortest known way to the state that paid, 0 where there is no such decision; its first action; and
        whether one episode went that way whole: did that action there and was paid within so many steps.
    """
    assert isinstance(task, GraphWorld)
    places = WayPlaces(task, life.n_rows)
    length = np.zeros(life.shape, dtype=np.int64)
    best = np.zeros((*life.shape, life.n_actions), dtype=bool)
    rows = np.arange(life.n_rows)
    for step in range(life.n_steps):
        places.update(sight_of(life, step))
        left = places.steps_to(places.last)[rows, places.state]
        shortest = left.min(axis=1)
        sure = (left < FAR).all(axis=1) & ((left == shortest[:, None]).sum(axis=1) == 1)
        length[:, step] = np.where(sure, shortest, 0)
        best[:, step] = left == shortest[:, None]
    return length, best, _gone_whole(life, length, best)


def _gone_whole(
    life: History, length: Int[np.ndarray, "row step"], best: Bool[np.ndarray, "row step action"]
) -> Bool[np.ndarray, "row step"]:
    """Return whether an earlier step in the same state did the best action and was paid in time, in its episode."""
    soonest = _steps_to_pay(life)
    whole = np.zeros(life.shape, dtype=bool)
    state = life.observations[..., 0]
    for step in range(1, life.n_steps):
        same = (state[:, :step] == state[:, step : step + 1]) & np.take_along_axis(
            best[:, step], life.actions[:, :step].astype(np.intp), axis=1
        )
        in_time = soonest[:, :step] <= length[:, step : step + 1]
        seen = np.arange(step) + soonest[:, :step] <= step  # the pay has been seen by now
        whole[:, step] = (same & in_time & seen).any(axis=1)
    return whole


def _steps_to_pay(life: History) -> Int[np.ndarray, "row step"]:
    """Return in how many steps from each, itself included, its episode is paid; FAR where it is not."""
    steps = np.full(life.shape, int(FAR))
    coming = np.full(life.n_rows, int(FAR))
    for step in range(life.n_steps - 1, -1, -1):
        ends = step + 1 == life.n_steps or life.episode[0, step + 1] != life.episode[0, step]
        coming = np.where(life.rewards[:, step] > 0, 1, int(FAR) if ends else np.minimum(coming + 1, int(FAR)))
        steps[:, step] = coming
    return steps
