"""Errand: the model fetches the key where it lay and goes on to the door, each by the way it went before.

Replay with a stage: the heads tell how much of the errand is done in this episode, where the key and the door were,
and what was done here last at the same stage. Before the first reward, what was tried here tells where to go.
"""

from dataclasses import replace

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

STAY, UP, DOWN, LEFT, RIGHT, ANYTHING = 0, 1, 2, 3, 4, -1
UNKNOWN = 2


def stage_of(history):
    """How many rewards this episode has shown: nothing yet, the key, the door.  [batch, step]"""
    steps = np.arange(history.n_steps)
    start = np.maximum.accumulate(np.where(history.episode_start, steps, 0), axis=1)
    seen = history.rewards_seen
    before = np.take_along_axis(seen, start, axis=1)
    return np.minimum(seen - before, 2).astype(int)


def paid_at(history, stage):
    """The cell that paid last when it brought the errand to a stage, (-1, -1) before any.  [batch, step, 2]"""
    steps = np.arange(history.n_steps)
    paid = (history.previous_rewards > 0) & ~history.episode_start & (stage_of(history) == stage)
    latest = np.maximum.accumulate(np.where(paid, steps, -1), axis=1)
    cells = np.take_along_axis(history.observations, np.maximum(latest, 0)[..., None], axis=1)
    return np.where((latest >= 0)[..., None], cells, -1)


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last action, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=head(0) + head(1) + head(2) + head(3))
def memory(cell, last, history):
    """Stage; cell of the key and of the door; what was done here last at it; what was tried.  [batch, step, 7]"""
    stage = stage_of(history)
    seen = np.concatenate([history.observations, stage[..., None]], axis=-1)
    at_stage = replace(history, observations=seen, channels=("x", "y", "stage"))
    before = at_stage.previous_visit()
    done = np.take_along_axis(history.actions, np.maximum(before, 0), axis=1)
    habit = np.where(before >= 0, done, -1)
    known = np.where(stage[..., None] == 0, paid_at(history, 1), paid_at(history, 2)).min(axis=-1) >= 0
    tried = np.where(known, -1, at_stage.tried_here() @ 2 ** np.arange(5))
    parts = [stage[..., None], paid_at(history, 1), paid_at(history, 2), habit[..., None], tried[..., None]]
    return np.concatenate(parts, axis=-1)


@node(at=mlp(0) + mlp(1) + mlp(2) + mlp(3))
def plan(cell, memory, last):
    """Stage; direction of the key or the door, whichever is next; habit; tried; the last token.  [batch, step, 7]"""
    stage, key, door = memory[..., :1], memory[..., 1:3], memory[..., 3:5]
    target = np.where(stage == 0, key, door)
    known = (target >= 0).all(axis=-1, keepdims=True)
    return np.concatenate([stage, np.where(known, np.sign(target - cell), UNKNOWN), memory[..., 5:], last], axis=-1)


@node(at=logits)
def choice(plan, cell, memory, last):
    """The habit if it leads there, else along x, then y; anything where it is unknown or all is done.  [batch, step]"""
    stage, x, y, habit = np.moveaxis(plan[..., :4], -1, 0)
    leads = np.select([habit == LEFT, habit == RIGHT, habit == UP, habit == DOWN], [x < 0, x > 0, y < 0, y > 0], False)
    options = [(x == UNKNOWN) | (stage == 2), leads, x < 0, x > 0, y < 0, y > 0]
    return np.select(options, [ANYTHING, habit, LEFT, RIGHT, UP, DOWN], STAY)


errand = Hypothesis(choice, model="key-to-door", accept=0.9)

# the same without the stage where the way is chosen: one layer's MLP and heads trade places
first_layers_alone = errand.on(memory=head(0) + head(1), plan=mlp(0) + mlp(1))
