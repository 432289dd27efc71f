"""Figures of a training go to a tracker where one is named, and nowhere else."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from ad_hypotheses.distill.config import check_config
from ad_hypotheses.errors import UserError
from ad_hypotheses.progress import Progress
from ad_hypotheses.report.track import tracking
from ad_hypotheses.studies.train.study import train

CONFIG = {
    "task": {"name": "dark-room", "size": 3, "horizon": 4},
    "source": {"name": "epsilon-greedy-q"},
    "histories": {"held_out": 2, "learners": 14, "episodes": 4, "keep_every": 2, "check": False},
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 8},
    "training": {"updates": 2, "batch": 4, "warmup": 1, "evaluate_every": 2, "save_every": 2},
}


class Recorded:
    """A tracker that writes down what it is told."""

    def __init__(self):
        self.told = []

    def init(self, *, project, name, config):
        self.told.append(("init", project, name, config["task"]["name"]))

    def log(self, metrics, *, step):
        self.told.append((step, metrics))

    def finish(self):
        self.told.append("finish")


@pytest.mark.parametrize("kind", ["wandb", "trackio"])
def test_a_tracker_is_told_every_update_and_evaluation(kind, monkeypatch):
    tracker, progress = Recorded(), Progress()
    monkeypatch.setitem(sys.modules, kind, tracker)
    with tracking(kind, "tiny", CONFIG, progress):
        trained = train(check_config(CONFIG, "test"), progress=progress)
    first, *figures, last = tracker.told
    assert (first, last) == (("init", "ad_hypotheses", "tiny", "dark-room"), "finish")
    assert [step for step, metrics in figures if "loss" in metrics] == [1, 2]
    (evaluation,) = (metrics for _, metrics in figures if "loss" not in metrics)
    (line,) = trained.record["metrics"]
    assert evaluation == {f"evaluation/{name}": value for name, value in line.items() if name != "update"}


def test_a_run_that_fails_is_finished_too(monkeypatch):
    tracker = Recorded()
    monkeypatch.setitem(sys.modules, "wandb", tracker)
    with pytest.raises(KeyboardInterrupt), tracking("wandb", "tiny", CONFIG, Progress()):
        raise KeyboardInterrupt
    assert tracker.told[-1] == "finish"


def test_without_a_tracker_nothing_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    progress = Progress()
    with tracking(None, "tiny", CONFIG, progress):
        assert "measured" not in vars(progress)


@pytest.mark.parametrize(("kind", "words"), [("wandb", "pip install wandb"), ("wandp", "Did you mean 'wandb'")])
def test_a_tracker_that_is_not_there_is_named(kind, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=words), tracking(kind, "tiny", CONFIG, Progress()):
        pass


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_weights_and_biases_itself_takes_it(tmp_path, monkeypatch):
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_DIR", str(tmp_path)), ("WANDB_SILENT", "true")):
        monkeypatch.setenv(name, value)
    progress = Progress()
    with tracking("wandb", "tiny", CONFIG, progress):
        train(check_config(CONFIG, "test"), progress=progress)
    importlib.import_module("wandb").teardown()  # ends the process that writes, and waits until it has
    (run,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert b"evaluation/held_out_return" in run.read_bytes()
