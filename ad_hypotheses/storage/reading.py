"""Reading files that may be damaged, foreign or not files at all: whatever is wrong is an OSError or a ValueError."""

from __future__ import annotations

import errno
import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

ENCODING = "utf-8"


def real_path(path: Path) -> Path:
    """Return the absolute path without symbolic links; where those lead in a circle, as far as they can be followed."""
    return Path(os.path.realpath(path))  # Path.resolve() raises RuntimeError at a circle


def open_file(path: Path) -> BufferedReader:
    """Open a file for reading; a pipe or a device, on which a program might wait for ever, is refused.

    Raises:
        OSError: There is no such file, it cannot be read, or it is not a regular file.
    """
    # without O_NONBLOCK, opening a pipe waits until something is written to it
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(os.fstat(handle).st_mode, path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def require_file(path: Path) -> None:
    """Refuse what is not a regular file, for libraries that open files themselves.

    Raises:
        OSError: There is no such file, or it is not a regular one.
    """
    _require_regular(path.stat().st_mode, path)


def read_file(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: As :func:`open_file`.
    """
    with open_file(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """Return the text in a file, which must be UTF-8.

    Raises:
        OSError: As :func:`open_file`.
        ValueError: It is not UTF-8.
    """
    return read_file(path).decode(ENCODING)


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        OSError: As :func:`open_file`.
        ValueError: It is not JSON, or not JSON that Python can hold.
    """
    return parse_json(read_file(path))


def parse_json(content: bytes | str) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: It is not JSON, or not JSON that Python can hold.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _require_regular(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "It is a pipe or a device, not a file", str(path))
