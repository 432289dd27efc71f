"""How exactly a known network computes its rule, on random histories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.errors import DataError
from ad_hypotheses.known.network import Known
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.rules import RULES
from ad_hypotheses.sources.variants import joined
from ad_hypotheses.tasks import Task
from ad_hypotheses.tasks.play import play

ROWS = 512  # random histories of each of the three kinds
LARGEST = 1e-4  # difference of two probabilities from which on a network is not what it should be
FRESH = 2_000_003  # added to the seed of the histories: a study's histories are others


@dataclass(frozen=True)
class Agreement:
    """How far a network is from its rule.

    Attributes:
        histories: How many were looked at.
        decisions: Steps of all of them.
        largest: Largest difference of the probabilities of an action.
        argmax: Share of the decisions whose likeliest actions are those of the rule, ties apart.
    """

    histories: int
    decisions: int
    largest: float
    argmax: float


def random_histories(config: Config, rows: int, rng: np.random.Generator) -> History:
    """Let three kinds of learners live on random tasks: the rule, chance, and chance with a taste of its own each.

    The latter two do what the rule never would; some with a taste do nearly the same all their lives.

    Args:
        config: Of the network.
        rows: Histories of each kind.
        rng: Draws tasks, tastes, actions and what they pay.
    """
    task, episodes = config.experiment.task, config.kept_episodes
    tastes = rng.dirichlet(np.full(task.n_actions, 0.5), size=rows)
    policies: list[Callable[[History], np.ndarray]] = [
        lambda history: np.full((rows, task.n_actions), 1 / task.n_actions),
        lambda history: tastes,
    ]
    lives = [config.experiment.live(task.sample_tasks(rng, rows), rng)]
    lives += [play(task, task.sample_tasks(rng, rows), policy, episodes, rng) for policy in policies]
    return joined(lives)


@torch.no_grad()
def probabilities(model: ADTransformer, history: History) -> Float[np.ndarray, "batch step action"]:
    """Return a model's distribution over actions at every step."""
    return model(model.to_tokens(history)).softmax(-1).double().cpu().numpy()


def agreement(model: ADTransformer, rule: str, task: Task, history: History) -> Agreement:
    """Compare a network with its rule at every step of some histories."""
    predicted, wanted = probabilities(model, history), RULES[rule].policy(history, task)
    best = wanted.max(axis=-1, keepdims=True) - wanted < LARGEST
    same = np.take_along_axis(best, predicted.argmax(axis=-1)[..., None], axis=-1)
    return Agreement(history.n_rows, history.actions.size, float(np.abs(predicted - wanted).max()), float(same.mean()))


def require_agreement(known: Known, match: Agreement) -> None:
    """Refuse a network that does not compute its rule.

    Raises:
        DataError: It does not; says by how much.
    """
    if match.largest >= LARGEST:
        raise DataError(
            f"{known.model} does not compute {known.rule}: over {match.decisions:,} decisions of {match.histories:,} "
            f"random histories its probabilities differ by up to {match.largest:.2g}, and {LARGEST:g} is too much."
        )
