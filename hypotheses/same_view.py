"""Same view: in MiniGrid the model does what it did at just this view when it was paid after, or else did most often.

By the view alone it keeps what was done there last in an episode that paid, and what was done there most; the more
often it was paid, the surer it does that. Nothing is said of where the goal lies.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

SIDE = range(5)
TIMES = [1, 2, 3, 5, 9]  # paid never, once, twice, 3 or 4 times, 5 to 8, more often


def views(history):
    """A number for each view, the same in every history.  [batch, step]"""
    weights = np.random.default_rng(0).integers(1, 2**50, size=history.observations.shape[-1])
    return history.observations.astype(np.int64) @ weights


def done_here(history):
    """What was done here last in an episode that paid, and what most often; -1 for nothing.  [batch, step, 2]"""
    view = np.unique(views(history), return_inverse=True)[1].reshape(history.actions.shape)
    rows = np.arange(history.n_rows)
    counts = np.zeros((history.n_rows, int(view.max()) + 1, history.n_actions), dtype=np.int16)
    paid_way = np.full(counts.shape[:2], -1)
    way = np.full(counts.shape[:2], -1)  # of this episode
    done = np.empty((*history.actions.shape, 2), dtype=int)
    for now in range(history.n_steps):
        way[history.episode_start[:, now]] = -1
        here = counts[rows, view[:, now]]
        most = np.where(here.any(axis=-1), here.argmax(axis=-1), -1)
        done[:, now] = np.stack([paid_way[rows, view[:, now]], most], axis=-1)
        counts[rows, view[:, now], history.actions[:, now]] += 1
        way[rows, view[:, now]] = history.actions[:, now]
        paid = history.rewards[:, now] > 0
        paid_way[paid] = np.where(way[paid] >= 0, way[paid], paid_way[paid])
        way[paid] = -1
    return done


view_site = embed("direction")
for i in SIDE:
    for j in SIDE:
        view_site = view_site + embed(f"type_{i}_{j}") + embed(f"colour_{i}_{j}") + embed(f"state_{i}_{j}")


@node(at=view_site)
def view(history):
    """What the agent sees, and which way it looks.  [batch, step, 76]"""
    return history.observations


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last action, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=head(0) + mlp(0) + head(1) + mlp(1) + head(2) + mlp(2))
def memory(view, last, history):
    """The view; what was done there when it paid, and most; how often it paid at all.  [batch, step, 4]"""
    paid = np.digitize(history.rewards_seen, TIMES)
    return np.concatenate([views(history)[..., None], done_here(history), paid[..., None]], axis=-1)


@node(at=logits)
def choice(memory, view, last):
    """What was done here when it paid, else what was done most, anything where that is nothing.  [batch, step]"""
    way, most = memory[..., 1], memory[..., 2]
    return np.where(way >= 0, way, most)


same_view = Hypothesis(choice, model="minigrid-empty-random", accept=0.9)

# all is known to the last layer alone
by_the_last_layer = same_view.on(memory=head(2) + mlp(2))
