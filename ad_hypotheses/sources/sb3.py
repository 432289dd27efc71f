"""Histories of Stable-Baselines3 learners, written down while `model.learn` runs.

Raffin et al. 2021, "Stable-Baselines3: Reliable Reinforcement Learning Implementations". Needs the extra `sb3`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np

from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.recording import Recording, check_episodes
from ad_hypotheses.tasks import Facts, Task

INSTALL = "stable-baselines3 is not installed. Install it: pip install 'ad-hypotheses[sb3]'."


def record_learning(
    model: Any,
    task: Task,
    facts: Facts,
    episodes: int,
    learner: int = 0,
    encode: Callable[[Any], np.ndarray] | None = None,
    callback: Any = None,
) -> History:
    """Let a Stable-Baselines3 model learn for so many episodes, and return what happened.

    Args:
        model: On- or off-policy, not trained yet. Its environments live one task and have episodes of the task's
            horizon; :class:`ad_hypotheses.sources.sb3.FixedHorizon` makes them so.
        task: What the histories will be taken for: channels, actions, horizon.
        facts: The task that is lived; one row, or one for each environment.
        episodes: How many episodes each environment lives.
        learner: Number of this learner; the histories of several environments of one model share it.
        encode: Turns a batch of observations into channels `[environment, channel]`; by default they are channels.
        callback: Further callbacks of Stable-Baselines3, or a list of them.

    Returns:
        One history an environment, `episodes * horizon` steps each. Join those of several models with
        :func:`ad_hypotheses.sources.variants.joined`, and keep them with `write_histories`.

    Raises:
        UserError: Stable-Baselines3 is not installed.
        DataError: An episode has another length, or observations or facts do not fit.
    """
    check_episodes(episodes, 1)
    n_envs = model.get_env().num_envs
    lived = {}
    for name, fact in facts.items():
        rows = np.asarray(fact)
        if len(rows) not in (1, n_envs):
            raise DataError(f"{name} has {len(rows)} rows; give one, or one for each of {n_envs} environments.")
        lived[name] = np.repeat(rows, n_envs, axis=0) if len(rows) == 1 else rows
    recording = Recording.of(task, n_envs, episodes, 1)
    recorder = _recorder(recording, encode or np.asarray)
    others = callback if isinstance(callback, list) else [] if callback is None else [callback]
    model.learn(total_timesteps=episodes * task.horizon * n_envs, callback=[recorder, *others])
    if recorder.steps < episodes * task.horizon:
        raise DataError(
            f"learning stopped after {recorder.steps} of {episodes * task.horizon} steps: another callback ended it."
        )
    return replace(recording.history(lived), learner=np.full(n_envs, learner))


def _recorder(recording: Recording, encode: Callable[[Any], np.ndarray]) -> Any:
    """Return a callback that fills `recording` and then ends the learning."""
    try:
        from stable_baselines3.common.callbacks import BaseCallback
    except ImportError as error:
        raise UserError(INSTALL) from error
    task, (n_envs, episodes, horizon) = recording.task, recording.actions.shape

    class Recorder(BaseCallback):
        steps = 0

        def _on_training_start(self) -> None:
            self.seen = self._unscaled("get_original_obs", self.model._last_obs)  # type: ignore[attr-defined]

        def _on_step(self) -> bool:
            episode, step = divmod(self.steps, horizon)
            ended = np.asarray(self.locals["dones"])
            if (ended != (step == horizon - 1)).any():
                event = f"ended after {step + 1} steps" if ended.any() else f"did not end after {horizon} steps"
                raise DataError(
                    f"an episode {event}, but the horizon of {task.name} is {horizon}. Wrap the environment: "
                    "FixedHorizon(env, task)."
                )
            record = recording.episode(slice(0, n_envs), episode)
            rewards = self._unscaled("get_original_reward", self.locals["rewards"])
            record(step, _channels(encode(self.seen), task, n_envs), self.locals["actions"].reshape(n_envs), rewards)
            self.seen = self._unscaled("get_original_obs", self.locals["new_obs"])
            self.steps += 1
            return self.steps < episodes * horizon

        def _unscaled(self, event: str, otherwise: Any) -> Any:
            scaler = self.model.get_vec_normalize_env()
            # copied, since Stable-Baselines3 changes rewards where an episode is cut off
            return deepcopy(otherwise) if scaler is None else getattr(scaler, event)()

    return Recorder()


def _channels(observations: np.ndarray, task: Task, n_envs: int) -> np.ndarray:
    """Return observations as channels, checked. [environment, channel]"""
    if not task.channels:
        return np.empty((n_envs, 0), dtype=np.int8)
    flat = np.asarray(observations).reshape(n_envs, -1)
    sizes = np.asarray(task.channel_sizes)
    if flat.shape[1] != len(sizes) or (flat < 0).any() or (flat >= sizes).any() or (flat % 1).any():
        raise DataError(
            f"observations like {flat[0].tolist()} are not the channels {', '.join(task.channels)} of {task.name}, "
            f"whole numbers below {task.channel_sizes}. Give FixedHorizon `see`, or record_learning `encode`."
        )
    return flat


def grid_channels(seen: Mapping[str, Any]) -> np.ndarray:
    """Return MiniGrid's image and direction as the channels of the `minigrid:` families. [channel]"""
    return np.append(np.asarray(seen["image"]).reshape(-1), seen["direction"])


