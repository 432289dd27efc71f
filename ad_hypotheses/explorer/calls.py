"""Every panel as a call of the library: the same call is made and shown, so that both cannot differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ad_hypotheses as adh
from ad_hypotheses.explorer.state import (
    CounterfactualEdit,
    FactsChange,
    FromHistories,
    FromTokens,
    Rearrangement,
    State,
    StepEdit,
)
from ad_hypotheses.language.history import History
from ad_hypotheses.library.model import Model

LINE = 110  # characters of a line of Python, beyond which JSON is broken into several


@dataclass(frozen=True)
class Call:
    """One call of a public function of the library.

    Attributes:
        function: Name of the function of `ad_hypotheses`, or `model.histories`, or `History.from_json`.
        values: Arguments by place: names of variables, or values.
        named: Arguments by name.
        part: What is taken of the result, in Python: `[3]`, `.donor`.
    """

    function: str
    values: Sequence[Any] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    part: str = ""

    @property
    def text(self) -> str:
        """The call in Python."""
        place = self.function if self.function.startswith("model.") else f"adh.{self.function}"
        arguments = [*map(_written, self.values), *(f"{name}={_written(value)}" for name, value in self.named.items())]
        return f"{place}({', '.join(arguments)}){self.part}"

    def made(self, model: Model, context: History | None = None, **others: History) -> Any:
        """Make the call and return its result, without what `part` takes of it.

        Args:
            model: What the variable `model` stands for.
            context: What the variable `context` stands for.
            **others: What other variables stand for.
        """
        variables = {"model": model, "context": context, **others}
        owner, _, name = self.function.rpartition(".")
        home: Any = {"": adh, "model": model, "History": adh.History}[owner]

        def value(given: Any) -> Any:
            return variables[given.name] if isinstance(given, Variable) else given

        function = getattr(home, name)
        return function(*map(value, self.values), **{name: value(given) for name, given in self.named.items()})


@dataclass(frozen=True)
class Variable:
    """A variable of the Python that is shown."""

    name: str


MODEL, CONTEXT, AMONG, BEFORE = (Variable(name) for name in ("model", "context", "among", "before"))


def origin_call(state: State) -> Call:
    """Return the call that makes the context, before any edit."""
    origin = state.origin
    if isinstance(origin, FromHistories):
        named = {"data": origin.data, "tasks": origin.tasks, "seed": origin.seed}
        return Call("model.histories", (origin.rows,), named, f"[{origin.row}]")
    assert isinstance(origin, FromTokens)
    return Call("History.from_json", (json.dumps(dict(origin.history), separators=(",", ":")),))


def edit_call(edit: StepEdit | Rearrangement | FactsChange | CounterfactualEdit, context: Variable = CONTEXT) -> Call:
    """Return the call that makes one edit of the history in a variable."""
    if isinstance(edit, StepEdit):
        changed = {name: getattr(edit, name) for name in ("action", "reward", "observation")}
        named = {name: value for name, value in changed.items() if value is not None}
        return Call("edit", (context,), {"step": edit.step, **named, "then": edit.then, "model": MODEL}
                    | ({"seed": edit.seed} if edit.seed else {}))  # fmt: skip
    if isinstance(edit, Rearrangement):
        return Call("rearrange", (context, list(edit.episodes)))
    if isinstance(edit, FactsChange):
        named = {"step": edit.step, **edit.facts, "model": MODEL}
        return Call("change_facts", (context,), named | ({"seed": edit.seed} if edit.seed else {}))
    return Call("counterfactual", (edit.name, context), {"model": MODEL, "seed": edit.seed}, ".donor")


def decisions_call(context: Variable = CONTEXT) -> Call:
    """Return the call of the strip and of the distribution at a step, for the history in a variable."""
    return Call("decisions", (MODEL, context))


def attention_call(state: State) -> Call:
    """Return the call of the attention from the selected step."""
    return Call("attention", (MODEL, CONTEXT), {"step": state.step})


def attribution_call(state: State) -> Call:
    """Return the call of the attribution at the selected step."""
    return Call("attribution", (MODEL, CONTEXT), {"step": state.step, "of": state.of})


def learners_call(state: State, source: bool) -> Call:
    """Return the call of what others would do at the selected step."""
    return Call("learners", (MODEL, CONTEXT), {"step": state.step} | ({"source": True} if source else {}))


def carriers_call(state: State, edges: bool) -> Call:
    """Return the call that says what carries the difference that the last edit makes."""
    asked = {"step": state.step, "of": state.of} | ({"edges": True} if edges else {})
    return Call("carriers", (MODEL, BEFORE, CONTEXT), asked)


def lines_of_both(state: State) -> list[str]:
    """Return the Python that makes the context before the last edit that is on, and the one after it."""
    *former, last = state.active_edits
    lines = [f"before = {origin_call(state).text}"]
    lines += [f"before = {edit_call(edit, BEFORE).text}" for edit in former]
    return [*lines, f"context = {edit_call(last, BEFORE).text}"]


def among_call(state: State) -> Call:
    """Return the call that makes the histories that donors come from: others of the same kind as the context."""
    assert state.claim is not None
    origin = state.origin if isinstance(state.origin, FromHistories) else FromHistories()
    named = {"data": origin.data, "tasks": origin.tasks, "seed": origin.seed + 1}
    return Call("model.histories", (state.claim.rows,), named)


def claim_lines(state: State) -> list[str]:
    """Return the Python that scrubs the context; donors are cut to its length."""
    among = f"among = {among_call(state).text}.window(stop=context.n_steps)"
    return [among, f"scrubbed = {claim_call(state).text}"]


def claim_call(state: State) -> Call:
    """Return the call that scrubs the context."""
    claim = state.claim
    assert claim is not None
    named = {"model": MODEL, "passes": claim.passes, "seed": claim.seed}
    return Call("scrub_at", (claim.file, CONTEXT, AMONG), named | ({"name": claim.name} if claim.name else {}))


def _written(value: Any) -> str:
    return value.name if isinstance(value, Variable) else repr(value)
