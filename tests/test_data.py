"""Data sets that claims are tested on: lives of the source, and of the model itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.distill.train import split
from ad_hypotheses.errors import CapacityError, DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.studies import data
from ad_hypotheses.studies.data import histories
from ad_hypotheses.studies.evaluate.curves import spread

ARRAYS = ("observations", "actions", "rewards", "episode", "learner")


@pytest.fixture(scope="module")
def tiny(trained: Path) -> Checkpoint:
    return load("tiny", trained, "cpu")


def alike(first: History, second: History, names: tuple[str, ...] = ARRAYS) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


def test_source_lives_are_what_the_learners_of_the_training_would_live_next(tiny):
    facts = {"goal": np.concatenate([pool["goal"] for pool in split(tiny.config)])}
    rng = np.random.default_rng([tiny.config.histories.seed + 1_000_003, 3])
    expected = tiny.config.live(spread(facts, 12, rng), rng)
    dataset = histories(tiny, 12, seed=3, tasks="all")
    assert alike(dataset.history, expected)
    assert np.array_equal(dataset.history.task["goal"], expected.task["goal"])
    assert dataset.sampled.all()
    assert dataset.labels is dataset.history.actions


@pytest.mark.parametrize("kind", ["source", "own"])
def test_a_seed_decides_everything_and_tasks_are_those_asked_for(tiny, kind):
    first, again, other, donors = (histories(tiny, 10, kind, seed).history for seed in (1, 1, 2, (1, 1)))
    assert alike(first, again)
    assert not alike(first, other, ("actions",))
    assert not alike(first, donors, ("actions",))
    trained_on, held_out = ({tuple(goal) for goal in facts["goal"].tolist()} for facts in split(tiny.config))
    assert {tuple(goal) for goal in first.task["goal"].tolist()} == held_out
    train = histories(tiny, 10, kind, tasks="train").history
    assert {tuple(goal) for goal in train.task["goal"].tolist()} <= trained_on
    assert histories(tiny, 4, kind, first_learner=40).history.learner.tolist() == [40, 41, 42, 43]


def test_own_lives_are_acted_by_the_model(tiny, monkeypatch):
    """The log-likelihood of the actions under the model is that of draws from it, which those of the source are not."""
    monkeypatch.setattr(data, "ROWS_AT_ONCE", 20)
    history = histories(tiny, 50, "own").history
    with torch.no_grad():
        logits = tiny.model(tiny.model.to_tokens(history)).log_softmax(-1).numpy()
    taken = np.take_along_axis(logits, history.actions.astype(np.intp)[..., None], axis=-1)[..., 0]
    entropy, second = -(np.exp(logits) * logits).sum(-1), (np.exp(logits) * logits**2).sum(-1)
    error = np.sqrt((second - entropy**2).sum())
    assert abs((taken + entropy).sum()) < 4 * error
    # the parts that are lived side by side differ in luck
    assert len(np.unique(history.actions.reshape(50, -1), axis=0)) == 50


def test_progress_counts_steps_of_all_rows(tiny, monkeypatch):
    monkeypatch.setattr(data, "ROWS_AT_ONCE", 2)
    steps: list[tuple[int, int]] = []
    history = histories(tiny, 3, "own", progress=lambda lived, total: steps.append((lived, total))).history
    assert steps[-1] == (3 * history.n_steps, 3 * history.n_steps)
    assert [lived for lived, _ in steps] == sorted({lived for lived, _ in steps})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data": "sauce"}, DataError, r"there is no data set 'sauce'. Did you mean 'source'\?"),
        ({"tasks": "heldout"}, DataError, r"there are no tasks 'heldout'. Did you mean 'held-out'\?"),
        ({"rows": 1}, DataError, "donors need at least 2 histories"),
        ({"memory": 10, "data": "own"}, CapacityError, "of memory"),
    ],
)
def test_what_cannot_be_made_is_refused(tiny, options, error, message):
    with pytest.raises(error, match=message):
        histories(tiny, **{"rows": 4, **options})
