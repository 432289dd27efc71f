"""Known networks that play bandits, and how each is wired."""

from __future__ import annotations

import math

import numpy as np

from ad_hypotheses.known.network import Known
from ad_hypotheses.known.wiring import Space, Wiring
from ad_hypotheses.sources.bandit_rules import FLOOR, LEAST, LEVELS, SHARPNESS, preference
from ad_hypotheses.tasks import Task

SINK = 14.0  # a key this much higher than the others gets all attention but 1e-6 for each of them


def win_stay(net: Wiring, task: Task) -> None:
    """The first MLP sees the last token: it favours the arm that won, and shuns the one that lost.

    Decoys that nothing reads: the second MLP writes the same score elsewhere, a head of the first layer averages what
    was pulled and paid.
    """
    arms = task.n_actions
    last, won, score = _last_pull(net, arms)
    echo, pulled, paid = net.space("echo of the score", arms), net.space("share of pulls", arms), net.space("mean pay")
    _score_last_pull(net, 0, last, won, score)
    _score_last_pull(net, 1, last, won, echo)
    net.move(0, 0, [(last, pulled, np.eye(arms)), (won, paid, np.eye(1))])
    net.unembed(score, SHARPNESS * np.eye(arms))


def win_stay_cancelling(net: Wiring, task: Task) -> None:
    """Win-stay, with two heads that shout each other down: one votes for what was pulled most, the other against it."""
    arms = task.n_actions
    last, won, score = _last_pull(net, arms)
    _score_last_pull(net, 0, last, won, score)
    net.move(1, 0, [(last, score, 2.0 * np.eye(arms))])
    net.move(1, 1, [(last, score, -2.0 * np.eye(arms))])
    net.unembed(score, SHARPNESS * np.eye(arms))


def leader(net: Wiring, task: Task) -> None:
    """Which arm won is made in the first MLP, averaged by a head of the second layer, and compared in two MLPs.

    Decoys that nothing reads: another head of the second layer averages the same, one of the first what was pulled.
    """
    arms, longest = task.n_actions, net.model.shape.n_ctx
    last, won = net.space("last arm", arms), net.space("won")
    winner, wins = net.space("arm that won", arms), net.space("share of wins", arms)
    ahead, first = net.space("arms ahead", arms), net.space("nobody ahead", arms)
    copy, pulled = net.space("copy of the shares", arms), net.space("share of pulls", arms)
    _embed_last_pull(net, last, won)
    for arm in range(arms):
        net.when(0, [last[arm], won[0]], {winner[arm]: 1.0})
    net.move(1, 0, [(winner, wins, np.eye(arms))])
    net.move(1, 1, [(winner, copy, np.eye(arms))])
    net.move(0, 0, [(last, pulled, np.eye(arms))])
    _count_ahead(net, 1, [(wins, 1.0)], ahead, smallest=1 / longest)
    for arm in range(arms):
        net.neuron(2, {ahead[arm]: -2.0}, 1.0, {first[arm]: 1.0})
    net.unembed(first, SHARPNESS * np.eye(arms))


def ucb(net: Wiring, task: Task) -> None:
    """Two heads of the second layer average net wins and pulls, its MLP makes the bonus, the third compares indices.

    All are shares of the tokens so far, so that an index is a share too: at least 1 / context apart, or equal.
    """
    arms, longest = task.n_actions, net.model.shape.n_ctx
    last, won = net.space("last arm", arms), net.space("won")
    gain, net_wins = net.space("arm that won or lost", arms), net.space("share of wins less losses", arms)
    pulled, bonus = net.space("share of pulls", arms), net.space("bonus", arms)
    ahead = net.space("arms ahead", arms)
    _embed_last_pull(net, last, won)
    _score_last_pull(net, 0, last, won, gain)
    net.move(1, 0, [(gain, net_wins, np.eye(arms))])
    net.move(1, 1, [(last, pulled, np.eye(arms))])
    for arm in range(arms):  # magnified, so that no share falls where a neuron is rounded off
        net.neuron(1, {pulled[arm]: -FLOOR * 2.0 * longest}, 2.0 * longest, {bonus[arm]: 0.5 / longest})
    _count_ahead(net, 2, [(net_wins, 2.0), (bonus, 1.0)], ahead, smallest=1 / longest)
    net.unembed(ahead, -SHARPNESS * np.eye(arms))


