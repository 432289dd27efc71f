"""What a model does at one step as one thing varies: a goal, what was done or paid, or how much came before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ad_hypotheses.distill.lens import HookedADTransformer
from ad_hypotheses.errors import DataError, did_you_mean
from ad_hypotheses.language.history import History
from ad_hypotheses.report.result import Result
from ad_hypotheses.sources.variants import joined
from ad_hypotheses.studies.contexts import change_facts, rearrange
from ad_hypotheses.studies.edits import edit
from ad_hypotheses.studies.look import AskedValue, chosen_step
from ad_hypotheses.studies.tables import table_of
from ad_hypotheses.tasks.task import Task

ACTION, REWARD, EPISODES = "action", "reward", "episodes"
MOST_VALUES = 1024
ROWS_AT_ONCE = 32


@dataclass(frozen=True, repr=False)
class Scan(Result):
    """What a model does at one step as one thing varies.

    Attributes:
        model: Name of the model.
        of: The log-probability, or the difference of two, that is asked about: `"right - down"`.
        step: Number of the step.
        vary: What varies: a fact of the task, `"action"`, `"reward"` or `"episodes"`.
        since: The step at which it is changed, or from which on.
        values: Its values: places, names of actions, rewards, numbers of episodes before that of the step. [value]
        asked: What is asked about. [value]
        probabilities: Probability of each action. [value][action]
    """

    model: str
    of: str
    step: int
    vary: str
    since: int
    values: list[Any]
    asked: list[float]
    probabilities: list[list[float]]

    @property
    def headline(self) -> str:
        """Where what is asked about is least and most."""
        low, high = int(np.argmin(self.asked)), int(np.argmax(self.asked))
        return (
            f"{self.model}, step {self.step}: {self.of} by {self.vary}, from {self.asked[low]:.3g} at "
            f"{self.values[low]} to {self.asked[high]:.3g} at {self.values[high]}"
        )

    def to_frame(self) -> Any:
        """Return a line for each value, as a pandas.DataFrame: `value`, `asked`."""
        return table_of(
            [{"value": str(value), "asked": asked} for value, asked in zip(self.values, self.asked, strict=True)]
        )


@torch.no_grad()
def scan(
    model: HookedADTransformer,
    task: Task,
    name: str,
    history: History,
    step: int,
    of: str | int | None,
    vary: str,
    since: int,
) -> Scan:
    """Return what a model does at one step as one thing varies.

    Args:
        model: The model.
        task: Its task family.
        name: Name of the model.
        history: One history.
        step: Number of the step; negative counts from the end.
        of: As in :func:`ad_hypotheses.scan`.
        vary: What varies.
        since: The step at which it is changed, or from which on.

    Raises:
        DataError: There is more than one history, no such step or action, or nothing of that name can vary.
    """
    step = chosen_step(history, step)
    since = chosen_step(history, since)
    asked = AskedValue.of(of, task, history, step)
    if vary != EPISODES and since > step:
        raise DataError(f"`since` is {since}, but what is changed after step {step} is not seen there.")
    values, contexts = [], []
    for value, context in _varied(task, history, step, vary, since):
        values.append(value)
        contexts.append(context)
    log_probs = _last_decisions(model, contexts)
    return Scan(name, asked.words, step, vary, since, values, asked(log_probs).tolist(), log_probs.exp().tolist())


def _varied(task: Task, history: History, step: int, vary: str, since: int) -> Iterator[tuple[Any, History]]:
    """Return every value, and the context with it, up to the step.

    Raises:
        DataError: Nothing of that name can vary.
    """
    if vary == EPISODES:
        number = int(history.episode[0, step]) - int(history.episode[0, 0])
        for dropped in range(number + 1):
            shortened = rearrange(history, range(dropped, number + 1))
            yield number - dropped, shortened.window(stop=step + 1 - dropped * task.horizon)
    elif vary == ACTION:
        for action in task.action_names:
            yield action, edit(history, since, task, action=action).window(stop=step + 1)
    elif vary == REWARD:
        for reward in task.rewards:
            yield reward, edit(history, since, task, reward=reward, then="nothing").window(stop=step + 1)
    else:
        for place in _places(task, history, vary):
            moved = change_facts(history, task, since, {vary: place if len(place) > 1 else place[0]})
            yield list(place), moved.window(stop=step + 1)


def _places(task: Task, history: History, fact: str) -> Sequence[tuple[int, ...]]:
    """Return all places that a fact can be.

    Raises:
        DataError: There is no such fact, it is no place, or there are too many.
    """
    facts = {name: np.asarray(value)[0] for name, value in history.task.items()}
    if "goals" in facts:  # a goal that moves is put everywhere from the step on
        facts = {**facts, "goal": facts["goals"][0]}
    known = [ACTION, REWARD, EPISODES, *(name for name in facts if name != "goals")]
    if fact not in facts:
        raise DataError(f"`vary` is {fact!r}.{did_you_mean(fact, known)} Known: {', '.join(known)}.")
    value, sizes = facts[fact], task.channel_sizes
    if not np.issubdtype(value.dtype, np.integer) or value.size != len(sizes) or prod(sizes) > MOST_VALUES:
        raise DataError(f"`vary` is {fact!r}, but that is no place of which there are at most {MOST_VALUES}.")
    return list(product(*map(range, sizes)))


def _last_decisions(model: HookedADTransformer, contexts: Sequence[History]) -> Float[Tensor, "context action"]:
    """Return the log-probabilities at the last step of some contexts, those of one length together."""
    log_probs = []
    same_length = len({context.n_steps for context in contexts}) == 1
    size = ROWS_AT_ONCE if same_length else 1
    for first in range(0, len(contexts), size):
        batch = joined([replace(context, learner=None) for context in contexts[first : first + size]])
        log_probs.append(model(batch)[:, -1].double().log_softmax(-1))
    return torch.cat(log_probs)
