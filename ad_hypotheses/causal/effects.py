"""What patches do to a model, history by history: exact effects on any metric, resumable, within a byte budget."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ad_hypotheses.causal.history_pairs import HistoryPairs
from ad_hypotheses.causal.metrics import Metric, MetricContext, find_metric
from ad_hypotheses.causal.patch import TOKENS_AT_ONCE, patch_edges, patch_path, patch_writers, role_masks
from ad_hypotheses.causal.rewire import patch_together
from ad_hypotheses.causal.run_pair import RunPair
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.errors import CapacityError
from ad_hypotheses.language.anatomy import Writer
from ad_hypotheses.language.edges import Edge
from ad_hypotheses.language.history import History, history_digest
from ad_hypotheses.language.roles import PAIR_ROLES
from ad_hypotheses.storage.checked import digest_of
from ad_hypotheses.storage.scratch import Scratch, store_in

MEASURED_AS = 3  # raise it when the same names come to mean other numbers: interrupted runs then start again
Direction = Literal["noising", "denoising"]


@dataclass(frozen=True)
class Nodes:
    """Writers of one stage, replaced for all who read them."""

    writers: tuple[Writer, ...]


@dataclass(frozen=True)
class Together:
    """Edges patched at once."""

    edges: frozenset[Edge]


@dataclass(frozen=True)
class Chain:
    """Edges one after the other: only what passes along all of them is patched."""

    edges: tuple[Edge, ...]


Patch = Edge | Nodes | Together | Chain


@dataclass(frozen=True, eq=False)
class Effects:
    """How far each patch moved each metric, as means over the steps of a regime.

    Attributes:
        patches: What was patched.
        direction: `"noising"`: the reference's run, with the donor's writing patched in. `"denoising"`: the donor's
            run, with the reference's.
        regimes: Names of the kinds of steps, of the reference's.
        changes: Metric of the patched run less that of the run that was patched. {metric: [patch, row, regime]}; NaN
            where a row has no step of a regime.
        reference: The metric of the reference's plain run. {metric: [row, regime]}
        donor: The metric of the donor's plain run, on the reference's labels. {metric: [row, regime]}
        counts: Steps of each regime. [row, regime]
    """

    patches: tuple[Patch, ...]
    direction: Direction
    regimes: tuple[str, ...]
    changes: dict[str, Float[np.ndarray, "patch row regime"]]
    reference: dict[str, Float[np.ndarray, "row regime"]]
    donor: dict[str, Float[np.ndarray, "row regime"]]
    counts: Int[np.ndarray, "row regime"]


@dataclass(frozen=True)
class MeasurementPlan:
    """How a measurement is cut up, and what it will take.

    Attributes:
        rows: Histories computed together.
        bytes: Memory for activations.
        patched: Patches times histories.
    """

    rows: int
    bytes: int
    patched: int


def plan(model: ADTransformer, n_rows: int, n_steps: int, n_patches: int, memory: int | None = None) -> MeasurementPlan:
    """Choose how many histories to compute together.

    Args:
        model: Whose runs are patched.
        n_rows: Histories.
        n_steps: Steps of each history.
        n_patches: What is done to each.
        memory: Bytes that may be used; None for no bound.

    Raises:
        CapacityError: Not even one history fits.
    """
    shape, size = model.shape, model.dtype.itemsize
    # two runs with what readers see, q, k, v, z and MLPs, and the norms; a patch in flight takes some streams more
    vectors = 2 * (8 * shape.n_layers + 2) + 3 * shape.n_layers + 12
    a_row = n_steps * size * (vectors * shape.d_model + 4 * n_steps * shape.n_heads)
    tokens = TOKENS_AT_ONCE if model.device.type == "cpu" else 64 * TOKENS_AT_ONCE
    rows = min(n_rows, max(1, tokens // n_steps))
    if memory is not None:
        rows = min(rows, memory // a_row)
    if not rows:
        raise CapacityError(
            f"patching one history needs {a_row / 1e6:.0f} MB for activations, but only {(memory or 0) / 1e6:.0f} MB "
            "may be used.\n  Allow more (`memory`)."
        )
    return MeasurementPlan(rows, rows * a_row, n_rows * n_patches)


def measure(
    model: ADTransformer,
    pairs: HistoryPairs,
    patches: Sequence[Patch],
    metrics: Sequence[str] = ("loss", "kl"),
    regimes: Mapping[str, Bool[np.ndarray, "row step"]] | None = None,
    roles: Mapping[str, Callable[[History], Bool[np.ndarray, "row query step"]]] = PAIR_ROLES,
    direction: Direction = "noising",
    memory: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    scratch: Scratch | None = None,
) -> Effects:
    """Measure exactly what each patch does.

    Labels, regimes and roles are always those of the reference, whichever run is patched.

    Args:
        model: In evaluation mode.
        pairs: The histories and their donors.
        patches: Each is done alone.
        metrics: Names in :data:`ad_hypotheses.causal.metrics.METRICS`: the loss of the reference's own actions, the KL
            divergence from the reference's run, the logit of the reference's action less the mean of the others, and
            the probability of an action that leads towards the old or new goal.
        regimes: Which steps to average over, by name; None for all of them.
        roles: What the roles of edges mean.
        direction: Which of the two runs is patched.
        memory: Bytes that may be used; None for no bound.
        progress: Called with the number of patches, counted for each history, that were done.
        scratch: Where to keep what is done, so that the same call goes on where it was stopped; None to keep nothing.

    Raises:
        DataError: A metric does not exist, or not for these donors.
        CapacityError: Not even one history fits into memory.
    """
    measured = tuple(find_metric(name, pairs.name, pairs.towards) for name in metrics)
    n_rows, n_steps = pairs.reference.actions.shape
    regimes = {"all": np.ones((n_rows, n_steps), dtype=bool)} if regimes is None else regimes
    size = plan(model, n_rows, n_steps, len(patches), memory).rows
    order = pairs.order
    ordered = {name: steps[order] for name, steps in regimes.items()}
    task = _Task(Twin(model.eval()), pairs.part(order), tuple(patches), measured, ordered, roles, direction)
    parts = [_done_or_resumed(task, rows, progress, scratch) for rows in task.pairs.split(size)]
    back, axes = np.argsort(order), _axes(metrics).items()
    joined = {key: np.concatenate([part[key] for part in parts], axis).take(back, axis) for key, axis in axes}
    gather = {run: {name: joined[f"{run} {name}"] for name in metrics} for run in ("changes", "reference", "donor")}
    counts = np.stack([steps.sum(axis=1) for steps in regimes.values()], axis=1)
    return Effects(task.patches, direction, tuple(regimes), **gather, counts=counts)


@dataclass(frozen=True)
class _Task:
    """All that the numbers depend on."""

    twin: Twin
    pairs: HistoryPairs
    patches: tuple[Patch, ...]
    metrics: tuple[Metric, ...]
    regimes: Mapping[str, Bool[np.ndarray, "row step"]]
    roles: Mapping[str, Callable[[History], np.ndarray]]
    direction: Direction

    @property
    def metric_names(self) -> tuple[str, ...]:
        return tuple(metric.name for metric in self.metrics)

    def key(self, rows: slice) -> str:
        """Return the name of what is done for some rows: changes with the weights, the data and what is asked."""
        spelled, names = [*map(_spelled, self.patches)], list(self.regimes)
        settings = (MEASURED_AS, self.metric_names, self.direction, rows.start, rows.stop, spelled, names)
        steps = (steps[rows] for steps in self.regimes.values())
        return fingerprint(self.twin.model, self.pairs.part(rows), settings, steps)


def fingerprint(model: ADTransformer, pairs: HistoryPairs, settings: object, arrays: Iterable[np.ndarray] = ()) -> str:
    """Return a name for numbers: it changes with the weights, the data and what is asked.

    Args:
        model: Whose runs they are about.
        pairs: The histories and their donors.
        settings: Everything else that the numbers depend on; its text counts.
        arrays: What else the numbers depend on.
    """
    weights = {name: tensor.cpu().numpy() for name, tensor in model.state_dict().items()}
    digests = (
        digest_of(weights),
        digest_of(pairs.towards),
        digest_of({str(n): array for n, array in enumerate(arrays)}),
    )
    shown = (pairs.name, history_digest(pairs.reference), history_digest(pairs.donor))
    return hashlib.sha256(repr((settings, shown, digests)).encode()).hexdigest()[:24]


def _spelled(patch: Patch) -> str:
    """Return the same text for the same patch, in every process."""
    if isinstance(patch, Together):
        return f"together {sorted(map(str, patch.edges))}"
    if isinstance(patch, Edge):
        return str(patch)
    members = patch.writers if isinstance(patch, Nodes) else patch.edges
    return f"{type(patch).__name__} {[str(member) for member in members]}"


def _axes(metrics: Sequence[str]) -> dict[str, int]:
    """Along which axis the rows of each kept array lie."""
    return {
        f"{kind} {name}": axis for kind, axis in (("changes", 1), ("reference", 0), ("donor", 0)) for name in metrics
    }


def _done_or_resumed(task: _Task, rows: slice, progress: Callable[[int], None], scratch: Scratch | None) -> dict:
    return store_in(scratch, "effects").get(
        task.key(rows),
        lambda: _measure_rows(task, rows, progress),
        lambda: progress(len(task.patches) * (rows.stop - rows.start)),
    )


@torch.no_grad()
def _measure_rows(task: _Task, rows: slice, progress: Callable[[int], None]) -> dict[str, np.ndarray]:
    pairs = task.pairs.part(rows)
    reference = pairs.reference
    noising = task.direction == "noising"
    reference_tokens, donor_tokens = (task.twin.model.to_tokens(history) for history in (reference, pairs.donor))
    pair = (
        RunPair.of(task.twin, reference_tokens, donor_tokens, pairs.since)
        if noising
        else RunPair.of(task.twin, donor_tokens, reference_tokens, pairs.since)
    )
    runs = dict(zip(("reference", "donor") if noising else ("donor", "reference"),
                    (pair.log_probs, pair.donor_log_probs), strict=True))  # fmt: skip
    meter = _Meter(task, rows, runs["reference"])
    arrays = {
        f"{run} {name}": value for run, log_probs in runs.items() for name, value in meter.read(log_probs).items()
    }
    before = meter.read(pair.log_probs[:, pair.since :], pair.since)
    changes = {name: np.repeat(0 * value[None], len(task.patches), axis=0) for name, value in before.items()}
    if pairs.since == reference.n_steps:  # nothing differs, so nothing is patched in
        progress(len(task.patches) * reference.n_rows)
        return arrays | {f"changes {name}": value for name, value in changes.items()}
    for numbers, logits in _patched(task, pair, reference):
        for name, value in meter.read(logits.log_softmax(-1), pair.since).items():
            changes[name][numbers] = value - before[name]
        progress(len(numbers) * reference.n_rows)
    return arrays | {f"changes {name}": value for name, value in changes.items()}


def _patched(task: _Task, pair: RunPair, reference: History) -> Iterator[tuple[list[int], Tensor]]:
    """Each patch's number with the logits that it leads to; some at a time."""
    spoken = (edge for patch in task.patches if not isinstance(patch, Nodes) for edge in _edges_of(patch))
    roles = role_masks(spoken, reference, pair.log_probs.device, task.roles)
    edges = [number for number, patch in enumerate(task.patches) if isinstance(patch, Edge)]
    nodes = [number for number, patch in enumerate(task.patches) if isinstance(patch, Nodes)]
    patched = patch_edges(pair, [task.patches[n] for n in edges], roles)  # type: ignore[misc]
    yield from (([edges[place] for place in places], logits) for places, logits in patched)
    patched = patch_writers(pair, [task.patches[n].writers for n in nodes])  # type: ignore[union-attr]
    yield from (([nodes[place] for place in places], logits) for places, logits in patched)
    for number, patch in enumerate(task.patches):
        if isinstance(patch, Together):
            yield [number], patch_together(pair, patch.edges)[None]
        elif isinstance(patch, Chain):
            yield [number], patch_path(pair, patch.edges, roles)[None]


