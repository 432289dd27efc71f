"""Two contexts that differ in something, at one step: which parts of the model carry the difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ad_hypotheses.causal.run_pair import RunPair
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.distill.lens import HookedADTransformer
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.report.result import Result
from ad_hypotheses.studies.look import AskedValue, chosen_step
from ad_hypotheses.studies.part_effects import by_size, part_effects, strongest
from ad_hypotheses.studies.tables import table_of
from ad_hypotheses.tasks.edits.lives import tokens_differ
from ad_hypotheses.tasks.task import Task


@dataclass(frozen=True, repr=False)
class Carriers(Result):
    """What every part of a model carries of the difference between two contexts, at one step.

    Each part alone is as in the second context, while the model reads the first, and what follows from it flows on.

    Attributes:
        model: Name of the model.
        of: The log-probability, or the difference of two, that is asked about: `"right - down"`.
        step: Number of the step.
        before: Its value in the first context.
        after: Its value in the second.
        writers: Change of the value if a writer writes, for all who read it, what it does in the second context.
        edges: The same if one reader alone reads that; empty where edges were not asked about.
    """

    model: str
    of: str
    step: int
    before: float
    after: float
    writers: dict[str, float]
    edges: dict[str, float]

    @property
    def headline(self) -> str:
        """The two values, and the parts that carry most."""
        values = f"{self.of} {self.before:.4g} -> {self.after:.4g}"
        return f"{self.model}, step {self.step}: {values}; most: {strongest(self.writers)}"

    def to_frame(self) -> Any:
        """Return a line for each part, the largest change first, as a pandas.DataFrame: `part`, `change`, `share`.

        The share is of the whole difference; those of all parts need not sum to 1, as parts read each other.
        """
        parts, whole = self.writers | self.edges, self.after - self.before
        shares = [{"part": name, "change": parts[name], "share": parts[name] / whole} for name in by_size(parts)]
        return table_of(shares)


@torch.no_grad()
def carriers(
    model: HookedADTransformer,
    task: Task,
    name: str,
    before: History,
    history: History,
    step: int,
    of: str | int | None,
    edges: bool,
) -> Carriers:
    """Return what every part of a model carries of the difference between two contexts.

    Args:
        model: The model.
        task: Its task family, whose actions `of` names.
        name: Name of the model.
        before: The first context, one history.
        history: The second, of as many steps.
        step: Number of the step; negative counts from the end.
        of: As in :func:`ad_hypotheses.carriers`.
        edges: Whether to ask about every edge, too.

    Raises:
        DataError: There is no such step or action, or the two do not differ until there.
    """
    step = chosen_step(history, step)
    if before.shape != history.shape:
        raise DataError(f"`before` is of {before.shape} histories and steps, and `history` of {history.shape}.")
    first, second = before.window(stop=step + 1), history.window(stop=step + 1)
    differs = tokens_differ(first, second)[0]
    if not differs.any():
        raise DataError(f"the two contexts show the same up to step {step}: choose a later step.")
    asked = AskedValue.of(of, task, history, step)
    tokens = (model.to_tokens(first), model.to_tokens(second))
    pair = RunPair.of(Twin(model.eval()), *tokens, int(differs.argmax()))
    plain, other = (float(asked(run[0, -1])) for run in (pair.log_probs, pair.donor_log_probs))
    return Carriers(name, asked.words, step, plain, other, *part_effects(pair, asked, edges))
