"""What the files of checkpoints say of them, read without loading any weights.

Neither is the Python file of a checkpoint's task run: what is said of such a checkpoint stands in its configuration.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ad_hypotheses.distill.config import SCRATCH, Config, read_config, read_yaml
from ad_hypotheses.distill.record import read_record
from ad_hypotheses.errors import UserError
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.storage.places import models_folders
from ad_hypotheses.storage.reading import open_file, parse_json
from ad_hypotheses.tasks import make_task
from ad_hypotheses.tasks.task_file import file_of

KNOWN = "known-"  # how the names of known networks begin
# as in distill.checkpoint, which needs torch
WEIGHTS, CONFIG, STAGES = "weights.safetensors", "config.yaml", "stages"


@dataclass(frozen=True)
class CheckpointListing:
    """What a checkpoint's files say of it.

    Attributes:
        name: Of its folder; of one that lies deeper, its path.
        task: Its task family and the parameters.
        channels: The parts of its tokens, each an embedding; none of a task in a Python file, which is not run.
        layers, heads, width: Size of the transformer.
        parameters: How many weights it has.
        held_out_of_optimum: Mean return of its last three episodes on held-out tasks, as a share of the optimum.
        seconds: That its training took.
        error: Why it cannot be read; None if it can.
    """

    name: str
    task: str = ""
    channels: tuple[str, ...] = ()
    layers: int = 0
    heads: int = 0
    width: int = 0
    parameters: int = 0
    held_out_of_optimum: float | None = None
    seconds: float | None = None
    error: str | None = None


def checkpoints(models: Path) -> list[CheckpointListing]:
    """Return what checkpoints say of themselves, by name; a broken one has an error.

    Args:
        models: Where they lie, as in :func:`ad_hypotheses.storage.places.models_folders`.
    """
    rows, folders = [], dict[str, Path]()
    for root in models_folders(models):
        for path in (path for depth in range(1, 4) for path in root.glob("*/" * depth + WEIGHTS)):
            if SCRATCH not in path.relative_to(root).parts:
                folders.setdefault(path.parent.relative_to(root).as_posix(), path.parent)
    for name, folder in sorted(folders.items()):
        try:
            rows.append(_read(folder, name))
        except Exception as error:  # whatever is wrong with one must not hide the others
            rows.append(CheckpointListing(name, error=(str(error).splitlines() or [type(error).__name__])[0]))
    return rows


def alike(name: str, task: Mapping[str, Any], models: Path) -> list[str]:
    """Return the names of the other checkpoints of the same tasks; those that cannot be read are left out.

    Args:
        name: Of the checkpoint that they are compared with.
        task: Its task, as its configuration has it.
        models: Where they lie, as in :func:`ad_hypotheses.storage.places.models_folders`.
    """
    expected, others = _described(task), []
    for root in models_folders(models):
        for path in (path for depth in range(1, 4) for path in root.glob("*/" * depth + CONFIG)):
            other = path.parent.relative_to(root)
            if {SCRATCH, STAGES} & {*other.parts} or not (path.parent / WEIGHTS).is_file():
                continue
            with suppress(UserError):  # what is wrong with one is said where it is asked for
                content = read_yaml(path, "the configuration")
                # worlds are made of those alone that bear the same name: some take seconds
                theirs = content.get("task") if isinstance(content, dict) else None
                if isinstance(theirs, dict) and theirs.get("name") == task["name"] and _described(theirs) == expected:
                    others.append(other.as_posix())
    return sorted({other for other in others if other != name})


def _described(task: Mapping[str, Any]) -> str:
    """Return a task with all of its parameters; one in a Python file, which is not run, as it is written."""
    if file_of(task["name"]) is not None:
        return json.dumps(task, sort_keys=True, default=str)
    return describe(make_task(**task))


def model_folds(rows: Sequence[CheckpointListing]) -> dict[str, list[CheckpointListing]]:
    """Return the checkpoints that a list shows in one line, by the name of the line; broken ones are shown alone.

    They are those of each folder of checkpoints, such as a grid, and the known networks.
    """
    folds: dict[str, list[CheckpointListing]] = {}
    for row in rows:
        folder, _, name = row.name.rpartition("/")
        group = f"{folder}/" if folder else f"{KNOWN}*" if name.startswith(KNOWN) else ""
        if group and row.error is None:
            folds.setdefault(group, []).append(row)
    return {group: members for group, members in folds.items() if len(members) > 1}


def n_parameters(weights: Path) -> int:
    """Return how many numbers a safetensors file holds, from its header.

    Raises:
        ValueError: It is no such file.
    """
    with open_file(weights) as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length < weights.stat().st_size:
            raise ValueError(f"{weights.name} is truncated or no safetensors file")
        header = parse_json(file.read(length))
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    if 8 + length + max((tensor["data_offsets"][1] for tensor in tensors), default=0) != weights.stat().st_size:
        raise ValueError(f"{weights.name} is truncated")
    return sum(math.prod(tensor["shape"]) for tensor in tensors)


def shortened(channels: Sequence[str]) -> str:
    """Return the parts of a token; of those that differ only in where they were seen, the first and the last."""
    groups: dict[str, list[str]] = {}
    for name in channels:
        groups.setdefault(re.sub(r"_\d+_\d+$", "", name), []).append(name)
    return ", ".join(group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}" for group in groups.values())


def _read(folder: Path, name: str) -> CheckpointListing:
    config = read_config(folder / CONFIG, task_file="unmade")
    record, size = read_record(folder), config.model
    return CheckpointListing(
        name,
        *_task(config),
        size.n_layers,
        size.n_heads,
        size.d_model,
        n_parameters(folder / WEIGHTS),
        record.get("evaluation", {}).get("summary", {}).get("held_out_of_optimum"),
        record.get("seconds"),
    )


def _task(config: Config) -> tuple[str, tuple[str, ...]]:
    """Return a task with its parameters, and the parts of its tokens; of a file, only what the configuration says."""
    if file_of(config.task["name"]) is None:
        task = config.experiment.task
        return describe(task), (*task.channels, "action", "reward")
    rest = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in config.task.items() if key != "name")
    return config.task["name"] + (f" ({rest})" if rest else ""), ()
