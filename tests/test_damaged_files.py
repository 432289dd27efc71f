"""Files that are damaged, foreign or not files at all: a message or a new measurement, never a traceback or a wait."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ad_hypotheses.distill.checkpoint import RECORD
from ad_hypotheses.distill.config import read_config
from ad_hypotheses.errors import ConfigError, DataError, UserError
from ad_hypotheses.known.calibration.record import read_calibration
from ad_hypotheses.sources import generate, make_source
from ad_hypotheses.storage.checked import (
    checked_json,
    digest_of,
    read_checked_arrays,
    read_checked_json,
    write_checked_arrays,
)
from ad_hypotheses.storage.files import replacing
from ad_hypotheses.storage.reading import parse_json, read_file, read_json
from ad_hypotheses.storage.store import Store
from ad_hypotheses.studies.listing import checkpoints
from ad_hypotheses.studies.scrub.record import read_study
from ad_hypotheses.tasks import make_task

DEEP = "[" * 100_000
LONG = "9" * 10_000
SECONDS_TO_WAIT = 60  # for a pipe that nobody writes to, which without a refusal lasts for ever


@pytest.fixture
def no_wait() -> Iterator[None]:
    """Stop a test that waits for a pipe, which would stop the whole run."""

    def stop(*_: object) -> None:
        raise AssertionError("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS_TO_WAIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> Path:
    """Put a pipe in the place of a file."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


# --- one reader for files, JSON and YAML


def test_what_is_not_a_regular_file_is_refused(tmp_path, no_wait):
    (tmp_path / "file").write_bytes(b"content")
    assert read_file(tmp_path / "file") == b"content"
    for path in (pipe(tmp_path / "pipe"), Path("/dev/zero")):
        with pytest.raises(OSError, match="a pipe or a device, not a file"):
            read_file(path)
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "nothing")


def test_reading_a_folder_leaves_nothing_open(tmp_path):
    before = os.dup(0)  # the lowest number that is free
    os.close(before)
    for _ in range(3):
        with pytest.raises(IsADirectoryError):
            read_file(tmp_path)
    after = os.dup(0)
    os.close(after)
    assert after == before


@pytest.mark.parametrize("content", [DEEP, "{" + '"a":{' * 50_000, LONG, "{", b"\xff\xfe\x00", ""])
def test_json_that_cannot_be_read_is_a_value_error(content, tmp_path):
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(content)
    file = tmp_path / "file.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"\w"):
        read_json(file)
    for read in (read_study, read_calibration):
        with pytest.raises(DataError, match="cannot read the record"):
            read(file)


def test_a_record_of_other_types_is_no_record(tmp_path):
    for content in ({"schema": 3, "claims": 5}, {"schema": 1, "outcomes": [[]]}, {"schema": 3, "colour": 1}, []):
        (tmp_path / "file.json").write_text(json.dumps(content), encoding="utf-8")
        for read in (read_study, read_calibration):
            with pytest.raises(DataError, match=r"file.json"):
                read(tmp_path / "file.json")


@pytest.mark.parametrize(
    "content",
    ["[" * 5_000, "a: " + "{b: " * 5_000, f"a: {LONG}", "a: 2020-13-45", b"a: \xff", b"\x00", "a: &x [*x", "&a [*a]"],
    ids=["lists", "mappings", "digits", "date", "encoding", "null", "open", "itself"],
)
@pytest.mark.default_cases(4)
def test_yaml_that_cannot_be_read_is_refused(content, tmp_path):
    file = tmp_path / "file.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=r"file.yaml (is not valid YAML|must hold)"):
        read_config(file)


# --- the command line


@pytest.mark.parametrize("verb", ["scrub", "check", "patch", "evaluate", "train", "histories", "sweep", "new"])
@pytest.mark.parametrize("name", ["", "/", "..", "a" * 5000])
@pytest.mark.default_cases(12)
def test_names_of_nothing_are_refused(cli, verb, name):
    if verb == "evaluate" and name in ("", "..", "/"):
        pytest.skip("a folder of checkpoints, which there means all of them")
    ran = cli(verb, name)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err


@pytest.mark.parametrize("device", ["hpu", "meta", "privateuseone", "cpu:7x", "", "cuda:-1"])
def test_devices_that_are_not_there_are_refused(cli, device):
    ran = cli("evaluate", "tiny", "--device", device)
    assert ran.code == 2
    assert f"there is no device {device!r} on this machine" in ran.said


@pytest.mark.parametrize(
    "typed",
    ["train tiny.yaml --threads", "sweep tiny.yaml --threads", "patch tiny --threads", "evaluate tiny --threads",
     "calibrate --workers", "sweep tiny.yaml --workers"],
)  # fmt: skip
def test_more_threads_than_any_machine_has_are_refused(cli, typed):
    for number in (1025, 10**30):
        ran = cli(*typed.split(), number)
        assert ran.code == 2
        assert "is too many: at most 1,024" in ran.said or "is not in the range" in ran.said


