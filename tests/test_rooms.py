"""Dark Room Hard and Dark Key-to-Door: by hand, against dynamic programming, and in lockstep with their pictures."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from laws import law

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import DynaQ, EpsilonGreedyQ, learning_curve
from ad_hypotheses.tasks import DarkRoom, KeyToDoor, make_task
from ad_hypotheses.tasks.key_to_door import KeyToDoorState
from ad_hypotheses.tasks.planning import optimal_value
from ad_hypotheses.tasks.play import baselines, play, play_expert, uniform
from ad_hypotheses.tasks.room import gate_and_walk

STAY, UP, DOWN, LEFT, RIGHT = range(5)
HARD, KEYS = "ad_hypotheses/DarkRoomHard-v0", "ad_hypotheses/KeyToDoor-v0"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def lived(observations, rewards, episode) -> History:
    """A single history written by hand; its actions do not matter."""
    return History(
        observations=np.array([observations], dtype=np.int8),
        actions=np.zeros((1, len(rewards)), dtype=np.int8),
        rewards=np.array([rewards], dtype=np.float32),
        episode=np.array([episode], dtype=np.int16),
        channels=("x", "y"),
        n_actions=5,
    )


def named(task, history: History) -> list[str]:
    regimes = task.regimes(history)
    return [next(name for name, steps in regimes.items() if steps[0, step]) for step in range(history.n_steps)]


def follow(task, state, actions) -> list[tuple]:
    path = []
    for action in actions:
        seen, rewards, state = task.step(state, np.array([action]))
        path.append((*seen[0].tolist(), float(rewards[0])))
    return path


# --- Dark Room Hard


def test_the_hard_room_is_large_and_pays_once() -> None:
    room = make_task("dark-room-hard")
    assert room == DarkRoom(size=17, horizon=20, once=True)
    assert room.name == "dark-room-hard"
    assert make_task(room.name, **dataclasses.asdict(room)) == room
    assert make_task("dark-room-hard", size=5, once=False) == make_task("dark-room", size=5)
    assert make_task("dark-room", size=5).name == "dark-room"
    assert (room.optimal_return(room.tasks()) == 1).all()


def test_a_goal_that_pays_once_by_hand() -> None:
    room = DarkRoom(size=3, horizon=6, once=True)
    state = room.reset({"goal": np.array([[2, 0]])})
    path = follow(room, state, (RIGHT, UP, STAY, LEFT, RIGHT))
    assert path == [(2, 1, 0.0), (2, 0, 1.0), (2, 0, 0.0), (1, 0, 0.0), (2, 0, 0.0)]


def test_the_start_pays_where_it_is_the_goal() -> None:
    room = DarkRoom(size=3, horizon=2, once=True)
    assert follow(room, room.reset({"goal": np.array([[1, 1]])}), (STAY, STAY)) == [(1, 1, 1.0), (1, 1, 0.0)]


@pytest.mark.parametrize(("size", "horizon"), [(17, 20), (9, 6), (2, 1)])
def test_the_expert_earns_exactly_the_optimum_also_out_of_reach(size: int, horizon: int, rng) -> None:
    room = DarkRoom(size, horizon, once=True)
    returns = play_expert(room, room.tasks(), 1, rng).rewards.sum(axis=1)
    assert (returns == room.optimal_return(room.tasks())).all()
    assert (returns == 0).any() == (size < 17)


def test_the_table_of_a_learner_knows_whether_it_was_paid() -> None:
    room = DarkRoom(size=3, horizon=6, once=True)
    state = room.reset({"goal": np.array([[1, 0]])})
    assert (room.n_states, room.state_index(state).tolist()) == (18, [4])
    _, _, state = room.step(state, np.array([UP]))
    assert room.state_index(state).tolist() == [3 + 9]
    assert room.expert(state).tolist() == [[1, 0, 0, 0, 0]]
    _, _, state = room.step(state, np.array([DOWN]))
    assert room.expert(state).tolist() == [[1, 0, 0, 0, 0]]
    assert room.state_index(room.reset({"goal": np.array([[1, 0]])})).tolist() == [4]
    assert DarkRoom(size=3).n_states == 9


def test_regimes_of_a_goal_that_pays_once() -> None:
    cells = [[1, 1], [2, 1], [2, 1], [1, 1], [2, 1], [1, 1]]
    history = lived(cells, [1, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 1])
    assert named(DarkRoom(3, 3, once=True), history) == ["explore", "paid", "paid", "navigate", "paid", "paid"]
    at_the_start = lived([[1, 1]] * 4, [1, 0, 1, 0], [0, 0, 1, 1])
    assert named(DarkRoom(3, 2, once=True), at_the_start) == ["explore", "paid", "stay", "paid"]
    assert list(DarkRoom(3, 3).regimes(history)) == ["explore", "navigate", "stay"]


# --- Dark Key-to-Door


def test_key_and_door_by_hand() -> None:
    room = KeyToDoor(size=3, horizon=9, start="centre")
    state = room.reset({"key": np.array([[2, 1]]), "door": np.array([[1, 1]])}, np.random.default_rng(0))
    path = follow(room, state, (STAY, RIGHT, STAY, LEFT, STAY, RIGHT, LEFT))
    # the door does not pay before the key, and both pay once
    assert [reward for _, _, reward in path] == [0, 1, 0, 1, 0, 0, 0]
    assert path[1][:2] == (2, 1)


def test_a_key_on_the_door_pays_at_two_steps() -> None:
    room = KeyToDoor(size=3, horizon=3, start="centre")
    facts = {"key": np.array([[1, 0]]), "door": np.array([[1, 0]])}
    state = room.reset(facts, np.random.default_rng(0))
    assert [reward for _, _, reward in follow(room, state, (UP, STAY, STAY))] == [1, 1, 0]
    assert room.optimal_return(facts).tolist() == [2.0]


def test_every_pair_of_cells_is_a_task() -> None:
    room = KeyToDoor()
    facts = room.tasks()
    assert room.n_tasks == len(np.unique(np.hstack([facts["key"], facts["door"]]), axis=0)) == 6561
    assert (room.optimal_return(facts) == 2).all()
    train, held_out = room.split(held_out=100, seed=3)
    fewer, same = room.split(held_out=100, seed=3, train=40)
    rows = [set(map(tuple, np.hstack([one["key"], one["door"]]).tolist())) for one in (train, held_out)]
    assert (len(rows[0]), len(rows[1]), len(rows[0] | rows[1])) == (6461, 100, 6561)
    assert all((same[name] == held_out[name]).all() and (fewer[name] == train[name][:40]).all() for name in train)
    for held_out, train in ((6561, None), (-1, None), (6000, 562), (3, 0)):
        with pytest.raises(ConfigError, match="cannot hold out"):
            room.split(held_out, seed=0, train=train)


def test_where_episodes_begin(rng: np.random.Generator) -> None:
    facts = KeyToDoor(size=3).sample_tasks(rng, 9000)
    counts = np.bincount(KeyToDoor(size=3).reset(facts, rng).cells, minlength=9)
    assert counts == pytest.approx(np.full(9, 1000), abs=130)
    assert (KeyToDoor(size=3, start="centre").reset(facts, rng).cells == 4).all()
    room = KeyToDoor(size=4, horizon=3)
    history = play(room, room.sample_tasks(rng, 50), uniform(room), 2, rng)
    assert (history.observations[:, 0] != history.observations[:, 3]).any()


@pytest.mark.parametrize("start", ["random", "centre"])
@pytest.mark.parametrize("horizon", [1, 3, 5, 9])
def test_the_optimum_is_the_one_of_dynamic_programming(start: str, horizon: int, rng: np.random.Generator) -> None:
    room = KeyToDoor(size=3, horizon=horizon, start=start)
    facts = {name: fact[::4] for name, fact in room.tasks().items()}
    n_tasks = len(facts["key"])
    each = {name: np.repeat(fact, room.n_states * 5, axis=0) for name, fact in facts.items()}
    state, action = (np.tile(part, n_tasks) for part in np.divmod(np.arange(room.n_states * 5), 5))
    progress, cells = np.divmod(state, 9)
    worlds = room.reset(each, rng)._replace(cells=cells, held=progress >= 1, done=progress == 2)
    assert (room.state_index(worlds) == state).all()
    _, rewards, after = room.step(worlds, action)
    shape = (n_tasks, room.n_states, 5)
    best = optimal_value(room.state_index(after).reshape(shape), rewards.reshape(shape), horizon)
    expected = best[:, :9].mean(axis=1) if start == "random" else best[:, 4]
    assert room.optimal_return(facts) == pytest.approx(expected)


@pytest.mark.parametrize("room", [KeyToDoor(), KeyToDoor(size=7, horizon=9, start="centre")])
def test_the_expert_of_keys_and_doors_earns_the_optimum(room: KeyToDoor, rng: np.random.Generator) -> None:
    facts = room.sample_tasks(rng, 300)
    returns = play_expert(room, facts, 1, rng).rewards.sum(axis=1)
    assert (returns == room.optimal_return(facts)).all()
    assert room.horizon == 50 or 0 < (returns < 2).mean() < 1


def test_whoever_is_done_stays() -> None:
    room = KeyToDoor(size=3)
    state = KeyToDoorState(np.array([0, 0]), np.array([8, 8]), np.array([2, 2]), np.array([True] * 2), np.array([0, 1]))
    assert room.expert(state).tolist() == [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0]]


def test_regimes_of_keys_and_doors() -> None:
    room = KeyToDoor(size=3, horizon=4)
    cells = [[0, 0], [1, 0], [2, 0], [2, 1]] + [[1, 1], [1, 0], [2, 0], [2, 1]] + [[1, 0]] * 4
    rewards = [1, 0, 0, 1, 1, 0, 1, 0, 1, 1, 0, 0]
    history = lived(cells, rewards, [0] * 4 + [1] * 4 + [2] * 4)
    # the door's reward at the end of the first episode tells no cell
    assert named(room, history)[:4] == ["find key", "find door", "find door", "find door"]
    assert named(room, history)[4:8] == ["fetch key", "find door", "find door", "done"]
    assert named(room, history)[8:] == ["fetch key", "fetch door", "done", "done"]


# --- both


@given(st.sampled_from(["dark-room-hard", "key-to-door"]), st.integers(0, 2**32 - 1), st.integers(1, 9))
@law(30)
def test_every_step_is_in_exactly_one_regime(name: str, seed: int, horizon: int) -> None:
    task, rng = make_task(name, size=2, horizon=horizon), np.random.default_rng(seed)
    history = play(task, task.sample_tasks(rng, 4), uniform(task), 3, rng)
    assert (sum(steps.astype(int) for steps in task.regimes(history).values()) == 1).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
@law(20)
def test_the_gate_remembers_what_the_history_shows(seed: int, window: int) -> None:
    room, rng = DarkRoom(size=3, horizon=4), np.random.default_rng(seed)
    gate, decisions = gate_and_walk(room, window), []

    def watched(history: History) -> np.ndarray:
        decisions.append(gate(history))
        return decisions[-1]

    history = play(room, room.sample_tasks(rng, 5), watched, 5, rng)
    for step, decision in enumerate(decisions):
        # the step before the window comes along, since a token shows the reward before it
        goal = history.window(max(step - window, 0), step + 1).last_rewarded_cell()[:, -1]
        walked = room.walk(history.observations[:, step], goal)
        assert decision == pytest.approx(np.where((goal >= 0).all(axis=1)[:, None], walked, 0.2))


@pytest.mark.default_cases(2)
@pytest.mark.parametrize(
    ("name", "policy", "first", "last"),
    [
        ("dark-room-hard", "gate-and-walk", 0.04, 0.21),
        ("dark-room-hard", "nearest-unvisited", 0.07, 0.90),
        ("dark-room-hard", "thompson-over-goals", 0.06, 0.60),
        ("key-to-door", "gate-and-walk", 0.14, 0.81),
        ("key-to-door", "nearest-unvisited", 0.37, 1.0),
        ("key-to-door", "thompson-over-goals", 0.31, 1.0),
    ],
)
def test_baselines_earn_what_is_known_of_them(name: str, policy: str, first: float, last: float, rng) -> None:
    task = make_task(name)
    facts = task.sample_tasks(rng, 200)
    episodes = 16 if name == "dark-room-hard" else 12
    share = learning_curve(play(task, facts, baselines(task, rng)[policy], episodes, rng))
    share = share / task.optimal_return(facts).mean()
    assert share[0] == pytest.approx(first, abs=0.06)
    assert share[-1] == pytest.approx(last, abs=0.09)


DYNA, Q = {"gamma": 0.95, "initial_value": 0.5, "epsilon_first": 0.0}, EpsilonGreedyQ(1.0, 0.95, 0.1, 0.2, 0.0, 40)
SMALL = {"key-to-door": {"size": 5, "horizon": 20}, "dark-room-hard": {"size": 7, "horizon": 10}}


@pytest.mark.parametrize(
    ("name", "params", "source", "episodes", "keep_every", "last"),
    [
        ("key-to-door", SMALL, DynaQ(**DYNA, planning=10), 30, 3, 0.93),
        ("key-to-door", SMALL, Q, 60, 5, 0.93),
        ("dark-room-hard", SMALL, DynaQ(**DYNA, planning=10), 60, 5, 0.9),
        pytest.param("key-to-door", {}, DynaQ(**DYNA), 36, 3, 0.98, marks=pytest.mark.slow),
        pytest.param("dark-room-hard", {}, DynaQ(**DYNA), 150, 5, 0.9, marks=pytest.mark.slow),
    ],
)
def test_tables_learn_there(name: str, params: dict, source, episodes: int, keep_every: int, last: float, rng) -> None:
    task = make_task(name, **params.get(name, {}))
    history = source.live(task, task.sample_tasks(rng, 80), episodes, rng, keep_every)
    curve = learning_curve(history) / task.optimal_return(history.task).mean()
    assert curve[0] < 0.3
    assert 0.25 < curve[len(curve) // 3] < 0.97
    assert curve[-1] >= last


# --- gymnasium


@pytest.mark.parametrize("name", [HARD, KEYS])
def test_gymnasiums_checker_finds_nothing(name: str) -> None:
    check_env(gymnasium.make(name).unwrapped)


def agree(env, task, state, start, actions) -> None:
    assert start.tolist() == task.observe(state)[0].tolist()
    for step, action in enumerate(actions):
        seen, reward, terminated, truncated, _ = env.step(action)
        batched, rewards, state = task.step(state, np.array([action]))
        assert seen.tolist() == batched[0].tolist()
        assert reward == rewards[0]
        assert not terminated
        assert truncated == (step == len(actions) - 1)


@given(st.integers(2, 4), st.integers(1, 14), st.booleans(), st.data())
@law(30)
def test_the_picture_of_the_room_and_the_batched_world_agree(size, horizon, once, data) -> None:
    goal = data.draw(st.tuples(*[st.integers(0, size - 1)] * 2))
    actions = data.draw(st.lists(st.integers(0, 4), min_size=horizon, max_size=horizon))
    room = DarkRoom(size, horizon, once)
    env = gymnasium.make("ad_hypotheses/DarkRoom-v0", size=size, horizon=horizon, once=once)
    for _ in range(2):  # what was paid is forgotten with the episode
        seen, _ = env.reset(options={"goal": goal})
        agree(env, room, room.reset({"goal": np.array([goal])}), seen, actions)


@given(st.integers(2, 4), st.integers(1, 16), st.sampled_from(["random", "centre"]), st.data())
def test_the_picture_of_key_and_door_and_the_batched_world_agree(size, horizon, start, data) -> None:
    cell = st.tuples(*[st.integers(0, size - 1)] * 2)
    key, door, first = data.draw(st.tuples(cell, cell, cell))
    actions = data.draw(st.lists(st.integers(0, 4), min_size=horizon, max_size=horizon))
    room = KeyToDoor(size, horizon, start)
    env = gymnasium.make(KEYS, size=size, horizon=horizon, start=start)
    for _ in range(2):
        options = {"key": key, "door": door} | ({"start": first} if start == "random" else {})
        seen, _ = env.reset(options=options)
        state = room.reset({"key": np.array([key]), "door": np.array([door])}, np.random.default_rng(0))
        if start == "random":
            state = state._replace(cells=room.square.cells(np.array([first])))
        agree(env, room, state, seen, actions)


def test_an_episode_of_the_environment_begins_anywhere_or_in_the_centre() -> None:
    env, centred = gymnasium.make(KEYS), gymnasium.make(KEYS, start="centre")
    env.reset(seed=0)
    hidden = dict(env.unwrapped.hidden)
    assert len({tuple(env.reset()[0].tolist()) for _ in range(8)}) > 2
    assert env.unwrapped.hidden == hidden
    env.reset(seed=1)
    assert env.unwrapped.hidden != hidden
    assert {tuple(centred.reset(seed=seed)[0].tolist()) for seed in range(5)} == {(4, 4)}


def test_the_picture_shows_the_key_until_it_is_taken_and_then_the_door_below_it() -> None:
    env = gymnasium.make(KEYS, size=3, render_mode="rgb_array")
    env.reset(options={"key": (1, 1), "door": (1, 1), "start": (0, 1)})
    kinds = []
    for action in (STAY, RIGHT, STAY):
        env.step(action)
        shown = env.unwrapped.grid.get(2, 2)
        kinds.append((shown.type, getattr(shown, "is_open", None)))
        assert env.render().any()
    assert kinds == [("key", None), ("door", False), ("door", True)]


@pytest.mark.parametrize("options", [{"key": (9, 0)}, {"door": (0.5, 1)}, {"start": (0, -1)}])
def test_cells_outside_the_room_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match="no cell"):
        gymnasium.make(KEYS).reset(options=options)


def test_an_option_that_is_none_is_explained() -> None:
    with pytest.raises(ConfigError, match=r"there is no 'goal'\. Known: key, door, start"):
        gymnasium.make(KEYS).reset(options={"goal": (0, 0)})


@pytest.mark.parametrize(
    ("name", "params", "fragment"),
    [
        ("dark-room-hard", {"once": 1}, "once is 1, but it must be of type bool"),
        ("dark-room-hard", {"size": True}, "size is True, but it must be of type int"),
        ("dark-room-hard", {"size": 101}, "dark-room-hard: size is 101"),
        ("key-to-door", {"start": "center"}, "start is 'center', but it must be random or centre. Did you mean"),
        ("key-to-door", {"size": 31}, "key-to-door: size is 31, but it must be 2 to 30"),
        ("key-to-door", {"horizon": 0}, "horizon is 0"),
        ("key-to-dor", {}, "Did you mean 'key-to-door'?"),
    ],
)
def test_wrong_rooms_are_explained(name: str, params: dict[str, object], fragment: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_task(name, **params)
    assert fragment in str(error.value)
