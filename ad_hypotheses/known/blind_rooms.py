"""Known networks that live in dark rooms and do not look at rewards."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from ad_hypotheses.known.room_parts import Cell, embed_action, embed_cell, embed_reward
from ad_hypotheses.known.wiring import Wiring
from ad_hypotheses.sources.room_rules import EPSILON, SHARPNESS, room, serpentine
from ad_hypotheses.tasks import Task


def ngram(net: Wiring, task: Task) -> None:
    """Induction without rewards: a head of the first layer fetches the cell before, one of the second averages.

    The first step has no cell before; there the first MLP leaves it out. Decoy: the neighbour of the second head
    averages what was done anywhere, and nothing reads it.
    """
    place = room(task)
    current, last = embed_cell(net, place), embed_action(net, place)
    waves, clock = net.waves(), net.clock()
    before, left = Cell.space(net, "before", place), Cell.space(net, "left", place)
    shares, anywhere = net.space("shares here", place.n_actions), net.space("shares anywhere", place.n_actions)
    net.look_at_previous(0, 0, waves)
    net.move(0, 0, current.moved_to(before))
    for shown, copied in ((before.x, left.x), (before.y, left.y)):
        for number in range(place.size):
            net.when(0, [shown[number]], {copied[number]: 1.0}, none_of=[clock[1]])
    net.look_at_all(1, 0, clock, left.pairs, current.pairs, needed=2)
    for head, to in ((0, shares), (1, anywhere)):
        net.move(1, head, [(last, to, np.eye(place.n_actions))])
    net.unembed(shares, SHARPNESS * np.eye(place.n_actions))


def schedule(net: Wiring, task: Task) -> None:
    """The first MLP looks up the way, the second how firmly to walk it in this episode, which the position tells.

    Decoy: a head of the first layer averages the pay, and nothing reads it.
    """
    place = room(task)
    current, paid = embed_cell(net, place), embed_reward(net)
    episode, route = net.space("episode", len(EPSILON)), net.space("route", place.n_actions)
    score, pay = net.space("score", place.n_actions), net.space("mean pay")
    numbers = np.minimum(np.arange(net.model.shape.n_ctx) // place.horizon, len(EPSILON) - 1)
    net.positions(episode, np.eye(len(EPSILON))[numbers])
    for x, y in product(range(place.size), repeat=2):
        net.when(0, [current.x[x], current.y[y]], {route[int(serpentine(place.size)[x, y])]: 1.0})
    for action, number in product(range(place.n_actions), range(len(EPSILON))):
        odds = 1 + place.n_actions * (1 - EPSILON[number]) / EPSILON[number]
        net.when(1, [route[action], episode[number]], {score[action]: math.log(odds)})
    net.move(0, 0, [(paid, pay, np.eye(1))])
    net.unembed(score, np.eye(place.n_actions))


def unvisited(net: Wiring, task: Task) -> None:
    """The first MLP names the cell, a head of the second layer averages all that were seen, the second MLP compares.

    Decoy: a head of the first layer averages columns and rows, which do not tell what cells were seen.
    """
    place = room(task)
    current, cells = embed_cell(net, place), place.square.n_cells
    cell, seen, score = net.space("cell", cells), net.space("seen", cells), net.space("score", place.n_actions)
    for number, (x, y) in enumerate(place.square.all_positions.tolist()):
        net.when(0, [current.x[x], current.y[y]], {cell[number]: 1.0})
    net.move(1, 0, [(cell, seen, np.eye(cells))])
    for number, action in product(range(cells), range(place.n_actions)):
        target = int(place.square.move(np.array([number]), np.array([action]))[0])
        if target != number:  # the smallest share of a cell that was seen is 1 / n_ctx
            reads = {cell[number]: 1.0, seen[target]: -float(net.model.shape.n_ctx)}
            net.neuron(1, reads, -0.5, {score[action]: 2.0})
    net.move(0, 0, current.moved_to(Cell.space(net, "mean", place)))
    net.unembed(score, SHARPNESS * np.eye(place.n_actions))
