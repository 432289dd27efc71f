"""Known way: on a graph, the model does again what led to the goal from here, and tries what it has not tried.

No map is kept: the heads fetch the state that paid, what was done here last, what was tried here, and whether the goal
was reached soon after the last visit here.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

ANYTHING = -1


def soon_paid(history):
    """Whether the step after the last visit here paid: 0 no or never here, 1 yes.  [batch, step]"""
    before = history.previous_visit()
    paid = np.take_along_axis(history.rewards, np.maximum(before, 0), axis=1) > 0
    return ((before >= 0) & paid).astype(int)


@node(at=embed("state"))
def state(history):
    """Where the agent is.  [batch, step]"""
    return history.observations[..., 0]


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last action, and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=head(0) + head(1) + head(2) + head(3) + head(4) + head(5))
def memory(state, last, history):
    """The state that paid last; what was done here last, whether that paid; what was tried here.  [batch, step, 4]"""
    before = history.previous_visit()
    done = np.take_along_axis(history.actions, np.maximum(before, 0), axis=1)
    habit = np.where(before >= 0, done, -1)
    tried = history.tried_here() @ 2 ** np.arange(history.n_actions)
    return np.stack([history.last_rewarded_cell()[..., 0], habit, soon_paid(history), tried], axis=-1)


@node(at=mlp(0) + mlp(1) + mlp(2) + mlp(3) + mlp(4) + mlp(5))
def plan(state, memory, last):
    """The same with the state and the last token.  [batch, step, 7]"""
    return np.concatenate([memory, state[..., None], last], axis=-1)


@node(at=logits)
def choice(plan, state, memory, last):
    """What was done here last, anything where that is nothing.  [batch, step]"""
    return np.where(plan[..., 1] >= 0, plan[..., 1], ANYTHING)


known_way = Hypothesis(choice, model="graph-world", accept=0.9)

# what the first layer fetches is fetched by it alone
first_layer_alone = known_way.on(memory=head(0))
