"""Worlds: known numbers, the gymnasium checker, and the batched world in lockstep with the environment."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from laws import law

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks import BernoulliBandit, DarkRoom, make_task
from ad_hypotheses.tasks.bandit_policies import pulls_and_wins, thompson, ucb1, ucb1_index
from ad_hypotheses.tasks.play import baselines, draw, play, play_expert
from ad_hypotheses.tasks.room import gate_and_walk

STAY, UP, DOWN, LEFT, RIGHT = range(5)
ENVIRONMENTS = ("ad_hypotheses/DarkRoom-v0", "ad_hypotheses/BernoulliBandit-v0")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def lived(observations, actions, rewards, episode, n_actions=5, **facts) -> History:
    """A single history written by hand."""
    return History(
        observations=np.array([observations], dtype=np.int8).reshape(1, len(actions), -1),
        actions=np.array([actions], dtype=np.int8),
        rewards=np.array([rewards], dtype=np.float32),
        episode=np.array([episode], dtype=np.int16),
        channels=("x", "y") if len(np.shape(observations)) == 2 else (),
        n_actions=n_actions,
        task={name: np.array([fact]) for name, fact in facts.items()},
    )


# --- Dark Room


def test_the_mean_optimum_is_the_one_of_the_paper() -> None:
    room = DarkRoom()
    assert len(room.tasks()["goal"]) == room.n_tasks == 81
    assert room.optimal_return(room.tasks()).mean() == pytest.approx(16.54, abs=0.005)


@pytest.mark.parametrize(("size", "horizon"), [(9, 20), (2, 1), (4, 3), (17, 20)])
def test_walking_straight_earns_exactly_the_optimum(size: int, horizon: int, rng: np.random.Generator) -> None:
    room = DarkRoom(size, horizon)
    history = play_expert(room, room.tasks(), 2, rng)
    returns = history.rewards.reshape(room.n_tasks, 2, horizon).sum(axis=2)
    assert (returns == room.optimal_return(room.tasks())[:, None]).all()


def test_acting_at_random_earns_next_to_nothing(rng: np.random.Generator) -> None:
    room = DarkRoom()
    history = play(room, room.tasks(), baselines(room, rng)["random"], 20, rng)
    assert 0.15 < history.rewards.sum() / (81 * 20) < 0.35


def test_a_walk_by_hand() -> None:
    room = DarkRoom(size=3, horizon=6)
    state = room.reset({"goal": np.array([[2, 0]])})
    assert room.observe(state).tolist() == [[1, 1]]
    path = []
    for action in (RIGHT, RIGHT, UP, STAY, LEFT, DOWN):
        seen, rewards, state = room.step(state, np.array([action]))
        path.append((*seen[0].tolist(), float(rewards[0])))
    assert path == [(2, 1, 0.0), (2, 1, 0.0), (2, 0, 1.0), (2, 0, 1.0), (1, 0, 0.0), (1, 1, 0.0)]


def test_splits_do_not_overlap_and_hold_out_the_same_goals_whatever_is_trained_on() -> None:
    room = DarkRoom()
    train, held_out = room.split(held_out=16, seed=3)
    fewer, same = room.split(held_out=16, seed=3, train=5)
    cells = {tuple(goal) for goal in train["goal"].tolist()} | {tuple(goal) for goal in held_out["goal"].tolist()}
    assert len(train["goal"]) == 65
    assert len(cells) == 81
    assert (same["goal"] == held_out["goal"]).all()
    assert (fewer["goal"] == train["goal"][:5]).all()
    assert (room.split(16, seed=4)[1]["goal"] != held_out["goal"]).any()


def test_regimes_follow_what_is_visible() -> None:
    room = DarkRoom(size=3, horizon=3)
    history = lived(
        [[1, 1], [2, 1], [2, 1], [1, 1], [2, 1], [2, 1]],
        [RIGHT, STAY, STAY, RIGHT, STAY, STAY],
        [1, 1, 1, 1, 1, 1],
        [0, 0, 0, 1, 1, 1],
    )
    regimes = room.regimes(history)
    named = [next(name for name, steps in regimes.items() if steps[0, step]) for step in range(6)]
    assert named == ["explore", "stay", "stay", "navigate", "stay", "stay"]


def test_a_reward_at_the_end_of_an_episode_shows_no_cell() -> None:
    history = lived([[1, 1], [1, 1], [1, 1]], [UP, STAY, UP], [1, 0, 0], [0, 1, 1])
    assert DarkRoom(size=3, horizon=1).regimes(history)["explore"].all()


@given(st.integers(0, 2**32 - 1), st.sampled_from(["dark-room", "bandit"]))
@law(20)
def test_every_step_is_in_exactly_one_regime(seed: int, name: str) -> None:
    task, rng = make_task(name), np.random.default_rng(seed)
    history = play(task, task.sample_tasks(rng, 3), baselines(task, rng)["random"], 2, rng)
    assert (sum(steps.astype(int) for steps in task.regimes(history).values()) == 1).all()


# --- bandit


def test_regret_uses_the_means_and_not_the_luck() -> None:
    bandit = BernoulliBandit(arms=3, horizon=3)
    history = lived([], [0, 2, 1], [0, 0, 1], [0, 0, 0], n_actions=3, means=[0.25, 0.5, 1.0])
    assert bandit.regret(history).tolist() == [[0.75, 0.0, 0.5]]
    assert bandit.optimal_return(history.task).tolist() == [3.0]


def test_bandit_regimes_by_hand() -> None:
    history = lived([], [0, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0], n_actions=2)
    regimes = BernoulliBandit(arms=2, horizon=4).regimes(history)
    assert regimes["start"].tolist() == [[True, True, False, False]]
    assert regimes["after win"].tolist() == [[False, False, True, False]]
    assert regimes["after loss"].tolist() == [[False, False, False, True]]


def test_arms_pay_as_often_as_they_say(rng: np.random.Generator) -> None:
    bandit = BernoulliBandit(arms=3)
    state = bandit.reset({"means": np.tile([0.0, 0.3, 1.0], (30_000, 1))})
    arms = np.arange(30_000) % 3
    seen, rewards, _ = bandit.step(state, arms, rng)
    assert seen.shape == (30_000, 0)
    assert [rewards[arms == 0].mean(), rewards[arms == 2].mean()] == [0.0, 1.0]
    assert rewards[arms == 1].mean() == pytest.approx(0.3, abs=0.02)


def test_bandits_to_train_on_are_not_those_held_out() -> None:
    train, held_out = BernoulliBandit().split(held_out=7, seed=0, train=11)
    assert train["means"].shape == (11, 5)
    assert held_out["means"].shape == (7, 5)
    assert not np.isin(held_out["means"], train["means"]).any()


# --- gymnasium


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_gymnasiums_checker_finds_nothing(name: str) -> None:
    check_env(gymnasium.make(name).unwrapped)


@given(st.integers(2, 6), st.integers(1, 12), st.data())
def test_the_environment_and_the_batched_world_agree(size: int, horizon: int, data: st.DataObject) -> None:
    coordinate = st.integers(0, size - 1)
    goal = data.draw(st.tuples(coordinate, coordinate))
    actions = data.draw(st.lists(st.integers(0, 4), min_size=horizon, max_size=horizon))
    room = DarkRoom(size, horizon)
    env = gymnasium.make(ENVIRONMENTS[0], size=size, horizon=horizon)
    seen, _ = env.reset(options={"goal": goal})
    state = room.reset({"goal": np.array([goal])})
    assert seen.tolist() == room.observe(state)[0].tolist()
    for step, action in enumerate(actions):
        seen, reward, terminated, truncated, _ = env.step(action)
        batched, rewards, state = room.step(state, np.array([action]))
        assert seen.tolist() == batched[0].tolist()
        assert reward == rewards[0]
        assert not terminated
        assert truncated == (step == horizon - 1)


@given(st.integers(2, 6), st.integers(0, 2**16), st.data())
@law(20)
def test_the_bandit_environment_and_the_batched_world_agree(arms: int, seed: int, data: st.DataObject) -> None:
    means = data.draw(st.lists(st.floats(0, 1), min_size=arms, max_size=arms))
    bandit = BernoulliBandit(arms, horizon=8)
    env = gymnasium.make(ENVIRONMENTS[1], arms=arms, horizon=8)
    env.reset(seed=seed, options={"means": means})
    rng = gymnasium.utils.seeding.np_random(seed)[0]
    state = bandit.reset({"means": np.array([means])})
    for step, arm in enumerate(data.draw(st.lists(st.integers(0, arms - 1), min_size=8, max_size=8))):
        seen, reward, terminated, truncated, _ = env.step(arm)
        _, rewards, state = bandit.step(state, np.array([arm]), rng)
        assert (seen, reward, terminated, truncated) == (0, rewards[0], False, step == 7)


def goal_of(env: gymnasium.Env) -> tuple[int, int]:
    """The cell drawn green, which only the picture shows."""
    picture = env.render().reshape(11, 32, 11, 32, 3)[:, 4, :, 4]
    y, x = np.argwhere((picture == [0, 255, 0]).all(axis=-1))[0] - 1
    return int(x), int(y)


def test_the_picture_shows_the_goal_and_a_goal_stays_until_named_or_drawn() -> None:
    env = gymnasium.make(ENVIRONMENTS[0], render_mode="rgb_array")
    env.reset(seed=1, options={"goal": (0, 8)})
    assert goal_of(env) == (0, 8)
    env.reset()
    assert goal_of(env) == (0, 8)
    drawn = set()
    for seed in range(5):
        env.reset(seed=seed)
        drawn.add(goal_of(env))
    env.reset(seed=4)
    assert goal_of(env) in drawn
    assert len(drawn) > 1


@pytest.mark.parametrize("goal", [(9, 0), (0, -1), (1,), (0.5, 1), "ab"])
def test_a_goal_outside_the_room_is_refused(goal: object) -> None:
    with pytest.raises(ConfigError, match="no cell"):
        gymnasium.make(ENVIRONMENTS[0]).reset(options={"goal": goal})


def test_means_that_are_no_probabilities_are_refused() -> None:
    for means in ([0.1] * 4, [0.1, 0.2, 0.3, 0.4, 1.5]):
        with pytest.raises(ConfigError, match="5 probabilities"):
            gymnasium.make(ENVIRONMENTS[1]).reset(options={"means": means})


# --- baselines


def test_what_is_drawn_follows_the_distribution_and_never_what_is_impossible(rng: np.random.Generator) -> None:
    drawn = draw(np.tile([0.0, 0.25, 0.75, 0.0], (20_000, 1)), rng)
    assert np.bincount(drawn, minlength=4) / 20_000 == pytest.approx([0, 0.25, 0.75, 0], abs=0.02)


def test_the_gate_opens_at_a_reward_and_closes_when_it_leaves_the_window() -> None:
    room = DarkRoom(size=3, horizon=8)
    seen = [[1, 1], [2, 1], [1, 1], [1, 1], [1, 1]]
    history = lived(seen, [RIGHT, LEFT, STAY, STAY, STAY], [1, 0, 0, 0, 0], [0] * 5)
    right = np.eye(5)[[RIGHT]]
    assert (gate_and_walk(room, window=4)(history) == right).all()
    assert gate_and_walk(room, window=3)(history) == pytest.approx(np.full((1, 5), 0.2))


@pytest.mark.parametrize(
    ("name", "early", "late"),
    [("gate-and-walk", 0.10, 0.76), ("nearest-unvisited", 0.15, 1.0), ("thompson-over-goals", 0.15, 1.0)],
)
def test_baselines_of_dark_room_earn_what_is_known_of_them(
    name: str, early: float, late: float, rng: np.random.Generator
) -> None:
    room = DarkRoom()
    facts = {"goal": np.tile(room.tasks()["goal"], (4, 1))}
    history = play(room, facts, baselines(room, rng)[name], 20, rng)
    share = history.rewards.reshape(324, 20, 20).sum(axis=2).mean(axis=0) / 16.54
    assert share[0] == pytest.approx(early, abs=0.04)
    assert share[19] == pytest.approx(late, abs=0.06)


def test_the_index_of_ucb1_by_hand() -> None:
    index = ucb1_index(np.array([[2, 1, 1], [3, 0, 0]]), np.array([[1.0, 1.0, 0.0], [3.0, 0.0, 0.0]]))
    bonus = np.sqrt(2 * np.log(4))
    assert index[0] == pytest.approx([0.5 + bonus / np.sqrt(2), 1 + bonus, bonus])
    assert index[1] == pytest.approx([1 + np.sqrt(2 * np.log(3) / 3), np.inf, np.inf])


def test_ucb1_on_a_stream_by_hand() -> None:
    bandit = BernoulliBandit(arms=3, horizon=5)
    chosen = [
        ucb1(bandit)(lived([], [0, 1, 2, 1, 0][:n], [0, 1, 0, 0, 0][:n], [0] * n, n_actions=3))[0].tolist()
        for n in (1, 2, 4, 5)
    ]
    third = pytest.approx(1 / 3)
    # anything, anything else, the arm that won; then 0 and 2 (0 of 1) are ahead of 1 (1 of 2): 1.67 against 0.5 + 1.18
    assert chosen[:3] == [[third, third, third], [0, 0.5, 0.5], [0, 1, 0]]
    assert chosen[3] == [0, 1, 0]


def test_thompson_follows_the_samples_of_the_posterior() -> None:
    bandit = BernoulliBandit(arms=3, horizon=5)
    history = lived([], [0, 1, 0, 0], [1, 0, 1, 0], [0] * 4, n_actions=3)
    pulls, wins = pulls_and_wins(history)
    assert (pulls.tolist(), wins.tolist()) == ([[2, 1, 0]], [[2.0, 0.0, 0.0]])
    samples = np.random.default_rng(5).beta([[3, 1, 1]], [[1, 2, 1]])
    assert thompson(bandit, np.random.default_rng(5))(history)[0, samples.argmax()] == 1


# --- registry


@pytest.mark.parametrize(
    ("name", "params", "fragment"),
    [
        ("dark-rom", {}, "there is no task 'dark-rom'. Did you mean 'dark-room'?"),
        ("dark-room", {"sise": 9}, "dark-room has no parameter 'sise'. Did you mean 'size'?"),
        ("dark-room", {"size": "9"}, "size is '9', but it must be of type int"),
        ("dark-room", {"size": 1}, "size is 1, but it must be 2 to 100"),
        ("dark-room", {"horizon": 0}, "horizon is 0, but it must be at least 1"),
        ("bandit", {"arms": 1}, "arms is 1, but it must be 2 to 100"),
        ("bandit", {"arms": True}, "arms is True, but it must be of type int"),
    ],
)
def test_wrong_tasks_are_explained(name: str, params: dict[str, object], fragment: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_task(name, **params)
    assert fragment in str(error.value)


def test_tasks_by_name() -> None:
    assert make_task("dark-room", size=7) == DarkRoom(size=7)
    assert make_task("bandit", arms=3, horizon=9) == BernoulliBandit(3, 9)


@pytest.mark.parametrize(("held_out", "train"), [(81, None), (-1, None), (80, 2), (3, 0)])
def test_a_split_that_cannot_be_is_refused(held_out: int, train: int | None) -> None:
    with pytest.raises(ConfigError, match="cannot hold out"):
        DarkRoom().split(held_out, seed=0, train=train)
    if held_out < 0 or train == 0:
        with pytest.raises(ConfigError, match="cannot hold out"):
            BernoulliBandit().split(held_out, seed=0, train=train)
