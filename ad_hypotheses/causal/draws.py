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


@dataclass(frozen=True)
class Classes:
    """The donors of every row, or of every (row, step): those with the same value of a feature.

    A step-level member is the flat position `row * n_steps + step`; a history-level member is a row. Members of a class
    are neighbours in `members`, in row order, so those of one row are neighbours too.

    Attributes:
        members: All rows or positions, class by class. [member]
        start: Where the class begins in `members`. [row] or [row, step]
        size: How many members it has. [row] or [row, step]
        own_start: Where the members of the reference's own row begin. [row] or [row, step]
        own_size: How many they are. [row] or [row, step]
    """

    members: Int[np.ndarray, " member"]
    start: Int[np.ndarray, " row *step"]
    size: Int[np.ndarray, " row *step"]
    own_start: Int[np.ndarray, " row *step"]
    own_size: Int[np.ndarray, " row *step"]

    @property
    def history_level(self) -> bool:
        """Whether one donor row serves the whole history."""
        return self.size.ndim == 1

    @property
    def alone(self) -> Bool[np.ndarray, " row *step"]:
        """Where no other row agrees, so that the own row is the only donor."""
        return self.size == self.own_size


def classes(
    labels: Int[np.ndarray, " row *step"],
    selected: Bool[np.ndarray, "row step"] | None = None,
    align: Align = "step",
    episode_step: Int[np.ndarray, "row step"] | None = None,
) -> Classes:
    """Group rows, or positions, by the value of a feature.

    Args:
        labels: Number of the feature's value. [row] or [row, step]
        selected: Steps whose role the node is about; the role joins the value, which makes it step-level. [row, step]
        align: Donors come from the same step, from the same step of any episode, or from any step.
        episode_step: Needed for `align="episode_step"`. [row, step]
    """
    if labels.ndim == 1 and selected is None:
        return _group(labels[:, None], history_level=True)
    key = labels.astype(np.int64)
    if selected is not None and labels.ndim == 1:
        key = np.broadcast_to(key[:, None], selected.shape)
    if selected is not None:
        key = 2 * key + selected
    if align == "step":
        key = key * key.shape[1] + np.arange(key.shape[1])
    elif align == "episode_step":
        assert episode_step is not None
        key = key * (int(episode_step.max()) + 1) + episode_step
    return _group(key, history_level=False)


def apart(
    labels: Int[np.ndarray, " row *step"], halves: Bool[np.ndarray, " row"] | None
) -> Int[np.ndarray, " row *step"]:
    """Number the values of a feature again so that rows of different halves never agree."""
    if halves is None:
        return labels
    return 2 * labels.astype(np.int64) + halves.reshape(-1, *[1] * (labels.ndim - 1))


def _group(key: Int[np.ndarray, "row step"], history_level: bool) -> Classes:
    n_steps = key.shape[1]
    flat = key.ravel()
    members = np.argsort(flat, kind="stable")
    sorted_key, sorted_row = flat[members], members // n_steps
    new_class = np.concatenate([[True], sorted_key[1:] != sorted_key[:-1]])
    new_run = new_class | np.concatenate([[True], sorted_row[1:] != sorted_row[:-1]])

    def extent(begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = np.flatnonzero(begins)
        number = np.cumsum(begins) - 1
        sizes = np.diff(np.append(first, len(flat)))
        start, size = np.empty_like(members), np.empty_like(members)
        start[members], size[members] = first[number], sizes[number]
        return (start, size) if history_level else (start.reshape(key.shape), size.reshape(key.shape))

    return Classes(members, *extent(new_class), *extent(new_run))


def draw(classes: Classes, u: Float[np.ndarray, " row *step"], self_donors: bool) -> Int[np.ndarray, " row *step"]:
    """Draw a donor for every reference, uniformly from its class, with replacement.

    Args:
        classes: From :func:`classes`.
        u: Uniform numbers in [0, 1), one a reference. [row] or [row, step]
        self_donors: Whether the reference's own row may be drawn. A reference that no other row agrees with keeps it.

    Returns:
        Rows, or flat positions `row * n_steps + step`.
    """
    if self_donors:
        return classes.members[classes.start + (u * classes.size).astype(np.int64)]
    skipped = np.where(classes.alone, 0, classes.own_size)
    place = classes.start + (u * (classes.size - skipped)).astype(np.int64)
    return classes.members[place + np.where(place >= classes.own_start, skipped, 0)]


def draw_rows(n_rows: int, u: Float[np.ndarray, " row"], self_donors: bool) -> Int[np.ndarray, " row"]:
    """Draw a row for every row, uniformly; the own one only if `self_donors`, or if there is no other. [row]"""
    if self_donors or n_rows == 1:
        return (u * n_rows).astype(np.int64)
    place = (u * (n_rows - 1)).astype(np.int64)
    return place + (place >= np.arange(n_rows))


def uniforms(seed: int, key: tuple[object, ...], shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """Return uniform numbers in [0, 1) that depend on `seed` and `key` (pass, tree path, ...) alone.

    Numbers of a row do not change when rows are added behind it.
    """
    digest = hashlib.blake2b("/".join(map(str, (seed, *key))).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype=np.uint64))).random(shape)


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
