"""The state of the page: a model, where the context comes from, its edits, and what is looked at.

It is what a link, a file and a request hold, and is read as what is foreign: strictly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ad_hypotheses.errors import DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.storage.reading import parse_json
from ad_hypotheses.studies.side_by_side import EXPLANATION, SCRUBBED

SCHEMA = 1  # of a state; raise it when its meaning changes
MOST_EDITS = 1000
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Tasks = Literal["train", "held-out", "all"]
Action = Annotated[str, Field(max_length=100)] | Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelReference(_Part):
    """A model by its name, and the SHA-256 of its weights when the state was written; empty where nobody looked."""

    name: Annotated[str, Field(min_length=1, max_length=500)]
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""


class FromHistories(_Part):
    """A row of what `model.histories` makes."""

    kind: Literal["histories"] = "histories"
    row: Annotated[int, Field(ge=0)] = 0
    rows: Annotated[int, Field(ge=2, le=1024)] = 8
    data: Annotated[str, Field(max_length=100)] = "source"
    tasks: Tasks = "held-out"
    seed: Seed = 0
    source: Annotated[str, Field(max_length=100)] | None = None

    @model_validator(mode="after")
    def _is_there(self) -> FromHistories:
        if self.row >= self.rows:
            raise ValueError(f"row is {self.row}, but the rows are 0 to {self.rows - 1}")
        return self


class FromPlay(_Part):
    """Actions that are written by hand, from an empty context on, as `play` answers them."""

    kind: Literal["play"] = "play"
    actions: Annotated[tuple[Action, ...], Field(min_length=1, max_length=10_000)]
    task: Annotated[int, Field(ge=0)] = 0
    tasks: Tasks = "held-out"
    seed: Seed = 0


class FromTokens(_Part):
    """A history that is written out, as `History.to_json` does."""

    kind: Literal["tokens"] = "tokens"
    history: Mapping[str, Any]


class StepEdit(_Part):
    """One call of `edit`."""

    kind: Literal["edit"] = "edit"
    step: Annotated[int, Field(ge=0)]
    action: Action | None = None
    reward: Number | None = None
    observation: tuple[int, ...] | None = None
    then: Literal["world", "model", "nothing"] = "world"
    seed: Seed = 0
    off: bool = False


class Rearrangement(_Part):
    """One call of `rearrange`."""

    kind: Literal["rearrange"] = "rearrange"
    episodes: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=1000)]
    off: bool = False


class FactsChange(_Part):
    """One call of `change_facts`."""

    kind: Literal["change_facts"] = "change_facts"
    step: Annotated[int, Field(ge=0)]
    facts: dict[str, int | Number | tuple[int | Number, ...]]
    seed: Seed = 0
    off: bool = False

    @model_validator(mode="after")
    def _is_of_facts(self) -> FactsChange:
        wrong = [name for name in self.facts if not name.isidentifier() or name in ("history", "step", "model", "seed")]
        if wrong or not self.facts:
            raise ValueError(f"{wrong[0]!r} is not a fact" if wrong else "facts is empty")
        return self


class CounterfactualEdit(_Part):
    """The donor of one call of `counterfactual`."""

    kind: Literal["counterfactual"] = "counterfactual"
    name: Annotated[str, Field(max_length=100)]
    seed: Seed = 0
    off: bool = False


class LivedEdit(_Part):
    """One of the lives of one call of `live`, in place of the context."""

    kind: Literal["live"] = "live"
    who: Annotated[str, Field(min_length=1, max_length=100)]
    since: Annotated[int, Field(ge=0)]
    until: Annotated[int, Field(ge=1)]
    seed: Seed = 0
    off: bool = False


class LiveReference(_Part):
    """Who lives side by side in the world of the context, from which of its steps on, and up to which."""

    of: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], Field(min_length=1, max_length=24)]
    since: Annotated[int, Field(ge=0)] = 0
    until: Annotated[int, Field(ge=0)] = 0
    seed: Seed = 0

    @model_validator(mode="after")
    def _is_in_order(self) -> LiveReference:
        if self.until < self.since:
            raise ValueError(f"until is {self.until}, but lives begin at step {self.since}")
        return self

    @property
    def of_claim(self) -> bool:
        """Whether a claim is needed for somebody who lives."""
        return bool({SCRUBBED, EXPLANATION} & {*self.of})


class ScanReference(_Part):
    """What varies while the model is asked at the selected step."""

    vary: Annotated[str, Field(max_length=100)]
    since: Annotated[int, Field(ge=0)] = 0


class Pin(_Part):
    """Who stands in for an arrow at a step, instead of whom is drawn: a step of another history."""

    arrow: Annotated[str, Field(max_length=1000)]
    step: Annotated[int, Field(ge=0)]
    row: Annotated[int, Field(ge=0)]
    donor_step: Annotated[int, Field(ge=0)]


class Rival(_Part):
    """Another hypothesis that the one of the page is compared with, by its file and name."""

    file: Annotated[str, Field(min_length=1, max_length=500)]
    name: Annotated[str, Field(max_length=200)] | None = None


class ClaimReference(_Part):
    """A hypothesis that is scrubbed on the context, by its file and name, and by how many donors and passes."""

    file: Annotated[str, Field(min_length=1, max_length=500)]
    name: Annotated[str, Field(max_length=200)] | None = None
    rows: Annotated[int, Field(ge=2, le=1024)] = 64
    passes: Annotated[int, Field(ge=1, le=8)] = 2
    seed: Seed = 0
    pins: Annotated[tuple[Pin, ...], Field(max_length=1000)] = ()
    rival: Rival | None = None


Origin = Annotated[FromHistories | FromPlay | FromTokens, Field(discriminator="kind")]
Edit = Annotated[StepEdit | Rearrangement | FactsChange | CounterfactualEdit | LivedEdit, Field(discriminator="kind")]
Edits = Annotated[tuple[Edit, ...], Field(max_length=MOST_EDITS)]


class Partner(_Part):
    """A context that the one of the page is compared with."""

    origin: Origin
    edits: Edits = ()


class Replacement(_Part):
    """Parts of the model that are replaced: by nothing, by means over histories, or by what they do in this context."""

    parts: Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=1000)] = ()
    by: Literal["zero", "mean", "difference"] = "zero"
    rows: Annotated[int, Field(ge=2, le=1024)] = 64


class State(_Part):
    """All that the page shows.

    Attributes:
        schema_number: Of the meaning of the rest.
        model: The model.
        origin: Where the context comes from.
        edits: What was changed in it, in order; those that are off are left out.
        partner: What it is compared with; None for the context before the last edit.
        step: The selected step.
        of: The logit, or the difference of two, that is asked about; None for that of the action that was taken.
        head: The head whose attention is drawn; None for the mean of all.
        received: Whether the attention is drawn that the selected step gets, not what it pays.
        replaced: Parts of the model that are replaced.
        scan: What varies; None for nothing.
        others: Names of other models that read the context, too.
        live: Who lives side by side in the world of the context; None for nobody.
        claim: The hypothesis that is scrubbed on the context; its file runs only once the user says so.
        notes: The user's own words, Markdown.
    """

    schema_number: Literal[1] = Field(1, alias="schema")
    model: ModelReference
    origin: Origin = FromHistories()
    edits: Edits = ()
    partner: Partner | None = None
    step: Annotated[int, Field(ge=0)] = 0
    of: Annotated[str, Field(max_length=200)] | None = None
    head: Annotated[str, Field(max_length=40)] | None = None
    received: bool = False
    replaced: Replacement = Replacement()
    scan: ScanReference | None = None
    others: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=500)], ...], Field(max_length=100)] = ()
    live: LiveReference | None = None
    claim: ClaimReference | None = None
    notes: Annotated[str, Field(max_length=20_000)] = ""

    @property
    def active_edits(self) -> list[Edit]:
        """The edits that are on."""
        return [edit for edit in self.edits if not edit.off]

    def plain(self) -> dict[str, Any]:
        """Return the state as plain data, as its file holds it."""
        return self.model_dump(mode="json", by_alias=True)


def read_state(content: bytes | str | Mapping[str, Any]) -> State:
    """Read a state that the page, or :meth:`State.plain`, wrote.

    Raises:
        DataError: It is not a state, or of another version.
    """
    try:
        # the JSON way of pydantic takes lists for tuples and is strict all the same
        return State.model_validate_json(content if isinstance(content, bytes | str) else json.dumps(content))
    except ValidationError as error:
        raise DataError(f"this is not a state of the explorer: {first_problem(error)}.") from error


def read_origin(content: bytes | str, model: str) -> State:
    """Read a file that is opened: a state, or histories as `History.to_json` writes them, of which the first is shown.

    Args:
        content: JSON.
        model: Name of the model for histories, which do not name theirs.

    Raises:
        DataError: It is neither.
    """
    try:
        parsed = parse_json(content)
    except ValueError as error:
        raise DataError(f"this is not JSON: {error}. Open a state of the explorer, or a history (to_json).") from error
    if not (isinstance(parsed, dict) and "observations" in parsed):
        return read_state(content)
    return state_of_history(History.from_json(_text(content)), model)


def state_of_history(history: History, model: str) -> State:
    """Return the state that shows the first of some histories.

    Raises:
        DataError: There is none.
    """
    if not (history.n_rows and history.n_steps):
        raise DataError("there is no step in this history, so there is nothing to show.")
    origin = FromTokens(history=history[0].plain())
    return State(model=ModelReference(name=model), origin=origin)  # type: ignore[call-arg]


def first_problem(error: ValidationError) -> str:
    """Say where the first thing is that is wrong, and what."""
    problem = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place or 'it'}: {problem['msg']}{more}"


def _text(content: bytes | str) -> str:
    return content.decode() if isinstance(content, bytes) else content
