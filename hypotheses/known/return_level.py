"""What was paid so far makes bold: a head adds all rewards up, an MLP tells their level, which sharpens a fixed taste.

The network was set by hand, so this is known to be true. What follows the truth is false in a way that the name says,
or true and finer than it need be.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node
from ad_hypotheses.known.claims import deserves

SHARPNESS = 3.0
LEVELS = np.array([3, 8, 15, 24])


def level_of(total):
    """How many levels a sum of rewards reaches.  [batch, step]"""
    return (total[..., None] >= LEVELS).sum(axis=-1)


@node(at=embed("reward"))
def pay(history):
    """Whether the last pull paid.  [batch, step]"""
    return history.previous_rewards > 0


@node(at=embed("action"))
def begun(history):
    """Whether this is the first token, to which the head clings.  [batch, step]"""
    return history.previous_actions < 0


@node(at=head(0, 0))
def tally(pay, begun, history):
    """The level that the sum of all rewards reaches.  [batch, step]"""
    return level_of(history.rewards_seen)


def told_by_mlp(carried, telling=lambda value: value, meaning=lambda value: value):
    """Return the end of every claim here: the MLP tells the level from what the head carries.

    Args:
        carried: The node at the head.
        telling: What the MLP makes of its value.  [batch, step]
        meaning: Tells the level from that.  [batch, step]
    """

    @node(at=mlp(0))
    def level(carried):
        """From 0 to 4, or what it is told from.  [batch, step]"""
        return telling(carried)

    @node(at=logits)
    def choice(level, history):
        """Early arms, the more so the higher the level.  [batch, step, arm]"""
        taste = np.linspace(1.0, -1.0, history.n_actions)
        weights = np.exp(SHARPNESS * meaning(level)[..., None] / len(LEVELS) * taste)
        return weights / weights.sum(axis=-1, keepdims=True)

    return choice


truth = Hypothesis(told_by_mlp(tally), model="known-return-level", accept=0.9)
deserves(truth, "supported", kind="true", why="a head adds rewards up, the MLP tells their level")

mean_head = truth.on(tally=head(0, 1))
deserves(mean_head, "refuted", kind="wrong site", why="the other head averages rewards, but nothing reads it")

second_mlp = truth.on(level=mlp(1))
deserves(second_mlp, "refuted", kind="wrong site", why="the second MLP is silent")


@node(at=head(0, 0))
def sum_of_all(pay, begun, history):
    """The sum of all rewards.  [batch, step]"""
    return history.rewards_seen.astype(int)


exact_sum = Hypothesis(told_by_mlp(sum_of_all, level_of), model="known-return-level", accept=0.9)
deserves(exact_sum, "supported", kind="finer than true", why="the sum itself, where its level would do")


@node(at=head(0, 0))
def half(pay, begun, history):
    """Whether at least two levels are reached.  [batch, step]"""
    return level_of(history.rewards_seen) >= 2


high_or_low = Hypothesis(told_by_mlp(half, lambda high: 1 + 2 * high), model="known-return-level", accept=0.9)
deserves(high_or_low, "refuted", kind="coarser", why="there are five levels, not two")


@node(at=head(0, 0))
def tally_without_sink(pay, history):
    """The level of the sum, as if a head could add up without anything to cling to.  [batch, step]"""
    return level_of(history.rewards_seen)


no_sink = Hypothesis(told_by_mlp(tally_without_sink), model="known-return-level", accept=0.9)
deserves(
    no_sink,
    "refuted",
    kind="missing arrow",
    why="the head needs to know the first token; at equal steps all histories have it in the same place",
)


@node(at=head(0, 0))
def elapsed(pay, begun, history):
    """The level by the number of steps, as if every other pull paid.  [batch, step]"""
    return level_of(np.broadcast_to(np.arange(history.n_steps) // 2, history.actions.shape))


clock = Hypothesis(told_by_mlp(elapsed), model="known-return-level", accept=0.9)
deserves(clock, "refuted", kind="other algorithm", why="what was paid counts, not how long it took")


def paid_for(history, counts):
    """Sum of the visible rewards that count.  [batch, step]"""
    return np.cumsum(np.where(counts, history.previous_rewards, 0), axis=1).astype(int)


@node(at=head(0, 0))
def sum_of_late(pay, begun, history):
    """Rewards of the last twenty pulls.  [batch, step]"""
    total = history.rewards_seen
    return (total - np.pad(total, ((0, 0), (20, 0)))[:, :-20]).astype(int)


lately = Hypothesis(told_by_mlp(sum_of_late, level_of), model="known-return-level", accept=0.9)
deserves(lately, "refuted", kind="other algorithm", why="all rewards count, not the last twenty")


@node(at=head(0, 0))
def sum_of_early_arms(pay, begun, history):
    """Rewards of the first two arms.  [batch, step]"""
    return paid_for(history, np.isin(history.previous_actions, (0, 1)))


early_arms = Hypothesis(told_by_mlp(sum_of_early_arms, level_of), model="known-return-level", accept=0.9)
deserves(
    early_arms, "refuted", kind="other algorithm", why="all arms' rewards count, not only those of the preferred arms"
)


@node(at=head(0, 0))
def last_dozen(pay, begun, history):
    """The last twelve pulls and what each paid: not what the head carries, but few agree in them.  [batch, step]"""
    shown = np.where(history.previous_rewards > 0, 1, 2) + 2 * history.previous_actions
    shown = np.where(history.previous_actions < 0, 0, shown)
    dozen = [np.pad(shown, ((0, 0), (back, 0)))[:, : history.n_steps].astype(np.int64) for back in range(12)]
    return sum(one * 11**back for back, one in enumerate(dozen))


rhythm = Hypothesis(
    told_by_mlp(last_dozen, meaning=lambda code: np.minimum(code % 11, 4)), model="known-return-level", accept=0.9
)
deserves(rhythm, "refuted", kind="injective", why="the last twelve pulls are not looked at, but few have the same")
