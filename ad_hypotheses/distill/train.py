"""Distil learning histories into a transformer: predict the next action of a learner from everything before it.

Laskin et al. 2022, "In-context Reinforcement Learning with Algorithm Distillation" (arXiv 2210.14215), equation 3.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ad_hypotheses.distill.checkpoint import build, stage_folder, versions
from ad_hypotheses.distill.checkpoint import save as save_checkpoint
from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.course.convergence import FreshLoss
from ad_hypotheses.distill.course.fresh import FreshContexts
from ad_hypotheses.distill.course.next_state import NextStateHead
from ad_hypotheses.distill.course.stages import stage_updates
from ad_hypotheses.distill.finite import NonFiniteError
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.optimisers import make_optimiser
from ad_hypotheses.distill.parallel import Ranks
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.distill.sections import Training
from ad_hypotheses.distill.state import TrainingRun, resume, save
from ad_hypotheses.distill.update_progress import UpdateProgress, evaluation_words
from ad_hypotheses.distill.updates import Forward, Sampler, compiled, diverged, update
from ad_hypotheses.progress import Progress, counting
from ad_hypotheses.sources.histories import Ahead, HistoryFolder, ShardLives, generate
from ad_hypotheses.sources.learning import require_learning
from ad_hypotheses.sources.recorded import Recorded, select
from ad_hypotheses.sources.recording import episode_returns
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.storage.lock import held
from ad_hypotheses.tasks import Facts
from ad_hypotheses.tasks.task import n_tasks_of

STATE, METRICS, HISTORIES = "state.safetensors", "metrics.jsonl", "histories"
EVALUATION_ROLLOUTS = 128


def train(
    config: Config,
    folder: Path,
    device: str = "cpu",
    progress: Progress | None = None,
    stages: Path | None = None,
) -> tuple[ADTransformer, dict[str, Any]]:
    """Train the model of a configuration, going on where an interrupted run of the same configuration stopped.

    Args:
        config: What to train.
        folder: Where histories, the state to resume from and the metrics (JSON lines) are kept.
        device: Where to train.
        progress: Listens on the way.
        stages: Folder of the checkpoint, in which its stages are kept where the configuration asks for them.

    Returns:
        The trained model, and the record of its training: wall seconds, versions, metrics.

    Raises:
        CheckpointError: The state in `folder` is damaged, or belongs to another configuration.
        DataError: The histories in `folder` are damaged.
        DivergedError: The loss, a gradient or a weight became NaN or infinite.
        UserError: The model cannot be compiled, processes cannot train together, or another one trains in `folder`.
    """
    progress = progress or Progress()
    ranks = Ranks.from_environment()
    ranks.check(config.training)
    device = ranks.device(device)
    folder.mkdir(parents=True, exist_ok=True)
    updates = UpdateProgress(progress, config.training.updates, ", evaluations apart")
    run: TrainingRun | None = None

    def stopped() -> str:
        return updates.stopped(0 if run is None else run.update)

    with (
        progress.stopping(stopped, at_once=False, repeated=ranks.count > 1),
        held(folder, "training") if ranks.first else nullcontext(),
        ranks.gathered(device),
    ):
        check = None if ranks.first else False  # a source that does not learn is refused once
        counted = counting(progress, "histories")
        histories = (
            ranks.in_turn(lambda: training_histories(config, folder / HISTORIES, counted, check))
            if config.contexts is None
            else FreshContexts(config)
        )
        model = build(config).to(device)
        head = None if config.training.next_state_until is None else NextStateHead(config).to(device)
        run = resume(config, folder / STATE, model, make_optimiser(model, config.training, head), head)
        updates.total = run.course.updates
        sampler = Sampler(histories, model.vocabulary, config.training, config.experiment.task, ranks)
        forward = _forward(run, sampler)
        try:
            _fit(config, run, sampler, forward, folder, updates, stages)
        except NonFiniteError as error:
            if run.whole and ranks.first:  # found by rolling the model out, while the others wait
                ranks.going_on(False)
            run.whole = False  # what was kept before is better than this
            raise diverged(config, run.update, folder, error) from error
        except BaseException:
            if run.whole and ranks.first:  # the others wait for a word between updates, and only there
                ranks.going_on(False)
            raise
        finally:
            if run.whole and ranks.first:
                _keep(config, run, folder)
    record = {
        "updates": run.update,
        "seconds": round(run.seconds, 1),
        "device": str(run.model.device),
        "threads": torch.get_num_threads(),
        "processes": ranks.count,
        "versions": versions(),
        "metrics": run.metrics,
    }
    if config.training.converged_below is not None:
        record["course"] = run.course.plain()
    if run.head is not None:
        record["next_state"] = {"loss": round(run.head.mean_loss, 5), "learned_at": run.head.learned_at}
    return run.model.eval(), record


def training_histories(
    config: Config,
    folder: Path,
    progress: Callable[[int, int], None],
    check: bool | None = None,
    spread: Callable[[ShardLives], Ahead] | None = None,
) -> HistoryFolder:
    """Generate the learning histories of a configuration, or open those that are there.

    Args:
        config: What to train.
        folder: Where the histories are kept.
        progress: Called with (histories done, histories in all).
        check: Whether to refuse a source that does not learn; as configured by default.
        spread: What makes several shards at once, as for :func:`ad_hypotheses.sources.histories.generate`.

    Raises:
        ConfigError: Numbers do not fit together.
        DataError: The source does not learn, or the histories in `folder` are damaged or others.
    """
    task, source, wanted = config.experiment.task, config.experiment.source, config.histories
    train_facts, held_out = config.experiment.split()
    same: dict[str, Any] = wanted.model_dump(include={"episodes", "keep_every", "seed", "skip", "shuffle_rewards"})
    same["progress"] = progress
    if isinstance(source, Recorded):
        facts = None if wanted.train_tasks is None else train_facts
        histories = select(folder, task, source, facts, held_out, learners=wanted.learners, **same)
    else:
        each = learners_per_task(wanted.learners, train_facts)
        histories = generate(folder, task, source, train_facts, learners_per_task=each, spread=spread, **same)
    if wanted.check if check is None else check:
        require_learning(histories, task, wanted.seed)
    return histories


def learners_per_task(wanted: int, train_facts: Facts) -> int:
    """Return how many learners live on each training task, so that at least as many live as are wanted."""
    return -(-wanted // n_tasks_of(train_facts))


def learning_rate(training: Training, update: int, updates: int | None = None) -> float:
    """Return the learning rate of an update: linear warm-up, constant for a share of the updates, a cosine to zero.

    Args:
        training: The rate, and what becomes of it.
        update: Number of the update, from 0.
        updates: How many there are, where they are fewer than those configured.
    """
    updates = training.updates if updates is None else updates
    warm = min(1.0, (update + 1) / max(1, training.warmup))
    constant = training.decay_from * updates
    angle = math.pi * max(0.0, update - constant) / (updates - constant)
    return training.learning_rate * warm * 0.5 * (1 + math.cos(angle))


def _forward(run: TrainingRun, sampler: Sampler) -> Forward:
    training = sampler.training
    if not training.compile or run.update == run.course.updates:
        return run.model
    return compiled(run.model, sampler.draw(run.update), training)


def _fit(
    config: Config,
    run: TrainingRun,
    sampler: Sampler,
    forward: Forward,
    folder: Path,
    updates: UpdateProgress,
    stages: Path | None,
) -> None:
    training, ranks = config.training, sampler.ranks
    fresh = None if training.converged_below is None else FreshLoss(config, run.model)
    staged = stage_updates(training) if stages is not None and ranks.first else frozenset()
    began = time.monotonic() - run.seconds
    progress = updates.progress
    with closing(sampler.batches(run.update, training.updates, run.model.device)) as batches:
        while True:
            if fresh is not None:
                _judge(run, fresh, training, ranks, updates)
            last = run.update == run.course.updates
            # asked before the update, not after it, so that a run that was interrupted between the two evaluates too
            known = run.metrics[-1]["update"] if run.metrics else 0
            if ranks.first and (last or run.update % training.evaluate_every == 0) and known != run.update:
                line = {"update": run.update, "loss": round(run.loss, 5), **_evaluate(config, run)}
                run.seconds = time.monotonic() - began
                line["seconds"] = round(run.seconds, 1)
                run.metrics.append(line)
                progress.measured("evaluation", line)
                progress.say(evaluation_words(line))
                progress.rename("updates")
                progress.may_stop()
            if not ranks.going_on():
                raise KeyboardInterrupt
            if last:
                return
            run.whole = False
            for group in run.optimiser.param_groups:
                group["lr"] = learning_rate(training, run.update, run.course.updates) * group["scale"]
            head = run.learning_next_states
            loss, *beside = update(run.model, run.optimiser, forward, next(batches), training, ranks, head)
            run.loss = loss if math.isnan(run.loss) else 0.98 * run.loss + 0.02 * loss
            run.update += 1
            if head is not None:
                head.note(beside[0], run.update)
            run.whole = True
            run.seconds = time.monotonic() - began
            updates.report(run.update, run.loss)
            if stages is not None and run.update in staged and run.update < run.course.updates:
                line = {"updates": run.update, "loss": round(run.loss, 5)}
                save_checkpoint(stage_folder(stages, run.update), config, run.model, line, dtype=torch.float16)
            if run.update % training.evaluate_every == 0 or run.update == run.course.updates:
                progress.rename("rolling the model out")
            else:  # where the model is evaluated a run stops after that, since a later run would leave it out
                progress.may_stop()
            if ranks.first and run.update % training.save_every == 0:
                _keep(config, run, folder)


def _judge(run: TrainingRun, fresh: FreshLoss, training: Training, ranks: Ranks, updates: UpdateProgress) -> None:
    """Measure the loss of fresh histories where that is due, and let the training end if it has converged."""
    if run.learning_next_states is not None or not run.course.due(run.update, training):
        return
    loss = float(ranks.average([], torch.tensor(fresh.measure(), device=run.model.device)))
    converged = run.course.note(run.update, loss, training)
    words = f"update {run.update:,}: loss of fresh histories {loss:.4f}"
    if converged:
        updates.change_total(run.course.updates)
        words += f", converged: the rate decays until update {run.course.updates:,}"
    updates.progress.say(words)


def _evaluate(config: Config, run: TrainingRun) -> dict[str, float]:
    """Let the model live on training and on held-out tasks, and compare its last episodes with the optimum."""
    task, results = config.experiment.task, {}
    for name, facts in zip(("train", "held_out"), config.experiment.split(), strict=True):
        rng = np.random.default_rng([config.training.seed, run.update, name == "train"])
        n_tasks = n_tasks_of(facts)
        if not n_tasks:
            continue
        rows = rng.permutation(EVALUATION_ROLLOUTS) % n_tasks
        chosen = {key: fact[rows] for key, fact in facts.items()}
        history = rollout(run.model.eval(), task, chosen, config.context_episodes, rng)
        last = episode_returns(history)[:, -3:].mean(axis=1)
        results[f"{name}_return"] = round(float(last.mean()), 3)
        results[f"{name}_of_optimum"] = round(float(last.mean() / task.optimal_return(chosen).mean()), 4)
    return results


def _keep(config: Config, run: TrainingRun, folder: Path) -> None:
    save(config, run, folder / STATE)
    lines = "".join(json.dumps(line) + "\n" for line in run.metrics)
    write_atomically(folder / METRICS, lines.encode())
