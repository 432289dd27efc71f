"""One history changed in one place, and matched pairs of histories: what a researcher asks a model about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Bool, Int

from ad_hypotheses.causal.history_pairs import towards_of
from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.report.result import Result
from ad_hypotheses.storage.reading import parse_json
from ad_hypotheses.studies.data import Dataset, ModelActor
from ad_hypotheses.tasks.counterfactuals import make_counterfactual
from ad_hypotheses.tasks.edits.kinds import lacks_whole_lives
from ad_hypotheses.tasks.edits.lives import answered, continued
from ad_hypotheses.tasks.task import Task

Then = Literal["world", "model", "nothing"]


@dataclass(frozen=True, repr=False)
class Pair(Result):
    """Histories, and beside each the same one with one thing changed; both have the same rows.

    Attributes:
        reference: The histories as they were. [row, step]
        donor: The histories after the change. [row, step]
        first_step: The first step at which the tokens of the two differ. [row]
        rows: Which of the histories that were given these are: the change was possible there. [row]
        words: What was changed.
        name: Name of the counterfactual.
        towards: Which actions lead to the cell that paid before a change, and to the one that pays after it,
            `{"old" | "new": [row, step, action]}`; empty where none was moved.
    """

    reference: History
    donor: History
    first_step: Int[np.ndarray, " row"]
    rows: Int[np.ndarray, " row"]
    words: str
    name: str = ""
    towards: Mapping[str, Bool[np.ndarray, "row step action"]] = field(default_factory=dict)

    @classmethod
    def of(cls, reference: History, donor: History, words: str = "as given") -> Pair:
        """Pair histories row by row with others; rows that show the same are left out.

        Raises:
            DataError: There are not as many rows and steps, the two show other things, or no row differs.
        """
        if (reference.shape, reference.channels) != (donor.shape, donor.channels):
            raise DataError(
                f"{reference!r} and {donor!r} are no pair: they must have the same rows, steps and channels."
            )
        differs = (reference.observations != donor.observations).any(axis=-1)
        for before in ("previous_actions", "previous_rewards"):
            differs |= getattr(reference, before) != getattr(donor, before)
        rows = np.flatnonzero(differs.any(axis=1))
        if not len(rows):
            raise DataError("the two histories show the same at every step: there is nothing to patch.")
        return cls(reference[rows], donor[rows], differs[rows].argmax(axis=1), rows, words, "given")

    @property
    def headline(self) -> str:
        """What was changed, in how many histories and from which step on."""
        return f"{self.name}: {self.words}; {len(self.rows)} histories, first at step {int(self.first_step.min())}"

    def to_frame(self) -> Any:
        """Return the steps of the references, and what the donors show there, as a pandas.DataFrame."""
        reference, donor = self.reference.to_frame(), self.donor.to_frame()
        seen = [*self.reference.channels, "action", "reward"]
        return reference.join(donor[seen].add_prefix("donor_"))

    def to_json(self) -> str:
        """Return the pair as JSON that :meth:`from_json` reads; facts of the tasks with it."""
        histories = {name: history.plain() for name, history in (("reference", self.reference), ("donor", self.donor))}
        arrays = {"first_step": self.first_step.tolist(), "rows": self.rows.tolist()}
        towards = {name: actions.tolist() for name, actions in self.towards.items()}
        return json.dumps({**histories, **arrays, "words": self.words, "name": self.name, "towards": towards})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the pair that :meth:`to_json` wrote.

        Raises:
            DataError: The text is not such a record.
        """
        try:
            content = parse_json(text)
            reference, donor = (History.of_plain(content[name]) for name in ("reference", "donor"))
            first_step, rows = (np.array(content[name], dtype=np.int64) for name in ("first_step", "rows"))
            towards = {name: np.array(actions, dtype=bool) for name, actions in content["towards"].items()}
            return cls(reference, donor, first_step, rows, content["words"], content["name"], towards)
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(f"`text` does not hold what a {cls.__name__} holds: {error!r}.") from error


