"""Dyna-Q in the limit of endless replay, run on what a life has shown, whoever lived it.

Sutton 1990, "Integrated architectures for learning, planning, and reacting". Replayed until nothing changes, the tables
of a Dyna-Q learner are the solution of Bellman's equation in the world that it remembers, in which an untried action is
worth its initial value. That needs no chance, so that many lives can be planned for at once.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.q_learning import DynaQ
from ad_hypotheses.tasks import Task

MOST_STATES = 256  # of a world whose transitions are remembered in a table
SWEEPS = 16  # of value iteration a step; they begin with the values of the step before
TIE = 0.01  # values closer than this are equal: what sweeps leave is less


def require_visible_states(task: Task, owner: str) -> None:
    """Refuse a family whose observations do not tell its states, or whose states are too many for a table.

    Args:
        task: The family.
        owner: The key of the configuration that needs it.

    Raises:
        ConfigError: It is such a family.
    """
    sizes = int(np.prod([float(size) for size in task.channel_sizes])) if task.channels else 0
    if not task.deterministic or sizes != task.n_states:
        raise ConfigError(
            f"{owner} needs a world that is deterministic and whose states are what the agent sees, which {task.name} "
            "is not with these parameters; graph-world and dark-room are."
        )
    if task.n_states > MOST_STATES:
        raise ConfigError(f"{owner}: {task.name} has {task.n_states} states; at most {MOST_STATES} fit its table.")


class Transitions:
    """What lives have shown of where actions lead, the latest outcome of each, brought up to date a step at a time.

    Attributes:
        state: States that the agents are in. [row]
        next: Where each action led, -1 where that was not seen: the last action of an episode shows its pay, but not
            where it led. [row, state, action]
    """

    def __init__(self, task: Task, n_rows: int) -> None:
        self.weights = np.append(np.cumprod(task.channel_sizes[::-1])[::-1][1:], 1).astype(np.intp)
        self.next = np.full((n_rows, task.n_states, task.n_actions), -1, dtype=np.int32)
        self.state = np.zeros(n_rows, dtype=np.intp)
        self.rows = np.arange(n_rows)

    def see(self, history: History) -> None:
        """Take in the last token of lives that have one more step than when they were last seen."""
        before, self.state = self.state, history.observations[:, -1].astype(np.intp) @ self.weights
        if history.n_steps > 1 and history.episode[0, -1] == history.episode[0, -2]:
            self.next[self.rows, before, history.actions[:, -2]] = self.state


def arrivals(history: History, task: Task) -> Int[np.ndarray, "row step action"]:
    """Return where each action led when it was last tried in the state of a step, -1 where that was not seen.

    Args:
        history: Lives. Episodes begin at the same steps in all rows.
        task: Their family, whose states are what the agent sees.
    """
    known = Transitions(task, history.n_rows)
    led = np.empty((*history.shape, history.n_actions), dtype=np.int64)
    for step in range(history.n_steps):
        known.see(history.window(stop=step + 1))
        led[:, step] = known.next[known.rows, known.state]
    return led


class Planner:
    """Dyna-Q with endless replay in the middle of lives, one a row.

    Args:
        source: Discount and initial value; its step size and its number of replays make no difference in the limit.
        task: Family of the tasks, deterministic, whose states are what the agent sees.
        n_rows: Number of lives.
    """

    def __init__(self, source: DynaQ, task: Task, n_rows: int) -> None:
        self.known = Transitions(task, n_rows)
        self.gamma, self.initial = np.float32(source.gamma), np.float32(source.initial_value)
        self.n_states, size = task.n_states, n_rows * task.n_states
        # an untried action earns just so much, and then leads to a place beyond all states, that it is worth its
        # initial value; stored action by action, because the greatest of two long rows is found sooner than of many
        # short ones
        self.pay = np.full((task.n_actions, size), self.initial * (1 - self.gamma), dtype=np.float32)
        self.place = np.full((task.n_actions, size), size, dtype=np.intp)
        self.values = np.full(size + 1, self.initial, dtype=np.float32)  # of the states, and of the place beyond them

    @property
    def _row_of_state(self) -> Int[np.ndarray, " row"]:
        return self.known.rows * self.n_states + self.known.state

    def see(self, history: History) -> None:
        """Take in the last token of lives that have one more step than when they were last seen, and plan again."""
        before = self._row_of_state
        self.known.see(history)
        if history.n_steps == 1:
            return
        taken = history.actions[:, -2]
        self.pay[taken, before] = history.rewards[:, -2]
        if history.episode[0, -1] == history.episode[0, -2]:
            self.place[taken, before] = self._row_of_state
        else:  # where the last action of an episode led is seen only if it was taken here before
            led = self.known.next[self.known.rows, before % self.n_states, taken]
            self.place[taken, before] = np.where(led < 0, self.place.shape[1], self.known.rows * self.n_states + led)
        for _ in range(SWEEPS):
            self.values[:-1] = self._worth(slice(None)).max(axis=0)

    def _worth(self, places: Int[np.ndarray, " row"] | slice) -> Float[np.ndarray, "action place"]:
        worth = self.values[self.place[:, places]]
        worth *= self.gamma
        worth += self.pay[:, places]
        return worth

    def decision(self) -> Float[np.ndarray, "row action"]:
        """Return the distribution over the best actions, all alike that are worth the same. [row, action]"""
        worth = self._worth(self._row_of_state).T
        best = worth >= worth.max(axis=1, keepdims=True) - TIE
        return (best / best.sum(axis=1, keepdims=True)).astype(np.float32)


def decisions(source: DynaQ, history: History, task: Task) -> Float[np.ndarray, "row step action"]:
    """Return what Dyna-Q with endless replay, and without exploring at random, would do at every step of lives.

    Args:
        source: Discount and initial value.
        history: The lives, whoever lived them. Episodes begin at the same steps in all rows.
        task: Their family, whose states are what the agent sees.
    """
    planner = Planner(source, task, history.n_rows)
    decided = np.empty((*history.shape, history.n_actions), dtype=np.float32)
    for step in range(history.n_steps):
        planner.see(history.window(stop=step + 1))
        decided[:, step] = planner.decision()
    return decided
