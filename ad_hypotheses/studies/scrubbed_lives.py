"""A scrubbed model that lives: what the claim calls irrelevant is swapped at every step before it acts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.scrub import Scrubber
from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.check import bind
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.sources.variants import joined
from ad_hypotheses.studies.scrub.bind import ScrubSettings
from ad_hypotheses.studies.scrub.context import others_than, refuse_made
from ad_hypotheses.tasks.play import play
from ad_hypotheses.tasks.task import Facts, Task


class _LastStep(Scrubber):
    """Scrubs the last step of every reference alone."""

    def positions_asked(self, n_rows: int) -> Int[Tensor, " position"]:
        return (torch.arange(n_rows, device=self.device) + 1) * self.clean.n_steps - 1

    def arranged(
        self, log_probs: Float[Tensor, "position action"], positions: Int[Tensor, " position"], n_rows: int
    ) -> Float[np.ndarray, "row 1 action"]:
        return log_probs.unflatten(0, (n_rows, 1)).cpu().numpy()


@dataclass(frozen=True)
class ScrubbedActor:
    """A model scrubbed by a claim, on contexts that it lives itself.

    Attributes:
        hypothesis: The claim.
        checkpoint: The model.
        among: Histories that donors come from; as many of their steps count as the context has.
        settings: How donors are drawn, and the seed; nothing else of it counts.
    """

    hypothesis: Hypothesis
    checkpoint: Checkpoint
    among: History
    settings: ScrubSettings

    @classmethod
    def of(
        cls, hypothesis: Hypothesis, checkpoint: Checkpoint, among: History, settings: ScrubSettings
    ) -> ScrubbedActor:
        """Fit a claim to the histories that donors come from, on which its features are tried once for all contexts.

        Raises:
            HypothesisError: The claim does not fit the model or the data.
        """
        roles = checkpoint.experiment.task.regimes(among)
        refuse_made(bind(hypothesis, checkpoint.model.anatomy, among, roles, settings.seed))
        return cls(hypothesis, checkpoint, among, settings)

    def log_probs(self, history: History) -> Float[np.ndarray, "row step action"]:
        """Scrub every step of some contexts once; histories that show the same as one of them are no donors.

        Raises:
            DataError: The contexts are longer than the histories that donors come from, or these do not differ.
        """
        self.require_steps(history.n_steps)
        among = self.among.window(stop=history.n_steps)
        return self._scrubbed(history, among[others_than(history, among)], Scrubber, number=0)

    def live(self, task: Task, facts: Facts, episodes: int, rng: np.random.Generator) -> History:
        """Let the scrubbed model live, each action drawn from what it says when its context so far is scrubbed.

        Every step costs a run over all contexts and donors so far, so that a life costs the square of its steps.

        Args:
            task: The task family.
            facts: Which task each row plays. [row, ...]
            episodes: Of each life.
            rng: Randomness of the world and of actions.

        Raises:
            DataError: The lives are longer than the histories that donors come from.
        """
        self.require_steps(episodes * task.horizon)
        return play(task, facts, self.policy, episodes, rng)

    def policy(self, so_far: History) -> Float[np.ndarray, "row action"]:
        """Return what the scrubbed model decides at the last step of some contexts, with draws of their length's own.

        Raises:
            DataError: The contexts are longer than the histories that donors come from.
        """
        self.require_steps(so_far.n_steps)
        among = self.among.window(stop=so_far.n_steps)
        return np.exp(self._scrubbed(so_far, among, _LastStep, number=so_far.n_steps)[:, -1])

    def _scrubbed(
        self, history: History, among: History, scrubber: type[Scrubber], number: int
    ) -> Float[np.ndarray, "row step action"]:
        checkpoint, settings = self.checkpoint, self.settings
        together = joined([replace(history, learner=None), replace(among, learner=None, family=history.family)])
        roles = checkpoint.experiment.task.regimes(together)
        bound = bind(self.hypothesis, checkpoint.model.anatomy, together, roles, settings.seed, again=False)
        clean = Clean.run(checkpoint.model, together, history.n_rows)
        with clean.prepared():
            return scrubber(clean, bound, settings.options, settings.seed).run(number).log_probs

    def require_steps(self, n_steps: int) -> None:
        """Refuse contexts that are longer than the histories that donors come from.

        Raises:
            DataError: They are.
        """
        if n_steps > self.among.n_steps:
            raise DataError(
                f"`among` has {self.among.n_steps} steps, but contexts of {n_steps} are to be scrubbed: give longer "
                "histories, or fewer episodes."
            )
