"""Win-stay, lose-shift: the first MLP turns the last arm and its pay into a score of each arm.

The network was set by hand, so this is known to be true. What follows the truth is false in a way that the name says,
or true and finer than it need be.
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


truth = Hypothesis(choice, model="known-win-stay", accept=0.9)
deserves(truth, "supported", kind="true", why="the last arm and its pay, through the first MLP")

echo = truth.on(score=mlp(1))
deserves(echo, "refuted", kind="wrong site", why="the second MLP holds the same score, but nothing reads it")

average = truth.on(score=head(0, 0))
deserves(average, "refuted", kind="wrong site", why="the head carries arm and pay, but averages that nothing reads")

reward_blind = truth.on(last=embed("action"))
deserves(reward_blind, "refuted", kind="missing arrow", why="the reward reaches the MLP too")


@node(at=mlp(0))
def score_of_two(last, history):
    """The last pull, and the one before, -1 if there is none.  [batch, step, 4]"""
    before = np.pad(last, ((0, 0), (1, 0), (0, 0)), constant_values=-1)[:, :-1]
    return np.concatenate([last, before], axis=-1)


@node(at=logits)
def choice_of_two(score_of_two, history):
    """As if only the last mattered.  [batch, step, action]"""
    return choice(score_of_two[..., :2], history)


two_pulls = Hypothesis(choice_of_two, model="known-win-stay", accept=0.9)
deserves(
    two_pulls, "supported", kind="finer than true", why="the pull before the last is kept too, and changes nothing"
)


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


pay_alone = Hypothesis(any_choice, model="known-win-stay", accept=0.9)
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


record = Hypothesis(choice_by_record, model="known-win-stay", accept=0.9)
deserves(record, "refuted", kind="other algorithm", why="an arm's record is not looked at, only its last pay")


@node(at=mlp(0))
def counts_of_all(last, history):
    """Pulls and wins of every arm: not what the MLP looks at, but few histories agree in them.  [batch, step, 10]"""
    return np.concatenate([history.action_counts(), history.action_rewards().astype(int)], axis=-1)


@node(at=logits)
def choice_by_counts(counts_of_all, history):
    """The arm of the highest mean pay, none having been pulled counting as one half.  [batch, step]"""
    pulls, wins = np.split(counts_of_all, 2, axis=-1)
    return ((1 + wins) / (2 + pulls)).argmax(axis=-1)


counts = Hypothesis(choice_by_counts, model="known-win-stay", accept=0.9)
deserves(counts, "refuted", kind="injective", why="counts are not looked at, but hardly two histories have the same")
