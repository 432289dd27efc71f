"""One context scrubbed among other histories: what the model says then, and who stood in for what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.scrub import Scrubber
from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.errors import DataError, HypothesisError
from ad_hypotheses.language.check import BoundGraph, TreePath, bind
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.report.result import Result
from ad_hypotheses.report.words import counted
from ad_hypotheses.sources.variants import joined
from ad_hypotheses.studies.scrub.bind import ScrubSettings
from ad_hypotheses.studies.tables import table_of

REST = "everything else"  # what a claim calls irrelevant


@dataclass(frozen=True)
class ArrowDonors:
    """Who stood in for one arrow of the claim, written out as a tree, in one pass.

    Attributes:
        number: Number of the pass.
        arrow: Path from the root, `"choice < heading < goal"`; the last is what was drawn, `"everything else"` for
            what the claim calls irrelevant.
        rows: Row among the other histories at each step; -1 where the context stood in for itself, because no other
            agrees; None where the claim speaks of other steps only, or where drawing it came to nothing. [step]
        steps: Step of that row. [step]
    """

    number: int
    arrow: str
    rows: list[int | None]
    steps: list[int | None]


@dataclass(frozen=True, repr=False)
class ScrubbedContext(Result):
    """One context scrubbed among other histories.

    Attributes:
        claim: Name of the hypothesis.
        model: Name of the model.
        n_among: Number of histories that donors came from.
        model_log_probs: Log-probabilities of the model itself. [step][action]
        log_probs: Those of the scrubbed model. [pass][step][action]
        donors: Who stood in, for every pass and arrow.
    """

    claim: str
    model: str
    n_among: int
    model_log_probs: list[list[float]]
    log_probs: list[list[list[float]]]
    donors: list[ArrowDonors]

    @property
    def divergence(self) -> Float[np.ndarray, "pass step"]:
        """KL divergence of the scrubbed model's distribution from the model's, in nats. [pass, step]"""
        own = np.asarray(self.model_log_probs)
        return (np.exp(own) * (own - np.asarray(self.log_probs))).sum(-1)

    @property
    def headline(self) -> str:
        """Claim, model and how far scrubbing moves the context."""
        moved = self.divergence
        size = (
            f"{counted(moved.shape[1], 'step')} among {self.n_among} histories, {counted(len(moved), 'pass', 'passes')}"
        )
        most = f"mean divergence {moved.mean():.3g} nats, most at step {int(moved.mean(0).argmax())}"
        return f"{self.claim} on {self.model}: {size}, {most}"

    def to_frame(self) -> Any:
        """Return who stood in, a line for each pass, arrow and step, as a pandas.DataFrame."""
        return table_of(
            [
                {"pass": of.number, "arrow": of.arrow, "step": step, "donor_row": row, "donor_step": donor_step}
                for of in self.donors
                for step, (row, donor_step) in enumerate(zip(of.rows, of.steps, strict=True))
            ]
        )


def scrub_context(
    hypothesis: Hypothesis, checkpoint: Checkpoint, history: History, among: History, settings: ScrubSettings
) -> ScrubbedContext:
    """Scrub one context with donors from other histories, by the engine's own draws.

    Args:
        hypothesis: The claim.
        checkpoint: The model.
        history: The context, one row.
        among: Histories that donors come from; rows that show the same as the context are left out.
        settings: Passes, seed and how donors are drawn; nothing else of it counts.

    Raises:
        HypothesisError: The claim does not fit the model or the data.
        DataError: The context is not a single row, or does not go with the others.
    """
    others = _others(history, among)
    together = joined([replace(history, learner=None), replace(among[others], learner=None, family=history.family)])
    roles = checkpoint.experiment.task.regimes(together)
    bound = bind(hypothesis, checkpoint.model.anatomy, together, roles, settings.seed)
    refuse_made(bound)
    clean = Clean.run(checkpoint.model, together, n_references=1)
    log_probs, donors = [], []
    with clean.prepared():
        scrubber = Scrubber(clean, bound, settings.options, settings.seed)
        for number in range(settings.passes):
            log_probs.append(scrubber.run(number).log_probs[0].tolist())
            donors += [_shown(number, *drawn, others, history.n_steps) for drawn in _drawn(scrubber)]
    name = hypothesis.name or bound.root
    return ScrubbedContext(name, checkpoint.name, len(others), clean.log_probs[0].tolist(), log_probs, donors)


def refuse_made(bound: BoundGraph) -> None:
    """Refuse a claim whose donors are made.

    Raises:
        HypothesisError: Those of a node are.
    """
    if bound.made:
        raise HypothesisError(
            f"{', '.join(bound.made)}: donors are made from the context itself, so that no other history stands in.\n"
            "  Scrub the claim without `history`."
        )


def _others(history: History, among: History) -> Int[np.ndarray, " row"]:
    """Return which rows show something else than the context.

    Raises:
        DataError: The context is not a single row, or does not go with the others.
    """
    if history.n_rows != 1:
        raise DataError(f"`history` has {history.n_rows} rows, but one is scrubbed at a time: history[0].")
    if among.n_steps != history.n_steps:
        raise DataError(
            f"`history` has {history.n_steps} steps and `among` {among.n_steps}: cut the longer one, "
            f".window(stop={min(among.n_steps, history.n_steps)})."
        )
    return others_than(history, among)


def others_than(history: History, among: History) -> Int[np.ndarray, " row"]:
    """Return which rows of some histories show something else than each of some contexts of as many steps.

    Raises:
        DataError: They are fewer than 2.
    """
    differs = np.ones(among.n_rows, dtype=bool)
    for row in range(history.n_rows):
        same = np.ones(among.n_rows, dtype=bool)
        for name in ("observations", "actions", "rewards"):
            context = getattr(history, name)[row : row + 1]
            same &= (getattr(among, name) == context).reshape(among.n_rows, -1).all(axis=1)
        differs &= ~same
    if differs.sum() < 2:
        raise DataError(f"`among` has {differs.sum()} histories that differ from `history`; donors need at least 2.")
    return np.flatnonzero(differs)


def _drawn(scrubber: Scrubber) -> Iterator[tuple[TreePath, Int[np.ndarray, " step"]]]:
    """Return where the latest pass led from the context, for each arrow: flat positions, -1 where nobody stands in.

    Draws are keyed by seed, pass, path, row and step, so that reading them again gives those of the run.
    """
    n_steps = scrubber.clean.n_steps

    def below(path: TreePath, at: Int[np.ndarray, " step"]) -> Iterator[tuple[TreePath, Int[np.ndarray, " step"]]]:
        rows, steps = at // n_steps, at % n_steps
        if scrubber.options.others == "joint":
            other = scrubber.other_rows(path).numpy(force=True)[rows] * n_steps + steps
            yield (*path, REST), np.where(at < 0, -1, other)
        for parent in scrubber.nodes[path[-1]].parents:
            table = scrubber.donors(path, parent)
            drawn = table[rows] * n_steps + steps if table.ndim == 1 else table[rows, steps]
            selected = scrubber.nodes[parent].selected
            nobody = at < 0 if selected is None else (at < 0) | ~selected[rows, steps]
            drawn = np.where(nobody, -1, drawn)
            yield (*path, parent), drawn
            if scrubber.nodes[parent].parents:
                yield from below((*path, parent), drawn)

    return below((scrubber.root,), np.arange(n_steps))


def _shown(
    number: int, path: Sequence[str], at: Int[np.ndarray, " step"], others: Int[np.ndarray, " row"], n_steps: int
) -> ArrowDonors:
    """Say where an arrow led, with the rows as they were given."""
    numbers = np.concatenate([[-1], others])
    rows = [None if place < 0 else int(numbers[place // n_steps]) for place in at.tolist()]
    steps = [None if place < 0 else place % n_steps for place in at.tolist()]
    return ArrowDonors(number, " < ".join(path), rows, steps)
