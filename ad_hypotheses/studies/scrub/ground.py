"""What a claim is tested on: references and a pool of donors of one data set, with the model's own run over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.variants import joined
from ad_hypotheses.studies.data import SOURCE, Dataset
from ad_hypotheses.studies.kept_lives import NOT_KEPT, LivesOnDisk
from ad_hypotheses.studies.rivals.classes import RivalDataset
from ad_hypotheses.studies.scrub.kept import array_bytes

RIVAL_DONORS = 512  # which are enough for exact sums over classes
POOL = 1  # joins the seed of the references, so that donors are other learners


@dataclass(eq=False)
class Ground:
    """One data set of a study: references first, then the pool that donors come from.

    Attributes:
        data: Name of the data set.
        words: What it holds, in words.
        history: All histories, one learner a row.
        n_references: How many of them, the first ones, are references.
        regimes: Which steps belong to which regime, `"all"` first. {name: [row, step]}
        clean: The model's own run.
        labelled: Whether the labels are the actions of a learner that is not the model.
    """

    data: str
    words: str
    history: History
    n_references: int
    regimes: dict[str, Bool[np.ndarray, "row step"]]
    clean: Clean
    labelled: bool
    _divergences: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, checkpoint: Checkpoint, references: Dataset, pool: Dataset, lives: LivesOnDisk = NOT_KEPT) -> Ground:
        """Put references and donors under each other; the model is run over them when that is needed."""
        history = joined([references.history, pool.history])
        regimes = checkpoint.experiment.task.regimes(history)
        everywhere = np.ones(history.actions.shape, dtype=bool)
        n_references = references.history.n_rows
        clean = Clean.run(checkpoint.model, history, n_references)
        clean.keeper = lives.keeper(checkpoint, history)
        labelled = references.data == SOURCE
        return cls(
            references.data, references.words, history, n_references, {"all": everywhere, **regimes}, clean, labelled
        )

    @property
    def bytes(self) -> int:
        """Bytes of the histories and of what is kept of the model's run."""
        history = self.history
        arrays = (history.observations, history.actions, history.rewards, self.clean.known_log_probs)
        return self.clean.bytes + array_bytes(*arrays, *self.regimes.values())

    @cached_property
    def references(self) -> History:
        """The histories whose positions are explained."""
        return self.history[: self.n_references]

    @property
    def n_tasks(self) -> int:
        """How many tasks there are among the donors."""
        facts = [np.asarray(fact)[self.n_references :] for fact in self.history.task.values()]
        if not facts:
            return 1
        return len(np.unique(np.concatenate([fact.reshape(len(fact), -1) for fact in facts], axis=1), axis=0))

    @property
    def learners(self) -> Int[np.ndarray, " row"]:
        """Learner of each reference."""
        learner = self.references.learner
        assert learner is not None, "data sets say who lived their histories"
        return learner

    @cached_property
    def masks(self) -> dict[str, Bool[np.ndarray, "row step"]]:
        """Regimes of the references. {name: [row, step]}"""
        return {name: mask[: self.n_references] for name, mask in self.regimes.items()}

    @property
    def judged(self) -> list[str]:
        """Regimes that a verdict is about: all but the average, where there are several."""
        return list(self.regimes)[1:] or list(self.regimes)

    @cached_property
    def log_probs(self) -> Float[np.ndarray, "row step action"]:
        """Log-probabilities of the model itself, at the references."""
        return self.clean.log_probs[: self.n_references]

    @cached_property
    def targets(self) -> Float[np.ndarray, "row step action"]:
        """What is to be predicted at the references: the action that the learner took, for certain.

        Where the model itself acts, its own distribution: the expectation over the actions that it might have drawn.
        """
        if not self.labelled:
            return np.exp(self.log_probs)
        return np.eye(self.log_probs.shape[-1], dtype=self.log_probs.dtype)[self.references.actions]

    @property
    def rows_for_rivals(self) -> slice:
        """The references, and as many of the pool as rivals are compared on: each of them is bound to these rows."""
        return slice(min(self.history.n_rows, self.n_references + RIVAL_DONORS))

    def for_rivals(self) -> RivalDataset:
        """Return what claims are compared on end to end."""
        rows = self.rows_for_rivals
        regimes = {name: mask[rows] for name, mask in self.regimes.items()}
        donors = np.arange(rows.stop) >= self.n_references
        return RivalDataset(self.data, self.history[rows], regimes, donors, self.clean.log_probs[rows], self.labelled)

    def loss(self, log_probs: Float[np.ndarray, "row step action"]) -> Float[np.ndarray, "row step"]:
        """Return the cross-entropy of some predictions at the first references, in nats."""
        return -(self.targets[: len(log_probs)] * log_probs).sum(-1)

    def divergence(self, log_probs: Float[np.ndarray, "row step action"]) -> Float[np.ndarray, "row step"]:
        """Return the KL divergence of some predictions at the first references from the model's own, in nats."""
        own = self.log_probs[: len(log_probs)]
        return (np.exp(own) * (own - log_probs)).sum(-1)

    @cached_property
    def baseline(self) -> Float[np.ndarray, "row step"]:
        """Expected loss when nothing is important, in nats: at each step the mean over the pool."""
        pool = self.clean.log_probs[self.n_references :].mean(axis=0, dtype=np.float64)
        return -(self.targets * pool).sum(-1)

    def ignorant(self, regime: str) -> Float[np.ndarray, " action"]:
        """Return log-probabilities of the zero: the mean of the model's distribution over a regime of the pool."""
        mask = self.regimes[regime][self.n_references :]
        pool = np.exp(self.clean.log_probs[self.n_references :][mask])
        n_actions = self.log_probs.shape[-1]
        return np.log((pool.sum(axis=0, dtype=np.float64) + 1 / n_actions) / (len(pool) + 1))

    def divergence_of_ignorant(self, regime: str) -> Float[np.ndarray, "row step"]:
        """Return the KL divergence of the zero of a regime from the model's distribution, in nats; worked out once."""
        if regime not in self._divergences:
            zero = np.broadcast_to(self.ignorant(regime), self.log_probs.shape)
            self._divergences[regime] = self.divergence(zero)
        return self._divergences[regime]

    def label_frequencies(self, regime: str) -> Float[np.ndarray, " action"]:
        """Return log-frequencies of the labels of a regime among the pool, half a label added to each."""
        if not self.labelled:
            return self.ignorant(regime)
        mask = self.regimes[regime][self.n_references :]
        actions: Int[np.ndarray, " position"] = self.history.actions[self.n_references :][mask]
        counts = np.bincount(actions, minlength=self.log_probs.shape[-1]) + 0.5
        return np.log(counts / counts.sum())


