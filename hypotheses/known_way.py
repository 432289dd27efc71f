"""Known way: on a graph, the model takes the action from which fewer known steps lead to the goal.

It keeps a map: what each action did from each state, and which state paid. The shorter the way that is known, and the
more often it was paid and the action was taken here, the surer it goes there.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

FAR = 4  # steps to the goal from which on a way is as good as unknown
TIMES = [1, 2, 3, 5, 9]  # never, once, twice, 3 or 4 times, 5 to 8, more often


def whole_layers(layers):
    """Return the site of all heads and MLPs of some layers."""
    parts = [part for layer in layers for part in (head(layer), mlp(layer))]
    return sum(parts[1:], start=parts[0])


def known_steps(history):
    """Steps that are known to lead to the goal after each action from here, at most `FAR`.  [batch, step, action]"""
    states, goals = history.observations[..., 0], history.last_rewarded_cell()[..., 0]
    rows, n_states = np.arange(history.n_rows), int(states.max()) + 1
    leads_to = np.full((history.n_rows, n_states, history.n_actions), -1)
    steps = np.full((*history.actions.shape, history.n_actions), FAR)
    for now in range(history.n_steps):
        if now:
            moved = rows[~history.episode_start[:, now]]
            leads_to[moved, states[moved, now - 1], history.actions[moved, now - 1]] = states[moved, now]
        distance = np.where(np.arange(n_states) == goals[:, now, None], 0, FAR)
        for _ in range(FAR):
            after = np.take_along_axis(distance[..., None], np.maximum(leads_to, 0).reshape(history.n_rows, -1, 1), 1)
            after = np.where(leads_to >= 0, after.reshape(leads_to.shape), FAR)
            distance = np.minimum(distance, after.min(axis=-1) + 1)
        steps[:, now] = after[rows, states[:, now]]
    return np.minimum(steps, FAR)


def times_done(history):
    """How often each action was taken here, binned.  [batch, step, action]"""
    states, rows = history.observations[..., 0], np.arange(history.n_rows)
    counts = np.zeros((history.n_rows, int(states.max()) + 1, history.n_actions), dtype=int)
    done = np.empty((*history.actions.shape, history.n_actions), dtype=int)
    for now in range(history.n_steps):
        done[:, now] = counts[rows, states[:, now]]
        counts[rows, states[:, now], history.actions[:, now]] += 1
    return np.digitize(done, TIMES)


@node(at=embed("state"))
def state(history):
    """Where the agent is.  [batch, step]"""
    return history.observations[..., 0]


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last action, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=whole_layers(range(6)))
def way(state, last, history):
    """Known steps to the goal and times done, by action; what was done here last; times paid.  [batch, step, 6]"""
    before = history.previous_visit()
    habit = np.where(before >= 0, np.take_along_axis(history.actions, np.maximum(before, 0), axis=1), -1)
    paid = np.digitize(history.rewards_seen, TIMES)
    return np.concatenate([known_steps(history), times_done(history), habit[..., None], paid[..., None]], axis=-1)


@node(at=logits)
def choice(way, state, last):
    """The action with the shorter known way, else what was done here last, else anything.  [batch, step]"""
    first, second, habit = way[..., 0], way[..., 1], way[..., 4]
    return np.select([first < second, second < first], [0, 1], habit)


known_way = Hypothesis(choice, model="graph-world", accept=0.9)

# the first three layers alone know it
first_half = known_way.on(way=whole_layers(range(3)))
