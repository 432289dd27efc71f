"""Reflex: the model stays where it was just paid, and that is all.

The last action and the last reward decide; what came before is irrelevant. It should explain the steps on the goal and
nothing else.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, logits, mlp, node

STAY, ANYTHING = 0, -1


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last action, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=mlp(0) + mlp(1) + mlp(2))
def stay(last):
    """The same, worked out.  [batch, step, 2]"""
    return last


@node(at=logits)
def choice(stay, last):
    """Stay after a reward.  [batch, step]"""
    return np.where(stay[..., 1] > 0, STAY, ANYTHING)


reflex = Hypothesis(choice, model="dark-room", accept=0.9)

# what is embedded of the cell is not the last action and reward
cell_instead = reflex.on(last=embed("x") + embed("y"))
