"""Records as plain data: numbers with intervals, curves, and dataclasses to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ad_hypotheses.errors import DataError
from ad_hypotheses.storage.reading import read_json

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails, SchemaValidator

Record = TypeVar("Record")


@dataclass(frozen=True)
class Number:
    """An estimate with its interval; not estimable if its denominator may be 0.

    Attributes:
        value: NaN where there is none.
        low, high: NaN where nothing bounds it, as with too few tasks.
        estimable: Whether it may be read.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    estimable: bool = True

    @classmethod
    def read(cls, figure: float | Mapping[str, float | None] | None) -> Number | None:
        """Return a figure of an evaluation: a mean alone, or `{"value", "low", "high"}`, null where unknown.

        Raises:
            KeyError: It has no value or no bound.
        """
        if figure is None:
            return None
        if not isinstance(figure, Mapping):
            return cls(figure)
        value, low, high = (math.nan if (part := figure[name]) is None else part for name in ("value", "low", "high"))
        return cls(value, low, high)

    def written(self) -> dict[str, float | None]:
        """Return what :meth:`read` reads, with null for what is not finite."""
        return {
            name: part if math.isfinite(part) else None
            for name, part in (("value", self.value), ("low", self.low), ("high", self.high))
        }

    def cells(self) -> tuple[float | None, float | None, float | None]:
        """Return what a table of figures has of it: value, low, high; nothing where it is not estimable."""
        return (self.value, self.low, self.high) if self.estimable else (None, None, None)

    @property
    def has_interval(self) -> bool:
        """Whether both bounds are known."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]" if self.estimable else "not estimable"


@dataclass(frozen=True)
class Curve:
    """Mean return of each episode of a learner. [episode]

    Attributes:
        name: Of the learner.
        returns: Means over its lives.
        rollouts: Number of lives.
        low, high: Bounds of the 95 % interval of the means, over tasks; empty if not estimated.
    """

    name: str
    returns: list[float]
    rollouts: int
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it, numbers with six digits; NaN and infinity are null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def as_recorded(record: Record) -> Record:
    """Return a record as it comes back from its file, with six digits a number.

    A report is drawn from this, so that the file can draw the same report again.
    """
    return build(type(record), plain(dataclasses.asdict(record)))  # type: ignore[call-overload, no-any-return]


def read_record(kind: type[Record], path: Path, schemas: Sequence[int | None], noun: str, again: str) -> Record:
    """Read a record that was written as JSON.

    Args:
        kind: The dataclass that it is made of.
        path: Of the file.
        schemas: Versions of the format that can be read, the newest last; None for records that have none.
        noun: What the record is called in messages, with its article.
        again: How to make it again, a sentence.

    Raises:
        DataError: The file is missing, damaged or of another version.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the record {path}: {error}. {again}") from error
    return record_of(kind, content, str(path), schemas, noun, again)


def record_of(
    kind: type[Record], content: Any, place: str, schemas: Sequence[int | None], noun: str, again: str
) -> Record:
    """Return the record that JSON held; arguments as for :func:`read_record`.

    Args:
        content: What JSON held.
        place: Where it was, for messages.

    Raises:
        DataError: It is damaged or of another version.
    """
    if not isinstance(content, dict) or content.get("schema") not in schemas:
        raise DataError(f"{place} is not {noun} of version {schemas[-1]}. {again}")
    try:
        return build(kind, content)  # type: ignore[no-any-return]
    except ValueError as error:
        raise DataError(f"{place} does not hold what {noun} holds: {error}. {again}") from error


def build(kind: Any, value: Any, place: str = "") -> Any:
    """Turn plain data back into the dataclasses that `kind` names; a number that is null was NaN.

    Args:
        kind: A dataclass, or the type of a field of one.
        value: What JSON held.
        place: Of the value in the whole, for messages.

    Raises:
        ValueError: The data are not of that type; says where, and how many other places are wrong.
    """
    from pydantic import ValidationError

    try:
        return _validator(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        more = f" (and {len(others):,} more)" if others else ""
        raise ValueError(f"{_explained(first, place)}{more}") from error


@cache
def _validator(kind: Any) -> SchemaValidator:
    """Return what checks JSON against a type, and makes it; pydantic is loaded with the first record."""
    from pydantic import TypeAdapter
    from pydantic_core import SchemaValidator

    return SchemaValidator(recorded_schema(TypeAdapter(kind).core_schema))


def recorded_schema(schema: Any) -> Any:
    """Return a schema of pydantic's core in which a number may be null for NaN, and unknown entries are refused."""
    if isinstance(schema, list):
        return [recorded_schema(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kind, inner = schema.get("type"), schema.get("schema")
    if kind == "nullable" and isinstance(inner, dict) and inner.get("type") == "float":
        return schema  # null stays None where a number may be absent
    if kind == "float":
        function = {"type": "no-info", "function": _nan_for_none}
        return {"type": "function-after", "function": function, "schema": {"type": "nullable", "schema": schema}}
    parts = {key: recorded_schema(part) for key, part in schema.items()}
    return parts | {"extra_behavior": "forbid"} if kind == "dataclass-args" else parts


def _nan_for_none(number: float | None) -> float:
    return math.nan if number is None else number


def _explained(problem: ErrorDetails, within: str) -> str:
    """Return one mistake as `"claims[0].rows is '48', and should be a valid integer"`."""
    place = within
    for part in problem["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}"
    place, message = place.strip(".") or "the record", problem["msg"]
    if problem["type"] == "missing":
        return f"{place} is missing"
    if problem["type"] == "unexpected_keyword_argument":
        return f"{place} is unknown"
    if message.startswith("Input "):
        return f"{place} is {problem['input']!r:.40}, and {message.removeprefix('Input ')}"
    return f"{place}: {message}"
