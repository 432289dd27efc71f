"""Learners: single updates by hand, and that they do learn."""

from __future__ import annotations

import numpy as np
import pytest

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.sources import (
    UCB1,
    DynaQ,
    EpsilonGreedyQ,
    Thompson,
    episode_returns,
    learning_curve,
    make_source,
    q_learning,
    replay,
)
from ad_hypotheses.sources.q_learning import TIE_BREAK, _live_episode, _Memory, _Tables
from ad_hypotheses.sources.recording import keep_episodes
from ad_hypotheses.tasks import BernoulliBandit, DarkRoom


def goals(copies: int) -> dict[str, np.ndarray]:
    return {"goal": np.tile(DarkRoom().tasks()["goal"], (copies, 1))}


def one_table(source: EpsilonGreedyQ | DynaQ, planning: int = 0) -> _Tables:
    """Tables of one learner in a room of 2 x 2 cells, rows 0 .. 3, all values 0."""
    tables = _Tables(source, planning, DarkRoom(size=2), 1, np.random.default_rng(0))
    tables.values[:] = 0
    return tables


def learn(tables: _Tables, row: int, action: int, reward: float, next_row: int) -> None:
    tables.learn(
        np.array([row]),
        np.array([action], dtype=np.int8),
        np.array([reward], dtype=np.float32),
        np.array([next_row]),
        np.random.default_rng(0),
    )


def test_an_update_of_q_learning_by_hand() -> None:
    tables = one_table(EpsilonGreedyQ(alpha=0.5, gamma=0.8))
    tables.values[2, 1], tables.values[4, 3] = 3.0, 2.0
    learn(tables, row=1, action=2, reward=1.0, next_row=3)
    expected = np.zeros((5, 4))
    expected[4, 3] = 2.0
    expected[2, 1] = 3.0 + 0.5 * (1.0 + 0.8 * 2.0 - 3.0)
    assert tables.values == pytest.approx(expected)
    assert tables.greedy(np.array([1])).tolist() == [2]


def test_planning_replays_what_was_tried_and_nothing_else() -> None:
    tables = one_table(DynaQ(alpha=1.0, gamma=0.5), planning=8)
    learn(tables, row=0, action=1, reward=0.0, next_row=1)
    assert not tables.values.any()
    learn(tables, row=1, action=3, reward=4.0, next_row=2)
    expected = np.zeros((5, 4))
    # the reward has come back to row 0 without going there again
    expected[3, 1], expected[1, 0] = 4.0, 2.0
    assert tables.values == pytest.approx(expected)


def test_memory_keeps_a_transition_once_with_its_latest_outcome() -> None:
    memory = _Memory(planning=50, n_learners=1, n_places=6)
    for place, reward, next_row in ((4, 0.0, 1), (2, 1.0, 0), (4, 3.0, 2)):
        memory.keep(np.array([place]), np.array([reward], dtype=np.float32), np.array([next_row]))
    places, rewards, next_rows = memory.draw(memory.chances(np.random.default_rng(0)), memory.replayed_rewards())
    drawn = set(zip(places[:, 0].tolist(), rewards[:, 0].tolist(), next_rows[:, 0].tolist(), strict=True))
    assert drawn == {(4, 3.0, 2), (2, 1.0, 0)}


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_the_loop_that_is_compiled_replays_the_very_same_numbers(alpha: float, monkeypatch: pytest.MonkeyPatch) -> None:
    source, task = DynaQ(alpha=alpha, planning=5), DarkRoom(size=3, horizon=4)
    lives = {}
    for name, loop in (("numpy", None), ("loop", replay.replay)):
        monkeypatch.setattr(q_learning, "compiled", lambda transitions, loop=loop: loop)
        tables = _Tables(source, source.planning, task, 7, rng := np.random.default_rng(0))
        facts = task.sample_tasks(rng, 7)
        for _ in range(6):
            _live_episode(tables, task, facts, 0.3, rng, lambda step, observations, actions, rewards: None)
        lives[name] = tables.values
    assert len(np.unique(lives["numpy"])) > 20
    assert (lives["loop"] == lives["numpy"]).all()


