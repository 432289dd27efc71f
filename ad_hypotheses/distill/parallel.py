"""Training on several processes of one machine, one a GPU, as torchrun starts them.

Every process computes its share of a batch; the mean of their gradients is that of the whole batch, so all of them make
the update that one process would. The first one alone evaluates, saves and speaks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from ad_hypotheses.distill.sections import Training
from ad_hypotheses.errors import ConfigError, UserError

Made = TypeVar("Made")
PATIENCE = timedelta(days=1)  # the others wait while the first lets learners or the model live


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; one alone unless torchrun says otherwise.

    Attributes:
        number: Of this process, from 0.
        count: How many there are.
        local: Which of the machine's GPUs is this process's own.
    """

    number: int = 0
    count: int = 1
    local: int = 0

    @staticmethod
    def from_environment() -> Ranks:
        """Return what torchrun has set, or raise a UserError if it is incomplete."""
        if (count := os.environ.get("WORLD_SIZE", "1")) == "1":
            return Ranks()
        try:
            return Ranks(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
        except (KeyError, ValueError) as error:
            raise UserError(
                f"WORLD_SIZE is {count!r}, so several processes should train together, but which this is (RANK, "
                f"LOCAL_RANK) is not said: {error}. Start them with torchrun --nproc-per-node N, or unset WORLD_SIZE."
            ) from error

    @property
    def first(self) -> bool:
        """Whether this process speaks for all."""
        return self.number == 0

    def device(self, name: str) -> str:
        """Return this process's own device, `cuda:1` for `cuda`, or raise a UserError for another name."""
        if self.count == 1 or name == "cpu":
            return name
        if name != "cuda":
            raise UserError(f"{self.count} processes train on `device='cuda'`, a GPU each, or cpu, but not on {name}.")
        return f"cuda:{self.local}"

    def check(self, training: Training) -> None:
        """Raise a ConfigError if a batch cannot be shared out."""
        n_parts = self.count * training.accumulate
        if training.batch % n_parts:
            each = f", each in accumulate = {training.accumulate} parts" if training.accumulate > 1 else ""
            raise ConfigError(
                f"training.batch: {training.batch} cannot be shared out evenly among {self.count} processes{each}.\n"
                f"  Make it a multiple of {n_parts}, or start another number of processes."
            )

    def share(self, n_rows: int) -> slice:
        """Return which rows of a batch are this process's."""
        each = n_rows // self.count
        return slice(self.number * each, (self.number + 1) * each)

    @contextmanager
    def gathered(self, device: str) -> Iterator[None]:
        """Let the processes talk to each other inside, or raise a UserError if they do not find each other."""
        if self.count == 1:
            yield
            return
        try:
            if device != "cpu":
                torch.cuda.set_device(device)
            dist.init_process_group("gloo" if device == "cpu" else "cpu:gloo,cuda:nccl", timeout=PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"the {self.count} processes do not find each other: {error}") from error
        try:
            yield
        finally:
            dist.destroy_process_group()

    def in_turn(self, make: Callable[[], Made]) -> Made:
        """Call a function that writes files, which the processes after the first find there."""
        made: list[Made] = []
        for number in range(self.count):
            made += [make()] if number == self.number else []
            self.going_on()
        return made[0]

    def going_on(self, on: bool = True) -> bool:
        """Wait for the others, and return whether the first process goes on."""
        word = torch.tensor([on])
        if self.count > 1:
            dist.broadcast(word, 0)
        return bool(word)

    def average(self, weights: Iterable[Any], loss: torch.Tensor) -> torch.Tensor:
        """Replace the gradients of weights by their mean over the processes; returns the means of their losses."""
        if self.count == 1:
            return loss
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        everything = torch.cat([*(gradient.flatten() for gradient in gradients), loss.flatten()])
        dist.all_reduce(everything)
        everything /= self.count
        sizes = [*(gradient.numel() for gradient in gradients), loss.numel()]
        *means, losses = everything.split(sizes)
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))
        return losses.view_as(loss)
