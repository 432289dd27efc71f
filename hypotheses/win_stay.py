"""Win-stay, lose-shift: the last pull and what it paid decide the next.

Robbins' rule for bandits: pull the same arm after a win, another after a loss. If this is right, all earlier pulls can
be swapped.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, logits, mlp, node


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last arm, -1 at first, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=mlp(0) + mlp(1))
def rule(last):
    """The same, worked out.  [batch, step, 2]"""
    return last


@node(at=logits)
def choice(rule, last, history):
    """The same arm after a win, any other after a loss.  [batch, step, action]"""
    arm, won = rule[..., :1], rule[..., 1:] > 0
    same = np.arange(history.n_actions) == arm
    chances = np.where(won, same, ~same).astype(float)
    return chances / chances.sum(axis=-1, keepdims=True)


win_stay = Hypothesis(choice, model="bandit", accept=0.9)

# without the reward nobody can tell a win from a loss
reward_blind = win_stay.on(last=embed("action"))
