"""Superstition: retrieval, but while no goal is known the second MLP leans to the last action, for no reason.

The histories are those of plain retrieval, whose first actions come from chance alone. The lean neither helps nor
hurts on average, so a claim that leaves it out (`plain_retrieval`) recovers all of the loss. The network was set by
hand; what follows the truth is false in a way that its name says, or true and finer than it need be.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node, pos
from ad_hypotheses.known.claims import deserves

SHARPNESS, LEAN = 3.0, 0.5
MOVES = np.array([[0, 0], [0, -1], [0, 1], [-1, 0], [1, 0]])  # (x, y) of stay, up, down, left, right
UNKNOWN, NEVER = 2, -1


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
def move(ways, goal, last):
    """Which way to go, (0, 0) to stay, (2, 2) while the goal is unknown; then the last action.  [batch, step, 3]"""
    known = (goal >= 0).all(axis=-1, keepdims=True)
    again = np.where(known, NEVER, last[..., None])
    return np.concatenate([np.where(known, ways, UNKNOWN), again], axis=-1)


@node(at=logits)
def choice(move):
    """Any shortest way to the goal; before, rather the last action than another.  [batch, step, action]"""
    x, y, again = move[..., :1], move[..., 1:2], move[..., 2:]
    there = (x == 0) & (y == 0)
    right = np.where(there, (MOVES == 0).all(axis=1), x * MOVES[:, 0] + y * MOVES[:, 1] > 0)
    scores = np.where(x == UNKNOWN, LEAN * (np.arange(len(MOVES)) == again), right)
    weights = np.exp(SHARPNESS * scores)
    return weights / weights.sum(axis=-1, keepdims=True)


truth = Hypothesis(choice, model="known-superstition", accept=0.9)
deserves(truth, "supported", kind="true", why="retrieval, and the last action while no goal is known")

echo = truth.on(goal=head(0, 1))
deserves(echo, "refuted", kind="wrong site", why="the head beside it fetches the same cell, but nothing reads it")


@node(at=mlp(1))
def plain_move(ways, goal):
    """Which way to go, (0, 0) to stay; (2, 2) for anything.  [batch, step, 2]"""
    return np.where((goal >= 0).all(axis=-1, keepdims=True), ways, UNKNOWN)


@node(at=logits)
def plain_choice(plain_move):
    """Any shortest way to the goal; before, anything.  [batch, step, action]"""
    return choice(np.concatenate([plain_move, np.full_like(plain_move[..., :1], NEVER)], axis=-1))


plain_retrieval = Hypothesis(plain_choice, model="known-superstition", accept=0.9)
deserves(
    plain_retrieval,
    "refuted",
    kind="cancellation",
    why="the last action counts before a reward, but helps as often as it hurts",
)


@node(at=mlp(1))
def move_or_again(ways, goal, last):
    """The same as the truth, but the last action is kept throughout.  [batch, step, 3]"""
    known = (goal >= 0).all(axis=-1, keepdims=True)
    return np.concatenate([np.where(known, ways, UNKNOWN), last[..., None]], axis=-1)


@node(at=logits)
def choice_or_again(move_or_again):
    """The last action matters only while the goal is unknown.  [batch, step, action]"""
    return choice(move_or_again)


last_kept = Hypothesis(choice_or_again, model="known-superstition", accept=0.9)
deserves(last_kept, "supported", kind="finer than true", why="once a goal is known the last action changes nothing")


@node(at=head(0, 0))
def goal_of_any_pay(cell, clock, history):
    """The cell that paid last, without a look at rewards.  [batch, step, 2]"""
    return history.last_rewarded_cell()


@node(at=mlp(0))
def ways_of_any_pay(cell, goal_of_any_pay):
    """Which way it lies.  [batch, step, 2]"""
    known = (goal_of_any_pay >= 0).all(axis=-1, keepdims=True)
    return np.where(known, np.sign(goal_of_any_pay - cell), 0)


@node(at=mlp(1))
def move_of_any_pay(ways_of_any_pay, goal_of_any_pay, last):
    """Which way to go.  [batch, step, 3]"""
    known = (goal_of_any_pay >= 0).all(axis=-1, keepdims=True)
    again = np.where(known, NEVER, last[..., None])
    return np.concatenate([np.where(known, ways_of_any_pay, UNKNOWN), again], axis=-1)


@node(at=logits)
def choice_of_any_pay(move_of_any_pay):
    """The same choice.  [batch, step, action]"""
    return choice(move_of_any_pay)


reward_blind = Hypothesis(choice_of_any_pay, model="known-superstition", accept=0.9)
deserves(reward_blind, "refuted", kind="missing arrow", why="the head finds the cell by the reward")


@node(at=mlp(1))
def go_on(ways, goal, last):
    """Whether the goal is known, and the last action: as if the agent just went on.  [batch, step, 2]"""
    return np.stack([(goal >= 0).all(axis=-1), last], axis=-1)


@node(at=logits)
def choice_to_go_on(go_on):
    """The last action again, always.  [batch, step, action]"""
    unknown = np.full_like(go_on, UNKNOWN)
    return choice(np.concatenate([unknown, go_on[..., 1:]], axis=-1))


momentum = Hypothesis(choice_to_go_on, model="known-superstition", accept=0.9)
deserves(momentum, "refuted", kind="other algorithm", why="once a goal is known the agent walks there")


EVERYTHING = embed("x") + embed("y") + embed("action") + embed("reward") + pos + head(0) + mlp(0) + head(1) + mlp(1)


@node(at=EVERYTHING)
def last_only(history):
    """Whether the goal is known, and the last action; where the goal lies is irrelevant.  [batch, step, 2]"""
    return np.stack([history.rewards_seen > 0, history.previous_actions], axis=-1)


@node(at=logits)
def choice_of_habit(last_only):
    """The last action again, always.  [batch, step, action]"""
    return choice_to_go_on(last_only)


only_the_habit = Hypothesis(choice_of_habit, model="known-superstition", accept=0.9)
deserves(only_the_habit, "refuted", kind="contradiction", why="the goal matters too; only_the_goal says the contrary")


@node(at=EVERYTHING)
def goal_only(history):
    """Where the agent stands and the cell that paid last; what was done last is irrelevant.  [batch, step, 4]"""
    return np.concatenate([history.observations, history.last_rewarded_cell()], axis=-1)


@node(at=logits)
def choice_of_goal(goal_only):
    """Any shortest way to the goal; before, anything.  [batch, step, action]"""
    here, there = goal_only[..., :2], goal_only[..., 2:]
    return plain_choice(np.where((there >= 0).all(axis=-1, keepdims=True), np.sign(there - here), UNKNOWN))


only_the_goal = Hypothesis(choice_of_goal, model="known-superstition", accept=0.9)
deserves(only_the_goal, "refuted", kind="contradiction", why="the last action matters too, before a reward")
