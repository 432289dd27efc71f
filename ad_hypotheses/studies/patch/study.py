"""From a hypothesis or a model and a list of patches to the record that a report on them is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from jaxtyping import Float

from ad_hypotheses.causal.effects import (
    Chain,
    Direction,
    Effects,
    MeasurementPlan,
    Nodes,
    Patch,
    Together,
    measure,
    plan,
)
from ad_hypotheses.causal.history_pairs import HistoryPairs, make_pairs
from ad_hypotheses.causal.metrics import METRICS
from ad_hypotheses.distill.checkpoint import Checkpoint, versions
from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence.effects import Effect, PatchRecord, PatchStudy, Screening, weigh
from ad_hypotheses.language.check import Bound, bind
from ad_hypotheses.language.declared import Arrow, declared, left_open, places, undeclared, unsaid
from ad_hypotheses.language.edges import Edge
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.patch.screen import Screened, agreements, attribute_or_resume, default_steps, pick
from ad_hypotheses.studies.scrub.bind import ScrubSettings, reference_histories

DECLARED, UNDECLARED, OPEN, EVERYTHING = (
    "all declared edges", "all undeclared edges", "all edges that the claim leaves open", "all edges of the model",
)  # fmt: skip
FEW_ROWS = 16

_FirstOrder = Mapping[Patch, Float[np.ndarray, " row"]]


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
        screen: How many of the edges that no arrow declares are picked by attribution and measured; None for all.
        screen_steps: Runs of each history that attribution takes; None for as many as the first metric needs.
    """

    donors: str = "any"
    direction: Direction = "noising"
    metrics: tuple[str, ...] = ("loss", "kl", "logit-difference")
    rows: int = 64
    tasks: str = "all"
    seed: int = 0
    memory: int | None = None
    screen: int | None = None
    screen_steps: int | None = None

    @property
    def attribution_steps(self) -> int:
        """How many runs of each history attribution takes."""
        return self.screen_steps or default_steps(self.metrics[0], self.direction)


@dataclass(frozen=True)
class Item:
    """One patch, and what the record is to say of it besides its effects."""

    patch: Patch
    name: str
    kind: str
    arrow: str = ""


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


def prepare(
    checkpoint: Checkpoint, asked: PatchSettings, items: Sequence[Item], hypothesis: Hypothesis | None = None
) -> BoundPatches:
    """Let learners live, find their donors, and list what to patch.

    Args:
        checkpoint: The model.
        asked: How.
        items: What somebody typed.
        hypothesis: Whose arrows are patched too, or None.

    Raises:
        HypothesisError: The hypothesis does not fit the model or the data.
        DataError: There are no such donors, or nothing to patch.
    """
    settings = ScrubSettings(rows=asked.rows, tasks=asked.tasks, seed=asked.seed, memory=asked.memory)
    history = reference_histories(checkpoint, settings)
    task = checkpoint.config.make_task()
    anatomy, regimes = checkpoint.model.anatomy, task.regimes(history)
    bound = None if hypothesis is None else bind(hypothesis, anatomy, history, regimes, asked.seed)
    pairs = make_pairs(asked.donors, task, history, asked.seed, bound)
    regimes = {"all": np.ones_like(history.actions, dtype=bool), **regimes}
    regimes = {name: steps[pairs.rows] for name, steps in regimes.items() if steps[pairs.rows].any()}
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


