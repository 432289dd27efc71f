"""One token a step: what the agent sees, what it did before, and what that paid, each embedded on its own.

::

    decision at step t
            ^
      residual stream  =  embed("x")[x_t] + embed("y")[y_t] + embed("action")[a_t-1] + embed("reward")[r_t-1] + pos[t]

Every summand is a writer of its own, so a hypothesis can say which part of a token it needs. An observation with two
coordinates has two embeddings: a model that is given one embedding for each cell memorises its training goals instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from ad_hypotheses.errors import DataError
from ad_hypotheses.language.history import History


@dataclass(frozen=True)
class Vocabulary:
    """What tokens of one task family are made of.

    Attributes:
        observations: Name and number of values of each observation channel, e.g. `(("x", 9), ("y", 9))`.
        n_actions: Number of actions; the previous action of the first step has an embedding of its own.
        rewards: The rewards that exist, ascending.
    """

    observations: tuple[tuple[str, int], ...]
    n_actions: int
    rewards: tuple[float, ...] = (0.0, 1.0)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the parts of a token, each an embedding."""
        return (*(name for name, _ in self.observations), "action", "reward")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each part of a token."""
        return (*(size for _, size in self.observations), self.n_actions + 1, len(self.rewards))

    def encode(self, history: History) -> Int[torch.Tensor, "batch step channel"]:
        """Return the tokens of a history, the previous action 0 standing for "none yet".

        Raises:
            DataError: An observation, action or reward has no embedding.
        """
        existing = np.asarray(self.rewards, dtype=np.float32)  # as histories have them: 0.3 is another number there
        rewards = np.searchsorted(existing, history.previous_rewards.astype(np.float32))
        known = np.take(existing, np.minimum(rewards, len(existing) - 1)) == history.previous_rewards
        if not known.all():
            row, step = np.argwhere(~known)[0]
            raise DataError(
                f"row {row}, step {step} shows the reward {history.previous_rewards[row, step]}, "
                f"but the model knows only the rewards {list(self.rewards)}."
            )
        if (*history.channels, "action", "reward") != self.channels:
            raise DataError(
                f"the histories have the observation channels {list(history.channels)}, "
                f"but the model reads {[name for name, _ in self.observations]}."
            )
        parts = (*np.moveaxis(history.observations, -1, 0), history.previous_actions + 1, rewards)
        tokens = np.stack([np.asarray(part, dtype=np.int64) for part in parts], axis=-1)
        outside = (tokens < 0) | (tokens >= np.array(self.sizes))
        if outside.any():
            row, step, channel = np.argwhere(outside)[0]
            raise DataError(
                f"row {row}, step {step} has the {self.channels[channel]} value {tokens[row, step, channel]}, "
                f"but the model knows only 0 to {self.sizes[channel] - 1}."
            )
        return torch.from_numpy(tokens)
