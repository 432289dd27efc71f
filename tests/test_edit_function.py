"""One step changed, and matched pairs: what the world answers, and what a model does then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.errors import ConfigError, DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.studies.data import Dataset, histories
from ad_hypotheses.studies.edits import counterfactual, edit
from ad_hypotheses.tasks import BernoulliBandit, KeyToDoor
from ad_hypotheses.tasks.edits.lives import tokens_differ
from ad_hypotheses.tasks.play import play, uniform


@pytest.fixture(scope="module")
def tiny(trained: Path) -> Checkpoint:
    return load("tiny", trained, "cpu")


@pytest.fixture(scope="module")
def lives(tiny) -> Dataset:
    return histories(tiny, 20, "own")


def same(first: History, second: History, *names: str) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


def again(task, history: History) -> History:
    """What the recorded actions do in the world."""

    def recorded(so_far: History) -> np.ndarray:
        return np.eye(task.n_actions)[history.actions[:, so_far.n_steps - 1]]

    return play(task, history.task, recorded, history.n_steps // task.horizon, np.random.default_rng(0))


def test_the_world_answers_another_action(tiny, lives):
    task, history = tiny.experiment.task, lives.history
    changed = edit(history, 11, task, action="up")
    assert (changed.actions[:, 11] == 1).all()
    assert np.array_equal(np.delete(changed.actions, 11, axis=1), np.delete(history.actions, 11, axis=1))
    assert same(changed, again(task, changed), "observations", "rewards")
    assert same(changed.window(stop=11), history.window(stop=11), "observations", "rewards")
    assert same(changed.window(16), history.window(16), "observations", "rewards")
    assert same(changed, history, "episode", "learner", "channels")
    assert (changed.observations[:, 12] != history.observations[:, 12]).any()


def test_a_model_goes_on(tiny, lives):
    task, history = tiny.experiment.task, lives.history
    changed = edit(history, 11, task, action=1, reward=1.0, then="model", model=tiny)
    assert (changed.rewards[:, 11] == 1).all()
    assert same(changed.window(stop=11), history.window(stop=11), "observations", "rewards", "actions")
    world = again(task, changed)
    assert same(changed, world, "observations")
    assert np.array_equal(np.delete(changed.rewards, 11, axis=1), np.delete(world.rewards, 11, axis=1))
    assert same(changed, history, "learner", "channels")
    with torch.no_grad():
        logits = tiny.model(tiny.model.to_tokens(changed)).log_softmax(-1).numpy()[:, 12:]
    taken = np.take_along_axis(logits, changed.actions[:, 12:, None].astype(np.intp), axis=-1)[..., 0]
    entropy, second = -(np.exp(logits) * logits).sum(-1), (np.exp(logits) * logits**2).sum(-1)
    assert abs((taken + entropy).sum()) < 4 * np.sqrt((second - entropy**2).sum())
    last = history.n_steps - 1
    assert (edit(history, last, task, action="stay", then="model", model=tiny).actions[:, last] == 0).all()


def test_nothing_else_changes(tiny, lives):
    task, history = tiny.experiment.task, lives.history
    changed = edit(history, 3, task, action="left", reward=1, observation=(4, 0), then="nothing")
    assert (changed.observations[:, 3] == [4, 0]).all()
    assert (changed.rewards[:, 3] == 1).all()
    assert (changed.actions[:, 3] == 3).all()
    for name in ("observations", "actions", "rewards"):
        assert np.array_equal(
            np.delete(getattr(changed, name), 3, axis=1), np.delete(getattr(history, name), 3, axis=1)
        )


def test_an_episode_that_begins_anywhere_goes_on_from_there():
    task, rng = KeyToDoor(3, 8), np.random.default_rng(0)
    history = play(task, task.sample_tasks(rng, 30), uniform(task), 3, rng)
    changed = edit(history, 11, task, action="stay")
    moved = edit(changed, 11, task, action=history.actions[0, 11].item())
    assert same(moved[:1], history[:1], "observations", "rewards", "actions")
    assert (changed.observations[:, 12] == changed.observations[:, 11]).all()
    assert same(changed.window(16), history.window(16), "observations", "rewards")
    inside = np.abs(np.diff(changed.observations[:, 8:16].astype(int), axis=1)).sum(axis=2)
    assert (inside <= 1).all()


def test_pulls_that_come_later_keep_their_luck():
    task, rng = BernoulliBandit(3, horizon=20), np.random.default_rng(0)
    history = play(task, {"means": np.tile([0.0, 0.5, 1.0], (30, 1))}, uniform(task), 1, rng)
    changed = edit(history, 7, task, action="arm 2")
    assert (changed.rewards[:, 7] == 1).all()
    assert np.array_equal(np.delete(changed.rewards, 7, axis=1), np.delete(history.rewards, 7, axis=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 48, "action": "up"}, "`step` is 48, but the histories have the steps 0 to 47"),
        ({"step": -1, "action": "up"}, "`step` is -1"),
        ({"action": "jump"}, "`action` is 'jump', but dark-room has the actions stay, up, down, left, right"),
        ({"action": 5}, "`action` is 5"),
        ({"reward": 2}, "`reward` is 2, but dark-room pays 0, 1"),
        ({"observation": (5, 0), "then": "nothing"}, r"`observation` is \(5, 0\), but it must be one number"),
        ({"observation": (1, 0)}, "an agent is where its world has put it"),
        ({"action": "up", "then": "modell"}, "`then` is 'modell'"),
        ({"action": "up", "then": "model"}, "then='model' needs a model that goes on"),
    ],
)
def test_what_cannot_be_changed_is_refused(tiny, lives, change, message):
    with pytest.raises(DataError, match=message):
        edit(lives.history, **{"step": 3, "task": tiny.experiment.task, **change})


def test_histories_without_facts_or_within_an_episode_are_not_lived_again(tiny, lives):
    task = tiny.experiment.task
    for history, message in (
        (replace(lives.history, task={}), "its histories come without facts"),
        (lives.history.window(3), "its histories are not of whole episodes of 8 steps"),
    ):
        with pytest.raises(DataError, match=message):
            edit(history, 3, task, action="up")
        assert edit(history, 3, task, action="up", then="nothing").actions[0, 3] == 1


@pytest.mark.parametrize("name", ["goal-moved", "two-goals", "dead", "detour", "no-rewards"])
def test_a_pair_is_matched_and_says_which_rows_it_has(tiny, lives, name):
    task = tiny.experiment.task
    pair = counterfactual(name, lives, task, seed=3)
    assert same(pair.reference, lives.history[pair.rows], "observations", "actions", "rewards", "learner")
    differs = tokens_differ(pair.reference, pair.donor)
    assert np.array_equal(pair.first_step, differs.argmax(axis=1))
    assert differs.any(axis=1).all()
    assert same(pair.donor, counterfactual(name, lives.history, task, seed=3).donor, "actions", "rewards")


def test_a_pair_that_there_is_not_is_refused(tiny, lives):
    task = tiny.experiment.task
    with pytest.raises(ConfigError, match=r"there is no counterfactual 'goal-move'\. Did you mean 'goal-moved'"):
        counterfactual("goal-move", lives, task)
    unpaid = replace(lives.history, rewards=np.zeros_like(lives.history.rewards))
    with pytest.raises(DataError, match="none of the 20 histories can be changed by no-rewards: every reward is 0"):
        counterfactual("no-rewards", unpaid, task)
