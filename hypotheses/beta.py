"""Beta: the model knows of each arm how often it was pulled and what it paid, and of the last pull what it was.

The heads keep a record of pulls and pay, the MLPs weigh it with the last pull. Hardly two lives at a bandit share such
a record, so the lives that stand in for each other are made: the same pulls with the same pay, in another order.
"""

from dataclasses import replace

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node


def reordered(history, steps, rng):
    """The same pulls with the same pay, in a random order."""
    return in_order(history, steps, rng, keep=0)


def reordered_before_the_last(history, steps, rng):
    """The same pulls with the same pay, in a random order, but for the last, which stays where it is."""
    return in_order(history, steps, rng, keep=1)


def in_order(history, steps, rng, keep):
    """Shuffle what was done before a step of each row, all but the last `keep` pulls."""
    clock = np.arange(history.n_steps)
    place = np.where(clock < steps[:, None] - keep, rng.random(history.actions.shape), 1 + clock)
    order = np.argsort(place, axis=1, kind="stable")
    actions, rewards = (np.take_along_axis(values, order, axis=1) for values in (history.actions, history.rewards))
    return replace(history, actions=actions, rewards=rewards)


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last arm, -1 at first, and what it paid in hundredths.  [batch, step, 2]"""
    return np.stack([history.previous_actions, np.rint(100 * history.previous_rewards)], axis=-1)


@node(at=head(0) + head(1), symmetry=reordered)
def record(history):
    """How often each arm was pulled, and what it paid in hundredths.  [batch, step, 2 * arms]"""
    return np.concatenate([history.action_counts(), np.rint(100 * history.action_rewards())], axis=-1)


@node(at=mlp(0) + mlp(1), symmetry=reordered_before_the_last)
def weighed(record, last):
    """The record and the last pull.  [batch, step, 2 * arms + 2]"""
    return np.concatenate([record, last], axis=-1)


@node(at=logits)
def choice(weighed, record, last, history):
    """The arm with the highest mean pay, as if each had once more paid one half.  [batch, step]"""
    pulls, pay = np.split(record, 2, axis=-1)
    return ((pay / 100 + 0.5) / (pulls + 1)).argmax(axis=-1)


beta = Hypothesis(choice, model="bandit", accept=0.9)
adversarial = beta.on("adversarial-bandit")
gaussian = beta.on("gaussian-bandit")

# the heads of one layer alone do not keep the record
first_layer = beta.on(record=head(0))
second_layer = beta.on(record=head(1))
