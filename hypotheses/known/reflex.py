"""Reflex: the first MLP sees the last token, stays after a reward, and else goes on as before.

The network was set by hand, so this is known to be true. What follows the truth is false in a way that its name says,
or true and finer than it need be.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node, pos
from ad_hypotheses.known.claims import deserves

SHARPNESS, SIZE, STAY, ANYTHING = 3.0, 5, 0, -1


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last action, -1 at first, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=mlp(0))
def urge(last):
    """Stay after a reward, else the last move; -1 for anything, after an unpaid stay and at first.  [batch, step]"""
    action, won = last[..., 0], last[..., 1] > 0
    return np.select([won, action > STAY], [STAY, action], ANYTHING)


@node(at=logits)
def choice(urge, history):
    """What the urge is.  [batch, step, action]"""
    weights = np.exp(SHARPNESS * (np.arange(history.n_actions) == urge[..., None]))
    return weights / weights.sum(axis=-1, keepdims=True)


truth = Hypothesis(choice, model="known-reflex", accept=0.9)
deserves(truth, "supported", kind="true", why="the last action and its pay, through the first MLP")

echo = truth.on(urge=mlp(1))
deserves(echo, "refuted", kind="wrong site", why="the second MLP holds the same, but nothing reads it")

reward_blind = truth.on(last=embed("action"))
deserves(reward_blind, "refuted", kind="missing arrow", why="the reward reaches the MLP too")


@node(at=mlp(0))
def token(last):
    """The last action, and whether it paid.  [batch, step, 2]"""
    return last


@node(at=logits)
def choice_by_token(token, history):
    """The same choice, worked out at last.  [batch, step, action]"""
    return choice(urge(token), history)


whole_token = Hypothesis(choice_by_token, model="known-reflex", accept=0.9)
deserves(whole_token, "supported", kind="finer than true", why="the first MLP keeps less: a paid action is forgotten")


@node(at=mlp(0))
def mood(last):
    """Whether to stay, go on or do anything, whichever way it was.  [batch, step]"""
    return np.sign(urge(last))


@node(at=logits)
def choice_by_mood(mood, history):
    """Stay, move, or anything.  [batch, step, action]"""
    stay = np.arange(history.n_actions) == STAY
    weights = np.exp(SHARPNESS * np.where(mood[..., None] == 0, stay, (mood[..., None] > 0) & ~stay))
    return weights / weights.sum(axis=-1, keepdims=True)


stay_or_go = Hypothesis(choice_by_mood, model="known-reflex", accept=0.9)
deserves(stay_or_go, "refuted", kind="coarser", why="which way to go on matters too")


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


@node(at=pos)
def clock(history):
    """The step, and with it whether an episode begins.  [batch, step]"""
    return np.broadcast_to(np.arange(history.n_steps), history.actions.shape)


@node(at=head(0, 0))
def goal(cell, last, clock, history):
    """The cell that paid last, (-1, -1) before any reward: the head does fetch it.  [batch, step, 2]"""
    return history.last_rewarded_cell()


@node(at=mlp(0))
def at_goal(cell, goal):
    """Whether the agent stands in the cell that paid, and whether one is known.  [batch, step, 2]"""
    return np.stack([(cell == goal).all(axis=-1), goal[..., 0] >= 0], axis=-1)


@node(at=logits)
def choice_at_goal(at_goal, history):
    """Stay in the cell that paid, leave any other.  [batch, step, action]"""
    there, known = at_goal[..., :1] > 0, at_goal[..., 1:] > 0
    stay = np.arange(history.n_actions) == STAY
    weights = np.exp(SHARPNESS * np.where(there, stay, known & ~stay))
    return weights / weights.sum(axis=-1, keepdims=True)


remembers_the_place = Hypothesis(choice_at_goal, model="known-reflex", accept=0.9)
deserves(
    remembers_the_place,
    "refuted",
    kind="other algorithm",
    why="a head fetches the cell that paid, but nothing reads it",
)


@node(at=mlp(0))
def visits(last, history):
    """How often each cell was seen: nearly every history is alone.  [batch, step, 25]"""
    return history.visits(SIZE)


@node(at=logits)
def choice_by_visits(visits):
    """No opinion.  [batch, step]"""
    return np.full(visits.shape[:2], ANYTHING)


familiar_places = Hypothesis(choice_by_visits, model="known-reflex", accept=0.9)
deserves(
    familiar_places, "refuted", kind="injective", why="visits are not counted, but hardly two histories have the same"
)
