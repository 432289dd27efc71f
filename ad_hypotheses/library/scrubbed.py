"""A model scrubbed by a claim, as something that acts: what is left of the model if the claim is all that matters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.library.model import Model
from ad_hypotheses.library.scrub import claims_of, model_of
from ad_hypotheses.studies.scrub.bind import ScrubSettings
from ad_hypotheses.studies.scrub.context import ScrubbedContext, scrub_context
from ad_hypotheses.studies.scrubbed_lives import ScrubbedActor

DONORS = 128  # histories that donors come from, where none are given


class ScrubbedModel:
    """A model in which everything is swapped, at every step, that a claim calls irrelevant.

    :meth:`Hypothesis.scrubbed` returns it; :func:`rollout` lets it live, and :meth:`scrub_at` says who stood in.

    Args:
        hypothesis: The claim, or the path or name of a file that holds it.
        model: What is scrubbed, or its name; None for the model that the claim names.
        among: Histories that donors come from; None for fresh ones of the source, on all tasks.
        others: As for :func:`scrub`.
        align: As for :func:`scrub`.
        shared: As for :func:`scrub`.
        seed: Of all draws.

    Raises:
        HypothesisError: The claim does not fit the model or the data, or its donors are made.
        CheckpointError: There is no such model.

    Attributes:
        hypothesis: The claim.
        model: The model as it is.
        among: Histories that donors come from.
        actor: What :func:`rollout` lets live.

    Example:
        >>> import ad_hypotheses as adh
        >>> histories = adh.load("bandit").histories(16)
        >>> scrubbed = adh.ScrubbedModel("win_stay", among=histories)
        >>> scrubbed.policy(histories[:2]).shape
        (2, 100, 5)
    """

    def __init__(
        self,
        hypothesis: Hypothesis | str | Path,
        model: Model | str | Path | None = None,
        *,
        among: History | None = None,
        others: str = "joint",
        align: str = "step",
        shared: bool = False,
        seed: int = 0,
    ) -> None:
        self.hypothesis = claims_of(hypothesis)[0]
        self.model = model_of(self.hypothesis, model)
        self.among = self.model.histories(DONORS, tasks="all", seed=seed) if among is None else among
        settings = ScrubSettings(others=others, align=align, shared=shared, seed=seed)  # type: ignore[arg-type]
        self.actor = ScrubbedActor.of(self.hypothesis, self.model.checkpoint, self.among, settings)

    def policy(self, history: History) -> Float[np.ndarray, "row step action"]:
        """Return the distribution over actions at every step of some contexts, scrubbed once. [row, step, action]

        Raises:
            DataError: The contexts are longer than the histories that donors come from.
        """
        return np.exp(self.actor.log_probs(history))

    def scrub_at(self, history: History, passes: int = 1) -> ScrubbedContext:
        """Scrub one context, whoever lived it, and say who stood in for what; see :func:`scrub_at`.

        Args:
            history: The context, one row.
            passes: How often.

        Raises:
            DataError: The context is not a single row, or does not go with the donors.
        """
        actor, among = self.actor, self.among.window(stop=history.n_steps)
        settings = replace(actor.settings, passes=passes)
        return scrub_context(self.hypothesis, actor.checkpoint, history, among, settings)

    def __repr__(self) -> str:
        name = self.hypothesis.name or self.hypothesis.root.name
        return f"ScrubbedModel({self.model.name} scrubbed by {name} among {len(self.among)} histories)"
