"""Top two: the model plays the better of the two arms that pay best, and what it saw of the others is idle.

The heads keep a record of which two arms have the highest mean pay, and the MLPs weigh it with the last pull.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last arm, -1 at first, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=head(0) + head(1))
def leaders(last, history):
    """The two arms with the highest mean pay so far; one never pulled counts as one half.  [batch, step, 2]"""
    pulls, wins = history.action_counts(), history.action_rewards()
    return np.argsort(-(wins + 0.5) / (pulls + 1), axis=-1, kind="stable")[..., :2]


@node(at=mlp(0) + mlp(1))
def weighed(leaders, last):
    """The two leaders and the last pull.  [batch, step, 4]"""
    return np.concatenate([leaders, last], axis=-1)


@node(at=logits)
def choice(weighed, leaders, last, history):
    """The leader.  [batch, step]"""
    return weighed[..., 0]


top_two = Hypothesis(choice, model="bandit", accept=0.9)

# the record of rewards alone cannot say which arm paid
reward_blind = top_two.on(last=embed("action"))
