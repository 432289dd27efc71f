"""Learning histories as a hypothesis sees them: plain numpy, aligned with the tokens the model reads.

Step `t` of a history is one token of the model. What is *visible* at step `t`, to the model and so to every
feature of that step, is the observation at `t` and everything before it; the action and the reward that carry the
index `t` come after the decision at `t`::

    step              0              1              2
    token      x0 y0  -  -    x1 y1 a0 r0    x2 y2 a1 r1        what the model reads
    decision         a0             a1             a2           what it predicts
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.errors import DataError, did_you_mean
from ad_hypotheses.storage.checked import digest_of

NO_ACTION = -1  # the previous action of the first step
MOST_CELLS = 2**62  # numbers of observations that int64 holds
MOST_EPISODES = 100_000  # of a history that is read; each takes memory wherever returns are summed
GREATEST = 1e30  # reward or fact: sums of those of a life stay finite in float32


def read_only(array: np.ndarray) -> np.ndarray:
    """Return an array that cannot be written to: itself if it cannot already, else a view of it."""
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def require_moderate(name: str, numbers: np.ndarray) -> np.ndarray:
    """Return numbers, of which every sum that a life has is finite in float32.

    Raises:
        ValueError: One is not finite, or beyond `GREATEST`.
    """
    if numbers.dtype.kind == "f" and not (np.abs(numbers) <= GREATEST).all():
        raise ValueError(f"{name} has a number that is not finite, or beyond {GREATEST:g}")
    return numbers


def computed_once(compute: Callable[[Any], np.ndarray]) -> cached_property[np.ndarray]:
    """Turn a method into a property that is computed when it is first read; the array is shared, so it is read-only."""

    def compute_read_only(history: Any) -> np.ndarray:
        return read_only(compute(history))

    compute_read_only.__doc__ = compute.__doc__
    return cached_property(compute_read_only)


@dataclass(frozen=True, repr=False)
class History:
    """A batch of learning histories (whole, or windows of them), all of the same number of steps.

    Its arrays are read-only, whoever made them: what one feature did to them would change what others see. What a
    method returns is new at every call and belongs to the caller.

    Attributes:
        observations: What the agent saw before acting, one integer a channel. [batch, step, channel]
        actions: What it then did. [batch, step], in `0 .. n_actions - 1`
        rewards: What it was then paid. [batch, step]
        episode: Number of the episode within the window. [batch, step], non-decreasing from 0
        channels: Names of the observation channels, e.g. `("x", "y")`.
        n_actions: How many actions exist.
        task: Facts about the task that the agent cannot see, e.g. `{"goal": [batch, 2]}`. [batch, ...]
        learner: Which learner lived the history; windows of one learner share it. [batch]
        family: Task family that the tasks are from, None where nobody has said.
    """

    observations: Int[np.ndarray, "batch step channel"]
    actions: Int[np.ndarray, "batch step"]
    rewards: Float[np.ndarray, "batch step"]
    episode: Int[np.ndarray, "batch step"]
    channels: tuple[str, ...]
    n_actions: int
    task: Mapping[str, np.ndarray] = field(default_factory=dict)
    learner: Int[np.ndarray, " batch"] | None = None
    family: Any = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in ("observations", "actions", "rewards", "episode"):
            object.__setattr__(self, name, read_only(getattr(self, name)))
        if self.learner is not None:
            object.__setattr__(self, "learner", read_only(self.learner))
        if type(self.task) is dict:  # other mappings answer for themselves
            object.__setattr__(self, "task", {name: read_only(fact) for name, fact in self.task.items()})

    @property
    def n_rows(self) -> int:
        """Number of histories."""
        return self.actions.shape[0]

    @property
    def n_steps(self) -> int:
        """Number of steps of each."""
        return self.actions.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of histories and of steps of each, as those who sweep steps ask of tokens."""
        return self.n_rows, self.n_steps

    def __len__(self) -> int:
        return self.n_rows

    def __bool__(self) -> bool:
        return True  # there is one, whatever the number of its rows

    def __repr__(self) -> str:
        episodes = int(self.episode[:, -1].max(initial=0)) + 1 if self.n_steps else 0
        size = f"{self.n_rows} x {self.n_steps} steps" + (f" of {self.family.name}" if self.family is not None else "")
        seen = f"sees {', '.join(self.channels):.60}" if self.channels else "sees nothing"
        return f"History({size}, episodes: {episodes}, actions: {self.n_actions}, {seen})"

    def __getattr__(self, name: str) -> Any:
        """Say what is meant, where an attribute does not exist."""
        known = [known for known in {*dir(type(self)), *self.__dataclass_fields__} if not known.startswith("_")]
        name_meant = "to_frame" if name in ("df", "to_df", "to_pandas") else name
        hint = "" if name.startswith("_") else did_you_mean(name_meant, known)
        if hint and callable(getattr(type(self), hint.split("'")[1], None)):
            hint = hint.replace("'?", "()'?")
        raise AttributeError(f"a History has no {name!r}.{hint}")

    def _repr_html_(self) -> str:
        """Return pictures of the first histories, for a notebook."""
        from ad_hypotheses.language.history_view import drawing

        return drawing(self)

    def plain(self) -> dict[str, Any]:
        """Return everything but the family as plain data, as :meth:`of_plain` takes it."""
        arrays = {name: getattr(self, name).tolist() for name in ("observations", "actions", "rewards", "episode")}
        learner = None if self.learner is None else self.learner.tolist()
        facts = {name: np.asarray(fact).tolist() for name, fact in self.task.items()}
        rest = {"channels": list(self.channels), "n_actions": self.n_actions, "task": facts, "learner": learner}
        return arrays | rest

    @classmethod
    def of_plain(cls, content: Mapping[str, Any]) -> History:
        """Return the history that :meth:`plain` wrote out.

        Raises:
            KeyError: Something is missing.
            ValueError: Something is not an array of numbers, or arrays do not fit each other.
            OverflowError: A number is too large.
        """
        whole = {name: np.array(content[name], dtype=np.int64) for name in ("actions", "episode")}
        rewards = require_moderate("rewards", np.array(content["rewards"], dtype=np.float64))
        whole["rewards"] = rewards.astype(np.float32)
        shape, channels = whole["actions"].shape, tuple(content["channels"])
        seen = np.array(content["observations"], dtype=np.int64).reshape(*shape, len(channels))
        facts = {name: np.array(fact) for name, fact in content["task"].items()}
        learner = None if content["learner"] is None else np.array(content["learner"])
        n_actions = int(content["n_actions"])
        for name, array in whole.items():
            if len(shape) != 2 or array.shape != shape:
                raise ValueError(f"{name} is of shape {array.shape}, and actions of {shape}")
        if ((whole["actions"] < 0) | (whole["actions"] >= n_actions)).any():
            raise ValueError(f"an action is none of 0 to {n_actions - 1}")
        if ((whole["episode"] < 0) | (whole["episode"] >= MOST_EPISODES)).any():
            raise ValueError(f"the number of an episode is none of 0 to {MOST_EPISODES - 1}")
        if not np.isin(np.diff(whole["episode"], axis=1), (0, 1)).all():
            raise ValueError("episodes are not numbered one after the other")
        rows = facts if learner is None else {**facts, "learner": learner}
        for name, array in rows.items():
            if array.shape[:1] != shape[:1] or array.dtype.kind not in "biuf":
                raise ValueError(f"{name} is not one number, or array of numbers, for each history")
            require_moderate(name, array)
        return cls(
            **whole,
            observations=seen,
            channels=channels,
            n_actions=n_actions,
            task=facts,
            learner=learner,
        )

    def to_json(self) -> str:
        """Return the histories with the facts of their tasks as JSON."""
        return json.dumps(self.plain())

    @classmethod
    def from_json(cls, text: str) -> History:
        """Return the histories that :meth:`to_json` wrote.

        Raises:
            DataError: The text is not such a record.
        """
        try:
            return cls.of_plain(json.loads(text))
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise DataError(f"`text` does not hold what a History holds: {error!r}.") from error

    def to_frame(self) -> Any:
        """Return a pandas.DataFrame with a line for every step of every row, and the facts of its task."""
        from ad_hypotheses.language.history_view import frame

        return frame(self)

    def __getitem__(self, rows: int | slice | np.ndarray | tuple[Any, slice]) -> History:
        """Return the histories at `rows`: a number, a slice, or an array of numbers or booleans.

        Behind a comma stands a range of steps: `history[:8, :50]`.

        Raises:
            IndexError: There is no such row, or steps are not a plain slice.
        """
        if isinstance(rows, tuple):
            if len(rows) != 2 or not isinstance(rows[1], slice) or rows[1].step is not None:
                raise IndexError("give rows, or rows and a range of steps: history[3], history[:8], history[:, 10:50].")
            return self[rows[0]].window(rows[1].start, rows[1].stop)
        if isinstance(rows, int | np.integer) and not isinstance(rows, bool):
            if not -self.n_rows <= rows < self.n_rows:
                raise IndexError(f"there is no history {rows}: there are {self.n_rows}, from 0.")
            rows = slice(rows % self.n_rows, rows % self.n_rows + 1)
        return replace(
            self,
            observations=self.observations[rows],
            actions=self.actions[rows],
            rewards=self.rewards[rows],
            episode=self.episode[rows],
            task={name: fact[rows] for name, fact in self.task.items()},
            learner=None if self.learner is None else self.learner[rows],
        )

    def window(self, start: int | None = None, stop: int | None = None) -> History:
        """Return the steps `start .. stop - 1` of every history, without copying; negative counts are from the end."""
        steps = slice(start, stop)
        return replace(
            self,
            observations=self.observations[:, steps],
            actions=self.actions[:, steps],
            rewards=self.rewards[:, steps],
            episode=self.episode[:, steps],
        )

    @computed_once
    def previous_actions(self) -> Int[np.ndarray, "batch step"]:
        """The action before this step, -1 at the first. Episodes follow each other without a gap. [batch, step]"""
        return np.concatenate([np.full_like(self.actions[:, :1], NO_ACTION), self.actions[:, :-1]], axis=1)

    @computed_once
    def previous_rewards(self) -> Float[np.ndarray, "batch step"]:
        """The reward before this step, 0 at the first. [batch, step]"""
        return np.concatenate([np.zeros_like(self.rewards[:, :1]), self.rewards[:, :-1]], axis=1)

    @computed_once
    def episode_start(self) -> Bool[np.ndarray, "batch step"]:
        """Whether an episode begins at this step. [batch, step]"""
        before = np.concatenate([np.full_like(self.episode[:, :1], -1), self.episode[:, :-1]], axis=1)
        return self.episode != before

    @computed_once
    def episode_step(self) -> Int[np.ndarray, "batch step"]:
        """Steps since the episode began. [batch, step], from 0"""
        steps = np.broadcast_to(np.arange(self.n_steps), self.episode.shape)
        return steps - np.maximum.accumulate(np.where(self.episode_start, steps, 0), axis=1)

    @computed_once
    def rewards_seen(self) -> Float[np.ndarray, "batch step"]:
        """Sum of the rewards visible at this step. [batch, step]"""
        return np.cumsum(self.previous_rewards, axis=1)

    def returns(self) -> Float[np.ndarray, "batch episode"]:
        """Sum of the rewards of each episode, up to the last that any history has. [batch, episode]"""
        inside = self.episode[..., None] == np.arange(int(self.episode.max(initial=-1)) + 1)
        return (inside * self.rewards[..., None]).sum(axis=1)

    def so_far(self) -> Int[np.ndarray, "batch step"]:
        """A number for everything that was shown up to this step: the finest feature there is. [batch, step]

        Equal pasts have equal numbers, and two others by a chance of about 1 in 2**60. What was shown are the
        observations, and the actions and rewards (to a millionth) before them.
        """
        paid = np.rint(1e6 * self.previous_rewards)[..., None]
        shown = np.concatenate([self.observations, self.previous_actions[..., None], paid], axis=-1)
        # a sum weighted at random, modulo 2**64; nothing shown is -2, so that every step adds something
        weights = np.random.default_rng(0).integers(2**63, size=shown.shape[1:], dtype=np.uint64)
        terms = (shown.astype(np.int64) + 2).astype(np.uint64) * (2 * weights + 1)
        return np.cumsum(terms.sum(axis=-1, dtype=np.uint64), axis=1, dtype=np.uint64).view(np.int64)

    def last_rewarded_cell(self) -> Int[np.ndarray, "batch step channel"]:
        """The observation at the latest visible step that showed a reward, all -1 before any. [batch, step, channel]

        A reward shows in the token after it, beside the observation that earned it; at the first step of an episode
        that observation is gone (the agent was put back), so those tokens do not count.
        """
        paid = (self.previous_rewards > 0) & ~self.episode_start
        steps = np.arange(self.n_steps)
        latest = np.maximum.accumulate(np.where(paid, steps, -1), axis=1)
        cells = np.take_along_axis(self.observations, np.maximum(latest, 0)[..., None], axis=1)
        return np.where((latest >= 0)[..., None], cells, -1)

    def visits(self, n_values: int) -> Int[np.ndarray, "batch step cell"]:
        """How often each observation was seen up to and including this step. [batch, step, cell]

        Args:
            n_values: Every channel's values lie in `0 .. n_values - 1`; cell `(x, y)` is counted at `x * n_values + y`.
        """
        weights = n_values ** np.arange(len(self.channels))[::-1]
        cell = self.observations @ weights
        seen = np.zeros((*cell.shape, n_values ** len(self.channels)), dtype=np.int32)
        np.put_along_axis(seen, cell[..., None], 1, axis=2)
        return np.cumsum(seen, axis=1, out=seen)  # in place: it is large

    def previous_visit(self) -> Int[np.ndarray, "batch step"]:
        """The latest earlier step with the same observation, -1 if there is none. [batch, step]

        What was done there is `np.take_along_axis(history.actions, ..., axis=1)` at these steps, and visible.
        """
        order, first = self._by_observation()
        before = np.where(first, -1, np.roll(order, 1, axis=1))
        visits = np.empty_like(order)
        np.put_along_axis(visits, order, before, axis=1)
        return visits

    def tried_here(self) -> Bool[np.ndarray, "batch step action"]:
        """Which actions were taken at earlier steps with the same observation. [batch, step, action]"""
        order, first = self._by_observation()
        taken = np.eye(self.n_actions, dtype=np.int32)[np.take_along_axis(self.actions, order, axis=1)]
        before = np.cumsum(taken, axis=1) - taken  # of all cells so far, in the order of cells
        begins = np.maximum.accumulate(np.where(first, np.arange(self.n_steps), 0), axis=1)
        tried = before - np.take_along_axis(before, begins[..., None], axis=1) > 0
        shifted = np.empty_like(tried)
        np.put_along_axis(shifted, order[..., None], tried, axis=1)
        return shifted

    def _by_observation(self) -> tuple[Int[np.ndarray, "batch step"], Bool[np.ndarray, "batch step"]]:
        """Steps in an order in which those with the same observation are neighbours, and where a new one begins."""
        cell, size = np.zeros(self.actions.shape, dtype=np.int64), 1
        for channel in np.moveaxis(self.observations, -1, 0):
            n_values = int(channel.max(initial=0)) + 1
            if size * n_values > MOST_CELLS:  # number those that occur anew, before the numbers leave their range
                occurring, numbers = np.unique(cell, return_inverse=True)
                cell, size = numbers.reshape(cell.shape).astype(np.int64), len(occurring)
            cell, size = cell * n_values + channel, size * n_values
        order = np.argsort(cell, axis=1, kind="stable")
        cells = np.take_along_axis(cell, order, axis=1)
        return order, np.concatenate([np.ones_like(cells[:, :1], bool), cells[:, 1:] != cells[:, :-1]], axis=1)

    def action_counts(self) -> Int[np.ndarray, "batch step action"]:
        """How often each action was taken before this step. [batch, step, action]"""
        taken = np.eye(self.n_actions + 1, dtype=np.int64)[self.previous_actions][..., : self.n_actions]
        return np.cumsum(taken, axis=1)

    def action_rewards(self) -> Float[np.ndarray, "batch step action"]:
        """Sum of the rewards each action has earned before this step. [batch, step, action]"""
        taken = np.eye(self.n_actions + 1)[self.previous_actions][..., : self.n_actions]
        return np.cumsum(taken * self.previous_rewards[..., None], axis=1)


def history_digest(history: History) -> str:
    """Return a digest of what a model sees of histories: observations, actions and rewards."""
    return digest_of({name: getattr(history, name) for name in ("observations", "actions", "rewards")})
