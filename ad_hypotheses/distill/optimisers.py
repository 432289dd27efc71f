"""What turns gradients into updates: AdamW for every weight, or Muon for the matrices inside the layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.sections import Training

BETAS, EPS = (0.9, 0.99), 1e-8
MOMENTUM = 0.95
QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients of Jordan et al. 2024: all singular values come to lie near 1
ROUNDS = 5
RMS = 0.2  # of an update, about that of AdamW's (Liu et al. 2025, arXiv 2502.16982, section 2.2)
FASTER = 3.0  # Muon's learning rate by AdamW's


def make_optimiser(
    model: ADTransformer, training: Training, head: torch.nn.Module | None = None
) -> torch.optim.Optimizer:
    """Return the optimiser that a configuration asks for; neither decays biases, gains and embeddings.

    A group's learning rate is the configuration's times its `scale`.

    Args:
        model: What is trained.
        training: How.
        head: What is trained beside it; it is not among the matrices of layers, and does not decay.
    """
    inside: list[Tensor] = []
    outside: list[Tensor] = []
    undecayed: list[Tensor] = []
    for name, weight in model.named_parameters():
        decayed = ".W_" in name or name == "W_U"
        (undecayed if not decayed else inside if name.startswith("blocks.") else outside).append(weight)
    undecayed += [] if head is None else head.parameters()
    if training.optimiser == "muon":
        return Muon(inside, outside, undecayed, training)
    groups = [_group([*inside, *outside], training.weight_decay), _group(undecayed, 0.0)]
    fused = model.device.type in ("cpu", "cuda")  # a fifth of the time
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=BETAS, eps=EPS, fused=fused)


def _group(weights: list[Tensor], decay: float, scale: float = 1.0) -> dict[str, Any]:
    return {"params": weights, "weight_decay": decay, "scale": scale}


class Muon(torch.optim.Optimizer):
    """Moves matrices along their orthogonalised momentum, and everything else as AdamW does.

    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; with Nesterov momentum, and updates
    scaled to AdamW's size. A head's queries, keys, values and output are matrices of their own. torch's own Muon takes
    plain matrices alone.

    Args:
        inside: The matrices of the layers. [..., row, column]
        outside: Matrices that AdamW moves and that decay.
        undecayed: Weights that do not decay.
        training: Learning rate and weight decay.
    """

    def __init__(
        self, inside: list[Tensor], outside: list[Tensor], undecayed: list[Tensor], training: Training
    ) -> None:
        groups = [
            _group(inside, training.weight_decay, FASTER),
            _group(outside, training.weight_decay),
            _group(undecayed, 0.0),
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": training.learning_rate})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            move = self._along_momentum if group["scale"] == FASTER else self._as_adamw
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    move(weight, weight.grad, group["lr"])

    def _along_momentum(self, weight: Tensor, gradient: Tensor, rate: float) -> None:
        momentum = self._kept(weight, ["momentum"])["momentum"]
        momentum.lerp_(gradient, 1 - MOMENTUM)
        direction = orthogonalised(gradient.lerp(momentum, MOMENTUM))
        weight.add_(direction, alpha=-rate * RMS * max(weight.shape[-2:]) ** 0.5)

    def _as_adamw(self, weight: Tensor, gradient: Tensor, rate: float) -> None:
        state = self._kept(weight, ["mean", "square"])
        state["step"] = state.get("step", torch.zeros(())) + 1
        state["mean"].lerp_(gradient, 1 - BETAS[0])
        state["square"].lerp_(gradient.square(), 1 - BETAS[1])
        first, second = (1 - beta ** float(state["step"]) for beta in BETAS)
        weight.addcdiv_(state["mean"], (state["square"] / second).sqrt_().add_(EPS), value=-rate / first)

    def _kept(self, weight: Tensor, names: Iterable[str]) -> dict[str, Any]:
        state = self.state[weight]
        for name in names:
            if name not in state:
                state[name] = torch.zeros_like(weight)
        return state


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return about the nearest matrices whose singular values are all 1, by a Newton-Schulz iteration.

    Singular values come out between 0.7 and 1.2, which is near enough for a direction. [..., row, column]
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    first, third, fifth = QUINTIC
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = first * x + (third * square + fifth * square @ square) @ x
    return x.mT if tall else x
