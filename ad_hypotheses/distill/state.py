"""What a training run needs to go on after an interruption: weights, optimiser, where it was."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.course.convergence import Course
from ad_hypotheses.distill.course.next_state import NextStateHead
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.errors import CheckpointError
from ad_hypotheses.storage.checked import CHECKSUM, digest_of
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.storage.reading import parse_json, require_file


@dataclass
class TrainingRun:
    """State of a training run that an interruption must not lose.

    Attributes:
        model: What is trained.
        optimiser: What trains it.
        update: Updates made.
        seconds: Time spent.
        loss: Running mean.
        metrics: Lines written so far.
        whole: No update is half done: only then is the state worth keeping.
        course: How long it goes on.
        head: What predicts next states beside the actions; None where the configuration does not ask for it.
    """

    model: ADTransformer
    optimiser: torch.optim.Optimizer
    course: Course
    update: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    metrics: list[dict[str, Any]] = field(default_factory=list)
    whole: bool = True
    head: NextStateHead | None = None

    @property
    def learning_next_states(self) -> NextStateHead | None:
        """The head, until what it predicts is learned."""
        return self.head if self.head is not None and self.head.learned_at is None else None


def save(config: Config, run: TrainingRun, path: Path) -> None:
    """Write everything that a later run needs to go on, at once or not at all."""
    tensors = {f"model.{name}": tensor.contiguous() for name, tensor in run.model.state_dict().items()}
    for number, state in run.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": tensor.contiguous() for name, tensor in state.items()}
    meta = {"update": run.update, "seconds": run.seconds, "loss": run.loss, "config": config.model_dump()}
    meta["course"] = run.course.plain()
    if run.head is not None:
        tensors |= {f"head.{name}": tensor for name, tensor in run.head.state_dict().items()}
        meta["next_state"] = {"mean_loss": run.head.mean_loss, "learned_at": run.head.learned_at}
    metadata = {"run": json.dumps(meta), "metrics": json.dumps(run.metrics)}
    write_atomically(path, save_tensors(tensors, {**metadata, CHECKSUM: _digest(metadata, tensors)}))


def resume(
    config: Config,
    path: Path,
    model: ADTransformer,
    optimiser: torch.optim.Optimizer,
    head: NextStateHead | None = None,
) -> TrainingRun:
    """Return the run that `path` holds, or a new one if there is no such file.

    Args:
        config: What is trained.
        path: The file that `save` wrote.
        model: As it is built, on the device to train on.
        optimiser: Of its weights.
        head: What is trained beside the model, if anything is.

    Raises:
        CheckpointError: The file is damaged, or belongs to another configuration.
    """
    run = TrainingRun(model, optimiser, Course(config.training.updates), head=head)
    if not path.exists():
        return run
    try:
        require_file(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            meta, metrics = (parse_json(metadata[key]) for key in ("run", "metrics"))
        if Config.model_validate(meta["config"]) != config:  # which adds what was not there yet when it was written
            raise CheckpointError(
                f"{path} belongs to another configuration. Train into another folder (`out`), or delete {path.parent}."
            )
        tensors = load_file(path, device=str(model.device))
        checksum = metadata.pop(CHECKSUM, None)  # which states did not always have
        if checksum is not None and checksum != _digest(metadata, tensors):
            raise ValueError("its content does not agree with its checksum")
        model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
        _restore_optimiser(optimiser, tensors)
        if "course" in meta:  # states of earlier versions end after all updates
            run.course = Course.of_plain(meta["course"])
        if head is not None:
            head.load_state_dict({n.removeprefix("head."): t for n, t in tensors.items() if n.startswith("head.")})
            head.mean_loss, head.learned_at = meta["next_state"]["mean_loss"], meta["next_state"]["learned_at"]
        run.update, run.seconds, run.loss, run.metrics = meta["update"], meta["seconds"], meta["loss"], metrics
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Delete it to train from the start.") from error
    return run


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> str:
    arrays = {name: tensor.detach().cpu().view(torch.uint8).numpy() for name, tensor in tensors.items() if tensor.ndim}
    single = {name: np.array(tensor.item()) for name, tensor in tensors.items() if not tensor.ndim}
    return digest_of({**arrays, **single, **{name: np.array(text) for name, text in metadata.items()}})


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, number, key = name.split(".", 2)
            state.setdefault(int(number), {})[key] = tensor.cpu() if key == "step" else tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
