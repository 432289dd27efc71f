"""Distil learning histories into a transformer: predict the next action of a learner from everything before it.

Laskin et al. 2022, "In-context Reinforcement Learning with Algorithm Distillation" (arXiv 2210.14215), equation 3.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors

from ad_hypotheses.distill.config import Config, Training
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.distill.zoo import build, versions, write_atomically
from ad_hypotheses.errors import CheckpointError
from ad_hypotheses.sources.histories import Histories, generate
from ad_hypotheses.sources.recording import episode_returns
from ad_hypotheses.tasks.task import n_tasks_of

STATE, METRICS, HISTORIES = "state.safetensors", "metrics.jsonl", "histories"
EVALUATION_ROLLOUTS = 128


@dataclass
class Progress:
    """What training says while it runs; every field may be replaced by a function that shows it.

    Attributes:
        histories: Called with (shards done, shards in all) while histories are generated.
        update: Called with (updates done, updates in all, loss).
        evaluated: Called with the line that goes into the metrics.
    """

    histories: Callable[[int, int], None] = lambda done, total: None
    update: Callable[[int, int, float], None] = lambda done, total, loss: None
    evaluated: Callable[[dict[str, Any]], None] = lambda line: None


@dataclass
class _Run:
    """State of a training run that an interruption must not lose."""

    model: ADTransformer
    optimiser: torch.optim.Optimizer
    update: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    metrics: list[dict[str, Any]] = field(default_factory=list)
    whole: bool = True  # no update is half done: only then is the state worth keeping


def train(
    config: Config, folder: Path, device: str = "cpu", progress: Progress | None = None
) -> tuple[ADTransformer, dict[str, Any]]:
    """Train the model of a configuration, going on where an interrupted run of the same configuration stopped.

    Args:
        config: What to train.
        folder: Where histories, the state to resume from and the metrics (JSON lines) are kept.
        device: Where to train.
        progress: What to call on the way.

    Returns:
        The trained model, and the record of its training: wall seconds, versions, metrics.

    Raises:
        CheckpointError: The state in `folder` is damaged, or belongs to another configuration.
        DataError: The histories in `folder` are damaged.
    """
    progress = progress or Progress()
    folder.mkdir(parents=True, exist_ok=True)
    histories = training_histories(config, folder / HISTORIES, progress.histories)
    run = _resume(config, folder, device)
    try:
        _fit(config, run, histories, folder, progress)
    finally:
        if run.whole:
            _save(config, run, folder)
    record = {
        "updates": run.update,
        "seconds": round(run.seconds, 1),
        "device": str(run.model.device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "metrics": run.metrics,
    }
    return run.model.eval(), record


def training_histories(config: Config, folder: Path, progress: Callable[[int, int], None]) -> Histories:
    """Generate the learning histories of a configuration, or open those that are there."""
    task = config.make_task()
    facts, _ = split(config)
    n_tasks = n_tasks_of(facts)
    return generate(
        folder,
        task,
        config.make_source(),
        facts,
        learners_per_task=-(-config.histories.learners // n_tasks),
        episodes=config.histories.episodes,
        keep_every=config.histories.keep_every,
        seed=config.histories.seed,
        progress=progress,
    )


def split(config: Config) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the facts of the training tasks and of the held-out tasks."""
    train_facts, held_out = config.make_task().split(config.histories.held_out, config.histories.seed)
    return dict(train_facts), dict(held_out)


def learning_rate(training: Training, update: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    warm = min(1.0, (update + 1) / max(1, training.warmup))
    return training.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * update / training.updates))


def _fit(config: Config, run: _Run, histories: Histories, folder: Path, progress: Progress) -> None:
    training = config.training
    began = time.monotonic() - run.seconds
    while True:
        last = run.update == training.updates
        # asked before the update, not after it, so that a run that was interrupted between the two evaluates as well
        known = run.metrics[-1]["update"] if run.metrics else 0
        if (last or run.update % training.evaluate_every == 0) and known != run.update:
            line = {"update": run.update, "loss": round(run.loss, 5), **_evaluate(config, run)}
            run.seconds = time.monotonic() - began
            line["seconds"] = round(run.seconds, 1)
            run.metrics.append(line)
            progress.evaluated(line)
        if last:
            return
        run.whole = False
        loss = _step(training, run, histories)
        run.loss = loss if math.isnan(run.loss) else 0.98 * run.loss + 0.02 * loss
        run.update += 1
        run.whole = True
        run.seconds = time.monotonic() - began
        progress.update(run.update, training.updates, run.loss)
        if run.update % training.save_every == 0:
            _save(config, run, folder)


