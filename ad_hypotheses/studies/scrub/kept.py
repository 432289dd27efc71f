"""What a process generated and measured already, so that a claim that changed in one node is not measured anew."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ad_hypotheses.language.check import BoundGraph, BoundNode

Value = TypeVar("Value")
LIMIT = 3 * 2**29  # bytes: data sets of two models of the zoo with what the latest claims needed of their runs


class Kept:
    """Values by what they were made from, the latest used ones as far as they fit.

    Args:
        limit: Bytes that they may take.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._values: OrderedDict[Hashable, tuple[Any, Callable[[Any], int]]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value], size: Callable[[Value], int]) -> Value:
        """Return the value of a key, made if it is not kept.

        Args:
            key: All that the value depends on.
            make: Makes it.
            size: Returns the bytes of a value, which may grow after it was made.
        """
        if key not in self._values:
            self._values[key] = make(), size
        self._values.move_to_end(key)
        value: Value = self._values[key][0]
        self.trim()
        return value

    def trim(self) -> None:
        """Forget the values that were not used for longest, until the others fit; the latest always stays."""
        while len(self._values) > 1 and self.bytes > self.limit:
            self._values.popitem(last=False)

    @property
    def bytes(self) -> int:
        """Bytes of all values."""
        return sum(size(value) for value, size in self._values.values())

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class Remembered:
    """Values of one data set and one way of drawing.

    Attributes:
        kept: All that is kept.
        key: What tells apart the weights, the data and the settings.
    """

    kept: Kept
    key: str

    @property
    def stays_below(self) -> int:
        """Bytes that the model's own run may take."""
        return self.kept.limit // 2

    def get(self, key: tuple[Hashable, ...], make: Callable[[], Value], size: Callable[[Value], int]) -> Value:
        """Return the value of a key, made if it is not kept."""
        return self.kept.get((self.key, *key), make, size)


def remembered(
    memory: Remembered | None, key: tuple[Hashable, ...], make: Callable[[], Value], size: Callable[[Value], int]
) -> Value:
    """Return what this process measured already, or measure it."""
    return make() if memory is None else memory.get(key, make, size)


def node_digest(node: BoundNode) -> bytes:
    """Return a digest of everything that a node's draws and values depend on, its parents' apart."""
    digest = hashlib.sha256(repr((node.name, [str(part) for part in node.parts], node.parents)).encode())
    for part in node.parts:
        digest.update(b"" if part.directions is None else part.directions.tobytes())
    for values in (node.labels, node.selected):
        digest.update(b"-" if values is None else np.ascontiguousarray(values).tobytes())
    return digest.digest()


def graph_digest(bound: BoundGraph, name: str | None = None) -> str:
    """Return a digest of a claim, or of one of its nodes with all that it is made from.

    Args:
        bound: The claim.
        name: Of the node; the root by default.
    """
    names, queue = dict[str, None](), [name or bound.root]
    while queue:
        names[queue[0]] = None
        queue += [parent for parent in bound.nodes[queue.pop(0)].parents if parent not in names]
    digest = hashlib.sha256((name or bound.root).encode())
    for each in sorted(names):
        digest.update(node_digest(bound.nodes[each]))
    return digest.hexdigest()


def array_bytes(*arrays: np.ndarray | None) -> int:
    """Return the bytes of arrays."""
    return sum(array.nbytes for array in arrays if array is not None)