@pytest.mark.parametrize(
    ("file", "typed", "words"),
    [
        ("models/tiny/config.yaml", "evaluate tiny", "cannot read the configuration"),
        ("models/tiny/record.json", "evaluate tiny", "cannot read models/tiny/record.json"),
        ("tiny.yaml", "train tiny.yaml", "cannot read the configuration tiny.yaml"),
        ("hypotheses/stay.py", "check stay", "stay"),
        ("hypotheses/deep/stay.py", "check stay", "stay"),
    ],
)
def test_a_pipe_in_place_of_a_file_is_refused(cli, workplace, no_wait, file, typed, words):
    (workplace / file).parent.mkdir(exist_ok=True)
    pipe(workplace / file)
    ran = cli(*typed.split())
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.said
    assert cli("list").code == 0


@pytest.mark.parametrize("typed", ["patch circle.py", "scrub circle.py", "check circle.py", "train circle.yaml"])
def test_a_link_to_itself_in_place_of_a_file_is_refused(cli, workplace, typed):
    for name in ("circle.py", "circle.yaml"):
        (workplace / name).symlink_to(name)
    ran = cli(*typed.split())
    assert (ran.code, ran.out) == (2, "")
    assert typed.split()[1] in ran.said


WRONG = {
    "seconds": ["long", -1.0, True, [], {}],
    "evaluation": ["good", [], 3, {"summary": []}, {"summary": {"held_out_of_optimum": "all"}},
                   {"summary": {"held_out_of_optimum": [1]}}, {"held_out": [{"name": 1}]}, {"held_out": {"model": 1}},
                   {"held_out": [{"name": "model", "returns": [1.0]}]},
                   {"held_out": [{"name": "model", "returns": [1.0], "rollouts": 2, "lows": [0.5]}]}],
    "weights_sha256": [5, [], {}],
    "config": ["dark-room", [1]],
    "parameters": ["many", 1.5],
    "command": [5, None],
    "known": ["win-stay", {"proof": [], "taught": 5}],
}  # fmt: skip


def test_a_record_of_wrong_types_hides_no_other_model_and_is_refused(cli, workplace):
    shutil.copytree(workplace / "models" / "tiny", workplace / "models" / "wrong")
    path = workplace / "models" / "wrong" / RECORD
    record = json.loads(path.read_text(encoding="utf-8"))
    for key, values in WRONG.items():
        for value in values:
            path.write_text(json.dumps({**record, key: value}), encoding="utf-8")
            rows = {row.name: row.error or "" for row in checkpoints(workplace / "models")}
            assert rows["tiny"] == "", value
            assert "does not hold what a record holds" in rows["wrong"], value
    assert cli("list").code == 0
    assert key in cli("evaluate", "wrong").said


# --- measurements that are kept


ARRAYS = {
    "changes loss": np.linspace(0, 1, 12).reshape(3, 4),
    "missing": np.array([np.nan, 1.0], np.float32),
    "meta": np.array("{}"),
}


def kept(arrays: dict[str, np.ndarray]) -> bytes:
    """Return the file that keeps arrays."""
    file = io.BytesIO()
    write_checked_arrays(file, arrays)
    return file.getvalue()


def flipped(content: bytes, position: int) -> bytes:
    """Return content with a bit of one of its bytes flipped, each time another one."""
    return content[:position] + bytes([content[position] ^ 1 << position % 7]) + content[position + 1 :]


def test_arrays_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "kept.npz"
    assert read_checked_arrays(path) is None
    path.write_bytes(kept(ARRAYS))
    arrays = read_checked_arrays(path)
    assert arrays is not None
    assert list(arrays) == list(ARRAYS)
    assert digest_of(arrays) == digest_of(ARRAYS)
    assert digest_of({"meta": np.array(["{}"])}) != digest_of({"meta": np.array("{}")})  # which reads as another text


def test_no_flipped_bit_changes_a_number_or_raises(tmp_path):
    path, content = tmp_path / "kept.npz", kept(ARRAYS)
    refused = 0
    for position in range(0, len(content), 5):
        path.write_bytes(flipped(content, position))
        arrays = read_checked_arrays(path)
        refused += arrays is None
        assert arrays is None or digest_of(arrays) == digest_of(ARRAYS)
    assert refused > len(content) / 10, "the rest are names and times that zip keeps twice"


def test_arrays_of_another_shape_or_with_nan_or_of_another_program_are_not_taken(tmp_path):
    path, whole = tmp_path / "kept.npz", dict(np.load(io.BytesIO(kept(ARRAYS))))
    with_nan = np.where(whole["changes loss"] > 0.9, np.nan, whole["changes loss"])
    for changed in ({"changes loss": whole["changes loss"][:2]}, {"changes loss": with_nan}, {"other": np.zeros(2)}):
        np.savez(path, **{**whole, **changed})
        assert read_checked_arrays(path) is None, changed
    np.savez(path, **ARRAYS)
    assert read_checked_arrays(path) is None
    np.savez(path, sha256=np.array(["x", {}], dtype=object))
    assert read_checked_arrays(path) is None
    path.write_bytes(b"PK\x03\x04 and no more")
    assert read_checked_arrays(path) is None


