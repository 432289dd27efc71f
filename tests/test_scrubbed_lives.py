"""A scrubbed model that acts: exact where nobody stands in, the engine's own draws at each step, and its refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import ad_hypotheses as adh
from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node
from ad_hypotheses.causal.scrub import Scrubber
from ad_hypotheses.errors import DataError, HypothesisError
from ad_hypotheses.language.load import load
from ad_hypotheses.studies.scrubbed_lives import _LastStep


@node(at=embed("action") + embed("reward") + head(0) + head(1) + mlp(0) + mlp(1))
def past(history):
    """All that was done and paid, as a number that hardly another past has.  [batch, step]"""
    tokens = 2 * (history.previous_actions + 1) + (history.previous_rewards > 0)
    code = np.zeros(tokens.shape, dtype=np.int64)
    for step in range(1, history.n_steps):
        code[:, step] = (31 * code[:, step - 1] + tokens[:, step]) % (2**31 - 1)
    return code


@node(at=logits)
def choice(past, history):
    return history.previous_actions


@node(at=embed("action"))
def last(history):
    """The last arm.  [batch, step]"""
    return history.previous_actions


@node(at=logits)
def again(last):
    return last


everything = Hypothesis(choice, model="bandit", name="everything")
little = Hypothesis(again, model="bandit", name="little")


@pytest.fixture(scope="module")
def model():
    return adh.load("bandit")


@pytest.fixture(scope="module")
def among(model):
    return model.histories(16, seed=3)


def test_a_claim_that_leaves_nothing_out_leaves_the_model_as_it_is(model, among):
    histories = model.histories(3, seed=5)
    with torch.no_grad():
        own = model(histories).softmax(-1).numpy()
    policies = [claim.scrubbed(model, among=among).policy(histories) for claim in (everything, little)]
    np.testing.assert_allclose(policies[0][:, 20:], own[:, 20:], atol=1e-5)
    assert np.abs(policies[1][:, 20:] - own[:, 20:]).max() > 0.1


def test_the_last_step_alone_is_drawn_as_with_all_others(model, among):
    actor = little.scrubbed(model, among=among, seed=7).actor
    context = model.histories(4, seed=5).window(stop=30)
    donors = among.window(stop=30)
    whole, alone = (actor._scrubbed(context, donors, scrubber, number=9) for scrubber in (Scrubber, _LastStep))
    assert alone.shape == (4, 1, 5)
    np.testing.assert_allclose(alone[:, 0], whole[:, -1], atol=1e-5)


def test_a_scrubbed_model_lives_and_its_seed_decides_how(model, among, monkeypatch):
    monkeypatch.setattr(model, "task", replace(model.task, horizon=4))
    scrubbed = little.scrubbed(model, among=among)
    lives = [adh.rollout(scrubbed, tasks=3, seed=seed) for seed in (1, 1, 2)]
    assert lives[0].shape == (3, 4)
    assert (lives[0].actions == lives[1].actions).all()
    assert (lives[0].actions != lives[2].actions).any()
    assert repr(scrubbed) == "ScrubbedModel(bandit scrubbed by little among 16 histories)"


def test_one_context_of_a_scrubbed_model(model, among):
    history = model.histories(2, seed=5)[0]
    given = adh.scrub_at(little, history, among, model=model, seed=4, passes=2)
    scrubbed = little.scrubbed(model, among=among, seed=4)
    assert scrubbed.scrub_at(history, passes=2) == given
    np.testing.assert_allclose(np.log(scrubbed.policy(history)[0]), given.log_probs[0], atol=1e-5)


def test_a_context_is_no_donor_of_its_own(model, among):
    scrubbed = little.scrubbed(model, among=among, seed=4)
    expected = adh.scrub_at(little, among[3], among, model=model, seed=4).log_probs[0]
    np.testing.assert_allclose(np.log(scrubbed.policy(among[3])[0]), expected, atol=1e-5)
    with pytest.raises(DataError, match="`among` has 1 histories that differ from `history`"):
        little.scrubbed(model, among=among[:3]).policy(among[:2])


def test_what_cannot_be_scrubbed_is_refused(model, among):
    with pytest.raises(DataError, match="`among` has 10 steps, but contexts of 100 are to be scrubbed"):
        adh.rollout(little.scrubbed(model, among=among.window(stop=10)), tasks=2)
    with pytest.raises(HypothesisError, match="donors are made from the context itself"):
        load("beta")[0].scrubbed(model, among=among)
    with pytest.raises(TypeError, match="unexpected keyword argument 'rows'"):
        little.scrubbed(model, rows=3)
