"""Histories on disk: what is read is what was lived, whatever happens in between."""

from __future__ import annotations

import dataclasses
import errno
import gc
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ad_hypotheses.errors import ConfigError, DataError, UserError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import DynaQ, HistoryFolder, Thompson, generate, open_histories, shards, write_histories
from ad_hypotheses.storage.lock import LOCK
from ad_hypotheses.storage.owner import Owner
from ad_hypotheses.tasks import BernoulliBandit, DarkRoom

ROOM, SOURCE = DarkRoom(size=3, horizon=4), DynaQ(planning=1)
AGAIN = "delete it and run the same command again"


def make(folder: Path, **changed: Any) -> HistoryFolder:
    """Ten histories of three kept episodes (twelve steps), in shards of four."""
    settings: dict[str, Any] = {"learners_per_task": 2, "episodes": 5, "keep_every": 2, "seed": 7, "shard_size": 4}
    facts = {"goal": ROOM.tasks()["goal"][:5]}
    return generate(folder, ROOM, changed.pop("source", SOURCE), facts, **(settings | changed))


def everything(histories: HistoryFolder) -> History:
    return histories.rows(np.arange(histories.n_histories))


def same(one: History, other: History) -> bool:
    arrays = ("observations", "actions", "rewards", "episode", "learner")
    alike = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
    return alike and all(np.array_equal(fact, other.task[name]) for name, fact in one.task.items())


def test_what_is_read_is_what_was_lived(tmp_path: Path) -> None:
    histories = make(tmp_path)
    assert (histories.n_histories, histories.n_steps, len(histories.shards)) == (10, 12, 3)
    read = everything(histories)
    assert read.learner.tolist() == list(range(10))
    assert read.task["goal"].tolist() == ROOM.tasks()["goal"][:5].tolist() * 2
    assert read.episode[3].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    facts = {"goal": ROOM.tasks()["goal"][np.arange(4, 8) % 5]}
    lived = SOURCE.live(ROOM, facts, 5, np.random.default_rng([7, 1]), keep_every=2)
    assert same(read[4:8], replace(lived, learner=np.arange(4, 8)))
    assert (read.channels, read.n_actions) == (("x", "y"), 5)


def test_rows_come_in_the_order_asked_for(tmp_path: Path) -> None:
    histories = make(tmp_path)
    rows = np.array([9, 0, 5, 5, 3])
    assert same(histories.rows(rows), everything(histories)[rows])


