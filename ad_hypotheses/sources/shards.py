"""One shard of learning histories on disk: a folder of `.npy` files that exists whole or not at all.

A shard is written under a temporary name, flushed to the disk, and renamed. Its `shard.json` holds a checksum of every
other file and what made it, so a later run can tell a finished shard from another one's.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ad_hypotheses.errors import DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.storage.reading import open_file
from ad_hypotheses.storage.reading import read_json as read_json_file

KINDS = {"observations": "iu", "actions": "iu", "rewards": "f", "episode": "iu", "learner": "iu"}  # of number types
ARRAYS = tuple(KINDS)
FACT = "task_"  # prefix of the files that hold facts about the tasks
AGAIN = "delete it and run the same command again"
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Json = dict[str, Any]


def shard_name(number: int) -> str:
    """Return the name of a shard's folder."""
    return f"shard-{number:05d}"


def write_shard(folder: Path, number: int, history: History, recipe: Json) -> Json:
    """Write `history` as a shard of `folder`, completely or not at all, and return its description.

    Args:
        folder: Where the shards are; exists.
        number: Which shard this is.
        history: What it holds.
        recipe: What made it.

    Raises:
        DataError: The disk is full or cannot be written. Finished shards stay.
    """
    partial, final = folder / f".{shard_name(number)}.partial", folder / shard_name(number)
    with disk_errors(final):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            files = {name: _save(partial / name, array) for name, array in _arrays(history).items()}
            description = {"number": number, "n_histories": history.n_rows, "recipe": recipe, "files": files}
            write_json(partial / "shard.json", description)
            _flush(partial)
            partial.replace(final)
            _flush(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return description


def read_description(shard: Path) -> Json:
    """Return the content of a shard's `shard.json`, checked for its form.

    Raises:
        DataError: It is missing, or is no description of a shard.
    """
    description = read_json(shard / "shard.json", f"shard {shard}")
    try:
        names = set(description["files"])
        well_formed = (
            isinstance(description["recipe"], dict)
            and type(description["number"]) is int
            and type(description["n_histories"]) is int
            and names >= {f"{name}.npy" for name in ARRAYS}
            and all(re.fullmatch(r"[a-z_]+\.npy", name) for name in names)
            and all({"sha256", "dtype", "shape"} == set(entry) for entry in description["files"].values())
        )
    except (KeyError, TypeError):
        well_formed = False
    if not well_formed:
        raise DataError(f"shard {shard} is corrupt: shard.json does not describe a shard; {AGAIN}.")
    return description


def open_shard(shard: Path, description: Json, verify: bool) -> dict[str, np.ndarray]:
    """Map the arrays of a shard into memory, by name.

    Args:
        shard: Its folder.
        description: What it should hold.
        verify: Read every byte and compare checksums.

    Raises:
        DataError: A file is missing, or is not what the description says.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, entry in description["files"].items():
        path = shard / name
        if not path.is_file():
            raise DataError(f"shard {shard} is incomplete: {name} is missing; {AGAIN}.")
        if verify and _digest(path) != entry["sha256"]:
            raise DataError(f"shard {shard} is corrupt: {name} has another checksum than when it was written; {AGAIN}.")
        try:
            array = np.lib.format.open_memmap(path, mode="r")  # np.load would also open archives, and leave some open
        except Exception as error:  # a changed byte may make the parser of array headers raise anything
            raise DataError(f"shard {shard} is corrupt: {name} cannot be read ({error}); {AGAIN}.") from error
        if array.dtype.str != entry["dtype"] or list(array.shape) != entry["shape"]:
            raise DataError(
                f"shard {shard} is corrupt: {name} holds {array.dtype.str} {list(array.shape)}, "
                f"not {entry['dtype']} {entry['shape']}; {AGAIN}."
            )
        arrays[name.removesuffix(".npy")] = array
    _require_agreement(shard, description, arrays)
    return arrays


def _require_agreement(shard: Path, description: Json, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse arrays that are not those of as many histories, of as many steps, as the description says."""
    n_rows, channels = description["n_histories"], description["recipe"].get("channels")
    n_steps = arrays["actions"].shape[1] if arrays["actions"].ndim == 2 else None
    n_channels = len(channels) if isinstance(channels, list) else None
    episode_rows = 1 if arrays["episode"].shape[:1] == (1,) else n_rows  # episode numbers that all rows share
    wanted = {
        "observations": (n_rows, n_steps, n_channels),
        "actions": (n_rows, n_steps),
        "rewards": (n_rows, n_steps),
        "episode": (episode_rows, n_steps),
        "learner": (n_rows,),
    }
    for name, array in arrays.items():
        shape = wanted.get(name, (n_rows, *array.shape[1:]))  # facts may have any further axes
        if n_rows < 1 or array.shape != shape:
            raise DataError(
                f"shard {shard} is corrupt: {name}.npy has the shape {list(array.shape)}, but by shard.json and the "
                f"actions there are {n_rows} histories of {n_steps} steps and {n_channels} channels; {AGAIN}."
            )
        if array.dtype.kind not in KINDS.get(name, "biuf"):
            raise DataError(f"shard {shard} is corrupt: {name}.npy holds numbers of type {array.dtype}; {AGAIN}.")
        if name not in KINDS and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"shard {shard} is corrupt: {name}.npy holds NaN or infinity; {AGAIN}.")


def read_json(path: Path, subject: str) -> Json:
    """Return the JSON object in `path`.

    Raises:
        DataError: The file is missing or holds something else.
    """
    try:
        content = read_json_file(path)
    except FileNotFoundError as error:
        raise DataError(f"{subject} is incomplete: {path.name} is missing; {AGAIN}.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{subject} is corrupt: {path.name} cannot be read ({error}); {AGAIN}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{subject} is corrupt: {path.name} is not a JSON object; {AGAIN}.")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` and flush it to the disk."""
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what can go wrong with a disk while writing `path` into a message that helps.

    Raises:
        DataError: Something did.
    """
    try:
        yield
    except OSError as error:
        if error.errno in OUT_OF_SPACE:
            raise DataError(
                f"the disk is full: {path} could not be written. Finished shards are kept: make room and run the same "
                "command again."
            ) from error
        raise DataError(f"{path} could not be written: {error.strerror or error}.") from error


def _arrays(history: History) -> dict[str, np.ndarray]:
    """Return what a shard holds, by file name; episode numbers that all rows share are kept once."""
    assert history.learner is not None, "histories on disk say which learner lived them"
    shared = (history.episode == history.episode[:1]).all()
    arrays = {name: getattr(history, name) for name in ARRAYS}
    arrays["episode"] = history.episode[:1] if shared else history.episode
    arrays |= {FACT + name: np.asarray(fact) for name, fact in history.task.items()}
    return {f"{name}.npy": array for name, array in arrays.items()}


def _save(path: Path, array: np.ndarray) -> Json:
    with path.open("wb") as file:
        # numpy hides what the operating system said where it writes to a file by itself: a full disk has no errno
        writer: Any = SimpleNamespace(write=file.write)
        np.save(writer, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return {"sha256": _digest(path), "dtype": array.dtype.str, "shape": list(array.shape)}


def _digest(path: Path) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(folder: Path) -> None:
    """Make renames within `folder` survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
