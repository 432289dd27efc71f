"""Bayes: the model keeps track of where the goal can still be, and goes there.

Cells visited without reward cannot be the goal. Their layout gives a belief, the belief a direction: towards the side
with most cells left to try, and to the goal once it is found. Unlike mimic, what was visited matters *before* the first
reward.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

SIZE = 9
STAY, UP, DOWN, LEFT, RIGHT, ANYTHING = 0, 1, 2, 3, 4, -1
X, Y = np.divmod(np.arange(SIZE * SIZE), SIZE)


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last action, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=head(0))
def goal(history):
    """The cell that paid last, (-1, -1) before any reward.  [batch, step, 2]"""
    return history.last_rewarded_cell()


@node(at=head(1) + head(2))
def belief(history):
    """Before a reward, in which of 8 directions most cells are left to try, 8 if none; 9 after it.  [batch, step]"""
    possible = history.visits(SIZE) == 0
    x, y = history.observations[..., :1], history.observations[..., 1:]
    side = np.sign(X - x) * 3 + np.sign(Y - y) + 4  # 0 .. 8 around the agent, 4 in line with nothing
    left = np.stack([(possible & (side == direction)).sum(-1) for direction in (0, 1, 2, 3, 5, 6, 7, 8)], axis=-1)
    where = np.where(left.max(-1) > 0, left.argmax(-1), 8)
    return np.where(history.last_rewarded_cell()[..., 0] >= 0, 9, where)


@node(at=mlp(0))
def plan(cell, last, goal):
    """Cell, goal, last action and reward.  [batch, step, 6]"""
    return np.concatenate([cell, goal, last], axis=-1)


@node(at=mlp(1) + mlp(2))
def move(plan, belief, cell, last, goal):
    """The same, and where to look.  [batch, step, 7]"""
    return np.concatenate([plan, belief[..., None]], axis=-1)


@node(at=logits)
def choice(move, plan, belief, cell, last, goal):
    """To the goal, or to the side with most cells left.  [batch, step]"""
    here, there, direction = move[..., :2], move[..., 2:4], move[..., 6]
    around = np.array([[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1], [0, 0], [0, 0]])
    known = (there >= 0).all(axis=-1)
    x, y = np.moveaxis(np.where(known[..., None], np.sign(there - here), around[direction]), -1, 0)
    return np.select([~known & (direction == 8), x < 0, x > 0, y < 0, y > 0], [ANYTHING, LEFT, RIGHT, UP, DOWN], STAY)


bayes = Hypothesis(choice, model="dark-room", accept=0.9)

# the belief swapped for another in the layer that fetches the goal
belief_in_the_first_layer = bayes.on(goal=head(1) + head(2), belief=head(0), plan=mlp(1), move=mlp(2))
