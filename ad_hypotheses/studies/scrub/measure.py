"""Everything that is run on the model for one claim, reduced to arrays over positions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.metrics import cross_entropy, exact_baseline
from ad_hypotheses.causal.rewire import scrub_alone
from ad_hypotheses.causal.scrub import Movement, Options, Pass, Scrubber
from ad_hypotheses.distill.memory import give_back_freed_memory
from ad_hypotheses.language.anatomy import Part
from ad_hypotheses.language.check import BoundGraph, BoundNode
from ad_hypotheses.storage.checked import read_checked_arrays, write_checked_arrays
from ad_hypotheses.storage.files import replacing
from ad_hypotheses.studies.scrub.halves import HALVED, Halves, scrub_in_halves

VARIANTS = ("scrubbed", "structure", "scrubbed with self-donors", "structure with self-donors")
SAID = ("nodes", "root_movement", "any_step", "independent", "together")
EXACT_BELOW = 1e-5  # relative norm under which a site is a function of its feature, up to rounding
ROWS_ALONE = 64  # references of a node alone, which costs whole forward passes; donors come from all rows
BASELINES, BASELINE_PASSES = 20_000, 4  # first pass of sampled baselines, and how many for one of the hypothesis
REPEATS = 10_000  # first pass of the constant-feature runs, so that they share no draw with the hypothesis


@dataclass
class Measured:
    """What scrubbing one claim gave.

    Attributes:
        losses: Cross-entropy by variant, in nats. {variant: [pass, row, step]}
        baseline, baseline_with_self: Expected cross-entropy when nothing is important, in nats. [row, step]
        kl: KL divergence of the scrubbed from the model's distribution, mean over passes. [row, step]
        same_argmax: Share of passes that keep the likeliest action. [row, step]
        probabilities: Scrubbed distribution, mean over passes. [row, step, action]
        root_movement: How far the logits' input moved, relative to the baseline.
        nodes: Per node, what `NodeRecord` says of draws, movement and the node alone.
        any_step: What is recovered with donors from any step, in one pass; None where nobody asked, or all are.
        independent: What is recovered on the first histories and in one pass if each unimportant input has a history of
            its own; None where nobody asked, or that is so anyway.
        together: The same if all unimportant inputs of a visit come from one, as is usual.
        halves: Losses with donors from one half of the rows; None where the rows are too few.
    """

    losses: dict[str, Float[np.ndarray, "pass row step"]]
    baseline: Float[np.ndarray, "row step"]
    baseline_with_self: Float[np.ndarray, "row step"]
    kl: Float[np.ndarray, "row step"]
    same_argmax: Float[np.ndarray, "row step"]
    probabilities: Float[np.ndarray, "row step action"]
    root_movement: float
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    any_step: float | None = None
    independent: float | None = None
    together: float | None = None
    halves: Halves | None = None

    @property
    def least_swapped(self) -> float:
        """Share of the draws whose donor is another row, at the node where it is smallest."""
        return min((float(node["swapped"]) for node in self.nodes.values()), default=0.0)

    def save(self, path: Path) -> None:
        """Write everything to a file that :meth:`load` reads."""
        arrays = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        arrays["meta"] = np.array(json.dumps({name: getattr(self, name) for name in SAID}))
        arrays |= {f"loss {name}": loss for name, loss in self.losses.items()}
        if self.halves is not None:
            arrays |= {f"half {name}": loss for name, loss in self.halves.losses.items()}
            arrays["first half"] = self.halves.first
        with path.open("wb") as file:
            write_checked_arrays(file, arrays)

    @classmethod
    def load(cls, path: Path) -> Measured | None:
        """Read what :meth:`save` wrote; None if it is not there as it was written."""
        content = read_checked_arrays(path)
        if content is None:
            return None
        losses = {name: content[f"loss {name}"] for name in VARIANTS}
        names = ("baseline", "baseline_with_self", "kl", "same_argmax", "probabilities")
        arrays: dict[str, Any] = {name: content[name] for name in names}
        halves = None
        if "first half" in content:
            halves = Halves(content["first half"], {name: content[f"half {name}"] for name in HALVED})
        return cls(losses, **arrays, **json.loads(str(content["meta"])), halves=halves)


def kept_or_measured(
    path: Path | None, make: Callable[[], Measured], kept: Callable[[], None] = lambda: None
) -> Measured:
    """Return what lies on disk, or measure it and keep it there.

    Args:
        path: Where; None to keep nothing. A file that is damaged is made anew.
        make: Measures.
        kept: Called where nothing had to be measured.
    """
    if path is None:
        return make()
    measured = Measured.load(path)
    if measured is None:
        measured = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            measured.save(temporary)
        return measured
    kept()
    return measured


def forwards(bound: BoundGraph, passes: int, nodes_alone: bool = True, splits: int = 0) -> int:
    """Return the number of partial forward passes over the dataset that :func:`measure` needs."""
    whole_claims = len(VARIANTS) * passes + 2 * splits + 2 * nodes_alone
    return whole_claims * bound.n_visits + 2 * nodes_alone * (len(bound.nodes) - 1)


def measure(
    clean: Clean,
    bound: BoundGraph,
    passes: int,
    options: Options,
    seed: int,
    nodes_alone: bool = True,
    splits: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Measured:
    """Scrub one claim in all four variants, each of its nodes alone, and once each with two other options.

    Args:
        clean: The model's own run.
        bound: The claim, bound to model and data.
        passes: How often every reference is scrubbed, in each variant.
        options: Self-donors apart, which are measured both ways.
        seed: Of all draws.
        nodes_alone: Whether to replace each node alone too, which costs whole forward passes, and to scrub once with
            donors from any step, and once with independent others.
        splits: Into halves, so that intervals know how much the donors matter; see `halves.n_splits`. 0 for none.
        progress: Called with the number of partial forwards that were done.
    """
    without_self = replace(options, self_donors=False)
    with clean.prepared():  # freed before the last runs, which hold every writer
        measured = _in_all_variants(clean, bound, passes, options, seed, nodes_alone, splits, progress)
        if nodes_alone and options.align != "any":
            from_any_step = Scrubber(clean, bound, replace(without_self, align="any"), seed)
            measured.any_step = recovered_in_a_pass(from_any_step, measured.baseline)
    if nodes_alone and options.others == "joint":
        measured.independent, measured.together = _apart_and_together(clean, bound, without_self, seed)
    progress(2 * bound.n_visits if nodes_alone else 0)
    return measured


def _in_all_variants(
    clean: Clean,
    bound: BoundGraph,
    passes: int,
    options: Options,
    seed: int,
    nodes_alone: bool,
    splits: int,
    progress: Callable[[int], None],
) -> Measured:
    """Scrub one claim in all four variants, in halves, and each of its nodes alone; arguments as of :func:`measure`."""
    inner, without_self = bound.n_visits, replace(options, self_donors=False)
    scrubbers = [Scrubber(clean, graph, without_self, seed) for graph in (bound, bound.without_features())]
    variants = dict(zip(VARIANTS, (*scrubbers, *(one.with_self_donors() for one in scrubbers)), strict=True))
    actions = clean.history.actions
    losses = {name: np.empty((passes, *actions.shape), dtype=np.float32) for name in VARIANTS}
    tally = _Tally(clean.log_probs)
    for name, scrubber in variants.items():
        first = REPEATS if name.startswith("structure") else 0
        for number in range(passes):
            result = scrubber.run(first + number, movements=name == "scrubbed" and number == 0)
            losses[name][number] = cross_entropy(result.log_probs, actions)
            if name == "scrubbed":
                tally.add(result)
            progress(inner)
    baselines = [expected_baseline(clean, replace(options, self_donors=own), passes, seed) for own in (False, True)]
    measured = tally.measured(losses, *baselines)
    if splits:
        how = (without_self, seed, splits, baselines[0])
        measured.halves = scrub_in_halves(clean, bound, *how, progress=lambda done: progress(done * inner))
    give_back_freed_memory()
    for name in bound.nodes:
        if name != bound.root:
            measured.nodes[name] = _node(variants["scrubbed"], name, tally.movements, nodes_alone, baselines[0])
            progress(2 * nodes_alone)
    return measured


def recovered_in_a_pass(scrubber: Scrubber, baseline: Float[np.ndarray, "row step"]) -> float:
    """Return what a claim recovers in one pass, without an interval.

    Args:
        scrubber: Of the claim.
        baseline: Expected loss when nothing is important, in nats.
    """
    actions = scrubber.clean.history.actions
    runs = (scrubber.clean.log_probs, scrubber.run(0).log_probs)
    model, scrubbed = (cross_entropy(log_probs, actions).mean(dtype=np.float64) for log_probs in runs)
    return share_recovered(scrubbed, model, baseline.mean())


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


def _apart_and_together(clean: Clean, bound: BoundGraph, options: Options, seed: int) -> tuple[float, float]:
    """What a claim recovers on the first rows if each unimportant input has a row of its own, and if all have one."""
    few = Clean.run(clean.twin.model, clean.history[:ROWS_ALONE])
    bound_to_few = bound.of_rows(slice(ROWS_ALONE))
    ways = [replace(options, others=others) for others in ("independent", "joint")]
    apart, together = (
        recovered_in_a_pass(Scrubber(few, bound_to_few, way, seed), expected_baseline(few, way, 1, seed))
        for way in ways
    )
    return apart, together


def expected_baseline(clean: Clean, options: Options, passes: int, seed: int) -> Float[np.ndarray, "row step"]:
    """Return the loss when nothing is important, in nats: exact, or sampled where others are independent.

    Args:
        clean: The model's own run.
        options: Others and self-donors count.
        passes: Of what the baseline is compared with; a sampled one takes four for each.
        seed: Of the draws.
    """
    if options.others == "joint":
        return exact_baseline(clean.log_probs, clean.history.actions, options.self_donors)
    logits = clean.twin.anatomy.logits
    root = BoundNode("logits", (Part(None, (logits,)),), (), None, None, False, "")
    scrubber = Scrubber(clean, BoundGraph({root.name: root}, root.name), options, seed)
    runs = (scrubber.run(BASELINES + number).log_probs for number in range(BASELINE_PASSES * passes))
    losses = [cross_entropy(log_probs, clean.history.actions) for log_probs in runs]
    return np.asarray(np.mean(losses, axis=0, dtype=np.float64))


class _Tally:
    """Sums over passes of what the main variant changes."""

    def __init__(self, log_probs: Float[np.ndarray, "row step action"]) -> None:
        self.log_probs, self.likeliest = log_probs, log_probs.argmax(-1)
        self.probabilities = np.zeros_like(log_probs)
        self.kl, self.same = np.zeros(log_probs.shape[:2]), np.zeros(log_probs.shape[:2])
        self.moved = self.baseline = 0.0
        self.passes = 0
        self.movements: dict[tuple[str, ...], Movement] = {}

    def add(self, result: Pass) -> None:
        self.probabilities += np.exp(result.log_probs)
        self.kl += (np.exp(self.log_probs) * (self.log_probs - result.log_probs)).sum(-1)
        self.same += result.log_probs.argmax(-1) == self.likeliest
        self.moved += result.root_moved
        self.baseline += result.root_moved_by_baseline
        self.movements |= result.movements
        self.passes += 1

    def measured(self, losses: dict[str, np.ndarray], baseline: np.ndarray, with_self: np.ndarray) -> Measured:
        n = self.passes
        movement = self.moved / self.baseline if self.baseline else 0.0
        return Measured(losses, baseline, with_self, self.kl / n, self.same / n, self.probabilities / n, movement)


def _node(
    scrubber: Scrubber,
    name: str,
    movements: Mapping[tuple[str, ...], Movement],
    alone: bool,
    baseline: Float[np.ndarray, "row step"],
) -> dict[str, Any]:
    """What the record of a node says of its draws, and of the node alone."""
    found = [movement for path, movement in movements.items() if path[-1] == name]
    swapped, moved, spread = (
        float(np.mean([getattr(movement, key) for movement in found])) for key in ("swapped", "moved", "spread")
    )
    exact = float(max(spread, moved) < EXACT_BELOW < swapped)
    figures: dict[str, Any] = {"swapped": swapped, "moved": moved, "spread": spread, "exact": exact}
    if not alone:
        return figures | {"recovered": None, "resampled": None}
    actions = scrubber.clean.history.actions
    model = cross_entropy(scrubber.clean.log_probs, actions)[:ROWS_ALONE].mean(dtype=np.float64)
    nothing = baseline[:ROWS_ALONE].mean()
    for key, agreeing in (("recovered", True), ("resampled", False)):
        log_probs = scrub_alone(scrubber, name, agreeing, ROWS_ALONE)
        loss = cross_entropy(log_probs, actions[:ROWS_ALONE]).mean(dtype=np.float64)
        figures[key] = share_recovered(loss, model, nothing)
    return figures