def test_windows_are_cut_out_and_their_episodes_renumbered(tmp_path: Path) -> None:
    histories = make(tmp_path)
    rows, offsets = np.array([8, 1, 4]), np.array([0, 7, 3])
    windows, whole = histories.windows(rows, offsets, 5), everything(histories)
    for index, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
        steps = slice(offset, offset + 5)
        assert (windows.observations[index] == whole.observations[row, steps]).all()
        assert (windows.actions[index] == whole.actions[row, steps]).all()
        assert (windows.rewards[index] == whole.rewards[row, steps]).all()
        assert windows.learner[index] == row
        assert (windows.task["goal"][index] == whole.task["goal"][row]).all()
    assert windows.episode.tolist() == [[0, 0, 0, 0, 1], [0, 1, 1, 1, 1], [0, 1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("rows", "offsets", "n_steps"), [([10], [0], 1), ([-1], [0], 1), ([0], [9], 4), ([0], [-1], 2), ([0], [0], 0)]
)
def test_what_is_not_there_cannot_be_read(tmp_path: Path, rows: list[int], offsets: list[int], n_steps: int) -> None:
    histories = make(tmp_path)
    with pytest.raises(DataError, match="holds"):
        histories.windows(np.array(rows), np.array(offsets), n_steps)


def test_histories_without_observations(tmp_path: Path) -> None:
    bandit = BernoulliBandit(arms=3, horizon=6)
    facts, _ = bandit.split(held_out=1, seed=0, train=4)
    read = everything(generate(tmp_path, bandit, Thompson(), facts, 2, episodes=1, shard_size=3))
    assert read.observations.shape == (8, 6, 0)
    assert (read.task["means"] == np.tile(facts["means"], (2, 1))).all()


def test_the_seed_decides_everything_and_shards_differ(tmp_path: Path) -> None:
    first, again, other = make(tmp_path / "a"), make(tmp_path / "b"), make(tmp_path / "c", seed=8)
    assert same(everything(first), everything(again))
    assert (first.folder / "manifest.json").read_bytes() == (again.folder / "manifest.json").read_bytes()
    assert not same(everything(first), everything(other))
    assert (everything(first).actions[:4] != everything(first).actions[4:8]).any()


def test_progress_counts_histories(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    make(tmp_path, progress=lambda done, of: told.append((done, of)))
    assert told == [(0, 10), (4, 10), (8, 10), (10, 10)]


# --- interruptions

KILLED = """
import os, sys
from pathlib import Path
sys.path[:0] = ["tests"]
from test_histories import make
from ad_hypotheses.sources import shards

save, saved = shards._save, []
def save_and_die(path, array):
    saved.append(path)
    return save(path, array) if len(saved) < 9 else os._exit(9)

shards._save = save_and_die
make(Path(sys.argv[1]))
"""


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a")], cwd=root, env=environment, check=False)
    assert killed.returncode == 9
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [LOCK, ".shard-00001.partial", "shard-00000"]
    with pytest.raises(DataError, match="are unfinished: run the command"):
        open_histories(tmp_path / "a")
    finished = tmp_path / "a" / "shard-00000" / "actions.npy"
    before = finished.stat().st_mtime_ns
    assert same(everything(make(tmp_path / "a")), everything(make(tmp_path / "b")))
    assert finished.stat().st_mtime_ns == before
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"manifest.json", *(f"shard-{number:05d}" for number in range(3))}


def test_a_second_process_is_refused_while_the_first_makes_histories(tmp_path: Path, monkeypatch) -> None:
    owner = Owner("node7", "elsewhere", 41, "")
    (tmp_path / LOCK).write_text(json.dumps({**dataclasses.asdict(owner), "doing": "generating", "since": "now"}))
    with pytest.raises(UserError, match=r"in use: process 41 on node7 is generating there"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_only_a_missing_shard_is_made_again(tmp_path: Path) -> None:
    before = everything(make(tmp_path))
    for file in (tmp_path / "shard-00001").iterdir():
        file.unlink()
    (tmp_path / "shard-00001").rmdir()
    with pytest.raises(DataError, match=r"shard .*shard-00001 is missing; run the same command again"):
        open_histories(tmp_path)
    others = [tmp_path / name / "actions.npy" for name in ("shard-00000", "shard-00002")]
    written = [path.stat().st_mtime_ns for path in others]
    assert same(everything(make(tmp_path)), before)
    assert [path.stat().st_mtime_ns for path in others] == written
    assert same(everything(open_histories(tmp_path)), before)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_finished_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    save = shards._save

    def full(path: Path, array: np.ndarray) -> dict[str, Any]:
        if "shard-00001" in str(path) and path.name == "rewards.npy":
            raise OSError(number, os.strerror(number))
        return save(path, array)

    with monkeypatch.context() as patched:
        patched.setattr(shards, "_save", full)
        with pytest.raises(DataError, match=r"disk is full: .*shard-00001 .*make room and run the same command"):
            make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["shard-00000"]
    assert make(tmp_path).n_histories == 10


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file could not be written: File exists"):
        make(tmp_path / "file")


# --- damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["observations", "actions", "rewards", "episode", "learner", "task_goal"])
@pytest.mark.parametrize(
    ("damage", "said"), [(truncate, "is corrupt"), (flip, "is corrupt"), (Path.unlink, "is incomplete")]
)
def test_every_damaged_file_is_named(tmp_path: Path, name: str, damage: Callable[[Path], None], said: str) -> None:
    make(tmp_path)
    damage(tmp_path / "shard-00001" / f"{name}.npy")
    for attempt in (lambda: open_histories(tmp_path), lambda: make(tmp_path)):
        with pytest.raises(DataError) as error:
            attempt()
        assert f"{tmp_path / 'shard-00001'} {said}: {name}.npy" in str(error.value)
        assert AGAIN in str(error.value)


def test_an_archive_in_the_place_of_an_array_is_refused_and_closed(tmp_path: Path) -> None:
    """What begins as an archive does, numpy's reader of any file opens as one, and leaves open where it is none."""
    make(tmp_path)
    path = tmp_path / "shard-00001" / "actions.npy"
    path.write_bytes(b"PK\x03\x04" + b"\0" * 100)
    with pytest.raises(DataError, match=r"actions.npy cannot be read"):
        open_histories(tmp_path, verify=False)
    gc.collect()  # which warns of a file that was left open
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("actions.npy", b"")
    with pytest.raises(DataError, match=r"actions.npy cannot be read"):
        open_histories(tmp_path, verify=False)


def test_what_can_be_seen_without_reading_all_is_seen(tmp_path: Path) -> None:
    make(tmp_path)
    flip(tmp_path / "shard-00001" / "actions.npy")
    assert open_histories(tmp_path, verify=False).n_histories == 10
    np.save(tmp_path / "shard-00001" / "actions.npy", np.zeros((4, 11), dtype=np.int8))
    with pytest.raises(DataError, match=r"actions.npy holds \|i1 \[4, 11\], not \|i1 \[4, 12\]"):
        open_histories(tmp_path, verify=False)
    truncate(tmp_path / "shard-00001" / "actions.npy")
    with pytest.raises(DataError, match=r"actions.npy cannot be read"):
        open_histories(tmp_path, verify=False)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"recipe": 3}', '{"files": {"../x.npy": {}}}', "\udcff"])
def test_a_bad_description_of_a_shard_is_named(tmp_path: Path, content: str) -> None:
    make(tmp_path)
    (tmp_path / "shard-00002" / "shard.json").write_bytes(content.encode(errors="surrogateescape"))
    for attempt in (lambda: open_histories(tmp_path), lambda: make(tmp_path)):
        with pytest.raises(DataError, match=rf"shard .*shard-00002 .*{AGAIN}"):
            attempt()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 1, "recipe": {}, "shards": []}', "\udcff"])
