"""From hypotheses or a model, and a selection of its parts, to the records that reports on patches are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ad_hypotheses.causal.effects import (
    measure,
)
from ad_hypotheses.causal.history_pairs import HistoryPairs
from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.distill.memory import free_memory
from ad_hypotheses.language.edges import Edge
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.progress import Progress
from ad_hypotheses.report.screen import size
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.edits import Pair
from ad_hypotheses.studies.patch.answer import method_of
from ad_hypotheses.studies.patch.bind import BoundPatches, PatchSettings, bind_all, prepare, require_edges
from ad_hypotheses.studies.patch.record import PatchStudy
from ad_hypotheses.studies.patch.results import patch_study
from ad_hypotheses.studies.patch.screen import attribute_or_resume, pick
from ad_hypotheses.studies.patch.select import Selection


def patch(
    hypotheses: Sequence[Hypothesis] = (),
    selection: Selection | None = None,
    settings: PatchSettings | None = None,
    *,
    model: str | None = None,
    models: Path = Path("models"),
    device: str = "cpu",
    command: str = "",
    scratch: Scratch | None = None,
    progress: Progress | None = None,
) -> list[PatchStudy]:
    """Replace single edges, nodes and paths of a model by what they are in another run, and measure what that does.

    After Goldowsky-Dill et al. 2023, "Localizing Model Behavior with Path Patching".

    Args:
        hypotheses: Whose arrows are patched; each is held against every edge of its model where no edges are selected.
            Empty to patch a model without a claim.
        selection: Edges, nodes and paths to patch in addition.
        settings: How; the defaults if None.
        model: Name of the checkpoint; None for those that the hypotheses name.
        models: Folder of the checkpoints.
        device: Where to compute.
        command: What makes the same study again, for its record.
        scratch: Where to keep what is measured, so that an interrupted study goes on where it stopped; None to keep
            nothing.
        progress: Listens on the way.

    Returns:
        One record for each hypothesis that is not a control of another, or one for the model.

    Raises:
        HypothesisError: A claim does not fit the model or the data, or a text is not a part of the model.
        CheckpointError: A checkpoint is missing or damaged.
        DataError: There is nothing to patch, there are no such donors, or a metric does not fit them.
        CapacityError: Not even one history fits into memory.
    """
    settings, progress = settings or PatchSettings(), progress or Progress()
    trials = bind_all(hypotheses, selection or Selection(), settings, model, models, device, progress)
    settings = replace(settings, memory=settings.memory or free_memory(device))
    trials = _screen_all(trials, settings, scratch, progress)
    _announce(trials, settings, progress)
    return [run_patches(trial, settings, command, scratch, progress) for trial in trials]


def patch_pair(
    checkpoint: Checkpoint,
    pair: Pair,
    selection: Selection,
    settings: PatchSettings | None = None,
    hypothesis: Hypothesis | None = None,
    progress: Progress | None = None,
) -> PatchStudy:
    """Patch a model in histories whose donors are there already.

    Args:
        checkpoint: The model.
        pair: The histories, and beside each the same one with one thing changed.
        selection: Edges, nodes and paths to patch.
        settings: How; its data and donors do not count.
        hypothesis: Whose arrows are patched too, or None.
        progress: Listens on the way.

    Raises:
        HypothesisError: The claim does not fit the model or the data, or a text is not a part of the model.
        DataError: There is nothing to patch, or a metric does not fit the pair.
        CapacityError: Not even one history fits into memory.
    """
    settings, progress = settings or PatchSettings(), progress or Progress()
    settings = replace(settings, donors=pair.name, memory=settings.memory or free_memory(str(checkpoint.model.device)))
    words = f"each history reads from itself with one thing changed: {pair.words}"
    given = HistoryPairs(pair.reference, pair.donor, pair.name, words, pair.rows, 0, pair.first_step, pair.towards)
    items = selection.items(checkpoint.model.anatomy, hypothesis is not None)
    trials = [prepare(checkpoint, settings, items, hypothesis, given)]
    require_edges(trials[0], settings)
    trials = _screen_all(trials, settings, None, progress)
    _announce(trials, settings, progress)
    return run_patches(trials[0], settings, progress=progress)


def run_patches(
    trial: BoundPatches,
    settings: PatchSettings,
    command: str = "",
    scratch: Scratch | None = None,
    progress: Progress | None = None,
) -> PatchStudy:
    """Measure everything that is bound to a model and to data, and weigh it.

    Args:
        trial: From :func:`prepare`.
        settings: How.
        command: What makes the same study again.
        scratch: Where to keep what is measured; None to keep nothing.
        progress: Is told the number of patches, counted for each history, that are done.

    Raises:
        DataError: A metric does not fit the donors.
        CapacityError: Not even one history fits into memory.
    """
    effects = measure(
        trial.checkpoint.model,
        trial.pairs,
        [item.patch for item in trial.items],
        settings.metrics,
        trial.regimes,
        direction=settings.direction,
        memory=settings.memory,
        progress=(progress or Progress()).advance,
        scratch=scratch,
    )
    return patch_study(trial, settings, effects, command)


def _screen_all(
    trials: Sequence[BoundPatches], settings: PatchSettings, scratch: Scratch | None, progress: Progress
) -> list[BoundPatches]:
    """Leave out the edges that attribution passes over, if that is asked for."""
    if settings.screen is None:
        return list(trials)
    edges = sum(len(trial.to_screen()) for trial in trials)
    rows = sum(trial.pairs.reference.n_rows for trial in trials)
    steps = settings.attribution_steps
    method, runs = method_of(settings.screen_rule, steps), "run" if steps == 1 else "runs"
    progress.say(
        f"screening {edges:,} edges by {method} of {settings.metrics[0]}: {steps} {runs} of each history forwards and "
        f"back; the strongest {settings.screen:,} are then measured exactly"
    )
    progress.begin("screening", rows, "histories")
    return [_screen(trial, settings, settings.screen, scratch, progress) for trial in trials]


def _screen(
    trial: BoundPatches, settings: PatchSettings, n_picked: int, scratch: Scratch | None, progress: Progress
) -> BoundPatches:
    """Leave out the edges that seem to do least, all but some that are drawn at random."""
    items = trial.to_screen()
    model, metric, steps = trial.checkpoint.model, settings.metrics[0], settings.attribution_steps
    edges = [item.patch for item in items if isinstance(item.patch, Edge)]
    options = (metric, steps, settings.direction, settings.memory)
    how = (progress.advance, scratch, settings.screen_rule)
    attributions = attribute_or_resume(model, trial.pairs, edges, *options, *how)
    screened = pick(edges, attributions, n_picked, steps, settings.seed)
    passed = [item for number, item in enumerate(items) if number not in screened.wanted]
    left = set(passed)
    remaining = [item for item in trial.items if item not in left]
    return replace(trial, items=remaining, screened=screened, passed=passed)


def _announce(trials: Sequence[BoundPatches], settings: PatchSettings, progress: Progress) -> None:
    plans = [trial.plan(settings.memory) for trial in trials]
    history, n_patches = trials[0].pairs.reference, sum(len(trial.items) for trial in trials)
    progress.say(
        f"{n_patches:,} patches in {history.n_rows:,} histories of {history.n_steps:,} steps, "
        f"{size(max(plan.bytes for plan in plans))} of memory"
    )
    progress.begin("patching", sum(plan.patched for plan in plans), "runs")
