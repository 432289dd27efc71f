"""What every family of tasks offers, and how one is made from a name and parameters."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.errors import ConfigError, did_you_mean
from ad_hypotheses.language.history import History

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
LARGEST = 1e300  # what lies beyond, and what is no number at all, is a slip

Facts = Mapping[str, np.ndarray]  # what the agent cannot see, one row a task: `{"goal": [task, 2]}`

Policy = Callable[[History], np.ndarray]
"""Given the history so far, the distribution of the decision at its last step, `[batch, action]`.

The action and the reward at the last step have not happened: they are 0 there, and no visible feature reads them.
`play` asks once a step, in order, so a policy may keep memory, as long as it forgets when it sees a first step.
"""


@runtime_checkable
class Task(Protocol):
    """A distribution of tasks, all alike to the eye, that differ in hidden facts.

    A family is a frozen dataclass of its parameters. Its world is batched: one array operation moves every agent, and
    every episode takes exactly `horizon` steps.
    """

    @property
    def name(self) -> str:
        """What `make_task` calls the family."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the observation channels."""

    @property
    def channel_sizes(self) -> tuple[int, ...]:
        """How many values each channel takes."""

    @property
    def n_actions(self) -> int:
        """How many actions exist."""

    @property
    def action_names(self) -> tuple[str, ...]:
        """What people call the actions."""

    @property
    def horizon(self) -> int:
        """Steps an episode."""

    @property
    def rewards(self) -> tuple[float, ...]:
        """Every reward that exists, ascending; a model has an embedding for each."""

    @property
    def deterministic(self) -> bool:
        """Whether an action in a state always has the same outcome."""

    @property
    def n_states(self) -> int:
        """How many states the world of one task has, counting what the agent may not see (a key it holds)."""

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Facts:
        """Draw `n` tasks."""

    def split(self, held_out: int, seed: int, train: int | None = None) -> tuple[Facts, Facts]:
        """Return the facts of the tasks to train on and of those held out."""

    def reset(self, facts: Facts, rng: np.random.Generator) -> Any:
        """Begin an episode of every task and return the state of the world."""

    def observe(self, state: Any) -> Int[np.ndarray, "batch channel"]:
        """Return what the agents see."""

    def step(
        self, state: Any, actions: Int[np.ndarray, " batch"], rng: np.random.Generator
    ) -> tuple[Int[np.ndarray, "batch channel"], Float[np.ndarray, " batch"], Any]:
        """Let every agent act; return what they see next, what they are paid, and the next state."""

    def state_index(self, state: Any) -> Int[np.ndarray, " batch"]:
        """Return the state of every world as a number, for learners that keep a table: `0 .. n_states - 1`."""

    def expert(self, state: Any) -> Float[np.ndarray, "batch action"]:
        """Return the distribution over the best actions, all alike, of whoever knows the facts."""

    def baselines(self, rng: np.random.Generator) -> Mapping[str, Policy]:
        """Return policies to measure a learner against, by name; `rng` is what those that sample draw from."""

    def optimal_return(self, facts: Facts) -> Float[np.ndarray, " task"]:
        """Return the expected return of an episode for whoever knows the facts."""

    def regimes(self, history: History) -> dict[str, Bool[np.ndarray, "batch step"]]:
        """Split the steps, by what is visible at them, into disjoint named kinds that cover all."""


def n_tasks_of(facts: Facts) -> int:
    """Return how many tasks `facts` describes."""
    return len(next(iter(facts.values())))


def has_certain_ways(task: Any) -> bool:
    """Return whether an action in a state always leads to the same one, also where pay is left to chance.

    Families of which only pay is random say so by an attribute `deterministic_ways`.
    """
    return bool(task.deterministic or getattr(task, "deterministic_ways", False))


def from_episode(task: Any, facts: Facts, episode: int, every: int = 1) -> Facts:
    """Return the facts of a life that consists of an episode of another one and every so many after it.

    They are the same for families whose facts hold for a whole life; the others have a method `facts_from`.

    Args:
        task: The family, or a world changed from it.
        facts: Of the whole life. [row, ...]
        episode: Number of the episode that comes first, from 0.
        every: Number of episodes from one to the next.
    """
    change = getattr(task, "facts_from", None)
    return facts if change is None else change(facts, episode, every)


def parameters(made: Any) -> dict[str, Any]:
    """Return the parameters of a task or source by name, without options that are off.

    An option that came later says in its field's metadata which value is `off`: whatever was described before there
    was such an option is described as ever.
    """
    fields = dataclasses.fields(made)
    values = {field.name: getattr(made, field.name) for field in fields}
    return {field.name: values[field.name] for field in fields
            if "off" not in field.metadata or values[field.name] != field.metadata["off"]}  # fmt: skip


