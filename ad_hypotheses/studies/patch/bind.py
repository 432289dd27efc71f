"""What is patched, bound to a checkpoint, fresh histories and their donors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ad_hypotheses.causal.attribute import Rule
from ad_hypotheses.causal.effects import (
    Direction,
    MeasurementPlan,
    Together,
    plan,
)
from ad_hypotheses.causal.history_pairs import HistoryPairs, make_pairs
from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.check import Bound, bind
from ad_hypotheses.language.declared import Arrow, declared, left_open, undeclared
from ad_hypotheses.language.edges import Edge
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.load import chosen
from ad_hypotheses.progress import Progress
from ad_hypotheses.studies.patch.screen import Screened, default_steps
from ad_hypotheses.studies.patch.select import Item, Selection
from ad_hypotheses.studies.scrub.bind import ScrubSettings, reference_histories

DECLARED, UNDECLARED, OPEN, EVERYTHING = (
    "all declared edges", "all undeclared edges", "all edges that the claim leaves open", "all edges of the model",
)  # fmt: skip


@dataclass(frozen=True)
class PatchSettings:
    """What to patch, and how.

    Attributes:
        donors: As in :func:`make_pairs`.
        direction: Which run is patched.
        metrics: What to measure; patches are ranked by the first.
        rows: Learning histories.
        tasks: Which tasks they come from.
        seed: Of the histories, the draws and the bootstrap.
        memory: Bytes that may be used; None for what is free.
        data: Data set that they are of, as in `studies.data.chosen_data`.
        screen: How many of the edges that no arrow declares are picked by attribution and measured; None for all.
        screen_steps: Runs of each history that attribution takes; None for as many as the first metric needs.
        screen_rule: What attribution takes backwards: gradients, or relevance.
    """

    donors: str = "any"
    direction: Direction = "noising"
    metrics: tuple[str, ...] = ("loss", "kl", "logit-difference")
    rows: int = 64
    tasks: str = "all"
    seed: int = 0
    memory: int | None = None
    data: str = "source"
    screen: int | None = None
    screen_steps: int | None = None
    screen_rule: Rule = "gradient"

    def histories(self, checkpoint: Checkpoint) -> History:
        """Generate the histories whose runs are patched.

        Raises:
            DataError: Too few rows are asked for, or there are no such tasks.
            CapacityError: They would not fit into memory.
        """
        settings = ScrubSettings(rows=self.rows, tasks=self.tasks, seed=self.seed, memory=self.memory)
        return reference_histories(checkpoint, settings, self.data)

    @property
    def attribution_steps(self) -> int:
        """How many runs of each history attribution takes."""
        return self.screen_steps or default_steps(self.metrics[0], self.direction)


@dataclass
class BoundPatches:
    """Patches bound to a model and to data.

    Attributes:
        checkpoint: The model.
        pairs: The histories and their donors.
        regimes: Which steps belong to which regime, `"all"` first. {name: [row, step]}
        items: What to patch.
        bound: The hypothesis, if there is one.
        arrows: That it declares.
        screened: Which of the single edges were chosen, if they were.
        passed: The others.
    """

    checkpoint: Checkpoint
    pairs: HistoryPairs
    regimes: dict[str, np.ndarray]
    items: list[Item]
    bound: Bound | None = None
    arrows: Sequence[Arrow] = ()
    screened: Screened | None = None
    passed: Sequence[Item] = ()

    def plan(self, memory: int | None) -> MeasurementPlan:
        """How the measurement will be cut up."""
        rows, steps = self.pairs.reference.actions.shape
        return plan(self.checkpoint.model, rows, steps, len(self.items), memory)

    def to_screen(self) -> list[Item]:
        """The single edges that no arrow declares."""
        spoken = {arrow.name for arrow in self.arrows if arrow.single}
        return [item for item in self.items if isinstance(item.patch, Edge) and item.arrow not in spoken]


def bind_all(
    hypotheses: Sequence[Hypothesis],
    selection: Selection,
    settings: PatchSettings,
    model: str | None,
    models: Path,
    device: str,
    progress: Progress,
) -> list[BoundPatches]:
    """Load the checkpoints, generate histories, and list what to patch in each; see :func:`patch`."""
    if not hypotheses and model is None:
        raise DataError("there is neither a hypothesis nor a model to patch; give one of them (`hypotheses`, `model`).")
    if not hypotheses and selection.is_empty:
        raise DataError(f"nothing to patch in {model}: there is no hypothesis, and no edges, nodes or paths are named.")
    claims = [hypothesis for hypothesis, _ in chosen(hypotheses, model)]
    subjects = [(claim.model, claim) for claim in claims] if hypotheses else [(str(model), None)]
    checkpoints = {name: load(name, models, device) for name in dict.fromkeys(name for name, _ in subjects)}
    progress.begin("generating histories", len(subjects))
    trials = []
    for name, claim in subjects:
        items = selection.items(checkpoints[name].model.anatomy, claim is not None)
        trials.append(prepare(checkpoints[name], settings, items, claim))
        require_edges(trials[-1], settings)
        progress.advance(1)
    return trials


def require_edges(trial: BoundPatches, settings: PatchSettings) -> None:
    """Refuse to screen where there is nothing to choose from.

    Raises:
        DataError: No single edge stands outside of the declared arrows.
    """
    if settings.screen is not None and not trial.to_screen():
        raise DataError(
            "`screen` picks among single edges that no arrow declares, and there are none. Add `edges='all'`."
        )


def prepare(
    checkpoint: Checkpoint,
    settings: PatchSettings,
    items: Sequence[Item],
    hypothesis: Hypothesis | None = None,
    given: HistoryPairs | None = None,
) -> BoundPatches:
    """Generate histories, find their donors, and list what to patch.

    Args:
        checkpoint: The model.
        settings: How.
        items: What is selected.
        hypothesis: Whose arrows are patched too, or None.
        given: The histories and their donors, where they are there already.

    Raises:
        HypothesisError: The hypothesis does not fit the model or the data.
        DataError: There are no such donors, or nothing to patch.
    """
    history = settings.histories(checkpoint) if given is None else given.reference
    task = checkpoint.experiment.task
    anatomy, regimes = checkpoint.model.anatomy, task.regimes(history)
    bound = None if hypothesis is None else bind(hypothesis, anatomy, history, regimes, settings.seed)
    pairs = make_pairs(settings.donors, task, history, settings.seed, bound) if given is None else given
    regimes = {"all": np.ones_like(history.actions, dtype=bool), **regimes}
    of_pairs = pairs.rows if given is None else slice(None)
    regimes = {name: steps[of_pairs] for name, steps in regimes.items() if steps[of_pairs].any()}
    arrows = [] if bound is None else declared(bound)
    free = [] if bound is None else left_open(bound, arrows)
    listed = [] if bound is None else _from_arrows(arrows, free, undeclared(anatomy, [*arrows, *free]))
    owners = {edge: arrow.name for arrow in (*arrows, *free) if arrow.single for edge in arrow.edges}
    listed += [
        replace(item, arrow=owners.get(item.patch.at(), "")) if isinstance(item.patch, Edge) else item for item in items
    ]
    listed = list({(item.kind, item.name): item for item in listed}.values())
    if not listed:
        raise DataError("there is nothing to patch.")
    return BoundPatches(checkpoint, pairs, regimes, listed, bound, arrows)


def _from_arrows(arrows: Sequence[Arrow], free: Sequence[Arrow], rest: Sequence[Edge]) -> list[Item]:
    spoken = frozenset(edge for arrow in arrows if arrow.single for edge in arrow.edges)
    opened = frozenset(edge for arrow in free for edge in arrow.edges)
    sets = {DECLARED: spoken, UNDECLARED: frozenset(rest), OPEN: opened, EVERYTHING: spoken | opened | frozenset(rest)}
    items = [Item(Together(edges), name, "set") for name, edges in sets.items() if edges]
    items += [Item(Together(frozenset(arrow.edges)), arrow.name, "arrow", arrow.name) for arrow in arrows]
    items += [Item(Together(frozenset(arrow.edges)), arrow.name, "open", arrow.name) for arrow in free]
    return items + [
        Item(edge, str(edge), "edge", arrow.name) for arrow in arrows if arrow.single for edge in arrow.edges
    ]
