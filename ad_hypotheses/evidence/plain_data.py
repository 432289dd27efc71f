"""Records as plain data: numbers with intervals, curves, and dataclasses to JSON and back."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Number:
    """An estimate with its interval; not estimable if its denominator may be 0."""

    value: float
    low: float
    high: float
    estimable: bool = True

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


def build(kind: Any, value: Any) -> Any:
    """Turn plain data back into the dataclasses that `kind` names; what is null was NaN."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: build(hints[name], item) for name, item in value.items()})  # type: ignore[operator]
    if origin is list:
        return [build(arguments[0], item) for item in value]
    if origin is dict:
        return {key: build(arguments[1], item) for key, item in value.items()}
    if origin is types.UnionType:
        return None if value is None else build(arguments[0], value)
    if kind is float and value is None:
        return float("nan")
    return value
