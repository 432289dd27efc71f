"""What a search for edges found, and the hypothesis file that says it."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ad_hypotheses.causal.search import Circuit
from ad_hypotheses.distill.checkpoint import Checkpoint, find
from ad_hypotheses.errors import CheckpointError, HypothesisError
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.language.problems import shown_path
from ad_hypotheses.language.write import WIDTH, hypothesis_source, require_name
from ad_hypotheses.report.words import figure, interval
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.studies.machine import require_writable


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        model: Name of the checkpoint.
        circuit: The edges, and what they keep on the histories of the search.
        n_edges: Edges of the model.
        fresh: What they keep on as many histories that the search did not see, with an interval by learner.
        donors_text: Whose writing the other edges carried.
        deep: Whether scrubbing their hypothesis is cheap only if a node is drawn once for all its readers.
    """

    model: str
    circuit: Circuit
    n_edges: int
    fresh: Number
    donors_text: str
    deep: bool

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        circuit = self.circuit
        return {
            "model": self.model,
            "wanted": circuit.wanted,
            "edges": [str(edge) for edge in circuit.edges],
            "edges_of_the_model": self.n_edges,
            "share": circuit.share,
            "share_on_fresh_histories": asdict(self.fresh),
            "loss": {"model": circuit.loss_all, "kept": circuit.loss, "donors": circuit.loss_none},
            "tried": len(circuit.trials),
            "finished": circuit.finished,
        }


def require_place(file: Path) -> None:
    """Refuse a file to which no hypothesis can be written, before any work.

    Raises:
        HypothesisError: It exists, or its name is not that of a hypothesis file.
        UserError: Its folder cannot be written.
    """
    if file.suffix != ".py":
        raise HypothesisError(
            f"`out={str(file)!r}` is not a Python file: a hypothesis is written there, as in `out='found.py'`."
        )
    try:
        require_name(file.stem)
    except HypothesisError as error:
        raise HypothesisError(f"`out={str(file)!r}`: {error}") from None
    if file.exists():
        raise _exists(file)
    require_writable(file.parent, "out")


def write(file: Path, result: SearchResult, checkpoint: Checkpoint, models: Path, command: str = "") -> None:
    """Write a hypothesis file that says: these edges matter, and no others.

    Args:
        file: Where to; its name becomes that of the hypothesis.
        result: What was found.
        checkpoint: The model.
        models: Folder of the checkpoints, by which the file names the model if it can.
        command: What makes the same search again.

    Raises:
        HypothesisError: The file exists by now, or there are no edges.
    """
    if file.exists():  # somebody made it during the search
        raise _exists(file)
    write_atomically(file, _source(file.stem, result, checkpoint, models, command).encode())


def _exists(file: Path) -> HypothesisError:
    return HypothesisError(f"{shown_path(file)} exists and is left alone; choose another file (`out`), or remove it.")


def _source(name: str, result: SearchResult, checkpoint: Checkpoint, models: Path, command: str) -> str:
    circuit = result.circuit
    paragraphs = [f"Found by: {command}"] if command else []
    paragraphs.append(
        f"Of what the model gains over the donors ({result.donors_text}; loss {figure(circuit.loss_all, 3)} against "
        f"{figure(circuit.loss_none, 3)}), these edges alone keep {figure(circuit.share, 3)} on the histories of the "
        f"search and {interval(result.fresh, 3)} on fresh ones."
    )
    lines = [
        line
        for paragraph in paragraphs
        for line in textwrap.wrap(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False)
    ]
    anatomy = checkpoint.model.anatomy
    return hypothesis_source(circuit.edges, anatomy, name, _name(checkpoint, models), lines, circuit.wanted)


def _name(checkpoint: Checkpoint, models: Path) -> str:
    """Return what finds the checkpoint again: its name, or else its folder."""
    try:
        if find(checkpoint.name, models).samefile(checkpoint.folder):
            return checkpoint.name
    except (CheckpointError, OSError):
        pass
    return str(checkpoint.folder)
