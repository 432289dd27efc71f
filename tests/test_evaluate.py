"""Learning curves: their shapes, and their values where those can be worked out exactly."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import numpy as np
import pytest
import torch
from expand import tiny_history

from ad_hypotheses.distill.checkpoint import build
from ad_hypotheses.distill.config import Config, check_config
from ad_hypotheses.evidence.plain_data import Curve
from ad_hypotheses.language.hypothesis import Hypothesis, node
from ad_hypotheses.language.sites import embed, logits
from ad_hypotheses.sources import DynaQ
from ad_hypotheses.studies.evaluate.ablations import STARTS, ablation_parts, ablations, unpaid
from ad_hypotheses.studies.evaluate.curves import curve, curve_parts, evaluate, explanation_curve, in_context, spread
from ad_hypotheses.studies.evaluate.figures import ReturnMeasure, figures
from ad_hypotheses.tasks import DarkRoom, make_task
from ad_hypotheses.tasks.play import play, play_expert

ROOM = make_task("dark-room", size=3, horizon=4)
SHARES = ("of_optimum", "argmax_of_optimum", "source_of_optimum")
SUMMARY = (
    *SHARES, "first_of_optimum", "mean_of_optimum", "improvement", "improvement_low", "improvement_high",
)  # fmt: skip
BOUNDS = ("improvement_low", "improvement_high")


def room(held_out: int = 2, episodes: int = 5, seed: int = 0) -> Config:
    """Kept are episodes 0, 2 and 4 of five."""
    return check_config(
        {
            "task": {"name": "dark-room", "size": 3, "horizon": 4},
            "source": {"name": "dyna-q"},
            "histories": {"held_out": held_out, "episodes": episodes, "keep_every": 2, "seed": seed},
            "model": {"n_layers": 1, "n_heads": 1, "d_model": 4},
        },
        "a test",
    )


def bandit(horizon: int = 30) -> Config:
    return check_config(
        {
            "task": {"name": "bandit", "arms": 3, "horizon": horizon},
            "source": {"name": "ucb1"},
            "histories": {"held_out": 50, "episodes": 1, "keep_every": 1},
            "model": {"n_layers": 1, "n_heads": 1, "d_model": 4},
        },
        "a test",
    )


def always(config: Config, action: int):
    """A model that takes one action whatever happens."""
    model = build(config).eval()
    with torch.no_grad():
        model.W_U.zero_()
        model.b_U.copy_(50 * torch.eye(len(model.b_U))[action])
    return model


def by_name(results, tasks) -> dict[str, dict]:
    return {one["name"]: one for one in results[tasks]}


@pytest.fixture(scope="module")
def in_the_room():
    return evaluate(build(room()).eval(), room(), rollouts=700, seed=3)


@pytest.fixture(scope="module")
def at_the_bandit():
    return evaluate(build(bandit()).eval(), bandit(), rollouts=200, seed=3)


def returns_of_every_life(goals) -> np.ndarray:
    """Return of each of the 5^4 sequences of actions, for each goal: what a random walk may earn. [goal, sequence]"""
    facts = {"goal": np.repeat(goals, 5**4, axis=0)}
    sequences = np.tile(np.array(list(product(range(5), repeat=4))), (len(goals), 1))
    state, total = ROOM.reset(facts), np.zeros(len(sequences))
    for actions in sequences.T:
        _, rewards, state = ROOM.step(state, actions)
        total += rewards
    return total.reshape(len(goals), -1)


# curves


def test_there_is_a_curve_for_everyone_with_a_point_for_each_kept_episode(in_the_room):
    names = ["model", "model, argmax", "source", "random", "optimal", "gate-and-walk"]
    names += ["nearest-unvisited", "thompson-over-goals"]
    for tasks in ("train", "held_out"):
        assert [one["name"] for one in in_the_room[tasks]] == names
        for one in in_the_room[tasks]:
            assert len(one["returns"]) == 3
            assert one["rollouts"] == 700
            assert all(0 <= value <= 4 for value in one["returns"])
            assert Curve(**one).name == one["name"]
    assert (in_the_room["rollouts"], in_the_room["seed"]) == (700, 3)
    assert json.loads(json.dumps(in_the_room)) == in_the_room


def test_a_single_episode_is_shown_by_blocks_of_ten_steps(at_the_bandit):
    for tasks in ("train", "held_out"):
        names = [one["name"] for one in at_the_bandit[tasks]]
        assert names[:7] == ["model", "model, argmax", "source", "random", "optimal", "ucb1", "thompson"]
        assert all(len(one["returns"]) == 3 for one in at_the_bandit[tasks])


def test_a_curve_is_the_mean_return_of_each_episode():
    history = tiny_history(0, n_rows=5, n_steps=6)  # three episodes of two steps
    by_hand = history.rewards.reshape(5, 3, 2).sum(2).mean(0)
    found = curve("one", history)
    assert (found.name, found.returns, found.rollouts) == ("one", [round(float(value), 4) for value in by_hand], 5)
    assert all(low <= value <= high for low, value, high in zip(found.low, found.returns, found.high, strict=True))


def test_the_random_baseline_earns_what_chance_does(in_the_room):
    for tasks, facts in zip(("train", "held_out"), room().experiment.split(), strict=True):
        every = returns_of_every_life(facts["goal"])
        # 700 lives are spread evenly over the goals, so only the luck within a goal is left
        error = np.sqrt(every.var(axis=1).mean() / 700)
        for value in by_name(in_the_room, tasks)["random"]["returns"]:
            assert abs(value - every.mean()) < 4 * error + 1e-4
    untrained = by_name(in_the_room, "train")["model"]["returns"]
    assert np.mean(untrained) == pytest.approx(
        returns_of_every_life(room().experiment.split()[0]["goal"]).mean(), rel=0.15
    )


def test_the_optimal_baseline_earns_the_optimum_in_every_episode(in_the_room):
    for tasks, facts in zip(("train", "held_out"), room().experiment.split(), strict=True):
        best = returns_of_every_life(facts["goal"]).max(axis=1).mean()
        assert best == ROOM.optimal_return(facts).mean()
        assert by_name(in_the_room, tasks)["optimal"]["returns"] == pytest.approx([best] * 3, abs=1e-4)


def test_an_even_spread_takes_every_task_as_often_as_the_others():
    facts = {"goal": np.arange(10).reshape(5, 2), "name": np.arange(5)}
    chosen = spread(facts, 12, np.random.default_rng(0))
    counts = np.bincount(chosen["name"], minlength=5)
    assert sorted(counts) == [2, 2, 2, 3, 3]
    assert np.array_equal(chosen["goal"], facts["goal"][chosen["name"]])
    assert list(chosen["name"]) != sorted(chosen["name"])


# the summary


def test_the_summary_is_the_share_of_the_optimum_in_the_last_episodes(in_the_room):
    summary = in_the_room["summary"]
    ratio = {"held_out_of_train"}
    expected = {f"train_{key}" for key in SUMMARY} | {f"held_out_{key}" for key in SUMMARY if key not in BOUNDS} | ratio
    assert set(summary) == expected, "two held-out tasks are too few for an interval"
    for tasks in ("train", "held_out"):
        curves = by_name(in_the_room, tasks)
        optimum = np.mean(curves["optimal"]["returns"])
        for key, name in zip(SHARES, ("model", "model, argmax", "source"), strict=True):
            share = np.mean(curves[name]["returns"]) / optimum
            assert summary[f"{tasks}_{key}"] == pytest.approx(share, abs=1e-3)
    assert summary["held_out_of_train"] == pytest.approx(
        summary["held_out_of_optimum"] / summary["train_of_optimum"], abs=1e-4
    )


def test_regret_is_never_negative_and_that_of_a_learner_below_that_of_chance(at_the_bandit):
    summary = at_the_bandit["summary"]
    regrets = {key: value for key, value in summary.items() if key.endswith("regret")}
    assert set(regrets) == {f"{t}_{key}regret" for t in ("train", "held_out") for key in ("", "argmax_", "source_")}
    assert all(value >= 0 for value in regrets.values())
    for tasks in ("train", "held_out"):
        assert regrets[f"{tasks}_source_regret"] < 0.9 * regrets[f"{tasks}_regret"]


def test_regret_is_exact_for_a_model_that_pulls_one_arm():
    config = bandit(horizon=10)
    results = evaluate(always(config, 1), config, rollouts=50, seed=0)
    means = config.experiment.split()[1]["means"]  # fifty held-out bandits, each played once
    expected = 10 * (means.max(axis=1) - means[:, 1]).mean()
    assert results["summary"]["held_out_regret"] == pytest.approx(expected, abs=1e-3)
    assert results["summary"]["held_out_argmax_regret"] == pytest.approx(expected, abs=1e-3)


def test_a_model_that_earns_nothing_has_no_ratio():
    seed = next(seed for seed in range(99) if [1, 1] in room(seed=seed).experiment.split()[1]["goal"].tolist())
    config = room(seed=seed)
    results = evaluate(always(config, 0), config, rollouts=14, seed=0)
    assert results["summary"]["train_of_optimum"] == 0
    assert results["summary"]["held_out_of_optimum"] > 0
    assert "held_out_of_train" not in results["summary"]


def test_a_room_of_one_episode_has_no_regret_and_one_point():
    config = room(episodes=1)
    results = evaluate(build(config).eval(), config, rollouts=7, seed=0)
    assert not [key for key in results["summary"] if "regret" in key]
    assert len(by_name(results, "train")["model"]["returns"]) == 1


def test_nothing_held_out_leaves_the_training_tasks():
    results = evaluate(build(room(held_out=0)).eval(), room(held_out=0), rollouts=9, seed=0)
    assert set(results) == {"train", "figures", "summary", "rollouts", "seed"}
    assert set(results["summary"]) == {f"train_{key}" for key in SUMMARY}


def test_the_seed_decides_and_progress_is_told():
    said: list[str] = []
    model = build(room()).eval()
    results = [evaluate(model, room(), 20, seed, said.append) for seed in (1, 1, 2)]
    assert results[0] == results[1]
    assert results[0]["train"] != results[2]["train"]
    assert said[:3] == [
        "model on train tasks",
        "model, argmax on train tasks",
        "source and baselines on train tasks",
    ]
    assert len(said) == 18


def test_a_source_that_was_only_recorded_is_left_out(monkeypatch):
    monkeypatch.setattr(DynaQ, "can_live", False, raising=False)
    said: list[str] = []
    results = evaluate(build(room()).eval(), room(), 6, 0, said.append)
    assert [one["name"] for one in results["train"]][:3] == ["model", "model, argmax", "random"]
    assert said[2] == "baselines on train tasks"
    assert "train_source_of_optimum" not in results["summary"]


def test_a_part_does_not_depend_on_those_that_are_left_out():
    model = build(room()).eval()
    parts = curve_parts(model, room(), 20, 1)
    backwards = {part.name: part.run(lambda steps: None) for part in reversed(parts)}
    assert in_context({part.name: backwards[part.name] for part in parts}, 20, 1) == evaluate(model, room(), 20, 1)
    lived: list[int] = []
    parts[0].run(lived.append)
    assert lived == list(range(1, parts[0].steps + 1))


# figures


def lives(returns, goals=((1, 1), (0, 0)), task=ROOM):
    """Histories with these returns, the first steps of each episode paid; two rows a goal. [row, episode]"""
    goals = np.repeat(np.array(goals, np.int8), len(returns) // len(goals), axis=0)
    history = play_expert(task, {"goal": goals}, len(returns[0]), np.random.default_rng(0))
    paid = np.arange(task.horizon) < np.array(returns)[..., None]
    return replace(history, rewards=paid.reshape(history.rewards.shape).astype(np.float32))


def test_figures_are_what_one_works_out_by_hand(monkeypatch):
    """Staying on (1, 1) is worth 4, walking to (0, 0) 3."""
    monkeypatch.setattr("ad_hypotheses.studies.evaluate.figures.FEWEST", 2)
    history = lives([[0, 2, 4, 4], [0, 2, 2, 4], [0, 0, 3, 3], [0, 3, 3, 3]])
    found = figures(history, ReturnMeasure.of(ROOM, history.task))
    assert (found["first"], found["last"], found["mean"]) == (0, 2.75, 2.0625)
    assert found["first_share"]["value"] == 0
    assert found["share"]["value"] == found["improvement"]["value"] == pytest.approx(2.75 / 3.5, abs=1e-4)
    assert found["mean_share"]["value"] == pytest.approx(2.0625 / 3.5, abs=1e-4)
    # means by episode are 0, 7/4, 3 and 7/2 of 7/2; on the goals alone 1/2, 3/4, 1 and 1/2, 1, 1
    assert [found["reached"][level]["value"] for level in ("0.5", "0.75", "0.9")] == [2, 3, 4]
    assert found["reached"]["0.5"] == {"value": 2, "low": 2, "high": 2}
    assert found["reached"]["0.9"] == {"value": 4, "low": 3, "high": 4}
    # the last three episodes are worth 3 of 4 on the first goal, 2.5 of 3 on the second
    assert (found["share"]["low"], found["share"]["high"]) == (0.75, pytest.approx(2.5 / 3, abs=1e-4))
    assert found["regret"] is None


def test_what_is_never_reached_has_no_first_time():
    history = lives([[0, 1], [0, 2], [0, 0], [1, 1]])
    reached = figures(history, ReturnMeasure.of(ROOM, history.task))["reached"]
    assert reached["0.9"] == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize(("n_tasks", "known"), [(4, False), (5, True)])
def test_fewer_than_five_tasks_have_no_interval(n_tasks, known):
    goals = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1))[:n_tasks]
    history = lives([[0, 3], [0, 3]] * n_tasks, goals=goals)
    found = figures(history, ReturnMeasure.of(ROOM, history.task))
    bounds = [found["share"]["low"], found["improvement"]["high"], found["reached"]["0.5"]["low"]]
    assert [bound is not None for bound in bounds] == [known] * 3
    assert bool(curve("one", history).low) == known


@pytest.mark.parametrize(
    "task",
    [make_task("bandit", arms=3, horizon=20), make_task("gaussian-bandit", arms=3, horizon=20, spread=2.0, noise=2.0)],
    ids=lambda task: task.name,
)
def test_whoever_plays_a_bandit_at_best_earns_all_of_the_optimum_and_regrets_nothing(task):
    """However lucky the draw was, and however pay is rounded and clipped."""
    facts = task.sample_tasks(np.random.default_rng(0), 30)
    history = play_expert(task, facts, 1, np.random.default_rng(1))
    measure = ReturnMeasure.of(task, history.task)
    found = figures(history, measure)
    assert found["regret"]["value"] == pytest.approx(0, abs=1e-4)
    assert found["last"] == pytest.approx(measure.optimum.mean(), abs=1e-3)
    assert found["share"] in (None, {"value": 1.0, "low": 1.0, "high": 1.0})
    worst = play(task, facts, lambda so_far: np.eye(3)[facts["means"].argmin(axis=1)], 1, np.random.default_rng(1))
    lost = figures(worst, measure)["regret"]["value"]
    assert lost == pytest.approx(task.regret(worst).sum(axis=1).mean(), abs=1e-3)
    assert lost > 1


def test_no_share_of_a_bandit_is_above_all_of_it(at_the_bandit):
    for told in at_the_bandit["figures"].values():
        assert told["optimal"]["share"]["value"] == 1
        for figure in ("share", "mean_share", "first_share"):
            assert all(by[figure]["high"] <= 1 for by in told.values())


def test_one_task_has_no_interval():
    history = lives([[0, 4], [0, 2]], goals=((1, 1),))
    found = figures(history, ReturnMeasure.of(ROOM, history.task))
    assert found["share"] == {"value": 1.5 / 4, "low": None, "high": None}
    assert found["reached"]["0.5"] == {"value": 2, "low": None, "high": None}


@dataclass(frozen=True)
class Paying(DarkRoom):
    """A room whose rewards may be negative, with optima of its own."""

    size: int = 3
    horizon: int = 4
    optimum: tuple[float, ...] = ()
    rewards: ClassVar[tuple[float, ...]] = (-1.0, 0.0, 1.0)

    def optimal_return(self, facts):
        return np.array(self.optimum)


@pytest.mark.parametrize(
    ("optimum", "has_share"), [((4, 4, 3, 3), True), ((2, 2, -1, -1), False), ((-1, -1, -2, -2), False)]
)
def test_where_a_share_means_nothing_there_is_regret(optimum, has_share):
    history = lives([[0, 2], [0, 2], [0, 0], [1, 1]])
    found = figures(history, ReturnMeasure.of(Paying(optimum=optimum), history.task))
    assert (found["share"] is not None) == (found["improvement"] is not None) == has_share
    assert (found["reached"] is not None) == has_share
    if not has_share:
        assert found["regret"]["value"] == pytest.approx(2 * np.mean(optimum) - 6 / 4)


# what a model forgets, and unusual starts


def ablated(model, config, rollouts=30):
    parts = ablation_parts(model, config, rollouts, 0)
    return ablations({part.name: part.run(lambda steps: None) for part in parts}, config, rollouts, 0)


def test_memories_are_powers_of_two_below_the_whole_context():
    found = ablated(build(room()).eval(), room())
    assert [one["episodes"] for one in found["memory"]] == [1, 2]
    names = [part.name for part in ablation_parts(build(room(episodes=32)).eval(), room(episodes=32), 4, 0)]
    assert [name for name in names if name.startswith("memory")] == [f"memory/{2**power}" for power in range(4)]
    assert found["lives"] == 30
    assert json.loads(json.dumps(found)) == found


def test_whoever_never_looks_back_starts_alike_whatever_was_lived():
    """Staying pays where the goal is the start."""
    seed = next(seed for seed in range(99) if [1, 1] in room(seed=seed).experiment.split()[1]["goal"].tolist())
    found = ablated(always(room(seed=seed), 0), room(seed=seed))
    assert [one["start"] for one in found["starts"]] == list(STARTS)
    assert len({json.dumps(one["share"]) for one in found["starts"]}) == 1
    assert found["starts"][0]["change"] is None
    assert all(one["change"]["value"] == 0 for one in found["starts"][1:])
    assert found["memory"][0]["share"] == found["starts"][0]["share"]


def test_an_unpaid_life_differs_only_in_its_rewards():
    history = play_expert(ROOM, {"goal": np.array([[0, 0], [1, 1]])}, 2, np.random.default_rng(0))
    other = unpaid(history, ROOM)
    assert history.rewards.any()
    assert not other.rewards.any()
    assert np.array_equal(other.actions, history.actions)


def test_a_context_of_one_episode_is_not_ablated():
    assert ablation_parts(build(bandit()).eval(), bandit(), 5, 0) == []
    assert ablations({}, bandit(), 5, 0) == {}


def test_a_context_shorter_than_the_life_slides():
    config = room(episodes=16)
    config = config.model_copy(update={"training": config.training.model_copy(update={"crop": 3})})
    results = evaluate(build(config).eval(), config, 6, 0)
    assert len(results["train"][0]["returns"]) == 8
    found = ablated(build(config).eval(), config, 6)
    assert [one["episodes"] for one in found["memory"]] == [1, 2]
    assert found["starts"][1]["episodes"] == 1


# an explanation as a policy


@node(at=logits)
def walks_to_the_goal(history):
    goal = np.broadcast_to(history.task["goal"][:, None], history.observations.shape)
    shape = history.observations.shape[:2]
    return ROOM.walk(history.observations.reshape(-1, 2), goal.reshape(-1, 2)).reshape(*shape, -1)


@node(at=embed("reward"))
def goal(history):
    return history.last_rewarded_cell()


@node(at=logits)
def returns_to_the_goal(goal, history):
    """Stay where a reward was seen, walk there, and go up where none was."""
    known = (goal >= 0).all(axis=-1)
    shape = history.observations.shape[:2]
    way = ROOM.walk(history.observations.reshape(-1, 2), goal.reshape(-1, 2)).reshape(*shape, -1)
    return np.where(known[..., None], way, np.eye(5)[1])


@pytest.mark.parametrize("held_out", [0, 2])
def test_a_perfect_explanation_earns_the_optimum(held_out):
    trained, kept = room(held_out=held_out).experiment.split()
    optimum = ROOM.optimal_return(kept if held_out else trained).mean()
    found = explanation_curve(Hypothesis(walks_to_the_goal), room(held_out=held_out), rollouts=36, seed=0)
    assert found.name == "explanation"
    assert found.rollouts == 36
    assert found.returns == pytest.approx([optimum] * 3, abs=1e-4)


def seed_that_holds_out(goal: list[int]) -> int:
    rooms = {seed: room(held_out=1, seed=seed) for seed in range(99)}
    return next(seed for seed, config in rooms.items() if goal in config.experiment.split()[1]["goal"].tolist())


def test_an_explanation_learns_only_from_what_it_has_seen():
    """Going up finds the goal (1, 0) alone, and it is known from the first episode on."""
    seed = next(
        seed for seed in range(99) if [1, 0] in room(held_out=1, seed=seed).experiment.split()[1]["goal"].tolist()
    )
    found = explanation_curve(Hypothesis(returns_to_the_goal), room(held_out=1, seed=seed), rollouts=5, seed=0)
    assert found.returns == [4.0, 4.0, 4.0]
    other = next(
        seed for seed in range(99) if [2, 2] in room(held_out=1, seed=seed).experiment.split()[1]["goal"].tolist()
    )
    assert explanation_curve(Hypothesis(returns_to_the_goal), room(1, seed=other), 5, 0).returns == [0.0, 0.0, 0.0]
