"""What is measured on the way, kept in a folder so that an interrupted run goes on.

A file's name says all that its content depends on, so runs with other options share a folder. A run that ends removes
what it used itself, and of the rest what nobody has come back to.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ad_hypotheses.storage.store import Store

PARTIAL = ".partial"  # folder in the reports for all that interrupted runs go on from
LIVES = ".lives"  # folder in the reports for lives of models, which every study of a model wants again
EARLIER = re.compile(r"[0-9a-f]{24}\b.*|.*\.json|.*\.txt")  # files in it whose format this version does not read
DAYS = 30  # after which nobody comes back
ROOM = 2 * 10**9  # bytes for all of it; beyond that, the oldest goes
SPARED = 86400.0  # seconds in which nothing is removed for its size: a run may be using it


@dataclass
class Scratch:
    """A folder for what is measured on the way.

    Attributes:
        folder: Made when it is needed.
        used: Names of the files and folders that this run read or wrote.
    """

    folder: Path
    used: set[str] = field(default_factory=set)

    def file(self, name: str) -> Path:
        """Return the path of that name, which counts as used from now on."""
        self.used.add(name)
        return self.folder / name

    def store(self, key: str = "") -> Store:
        """Return what is kept here under a key; its files count as used once they are asked for."""
        return Store(self.folder, key, self.used)

    @property
    def is_empty(self) -> bool:
        """Whether this run kept nothing, nor an earlier one that it went on from."""
        return not any((self.folder / name).exists() for name in self.used)

    def when_stopped(self, nothing: str, done: str) -> str:
        """Say what a run that is stopped leaves.

        Args:
            nothing: What did not even begin: `"a claim"`, `"anything"`.
            done: Participle of what is kept: `"measured"`.
        """
        if self.is_empty:
            return f"stopped before {nothing} was {done}; nothing was kept."
        return f"stopped; what was {done} is kept in {self.folder}; the same command goes on."

    def discard(self) -> None:
        """Remove what this run used: it has ended, and nothing has to go on from it."""
        for name in self.used:
            path = self.folder / name
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        with suppress(OSError):  # another run may keep something there
            self.folder.rmdir()
            self.folder.parent.rmdir()


def store_in(scratch: Scratch | None, key: str) -> Store:
    """Return what is kept under a key in a scratch folder; without one, arrays are kept nowhere."""
    return Store(None, key) if scratch is None else scratch.store(key)


def clear_old(folder: Path) -> str:
    """Remove what earlier runs kept long ago, and the oldest of it where all of it takes too much room.

    Args:
        folder: Of everything that is kept; its folders are looked into too.

    Returns:
        A sentence that says what was removed; empty if that is nothing.
    """
    now, files = time.time(), sorted(_files(folder))
    excess = sum(size for _, size, _ in files) - ROOM
    removed = oldest = freed = 0.0
    unread = 0  # of those that were removed, how many another version kept
    for changed, size, path in files:  # the oldest first
        age = now - changed
        is_unread = folder.name == PARTIAL and EARLIER.fullmatch(path.name) is not None
        if age <= DAYS * 86400 and not is_unread and not (freed < excess and age > SPARED):
            continue
        with suppress(OSError):
            path.unlink()
            removed, freed, oldest = removed + 1, freed + size, max(oldest, age)
            unread += is_unread
    for inner, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # there is something left in it
            Path(inner).rmdir()
    if not removed:
        return ""
    files_removed = "1 file" if removed == 1 else f"{removed:,.0f} files"
    sentence = (
        f"removed {files_removed} that earlier runs kept in {folder}, up to {oldest / 86400:.0f} days old "
        f"({freed / 1e6:,.0f} MB)"
    )
    return sentence + "; another version wrote them, so that they are measured again" * bool(unread)


def make_room(folder: Path, room: int) -> None:
    """Remove the files of a folder that were written first, until the others take no more than so many bytes."""
    files = sorted(_files(folder))
    excess = sum(size for _, size, _ in files) - room
    for _, size, path in files:
        if excess <= 0:
            return
        with suppress(OSError):  # another run has removed it
            path.unlink()
        excess -= size


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    for inner, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # another run has removed it
                state = (Path(inner) / name).stat()
                yield state.st_mtime, state.st_size, Path(inner) / name
