"""How large a transformer is, how it tells steps apart, and which sizes go together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from ad_hypotheses.errors import ConfigError

Positions = Literal["learned", "rotary", "none"]
Activation = Literal["gelu", "gelu_new", "relu"]


@dataclass(frozen=True)
class Shape:
    """Size of a transformer. `d_mlp=None` is four times `d_model`; dropout is off unless asked for.

    Without `layer_norm` the model is what hand-set weights make of it, and a linear one can be worked out by hand.

    Attributes:
        n_ctx: Steps of a context; with a `window` it limits nothing.
        n_layers: Number of layers.
        n_heads: Attention heads of every layer.
        d_model: Width of the residual stream.
        d_mlp: Width of the MLPs.
        dropout: Share of what a layer writes that is dropped in training.
        eps: Of LayerNorm.
        activation: Between the two maps of an MLP: GELU, the approximation of it that GPT-2 has, or ReLU.
        layer_norm: Whether readers see the stream through a LayerNorm.
        positions: `"learned"`: one embedding for each step of the context. `"rotary"`: queries and keys are turned by
            their step (Su et al. 2021, arXiv 2104.09864). `"none"`: the causal mask alone tells steps apart.
        attention_only: Whether the layers have no MLPs.
        window: Steps that a query attends to, itself and those before it; None for all.

    Raises:
        ConfigError: Sizes that do not go together.
    """

    n_ctx: int
    n_layers: int = 4
    n_heads: int = 4
    d_model: int = 64
    d_mlp: int | None = None
    dropout: float = 0.0
    eps: float = 1e-5
    activation: Activation = "gelu"
    layer_norm: bool = True
    positions: Positions = "learned"
    attention_only: bool = False
    window: int | None = None

    def __post_init__(self) -> None:
        problems = list(size_problems(self))
        if problems:
            raise ConfigError("\n".join(problems))

    @property
    def d_head(self) -> int:
        """Width of a head's queries, keys and values."""
        return self.d_model // self.n_heads


@runtime_checkable
class _Size(Protocol):
    @property
    def n_heads(self) -> int:
        """As in :class:`Shape`."""

    @property
    def d_model(self) -> int:
        """As in :class:`Shape`."""

    @property
    def positions(self) -> Positions:
        """As in :class:`Shape`."""

    @property
    def window(self) -> int | None:
        """As in :class:`Shape`."""


def size_problems(size: _Size, section: str = "") -> Iterator[str]:
    """Yield what is wrong with sizes that do not go together.

    Args:
        size: A :class:`Shape`, or the section of a configuration that becomes one.
        section: What stands before the keys in messages, e.g. `"model."`.
    """
    width, d_head = f"{section}d_model: {size.d_model}", size.d_model // size.n_heads
    if size.d_model % size.n_heads:
        yield f"{width} is not a multiple of {section}n_heads = {size.n_heads}"
    elif size.positions == "rotary" and d_head % 2:
        problem = f"{width} makes heads of width {d_head}, but {section}positions = rotary turns pairs"
        yield f"{problem}: {section}d_model / {section}n_heads must be even"
    if size.window is not None and size.positions == "learned":
        problem = (
            f"{section}window: {size.window} does not go with {section}positions = learned, which end with the context"
        )
        yield f"{problem}; with a window, positions must be rotary or none"
    if size.window is not None and size.window < 1:
        yield f"{section}window: {size.window} is less than 1 step"