def _edges_of(patch: Edge | Together | Chain) -> Iterable[Edge]:
    return [patch] if isinstance(patch, Edge) else patch.edges


class _Meter:
    """Reads every metric off runs of some rows, as means over the steps of each regime."""

    def __init__(self, task: _Task, rows: slice, log_probs: Tensor) -> None:
        device, self.metrics, pairs = log_probs.device, task.metrics, task.pairs.part(rows)
        labels = torch.from_numpy(pairs.reference.actions.astype(np.int64)).to(device)
        towards = {goal: torch.from_numpy(mask).to(device) for goal, mask in pairs.towards.items()}
        self.context = MetricContext(log_probs, labels, towards)
        masks = np.stack([steps[rows] for steps in task.regimes.values()], axis=-1)  # [row, step, regime]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = masks / masks.sum(axis=1, keepdims=True)  # NaN where a row has no such step
        self.share = torch.from_numpy(share)
        if pairs.first_step is not None:  # no patch moves a step before, and rounding is not to look like an effect
            share = share * (np.arange(share.shape[1]) >= pairs.first_step[:, None])[..., None]
        self.share_that_moves = torch.from_numpy(share)

    def read(
        self, log_probs: Float[Tensor, "*patch row step action"], since: int | None = None
    ) -> dict[str, Float[np.ndarray, "*patch row regime"]]:
        """Return every metric; of runs from a step on, what the steps that a patch can move add to it."""
        values, context = {}, self.context.after(since or 0)
        share = self.share if since is None else self.share_that_moves[:, since:]
        for metric in self.metrics:
            steps = metric.measure(log_probs, context).cpu().double()
            values[metric.name] = torch.einsum("...ns,nsr->...nr", steps, share).numpy()
        return values
