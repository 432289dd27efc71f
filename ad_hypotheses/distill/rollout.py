"""Let a frozen model live in the world: it learns, if it does, from its context alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from ad_hypotheses.distill.model import ADTransformer, KVCache
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks import Task
from ad_hypotheses.tasks.play import play
from ad_hypotheses.tasks.task import n_tasks_of


@torch.no_grad()
def rollout(
    model: ADTransformer,
    task: Task,
    facts: Mapping[str, np.ndarray],
    episodes: int,
    rng: np.random.Generator,
    sample: bool = True,
    progress: Callable[[int], None] | None = None,
) -> History:
    """Run the model on tasks it is told nothing about, weights frozen, one long context each.

    Args:
        model: In evaluation mode.
        task: The task family.
        facts: Which task each row plays. [row, ...]
        episodes: Episodes to play; they must fit into the context.
        rng: Randomness of the world and of sampled actions.
        sample: Draw actions from the model's distribution; otherwise take the likeliest.
        progress: Called with the number of steps done.

    Returns:
        The model's own learning histories. [row, episodes * horizon]
    """
    n_rows = n_tasks_of(facts)
    cache = KVCache(n_rows, model)

    def policy(history: History) -> np.ndarray:
        latest = history.window(-2)  # a token shows the action and reward of the step before it
        logits = model(model.to_tokens(latest)[:, -1:], cache)[:, -1].float()
        if progress is not None:
            progress(history.n_steps)
        if sample:
            return logits.softmax(-1).cpu().numpy()
        return np.eye(task.n_actions, dtype=np.float32)[logits.argmax(-1).cpu().numpy()]

    return play(task, facts, policy, episodes, rng)
