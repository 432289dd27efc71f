"""The novice: what the source does before it was ever paid, as a table without memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt64

from ad_hypotheses.language.history import NO_ACTION, History

PRIOR = 2.0  # steps that the distribution of a wider class counts for, in that of a narrower one


def codes(observations: Int[np.ndarray, "*batch channel"]) -> UInt64[np.ndarray, "*batch"]:
    """Return a number for what is seen, by which the same is known again; others agree by a chance of 2**-60."""
    weights = np.random.default_rng(0).integers(2**63, size=observations.shape[-1], dtype=np.uint64)
    terms = (observations.astype(np.int64) + 1).astype(np.uint64) * (2 * weights + 1)
    return np.asarray(terms.sum(axis=-1, dtype=np.uint64))


@dataclass(frozen=True)
class Novice:
    """The distribution of the action, given what is seen and what was done last, before the first pay.

    Cells and actions that were seldom seen together lean on the cell, and cells on all of them.

    Attributes:
        keys: What is seen and the last action, as numbers, ascending. [key]
        given_both: [key, action]
        cells: What is seen, as numbers, ascending. [cell]
        given_cell: [cell, action]
        overall: [action]
    """

    keys: UInt64[np.ndarray, " key"]
    given_both: Float[np.ndarray, "key action"]
    cells: UInt64[np.ndarray, " cell"]
    given_cell: Float[np.ndarray, "cell action"]
    overall: Float[np.ndarray, " action"]

    @classmethod
    def fit(cls, lives: History) -> Novice:
        """Count what was done in some lives before the first pay, or in all of them where all begin with a pay."""
        early = np.cumsum(lives.previous_rewards > 0, axis=1) == 0
        cell, before, done = (
            part[early] for part in (codes(lives.observations), lives.previous_actions, lives.actions)
        )
        taken = np.eye(lives.n_actions)[done]
        overall = (taken.sum(axis=0) + 1) / (len(taken) + lives.n_actions)
        cells, cell_numbers = np.unique(cell, return_inverse=True)
        given_cell = _smoothed(taken, cell_numbers, np.tile(overall, (len(cells), 1)))
        keys, first, key_numbers = np.unique(_key(cell, before), return_index=True, return_inverse=True)
        given_both = _smoothed(taken, key_numbers, given_cell[cell_numbers[first]])
        return cls(keys, given_both, cells, given_cell, overall)

    def policy(
        self, observations: Int[np.ndarray, "row channel"], before: Int[np.ndarray, " row"]
    ) -> Float[np.ndarray, "row action"]:
        """Return what a novice does.

        Args:
            observations: What is seen. [row, channel]
            before: What was done at the step before, -1 at the first. [row]
        """
        cell = codes(observations)
        known_cell, place = _find(self.cells, cell)
        policy = np.where(known_cell[:, None], self.given_cell[place], self.overall)
        known_key, place = _find(self.keys, _key(cell, before))
        return np.where(known_key[:, None], self.given_both[place], policy)


def _key(cell: UInt64[np.ndarray, " n"], before: Int[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    return cell + (before.astype(np.int64) - NO_ACTION + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def _smoothed(taken: np.ndarray, numbers: np.ndarray, prior: np.ndarray) -> np.ndarray:
    counts = np.zeros_like(prior)
    np.add.at(counts, numbers, taken)
    return (counts + PRIOR * prior) / (counts.sum(axis=1, keepdims=True) + PRIOR)


def _find(known: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the wanted numbers are known, and where."""
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return known[place] == wanted, place
