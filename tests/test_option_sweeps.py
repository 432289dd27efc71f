"""The sweeps of tasks with options that ship: every configuration can be read, and its source learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ad_hypotheses.sources.learning import complaint, learning_of
from ad_hypotheses.studies.sweep.grid import Grid, read_sweep

MODELS = Path(__file__).parents[1] / "models"
SWEEPS = ("dark-room-moving", "dark-room-drawn", "dark-room-chance", "dark-room-second-goal", "dark-room-trap")
LEARNERS = 64  # 512 are looked at where a model is trained


def sweep(name: str) -> Grid:
    return read_sweep(MODELS / f"{name}.yaml")


@pytest.mark.parametrize("name", SWEEPS)
def test_the_models_of_a_sweep_are_two_layers_and_three_seeds(name: str) -> None:
    cells = sweep(name).cells
    seeds = {(cell.config.training.seed, cell.config.histories.seed) for cell in cells}
    assert seeds == {(0, 0), (1, 1), (2, 2)}
    assert {cell.config.model.n_layers for cell in cells} == {2}
    assert {cell.config.training.optimiser for cell in cells} == {"muon"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_the_source_of_a_sweep_learns(name: str) -> None:
    for experiment in {cell.config.task["name"] + str(cell.config.source): cell.config.experiment
                       for cell in sweep(name).cells}.values():  # fmt: skip
        train, _ = experiment.split()
        rows = np.random.default_rng(0).integers(len(next(iter(train.values()))), size=LEARNERS)
        lives = experiment.live({fact: values[rows] for fact, values in train.items()}, np.random.default_rng(1))
        assert complaint(learning_of(lives, experiment.task.optimal_return(lives.task))) is None
