"""What an edited life is made of: tasks, somebody who lives on them, and what the world answers to what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks.play import begin, resume
from ad_hypotheses.tasks.task import Facts, Task


@runtime_checkable
class Actor(Protocol):
    """Somebody who lives: a model, a policy, or the record of a life."""

    def __call__(self, world: Any, facts: Facts, past: History | None, stop: int) -> History:
        """Live from the end of `past` until `stop` steps are lived, and return the whole life.

        Args:
            world: A task family, or a world changed from it.
            facts: The tasks. [row, ...]
            past: What was lived before, by whomever; None for nothing.
            stop: Steps of the life then.
        """


@dataclass(frozen=True)
class EditedLives:
    """Lives that were edited.

    Attributes:
        history: The lives, with the facts that hold at their end.
        acted: Whether the action of a step was chosen on what the history shows there, by the one who lives it.
            [row, step]
    """

    history: History
    acted: Bool[np.ndarray, "row step"]


@dataclass(frozen=True)
class Lives:
    """Tasks, and somebody who lives on them, from which a counterfactual family makes edited lives.

    Attributes:
        task: The family of the tasks.
        facts: The tasks. [row, ...]
        episodes: Episodes of a whole life.
        rng: All randomness but that of the actor.
        actor: Who lives.
    """

    task: Task
    facts: Facts
    episodes: int
    rng: np.random.Generator
    actor: Actor

    @property
    def n_rows(self) -> int:
        """How many lives."""
        return len(next(iter(self.facts.values())))

    @property
    def n_steps(self) -> int:
        """Steps of a whole life."""
        return self.episodes * self.task.horizon

    def boundary(self, share: float) -> int:
        """Return where about that share of a life is over: where an episode begins, or in a single one any step."""
        unit = self.task.horizon if self.episodes > 1 else 1
        return unit * min(max(1, round(share * self.n_steps / unit)), self.n_steps // unit - 1)

    def live(
        self,
        stop: int | None = None,
        past: History | None = None,
        world: Any = None,
        facts: Mapping[str, np.ndarray] | None = None,
    ) -> History:
        """Let the actor live until `stop` steps, else to the end, in a world and on tasks that may be others."""
        return self.actor(
            self.task if world is None else world,
            self.facts if facts is None else facts,
            past,
            self.n_steps if stop is None else stop,
        )

    def edited(
        self,
        lived: History | None,
        past: History,
        world: Any = None,
        facts: Mapping[str, np.ndarray] | None = None,
    ) -> EditedLives:
        """Let the actor live on to the end from an edited past.

        Args:
            lived: The past as the actor lived it; None where somebody else did.
            past: The past as it is told. [row, step]
            world: The world that answers from then on; None for that of the task.
            facts: The tasks from then on; None for the same.
        """
        history = self.live(past=past, world=world, facts=facts)
        acted = np.ones(history.actions.shape, dtype=bool)
        told = lived is not None and same_so_far(lived, past) & (lived.actions == past.actions)
        acted[:, : past.n_steps] = told
        return EditedLives(history, acted)


def unedited(lives: Lives) -> EditedLives:
    """Let the actor live a whole life, in which nothing is changed."""
    history = lives.live()
    return EditedLives(history, np.ones(history.actions.shape, dtype=bool))


def same_so_far(first: History, second: History) -> Bool[np.ndarray, "row step"]:
    """Return where nothing that was shown until then differs. [row, step]"""
    return np.logical_and.accumulate(~tokens_differ(first, second), axis=1)


def tokens_differ(first: History, second: History) -> Bool[np.ndarray, "batch step"]:
    """Return where the tokens of two batches of histories differ. [batch, step]"""
    seen = (first.observations != second.observations).any(axis=-1)
    done = first.previous_actions != second.previous_actions
    return np.asarray(seen | done | (first.previous_rewards != second.previous_rewards))


def answered(
    world: Any, facts: Mapping[str, np.ndarray], history: History, rng: np.random.Generator, since: int = 0
) -> History:
    """Let a world answer what was done: the actions stay, and what is seen and paid follows from them.

    Args:
        world: A task family, or a world changed from it.
        facts: The tasks. [row, ...]
        history: Whole episodes of the same length in all rows, the last of which may be unfinished.
        rng: What chance decides.
        since: The first step that the world answers.

    Raises:
        DataError: It is within an episode in which this world does not do what comes before.
    """
    observations, rewards = history.observations.copy(), history.rewards.copy()
    opened = since - since % world.horizon
    if opened < since:
        state = resume(world, facts, history.window(opened, since), rng)
        observations[:, since] = world.observe(state)
    for step in range(since, history.n_steps):
        if step % world.horizon == 0:
            state = begin(world, facts, history.observations[:, step], rng, int(history.episode[0, step]))
            observations[:, step] = world.observe(state)
        seen, rewards[:, step], state = world.step(state, history.actions[:, step].astype(np.intp), rng)
        if step + 1 < history.n_steps:
            observations[:, step + 1] = seen  # where an episode begins, it is replaced
    return replace(history, observations=observations, rewards=rewards, task=dict(facts))


@dataclass(frozen=True)
class RecordedActor:
    """Whoever lived a history, and does again what it says, in whatever world.

    Attributes:
        task: The family of the tasks that it was lived on.
        history: What was lived. [row, step]
        rng: What chance decides where the world is another one.
    """

    task: Task
    history: History
    rng: np.random.Generator

    def __call__(self, world: Any, facts: Facts, past: History | None, stop: int) -> History:
        """Live as recorded: see :class:`Actor`."""
        begun = 0 if past is None else past.n_steps
        life = self.history.window(stop=stop)
        if past is not None:
            life = continued(past, life)
        same = world is self.task and all(facts[name] is fact for name, fact in self.history.task.items())
        return life if same else answered(world, facts, life, self.rng, since=begun)


def continued(past: History, life: History) -> History:
    """Return a life whose beginning is replaced. [row, step]

    Args:
        past: What comes first. [row, earlier step]
        life: The rest of it comes after. [row, step]
    """

    def after(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.concatenate([first, second[:, first.shape[1] :]], axis=1)

    return replace(
        life,
        observations=after(past.observations, life.observations),
        actions=after(past.actions, life.actions),
        rewards=after(past.rewards, life.rewards),
    )


def in_order(history: History, steps: Int[np.ndarray, "row position"]) -> History:
    """Return each history with its steps, or some of them, in another order; episodes are numbered as before.

    Args:
        history: The histories. [row, earlier step]
        steps: Which step comes where. [row, step]
    """
    return replace(
        history,
        observations=np.take_along_axis(history.observations, steps[..., None], axis=1),
        actions=np.take_along_axis(history.actions, steps, axis=1),
        rewards=np.take_along_axis(history.rewards, steps, axis=1),
        episode=history.episode[:, : steps.shape[1]],
    )
