"""One update of the weights: the batch that belongs to its number, and what is done with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.course.fresh import FreshContexts
from ad_hypotheses.distill.course.next_state import NextStateHead
from ad_hypotheses.distill.finite import NonFiniteError
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.parallel import Ranks
from ad_hypotheses.distill.sections import Training
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.errors import DivergedError, UserError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources.contexts.planner import arrivals
from ad_hypotheses.sources.histories import HistoryFolder
from ad_hypotheses.tasks import Task

Forward = Callable[..., Tensor]


@dataclass(frozen=True)
class Batch:
    """What one update learns from.

    Attributes:
        tokens: As `Vocabulary.encode` makes them. [batch, step, channel]
        actions: What the learners did. [batch, step]
        kept: Which parts of the tokens are read, None for all. [batch, step, channel]
        seed: Of what torch draws in this update.
        labels: What to predict instead of the actions: distributions over them. [batch, step, action]
        arrivals: Where each action led when it was last tried in the state of a step, -1 where that was not seen; None
            where it is not predicted. [batch, step, action]
    """

    tokens: Int[Tensor, "batch step channel"]
    actions: Int[Tensor, "batch step"]
    kept: Bool[Tensor, "batch step channel"] | None
    seed: int
    labels: Float[Tensor, "batch step action"] | None = None
    arrivals: Int[Tensor, "batch step action"] | None = None

    def targets(self, dtype: torch.dtype) -> Tensor:
        """Return what to predict at every step, as `cross_entropy` takes it: numbers of actions, or distributions."""
        return self.actions.flatten() if self.labels is None else self.labels.flatten(0, 1).to(dtype)

    def parts(self, count: int, device: torch.device) -> Iterator[Batch]:
        """Cut into parts of the same size, on a device."""
        size = len(self.tokens) // count
        for first in range(0, len(self.tokens), size):
            yield self._each(lambda whole, first=first: whole[first : first + size].to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """Put it where a GPU can fetch it while other work goes on."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        optional = (self.labels, self.arrivals)
        kept, *beside = (None if tensor is None else change(tensor) for tensor in (self.kept, *optional))
        return Batch(change(self.tokens), change(self.actions), kept, self.seed, *beside)


