"""Follow the leader, trained to sit in the second layer: the first MLP marks winners, a head and an MLP after it count.

The network behaves as known-leader-trained does, and computes it elsewhere: what is true of the one is false of the
other. It was trained by interchange interventions until `truth` held; what follows the truth is false.
"""

import numpy as np
from leader_trained import ARMS, choice, leading
from leader_trained import truth as true_there

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node
from ad_hypotheses.known.claims import deserves


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last arm if it won, else -1.  [batch, step]"""
    return np.where(history.previous_rewards > 0, history.previous_actions, -1)


@node(at=mlp(0))
def winner(last):
    """The same.  [batch, step]"""
    return last


def wins(winner):
    """How often each arm has won.  [batch, step, arm]"""
    return np.cumsum(winner[..., None] == np.arange(ARMS), axis=1)


@node(at=head(1, 1) + mlp(1))
def leaders(winner):
    """Which arms have won most often.  [batch, step, arm]"""
    return leading(wins(winner))


@node(at=logits)
def choice_of_leaders(leaders):
    """Any leader, seldom another arm.  [batch, step, arm]"""
    return choice(leaders)


truth = Hypothesis(choice_of_leaders, model="known-leader-elsewhere", accept=0.9)
deserves(truth, "supported", kind="true", why="the first MLP marks winners, the second layer counts and compares them")

elsewhere = true_there.on("known-leader-elsewhere")
deserves(elsewhere, "refuted", kind="wrong site", why="so it is in known-leader-trained, which behaves alike")

other_head = truth.on(leaders=head(1, 0) + mlp(1))
deserves(other_head, "refuted", kind="wrong site", why="the head beside it was trained to play no role")

reward_blind = truth.on(last=embed("action"))
deserves(reward_blind, "refuted", kind="missing arrow", why="the reward is read too")


@node(at=head(1, 1) + mlp(1))
def half_with_a_leader(winner):
    """Whether a leader is among the first two arms.  [batch, step]"""
    return leading(wins(winner))[..., : ARMS // 2].any(axis=-1)


@node(at=logits)
def choice_of_half(half_with_a_leader):
    """An arm of that half.  [batch, step, arm]"""
    return choice((np.arange(ARMS) < ARMS // 2) == half_with_a_leader[..., None])


halves = Hypothesis(choice_of_half, model="known-leader-elsewhere", accept=0.9)
deserves(halves, "refuted", kind="coarser", why="which arm of the half leads matters too")


@node(at=head(1, 1) + mlp(1))
def winners_of_late(winner):
    """Which arms have won most often in the last five pulls.  [batch, step, arm]"""
    counts = wins(winner)
    return leading(counts - np.pad(counts, ((0, 0), (5, 0), (0, 0)))[:, :-5])


@node(at=logits)
def choice_of_late(winners_of_late):
    """Any of those.  [batch, step, arm]"""
    return choice(winners_of_late)


lately = Hypothesis(choice_of_late, model="known-leader-elsewhere", accept=0.9)
deserves(lately, "refuted", kind="other algorithm", why="all wins count, not those of late")
