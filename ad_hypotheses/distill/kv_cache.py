"""Keys and values of the steps that were read, so that a rollout computes each step once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ad_hypotheses.distill.shape import Shape


@runtime_checkable
class _Model(Protocol):
    shape: Shape

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the weights."""


class LayerCache:
    """Keys and values of one layer: of the whole context, or of a ring of the last `window` steps.

    Args:
        batch: Number of rows.
        model: Whose.
    """

    def __init__(self, batch: int, model: _Model) -> None:
        shape, kind = model.shape, model.device.type
        self.capacity = shape.n_ctx if shape.window is None else shape.window
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else model.dtype
        # heads before steps: the order in which attention reads them
        self.k = torch.empty(batch, shape.n_heads, self.capacity, shape.d_head, device=model.device, dtype=dtype)
        self.v = torch.empty_like(self.k)
        self.n_steps = 0
        self._kept: tuple[Tensor, Tensor] | None = None

    def once(self, make: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Return what `make` made the first time: weights do not change while a cache is in use."""
        self._kept = make() if self._kept is None else self._kept
        return self._kept

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add new steps and return all that they may see. [batch, step, head, d_head]

        The steps come in their order, except that one new step gets a full ring as it lies: a single query sees every
        key, in whatever order.
        """
        new, (k, v) = k.shape[1], (k.transpose(1, 2), v.transpose(1, 2))
        start, self.n_steps = self.n_steps, self.n_steps + new
        if self.n_steps <= self.capacity or new == 1:
            slot = start if self.n_steps <= self.capacity else start % self.capacity
            self.k[:, :, slot : slot + new], self.v[:, :, slot : slot + new] = k, v
            held = min(self.n_steps, self.capacity)
            return self.k[:, :, :held].transpose(1, 2), self.v[:, :, :held].transpose(1, 2)
        earlier = self._slots(start)
        k, v = torch.cat([self.k[:, :, earlier], k], dim=2), torch.cat([self.v[:, :, earlier], v], dim=2)
        latest = self._slots(self.n_steps)
        self.k[:, :, latest], self.v[:, :, latest] = k[:, :, -self.capacity :], v[:, :, -self.capacity :]
        return k.transpose(1, 2), v.transpose(1, 2)

    def _slots(self, stop: int) -> Tensor:
        """Where the last steps before `stop` lie, in their order."""
        return torch.arange(max(0, stop - self.capacity), stop, device=self.k.device) % self.capacity


class KVCache:
    """Keys and values of all layers.

    Args:
        batch: Number of rows.
        model: The transformer that will read.
    """

    def __init__(self, batch: int, model: _Model) -> None:
        self.layers = [LayerCache(batch, model) for _ in range(model.shape.n_layers)]

    @property
    def n_steps(self) -> int:
        """Number of steps read."""
        return self.layers[0].n_steps
