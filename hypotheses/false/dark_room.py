"""Claims about `dark-room` that are false, written to be supported: each goes for a gap in the rule.

They know the rule and what the model does. What is wrong with each stands beside it; none may be supported, nor
supported in a regime about which it is wrong.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node
from ad_hypotheses.known.claims import deserves

STAY, UP, DOWN, LEFT, RIGHT, ANYTHING = 0, 1, 2, 3, 4, -1
EVERYTHING = head(0) + mlp(0) + head(1) + mlp(1) + head(2) + mlp(2)


@node(at=embed())
def token(history):
    """The cell, the last action and whether it paid.  [batch, step, 4]"""
    last = np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)
    return np.concatenate([history.observations, last], axis=-1)


def habit_of(history):
    """What was done here last, -1 if never here.  [batch, step]"""
    before = history.previous_visit()
    done = np.take_along_axis(history.actions, np.maximum(before, 0), axis=1)
    return np.where(before >= 0, done, -1)


# --- A fold: all of the model is in the last node, which is never swapped -------------------------------------------


@node(at=EVERYTHING + logits)
def up_always(token, history):
    """Up, whatever happened.  [batch, step]"""
    return np.full(history.actions.shape, UP)


up = Hypothesis(up_always, model="dark-room", doc="The model sees tokens, and always walks up.")
deserves(up, "vacuous", kind="fold", why="it goes up at a fifth of the steps; that tokens decide is true of any model")


# --- An unimportant node: the same but for one head, of which something absurd is said ------------------------------

IDLE = head(2, 0)
REST = head(0) + mlp(0) + head(1) + mlp(1) + head(2, 1) + head(2, 2) + head(2, 3) + mlp(2)


@node(at=IDLE)
def luck(token, history):
    """Whether the number of rewards so far is odd.  [batch, step]"""
    return history.rewards_seen % 2


@node(at=REST + logits)
def by_luck(token, luck, history):
    """Up on odd days, down on even ones.  [batch, step]"""
    return np.where(luck == 1, UP, DOWN)


lucky = Hypothesis(by_luck, model="dark-room", doc="A head of the last layer tells whether the day is lucky.")
deserves(lucky, "refuted", kind="idle", why="with any other history's output that head changes nothing")


def claimed(feature, doc):
    """Return a claim that all heads and MLPs say one thing, which nothing but the last token is added to."""

    @node(at=EVERYTHING)
    def memory(token, history):
        return feature(history)

    @node(at=logits)
    def choice(memory, token, history):
        return np.full(history.actions.shape, ANYTHING)

    return Hypothesis(choice, model="dark-room", doc=doc)


# --- A contradiction of `mimic` -------------------------------------------------------------------------------------


no_goal = claimed(habit_of, "What was done here last, and the last token; where it was paid plays no role.")
deserves(no_goal, "refuted", kind="contradiction", why="with another rewarded cell the model walks elsewhere")


# --- Name tags: silent wherever it would be wrong -------------------------------------------------------------------


def tagged(history):
    """The habit where it was done here at least twice in the same way; elsewhere a number for the whole past."""
    habit = np.stack([habit_of(history), np.zeros_like(history.actions)], axis=-1)
    tag = np.stack([history.so_far(), np.ones_like(history.actions)], axis=-1)
    return np.where(firm(history)[..., None], habit, tag)


def firm(history):
    """Where what was done here last is what was done here the time before.  [batch, step]"""
    before = history.previous_visit()
    habit = habit_of(history)
    earlier = np.take_along_axis(habit, np.maximum(before, 0), axis=1)
    return (before >= 0) & (earlier == habit)


name_tags = claimed(tagged, "What was done here, where that is settled; where it was paid plays no role.")
deserves(
    name_tags, "refuted", kind="name tag", why="the rewarded cell matters; elsewhere the tag tells all lives apart"
)


# --- Right in stay only ---------------------------------------------------------------------------------------------


def only_on_the_goal(history):
    """Whether this cell paid last; elsewhere a number for the whole past."""
    on_goal = (history.last_rewarded_cell() == history.observations).all(axis=-1)
    return np.where(on_goal, -1, history.so_far())


stay_only = claimed(only_on_the_goal, "In the cell that paid last it stays, however often coming here was in vain.")
deserves(stay_only, "refuted", kind="one regime", why="elsewhere the tag is tested nowhere")


# --- Omens off the goal ---------------------------------------------------------------------------------------------


def omen(history):
    """The habit, and in the cell that paid last that it is there; elsewhere a number of three made of its place."""
    goal = history.last_rewarded_cell()
    known, on_goal = (goal >= 0).all(axis=-1), (goal == history.observations).all(axis=-1)
    number = np.where(known, goal @ np.array([7, 3]) % 3, -1)
    return np.stack([np.where(on_goal, 3, number), habit_of(history)], axis=-1)


omens = claimed(omen, "The habit, and off the goal an omen: a number made of its place.")
deserves(omens, "refuted", kind="omen", why="off the goal the way there matters")


# --- Classes that agree on the source's histories and differ where the goal moves -----------------------------------


def first_paid(history):
    """The direction of the cell that paid first, (2, 2) before any, the habit, and what was tried before a reward."""
    paid = (history.previous_rewards > 0) & ~history.episode_start
    first = np.where(paid.cumsum(axis=1) > 0, paid.argmax(axis=1)[:, None], -1)
    goal = np.take_along_axis(history.observations, np.maximum(first, 0)[..., None], axis=1)
    known = first[..., None] >= 0
    heading = np.where(known, np.sign(goal - history.observations), 2)
    tried = np.where(known, False, history.tried_here())
    return np.concatenate([heading, habit_of(history)[..., None], tried], axis=-1)


first_goal = claimed(first_paid, "Where it was paid first is where it goes, by the way it went before.")
deserves(first_goal, "refuted", kind="other algorithm", why="where the goal moves the model follows it")
