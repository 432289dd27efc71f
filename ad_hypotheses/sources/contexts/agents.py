"""Agents of several kinds, who live contexts together: another one in every episode.

A model that is trained on its source's own lives sees few transitions that its source did not choose. In contexts of
other agents, labelled with what the source would do there, it has to find out what the transitions are good for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.language.history import History
from ad_hypotheses.sources.contexts.planner import Planner
from ad_hypotheses.sources.q_learning import DynaQ
from ad_hypotheses.tasks import Facts, Task
from ad_hypotheses.tasks.play import play
from ad_hypotheses.tasks.task import n_tasks_of

Agent = Literal["random", "habitual", "source", "noisy-source"]


@dataclass(frozen=True)
class Agents:
    """Who lives contexts; in every episode of every context one of them, all alike.

    Attributes:
        kinds: `"random"`: anything. `"habitual"`: one action a state, drawn for each episode. `"source"`: what the
            source would do. `"noisy-source"`: the same, but at random with a probability drawn for each episode.
        habit: Probability with which a habitual agent does as usual, and not at random.
        noise: Largest probability with which a noisy source acts at random; drawn evenly from 0 to this.
    """

    kinds: Sequence[Agent]
    habit: float = 0.8
    noise: float = 0.5


def labelled_contexts(
    source: DynaQ, task: Task, facts: Facts, agents: Agents, episodes: int, rng: np.random.Generator
) -> tuple[History, Float[np.ndarray, "row step action"]]:
    """Let agents live contexts, and say at every step what the source would do.

    Args:
        source: The source, whose labels are those of :class:`Planner`.
        task: Family of the tasks, deterministic, whose states are what the agent sees.
        facts: One task a context. [row, ...]
        agents: Who lives them.
        episodes: Episodes of a context.
        rng: All randomness of the agents and of the world.

    Returns:
        The contexts [row, step], and distributions over the source's actions [row, step, action].
    """
    n_rows = n_tasks_of(facts)
    planner, crowd = Planner(source, task, n_rows), _Crowd(agents, task, n_rows)
    labels = np.empty((n_rows, episodes * task.horizon, task.n_actions), dtype=np.float32)

    def policy(history: History) -> Float[np.ndarray, "row action"]:
        step = history.n_steps - 1
        if step % task.horizon == 0:
            crowd.change(rng)
        planner.see(history)
        labels[:, step] = planner.decision()
        return crowd.policy(labels[:, step], planner.known.state)

    return play(task, facts, policy, episodes, rng), labels


class _Crowd:
    """The agents of a batch of contexts, one a row, in the middle of an episode."""

    def __init__(self, agents: Agents, task: Task, n_rows: int) -> None:
        self.agents, self.n_rows = agents, n_rows
        self.n_states, self.n_actions = task.n_states, task.n_actions

    def change(self, rng: np.random.Generator) -> None:
        """Draw who lives the next episode of each row, and what its habits are."""
        kinds = np.array(self.agents.kinds)[rng.integers(len(self.agents.kinds), size=self.n_rows)]
        noise = rng.random(self.n_rows) * self.agents.noise
        self.habits = rng.integers(self.n_actions, size=(self.n_rows, self.n_states))
        self.habitual = kinds == "habitual"
        self.at_random = np.select(
            [kinds == "random", self.habitual, kinds == "noisy-source"], [1.0, 1 - self.agents.habit, noise], 0.0
        )

    def policy(
        self, source: Float[np.ndarray, "row action"], state: Int[np.ndarray, " row"]
    ) -> Float[np.ndarray, "row action"]:
        """Return what the agents do, given what the source would do and the states that they are in."""
        usual = np.eye(self.n_actions)[self.habits[np.arange(self.n_rows), state]]
        intended = np.where(self.habitual[:, None], usual, source)
        return (1 - self.at_random[:, None]) * intended + self.at_random[:, None] / self.n_actions
