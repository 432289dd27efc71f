"""Learners that follow a rule: histories of an algorithm that is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ad_hypotheses.errors import ConfigError, did_you_mean
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.recording import check_episodes
from ad_hypotheses.sources.rules import RULES
from ad_hypotheses.tasks import Facts, Task
from ad_hypotheses.tasks.play import play
from ad_hypotheses.tasks.room import Room, has_known_moves


@dataclass(frozen=True)
class Scripted:
    """Follows a rule, across episodes.

    Attributes:
        rule: Name of the rule.
    """

    rule: str = "win-stay"

    name: ClassVar[str] = "scripted"

    def __post_init__(self) -> None:
        """Refuse a rule that nobody wrote.

        Raises:
            ConfigError: There is none of that name.
        """
        if self.rule not in RULES:
            hint = did_you_mean(self.rule, RULES)
            raise ConfigError(f"{self.name}: there is no rule {self.rule!r}.{hint} Known: {', '.join(RULES)}.")

    def require_fit(self, task: Task, episodes: int) -> None:
        """Refuse a task that the rule was not written for.

        Raises:
            ConfigError: It was not.
        """
        rule = RULES[self.rule]
        if task.name != rule.family:
            fitting = [one.name for one in RULES.values() if one.family == task.name]
            advice = f"use {', '.join(fitting)}" if fitting else f"no rule is written for {task.name}"
            raise ConfigError(f"{self.name}: {self.rule} is a rule for {rule.family}, not for {task.name}; {advice}.")
        if isinstance(task, Room) and not has_known_moves(task):
            raise ConfigError(
                f"{self.name}: {self.rule} is a rule for rooms in which it is known what actions do; "
                "leave action_order out, or use dyna-q."
            )

    def live(self, task: Task, facts: Facts, episodes: int, rng: np.random.Generator, keep_every: int = 1) -> History:
        """Let one learner live on every task of `facts`; every episode is kept.

        Raises:
            ConfigError: The rule is for other tasks, there is nothing to live, or not every episode is to be kept.
        """
        self.require_fit(task, episodes)
        check_episodes(episodes, keep_every)
        if keep_every > 1:  # the rule would have decided by episodes that nobody sees afterwards
            raise ConfigError(
                f"{self.name}: histories.keep_every is {keep_every}, but a rule decides by the whole life: where "
                "episodes are missing, what is left does not follow it. Set keep_every: 1, and fewer episodes."
            )
        policy = RULES[self.rule].policy
        return play(task, facts, lambda seen: policy(seen, task)[:, -1], episodes, rng)
