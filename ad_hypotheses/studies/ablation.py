"""One context with parts of the model taken out: what is decided then, and what each part alone does at one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ad_hypotheses.causal.patch import patch_edges, patch_writers
from ad_hypotheses.causal.replaced import Part, mean_written, replaced_logits
from ad_hypotheses.causal.run_pair import Change, RunPair
from ad_hypotheses.causal.twin import Stream, Twin
from ad_hypotheses.distill.lens import HookedADTransformer
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.anatomy import Writer
from ad_hypotheses.language.edges import ARROW, all_edges, find_edges, find_writers
from ad_hypotheses.language.history import History
from ad_hypotheses.report.result import Result
from ad_hypotheses.studies.look import asked_logits, chosen_step
from ad_hypotheses.studies.tables import table_of
from ad_hypotheses.tasks.task import Task

ZERO = "zero"
Instead = Mapping[Writer, Stream]


@dataclass(frozen=True, repr=False)
class Ablations(Result):
    """What every part of a model does at one step of a history: how a value changes if it alone is taken out.

    Attributes:
        model: Name of the model.
        of: The log-probability, or the difference of two, that is asked about: `"right - down"`.
        step: Number of the step.
        by: What a part is replaced by, in words.
        value: What is asked about, with nothing taken out.
        writers: Change of the value if a writer is replaced for all who read it.
        edges: The same if it is replaced for one reader alone; empty where edges were not asked about.
    """

    model: str
    of: str
    step: int
    by: str
    value: float
    writers: dict[str, float]
    edges: dict[str, float]

    @property
    def headline(self) -> str:
        """The value, and the parts that matter most."""
        largest = sorted(self.writers, key=lambda name: -abs(self.writers[name]))[:3]
        shown = ", ".join(f"{name} {self.writers[name]:+.3g}" for name in largest)
        return f"{self.model}, step {self.step}: {self.of} {self.value:.4g}; replaced by {self.by}, most: {shown}"

    def to_frame(self) -> Any:
        """Return a line for each part, the largest change first, as a pandas.DataFrame: `part`, `change`."""
        parts = self.writers | self.edges
        ordered = sorted(parts, key=lambda name: -abs(parts[name]))
        return table_of([{"part": name, "change": parts[name]} for name in ordered])


def parts_of(texts: Sequence[str], model: HookedADTransformer) -> list[Part]:
    """Return the writers and edges that were typed: `"head(0, 1)"`, `"mlp(0) -> logits"`.

    Raises:
        HypothesisError: One is no part of the model.
    """
    edges = find_edges([text for text in texts if ARROW.strip() in text], model.anatomy)
    return [*find_writers([text for text in texts if ARROW.strip() not in text], model.anatomy), *edges]


@torch.no_grad()
def written_instead(model: HookedADTransformer, by: History | str, n_steps: int) -> Instead:
    """Return what writers are replaced by.

    Args:
        model: The model.
        by: `"zero"`; or histories, over which what each writes at a step is averaged.
        n_steps: Steps of the context.

    Raises:
        DataError: It is something else, or the histories are shorter than the context.
    """
    twin = Twin(model.eval())
    if isinstance(by, str) and by == ZERO:
        nothing = torch.zeros(1, n_steps, model.shape.d_model, dtype=model.dtype, device=model.device)
        return dict.fromkeys(model.anatomy.writers, nothing)
    if not isinstance(by, History):
        raise DataError(f"`by` is {by!r:.60}, but it must be {ZERO!r} or histories, over which is averaged.")
    if by.n_steps < n_steps or not by.n_rows:
        raise DataError(f"`by` has {by.n_rows} histories of {by.n_steps} steps, but the context has {n_steps}.")
    return mean_written(twin, model.to_tokens(by.window(stop=n_steps)))


def words_of(by: History | str) -> str:
    """Return what parts are replaced by, in words."""
    if isinstance(by, str):
        return "nothing"
    return "another context" if by.n_rows == 1 else f"the mean over {by.n_rows} histories"


def replaced_decision_logits(
    model: HookedADTransformer, history: History, texts: Sequence[str], instead: Instead
) -> Float[Tensor, "step action"]:
    """Return the logits in a history while parts of the model are replaced.

    Raises:
        HypothesisError: One is no part of the model.
        DataError: There is more than one history.
    """
    chosen_step(history, 0)
    tokens = model.to_tokens(history)
    return replaced_logits(Twin(model.eval()), tokens, parts_of(texts, model), instead)[0]


@torch.no_grad()
def ablate(
    model: HookedADTransformer,
    task: Task,
    name: str,
    history: History,
    step: int,
    of: str | int | None,
    by: str,
    instead: Instead,
    edges: bool,
) -> Ablations:
    """Return what every part does at one step of a history.

    Args:
        model: The model.
        task: Its task family, whose actions `of` names.
        name: Name of the model.
        history: One history.
        step: Number of the step; negative counts from the end.
        of: As in :func:`ad_hypotheses.ablations`.
        by: What parts are replaced by, in words.
        instead: What each writer is replaced by.
        edges: Whether to ask about every edge, too.

    Raises:
        DataError: There is more than one history, or no such step or action.
    """
    step = chosen_step(history, step)
    signs = asked_logits(int(history.actions[0, step]) if of is None else of, task)

    def value(log_probs: Float[Tensor, " action"]) -> float:
        return float(sum((sign * log_probs[action] for action, sign in signs.items()), torch.zeros(())))

    twin, tokens = Twin(model.eval()), model.to_tokens(history.window(stop=step + 1))
    pair = RunPair.of(twin, tokens, tokens)
    seen = twin.streams(tokens)
    pair.changes = {
        writer: Change(instead[writer][:, : step + 1] - twin.write(writer, tokens, seen)) for writer in pair.changes
    }
    plain = value(pair.log_probs[0, -1])

    def changes(names: Sequence[str], patched: Iterator[tuple[list[int], Tensor]]) -> dict[str, float]:
        measured = {
            names[number]: value(logits[0, -1].log_softmax(-1)) - plain
            for numbers, batch in patched
            for number, logits in zip(numbers, batch, strict=True)
        }
        return {name: measured[name] for name in names}

    writers, every = model.anatomy.writers, all_edges(model.anatomy) if edges else []
    return Ablations(
        name,
        " - ".join(task.action_names[action] for action in signs),
        step,
        by,
        plain,
        changes([str(writer) for writer in writers], patch_writers(pair, [(writer,) for writer in writers])),
        changes([str(edge) for edge in every], patch_edges(pair, every)) if every else {},
    )
