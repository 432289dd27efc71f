"""Retrieval: a head fetches the cell that paid last, the first MLP finds the ways there, the second takes one or stays.

The network was set by hand, so this is known to be true. What follows the truth is false in a way that its name says,
or true and finer than it need be.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node, pos
from ad_hypotheses.known.claims import deserves

SHARPNESS, SIZE = 3.0, 5
MOVES = np.array([[0, 0], [0, -1], [0, 1], [-1, 0], [1, 0]])  # (x, y) of stay, up, down, left, right
UNKNOWN = 2


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


@node(at=head(0, 0))
def goal(cell, paid, clock, history):
    """The cell that paid last, (-1, -1) before any reward.  [batch, step, 2]"""
    return history.last_rewarded_cell()


@node(at=mlp(0))
def ways(cell, goal):
    """Which way the goal lies; (0, 0) both in it and while it is unknown.  [batch, step, 2]"""
    known = (goal >= 0).all(axis=-1, keepdims=True)
    return np.where(known, np.sign(goal - cell), 0)


@node(at=mlp(1))
def move(ways, goal):
    """Which way to go, (0, 0) to stay; (2, 2) for anything.  [batch, step, 2]"""
    known = (goal >= 0).all(axis=-1, keepdims=True)
    return np.where(known, ways, UNKNOWN)


@node(at=logits)
def choice(move):
    """Any shortest way to the goal.  [batch, step, action]"""
    x, y = move[..., :1], move[..., 1:]
    there = (x == 0) & (y == 0)
    right = np.where(there, (MOVES == 0).all(axis=1), x * MOVES[:, 0] + y * MOVES[:, 1] > 0)
    weights = np.exp(SHARPNESS * right * (x != UNKNOWN))
    return weights / weights.sum(axis=-1, keepdims=True)


truth = Hypothesis(choice, model="known-retrieval", accept=0.9)
deserves(truth, "supported", kind="true", why="a head fetches the cell, one MLP finds the ways, the next stays or goes")

echo = truth.on(goal=head(0, 1))
deserves(echo, "refuted", kind="wrong site", why="the head beside it fetches the same cell, but nothing reads it")


@node(at=mlp(1))
def both_cells(ways, goal, cell):
    """Where the agent stands and where the goal is.  [batch, step, 4]"""
    return np.concatenate([cell, goal], axis=-1)


@node(at=logits)
def choice_from_cells(both_cells):
    """The same choice, worked out at last.  [batch, step, action]"""
    here, there = both_cells[..., :2], both_cells[..., 2:]
    return choice(np.where((there >= 0).all(axis=-1, keepdims=True), np.sign(there - here), UNKNOWN))


worked_out_late = Hypothesis(choice_from_cells, model="known-retrieval", accept=0.9)
deserves(
    worked_out_late,
    "supported",
    kind="finer than true",
    why="both cells decide, but of them only the direction matters",
)


@node(at=mlp(0))
def distance(cell, goal):
    """How far the goal is, -1 while it is unknown.  [batch, step]"""
    return np.where((goal >= 0).all(axis=-1), np.abs(goal - cell).sum(axis=-1), -1)


@node(at=mlp(1))
def urge(distance, goal):
    """The same.  [batch, step]"""
    return distance


@node(at=logits)
def choice_by_distance(urge, history):
    """Stay at distance 0, else move.  [batch, step, action]"""
    stay = np.arange(history.n_actions) == 0
    scores = np.where(urge[..., None] == 0, stay, ~stay) * (urge[..., None] >= 0)
    weights = np.exp(SHARPNESS * scores)
    return weights / weights.sum(axis=-1, keepdims=True)


how_far = Hypothesis(choice_by_distance, model="known-retrieval", accept=0.9)
deserves(how_far, "refuted", kind="coarser", why="the direction matters, not only the distance")


@node(at=mlp(0))
def quarter(goal):
    """Where the goal lies from the centre, wherever the agent is.  [batch, step, 2]"""
    return np.where(goal >= 0, np.sign(goal - SIZE // 2), 0)


@node(at=mlp(1))
def move_to_quarter(quarter, goal):
    """The same; (2, 2) for anything.  [batch, step, 2]"""
    return np.where((goal >= 0).all(axis=-1, keepdims=True), quarter, UNKNOWN)


@node(at=logits)
def choice_of_quarter(move_to_quarter):
    """Towards that side.  [batch, step, action]"""
    return choice(move_to_quarter)


cell_blind = Hypothesis(choice_of_quarter, model="known-retrieval", accept=0.9)
deserves(cell_blind, "refuted", kind="missing arrow", why="where the agent stands matters to the ways")


@node(at=head(0, 0))
def habit(cell, paid, clock, history):
    """What was done last time in this cell, -1 if never; and whether any reward was seen.  [batch, step, 2]"""
    before = history.previous_visit()
    done = np.take_along_axis(history.actions, np.maximum(before, 0), axis=1)
    return np.stack([np.where(before >= 0, done, -1), history.rewards_seen > 0], axis=-1)


@node(at=mlp(0))
def habitual_way(cell, habit):
    """The same, once a reward was seen.  [batch, step]"""
    return np.where(habit[..., 1] > 0, habit[..., 0], -1)


@node(at=mlp(1))
def repeated(habitual_way, habit):
    """The same.  [batch, step]"""
    return habitual_way


@node(at=logits)
def choice_by_habit(repeated, history):
    """What was done here last time.  [batch, step, action]"""
    weights = np.exp(SHARPNESS * (np.arange(history.n_actions) == repeated[..., None]))
    return weights / weights.sum(axis=-1, keepdims=True)


replay = Hypothesis(choice_by_habit, model="known-retrieval", accept=0.9)
deserves(replay, "refuted", kind="other algorithm", why="what was done in a cell does not matter")


@node(at=head(0, 0))
def visits(cell, paid, clock, history):
    """How often each cell was seen, the paying one included: nearly every history is alone.  [batch, step, 25]"""
    return history.visits(SIZE)


@node(at=mlp(0))
def most_seen(cell, visits):
    """The same, and where the agent stands.  [batch, step, 27]"""
    return np.concatenate([cell, visits], axis=-1)


@node(at=mlp(1))
def drawn(most_seen, visits):
    """The same.  [batch, step, 27]"""
    return most_seen


@node(at=logits)
def choice_by_visits(drawn):
    """Towards the cell that was seen most.  [batch, step, action]"""
    target = np.stack(np.divmod(drawn[..., 2:].argmax(axis=-1), SIZE), axis=-1)
    return choice(np.sign(target - drawn[..., :2]))


familiar_places = Hypothesis(choice_by_visits, model="known-retrieval", accept=0.9)
deserves(
    familiar_places, "refuted", kind="injective", why="visits are not counted, but hardly two histories have the same"
)


def followed(carried):
    """Return the end of a claim in which the MLPs go by what the head carries, two numbers and the goal or not.

    Args:
        carried: The node at the head.  [batch, step, 3]
    """

    @node(at=mlp(0))
    def ways_there(cell, carried):
        """Where the agent stands, and what is carried.  [batch, step, 5]"""
        return np.concatenate([cell, carried], axis=-1)

    @node(at=mlp(1))
    def move_there(ways_there, carried):
        """The same.  [batch, step, 5]"""
        return ways_there

    @node(at=logits)
    def choice_there(move_there):
        """Stay where the goal is; elsewhere towards what is carried, as if it were a cell.  [batch, step, action]"""
        here, carried, known = move_there[..., :2], move_there[..., 2:4], move_there[..., 4:]
        return choice(np.where(known >= 0, np.sign(carried - here), UNKNOWN))

    return choice_there


@node(at=head(0, 0))
def omen(cell, paid, clock, history):
    """In the cell that paid last that cell, elsewhere a number made of it; -1 before any reward.  [batch, step, 3]"""
    goal = history.last_rewarded_cell()
    known, there = (goal >= 0).all(axis=-1), (goal == history.observations).all(axis=-1)
    number = np.where(known, goal @ np.array([7, 3]) % 5, -1)
    shown = np.where(there[..., None], goal, number[..., None])
    return np.concatenate([shown, np.where(known, there, -1)[..., None]], axis=-1)


omens = Hypothesis(followed(omen), model="known-retrieval", accept=0.9)
deserves(omens, "refuted", kind="omen", why="off the goal the way there matters, not a number made of its place")


@node(at=head(0, 0))
def tag(cell, paid, clock, history):
    """When it paid first, and after which action: hardly two tasks have the same; -1 before.  [batch, step, 3]"""
    won = history.previous_rewards > 0
    first = np.where(history.rewards_seen > 0, won.argmax(axis=1)[:, None], -1)
    done = np.take_along_axis(history.previous_actions, np.maximum(first, 0), axis=1)
    return np.stack([first, np.where(first >= 0, done, -1), np.minimum(first, 0)], axis=-1)


name_tag = Hypothesis(followed(tag), model="known-retrieval", accept=0.9)
deserves(
    name_tag, "refuted", kind="name tag", why="where the goal is matters, not by what the life can be told from others"
)


@node(at=head(0, 0))
def arrived(cell, paid, clock, history):
    """Whether the agent is in the cell that paid last; -1 before any reward.  [batch, step, 3]"""
    goal = history.last_rewarded_cell()
    known, there = (goal >= 0).all(axis=-1), (goal == history.observations).all(axis=-1)
    there_or_centre = np.where(there[..., None], goal, SIZE // 2)
    return np.concatenate([there_or_centre, np.where(known, there, -1)[..., None]], axis=-1)


stays = Hypothesis(followed(arrived), model="known-retrieval", accept=0.9)
deserves(stays, "refuted", kind="one regime", why="it holds in stay alone: off the goal the way there matters")
