"""Best mean: the heads keep the record of every arm, and the arm of the best mean is read off it.

The record is how often each arm was pulled and how often it paid. The logits read it directly and through the MLPs.
"""

import numpy as np

from ad_hypotheses import Hypothesis, head, logits, mlp, node


@node(at=head(0) + head(1))
def record(history):
    """Pulls and wins of every arm so far.  [batch, step, 2 * arm]"""
    return np.concatenate([history.action_counts(), history.action_rewards()], axis=-1)


@node(at=mlp(0) + mlp(1))
def best(record):
    """The arm of the best mean, a win and a loss added to each.  [batch, step]"""
    pulls, wins = np.split(record, 2, axis=-1)
    return ((wins + 1) / (pulls + 2)).argmax(axis=-1)


@node(at=logits)
def choice(best, record):
    """That arm; the record goes on to the logits by itself too.  [batch, step]"""
    return best


best_mean = Hypothesis(choice, model="bandit", accept=0.9)

# the heads of the second layer read what those of the first have kept
second_layer_only = best_mean.on(record=head(1))
