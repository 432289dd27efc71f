"""Those who live side by side: each as it would alone, with a common past, in steps or at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ad_hypotheses as adh
from ad_hypotheses.errors import DataError, HypothesisError
from ad_hypotheses.language.load import load as load_hypotheses
from ad_hypotheses.progress import Progress
from ad_hypotheses.studies.data import ModelActor
from ad_hypotheses.tasks.play import play

CLAIM = "hypotheses/known/retrieval.py"


@pytest.fixture(scope="module")
def model():
    return adh.load("known-retrieval")


@pytest.fixture(scope="module")
def history(model):
    return model.histories(8)[5]


def same(first, second):
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in
               ("observations", "actions", "rewards", "episode"))  # fmt: skip


def test_everybody_lives_as_alone_and_in_steps_as_at_once(model, history):
    names = [name for name in model.learners if name in ("model", "expert", "source", "thompson-over-goals", "habit")]
    assert len(names) == 5
    lives = adh.live(model, history, of=names, seed=3)
    lives.until(7)
    first = lives.until(25)
    assert first == adh.live(model, history, of=names, seed=3).until(25)
    assert same(first.histories["source"].window(stop=7), lives.until(7).histories["source"])
    alone = ModelActor(model.checkpoint, np.random.default_rng([3, 0]))(model.task, history.task, None, 60)
    assert same(lives.until(-1).histories["model"], alone)
    assert lives.until(25).absent == {}
    assert not same(first.histories["model"], adh.live(model, history, seed=4).until(25).histories["model"])
    assert {name: len(first.returns[name]) for name in names} == dict.fromkeys(names, 3)
    frame = first.to_frame()
    assert frame[frame["learner"] == "model"]["return"].tolist() == first.histories["model"].returns()[0].tolist()


def test_lives_have_a_past_in_common_which_everybody_knows(model, history):
    since = 10 * (1 + int(np.flatnonzero(history.rewards[0])[0]) // 10)  # the episode after it was paid first
    assert since < 50
    lives = adh.live(model, history, of=["model", "gate-and-walk", "gate", "source"], since=since).until(since + 10)
    for life in lives.histories.values():
        assert same(life.window(stop=since), history.window(stop=since))
    known = adh.learners(model, lives.histories["gate-and-walk"], since)
    assert known.probabilities["gate-and-walk"][int(lives.histories["gate-and-walk"].actions[0, since])] > 0
    assert max(known.probabilities["gate-and-walk"]) > 0.2  # it knows where to go
    assert lives.histories["gate"].rewards[0, since:].sum() > 0


def test_a_claim_acts_and_so_does_what_it_leaves_of_the_model(model, history):
    claim = next(claim for claim in load_hypotheses(CLAIM) if claim.name == "truth")
    lives = adh.live(model, history, of=["scrubbed", "explanation"], hypothesis=CLAIM, name="truth",
                     among=model.histories(16, tasks="all")).until(20)  # fmt: skip
    rng = np.random.default_rng([0, 0])
    alone = play(model.task, history.task, lambda so_far: claim.policy(so_far)[:, -1], 2, rng)
    assert same(lives.histories["explanation"], alone)
    scrubbed = claim.scrubbed(model, among=model.histories(16, tasks="all"))
    alone = play(model.task, history.task, scrubbed.actor.policy, 2, np.random.default_rng([0, 0]))
    assert same(lives.histories["scrubbed"], alone)


def test_who_cannot_live_on_is_said_and_does_not_stop_the_others(model, history):
    cut = model.histories(16, tasks="all").window(stop=12)
    lives = adh.live(model, history, of=["model", "scrubbed"], hypothesis=CLAIM, name="truth", among=cut)
    assert lives.until(12).absent == {}
    later = lives.until(15)
    assert "12 steps" in later.absent["scrubbed"]
    assert list(later.histories) == ["model"]
    lives = adh.live("bandit", adh.load("bandit").histories(2)[0], of=["model", "library"]).until(5)
    assert (list(lives.histories), list(lives.absent)) == (["model"], ["library"])
    elsewhere = (history.observations[0, 13] + 2) % 5
    broken = adh.edit(history, step=13, observation=tuple(elsewhere.tolist()), then="nothing")
    assert "does not show there" in adh.live(model, broken, since=14).until(20).absent["model"]


def test_a_run_that_is_stopped_goes_on_where_it_was(model, history):
    class Stop(Exception):
        pass

    class Impatient(Progress):
        def may_stop(self):
            self.left -= 1
            if self.left == 0:
                raise Stop

    progress = Impatient()
    progress.left = 8
    lives = adh.live(model, history, of=["model", "random"], progress=progress)
    with pytest.raises(Stop):
        lives.until(30)
    assert lives.until(30) == adh.live(model, history, of=["model", "random"]).until(30)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"of": ["modle"]}, DataError, "'modle', who cannot live in these tasks. Did you mean 'model'"),
        ({"of": "model"}, DataError, "must be a list of those who live"),
        ({"of": []}, DataError, "must be a list of those who live"),
        ({"since": 60}, DataError, "`since` is 60, but lives begin at the steps 0 to 59"),
        ({"since": -1}, DataError, "`since` is -1"),
        ({"of": ["scrubbed"]}, DataError, "give the `hypothesis`"),
        ({"hypothesis": "nowhere"}, HypothesisError, "nowhere"),
    ],
)
def test_what_cannot_be_is_refused(model, history, options, error, message):
    with pytest.raises(error, match=message):
        adh.live(model, history, **options)


def test_lives_need_one_context_that_says_its_task(model, history):
    with pytest.raises(DataError, match="it has 2 rows"):
        adh.live(model, model.histories(2))
    with pytest.raises(DataError, match="does not say what its task is"):
        adh.live(model, replace(history, task={}))
    with pytest.raises(DataError, match="lives have 0 to 60 steps"):
        adh.live(model, history).until(61)
