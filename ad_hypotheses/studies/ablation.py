"""One context with parts of the model taken out: what is decided then, and what each part alone does at one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ad_hypotheses.causal.replaced import Part, mean_written, replaced_logits
from ad_hypotheses.causal.run_pair import Change, RunPair
from ad_hypotheses.causal.twin import Stream, Twin
from ad_hypotheses.distill.lens import HookedADTransformer
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.anatomy import Writer
from ad_hypotheses.language.edges import ARROW, find_edges, find_writers
from ad_hypotheses.language.history import History
from ad_hypotheses.report.result import Result
from ad_hypotheses.studies.look import AskedValue, chosen_step
from ad_hypotheses.studies.part_effects import by_size, part_effects, strongest
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
        most = f"replaced by {self.by}, most: {strongest(self.writers)}"
        return f"{self.model}, step {self.step}: {self.of} {self.value:.4g}; {most}"

    def to_frame(self) -> Any:
        """Return a line for each part, the largest change first, as a pandas.DataFrame: `part`, `change`."""
        parts = self.writers | self.edges
        return table_of([{"part": name, "change": parts[name]} for name in by_size(parts)])


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
    asked = AskedValue.of(of, task, history, step)
    twin, tokens = Twin(model.eval()), model.to_tokens(history.window(stop=step + 1))
    pair = RunPair.of(twin, tokens, tokens)
    seen = twin.streams(tokens)
    pair.changes = {
        writer: Change(instead[writer][:, : step + 1] - twin.write(writer, tokens, seen)) for writer in pair.changes
    }
    plain = float(asked(pair.log_probs[0, -1]))
    return Ablations(name, asked.words, step, by, plain, *part_effects(pair, asked, edges))
