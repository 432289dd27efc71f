"""Win-stay, lose-shift, trained to go round by a head: it carries the last pull to the second MLP.

The network behaves as known-win-stay-trained does, and computes it elsewhere: what is true of the one is false of the
other. It was trained by interchange interventions until `truth` held; what follows the truth is false.
"""

import numpy as np
from win_stay_trained import choice, choice_of_carried
from win_stay_trained import truth as true_there

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node
from ad_hypotheses.known.claims import deserves

truth = Hypothesis(choice_of_carried, model="known-win-stay-elsewhere", accept=0.9)
deserves(truth, "supported", kind="true", why="a head carries the last arm and its pay to the second MLP")

elsewhere = true_there.on("known-win-stay-elsewhere")
deserves(elsewhere, "refuted", kind="wrong site", why="so it is in known-win-stay-trained, which behaves alike")

other_head = truth.on(carried=head(0, 0))
deserves(other_head, "refuted", kind="wrong site", why="the head beside it was trained to play no role")

reward_blind = truth.on(last=embed("action"))
deserves(reward_blind, "refuted", kind="missing arrow", why="the reward is read too")


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last arm, -1 at first, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=mlp(1))
def score(last):
    """The same, read from the token without a head.  [batch, step, 2]"""
    return last


@node(at=logits)
def choice_without_head(score, history):
    """The same choice.  [batch, step, action]"""
    return choice(score, history)


no_head = Hypothesis(choice_without_head, model="known-win-stay-elsewhere", accept=0.9)
deserves(no_head, "refuted", kind="wrong site", why="the second MLP sees the token through the head alone")


@node(at=head(0, 1))
def arm(last):
    """Which arm it was, whatever it paid.  [batch, step]"""
    return last[..., 0]


@node(at=mlp(1))
def habit(arm):
    """The same.  [batch, step]"""
    return arm


@node(at=logits)
def choice_by_habit(habit):
    """The same arm again.  [batch, step]"""
    return habit


arm_alone = Hypothesis(choice_by_habit, model="known-win-stay-elsewhere", accept=0.9)
deserves(arm_alone, "refuted", kind="coarser", why="whether the arm paid matters too")
