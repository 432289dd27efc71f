"""Whether a model of ours computes what the one does that its weights come from; if not, from which layer on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.errors import CheckpointError

TOLERANCE = 1e-5  # largest difference, as a share of the largest value where that is above 1
ATTENTION = ("attn", "self_attn", "attention")  # names of the attention inside a layer

Call = Callable[[nn.Module, Tensor], Any]
"""Runs a module on tokens `[row, step, channel]`: logits `[row, step, action]`, or what has them as `.logits`."""


@dataclass(frozen=True)
class ComparedPlace:
    """Something that both models compute.

    Attributes:
        words: What it is, for messages.
        theirs: Name of their module, empty for what the whole model returns.
        ours: Name of our module whose output it is.
        is_input: Whether it is the input of their module, not the output.
    """

    words: str
    theirs: str
    ours: str = ""
    is_input: bool = False


@dataclass
class _Watch:
    """Keeps what passes modules in the order of places."""

    values: dict[ComparedPlace, Tensor] = field(default_factory=dict)

    def keep(self, place: ComparedPlace, value: Any) -> None:
        """Note a value; of several that a module takes or returns, the first."""
        value = value[0] if isinstance(value, tuple) else value
        if isinstance(value, Tensor):
            self.values.setdefault(place, value.detach())


def require_equal_logits(
    ours: ADTransformer, theirs: nn.Module, call: Call, stack: str, tokens: Sequence[Tensor]
) -> float:
    """Run both models on the same tokens in float64, and compare what they compute from the first layer on.

    Args:
        ours: The model with the converted weights.
        theirs: The module that they come from; a copy of it is run.
        call: Runs it.
        stack: Name of the list of its layers.
        tokens: Batches of them. [row, step, channel]

    Returns:
        The largest difference between two logits.

    Raises:
        CheckpointError: They differ by more than `TOLERANCE`; says where first.
    """
    ours, theirs = copy.deepcopy(ours).double().eval(), copy.deepcopy(theirs).double().eval()
    largest = 0.0
    for batch in tokens:
        places = list(_places(ours, theirs, stack))
        with torch.no_grad(), ExitStack() as stopped:
            our_values, their_values = _Watch(), _Watch()
            for place in places:
                _watch(ours.get_submodule(place.ours), place, our_values, False, stopped)
                _watch(theirs.get_submodule(place.theirs), place, their_values, place.is_input, stopped)
            end = ComparedPlace("the logits", "")
            our_values.keep(end, ours(batch))
            answer = call(theirs, batch)
            their_values.keep(end, getattr(answer, "logits", answer))
        _require_logits(our_values.values[end], their_values.values.get(end))
        for place in (*places, end):
            _require_close(place, our_values.values.get(place), their_values.values.get(place))
        largest = max(largest, float((our_values.values[end] - their_values.values[end]).abs().max()))
    return largest


def require_recorded_logits(ours: ADTransformer, tokens: Tensor, logits: Tensor) -> float:
    """Compare the logits of a model with those that another returned for the same tokens.

    Args:
        ours: The model with the converted weights.
        tokens: What the other model read. [row, step, channel]
        logits: What it returned. [row, step, action]

    Returns:
        The largest difference.

    Raises:
        CheckpointError: They differ by more than `TOLERANCE`.
    """
    with torch.no_grad():
        computed = copy.deepcopy(ours).double().eval()(tokens)
    _require_logits(computed, logits)
    _require_close(ComparedPlace("the logits", ""), computed, logits.double())
    return float((computed - logits).abs().max())


def _places(ours: ADTransformer, theirs: nn.Module, stack: str) -> Iterator[ComparedPlace]:
    """Yield what both compute, in its order: the embedding, then what each layer's attention and each layer writes."""
    inner = dict(theirs.named_modules())
    for number in range(ours.shape.n_layers):
        layer, block = f"{stack}.{number}", f"blocks.{number}"
        if number == 0:
            yield ComparedPlace("the embedding", layer, f"{block}.hook_resid_pre", is_input=True)
        for name in ATTENTION:
            if f"{layer}.{name}" in inner:
                attention = f"{layer}.{name}"
                yield ComparedPlace(
                    f"the attention of layer {number} ({attention})", attention, f"{block}.hook_attn_out"
                )
        yield ComparedPlace(f"layer {number} ({layer})", layer, f"{block}.hook_resid_post")


def _watch(module: nn.Module, place: ComparedPlace, watch: _Watch, is_input: bool, stopped: ExitStack) -> None:
    def before(_: nn.Module, given: Any, named: dict[str, Any]) -> None:
        watch.keep(place, given or next(iter(named.values()), None))

    def after(_: nn.Module, __: Any, result: Any) -> None:
        watch.keep(place, result)

    hook = (
        module.register_forward_pre_hook(before, with_kwargs=True) if is_input else module.register_forward_hook(after)
    )
    stopped.callback(hook.remove)


def _require_logits(ours: Tensor, theirs: Tensor | None) -> None:
    shape = None if theirs is None else list(theirs.shape)
    if shape != list(ours.shape):
        raise CheckpointError(
            f"the checkpoint's own model must return logits {list(ours.shape)} of every step, but it returns "
            f"{shape or 'no tensor'}. Say how it is run (`call`): a function of the module and of tokens "
            "[row, step, channel]."
        )


def _require_close(place: ComparedPlace, ours: Tensor | None, theirs: Tensor | None) -> None:
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return  # another layout, or a module that was not called: what comes later is compared
    apart, size = float((ours - theirs).abs().max()), max(1.0, float(theirs.abs().max()))
    if not apart <= TOLERANCE * size:  # a NaN is not close either
        raise CheckpointError(
            f"the model does not compute what the checkpoint's own does: the first to differ is {place.words}, by "
            f"{apart:.2g} where values reach {size:.2g}.\n  {_advice(place)}"
        )


def _advice(place: ComparedPlace) -> str:
    if "embedding" in place.words:
        return "Compare the order of the values of each table (`embeddings`), and what else is added or normalised."
    if "attention" in place.words:
        return "Compare the number of heads (`n_heads`), how positions turn queries (`rotary`), and their scale."
    if place.theirs:
        return "Compare the activation of the MLP (`activation`), and where the layer norms stand: they come first."
    return "Compare the last layer norm and which weights the logits come from (`unembed`)."
