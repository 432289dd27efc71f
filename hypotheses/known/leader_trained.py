"""Follow the leader, trained to sit in the first layer: a head averages the tokens, the MLP after it finds the leaders.

The network was trained by interchange interventions until `truth` held, so this is known to be true. What follows the
truth is false in a way that the name says.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node
from ad_hypotheses.known.claims import deserves

SHARPNESS, ARMS = 3.0, 4


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last arm if it won, else -1.  [batch, step]"""
    return np.where(history.previous_rewards > 0, history.previous_actions, -1)


def leading(record):
    """Which arms have the best record.  [batch, step, arm]"""
    return record == record.max(axis=-1, keepdims=True)


@node(at=head(0, 0) + mlp(0))
def leaders(last):
    """Which arms have won most often.  [batch, step, arm]"""
    return leading(np.cumsum(last[..., None] == np.arange(ARMS), axis=1))


@node(at=logits)
def choice(leaders):
    """Any leader, seldom another arm.  [batch, step, arm]"""
    weights = np.exp(SHARPNESS * leaders)
    return weights / weights.sum(axis=-1, keepdims=True)


truth = Hypothesis(choice, model="known-leader-trained", accept=0.9)
deserves(truth, "supported", kind="true", why="a head of the first layer counts wins, the MLP after it compares them")

other_head = truth.on(leaders=head(0, 1) + mlp(0))
deserves(other_head, "refuted", kind="wrong site", why="the head beside it was trained to play no role")

reward_blind = truth.on(last=embed("action"))
deserves(reward_blind, "refuted", kind="missing arrow", why="the reward is read too")


@node(at=mlp(0))
def winner(last):
    """The last arm if it won, else -1.  [batch, step]"""
    return last


@node(at=head(1, 1) + mlp(1))
def leaders_among_winners(winner):
    """Which arms have won most often, counted in the second layer.  [batch, step, arm]"""
    return leading(np.cumsum(winner[..., None] == np.arange(ARMS), axis=1))


@node(at=logits)
def choice_of_second_layer(leaders_among_winners):
    """The same choice.  [batch, step, arm]"""
    return choice(leaders_among_winners)


# how known-leader-elsewhere does the same
elsewhere = Hypothesis(choice_of_second_layer, model="known-leader-trained", accept=0.9)
deserves(elsewhere, "refuted", kind="wrong site", why="so it is in known-leader-elsewhere, which behaves alike")


@node(at=head(0, 0) + mlp(0))
def half_with_a_leader(last):
    """Whether a leader is among the first two arms.  [batch, step]"""
    return leaders(last)[..., : ARMS // 2].any(axis=-1)


@node(at=logits)
def choice_of_half(half_with_a_leader):
    """An arm of that half.  [batch, step, arm]"""
    return choice((np.arange(ARMS) < ARMS // 2) == half_with_a_leader[..., None])


halves = Hypothesis(choice_of_half, model="known-leader-trained", accept=0.9)
deserves(halves, "refuted", kind="coarser", why="which arm of the half leads matters too")


@node(at=embed("action") + embed("reward"))
def arm(history):
    """The last arm, -1 at first.  [batch, step]"""
    return history.previous_actions


@node(at=head(0, 0) + mlp(0))
def most_pulled(arm):
    """Which arms have been pulled most often.  [batch, step, arm]"""
    return leading(np.cumsum(arm[..., None] == np.arange(ARMS), axis=1))


@node(at=logits)
def choice_by_pulls(most_pulled):
    """Any of those.  [batch, step, arm]"""
    return choice(most_pulled)


pulls = Hypothesis(choice_by_pulls, model="known-leader-trained", accept=0.9)
deserves(pulls, "refuted", kind="other algorithm", why="wins are counted, not pulls")