def as_number(value: Any) -> Any:
    """Return text that is a number, as YAML's 2e-3 is, as that number, and everything else as it is."""
    return float(value) if isinstance(value, str) and NUMBER.fullmatch(value) else value


def make_from(
    registry: Mapping[str, type], kind: str, name: str, params: Mapping[str, Any], others: Sequence[str] = ()
) -> Any:
    """Make the dataclass that `registry` knows by `name`.

    Args:
        registry: Dataclasses by name.
        what: What they are called in messages.
        name: Which.
        params: Its fields.
        others: What else may be named, for messages.

    Raises:
        ConfigError: There is no such name or field, a value has the wrong type or is out of range, or a field means
            nothing without another.
    """
    if name not in registry:
        known = ", ".join([*registry, *others])
        raise ConfigError(f"there is no {kind} {name!r}.{did_you_mean(name, registry)} Known: {known}.")
    fields = {field.name: field for field in dataclasses.fields(registry[name])}
    values = {}
    for key, value in params.items():
        if key not in fields:
            listed = ", ".join(fields)
            raise ConfigError(f"{name} has no parameter {key!r}.{did_you_mean(key, fields)} Known: {listed}.")
        expected: Any = type(fields[key].default)
        value = as_number(value) if expected is float else value
        fits = isinstance(value, int | float) if expected is float else isinstance(value, expected)
        if not fits or (isinstance(value, bool) and expected is not bool):
            raise ConfigError(f"{name}: {key} is {value!r}, but it must be of type {expected.__name__}.")
        if expected is float and not abs(value) <= LARGEST:
            raise ConfigError(f"{name}: {key} is {value!r}, but it must be a finite number.")
        values[key] = expected(value)
    made = registry[name](**values)
    for key in values:
        needed = fields[key].metadata.get("only_if")
        if needed is not None and not getattr(made, needed):
            raise ConfigError(f"{name}: {key} means nothing without {needed}: set {needed}: true, or leave {key} out.")
    return made


def check_range(
    owner: str, parameter: str, value: int | float, low: int | float, high: int | float = float("inf")
) -> None:
    """Refuse a parameter outside `low .. high`.

    Raises:
        ConfigError: It is.
    """
    if not low <= value <= high:
        bounds = f"at least {low:g}" if high == float("inf") else f"{low:g} to {high:g}"
        raise ConfigError(f"{owner}: {parameter} is {value!r}, but it must be {bounds}.")


MEMBERS = tuple(name for name in vars(Task) if not name.startswith("_"))  # what a family must have


def missing_members(family: object) -> list[str]:
    """Return the names of what every task family has and this one lacks."""
    return [name for name in MEMBERS if not hasattr(family, name)]


def split_numbers(
    family: str, n_tasks: int, held_out: int, seed: int, train: int | None, noun: str, there_are: str, advice: str = ""
) -> tuple[Int[np.ndarray, " trained"], Int[np.ndarray, " held_out"]]:
    """Split the numbers of all tasks at random into those to train on and those never seen.

    Args:
        family: Who asks, for messages.
        n_tasks: How many tasks there are.
        held_out: How many to hold out. A given seed holds out the same however many are trained on.
        seed: Decides which.
        train: How many of the others to train on; all by default.
        noun: What tasks are called in messages.
        there_are: How many there are, in words.
        advice: What else there is to say.

    Raises:
        ConfigError: There are not that many tasks.
    """
    train = n_tasks - held_out if train is None else train
    if held_out < 0 or train < 1 or held_out + train > n_tasks:
        raise ConfigError(
            f"{family}: cannot hold out {held_out} {noun} and train on {train}: {there_are}, and at least 1 is needed "
            f"to train on.{advice}"
        )
    order = np.random.default_rng(seed).permutation(n_tasks)
    return order[held_out : held_out + train], order[:held_out]


TRAINING_TASKS = 4096  # how many a split without a number draws to train on


Sample = Callable[[np.random.Generator, int], Facts]


def draw_split(
    family: str, sample: Sample, held_out: int, seed: int, train: int | None, sample_held_out: Sample | None = None
) -> tuple[Facts, Facts]:
    """Draw tasks to train on and others to hold out.

    Args:
        family: Who asks, for messages.
        sample: Draws that many tasks.
        held_out: How many to hold out. A given seed holds out the same however many are trained on.
        seed: Decides which.
        train: How many to train on, 4096 by default.
        sample_held_out: Draws those to hold out, where their distribution is another one.

    Raises:
        ConfigError: A number is negative, or there is nothing to train on.
    """
    train = TRAINING_TASKS if train is None else train
    if held_out < 0 or train < 1:
        raise ConfigError(f"{family}: cannot hold out {held_out} tasks and train on {train}; at least 0 and 1.")
    held_out_rng, train_rng = np.random.default_rng(seed).spawn(2)
    return sample(train_rng, train), (sample_held_out or sample)(held_out_rng, held_out)
