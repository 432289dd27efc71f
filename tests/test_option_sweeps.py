"""The sweeps of tasks with options that ship: every configuration can be read, and its source learns."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ad_hypotheses.distill.config import Experiment
from ad_hypotheses.sources.learning import Learning, complaint, learning_of
from ad_hypotheses.studies.sweep.grid import Grid, read_sweep

MODELS = Path(__file__).parents[1] / "models"
SWEEPS = ("dark-room-moving", "dark-room-drawn", "dark-room-chance", "dark-room-second-goal", "dark-room-trap")
BANDITS = ("bandit-drifting", "gaussian-bandit-drifting")
LEARNERS = 64  # 512 are looked at where a model is trained


@cache
def sweep(name: str) -> Grid:
    return read_sweep(MODELS / f"{name}.yaml")


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("name", [*SWEEPS, *BANDITS])
def test_the_models_of_a_sweep_are_two_layers_and_three_seeds(name: str) -> None:
    cells = sweep(name).cells
    seeds = {(cell.config.training.seed, cell.config.histories.seed) for cell in cells}
    assert seeds == {(0, 0), (1, 1), (2, 2)}
    assert {cell.config.model.n_layers for cell in cells} == {2}
    assert {cell.config.training.optimiser for cell in cells} == {"muon"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_the_source_of_a_sweep_learns(name: str) -> None:
    for experiment in {str(cell.config.source): cell.config.experiment for cell in sweep(name).cells}.values():
        assert complaint(learning(experiment, LEARNERS)) is None


@pytest.mark.slow
def test_win_stay_alone_does_not_learn_at_bandits_that_drift() -> None:
    sources = {str(cell.config.source): cell.config.experiment for cell in sweep("bandit-drifting").cells}
    wrong = {source: complaint(learning(experiment, 256)) for source, experiment in sources.items()}
    assert [problem is None for problem in wrong.values()] == [True, True, False]
    (gaussian,) = {str(cell.config.source): cell.config.experiment
                   for cell in sweep("gaussian-bandit-drifting").cells}.values()  # fmt: skip
    assert complaint(learning(gaussian, 256)) is None


def learning(experiment: Experiment, learners: int) -> Learning:
    """Let the source of an experiment live on training tasks, and measure how it improves."""
    train, _ = experiment.split()
    rows = np.random.default_rng(0).integers(len(next(iter(train.values()))), size=learners)
    lives = experiment.live({fact: values[rows] for fact, values in train.items()}, np.random.default_rng(1))
    return learning_of(lives, experiment.task.optimal_return(lives.task))
