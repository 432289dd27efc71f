"""Bayes: the model keeps track of where the goal can still be, and goes there.

Cells visited without reward cannot be the goal. What is left gives a belief, the belief a direction: towards the side
with most cells left to try, and to the goal once it is found. Unlike in mimic, what was visited matters *before* the
first reward.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

SIZE = 9
STAY, UP, DOWN, LEFT, RIGHT, ANYTHING = 0, 1, 2, 3, 4, -1
AROUND = np.array([[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]])
NOWHERE = len(AROUND)


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last action, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=head(0))
def belief(history):
    """The goal if it is known, else (-1, -1) and on which of 8 sides most cells are left to try.  [batch, step, 3]"""
    left, goal = cells_left(history), history.last_rewarded_cell()
    most = np.where((left > 0).any(axis=-1), np.argmax(left, axis=-1), NOWHERE)
    side = np.where(goal[..., 0] >= 0, NOWHERE, most)
    return np.concatenate([goal, side[..., None]], axis=-1)


def cells_left(history):
    """On how many cells of each of 8 sides the agent never was.  [batch, step, 8]"""
    shape = history.actions.shape
    untried = (history.visits(SIZE) == 0).reshape(*shape, SIZE, SIZE)
    below = np.zeros((*shape, SIZE + 1, SIZE + 1), dtype=np.int8)  # how many lie before column i and row j
    below[..., 1:, 1:] = untried.cumsum(axis=-1, dtype=np.int8).cumsum(axis=-2, dtype=np.int8)
    below, (x, y) = below.reshape(*shape, -1), np.moveaxis(history.observations.astype(int), -1, 0)
    columns, rows = ({-1: (0 * here, here), 0: (here, here + 1), 1: (here + 1, 0 * here + SIZE)} for here in (x, y))

    def before(column, row):
        return np.take_along_axis(below, ((SIZE + 1) * column + row)[..., None], axis=-1)[..., 0]

    def within(first, last, low, high):
        return before(last, high) - before(first, high) - before(last, low) + before(first, low)

    return np.stack([within(*columns[dx], *rows[dy]) for dx, dy in AROUND], axis=-1)


@node(at=mlp(0))
def plan(cell, belief, last):
    """Cell, belief, last action and reward.  [batch, step, 7]"""
    return np.concatenate([cell, belief, last], axis=-1)


@node(at=mlp(1) + mlp(2))
def move(plan, cell, belief, last):
    """The same, worked out further.  [batch, step, 7]"""
    return plan


@node(at=logits)
def choice(move, plan, cell, belief, last):
    """To the goal, or to the side with most cells left; anything if none is left.  [batch, step]"""
    here, goal, side = move[..., :2], move[..., 2:4], move[..., 4]
    known = (goal >= 0).all(axis=-1)
    searched = AROUND[np.minimum(side, NOWHERE - 1)]
    x, y = np.moveaxis(np.where(known[..., None], np.sign(goal - here), searched), -1, 0)
    lost = ~known & (side == NOWHERE)
    return np.select([lost, x < 0, x > 0, y < 0, y > 0], [ANYTHING, LEFT, RIGHT, UP, DOWN], STAY)


bayes = Hypothesis(choice, model="dark-room", accept=0.9)

# the second layer's heads keep no such record
belief_in_the_second_layer = bayes.on(belief=head(1), plan=mlp(1), move=mlp(2))
