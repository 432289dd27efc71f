"""What one can do on an unknown graph by remembering every way that was gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.bandit_policies import best_of
from ad_hypotheses.tasks.planning import optimal_value
from ad_hypotheses.tasks.task import Policy

if TYPE_CHECKING:
    from ad_hypotheses.tasks.graph_world import GraphWorld

# both are sums of few powers of 2, so that plans worth the same are found to be so
LITTLE_HOPE = 2**-10  # less than a reward, even for all steps of an episode
HOPE = 11 / 32  # what the best behaviour is paid a step, on average over graphs of 12 states and 2 actions


def plan_with_hope(world: GraphWorld, hope: float) -> Policy:
    """Earn the most that is possible if the ways that were gone are as they were, and all others pay `hope` a step.

    Little hope explores only where nothing is known to pay, walking to the nearest untried action, and after that only
    when there is nothing to lose. More hope also looks for shorter ways than those known.

    Args:
        world: The world.
        hope: What a step is believed to pay once an untried action was taken, until the episode ends; above 0.
    """
    known = _KnownWays(world, hope)

    def policy(history: History) -> np.ndarray:
        known.update(history)
        here, rows = history.observations[:, -1, 0], np.arange(history.n_rows)
        left = world.horizon - (history.n_steps - 1) % world.horizon
        later = optimal_value(known.next, known.pay, left - 1)
        return best_of(known.pay[rows, here] + later[rows[:, None], known.next[rows, here]])

    return policy


class _KnownWays:
    """Where actions have led and what they paid, brought up to date a step at a time.

    Ways not known lead to *nowhere*, a state of its own that is never left. The last action of an episode shows its
    pay, but not where it led.
    """

    def __init__(self, world: GraphWorld, hope: float) -> None:
        self.nowhere, self.n_actions, self.hope = world.states, world.actions, hope

    def update(self, history: History) -> None:
        """Take in the last token; a history of one step begins a new life."""
        if history.n_steps == 1:
            self.next = np.full((history.n_rows, self.nowhere + 1, self.n_actions), self.nowhere)
            self.pay = np.full(self.next.shape, self.hope, dtype=np.float32)
            return
        rows, before, taken = np.arange(history.n_rows), history.observations[:, -2, 0], history.actions[:, -2]
        self.pay[rows, before, taken] = history.rewards[:, -2]
        if history.episode[0, -1] == history.episode[0, -2]:
            self.next[rows, before, taken] = history.observations[:, -1, 0]
