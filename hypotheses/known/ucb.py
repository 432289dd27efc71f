"""An index of each arm: wins less losses, and a bonus for arms pulled seldom; the arms go by their order.

The network was set by hand, so this is known to be true. What follows the truth is false in a way that the name says,
or true and finer than it need be.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node
from ad_hypotheses.known.claims import deserves

SHARPNESS = 3.0
FLOOR = 8  # an arm that has less than an eighth of the pulls gets a bonus


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last arm, -1 at first, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=mlp(0))
def gain(last):
    """The same: 1 for the arm if it won, -1 if it lost.  [batch, step, 2]"""
    return last


def net_wins(history):
    """Wins less losses of each arm.  [batch, step, arm]"""
    return 2 * history.action_rewards().astype(int) - history.action_counts()


def deficit(history):
    """How far the pulls of each arm are below their share, in eighths.  [batch, step, arm]"""
    tokens = np.arange(1, history.n_steps + 1)[:, None]
    return np.maximum(0, tokens - FLOOR * history.action_counts())


def order(index):
    """How many arms have a greater index than each.  [batch, step, arm]"""
    return (index[..., None, :] > index[..., None]).sum(axis=-1)


def by_order(rank):
    """Return the end of every claim here: the arms go by their order.  [batch, step, arm]"""

    @node(at=logits)
    def choice(rank):
        """The first, sometimes the next.  [batch, step, arm]"""
        weights = np.exp(-SHARPNESS * rank)
        return weights / weights.sum(axis=-1, keepdims=True)

    return choice


def compared_by_mlp(carried, index=lambda value: value):
    """Return the claim that the third MLP compares the indices that are told from what it reads."""

    @node(at=mlp(2))
    def rank(carried):
        """How many arms are ahead of each.  [batch, step, arm]"""
        return order(index(carried))

    return by_order(rank)


@node(at=head(1) + mlp(1))
def indices(last, gain, history):
    """The order of the arms by twice the net wins and the deficit.  [batch, step, arm]"""
    return order(2 * net_wins(history) + deficit(history))


truth = Hypothesis(compared_by_mlp(indices, np.negative), model="known-ucb", accept=0.9)
deserves(truth, "supported", kind="true", why="both heads and the second MLP make the index, the third MLP compares")

compared_early = truth.on(indices=head(1), rank=mlp(1))
deserves(compared_early, "refuted", kind="wrong site", why="the second MLP makes the bonus only")


@node(at=head(1, 0))
def net(gain, history):
    """Wins less losses of each arm.  [batch, step, arm]"""
    return net_wins(history)


@node(at=head(1, 1) + mlp(1))
def bonus(last, history):
    """What each arm lacks in pulls.  [batch, step, arm]"""
    return deficit(history)


@node(at=mlp(2))
def rank_of_sums(net, bonus):
    """How many arms are ahead of each.  [batch, step, arm]"""
    return order(2 * net + bonus)


by_parts = Hypothesis(by_order(rank_of_sums), model="known-ucb", accept=0.9)
deserves(
    by_parts, "supported", kind="finer than true", why="net wins and deficits each exactly, where the order would do"
)

heads_swapped = by_parts.on(net=head(1, 1), bonus=head(1, 0) + mlp(1))
deserves(heads_swapped, "refuted", kind="wrong site", why="each head carries what the claim says of the other")


@node(at=head(1) + mlp(1))
def best(last, gain, history):
    """Which arms have the greatest index, the order of the others apart.  [batch, step, arm]"""
    return order(2 * net_wins(history) + deficit(history)) == 0


best_alone = Hypothesis(compared_by_mlp(best, lambda best: 1 * best), model="known-ucb", accept=0.9)
deserves(best_alone, "refuted", kind="coarser", why="the next best are pulled too, in their order")


@node(at=head(1, 0))
def order_of_net(gain, history):
    """The order of the arms by net wins.  [batch, step, arm]"""
    return order(net_wins(history))


no_bonus = Hypothesis(compared_by_mlp(order_of_net, np.negative), model="known-ucb", accept=0.9)
deserves(no_bonus, "refuted", kind="missing arrow", why="the pulls give a bonus")

no_rewards = Hypothesis(compared_by_mlp(bonus), model="known-ucb", accept=0.9)
deserves(no_rewards, "refuted", kind="missing arrow", why="the net wins count too")


@node(at=head(1) + mlp(1))
def order_of_means(last, gain, history):
    """The order of the arms by mean pay, one half before the first pull.  [batch, step, arm]"""
    pulls, wins = history.action_counts(), history.action_rewards()
    return order(np.where(pulls > 0, wins / np.maximum(pulls, 1), 0.5))


mean_pay = Hypothesis(compared_by_mlp(order_of_means, np.negative), model="known-ucb", accept=0.9)
deserves(mean_pay, "refuted", kind="other algorithm", why="the arm of the highest mean pay is often another")


@node(at=head(1) + mlp(1))
def order_of_bounds(last, gain, history):
    """The order of the arms by UCB1's index, unpulled ones first.  [batch, step, arm]"""
    pulls, wins = history.action_counts(), history.action_rewards()
    tried, total = np.maximum(pulls, 1), np.maximum(pulls.sum(axis=-1, keepdims=True), 1)
    return order(np.where(pulls > 0, wins / tried + np.sqrt(2 * np.log(total) / tried), np.inf))


true_ucb1 = Hypothesis(compared_by_mlp(order_of_bounds, np.negative), model="known-ucb", accept=0.9)
deserves(true_ucb1, "refuted", kind="other algorithm", why="the order by UCB1's own index is often another")
