"""Symmetries of a history: what makes the donors of a node where none can be found.

A symmetry is a function `(history, steps, rng) -> history`. Row `i` of what it returns is row `i` of the history with
another past before `steps[i]`: other observations up to that step, other actions and rewards before it, drawn from
`rng`. It claims that the node's value at that step stays what it is. It may also return `(history, names)`, where
`names[i]` says what each action of row `i` is called in the past that was made.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from ad_hypotheses.language.feature_call import called, raised, shown
from ad_hypotheses.language.history import History, read_only
from ad_hypotheses.language.problems import Problem, failure, shown_path
from ad_hypotheses.language.user_code import line_of

REDRAWS = 16  # times that a past is drawn again which came out as it was
PARAMETERS = "(history, steps, rng)"
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Histories that a symmetry made.

    Attributes:
        history: The histories. [batch, step]
        names: What each action of the history that it was applied to is called in the one that was made; None where
            actions keep their names. [batch, action]
    """

    history: History
    names: Int[np.ndarray, "batch action"] | None = None

    def put(self, rows: Int[np.ndarray, " changed"], other: Drawn) -> Drawn:
        """Return the same with some rows replaced by those of another draw, in their order."""
        arrays = {}
        for name in ("observations", "actions", "rewards"):
            arrays[name] = getattr(self.history, name).copy()
            arrays[name][rows] = getattr(other.history, name)
        names = self.names
        if names is not None:
            assert other.names is not None
            names = names.copy()
            names[rows] = other.names
        return Drawn(replace(self.history, **arrays), names)


@dataclass(frozen=True, eq=False)
class Symmetry:
    """What a node's donors are made by.

    Attributes:
        name: The function's name.
        function: What the user wrote.
        file: Where it was written.
        line: Line of its `def`.
    """

    name: str
    function: Callable[..., Any]
    file: str = ""
    line: int = 0

    @classmethod
    def of(cls, function: types.FunctionType) -> Symmetry:
        """Take a function that a user wrote for one."""
        code = inspect.unwrap(function).__code__
        return cls(function.__name__, function, code.co_filename, line_of(code))

    @property
    def place(self) -> str:
        """`file:line` of the definition."""
        return f"{shown_path(self.file)}:{self.line}"

    def draw(self, history: History, steps: Int[np.ndarray, " batch"], rng: np.random.Generator) -> Drawn:
        """Apply it once to each row of a history, at a step of its own.

        The function sees arrays that it cannot write to and no learner; global state is put back.

        Args:
            history: The histories. [batch, step]
            steps: Step of each whose past is changed. [batch]
            rng: What it draws from.

        Raises:
            HypothesisError: It raised, or returned something else than histories of the same shape.
        """
        try:
            value = called(self.function, shown(history)[0], read_only(steps), rng)
        except Exception as error:  # the user's code may raise anything
            raise failure([raised(self.name, self.file, self.line, error)]) from error
        problem = self._wrong_value(value, history)
        if problem is not None:
            raise failure([problem])
        made, names = value if isinstance(value, tuple) else (value, None)
        past = replace(
            history,
            observations=np.array(made.observations),
            actions=np.array(made.actions),
            rewards=np.array(made.rewards),
            episode=np.array(made.episode),
        )
        return Drawn(past, None if names is None else np.array(names))

    def draw_other(
        self,
        history: History,
        steps: Int[np.ndarray, " batch"],
        rng: np.random.Generator,
        *,
        may_stay: bool = False,
    ) -> tuple[Drawn, Bool[np.ndarray, "batch step"]]:
        """Apply it to each row, again to those rows whose past came out as it was, 16 times at most.

        Args:
            history: The histories. [batch, step]
            steps: Step of each whose past is changed. [batch]
            rng: What it draws from.
            may_stay: Whether a past may come out as it was.

        Returns:
            What was made, and at which steps it shows something else. [batch, step]
        """
        drawn = self.draw(history, steps, rng)
        changed = changed_tokens(history, drawn.history, steps)
        for _ in range(0 if may_stay else REDRAWS):
            same = np.flatnonzero(~changed.any(axis=1))
            if not same.size:
                break
            drawn = drawn.put(same, self.draw(history[same], steps[same], rng))
            changed[same] = changed_tokens(history[same], drawn.history[same], steps[same])
        return drawn, changed

    def _wrong_value(self, value: Any, history: History) -> Problem | None:
        renamed = isinstance(value, tuple) and len(value) == 2
        made, names = value if renamed else (value, None)
        advice = "return dataclasses.replace(history, actions=..., rewards=...)"
        if type(made) is not History:
            return Problem(f"{self.name}() returns {type(value).__name__}, not a history.", self.place, advice=advice)
        for field in ("observations", "actions", "rewards", "episode"):
            shape, wanted = np.shape(getattr(made, field)), getattr(history, field).shape
            if shape != wanted:
                message = f"{self.name}() returns {field} of shape {shape}, not {wanted}."
                return Problem(message, self.place, advice="change values only: every row keeps its steps")
        wanted = (history.n_rows, history.n_actions)
        given = np.asarray(names)
        if renamed and not (given.shape == wanted and (np.sort(given) == np.arange(history.n_actions)).all()):
            message = f"{self.name}() returns names that are not a permutation of the {history.n_actions} actions."
            return Problem(message, self.place, advice=f"return one for each row, [batch, action] = {wanted}")
        return None


def changed_tokens(before: History, after: History, steps: Int[np.ndarray, " batch"]) -> Bool[np.ndarray, "batch step"]:
    """Return which of the tokens up to a step of each row show something else in another history. [batch, step]"""
    differs = (
        (before.observations != after.observations).any(axis=-1)
        | (before.previous_actions != after.previous_actions)
        | (before.previous_rewards != after.previous_rewards)
    )
    return differs & (np.arange(before.n_steps) <= steps[:, None])


def wrong_symmetry(name: str, symmetry: Any, place: str) -> Iterator[Problem]:
    """Yield what keeps `symmetry=` of a node from being used.

    Args:
        name: Name of the node.
        symmetry: What was written; None where nothing was.
        place: Where the node is defined.
    """
    if symmetry is None:
        return
    example = f"write def {getattr(symmetry, '__name__', 'reordered')}{PARAMETERS}, which returns a history"
    if not inspect.isfunction(symmetry):
        shown_value = getattr(symmetry, "name", None) or repr(symmetry)
        yield Problem(f"{name}() has the symmetry {shown_value}, which is not a plain function.", place, advice=example)
        return
    parameters = inspect.signature(symmetry).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind in POSITIONAL]
    strange = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if len(needed) != 3 or strange:
        message = f"{symmetry.__name__}(), the symmetry of {name}(), takes {inspect.signature(symmetry)}."
        yield Problem(message, place, (("called with", PARAMETERS),), example)
