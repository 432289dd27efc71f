"""Everything that is run on the model for one claim on one data set, reduced to arrays over the references."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ad_hypotheses.causal.made import MadeScrubber, make_scrubber
from ad_hypotheses.causal.rewire import scrub_alone
from ad_hypotheses.causal.scrub import Movement, Options, Pass, Scrubber
from ad_hypotheses.distill.memory import give_back_freed_memory
from ad_hypotheses.evidence.spending import Standings, is_looked_at, looking, standings
from ad_hypotheses.language.check import BoundGraph, TreePath
from ad_hypotheses.studies.scrub.cost import POOL_APART, ROWS_ALONE, ROWS_APART, Extent
from ad_hypotheses.studies.scrub.ground import Ground
from ad_hypotheses.studies.scrub.kept import Remembered, array_bytes, graph_digest, remembered
from ad_hypotheses.studies.scrub.made import sampled_positions
from ad_hypotheses.studies.scrub.measured import (
    BROKEN,
    GUARDS,
    INDEPENDENT,
    SCRUBBED,
    STRUCTURE,
    WITH_SELF,
    Measured,
    cells_of,
    share_tested,
    weigh,
)

EXACT_BELOW = 1e-5  # relative norm under which a site is a function of its feature, up to rounding
REPEATS = 10_000  # first pass of the constant-feature runs, so that they share no draw with the hypothesis
HALF = 20_000  # pass with half of the pool
ALONE = ("recovered", "resampled")  # figures of a node alone: with donors that agree, and with any
WHOLLY_TESTED = 0.99  # share tested from which on a larger pool would not change what is tested
QUARTER = 4  # one in so many references is scrubbed again with half of the pool


def measure(
    ground: Ground,
    bound: BoundGraph,
    extent: Extent,
    options: Options,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
    memory: Remembered | None = None,
) -> Measured:
    """Scrub one claim on one data set, as often and in as many ways as a verdict needs.

    How much that is follows from what the first passes show: see `evidence.spending`.

    Args:
        ground: The data set.
        bound: The claim, bound to the model and the data set.
        extent: How much is measured at most.
        options: Self-donors apart, which are measured both ways.
        seed: Of all draws.
        progress: Called with the number of partial forwards that were done, or that turned out not to be needed.
        memory: What this process measured already of other claims: the same structure, the same node.
    """
    options = replace(options, self_donors=False)
    spent = _Spent(extent.forwards(bound, options), progress)
    weights = sampled_positions(ground.masks, ground.judged, ground.learners, seed) if bound.made else None
    where = None if weights is None else weights > 0
    with ground.clean.prepared(stays_below=0 if memory is None else memory.stays_below):
        scrubber = make_scrubber(ground.clean, bound, options, seed, where=where)
        measured, movements = _passes(ground, scrubber, extent, weights, spent, memory)
        guards = extent.guards and measured.guarded
        if guards:
            runs = _runs(ground, scrubber.with_self_donors(), range(1))
            measured.losses[WITH_SELF], measured.kl[WITH_SELF] = runs
            spent(bound.n_visits)
            if extent.whole or share_tested(ground, measured, "all") < WHOLLY_TESTED:
                measured.half_pool = _half_pool(ground, bound, options, seed, measured)
                spent(bound.n_visits)
        if isinstance(scrubber, MadeScrubber):
            runs = _runs(ground, scrubber.with_broken_symmetries(), range(1))
            measured.losses[BROKEN], measured.kl[BROKEN] = runs
            spent(bound.n_visits)
        if guards and extent.nodes_alone and options.align != "any":
            from_any_step = make_scrubber(ground.clean, bound, replace(options, align="any"), seed, where=where)
            kl = ground.divergence(from_any_step.run(0).log_probs)
            measured.any_step = fidelity_of(ground, kl, measured.tested, weights)
            spent(bound.n_visits)
        give_back_freed_memory()
        alone = extent.nodes_alone and not bound.made
        for name in bound.nodes:
            if name == bound.root:
                continue
            figures: dict[str, Any] = dict.fromkeys(ALONE)
            if alone:
                key = ("alone", graph_digest(bound, name))
                figures = remembered(memory, key, partial(_alone, ground, scrubber, name), lambda figures: 1)
            measured.nodes[name] = _node(scrubber, name, movements) | figures
            spent(2 * alone)
    if guards and options.others == "joint":
        ways = ("independent", "joint") if extent.nodes_alone else ("independent",)
        _pull_apart(ground, bound, options, seed, measured, ways)
        spent(len(ways) * bound.n_visits)
    spent.all()
    return measured


class _Spent:
    """Tells how many of the forwards that were announced are done."""

    def __init__(self, announced: int, progress: Callable[[int], None]) -> None:
        self.left, self.progress = announced, progress

    def __call__(self, forwards: int) -> None:
        self.left -= forwards
        self.progress(forwards)

    def all(self) -> None:
        """Tell that the rest turned out not to be needed."""
        self(self.left)


def _passes(
    ground: Ground,
    scrubber: Scrubber,
    extent: Extent,
    weights: Float[np.ndarray, "row step"] | None,
    spent: _Spent,
    memory: Remembered | None,
) -> tuple[Measured, dict[TreePath, Movement]]:
    """Scrub with the claim's features and with constant ones, until another pass is not worth making.

    The first pass tells how far each arrow moved.
    """
    tally, structure = _Tally(ground), _Structure(ground, scrubber, memory)
    for number in range(extent.passes):
        tally.add(scrubber.run(number, movements=number == 0))
        spent(scrubber.bound.n_visits)
        structure.run(number)
        spent(structure.bound.n_visits)
        if not is_looked_at(number + 1, extent.passes):
            continue
        # which donors that are made differ is known once they are
        donors = has_donor(scrubber, ground.n_references)
        measured = tally.measured(_tested(donors, scrubber.clean.n_steps, ground.n_references), donors)
        measured.losses[STRUCTURE], measured.kl[STRUCTURE] = map(np.concatenate, zip(*structure.runs, strict=True))
        measured.weights = weights
        after = looked_at(ground, measured, extent)
        measured.most, measured.stopped = extent.passes, after.why
        measured.guarded = extent.guards and (extent.whole or after.may_stand)
        if after.settled and not extent.whole:
            break
    return measured, tally.movements


class _Structure:
    """Passes with constant features, which all claims of the same structure have in common."""

    def __init__(self, ground: Ground, scrubber: Scrubber, memory: Remembered | None) -> None:
        self.ground, self.memory, self.options, self.seed = ground, memory, scrubber.options, scrubber.seed
        self.bound = scrubber.bound.without_features()
        self.digest = graph_digest(self.bound)
        self.runs: list[tuple[np.ndarray, np.ndarray]] = []

    @cached_property
    def scrubber(self) -> Scrubber:
        """Made when the first pass is."""
        return Scrubber(self.ground.clean, self.bound, self.options, self.seed)

    def run(self, number: int) -> None:
        """Make a pass, or take it from what this process measured already."""
        numbers = range(REPEATS + number, REPEATS + number + 1)
        runs = remembered(
            self.memory,
            ("structure", number, self.digest),
            lambda: _runs(self.ground, self.scrubber, numbers),
            lambda runs: array_bytes(*runs),
        )
        self.runs.append(runs)


def looked_at(ground: Ground, measured: Measured, extent: Extent) -> Standings:
    """Return how a claim stands on a data set after the passes that were made, by its features and constant ones."""
    alone = measured.of_passes(measured.passes)
    evidence, at_stake = weigh(ground, alone, looking(len(np.unique(ground.learners)), measured.passes), ground.judged)
    return standings(cells_of(ground, alone, evidence, at_stake), extent.accept, extent.control)


def as_spent(ground: Ground, measured: Measured, extent: Extent) -> Measured:
    """Return what would have been measured under an extent that asks for no more than the one that was."""
    most = min(extent.passes, measured.passes)
    for n in (n for n in range(1, most + 1) if is_looked_at(n, most)):
        within = measured.of_passes(n)
        after = looked_at(ground, within, extent)
        if after.settled:
            break
    within.most, within.stopped, within.guarded = extent.passes, after.why, extent.guards and after.may_stand
    more = (WITH_SELF, INDEPENDENT, BROKEN) if within.guarded else (BROKEN,)
    within.losses |= {name: measured.losses[name] for name in more if name in measured.losses}
    within.kl |= {name: measured.kl[name] for name in more if name in measured.kl}
    if not within.guarded:
        for name in GUARDS:
            setattr(within, name, None)
    return within


def has_donor(scrubber: Scrubber, n_references: int) -> dict[str, Bool[np.ndarray, "row step"]]:
    """Return where each node has another donor, or does not speak, at the references. {node: [row, step]}"""
    steps = scrubber.clean.n_steps
    with_donor = {}
    for name, pools in scrubber.classes.items():
        another = ~pools.alone[:n_references]
        if another.ndim == 1:
            another = np.broadcast_to(another[:, None], (n_references, steps))
        selected = scrubber.nodes[name].selected
        with_donor[name] = np.array(another if selected is None else another | ~selected[:n_references])
    return with_donor | scrubber.has_made(n_references)


def _tested(
    donors: Mapping[str, Bool[np.ndarray, "row step"]], n_steps: int, n_references: int
) -> Bool[np.ndarray, "row step"]:
    """Return where every node of a claim has another donor, given where each has."""
    everywhere = np.ones((n_references, n_steps), dtype=bool)
    return np.logical_and.reduce([everywhere, *donors.values()])


def _runs(
    ground: Ground, scrubber: Scrubber, numbers: range
) -> tuple[Float[np.ndarray, "pass row step"], Float[np.ndarray, "pass row step"]]:
    """Return the losses and the divergences of some passes."""
    runs = [scrubber.run(number).log_probs for number in numbers]
    losses, divergences = [ground.loss(run) for run in runs], [ground.divergence(run) for run in runs]
    return np.stack(losses).astype(np.float32), np.stack(divergences).astype(np.float32)


def fidelity_of(
    ground: Ground,
    kl: np.ndarray,
    tested: Bool[np.ndarray, "row step"],
    weights: Float[np.ndarray, "row step"] | None = None,
) -> float | None:
    """Return the fidelity over the tested positions of the first references; None if there are none."""
    mask = tested[: len(kl)]
    weight = 1.0 if weights is None else weights[: len(kl)][mask]
    zero = (weight * ground.divergence_of_ignorant("all")[: len(kl)][mask]).sum()
    return float(1 - (weight * kl[mask]).sum(dtype=np.float64) / zero) if zero > 0 else None


def share_recovered(scrubbed: float, model: float, nothing: float) -> float:
    """Return which part of what a model gains is left where it is scrubbed.

    Args:
        scrubbed: Loss then, in nats.
        model: Loss of the model as it is.
        nothing: Loss when nothing is important.

    Returns:
        1 if all is left, 0 if nothing is; NaN if the model gains nothing, as one whose output is always the same.
    """
    return float((scrubbed - nothing) / (model - nothing)) if model != nothing else math.nan


def _half_pool(ground: Ground, bound: BoundGraph, options: Options, seed: int, measured: Measured) -> float | None:
    """Scrub a quarter of the references with half of the pool, and say what that adds to fidelity."""
    rows = np.arange(ground.history.n_rows)
    first_half = (rows >= ground.n_references) & (rows < (ground.n_references + ground.history.n_rows) // 2)
    where = None if measured.weights is None else measured.sampled
    scrubber = make_scrubber(ground.clean, bound, options, seed, first_half, where)
    n_rows = max(2, ground.n_references // QUARTER)
    kl = ground.divergence(scrubber.run(HALF, n_rows=n_rows).log_probs)
    tested = _tested(has_donor(scrubber, n_rows), scrubber.clean.n_steps, n_rows) & measured.tested[:n_rows]
    both = (kl, measured.kl[SCRUBBED][0, :n_rows])
    half, whole = (fidelity_of(ground, values, tested, measured.weights) for values in both)
    return None if half is None or whole is None else half - whole


def _pull_apart(
    ground: Ground, bound: BoundGraph, options: Options, seed: int, measured: Measured, ways: Sequence[str]
) -> None:
    """Give each unimportant input of some references a history of its own; where asked, one for all beside that."""
    few = min(ROWS_APART, ground.n_references)
    rows = np.r_[:few, ground.n_references : min(ground.history.n_rows, ground.n_references + POOL_APART * few)]
    clean = ground.clean.of_rows(rows, few)
    regimes = {name: mask[rows] for name, mask in ground.regimes.items()}
    part = Ground(ground.data, ground.words, clean.history, few, regimes, clean, ground.labelled)
    bound_to_part = bound.of_rows(rows)
    whole = np.full((1, *ground.log_probs.shape[:2]), np.nan, dtype=np.float32)
    for others in ways:
        how = replace(options, others=others)  # type: ignore[arg-type]
        where = None if measured.weights is None else measured.sampled[:few]
        scrubber = make_scrubber(part.clean, bound_to_part, how, seed, where=where)
        kl = part.divergence(scrubber.run(0).log_probs)
        # fewer donors: not everywhere where the whole pool has one
        tested = _tested(has_donor(scrubber, few), scrubber.clean.n_steps, few)
        fidelity = fidelity_of(ground, kl, tested, measured.weights)
        if others == "joint":
            measured.together = fidelity
            continue
        measured.independent = fidelity
        whole[0, :few] = np.where(tested, kl, np.nan)
        measured.kl[INDEPENDENT] = whole
    give_back_freed_memory()


class _Tally:
    """Sums over passes of what the claim's own features change."""

    def __init__(self, ground: Ground) -> None:
        self.ground, self.likeliest = ground, ground.log_probs.argmax(-1)
        self.probabilities = np.zeros_like(ground.log_probs)
        self.same = np.zeros(ground.log_probs.shape[:2])
        self.losses: list[np.ndarray] = []
        self.kl: list[np.ndarray] = []
        self.moved = self.baseline = 0.0
        self.movements: dict[tuple[str, ...], Movement] = {}

    def add(self, result: Pass) -> None:
        self.probabilities += np.exp(result.log_probs)
        self.losses.append(self.ground.loss(result.log_probs))
        self.kl.append(self.ground.divergence(result.log_probs))
        self.same += result.log_probs.argmax(-1) == self.likeliest
        self.moved += result.root_moved
        self.baseline += result.root_moved_by_baseline
        self.movements |= result.movements

    def measured(self, tested: np.ndarray, donors: dict[str, np.ndarray]) -> Measured:
        n = len(self.kl)
        movement = self.moved / self.baseline if self.baseline else 0.0
        losses = {SCRUBBED: np.stack(self.losses).astype(np.float32)}
        kl = {SCRUBBED: np.stack(self.kl).astype(np.float32)}
        return Measured(losses, kl, tested, donors, self.same / n, self.probabilities / n, movement)