def test_what_is_damaged_is_made_again_and_then_there(tmp_path, no_wait):
    path, made, known = tmp_path / "part" / "key-kept.npz", [], []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return ARRAYS

    def get() -> tuple[int, int]:
        """Return how often arrays were made, and how often they were there."""
        arrays = Store(path.parent, "key").get("kept", make, lambda: known.append(1))
        assert digest_of(arrays) == digest_of(ARRAYS)
        return len(made), len(known)

    assert get() == (1, 0)
    assert get() == (1, 1)
    whole = path.read_bytes()
    method = whole.index(b"PK\x01\x02") + 10  # how the first array is packed: zipfile knows no other than 0
    for number, content in enumerate((flipped(whole, method), whole[:100], b""), 1):
        path.write_bytes(content)
        assert get() == (1 + number, number)
        assert get() == (1 + number, 1 + number)
    pipe(path)
    assert get() == (5, 4)


@pytest.mark.parametrize("content", [{"key": "k", "results": {"a": 0.1, "b": [None, "é"]}}, [], {}, 0, float("nan")])
def test_json_is_read_as_it_was_written_or_not_at_all(tmp_path, content):
    path = tmp_path / "kept.json"
    assert read_checked_json(path) is None
    text = checked_json(content)
    path.write_bytes(text)
    assert str(read_checked_json(path)) == str(content)
    for position in range(len(text)):
        path.write_bytes(flipped(text, position))
        assert str(read_checked_json(path)) in (str(content), "None")


@pytest.mark.parametrize("content", [b"\xff\xfe", DEEP.encode(), b"[]", b"{}", b"5", b'{"sha256": 1, "content": 2}'])
def test_json_of_another_program_is_not_taken(tmp_path, content):
    (tmp_path / "kept.json").write_bytes(content)
    assert read_checked_json(tmp_path / "kept.json") is None


def test_a_changed_digit_is_worked_out_again(tmp_path):
    path = tmp_path / "numbers.jsonl"
    assert Store(tmp_path, "numbers").get("a", lambda: 0.25) == 0.25
    before = path.read_bytes()
    for content in (before.replace(b"0.25", b"0.35"), b"\xff\xfe\n" + before[:-4], before.replace(b'"a"', b'"b"')):
        assert content != before
        path.write_bytes(content)
        assert Store(tmp_path, "numbers").get("a", lambda: 0.5) == 0.5
    path.write_bytes(b"\xff\xfe undecodable\n" + before)
    assert Store(tmp_path, "numbers").get("a", lambda: 0.5) == 0.25
    assert path.read_bytes() == before


@pytest.mark.parametrize("put", [lambda path: path.symlink_to(path.name), os.mkfifo, lambda path: path.symlink_to(".")])
def test_what_took_the_place_of_kept_numbers_is_replaced(put, tmp_path):
    path = tmp_path / "kept.jsonl"
    put(path)
    assert Store(tmp_path, "kept").get("a", lambda: 0.25) == 0.25
    assert Store(tmp_path, "kept").get("a", lambda: 0.5) == 0.25


# --- full disks


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Let no file grow beyond a few kilobytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_within_an_array_is_called_full(tmp_path, small_disk):
    task = make_task("dark-room", size=5, horizon=10)
    facts = {"goal": task.split(0, 0)[0]["goal"]}
    with pytest.raises(DataError, match=r"the disk is full: .*shard-00000 could not be written"):
        generate(tmp_path / "histories", task, make_source("epsilon-greedy-q"), facts, 20, 20)
    assert list((tmp_path / "histories").iterdir()) == []


def test_a_disk_that_is_full_within_kept_arrays_is_told(tmp_path, small_disk):
    with pytest.raises(UserError, match=r"cannot write .*kept.npz: File too large"):
        Store(tmp_path).get("kept", lambda: {"large": np.random.default_rng(0).random(10_000)})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_stops_nothing_that_need_not_be_kept(tmp_path, small_disk):
    store = Store(tmp_path, "plain", must_keep=False)
    assert store.get("a", lambda: "x" * 5000) == "x" * 5000
    assert store.get("a", lambda: "made again") == "x" * 5000
    (tmp_path / "plain.jsonl").write_bytes(b"what was cut off")
    assert Store(tmp_path, "plain", must_keep=False).plain == {}
    with pytest.raises(UserError, match=r"cannot write .*other.jsonl: File too large"):
        Store(tmp_path, "other").get("a", lambda: "x" * 5000)


def test_an_error_that_names_no_reason_is_told_in_its_own_words(tmp_path):
    def write() -> None:
        with replacing(tmp_path / "file"):
            raise OSError("20480 requested and 8160 written")

    with pytest.raises(UserError, match="20480 requested and 8160 written"):
        write()


# --- platforms


def test_other_systems_are_told_which_are_supported(cli, monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    ran = cli("list")
    assert (ran.code, ran.out) == (2, "")
    assert "Linux and macOS are supported, and this is win32." in ran.said
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert "Linux and macOS are supported" in readme