def _step(training: Training, run: _Run, histories: Histories) -> float:
    # keyed by the number of the update, so that a resumed run sees the batches it would have seen
    rng = np.random.default_rng([training.seed, run.update])
    torch.manual_seed(int(rng.integers(2**62)))
    batch = histories.rows(rng.integers(histories.n_histories, size=training.batch))
    tokens = run.model.to_tokens(batch)
    actions = torch.from_numpy(batch.actions.astype(np.int64)).to(run.model.device)
    for group in run.optimiser.param_groups:
        group["lr"] = learning_rate(training, run.update)
    loss = F.cross_entropy(run.model.train()(tokens).flatten(0, 1), actions.flatten())
    run.optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), training.clip)
    run.optimiser.step()
    return loss.item()


def _evaluate(config: Config, run: _Run) -> dict[str, float]:
    """Let the model live on training and on held-out tasks, and compare its last episodes with the optimum."""
    task, results = config.make_task(), {}
    for name, facts in zip(("train", "held_out"), split(config), strict=True):
        rng = np.random.default_rng([config.training.seed, run.update, name == "train"])
        n_tasks = n_tasks_of(facts)
        if not n_tasks:
            continue
        rows = rng.permutation(EVALUATION_ROLLOUTS) % n_tasks
        chosen = {key: fact[rows] for key, fact in facts.items()}
        history = rollout(run.model.eval(), task, chosen, config.kept_episodes, rng)
        last = episode_returns(history)[:, -3:].mean(axis=1)
        results[f"{name}_return"] = round(float(last.mean()), 3)
        results[f"{name}_of_optimum"] = round(float(last.mean() / task.optimal_return(chosen).mean()), 4)
    return results


def _optimiser(config: Config, model: ADTransformer) -> torch.optim.AdamW:
    """AdamW that does not decay biases, gains and embeddings of positions."""
    decayed = [weight for name, weight in model.named_parameters() if ".W_" in name or name == "W_U"]
    known = set(map(id, decayed))
    kept = [weight for weight in model.parameters() if id(weight) not in known]
    groups = [{"params": decayed, "weight_decay": config.training.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.training.learning_rate, betas=(0.9, 0.99))


def _save(config: Config, run: _Run, folder: Path) -> None:
    """Write everything that a later run needs to go on, at once or not at all."""
    tensors = {f"model.{name}": tensor.contiguous() for name, tensor in run.model.state_dict().items()}
    for number, state in run.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": tensor.contiguous() for name, tensor in state.items()}
    meta = {"update": run.update, "seconds": run.seconds, "loss": run.loss, "config": config.model_dump()}
    metadata = {"run": json.dumps(meta), "metrics": json.dumps(run.metrics)}
    write_atomically(folder / STATE, save_tensors(tensors, metadata))
    lines = "".join(json.dumps(line) + "\n" for line in run.metrics)
    write_atomically(folder / METRICS, lines.encode())


def _resume(config: Config, folder: Path, device: str) -> _Run:
    model = build(config).to(device)
    run = _Run(model, _optimiser(config, model))
    path = folder / STATE
    if not path.exists():
        return run
    try:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            meta, metrics = (json.loads(file.metadata()[key]) for key in ("run", "metrics"))
        if meta["config"] != json.loads(json.dumps(config.model_dump())):
            raise CheckpointError(
                f"{path} belongs to another configuration. Train into another folder (--out), or delete {folder}."
            )
        tensors = load_file(path, device=device)
        model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
        _restore_optimiser(run.optimiser, tensors)
        run.update, run.seconds, run.loss, run.metrics = meta["update"], meta["seconds"], meta["loss"], metrics
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Delete it to train from the start.") from error
    return run


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, number, key = name.split(".", 2)
            state.setdefault(int(number), {})[key] = tensor.cpu() if key == "step" else tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