def _node(scrubber: Scrubber, name: str, movements: Mapping[tuple[str, ...], Movement]) -> dict[str, Any]:
    """What the record of a node says of its draws."""
    arrows = [movement for path, movement in movements.items() if path[-1] == name]
    changes = [change for path, change in scrubber.changes.items() if path[-1] == name]
    swapped, moved, spread = (
        float(np.mean([getattr(movement, key) for movement in arrows])) for key in ("swapped", "moved", "spread")
    )
    exact = float(max(spread, moved) < EXACT_BELOW < swapped)
    figures: dict[str, Any] = {"swapped": swapped, "moved": moved, "spread": spread, "exact": exact}
    if changes:
        figures["changed"] = float(np.mean([change.positions for change in changes]))
        figures["changed_tokens"] = float(np.mean([change.tokens for change in changes]))
    return figures


def _alone(ground: Ground, scrubber: Scrubber, name: str) -> dict[str, float]:
    """What the record of a node says of the node alone."""
    figures: dict[str, float] = {}
    model = ground.loss(ground.log_probs[:ROWS_ALONE]).mean(dtype=np.float64)
    nothing = ground.baseline[:ROWS_ALONE].mean()
    for key, agreeing in zip(ALONE, (True, False), strict=True):
        loss = ground.loss(scrub_alone(scrubber, name, agreeing, ROWS_ALONE)).mean(dtype=np.float64)
        figures[key] = share_recovered(loss, model, nothing)
    return figures
