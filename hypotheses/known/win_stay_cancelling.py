"""Win-stay with two heads that shout each other down: the MLP decides, what the heads add to its score cancels.

The network was set by hand, so this is known to be true. That no head matters is false, for each moves the score; but
swapped together, as unimportant inputs are by default, they still cancel. `--others independent` tells.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node
from ad_hypotheses.known.claims import deserves

SHARPNESS = 3.0


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last arm, -1 at first, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=mlp(0))
def score(last):
    """The same: the score of each arm follows from it.  [batch, step, 2]"""
    return last


@node(at=head(1, 0) + head(1, 1))
def votes(last, history):
    """The arm that was pulled most, for which one head votes and the other against.  [batch, step]"""
    return history.action_counts().argmax(axis=-1)


def win_stay(score, history):
    """The arm that won, or any but the one that lost.  [batch, step, action]"""
    same = np.arange(history.n_actions) == score[..., :1]
    weights = np.exp(SHARPNESS * np.where(score[..., 1:] > 0, same, -1.0 * same))
    return weights / weights.sum(axis=-1, keepdims=True)


@node(at=logits)
def choice(score, votes, history):
    """By the score alone: the votes cancel.  [batch, step, action]"""
    return win_stay(score, history)


truth = Hypothesis(choice, model="known-win-stay-cancelling", accept=0.9)
deserves(truth, "supported", kind="true", why="the MLP decides, the heads write what cancels, both at once")

one_head = truth.on(votes=head(1, 0))
deserves(one_head, "refuted", kind="missing arrow", why="the other head writes as much, with the opposite sign")

second_mlp = truth.on(score=mlp(1))
deserves(second_mlp, "refuted", kind="wrong site", why="the second MLP is silent")


@node(at=logits)
def choice_without_heads(score, history):
    """By the score, as if there were no heads.  [batch, step, action]"""
    return win_stay(score, history)


no_heads = Hypothesis(choice_without_heads, model="known-win-stay-cancelling", accept=0.9)
deserves(no_heads, "refuted", kind="cancellation", why="each head moves the score; only both together do not")


@node(at=logits)
def choice_by_votes(votes):
    """The arm that was pulled most.  [batch, step]"""
    return votes


heads_alone = Hypothesis(choice_by_votes, model="known-win-stay-cancelling", accept=0.9)
deserves(heads_alone, "refuted", kind="wrong site", why="what the heads write cancels, the MLP decides")


@node(at=embed("action") + embed("reward"))
def pay(history):
    """Whether the last arm paid, whichever it was.  [batch, step]"""
    return history.previous_rewards > 0


@node(at=mlp(0))
def mood(pay):
    """The same.  [batch, step]"""
    return pay


@node(at=head(1, 0) + head(1, 1))
def votes_of_anyone(pay, history):
    """The arm that was pulled most.  [batch, step]"""
    return history.action_counts().argmax(axis=-1)


@node(at=logits)
def any_choice(mood, votes_of_anyone):
    """No opinion: no arm is known.  [batch, step]"""
    return np.full(mood.shape, -1)


pay_alone = Hypothesis(any_choice, model="known-win-stay-cancelling", accept=0.9)
deserves(pay_alone, "refuted", kind="coarser", why="which arm it was matters too")