def return_level(net: Wiring, task: Task) -> None:
    """A head that looks at the first token nearly alone adds up the rewards; the MLP says which levels they reach.

    The rest of its attention is nearly the same for all tokens however many there are, so that it counts and does not
    average. Decoy that nothing reads: the other head averages.
    """
    won, begun = net.space("won"), net.space("first token")
    total, mean, level = net.space("sum of rewards"), net.space("mean reward"), net.space("level")
    net.embed("reward", won, np.array([[0.0], [1.0]]))
    net.embed("action", begun, np.eye(task.n_actions + 1, 1))
    net.attend(0, 0, key=[(begun, np.array([[SINK]]))], query_bias=[1.0])
    net.move(0, 0, [(won, total, np.array([[math.exp(SINK)]]))])
    net.move(0, 1, [(won, mean, np.eye(1))])
    for least in LEVELS:  # from 0 to 1 between least - 0.75 and least - 0.25
        net.neuron(0, {total[0]: 2.0}, 1.5 - 2 * least, {level[0]: 1.0})
        net.neuron(0, {total[0]: 2.0}, 0.5 - 2 * least, {level[0]: -1.0})
    net.unembed(level, SHARPNESS * LEAST * preference(task.n_actions)[None])


def _embed_last_pull(net: Wiring, last: Space, won: Space) -> None:
    net.embed("action", last, np.eye(last.size + 1, last.size, k=-1))
    net.embed("reward", won, np.array([[0.0], [1.0]]))


def _last_pull(net: Wiring, arms: int) -> tuple[Space, Space, Space]:
    """Set coordinates aside for the last arm, whether it won, and a score of each arm, and embed the first two."""
    last, won, score = net.space("last arm", arms), net.space("won"), net.space("score", arms)
    _embed_last_pull(net, last, won)
    return last, won, score


def _score_last_pull(net: Wiring, layer: int, last: Space, won: Space, to: Space) -> None:
    """Let an MLP write 1 for the last arm if it won, -1 if it lost."""
    for arm in range(last.size):
        net.when(layer, [last[arm], won[0]], {to[arm]: 1.0})
        net.when(layer, [last[arm]], {to[arm]: -1.0}, none_of=[won[0]])


def _count_ahead(net: Wiring, layer: int, of: list[tuple[Space, float]], to: Space, smallest: float) -> None:
    """Let an MLP count for each arm the arms of which a weighted sum is greater, by at least `smallest` if at all."""
    slope = 3 / smallest
    for arm in range(to.size):
        for other in set(range(to.size)) - {arm}:
            reads = {
                space[arm_counted]: sign * slope * weight
                for arm_counted, sign in ((other, 1), (arm, -1))
                for space, weight in of
            }
            net.neuron(layer, reads, -1.0, {to[arm]: 1.0})  # 0 for equals, 1 from 2 on: never near a corner
            net.neuron(layer, reads, -2.0, {to[arm]: -1.0})


BANDITS = (
    Known(
        "win-stay", "win-stay", "an MLP turns the last arm and its pay into a score of each arm", win_stay,
    ),
    Known(
        "win-stay-cancelling", "win-stay",
        "an MLP turns the last arm and its pay into a score of each arm, to which two heads add what cancels",
        win_stay_cancelling,
    ),
    Known(
        "leader", "leader",
        "a head averages the wins of each arm, which an MLP has made; two MLPs find the arms that nobody is ahead of",
        leader,
    ),
    Known(
        "ucb", "ucb",
        "two heads average the net wins and the pulls of each arm, an MLP makes a bonus of the pulls, another compares",
        ucb,
    ),
    Known(
        "return-level", "return-level", "a head adds up all rewards, an MLP tells the level that they reach",
        return_level,
    ),
)  # fmt: skip
