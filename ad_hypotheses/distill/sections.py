"""The sections of a configuration: every key with its default, its limits and what it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_serializer
from pydantic_core import PydanticCustomError

from ad_hypotheses.distill.shape import Activation, Positions
from ad_hypotheses.sources.contexts.agents import Agent, Agents
from ad_hypotheses.tasks.task import as_number

LARGEST_SEED = 2**63 - 1  # for torch; numpy would take any
LATER: dict[str, Any] = {"later": True}  # marks keys that configurations did not always have


class Section(BaseModel):
    """Keys of a configuration that belong together; no others, and nothing that only looks like its type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)  # a batch of "24" or of 1.5 is a mistake

    @model_serializer(mode="wrap")
    def _without_later_keys(self, serialise: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Leave out keys of later versions where they are at their defaults: digests of configurations stay valid."""
        fields = type(self).model_fields
        return {
            key: value
            for key, value in serialise(self).items()
            if not (fields[key].json_schema_extra == LATER and getattr(self, key) == fields[key].default)
        }


def _number(value: Any) -> Any:
    """Read 2e-3, which YAML takes for text, as the number that it is, and yes and no as none."""
    if isinstance(value, bool):
        raise PydanticCustomError("float_type", "Input should be a valid number")
    return as_number(value)


Number = Annotated[float, BeforeValidator(_number)]


class HistoryConfig(Section):
    """The learning histories to distil."""

    held_out: int = Field(16, ge=0, description="tasks that no training history comes from")
    train_tasks: int | None = Field(None, ge=1, description="tasks to train on; without a number, all that are left")
    learners: int = Field(4096, ge=1, description="learners, spread evenly over the training tasks")
    episodes: int = Field(38, ge=1, description="episodes that each learner lives")
    keep_every: int = Field(2, ge=1, description="keep every k-th episode, so that learning looks k times faster")
    skip: int = Field(0, ge=0, description="episodes lived before the first that is kept: expert-only data, if many")
    shuffle_rewards: bool = Field(False, description="deal the rewards of each history out to other steps of it")
    check: bool = Field(True, description="refuse a source that does not learn")
    seed: int = Field(0, ge=0, le=LARGEST_SEED)


class ContextConfig(Section):
    """Contexts that agents live, labelled at every step with what the source would do; instead of its histories."""

    agents: list[Agent] = Field(
        ["random", "habitual", "noisy-source"], min_length=1, description="who lives them; drawn for each episode"
    )
    habit: Number = Field(0.8, ge=0, le=1, description="chance with which a habitual agent does as usual")
    noise: Number = Field(0.5, ge=0, le=1, description="largest chance with which a noisy source acts at random")
    fresh_tasks: bool = Field(False, description="new tasks in every batch; else those to train on")

    @property
    def crowd(self) -> Agents:
        """Who lives the contexts."""
        return Agents(tuple(self.agents), self.habit, self.noise)


class Size(Section):
    """The transformer."""

    n_layers: int = Field(4, ge=1, le=64)
    n_heads: int = Field(4, ge=1)
    d_model: int = Field(64, ge=1)
    d_mlp: int | None = Field(None, ge=1)
    dropout: Number = Field(0.0, ge=0, lt=1)
    layer_norm: bool = Field(True, description="off in networks that are set by hand")
    positions: Positions = Field("learned", description="how steps are told apart")
    attention_only: bool = Field(False, description="no MLPs")
    window: int | None = Field(None, ge=1, description="steps that a query attends to; without a number, all before it")
    activation: Activation = Field(
        "gelu", description="between the two maps of an MLP; gelu_new is GPT-2's", json_schema_extra=LATER
    )
    eps: Number = Field(1e-5, gt=0, allow_inf_nan=False, description="of LayerNorm", json_schema_extra=LATER)


class Training(Section):
    """How the transformer is fitted: linear warm-up, a constant rate if wanted, then cosine decay to zero."""

    updates: int = Field(3000, ge=1)
    batch: int = Field(24, ge=1, description="histories per update")
    crop: int | None = Field(None, ge=1, description="episodes of a sample, cut out of a history; else all of them")
    token_mask: Number = Field(0.0, ge=0, lt=1, description="share of the parts of tokens that training leaves out")
    optimiser: Literal["adamw", "muon"] = Field("adamw", description="muon: for the matrices inside the layers")
    learning_rate: Number = Field(2e-3, gt=0, allow_inf_nan=False)
    warmup: int = Field(100, ge=0)
    weight_decay: Number = Field(0.01, ge=0, allow_inf_nan=False)
    clip: Number = Field(1.0, gt=0, description="largest norm of the gradient")
    accumulate: int = Field(1, ge=1, description="parts that a batch is computed in, one after another")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of activations; weights are float32")
    compile: bool = Field(False, description="compile the model for training: slow to start, then faster")
    evaluate_every: int = Field(500, ge=1, description="updates between rollouts on held-out tasks")
    save_every: int = Field(200, ge=1, description="updates between the states that an interrupted run resumes from")
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    decay_from: Number = Field(
        0.0, ge=0, lt=1, description="share of the updates after which the rate decays", json_schema_extra=LATER
    )
    next_state_until: Number | None = Field(
        None, gt=0, description="predict next states too, until that loss is below this", json_schema_extra=LATER
    )
    converged_below: Number | None = Field(
        None, gt=0, lt=1, description="end when the loss falls by a smaller share than this", json_schema_extra=LATER
    )
    converged_within: int = Field(
        500, ge=1, description="updates in which it falls, on fresh histories", json_schema_extra=LATER
    )
    least_updates: int = Field(1, ge=1, description="updates before which no training ends", json_schema_extra=LATER)
    stages: int | None = Field(
        None, ge=1, le=100, description="checkpoints kept on the way, evenly on a log scale", json_schema_extra=LATER
    )
    kept_as: Literal["float32", "float16"] = Field(
        "float32", description="number type of the weights on disk", json_schema_extra=LATER
    )
