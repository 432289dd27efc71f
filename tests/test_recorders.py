"""Histories from Stable-Baselines3 and from and to Minari, and the fixed horizon that makes environments fit."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from test_new_sources import BANDIT, ROOM, config, obeys, same

from ad_hypotheses import load_histories
from ad_hypotheses.distill.train import training_histories
from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.sources import DynaQ, Thompson, learning_curve, minari_data, open_histories, sb3, write_histories
from ad_hypotheses.sources.recording import Recording
from ad_hypotheses.sources.sb3 import FixedHorizon, grid_channels, laps
from ad_hypotheses.studies.histories.study import export, histories
from ad_hypotheses.tasks import DarkRoom, Task, make_task


def missing(library: str, extra: str) -> pytest.MarkDecorator:
    found = importlib.util.find_spec(library) is not None
    return pytest.mark.skipif(not found, reason=f"{library} is not installed: pip install 'ad-hypotheses[{extra}]'")


# --- a fixed horizon, and Stable-Baselines3


def grid_world(horizon: int = 12) -> tuple[Task, FixedHorizon]:
    task = make_task("minigrid:MiniGrid-Empty-5x5-v0", horizon=horizon)
    env = gymnasium.make("MiniGrid-Empty-5x5-v0")
    return task, FixedHorizon(env, task, seed=0, see=grid_channels, pay=laps)


def test_an_episode_goes_on_after_the_goal() -> None:
    task, env = grid_world()
    facts, rng = {"layout": np.array([0])}, np.random.default_rng(0)
    state = task.reset(facts, rng)
    assert (env.reset(seed=99)[0] == task.observe(state)[0]).all()
    earned = 0.0
    for step, action in enumerate([2, 2, 1, 2, 2, 2, 2, 1, 2, 2, 0, 2]):  # two laps to the goal
        seen, reward, terminated, truncated, _ = env.step(action)
        expected, paid, state = task.step(state, np.array([action]), rng)
        assert (seen == expected[0]).all()
        assert (reward, terminated, truncated) == (paid[0], False, step == 11)
        earned += reward
    assert earned == 2


def test_an_environment_that_stops_too_early_is_refused() -> None:
    task = make_task("minigrid:MiniGrid-Empty-5x5-v0", horizon=12)
    env = FixedHorizon(gymnasium.make("MiniGrid-Empty-5x5-v0", max_steps=3), task, seed=0)
    env.reset()
    env.step(0)
    env.step(1)
    with pytest.raises(DataError, match="after 3 steps, before the horizon of 12"):
        env.step(0)


def dark_room_env(task: DarkRoom = ROOM) -> FixedHorizon:
    env = gymnasium.make("ad_hypotheses/DarkRoom-v0", size=task.size, horizon=task.horizon)
    return FixedHorizon(env, task, options={"goal": (0, 1)})


def ppo(make: Callable[[], Any], n_envs: int = 1, **params: Any) -> Any:
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    settings = {"n_steps": 48, "batch_size": 48, "n_epochs": 6, "learning_rate": 3e-3, "seed": 3} | params
    return PPO("MlpPolicy", DummyVecEnv([make] * n_envs), device="cpu", **settings)


@missing("stable_baselines3", "sb3")
def test_ppo_in_dark_room_is_written_down(tmp_path: Path) -> None:
    from ad_hypotheses.sources.sb3 import record_learning

    goal = {"goal": np.array([[0, 1]], dtype=np.int8)}
    history = record_learning(ppo(dark_room_env, n_envs=4), ROOM, goal, 40, learner=7)
    assert (history.n_rows, history.n_steps) == (4, 40 * 6)
    assert history.learner is not None
    assert history.learner.tolist() == [7] * 4
    assert obeys(history, ROOM)
    curve = learning_curve(history)
    assert curve[-8:].mean() > 2 * curve[:8].mean()
    write_histories(tmp_path / "record", history, {"made_by": "ppo"})
    settings = config({"name": "recorded", "folder": str(tmp_path / "record")}, held_out=0, learners=4, episodes=40)
    assert same(training_histories(settings, tmp_path / "kept", lambda *_: None).rows(np.arange(4)), history)


@missing("stable_baselines3", "sb3")
def test_ppo_in_a_minigrid_environment_is_written_down() -> None:
    from stable_baselines3.common.vec_env import VecNormalize

    from ad_hypotheses.sources.sb3 import record_learning

    task, _ = grid_world()
    model = ppo(lambda: grid_world()[1])
    history = record_learning(model, task, {"layout": np.array([0])}, 6)
    assert obeys(history, task)
    scaled = ppo(lambda: grid_world()[1])
    scaled.set_env(VecNormalize(scaled.get_env(), norm_obs=False))
    assert obeys(record_learning(scaled, task, {"layout": np.array([0])}, 6), task)


@missing("stable_baselines3", "sb3")
def test_what_cannot_be_written_down_is_explained() -> None:
    from ad_hypotheses.sources.sb3 import record_learning

    goal = {"goal": np.array([[0, 1]], dtype=np.int8)}
    with pytest.raises(DataError, match=r"did not end after 5 steps, but .* is 5.*FixedHorizon\(env, task\)"):
        record_learning(ppo(dark_room_env), replace(ROOM, horizon=5), goal, 4)
    with pytest.raises(DataError, match="ended after 6 steps, but the horizon of dark-room is 7"):
        record_learning(ppo(dark_room_env), replace(ROOM, horizon=7), goal, 4)
    with pytest.raises(DataError, match="are not the channels x, y of dark-room"):
        record_learning(ppo(dark_room_env), ROOM, goal, 4, encode=lambda seen: np.asarray(seen)[:, :1])
    with pytest.raises(DataError, match="goal has 3 rows; give one, or one for each of 1 environments"):
        record_learning(ppo(dark_room_env), ROOM, {"goal": np.zeros((3, 2), dtype=np.int8)}, 4)


# --- Minari


@pytest.fixture
def minari_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


@missing("minari", "minari")
@pytest.mark.parametrize("on_disk", [False, True])
def test_minari_gives_back_what_it_was_given(minari_folder: Path, on_disk: bool, monkeypatch: Any) -> None:
    from ad_hypotheses.sources.minari_data import export_minari, import_minari

    monkeypatch.setattr("ad_hypotheses.sources.minari_data.CHUNK", 2)
    told: list[tuple[int, int]] = []
    for task, source in ((ROOM, DynaQ(planning=1)), (BANDIT, Thompson())):
        facts = task.sample_tasks(np.random.default_rng(0), 5)
        history = replace(source.live(task, facts, 3, np.random.default_rng(0)), learner=np.array([7, 7, 1, 3, 9]))
        lives = write_histories(minari_folder / task.name, history, {}) if on_disk else history
        export_minari(lives, f"test/{task.name}-v0", task, lambda done, total: told.append((done, total)))
        assert same(import_minari(f"test/{task.name}-v0"), history)
        assert same(load_histories(f"minari:test/{task.name}-v0"), history)
        assert same(load_histories(f"minari:test/{task.name}-v0", rows=2), history[:2])
        assert not on_disk or same(load_histories(minari_folder / task.name), history)
    assert told == [(2, 5), (4, 5), (5, 5)] * 2


@missing("minari", "minari")
def test_a_minari_dataset_of_somebody_else(minari_folder: Path) -> None:
    from ad_hypotheses.sources.minari_data import import_minari

    shown = spaces.Dict({"cell": spaces.Discrete(200, start=1), "door": spaces.Discrete(2)})
    seen = {"cell": np.array([1, 200, 3, 4]), "door": np.array([0, 1, 1, 0])}
    foreign("other-v0", [(seen, [5, 6, 5])] * 4, shown, spaces.Discrete(2, start=5))
    history = import_minari("other-v0")
    assert history.channels == ("cell", "door")
    assert (history.n_rows, history.n_steps, history.n_actions) == (1, 12, 2)
    assert history.observations[0, :4].tolist() == [[0, 0], [199, 1], [2, 1], [0, 0]]
    assert history.actions[0].tolist() == [0, 1, 0] * 4
    assert history.episode[0].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert history.rewards[0].tolist() == [0, 0, 1] * 4


def foreign(name: str, episodes: list[tuple[Any, list[int]]], shown: spaces.Space, actions: spaces.Space) -> None:
    """Write a dataset as Minari's own recorder would, paying 1 at the end of each episode."""
    import minari

    buffers = [
        minari.data_collector.EpisodeBuffer(
            observations=seen,
            actions=np.asarray(done),
            rewards=[0.0] * (len(done) - 1) + [1.0],
            terminations=[False] * len(done),
            truncations=[False] * (len(done) - 1) + [True],
        )
        for seen, done in episodes
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(name, buffers, observation_space=shown, action_space=actions)


@missing("minari", "minari")
def test_what_minari_cannot_give_or_take_is_explained(minari_folder: Path) -> None:
    from ad_hypotheses.sources.minari_data import export_minari, import_minari

    history = DynaQ(planning=1).live(ROOM, ROOM.tasks(), 2, np.random.default_rng(0))
    with pytest.raises(DataError, match="'my data' is no name of a Minari dataset"):
        export_minari(history, "my data", ROOM)
    export_minari(history, "room-v0", ROOM)
    with pytest.raises(DataError, match="there is a Minari dataset room-v0 already"):
        export_minari(history, "room-v0", ROOM)
    ragged = replace(history, episode=np.where(np.arange(9)[:, None] == 3, 0, history.episode))
    with pytest.raises(DataError, match="different steps"):
        export_minari(ragged, "ragged-v0", ROOM)
    with pytest.raises(DataError, match="Minari has no dataset 'ragged-v0'"):
        import_minari("ragged-v0")
    two = [(np.array([0, 1, 0]), [0, 1]), (np.array([0, 1]), [0])]
    foreign("lengths-v0", two, spaces.Discrete(2), spaces.Discrete(2))
    with pytest.raises(DataError, match="take 1 to 2 steps, but those of a history must all take the same number"):
        import_minari("lengths-v0")
    real = [(np.zeros((3, 2), dtype=np.float32), [0, 1])]
    foreign("real-v0", real, spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2))
    with pytest.raises(DataError, match="the observations of real-v0 are Box"):
        import_minari("real-v0")
    foreign("wide-v0", [(np.array([0, 1]), np.array([[0.5]]))], spaces.Discrete(2), spaces.Box(0, 1, (1,)))
    with pytest.raises(DataError, match="the actions of wide-v0 are Box"):
        import_minari("wide-v0")


@pytest.mark.parametrize("library", ["minari", "stable_baselines3.common.callbacks"])
def test_extras_that_are_not_installed_are_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    ask = {
        "minari": lambda: minari_data.import_minari("x-v0"),
        "stable_baselines3.common.callbacks": lambda: sb3._recorder(Recording.of(ROOM, 1, 1, 1), np.asarray),
    }[library]
    with pytest.raises(UserError, match=r"not installed. Install it: pip install 'ad-hypotheses\["):
        ask()


@missing("minari", "minari")
def test_histories_are_exported(tmp_path: Path, minari_folder: Path) -> None:
    from ad_hypotheses.sources.minari_data import import_minari

    export(histories(config({"name": "dyna-q", "planning": 2}), tmp_path / "kept"), "dark-room/dyna-q-v0")
    assert same(import_minari("dark-room/dyna-q-v0"), open_histories(tmp_path / "kept").rows(np.arange(12)))
