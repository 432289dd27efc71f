"""From measured effects to the record of a study of patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
from jaxtyping import Float

from ad_hypotheses.causal.effects import (
    Chain,
    Effects,
    Nodes,
    Patch,
    Together,
)
from ad_hypotheses.causal.metrics import METRICS
from ad_hypotheses.distill.checkpoint import versions
from ad_hypotheses.evidence.effects import Effect, weigh
from ad_hypotheses.language.declared import places, unsaid
from ad_hypotheses.language.edges import Edge
from ad_hypotheses.studies.patch.bind import BoundPatches, PatchSettings
from ad_hypotheses.studies.patch.record import PatchRecord, PatchStudy, Screening
from ad_hypotheses.studies.patch.screen import agreements
from ad_hypotheses.studies.patch.select import Item

FEW_ROWS = 16

_FirstOrder = Mapping[Patch, Float[np.ndarray, " row"]]


def patch_study(trial: BoundPatches, settings: PatchSettings, effects: Effects, command: str = "") -> PatchStudy:
    """Weigh measured effects, and return them with all that a report says of them.

    Args:
        trial: What was patched.
        settings: How.
        effects: Of each of its items.
        command: What makes the same study again.
    """
    checkpoint, pairs, bound = trial.checkpoint, trial.pairs, trial.bound
    history, config, shape = pairs.reference, checkpoint.config, checkpoint.model.shape
    title = "" if bound is None else bound.hypothesis.doc.partition("\n")[0] or bound.hypothesis.title
    weighed = {name: _weighed(trial, effects, name, settings.seed) for name in settings.metrics}
    first_order, patches = _first_order(trial, settings, effects), []
    for number, item in enumerate(trial.items):
        by_metric = {metric: {name: of[number] for name, of in by.items()} for metric, by in weighed.items()}
        patches.append(_record(item, by_metric, first_order))
    return PatchStudy(
        name="" if bound is None else bound.hypothesis.name or bound.root,
        title=title,
        file="" if bound is None else bound.hypothesis.root.place.rpartition(":")[0],
        model=checkpoint.name,
        model_sha256=checkpoint.sha256,
        model_text=(
            f"{shape.n_layers} layers, {shape.n_heads} heads, width {shape.d_model}, context {shape.n_ctx} steps"
        ),
        data_text=(
            f"{history.n_rows} learning histories of {history.n_steps} steps, one a learner, never trained on; source "
            f"{config.source['name']}; data: {settings.data}; tasks: {settings.tasks}"
        ),
        task=config.experiment.task.name,
        donors=settings.donors,
        donors_text=pairs.words,
        left_out=pairs.left_out,
        direction=settings.direction,
        metrics=list(settings.metrics),
        regimes={name: int(steps.sum()) for name, steps in trial.regimes.items()},
        rows=history.n_rows,
        n_steps=history.n_steps,
        runs={"reference": _pooled(effects, effects.reference), "donor": _pooled(effects, effects.donor)},
        nodes={} if bound is None else {name: places(node) for name, node in bound.nodes.items()},
        arrows=[arrow.name for arrow in trial.arrows if not arrow.name.startswith("inside ")],
        writers=[str(writer) for writer in checkpoint.model.anatomy.writers],
        readers=[str(reader) for reader in checkpoint.model.anatomy.readers],
        patches=patches,
        options={**asdict(settings), "memory": None, "device": str(checkpoint.model.device)},
        command=command,
        versions=versions(),
        warnings=_warnings(trial),
        screening=_screening(trial, settings, first_order, patches),
    )


def _weighed(trial: BoundPatches, effects: Effects, metric: str, seed: int) -> dict[str, list[Effect]]:
    """The effects on one metric, by regime."""
    scale = effects.reference[metric] - effects.donor[metric] if effects.direction == "denoising" else None
    by_metric = {}
    for place, name in enumerate(effects.regimes):
        by_metric[name] = weigh(
            effects.changes[metric][:, :, place],
            effects.counts[:, place],
            seed,
            None if scale is None else scale[:, place],
            trial.pairs.reference.learner,
            tested=not METRICS[metric].never_negative or effects.direction == "denoising",
            families=[item.kind for item in trial.items],
            left_out={"edge": len(trial.passed)},
        )
    return by_metric


def _record(item: Item, effects: dict[str, dict[str, Effect]], first_order: _FirstOrder) -> PatchRecord:
    patch = item.patch
    writers = [str(writer) for writer in patch.writers] if isinstance(patch, Edge | Nodes) else []
    reader = str(patch.reader) if isinstance(patch, Edge) else ""
    n_edges = len(patch.edges) if isinstance(patch, Together | Chain) else 1
    rows = first_order.get(patch)
    attributed = () if rows is None else (float(rows.mean()), float(np.abs(rows).mean()))
    return PatchRecord(item.name, item.kind, writers, reader, item.arrow, n_edges, effects, *attributed)


def _first_order(trial: BoundPatches, settings: PatchSettings, effects: Effects) -> _FirstOrder:
    """First-order effects of the single edges, history by history, on the scale of the exact ones."""
    if trial.screened is None:
        return {}
    scale = 1.0
    if effects.direction == "denoising":  # effects are shares of what lies between the two runs
        metric = settings.metrics[0]
        scale = float((effects.reference[metric] - effects.donor[metric])[:, 0].mean())
    rows = trial.screened.attributions / scale
    return dict(zip(trial.screened.edges, rows, strict=True))


def _screening(
    trial: BoundPatches, settings: PatchSettings, first_order: _FirstOrder, patches: Sequence[PatchRecord]
) -> Screening | None:
    """How edges were chosen, and how well that went; read off those that were drawn at random."""
    screened = trial.screened
    if screened is None:
        return None
    records = {item.patch: patch for item, patch in zip(trial.items, patches, strict=True) if patch.kind == "edge"}
    picked, sampled = (
        [screened.edges[number] for number in numbers] for numbers in (screened.picked, screened.sampled)
    )
    attributions = np.stack([first_order[edge] for edge in sampled])
    exact = np.array([records[edge].value(settings.metrics[0]) for edge in sampled])
    return Screening(
        screened.steps,
        len(screened.edges),
        [records[edge].name for edge in picked],
        [records[edge].name for edge in sampled],
        *agreements(attributions, exact, settings.seed),
        [_record(item, {}, first_order) for item in trial.passed],
        settings.screen_rule,
    )


def _pooled(effects: Effects, run: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    return {
        metric: {
            name: float((np.where(counts > 0, values[:, place], 0.0) * counts).sum() / counts.sum())
            for place, (name, counts) in enumerate(zip(effects.regimes, effects.counts.T, strict=True))
        }
        for metric, values in run.items()
    }


def _warnings(trial: BoundPatches) -> list[str]:
    pairs, warnings = trial.pairs, []
    n_rows = pairs.reference.n_rows
    if pairs.left_out:
        warnings.append(
            f"{pairs.left_out} of {pairs.left_out + n_rows} histories have no such donor and were left out."
        )
    if n_rows < FEW_ROWS:
        warnings.append(f"{n_rows} histories are few: intervals are rough, and little can be told from chance.")
    still = _same_in_both(trial)
    if still:
        warnings.append(f"Nothing that reads {', '.join(still)} was tested: written there is the same in both runs.")
    return warnings + ([] if trial.bound is None else [*unsaid(trial.bound), *trial.bound.warnings])


def _same_in_both(trial: BoundPatches) -> list[str]:
    """Writers among those patched whose inputs are the same in all pairs, so that they write the same."""
    model = trial.checkpoint.model
    reference, donor = (model.to_tokens(history) for history in (trial.pairs.reference, trial.pairs.donor))
    same = (reference == donor).all(dim=0).all(dim=0).tolist()
    still = {channel for channel, alike in zip(model.vocabulary.channels, same, strict=True) if alike}
    patched = {writer for item in trial.items if isinstance(item.patch, Edge | Nodes) for writer in item.patch.writers}
    return [str(writer) for writer in sorted(patched) if writer.kind == "pos" or writer.channel in still]
