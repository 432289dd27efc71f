"""Contexts at bandits that are built pull by pull: what each arm paid, and how often it was pulled in vain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.ladder.rung import Context
from ad_hypotheses.language.history import History
from ad_hypotheses.studies.behave.condition import PAIRED, Condition, Subject, decided
from ad_hypotheses.tasks import BernoulliBandit, GaussianBandit

DOSES, FAILURES, BOTH = (0, 1, 2, 3, 4, 5, 6, 8), (0, 1, 2, 4, 6), 5
WINS = 2  # of the arm that then fails
OTHERS = (1.0, 0.0)  # what every other arm paid, once each
SMALL = 0.25  # the less valuable pay


def lacks_arms(subject: Subject) -> str:
    """Say why no pulls can be put together for a model, or nothing."""
    if not isinstance(subject.task, BernoulliBandit | GaussianBandit):
        return "its tasks are not bandits"
    longest = len(OTHERS) * subject.task.n_actions + max(DOSES)
    if subject.task.n_actions < 3:
        return "it has fewer than three arms"
    return "" if subject.episodes * subject.task.horizon > longest else f"a context holds fewer than {longest} pulls"


def lacks_values(subject: Subject) -> str:
    """Say why values cannot be told apart, or nothing."""
    if lacks_arms(subject):
        return lacks_arms(subject)
    return "" if {-1.0, SMALL, 1.0} <= set(subject.task.rewards) else "its tasks pay 0 and 1 only"


def dose(subject: Subject) -> list[Condition]:
    """Return pulls of which one arm paid each time, so often."""
    return [_condition(subject, "dose", f"{number} wins", number, [1.0] * number, []) for number in DOSES]


def failure(subject: Subject) -> list[Condition]:
    """Return pulls of which one arm paid twice, and then so often did not."""
    lose = [0.0] if min(subject.task.rewards) >= 0 else [-1.0]
    return [
        _condition(subject, "failure", f"{number} losses", number, [1.0] * WINS, [], then=lose * number)
        for number in FAILURES
    ]


def which(subject: Subject) -> list[Condition]:
    """Return pulls of which one arm paid so often, and another one so often."""
    equally = (BOTH + 1) // 2
    pairs = ((BOTH, 0), (BOTH, 1), (equally, equally), (1, BOTH), (0, BOTH))
    return [
        _condition(subject, "which", f"first {first} times, second {second}", number, [1.0] * first, [1.0] * second)
        for number, (first, second) in enumerate(pairs)
    ]


def paid(subject: Subject) -> list[Condition]:
    """Return the same pulls twice, of two arms so often each: first the one paid each time, then the other."""
    lose = 0.0 if min(subject.task.rewards) >= 0 else -1.0
    others, pulls = len(OTHERS) * (subject.task.n_actions - 2), subject.episodes * subject.task.horizon
    conditions = []
    for number in [number for number in PAIRED if others + 2 * number < pulls]:
        first, critical = _pulled(subject, "paid", [1.0] * number, [lose] * number)
        second, _ = _pulled(subject, "paid", [lose] * number, [1.0] * number)
        conditions.append(decided(f"{number} pulls of each", [first, second], critical, number))
    return conditions


def value(subject: Subject) -> list[Condition]:
    """Return pulls of which two arms paid equally often, but not equally well."""
    pairs = ((1.0, SMALL), (1.0, 1.0), (SMALL, 1.0), (-1.0, SMALL))
    return [
        _condition(subject, "value", f"{first:g} against {second:g}", number, [first] * 3, [second] * 3)
        for number, (first, second) in enumerate(pairs)
    ]


def _condition(
    subject: Subject,
    test: str,
    label: str,
    x: float,
    first: Sequence[float],
    second: Sequence[float],
    then: Sequence[float] = (),
) -> Condition:
    context, critical = _pulled(subject, test, first, second, then)
    return decided(label, [context], critical, x)


def _pulled(
    subject: Subject, test: str, first: Sequence[float], second: Sequence[float], then: Sequence[float] = ()
) -> tuple[Context, Bool[np.ndarray, "row action"]]:
    """Put pulls together: in any order, but for those of the first arm that come at the end; return which arm that is.

    What the first two arms pay has no part in the order, so that two lives may differ in nothing else.
    """
    rng, task, rows = subject.rng(test), subject.task, subject.rows
    arms = rng.permuted(np.tile(np.arange(task.n_actions), (rows, 1)), axis=1)
    parts = [(arms[:, :1], first), (arms[:, 1:2], second)]
    others = [(arms[:, arm : arm + 1], OTHERS) for arm in range(1 if not second else 2, task.n_actions)]
    pulls = np.concatenate([np.repeat(arm, len(pays), axis=1) for arm, pays in parts + others], axis=1)
    pays = np.concatenate([np.tile(np.array(pays, dtype=float), (rows, 1)) for _, pays in parts + others], axis=1)
    order = rng.random(pulls.shape).argsort(axis=1)
    pulls, pays = (np.take_along_axis(part, order, axis=1) for part in (pulls, pays))
    pulls = np.concatenate([pulls, np.repeat(arms[:, :1], len(then), axis=1)], axis=1)
    pays = np.concatenate([pays, np.tile(np.array(then, dtype=float), (rows, 1))], axis=1)
    critical = np.arange(task.n_actions) == arms[:, :1]
    return Context(_history(task.n_actions, pulls, pays)), critical


def _history(n_actions: int, pulls: Int[np.ndarray, "row pull"], pays: Float[np.ndarray, "row pull"]) -> History:
    """Return pulls as a history, and one more step that is not decided."""
    rows = len(pulls)
    actions, rewards = (np.pad(part, ((0, 0), (0, 1))) for part in (pulls, pays))
    return History(
        observations=np.zeros((*actions.shape, 0), dtype=np.int8),
        actions=actions.astype(np.int8),
        rewards=rewards.astype(np.float32),
        episode=np.zeros(actions.shape, dtype=np.int16),
        channels=(),
        n_actions=n_actions,
        learner=np.arange(rows),
    )
