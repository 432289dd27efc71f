"""Kinds of counterfactual: what each changes, what it needs, and what it breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.edits.lives import EditedLives, Lives, RecordedActor
from ad_hypotheses.tasks.edits.matched import Edit
from ad_hypotheses.tasks.room import Room
from ad_hypotheses.tasks.task import Facts, Task

SOME_ORDER = 4  # episodes of a life whose first half can be in another order


def lacks_nothing(task: Task, history: History) -> str:
    """Say nothing: any history will do."""
    return ""


@dataclass(frozen=True)
class Kind:
    """A kind of counterfactual: of a history whose actions stay, of lives, or of both.

    Attributes:
        words: What it changes in a history.
        edit: Changes histories, where it is possible; without it, whoever lived them acts again as recorded in `live`.
        lacks: Says what the task or the histories lack for it, or nothing.
        live: Makes edited lives: a *family*; None for a kind that is of histories only.
        lived: What it changes in lives; `words` by default.
        breaks: What always goes together otherwise and does not in these lives.
        least_episodes: Episodes that lives must have.
        move: What puts what pays elsewhere, where that is all that a kind changes in lives: given a task family and
            facts, returns other facts.
    """

    words: str
    edit: Callable[[Task, History, np.random.Generator], Edit] | None = None
    lacks: Callable[[Task, History], str] = lacks_nothing
    live: Callable[[Lives], EditedLives] | None = None
    lived: str = ""
    breaks: str = ""
    least_episodes: int = 1
    move: Callable[[Any, Facts, np.random.Generator], Facts] | None = None

    def __post_init__(self) -> None:
        """Refuse a kind that changes nothing.

        Raises:
            ConfigError: It has neither `edit` nor `live`.
        """
        if self.edit is None and self.live is None:
            raise ConfigError(f"the kind of counterfactual {self.words!r} needs `edit`, `live` or both.")

    def apply(self, task: Task, history: History, rng: np.random.Generator) -> Edit:
        """Change histories, where it is possible."""
        if self.edit is not None:
            return self.edit(task, history, rng)
        assert self.live is not None
        actor = RecordedActor(task, history, rng)
        return Edit(self.live(Lives(task, history.task, history.n_steps // task.horizon, rng, actor)).history)

    def missing(self, task: Task, history: History) -> str:
        """Return what the task or the histories lack, or nothing."""
        lacking = self.lacks(task, history)
        return lacking if lacking or self.edit is not None else lacks_whole_lives(task, history)


def lacks_whole_lives(task: Task, history: History) -> str:
    """Say what histories lack to be lived again."""
    if not history.task:
        return "its histories come without facts"
    steps = np.arange(history.n_steps) % task.horizon
    if history.n_steps % task.horizon or (history.episode_step != steps).any():
        return f"its histories are not of whole episodes of {task.horizon} steps"
    return ""


def lacks_place(task: Task, history: History) -> str:
    """Say whether what is seen cannot be a place that pays."""
    if not task.channels or isinstance(task, Room):
        return ""
    facts = [np.asarray(fact) for fact in history.task.values()]
    if any(fact.reshape(len(fact), -1).shape[1] == len(task.channels) for fact in facts):
        return ""
    return "what its agent sees is not a place that could pay"


def lacks_goal(task: Task, history: History) -> str:
    """Say whether there is not a goal that is seen as a place, or not a second episode to move it in."""
    if "goal" not in history.task:
        return "its histories know of no goal"
    if np.asarray(history.task["goal"]).reshape(history.n_rows, -1).shape[1] != len(task.channels):
        return "what its agent sees is not the place of a goal"
    return lacks_episodes(task, history)


def lacks_episodes(task: Task, history: History) -> str:
    """Say whether there is one episode only."""
    return "" if (history.episode[:, :1] != history.episode).any() else "its histories are of one episode each"


def lacks_order(task: Task, history: History) -> str:
    """Say whether there are too few episodes for another order of the first half."""
    few = history.episode[:, -1].min() + 1 < SOME_ORDER
    return f"its histories have fewer than {SOME_ORDER} episodes" if few else ""


def lacks_another_row(task: Task, history: History) -> str:
    """Say whether there is not another history with several episodes."""
    return lacks_episodes(task, history) if history.n_rows > 1 else "there is no other history to take an episode from"


def lacks_actions(task: Task, history: History) -> str:
    """Say whether there is not a past with two actions."""
    return "" if history.n_actions > 1 and history.n_steps > 1 else "there is no past with two actions to exchange"
