"""Processes that are stopped at a chosen moment, and what they leave behind.

A moment is counted, not timed: the n-th change of a file, or the n-th call of a function of the package. So a seed
means the same moment on every machine, however busy it is. Processes are forked from a server that has imported all.
"""

from __future__ import annotations

import contextlib
import csv
import json
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from signal import Signals
from typing import Any, Literal

import ad_hypotheses
from ad_hypotheses.storage.lock import LOCK

PACKAGE = str(Path(ad_hypotheses.__file__).parent)
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree"}  # events of sys.addaudithook
WRITING = os.O_WRONLY | os.O_RDWR
TIMES = re.compile(r".*(Wall time|It took \d+ minutes).*\n|(?<=\|) [\d,]+ s (?=\|)")  # lines and cells of pages
TIMED = ("seconds", "log.txt", "state.safetensors")  # keys and files that tell how long something took
ENDED = "ended.json"  # what a process says at its end

_server = multiprocessing.get_context("forkserver")

Kind = Literal["change", "call"]


@dataclass(frozen=True)
class Moment:
    """When to be stopped, and how.

    Attributes:
        kind: What is counted: changes of files, or calls of functions of the package.
        number: Of the change before which, or of the call in which; counted from 1, and 0 for never.
        signal: Which is sent.
    """

    kind: Kind
    number: int = 0
    signal: Signals = Signals.SIGKILL

    def __str__(self) -> str:
        """Return `SIGTERM at change 17`."""
        return f"{self.signal.name} at {self.kind} {self.number}"


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: Its exit code; negative for a signal.
        err: What it wrote to standard error.
        counted: Changes or calls until its end; 0 if it was killed.
    """

    code: int
    err: str
    counted: int


def run(place: Path, arguments: Sequence[str], moment: Moment, prepare: Callable[[], None]) -> Ended:
    """Run the command line in a process of its own, which is stopped at a moment.

    Args:
        place: Its working directory.
        arguments: What is typed after `python cli.py`.
        moment: When and how to stop it.
        prepare: Called in the process first.
    """
    output = place.with_name(f"{place.name}-output")
    output.mkdir(exist_ok=True)
    (output / ENDED).unlink(missing_ok=True)
    _start_server()
    process = _server.Process(target=_work, args=(place, output, tuple(arguments), moment, prepare))
    process.start()
    process.join()
    assert process.exitcode is not None
    counted = json.loads((output / ENDED).read_text())["counted"] if (output / ENDED).exists() else 0
    return Ended(process.exitcode, (output / "err").read_text(errors="replace"), counted)


def _start_server() -> None:
    """Start what forks the processes; it must find this folder and the package to import them beforehand."""
    folders = [str(Path(PACKAGE).parent), str(Path(__file__).parents[1])]
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*folders, *([before] if before else [])])
    try:
        _server.set_forkserver_preload(["faults.preloaded"])
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _work(place: Path, output: Path, arguments: tuple[str, ...], moment: Moment, prepare: Callable[[], None]) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(output / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
    os.chdir(place)
    os.environ.pop("AD_HYPOTHESES_TRACEBACK", None)
    prepare()
    from ad_hypotheses.cli.app import main

    count = _Count(moment)
    (count.watch_changes if moment.kind == "change" else count.watch_calls)()
    try:
        main(arguments)
    finally:
        sys.setprofile(None)
        count.ended = True
        (output / ENDED).write_text(json.dumps({"counted": count.number}))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


class _Count:
    """Counts what happens in this process, and stops it at its moment."""

    def __init__(self, moment: Moment) -> None:
        self.moment, self.number, self.ended = moment, 0, False

    def watch_changes(self) -> None:
        sys.addaudithook(self._audit)

    def watch_calls(self) -> None:
        sys.setprofile(self._profile)

    def _audit(self, event: str, given: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and isinstance(given[2], int) and given[2] & WRITING):
            self._reach()

    def _profile(self, frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            self._reach()

    def _reach(self) -> None:
        if self.ended:
            return
        self.number += 1
        if self.number == self.moment.number:
            os.kill(os.getpid(), self.moment.signal)


def moments(rng: Any, totals: Mapping[Kind, int], signals: Sequence[Signals]) -> Iterator[Moment]:
    """Draw moments without end, as often of each kind.

    Args:
        rng: Draws them.
        totals: How much there is to count in a run that nothing disturbs.
        signals: To choose from.
    """
    while True:
        kind = list(totals)[int(rng.integers(len(totals)))]
        yield Moment(kind, int(rng.integers(1, totals[kind] + 1)), signals[int(rng.integers(len(signals)))])


def final(place: Path) -> dict[str, Any]:
    """Return what a finished run left, by path, without what tells how long it took."""
    files = (path for path in sorted(place.rglob("*")) if path.is_file() and path.name not in TIMED)
    return {path.relative_to(place).as_posix(): _content(path) for path in files}


def left_behind(place: Path) -> list[str]:
    """Return the temporary files, locks and halves in a place, of which a finished run leaves none."""
    names = [path.relative_to(place).as_posix() for path in place.rglob(".*") if path.name != ".evaluated"]
    return sorted(name for name in names if name.endswith((".tmp", ".partial")) or Path(name).name == LOCK)


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_bytes()))
    if path.suffix == ".jsonl":
        # of parts that several workers measured, whichever ended first comes first
        return sorted((_timeless(json.loads(line)) for line in path.read_text().splitlines()), key=json.dumps)
    if path.suffix == ".csv":
        return [_timeless(row) for row in csv.DictReader(path.read_text().splitlines())]
    if path.suffix == ".md":
        return TIMES.sub("", path.read_text())
    return path.read_bytes()


def _timeless(content: Any) -> Any:
    if isinstance(content, dict):
        # a checksum of the whole changes with its times too
        return {key: _timeless(value) for key, value in content.items() if key not in (*TIMED, "sha256")}
    return [_timeless(item) for item in content] if isinstance(content, list) else content


@contextlib.contextmanager
def described(words: object) -> Iterator[None]:
    """Say which moment it was, if something fails."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{words}: {error}") from error
