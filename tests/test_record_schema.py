"""The published schema of records: what the code says, and what the shipped records keep to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ad_hypotheses.studies.records import kind_of, schema

ROOT = Path(__file__).parent.parent
PUBLISHED = json.loads((ROOT / "docs" / "record.schema.json").read_text(encoding="utf-8"))
# that of the false claims is a table of a benchmark (tests/test_shipped.py), and no study
RECORDS = sorted(path for path in (ROOT / "reports" / "examples").glob("*.json") if path.stem != "false-claims")
TYPES = {
    "string": str, "boolean": bool, "integer": int, "number": (int, float), "null": type(None), "array": list,
    "object": dict,
}  # fmt: skip


def departures(value: Any, of: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Yield where a value is not what a schema says, as far as the schema of records goes."""
    if "$ref" in of:
        of = PUBLISHED["$defs"][of["$ref"].rpartition("/")[2]]
    if "anyOf" in of:
        ways = [list(departures(value, way, place)) for way in of["anyOf"]]
        yield from () if any(not way for way in ways) else min(ways, key=len)
        return
    names = [of["type"]] if isinstance(of.get("type", []), str) else of.get("type", [])
    fits = any(isinstance(value, TYPES[name]) and (name == "boolean") == isinstance(value, bool) for name in names)
    if names and not fits:
        yield f"{place} is {value!r:.40}, not {names}"
    elif isinstance(value, dict):
        known, rest = of.get("properties", {}), of.get("additionalProperties", {})
        yield from (f"{place}.{name} is missing" for name in of.get("required", ()) if name not in value)
        yield from (f"{place}.{name} is unknown" for name in value if known and name not in known)
        for name, part in value.items():
            further = known.get(name, rest)
            yield from departures(part, further if isinstance(further, Mapping) else {}, f"{place}.{name}")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from departures(part, of.get("items", {}), f"{place}[{number}]")


def test_the_published_schema_is_that_of_the_code():
    """After a change of a record, write it again: `docs/record.schema.json` holds `schema()` as JSON."""
    assert schema() == PUBLISHED


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
@pytest.mark.default_cases(2)
def test_shipped_records_keep_to_the_schema(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    of = PUBLISHED["$defs"][kind_of(path).name]
    assert list(departures(record, of)) == []
    first = next(iter(of["required"]))
    assert list(departures({**record, first: {}, "strange": 0}, of)) == [
        ".strange is unknown",
        f".{first} is {{}}, not {[of['properties'][first]['type']]}",
    ]


def test_there_are_shipped_records():
    assert RECORDS
