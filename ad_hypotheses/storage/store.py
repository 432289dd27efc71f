"""What was measured, kept by name in a folder, so that an interrupted run goes on and a later one measures less.

Nothing that lies there may change a number or stop a run: a value that is not as it was written is made again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ad_hypotheses.errors import UserError
from ad_hypotheses.storage.checked import (
    checked_json,
    parse_checked_json,
    read_checked_arrays,
    write_checked_arrays,
)
from ad_hypotheses.storage.files import replacing, write_atomically
from ad_hypotheses.storage.reading import read_file

Value = TypeVar("Value")
FILE_NAME = re.compile(r"[\w.-]{1,80}")


class Store:
    """Values by name: read where they are kept, else made and kept.

    Arrays by name are a file (`KEY-NAME.npz`); plain data are a line of a file that all of it shares (`KEY.jsonl`), so
    that thousands of numbers cost a line each. Every file and every line has a checksum of itself.

    Args:
        folder: Made when it is needed; None to keep plain data in memory, and arrays nowhere.
        key: Everything that the values depend on beside their names, or what they are where names say that.
        used: Gets the names of the files that are read or written.
        must_keep: Whether a disk that takes nothing stops the run. If not, plain data are kept in memory.
    """

    def __init__(
        self, folder: Path | None, key: str = "", used: set[str] | None = None, must_keep: bool = True
    ) -> None:
        self.folder, self.key, self.must_keep = folder, key, must_keep
        self.used = set() if used is None else used
        self.plain: dict[str, Any] = {}  # values that are plain data, by name
        if folder is not None and key:
            self._read_lines()

    @property
    def path(self) -> Path | None:
        """The file of plain data."""
        return None if self.folder is None else self._lines

    def get(self, name: str, make: Callable[[], Value], was_there: Callable[[], None] = lambda: None) -> Value:
        """Return the value of a name.

        Args:
            name: Whatever of the value's causes the key does not say.
            make: Makes it: arrays by name, or plain data that JSON can hold.
            was_there: Called where nothing had to be made.

        Raises:
            UserError: The disk is full or the folder cannot be written.
        """
        value: Any = self.plain[name] if name in self.plain else self._read_arrays(name)
        if value is not None:
            was_there()
        else:
            value = make()
            self.keep(name, value)
        kept: Value = value
        return kept

    def keep(self, name: str, value: Any) -> None:
        """Keep a value that was made elsewhere, as :meth:`get` keeps what it makes.

        Raises:
            UserError: The disk is full or the folder cannot be written.
        """
        arrays = isinstance(value, dict) and value and all(isinstance(item, np.ndarray) for item in value.values())
        if not arrays:
            self.plain[name] = value
        if self.folder is None:
            return
        path = self._file_of_arrays(name) if arrays else self._lines
        self.used.add(path.name)
        with self._writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if arrays:
                with replacing(path) as temporary, temporary.open("wb") as file:
                    write_checked_arrays(file, value)
            else:
                with path.open("ab") as file:
                    file.write(checked_json({"name": name, "value": value}) + b"\n")

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        """Turn what goes wrong into a message, or into nothing where values need not be kept."""
        try:
            yield
        except UserError:
            if self.must_keep:
                raise
        except OSError as error:
            if self.must_keep:
                reason = error.strerror or error
                raise UserError(f"cannot write {path}: {reason}. Free space or choose another place.") from error

    def _read_arrays(self, name: str) -> dict[str, np.ndarray] | None:
        if self.folder is None:
            return None
        path = self._file_of_arrays(name)
        arrays = read_checked_arrays(path)
        if arrays is not None:
            self.used.add(path.name)
        return arrays

    @property
    def _lines(self) -> Path:
        assert self.folder is not None
        assert self.key, "a file of plain data is named by its key"
        return self.folder / f"{self.key}.jsonl"

    def _file_of_arrays(self, name: str) -> Path:
        assert self.folder is not None
        if not FILE_NAME.fullmatch(name):
            name = hashlib.sha256(name.encode()).hexdigest()[:24]
        return self.folder / f"{self.key}-{name}.npz".removeprefix("-")

    def _read_lines(self) -> None:
        """Read the lines that are as they were written, and leave no others in the file."""
        path = self._lines
        try:
            lines = read_file(path).splitlines(keepends=True)
        except FileNotFoundError:
            return
        except OSError:  # something that cannot be read has taken its place
            lines = [b""]
        self.used.add(path.name)
        contents = {line: parse_checked_json(line) for line in lines if line.endswith(b"\n")}
        sound = {line: content for line, content in contents.items() if _is_value(content)}
        self.plain = {content["name"]: content["value"] for content in sound.values()}
        if len(sound) < len(lines):
            with self._writing(path):
                write_atomically(path, b"".join(sound))


def _is_value(content: Any) -> bool:
    return isinstance(content, dict) and content.keys() == {"name", "value"} and isinstance(content["name"], str)
