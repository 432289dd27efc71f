"""Where learners write down what they live through: arrays of the final shape, filled an episode at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.progress import tell
from ad_hypotheses.tasks import Facts, Task
from ad_hypotheses.tasks.task import from_episode

Record = Callable[[int, np.ndarray, np.ndarray, np.ndarray], None]


@dataclass(frozen=True)
class Recording:
    """The kept episodes of many learners, to be filled.

    Attributes:
        task: The distribution that the tasks are from.
        keep_every: Episodes 0, k, 2k, ... are kept.
        episodes: How many are lived, kept or not.
        observations: [learner, kept episode, step, channel]
        actions: [learner, kept episode, step]
        rewards: [learner, kept episode, step]
    """

    task: Task
    keep_every: int
    episodes: int
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray

    @classmethod
    def of(cls, task: Task, n_learners: int, episodes: int, keep_every: int) -> Recording:
        """Make room for `n_learners` lives of `episodes` episodes.

        Raises:
            ConfigError: There is nothing to live or to keep.
        """
        check_episodes(episodes, keep_every)
        assert max((*task.channel_sizes, task.n_actions)) <= 128, "observations and actions are kept in a byte each"
        shape = (n_learners, -(-episodes // keep_every), task.horizon)
        observations = np.empty((*shape, len(task.channels)), dtype=np.int8)
        empty = np.empty(shape, dtype=np.int8), np.empty(shape, dtype=np.float32)
        return cls(task, keep_every, episodes, observations, *empty)

    def episode(self, rows: slice, episode: int) -> Record:
        """Return `record(step, observations, actions, rewards)` for the learners `rows` in one episode."""
        first, stop, _ = rows.indices(len(self.actions))
        lived = first * self.episodes + (stop - first) * episode
        tell("letting learners live", lived, len(self.actions) * self.episodes, "episodes")
        slot, rest = divmod(episode, self.keep_every)
        if rest:
            return lambda step, observations, actions, rewards: None

        def record(step: int, observations: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> None:
            self.observations[rows, slot, step] = observations
            self.actions[rows, slot, step] = actions
            self.rewards[rows, slot, step] = rewards

        return record

    def history(self, facts: Facts) -> History:
        """Return what was recorded, one history a learner."""
        n_learners, episodes, horizon = self.actions.shape
        number = np.repeat(np.arange(episodes, dtype=np.int16), horizon)
        return History(
            observations=self.observations.reshape(n_learners, episodes * horizon, -1),
            actions=self.actions.reshape(n_learners, -1),
            rewards=self.rewards.reshape(n_learners, -1),
            episode=np.broadcast_to(number, (n_learners, episodes * horizon)),
            channels=self.task.channels,
            n_actions=self.task.n_actions,
            task=dict(from_episode(self.task, facts, 0, self.keep_every)),
            learner=np.arange(n_learners),
        )


def keep_episodes(history: History, task: Task, keep_every: int) -> History:
    """Return the steps of the episodes 0, k, 2k, ..., renumbered 0, 1, 2, ..., with the facts of these.

    Raises:
        ConfigError: `keep_every` is less than 1.
    """
    check_episodes(1, keep_every)
    episodes = np.flatnonzero(history.episode[0] % keep_every == 0)
    return replace(
        history,
        observations=history.observations[:, episodes],
        actions=history.actions[:, episodes],
        rewards=history.rewards[:, episodes],
        episode=history.episode[:, episodes] // keep_every,
        task=dict(from_episode(task, history.task, 0, keep_every)),
    )


def episode_returns(history: History) -> Float[np.ndarray, "batch episode"]:
    """Return the sum of rewards of each episode; all histories must begin episodes at the same steps."""
    assert (history.episode == history.episode[:1]).all(), "episodes begin at different steps in different histories"
    return np.add.reduceat(history.rewards, np.flatnonzero(history.episode_start[0]), axis=1, dtype=float)


def learning_curve(history: History) -> Float[np.ndarray, " episode"]:
    """Return the mean return of each episode over all histories. [episode]"""
    return episode_returns(history).mean(axis=0)


def check_episodes(episodes: int, keep_every: int) -> None:
    """Refuse to live or keep nothing.

    Raises:
        ConfigError: A number is less than 1.
    """
    if episodes < 1 or keep_every < 1:
        raise ConfigError(f"episodes is {episodes} and keep_every is {keep_every}, but both must be at least 1.")
