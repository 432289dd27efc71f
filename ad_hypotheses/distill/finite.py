"""A model that holds or gives numbers which are not finite is refused: whatever is measured on it would be wrong.

NaN compares as false and counts as nothing in many a mean, so that a report on such a model may look like any other.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.errors import CheckpointError

REMEDY = (
    "Its training diverged, or the file was altered: restore it, or train again with a smaller training.learning_rate"
)


class NonFiniteError(CheckpointError):
    """A model computes numbers that are not finite."""


def non_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Say which tensors hold numbers that are not finite, and how many of them."""
    counts = {name: int((~tensor.isfinite()).sum()) for name, tensor in tensors.items()}
    return [f"{name}: {n} of {tensors[name].numel()} are NaN or infinite" for name, n in counts.items() if n]


def require_finite_weights(tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights that are not finite.

    Args:
        tensors: The weights by name.
        where: What holds them, in words.

    Raises:
        CheckpointError: Some are not; names the tensors.
    """
    wrong = non_finite(tensors)
    if wrong:
        listed = "".join(f"\n  {line}" for line in wrong)
        raise CheckpointError(f"{where} holds weights that are not finite numbers:{listed}\n  {REMEDY}.")


def require_finite(values: Tensor, model: ADTransformer, quantity: str) -> Tensor:
    """Return what a model computed, or refuse it.

    Args:
        values: Any numbers that the model computed.
        model: Which.
        what: What they are, in words.

    Raises:
        NonFiniteError: Some are not finite, or so large that differences of them are not; names the largest weights.
    """
    # tensors of the meta device have no numbers; a comparison with NaN is false, so this finds NaN too
    if values.is_meta or (values.detach().abs() <= torch.finfo(values.dtype).max / 4).all():
        return values
    sizes = {name: float(weight.detach().abs().max()) for name, weight in model.named_parameters() if weight.numel()}
    largest = max(sizes, key=lambda name: sizes[name] if sizes[name] == sizes[name] else float("inf"))
    named = f"the model {model.name}" if model.name else "the model"
    raise NonFiniteError(
        f"{quantity} of {named} are not finite numbers: its weights are too large to compute with "
        f"(the largest, {sizes[largest]:.3g}, is in {largest}).\n  {REMEDY}."
    )
