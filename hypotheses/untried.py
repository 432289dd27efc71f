"""Untried: until it has seen a reward, the model does here what it has not done here yet.

Replay after the first reward; before it, the heads of the first layer fetch which actions were already tried at this
cell. Mimic says that before a reward the history can be swapped freely: what this recovers in *explore* beyond replay
is what that leaves out.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

STAY, UP, DOWN, LEFT, RIGHT = 0, 1, 2, 3, 4
UNKNOWN = 2


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last action, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=head(0))
def memory(cell, last, history):
    """The cell that paid last, what was done here last; before a reward, what was ever tried here.  [batch, step, 8]"""
    goal = history.last_rewarded_cell()
    before = history.previous_visit()
    done = np.take_along_axis(history.actions, np.maximum(before, 0), axis=1)
    known = goal[..., :1] >= 0
    habit = np.where(known, np.where(before >= 0, done, -1)[..., None], -1)
    return np.concatenate([goal, habit, np.where(known, False, history.tried_here())], axis=-1)


@node(at=mlp(0))
def plan(cell, memory, last):
    """Direction of the goal, (2, 2) if unknown, or the cell; habit; what was tried; last token.  [batch, step, 12]"""
    goal = memory[..., :2]
    known = (goal >= 0).all(axis=-1, keepdims=True)
    heading = np.where(known, np.sign(goal - cell), UNKNOWN)
    return np.concatenate([heading, np.where(known, -1, cell), memory[..., 2:], last], axis=-1)


@node(at=mlp(1) + mlp(2))
def move(plan, cell, memory, last):
    """The same, worked out further.  [batch, step, 12]"""
    return plan


@node(at=logits)
def choice(move, plan, cell, memory, last):
    """The habit if it leads to the goal, else towards it; before a reward, anything untried.  [batch, step, action]"""
    x, y, habit = move[..., 0], move[..., 1], move[..., 4]
    leads = np.select([habit == LEFT, habit == RIGHT, habit == UP, habit == DOWN], [x < 0, x > 0, y < 0, y > 0], False)
    walk = np.select([leads, x < 0, x > 0, y < 0, y > 0], [habit, LEFT, RIGHT, UP, DOWN], STAY)
    untried = 1.0 - move[..., 5:10]
    untried = np.where(untried.any(axis=-1, keepdims=True), untried, 1.0)
    certain = np.eye(untried.shape[-1])[walk]
    return np.where((x == UNKNOWN)[..., None], untried / untried.sum(axis=-1, keepdims=True), certain)


untried = Hypothesis(choice, model="dark-room", accept=0.9)

# nothing is fetched by the second layer's heads
fetched_by_the_second_layer = untried.on(memory=head(1), plan=mlp(1), move=mlp(2))