def counterfactual(name: str, histories: History | Dataset, task: Task, seed: int = 0) -> Pair:
    """Pair histories with the same ones but for one thing, the actions as recorded.

    Args:
        name: A kind of counterfactual of the task, e.g. `"goal-moved"`.
        histories: At least one history.
        task: The family that they are from.
        seed: Decides on places, episodes and actions.

    Raises:
        ConfigError: There is no such counterfactual.
        DataError: It does not fit the task or the histories, or none of them can be changed.
    """
    history = histories.history if isinstance(histories, Dataset) else histories
    change = make_counterfactual(name, task, history, np.random.default_rng([seed, *name.encode()]))
    rows = np.flatnonzero(change.changed)
    if not len(rows):
        raise DataError(f"none of the {history.n_rows} histories can be changed by {name}: {change.words}.")
    reference = history[rows]
    towards = towards_of(task, reference, change, rows)
    return Pair(reference, change.history[rows], change.first_step[rows], rows, change.words, name, towards)


def edit(
    history: History,
    step: int,
    task: Task,
    action: str | int | None = None,
    reward: float | None = None,
    observation: tuple[int, ...] | None = None,
    then: Then = "world",
    model: Checkpoint | None = None,
    seed: int = 0,
) -> History:
    """Change what was done, paid or seen at a step of every history.

    Args:
        history: The histories; they stay as they are.
        step: At which.
        task: The family that they are from.
        action: What is done instead, by name or number.
        reward: What is paid instead.
        observation: What is seen instead; only with `then="nothing"`, since the world shows where an agent is.
        then: Who decides what follows: `"world"` lets it answer the recorded actions to the end of the episode,
            `"model"` lets the model go on from there, `"nothing"` leaves all else as recorded.
        model: Who goes on.
        seed: Of what chance decides, and of the model's actions.

    Raises:
        DataError: There is no such step, action or reward, a model is missing, or the histories cannot be lived again.
    """
    chosen = _checked(history, step, task, action, reward, observation, then, model)
    actions, rewards, observations = (
        array.copy() for array in (history.actions, history.rewards, history.observations)
    )
    if chosen is not None:
        actions[:, step] = chosen
    if observation is not None:
        observations[:, step] = observation
    changed = replace(history, actions=actions, observations=observations)
    rng = np.random.default_rng([seed, step])
    if then != "nothing":
        # in a world of one state, nothing that comes later depends on the action; else, nothing after the episode
        episode_end = min(step - step % task.horizon + task.horizon, history.n_steps)
        stop = step + 1 if then == "model" or task.n_states == 1 else episode_end
        answer = answered(task, history.task, changed.window(stop=stop), rng, since=step)
        changed = continued(answer, changed)
        rewards = changed.rewards.copy()
    if reward is not None:
        rewards[:, step] = reward
    changed = replace(changed, rewards=rewards)
    if then == "model" and step + 1 < history.n_steps:
        assert model is not None
        lived = ModelActor(model, rng)(task, history.task, changed.window(stop=step + 1), history.n_steps)
        changed = replace(lived, learner=history.learner)
    return changed


def _checked(
    history: History,
    step: int,
    task: Task,
    action: str | int | None,
    reward: float | None,
    observation: tuple[int, ...] | None,
    then: str,
    model: Checkpoint | None,
) -> int | None:
    """Return the number of the action; refuse what cannot be changed, or not so."""
    names = list(task.action_names)
    number = names.index(action) if action in names else action
    problem = ""
    if not 0 <= step < history.n_steps:
        problem = f"`step` is {step}, but the histories have the steps 0 to {history.n_steps - 1}."
    elif number is not None and number not in range(task.n_actions):
        problem = f"`action` is {action!r}, but {task.name} has the actions {', '.join(names)}."
    elif reward is not None and reward not in task.rewards:
        problem = f"`reward` is {reward!r}, but {task.name} pays {', '.join(f'{pay:g}' for pay in task.rewards)}."
    elif observation is not None and not _is_seen(observation, task):
        problem = f"`observation` is {observation!r}, but it must be one number for each of {', '.join(task.channels)}."
    elif then not in ("world", "model", "nothing"):
        problem = f"`then` is {then!r}, but it must be 'world', 'model' or 'nothing'."
    elif observation is not None and then != "nothing":
        problem = "an agent is where its world has put it: give `observation` only with then='nothing'."
    elif then == "model" and model is None:
        problem = "then='model' needs a model that goes on: give `model`."
    elif then != "nothing" and (lacking := lacks_whole_lives(task, history)):
        problem = (
            f"these histories cannot be lived again: {lacking}. Use then='nothing', or histories from `histories`."
        )
    if problem:
        raise DataError(problem)
    return None if number is None else int(number)


def _is_seen(observation: tuple[int, ...], task: Task) -> bool:
    return len(observation) == len(task.channels) and all(
        0 <= value < size for value, size in zip(observation, task.channel_sizes, strict=True)
    )