@pytest.mark.slow
def test_compiled_lives_are_the_same_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    facts = DarkRoom().sample_tasks(np.random.default_rng(0), 40)
    plain = DynaQ().live(DarkRoom(), facts, 4, np.random.default_rng(1))
    monkeypatch.setattr(replay, "WORTH", 0)
    compiled = DynaQ().live(DarkRoom(), facts, 4, np.random.default_rng(1))
    assert (compiled.actions == plain.actions).all()
    assert (compiled.rewards == plain.rewards).all()


def test_compiling_waits_until_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "_compiled", lambda: replay.replay)
    monkeypatch.setattr(replay.Effort, "replayed", 0)
    monkeypatch.setattr(replay, "WORTH", 100)
    assert [replay.compiled(60) for _ in range(2)] == [None, replay.replay]


def test_values_begin_at_the_initial_value_with_ties_broken() -> None:
    tables = _Tables(EpsilonGreedyQ(initial_value=2.0), 0, DarkRoom(), 50, np.random.default_rng(0))
    assert abs(tables.values - 2.0).max() <= 1.01 * TIE_BREAK
    chosen = np.bincount(tables.greedy(tables.first_row + 40), minlength=5)
    assert (chosen > 0).all()


@pytest.mark.slow
def test_dyna_q_ends_near_the_optimum_for_every_goal() -> None:
    history = DynaQ().live(DarkRoom(), goals(10), 38, np.random.default_rng(0))
    curve = learning_curve(history)
    last = episode_returns(history)[:, -1]
    corner = (np.abs(goals(10)["goal"].astype(int) - 4).sum(axis=1)) == 8
    assert curve[0] < 1
    assert (np.diff(curve[::6]) > 0).all()
    assert curve[-1] >= 16.3
    assert last[corner].mean() >= 12.5
    assert (last > 0).mean() >= 0.998


def test_q_learning_learns_as_well_given_more_time() -> None:
    curve = learning_curve(EpsilonGreedyQ().live(DarkRoom(), goals(3), 130, np.random.default_rng(0)))
    assert curve[0] < 1.5
    assert curve[-1] >= 15.9


def test_q_learning_works_where_there_is_nothing_to_see() -> None:
    bandit = BernoulliBandit(arms=2, horizon=20)
    source = EpsilonGreedyQ(alpha=0.1, gamma=0.0, initial_value=1.0, anneal_episodes=5)
    history = source.live(bandit, {"means": np.tile([0.1, 0.9], (40, 1))}, 15, np.random.default_rng(0))
    assert (history.actions[:, -20:] == 1).mean() > 0.95


def test_exploring_fades_linearly_and_then_stays() -> None:
    # one arm pays always and is known from the start, so every other pull is a random one
    bandit = BernoulliBandit(arms=2, horizon=40)
    source = EpsilonGreedyQ(0.5, 0.0, initial_value=0.0, epsilon_first=1.0, epsilon_last=0.2, anneal_episodes=4)
    history = source.live(bandit, {"means": np.tile([0.0, 1.0], (400, 1))}, 7, np.random.default_rng(0))
    strayed = (history.actions.reshape(400, 7, 40)[:, 1:] == 0).mean(axis=(0, 2))
    assert strayed == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.1, 0.1], abs=0.01)


