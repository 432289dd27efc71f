"""A pass on a device: nothing is asked of it that the host would have to wait for, and nothing is mixed with the host.

Tensors that say they are on a GPU, without numbers in them, refuse both; no GPU is needed.
"""

from __future__ import annotations

from types import EllipsisType
from typing import Any

import numpy as np
import pytest
import torch
from expand import tiny_history, tiny_model
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.overrides import TorchFunctionMode

from ad_hypotheses.causal import scrub
from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.language.check import BoundGraph, BoundNode
from ad_hypotheses.language.sites import embed, head, logits, mlp

ROWS, REFERENCES, STEPS = 12, 5, 4
aten = torch.ops.aten
pytestmark = pytest.mark.slow  # what makes such tensors takes seconds to be loaded


class WithoutDriver(TorchFunctionMode):
    """Does by operators what Python's brackets, and pinning, would ask the driver of a GPU for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__getitem__:
            return taken(*args)
        if func is Tensor.__setitem__:
            into, where, values = args
            return aten.copy_(taken(into, where), values)
        return args[0] if func is Tensor.pin_memory else func(*args, **(kwargs or {}))


def taken(x: Tensor, where: Any) -> Tensor:
    """Return `x[where]`."""
    places = where if isinstance(where, tuple) else (where,)
    n_named = sum(not isinstance(place, EllipsisType | None) for place in places)
    indices: list[Tensor | None] = []
    for place in places:
        if isinstance(place, EllipsisType):
            indices += [None] * (x.dim() - n_named)
        elif place is None:
            x = aten.unsqueeze(x, len(indices))
            indices.append(None)
        elif isinstance(place, slice):
            x = aten.slice.Tensor(x, len(indices), place.start, place.stop)
            indices.append(None)
        elif isinstance(place, int):
            x = aten.select.int(x, len(indices), place)
        else:
            indices.append(place if isinstance(place, Tensor) else torch.tensor(place))
    return aten.index.Tensor(x, indices) if any(index is not None for index in indices) else x


def moved(model: ADTransformer) -> ADTransformer:
    """Put a model onto a GPU that is not there."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            module._parameters[name] = None if weight is None else torch.nn.Parameter(elsewhere(weight), False)
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else elsewhere(buffer)
    return model


def elsewhere(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device="cuda")


def claim_of(model: ADTransformer) -> BoundGraph:
    """A claim with features of steps and of whole histories, at inputs, at an MLP and at heads."""
    anatomy, rng = model.anatomy, np.random.default_rng(0)
    steps, whole = rng.integers(3, size=(ROWS, STEPS)), rng.integers(3, size=ROWS)
    selected = rng.random((ROWS, STEPS)) < 0.5
    places = [
        ("seen", embed("x"), (), steps, None),
        ("life", embed("action"), (), whole, None),
        ("memory", head(0), ("seen",), steps, selected),
        ("plan", mlp(0), ("memory", "life"), steps, None),
        ("choice", logits, ("plan", "seen"), None, None),
    ]
    nodes = [
        BoundNode(name, site.resolve(anatomy), parents, labels, at, False, "")
        for name, site, parents, labels, at in places
    ]
    return BoundGraph({node.name: node for node in nodes}, "choice")


class EndOfPass(Exception):
    """Raised where a pass has computed all, and the host asks for it."""


@pytest.mark.parametrize("how", [{}, {"others": "independent"}, {"shared": True}, {"align": "any"}], ids=str)
def test_the_host_waits_once_a_pass_and_for_nothing_within(monkeypatch, how):
    def end(computed: Tensor, *_: Any) -> Tensor:
        raise EndOfPass(computed.device.type, computed.shape)

    monkeypatch.setattr(scrub, "require_finite", end)
    model, history = tiny_model(3, STEPS), tiny_history(3, ROWS, STEPS)
    claim, tokens = claim_of(model), model.to_tokens(history)
    with FakeTensorMode(), WithoutDriver():
        known = np.zeros((ROWS, STEPS, model.vocabulary.n_actions))
        clean = Clean(Twin(moved(model.eval())), history, elsewhere(tokens), known, n_references=REFERENCES)
        with pytest.raises(EndOfPass) as ended:
            Scrubber(clean, claim, Options(**how)).run(0, movements=True)
    assert ended.value.args == ("cuda", (REFERENCES * STEPS, model.vocabulary.n_actions))


def test_such_tensors_refuse_what_would_wait_or_mix():
    with FakeTensorMode(), WithoutDriver():
        there = torch.empty(3, device="cuda")
        with pytest.raises(DataDependentOutputException):
            there.sum().item()
        with pytest.raises(RuntimeError, match="device"):
            there + torch.ones(3)
