"""Counting: how often a cell has paid decides how strongly it is approached.

Replay, and one thing more that the first layer's heads fetch: how often the cell that paid last has paid so far. One
reward settles nothing then; each further one adds to the pull. Compare it with `replay`, which is the same claim
without the count.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

STAY, UP, DOWN, LEFT, RIGHT, ANYTHING = 0, 1, 2, 3, 4, -1
UNKNOWN = 2
SIZE = 9
BINS = [1, 2, 3, 5, 9]  # times that a cell has paid: none, 1, 2, 3 or 4, 5 to 8, more


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
    """The cell that paid last, what was done here last, how often that cell has paid.  [batch, step, 4]"""
    goal, before = history.last_rewarded_cell(), history.previous_visit()
    done = np.take_along_axis(history.actions, np.maximum(before, 0), axis=1)
    habit = np.where(before >= 0, done, -1)
    return np.concatenate([goal, habit[..., None], np.digitize(paid(history, goal), BINS)[..., None]], axis=-1)


def paid(history, goal):
    """How often the cell that paid last has paid so far.  [batch, step]"""
    place, target = history.observations @ [SIZE, 1], goal @ [SIZE, 1]
    # a reward shows in the token after it, beside the cell that paid, unless a new episode has begun
    shown = (history.previous_rewards > 0) & ~history.episode_start
    paying = shown[..., None] & (place[..., None] == np.arange(SIZE * SIZE))
    counts = np.cumsum(paying, axis=1, dtype=np.int16)
    times = np.take_along_axis(counts, np.maximum(target, 0)[..., None], axis=-1)[..., 0]
    return np.where(target >= 0, times, 0)


@node(at=mlp(0))
def plan(cell, memory, last):
    """Direction of the goal, (2, 2) if unknown; habit; count; last action and reward.  [batch, step, 6]"""
    goal, rest = memory[..., :2], memory[..., 2:]
    known = (goal >= 0).all(axis=-1, keepdims=True)
    return np.concatenate([np.where(known, np.sign(goal - cell), UNKNOWN), rest, last], axis=-1)


@node(at=mlp(1) + mlp(2))
def move(plan, cell, memory, last):
    """The same, worked out further.  [batch, step, 6]"""
    return plan


@node(at=logits)
def choice(move, plan, cell, memory, last):
    """The habit if it leads to the goal, else along x, then y; anything while no goal is known.  [batch, step]"""
    x, y, habit = np.moveaxis(move[..., :3], -1, 0)
    leads = np.select([habit == LEFT, habit == RIGHT, habit == UP, habit == DOWN], [x < 0, x > 0, y < 0, y > 0], False)
    options = [x == UNKNOWN, leads, x < 0, x > 0, y < 0, y > 0]
    return np.select(options, [ANYTHING, habit, LEFT, RIGHT, UP, DOWN], STAY)


counting = Hypothesis(choice, model="dark-room", accept=0.9)

fetched_by_the_second_layer = counting.on(memory=head(1), plan=mlp(1), move=mlp(2))
