"""Train models, compare them, and ask how often verdicts are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.distill.config import Config, check_config, read_config
from ad_hypotheses.known.calibration.jobs import FULL, QUICK
from ad_hypotheses.known.calibration.record import Calibration
from ad_hypotheses.known.calibration.study import calibrate as calibrate_all
from ad_hypotheses.library.arguments import require_whole
from ad_hypotheses.library.listening import listening
from ad_hypotheses.library.model import Model
from ad_hypotheses.storage.places import HYPOTHESES, MODELS
from ad_hypotheses.studies.evaluate.choose import CheckpointChoice, choose
from ad_hypotheses.studies.evaluate.record import Evaluation
from ad_hypotheses.studies.evaluate.study import evaluate as evaluate_all
from ad_hypotheses.studies.parallel.workers import workers_of
from ad_hypotheses.studies.sweep.grid import read_sweep
from ad_hypotheses.studies.sweep.record import Sweep
from ad_hypotheses.studies.sweep.study import sweep as sweep_all
from ad_hypotheses.studies.train.study import train as train_one

UNSAVED = "unsaved"  # name of a model that was not written to disk


def train(
    config: Config | Mapping[str, Any] | str | Path,
    out: str | Path | None = None,
    *,
    device: str = "cpu",
    progress: bool = False,
) -> Model:
    """Train a model and evaluate it, unless it is there already.

    Laskin et al. 2022, "In-context Reinforcement Learning with Algorithm Distillation" (arXiv 2210.14215).

    Args:
        config: What to train: a configuration, its keys as a mapping, or the path of a YAML file.
        out: Folder of the checkpoint, from which an interrupted training goes on; None to write nothing.
        device: Where to train.
        progress: Whether to show how far it is.

    Returns:
        The model; how its training went is in `record`.

    Raises:
        ConfigError: The configuration is wrong.
        UserError: The folder holds another model or cannot be written.

    Example:
        >>> import ad_hypotheses as adh
        >>> config = {
        ...     "task": {"name": "dark-room", "size": 3, "horizon": 4},
        ...     "source": {"name": "epsilon-greedy-q"},
        ...     "histories": {"held_out": 2, "learners": 14, "episodes": 4, "keep_every": 2, "check": False},
        ...     "model": {"n_layers": 1, "n_heads": 2, "d_model": 8},
        ...     "training": {"updates": 2, "batch": 4, "warmup": 1, "evaluate_every": 2, "save_every": 2},
        ... }
        >>> adh.train(config).shape.n_layers
        1
    """
    if isinstance(config, str | Path):
        config = read_config(Path(config))
    elif not isinstance(config, Config):
        config = check_config(dict(config), "`config`")
    with listening(progress) as listener:
        trained = train_one(config, None if out is None else Path(out), device=device, progress=listener)
    name, folder = (UNSAVED, Path(UNSAVED)) if trained.folder is None else (trained.folder.name, trained.folder)
    return Model(Checkpoint(name, folder, config, trained.model.eval(), dict(trained.record)))


def sweep(
    config: str | Path,
    out: str | Path,
    *,
    device: str = "cpu",
    workers: int | None = None,
    threads: int = 1,
    executor: Executor | None = None,
    progress: bool = False,
) -> Sweep:
    """Train a grid of models, those that are not there yet, each in a process of its own.

    Args:
        config: Path of the YAML file with `base` and `grid`.
        out: Folder of the models, a folder each.
        device: Where to compute; `cuda` spreads the models over all that there are.
        workers: How many models are trained at a time; None for as many as there is room for.
        threads: Threads of each process.
        executor: Where to run the processes instead: any `concurrent.futures.Executor` whose workers see the same
            folders, such as `dask.distributed.Client(...).get_executor()`.
        progress: Whether to show how far it is.

    Returns:
        What the models earn, and which of them failed.

    Raises:
        ConfigError: The configuration is wrong.
        UserError: A folder holds another model or cannot be written, or another sweep is in there.

    Example:
        >>> import ad_hypotheses as adh
        >>> grid = adh.sweep("models/dark-room-grid.yaml", "models/dark-room-grid")  # doctest: +SKIP
        >>> grid.to_frame()  # doctest: +SKIP
    """
    with listening(progress) as listener:
        options = {"device": device, "workers": workers, "threads": threads, "progress": listener, "executor": executor}
        return sweep_all(read_sweep(Path(config)), Path(out), **options)  # type: ignore[arg-type]


def evaluate(
    models: Model | str | Path | Sequence[Model | str | Path],
    *,
    rollouts: int = 500,
    seed: int = 0,
    quick: bool = False,
    device: str = "cpu",
    executor: Executor | None = None,
    progress: bool = False,
) -> Evaluation:
    """Roll models out on training and held-out tasks, beside their source and the baselines.

    Args:
        models: Models, their names, folders of several, or patterns.
        rollouts: Number of rollouts of each learner.
        seed: Seed of the tasks and of all sampling.
        quick: Whether learning curves are enough: no shorter memory, no unusual starts.
        device: Where to load those that are named.
        executor: Where to run the parts of all models instead: any `concurrent.futures.Executor` whose workers see the
            same folders.
        progress: Whether to show how far it is.

    Raises:
        CheckpointError: A name means no checkpoint, or one is damaged.

    Example:
        >>> import ad_hypotheses as adh
        >>> evaluation = adh.evaluate("bandit", rollouts=8, quick=True)
        >>> [model.name for model in evaluation.models]
        ['bandit']
    """
    require_whole(rollouts=rollouts, seed=seed)
    given = [models] if isinstance(models, Model | str | Path) else list(models)
    choices: list[CheckpointChoice] = []
    for model in given:
        if isinstance(model, Model):
            choices.append(CheckpointChoice(model.name, model.checkpoint))
        else:
            choices += choose([str(model)], MODELS, device)
    with listening(progress) as listener:
        workers = workers_of(executor, listener)
        options = {"quick": quick, "device": device, "workers": workers, "progress": listener}
        return evaluate_all(choices, rollouts=rollouts, seed=seed, **options)  # type: ignore[arg-type]


def calibrate(
    networks: Sequence[str] = (),
    *,
    quick: bool = False,
    seed: int = 0,
    workers: int = 1,
    executor: Executor | None = None,
    progress: bool = False,
) -> Calibration:
    """Test claims whose truth is known, many times over, and count how often verdicts are wrong.

    Args:
        networks: Names of known networks; none for all of them, which takes some hours of processor time.
        quick: Whether a rough answer is enough.
        seed: Decides everything.
        workers: Processes, of one thread each; 1 to work in this one.
        executor: Where to run instead: any `concurrent.futures.Executor` whose workers see the same folders.
        progress: Whether to show how far it is.

    Raises:
        UserError: A network does not exist.

    Example:
        >>> import ad_hypotheses as adh
        >>> adh.calibrate(["win-stay"], quick=True).to_frame()  # doctest: +SKIP
    """
    design = replace(QUICK if quick else FULL, seed=seed)
    with listening(progress) as listener:
        place = HYPOTHESES / "known"
        options = {"hypotheses": place, "workers": workers_of(executor, listener, workers), "progress": listener}
        return calibrate_all(networks, design, **options)  # type: ignore[arg-type]
