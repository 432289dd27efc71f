"""A lock on a folder: one process at a time writes there, on one machine or on several that share a disk.

The lock is a file that only one process can create (`O_EXCL`, which network file systems keep too; `flock` they may
not). It names its process and is touched while that lives. A lock whose process is dead is taken over: at once if it
ran on this machine, and otherwise after it was not touched for five minutes, by the clock of the disk.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ad_hypotheses.errors import UserError
from ad_hypotheses.storage.files import clear_temporaries
from ad_hypotheses.storage.owner import Owner, this_place
from ad_hypotheses.storage.reading import read_file

LOCK = ".lock.tmp"  # named like files that nobody keeps
TAKEOVER = ".lock-takeover.tmp"  # a lock on removing the lock of a dead process
BEAT = 20.0  # seconds between two signs of life
STALE = 300.0  # seconds without one after which a process of another machine counts as dead
LOOK = 1.0  # seconds between two looks at a lock

_held: dict[Path, bytes] = {}  # locks of this process, with what it wrote into them


@dataclass(frozen=True)
class Holder:
    """What a lock says.

    Attributes:
        content: All of it, which no other lock repeats.
        owner: The process that wrote it; None where that cannot be read.
        doing: What it does in the folder, `"training"`.
        since: When it began, for people.
    """

    content: bytes
    owner: Owner | None = None
    doing: str = "at work"
    since: str = ""

    @property
    def words(self) -> str:
        """Which process it is and what it does: `process 12 on node7 is training there, since 14:02 on 3 May`."""
        who = "another process" if self.owner is None else f"process {self.owner.pid} on {self.owner.host}"
        return f"{who} is {self.doing} there" + (f", since {self.since}" if self.since else "")


@contextmanager
def held(folder: Path, doing: str, waiting: Callable[[str], None] | None = None) -> Iterator[bool]:
    """Keep other processes out of a folder; what this process holds already, it may hold again.

    Args:
        folder: Made if it is missing.
        doing: What is done in it, for the others: `"training"`.
        waiting: Called with a sentence if another process is in there; then this one waits. None to refuse instead.

    Returns:
        Whether another process was in there, which may have changed what the folder holds.

    Raises:
        UserError: Another process is in there, or the folder cannot be written.
    """
    path = Path(os.path.realpath(folder)) / LOCK
    if path in _held:
        yield False
        return
    content = _content(doing)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        waited = _acquire(path, content, folder, waiting)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror or error}.\n"
            "  Make it a folder that you may write to, or choose another one."
        ) from error
    _held[path] = content
    ended = threading.Event()
    threading.Thread(target=_beat, args=(path, content, ended), daemon=True).start()
    try:
        yield waited
    finally:
        ended.set()
        _release(path)


def is_held(folder: Path) -> bool:
    """Return whether a process that lives holds the lock of a folder; one of another machine counts for a while."""
    path = Path(os.path.realpath(folder)) / LOCK
    holder = _read(path)
    return holder is not None and not _is_gone(path, holder)


def release_all() -> None:
    """Release what this process holds, just before it ends without cleaning up."""
    for path in list(_held):
        _release(path)


def clear_after_kills(folder: Path) -> None:
    """Remove what killed processes left in a folder that needs no more work: halves of files, and their lock."""
    clear_temporaries(folder)
    path = folder / LOCK
    with suppress(OSError):  # such a folder need not be writable
        holder = _read(path)
        if holder is not None and _is_gone(path, holder):
            _remove(path, holder)


def _content(doing: str) -> bytes:
    since = time.strftime("%H:%M on %d %b").replace(" 0", " ")
    fields = {**asdict(Owner.current()), "doing": doing, "since": since, "token": secrets.token_hex(8)}
    return json.dumps(fields).encode()


def _acquire(path: Path, content: bytes, folder: Path, waiting: Callable[[str], None] | None) -> bool:
    """Create the lock, waiting for other processes if that is wished; returns whether there were any."""
    waited = False
    while not _create(path, content):
        holder = _read(path)
        if holder is None:  # it was released in between
            continue
        if _is_gone(path, holder):
            _remove(path, holder)
            continue
        if waiting is None:
            raise UserError(
                f"{folder} is in use: {holder.words}.\n"
                "  Wait for it, stop it with Ctrl-C, or choose another folder. "
                f"If it surely runs no more, delete {path}."
            )
        if not waited:
            waiting(f"{folder} is in use: {holder.words}; waiting until it has finished")
        waited = True
        time.sleep(LOOK)
    return waited


def _create(path: Path, content: bytes) -> bool:
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    return True


def _read(path: Path) -> Holder | None:
    """Return what a lock says, None if there is none any more."""
    try:
        content = read_file(path)
    except FileNotFoundError:
        return None
    try:
        fields = json.loads(content)
        owner = Owner(str(fields["host"]), str(fields["place"]), int(fields["pid"]), str(fields["started"]))
        return Holder(content, owner, str(fields["doing"]), str(fields["since"]))
    except (ValueError, KeyError, TypeError, RecursionError):  # its process was killed while it wrote, or is about to
        return Holder(content)


def _is_gone(path: Path, holder: Holder) -> bool:
    lives = None if holder.owner is None else holder.owner.lives()
    return _age(path) > STALE if lives is None else not lives


def _age(path: Path) -> float:
    """Return the seconds since a file was touched; the disk's own clock counts, since machines may differ."""
    probe = path.with_name(f".lock-age.{this_place()}-{os.getpid()}.tmp")
    probe.write_bytes(b"")
    try:
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _remove(path: Path, holder: Holder) -> None:
    """Remove the lock of a dead process, and only that: another process may have done so and made its own since."""
    takeover = path.with_name(TAKEOVER)
    if not _create(takeover, b""):
        if _age(takeover) > STALE:  # whoever removed a lock was killed meanwhile
            takeover.unlink(missing_ok=True)
        time.sleep(LOOK)
        return
    try:
        current = _read(path)
        if current is not None and current.content == holder.content:
            path.unlink()
    finally:
        takeover.unlink(missing_ok=True)


def _beat(path: Path, content: bytes, ended: threading.Event) -> None:
    """Touch a lock now and then, as long as it is this process's."""
    while not ended.wait(BEAT):
        with suppress(OSError):
            if path.read_bytes() != content:
                return
            os.utime(path)


def _release(path: Path) -> None:
    content = _held.pop(path, None)
    with suppress(OSError):
        if content is not None and path.read_bytes() == content:
            path.unlink()
