"""Known networks that live in dark rooms, and how each is wired: those that look at rewards first."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from ad_hypotheses.known.network import Known
from ad_hypotheses.known.room_parts import (
    RoomCell,
    begins,
    compare_cells,
    embed_action,
    embed_cell,
    embed_reward,
    look_for_reward,
    walk_or_stay,
)
from ad_hypotheses.known.wiring import Space, Wiring
from ad_hypotheses.sources.room_rules import EPSILON, SHARPNESS, STAY, WANDER, room, serpentine, swirl
from ad_hypotheses.tasks import Task


def copy_rewarded(net: Wiring, task: Task) -> None:
    """Induction: a head of the first layer fetches the cell before, one of the second the action that paid there.

    Token s + 1 shows what was done at step s and whether it paid, but not where. Once the first head has added that,
    the first MLP keeps it where it paid: a *lesson*. The second head compares all lessons with where the agent stands.
    Decoy: its neighbour does the same, and nothing reads it.
    """
    place = room(task)
    current, last, paid = embed_cell(net, place), embed_action(net, place), embed_reward(net)
    waves, clock = net.waves(), net.clock()
    before, lesson = RoomCell.space(net, "before", place), RoomCell.space(net, "lesson", place)
    habit, echo = net.space("habit", place.n_actions), net.space("echo of the habit", place.n_actions)
    net.look_at_previous(0, 0, waves)
    net.move(0, 0, current.moved_to(before))
    for shown, copied in ((before.x, lesson.x), (before.y, lesson.y)):
        for number in range(place.size):
            net.when(0, [shown[number], paid[0]], {copied[number]: 1.0})
    for head, to in ((0, habit), (1, echo)):
        net.look_at_latest(1, head, clock, lesson.pairs, current.pairs, needed=2)
        net.move(1, head, [(last, to, np.eye(place.n_actions))])
    net.unembed(habit, SHARPNESS * np.eye(place.n_actions))


def retrieval(net: Wiring, task: Task) -> None:
    """A head fetches the cell that paid last, the first MLP the ways there, the second whether to stay.

    Decoy: the head beside it fetches the same, and nothing reads it.
    """
    known, flags, score = _retrieve(net, task)
    walk_or_stay(net, 1, known, flags, score)


def superstition(net: Wiring, task: Task) -> None:
    """Retrieval, but while no goal is known the second MLP favours the last action."""
    known, flags, score = _retrieve(net, task)
    walk_or_stay(net, 1, known, flags, score)
    last = embed_action(net, room(task))
    for action in range(task.n_actions):
        net.when(1, [last[action]], {score[action]: WANDER}, none_of=[known[0]])


def _retrieve(net: Wiring, task: Task) -> tuple[Space, Space, Space]:
    place = room(task)
    current, paid, clock, start = embed_cell(net, place), embed_reward(net), net.clock(), begins(net, place)
    known, flags = net.space("goal known"), net.space("ways", place.n_actions)
    goal, echo, score = (
        RoomCell.space(net, "goal", place),
        RoomCell.space(net, "echo", place),
        net.space("score", place.n_actions),
    )
    for head, moves in ((0, [*current.moved_to(goal), (paid, known, np.eye(1))]), (1, current.moved_to(echo))):
        look_for_reward(net, 0, head, clock, paid, start)
        net.move(0, head, moves)
    compare_cells(net, 0, current, goal, flags, if_known=(known[0],))
    net.unembed(score, SHARPNESS * np.eye(place.n_actions))
    return known, flags, score


def gate(net: Wiring, task: Task) -> None:
    """Marks' gate: one head fetches a cell, another says whether it paid; until then, the second MLP drifts.

    Before any reward the first head fetches the first cell, the centre, and the first MLP finds the ways there: only
    the second MLP, which sees the gate, leaves them aside. Decoy: a head of the second layer averages the pay.
    """
    place = room(task)
    current, paid, clock, start = embed_cell(net, place), embed_reward(net), net.clock(), begins(net, place)
    goal, known, flags = RoomCell.space(net, "goal", place), net.space("gate"), net.space("ways", place.n_actions)
    score, pay = net.space("score", place.n_actions), net.space("mean pay")
    for head, moves in ((0, current.moved_to(goal)), (1, [(paid, known, np.eye(1))])):
        look_for_reward(net, 0, head, clock, paid, start)
        net.move(0, head, moves)
    compare_cells(net, 0, current, goal, flags, if_known=())
    walk_or_stay(net, 1, known, flags, score)
    for x, y in product(range(place.size), repeat=2):
        liked = {score[action]: WANDER for action in np.flatnonzero(swirl(place.size)[x, y]).tolist()}
        net.when(1, [current.x[x], current.y[y]], liked, none_of=[known[0]])
    net.move(1, 0, [(paid, pay, np.eye(1))])
    net.unembed(score, SHARPNESS * np.eye(place.n_actions))


def reflex(net: Wiring, task: Task) -> None:
    """The first MLP sees the last token: after a reward it stays, else it goes on.

    Decoys that nothing reads: the second MLP does the same, a head of the first layer fetches the last reward's cell.
    """
    place = room(task)
    current, last, paid = embed_cell(net, place), embed_action(net, place), embed_reward(net)
    score, echo = net.space("score", place.n_actions), net.space("echo of the score", place.n_actions)
    for layer, to in ((0, score), (1, echo)):
        net.when(layer, [paid[0]], {to[STAY]: 1.0})
        for action in range(1, place.n_actions):
            net.when(layer, [last[action]], {to[action]: 1.0}, none_of=[paid[0]])
    look_for_reward(net, 0, 0, net.clock(), paid, begins(net, place))
    net.move(0, 0, current.moved_to(RoomCell.space(net, "goal", place)))
    net.unembed(score, SHARPNESS * np.eye(place.n_actions))


def ngram(net: Wiring, task: Task) -> None:
    """Induction without rewards: a head of the first layer fetches the cell before, one of the second averages.

    The first step has no cell before; there the first MLP leaves it out. Decoy: the neighbour of the second head
    averages what was done anywhere, and nothing reads it.
    """
    place = room(task)
    current, last = embed_cell(net, place), embed_action(net, place)
    waves, clock = net.waves(), net.clock()
    before, left = RoomCell.space(net, "before", place), RoomCell.space(net, "left", place)
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
    net.move(0, 0, current.moved_to(RoomCell.space(net, "mean", place)))
    net.unembed(score, SHARPNESS * np.eye(place.n_actions))


ROOMS = (
    Known(
        "copy-rewarded", "copy-rewarded",
        "a head fetches the cell before, an MLP keeps it where it paid, a head copies what paid in this cell",
        copy_rewarded,
    ),
    Known(
        "retrieval", "retrieval",
        "a head fetches the cell that paid last, an MLP finds the ways there, another takes one or stays",
        retrieval,
    ),
    Known(
        "superstition", "superstition",
        "retrieval, but before a reward the second MLP leans to the last action",
        superstition, lives="retrieval",
    ),
    Known(
        "gate", "gate",
        "a head tells whether a rewarded cell is known; until then an MLP drifts, from then on it walks there",
        gate,
    ),
    Known(
        "reflex", "reflex", "an MLP sees the last token, stays after a reward and else goes on", reflex,
    ),
    Known(
        "ngram", "ngram",
        "a head fetches the cell before, another averages what was done in this cell",
        ngram,
    ),
    Known(
        "schedule", "schedule",
        "an MLP looks up a fixed way, another walks it the more firmly the later the episode",
        schedule,
    ),
    Known(
        "unvisited", "unvisited",
        "an MLP names the cell, a head averages all that were seen, an MLP finds neighbours that were not",
        unvisited,
    ),
)  # fmt: skip
