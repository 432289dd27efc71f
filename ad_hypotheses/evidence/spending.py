"""How much is measured of a claim: one rule, fixed before the run, that goes on only where something is open.

A claim is scrubbed once on a data set, with its features and with constant ones. Then the regimes that count there, and
in which enough was tested for a verdict, are looked at, with intervals `CLEARLY` times as wide as those of 95 %:

*below*
    Some ratio lies below `accept` even so: the regime is refuted, whatever else is measured there.
*above*
    All ratios lie above `accept` even so.
*open*
    Anything else.

After 1, 2, 4, 8, ... passes there is such a look. A hypothesis is scrubbed again while a regime is open, and a control
while one is open and none is below, at most as often as was asked for. Self-donors and independent others can only take
*supported* away from a regime, so they are measured on a data set unless all of its regimes are below or were hardly
tested. Where no regime counts there is nothing to go by, and all is measured that was asked for.

The looks have few bootstrap draws of their own. They decide on nothing but what is measured: a verdict comes from the
intervals over all that was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ad_hypotheses.evidence.bootstrap import Estimate, Resampling
from ad_hypotheses.evidence.verdict import Cell, listed

#: How many times as wide as a 95 % interval what must not hold `accept` is: about 4 standard errors to each side.
CLEARLY = 2.0
#: Bootstrap draws of a look.
DRAWS = 400

Standing = Literal["below", "above", "open"]
STANDINGS: tuple[Standing, ...] = ("below", "above", "open")
WORDS: dict[Standing, str] = {"below": "refuted", "above": "kept"}


@dataclass(frozen=True)
class Standings:
    """How a claim stands on a data set after some passes.

    Attributes:
        regimes: Each that counts and was tested enough, in their order. {regime: standing}
        counting: How many regimes count.
        control: Whether the claim is a control, of which it is enough that one regime is below.
    """

    regimes: dict[str, Standing]
    counting: int
    control: bool = False

    @property
    def settled(self) -> bool:
        """Whether another pass is not worth making."""
        reached = set(self.regimes.values())
        return bool(self.counting) and ("open" not in reached or (self.control and "below" in reached))

    @property
    def may_stand(self) -> bool:
        """Whether some regime may turn out to be supported, so that all must be measured that this needs."""
        return not self.counting or any(standing != "below" for standing in self.regimes.values())

    @property
    def why(self) -> str:
        """Why no pass was made after this look, in words."""
        regimes = {each: [name for name, of in self.regimes.items() if of == each] for each in STANDINGS}
        if not self.counting:
            return "no regime counts, so all passes were made"
        if not self.regimes:
            return "in every regime that counts too little was tested"
        if self.control and regimes["below"]:
            return f"clearly refuted in {listed(regimes['below'])}, which is enough for a control"
        if regimes["open"]:
            return f"still open in {listed(regimes['open'])} after all passes"
        clear = [f"{word} in {listed(regimes[of])}" for of, word in WORDS.items() if regimes[of]]
        return f"clearly {', '.join(clear)}"


def standings(cells: Sequence[Cell], accept: float, control: bool = False) -> Standings:
    """Return how a claim stands in the regimes of one data set.

    Args:
        cells: Every regime that is judged.
        accept: The bar.
        control: Whether the claim is a control.
    """
    counting = [cell for cell in cells if cell.counts]
    regimes = {cell.regime: standing(cell, accept) for cell in counting if cell.was_tested}
    return Standings(regimes, len(counting), control)


def standing(cell: Cell, accept: float) -> Standing:
    """Return on which side of the bar a claim clearly is in one regime."""
    ends = [_wider(ratio) for ratio in cell.ratios.values()]
    if any(high < accept for _, high in ends):
        return "below"
    return "above" if all(low > accept for low, _ in ends) else "open"


def _wider(ratio: Estimate) -> tuple[float, float]:
    """Return the ends of an interval `CLEARLY` times as wide; unbounded where nothing can be estimated."""
    if not ratio.estimable:
        return -np.inf, np.inf
    return ratio.value - CLEARLY * (ratio.value - ratio.low), ratio.value + CLEARLY * (ratio.high - ratio.value)


def is_looked_at(n_passes: int, most: int) -> bool:
    """Return whether there is a look after so many passes: each costs as much as all of them are many.

    Args:
        n_passes: Passes that were made.
        most: Passes that were asked for.
    """
    return n_passes == most or n_passes & (n_passes - 1) == 0


def looking(n_clusters: int, n_passes: int) -> Resampling:
    """Return the bootstrap weights of a look: the same ones whoever looks.

    Args:
        n_clusters: Number of learners.
        n_passes: Passes that were made.
    """
    return Resampling.draw(n_clusters, n_passes, np.random.default_rng(0), DRAWS)
