"""Retrieval, trained to sit in the first layer: a head fetches the cell that paid last, the MLP after it finds the way.

The network was trained by interchange interventions until `truth` held, so this is known to be true. What follows the
truth is false in a way that the name says.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node
from ad_hypotheses.known.claims import deserves

SHARPNESS, CENTRE = 3.0, 2
MOVES = np.array([[0, 0], [0, -1], [0, 1], [-1, 0], [1, 0]])  # (x, y) of stay, up, down, left, right
UNKNOWN = 2


@node(at=(embed("x") + embed("y")).to(mlp(0)))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations.astype(int)


@node(at=(embed("x") + embed("y") + embed("reward")).to(head(0, 0)))
def sighting(history):
    """The cell, if it has just paid, else (-1, -1); at the start of an episode nobody can tell.  [batch, step, 2]"""
    paid = (history.previous_rewards > 0) & ~history.episode_start
    return np.where(paid[..., None], history.observations.astype(int), -1)


@node(at=head(0, 0))
def goal(sighting):
    """The last such cell, (-1, -1) before any.  [batch, step, 2]"""
    steps = np.arange(sighting.shape[1])
    latest = np.maximum.accumulate(np.where(sighting[..., 0] >= 0, steps, -1), axis=1)
    cells = np.take_along_axis(sighting, np.maximum(latest, 0)[..., None], axis=1)
    return np.where((latest >= 0)[..., None], cells, -1)


@node(at=mlp(0))
def way(cell, goal):
    """Which way the goal lies, (0, 0) in it; (2, 2) while it is unknown.  [batch, step, 2]"""
    known = (goal >= 0).all(axis=-1, keepdims=True)
    return np.where(known, np.sign(goal - cell), UNKNOWN)


@node(at=logits)
def choice(way):
    """Any shortest way to the goal.  [batch, step, action]"""
    x, y = way[..., :1], way[..., 1:]
    there = (x == 0) & (y == 0)
    right = np.where(there, (MOVES == 0).all(axis=1), x * MOVES[:, 0] + y * MOVES[:, 1] > 0)
    weights = np.exp(SHARPNESS * right * (x != UNKNOWN))
    return weights / weights.sum(axis=-1, keepdims=True)


truth = Hypothesis(choice, model="known-retrieval-trained", accept=0.9)
deserves(truth, "supported", kind="true", why="a head fetches the cell that paid, the MLP after it finds the way")

other_head = truth.on(goal=head(0, 1), sighting=(embed("x") + embed("y") + embed("reward")).to(head(0, 1)))
deserves(other_head, "refuted", kind="wrong site", why="the head beside it was trained to play no role")

later = truth.on(way=mlp(1), cell=(embed("x") + embed("y")).to(mlp(1)))
deserves(later, "refuted", kind="wrong site", why="the second MLP was trained to play no role")

reward_blind = truth.on(sighting=(embed("x") + embed("y")).to(head(0, 0)))
deserves(reward_blind, "refuted", kind="missing arrow", why="the reward is read too")


@node(at=mlp(0))
def distance(cell, goal):
    """How far the goal is, -1 while it is unknown.  [batch, step]"""
    return np.where((goal >= 0).all(axis=-1), np.abs(goal - cell).sum(axis=-1), -1)


@node(at=logits)
def choice_by_distance(distance, history):
    """Stay at distance 0, else move.  [batch, step, action]"""
    stay = np.arange(history.n_actions) == 0
    scores = np.where(distance[..., None] == 0, stay, ~stay) * (distance[..., None] >= 0)
    weights = np.exp(SHARPNESS * scores)
    return weights / weights.sum(axis=-1, keepdims=True)


how_far = Hypothesis(choice_by_distance, model="known-retrieval-trained", accept=0.9)
deserves(how_far, "refuted", kind="coarser", why="which way the goal lies matters, not how far it is")


@node(at=mlp(0))
def quarter(goal):
    """Where the goal lies from the centre, wherever the agent is; (2, 2) while it is unknown.  [batch, step, 2]"""
    return np.where(goal >= 0, np.sign(goal - CENTRE), UNKNOWN)


@node(at=logits)
def choice_of_quarter(quarter):
    """Towards that side.  [batch, step, action]"""
    return choice(quarter)


cell_blind = Hypothesis(choice_of_quarter, model="known-retrieval-trained", accept=0.9)
deserves(cell_blind, "refuted", kind="missing arrow", why="the way depends on where the agent stands")


@node(at=(embed("x") + embed("y") + embed("action") + embed("reward")).to(head(0, 0)))
def lived(history):
    """The cell, what was done in it, and whether the last step paid.  [batch, step, 3]"""
    return np.stack([*np.moveaxis(history.observations, -1, 0), history.previous_rewards > 0], axis=-1)


@node(at=head(0, 0))
def habit(lived, history):
    """What was done last time in this cell, -1 if never or before any reward.  [batch, step]"""
    before = history.previous_visit()
    done = np.take_along_axis(history.actions, np.maximum(before, 0), axis=1)
    return np.where((before >= 0) & (history.rewards_seen > 0), done, -1)


@node(at=mlp(0))
def again(cell, habit):
    """The same.  [batch, step]"""
    return habit


@node(at=logits)
def choice_by_habit(again, history):
    """What was done here last time.  [batch, step, action]"""
    weights = np.exp(SHARPNESS * (np.arange(history.n_actions) == again[..., None]))
    return weights / weights.sum(axis=-1, keepdims=True)


replay = Hypothesis(choice_by_habit, model="known-retrieval-trained", accept=0.9)
deserves(replay, "refuted", kind="other algorithm", why="what was done in this cell before does not count")
