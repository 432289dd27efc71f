"""A search for a few edges of a checkpoint on histories of its own, and what they keep on others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ad_hypotheses.causal.effects import Together, measure
from ad_hypotheses.causal.history_pairs import HistoryPairs, make_pairs
from ad_hypotheses.causal.search import STEPS, Circuit, SearchTrial, memory_needed, search
from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.errors import CapacityError
from ad_hypotheses.evidence.effects import weigh
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.language.edges import all_edges
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.patch.screen import attribute_or_resume
from ad_hypotheses.studies.patch.study import PatchSettings
from ad_hypotheses.studies.scrub.bind import ScrubSettings, reference_histories

FRESH_HISTORIES = 500_009  # added to the seed: histories that the search did not see


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        circuit: The edges, and what they keep on the histories of the search.
        n_edges: Edges of the model.
        fresh: What they keep on as many histories that the search did not see, with an interval by learner.
        donors_text: Whose writing the other edges carried.
    """

    circuit: Circuit
    n_edges: int
    fresh: Number
    donors_text: str


@dataclass
class SearchProgress:
    """What a search says while it runs.

    Attributes:
        attributed: Called with the number of histories in which edges were attributed.
        tried: Called after every set of edges that was tried.
    """

    attributed: Callable[[int], None] = lambda rows: None
    tried: Callable[[SearchTrial], None] = lambda trial: None


def histories_of(checkpoint: Checkpoint, asked: PatchSettings) -> HistoryPairs:
    """Let learners live and find their donors.

    Raises:
        DataError: There are no such donors, or hardly any history has one.
    """
    settings = ScrubSettings(rows=asked.rows, tasks=asked.tasks, seed=asked.seed, memory=asked.memory)
    return make_pairs(
        asked.donors, checkpoint.config.make_task(), reference_histories(checkpoint, settings), asked.seed
    )


def require_memory(pairs: HistoryPairs, model: ADTransformer, memory: int | None) -> int:
    """Return the bytes that a search takes.

    Raises:
        CapacityError: They are more than may be used.
    """
    needed = memory_needed(model, pairs.reference.n_rows, pairs.reference.n_steps)
    if memory is not None and needed > memory:
        raise CapacityError(
            f"the search needs {needed / 1e6:.0f} MB for activations, but only {memory / 1e6:.0f} MB may be used.\n"
            "  Use fewer histories (--samples), or allow more (--memory)."
        )
    return needed


def search_edges(
    checkpoint: Checkpoint,
    pairs: HistoryPairs,
    keep: float,
    asked: PatchSettings,
    progress: SearchProgress,
    scratch: Scratch | None = None,
) -> SearchResult:
    """Search for few edges that keep a share of the gain, and see what they keep on fresh histories.

    Args:
        checkpoint: The model.
        pairs: From :func:`histories_of`.
        keep: The share, in (0, 1].
        asked: How.
        progress: What to call on the way.
        scratch: Where to keep what is done, so that an interrupted search goes on where it stopped.

    Raises:
        DataError: The model predicts no better than with the donors' writing: there is nothing to keep.
        CapacityError: Not even one history fits into memory.
    """
    model = checkpoint.model
    edges = all_edges(model.anatomy)
    attributions = attribute_or_resume(
        model, pairs, edges, "loss", STEPS, memory=asked.memory, progress=progress.attributed, scratch=scratch
    )
    circuit = search(model, pairs, keep, edges, attributions, progress=progress.tried, scratch=scratch)
    fresh = histories_of(checkpoint, replace(asked, seed=asked.seed + FRESH_HISTORIES))
    return SearchResult(circuit, len(edges), share_kept(model, fresh, circuit, asked), pairs.words)


def share_kept(model: ADTransformer, pairs: HistoryPairs, circuit: Circuit, asked: PatchSettings) -> Number:
    """Return what edges keep of the model's gain over the donors' run, a ratio of means, with its interval.

    Args:
        model: Whose edges they are.
        pairs: Histories and donors.
        circuit: The edges; all others carry the donors' writing.
        asked: Seed of the bootstrap, and memory.
    """
    inside = set(circuit.edges)
    outside = Together(frozenset(edge for edge in all_edges(model.anatomy) if edge not in inside))
    effects = measure(model, pairs, [outside], ("loss",), memory=asked.memory)
    gain = (effects.donor["loss"] - effects.reference["loss"])[:, 0]
    changes = gain - effects.changes["loss"][:, :, 0]
    learners = pairs.reference.learner
    (effect,) = weigh(changes, effects.counts[:, 0], asked.seed, gain, learners, tested=False)
    return effect.value
