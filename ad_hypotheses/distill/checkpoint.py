"""Checkpoints on disk: `models/<name>/{config.yaml, weights.safetensors, record.json, card.md}`.

Reading one never runs code: YAML and JSON are plain data, weights are safetensors, and a Python file that the
configuration names as its task is run only if the user has named it too. `record.json` holds the SHA-256 of the weights
and the configuration, so that a truncated or altered checkpoint is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ad_hypotheses.distill.config import SCRATCH, Config, Experiment, differences, read_config
from ad_hypotheses.distill.finite import require_finite_weights
from ad_hypotheses.distill.foreign.hub import HUB_WEIGHTS, download, is_hub_folder, read_hub_folder
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.record import RECORD, read_record
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.errors import CheckpointError, did_you_mean, nearest
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.storage.places import MODELS, is_remote, models_folders, program
from ad_hypotheses.storage.reading import read_file, real_path

STAGES = "stages"  # folder in that of a checkpoint, for what the model was like on its way
CONFIG, WEIGHTS, CARD, CURVE = "config.yaml", "weights.safetensors", "card.md", "curve.png"
FEW_NAMES = 5  # models that a message lists; of more, the nearest so many
N_AXES = {"blocks.0.attn.W_Q": 3, "blocks.0.mlp.W_in": 2, "W_pos": 2}  # of the weights that sizes are read off


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with what made it.

    Attributes:
        name: Its folder's place among the named checkpoints, `"dark-room"` or `"dark-room-grid/l1-s0"`; elsewhere its
            folder's name.
        folder: Where it lies.
        config: What it was trained with.
        model: The transformer, in evaluation mode.
        record: How training went: SHA-256 of the weights, versions, wall time, in-context learning curves.
    """

    name: str
    folder: Path
    config: Config
    model: ADTransformer
    record: dict[str, Any]

    @property
    def experiment(self) -> Experiment:
        """The task and the source of its configuration."""
        return self.config.experiment

    @property
    def sha256(self) -> str:
        """Of the weights file."""
        return str(self.record["weights_sha256"])


def build(config: Config) -> ADTransformer:
    """Return the untrained transformer of a configuration."""
    task = config.experiment.task
    vocabulary = Vocabulary(tuple(zip(task.channels, task.channel_sizes, strict=True)), task.n_actions, task.rewards)
    return ADTransformer(vocabulary, config.experiment.shape, seed=config.training.seed)


def load(name: str | Path, models: Path = MODELS, device: str = "cpu") -> Checkpoint:
    """Load a checkpoint by its name or folder.

    Args:
        name: `"dark-room"`, `"dark-room-grid/l1-s0"`, a path to a checkpoint's folder, or `"hf://USER/NAME"`, which is
            downloaded; a folder may be in the layout of a hub.
        models: Where named checkpoints lie, as in :func:`ad_hypotheses.storage.places.models_folders`.
        device: Where to put the weights.

    Raises:
        ConfigError: Its task is in a Python file that was not trusted (`ad_hypotheses.tasks.trust`) and was not run, or
            its configuration is damaged.
        CheckpointError: There is no such checkpoint, or it is incomplete, truncated or altered.
    """
    if is_remote(name) or is_hub_folder(Path(name)):
        folder = download(str(name)) if is_remote(name) else Path(name)
        config, record, content = read_hub_folder(folder, str(name))
        called = Path(name).name.partition("@")[0]
        return _checkpoint(config, record, content, folder / HUB_WEIGHTS, called, device)
    folder = find(name, models)
    config, record = _read_config(folder), read_record(folder)
    content = _read_bytes(folder / WEIGHTS)
    digest, recorded = hashlib.sha256(content).hexdigest(), record.get("weights_sha256")
    if not isinstance(recorded, str):
        raise CheckpointError(
            f"{folder / RECORD} is at fault: it holds no weights_sha256, the SHA-256 of the weights.\n"
            f"  Restore it (git checkout -- {folder}), or train again: {program()} train {folder / CONFIG}"
        )
    if digest != recorded:
        raise CheckpointError(
            f"{folder / WEIGHTS} is not the file that was trained: it is truncated or was altered.\n"
            f"  SHA-256 recorded: {recorded}\n  SHA-256 found:    {digest}\n"
            f"  Restore it (git checkout -- {folder}), or train it again: {program()} train {folder / CONFIG}"
        )
    altered = alterations(folder, config)
    if altered:
        listed = "\n".join(f"  {alteration}" for alteration in altered)
        raise CheckpointError(
            f"{folder / CONFIG} is not what the model was trained with: it was altered.\n{listed}\n"
            f"  Undo that (git checkout -- {folder / CONFIG}), or train this configuration into another folder."
        )
    return _checkpoint(config, record, content, folder / WEIGHTS, name_of(folder, models), device)


def _checkpoint(
    config: Config, record: dict[str, Any], content: bytes, weights: Path, name: str, device: str
) -> Checkpoint:
    """Make the model of a configuration, with weights that were read from a file."""
    _require_fit(config, _tensors(content, weights), weights.parent)
    model = build(config)
    model.name = name
    fill(model, content, weights)
    return Checkpoint(name, weights.parent, config, model.to(device).eval(), record)


