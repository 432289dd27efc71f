"""Weights that are set by hand: named subspaces of the residual stream, and what reads and writes them.

A network without LayerNorm starts silent, all weights 0. Every quantity gets coordinates of its own; embeddings write
one-hot numbers there, heads copy or average them, MLPs combine them, and the logits read what is left at the end::

    net = Wiring(vocabulary, Shape(n_ctx=60, n_layers=1, n_heads=1, d_model=16, layer_norm=False))
    arm = net.space("last arm", 5)
    net.embed("action", arm, np.eye(6, 5, k=-1))      # the previous action 0 stands for "none yet"
    net.unembed(arm, 2.0 * np.eye(5))

Everything here is exact to float32 rounding where attention is sharp (scores at least `SHARP` apart) and where MLPs
read one-hot numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from ad_hypotheses.distill.model import ADTransformer, Block
from ad_hypotheses.distill.shape import Shape
from ad_hypotheses.distill.tokens import Vocabulary

SHARP = 20.0  # scores this far apart: attention to the lower one is 2e-9
STEEP = 40.0  # slope of a neuron: half of it is where GELU is the identity or 0 to float32's last digit
TURN = 8  # steps of the fastest wave; every other is as many times slower as this


@dataclass(frozen=True)
class Space:
    """Some coordinates of the residual stream.

    Attributes:
        name: What they hold.
        start: The first.
        size: How many.
    """

    name: str
    start: int
    size: int

    def __getitem__(self, number: int) -> int:
        """Return one coordinate of the stream; negative numbers count from the end."""
        if not -self.size <= number < self.size:
            raise IndexError(f"{self.name} has {self.size} coordinates, not one of number {number}")
        return self.start + number % self.size

    @property
    def coordinates(self) -> slice:
        """All of them."""
        return slice(self.start, self.start + self.size)


Reads = Sequence[tuple[Space, np.ndarray]]
"""Linear maps of subspaces, summed: `(space, [coordinate, output])`."""


@dataclass
class Wiring:
    """A transformer in the making.

    Attributes:
        model: In evaluation mode; it computes what was wired so far.
        spaces: Every subspace by name.
    """

    model: ADTransformer
    spaces: dict[str, Space] = field(default_factory=dict)
    _neurons: dict[int, int] = field(default_factory=dict)

    @classmethod
    def silent(cls, vocabulary: Vocabulary, shape: Shape) -> Wiring:
        """Return a network without LayerNorm whose weights are all 0."""
        assert not shape.layer_norm, "a LayerNorm would mix the subspaces"
        model = ADTransformer(vocabulary, shape).eval()
        for weight in model.parameters():
            nn.init.zeros_(weight)
        return cls(model)

    def space(self, name: str, size: int = 1) -> Space:
        """Set coordinates aside that nothing else uses."""
        assert name not in self.spaces, f"there is a subspace {name!r} already"
        start = sum(taken.size for taken in self.spaces.values())
        width = self.model.shape.d_model
        assert start + size <= width, f"{name!r} needs {size} coordinates, but only {width - start} of {width} are left"
        self.spaces[name] = Space(name, start, size)
        return self.spaces[name]

    def embed(self, channel: str, to: Space, table: Float[np.ndarray, "value coordinate"]) -> None:
        """Let a part of the token write a row of a table: of channel "action", row 0 is "none yet"."""
        _add(self.model.embed[channel], (slice(None), to.coordinates), table)

    def positions(self, to: Space, table: Float[np.ndarray, "step coordinate"]) -> None:
        """Let the position write a row of a table."""
        _add(self.model.W_pos, (slice(None), to.coordinates), table)

    def attend(
        self, layer: int, head: int, query: Reads = (), key: Reads = (), query_bias: Sequence[float] | None = None
    ) -> None:
        """Let a head look where queries and keys have a large product; it is not divided by anything.

        Without a query it looks at all steps up to its own alike.

        Args:
            layer: Its layer.
            head: Its number in it.
            query: What the query is made of, into at most `d_head` numbers.
            key: What the key is made of.
            query_bias: What is added to the query, so that a key alone can attract.
        """
        block = self._block(layer).attn
        root = self.model.shape.d_head**0.5  # attention divides by it
        self._read(block.W_Q[head], query, root)
        self._read(block.W_K[head], key)
        if query_bias is not None:
            _add(block.b_Q, (head, slice(0, len(query_bias))), root * np.asarray(query_bias))

    def waves(self) -> Space:
        """Let the position write waves, each slower than the one before, by which heads find the step before.

        Cosine and sine of each, as in Vaswani et al. 2017 (arXiv 1706.03762).
        """
        n_ctx = self.model.shape.n_ctx
        periods = [TURN ** (number + 1) for number in range(n_ctx) if TURN**number < n_ctx]
        angles = 2 * np.pi * np.arange(n_ctx)[:, None] / np.array(periods)
        waves = self.space("waves", 2 * len(periods))
        self.positions(waves, np.concatenate([np.cos(angles), np.sin(angles)], axis=1))
        return waves

    def look_at_previous(self, layer: int, head: int, waves: Space) -> None:
        """Let a head look at the step before its own, and at the first from there.

        The query is the wave of its own step, turned back by one; it fits the key of that step by a full score, and any
        other by `SHARP` less.

        Args:
            layer: Its layer.
            head: Its number in it.
            waves: From :meth:`waves`.
        """
        angles = 2 * np.pi / TURN ** np.arange(1, waves.size // 2 + 1)
        cos, sin = np.diag(np.cos(angles)), np.diag(np.sin(angles))
        scale = SHARP / (1 - np.cos(2 * np.pi / TURN))
        self.attend(layer, head, [(waves, scale * np.block([[cos, -sin], [sin, cos]]))], [(waves, np.eye(waves.size))])

    def clock(self) -> Space:
        """Let the position write the number of the step, and 1 at the first step alone."""
        steps = np.arange(self.model.shape.n_ctx)
        clock = self.space("clock", 2)
        self.positions(clock, np.stack([steps, steps == 0], axis=1).astype(float))
        return clock

    def look_at_latest(
        self, layer: int, head: int, clock: Space, key: Reads, query: Reads = (), needed: int = 1
    ) -> None:
        """Let a head look at the latest step that matches, and at the first step where none does.

        Args:
            layer: Its layer.
            head: Its number in it.
            clock: From :meth:`clock`.
            key: What matches: whole numbers. Without a query, into one number; the first step's must be 0.
            query: What the key is multiplied with; without one, the key alone is counted.
            needed: What the product is where a step matches; it is less elsewhere.
        """
        longest = SHARP * self.model.shape.n_ctx  # what being later can add
        self._match(layer, head, key, query, longest + 2 * SHARP, clock,
                    [SHARP, (needed - 1) * (longest + 2 * SHARP) + longest + SHARP])  # fmt: skip

    def look_at_all(self, layer: int, head: int, clock: Space, key: Reads, query: Reads = (), needed: int = 1) -> None:
        """Let a head look at all steps that match alike, and at the first step where none does.

        Arguments as those of :meth:`look_at_latest`.
        """
        self._match(layer, head, key, query, 2 * SHARP, clock, [0.0, (2 * needed - 1) * SHARP])

    def _match(
        self, layer: int, head: int, key: Reads, query: Reads, scale: float, clock: Space, by_clock: Sequence[float]
    ) -> None:
        """Score steps by `scale * query . key`, plus what the step's own clock gives."""
        width = max([np.shape(matrix)[1] for _, matrix in key])
        last = np.zeros((clock.size, width + 1))
        last[:, -1] = by_clock
        bias = np.append(np.full(width, 0.0 if query else scale), 1.0)
        scaled = [(space, scale * np.asarray(matrix)) for space, matrix in query]
        self.attend(layer, head, scaled, [*key, (clock, last)], bias.tolist())

    def move(self, layer: int, head: int, moves: Sequence[tuple[Space, Space, np.ndarray]]) -> None:
        """Let a head write what it looks at: `(from, to, [from coordinate, to coordinate])` each.

        The values take as many of the head's `d_head` numbers as `from` has coordinates.
        """
        block, used = self._block(layer).attn, 0
        assert not block.W_V[head].any(), f"head({layer}, {head}) moves something already: give all moves at once"
        for source, to, matrix in moves:
            numbers = slice(used, used + source.size)
            used = numbers.stop
            assert used <= self.model.shape.d_head, f"head({layer}, {head}) has only {self.model.shape.d_head} numbers"
            _add(block.W_V, (head, source.coordinates, numbers), np.eye(source.size))
            _add(block.W_O, (head, numbers, to.coordinates), matrix)

    def neuron(self, layer: int, reads: Mapping[int, float], bias: float, writes: Mapping[int, float]) -> None:
        """Add a neuron that writes `max(0, reads . x + bias)`, rounded off within 0.1 of the corner.

        Args:
            layer: Of the MLP.
            reads: Weight of each coordinate of the stream.
            bias: Added to them.
            writes: Weight with which each coordinate gets the result.
        """
        mlp, number = self._block(layer).mlp, self._neurons.get(layer, 0)
        width = mlp.W_in.shape[1]
        assert number < width, f"mlp({layer}) has only {width} neurons"
        self._neurons[layer] = number + 1
        for coordinate, weight in reads.items():
            _add(mlp.W_in, (coordinate, number), STEEP * weight)
        _add(mlp.b_in, (number,), STEEP * bias)
        for coordinate, weight in writes.items():
            _add(mlp.W_out, (number, coordinate), weight / STEEP)

    def when(self, layer: int, all_of: Sequence[int], writes: Mapping[int, float], none_of: Sequence[int] = ()) -> None:
        """Write something where all of some one-hot coordinates are 1 and all of some others are 0.

        Args:
            layer: Of the MLP.
            all_of: Coordinates that must be 1; each must be 0 or 1.
            writes: What each coordinate then gets.
            none_of: Coordinates that must be 0; each must be 0 or 1.
        """
        assert len({*all_of, *none_of}) == len(all_of) + len(none_of), "a coordinate is named twice"
        reads = dict.fromkeys(all_of, 1.0) | dict.fromkeys(none_of, -1.0)
        doubled = {coordinate: 2 * weight for coordinate, weight in writes.items()}
        self.neuron(layer, reads, 0.5 - len(all_of), doubled)

    def compare(
        self,
        layer: int,
        left: Space,
        right: Space,
        writes: Callable[[int, int], Mapping[int, float]],
        all_of: Sequence[int] = (),
    ) -> None:
        """Look up two one-hot numbers in a table, one neuron an entry.

        Args:
            layer: Of the MLP.
            left: Holds the first number, one-hot.
            right: Holds the second.
            writes: What each coordinate gets for a pair of numbers; nothing for most of them, so as to spare neurons.
            all_of: Further coordinates that must be 1; each must be 0 or 1.
        """
        for left_index, right_index in product(range(left.size), range(right.size)):
            outputs = writes(left_index, right_index)
            if outputs:
                self.when(layer, [left[left_index], right[right_index], *all_of], outputs)

    def unembed(self, space: Space, matrix: Float[np.ndarray, "coordinate action"]) -> None:
        """Let the logits read a subspace."""
        _add(self.model.W_U, (space.coordinates,), matrix)

    def _block(self, layer: int) -> Block:
        return cast(Block, self.model.blocks[layer])

    def _read(self, weight: torch.Tensor, reads: Reads, scale: float = 1.0) -> None:
        for space, matrix in reads:
            _add(weight, (space.coordinates, slice(0, np.shape(matrix)[1])), scale * np.asarray(matrix))


@torch.no_grad()
def _add(weight: torch.Tensor, where: tuple[int | slice, ...], values: np.ndarray | float) -> None:
    weight[where] += torch.as_tensor(np.asarray(values, dtype=np.float64), dtype=weight.dtype)