@dataclass(frozen=True)
class Sampler:
    """Draws batches of learning histories, or of labelled contexts.

    Attributes:
        histories: What from.
        vocabulary: Of the model that is trained.
        training: What a batch is like.
        task: Family of the tasks.
        ranks: Among whom the batch is shared.
    """

    histories: HistoryFolder | FreshContexts
    vocabulary: Vocabulary
    training: Training
    task: Task
    ranks: Ranks

    def draw(self, update: int) -> Batch:
        """Return this process's share of the batch of an update, the same whenever it is asked for."""
        # keyed by the number of the update, so that a resumed run sees the batches it would have seen
        rng = np.random.default_rng([self.training.seed, update])
        seed, size, own = int(rng.integers(2**62)), self.training.batch, self.ranks.share(self.training.batch)
        labels = None
        if isinstance(self.histories, FreshContexts):
            history, labels = self.histories.batch(update, own)
        else:
            history = self._rows(self.histories, rng, own)
        tokens, unmasked = self.vocabulary.encode(history), None
        if self.training.token_mask:
            chances = rng.random((size, *tokens.shape[1:]), dtype=np.float32)
            unmasked = torch.from_numpy(chances[own] >= self.training.token_mask)
        led = None if self.training.next_state_until is None else torch.from_numpy(arrivals(history, self.task))
        actions = torch.from_numpy(history.actions.astype(np.int64))
        return Batch(tokens, actions, unmasked, seed, None if labels is None else torch.from_numpy(labels), led)

    def _rows(self, histories: HistoryFolder, rng: np.random.Generator, own: slice) -> History:
        """Draw histories of a folder, or parts of them, and return this process's."""
        size, horizon = self.training.batch, self.task.horizon
        rows = rng.integers(histories.n_histories, size=size)
        if self.training.crop is None:
            return histories.rows(rows[own])
        n_steps = self.training.crop * horizon
        first = rng.integers((histories.n_steps - n_steps) // horizon + 1, size=size) * horizon
        return histories.windows(rows[own], first[own], n_steps)

    def batches(self, first: int, stop: int, device: torch.device) -> Generator[Batch, None, None]:
        """Return the batches of some updates; for a GPU, one is prepared while the one before it is computed."""
        if device.type != "cuda":  # where the model computes on the same cores, nothing is won
            yield from map(self.draw, range(first, stop))
            return
        coming: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(1) as other:
            for update in range(first, stop + 1):
                if update < stop:
                    coming.append(other.submit(lambda update: self.draw(update).pinned(), update))
                if update > first:
                    yield coming.popleft().result()


def accumulate(
    model: ADTransformer, forward: Forward, batch: Batch, training: Training, head: NextStateHead | None = None
) -> Float[Tensor, " target"]:
    """Add the gradient of a batch's mean loss to the weights, computed in as many parts as the training asks for.

    Args:
        model: The model.
        forward: The model, or what it was compiled to.
        batch: What to predict.
        training: Precision and number of parts.
        head: What predicts next states beside the actions, while it does.

    Returns:
        The mean loss of the actions and, with a head, that of next states; the gradient is that of their sum.
    """
    device = model.device
    total = torch.zeros(1 if head is None else 2, device=device, dtype=model.W_U.dtype)
    for part in batch.parts(training.accumulate, device):
        with torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bfloat16"):
            if head is None:
                logits, beside = forward(part.tokens, unmasked=part.kept), []
            else:
                assert part.arrivals is not None
                stream = model.residual(part.tokens, unmasked=part.kept)
                logits, beside = model.unembed(stream), [head.loss(model, stream, part.arrivals)]
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        nats = F.cross_entropy(exact.flatten(0, 1), part.targets(exact.dtype))
        losses = [loss / training.accumulate for loss in (nats, *beside)]
        sum(losses[1:], losses[0]).backward()
        total += torch.stack(losses).detach()
    return total


def update(
    model: ADTransformer,
    optimiser: torch.optim.Optimizer,
    forward: Forward,
    batch: Batch,
    training: Training,
    ranks: Ranks,
    head: NextStateHead | None = None,
) -> list[float]:
    """Make one update of the weights; returns the loss before it, and with a head that of next states."""
    torch.manual_seed(batch.seed + ranks.number)
    optimiser.zero_grad()
    model.train()
    weights = [*model.parameters(), *(() if head is None else head.parameters())]
    losses = ranks.average(weights, accumulate(model, forward, batch, training, head))
    take_step(model, optimiser, training, losses.sum(), weights)
    return [float(loss) for loss in losses]


def take_step(
    model: ADTransformer,
    optimiser: torch.optim.Optimizer,
    training: Training,
    loss: Tensor,
    weights: list[Any] | None = None,
) -> None:
    """Move the weights along their gradients, which are clipped first.

    Args:
        model: The model, with gradients.
        optimiser: Of its weights.
        training: How much to clip.
        loss: What the gradients are of.
        weights: What is moved; the weights of the model by default.

    Raises:
        NonFiniteError: The loss, the gradients, or the weights after the step are not finite.
    """
    weights = list(model.parameters()) if weights is None else weights
    norm = torch.nn.utils.clip_grad_norm_(weights, training.clip)
    for quantity, number in (("the loss", loss), ("the size of the gradients", norm)):
        if not number.isfinite():
            raise NonFiniteError(f"{quantity} is {number.item():g}")
    optimiser.step()
    with torch.no_grad():
        largest = torch.stack(torch._foreach_norm(weights, float("inf"))).max()
    if not largest.isfinite():
        raise NonFiniteError(f"the largest weight after the update is {largest.item():g}")


def diverged(config: Config, update: int, folder: Path, error: NonFiniteError) -> DivergedError:
    """Return what to tell the user when training ran into numbers that are not finite.

    Args:
        config: What was trained.
        update: Updates made before.
        folder: Where the state to resume from is kept.
        error: What went wrong.
    """
    training = config.training
    names = ("learning_rate", "weight_decay", "clip", "warmup", "precision")
    now = ", ".join(f"{name}: {getattr(training, name)}" for name in names)
    return DivergedError(
        f"training diverged in update {update + 1:,} of {training.updates:,}: {str(error).splitlines()[0]}\n"
        f"  No checkpoint was written; {folder} holds what was kept last before.\n"
        f"  Make training.learning_rate smaller, or weight_decay or clip, or warmup longer ({now}),\n"
        f"  and train into another folder (`out`), or delete {folder}."
    )


def compiled(model: ADTransformer, batch: Batch, training: Training) -> Forward:
    """Compile the model for batches like this one; the model itself stays as it is, and so do its hooks.

    Raises:
        UserError: It cannot be compiled here.
    """
    forward: Forward = torch.compile(model, dynamic=False)
    model.train()
    try:
        accumulate(model, forward, batch, training)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"torch cannot compile the model on {model.device} (training.compile: true): {reason.strip()}\n"
            "  Set training.compile to false, or install what is missing."
        ) from error
    finally:
        model.zero_grad()
    return forward
