"""A model written where others can have it: a folder like those of the models here, or the layout of a model hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ad_hypotheses.distill.checkpoint import WEIGHTS, Checkpoint, save, weights_file
from ad_hypotheses.distill.finite import require_finite_weights
from ad_hypotheses.distill.foreign.hub import LIBRARY, write_hub_folder
from ad_hypotheses.errors import CheckpointError
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.report.templates import render
from ad_hypotheses.storage.reading import read_file
from ad_hypotheses.studies.train.card import card, card_files

TAGS = ["algorithm-distillation", "in-context-reinforcement-learning", "mechanistic-interpretability"]


def save_folder(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a model as those that are trained here.

    Raises:
        CheckpointError: The folder holds another model, or the weights are not finite.
        UserError: It cannot be written.
    """
    target, weights = folder / WEIGHTS, weights_file(checkpoint.model)
    if target.exists() and read_file(target) != weights:
        raise CheckpointError(f"{folder} holds another model; it is left alone. Save into another folder (`folder`).")
    record = _record(checkpoint)
    config = checkpoint.config

    def beside(sha256: str) -> dict[str, bytes]:
        return card_files(folder.name, config, record, sha256) if _was_trained(record) else {}

    save(folder, config, checkpoint.model, record, beside)


def save_hub(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a model in the layout of a model hub, with a README that begins with what the hub reads.

    Raises:
        CheckpointError: The folder holds another model, or the weights are not finite.
        UserError: It cannot be written.
    """
    require_finite_weights(checkpoint.model.state_dict(), f"the model for {folder}")
    weights = weights_file(checkpoint.model)
    write_hub_folder(folder, checkpoint.config, weights, _record(checkpoint), readme(checkpoint))


def readme(checkpoint: Checkpoint) -> str:
    """Return the README of a model: front matter with its task and its figures, then its card."""
    record, config = _record(checkpoint), checkpoint.config
    front = yaml.safe_dump(_front_matter(checkpoint), sort_keys=False)
    if _was_trained(record):
        about = card(checkpoint.name, config, record, checkpoint.sha256)
        # the pictures and the files beside a card are not shared
        about = "\n".join(
            line for line in about.splitlines() if not line.startswith("![") and "record.json" not in line
        )
    else:
        about = f"# {checkpoint.name}\n\nA transformer for {describe(config.experiment.task)}.\n"
    return f"---\n{front}---\n\n{about.strip()}\n\n" + render("studies/train/hub.md", name=checkpoint.name)


def _front_matter(checkpoint: Checkpoint) -> dict[str, Any]:
    summary = checkpoint.record.get("evaluation", {}).get("summary", {})
    task = checkpoint.experiment.task
    matter: dict[str, Any] = {
        "library_name": LIBRARY,
        "pipeline_tag": "reinforcement-learning",
        "tags": [*TAGS, task.name],
    }
    metrics = [{"type": name, "value": value} for name, value in summary.items() if value is not None]
    if metrics:
        result = {
            "task": {"type": "reinforcement-learning", "name": "in-context reinforcement learning"},
            "dataset": {"type": task.name, "name": str(describe(task))},
            "metrics": metrics,
        }
        matter["model-index"] = [{"name": checkpoint.name, "results": [result]}]
    return matter


def _record(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the record without what is written anew."""
    return {key: value for key, value in checkpoint.record.items() if key not in ("config", "weights_sha256")}


def _was_trained(record: dict[str, Any]) -> bool:
    """Whether a record says all that a card does."""
    return {"evaluation", "command", "machine"} <= set(record)
