"""Actor-critic, annealed expert and recorded histories; Stable-Baselines3 and Minari; the verb that shows them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from ad_hypotheses.distill.config import Config, check_config
from ad_hypotheses.distill.train import training_histories
from ad_hypotheses.errors import ConfigError, DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import (
    ActorCritic,
    AnnealedExpert,
    DynaQ,
    Recorded,
    episode_returns,
    learning_curve,
    make_source,
    open_histories,
    write_histories,
)
from ad_hypotheses.sources.actor_critic import _Learners
from ad_hypotheses.sources.learning import Learning
from ad_hypotheses.sources.recorded import select
from ad_hypotheses.sources.recording import keep_episodes
from ad_hypotheses.sources.variants import early, every, expert_only
from ad_hypotheses.studies.histories.study import draw_source_curve, histories, sentence, source_figures
from ad_hypotheses.tasks import BernoulliBandit, DarkRoom, Task, make_task

ROOM = DarkRoom(size=3, horizon=6)
BANDIT = BernoulliBandit(arms=3, horizon=5)


def same(one: History, other: History) -> bool:
    names = ("observations", "actions", "rewards", "episode", "learner")
    alike = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
    types = all(getattr(one, name).dtype == getattr(other, name).dtype for name in names)
    facts = one.task.keys() == other.task.keys() and all(
        np.array_equal(fact, other.task[name]) and fact.dtype == other.task[name].dtype
        for name, fact in one.task.items()
    )
    return alike and types and facts and (one.channels, one.n_actions) == (other.channels, other.n_actions)


def obeys(history: History, task: Task) -> bool:
    """Whether the batched world shows and pays the same for the same actions."""
    rng = np.random.default_rng(0)
    for first in range(0, history.n_steps, task.horizon):
        state = task.reset(history.task, rng)
        seen = task.observe(state)
        for step in range(first, first + task.horizon):
            if (seen != history.observations[:, step]).any():
                return False
            seen, rewards, state = task.step(state, history.actions[:, step], rng)
            if (rewards != history.rewards[:, step]).any():
                return False
    return True


# --- actor-critic


def learners(n: int = 4, **params: Any) -> _Learners:
    return _Learners(ActorCritic(**params), ROOM, n, np.random.default_rng(0))


def one_episode(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    states, actions = rng.integers(9, size=(n, 7)), rng.integers(5, size=(n, 6))
    return states, actions, rng.integers(2, size=(n, 6)).astype(np.float32)


@pytest.mark.parametrize("hidden", [0, 8])
def test_every_learner_follows_its_own_gradient(hidden: int) -> None:
    settings = {"hidden": hidden, "learning_rate": 0.05, "entropy": 0.02, "initial_value": 0.7}
    crowd, (states, actions, rewards) = learners(**settings), one_episode(4)
    before = {name: weight.clone() for name, weight in crowd.weights.items()}
    crowd.learn(states, actions, rewards)
    for row in range(4):
        weights = {name: weight[row].clone().requires_grad_() for name, weight in before.items()}
        by_state = weights["weight"] if not hidden else (
            torch.tanh(weights["0.weight"]) @ weights["2.weight"].T + weights["2.bias"]
        )  # fmt: skip
        outputs = torch.eye(9)[states[row]] @ by_state  # the one-hot state times a matrix
        values = outputs[:, -1].detach().numpy()
        advantages, trace = np.zeros(6), 0.0
        for step in reversed(range(6)):
            trace = rewards[row, step] + 0.9 * values[step + 1] - values[step] + 0.9 * 0.9 * trace
            advantages[step] = trace
        policy = torch.softmax(outputs[:-1, :5], dim=1)
        target = torch.tensor(advantages + values[:-1], dtype=torch.float32)
        loss = 0.5 * 0.5 * ((outputs[:-1, -1] - target) ** 2).sum() + 0.02 * (policy * policy.log()).sum()
        loss = loss - (policy.log()[range(6), actions[row]] * torch.tensor(advantages, dtype=torch.float32)).sum()
        optimiser = torch.optim.Adam(list(weights.values()), lr=0.05)
        loss.backward()
        optimiser.step()
        for name, weight in weights.items():
            assert crowd.weights[name][row].numpy() == pytest.approx(weight.detach().numpy(), abs=2e-5), name


def test_actions_are_drawn_from_the_policy() -> None:
    crowd = learners(n=20_000, hidden=0)
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5])
    crowd.weights["weight"][:, 4, :5] = logits
    drawn = crowd.act(np.full(20_000, 4), np.random.default_rng(0).random(20_000, dtype=np.float32))
    assert np.bincount(drawn, minlength=5) / 20_000 == pytest.approx(torch.softmax(logits, 0).numpy(), abs=0.012)
    assert set(crowd.act(np.full(20_000, 4), np.full(20_000, 1 - 2**-24, dtype=np.float32))) == {4}


@pytest.mark.parametrize(
    "source", [ActorCritic(hidden=0, learning_rate=0.1), pytest.param(ActorCritic(), marks=pytest.mark.slow)]
)
def test_actor_critic_learns_dark_room(source: ActorCritic) -> None:
    room = DarkRoom(size=4, horizon=8)
    facts = {"goal": np.tile(room.tasks()["goal"], (4, 1))}
    curve = learning_curve(source.live(room, facts, 100, np.random.default_rng(0)))
    assert curve[:5].mean() < 1
    assert curve[-10:].mean() > 0.9 * room.optimal_return(facts).mean()


def test_actor_critic_learns_where_there_is_one_state() -> None:
    bandit = BernoulliBandit(arms=2, horizon=20)
    facts = {"means": np.tile([0.1, 0.9], (40, 1))}
    history = ActorCritic(hidden=0, learning_rate=0.1).live(bandit, facts, 40, np.random.default_rng(0))
    assert (history.actions[:, -20:] == 1).mean() > 0.95
    assert (history.actions[:, :20] == 1).mean() == pytest.approx(0.5, abs=0.06)


def test_a_seed_decides_the_life_of_an_actor_critic() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first, again, other = (ActorCritic().live(ROOM, ROOM.tasks(), 6, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert same(first, again)
    assert (first.actions != other.actions).any()
    assert obeys(first, ROOM)
    assert same(keep_episodes(first, ROOM, 4), ActorCritic().live(ROOM, ROOM.tasks(), 6, np.random.default_rng(5), 4))
    assert (torch.rand(3) == expected).all(), "somebody else's random numbers were used up"


def test_learners_live_in_chunks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ad_hypotheses.sources.actor_critic.CHUNK", 1)
    facts = {"goal": np.tile(ROOM.tasks()["goal"], (5, 1))}
    history = ActorCritic(hidden=0, learning_rate=0.2).live(ROOM, facts, 40, np.random.default_rng(0))
    assert obeys(history, ROOM)
    returns = episode_returns(history)
    assert returns[32:, -10:].mean() > 2 * returns[32:, :10].mean()


# --- annealed expert


@pytest.mark.parametrize("task", [ROOM, BANDIT, make_task("minigrid:MiniGrid-Empty-5x5-v0", horizon=12)])
def test_the_experts_noise_fades(task: Task) -> None:
    facts = {name: np.repeat(fact, 60, axis=0) for name, fact in task.sample_tasks(np.random.default_rng(0), 4).items()}
    curve = learning_curve(AnnealedExpert().live(task, facts, 10, np.random.default_rng(0)))
    optimum = task.optimal_return(facts).mean()
    assert curve[-1] == pytest.approx(optimum, rel=0.12)
    assert curve[0] < 0.75 * optimum
    assert np.corrcoef(curve, np.arange(10))[0, 1] > 0.8


def test_the_shape_of_the_noise() -> None:
    assert AnnealedExpert().epsilon(5) == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert AnnealedExpert(0.8, 0.2, 2.0).epsilon(3) == pytest.approx([0.8, 0.35, 0.2])
    assert AnnealedExpert(0.3, 0.3).epsilon(1) == pytest.approx([0.3])
    with pytest.raises(ConfigError, match="needs at least 2, not 1"):
        AnnealedExpert().live(BANDIT, BANDIT.sample_tasks(np.random.default_rng(0), 2), 1, np.random.default_rng(0))


def test_of_the_whole_noise_every_third_episode_is_kept() -> None:
    source = AnnealedExpert()
    whole, thinned = (source.live(ROOM, ROOM.tasks(), 7, np.random.default_rng(0), k) for k in (1, 3))
    assert same(every(whole, 3), thinned)


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("annealed-expert", {"epsilon_first": 1.5}, "epsilon_first is 1.5, but it must be 0 to 1"),
        ("annealed-expert", {"power": 0}, "power is 0.0, but it must be above 0"),
        ("actor-critic", {"hidden": -1}, "hidden is -1, but it must be 0 to 4096"),
        ("actor-critic", {"learning_rate": 0}, "learning_rate is 0.0, but it must be above 0"),
        ("actor-critic", {"gamma": 1}, "gamma is 1.0, but it must be at least 0 and below 1"),
        ("actor-critic", {"trace": 2}, "trace is 2.0, but it must be 0 to 1"),
        ("recorded", {}, "folder is missing"),
    ],
)
def test_wrong_parameters_are_explained(name: str, params: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_source(name, **params)
    assert said in str(error.value)


def test_a_device_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="device is 'abacus', but torch has none of that name"):
        ActorCritic(device="abacus").live(ROOM, ROOM.tasks(), 1, np.random.default_rng(0))


# --- recorded


def config(source: dict[str, Any], **histories: Any) -> Any:
    settings = {"held_out": 3, "learners": 12, "episodes": 8, "keep_every": 1, "check": False} | histories
    task = {"name": "dark-room", "size": 3, "horizon": 6}
    return check_config({"task": task, "source": source, "histories": settings}, "test")


def recorded(
    folder: Path, episodes: int = 10, copies: int = 3, change: Callable[[History], History] | None = None
) -> History:
    facts = {"goal": np.tile(ROOM.tasks()["goal"], (copies, 1))}
    history = DynaQ(planning=2).live(ROOM, facts, episodes, np.random.default_rng(0))
    history = history if change is None else change(history)
    write_histories(folder, history, {"made_by": "a test"})
    return history


def test_recorded_histories_are_trained_on(tmp_path: Path) -> None:
    history = recorded(tmp_path / "record")
    settings = config({"name": "recorded", "folder": str(tmp_path / "record")}, skip=2, keep_every=2, episodes=7)
    made = training_histories(settings, tmp_path / "kept", lambda done, total: None)
    read = made.rows(np.arange(made.n_histories))
    assert (made.n_histories, made.n_steps) == (12, 4 * 6)
    assert same(read, every(early(expert_only(history, 8), 7), 2)[read.learner])
    held_out = {tuple(goal) for goal in settings.experiment.split()[1]["goal"].tolist()}
    assert not held_out & {tuple(goal) for goal in read.task["goal"].tolist()}
    assert same(training_histories(settings, tmp_path / "kept", lambda *_: None).rows(np.arange(12)), read)


def test_all_recorded_histories_in_their_order(tmp_path: Path) -> None:
    history = recorded(tmp_path / "record")
    settings = config({"name": "recorded", "folder": str(tmp_path / "record")}, held_out=0, learners=27, episodes=10)
    assert same(training_histories(settings, tmp_path / "kept", lambda *_: None).rows(np.arange(27)), history)


def test_only_recorded_histories_of_the_training_tasks(tmp_path: Path) -> None:
    recorded(tmp_path / "record")
    settings = config({"name": "recorded", "folder": str(tmp_path / "record")}, train_tasks=2, learners=6)
    made = training_histories(settings, tmp_path / "kept", lambda *_: None)
    goals = {tuple(goal) for goal in made.rows(np.arange(6)).task["goal"].tolist()}
    assert goals == {tuple(goal) for goal in settings.experiment.split()[0]["goal"].tolist()}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"learners": 19}, "learners is 19, but .* holds 27 histories, 18 of them of tasks to train on"),
        ({"episodes": 11}, r"skip \+ episodes is 11, but the lives in .* have 10 episodes"),
        ({"skip": 4}, r"skip \+ episodes is 12"),
        ({"skip": 1, "keep_every": 2}, "must be a multiple of keep_every"),
    ],
)
def test_no_more_than_was_recorded(tmp_path: Path, changed: dict[str, int], said: str) -> None:
    recorded(tmp_path / "record")
    settings = config({"name": "recorded", "folder": str(tmp_path / "record")}, **changed)
    with pytest.raises(ConfigError, match=said):
        training_histories(settings, tmp_path / "kept", lambda *_: None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda history: replace(history, channels=("x", "z")), "they show x, z, the task x, y"),
        (lambda history: replace(history, n_actions=6), "they have 6 actions, the task 5"),
        (lambda history: replace(history, actions=history.actions + np.int8(3)), "an action is none of 0 to 4"),
        (lambda history: replace(history, observations=history.observations * np.int8(2)), "x is not always in 0 to 2"),
        (lambda history: replace(history, task={}), "their facts are missing, those of the task {'goal': (2,)}"),
        (lambda history: history.window(stop=20), "their episodes are not all of 6 steps"),
        (lambda history: replace(history, rewards=history.rewards / 2), "they pay 0.5; the task pays (0.0, 1.0)"),
    ],
)
def test_records_of_something_else_are_refused(tmp_path: Path, change: Callable[[History], History], said: str) -> None:
    recorded(tmp_path, change=change)
    with pytest.raises(DataError) as error:
        Recorded(str(tmp_path)).open(ROOM)
    assert f"do not fit dark-room:\n  {said}" in str(error.value)


def test_what_was_recorded_cannot_live(tmp_path: Path) -> None:
    source = Recorded(str(tmp_path))
    assert not source.can_live
    with pytest.raises(DataError, match="cannot live again"):
        source.live(ROOM, ROOM.tasks(), 2, np.random.default_rng(0))
    with pytest.raises(DataError, match="unfinished"):
        select(tmp_path / "kept", ROOM, source, None, ROOM.tasks(), learners=1, episodes=1)


# --- the verb and the check


def written(settings: Config, path: Path) -> Path:
    """Write a configuration to a file."""
    path.write_text(yaml.safe_dump(settings.model_dump()), encoding="utf-8")
    return path


def test_histories_are_shown(cli, tmp_path: Path) -> None:
    settings = config({"name": "dyna-q", "planning": 5}, learners=36, episodes=20, check=True)
    generated = histories(settings, tmp_path)
    assert (generated.histories.n_histories, generated.histories.n_steps, generated.folder) == (36, 120, tmp_path)
    assert len(repr(generated)) < 200
    assert (tmp_path / "learning.png").read_bytes().startswith(b"\x89PNG")
    command = ("histories", written(settings, tmp_path / "walks.yaml"), "--out", tmp_path)
    shown = json.loads(cli(*command, "--json").out)
    assert (shown["histories"], shown["steps"], shown["learning"]["unit"]) == (36, 120, "episode")
    assert shown["learning"]["last"] > shown["learning"]["first"]
    assert "learners that improve" in cli(*command).out
    record = {"source": source_figures(settings, tmp_path)}
    assert draw_source_curve(record["source"], settings) == (tmp_path / "learning.png").read_bytes()
    assert "36 learners earn" in sentence(Learning(**record["source"]))


def test_training_refuses_a_source_that_does_not_learn(cli, tmp_path: Path) -> None:
    source = {"name": "annealed-expert", "epsilon_first": 0.6, "epsilon_last": 0.6}
    settings = config(source, learners=60, check=True)
    with pytest.raises(DataError, match=r"the source does not learn: .*\n.*histories\.check: false"):
        training_histories(settings, tmp_path, lambda *_: None)
    ran = cli("histories", written(settings, tmp_path / "walks.yaml"), "--out", tmp_path, "--json")
    assert ran.code == 2
    assert "does not learn" in ran.err
    assert json.loads(ran.out)["histories"] == 60
    kept = training_histories(config(source, learners=60), tmp_path, lambda *_: None)
    assert kept.n_histories == open_histories(tmp_path).n_histories == 60
