"""Errand: the model fetches the key where it lay and goes on to the door, each by the way it went before.

Replay with a stage: how much of the errand is done in this episode, which way the key or the door lies, whichever is
next, and what was done here at the same stage when it paid and last. While it is not known where to go, what was tried
here at this stage tells.
"""

from dataclasses import replace

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

STAY, UP, DOWN, LEFT, RIGHT, ANYTHING = 0, 1, 2, 3, 4, -1
UNKNOWN = 2
SIZE = 9


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


def with_stage(history, stage):
    """The same history as if the stage were seen.  [batch, step]"""
    seen = np.concatenate([history.observations, stage[..., None]], axis=-1)
    return replace(history, observations=seen, channels=("x", "y", "stage"))


def paid_way(history):
    """What was done here at this stage last before a pay, -1 for nothing.  [batch, step]"""
    place = history.observations @ np.array([3 * SIZE, 3, 1])
    rows, shape = np.arange(history.n_rows), (history.n_rows, 3 * SIZE * SIZE)
    way, before_pay, done = np.full(shape, -1), np.full(shape, -1), np.empty(history.actions.shape, dtype=int)
    for now in range(history.n_steps):
        before_pay[history.episode_start[:, now]] = -1
        done[:, now] = way[rows, place[:, now]]
        before_pay[rows, place[:, now]] = history.actions[:, now]
        paid = history.rewards[:, now] > 0
        way[paid] = np.where(before_pay[paid] >= 0, before_pay[paid], way[paid])
        before_pay[paid] = -1
    return done


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last action, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=head(0) + mlp(0) + head(1) + mlp(1) + head(2) + mlp(2) + head(3) + mlp(3))
def plan(cell, last, history):
    """Stage; direction of what is next; what was done when it paid, and last; tried; last token.  [batch, step, 8]"""
    stage = stage_of(history)
    target = np.select([stage[..., None] == 0, stage[..., None] == 1], [paid_at(history, 1), paid_at(history, 2)], -1)
    known = (target >= 0).all(axis=-1)
    heading = np.where(known[..., None], np.sign(target - cell), UNKNOWN)
    at_stage = with_stage(history, stage)
    before = at_stage.previous_visit()
    habit = np.where(before >= 0, np.take_along_axis(history.actions, np.maximum(before, 0), axis=1), -1)
    way = np.where(known, paid_way(at_stage), -1)
    tried = np.where(known, -1, at_stage.tried_here() @ 2 ** np.arange(5))
    return np.concatenate([stage[..., None], heading, np.stack([way, habit, tried], axis=-1), last], axis=-1)


@node(at=logits)
def choice(plan, cell, last):
    """What was done when it paid, else the habit if it leads there, else along x, then y; anything where it is unknown.

    [batch, step]
    """
    x, y, way, habit = np.moveaxis(plan[..., 1:5], -1, 0)
    leads = np.select([habit == LEFT, habit == RIGHT, habit == UP, habit == DOWN], [x < 0, x > 0, y < 0, y > 0], False)
    options = [x == UNKNOWN, way >= 0, leads, x < 0, x > 0, y < 0, y > 0]
    return np.select(options, [ANYTHING, way, habit, LEFT, RIGHT, UP, DOWN], STAY)


errand = Hypothesis(choice, model="key-to-door", accept=0.9)

# the first two layers alone know it
first_layers_alone = errand.on(plan=head(0) + mlp(0) + head(1) + mlp(1))
