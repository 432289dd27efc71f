"""N-gram: do in a cell what was done there before, each action by its share, whatever it paid.

Induction without rewards: a head of the first layer adds the cell before to each token, the first MLP leaves it out at
the first step, and a head of the second layer averages the actions of all visits to this cell. Which steps it finds is
a relation of two steps and no feature of one; their shares are. The network was set by hand, so this is known to be
true. What follows the truth is false in a way that its name says, or true and finer than it need be.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node, pos
from ad_hypotheses.known.claims import deserves

SHARPNESS, NEVER = 3.0, -1


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


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
def left(before, clock):
    """The cell that was left, (-1, -1) at first.  [batch, step, 2]"""
    return np.where(clock[..., None] > 0, before, NEVER)


def done_here(history, counts=True):
    """How often each action was done in this cell at earlier steps that count.  [batch, step, action]"""
    steps, here = np.arange(history.n_steps), history.observations
    same = (here[:, :, None] == here[:, None]).all(axis=-1) & (steps[:, None] > steps) & counts
    return same.astype(int) @ np.eye(history.n_actions, dtype=int)[history.actions]


def shares_of(counts):
    """Counts in lowest terms: equal where all shares are equal.  [batch, step, action]"""
    return counts // np.maximum(np.gcd.reduce(counts, axis=-1, keepdims=True), 1)


@node(at=head(1, 0))
def shares(cell, left, last, clock, history):
    """In which shares the actions were done in this cell before; all 0 if never here.  [batch, step, action]"""
    return shares_of(done_here(history))


@node(at=logits)
def choice(shares):
    """Each by its share.  [batch, step, action]"""
    weights = np.exp(SHARPNESS * shares / np.maximum(shares.sum(axis=-1, keepdims=True), 1))
    return weights / weights.sum(axis=-1, keepdims=True)


truth = Hypothesis(choice, model="known-ngram", accept=0.9)
deserves(truth, "supported", kind="true", why="cells of the steps before, and the shares of what was done in this one")

anywhere = truth.on(shares=head(1, 1))
deserves(anywhere, "refuted", kind="wrong site", why="the head beside it averages all cells, and nothing reads it")


@node(at=head(1, 0))
def counts(cell, left, last, clock, history):
    """How often each action was done in this cell before.  [batch, step, action]"""
    return done_here(history)


@node(at=logits)
def choice_by_counts(counts):
    """Each by its share.  [batch, step, action]"""
    return choice(counts)


counted = Hypothesis(choice_by_counts, model="known-ngram", accept=0.9)
deserves(counted, "supported", kind="finer than true", why="counts, of which only the shares matter")


@node(at=head(1, 0))
def usual(cell, left, last, clock, history):
    """Which actions were done most often in this cell.  [batch, step, action]"""
    done = done_here(history)
    return (done == done.max(axis=-1, keepdims=True)) & (done > 0)


@node(at=logits)
def usual_choice(usual):
    """Any of these.  [batch, step, action]"""
    return choice(usual.astype(int))


most_often = Hypothesis(usual_choice, model="known-ngram", accept=0.9)
deserves(most_often, "refuted", kind="coarser", why="the rarer actions matter too")


@node(at=head(1, 0))
def last_time(cell, left, last, clock, history):
    """What was done in this cell last time, -1 if never here.  [batch, step]"""
    visit = history.previous_visit()
    return np.where(visit >= 0, np.take_along_axis(history.actions, np.maximum(visit, 0), axis=1), NEVER)


@node(at=logits)
def choice_as_last_time(last_time, history):
    """The same again.  [batch, step, action]"""
    return choice((np.arange(history.n_actions) == last_time[..., None]).astype(int))


latest_only = Hypothesis(choice_as_last_time, model="known-ngram", accept=0.9)
deserves(latest_only, "refuted", kind="coarser", why="all visits matter, not only the last one")


@node(at=head(1, 0))
def shares_of_nowhere(left, last, clock, history):
    """The same shares, found without a look at where the agent stands.  [batch, step, action]"""
    return shares_of(done_here(history))


@node(at=logits)
def choice_of_nowhere(shares_of_nowhere):
    """Each by its share.  [batch, step, action]"""
    return choice(shares_of_nowhere)


cell_blind = Hypothesis(choice_of_nowhere, model="known-ngram", accept=0.9)
deserves(cell_blind, "refuted", kind="missing arrow", why="the head compares cells with where the agent stands")


@node(at=head(1, 0))
def fruitful(cell, left, last, clock, history):
    """In which shares the actions that paid were done in this cell before.  [batch, step, action]"""
    return shares_of(done_here(history, history.rewards[:, None, :] > 0))


@node(at=logits)
def fruitful_choice(fruitful):
    """What paid.  [batch, step, action]"""
    return choice(fruitful)


what_paid = Hypothesis(fruitful_choice, model="known-ngram", accept=0.9)
deserves(what_paid, "refuted", kind="other algorithm", why="rewards do not matter")