def fill(model: ADTransformer, content: bytes, path: Path) -> None:
    """Put the weights of a safetensors file into a model of the same shape.

    Raises:
        CheckpointError: It is no safetensors file, its tensors are not those of the model, or not finite.
    """
    tensors = _tensors(content, path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        wrong = _misfits({name: tuple(weight.shape) for name, weight in model.state_dict().items()}, tensors)
        listed = "".join(f"\n  {weight}" for weight in wrong)
        raise CheckpointError(f"{path} does not fit the model that its {CONFIG} describes:{listed}") from error
    # those of the model, since a number that is finite in the file may be too large for the model's type
    require_finite_weights(model.state_dict(), f"the model {model.name} ({path})")


def weights_file(model: torch.nn.Module) -> bytes:
    """Return the weights of a model as they are now, as the content of a safetensors file."""
    return save_tensors({name: weight.detach().cpu().contiguous() for name, weight in model.state_dict().items()})


def alterations(folder: Path, config: Config) -> list[str]:
    """Say in which keys a configuration differs from the one that the model in `folder` was trained with.

    Returns:
        One line a key; none where the record is of a version that kept no configuration.

    Raises:
        CheckpointError: The record cannot be read.
    """
    recorded = read_record(folder).get("config")
    if recorded is None:
        return []
    try:
        return differences(config, Config.model_validate(recorded))
    except (ValueError, KeyError) as error:  # pydantic's errors are ValueErrors
        raise CheckpointError(
            f"{folder / RECORD} is at fault: its config is none of this version. Restore it or train again."
        ) from error


def _tensors(content: bytes, path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_tensors(content)
    except Exception as error:
        raise CheckpointError(f"{path} is no safetensors file: {error}") from error


def _require_fit(config: Config, tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Refuse sizes that are not those of the weights, before a model of that size is made."""
    size, shapes = config.model, {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    _require_equal(
        [(f"axes of {name}", n_axes, len(shapes[name])) for name, n_axes in N_AXES.items() if name in shapes], folder
    )
    context = config.experiment.context_steps
    layers = {name.split(".")[1] for name in shapes if name.startswith("blocks.")}
    heads = shapes.get("blocks.0.attn.W_Q", (size.n_heads, size.d_model, 0))
    mlp = shapes.get("blocks.0.mlp.W_in")
    steps = shapes["W_pos"][0] if "W_pos" in shapes else None
    pairs: list[tuple[str, Any, Any]] = [
        ("model.n_layers", size.n_layers, len(layers)),
        ("model.n_heads", size.n_heads, heads[0]),
        ("model.d_model", size.d_model, heads[1]),
        ("model.attention_only", size.attention_only, mlp is None),
        ("whether model.positions are learned", size.positions == "learned", steps is not None),
    ]
    if mlp is not None and not size.attention_only:
        pairs.append(("model.d_mlp", size.d_mlp or 4 * size.d_model, mlp[1]))
    if steps is not None and size.positions == "learned":
        pairs.append(("steps of a context (task.horizon, histories.episodes, training.crop)", context, steps))
    _require_equal(pairs, folder)


def _require_equal(pairs: Sequence[tuple[str, Any, Any]], folder: Path) -> None:
    """Refuse what is configured and stored differently."""
    wrong = [
        f"\n  {key}: {configured} there, {stored} in the weights"
        for key, configured, stored in pairs
        if configured != stored
    ]
    if wrong:
        raise CheckpointError(
            f"{folder / WEIGHTS} does not fit the model that its {CONFIG} describes:{''.join(wrong)}\n"
            f"  Restore the two (git checkout -- {folder}), or train again into another folder."
        )


def _misfits(wanted: Mapping[str, tuple[int, ...]], tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Say which tensors a model lacks or has in another size."""
    stored = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    words = [f"{name} is missing" for name in wanted if name not in stored]
    words += [f"{name} is none of the model's" for name in stored if name not in wanted]
    words += [
        f"{name} is {list(stored[name])}, but the model's is {list(shape)}"
        for name, shape in wanted.items()
        if name in stored and stored[name] != shape
    ]
    return words


def find(name: str | Path, models: Path = MODELS) -> Path:
    """Return the folder of a checkpoint, or of a stage of its training, `"dark-room@300"`: after 300 updates.

    Raises:
        CheckpointError: There is none of that name, or it has no weights; says which exist.
    """
    whole, at, update = str(name).rpartition("@")
    if at and update.isdecimal() and not Path(name).exists():
        return _stage(find(whole, models), int(update))
    named = [root / name for root in models_folders(models) if (root / name).is_dir()]
    trained = [folder for folder in named if (folder / WEIGHTS).is_file()]
    folder = next(iter([*trained, *named]), Path(name))
    if (folder / WEIGHTS).is_file():
        return folder
    known = names(models)
    if folder.is_dir() and not (folder / CONFIG).is_file():
        inside = [candidate for candidate in known if candidate.startswith(f"{name}/")]
        advice = f"Models in it: {', '.join(inside)}." if inside else f"Models there: {', '.join(known) or 'none'}."
        raise CheckpointError(f"{folder} has no {WEIGHTS} and no {CONFIG}: it is no checkpoint. {advice}")
    if folder.is_dir():
        raise CheckpointError(f"{folder} has no {WEIGHTS}: train it first: {program()} train {folder / CONFIG}")
    where = ", ".join(str(real_path(root)) for root in models_folders(models))
    raise CheckpointError(
        f"there is no model {str(name)!r} in {where}.{did_you_mean(str(name), known)}\n  {_some_of(known, str(name))}"
    )


def stage_folder(folder: Path, update: int) -> Path:
    """Return where the stage of a checkpoint after so many updates lies."""
    return folder / STAGES / f"{update:06d}"


def stages(folder: Path) -> list[int]:
    """Return after how many updates there are stages of a checkpoint, ascending."""
    return sorted(int(path.parent.name) for path in folder.glob(f"{STAGES}/*/{WEIGHTS}"))


def _stage(folder: Path, update: int) -> Path:
    place = stage_folder(folder, update)
    if (place / WEIGHTS).is_file():
        return place
    known = [f"{folder.name}@{number}" for number in stages(folder)]
    listed = f"Stages there: {', '.join(known)}." if known else "It has none; training.stages: 12 keeps some."
    raise CheckpointError(f"{folder} has no stage after {update} updates. {listed}")


def _some_of(known: Sequence[str], name: str) -> str:
    """Return which models there are; of many, those whose names are nearest to one."""
    if len(known) <= FEW_NAMES:
        return f"models there: {', '.join(known) or 'none'}"
    return f"nearest of the {len(known)} models there: {', '.join(nearest(name, known, FEW_NAMES))}"


def names(models: Path = MODELS) -> list[str]:
    """Names of the checkpoints in a folder and in folders in it: `"dark-room"`, `"dark-room-grid/l1-s0"`."""
    folders = {
        path.parent.relative_to(root)
        for root in models_folders(models)
        for depth in range(1, 4)
        for path in root.glob("*/" * depth + WEIGHTS)
    }
    return sorted(folder.as_posix() for folder in folders if not {SCRATCH, STAGES} & {*folder.parts})


def name_of(folder: Path, models: Path) -> str:
    """Return what a checkpoint is called; links are not followed, they may be what gives it its name."""
    if folder.parent.name == STAGES:
        return f"{name_of(folder.parent.parent, models)}@{int(folder.name)}"
    place = Path(os.path.abspath(folder))  # noqa: PTH100
    roots = [Path(os.path.abspath(root)) for root in models_folders(models)]  # noqa: PTH100
    return next((place.relative_to(root).as_posix() for root in roots if root in place.parents), place.name)


def save(
    folder: Path,
    config: Config,
    model: ADTransformer,
    record: dict[str, Any],
    beside: Callable[[str], Mapping[str, bytes]] = lambda sha256: {},
    dtype: torch.dtype = torch.float32,
) -> str:
    """Write a checkpoint, each file at once or not at all, the weights last: where they are, everything is.

    Args:
        folder: Made if it is missing.
        config: Of the model.
        model: Trained.
        record: How that went.
        beside: Given the SHA-256 of the weights, returns what else belongs into the folder, by file name.
        dtype: Number type of the weights on disk.

    Returns:
        The SHA-256 of the weights.

    Raises:
        CheckpointError: The weights are not finite.
        UserError: The disk is full or the place cannot be written.
    """
    tensors = {name: tensor.cpu().contiguous().to(dtype) for name, tensor in model.state_dict().items()}
    require_finite_weights(tensors, f"the model for {folder}")
    content = save_tensors(tensors)
    digest = hashlib.sha256(content).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / CONFIG).exists() or read_config(folder / CONFIG, "unmade") != config:  # else keep its comments
        write_atomically(folder / CONFIG, yaml.safe_dump(config.model_dump(), sort_keys=False).encode())
    for name, file in beside(digest).items():
        write_atomically(folder / name, file)
    content_of_record = {"weights_sha256": digest, "config": config.model_dump(), **record}
    write_atomically(folder / RECORD, json.dumps(content_of_record, indent=1).encode())
    write_atomically(folder / WEIGHTS, content)
    return digest


def _read_config(folder: Path) -> Config:
    path = folder / CONFIG
    if not path.exists():
        raise CheckpointError(
            f"cannot read the configuration {path}: No such file or directory. It belongs to the weights beside it.\n"
            f"  Restore it (git checkout -- {path}), or copy the one that the model was trained with there."
        )
    return read_config(path)


def _read_bytes(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}. Restore it or train again.") from error


def versions() -> dict[str, str]:
    """Versions of what a number may depend on."""
    from importlib.metadata import version

    packages = ("numpy", "scipy", "torch", "transformer-lens")
    return {**{name: version(name) for name in packages}, "torch build": torch.__version__}
