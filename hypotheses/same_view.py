"""Same view: in MiniGrid the model does what it did the last time it saw just this, and where it has not, what is new.

The heads fetch, by the view alone, what was done there last, whether that paid at once, and, until something has paid,
what was tried there. Nothing is said of where the goal lies.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

ANYTHING = -1
SIDE = range(5)

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


@node(at=head(0) + head(1) + head(2))
def memory(view, last, history):
    """What was done at this view last, -1 if never; whether that paid; what was tried, until pay is known.

    [batch, step, 4]
    """
    before = history.previous_visit()
    seen = before >= 0
    habit = np.where(seen, np.take_along_axis(history.actions, np.maximum(before, 0), axis=1), -1)
    paid = seen & (np.take_along_axis(history.rewards, np.maximum(before, 0), axis=1) > 0)
    known = history.rewards_seen > 0
    tried = np.where(known, -1, history.tried_here() @ 2 ** np.arange(history.n_actions))
    return np.stack([habit, paid, known, tried], axis=-1)


@node(at=mlp(0) + mlp(1) + mlp(2))
def plan(memory, last):
    """The same and the last token; what else is in the view plays no role.  [batch, step, 6]"""
    return np.concatenate([memory, last], axis=-1)


@node(at=logits)
def choice(plan, memory, last):
    """What was done here last, anything where that is nothing.  [batch, step]"""
    return np.where(plan[..., 0] >= 0, plan[..., 0], ANYTHING)


same_view = Hypothesis(choice, model="minigrid-empty-random", accept=0.9)

# all is fetched by the last layer
by_the_last_layer = same_view.on(memory=head(2))
