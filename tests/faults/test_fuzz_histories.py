"""Damaged histories on disk: shards and manifests, broken, altered, or consistently wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from faults.campaign import ACCEPTED, REFUSED, settled
from faults.mutate import alter, alter_array, as_json, damage, misplace, npy, pick
from faults.sound import CONFIG, sizes

from ad_hypotheses.distill.config import check_config
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.histories import MANIFEST, HistoryFolder, open_histories, write_histories
from ad_hypotheses.sources.recorded import Recorded

ROWS, SHARD = 10, 4  # the last shard is smaller
ARRAYS = ("observations", "actions", "rewards", "episode", "learner")


@pytest.fixture(scope="module")
def task():
    return check_config(CONFIG, "the base").experiment.task


@pytest.fixture(scope="module")
def recorded(task, tmp_path_factory) -> Path:
    """A folder of ten sound histories in three shards."""
    config, rng = check_config(CONFIG, "the base"), np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("histories") / "sound"
    write_histories(folder, config.experiment.live(task.sample_tasks(rng, ROWS), rng), {"made": "for a test"}, SHARD)
    return folder


def broken(trial, folder: Path) -> None:
    """Damage the bytes of a file."""
    path = pick(sorted(path for path in folder.rglob("*") if path.is_file()), trial.rng)
    words, content = damage(path.read_bytes(), trial.rng)
    trial.note(f"{path.relative_to(folder)}: {words}")
    path.write_bytes(content)


def misplaced(trial, folder: Path) -> None:
    """Put something else in the place of a file, a shard, or everything."""
    path = pick([folder, *sorted(folder.rglob("*"))], trial.rng)
    trial.note(f"{path.relative_to(folder.parent)}: {misplace(path, trial.rng)}")


def altered(trial, folder: Path) -> None:
    """Change a value of a manifest or of a shard's description; half of the time in both."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    number = int(trial.rng.integers(len(manifest["shards"])))
    path = folder / f"shard-{number:05d}" / "shard.json"
    if trial.rng.random() < 0.5:
        words, tree = alter(json.loads(path.read_bytes()), trial.rng)
        trial.note(f"{path.parent.name} and manifest: {words}")
        path.write_bytes(as_json(tree))
        if isinstance(tree, dict):
            manifest["shards"][number] = {key: value for key, value in tree.items() if key != "recipe"}
        (folder / MANIFEST).write_bytes(as_json(manifest))
        return
    path = pick([path, folder / MANIFEST], trial.rng)
    words, tree = alter(json.loads(path.read_bytes()), trial.rng)
    trial.note(f"{path.relative_to(folder)}: {words}")
    path.write_bytes(as_json(tree))


def forged(trial, folder: Path) -> None:
    """Write another array, described as it is, with the checksum that it has."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    number = int(trial.rng.integers(len(manifest["shards"])))
    shard = folder / f"shard-{number:05d}"
    name = pick(sorted(manifest["shards"][number]["files"]), trial.rng)
    words, array = alter_array(np.load(shard / name), trial.rng)
    (shard / name).write_bytes(npy(array))
    digest = hashlib.sha256((shard / name).read_bytes()).hexdigest()
    entry = {"sha256": digest, "dtype": array.dtype.str, "shape": list(array.shape)}
    for path in (folder / MANIFEST, shard / "shard.json"):
        content = json.loads(path.read_bytes())
        files = content["shards"][number]["files"] if path.name == MANIFEST else content["files"]
        files[name] = entry
        path.write_bytes(as_json(content))
    trial.note(f"{shard.name}/{name}: {words}")


WAYS = (broken, broken, misplaced, altered, altered, altered, forged, forged)


def require_valid(history: History, task) -> None:
    """Refuse histories that a model could not have lived.

    Raises:
        AssertionError: They are not.
    """
    shape = history.actions.shape
    assert history.rewards.shape == history.episode.shape == history.observations.shape[:2] == shape
    assert np.isfinite(history.rewards).all(), "rewards that are no numbers"
    assert ((history.actions >= 0) & (history.actions < task.n_actions)).all(), "actions that do not exist"
    assert (np.diff(history.episode, axis=1) >= 0).all(), "episodes run backwards"
    for channel, size in enumerate(task.channel_sizes[: history.observations.shape[2]]):
        assert ((history.observations[..., channel] >= 0) & (history.observations[..., channel] < size)).all()


def everything(histories: HistoryFolder) -> dict[str, np.ndarray]:
    """Read all that is there, and as much as the folder says that there is."""
    history = histories.rows(np.arange(histories.n_histories))
    return {**{name: getattr(history, name) for name in ARRAYS}, **history.task}


@sizes(40, 2000)
def test_each_gives_what_was_lived_or_is_refused(campaign, recorded, task, n_inputs):
    lived = everything(open_histories(recorded))

    def attempt(trial):
        folder = trial.place / "histories"
        shutil.copytree(recorded, folder)
        way = pick(WAYS, trial.rng)
        way(trial, folder)

        def opened() -> dict[str, np.ndarray]:
            histories = Recorded(str(folder)).open(task)
            assert histories.n_histories < 10**6, f"{histories.n_histories} histories"
            read = everything(histories)
            require_valid(histories.rows(np.arange(histories.n_histories)), task)
            return read

        word, read = settled(opened)
        if word == ACCEPTED and way is not forged:
            assert read.keys() == lived.keys()
            wrong = [name for name, array in lived.items() if not np.array_equal(array, read[name])]
            assert not wrong, f"{wrong} changed in silence"
        settled(lambda: everything(open_histories(folder, verify=False)))
        return word

    counts = campaign.run("histories", n_inputs, attempt)
    assert min(counts[ACCEPTED], counts[REFUSED]) > counts.total() / 60
