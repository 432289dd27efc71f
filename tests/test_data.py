"""Data sets that claims are tested on: lives of the source, and of the model itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.errors import CapacityError, DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.studies import data
from ad_hypotheses.studies.data import chosen_data, data_names, histories, single_data
from ad_hypotheses.studies.evaluate.curves import spread
from ad_hypotheses.tasks import make_task

FAMILIES = ("goal-moved", "rewards-swapped", "two-goals", "detour", "dead", "life-before", "actions-exchanged")
ARRAYS = ("observations", "actions", "rewards", "episode", "learner")


@pytest.fixture(scope="module")
def tiny(trained: Path) -> Checkpoint:
    return load("tiny", trained, "cpu")


def alike(first: History, second: History, names: tuple[str, ...] = ARRAYS) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


def test_source_lives_are_what_the_learners_of_the_training_would_live_next(tiny):
    facts = {"goal": np.concatenate([pool["goal"] for pool in tiny.experiment.split()])}
    rng = np.random.default_rng([tiny.config.histories.seed + 1_000_003, 3])
    expected = tiny.experiment.live(spread(facts, 12, rng), rng)
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
    trained_on, held_out = ({tuple(goal) for goal in facts["goal"].tolist()} for facts in tiny.experiment.split())
    assert {tuple(goal) for goal in first.task["goal"].tolist()} == held_out
    train = histories(tiny, 10, kind, tasks="train").history
    assert {tuple(goal) for goal in train.task["goal"].tolist()} <= trained_on
    assert histories(tiny, 4, kind, first_learner=40).history.learner.tolist() == [40, 41, 42, 43]


@pytest.mark.parametrize("kind", ["own", *(f"edited:{name}" for name in FAMILIES)])
@pytest.mark.default_cases(3)
def test_lives_are_acted_by_the_model(tiny, monkeypatch, kind):
    """Where the model chose, the log-likelihood of the actions is that of draws from it."""
    monkeypatch.setattr(data, "ROWS_AT_ONCE", 20)
    dataset = histories(tiny, 50, kind)
    history, sampled = dataset.history, dataset.sampled
    with torch.no_grad():
        logits = tiny.model(tiny.model.to_tokens(history)).log_softmax(-1).numpy()
    taken = np.take_along_axis(logits, history.actions.astype(np.intp)[..., None], axis=-1)[..., 0]
    entropy, second = -(np.exp(logits) * logits).sum(-1), (np.exp(logits) * logits**2).sum(-1)
    error = np.sqrt((second - entropy**2)[sampled].sum())
    assert abs((taken + entropy)[sampled].sum()) < 4 * error
    assert sampled[:, history.n_steps // 2 :].all()
    assert dataset.family == (None if kind == "own" else kind.removeprefix("edited:"))
    assert bool(dataset.breaks) == (kind != "own")
    # the parts that are lived side by side differ in luck
    assert len(np.unique(history.actions.reshape(50, -1), axis=0)) == 50


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("family", FAMILIES)
def test_edited_lives_begin_as_the_own_ones_whether_these_are_at_hand_or_not(tiny, monkeypatch, family):
    monkeypatch.setattr(data, "ROWS_AT_ONCE", 4)
    own = histories(tiny, 10, "own").history
    anew = histories(tiny, 10, f"edited:{family}")
    asked: list[int] = []
    at_hand = histories(tiny, 10, f"edited:{family}", progress=lambda steps, _: asked.append(steps), own=own)
    assert alike(anew.history, at_hand.history)
    assert np.array_equal(anew.sampled, at_hand.sampled)
    if family in ("goal-moved", "dead"):  # of which nothing is edited but what comes later
        middle = own.n_steps // 2
        assert alike(anew.history.window(stop=middle), own.window(stop=middle))
        assert asked[0] == 4 * (middle + 1)  # the first half was not lived again
    assert not np.array_equal(anew.history.actions, own.actions)


def test_progress_counts_steps_of_all_rows(tiny, monkeypatch):
    monkeypatch.setattr(data, "ROWS_AT_ONCE", 2)
    steps: list[tuple[int, int]] = []
    history = histories(tiny, 3, "own", progress=lambda lived, total: steps.append((lived, total))).history
    assert steps[-1] == (3 * history.n_steps, 3 * history.n_steps)
    assert [lived for lived, _ in steps] == sorted({lived for lived, _ in steps})


def test_a_list_of_data_sets_is_read_against_what_the_task_declares(tiny):
    task, bandit = tiny.experiment.task, make_task("bandit")
    assert chosen_data(("source",), task, 6) == ("source",)
    assert chosen_data(data_names("own, edited,source,own"), task, 6) == (
        "own",
        "edited:goal-moved",
        "source",
    )
    assert chosen_data(("edited:dead", "edited"), bandit, 1) == (
        "edited:dead",
        "edited:rewards-swapped",
    )
    assert chosen_data(["edited:episodes-shuffled"], task, 6) == ("edited:episodes-shuffled",)
    with pytest.raises(DataError) as refusal:
        chosen_data(("source", "edited:goal-move"), bandit, 1)
    message = str(refusal.value)
    assert message.startswith("there is no data set 'edited:goal-move' of bandit.")
    assert "edited:pulls-shuffled: the pulls of the first half, each with its pay, are in another order" in message
    assert "episodes-shuffled" not in message
    with pytest.raises(DataError, match=r"no data set 'goal-moved' of dark-room. Did you mean 'edited:goal-moved'\?"):
        chosen_data(["goal-moved"], task, 6)
    assert single_data("edited", task, 6) == "edited:goal-moved"
    with pytest.raises(DataError, match="`data` is 'source, own', but these are 2 data sets: name one"):
        single_data("source, own", task, 6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data": "sauce"}, DataError, r"there is no data set 'sauce' of dark-room. Did you mean 'source'\?"),
        ({"tasks": "heldout"}, DataError, r"there are no tasks 'heldout'. Did you mean 'held-out'\?"),
        ({"data": "edited"}, DataError, "there is no data set 'edited' of dark-room. It stands for several: name one"),
        ({"rows": 1}, DataError, "donors need at least 2 histories"),
        ({"memory": 10, "data": "own"}, CapacityError, "of memory"),
    ],
)
def test_what_cannot_be_made_is_refused(tiny, options, error, message):
    with pytest.raises(error, match=message):
        histories(tiny, **{"rows": 4, **options})
