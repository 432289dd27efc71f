"""Gate: one head tells whether a rewarded cell is known; until then the second MLP drifts, then it walks there.

The first head fetches a cell at every step, before any reward the first one of all, and the first MLP finds the ways
there; the second MLP uses them only once the gate is open. The network was set by hand, so this is known to be true.
What follows the truth is false in a way that its name says, or true and finer than it need be.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node, pos
from ad_hypotheses.known.claims import deserves

SHARPNESS, DRIFT, CENTRE = 3.0, 0.5, 2
MOVES = np.array([[0, 0], [0, -1], [0, 1], [-1, 0], [1, 0]])  # (x, y) of stay, up, down, left, right


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


@node(at=embed("reward"))
def paid(history):
    """Whether the last step paid.  [batch, step]"""
    return history.previous_rewards > 0


@node(at=pos)
def clock(history):
    """The step, and with it whether an episode begins.  [batch, step]"""
    return np.broadcast_to(np.arange(history.n_steps), history.actions.shape)


@node(at=head(0, 1))
def known(paid, clock, history):
    """Whether a cell was seen to pay.  [batch, step]"""
    return (history.last_rewarded_cell() >= 0).all(axis=-1)


@node(at=head(0, 0))
def goal(cell, paid, clock, history):
    """The cell that paid last, the centre before any reward.  [batch, step, 2]"""
    found = history.last_rewarded_cell()
    return np.where(found >= 0, found, CENTRE)


@node(at=mlp(0))
def ways(cell, goal):
    """Which way that cell lies.  [batch, step, 2]"""
    return np.sign(goal - cell)


@node(at=mlp(1))
def move(known, ways, cell):
    """Whether the gate is open, and which way to go: to the goal, or clockwise around the centre.  [batch, step, 3]"""
    x, y = cell[..., 0] - CENTRE, cell[..., 1] - CENTRE
    drift = np.sign(np.stack([-y, x], axis=-1))
    return np.concatenate([known[..., None], np.where(known[..., None], ways, drift)], axis=-1)


@node(at=logits)
def choice(move):
    """Any shortest way to the goal; before, rather a drifting move than another.  [batch, step, action]"""
    known, x, y = move[..., :1] > 0, move[..., 1:2], move[..., 2:]
    right = x * MOVES[:, 0] + y * MOVES[:, 1] > 0
    there = known & (x == 0) & (y == 0) & (MOVES == 0).all(axis=1)
    weights = np.exp(SHARPNESS * np.where(known, right | there, DRIFT * right))
    return weights / weights.sum(axis=-1, keepdims=True)


truth = Hypothesis(choice, model="known-gate", accept=0.9)
deserves(
    truth, "supported", kind="true", why="one head fetches a cell, another opens the gate, the second MLP chooses by it"
)

heads_exchanged = truth.on(known=head(0, 0), goal=head(0, 1))
deserves(heads_exchanged, "refuted", kind="wrong site", why="each head does what the claim says of the other")

mean_pay = truth.on(known=head(1, 0))
deserves(
    mean_pay, "refuted", kind="wrong site", why="the head of the second layer tells the same, but nothing reads it"
)


@node(at=head(0, 1))
def earned(paid, clock, history):
    """Whether a cell was seen to pay, and how often anything did, up to 3.  [batch, step, 2]"""
    return np.stack([(history.last_rewarded_cell() >= 0).all(axis=-1), np.minimum(history.rewards_seen, 3)], axis=-1)


@node(at=mlp(1))
def move_by_earnings(earned, ways, cell):
    """The same move.  [batch, step, 4]"""
    return np.concatenate([move(earned[..., 0] > 0, ways, cell), earned[..., 1:]], axis=-1)


@node(at=logits)
def choice_by_earnings(move_by_earnings):
    """The same choice.  [batch, step, action]"""
    return choice(move_by_earnings[..., :3])


rewards_counted = Hypothesis(choice_by_earnings, model="known-gate", accept=0.9)
deserves(rewards_counted, "supported", kind="finer than true", why="how often something paid changes nothing")


@node(at=mlp(1))
def move_if_known(known, ways, cell):
    """Which way to go, (2, 2) for anything before a reward.  [batch, step, 2]"""
    return np.where(known[..., None], ways, 2)


@node(at=logits)
def choice_if_known(move_if_known):
    """Any shortest way to the goal; before, anything.  [batch, step, action]"""
    known = move_if_known[..., :1] < 2
    blind = np.where(known, move_if_known, 0)
    return choice(np.concatenate([known, blind], axis=-1))


no_drift = Hypothesis(choice_if_known, model="known-gate", accept=0.9)
deserves(no_drift, "refuted", kind="coarser", why="before a reward the cell decides")


@node(at=mlp(1))
def move_without_gate(ways, cell):
    """Where the ways lead, and where the agent stands.  [batch, step, 4]"""
    return np.concatenate([ways, cell], axis=-1)


@node(at=logits)
def choice_without_gate(move_without_gate):
    """Any of these ways.  [batch, step, action]"""
    ways = move_without_gate[..., :2]
    return choice(np.concatenate([np.ones_like(ways[..., :1]), ways], axis=-1))


gateless = Hypothesis(choice_without_gate, model="known-gate", accept=0.9)
deserves(gateless, "refuted", kind="missing arrow", why="the ways count only once the gate is open")


@node(at=head(0, 1))
def hopeful(paid, clock, history):
    """Whether any step paid, also one whose cell was not seen.  [batch, step]"""
    return history.rewards_seen > 0


@node(at=mlp(1))
def hopeful_move(hopeful, ways, cell):
    """The same move.  [batch, step, 3]"""
    return move(hopeful, ways, cell)


@node(at=logits)
def hopeful_choice(hopeful_move):
    """The same choice.  [batch, step, action]"""
    return choice(hopeful_move)


any_reward = Hypothesis(hopeful_choice, model="known-gate", accept=0.9)
deserves(
    any_reward,
    "refuted",
    kind="other algorithm",
    why="a reward whose cell was not seen does not open the gate; that is rare",
)


@node(at=mlp(1))
def untried_move(known, ways, history):
    """Whether the gate is open; the ways; before, what was not tried here yet.  [batch, step, 8]"""
    open_ = known[..., None]
    tried = np.where(open_, False, history.tried_here())
    return np.concatenate([open_, np.where(open_, ways, 0), tried], axis=-1)


@node(at=logits)
def untried_choice(untried_move):
    """Any shortest way to the goal; before, rather what was not tried here.  [batch, step, action]"""
    closed = np.exp(SHARPNESS * DRIFT * (1.0 - untried_move[..., 3:]))
    return np.where(untried_move[..., :1] > 0, choice(untried_move[..., :3]), closed / closed.sum(-1, keepdims=True))


untried = Hypothesis(untried_choice, model="known-gate", accept=0.9)
deserves(untried, "refuted", kind="other algorithm", why="before a reward the cell decides, not what was tried in it")
