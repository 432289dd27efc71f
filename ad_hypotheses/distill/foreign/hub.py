"""Models in the layout of a model hub: `model.safetensors`, and `config.json` with the digest of the weights.

Nothing that is downloaded is run: weights are safetensors, the rest is JSON, and a model whose task is a Python file is
refused, whoever is trusted on this machine.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from ad_hypotheses.distill.config import Config, check_config
from ad_hypotheses.errors import CheckpointError
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.storage.places import REMOTE
from ad_hypotheses.storage.reading import read_file, read_json
from ad_hypotheses.tasks.task_file import file_of

HUB_WEIGHTS, HUB_CONFIG, README = "model.safetensors", "config.json", "README.md"
LIBRARY = "ad_hypotheses"
REPOSITORY = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def is_hub_folder(folder: Path) -> bool:
    """Whether a folder holds a model in the layout of a hub."""
    return (folder / HUB_WEIGHTS).is_file() and (folder / HUB_CONFIG).is_file()


def read_hub_folder(folder: Path, name: str) -> tuple[Config, dict[str, Any], bytes]:
    """Return configuration, record and weights of a model in the layout of a hub.

    Args:
        folder: Where it lies.
        name: What it is called in messages.

    Raises:
        CheckpointError: It was written by another library, is incomplete, truncated or altered, or its task is a
            Python file.
        ConfigError: Its configuration cannot be used.
    """
    try:
        content, weights = read_json(folder / HUB_CONFIG), read_file(folder / HUB_WEIGHTS)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read the model {name} in {folder}: {error}. Download it again.") from error
    if not isinstance(content, dict) or content.get("library_name") != LIBRARY or "config" not in content:
        raise CheckpointError(
            f"{name} is no model of this library: its {HUB_CONFIG} does not say so.\n"
            "  A transformer of another library is taken over from Python: ad_hypotheses.adopt(module, ...)."
        )
    digest = hashlib.sha256(weights).hexdigest()
    if digest != content.get("weights_sha256"):
        raise CheckpointError(
            f"the weights of {name} are not those that were shared: they are truncated or were altered.\n"
            f"  SHA-256 in {HUB_CONFIG}: {content.get('weights_sha256')}\n  SHA-256 found: {digest}\n"
            "  Download it again."
        )
    config, record = _config(content["config"], name), content.get("record")
    if not isinstance(record, dict):
        raise CheckpointError(f"{name} has no record in its {HUB_CONFIG}. Download it again.")
    return config, {"weights_sha256": digest, "config": config.model_dump(), **record}, weights


def _config(content: Any, name: str) -> Config:
    """Check a configuration that came from elsewhere; its task is never a file, which would be run."""
    task = content.get("task") if isinstance(content, dict) else None
    file = file_of(task.get("name")) if isinstance(task, dict) else None
    if file is not None:
        raise CheckpointError(
            f"the task of {name} is in a Python file of its owner, {file}, which is not run from a hub.\n"
            f"  Download it, read it, put it at {file}, and the model beside it in a folder of your own."
        )
    if not isinstance(content, dict):
        raise CheckpointError(f"{name} has no configuration in its {HUB_CONFIG}. Download it again.")
    return check_config(content, f"the configuration of {name}")


def download(name: str) -> Path:
    """Download a model into the cache of `huggingface_hub`, unless it is there.

    Args:
        name: `hf://USER/NAME`, or `hf://USER/NAME@REVISION`: a branch, a tag or, to get the same bytes for ever, a
            commit.

    Returns:
        The folder of its files.

    Raises:
        CheckpointError: There is no such model, it has no such files, or the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    asked = REPOSITORY.fullmatch(re.sub(f"^{REMOTE}/*", "", name))
    if asked is None:
        raise CheckpointError(f"{name!r} names no model of a hub: write hf://USER/NAME, or hf://USER/NAME@REVISION.")
    try:
        config = Path(hf_hub_download(asked["name"], HUB_CONFIG, revision=asked["revision"]))
        # both files of one commit, though somebody may change the repository between them
        weights = Path(hf_hub_download(asked["name"], HUB_WEIGHTS, revision=config.parent.name))
    except (HfHubHTTPError, OSError, ValueError) as error:  # what is not in the cache while offline is an OSError
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"cannot get the model {asked['name']} from its hub: {reason}\n"
            "  Look whether the name is right, whether it is yours to read (hf auth login), and the network."
        ) from error
    return weights.parent


def write_hub_folder(folder: Path, config: Config, weights: bytes, record: dict[str, Any], readme: str) -> None:
    """Write a model in the layout of a hub, the weights last.

    Raises:
        CheckpointError: The folder holds another model.
        UserError: It cannot be written.
    """
    target = folder / HUB_WEIGHTS
    if target.exists() and read_file(target) != weights:
        raise CheckpointError(f"{folder} holds another model; it is left alone. Save into another folder (`folder`).")
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "library_name": LIBRARY,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "config": config.model_dump(),
        "record": {key: value for key, value in record.items() if key not in ("config", "weights_sha256")},
    }
    write_atomically(folder / README, readme.encode())
    write_atomically(folder / HUB_CONFIG, json.dumps(content, indent=1).encode())
    write_atomically(target, weights)
