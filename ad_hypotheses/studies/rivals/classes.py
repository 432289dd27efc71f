"""What rivals are compared on: data sets with clean runs, and what each claim distinguishes in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.draws import Align
from ad_hypotheses.causal.rival_classes import Labels, RivalData, end_to_end
from ad_hypotheses.causal.rivals import Regimes
from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.check import BoundGraph, bind
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.load import shown_file
from ad_hypotheses.sources.variants import joined
from ad_hypotheses.tasks.task import Task


@dataclass(frozen=True, eq=False)
class RivalDataset:
    """Histories on which claims are compared, with what the model makes of them.

    Attributes:
        name: Name of the data set: `"source"`, `"own"`, `"edited:goal-moved"`.
        history: References and pool in one, so that their features can be compared.
        regimes: Steps of each regime, `"all"` first. {name: [row, step]}
        donors: Rows of the pool; None if every row is a reference and a donor. [row]
        log_probs: Log-probabilities of the clean run; None where only features are compared. [row, step, action]
        labelled: Whether the actions are what a model should predict, so that a loss means something.
    """

    name: str
    history: History
    regimes: Regimes
    donors: Bool[np.ndarray, " row"] | None = None
    log_probs: Float[np.ndarray, "row step action"] | None = None
    labelled: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        references: History,
        task: Task,
        pool: History | None = None,
        checkpoint: Checkpoint | None = None,
        labelled: bool = False,
    ) -> RivalDataset:
        """Put a data set together.

        Args:
            name: Name of the data set.
            references: Histories whose prediction is to be explained.
            task: Their task, which says what the regimes are.
            pool: Histories of other learners, which may stand in for them; None if references stand in for each other.
            checkpoint: The model to run; None where only features are compared.
            labelled: Whether the actions are what a model should predict.

        Raises:
            DataError: The pool is of another kind than the references.
        """
        history = references if pool is None else joined([references, pool])
        donors = None if pool is None else np.arange(history.n_rows) >= references.n_rows
        regimes = {"all": np.ones(history.shape, dtype=bool), **task.regimes(history)}
        log_probs = None if checkpoint is None else Clean.run(checkpoint.model, history).log_probs
        return cls(name, history, regimes, donors, log_probs, labelled)

    def data(self, align: Align) -> RivalData:
        """Return what the engine needs of it.

        Raises:
            DataError: A learner has references and donors.
        """
        learner = np.arange(self.history.n_rows) if self.history.learner is None else self.history.learner
        if self.donors is not None and np.isin(learner[~self.donors], learner[self.donors]).any():
            raise DataError(
                f"{self.name}: a learner has histories among the references and among the donors, which are to be "
                "apart.\n  Split the histories by learner, or number the learners of the pool apart from the others."
            )
        episode_step = self.history.episode_step if align == "episode_step" else None
        return RivalData(self.history.actions, learner, self.donors, self.log_probs, align, episode_step)


@dataclass(frozen=True, eq=False)
class ClaimClasses:
    """A claim as rivals see it: what it distinguishes end to end.

    Attributes:
        name: Name of the claim.
        file: File that it is written in.
        labels: Its classes on each data set. {name: [row, step]}
    """

    name: str
    file: str
    labels: Mapping[str, Labels]

    @classmethod
    def of(cls, claim: Hypothesis, graphs: Mapping[str, BoundGraph], datasets: Sequence[RivalDataset]) -> ClaimClasses:
        """Return the classes of a claim that is bound to every data set."""
        labels = {data.name: end_to_end(graphs[data.name], *data.history.shape) for data in datasets}
        return cls(claim.name or claim.root.name, shown_file(claim.root.file), labels)

    @classmethod
    def bound(
        cls, claim: Hypothesis, checkpoint: Checkpoint, datasets: Sequence[RivalDataset], seed: int = 0
    ) -> ClaimClasses:
        """Bind a claim to a model and to every data set, and return its classes.

        What features may see is checked on the first data set.

        Raises:
            HypothesisError: It does not fit the model or a data set.
        """
        anatomy = checkpoint.model.anatomy
        regimes = {data.name: {name: mask for name, mask in data.regimes.items() if name != "all"} for data in datasets}
        graphs = {
            data.name: bind(claim, anatomy, data.history, regimes[data.name], seed, again=data is datasets[0])
            for data in datasets
        }
        return cls.of(claim, graphs, datasets)
