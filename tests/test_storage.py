"""What lies on disk: whole files, locks that are right whoever dies where, measurements that only their run removes."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ad_hypotheses.errors import UserError
from ad_hypotheses.storage import files, lock, owner, scratch
from ad_hypotheses.storage.lock import LOCK, clear_after_kills, held, release_all
from ad_hypotheses.storage.owner import Owner, is_running, this_place
from ad_hypotheses.storage.scratch import Scratch, clear_old


@pytest.fixture(scope="module")
def dead() -> int:
    """Return the number of a process that ended and was waited for."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


@pytest.fixture
def running():
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def owned_by(pid: int, **changes: object) -> Owner:
    return replace(Owner.current(), pid=pid, **changes)  # type: ignore[arg-type]


def leave_lock(folder: Path, holder: Owner, age: float = 0.0) -> Path:
    """Write the lock that a process left which was killed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    path.write_text(json.dumps({**asdict(holder), "doing": "training", "since": "14:02 on 3 May", "token": "other"}))
    touch(path, age)
    return path


def touch(path: Path, age: float) -> None:
    """Make a file look as if it was touched some seconds ago."""
    os.utime(path, (time.time() - age,) * 2)


# processes


def test_a_process_is_known_by_its_number_and_its_start(dead, running):
    assert Owner.current().lives() is True
    assert owned_by(dead).lives() is False
    assert owned_by(os.getpid(), started="1").lives() is False  # its number was given to another process
    assert owned_by(running, started="").lives() is None
    assert owned_by(dead, place="elsewhere").lives() is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux shows the state of a process")
def test_a_process_that_ended_but_was_not_waited_for_is_dead():
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read()  # ends when it does
        while is_running(process.pid):
            pass
        assert process.returncode is None


# whole files


def test_what_killed_processes_left_is_cleared_and_nothing_else(tmp_path, dead, running):
    place = this_place()
    gone = [f".card.md.{place}-{dead}.tmp", ".state.safetensors.123.tmp", ".x.0123abcd-7.tmp"]
    left = [f".card.md.{place}-{running}.tmp", ".y.0123abcd-7.tmp", ".lock.tmp", ".hidden", "b.12.tmp", "card.md"]
    for name in (*gone, *left):
        (tmp_path / name).write_text("half of")
    for name in (*gone[1:], ".hidden", "card.md"):
        touch(tmp_path / name, 8 * 86400)
    files.write_atomically(tmp_path / "record.json", b"{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*left, "record.json"])


def test_a_kill_amid_a_write_leaves_nothing_for_ever(tmp_path):
    script = (
        "import os, signal; from pathlib import Path; from ad_hypotheses.storage.files import replacing\n"
        "with replacing(Path('card.md')) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".tmp")
    files.write_atomically(tmp_path / "other.md", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["other.md"]


# locks


def test_a_second_process_is_refused_with_the_number_and_host_of_the_first(tmp_path, running):
    path = leave_lock(tmp_path, owned_by(running, started=owner._started(running), host="node7"))
    with (
        pytest.raises(UserError, match=rf"in use: process {running} on node7 is training there, since 14:02 on 3 May"),
        held(tmp_path, "training"),
    ):
        pass
    assert path.exists()


def test_a_second_process_waits_until_the_first_has_finished(tmp_path):
    messages, inside = [], []

    def second():
        with held(tmp_path, "training", messages.append) as waited:
            inside.append(waited)

    path = leave_lock(tmp_path, Owner.current())
    thread = threading.Thread(target=second)
    thread.start()
    while not messages:
        time.sleep(0.01)
    assert inside == []
    path.unlink()
    thread.join()
    assert inside == [True]
    assert f"process {os.getpid()} on" in messages[0]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_touched_while_its_process_lives_and_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.01)
    with held(tmp_path / "new" / "folder", "training") as waited:
        path = tmp_path / "new" / "folder" / LOCK
        assert not waited
        touch(path, 1000)
        while time.time() - path.stat().st_mtime > 500:
            time.sleep(0.01)
        with held(tmp_path / "new" / ".." / "new" / "folder", "again") as waited:  # what is held may be held again
            assert not waited
        assert path.exists()
    assert not path.exists()


@pytest.mark.parametrize("waiting", [None, [].append], ids=["refused", "waits"])
def test_the_lock_of_a_dead_process_is_taken_over(tmp_path, dead, waiting):
    leave_lock(tmp_path / "here", owned_by(dead))
    leave_lock(tmp_path / "renumbered", owned_by(os.getpid(), started="1"))
    leave_lock(tmp_path / "elsewhere", owned_by(dead, place="elsewhere"), age=400)
    leave_lock(tmp_path / "half", owned_by(dead), age=400).write_text('{"host": "no')
    touch(tmp_path / "half" / LOCK, 400)
    for folder in tmp_path.iterdir():
        with held(folder, "training", waiting) as waited:
            assert not waited
        assert list(folder.iterdir()) == []


def test_a_process_of_another_machine_lives_as_long_as_it_touches_its_lock(tmp_path, dead):
    for folder, age in (("a", 0), ("b", 200)):
        leave_lock(tmp_path / folder, owned_by(dead, place="elsewhere", host="node7"), age)
        with pytest.raises(UserError, match="on node7"), held(tmp_path / folder, "training"):
            pass
        assert [path.name for path in (tmp_path / folder).iterdir()] == [LOCK]


def test_only_the_lock_that_was_judged_is_removed(tmp_path, dead):
    """Two processes find the same dead lock: the second must not remove the lock that the first has made since."""
    path = leave_lock(tmp_path, owned_by(dead))
    judged = lock._read(path)
    path.write_text("the lock of the first")
    lock._remove(path, judged)
    assert path.read_text() == "the lock of the first"
    (tmp_path / lock.TAKEOVER).write_text("")
    touch(tmp_path / lock.TAKEOVER, 400)  # whoever removed a lock was killed meanwhile
    lock._remove(path, lock._read(path))
    lock._remove(path, lock._read(path))
    assert list(tmp_path.iterdir()) == []


def count_alone(folder: Path, times: int) -> None:
    """Add to a number in a file, reading and writing it slowly enough for others to come in between."""
    for _ in range(times):
        with held(folder, "counting", lambda words: None):
            number = int((folder / "number").read_text())
            time.sleep(0.001)
            (folder / "number").write_text(str(number + 1))


@pytest.mark.slow
def test_processes_exclude_each_other_though_some_are_killed(tmp_path, monkeypatch, dead):
    (tmp_path / "number").write_text("0")
    leave_lock(tmp_path, owned_by(dead))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=count_alone, args=(tmp_path, 10)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "number").read_text() == "40"


def test_what_killed_processes_left_in_a_finished_folder_is_cleared(tmp_path, dead):
    leave_lock(tmp_path / "finished", owned_by(dead))
    (tmp_path / "finished" / f".card.md.{this_place()}-{dead}.tmp").write_text("half of")
    clear_after_kills(tmp_path / "finished")
    assert list((tmp_path / "finished").iterdir()) == []
    leave_lock(tmp_path / "used", owned_by(dead, place="elsewhere"))
    clear_after_kills(tmp_path / "used")
    clear_after_kills(tmp_path / "missing")
    assert [path.name for path in (tmp_path / "used").iterdir()] == [LOCK]


def test_what_ends_at_once_releases_its_locks(tmp_path):
    with held(tmp_path, "training"):
        release_all()
        assert list(tmp_path.iterdir()) == []
        leave_lock(tmp_path, Owner.current())
    assert (tmp_path / LOCK).exists(), "the lock of another process is not removed"


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    inner = tmp_path / "file" / "inner"
    with pytest.raises(UserError, match=r"file/inner cannot be written: Not a directory"), held(inner, "training"):
        pass


# what interrupted runs left


def test_a_run_removes_what_it_used_and_leaves_the_rest(tmp_path):
    folder = tmp_path / ".partial" / "stay"
    folder.mkdir(parents=True)
    (folder / "other").write_text("of a run with other options")
    store = Scratch(folder)
    assert store.is_empty
    store.file("own").write_text("")
    store.file("parts").mkdir()
    (folder / "parts" / "first").write_text("")
    store.file("never written")
    assert not store.is_empty
    store.discard()
    assert [path.name for path in folder.iterdir()] == ["other"]
    last = Scratch(folder)
    last.file("other")
    last.discard()
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_came_back_to_is_removed_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "ROOM", 25)
    partial = tmp_path / ".partial"
    for name, size, days in (("a/old", 1, 40), ("a/x", 10, 5), ("a/y", 10, 3), ("b/z", 10, 2), ("b/new", 100, 0.5)):
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
        touch(path, days * 86400)
    assert clear_old(partial) == f"removed 4 files that earlier runs kept in {partial}, up to 40 days old (0 MB)"
    assert [path.name for path in partial.rglob("*")] == ["b", "new"]
    assert clear_old(partial) == ""
    for name in ("0123456789abcdef01234567.npz", "win-stay-0123456789abcdef0123.json", "claims-0123456789abcdef.npz"):
        (partial / name).write_bytes(b"")
    assert clear_old(partial).endswith("; another version wrote them, so that they are measured again")
    assert sorted(path.name for path in partial.iterdir()) == ["b", "claims-0123456789abcdef.npz"]
    (partial / "claims-0123456789abcdef.npz").unlink()
    touch(partial / "b" / "new", 31 * 86400)
    assert clear_old(partial).startswith("removed 1 file that")
    assert list(tmp_path.iterdir()) == []
    assert clear_old(partial) == ""
