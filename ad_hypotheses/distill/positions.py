"""How attention tells steps apart: rotary angles, and which keys a query may look at."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

BASE = 10_000.0  # the slowest pair turns once in about 2 pi times as many steps

Angles = tuple[Float[Tensor, "step 1 pair"], Float[Tensor, "step 1 pair"]]
"""Cosine and sine of what each pair of coordinates is turned by, at each step."""


def angles(start: int, stop: int, d_head: int, like: Tensor) -> Angles:
    """Return the rotary angles of the steps `start .. stop - 1` (Su et al. 2021, equation 15).

    Args:
        start: First step.
        stop: One after the last step.
        d_head: Width of queries and keys; even.
        like: Whose number type and device to use.
    """
    # in float64, since a long life turns the fastest pair by many thousand radians
    pairs = torch.arange(0, d_head, 2, dtype=torch.float64, device=like.device)
    steps = torch.arange(start, stop, dtype=torch.float64, device=like.device)
    turned = (steps[:, None] * BASE ** (-pairs / d_head))[:, None]
    return turned.cos().to(like.dtype), turned.sin().to(like.dtype)


def rotate(x: Float[Tensor, "batch step head d_head"], by: Angles) -> Float[Tensor, "batch step head d_head"]:
    """Turn the pairs of neighbouring coordinates of queries or keys (Su et al. 2021, equation 34)."""
    cos, sin = by
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2).type_as(x)


def visible(queries: int, keys: int, window: int | None, device: torch.device) -> Bool[Tensor, "query key"]:
    """Return which keys each query sees: itself and those before it, of which the last `window` with itself.

    Args:
        queries: Number of queries; they stand at the last of the keys.
        keys: Number of keys, in the order of their steps.
        window: As `Shape.window`.
        device: Where to.
    """
    key = torch.arange(keys, device=device)
    own = key[keys - queries :, None]
    seen = key <= own
    return seen if window is None else seen & (key > own - window)


def plainly_causal(queries: int, keys: int, window: int | None) -> bool:
    """Whether every query sees all keys up to its own and they begin together, or there is one query that sees all."""
    return queries in (1, keys) and (window is None or keys <= window)
