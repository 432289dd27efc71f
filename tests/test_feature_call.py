"""A feature is called in one way, whoever asks: what it does to what it is given changes nothing for others."""

from __future__ import annotations

import numpy as np
import pytest

from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.check import bind
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis, Node, node
from ad_hypotheses.language.sites import embed, head, logits

ANATOMY = Anatomy(("x", "y", "action", "reward"), n_layers=2, n_heads=4)
LAZY = ("previous_actions", "previous_rewards", "episode_start", "episode_step", "rewards_seen")


def lives() -> History:
    rng = np.random.default_rng(0)
    return History(
        observations=rng.integers(3, size=(8, 12, 2)),
        actions=rng.integers(3, size=(8, 12)),
        rewards=rng.integers(2, size=(8, 12)).astype(float),
        episode=np.broadcast_to(np.arange(12) // 4, (8, 12)),
        channels=("x", "y"),
        n_actions=3,
        task={"goal": rng.integers(3, size=8)},
        learner=np.arange(8),
    )


def claim(feature) -> Hypothesis:
    """A claim with one feature below a last node that has no opinion."""
    below: Node = node(at=embed("x"))(feature)  # noqa: F841 - the node below finds it by its name

    @node(at=logits)
    def choice(below):
        return np.full(below.shape[:2], -1)

    return Hypothesis(choice)


@pytest.mark.parametrize("name", LAZY)
def test_what_a_history_computes_once_cannot_be_changed_by_a_feature(name):
    history = lives()
    before = {name: getattr(history, name).copy() for name in LAZY}

    def below(history):
        getattr(history, name)[:] = 0
        return history.actions

    for ask in (lambda: bind(claim(below), ANATOMY, history), lambda: claim(below).policy(history)):
        with pytest.raises(HypothesisError, match=r"below\(\) raises ValueError: assignment destination is read-only"):
            ask()
    assert all(np.array_equal(getattr(history, name), value) for name, value in before.items())


def test_a_policy_does_not_see_the_learner_either():
    def below(history):
        return history.actions * 0 + history.learner[:, None]

    with pytest.raises(HypothesisError, match=r"history\.learner is not shown to features"):
        claim(below).values(lives())


def test_a_value_stays_what_it_was_when_its_function_uses_the_array_again():
    buffer, history = np.zeros((8, 12), dtype=int), lives()

    @node(at=embed("x"))
    def first(history):
        buffer[:] = history.actions
        return buffer

    @node(at=head(0, 0))
    def second(first):
        buffer[:] = 0
        return first + buffer

    @node(at=logits)
    def choice(first, second):
        return np.maximum(first, second)

    values = Hypothesis(choice).values(history)
    assert np.array_equal(values["first"], history.actions)
    assert np.array_equal(values["second"], history.actions)
    assert not any(value.flags.writeable for value in values.values())
