"""Damaged records of studies and calibrations: each is read as a whole, of the types it declares, or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from faults.campaign import ACCEPTED, REFUSED, settled
from faults.mutate import alter, as_json, damage, misplace
from faults.sound import sizes
from test_comparison import evaluated

from ad_hypotheses.known.calibration.record import SCHEMA as CALIBRATION_SCHEMA
from ad_hypotheses.known.calibration.record import Calibration, read_calibration
from ad_hypotheses.studies.evaluate.record import Evaluation, read_evaluation
from ad_hypotheses.studies.patch.record import SCHEMA as PATCH_SCHEMA
from ad_hypotheses.studies.patch.record import PatchStudy, read_patch_study
from ad_hypotheses.studies.scrub.record import read_study

NUMBERS = (int, float)
SAMPLES = {int: 1, float: 0.5, str: "x", bool: True, Any: {"seed": 0}}


def sample(kind: Any) -> Any:
    """Return plain data that a type can be built from, with one item in every list."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return {field.name: sample(hints[field.name]) for field in fields(kind)}
    if origin in (list, tuple, Sequence):
        return [sample(arguments[0])]
    if origin in (dict, Mapping):
        return {"key": sample(arguments[1])}
    return sample(arguments[0]) if origin is UnionType else SAMPLES[kind]


def require_type(value: Any, kind: Any, place: str) -> None:
    """Refuse a value that is not of the type that its dataclass declares.

    Raises:
        AssertionError: It is not; says where.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return
    if is_dataclass(kind):
        assert isinstance(value, kind), f"{place} is {value!r:.60}"
        hints = get_type_hints(kind)
        for field in fields(kind):
            require_type(getattr(value, field.name), hints[field.name], f"{place}.{field.name}")
    elif origin in (list, tuple, Sequence):
        assert isinstance(value, list | tuple), f"{place} is {value!r:.60}"
        for number, item in enumerate(value):
            require_type(item, arguments[0], f"{place}[{number}]")
    elif origin in (dict, Mapping):
        assert isinstance(value, dict), f"{place} is {value!r:.60}"
        for key, item in value.items():
            require_type(item, arguments[1], f"{place}.{key}")
    elif origin is UnionType:
        if value is not None:
            require_type(value, next(kind for kind in arguments if kind is not NoneType), place)
    else:
        wanted = NUMBERS if kind is float else kind
        right = isinstance(value, wanted) and (kind is bool or not isinstance(value, bool))
        assert right, f"{place} is {value!r:.60}, not {kind}"


@pytest.fixture(scope="module", params=["study", "calibration", "patches", "evaluation"])
def record(request, sound) -> tuple[str, Any, bytes]:
    """A kind of record, what reads it, and a sound one."""
    if request.param == "study":
        return "study", read_study, json.dumps(sound.figures).encode()
    if request.param == "evaluation":
        content = json.loads(Evaluation("python cli.py evaluate one", [evaluated()]).to_json())
        return "evaluation", read_evaluation, json.dumps(content).encode()
    kind, schema, read = {
        "calibration": (Calibration, CALIBRATION_SCHEMA, read_calibration),
        "patches": (PatchStudy, PATCH_SCHEMA, read_patch_study),
    }[request.param]
    return request.param, read, json.dumps({**sample(kind), "schema": schema}).encode()


@sizes(25, 800)
def test_each_is_of_its_types_or_refused(campaign, record, n_inputs):
    name, read, content = record
    tree = json.loads(content)

    def attempt(trial):
        path = trial.place / "record.json"
        if trial.rng.random() < 0.8:
            words, altered = alter(tree, trial.rng)
            path.write_bytes(as_json(altered))
        else:
            words, damaged = damage(as_json(tree), trial.rng)
            path.write_bytes(damaged)
        trial.note(words)
        if trial.rng.random() < 0.03:
            trial.note(misplace(path, trial.rng))
        word, made = settled(lambda: read(path))
        if word == ACCEPTED:
            require_type(made, type(made), name)
            assert json.loads(made.to_json())
        return word

    counts = campaign.run(f"{name} records", n_inputs, attempt)
    assert min(counts[ACCEPTED], counts[REFUSED]) > counts.total() / 20
