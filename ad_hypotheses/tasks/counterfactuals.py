"""Matched counterfactuals: the same histories but for one thing, for path patching and tests of behaviour.

A history and its counterfactual differ in what the kind says and in nothing else, so whatever a model does differently
on them is due to that. A token shows the action and the reward of the step before, so a change of what step `t` did or
was paid shows from the token of step `t + 1` on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int

from ad_hypotheses.errors import ConfigError, DataError, UserError, did_you_mean
from ad_hypotheses.language.history import History
from ad_hypotheses.language.user_code import described
from ad_hypotheses.tasks.edits.catalogue import ANY_TASK
from ad_hypotheses.tasks.edits.kinds import Kind
from ad_hypotheses.tasks.edits.lives import tokens_differ
from ad_hypotheses.tasks.rewarded_places import UNKNOWN
from ad_hypotheses.tasks.task import Task


@dataclass(frozen=True)
class Counterfactual:
    """Histories that were changed in one thing.

    Attributes:
        history: The changed histories; rows in which the change was impossible are as they were.
        changed: Rows that show the change. [batch]
        first_step: The first step whose token differs, the number of steps where none does. [batch]
        words: What was changed.
        old: Where rooms and graphs were paid before, all -1 in unchanged rows; None where no place is moved.
            [batch, channel]
        new: Where they are paid now, likewise. [batch, channel]
    """

    history: History
    changed: Bool[np.ndarray, " batch"]
    first_step: Int[np.ndarray, " batch"]
    words: str
    old: Int[np.ndarray, "batch channel"] | None = None
    new: Int[np.ndarray, "batch channel"] | None = None


def counterfactuals_of(task: Task) -> Mapping[str, Kind]:
    """Return the kinds of counterfactual that a task family declares, in its order, and those that any family has.

    Raises:
        ConfigError: What a family of the user's own declares cannot be used.
    """
    try:
        own = dict(getattr(task, "counterfactuals", dict)())
    except UserError:
        raise
    except Exception as error:  # whatever a user's code raises
        raise ConfigError(f"{task.name}: counterfactuals() fails: {described(error)}") from error
    wrong = [name for name, kind in own.items() if not (isinstance(name, str) and isinstance(kind, Kind))]
    if wrong:
        raise ConfigError(f"{task.name}: counterfactuals() must return kinds by name, but {wrong[0]!r} is not one.")
    return {**own, **{name: kind for name, kind in ANY_TASK.items() if name not in own}}


def families_of(task: Task, episodes: int) -> Mapping[str, Kind]:
    """Return those kinds that make lives of so many episodes; the first is what is tested by default."""
    return {
        name: kind
        for name, kind in counterfactuals_of(task).items()
        if kind.live is not None and kind.least_episodes <= episodes
    }


def make_counterfactual(name: str, task: Task, history: History, rng: np.random.Generator) -> Counterfactual:
    """Change one thing in every history.

    Args:
        name: One of `counterfactuals_of(task)`.
        task: The family that the histories are from.
        history: The histories; they stay as they are.
        rng: Decides on cells, episodes and actions.

    Raises:
        ConfigError: There is no such counterfactual.
        DataError: It does not fit the task or the histories; the message lists those that do.
    """
    kinds = counterfactuals_of(task)
    if name not in kinds:
        known = ", ".join(kinds)
        raise ConfigError(f"there is no counterfactual {name!r}.{did_you_mean(name, kinds)} Known: {known}.")
    lacks = kinds[name].missing(task, history)
    if lacks:
        fit = ", ".join(fitting(task, history)) or "none"
        raise DataError(f"the counterfactual {name} does not fit {task.name}: {lacks}. Those that fit: {fit}.")
    edit = kinds[name].apply(task, history, rng)
    differs = tokens_differ(history, edit.history)
    changed = np.asarray(differs.any(axis=1))
    return Counterfactual(
        history=_only(changed, edit.history, history),
        changed=changed,
        first_step=np.where(changed, differs.argmax(axis=1), history.n_steps),
        words=kinds[name].words,
        old=edit.old if edit.old is None else np.where(changed[:, None], edit.old, UNKNOWN),
        new=edit.new if edit.new is None else np.where(changed[:, None], edit.new, UNKNOWN),
    )


def fitting(task: Task, history: History) -> tuple[str, ...]:
    """Return the names of the counterfactuals that fit a task and its histories."""
    return tuple(name for name, kind in counterfactuals_of(task).items() if not kind.missing(task, history))


def _only(rows: np.ndarray, changed: History, before: History) -> History:
    """Keep a change in some rows; a change that no token shows is none."""

    def chosen(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return before if before is after else np.where(rows.reshape(-1, *[1] * (before.ndim - 1)), after, before)

    return replace(
        before,
        observations=chosen(before.observations, changed.observations),
        actions=chosen(before.actions, changed.actions),
        rewards=chosen(before.rewards, changed.rewards),
        task={name: chosen(fact, changed.task[name]) for name, fact in before.task.items()},
    )
