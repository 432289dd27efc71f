"""Replay: the model goes to the rewarded cell by the way it went before.

Retrieval, and one thing more that the first layer's heads fetch: what was done the last time the agent stood here. The
MLPs need only the direction of the goal, that habit, and the last action and reward.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

STAY, UP, DOWN, LEFT, RIGHT, ANYTHING = 0, 1, 2, 3, 4, -1
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
    """The cell that paid last, (-1, -1) before any; what was done here last, -1 if never here.  [batch, step, 3]"""
    before = history.previous_visit()
    done = np.take_along_axis(history.actions, np.maximum(before, 0), axis=1)
    habit = np.where(before >= 0, done, -1)
    return np.concatenate([history.last_rewarded_cell(), habit[..., None]], axis=-1)


@node(at=mlp(0))
def plan(cell, memory, last):
    """Direction of the goal, (2, 2) if unknown; habit; last action and reward.  [batch, step, 5]"""
    goal, habit = memory[..., :2], memory[..., 2:]
    known = (goal >= 0).all(axis=-1, keepdims=True)
    return np.concatenate([np.where(known, np.sign(goal - cell), UNKNOWN), habit, last], axis=-1)


@node(at=mlp(1) + mlp(2))
def move(plan, cell, memory, last):
    """The same, worked out further.  [batch, step, 5]"""
    return plan


@node(at=logits)
def choice(move, plan, cell, memory, last):
    """The habit if it leads to the goal, else along x, then y; anything while no goal is known.  [batch, step]"""
    x, y, habit = np.moveaxis(move[..., :3], -1, 0)
    leads = np.select([habit == LEFT, habit == RIGHT, habit == UP, habit == DOWN], [x < 0, x > 0, y < 0, y > 0], False)
    options = [x == UNKNOWN, leads, x < 0, x > 0, y < 0, y > 0]
    return np.select(options, [ANYTHING, habit, LEFT, RIGHT, UP, DOWN], STAY)


replay = Hypothesis(choice, model="dark-room", accept=0.9)

# nothing is fetched by the second layer's heads
fetched_by_the_second_layer = replay.on(memory=head(1), plan=mlp(1), move=mlp(2))
