"""What a learner's lives come to: returns, shares of the optimum, regret, and how soon it reached what.

A share is a ratio of means over lives, never a mean of ratios: a task whose optimum is near 0 must not decide alone.
Intervals are 95 %, by bootstrap over tasks, since lives on the same task are alike. Where a family knows the regret of
a step, as bandits do, all of it is what the actions pay in expectation: the luck of the draw earns nobody a share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.evidence.bootstrap import Resampling
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import episode_returns
from ad_hypotheses.tasks import Facts, Task
from ad_hypotheses.tasks.task import n_tasks_of

BLOCK = 10  # steps a point of a curve, where there is only one episode
LAST = 3  # episodes that a learner is judged by
LEVELS = (0.5, 0.75, 0.9)  # shares of the optimum whose first time is told
RESAMPLES = 1000
FEWEST = 5  # tasks below which an interval would say more than is known
TAILS = (0.025, 0.975)
DIGITS = 4  # of a figure in a record


def points(history: History) -> Float[np.ndarray, "row point"]:
    """Return what a learning curve is made of: returns of episodes, or of blocks of 10 steps of the only one."""
    returns = episode_returns(history)
    if returns.shape[1] > 1:
        return returns
    n_blocks = max(1, history.n_steps // BLOCK)
    blocks = history.rewards[:, : n_blocks * BLOCK].reshape(history.n_rows, n_blocks, -1)
    return blocks.sum(axis=2, dtype=float)


def in_expectation(task: Task, history: History) -> History:
    """Return a history with what its actions pay in expectation, where the family knows it; else as it is."""
    regret = getattr(task, "regret", None)
    if regret is None:
        return history
    best = np.asarray(task.optimal_return(history.task), dtype=float)[:, None] / task.horizon
    return replace(history, rewards=best - regret(history))


def task_numbers(facts: Facts) -> Int[np.ndarray, " row"]:
    """Return which rows have the same task, numbered from 0."""
    n_rows = n_tasks_of(facts)
    columns = [np.asarray(fact).reshape(n_rows, -1) for fact in facts.values()]
    return np.unique(np.concatenate(columns, axis=1), axis=0, return_inverse=True)[1].ravel()


@dataclass(frozen=True)
class ReturnMeasure:
    """What the lives on a set of tasks are measured by.

    Attributes:
        task: The family.
        optimum: Optimal return of an episode of each life. [row]
        numbers: Which lives are on the same task. [row]
        resampling: Draws of tasks, the same for everybody, so that differences are paired.
    """

    task: Task
    optimum: Float[np.ndarray, " row"]
    numbers: Int[np.ndarray, " row"]
    resampling: Resampling

    @classmethod
    def of(cls, task: Task, facts: Facts) -> ReturnMeasure:
        """Return the measure of lives on `facts`, one a row."""
        numbers = task_numbers(facts)
        draws = Resampling.draw(int(numbers.max()) + 1, 1, np.random.default_rng(0), RESAMPLES)
        return cls(task, np.asarray(task.optimal_return(facts), dtype=float), numbers, draws)

    @property
    def alike(self) -> bool:
        """Whether all steps of the world are alike, as in a bandit: then regret says most."""
        return self.task.n_states == 1

    @property
    def has_share(self) -> bool:
        """Whether a share of the optimum means something: returns count from 0, or no task's optimum is near it."""
        mean = self.optimum.mean()
        return bool(mean > 0 and (min(self.task.rewards) >= 0 or mean > self.optimum.std()))

    def mean(self, values: Float[np.ndarray, " row"]) -> Number:
        """Return the mean over lives, with its interval where there are 5 tasks or more."""
        return self._ratio(values, np.ones(len(values)))

    def share(self, values: Float[np.ndarray, " row"], part: float = 1.0) -> Number | None:
        """Return returns as a share of the optimum of `part` of an episode; None where that means nothing."""
        return self._ratio(values, self.optimum * part) if self.has_share else None

    def by_task(self, values: Float[np.ndarray, "row ..."]) -> Float[np.ndarray, "task ..."]:
        """Return sums over the lives on each task."""
        sums = np.zeros((int(self.numbers.max()) + 1, *values.shape[1:]))
        np.add.at(sums, self.numbers, values)
        return sums

    def _ratio(self, above: Float[np.ndarray, " row"], below: Float[np.ndarray, " row"]) -> Number:
        value, drawn = round(float(above.sum() / below.sum()), DIGITS), self.resampling.clusters
        if drawn.shape[1] < FEWEST:
            return Number(value)
        with np.errstate(invalid="ignore", divide="ignore"):  # the optimum of all drawn tasks may be 0
            ratios = drawn @ self.by_task(above) / (drawn @ self.by_task(below))
        low, high = np.quantile(ratios[np.isfinite(ratios)], TAILS)
        return Number(value, round(float(low), DIGITS), round(float(high), DIGITS))


