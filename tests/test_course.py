"""The course of a training: when it has converged, and what is kept on its way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from listener import Updates
from safetensors.torch import load_file

from ad_hypotheses.distill import train as training
from ad_hypotheses.distill.checkpoint import WEIGHTS, find, load, names, stage_folder
from ad_hypotheses.distill.config import Config, check_config, differences
from ad_hypotheses.distill.course.convergence import Course, FreshLoss
from ad_hypotheses.distill.course.stages import stage_updates
from ad_hypotheses.distill.feasible import infeasible
from ad_hypotheses.distill.sections import Training
from ad_hypotheses.distill.train import learning_rate, train
from ad_hypotheses.errors import CheckpointError, ConfigError
from ad_hypotheses.library.model import Model
from ad_hypotheses.studies.evaluate.choose import choose
from ad_hypotheses.studies.sweep.grid import read_sweep
from ad_hypotheses.studies.train.study import train as trained_model

MODELS = Path(__file__).parents[1] / "models"
RULE = {"converged_below": 0.01, "converged_within": 2, "decay_from": 0.5}


def content(contexts: dict | None = None, **training) -> dict:
    plan = {"updates": 20, "batch": 4, "warmup": 2, "evaluate_every": 50, "save_every": 50, **training}
    return {
        "task": {"name": "graph-world", "states": 4, "horizon": 4},
        "source": {"name": "dyna-q", "gamma": 0.8, "initial_value": 2.0, "epsilon_first": 0, "epsilon_last": 0},
        "histories": {"held_out": 4, "train_tasks": 8, "learners": 8, "episodes": 3, "keep_every": 1, "check": False},
        "model": {"n_layers": 1, "n_heads": 2, "d_model": 8},
        "training": plan,
        **({} if contexts is None else {"contexts": contexts}),
    }


def tiny(contexts: dict | None = None, **training) -> Config:
    return check_config(content(contexts, **training), "a test")


class Losses:
    """Stand for the loss of fresh histories."""

    def __init__(self, monkeypatch, *losses: float) -> None:
        self.losses = list(losses)
        monkeypatch.setattr(training, "FreshLoss", lambda config, model: self)

    def measure(self) -> float:
        return self.losses.pop(0)


# convergence


@pytest.mark.parametrize(
    ("losses", "least", "expected"),
    [
        ([1.0, 0.995], 1, ("convergence", 8)),  # 0.5 % less in updates 3 and 4, which are half of 8
        ([1.0, 0.98, 0.975], 1, ("convergence", 12)),
        ([1.0, 1.1], 1, ("convergence", 8)),  # a loss that rises has converged too
        ([1.0, 0.995], 15, ("floor", 15)),
        ([1.0, 0.9, 0.8, 0.7, 0.6], 1, ("ceiling", 20)),
    ],
)
def test_a_training_ends_once_its_loss_hardly_falls(tmp_path, monkeypatch, losses, least, expected):
    updates = Updates()
    Losses(monkeypatch, *losses)
    _, record = train(tiny(**RULE, least_updates=least), tmp_path, progress=updates)
    assert (record["course"]["reason"], record["course"]["updates"]) == expected
    assert record["updates"] == expected[1] == updates.seen[-1]
    assert record["course"]["losses"] == [[2 * number, loss] for number, loss in enumerate(losses, 1)]


def test_a_target_that_is_not_learned_is_waited_for(tmp_path, monkeypatch):
    Losses(monkeypatch)
    _, record = train(tiny(**RULE, next_state_until=1e-6), tmp_path)
    assert record["course"] == {"updates": 20, "reason": "ceiling", "losses": []}


def test_the_rate_decays_from_where_it_has_converged():
    plan = Training(updates=100, warmup=0, learning_rate=2.0, decay_from=0.5)
    rates = [learning_rate(plan, update, 40) for update in range(41)]
    assert rates[:21] == [2.0] * 21
    assert rates[30] == pytest.approx(1.0)
    assert rates[40] == pytest.approx(0)


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("contexts", [None, {"fresh_tasks": True}], ids=["histories", "contexts"])
def test_an_interrupted_training_converges_where_an_uninterrupted_one_does(tmp_path, contexts):
    config = tiny(contexts, **{**RULE, "converged_below": 0.5})
    whole, record = train(config, tmp_path / "whole")
    assert record["course"]["reason"] == "convergence"
    for stop in (1, 2, 4, 6):  # before, at and after the updates in which it is measured
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "parts", progress=Updates(stop))
    again, resumed = train(config, tmp_path / "parts")
    assert resumed["course"] == record["course"]
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in whole.state_dict().items())


def test_a_course_is_kept_as_plain_data():
    course = Course(8, "convergence", [(2, 1.0), (4, 0.995)])
    assert Course.of_plain(json.loads(json.dumps(course.plain()))) == course


@pytest.mark.parametrize("contexts", [None, {"fresh_tasks": True}], ids=["histories", "contexts"])
def test_fresh_histories_are_the_same_at_every_measurement_and_none_of_training(contexts):
    config = tiny(contexts)
    model = training.build(config)
    first, again = FreshLoss(config, model), FreshLoss(config, model)
    assert first.measure() == again.measure() == pytest.approx(np.log(2), abs=0.01)
    assert torch.equal(first.tokens, again.tokens)
    with torch.no_grad():
        model.b_U.copy_(torch.tensor([3.0, 0.0]))
    share = first.targets[..., 0].mean() if contexts else (first.targets == 0).float().mean()
    assert first.measure() == pytest.approx(float(np.log1p(np.exp(-3)) + 3 * (1 - share)), abs=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"converged_below": 0.01}, "training.converged_below: needs training.decay_from"),
        ({"converged_below": 0.01, "decay_from": 0.5}, "training.converged_within: 500 is too long for 20 updates"),
        ({**RULE, "crop": 2}, "training.crop: does not go with converged_below"),
        ({"least_updates": 21}, "training.least_updates: 21 is more than updates = 20"),
    ],
)
def test_rules_that_cannot_be_followed_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny(**changes)


def test_histories_that_cannot_be_made_again_are_refused():
    recorded = {**content(**RULE), "source": {"name": "recorded", "folder": "."}}
    problems = list(infeasible(check_config(recorded, "a test")))
    assert any("those of recorded cannot be made" in problem for problem in problems), problems


# stages and number types


def test_stages_are_spread_evenly_on_a_logarithmic_scale():
    assert stage_updates(Training(updates=4096)) == frozenset()
    assert sorted(stage_updates(Training(updates=3000, stages=2))) == [30, 300]
    assert sorted(stage_updates(Training(updates=3840, stages=7))) == [30, 60, 120, 240, 480, 960, 1920]
    assert stage_updates(Training(updates=10, stages=3)) == frozenset()


def test_stages_are_checkpoints_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("ad_hypotheses.distill.course.stages.FIRST", 2)
    config = tiny(updates=8, stages=2, kept_as="float16")
    with pytest.raises(KeyboardInterrupt):
        trained_model(config, tmp_path / "m", progress=Updates(3))
    made = trained_model(config, tmp_path / "m")
    assert names(tmp_path) == ["m"]
    assert [choice.name for choice in choose(["m"], tmp_path, "cpu")] == ["m"]
    early, late = load("m@2", tmp_path), load(f"{tmp_path}/m@4", tmp_path)
    assert (early.name, early.record["updates"], late.record["updates"]) == ("m@2", 2, 4)
    assert len({early.sha256, late.sha256, load("m", tmp_path).sha256}) == 3
    assert Model(load("m", tmp_path)).stages == Model(early).stages == ["m@2", "m@4"]
    # the fourth update of the same training, up to rounding
    whole, _ = train(tiny(updates=8, stages=2, kept_as="float16"), tmp_path / "again", stages=tmp_path / "other")
    del whole
    other = load_file(stage_folder(tmp_path / "other", 4) / WEIGHTS)
    assert {weight.dtype for weight in other.values()} == {torch.float16}
    assert all(torch.equal(weight.float(), late.model.state_dict()[name]) for name, weight in other.items())
    # what is kept is what was evaluated
    kept = load("m", tmp_path).model.state_dict()
    assert all(torch.equal(weight, kept[name]) for name, weight in made.model.state_dict().items())
    assert {weight.dtype for weight in load_file(tmp_path / "m" / WEIGHTS).values()} == {torch.float16}


def test_a_stage_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ad_hypotheses.distill.course.stages.FIRST", 2)
    trained_model(tiny(updates=4, stages=1), tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"no stage after 3 updates. Stages there: m@2"):
        find("m@3", tmp_path)
    (stage_folder(tmp_path / "m", 2) / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"It has none; training.stages: 12 keeps some"):
        find("m@2", tmp_path)
    with pytest.raises(CheckpointError, match="there is no model 'n'"):
        find("n@2", tmp_path)


def test_the_card_says_what_ended_a_training(tmp_path, monkeypatch):
    Losses(monkeypatch, 1.0, 0.995)
    made = trained_model(tiny(**RULE), tmp_path / "m")
    card = (made.folder / "card.md").read_text()
    assert "| Updates | 8 of 4 histories" in card
    assert "falls by less than 1.0% in 2 updates (1.0000 after 2, 0.9950 after 4)" in card.replace("\n", " ")


# the sweeps that ship


@pytest.mark.parametrize("states", [6, 8])
def test_the_four_cells_differ_in_agents_and_target_alone(states):
    grid = read_sweep(MODELS / f"graph-{states}-cells.yaml")
    assert len({cell.name for cell in grid.cells}) == len(grid.cells) == 4 * 4 * 3
    first = [cell.config for cell in grid.cells[:4]]
    differing = {line.split(":")[0] for config in first[1:] for line in differences(config, first[0])}
    assert differing == {"contexts.agents", "training.next_state_until"}
    assert {(tuple(config.contexts.agents) == ("source",), config.training.next_state_until) for config in first} == {
        (False, 0.03), (False, None), (True, 0.03), (True, None)
    }  # fmt: skip
    assert all(cell.config.task["states"] == states for cell in grid.cells)
