"""Who may stand in for whom: classes of a feature, and seeded draws from them.

A draw is `members_in_row_order[floor(u * size)]`, with `u` keyed by (seed, pass, tree path, row, step): giving the
values of a feature other names changes no draw, bit for bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

Align = Literal["step", "episode_step", "any"]
FEW_VALUES = 2**15  # numbers that are sorted by counting


@dataclass(frozen=True)
class Classes:
    """The donors of every row, or of every (row, step): those with the same value of a feature.

    A step-level member is the flat position `row * n_steps + step`; a history-level member is a row. Members of a class
    are neighbours in `members`, in row order, so those of one row are neighbours too. A row outside of the pool of
    donors has a class without being one of its members.

    Attributes:
        members: All rows or positions of the pool, class by class. [member]
        start: Where the class begins in `members`. [row] or [row, step]
        size: How many members it has. [row] or [row, step]
        own_start: Where the members of the reference's own row begin. [row] or [row, step]
        own_size: How many they are. [row] or [row, step]
        outside: Rows that are not in the pool; None where all rows are. [row]
    """

    members: Int[np.ndarray, " member"]
    start: Int[np.ndarray, " row *step"]
    size: Int[np.ndarray, " row *step"]
    own_start: Int[np.ndarray, " row *step"]
    own_size: Int[np.ndarray, " row *step"]
    outside: Bool[np.ndarray, " row"] | None = None

    @property
    def history_level(self) -> bool:
        """Whether one donor row serves the whole history."""
        return self.size.ndim == 1

    @property
    def alone(self) -> Bool[np.ndarray, " row *step"]:
        """Where no other row of the pool agrees, so that the own row is the only donor."""
        return self.size == self.own_size


def classes(
    labels: Int[np.ndarray, " row *step"],
    selected: Bool[np.ndarray, "row step"] | None = None,
    align: Align = "step",
    episode_step: Int[np.ndarray, "row step"] | None = None,
    pool: Bool[np.ndarray, " row"] | None = None,
) -> Classes:
    """Group rows, or positions, by the value of a feature.

    Args:
        labels: Number of the feature's value. [row] or [row, step]
        selected: Steps whose role the node is about; the role joins the value, which makes it step-level. [row, step]
        align: Donors come from the same step, from the same step of any episode, or from any step.
        episode_step: Needed for `align="episode_step"`. [row, step]
        pool: Rows that may be donors; None for all of them. [row]
    """
    if labels.ndim == 1 and selected is None:
        return _group(labels[:, None], True, pool)
    key = labels.astype(np.int64)
    if selected is not None and labels.ndim == 1:
        key = np.broadcast_to(key[:, None], selected.shape)
    if selected is not None:
        key = 2 * key + selected
    if align == "step":
        return _group_by_step(key, pool)
    if align == "episode_step":
        assert episode_step is not None
        key = key * (int(episode_step.max()) + 1) + episode_step
    return _group(key, False, pool)


def _group_by_step(key: Int[np.ndarray, "row step"], pool: Bool[np.ndarray, " row"] | None) -> Classes:
    """Group the positions of each step, of which a row has one: a step's rows are sorted on their own."""
    n_steps = key.shape[1]
    if key.min(initial=0) >= -FEW_VALUES and key.max(initial=0) < FEW_VALUES:
        key = key.astype(np.int16)  # which are sorted by counting
    by_step = np.ascontiguousarray(key.T)
    order = np.argsort(by_step, axis=1, kind="stable")
    ordered = np.take_along_axis(by_step, order, axis=1)
    begins = np.ones(ordered.shape, dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    is_member = np.ones(order.shape, dtype=bool) if pool is None else pool[order]
    before = np.concatenate([[0], np.cumsum(is_member)])  # members that stand before a place
    first = np.append(np.flatnonzero(begins), order.size)
    starts, length = before[first[:-1]], np.diff(first)
    position = (order * n_steps + np.arange(n_steps)[:, None]).ravel()

    def arranged(values: np.ndarray) -> Int[np.ndarray, "row step"]:
        by_row = np.empty(key.size, dtype=np.int64)
        by_row[position] = values
        return by_row.reshape(key.shape)

    return Classes(
        position[is_member.ravel()],
        arranged(np.repeat(starts, length)),
        arranged(np.repeat(before[first[1:]] - starts, length)),
        arranged(before[:-1]),
        arranged(is_member.ravel()),
        None if pool is None else ~pool,
    )


def _group(key: Int[np.ndarray, "row step"], history_level: bool, pool: Bool[np.ndarray, " row"] | None) -> Classes:
    shape, flat = key.shape[:1] if history_level else key.shape, key.ravel()
    order = np.argsort(flat, kind="stable")
    sorted_key, sorted_row = flat[order], order // key.shape[1]
    new_class = np.concatenate([[True], sorted_key[1:] != sorted_key[:-1]])
    new_run = new_class | np.concatenate([[True], sorted_row[1:] != sorted_row[:-1]])
    is_member = np.ones(len(order), dtype=bool) if pool is None else pool[sorted_row]
    before = np.concatenate([[0], np.cumsum(is_member)])  # members that stand before a place

    def extent(begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = np.flatnonzero(begins)
        number = np.cumsum(begins) - 1
        starts, ends = before[first], before[np.append(first[1:], len(order))]
        start, size = np.empty_like(order), np.empty_like(order)
        start[order], size[order] = starts[number], (ends - starts)[number]
        return start.reshape(shape), size.reshape(shape)

    return Classes(order[is_member], *extent(new_class), *extent(new_run), None if pool is None else ~pool)


def draw(
    classes: Classes,
    u: Float[np.ndarray, " row *step"],
    self_donors: bool,
    at: Int[np.ndarray, "*reference"] | None = None,
) -> Int[np.ndarray, "*reference"]:
    """Draw a donor for every reference, uniformly from its class, with replacement.

    Args:
        classes: From :func:`classes`.
        u: Uniform numbers in [0, 1), one a reference. [row] or [row, step]
        self_donors: Whether the reference's own row may be drawn, also where it is outside of the pool. A reference
            that no other row agrees with keeps it.
        at: The references that are wanted, rows or flat positions; all of them if None.

    Returns:
        Rows, or flat positions `row * n_steps + step`.
    """
    tables = (u, classes.start, classes.size, classes.own_start, classes.own_size)
    if at is not None:
        tables = tuple(table.ravel()[at] for table in tables)
    u, start, size, own_start, own_size = tables
    alone = size == own_size
    skipped = np.zeros_like(own_size) if self_donors else np.where(alone, 0, own_size)
    if classes.outside is None:
        place = start + (u * (size - skipped)).astype(np.int64)
        return classes.members[place + np.where(place >= own_start, skipped, 0)]
    # a reference outside of the pool is one candidate more, behind the members, where it may be its own donor
    at = np.arange(u.size).reshape(u.shape) if at is None else at
    itself = classes.outside[at if classes.history_level else at // classes.size.shape[1]] & (alone | self_donors)
    number = (u * (size - skipped + itself)).astype(np.int64)
    place = start + number
    place += np.where(place >= own_start, skipped, 0)
    donors = classes.members[np.minimum(place, len(classes.members) - 1)]
    return np.where(itself & (number == size), at, donors)


def uniforms(seed: int, key: tuple[object, ...], shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """Return uniform numbers in [0, 1) that depend on `seed` and `key` (pass, tree path, ...) alone.

    Numbers of a row do not change when rows are added behind it.
    """
    return generator(seed, key).random(shape)


def generator(seed: int, key: tuple[object, ...]) -> np.random.Generator:
    """Return a generator whose numbers depend on `seed` and `key` (pass, tree path, ...) alone."""
    digest = hashlib.blake2b("/".join(map(str, (seed, *key))).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype=np.uint64)))


def restricted(
    labels: Int[np.ndarray, " row *step"],
    apart: Int[np.ndarray, "row step"],
    agree: bool,
    selected: Bool[np.ndarray, "row step"] | None = None,
) -> tuple[Classes, Bool[np.ndarray, "row step"]]:
    """Group positions of a step as :func:`classes` does, but let an adversary choose among those that agree.

    Where no other row agrees on `labels` and does what is wanted of `apart`, all others that agree on `labels` stay.
    To be drawn from without self-donors.

    Args:
        labels: Number of the feature's value. [row] or [row, step]
        apart: Number of another feature's value. [row, step]
        agree: Whether donors shall agree on it as well, or differ in it.
        selected: As in :func:`classes`.

    Returns:
        The donors, and at which positions they are fewer than those of the feature alone. [row, step]
    """
    declared = np.broadcast_to(labels[:, None] if labels.ndim == 1 else labels, apart.shape).astype(np.int64)
    outer, inner = (classes(key, selected) for key in (declared, declared * (int(apart.max()) + 1) + apart))
    # a class keeps its place, and in it those with the same value of the other feature become neighbours
    members = np.lexsort((inner.start.ravel(), outer.start.ravel()))
    begins = np.maximum.accumulate(
        np.where(np.diff(inner.start.ravel()[members], prepend=-1) != 0, np.arange(len(members)), 0)
    )
    place, block = np.empty_like(members), np.empty_like(members)
    place[members], block[members] = np.arange(len(members)), begins
    place, block = place.reshape(apart.shape), block.reshape(apart.shape)
    possible = inner.size > 1 if agree else inner.size < outer.size
    alone = np.ones_like(place)
    if agree:
        donors = Classes(
            members,
            np.where(possible, block, outer.start),
            np.where(possible, inner.size, outer.size),
            own_start=place,
            own_size=alone,
        )
        return donors, possible & (inner.size < outer.size)
    skipped = np.where(possible, block, place), np.where(possible, inner.size, alone)
    return Classes(members, outer.start, outer.size, *skipped), possible & (inner.size > 1)
