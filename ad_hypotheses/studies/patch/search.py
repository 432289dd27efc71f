"""A search for a few edges of a checkpoint on histories of its own, and what they keep on others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ad_hypotheses.causal.effects import Together, measure
from ad_hypotheses.causal.history_pairs import HistoryPairs, make_pairs
from ad_hypotheses.causal.search import BUDGET, STEPS, Circuit, SearchTrial, memory_needed
from ad_hypotheses.causal.search import search as search_circuit
from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.distill.memory import free_memory
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.errors import CapacityError
from ad_hypotheses.evidence.effects import weigh
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.language.edges import all_edges
from ad_hypotheses.language.write import is_deep
from ad_hypotheses.progress import Progress
from ad_hypotheses.report.screen import size
from ad_hypotheses.report.words import figure
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.patch.screen import attribute_or_resume
from ad_hypotheses.studies.patch.search_result import SearchResult, require_place, write
from ad_hypotheses.studies.scrub.bind import ScrubSettings, reference_histories

FRESH_HISTORIES = 500_009  # added to the seed: histories that the search did not see


@dataclass(frozen=True)
class SearchSettings:
    """How edges are searched for.

    Attributes:
        keep: Share of the model's gain over the donors that they are to keep, in (0, 1].
        donors: As in :func:`make_pairs`; what all other edges carry.
        rows: Learning histories.
        tasks: Which tasks they come from.
        seed: Of the histories, the donors and the bootstrap.
        memory: Bytes that may be used; None for what is free.
        data: Data set that they are of, as in `studies.data.chosen_data`.
    """

    keep: float = 0.9
    donors: str = "any"
    rows: int = 64
    tasks: str = "all"
    seed: int = 0
    memory: int | None = None
    data: str = "source"

    def pairs(self, checkpoint: Checkpoint) -> HistoryPairs:
        """Generate histories and find their donors.

        Raises:
            DataError: There are no such donors, or hardly any history has one.
            CapacityError: The histories would not fit into memory.
        """
        settings = ScrubSettings(rows=self.rows, tasks=self.tasks, seed=self.seed, memory=self.memory)
        history = reference_histories(checkpoint, settings, self.data)
        return make_pairs(self.donors, checkpoint.experiment.task, history, self.seed)


def search(
    model: str,
    settings: SearchSettings | None = None,
    *,
    out: Path | None = None,
    models: Path = Path("models"),
    device: str = "cpu",
    command: str = "",
    scratch: Scratch | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Search for few edges that keep a share of a model's gain, and see what they keep on fresh histories.

    Args:
        model: Name of the checkpoint.
        settings: How; the defaults if None.
        out: File to write the edges to, as a hypothesis to go on with; None to write nothing.
        models: Folder of the checkpoints.
        device: Where to compute.
        command: What makes the same search again, for the hypothesis.
        scratch: Where to keep what is tried, so that an interrupted search goes on where it stopped; None to keep
            nothing.
        progress: Listens on the way.

    Raises:
        CheckpointError: The checkpoint is missing or damaged.
        HypothesisError: `out` exists, or cannot hold a hypothesis.
        DataError: The model predicts no better than with the donors' writing: there is nothing to keep.
        CapacityError: The search would not fit into memory.
    """
    settings, progress = settings or SearchSettings(), progress or Progress()
    checkpoint = load(model, models, device)
    if out is not None:
        require_place(out)
    progress.begin("generating histories", 1)
    pairs = settings.pairs(checkpoint)
    settings = replace(settings, memory=settings.memory or free_memory(device))
    _announce(pairs, checkpoint.model, settings, progress)
    result = search_pairs(checkpoint, pairs, settings, scratch, progress)
    if out is not None:
        write(out, result, checkpoint, models, command)
    return result


def search_pairs(
    checkpoint: Checkpoint,
    pairs: HistoryPairs,
    settings: SearchSettings,
    scratch: Scratch | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Search on histories that are there already, and see what the edges keep on fresh ones; see :func:`search`."""
    model, progress, tried = checkpoint.model, progress or Progress(), 0
    edges = all_edges(model.anatomy)

    def listen(trial: SearchTrial) -> None:
        nonlocal tried
        tried += 1
        progress.note(f"{tried:,} sets tried; {trial.kept:,} edges keep {figure(trial.share, 3)}")

    progress.begin("attributing edges", pairs.reference.n_rows, "histories")
    attributions = attribute_or_resume(
        model, pairs, edges, "loss", STEPS, memory=settings.memory, progress=progress.advance, scratch=scratch
    )
    progress.begin("searching", 0)
    circuit = search_circuit(model, pairs, settings.keep, edges, attributions, progress=listen, scratch=scratch)
    fresh = replace(settings, seed=settings.seed + FRESH_HISTORIES)
    return SearchResult(
        checkpoint.name,
        circuit,
        len(edges),
        share_kept(model, fresh.pairs(checkpoint), circuit, settings),
        pairs.words,
        is_deep(circuit.edges, model.anatomy),
    )


def share_kept(model: ADTransformer, pairs: HistoryPairs, circuit: Circuit, settings: SearchSettings) -> Number:
    """Return what edges keep of the model's gain over the donors' run, a ratio of means, with its interval.

    Args:
        model: Whose edges they are.
        pairs: Histories and donors.
        circuit: The edges; all others carry the donors' writing.
        settings: Seed of the bootstrap, and memory.
    """
    inside = set(circuit.edges)
    outside = Together(frozenset(edge for edge in all_edges(model.anatomy) if edge not in inside))
    effects = measure(model, pairs, [outside], ("loss",), memory=settings.memory)
    gain = (effects.donor["loss"] - effects.reference["loss"])[:, 0]
    changes = gain - effects.changes["loss"][:, :, 0]
    learners = pairs.reference.learner
    (effect,) = weigh(changes, effects.counts[:, 0], settings.seed, gain, learners, tested=False)
    return effect.value


def _announce(pairs: HistoryPairs, model: ADTransformer, settings: SearchSettings, progress: Progress) -> None:
    """Predict what a search takes, refuse what does not fit, and say the rest."""
    history = pairs.reference
    needed = memory_needed(model, history.n_rows, history.n_steps)
    if settings.memory is not None and needed > settings.memory:
        raise CapacityError(
            f"the search needs {needed / 1e6:.0f} MB for activations, but only {settings.memory / 1e6:.0f} MB may be "
            "used.\n  Use fewer histories (`rows`), or allow more (`memory`)."
        )
    progress.say(
        f"searching in {history.n_rows:,} histories of {history.n_steps:,} steps: attribution takes {STEPS} runs "
        f"of each forwards and back, then up to {BUDGET:,} sets of edges are tried, a run each; "
        f"{size(needed)} of memory"
    )
