"""The hypothesis file to start from for a model: its task, its actions and its sites are filled in."""

from __future__ import annotations

from pathlib import Path

from ad_hypotheses.distill.checkpoint import CONFIG, build, find, name_of
from ad_hypotheses.distill.config import read_config
from ad_hypotheses.language.template import template_for
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.studies.listing import shortened


def template_of(name: str, model: str, models: Path = Path("models")) -> str:
    """Return a hypothesis file about a model that passes a check as it is; no weights are loaded.

    Args:
        name: What to call the hypothesis; a Python name in lower case, such as `win_stay`.
        model: Name of the checkpoint, or its folder.
        models: Folder of the checkpoints.

    Raises:
        CheckpointError: There is no such checkpoint.
        ConfigError: Its configuration is damaged, or its task is in a file that was not trusted.
        HypothesisError: The name cannot be that of a variable and of a file.
    """
    folder = find(model, models)
    config = read_config(folder / CONFIG)
    task = config.experiment.task
    facts = {
        "task": describe(task),
        "actions": ", ".join(f"{number} {action}" for number, action in enumerate(task.action_names)),
        "embeddings": shortened((*task.channels, "action", "reward")),
    }
    return template_for(name, name_of(folder, models), facts, build(config).anatomy)
