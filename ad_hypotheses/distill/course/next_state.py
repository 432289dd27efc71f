"""A target beside the actions, thrown away after training: where each action led when it was last tried here.

It holds no value, no goal and no distance. Predicting it makes a model find the transitions in its context, without
which it cannot learn what they are good for.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.model import ADTransformer

MEMORY = 0.9  # of the running mean that says whether the target is learned


class NextStateHead(nn.Module):
    """Reads from the residual stream where each action led, or that this was not seen.

    Args:
        config: Width of the model, states and actions of its task, and below which loss the target is learned.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        task, until = config.experiment.task, config.training.next_state_until
        assert until is not None
        self.n_actions, self.n_states, self.until = task.n_actions, task.n_states, until
        self.weight = nn.Parameter(torch.empty(config.model.d_model, self.n_actions * (self.n_states + 1)))
        self.bias = nn.Parameter(torch.zeros(self.weight.shape[1]))
        nn.init.normal_(self.weight, std=0.02, generator=torch.Generator().manual_seed(config.training.seed))
        self.mean_loss = math.nan
        self.learned_at: int | None = None

    def loss(
        self, model: ADTransformer, stream: Float[Tensor, "batch step d_model"], arrivals: Int[Tensor, "b step action"]
    ) -> Float[Tensor, ""]:
        """Return the mean cross-entropy of where actions led, in nats; -1 stands for "not seen"."""
        logits = model.ln_final(stream) @ self.weight + self.bias
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return F.cross_entropy(
            exact.view(-1, self.n_states + 1), arrivals.where(arrivals >= 0, self.n_states).flatten()
        )

    def note(self, loss: float, update: int) -> None:
        """Take in the loss of an update, the `update`-th; once the mean is low enough, the target is learned."""
        self.mean_loss = loss if math.isnan(self.mean_loss) else MEMORY * self.mean_loss + (1 - MEMORY) * loss
        if self.mean_loss < self.until:
            self.learned_at = update
