"""Memoryless: where the agent stands decides what it does, and nothing that happened before.

What `mimic` says of the time before a reward, alone: the model does there what novices do at this cell, whatever it has
tried so far. If that is right it is supported in *explore*, although it must fail wherever a goal is known.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, logits, mlp, node


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


@node(at=mlp(0) + mlp(1) + mlp(2))
def habit(cell):
    """The cell, worked out.  [batch, step, 2]"""
    return cell


@node(at=logits)
def choice(habit, cell, history):
    """Any action.  [batch, step, action]"""
    return np.full((*habit.shape[:2], history.n_actions), 1 / history.n_actions)


memoryless = Hypothesis(choice, model="dark-room", accept=0.9)

# what was done last, and whether it paid, says nothing of the cell
last_token_alone = memoryless.on(cell=embed("action") + embed("reward"))
