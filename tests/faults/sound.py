"""What is damaged: a small network, a claim about it that is true, and the figures that both give when sound."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.load import load as load_hypotheses
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.scrub.bind import ScrubSettings, prepare
from ad_hypotheses.studies.scrub.study import run_studies

CONFIG: dict[str, Any] = {
    "task": {"name": "bandit", "arms": 3, "horizon": 8},
    "source": {"name": "scripted", "rule": "win-stay"},
    "histories": {
        "held_out": 8,
        "train_tasks": 8,
        "learners": 16,
        "episodes": 1,
        "keep_every": 1,
        "check": False,
    },
    "model": {"n_layers": 2, "n_heads": 1, "d_model": 16, "d_mlp": 12, "layer_norm": False, "positions": "none"},
    "training": {"updates": 2, "batch": 4, "warmup": 1, "evaluate_every": 2, "save_every": 1},
}

HYPOTHESIS = '''"""Stay: an arm that paid is pulled again."""

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last arm and whether it paid.  [batch, step, 2]"""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=mlp(0))
def score(last):
    """The same.  [batch, step, 2]"""
    return last


@node(at=logits)
def choice(score, history):
    """Stay where it paid, else anywhere.  [batch, step]"""
    return np.where(score[..., 1] > 0, score[..., 0], -1)


stay = Hypothesis(choice, model="base", accept=0.5)
elsewhere = stay.on(score=mlp(1))
'''


SETTINGS = ScrubSettings(rows=12, pool=24, data=("source",), passes=1, rollouts=0, rivals=False)


@dataclass(frozen=True)
class Ground:
    """A folder that holds a sound checkpoint and a sound hypothesis.

    Attributes:
        place: The folder.
    """

    place: Path

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoint."""
        return self.place / "models" / "base"

    @property
    def hypothesis(self) -> Path:
        """The hypothesis file."""
        return self.place / "hypotheses" / "stay.py"

    @cached_property
    def claims(self) -> list[Hypothesis]:
        """The hypothesis and its control."""
        return load_hypotheses(self.hypothesis)

    @cached_property
    def figures(self) -> dict[str, Any]:
        """What a study of the claim says."""
        return scrubbed(load(self.checkpoint), self.claims, self.place / "scratch")

    @cached_property
    def logits(self) -> torch.Tensor:
        """What the network makes of the tokens below. [row, step, action]"""
        return answer(load(self.checkpoint))


@torch.no_grad()
def answer(checkpoint: Checkpoint) -> torch.Tensor:
    """Run a network on histories of its task that are always the same. [row, step, action]"""
    config, task = checkpoint.config, checkpoint.experiment.task
    rng = np.random.default_rng(0)
    return checkpoint.model(checkpoint.model.to_tokens(config.experiment.live(task.sample_tasks(rng, 4), rng)))


def scrubbed(
    checkpoint: Checkpoint, claims: list[Hypothesis], scratch: Path, settings: ScrubSettings = SETTINGS
) -> dict[str, Any]:
    """Test claims on a network, and return the record of the study as plain data."""
    trial = prepare(claims[0], claims[1:], checkpoint, settings)
    (study,) = run_studies([trial], settings, "", Scratch(scratch))
    return json.loads(study.to_json())


def numbers(tree: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf of plain data with its place."""
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from numbers(value, f"{where}.{key}")
    else:
        yield where, tree


def require_same(figures: dict[str, Any], others: dict[str, Any]) -> None:
    """Refuse records whose claims differ.

    Raises:
        AssertionError: They do; names the first places.
    """
    left, right = dict(numbers(figures["claims"])), dict(numbers(others["claims"]))
    wrong = [
        f"{key}: {left.get(key)!r}, not {right.get(key)!r}"
        for key in {**left, **right}
        if left.get(key) != right.get(key)
    ]
    assert not wrong, f"{len(wrong)} figures differ, e.g. {wrong[:3]}"


def require_finite(figures: dict[str, Any]) -> None:
    """Refuse a record of a study whose losses are not numbers.

    Raises:
        AssertionError: One is not.
    """
    for claim in figures["claims"]:
        whole = claim["regimes"][0]
        for name in ("model", "scrubbed", "baseline", "structure"):
            value = whole[name]["value"]
            assert value is not None, f"{claim['name']}: the loss {name} is {value}"
            assert math.isfinite(value), f"{claim['name']}: the loss {name} is {value}"


def sizes(few: int, many: int) -> pytest.MarkDecorator:
    """Return the numbers of inputs of a test: few, and with `--runslow` many besides."""
    return pytest.mark.parametrize(
        "n_inputs", [few, pytest.param(many, marks=(pytest.mark.slow, pytest.mark.campaign))]
    )
