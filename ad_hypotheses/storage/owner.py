"""Which process wrote a file, and whether it still runs: processes of this machine can be looked at, others cannot."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROC = Path("/proc")
ENDED = ("Z", "X")  # states in /proc/<pid>/stat of a process that ended but was not waited for


@dataclass(frozen=True)
class Owner:
    """A process, named so that no other one is taken for it.

    Attributes:
        host: Name of its machine, for people.
        place: Digest of what process numbers are relative to: machine, boot, process namespace (containers).
        pid: Its number there.
        started: When it started, as the operating system counts; empty where that is unknown.
    """

    host: str
    place: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> Owner:
        """Return this process."""
        return cls(platform.node() or "unknown host", this_place(), os.getpid(), _started(os.getpid()))

    def lives(self) -> bool | None:
        """Whether the process still runs; None where this machine cannot tell."""
        if self.place != this_place():
            return None
        if not is_running(self.pid):
            return False
        now = _started(self.pid)
        # a number is used again, after a restart of a container even at once, so the starts are compared
        return now == self.started if now and self.started else None


@cache
def this_place() -> str:
    """Return a digest of what process numbers are relative to here."""
    namespace = boot = ""
    try:
        namespace = os.readlink(PROC / "self/ns/pid")  # noqa: PTH115 - it is no path that exists
        boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:  # only Linux has them
        pass
    return hashlib.sha256(f"{platform.node()} {namespace} {boot}".encode()).hexdigest()[:8]


def is_running(pid: int) -> bool:
    """Whether a process of this place runs, by its number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return _stat(pid)[:1] not in [[state] for state in ENDED]


def _started(pid: int) -> str:
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""


def _stat(pid: int) -> list[str]:
    """Return the fields of `/proc/<pid>/stat` from the state on (proc(5): field 3; the start is field 22)."""
    try:
        content = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return content.rpartition(")")[2].split()  # the name of a program may hold spaces and brackets
