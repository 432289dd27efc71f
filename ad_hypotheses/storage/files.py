"""Files that exist whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from ad_hypotheses.errors import UserError
from ad_hypotheses.storage.owner import is_running, this_place

TEMPORARY = re.compile(r"\..+\.(?:(?P<place>[0-9a-f]{8})-)?(?P<pid>\d+)\.tmp")
FORGOTTEN = 7 * 86400.0  # seconds after which no process can still be writing a file
_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_files(files: Mapping[Path, bytes]) -> list[Path]:
    """Write every file under a temporary name beside it, then rename all of them; folders are made as needed.

    Args:
        files: What to write where, in the order of the renames: a file comes after those that it refers to.

    Returns:
        The paths.

    Raises:
        UserError: A folder cannot be written or the disk is full. What was there before is still there.
    """
    partials: dict[Path, Path] = {}
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            partials[path] = temporary_path(path)
            partials[path].write_bytes(content)
        for path, partial in partials.items():
            partial.replace(path)
    except OSError as error:
        raise UserError(_message(path, error)) from error
    finally:
        for partial in partials.values():
            _discard(partial)
    return list(files)


def report_files(name: str, pictures: Mapping[str, bytes], record: str, table: str, page: str) -> dict[str, bytes]:
    """Return the files of a report by their path in its folder: what the page refers to comes before it.

    Args:
        name: Of the files; pictures lie in a folder of that name.
        pictures: By file name.
        record: As JSON.
        table: The figures as CSV.
        page: As Markdown.
    """
    return {
        **{f"{name}/{picture}": content for picture, content in pictures.items()},
        f"{name}.json": (record + "\n").encode(),
        f"{name}.csv": table.encode(),
        f"{name}.md": page.encode(),
    }


def write_report_files(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write the files of a report, and remove a table that an older report had in another format.

    Raises:
        UserError: The folder cannot be written or the disk is full. An older report is then still whole.
    """
    written = write_files({folder / name: content for name, content in files.items()})
    parquet = written[-1].with_suffix(".parquet")
    if parquet not in written:
        _discard(parquet)
    return written


def _message(path: Path, error: OSError) -> str:
    if error.errno in _OUT_OF_SPACE:
        return f"the disk is full: {path} could not be written. Make room and run the same command again."
    return (
        f"cannot write {path.name} into {path.parent}: {error.strerror or error}. "
        "Make it a folder that you may write to, or choose another one."
    )


def _discard(partial: Path) -> None:
    try:
        partial.unlink(missing_ok=True)
    except OSError:
        return  # the folder cannot be written or is none: nothing was left in it either


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it, so that a crash leaves the old one.

    Raises:
        UserError: The disk is full or the place cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, which takes the place of `path` at the end.

    Raises:
        UserError: The disk is full or the place cannot be written.
    """
    temporary = temporary_path(path)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write {path}: {reason}. Free space or choose another place.") from error
    finally:
        with suppress(OSError):  # it is gone after a rename, and was never there where nothing can be written
            temporary.unlink()


def temporary_path(path: Path) -> Path:
    """Return where a file is written before it takes its name, and clear what killed processes left beside it."""
    _clear_once(path.parent)
    return path.with_name(f".{path.name}.{this_place()}-{os.getpid()}.tmp")


@cache
def _clear_once(folder: Path) -> None:
    clear_temporaries(folder)


def clear_temporaries(folder: Path) -> None:
    """Remove the temporary files in a folder whose process was killed while it wrote.

    Processes of other machines cannot be looked at: what they left is removed when it is a week old.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if (name := TEMPORARY.fullmatch(entry.name)) and entry.is_file() and _is_forgotten(entry, name):
                with suppress(OSError):
                    Path(entry.path).unlink()


def _is_forgotten(entry: os.DirEntry[str], name: re.Match[str]) -> bool:
    if name["place"] == this_place() and len(name["pid"]) < 19:
        return not is_running(int(name["pid"]))
    return time.time() - entry.stat().st_mtime > FORGOTTEN
