"""Intervals of figures in which the same learners are measured and serve as donors: a delete-a-group jackknife.

Learners are split into groups, and the figure is computed again without each group, removed in both of its roles.
Resampling references alone would take the donors for fixed, and its intervals would be too narrow. Quenouille 1956;
Kott 2001, "The delete-a-group jackknife".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from ad_hypotheses.evidence.plain_data import Number

GROUPS = 24  # 12 are the least that a t quantile forgives; more make it smaller and cost time
FEWEST_GROUPS = 12


@dataclass(frozen=True)
class Jackknife:
    """A figure with its standard error.

    Attributes:
        value: The figure on all learners; NaN where nothing was measured.
        error: Its standard error; NaN where a group is all that it rests on.
        groups: Number of groups, one more than the degrees of freedom.
    """

    value: float
    error: float
    groups: int

    def interval(self, level: float = 0.95) -> Number:
        """Return the figure with its two-sided interval, not estimable where there is no standard error."""
        if not np.isfinite([self.value, self.error]).all() or self.groups < FEWEST_GROUPS:
            return Number(self.value, -np.inf, np.inf, estimable=False)
        # scipy takes a fifth of a second to import, which only those pay who need a quantile
        from scipy.special import stdtrit

        reach = float(stdtrit(self.groups - 1, (1 + level) / 2)) * self.error
        return Number(self.value, self.value - reach, self.value + reach)


def jackknife(value: float, without: Float[np.ndarray, " group"]) -> Jackknife:
    """Return a figure with the standard error that its values without each group give.

    Args:
        value: The figure on all learners.
        without: The figure without each group; NaN where nothing is left.
    """
    n_groups = len(without)
    spread = np.sum((without - without.mean()) ** 2) if n_groups else np.nan
    return Jackknife(float(value), float(np.sqrt((n_groups - 1) / max(n_groups, 1) * spread)), n_groups)


def learner_groups(learner: Shaped[np.ndarray, " row"], n_groups: int = GROUPS) -> Int[np.ndarray, " row"]:
    """Return a group for every row, the same for all rows of a learner, in groups of equal size up to one learner.

    The order of the rows plays no part, and neither does any order of the learners' numbers, which may go along with
    their tasks: learners are dealt out in an order that is fixed but shuffled.
    """
    names, number = np.unique(learner, return_inverse=True)
    dealt = np.random.default_rng(len(names)).permutation(len(names)) % min(n_groups, max(len(names), 1))
    return np.asarray(dealt[number])
