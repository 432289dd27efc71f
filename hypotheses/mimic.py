"""Mimic: like an agent that knows nothing until it has seen a reward, then straight to where that was.

Sam Marks' reading of algorithm distillation, as a graph: one seen reward settles everything. Before it, the model does
what novices do at this cell, whatever it has tried so far; after it, the cell and the rewarded cell decide, and how
often, when and by which actions the reward came is irrelevant. If this is right, no reinforcement learning is needed
to explain the model.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

STAY, UP, DOWN, LEFT, RIGHT, ANYTHING = 0, 1, 2, 3, 4, -1


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


@node(at=head(0))
def goal(history):
    """The cell that paid last, (-1, -1) before any reward.  [batch, step, 2]"""
    return history.last_rewarded_cell()


@node(at=mlp(0))
def plan(cell, goal):
    """The cell, and the goal once it is known.  [batch, step, 4]"""
    return np.concatenate([cell, goal], axis=-1)


@node(at=mlp(1) + mlp(2))
def move(plan, cell, goal):
    """The same, worked out further.  [batch, step, 4]"""
    return plan


@node(at=logits)
def choice(move, plan, cell, goal):
    """Anything before a reward; then along x, then along y, then stay.  [batch, step]"""
    here, there = move[..., :2], move[..., 2:]
    x, y = np.moveaxis(np.sign(there - here), -1, 0)
    known = (there >= 0).all(axis=-1)
    return np.select([~known, x < 0, x > 0, y < 0, y > 0], [ANYTHING, LEFT, RIGHT, UP, DOWN], STAY)


mimic = Hypothesis(choice, model="dark-room", accept=0.9)

# the goal is not what the second layer's heads write
goal_in_the_second_layer = mimic.on(goal=head(1), plan=mlp(1), move=mlp(2))
