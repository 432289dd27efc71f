"""Retrieval: heads of the first layer fetch the rewarded cell from the tokens that show a reward, and it is walked to.

Mimic with two changes. The lookup is taken apart: all that passes through these heads is the cell, the action and the
reward of each token. And what was just done and paid may matter too, so that an agent that stays goes on staying.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

STAY, UP, DOWN, LEFT, RIGHT, ANYTHING = 0, 1, 2, 3, 4, -1


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last action, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=head(0))
def goal(cell, last, history):
    """The cell that paid last, (-1, -1) before any reward, out of the tokens' cells and rewards.  [batch, step, 2]"""
    return history.last_rewarded_cell()


@node(at=mlp(0))
def plan(cell, goal, last):
    """Cell, goal, last action and reward.  [batch, step, 6]"""
    return np.concatenate([cell, goal, last], axis=-1)


@node(at=mlp(1) + mlp(2))
def move(plan, cell, goal, last):
    """The same, worked out further.  [batch, step, 6]"""
    return plan


@node(at=logits)
def choice(move, plan, cell, goal, last):
    """Along x, then along y, then stay; anything while no reward is known.  [batch, step]"""
    here, there = move[..., :2], move[..., 2:4]
    x, y = np.moveaxis(np.sign(there - here), -1, 0)
    known = (there >= 0).all(axis=-1)
    return np.select([~known, x < 0, x > 0, y < 0, y > 0], [ANYTHING, LEFT, RIGHT, UP, DOWN], STAY)


retrieval = Hypothesis(choice, model="dark-room", accept=0.9)

# nothing is fetched by the second layer's heads
fetched_by_the_second_layer = retrieval.on(goal=head(1), plan=mlp(1), move=mlp(2))
