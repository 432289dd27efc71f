"""Damaged configurations: each is read as it is written and can be trained, or is refused with a message."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from faults.campaign import ACCEPTED, REFUSED, settled
from faults.mutate import alter, as_yaml, damage, misplace, scribble
from faults.sound import CONFIG, sizes

from ad_hypotheses.distill.checkpoint import build
from ad_hypotheses.distill.config import Config, read_config
from ad_hypotheses.distill.feasible import require_feasible
from ad_hypotheses.distill.train import train

WHOLE = re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)")
TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
SMALL = {"d_model": 64, "d_mlp": 256, "n_layers": 4, "updates": 8, "batch": 64, "learners": 256, "episodes": 64}


def entries(content: bytes) -> dict[tuple[str, ...], str] | None:
    """Read YAML without a thought for types: the text of every scalar in block or flow mappings; None for merged keys.

    Raises:
        AssertionError: A key stands there twice.
    """
    scalars: dict[tuple[str, ...], str] = {}
    merged = False

    def read(node: yaml.Node | None, path: tuple[str, ...]) -> None:
        nonlocal merged
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            merged |= "<<" in keys
            assert len(set(map(str, keys))) == len(keys), f"accepted with a key twice: {'.'.join(path)}: {keys}"
            for key, value in node.value:
                read(value, (*path, str(key.value)))
        elif isinstance(node, yaml.ScalarNode):
            scalars[path] = node.value

    read(yaml.compose(content.decode(), Loader=yaml.SafeLoader), ())
    return None if merged else scalars


def reads_as(text: str, value: Any) -> bool:
    """Whether a person would say that this text is this value."""
    if isinstance(value, bool):
        return TRUTH.get(text.lower()) is value
    if value is None:
        return text in ("", "~", "null", "Null", "NULL")
    if isinstance(value, int):
        return bool(WHOLE.fullmatch(text)) and int(text, 0) == value
    if isinstance(value, float):
        return float(text.replace("_", "")) == value
    return text == value


def require_as_written(config: Config, content: bytes) -> None:
    """Refuse a configuration that is not what stands in its file."""
    written = entries(content)
    for path, text in (written or {}).items():
        value: Any = config.model_dump()
        for key in path:
            value = value[key]
        assert reads_as(text, value), f"{'.'.join(path)} is written {text[:40]!r} and read as {value!r:.40}"


def is_small(config: Config) -> bool:
    """Whether training it costs next to nothing."""
    size, histories, training, task = config.model, config.histories, config.training, config.experiment.task
    wanted = {**size.model_dump(), **histories.model_dump(), **training.model_dump()}
    steps = config.kept_episodes * task.horizon + histories.skip * task.horizon
    return (
        all(wanted[name] is None or wanted[name] <= most for name, most in SMALL.items())
        and steps <= 256
        and histories.held_out + (histories.train_tasks or 0) <= 10_000
        and not training.compile
    )


def configured(trial) -> bytes:
    """Write a damaged configuration in one of three ways: as a program would, by hand, or by accident."""
    way = trial.rng.random()
    if way < 0.5:
        tree: Any = CONFIG
        for _ in range(int(trial.rng.integers(1, 3))):
            words, tree = alter(tree, trial.rng)
            trial.note(words)
        return as_yaml(tree)
    flow = bool(trial.rng.integers(2))
    sound = yaml.safe_dump(CONFIG, sort_keys=False, default_flow_style=None if flow else False, width=1000).encode()
    words, content = (scribble if way < 0.85 else damage)(sound, trial.rng)
    trial.note(words)
    return content


def read(trial, folder: Path) -> tuple[str, Any]:
    path = folder / "config.yaml"
    content = configured(trial)
    path.write_bytes(content)
    if trial.rng.random() < 0.03:
        trial.note(misplace(path, trial.rng))
    word, config = settled(lambda: read_config(path))
    if word == ACCEPTED:
        require_as_written(config, path.read_bytes())
        assert Config.model_validate(yaml.safe_load(yaml.safe_dump(config.model_dump()))) == config
    return word, config


def is_trainable(config: Config) -> bool:
    """Whether it is feasible and costs next to nothing."""
    return is_small(config) and settled(lambda: require_feasible(config, "it"))[0] == ACCEPTED


def trained(config: Config, folder: Path) -> str:
    word, result = settled(lambda: train(config, folder, "cpu"))
    if word == ACCEPTED:
        model, record = result
        assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values()), "weights are no numbers"
        assert all(np.isfinite(line["loss"]) for line in record["metrics"][1:]), record["metrics"]
    return word


@sizes(50, 1500)
def test_each_is_read_as_written_or_refused(campaign, n_inputs):
    def attempt(trial):
        word, config = read(trial, trial.place)
        if word == REFUSED:
            return REFUSED
        word, _ = settled(lambda: require_feasible(config, "the configuration"))
        if word == ACCEPTED and is_small(config):
            assert all(torch.isfinite(tensor).all() for tensor in build(config).state_dict().values())
        return word

    counts = campaign.run("configurations", n_inputs, attempt)
    assert min(counts[ACCEPTED], counts[REFUSED]) > counts.total() / 20


@sizes(3, 100)
def test_each_that_is_feasible_can_be_trained(campaign, n_inputs):
    def attempt(trial):
        while True:
            folder = trial.place / str(len(list(trial.place.iterdir())))
            folder.mkdir()
            trial.words.clear()
            word, config = read(trial, folder)
            if word == ACCEPTED and is_trainable(config):
                return trained(config, folder)

    campaign.run("trained configurations", n_inputs, attempt)
