"""The one way in which a feature is called: nothing that it does reaches other features, the model or the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ad_hypotheses.errors import did_you_mean
from ad_hypotheses.language.global_state import global_state_kept
from ad_hypotheses.language.history import History, read_only
from ad_hypotheses.language.problems import Problem, listed, shown_path
from ad_hypotheses.language.user_code import EndedProgram, described, frames_of, user_code

HISTORY = "history"  # the parameter that stands for data; it is no arrow


class _Facts(Mapping[str, np.ndarray]):
    """Facts of the task that remember which of them were read."""

    def __init__(self, facts: Mapping[str, np.ndarray]) -> None:
        self._facts = facts
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._facts:
            raise KeyError(f"no fact {name!r}; this task has: {listed(self._facts)}.{did_you_mean(name, self._facts)}")
        self.read.add(name)
        return read_only(self._facts[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)


def call_feature(
    function: Callable[..., Any], reads: Sequence[str], history: History, values: Mapping[str, np.ndarray]
) -> tuple[Any, frozenset[str]]:
    """Call a feature on a history and on its parents' values.

    The function sees arrays that it cannot write to and a history of its own, without the learner. An array that it
    returns is copied, since it may be one that the function goes on writing to; global state is put back.

    Args:
        function: What the user wrote.
        reads: Names of its parameters in their order, `history` among them.
        history: The data.
        values: Value of every parent by name.

    Returns:
        Whatever the function returned, an array as a read-only copy; and the facts of the task that it read.

    Raises:
        EndedProgram: The function called `sys.exit`, or the like.
    """
    visible, facts = shown(history)
    arguments = [visible if name == HISTORY else read_only(values[name]) for name in reads]
    value = called(function, *arguments)
    return (read_only(value.copy()) if type(value) is np.ndarray else value), frozenset(facts.read)


def shown(history: History) -> tuple[History, _Facts]:
    """Return a history as a user's function sees it, and what tells which facts of the task it reads."""
    facts = _Facts(history.task)
    visible = replace(history, task=facts, learner=None)  # who lived it is no more visible than the goal
    facts.read.clear()  # a run-time type checker looks into what it is given
    return visible, facts


def called(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that a user wrote, and put global state back.

    Raises:
        EndedProgram: The function called `sys.exit`, or the like.
    """
    with global_state_kept(), user_code():
        return function(*arguments)


def raised(name: str, file: str, line: int, error: Exception) -> Problem:
    """Say what a feature raised, and on which line of its file.

    Args:
        name: The feature's name.
        file: Where it was written.
        line: Line of its `def`.
        error: What it raised.
    """
    lines = [frame for frame in frames_of(error) if frame.filename == file]
    message = f"{name}() raises {described(error)}"
    if not lines:
        return Problem(message, f"{shown_path(file)}:{line}")
    code, advice = lines[-1].line or "", ""
    if isinstance(error, EndedProgram):
        advice = "a feature returns a value, or raises an error that says what is wrong; it does not end the program"
    elif "read-only" in message:
        advice = "histories and parents cannot be changed in place: work on a copy, e.g. value = value.copy()"
    elif "learner" in code:
        advice = "history.learner is not shown to features: the model cannot see who lived the history"
    return Problem(message, f"{shown_path(file)}:{lines[-1].lineno}", (("code", code),) if code else (), advice)
