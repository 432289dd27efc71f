"""Measurements on disk with a checksum of themselves: read exactly as they were written, or measured again.

What an earlier run left may have been cut off, damaged, altered, or written by another version. None of that may change
a number or stop a run, so everything that does not agree with its checksum counts as not there.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ad_hypotheses.storage.reading import open_file, parse_json, read_file

CHECKSUM = "sha256"  # name of the array, or key of the JSON object, that holds it


def digest_of(arrays: Mapping[str, np.ndarray]) -> str:
    """Return a checksum of arrays with their names, types and shapes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])  # np.ascontiguousarray would make [1] of a single value
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.data if array.flags.c_contiguous else array.tobytes())  # the same bytes, not copied
    return digest.hexdigest()


def write_checked_arrays(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays and their checksum as `.npz`."""
    checksum: Any = {CHECKSUM: np.array(digest_of(arrays))}
    np.savez(file, allow_pickle=False, **checksum, **arrays)


def read_checked_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays that :func:`write_checked_arrays` wrote; None if they are not there as they were written."""
    try:
        with open_file(path) as file, warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy warns of headers that it has to guess at
            with np.load(file, allow_pickle=False) as content:
                arrays = dict(content)
    except Exception:  # a changed byte may make zipfile, numpy and the parser of array headers raise anything
        return None
    checksum = arrays.pop(CHECKSUM, None)
    return arrays if checksum is not None and str(checksum) == digest_of(arrays) else None


def checked_json(content: Any) -> bytes:
    """Return plain data and its checksum as JSON."""
    return json.dumps({CHECKSUM: _digest(content), "content": content}, separators=(",", ":")).encode()


def parse_checked_json(text: bytes) -> Any:
    """Return what :func:`checked_json` was given; None if the text is not as it was written."""
    try:
        whole = parse_json(text)
        content = whole["content"]
        return content if whole[CHECKSUM] == _digest(content) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def read_checked_json(path: Path) -> Any:
    """Return what :func:`checked_json` was given; None if it is not in the file as it was written."""
    try:
        return parse_checked_json(read_file(path))
    except OSError:
        return None


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
