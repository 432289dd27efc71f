"""Whether a source learns: what is distilled into a model is its improvement, so there must be some.

Lives of several episodes are judged by the returns of their episodes; a life of one long episode, as bandits have it,
by what each tenth of its steps earns, and only all learners together: a few steps of one are luck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ad_hypotheses.errors import DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.histories import HistoryFolder
from ad_hypotheses.sources.recording import episode_returns
from ad_hypotheses.tasks import Task
from ad_hypotheses.tasks.play import play

SAMPLE = 512  # histories that a judgement is made from
FEWEST = 32  # learners; fewer say nothing
IMPROVED = 0.6  # share of learners that must improve; half of those who only wander about earn more in the end
CLOSED = 0.1  # share of the way from the first returns to the optimum that must be covered
FALLEN = 0.25  # share of what was gained that may be lost again
SURE = 3.0  # standard errors that a gain or a loss must exceed to count
SATISFIED = 0.95  # share of the optimum from which on there is nothing left to learn
PARTS = 10  # of a life of one episode


@dataclass(frozen=True)
class Learning:
    """How learners improved over their lives.

    Attributes:
        unit: What a point of the curve is, `"episode"` or `"tenth of the episode"`.
        learners: How many were looked at.
        mean: Mean return of each point. [point]
        low, high: What 10 % and 90 % of the learners stay below. [point]
        optimum: Mean return of whoever knows the facts.
        random: Mean return of acting at random; None if it was not measured.
        first, last: Mean return over the first and the last third of the episodes, or over a tenth of the steps.
        improved: Share of the learners that earn more in the last part than in the first, leaving out those that
            are at their optimum in both; 0 if that are all.
        satisfied: Share of the learners that are at their optimum in both.
        gained_error: Standard error of `last - first`.
        fallen: How far the mean return falls from its highest to its end, both over a tenth of the life.
        fallen_error: Standard error of that.
    """

    unit: str
    learners: int
    mean: list[float]
    low: list[float]
    high: list[float]
    optimum: float
    random: float | None
    first: float
    last: float
    improved: float
    satisfied: float
    gained_error: float
    fallen: float
    fallen_error: float

    @property
    def span(self) -> str:
        """What `first` and `last` are means over."""
        return "third of the episodes" if self.unit == "episode" else "tenth of the steps"


def learning_of(
    lives: History | Float[np.ndarray, "learner point"],
    optimum: Float[np.ndarray, " learner"],
    random: float | None = None,
) -> Learning:
    """Measure how learners improved.

    Args:
        lives: Their histories, or what they earned at each point of their lives.
        optimum: Return of a point for whoever knows the facts of each learner's task; where histories of one episode
            are given, that of the episode. [learner]
        random: The same for acting at random, on average.
    """
    unit = "episode"
    if isinstance(lives, History):
        parts = min(PARTS, lives.n_steps)
        if (lives.episode == 0).all() and parts > 1:
            unit, optimum = "tenth of the episode", optimum / parts
            random = None if random is None else random / parts
            means = [part.mean(axis=1, dtype=float) for part in np.array_split(lives.rewards, parts, axis=1)]
            returns = np.stack(means, axis=1) * (lives.n_steps / parts)  # as if all parts were of the same length
        else:
            returns = episode_returns(lives)
    else:
        returns = lives
    return _measured(returns, optimum, random, unit)


def learning_of_histories(histories: HistoryFolder, task: Task, seed: int = 0) -> Learning:
    """Measure how the learners of some histories on disk improved, from up to 512 of them.

    Args:
        histories: On disk.
        task: The distribution that their tasks are from.
        seed: Decides which are looked at, and what acting at random earns.
    """
    rng = np.random.default_rng(seed)
    n_rows = min(SAMPLE, histories.n_histories)
    history = histories.rows(np.sort(rng.choice(histories.n_histories, size=n_rows, replace=False)))
    aimless = play(task, history.task, lambda seen: np.full((seen.n_rows, task.n_actions), 1 / task.n_actions), 1, rng)
    return learning_of(history, task.optimal_return(history.task), float(aimless.rewards.sum(axis=1).mean()))


def complaint(learning: Learning) -> str | None:
    """Say why a source is no good to distil; None if it is good, or there is too little to tell."""
    if learning.learners < FEWEST or len(learning.mean) < 2:
        return None
    gained, room = learning.last - learning.first, learning.optimum - learning.first
    course = f"{learning.first:.2f} in the first {learning.span}, {learning.last:.2f} in the last, on average"
    course += f" ({learning.optimum:.2f} is the optimum)"
    if learning.satisfied > 1 - CLOSED:
        return (
            f"{learning.satisfied:.0%} of the learners earn {SATISFIED:.0%} of the optimum or more from the beginning: "
            f"{course}. There is no learning to see; keep earlier episodes (histories.skip), or learn more slowly."
        )
    if learning.unit == "episode" and learning.improved < IMPROVED:
        return (
            f"{learning.improved:.0%} of the learners earn more in the last {learning.span} than in the first, and "
            f"{IMPROVED:.0%} should: {course}. Try more episodes (histories.episodes, with keep_every to keep the "
            "context as long), or other parameters of the source."
        )
    if gained <= SURE * learning.gained_error:
        return (
            f"the learners gain no more than luck would have it, {gained:.2f} with a standard error of "
            f"{learning.gained_error:.2f}: {course}. Try longer lives (the task's horizon, histories.episodes), or "
            "other parameters of the source."
        )
    if room > 0 and gained < CLOSED * room:
        return (
            f"the learners close {max(gained, 0) / room:.1%} of the gap between their first returns and the optimum, "
            f"and {CLOSED:.0%} is the least: {course}. Try more episodes (histories.episodes, with keep_every to keep "
            "the context as long), or other parameters of the source."
        )
    if learning.fallen > SURE * learning.fallen_error and learning.fallen > FALLEN * (gained + learning.fallen):
        return (
            f"the learners collapse: their mean return ends {learning.fallen:.2f} below its highest; {course}. Try a "
            "smaller step size or learning rate, or fewer episodes (histories.episodes)."
        )
    return None


def require_learning(histories: HistoryFolder, task: Task, seed: int = 0) -> None:
    """Refuse histories of a source that does not learn; see :func:`learning_of_histories`.

    Raises:
        DataError: It does not; the message says by how much, and what to try.
    """
    if histories.n_histories >= FEWEST:
        require_improvement(learning_of_histories(histories, task, seed))


def require_improvement(learning: Learning) -> None:
    """Refuse learners that do not learn.

    Raises:
        DataError: They do not; the message says by how much, and what to try.
    """
    problem = complaint(learning)
    if problem is not None:
        raise DataError(
            f"the source does not learn: {problem}\n  If it is not meant to (experts alone, shuffled rewards, constant "
            "noise), set histories.check: false."
        )


def _measured(returns: np.ndarray, optimum: np.ndarray, random: float | None, unit: str) -> Learning:
    n_learners, n_points = returns.shape
    wide = max(1, n_points // 3) if unit == "episode" else 1
    first, last = returns[:, :wide].mean(axis=1), returns[:, -wide:].mean(axis=1)
    enough = optimum - (1 - SATISFIED) * np.abs(optimum)
    satisfied = (first >= enough) & (last >= enough)
    better = last > first
    narrow = max(1, n_points // PARTS)
    heaped = np.cumsum(np.pad(returns, ((0, 0), (1, 0))), axis=1)
    smooth = (heaped[:, narrow:] - heaped[:, :-narrow]) / narrow
    falls = smooth[:, smooth.mean(axis=0).argmax()] - smooth[:, -1]
    low, high = np.quantile(returns, [0.1, 0.9], axis=0)
    return Learning(
        unit=unit,
        learners=n_learners,
        mean=_plain(returns.mean(axis=0)),
        low=_plain(low),
        high=_plain(high),
        optimum=float(np.mean(optimum)),
        random=random,
        first=float(first.mean()),
        last=float(last.mean()),
        improved=float(better[~satisfied].mean()) if not satisfied.all() else 0.0,
        satisfied=float(satisfied.mean()),
        gained_error=_error(last - first),
        fallen=float(falls.mean()),
        fallen_error=_error(falls),
    )


def _error(each: np.ndarray) -> float:
    """Return the standard error of a mean over learners."""
    return float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else 0.0


def _plain(values: np.ndarray) -> list[float]:
    return [round(float(value), 5) for value in values]
