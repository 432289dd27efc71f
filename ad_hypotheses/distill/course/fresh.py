"""Labelled contexts for each batch, lived when it is drawn: none is ever seen twice."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ad_hypotheses.distill.config import Config
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.contexts.agents import labelled_contexts
from ad_hypotheses.sources.q_learning import DynaQ
from ad_hypotheses.tasks import Facts
from ad_hypotheses.tasks.task import n_tasks_of

AT_ONCE = 1024  # contexts, at least, that live side by side: few cost nearly as much as many
TRAINING, APART = 0, 1  # what contexts are for


class FreshContexts:
    """The contexts of a configuration, drawn again whenever they are asked for: nothing of them is kept on disk.

    Args:
        config: A configuration with a section `contexts`.
    """

    def __init__(self, config: Config) -> None:
        assert config.contexts is not None
        self.config, self.contexts = config, config.contexts
        self.train_facts = config.experiment.split()[0]
        self.batches_at_once = -(-AT_ONCE // config.training.batch)
        self._part: tuple[int, History, Float[np.ndarray, "row step action"]] | None = None

    def batch(self, update: int, rows: slice) -> tuple[History, Float[np.ndarray, "row step action"]]:
        """Return some contexts of the batch of an update, and what the source would do at every step of them."""
        number, place = divmod(update, self.batches_at_once)
        if self._part is None or self._part[0] != number:
            n_rows = self.batches_at_once * self.config.training.batch
            self._part = (number, *self.drawn(n_rows, TRAINING, number))
        _, history, labels = self._part
        first = place * self.config.training.batch
        chosen = slice(first + rows.start, first + rows.stop)
        return history[chosen], labels[chosen]

    def drawn(self, n_rows: int, *key: int) -> tuple[History, Float[np.ndarray, "row step action"]]:
        """Return contexts that depend on nothing but the configuration's seed and a key, and their labels."""
        rng = np.random.default_rng([self.config.training.seed, *key])
        experiment = self.config.experiment
        task, source = experiment.task, experiment.source
        assert isinstance(source, DynaQ)
        facts = task.sample_tasks(rng, n_rows) if self.contexts.fresh_tasks else self._known_tasks(n_rows, rng)
        return labelled_contexts(source, task, facts, self.contexts.crowd, self.config.histories.episodes, rng)

    def _known_tasks(self, n_rows: int, rng: np.random.Generator) -> Facts:
        rows = rng.integers(n_tasks_of(self.train_facts), size=n_rows)
        return {name: fact[rows] for name, fact in self.train_facts.items()}
