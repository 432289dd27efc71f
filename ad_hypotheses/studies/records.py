"""Records of every kind: read one from its file, and draw its report again."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.evidence.plain_data import plain, recorded_schema
from ad_hypotheses.language.user_code import described
from ad_hypotheses.storage.files import write_files
from ad_hypotheses.storage.places import program
from ad_hypotheses.storage.reading import read_file, read_json


@dataclass(frozen=True)
class RecordKind:
    """A kind of record, and where its parts are, which are loaded with the first record of the kind.

    Attributes:
        verb: The verb that writes it.
        keys: Entries that together no other kind has, or none with as many.
        home: Package with the modules `record` and `page`.
        reader: Function of `record` that reads a file.
        name: Name of its class.
    """

    verb: str
    keys: frozenset[str]
    home: str
    reader: str
    name: str

    def read(self, path: Path) -> Any:
        """Return the record in a file.

        Raises:
            DataError: The file is missing, damaged or of another version.
        """
        return getattr(importlib.import_module(f"{self.home}.record"), self.reader)(path)

    def draw(self, record: Any, name: str) -> Mapping[str, bytes]:
        """Return the files of its report by their path in its folder, the page last."""
        files: Mapping[str, bytes] = importlib.import_module(f"{self.home}.page").draw_report(record, name)
        return files


STUDIES, CALIBRATION = "ad_hypotheses.studies", "ad_hypotheses.known.calibration"
KINDS = (
    RecordKind("scrub", frozenset({"claims", "curves"}), f"{STUDIES}.scrub", "read_study", "Study"),
    RecordKind("patch", frozenset({"patches", "donors"}), f"{STUDIES}.patch", "read_patch_study", "PatchStudy"),
    RecordKind("evaluate", frozenset({"models", "command"}), f"{STUDIES}.evaluate", "read_evaluation", "Evaluation"),
    RecordKind("sweep", frozenset({"models", "command", "axes"}), f"{STUDIES}.sweep", "read_sweep_record", "Sweep"),
    RecordKind("behave", frozenset({"subjects", "contexts"}), f"{STUDIES}.behave", "read_behaviour", "Behaviour"),
    RecordKind("calibrate", frozenset({"outcomes", "claims"}), CALIBRATION, "read_calibration", "Calibration"),
)


def read(path: Path) -> Any:
    """Read the record of a study, of whichever kind it is.

    Args:
        path: A JSON file that `scrub`, `patch`, `evaluate`, `sweep`, `behave` or `calibrate` wrote beside its page.

    Returns:
        A `Study`, `PatchStudy`, `Evaluation`, `Sweep`, `Behaviour` or `Calibration`.

    Raises:
        DataError: The file is missing, damaged, of another version or not such a record.
    """
    return kind_of(path).read(path)


def schema() -> dict[str, Any]:
    """Return the JSON schema of every kind of record: a definition each, named like its class.

    Numbers may be null, which stands for what is not a number or not known.
    """
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema

    kinds = [getattr(importlib.import_module(f"{kind.home}.record"), kind.name) for kind in KINDS]
    schemas = [recorded_schema(TypeAdapter(kind).core_schema) for kind in kinds]
    inputs = [(kind.__name__, "validation", schema) for kind, schema in zip(kinds, schemas, strict=True)]
    _, parts = GenerateJsonSchema().generate_definitions(inputs)  # type: ignore[arg-type]
    references = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds]
    return dict(plain({"$defs": _brief(parts), "title": "Records of ad_hypotheses", "anyOf": references}))


def _brief(schema: Any) -> Any:
    """Return a schema without docstrings, which docs have better."""
    if isinstance(schema, list):
        return [_brief(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _brief(part) for key, part in schema.items() if key != "description"}


def redraw(path: Path, folder: Path | None = None) -> list[Path]:
    """Write the report of a record again: page, pictures and table, named like the record.

    Args:
        path: The record.
        folder: Where to, the record with it; beside the record by default.

    Returns:
        The files, the page last.

    Raises:
        DataError: The record cannot be read, or holds what no report can be drawn from.
        UserError: The folder cannot be written.
    """
    kind, folder = kind_of(path), path.parent if folder is None else folder
    record = kind.read(path)
    try:
        files = dict(kind.draw(record, path.stem))
    except (UserError, MemoryError, OSError):
        raise
    except Exception as error:  # each entry is of its type, but what one says of another is wrong
        raise DataError(
            f"{path} does not hold what a report can be drawn from: {described(error)}. "
            f"Run the command again that wrote it: {program()} {kind.verb} ..."
        ) from error
    if (folder / path.name).exists() and (folder / path.name).samefile(path):
        del files[path.name]
    else:  # as it is, which may be of an earlier version
        files[path.name] = read_file(path)
    return write_files({folder / name: content for name, content in files.items()})


def kind_of(path: Path) -> RecordKind:
    """Return which kind of record a file holds.

    Raises:
        DataError: It is missing, damaged, or not a record that a report is drawn from.
    """
    verbs = ", ".join(kind.verb for kind in KINDS)
    advice = f"Name a .json file that one of {verbs} wrote beside its page."
    try:
        content = read_json(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}. {advice}") from error
    except ValueError as error:
        beside = path.with_suffix(".json")
        advice = f"Name {beside}." if beside != path and beside.is_file() else advice
        raise DataError(f"{path} is not a record: {error}. {advice}") from error
    kinds = [kind for kind in KINDS if isinstance(content, dict) and kind.keys <= set(content)]
    most = max((len(kind.keys) for kind in kinds), default=0)
    fitting = [kind for kind in kinds if len(kind.keys) == most]  # a sweep has all the keys of an evaluation
    if len(fitting) != 1:
        raise DataError(f"{path} is JSON, but not the record of a study. {advice}")
    return fitting[0]
