"""Win-stay, lose-shift, trained to sit in the first MLP, which reads the tokens directly.

The network was trained by interchange interventions until `truth` held, so this is known to be true. What follows the
truth is false in a way that the name says.
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


@node(at=logits)
def choice(score, history):
    """The arm that won, or any but the one that lost.  [batch, step, action]"""
    same = np.arange(history.n_actions) == score[..., :1]
    weights = np.exp(SHARPNESS * np.where(score[..., 1:] > 0, same, -1.0 * same))
    return weights / weights.sum(axis=-1, keepdims=True)


truth = Hypothesis(choice, model="known-win-stay-trained", accept=0.9)
deserves(truth, "supported", kind="true", why="the last arm and its pay, through the first MLP")

later = truth.on(score=mlp(1))
deserves(later, "refuted", kind="wrong site", why="the second MLP was trained to play no role")

reward_blind = truth.on(last=embed("action"))
deserves(reward_blind, "refuted", kind="missing arrow", why="the reward is read too")


@node(at=head(0, 1))
def carried(last):
    """The last pull, carried by a head.  [batch, step, 2]"""
    return last


@node(at=mlp(1))
def score_of_carried(carried):
    """The same.  [batch, step, 2]"""
    return carried


@node(at=logits)
def choice_of_carried(score_of_carried, history):
    """The same choice.  [batch, step, action]"""
    return choice(score_of_carried, history)


# how known-win-stay-elsewhere does the same
elsewhere = Hypothesis(choice_of_carried, model="known-win-stay-trained", accept=0.9)
deserves(elsewhere, "refuted", kind="wrong site", why="so it is in known-win-stay-elsewhere, which behaves alike")


@node(at=embed("action") + embed("reward"))
def pay(history):
    """Whether the last arm paid, whichever it was.  [batch, step]"""
    return history.previous_rewards > 0


@node(at=mlp(0))
def mood(pay):
    """The same.  [batch, step]"""
    return pay


@node(at=logits)
def any_choice(mood, history):
    """No opinion: no arm is known.  [batch, step]"""
    return np.full(mood.shape, -1)


pay_alone = Hypothesis(any_choice, model="known-win-stay-trained", accept=0.9)
deserves(pay_alone, "refuted", kind="coarser", why="which arm it was matters too")


@node(at=mlp(0))
def record_of_last(last, history):
    """The last arm, and whether it has paid at least half of the time so far.  [batch, step, 2]"""
    arm = history.previous_actions[..., None]
    pulls, wins = (
        np.take_along_axis(per_arm, np.maximum(arm, 0), axis=-1)
        for per_arm in (history.action_counts(), history.action_rewards())
    )
    return np.concatenate([arm, 2 * wins >= np.maximum(pulls, 1)], axis=-1)


@node(at=logits)
def choice_by_record(record_of_last, history):
    """Stay with an arm of good record, leave one of bad record.  [batch, step, action]"""
    return choice(record_of_last, history)


record = Hypothesis(choice_by_record, model="known-win-stay-trained", accept=0.9)
deserves(record, "refuted", kind="other algorithm", why="an arm's record is not looked at, only its last pay")
