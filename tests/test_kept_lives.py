"""Lives of a model on disk: the same as those that would be lived, and lived anew where that could not be so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

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


def test_a_models_answers_are_read_as_they_were_worked_out(tiny, tmp_path):
    lives, history = LivesOnDisk(tmp_path), histories(tiny, *ASKED).history
    answers = np.random.default_rng(0).random((6, history.n_steps, 5), dtype=np.float32)
    assert lives.log_probs(tiny, history, lambda: answers) is answers
    again = lives.log_probs(tiny, history, lambda: pytest.fail("worked out twice"))
    assert again.dtype == answers.dtype
    assert np.array_equal(again, answers)
    assert lives.log_probs(tiny, history[:3], lambda: answers[:3]).shape[0] == 3
    assert LivesOnDisk().log_probs(tiny, history, lambda: answers) is answers
