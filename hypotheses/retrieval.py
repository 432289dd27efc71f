"""Retrieval: heads of the first layer look up the rewarded token, and the cell that it holds is walked to.

Mimic with the lookup taken apart: what is looked for is that a token shows a reward (key), what is fetched is the cell
that it shows (value), and nothing else of the history passes through these heads. The last action and reward may
matter at the step itself.
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
    """The cell that paid last, (-1, -1) before any reward; fetched by cell and reward of each token.  [batch, step, 2]"""
    return history.last_rewarded_cell()


@node(at=mlp(0))
def plan(cell, last, goal):
    """Cell, goal, last action and reward.  [batch, step, 6]"""
    return np.concatenate([cell, goal, last], axis=-1)


@node(at=mlp(1) + mlp(2) + head(1) + head(2))
def move(plan, cell, last, goal):
    """The same, worked out further.  [batch, step, 6]"""
    return plan


@node(at=logits)
def choice(move, plan, cell, last, goal):
    """Along x, then along y, then stay; anything while no reward is known.  [batch, step]"""
    here, there = move[..., :2], move[..., 2:4]
    x, y = np.moveaxis(np.sign(there - here), -1, 0)
    known = (there >= 0).all(axis=-1)
    return np.select([~known, x < 0, x > 0, y < 0, y > 0], [ANYTHING, LEFT, RIGHT, UP, DOWN], STAY)


retrieval = Hypothesis(choice, model="dark-room", accept=0.9)

# tokens without the reward cannot be looked up by it
no_reward = retrieval.on(last=embed("action"))
