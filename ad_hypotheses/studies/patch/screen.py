"""Which of many edges are worth measuring exactly: those with the largest first-order effects, and some at random.

The random ones say how well the others were picked: among those that were picked alone, large attributions and large
effects go together or not for the reason that they were picked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ad_hypotheses.causal.attribute import MEMORY, Rule, agreement, attribute, screen
from ad_hypotheses.causal.effects import Direction, fingerprint
from ad_hypotheses.causal.effects import plan as cut_up
from ad_hypotheses.causal.history_pairs import HistoryPairs
from ad_hypotheses.causal.metrics import METRICS
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.language.edges import Edge
from ad_hypotheses.storage.scratch import Scratch, store_in

SAMPLE = 32  # edges drawn at random: a rank correlation of them is known to about a sixth
GRADIENT = 1  # runs a history: the gradient at the run that is patched
ATTRIBUTED_AS = 1  # raise it when the same names come to mean other numbers: interrupted runs then start anew
N_BOOT = 500


@dataclass(frozen=True, eq=False)
class Screened:
    """First-order effects of some edges, and which of them are to be measured exactly.

    Attributes:
        edges: There are to choose from.
        attributions: Change of the metric, to first order. [edge, row]
        steps: Runs of each history that they took.
        picked: Numbers of those with the largest attributions, largest first.
        sampled: Numbers of those that were drawn at random from all of them.
    """

    edges: tuple[Edge, ...]
    attributions: Float[np.ndarray, "edge row"]
    steps: int
    picked: tuple[int, ...]
    sampled: tuple[int, ...]

    @property
    def wanted(self) -> set[int]:
        """Numbers of all edges that are to be measured."""
        return {*self.picked, *self.sampled}


def default_steps(metric: str, direction: Direction) -> int:
    """Return how many runs attribution takes: some metrics have no slope at the reference itself."""
    return METRICS[metric].attribution_steps if metric in METRICS and direction == "noising" else GRADIENT


def attribute_or_resume(
    model: ADTransformer,
    pairs: HistoryPairs,
    edges: Sequence[Edge],
    metric: str = "loss",
    steps: int = GRADIENT,
    direction: Direction = "noising",
    memory: int | None = None,
    progress: Callable[[int], None] = lambda rows: None,
    scratch: Scratch | None = None,
    rule: Rule = "gradient",
) -> Float[np.ndarray, "edge row"]:
    """Attribute edges as :func:`attribute` does, some histories at a time, and keep what is done.

    Args:
        model: In evaluation mode.
        pairs: The histories and their donors.
        edges: Which.
        metric: Of :data:`ad_hypotheses.causal.metrics.METRICS`.
        steps: Runs of each history.
        direction: Which of the two runs is patched.
        memory: Bytes that may be used; None for no bound.
        progress: Called with the number of histories that were done.
        scratch: Where to keep what is done; None to keep nothing.
        rule: What is taken backwards.

    Raises:
        DataError: A metric does not fit the donors, or its gradient says nothing.
        CapacityError: Not even one history fits into memory.
    """
    n_rows, n_steps = pairs.reference.actions.shape
    size = cut_up(model, n_rows, n_steps, len(edges), memory).rows
    limit = MEMORY if memory is None else min(memory, MEMORY)
    identity = (ATTRIBUTED_AS, metric, steps, direction, [*map(str, edges)], *([rule] if rule != "gradient" else []))
    parts, order, store = [], pairs.order, store_in(scratch, "attributions")
    for rows in pairs.part(order).split(size):
        part = pairs.part(order[rows])

        def make(part: HistoryPairs = part) -> dict[str, np.ndarray]:
            values = attribute(model, part, edges, metric, steps, direction=direction, memory=limit, rule=rule)
            return {"attributions": values}

        parts.append(store.get(fingerprint(model, part, identity), make)["attributions"])
        progress(part.reference.n_rows)
    return np.concatenate(parts, axis=1)[:, np.argsort(order)]


def pick(edges: Sequence[Edge], attributions: Float[np.ndarray, "edge row"], n: int, steps: int, seed: int) -> Screened:
    """Pick the edges with the largest attributions, and draw some from all of them.

    Args:
        edges: There are to choose from.
        attributions: Of them.
        n: How many to pick.
        steps: Runs of each history that the attributions took.
        seed: Of the draw.
    """
    rng = np.random.default_rng([seed, 3])
    sampled = np.sort(rng.choice(len(edges), size=min(SAMPLE, len(edges)), replace=False))
    return Screened(tuple(edges), attributions, steps, tuple(screen(attributions, n)), tuple(sampled.tolist()))


def agreements(
    attributions: Float[np.ndarray, "edge row"], exact: Float[np.ndarray, " edge"], seed: int
) -> tuple[Number, Number]:
    """Return the rank correlation of attributions and exact effects, of their sizes and with their signs.

    Args:
        attributions: Of edges that were drawn at random.
        exact: Effects of the same edges.
        seed: Of the bootstrap over edges.

    Returns:
        Both with 95% intervals; not estimable where all of one kind are equal.
    """
    draws = np.random.default_rng([seed, 4]).integers(len(exact), size=(N_BOOT, len(exact)))
    numbers = []
    for signed in (False, True):
        value = agreement(attributions, exact, signed)
        drawn = np.array([agreement(attributions[sample], exact[sample], signed) for sample in draws])
        known = np.isfinite(value) and np.isfinite(drawn).mean() > 0.9
        low, high = np.nanquantile(drawn, [0.025, 0.975]) if known else (-np.inf, np.inf)
        numbers.append(Number(value, float(low), float(high), bool(known)))
    return numbers[0], numbers[1]
