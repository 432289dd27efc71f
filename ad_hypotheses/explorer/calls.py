"""Every panel as a call of the library: the same call is made and shown, so that both cannot differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ad_hypotheses as adh
from ad_hypotheses.explorer.state import (
    Edit,
    FactsChange,
    FromHistories,
    FromPlay,
    FromTokens,
    LivedEdit,
    Rearrangement,
    State,
    StepEdit,
)
from ad_hypotheses.language.history import History
from ad_hypotheses.library.model import Model
from ad_hypotheses.progress import Progress

HISTORIES, LIVE = "model.histories", "live"


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

    def made(
        self,
        model: Model,
        context: History | None = None,
        others: Mapping[str, History] | None = None,
        progress: Progress | None = None,
    ) -> Any:
        """Make the call and return its result, without what `part` takes of it.

        Args:
            model: What the variable `model` stands for.
            context: What the variable `context` stands for.
            others: What other variables stand for.
            progress: What is told how far histories are, and may stop them; None for nobody.
        """
        variables = {"model": model, "context": context, **(others or {})}
        owner, _, name = self.function.rpartition(".")
        home: Any = {"": adh, "model": model, "History": adh.History}[owner]

        def value(given: Any) -> Any:
            return variables[given.name] if isinstance(given, Variable) else given

        function = getattr(home, name)
        heard = {"progress": progress} if progress is not None and self.function in (HISTORIES, LIVE) else {}
        return function(*map(value, self.values), **{name: value(given) for name, given in self.named.items()}, **heard)


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
        named |= {} if origin.source is None else {"source": origin.source}
        return Call(HISTORIES, (origin.rows,), named, f"[{origin.row}]")
    if isinstance(origin, FromPlay):
        named = {"task": origin.task, "tasks": origin.tasks, "seed": origin.seed}
        return Call("play", (MODEL, list(origin.actions)), named)
    assert isinstance(origin, FromTokens)
    return Call("History.from_json", (json.dumps(dict(origin.history), separators=(",", ":")),))


def edit_call(edit: Edit, context: Variable = CONTEXT) -> Call:
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
    if isinstance(edit, LivedEdit):
        named = {"of": [edit.who], "since": edit.since, "seed": edit.seed}
        return Call(LIVE, (MODEL, context), named, f".until({edit.until}).histories[{edit.who!r}]")
    return Call("counterfactual", (edit.name, context), {"model": MODEL, "seed": edit.seed}, ".donor")


def decisions_call(context: Variable = CONTEXT) -> Call:
    """Return the call of the strip and of the distribution at a step, for the history in a variable."""
    return Call("decisions", (MODEL, context))


def attention_call(state: State) -> Call:
    """Return the call of the attention that the selected step pays, or gets."""
    return Call("attention", (MODEL, CONTEXT), {"step": state.step} | ({"received": True} if state.received else {}))


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


def ablations_call(state: State, edges: bool) -> Call:
    """Return the call of what every part does at the selected step, if it alone is replaced."""
    asked = {"step": state.step, "of": state.of, "by": _by(state)} | ({"edges": True} if edges else {})
    return Call("ablations", (MODEL, CONTEXT), asked)


def scan_call(state: State) -> Call:
    """Return the call of what the model does at the selected step as one thing varies."""
    assert state.scan is not None
    asked = {"step": state.step, "of": state.of, "vary": state.scan.vary, "since": state.scan.since}
    return Call("scan", (MODEL, CONTEXT), asked)


def other_call(name: str) -> Call:
    """Return the call of what another model does in the context."""
    return Call("decisions", (name, CONTEXT))


def replaced_call(state: State) -> Call:
    """Return the call of the decisions while the chosen parts are replaced."""
    read, by = (BEFORE, CONTEXT) if state.replaced.by == "difference" else (CONTEXT, _by(state))
    return Call("decisions", (MODEL, read), {"replaced": list(state.replaced.parts), "by": by})


def _by(state: State) -> Variable | str:
    return AMONG if state.replaced.by == "mean" else "zero"


def context_lines(state: State, variable: Variable = CONTEXT) -> list[str]:
    """Return the Python that makes the context of a state, in a variable."""
    name = variable.name
    return [f"{name} = {origin_call(state).text}"] + [
        f"{name} = {edit_call(edit, variable).text}" for edit in state.active_edits
    ]


def replaced_lines(state: State, call: Call) -> list[str]:
    """Return the Python of a call while parts are replaced, with what it needs."""
    among = [f"among = {among_call(state, state.replaced.rows).text}"] if AMONG in call.named.values() else []
    both = lines_of_both(state) if BEFORE in call.values else []
    return [*both, *among, call.text]


def lines_of_both(state: State) -> list[str]:
    """Return the Python that makes the context and what it is compared with: its partner, or it before its last edit.

    The latter comes first, in the variable `before`.
    """
    if state.partner is not None:
        former_state = state.model_copy(update={"origin": state.partner.origin, "edits": state.partner.edits})
        return [*context_lines(former_state, BEFORE), *context_lines(state)]
    *former, last = state.active_edits
    lines = [f"before = {origin_call(state).text}"]
    lines += [f"before = {edit_call(edit, BEFORE).text}" for edit in former]
    return [*lines, f"context = {edit_call(last, BEFORE).text}"]


def among_call(state: State, rows: int) -> Call:
    """Return the call that makes other histories of the same kind as the context: for donors, and for means."""
    origin = state.origin if isinstance(state.origin, FromHistories) else FromHistories()
    named = {"data": origin.data, "tasks": origin.tasks, "seed": origin.seed + 1}
    return Call(HISTORIES, (rows,), named | ({} if origin.source is None else {"source": origin.source}))


def claim_lines(state: State) -> list[str]:
    """Return the Python that scrubs the context; donors are cut to its length."""
    assert state.claim is not None
    among = f"among = {among_call(state, state.claim.rows).text}.window(stop=context.n_steps)"
    return [among, f"scrubbed = {claim_call(state).text}"]


def claim_call(state: State) -> Call:
    """Return the call that scrubs the context."""
    claim = state.claim
    assert claim is not None
    named: dict[str, Any] = {"model": MODEL, "passes": claim.passes, "seed": claim.seed}
    named |= {"name": claim.name} if claim.name else {}
    named |= {"pins": [(pin.arrow, pin.step, pin.row, pin.donor_step) for pin in claim.pins]} if claim.pins else {}
    return Call("scrub_at", (claim.file, CONTEXT, AMONG), named | {"at": state.step})


def live_call(state: State) -> Call:
    """Return the call of those who live side by side."""
    live, claim = state.live, state.claim
    assert live is not None
    named: dict[str, Any] = {"of": list(live.of), "since": live.since, "seed": live.seed}
    if live.of_claim and claim is not None:
        named |= {"hypothesis": claim.file, "among": AMONG} | ({"name": claim.name} if claim.name else {})
    return Call(LIVE, (MODEL, CONTEXT), named, f".until({live.until})")


def live_lines(state: State) -> list[str]:
    """Return the Python of those who live side by side."""
    call = live_call(state)
    among = (
        [f"among = {among_call(state, state.claim.rows).text}"] if state.claim and AMONG in call.named.values() else []
    )
    return [*among, f"lives = {call.text}"]


def rivals_call(state: State) -> Call:
    """Return the call of where the claim and its rival part."""
    claim = state.claim
    assert claim is not None
    assert claim.rival is not None
    names = {"name": claim.name, "rival_name": claim.rival.name}
    named = {"model": MODEL, **{key: name for key, name in names.items() if name}}
    return Call("rivals_at", (claim.file, claim.rival.file, CONTEXT, AMONG), named)


def rivals_lines(state: State) -> list[str]:
    """Return the Python of where the claim and its rival part."""
    return [claim_lines(state)[0], f"rivals = {rivals_call(state).text}"]


def _written(value: Any) -> str:
    return value.name if isinstance(value, Variable) else repr(value)