def screen(
    trial: BoundPatches,
    asked: PatchSettings,
    scratch: Scratch | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> BoundPatches:
    """Leave out the edges that seem to do least, all but some that are drawn at random.

    Args:
        trial: From :func:`prepare`.
        asked: How many to pick, and how.
        scratch: Where to keep what is done, so that an interrupted study goes on where it stopped.
        progress: Called with the number of histories that were done.

    Raises:
        DataError: A metric does not fit the donors, or its gradient says nothing.
        CapacityError: Not even one history fits into memory.
    """
    items = trial.to_screen()
    if asked.screen is None or not items:
        return trial
    model, metric, steps = trial.checkpoint.model, asked.metrics[0], asked.attribution_steps
    edges = [item.patch for item in items if isinstance(item.patch, Edge)]
    options = (metric, steps, asked.direction, asked.memory)
    attributions = attribute_or_resume(model, trial.pairs, edges, *options, progress, scratch)
    screened = pick(edges, attributions, asked.screen, steps, asked.seed)
    passed = [item for number, item in enumerate(items) if number not in screened.wanted]
    left = set(passed)
    remaining = [item for item in trial.items if item not in left]
    return replace(trial, items=remaining, screened=screened, passed=passed)


def run(
    trial: BoundPatches,
    asked: PatchSettings,
    command: str,
    scratch: Scratch | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> PatchStudy:
    """Measure everything and weigh it.

    Args:
        trial: From :func:`prepare`, or :func:`screen`.
        asked: How.
        command: What reruns the study.
        scratch: Where to keep what is done, so that an interrupted study goes on where it stopped.
        progress: Called with the number of patches, counted for each history, that were done.

    Raises:
        DataError: A metric does not fit the donors.
        CapacityError: Not even one history fits into memory.
    """
    effects = measure(
        trial.checkpoint.model,
        trial.pairs,
        [item.patch for item in trial.items],
        asked.metrics,
        trial.regimes,
        direction=asked.direction,
        memory=asked.memory,
        progress=progress,
        scratch=scratch,
    )
    return _study(trial, asked, effects, command)


def _study(trial: BoundPatches, asked: PatchSettings, effects: Effects, command: str) -> PatchStudy:
    checkpoint, pairs, bound = trial.checkpoint, trial.pairs, trial.bound
    history, config, shape = pairs.reference, checkpoint.config, checkpoint.model.shape
    title = "" if bound is None else bound.hypothesis.doc.partition("\n")[0] or bound.hypothesis.title
    weighed = {name: _weighed(trial, effects, name, asked.seed) for name in asked.metrics}
    first_order, patches = _first_order(trial, asked, effects), []
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
            f"{config.source['name']}; tasks: {asked.tasks}"
        ),
        task=config.make_task().name,
        donors=asked.donors,
        donors_text=pairs.words,
        left_out=pairs.left_out,
        direction=asked.direction,
        metrics=list(asked.metrics),
        regimes={name: int(steps.sum()) for name, steps in trial.regimes.items()},
        rows=history.n_rows,
        n_steps=history.n_steps,
        runs={"reference": _pooled(effects, effects.reference), "donor": _pooled(effects, effects.donor)},
        nodes={} if bound is None else {name: places(node) for name, node in bound.nodes.items()},
        arrows=[arrow.name for arrow in trial.arrows if not arrow.name.startswith("inside ")],
        writers=[str(writer) for writer in checkpoint.model.anatomy.writers],
        readers=[str(reader) for reader in checkpoint.model.anatomy.readers],
        patches=patches,
        options={**asdict(asked), "memory": None, "device": str(checkpoint.model.device)},
        command=command,
        versions=versions(),
        warnings=_warnings(trial),
        screening=_screening(trial, asked, first_order, patches),
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


def _first_order(trial: BoundPatches, asked: PatchSettings, effects: Effects) -> _FirstOrder:
    """First-order effects of the single edges, history by history, on the scale of the exact ones."""
    if trial.screened is None:
        return {}
    scale = 1.0
    if effects.direction == "denoising":  # effects are shares of what lies between the two runs
        metric = asked.metrics[0]
        scale = float((effects.reference[metric] - effects.donor[metric])[:, 0].mean())
    rows = trial.screened.attributions / scale
    return dict(zip(trial.screened.edges, rows, strict=True))


def _screening(
    trial: BoundPatches, asked: PatchSettings, first_order: _FirstOrder, patches: Sequence[PatchRecord]
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
    exact = np.array([records[edge].value(asked.metrics[0]) for edge in sampled])
    return Screening(
        screened.steps,
        len(screened.edges),
        [records[edge].name for edge in picked],
        [records[edge].name for edge in sampled],
        *agreements(attributions, exact, asked.seed),
        [_record(item, {}, first_order) for item in trial.passed],
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
    return [str(one) for one in sorted(patched) if one.kind == "pos" or one.channel in still]
