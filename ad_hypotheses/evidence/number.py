"""A number as it is recorded and printed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Number:
    """An estimate with its interval; not estimable if its denominator may be 0."""

    value: float
    low: float
    high: float
    estimable: bool = True

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]" if self.estimable else "not estimable"
