"""Mistakes a user can make, each with a message that says what, where and what to do.

The command line turns every :class:`UserError` into its message and its exit code, 2 unless training diverged; nothing
else in the package catches them. Our own mistakes stay `assert`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user wrote, or a file the user has, cannot be used as it is."""

    exit_code = 2


class HypothesisError(UserError):
    """A hypothesis file, or a claim in it, is not one that can be tested; lists every problem found."""


class ConfigError(UserError):
    """A training configuration has a wrong key or value."""


class CheckpointError(UserError):
    """A checkpoint is missing, truncated, tampered with or of another shape than its config says."""


class DivergedError(UserError):
    """Training ran into numbers that are not finite: the configuration was in order, but no model came of it."""

    exit_code = 1


class DataError(UserError):
    """Learning histories are missing, corrupt, too few, or do not fit the model."""


class CapacityError(UserError):
    """A run would not fit into the memory it may use; the message carries the numbers."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the closest of `known`, or an empty string.

    Args:
        word: What the user wrote.
        known: What exists.
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def nearest(word: str, known: Iterable[str], count: int = 5) -> list[str]:
    """Return those of `known` that are most like a word, the nearest first.

    Args:
        word: What the user wrote.
        known: What exists.
        count: How many, at most.
    """
    return difflib.get_close_matches(word, list(known), n=count, cutoff=0.0)
