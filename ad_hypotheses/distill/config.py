"""What makes a model: one YAML file that `train` reads and that stays beside the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ad_hypotheses.errors import ConfigError, did_you_mean
from ad_hypotheses.sources import Source, make_source
from ad_hypotheses.tasks import Task, make_task


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Histories(_Section):
    """The learning histories to distil."""

    held_out: int = Field(16, ge=0, description="tasks that no training history comes from")
    learners: int = Field(4096, ge=1, description="learners, spread evenly over the training tasks")
    episodes: int = Field(38, ge=1, description="episodes that each learner lives")
    keep_every: int = Field(2, ge=1, description="keep every k-th episode, so that learning looks k times faster")
    seed: int = Field(0, ge=0)


class Size(_Section):
    """The transformer."""

    n_layers: int = Field(4, ge=1, le=64)
    n_heads: int = Field(4, ge=1)
    d_model: int = Field(64, ge=1)
    d_mlp: int | None = Field(None, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)


class Training(_Section):
    """How the transformer is fitted: AdamW, linear warm-up, cosine decay to zero."""

    updates: int = Field(3000, ge=1)
    batch: int = Field(24, ge=1, description="histories per update")
    learning_rate: float = Field(2e-3, gt=0)
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    evaluate_every: int = Field(500, ge=1, description="updates between rollouts on held-out tasks")
    save_every: int = Field(200, ge=1, description="updates between the states that an interrupted run resumes from")
    seed: int = Field(0, ge=0)


class Config(_Section):
    """Everything that determines a trained model."""

    task: dict[str, Any]
    source: dict[str, Any]
    histories: Histories = Histories()
    model: Size = Size()
    training: Training = Training()

    def make_task(self) -> Task:
        """Return the task family."""
        return make_task(**self.task)

    def make_source(self) -> Source:
        """Return the learner whose histories are distilled."""
        return make_source(**self.source)

    @property
    def kept_episodes(self) -> int:
        """Episodes of a history, and so of a context."""
        return -(-self.histories.episodes // self.histories.keep_every)


def read_config(path: Path) -> Config:
    """Read and check a configuration.

    Raises:
        ConfigError: The file is missing or no YAML, or a key or value is wrong; every problem is listed.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold the sections {', '.join(Config.model_fields)}.")
    return check_config(content, str(path))


def check_config(content: dict[str, Any], where: str) -> Config:
    """Turn a mapping into a configuration; `where` names its place in messages.

    Raises:
        ConfigError: As `read_config`.
    """
    problems = []
    config = None
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        problems = [_explain(problem) for problem in error.errors()]
    for section, make in (("task", make_task), ("source", make_source)):
        values = content.get(section)
        if isinstance(values, dict):
            try:
                make(**values)
            except ConfigError as error:
                problems.append(f"{section}: {error}")
            except TypeError:
                problems.append(f"{section}: needs 'name'")
    if config is not None and config.model.d_model % config.model.n_heads:
        problems.append(
            f"model.d_model: {config.model.d_model} is not a multiple of model.n_heads = {config.model.n_heads}"
        )
    if problems or config is None:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"{where} cannot be used:\n{listed}")
    return config


def _explain(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        sections: dict[str, Any] = {"histories": Histories, "model": Size, "training": Training}
        known = sections.get(str(problem["loc"][0]), Config).model_fields
        return f"{place}: no such key.{did_you_mean(str(problem['loc'][-1]), known)} Known: {', '.join(known)}."
    if problem["type"] == "missing":
        return f"{place}: is missing"
    return f"{place}: {problem['msg'][0].lower() + problem['msg'][1:]}, but it is {problem['input']!r}"
