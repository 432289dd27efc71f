"""Copy what paid: induction over rewarded visits, by a head that looks one step back and one that compares cells.

A token shows what was done and paid, but not where. A head of the first layer adds the cell before, the first MLP
keeps it where it paid (a lesson), and a head of the second layer takes the action of the latest lesson about this
cell. Which earlier step it finds is a relation of two steps and no feature of one; what it brings is one, and is what
the claim names. The network was set by hand, so this is known to be true. What follows the truth is false in a way
that its name says, or true and finer than it need be.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node, pos
from ad_hypotheses.known.claims import deserves

SHARPNESS, NEVER = 3.0, -1


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


@node(at=embed("reward"))
def paid(history):
    """Whether the last step paid.  [batch, step]"""
    return history.previous_rewards > 0


@node(at=embed("action"))
def last(history):
    """What was done last, -1 at first.  [batch, step]"""
    return history.previous_actions


@node(at=pos)
def clock(history):
    """The step.  [batch, step]"""
    return np.broadcast_to(np.arange(history.n_steps), history.actions.shape)


@node(at=head(0, 0))
def before(cell, clock):
    """The cell of the step before; at first, the cell itself.  [batch, step, 2]"""
    return np.concatenate([cell[:, :1], cell[:, :-1]], axis=1)


@node(at=mlp(0))
def lesson(before, paid):
    """The cell in which the last action paid, (-1, -1) if it did not pay.  [batch, step, 2]"""
    return np.where(paid[..., None], before, NEVER)


def done_here(history, counts):
    """What was done at the latest earlier step in the same cell that counts, -1 if there is none.  [batch, step]"""
    steps, here = np.arange(history.n_steps), history.observations
    same = (here[:, :, None] == here[:, None]).all(axis=-1) & (steps[:, None] > steps) & counts[:, None, :]
    latest = np.where(same, steps, NEVER).max(axis=-1)
    return np.where(latest >= 0, np.take_along_axis(history.actions, np.maximum(latest, 0), axis=1), NEVER)


@node(at=head(1, 0))
def habit(cell, lesson, last, clock, history):
    """What paid in this cell, the last time that anything did; -1 if nothing ever did.  [batch, step]"""
    return done_here(history, history.rewards > 0)


@node(at=logits)
def choice(habit, history):
    """The habit; anything without one.  [batch, step, action]"""
    weights = np.exp(SHARPNESS * (np.arange(history.n_actions) == habit[..., None]))
    return weights / weights.sum(axis=-1, keepdims=True)


truth = Hypothesis(choice, model="known-copy-rewarded", accept=0.9)
deserves(
    truth, "supported", kind="true", why="cells of the steps before, lessons, and what the latest about this cell says"
)

echo = truth.on(habit=head(1, 1))
deserves(echo, "refuted", kind="wrong site", why="the head beside it fetches the same action, but nothing reads it")


@node(at=head(1, 0))
def firm_habit(cell, lesson, last, clock, history):
    """The habit, and how often this cell was seen, up to 3 times.  [batch, step, 2]"""
    here = history.observations @ np.array([5, 1])
    seen = np.take_along_axis(history.visits(5), here[..., None], axis=-1)[..., 0]
    return np.stack([done_here(history, history.rewards > 0), np.minimum(seen, 3)], axis=-1)


@node(at=logits)
def firm_choice(firm_habit, history):
    """The habit, however often.  [batch, step, action]"""
    return choice(firm_habit[..., 0], history)


visits_counted = Hypothesis(firm_choice, model="known-copy-rewarded", accept=0.9)
deserves(visits_counted, "supported", kind="finer than true", why="how often the cell was seen changes nothing")


@node(at=head(1, 0))
def experienced(cell, lesson, last, clock, history):
    """Whether anything ever paid in this cell.  [batch, step]"""
    return done_here(history, history.rewards > 0) >= 0


@node(at=logits)
def choice_if_experienced(experienced):
    """No opinion.  [batch, step]"""
    return np.full(experienced.shape, NEVER)


paid_here = Hypothesis(choice_if_experienced, model="known-copy-rewarded", accept=0.9)
deserves(paid_here, "refuted", kind="coarser", why="which action paid matters, not only that one did")


@node(at=head(1, 0))
def untaught_habit(cell, last, clock, history):
    """The habit, found without lessons.  [batch, step]"""
    return done_here(history, history.rewards > 0)


@node(at=logits)
def untaught_choice(untaught_habit, history):
    """The habit.  [batch, step, action]"""
    return choice(untaught_habit, history)


without_lessons = Hypothesis(untaught_choice, model="known-copy-rewarded", accept=0.9)
deserves(without_lessons, "refuted", kind="missing arrow", why="the head compares cells with lessons")


@node(at=head(1, 0))
def last_time(cell, lesson, last, clock, history):
    """What was done in this cell last time, whatever it paid; -1 if never here.  [batch, step]"""
    return done_here(history, np.ones_like(history.rewards, dtype=bool))


@node(at=logits)
def choice_as_last_time(last_time, history):
    """The same again.  [batch, step, action]"""
    return choice(last_time, history)


replay = Hypothesis(choice_as_last_time, model="known-copy-rewarded", accept=0.9)
deserves(replay, "refuted", kind="other algorithm", why="what did not pay is not done again")


@node(at=head(1, 0))
def goal_from_here(cell, lesson, last, clock, history):
    """Where the cell that paid last lies, if it is this one or a neighbour; else (2, 2).  [batch, step, 2]"""
    goal = history.last_rewarded_cell()
    away = goal - history.observations
    near = (goal[..., 0] >= 0) & (np.abs(away).sum(axis=-1) <= 1)
    return np.where(near[..., None], away, 2)


@node(at=logits)
def choice_of_neighbour(goal_from_here, history):
    """Into it.  [batch, step, action]"""
    x, y = goal_from_here[..., 0], goal_from_here[..., 1]
    ways = np.select([x > 1, x == 1, x == -1, y == 1, y == -1], [NEVER, 4, 3, 2, 1], 0)
    return choice(ways, history)


goal_next_door = Hypothesis(choice_of_neighbour, model="known-copy-rewarded", accept=0.9)
deserves(
    goal_next_door,
    "refuted",
    kind="other algorithm",
    why="a goal next door is missed from a cell of which it was never entered",
)
