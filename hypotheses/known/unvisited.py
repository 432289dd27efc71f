"""Unvisited: the first MLP names the cell, a head of the second layer lists those seen, the second MLP wants others.

What the head brings is a share of each cell, of which the second MLP uses whether a neighbour's is 0. The network was
set by hand, so this is known to be true. What follows the truth is false in a way that its name says, or true and
finer than it need be.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node
from ad_hypotheses.known.claims import deserves

SHARPNESS, SIZE = 3.0, 5
MOVES = np.array([[0, 0], [0, -1], [0, 1], [-1, 0], [1, 0]])  # (x, y) of stay, up, down, left, right


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


@node(at=mlp(0))
def place(cell):
    """The same cell, by number.  [batch, step]"""
    return cell[..., 0] * SIZE + cell[..., 1]


def around(history, of_cells):
    """What is known of the cells to which the moves lead, a wall leading nowhere.  [batch, step, action]"""
    to = np.clip(history.observations[:, :, None] + MOVES, 0, SIZE - 1) @ np.array([SIZE, 1])
    return np.take_along_axis(of_cells, to, axis=-1)


@node(at=head(1, 0))
def seen(place, history):
    """The cell, and which of its neighbours were seen.  [batch, step, 6]"""
    return np.concatenate([place[..., None], around(history, history.visits(SIZE) > 0)], axis=-1)


@node(at=mlp(1))
def wanted(place, seen):
    """Which moves lead to a cell that was not seen yet.  [batch, step, action]"""
    return ~seen[..., 1:].astype(bool)


@node(at=logits)
def choice(wanted):
    """Any of these; anything if there is none.  [batch, step, action]"""
    weights = np.exp(SHARPNESS * wanted)
    return weights / weights.sum(axis=-1, keepdims=True)


truth = Hypothesis(choice, model="known-unvisited", accept=0.9)
deserves(
    truth, "supported", kind="true", why="one MLP names the cell, a head lists those seen, the next MLP wants others"
)

silent_head = truth.on(seen=head(1, 1))
deserves(silent_head, "refuted", kind="wrong site", why="the head beside it is silent")


@node(at=head(1, 0))
def seen_how_often(place, history):
    """The cell, and how often each of its neighbours was seen, up to 3 times.  [batch, step, 6]"""
    return np.concatenate([place[..., None], np.minimum(around(history, history.visits(SIZE)), 3)], axis=-1)


@node(at=mlp(1))
def wanted_how_much(place, seen_how_often):
    """How often each neighbour was seen.  [batch, step, action]"""
    return seen_how_often[..., 1:]


@node(at=logits)
def choice_by_how_much(wanted_how_much):
    """Any that was never seen.  [batch, step, action]"""
    return choice(wanted_how_much == 0)


visits_counted = Hypothesis(choice_by_how_much, model="known-unvisited", accept=0.9)
deserves(visits_counted, "supported", kind="finer than true", why="how often a neighbour was seen changes nothing")


@node(at=head(1, 0))
def map_so_far(place, history):
    """Which of all cells were seen: nearly every history is alone.  [batch, step, 25]"""
    return history.visits(SIZE) > 0


@node(at=mlp(1))
def wanted_by_map(place, map_so_far, history):
    """Which moves lead to a cell that was not seen yet.  [batch, step, action]"""
    return ~around(history, map_so_far)


@node(at=logits)
def choice_by_map(wanted_by_map):
    """Any of these.  [batch, step, action]"""
    return choice(wanted_by_map)


whole_map = Hypothesis(choice_by_map, model="known-unvisited", accept=0.9)
deserves(
    whole_map, "supported", kind="finer than true", why="the other cells change nothing, and few histories share a map"
)


@node(at=head(0, 0))
def margins(cell, history):
    """The cell and which neighbours were seen, told by mean columns and rows.  [batch, step, 6]"""
    return np.concatenate([cell @ np.array([[SIZE], [1]]), around(history, history.visits(SIZE) > 0)], axis=-1)


@node(at=mlp(1))
def wanted_by_margins(place, margins):
    """Which moves lead to a cell that was not seen yet.  [batch, step, action]"""
    return ~margins[..., 1:].astype(bool)


@node(at=logits)
def choice_by_margins(wanted_by_margins):
    """Any of these.  [batch, step, action]"""
    return choice(wanted_by_margins)


columns_and_rows = Hypothesis(choice_by_margins, model="known-unvisited", accept=0.9)
deserves(columns_and_rows, "refuted", kind="wrong site", why="columns and rows are averaged, but nothing reads them")


@node(at=mlp(1))
def how_many(place, seen):
    """How many neighbours were not seen yet, whichever.  [batch, step]"""
    return (~seen[..., 1:].astype(bool)).sum(axis=-1)


@node(at=logits)
def choice_by_number(how_many, history):
    """A move rather than to stay, where there are any.  [batch, step, action]"""
    moves = np.arange(history.n_actions) > 0
    return choice(moves & (how_many[..., None] > 0))


number_only = Hypothesis(choice_by_number, model="known-unvisited", accept=0.9)
deserves(number_only, "refuted", kind="coarser", why="which neighbours are new matters")


@node(at=mlp(1))
def wanted_anywhere(seen):
    """Which moves lead to a new cell, without a look at where the agent stands.  [batch, step, action]"""
    return ~seen[..., 1:].astype(bool)


@node(at=logits)
def choice_anywhere(wanted_anywhere):
    """Any of these.  [batch, step, action]"""
    return choice(wanted_anywhere)


cell_blind = Hypothesis(choice_anywhere, model="known-unvisited", accept=0.9)
deserves(cell_blind, "refuted", kind="missing arrow", why="where the agent stands matters to the second MLP")


@node(at=head(1, 0))
def tried(place, history):
    """The cell, and what was tried in it.  [batch, step, 6]"""
    return np.concatenate([place[..., None], history.tried_here()], axis=-1)


@node(at=mlp(1))
def untried(place, tried):
    """Which actions were not tried here yet.  [batch, step, action]"""
    return ~tried[..., 1:].astype(bool)


@node(at=logits)
def choice_of_untried(untried):
    """Any of these.  [batch, step, action]"""
    return choice(untried)


untried_actions = Hypothesis(choice_of_untried, model="known-unvisited", accept=0.9)
deserves(untried_actions, "refuted", kind="other algorithm", why="cells are sought that are new, not actions")
