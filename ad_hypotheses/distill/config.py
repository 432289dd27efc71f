"""What makes a model: one YAML file that `train` reads and that stays beside the weights."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Collection, Hashable
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import (
    Field,
    ValidationError,
)

from ad_hypotheses.distill.sections import LATER, ContextConfig, HistoryConfig, Section, Size, Training
from ad_hypotheses.distill.shape import Shape, size_problems
from ad_hypotheses.errors import ConfigError, did_you_mean
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import SOURCES, Source, make_source
from ad_hypotheses.sources.variants import lived
from ad_hypotheses.storage.places import models_folders
from ad_hypotheses.storage.reading import read_file, read_text
from ad_hypotheses.storage.strict_yaml import load_yaml
from ad_hypotheses.tasks import OTHERS, TASKS, Facts, Task, make_task, trust
from ad_hypotheses.tasks.task_file import file_of

SCRATCH = "training"  # folder in that of a checkpoint, for what its training needs

TaskFile = Literal["trusted", "named", "unmade"]
"""What happens to a Python file that a configuration names as its task.

`"trusted"`: it is run if the user has named it, else the configuration is refused. `"named"`: it is run, for the user
has named this very configuration. `"unmade"`: it is not run, whoever named it, so the task is not checked.
"""


class Config(Section):
    """Everything that determines a trained model."""

    task: dict[str, Any]
    source: dict[str, Any]
    histories: HistoryConfig = HistoryConfig()
    model: Size = Size()
    training: Training = Training()
    contexts: ContextConfig | None = Field(None, json_schema_extra=LATER)

    @cached_property
    def experiment(self) -> Experiment:
        """The task and the source that it describes."""
        return Experiment(self)

    def __copy__(self) -> Config:
        """Return a copy that makes its own experiment: what is copied may be changed next."""
        copied = super().__copy__()
        copied.__dict__.pop("experiment", None)
        return copied

    @property
    def kept_episodes(self) -> int:
        """Episodes of a history."""
        return -(-self.histories.episodes // self.histories.keep_every)

    @property
    def context_episodes(self) -> int:
        """Episodes of a training sample, and so of a context."""
        return self.training.crop or self.kept_episodes


@dataclass(frozen=True, eq=False)
class Experiment:
    """What a configuration describes, each part made once, when it is first needed.

    Attributes:
        config: The configuration, whose `experiment` this is.
    """

    config: Config

    @cached_property
    def task(self) -> Task:
        """Family of the tasks."""
        return make_task(**self.config.task)

    @cached_property
    def source(self) -> Source:
        """The learner whose histories are distilled."""
        return make_source(**self.config.source)

    @property
    def history_steps(self) -> int:
        """Steps of a history."""
        return self.config.kept_episodes * self.task.horizon

    @property
    def context_steps(self) -> int:
        """Steps of a training sample, and so of the model's context."""
        return self.config.context_episodes * self.task.horizon

    @property
    def shape(self) -> Shape:
        """Sizes of the transformer."""
        return Shape(n_ctx=self.context_steps, **self.config.model.model_dump())

    def split(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the facts of the training tasks and of the held-out tasks; the arrays are shared, and read-only.

        Raises:
            ConfigError: There are not so many tasks.
        """
        histories = self.config.histories
        known = _split if isinstance(self.task, Hashable) else _split.__wrapped__  # a user's family may not be frozen
        train_facts, held_out = known(self.task, histories.held_out, histories.seed, histories.train_tasks)  # type: ignore[arg-type]
        return dict(train_facts), dict(held_out)

    @cached_property
    def code_digest(self) -> str:
        """Digest of the files that define the task and the source, which may be a user's own."""
        digest = hashlib.sha256()
        for defined in (self.task, self.source):
            try:
                digest.update(read_file(Path(inspect.getfile(type(defined)))))
            except (OSError, TypeError):  # a class that was made by hand has no file
                digest.update(repr(type(defined)).encode())
        return digest.hexdigest()

    def live(self, facts: Facts, rng: np.random.Generator, source: Source | None = None) -> History:
        """Let the source live on tasks, one learner each, and return what a model of this configuration is trained on.

        Args:
            facts: The tasks. [learner, ...]
            rng: All randomness.
            source: Who lives in its place, as long and thinned as it does; None for the source itself.

        Raises:
            DataError: The source was recorded and cannot live on.
            ConfigError: The source that takes its place cannot live on these tasks.
        """
        return self._lives(facts, rng, self.config.histories.shuffle_rewards, source)

    def rewarded_lives(self, facts: Facts, rng: np.random.Generator) -> History:
        """Let the source live as :meth:`live` does, with the rewards that it earns, where training shuffles them."""
        return self._lives(facts, rng, shuffle_rewards=False)

    def _lives(
        self, facts: Facts, rng: np.random.Generator, shuffle_rewards: bool, source: Source | None = None
    ) -> History:
        settings = self.config.histories
        lengths = (settings.episodes, rng, settings.keep_every, settings.skip)
        return lived(source or self.source, self.task, facts, *lengths, shuffle_rewards)


@lru_cache(maxsize=2)  # graphs take seconds to draw, and models that are compared mostly share their tasks
def _split(task: Task, held_out: int, seed: int, train: int | None) -> tuple[Facts, Facts]:
    parts = task.split(held_out, seed, train)
    for fact in (fact for facts in parts for fact in facts.values()):
        fact.flags.writeable = False
    return parts


def read_config(path: Path, task_file: TaskFile = "trusted") -> Config:
    """Read and check a configuration.

    Args:
        path: Of the file.
        task_file: What happens to a Python file that it names.

    Raises:
        ConfigError: The file is missing or no YAML, or a key or value is wrong; every problem is listed.
    """
    content = read_yaml(path, "the configuration")
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold the sections {', '.join(Config.model_fields)}.")
    return check_config(content, str(path), task_file)


def read_yaml(path: Path, subject: str) -> Any:
    """Read a YAML file; `what` it is called in messages.

    Raises:
        ConfigError: It is missing or no YAML.
    """
    try:
        return load_yaml(read_text(path))
    except OSError as error:
        raise ConfigError(f"cannot read {subject} {path}: {error.strerror}.{_of_that_name(path)}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is not valid YAML: it is nested too deeply.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error


def _of_that_name(path: Path) -> str:
    """Say where there is a configuration of the model that a path seems to mean, if there is."""
    names = dict.fromkeys((path.stem, path.parent.name))
    places = [folder / name / "config.yaml" for folder in models_folders() for name in names]
    there = next((place for place in places if place != path and place.is_file()), None)
    return "" if there is None or path.exists() else f" There is {there}: name that, or copy it."


def check_config(content: dict[str, Any], where: str, task_file: TaskFile = "trusted") -> Config:
    """Turn a mapping into a configuration; `where` names its place in messages.

    Raises:
        ConfigError: As `read_config`.
    """
    problems = []
    file = file_of(content["task"].get("name")) if isinstance(content.get("task"), dict) else None
    if file is not None and task_file == "named":
        trust(file)
    config = None
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        problems = [_explain(problem) for problem in error.errors()]
    problems += _made_problems(content, unmade=("task",) if file and task_file == "unmade" else ())
    if config is not None:
        problems += size_problems(config.model, "model.")
    problems += [] if config is None else _training_problems(config)
    if problems or config is None:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"{where} cannot be used:\n{listed}")
    return config


def _made_problems(content: dict[str, Any], unmade: Collection[str]) -> list[str]:
    """Say why there is no such task or source, except for the sections that are not made."""
    problems = []
    for section, make, known in (("task", make_task, (*TASKS, *OTHERS)), ("source", make_source, tuple(SOURCES))):
        values = content.get(section)
        if isinstance(values, dict) and section not in unmade:
            strange = [key for key in values if not isinstance(key, str)]
            if strange or "name" not in values:
                problems += [f"{section}: {key!r} is no key; keys are text" for key in strange]
                problems += [] if "name" in values else [f"{section}: needs 'name'"]
                continue
            if not isinstance(values["name"], str):
                listed = ", ".join(known)
                problems.append(f"{section}: name is {values['name']!r}, but it must be text. Known: {listed}.")
                continue
            try:
                make(**values)
            except ConfigError as error:
                problems.append(f"{section}: {error}")
    return problems


def differences(now: Config, then: Config) -> list[str]:
    """Say in which keys two configurations differ; a key that is left out has its default.

    Returns:
        One line a key, `"model.n_layers: 4 now, 2 then"`.
    """
    first, second = _flat(now), _flat(then)
    return [
        f"{key}: {first.get(key, 'not there')!r} now, {second.get(key, 'not there')!r} then"
        for key in dict.fromkeys([*first, *second])
        if key not in first or key not in second or first[key] != second[key]
    ]


def _flat(config: Config) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for section in ("task", "source"):
        flat[f"{section}.name"] = getattr(config, section)["name"]
        try:
            made: Any = getattr(config.experiment, section)
        except (ConfigError, TypeError, AttributeError):  # of an earlier version, altered, or of a file that is not run
            flat |= {f"{section}.{key}": value for key, value in getattr(config, section).items()}
        else:
            flat |= {f"{section}.{parameter.name}": getattr(made, parameter.name) for parameter in fields(made)}
    for section in ("histories", "model", "training", "contexts"):
        flat |= {f"{section}.{key}": value for key, value in getattr(config, section) or ()}
    return flat


def _training_problems(config: Config) -> list[str]:
    training, problems = config.training, []
    if training.crop is not None and training.crop > config.kept_episodes:
        problems.append(f"training.crop: {training.crop} is more than the {config.kept_episodes} episodes of a history")
    if training.least_updates > training.updates:
        problems.append(f"training.least_updates: {training.least_updates} is more than updates = {training.updates}")
    if training.converged_below is not None:
        if not training.decay_from:
            problems.append(
                "training.converged_below: needs training.decay_from, such as 0.6: where the rate decays from the "
                "first update on, the loss stops falling for that reason alone"
            )
        elif training.decay_from * training.updates < 2 * training.converged_within:
            problems.append(
                f"training.converged_within: {training.converged_within} is too long for {training.updates} updates: "
                f"the rate is constant for the first {training.decay_from:.0%} of them, which must be twice as many"
            )
        if training.crop is not None:
            problems.append("training.crop: does not go with converged_below, which is judged on whole histories")
    if training.batch % training.accumulate:
        problems.append(f"training.batch: {training.batch} is not a multiple of accumulate = {training.accumulate}")
    return problems


def _explain(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        sections: dict[str, Any] = {
            "histories": HistoryConfig, "model": Size, "training": Training, "contexts": ContextConfig
        }  # fmt: skip
        known = sections.get(str(problem["loc"][0]), Config).model_fields
        return f"{place}: no such key.{did_you_mean(str(problem['loc'][-1]), known)} Known: {', '.join(known)}."
    if problem["type"] == "model_type":
        return f"{place}: must be a section of keys, but it is {problem['input']!r}; without it, defaults are taken"
    if problem["type"] == "missing":
        return f"{place}: is missing"
    return f"{place}: {problem['msg'][0].lower() + problem['msg'][1:]}, but it is {problem['input']!r}"