def figures(history: History, measure: ReturnMeasure) -> dict[str, Any]:
    """Return everything that is told of a learner.

    Args:
        history: Its lives.
        measure: Of the tasks that they were lived on.

    Returns:
        Plain data, numbers as :meth:`Number.written` gives them. `first`, `last`, `mean`: mean return of the first
        episode, of the last three, of all; of the whole where there is one only. `share`, `first_share`, `mean_share`:
        the same of the optimum, with intervals, None where a share means nothing. `improvement`: last minus first
        episodes, of the optimum. `regret`: what was missed over the whole context, in worlds of one state or without
        shares. `reached`: the first episode, from 1, whose mean return is at least that share of the optimum.
    """
    history = in_expectation(measure.task, history)
    returns, curve = episode_returns(history), points(history)
    several = returns.shape[1] > 1
    last = returns[:, -LAST:].mean(axis=1)
    values: dict[str, Any] = {
        "first": rounded(returns[:, 0].mean()),
        "last": rounded(last.mean()),
        "mean": rounded(returns.mean()),
        "share": written(measure.share(last)),
        "mean_share": written(measure.share(returns.mean(axis=1))),
        "regret": written(_regret(returns, measure)),
        "first_share": None,
        "improvement": None,
        "reached": None,
    }
    if several or (measure.alike and curve.shape[1] > 1):  # else the points of the curve are not alike
        part = 1.0 if several else BLOCK / history.n_steps
        values["first_share"] = written(measure.share(curve[:, 0], part))
        values["improvement"] = written(measure.share(improvement(curve), part))
        values["reached"] = _reached(curve, measure, part)
    return values


def written(number: Number | None) -> dict[str, float | None] | None:
    """Return a number as plain data; null where there is none."""
    return None if number is None else number.written()


def improvement(curve: Float[np.ndarray, "row point"]) -> Float[np.ndarray, " row"]:
    """Return the mean of the last three points, without the first, minus the first. [row]"""
    return curve[:, 1:][:, -LAST:].mean(axis=1) - curve[:, 0]


def _regret(returns: Float[np.ndarray, "row episode"], measure: ReturnMeasure) -> Number | None:
    if not measure.alike and measure.has_share:
        return None
    return measure.mean(measure.optimum * returns.shape[1] - returns.sum(axis=1))


def last_by_task(history: History, measure: ReturnMeasure) -> dict[str, list[float]]:
    """Return what the last episodes are judged by, summed over the lives on each task, so that models compare by task.

    Returns:
        `last`: mean return of the last three episodes; `optimum`: the optimal return; `lives`: how many. [task] each
    """
    last = episode_returns(in_expectation(measure.task, history))[:, -LAST:].mean(axis=1)
    sums = {"last": last, "optimum": measure.optimum, "lives": np.ones(len(last))}
    return {name: measure.by_task(values).round(6).tolist() for name, values in sums.items()}


def _reached(curve: Float[np.ndarray, "row point"], measure: ReturnMeasure, part: float) -> dict[str, Any] | None:
    """Return the number of the first point at every level as plain data; what was never reached is null."""
    if not measure.has_share:
        return None
    sums, optimum = measure.by_task(curve), measure.by_task(measure.optimum * part)
    drawn, known = measure.resampling.clusters, len(optimum) >= FEWEST
    with np.errstate(invalid="ignore", divide="ignore"):  # all drawn tasks may be out of reach
        shares = np.concatenate([(sums.sum(axis=0) / optimum.sum())[None], drawn @ sums / (drawn @ optimum)[:, None]])
    by_level = {}
    for level in LEVELS:
        at_level = shares >= level - 1e-9
        first = np.where(at_level.any(axis=1), at_level.argmax(axis=1) + 1.0, np.inf)
        low, high = np.quantile(first[1:], TAILS, method="inverted_cdf")
        bounds = (float(low), float(high)) if known else (math.nan, math.nan)
        by_level[f"{level:g}"] = Number(float(first[0]), *bounds).written()
    return by_level


def rounded(value: float) -> float | None:
    """Return a number for a record: without false digits, None if it is not finite."""
    return round(float(value), DIGITS) if math.isfinite(value) else None
