"""One context scrubbed among other histories: what the model says then, and who stood in for what."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.walk import MadeHistories, Pin, Walked, recording_scrubber
from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.errors import DataError, HypothesisError
from ad_hypotheses.language.check import BoundGraph, bind
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.report.result import Result
from ad_hypotheses.report.words import counted
from ad_hypotheses.sources.variants import joined
from ad_hypotheses.studies.look import chosen_step
from ad_hypotheses.studies.scrub.bind import ScrubSettings
from ad_hypotheses.studies.scrub.kept import Kept
from ad_hypotheses.studies.tables import table_of


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
        made: Number of the history that was made to stand in; None where one was found. [step]
    """

    number: int
    arrow: str
    rows: list[int | None]
    steps: list[int | None]
    made: list[int | None] = field(default_factory=list)


@dataclass(frozen=True)
class ArrowMembers:
    """Who may stand in for one arrow at one step, in one pass: all that agree with what is visited there.

    Attributes:
        number: Number of the pass.
        arrow: As of :class:`ArrowDonors`.
        step: Number of the step of the context.
        rows: Rows among the other histories. [member]
        steps: Their steps. [member]
    """

    number: int
    arrow: str
    step: int
    rows: list[int]
    steps: list[int]


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
        members: Who may stand in at the step that was asked about, for every pass and arrow whose donors are found.
        made: The histories that were made to stand in, as :meth:`History.plain` writes them; None without any.
    """

    claim: str
    model: str
    n_among: int
    model_log_probs: list[list[float]]
    log_probs: list[list[list[float]]]
    donors: list[ArrowDonors]
    members: list[ArrowMembers] = field(default_factory=list)
    made: dict[str, Any] | None = None

    @property
    def made_histories(self) -> History | None:
        """The histories that were made to stand in, a row for each number; None without any."""
        return None if self.made is None else History.of_plain(self.made)

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
    hypothesis: Hypothesis,
    checkpoint: Checkpoint,
    history: History,
    among: History,
    settings: ScrubSettings,
    pins: Sequence[Pin] = (),
    at: int | None = None,
    kept: Kept | None = None,
) -> ScrubbedContext:
    """Scrub one context with donors from other histories, by the engine's own draws.

    Args:
        hypothesis: The claim.
        checkpoint: The model.
        history: The context, one row.
        among: Histories that donors come from; rows that show the same as the context are left out.
        settings: Passes, seed and how donors are drawn; nothing else of it counts.
        pins: Who stands in instead of whom is drawn, in every pass: arrow, step of the context, row and step.
        at: Step at which is said who may stand in; None for none.
        kept: Where the model's own run is kept, for further draws, steps and claims; None to keep nothing.

    Raises:
        HypothesisError: The claim does not fit the model or the data.
        DataError: The context is not a single row, or does not go with the others; or a pin does not fit.
    """
    others = require_context(history, among)
    together = joined([replace(history, learner=None), replace(among[others], learner=None, family=history.family)])
    roles = checkpoint.experiment.task.regimes(together)
    bound = bind(hypothesis, checkpoint.model.anatomy, together, roles, settings.seed)
    if at is not None:
        at = chosen_step(history, at)
    clean = _own_run(checkpoint, together, kept)
    log_probs: list[list[list[float]]] = []
    donors: list[ArrowDonors] = []
    members: list[ArrowMembers] = []
    made = MadeHistories()
    with clean.prepared(stays_below=0 if kept is None else kept.limit // 2):
        scrubber = recording_scrubber(clean, bound, settings.options, settings.seed)
        scrubber.pin([(pin, others) for pin in pins])
        for number in range(settings.passes):
            scrubber.forget()
            log_probs.append(scrubber.run(number).log_probs[0].tolist())
            for walked in scrubber.walked(made):
                donors.append(_shown(number, walked, others))
                if at is not None and walked.consumer is not None:
                    members.append(_members(number, walked, scrubber.members(walked, at), at, others))
    return ScrubbedContext(
        hypothesis.name or bound.root,
        checkpoint.name,
        len(others),
        clean.log_probs[0].tolist(),
        log_probs,
        donors,
        members,
        joined(made.histories).plain() if made.histories else None,
    )


def _own_run(checkpoint: Checkpoint, together: History, kept: Kept | None) -> Clean:
    """Return the model's own run on the context, the first row, and the others."""

    def run() -> Clean:
        return Clean.run(checkpoint.model, together, n_references=1)

    if kept is None:
        return run()
    digest = hashlib.sha256(checkpoint.sha256.encode())
    for array in (together.observations, together.actions, together.rewards, together.episode):
        digest.update(np.ascontiguousarray(array).tobytes())
    return kept.get(("context", digest.hexdigest()), run, lambda clean: clean.bytes)


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


def require_context(history: History, among: History) -> Int[np.ndarray, " row"]:
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


def _shown(number: int, walked: Walked, others: Int[np.ndarray, " row"]) -> ArrowDonors:
    """Say where an arrow led, with the rows as they were given."""
    rows, steps = _rows_and_steps(walked.positions, walked.n_steps, others)
    made = [None if place < 0 else place for place in walked.made.tolist()]
    return ArrowDonors(number, " < ".join(walked.path), rows, steps, made)


def _members(
    number: int, walked: Walked, positions: Int[np.ndarray, " member"], at: int, others: Int[np.ndarray, " row"]
) -> ArrowMembers:
    rows, steps = _rows_and_steps(positions, walked.n_steps, others)
    pairs = [(row, step) for row, step in zip(rows, steps, strict=True) if row is not None and step is not None]
    arrow = " < ".join(walked.path)
    return ArrowMembers(number, arrow, at, [row for row, _ in pairs], [step for _, step in pairs])


def _rows_and_steps(
    positions: Int[np.ndarray, " place"], n_steps: int, others: Int[np.ndarray, " row"]
) -> tuple[list[int | None], list[int | None]]:
    """Return rows as they were given, -1 for the context itself, and steps; None where a position is negative."""
    numbers = np.concatenate([[-1], others])
    rows = [None if place < 0 else int(numbers[place // n_steps]) for place in positions.tolist()]
    return rows, [None if place < 0 else place % n_steps for place in positions.tolist()]
