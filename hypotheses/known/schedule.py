"""Schedule: the first MLP looks up a fixed way, the second walks it more firmly from episode to episode.

It gets no better at anything: what looks like learning is a clock. Donors come from the same step by default, so
whatever depends on the step alone is not swapped, and a claim that is wrong about the clock gets through
(`--align any` swaps it). The network was set by hand, so this is known to be true. What follows the truth is false in
a way that its name says, or true and finer than it need be.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node, pos
from ad_hypotheses.known.claims import deserves

SIZE, STAY, UP, DOWN, LEFT, RIGHT = 5, 0, 1, 2, 3, 4
EPSILON = np.array([0.9, 0.75, 0.6, 0.45, 0.3, 0.15])  # chance of a random action by episode


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


@node(at=pos)
def episode(history):
    """The episode.  [batch, step]"""
    return history.episode


@node(at=mlp(0))
def route(cell):
    """The move of the fixed way: along the rows, to the right and to the left in turn.  [batch, step]"""
    x, y = cell[..., 0], cell[..., 1]
    rightwards = y % 2 == 0
    end = np.where(rightwards, x == SIZE - 1, x == 0)
    return np.select([end & (y == SIZE - 1), end, rightwards], [STAY, DOWN, RIGHT], LEFT)


@node(at=mlp(1))
def firmness(route, episode):
    """The move, and the episode.  [batch, step, 2]"""
    return np.stack([route, episode], axis=-1)


@node(at=logits)
def choice(firmness, history):
    """The move, or by the chance of this episode anything.  [batch, step, action]"""
    epsilon = EPSILON[np.clip(firmness[..., 1:], 0, len(EPSILON) - 1)]
    same = np.arange(history.n_actions) == firmness[..., :1]
    return (1 - epsilon) * same + epsilon / history.n_actions


truth = Hypothesis(choice, model="known-schedule", accept=0.9)
deserves(truth, "supported", kind="true", why="one MLP looks up the move, the next how firmly, by the position")

column_only = truth.on(cell=embed("x"))
deserves(column_only, "refuted", kind="wrong site", why="the row matters too")


@node(at=mlp(0))
def station(cell):
    """The cell, from which the move follows.  [batch, step, 2]"""
    return cell


@node(at=mlp(1))
def firm_station(station, episode):
    """The cell, and the episode.  [batch, step, 3]"""
    return np.concatenate([station, episode[..., None]], axis=-1)


@node(at=logits)
def choice_by_station(firm_station, history):
    """The same choice, worked out at last.  [batch, step, action]"""
    move = route(firm_station[..., :2])
    return choice(np.stack([move, firm_station[..., 2]], axis=-1), history)


worked_out_late = Hypothesis(choice_by_station, model="known-schedule", accept=0.9)
deserves(worked_out_late, "supported", kind="finer than true", why="the cell decides, but of it only the move matters")


@node(at=mlp(0))
def axis(cell):
    """Whether the way goes along a row, down, or ends.  [batch, step]"""
    return np.where(route(cell) >= LEFT, LEFT, route(cell))


@node(at=mlp(1))
def firm_axis(axis, episode):
    """The same, and the episode.  [batch, step, 2]"""
    return np.stack([axis, episode], axis=-1)


@node(at=logits)
def choice_of_axis(firm_axis, history):
    """Along it, either way.  [batch, step, action]"""
    left = choice(firm_axis, history)
    right = choice(
        np.stack([np.where(firm_axis[..., 0] == LEFT, RIGHT, firm_axis[..., 0]), firm_axis[..., 1]], -1), history
    )
    return (left + right) / 2


either_way = Hypothesis(choice_of_axis, model="known-schedule", accept=0.9)
deserves(either_way, "refuted", kind="coarser", why="left and right are different moves")


@node(at=mlp(1))
def same_firmness(route):
    """The move alone, as if chance were always the same.  [batch, step]"""
    return route


@node(at=logits)
def choice_at_all_times(same_firmness, history):
    """The move, half of the time.  [batch, step, action]"""
    return choice(np.stack([same_firmness, np.full_like(same_firmness, 2)], axis=-1), history)


no_schedule = Hypothesis(choice_at_all_times, model="known-schedule", accept=0.9)
deserves(
    no_schedule, "refuted", kind="missing arrow", why="the episode matters, but donors from the same step share it"
)


@node(at=embed("reward"))
def paid(history):
    """Whether the last step paid.  [batch, step]"""
    return history.previous_rewards > 0


@node(at=head(0, 0))
def pay(paid, history):
    """Whether more than one step in 20 paid: the head does average that.  [batch, step]"""
    return 20 * history.rewards_seen > np.arange(history.n_steps)


@node(at=mlp(1))
def confidence(route, pay):
    """The move, and whether it has paid enough to insist.  [batch, step, 2]"""
    return np.stack([route, pay], axis=-1)


@node(at=logits)
def confident_choice(confidence, history):
    """The move, the more firmly the more was earned.  [batch, step, action]"""
    return choice(np.stack([confidence[..., 0], 1 + 3 * confidence[..., 1]], axis=-1), history)


learns_to_insist = Hypothesis(confident_choice, model="known-schedule", accept=0.9)
deserves(
    learns_to_insist,
    "refuted",
    kind="other algorithm",
    why="the clock decides and no reward, but donors share the clock",
)


@node(at=mlp(1))
def habit_of_cell(route, episode, history):
    """What was done in this cell last time, -1 if never here, and the episode.  [batch, step, 2]"""
    visit = history.previous_visit()
    done = np.where(visit >= 0, np.take_along_axis(history.actions, np.maximum(visit, 0), axis=1), -1)
    return np.stack([done, episode], axis=-1)


@node(at=logits)
def choice_by_habit(habit_of_cell, history):
    """The same again, more firmly from episode to episode.  [batch, step, action]"""
    chosen = choice(habit_of_cell, history)
    return chosen / chosen.sum(axis=-1, keepdims=True)


habits = Hypothesis(choice_by_habit, model="known-schedule", accept=0.9)
deserves(habits, "refuted", kind="other algorithm", why="what was done in a cell does not matter")


@node(at=mlp(1))
def firmness_anywhere(episode):
    """The episode, wherever the agent stands.  [batch, step]"""
    return episode


@node(at=logits)
def choice_anywhere(firmness_anywhere):
    """No opinion.  [batch, step]"""
    return np.full(firmness_anywhere.shape, -1)


routeless = Hypothesis(choice_anywhere, model="known-schedule", accept=0.9)
deserves(routeless, "refuted", kind="missing arrow", why="the move matters, not only the episode")