def make_ground(
    checkpoint: Checkpoint,
    data: str,
    rows: int,
    pool: int,
    tasks: str,
    seed: int,
    reached: Callable[[int], None] = lambda steps: None,
    lives: LivesOnDisk = NOT_KEPT,
    own: History | None = None,
) -> Ground:
    """Make one data set of a study, donors apart from references.

    Args:
        checkpoint: The model.
        data: Name of the data set; see `studies.data.histories`.
        rows: Number of references.
        pool: Number of donors.
        tasks: Which tasks the histories come from.
        seed: Decides everything.
        reached: Called with the number of steps that were lived.
        lives: Where those of the model are kept.
        own: The histories of the model's own lives, if they are at hand, which edited ones begin with.
    """
    steps = checkpoint.experiment.history_steps
    first, others = (None, None) if own is None else (own[:rows], own[rows:])
    references = lives.histories(checkpoint, rows, data, seed, tasks, progress=lambda done, _: reached(done), own=first)
    reached(rows * steps)
    pooled = (checkpoint, pool, data, (seed, POOL), tasks)
    donors = lives.histories(
        *pooled, first_learner=rows, progress=lambda done, _: reached(rows * steps + done), own=others
    )
    reached((rows + pool) * steps)
    return Ground.of(checkpoint, references, donors, lives)