@pytest.mark.parametrize("source", [EpsilonGreedyQ(), DynaQ(planning=3), UCB1(), Thompson()])
def test_a_seed_decides_a_life(source: EpsilonGreedyQ | DynaQ | UCB1 | Thompson) -> None:
    task = BernoulliBandit(horizon=30) if isinstance(source, UCB1 | Thompson) else DarkRoom()
    facts = task.sample_tasks(np.random.default_rng(1), 20)
    first, again, other = (source.live(task, facts, 4, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert (first.actions == again.actions).all()
    assert (first.rewards == again.rewards).all()
    assert (first.actions != other.actions).any()


@pytest.mark.parametrize("source", [DynaQ(planning=3), EpsilonGreedyQ()])
def test_keeping_every_third_episode_thins_the_same_life(source: EpsilonGreedyQ | DynaQ) -> None:
    room = DarkRoom(size=5, horizon=7)
    facts = room.tasks()
    whole = source.live(room, facts, 8, np.random.default_rng(0))
    thinned = source.live(room, facts, 8, np.random.default_rng(0), keep_every=3)
    steps = np.concatenate([np.arange(7) + 7 * episode for episode in (0, 3, 6)])
    assert (thinned.actions == whole.actions[:, steps]).all()
    assert (thinned.observations == whole.observations[:, steps]).all()
    assert (thinned.rewards == whole.rewards[:, steps]).all()
    assert thinned.episode[0].tolist() == [0] * 7 + [1] * 7 + [2] * 7
    assert (keep_episodes(whole, room, 3).actions == thinned.actions).all()
    assert (keep_episodes(whole, room, 3).episode == thinned.episode).all()


def test_a_history_obeys_the_world() -> None:
    room = DarkRoom(size=4, horizon=6)
    history = DynaQ(planning=2).live(room, room.tasks(), 3, np.random.default_rng(0))
    for row in range(room.n_tasks):
        for first in range(0, 18, 6):
            state = room.reset({"goal": history.task["goal"][row : row + 1]})
            for step in range(first, first + 6):
                assert (history.observations[row, step] == room.observe(state)[0]).all()
                _, rewards, state = room.step(state, history.actions[row, step : step + 1])
                assert history.rewards[row, step] == rewards[0]


@pytest.mark.parametrize(("source", "most"), [(UCB1(), 25), (Thompson(), 14)])
def test_bandit_learners_regret_less_than_chance(source: UCB1 | Thompson, most: float) -> None:
    bandit = BernoulliBandit()
    facts = bandit.sample_tasks(np.random.default_rng(0), 300)
    history = source.live(bandit, facts, 1, np.random.default_rng(0))
    regret = bandit.regret(history)
    assert regret.sum(axis=1).mean() < most
    assert regret[:, 80:].mean() < regret[:, :20].mean() / 1.5
    assert (np.sort(history.actions[:, :5], axis=1) == np.arange(5)).all() == isinstance(source, UCB1)


def test_bandit_learners_remember_across_episodes() -> None:
    bandit = BernoulliBandit(arms=3, horizon=4)
    history = UCB1().live(bandit, {"means": np.tile([0.0, 0.0, 1.0], (8, 1))}, 10, np.random.default_rng(0))
    # unpulled arms come first, and only once in a life
    assert (history.actions[:, 20:] == 2).mean() > 0.6


@pytest.mark.parametrize(
    ("name", "params", "fragment"),
    [
        ("dina-q", {}, "there is no source 'dina-q'. Did you mean 'dyna-q'?"),
        ("dyna-q", {"planing": 3}, "dyna-q has no parameter 'planing'. Did you mean 'planning'?"),
        ("dyna-q", {"planning": 2.5}, "planning is 2.5, but it must be of type int"),
        ("dyna-q", {"planning": -1}, "planning is -1, but it must be at least 0"),
        ("dyna-q", {"alpha": 0}, "alpha is 0.0, but it must be above 0"),
        ("epsilon-greedy-q", {"gamma": 1.0}, "gamma is 1.0, but it must be at least 0 and below 1"),
        ("epsilon-greedy-q", {"epsilon_first": 2}, "epsilon_first is 2.0, but it must be 0 to 1"),
        ("ucb1", {"bonus": 2}, "ucb1 has no parameter 'bonus'"),
    ],
)
def test_wrong_sources_are_explained(name: str, params: dict[str, object], fragment: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_source(name, **params)
    assert fragment in str(error.value)


def test_sources_refuse_tasks_that_they_cannot_learn() -> None:
    rng, bandit = np.random.default_rng(0), BernoulliBandit()
    with pytest.raises(ConfigError, match="bandit is random"):
        DynaQ().live(bandit, bandit.sample_tasks(rng, 2), 1, rng)
    for source in (UCB1(), Thompson()):
        with pytest.raises(ConfigError, match="learns bandits, not dark-room"):
            source.live(DarkRoom(), goals(1), 1, rng)


@pytest.mark.parametrize(("episodes", "keep_every"), [(0, 1), (3, 0)])
def test_there_must_be_something_to_live_and_to_keep(episodes: int, keep_every: int) -> None:
    for source, task in ((DynaQ(), DarkRoom()), (UCB1(), BernoulliBandit())):
        facts = task.sample_tasks(np.random.default_rng(0), 2)
        with pytest.raises(ConfigError, match="must be at least 1"):
            source.live(task, facts, episodes, np.random.default_rng(0), keep_every)
