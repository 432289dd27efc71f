"""What a checkpoint's `record.json` must look like: its figures are read by people and programs long after training."""

from __future__ import annotations

from pathlib import Path
from reprlib import repr as short_repr
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ad_hypotheses.errors import CheckpointError
from ad_hypotheses.storage.reading import read_json

RECORD = "record.json"

Figure = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, strict=True)  # what else there is, only cards show


class _Curve(_Part, extra="forbid"):  # type: ignore[call-arg]
    name: str
    returns: list[Figure]
    rollouts: Annotated[int, Field(ge=0)]
    low: list[Figure] = []
    high: list[Figure] = []


class _Evaluation(_Part):
    summary: dict[str, Figure | None] = {}
    train: list[_Curve] = []
    held_out: list[_Curve] = []


class _Known(_Part):
    taught: str | None = None
    proof: dict[str, Any] = {}
    agreement: dict[str, Any] = {}


class _Record(_Part):
    weights_sha256: str | None = None
    config: dict[str, Any] | None = None
    command: str = ""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    parameters: int | None = None
    evaluation: _Evaluation = _Evaluation()
    known: _Known = _Known()


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of the checkpoint in a folder.

    Raises:
        CheckpointError: It is missing, damaged, or holds other values than a record does.
    """
    path, advice = folder / RECORD, "Restore it or train again."
    try:
        record = read_json(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}. {advice}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}. {advice}") from error
    if not isinstance(record, dict):
        raise CheckpointError(f"{path} must hold a JSON object. {advice}")
    try:
        _Record.model_validate(record)
    except ValidationError as error:
        listed = "".join(f"\n  {_explained(problem)}" for problem in error.errors(include_url=False))
        raise CheckpointError(f"{path} does not hold what a record holds. {advice}{listed}") from error
    return record


def _explained(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg'].lower()}, but it is {short_repr(problem['input'])}"
