"""Beta: the model knows of each arm how often it was pulled and what it paid, and of the last pull what it was.

The heads keep a record of pulls and pay, the MLPs weigh it with the last pull. Hardly two lives at a bandit share such
a record, so the lives that stand in for each other are made: the same pulls with the same pay, in another order.

The control `unpaired` was written before it was run. All heads and MLPs are claimed, so there are no wrong sites to
move them to; it takes back the one thing that the record is for, which arm was paid, and leaves sites, arrows and the
way donors are made as they are: the pay is dealt out among all pulls. It should fail.
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


def dealt_out(history, steps, rng):
    """The same pulls in a random order, and the same pay dealt out among them."""
    return in_order(in_order(history, steps, rng, keep=0), steps, rng, keep=0, fields=["rewards"])


def dealt_out_before_the_last(history, steps, rng):
    """The same pulls in a random order, and the same pay dealt out among them, but for the last pull and its pay."""
    return in_order(in_order(history, steps, rng, keep=1), steps, rng, keep=1, fields=["rewards"])


def in_order(history, steps, rng, keep, fields=("actions", "rewards")):
    """Shuffle what was done before a step of each row, all but the last `keep` pulls."""
    clock = np.arange(history.n_steps)
    place = np.where(clock < steps[:, None] - keep, rng.random(history.actions.shape), 1 + clock)
    order = np.argsort(place, axis=1, kind="stable")
    return replace(history, **{name: np.take_along_axis(getattr(history, name), order, axis=1) for name in fields})


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


# the control: the same with pay that belongs to no arm


@node(at=head(0) + head(1), symmetry=dealt_out)
def pulls_and_total(history):
    """How often each arm was pulled, and what all of them paid in hundredths.  [batch, step, arms + 1]"""
    total = np.rint(100 * history.action_rewards()).sum(axis=-1, keepdims=True)
    return np.concatenate([history.action_counts(), total], axis=-1)


@node(at=mlp(0) + mlp(1), symmetry=dealt_out_before_the_last)
def total_weighed(pulls_and_total, last):
    """The pulls, the total and the last pull.  [batch, step, arms + 3]"""
    return np.concatenate([pulls_and_total, last], axis=-1)


@node(at=logits)
def most_pulled(total_weighed, pulls_and_total, last, history):
    """The arm that was pulled most.  [batch, step]"""
    return pulls_and_total[..., :-1].argmax(axis=-1)


UNPAIRED = "Which arm was paid plays no role: the pulls of each arm and the total pay are all that is known."
unpaired = Hypothesis(most_pulled, model="bandit", accept=0.9, doc=UNPAIRED, origin=beta)
unpaired_adversarial = Hypothesis(most_pulled, model="adversarial-bandit", accept=0.9, doc=UNPAIRED, origin=adversarial)
unpaired_gaussian = Hypothesis(most_pulled, model="gaussian-bandit", accept=0.9, doc=UNPAIRED, origin=gaussian)