def test_a_bad_manifest_is_named_and_made_again(tmp_path: Path, content: str) -> None:
    before = everything(make(tmp_path))
    (tmp_path / "manifest.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=rf"manifest.* corrupt.*{AGAIN}"):
        open_histories(tmp_path)
    (tmp_path / "manifest.json").unlink()
    assert same(everything(make(tmp_path)), before)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda manifest: manifest.update(format=2), "corrupt or of another version"),
        (lambda manifest: manifest["shards"].reverse(), "corrupt or of another version"),
        (lambda manifest: manifest["recipe"].update(seed=8), "shard-00000 is not the one that manifest.json lists"),
        (lambda manifest: manifest["shards"][1]["files"].clear(), "shard-00001 is not the one"),
        (lambda manifest: manifest["recipe"].pop("channels"), "it lacks or garbles 'channels'"),
    ],
)
def test_an_edited_manifest_is_noticed(tmp_path: Path, edit: Callable[[dict[str, Any]], None], said: str) -> None:
    make(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    edit(manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError) as error:
        open_histories(tmp_path)
    assert said in str(error.value)


def test_swapped_shards_are_noticed(tmp_path: Path) -> None:
    make(tmp_path)
    first, second, aside = tmp_path / "shard-00000", tmp_path / "shard-00001", tmp_path / "aside"
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    with pytest.raises(DataError, match="shard-00000 is not the one"):
        open_histories(tmp_path)
    with pytest.raises(DataError, match="shard-00000 is corrupt: it was written as number 1"):
        make(tmp_path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": 8}, "seed was 7, is 8"),
        ({"source": DynaQ(planning=2)}, "source.planning was 1, is 2"),
        ({"episodes": 6}, "episodes was 5, is 6"),
        ({"learners_per_task": 3}, "learners_per_task was 2, is 3"),
    ],
)
def test_other_histories_are_not_mixed_in(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    make(tmp_path)
    with pytest.raises(DataError) as error:
        make(tmp_path, **changed)
    assert f"holds other histories ({said}); name another folder" in str(error.value)


def test_a_folder_without_histories(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder\. Generate them first"):
        open_histories(tmp_path / "nowhere")
    with pytest.raises(DataError, match="unfinished"):
        open_histories(tmp_path)


@pytest.mark.parametrize(
    "changed", [{"learners_per_task": 0}, {"shard_size": 0}, {"episodes": 0}, {"keep_every": 0}, {"seed": -1}]
)
def test_numbers_too_small_are_refused(tmp_path: Path, changed: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be at least"):
        make(tmp_path, **changed)


# --- altered histories


def test_histories_in_memory_are_kept_as_they_are(tmp_path: Path) -> None:
    history = everything(make(tmp_path / "a"))
    shuffled = replace(history, rewards=history.rewards[:, ::-1])
    kept = write_histories(tmp_path / "b", shuffled, {"altered": "rewards reversed", "of": ("a",)}, shard_size=3)
    assert same(everything(kept), shuffled)
    assert kept.recipe["altered"] == "rewards reversed"
    assert same(
        everything(write_histories(tmp_path / "b", shuffled, {"altered": "rewards reversed", "of": ("a",)}, 3)),
        shuffled,
    )
    with pytest.raises(DataError, match="holds other histories"):
        write_histories(tmp_path / "b", history, {"altered": "rewards reversed", "of": ("a",)}, shard_size=3)


def test_episodes_of_different_lengths_are_kept_too(tmp_path: Path) -> None:
    history = everything(make(tmp_path / "a"))
    episode = np.sort(np.random.default_rng(0).integers(3, size=history.actions.shape), axis=1).astype(np.int16)
    episode -= episode[:, :1]
    kept = write_histories(tmp_path / "b", replace(history, episode=episode, learner=None), {}, shard_size=3)
    assert (everything(kept).episode == episode).all()
    assert everything(kept).learner.tolist() == list(range(10))


# --- what is said of the arrays


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("number", [5, 3, 0, -5, 10**18, True, "4", None])
@pytest.mark.parametrize("verify", [True, False])
def test_a_wrong_number_of_histories_is_refused(tmp_path: Path, number: Any, verify: bool) -> None:
    make(tmp_path)
    rewrite(tmp_path / "manifest.json", lambda manifest: manifest["shards"][1].update(n_histories=number))
    expected = "shard-00001 is not the one that manifest.json lists (n_histories differs)"
    with pytest.raises(DataError) as caught:
        open_histories(tmp_path, verify)
    assert expected in str(caught.value)
    rewrite(tmp_path / "shard-00001" / "shard.json", lambda shard: shard.update(n_histories=number))
    with pytest.raises(DataError, match="shard-00001 is corrupt"):
        open_histories(tmp_path, verify)


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        *((name, np.s_[:-1]) for name in ("observations", "actions", "rewards", "learner", "task_goal")),
        *((name, np.s_[:, :-1]) for name in ("observations", "actions", "rewards", "episode", "task_goal")),
        *((name, np.s_[..., None]) for name in ("observations", "actions", "rewards", "episode", "learner")),
        ("episode", np.s_[[0, 0]]),
        ("observations", np.s_[..., :1]),
    ],
)
def test_arrays_of_another_shape_are_refused(tmp_path: Path, name: str, cut: Any) -> None:
    """Also where description and manifest agree on them."""
    make(tmp_path)
    path = tmp_path / "shard-00001" / f"{name}.npy"
    array = np.load(path)
    entry = shards._save(path, array[cut])
    rewrite(path.parent / "shard.json", lambda shard: shard["files"].update({path.name: entry}))
    rewrite(tmp_path / "manifest.json", lambda manifest: manifest["shards"][1]["files"].update({path.name: entry}))
    with pytest.raises(DataError, match=r"shard-00001 is corrupt"):
        open_histories(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("learner", lambda array: array.astype(complex), "learner.npy holds numbers of type complex128"),
        ("episode", lambda array: array.astype(str), "episode.npy holds numbers of type <U"),
        ("actions", lambda array: array.astype(float), "actions.npy holds numbers of type float64"),
        ("rewards", lambda array: array > 0, "rewards.npy holds numbers of type bool"),
        ("task_goal", lambda array: array * np.nan, "task_goal.npy holds NaN or infinity"),
    ],
)
def test_arrays_of_another_type_are_refused(
    tmp_path: Path, name: str, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    """Also where description and manifest agree on them."""
    make(tmp_path)
    path = tmp_path / "shard-00001" / f"{name}.npy"
    entry = shards._save(path, change(np.load(path)))
    rewrite(path.parent / "shard.json", lambda shard: shard["files"].update({path.name: entry}))
    rewrite(tmp_path / "manifest.json", lambda manifest: manifest["shards"][1]["files"].update({path.name: entry}))
    with pytest.raises(DataError, match=message):
        open_histories(tmp_path)


def test_a_shard_without_a_fact_that_the_others_have_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    rewrite(tmp_path / "shard-00002" / "shard.json", lambda shard: shard["files"].pop("task_goal.npy"))
    rewrite(tmp_path / "manifest.json", lambda manifest: manifest["shards"][2]["files"].pop("task_goal.npy"))
    with pytest.raises(DataError, match="shard-00002 is corrupt: its task_goal are not like those of shard-00000"):
        open_histories(tmp_path)
