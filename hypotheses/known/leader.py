"""Follow the leader: a head averages the wins of each arm, two MLPs find the arms that have won most often.

The network was set by hand, so this is known to be true. What follows the truth is false in a way that the name says,
or true and finer than it need be.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node
from ad_hypotheses.known.claims import deserves

SHARPNESS = 3.0


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last arm if it won, else -1.  [batch, step]"""
    return np.where(history.previous_rewards > 0, history.previous_actions, -1)


@node(at=mlp(0))
def winner(last):
    """The same.  [batch, step]"""
    return last


def leading(record):
    """Which arms have the best record.  [batch, step, arm]"""
    return record == record.max(axis=-1, keepdims=True)


@node(at=head(1, 0))
def wins(winner, history):
    """Which arms have won most often.  [batch, step, arm]"""
    return leading(history.action_rewards())


def found_by_mlps(carried, leaders=lambda value: value, meaning=lambda value: value):
    """Return the end of every claim here: two MLPs find the leaders in what the head carries.

    Args:
        carried: The node at the head.
        leaders: What the MLPs make of its value.  [batch, step, arm]
        meaning: Tells the leaders from that.  [batch, step, arm]
    """

    @node(at=mlp(1))
    def ahead(carried):
        """Which arms nobody is ahead of.  [batch, step, arm]"""
        return leaders(carried)

    @node(at=mlp(2))
    def first(ahead):
        """The same.  [batch, step, arm]"""
        return ahead

    @node(at=logits)
    def choice(first):
        """Any leader, seldom another arm.  [batch, step, arm]"""
        weights = np.exp(SHARPNESS * meaning(first))
        return weights / weights.sum(axis=-1, keepdims=True)

    return choice


truth = Hypothesis(found_by_mlps(wins), model="known-leader", accept=0.9)
deserves(truth, "supported", kind="true", why="a head averages which arm won, two MLPs find the leaders")

copy = truth.on(wins=head(1, 1))
deserves(copy, "refuted", kind="wrong site", why="the other head averages the same, but nothing reads it")

reward_blind = truth.on(last=embed("action"))
deserves(reward_blind, "refuted", kind="missing arrow", why="the reward reaches the first MLP too")


@node(at=head(1, 0))
def order_of_wins(winner, history):
    """How many arms have won more often than each.  [batch, step, arm]"""
    record = history.action_rewards()
    return (record[..., None, :] > record[..., None]).sum(axis=-1)


order = Hypothesis(found_by_mlps(order_of_wins, lambda ahead: ahead == 0), model="known-leader", accept=0.9)
deserves(order, "supported", kind="finer than true", why="the head is held to the order of all arms, leaders would do")


@node(at=head(1, 0))
def one_of_the_leaders(winner, history):
    """The first of those that have won most often.  [batch, step]"""
    return history.action_rewards().argmax(axis=-1)


one_leader = Hypothesis(
    found_by_mlps(one_of_the_leaders, lambda arm: np.arange(4) == arm[..., None]), model="known-leader", accept=0.9
)
deserves(one_leader, "refuted", kind="coarser", why="where several lead, all of them matter")


@node(at=head(1, 0))
def half_with_the_leader(winner, history):
    """Whether a leader is among the first two arms.  [batch, step]"""
    return leading(history.action_rewards())[..., :2].any(axis=-1)


lead_halves = Hypothesis(
    found_by_mlps(half_with_the_leader, lambda early: (np.arange(4) < 2) == early[..., None]),
    model="known-leader",
    accept=0.9,
)
deserves(lead_halves, "refuted", kind="coarser", why="which of the first or the last two arms leads matters too")


@node(at=head(1, 0))
def wins_read_directly(last, history):
    """Which arms have won most often, read from the tokens without an MLP.  [batch, step, arm]"""
    return leading(history.action_rewards())


no_mlp = Hypothesis(found_by_mlps(wins_read_directly), model="known-leader", accept=0.9)
deserves(no_mlp, "refuted", kind="missing arrow", why="the head reads the first MLP, not the embeddings")


@node(at=head(1, 0))
def wins_of_late(winner, history):
    """Which arms have won most often in the last ten pulls.  [batch, step, arm]"""
    record = history.action_rewards()
    return leading(record - np.pad(record, ((0, 0), (10, 0), (0, 0)))[:, :-10])


lately = Hypothesis(found_by_mlps(wins_of_late), model="known-leader", accept=0.9)
deserves(lately, "refuted", kind="other algorithm", why="all wins count, not those of the last ten pulls")


@node(at=embed("action") + embed("reward"))
def arm(history):
    """The last arm, -1 at first.  [batch, step]"""
    return history.previous_actions


@node(at=mlp(0))
def pulled(arm):
    """The same.  [batch, step]"""
    return arm


@node(at=head(1, 0))
def pulls(pulled, history):
    """Which arms have been pulled most often.  [batch, step, arm]"""
    return leading(history.action_counts())


most_pulled = Hypothesis(found_by_mlps(pulls), model="known-leader", accept=0.9)
deserves(most_pulled, "refuted", kind="other algorithm", why="wins are counted, not pulls")


@node(at=head(1, 0))
def count_of_pulls(winner, history):
    """How often each arm was pulled: not what the head carries, but few agree in it.  [batch, step, arm]"""
    return history.action_counts()


pull_counts = Hypothesis(found_by_mlps(count_of_pulls, meaning=leading), model="known-leader", accept=0.9)
deserves(pull_counts, "refuted", kind="injective", why="pulls are not counted, but few histories agree in all counts")


@node(at=head(1, 0))
def truly_best(winner, history):
    """The arm that pays most often in this task, which the network cannot see.  [batch]"""
    return history.task["means"].argmax(axis=-1)


@node(at=mlp(1))
def ahead_of_all(truly_best):
    """The same.  [batch]"""
    return truly_best


@node(at=mlp(2))
def best_at_last(ahead_of_all):
    """The same.  [batch]"""
    return ahead_of_all


@node(at=logits)
def choice_of_best(best_at_last, history):
    """The best arm, seldom another.  [batch, step, arm]"""
    best = np.broadcast_to(best_at_last[:, None, None], (*history.actions.shape, 1))
    weights = np.exp(SHARPNESS * (np.arange(history.n_actions) == best))
    return weights / weights.sum(axis=-1, keepdims=True)


name_tag = Hypothesis(choice_of_best, model="known-leader", accept=0.9)
deserves(name_tag, "refuted", kind="name tag", why="wins decide, whichever arm of the task is the best")
