"""What a claim is tested on: references, donors that are other learners, and the zeros of its figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from expand import tiny_history, tiny_model

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.studies.data import histories
from ad_hypotheses.studies.scrub.ground import Ground, make_ground

REFERENCES, POOL, STEPS = 5, 12, 4


def small_ground(labelled: bool = True) -> Ground:
    """A ground of a random network on random histories, with two regimes."""
    history = tiny_history(1, REFERENCES + POOL, STEPS)
    late = np.broadcast_to(np.arange(STEPS) >= 3, history.actions.shape)
    regimes = {"all": np.ones_like(late), "early": ~late, "late": late}
    clean = Clean.run(tiny_model(1, STEPS), history, REFERENCES)
    return Ground("source" if labelled else "own", "made up", history, REFERENCES, regimes, clean, labelled)


@pytest.fixture(scope="module")
def tiny(trained: Path) -> Checkpoint:
    return load("tiny", trained, "cpu")


@pytest.mark.parametrize("data", ["source", "own", "edited:goal-moved"])
def test_references_and_donors_are_other_learners(tiny, data):
    ground = make_ground(tiny, data, 6, 10, "all", 3)
    references, donors = histories(tiny, 6, data, 3, "all").history, histories(tiny, 10, data, (3, 1), "all").history
    assert np.array_equal(ground.references.actions, references.actions)
    assert np.array_equal(ground.history.actions[6:], donors.actions)
    assert not np.array_equal(donors.actions[:6], references.actions)
    assert ground.history.learner.tolist() == list(range(16))
    assert ground.clean.pool.tolist() == [False] * 6 + [True] * 10
    assert (ground.n_references, ground.data, ground.labelled) == (6, data, data == "source")
    assert list(ground.regimes) == ["all", "explore", "navigate", "stay"]
    assert ground.judged == ["explore", "navigate", "stay"]
    assert all(mask.shape == ground.log_probs.shape[:2] for mask in ground.masks.values())


def test_the_zero_is_the_mean_of_the_models_distribution_over_the_regime_in_the_pool():
    ground = small_ground()
    everything = np.exp(ground.clean.log_probs)
    for name, steps in (("all", range(STEPS)), ("early", range(3)), ("late", range(3, 4))):
        drawn = [everything[row, step] for row in range(REFERENCES, REFERENCES + POOL) for step in steps]
        drawn.append(np.full(3, 1 / 3))  # one uniform distribution more, so that nothing is impossible
        np.testing.assert_allclose(np.exp(ground.ignorant(name)), np.mean(drawn, axis=0), rtol=1e-12)
    # the references say nothing of it
    changed = small_ground()
    changed.clean.known_log_probs = np.array(ground.clean.log_probs)
    changed.clean.known_log_probs[:REFERENCES] = np.log([0.98, 0.01, 0.01])
    np.testing.assert_array_equal(changed.ignorant("all"), ground.ignorant("all"))


def test_frequencies_of_labels_are_those_of_the_regime_in_the_pool():
    ground = small_ground()
    actions = ground.history.actions[REFERENCES:, 3].tolist()
    expected = [(actions.count(action) + 0.5) / (POOL + 1.5) for action in range(3)]
    np.testing.assert_allclose(np.exp(ground.label_frequencies("late")), expected)
    own = small_ground(labelled=False)
    np.testing.assert_array_equal(own.label_frequencies("late"), own.ignorant("late"))


@pytest.mark.parametrize("labelled", [True, False])
def test_the_baseline_is_the_mean_loss_of_all_donors_at_the_step(labelled):
    ground = small_ground(labelled)
    losses = [
        ground.loss(np.broadcast_to(ground.clean.log_probs[donor], ground.log_probs.shape))
        for donor in range(REFERENCES, REFERENCES + POOL)
    ]
    np.testing.assert_allclose(ground.baseline, np.mean(losses, axis=0), rtol=1e-12)


def test_where_a_learner_acts_the_loss_is_that_of_its_action():
    ground = small_ground()
    rng = np.random.default_rng(0)
    log_probs = np.log(rng.dirichlet(np.ones(3), size=(REFERENCES, STEPS)))
    losses = ground.loss(log_probs)
    for row, step in np.ndindex(losses.shape):
        assert losses[row, step] == pytest.approx(-log_probs[row, step, ground.references.actions[row, step]])
    assert ground.loss(log_probs[:2]).shape == ground.divergence(log_probs[:2]).shape == (2, STEPS)


def test_where_the_model_acts_a_loss_is_the_models_own_and_the_divergence():
    ground = small_ground(labelled=False)
    rng = np.random.default_rng(0)
    log_probs = np.log(rng.dirichlet(np.ones(3), size=(REFERENCES, STEPS)))
    divergence = ground.divergence(log_probs)
    np.testing.assert_allclose(ground.loss(log_probs) - ground.loss(ground.log_probs), divergence, atol=1e-12)
    assert (divergence > 0).all()
    assert not ground.divergence(ground.log_probs).any()
    own = np.exp(ground.log_probs)
    np.testing.assert_allclose(divergence, (own * np.log(own / np.exp(log_probs))).sum(-1))
