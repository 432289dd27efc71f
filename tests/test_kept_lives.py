"""Lives of a model on disk: the same as those that would be lived, and lived anew where that could not be so."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.studies import kept_lives
from ad_hypotheses.studies.data import Dataset, histories
from ad_hypotheses.studies.kept_lives import LivesOnDisk

ASKED = (6, "edited:goal-moved", (3, 1), "all", 5)


@pytest.fixture(scope="module")
def tiny(trained: Path) -> Checkpoint:
    return load("tiny", trained, "cpu")


@pytest.fixture
def lived(monkeypatch) -> list[tuple]:
    """Every call that lets somebody live."""
    calls = []

    def counted(checkpoint, *arguments, **how):
        calls.append(arguments[:5])
        return histories(checkpoint, *arguments, **how)

    monkeypatch.setattr(kept_lives, "histories", counted)
    return calls


def assert_equal(left: Dataset, right: Dataset) -> None:
    assert (left.data, left.words, left.breaks) == (right.data, right.words, right.breaks)
    assert np.array_equal(left.sampled, right.sampled)
    assert (left.history.channels, left.history.n_actions) == (right.history.channels, right.history.n_actions)
    assert list(left.history.task) == list(right.history.task)
    pairs = [(getattr(left.history, name), getattr(right.history, name)) for name in ("observations", "actions")]
    pairs += [(getattr(left.history, name), getattr(right.history, name)) for name in ("rewards", "episode", "learner")]
    pairs += [(fact, right.history.task[name]) for name, fact in left.history.task.items()]
    for first, second in pairs:
        assert first.dtype == second.dtype
        assert np.array_equal(first, second)


def test_lives_are_read_as_they_were_lived(tiny, tmp_path, lived):
    lives = LivesOnDisk(tmp_path / "lives")
    first, second = lives.histories(tiny, *ASKED), lives.histories(tiny, *ASKED)
    assert len(lived) == 1
    assert_equal(first, second)
    assert_equal(first, histories(tiny, *ASKED))


@pytest.mark.default_cases(2)
@pytest.mark.parametrize(
    "other",
    [
        (7, *ASKED[1:]),
        (6, "own", *ASKED[2:]),
        (*ASKED[:2], (3, 2), *ASKED[3:]),
        (*ASKED[:3], "train", 5),
        (*ASKED[:4], 6),
    ],
)
def test_other_lives_are_lived(tiny, tmp_path, lived, other):
    lives = LivesOnDisk(tmp_path)
    lives.histories(tiny, *ASKED)
    assert_equal(lives.histories(tiny, *other), histories(tiny, *other))
    assert lived == [ASKED, other]


def test_another_model_or_version_lives_anew(tiny, tmp_path, lived, monkeypatch):
    lives = LivesOnDisk(tmp_path)
    lives.histories(tiny, *ASKED)
    lives.histories(replace(tiny, record={**tiny.record, "weights_sha256": "0" * 64}), *ASKED)
    monkeypatch.setattr(kept_lives, "LIVED_AS", kept_lives.LIVED_AS + 1)
    lives.histories(tiny, *ASKED)
    assert len(lived) == 3


def test_damaged_lives_are_lived_anew(tiny, tmp_path, lived):
    lives = LivesOnDisk(tmp_path)
    first = lives.histories(tiny, *ASKED)
    (path,) = tmp_path.iterdir()
    sound = path.read_bytes()
    path.write_bytes(sound[:300] + bytes([sound[300] ^ 1]) + sound[301:])
    assert_equal(lives.histories(tiny, *ASKED), first)
    assert len(lived) == 2
    assert path.read_bytes() == sound


def test_nothing_is_kept_unless_a_folder_is_given(tiny, tmp_path, lived, monkeypatch):
    monkeypatch.chdir(tmp_path)
    LivesOnDisk().histories(tiny, *ASKED)
    assert len(lived) == 1
    assert list(tmp_path.iterdir()) == []


def test_histories_of_the_source_are_kept_too(tiny, tmp_path, lived):
    asked = (6, "source", 3, "all", 5)
    first, second = (LivesOnDisk(tmp_path / "lives").histories(tiny, *asked) for _ in range(2))
    assert len(lived) == 1
    assert_equal(first, second)


def test_a_models_runs_are_read_as_they_were_worked_out(tiny, tmp_path):
    history = histories(tiny, *ASKED).history
    keep = LivesOnDisk(tmp_path).keeper(tiny, history)
    answers = np.random.default_rng(0).random((6, history.n_steps, 5), dtype=np.float32)
    assert keep("log_probs", lambda: answers) is answers
    again = keep("log_probs", lambda: pytest.fail("worked out twice"))
    assert again.dtype == answers.dtype
    assert np.array_equal(again, answers)
    assert len(keep("mixed 0", lambda: answers[:4])) == 4
    assert len(LivesOnDisk(tmp_path).keeper(tiny, history[:3])("log_probs", lambda: answers[:3])) == 3
    assert LivesOnDisk().keeper(tiny, history) is None


def test_a_run_goes_on_from_what_its_heads_mixed_in_an_earlier_study(tiny, tmp_path, monkeypatch):
    history = histories(tiny, *ASKED).history
    runs = []
    for _ in range(2):
        clean = Clean.run(tiny.model, history, 2)
        clean.keeper = LivesOnDisk(tmp_path).keeper(tiny, history)
        with clean.one_run():
            layers = [stream.clone() for layer in clean.layers(slice(None)) for stream in layer[1:]]
            runs.append([clean.log_probs, *layers])
        monkeypatch.setattr(Twin, "mix", lambda *_: pytest.fail("mixed again"))
    for first, second in zip(*runs, strict=True):
        assert np.array_equal(first, second)


def test_only_the_latest_runs_are_kept_as_far_as_there_is_room(tiny, tmp_path, monkeypatch):
    history = histories(tiny, *ASKED).history
    keep = LivesOnDisk(tmp_path).keeper(tiny, history)
    answers = np.zeros((6, history.n_steps, 5), dtype=np.float32)
    for number in range(3):
        keep(f"mixed {number}", lambda: answers)
        for path in tmp_path.rglob("*.npz"):  # files of one moment have no order
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 10))
    monkeypatch.setattr(kept_lives, "ROOM", 2 * answers.nbytes)
    keep("mixed 3", lambda: answers)
    keep("mixed 3", lambda: pytest.fail("the latest is there"))
    assert len(list(tmp_path.rglob("*.npz"))) == 1


def test_runs_that_would_fill_a_disk_are_not_kept(tiny, tmp_path, monkeypatch):
    clean = Clean.run(tiny.model, histories(tiny, *ASKED).history, 2)
    clean.keeper = lambda *_: pytest.fail("kept")
    monkeypatch.setattr("ad_hypotheses.causal.clean.KEPT_AT_MOST", 10)
    with clean.one_run():
        assert next(clean.layers(slice(None))).mixed.shape[:2] == clean.history.shape
