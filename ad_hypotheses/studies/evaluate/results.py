"""What the results of an evaluation must look like when they are read from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ad_hypotheses.evidence.plain_data import Curve, Number, build


@dataclass(frozen=True)
class LearnerFigures:
    """What is told of a learner, as `figures.figures` measures it; None where a figure means nothing."""

    first: float
    last: float
    mean: float
    share: Number | None
    mean_share: Number | None
    regret: Number | None
    first_share: Number | None
    improvement: Number | None
    reached: dict[str, Number] | None


@dataclass(frozen=True)
class MemoryFigures:
    """What a model earned in its last episodes when it saw only so many `episodes`."""

    episodes: int
    last: Number
    share: Number | None


_KINDS: dict[str, Any] = {
    "train": list[Curve],
    "held_out": list[Curve],
    "figures": dict[str, dict[str, LearnerFigures]],
    "summary": dict[str, float | None],
    "rollouts": int,
    "seed": int,
    "lives": int,
    "memory": list[MemoryFigures],
    "starts": list[dict[str, Any]],
}
_START = {"start": str, "says": str, "episodes": int, "return": Number, "share": Number | None, "change": Number | None}


def require_results(results: Mapping[str, Any]) -> None:
    """Refuse results that a report cannot be drawn from.

    Raises:
        ValueError: Something is missing or of another type; says where.
    """
    for name, value in results.items():
        if name in _KINDS:
            build(_KINDS[name], value, name)
    sets = [name for name in ("train", "held_out") if name in results]
    needed = {"figures", "summary", "rollouts", "seed"} | ({"lives"} if {"memory", "starts"} & set(results) else set())
    missing = sorted(needed - set(results)) + ([] if sets else ["train"])
    missing += [f"figures.{name}.model" for name in sets if "model" not in results.get("figures", {}).get(name, {})]
    for start in results.get("starts", []):
        missing += [f"starts.{key}" for key in _START if key not in start]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    for start in results.get("starts", []):
        for key, kind in _START.items():
            build(kind, start[key], f"starts.{key}")