def laps(reward: float) -> float:
    """Return what the `minigrid:` families pay for what MiniGrid pays: 1 for the goal, however late."""
    return float(reward > 0)


class FixedHorizon(gymnasium.Wrapper[Any, Any, Any, Any]):
    """One task of an environment, in episodes of exactly `horizon` steps.

    Where the environment ends an episode earlier, on a goal or in lava, it is reset at once and the episode goes on
    from the start: the learner sees the first observation of the next lap after the action that ended this one. Nothing
    is padded, and the world is the one of the batched families.

    Args:
        env: The environment. It must not cut episodes off before `horizon` itself.
        task: Whose channels it shows and whose horizon it has.
        seed: Given to every reset, so that a layout stays; None passes on what the caller of `reset` gives.
        options: Given to every reset, e.g. `{"goal": (7, 1)}`.
        see: Turns an observation into channels; none by default, `grid_channels` for MiniGrid.
        pay: Changes a reward; not by default, `laps` for MiniGrid.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        task: Task,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
        see: Callable[[Any], Any] | None = None,
        pay: Callable[[float], float] | None = None,
    ) -> None:
        super().__init__(env)
        self.horizon, self.see, self.pay = task.horizon, see or (lambda seen: seen), pay or float
        self.named: dict[str, Any] = {"seed": seed, "options": dict(options) if options is not None else None}
        self.steps = 0
        if see is not None:
            self.observation_space = gymnasium.spaces.MultiDiscrete(list(task.channel_sizes))
        self.action_space = gymnasium.spaces.Discrete(task.n_actions)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self.steps = 0
        given: dict[str, Any] = {"seed": seed, "options": options}
        named = {name: given[name] if value is None else value for name, value in self.named.items()}
        seen, info = self.env.reset(**named)
        return self.see(seen), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act once; the episode is truncated after `horizon` steps and never terminates.

        Raises:
            DataError: The environment cuts episodes off before.
        """
        seen, reward, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        if terminated:
            seen, info = self.env.reset(**self.named)
        elif truncated and self.steps < self.horizon:
            raise DataError(
                f"{self.env} cuts an episode off after {self.steps} steps, before the horizon of {self.horizon}: "
                "make it with as many steps (max_steps of MiniGrid, max_episode_steps of gymnasium.make)."
            )
        return self.see(seen), self.pay(float(reward)), False, self.steps >= self.horizon, info
