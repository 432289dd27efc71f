"""Matched counterfactuals differ in what they say and in nothing else: against worlds lived again and plain loops."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import law

from ad_hypotheses.errors import ConfigError, DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks import BernoulliBandit, DarkRoom, GaussianBandit, GraphWorld, KeyToDoor, make_task
from ad_hypotheses.tasks.counterfactuals import Counterfactual, counterfactuals_of, fitting, make_counterfactual
from ad_hypotheses.tasks.play import play, play_expert
from ad_hypotheses.tasks.rewarded_places import arrivals, moves_towards, towards
from ad_hypotheses.tasks.task import n_tasks_of

ROOMS = {
    "dark-room": DarkRoom(4, 6),
    "dark-room-hard": DarkRoom(3, 9, once=True),
    "graph-world": GraphWorld(states=5, actions=2, horizon=7),
}
KEYS = {"random start": KeyToDoor(3, 12), "centre": KeyToDoor(3, 12, start="centre")}
BANDITS = {"bandit": BernoulliBandit(3, horizon=5), "gaussian": GaussianBandit(3, horizon=8)}
FAMILIES = {**ROOMS, **KEYS, **BANDITS}
KINDS = list(dict.fromkeys(name for task in FAMILIES.values() for name in counterfactuals_of(task)))
STAY, UP, DOWN, LEFT, RIGHT = range(5)
seeds = st.integers(0, 2**32 - 1)
few = law(8)


def lived(task, seed: int, rows: int = 5, episodes: int = 4) -> History:
    """Lives that find what pays, in a family, each of an expert that often errs; few, as living takes time."""
    return _lived(task, seed % 16, rows, episodes)


@cache
def _lived(task, seed: int, rows: int, episodes: int) -> History:
    rng = np.random.default_rng(seed)
    return play_expert(task, task.sample_tasks(rng, rows), episodes, rng, epsilon=rng.random(episodes))


def again(task, facts, history: History) -> History:
    """What the recorded actions do, and are paid, in a world of other facts."""

    def recorded(so_far: History) -> np.ndarray:
        return np.eye(task.n_actions)[history.actions[:, so_far.n_steps - 1]]

    return play(task, facts, recorded, history.n_steps // task.horizon, np.random.default_rng(0))


def tokens(history: History, row: int) -> list[tuple]:
    shown = [(tuple(history.observations[row, 0].tolist()), None, None)]
    for step in range(1, history.n_steps):
        before = history.actions[row, step - 1], history.rewards[row, step - 1]
        shown.append((tuple(history.observations[row, step].tolist()), *before))
    return shown


def same(one: History, other: History, *fields: str) -> None:
    for name in fields:
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def same_facts(one: History, other: History) -> None:
    assert list(one.task) == list(other.task)
    for name, fact in one.task.items():
        assert np.array_equal(fact, other.task[name]), name


def made(name: str, task, history: History, seed: int) -> Counterfactual:
    return make_counterfactual(name, task, history, np.random.default_rng(seed))


# --- what holds of every kind in every family


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=seeds)
@few
@pytest.mark.default_cases(2)
def test_a_pair_is_matched(family: str, seed: int) -> None:
    task = FAMILIES[family]
    history = lived(task, seed)
    before = copy.deepcopy(history)
    for name in fitting(task, history):
        found = made(name, task, history, seed)
        same(history, before, "observations", "actions", "rewards", "episode")
        same_facts(history, before)
        matched(found, history)
        assert set(np.unique(found.history.rewards)) <= set(np.float32(task.rewards))
        if name not in ("goal-moved", "door-moved"):
            same_facts(found.history, history)


def matched(found: Counterfactual, history: History) -> None:
    """Assert what holds of every kind: forms stay, and it is said rightly where tokens differ."""
    for field in ("observations", "actions", "rewards", "episode", "learner"):
        one, other = getattr(found.history, field), getattr(history, field)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
    for name, fact in history.task.items():
        assert (found.history.task[name].dtype, found.history.task[name].shape) == (fact.dtype, fact.shape)
    same(found.history, history, "episode", "learner", "channels", "n_actions")
    for row in range(history.n_rows):
        one, other = tokens(history, row), tokens(found.history, row)
        differs = [step for step in range(history.n_steps) if one[step] != other[step]]
        assert found.changed[row] == bool(differs)
        assert found.first_step[row] == min(differs, default=history.n_steps)
    unchanged, those = found.history[~found.changed], history[~found.changed]
    same(unchanged, those, "observations", "actions", "rewards")
    same_facts(unchanged, those)
    if found.old is not None:
        assert ((found.old == -1).all(axis=1) == ~found.changed).all()
        assert ((found.new == -1).all(axis=1) == ~found.changed).all()
        assert (found.old != found.new).any(axis=1)[found.changed].all()


@pytest.mark.parametrize("name", counterfactuals_of(DarkRoom()))
def test_a_seed_decides_everything(name: str) -> None:
    task = DarkRoom(5, 10)
    history = lived(task, 0, rows=12, episodes=8)
    one, other, third = (made(name, task, history, seed) for seed in (1, 1, 2))
    assert one.changed.any()
    same(one.history, other.history, "observations", "actions", "rewards")
    same_facts(one.history, other.history)
    unlike = [
        not np.array_equal(getattr(one.history, field), getattr(third.history, field))
        for field in ("observations", "actions", "rewards")
    ]
    assert any(unlike) == (name not in ("no-rewards", "dead"))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_most_lives_can_be_changed(name: str, family: str) -> None:
    task = FAMILIES[family]
    history = lived(task, 3, rows=60)
    if name in fitting(task, history):
        found = made(name, task, history, 0)
        assert found.changed.mean() > 0.6
        assert len(found.words) > 10


# --- no rewards


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=seeds)
@few
def test_without_rewards(family: str, seed: int) -> None:
    history = lived(FAMILIES[family], seed)
    found = made("no-rewards", FAMILIES[family], history, 0)
    same(found.history, history, "observations", "actions")
    assert (found.history.rewards[found.changed] == 0).all()
    assert (found.changed == (history.previous_rewards != 0).any(axis=1)).all()


# --- a reward moved


@pytest.mark.parametrize("family", ROOMS)
@given(seed=seeds)
@few
def test_a_moved_reward_is_what_the_world_would_pay(family: str, seed: int) -> None:
    task = ROOMS[family]
    history = lived(task, seed)
    found = made("rewards-swapped", task, history, seed)
    same(found.history, history, "observations", "actions")
    goals = history.task["goal"].reshape(history.n_rows, -1)
    assert (found.old == goals)[found.changed].all()
    moved = np.where(found.changed[:, None], found.new, goals).reshape(history.task["goal"].shape)
    world = again(task, {**history.task, "goal": moved}, history)
    same(world, history, "observations", "actions")
    same(world, found.history, "rewards")
    for row in np.flatnonzero(found.changed):
        places = [found.old[row].tolist(), found.new[row].tolist()]
        for step in np.flatnonzero(found.history.rewards[row] != history.rewards[row]):
            if step + 1 < history.n_steps and not history.episode_start[row, step + 1]:
                assert history.observations[row, step + 1].tolist() in places


@pytest.mark.parametrize("family", ROOMS)
@given(seed=seeds)
@few
def test_rewards_go_to_where_the_history_was_best_not_the_start_and_twice(family: str, seed: int) -> None:
    task = ROOMS[family]
    history = lived(task, seed)
    found = made("rewards-swapped", task, history, seed)
    for row in range(history.n_rows):
        seen = [
            tuple(history.observations[row, step].tolist())
            for step in range(1, history.n_steps)
            if not history.episode_start[row, step]
        ]
        start = tuple(history.observations[row, 0].tolist())
        ranks = {cell: (cell != start, seen.count(cell) > 1) for cell in seen if cell != tuple(found.old[row].tolist())}
        if found.changed[row]:
            assert ranks[tuple(found.new[row].tolist())] == max(ranks.values())
        else:
            assert not ranks or not (history.rewards[row] > 0).any()


@pytest.mark.parametrize("start", KEYS)
@given(seed=seeds)
@few
def test_a_moved_key_or_door_pays_in_its_turn(start: str, seed: int) -> None:
    task = KEYS[start]
    history = lived(task, seed)
    found = made("rewards-swapped", task, history, seed)
    same(found.history, history, "observations", "actions")
    for row in np.flatnonzero(found.changed):
        key, door, new = history.task["key"][row].tolist(), history.task["door"][row].tolist(), found.new[row].tolist()
        first = found.old[row].tolist() == key and not np.array_equal(found.old[row], door)
        for begin in range(0, history.n_steps, task.horizon):
            steps = range(begin, begin + task.horizon)
            cells = np.array([history.observations[row, step] for step in steps])
            arrived = task.square.positions(task.square.move(task.square.cells(cells), history.actions[row, steps]))
            turn, paid = [new] if first else [key, new], []
            for cell in arrived.tolist():
                paid.append(float(bool(turn) and cell == turn[0]))
                turn = turn[1:] if paid[-1] else turn
            if not first and np.array_equal(key, door):
                continue  # either may be meant
            assert found.history.rewards[row, steps].tolist() == paid


def test_a_moved_reward_by_hand() -> None:
    # staying and coming back: (0, 1) pays; (2, 1) is seen twice in the first episode and again in the second
    cells = [[1, 1], [0, 1], [0, 1], [1, 1], [2, 1], [2, 1], [1, 1], [2, 1], [1, 1], [0, 1], [0, 1], [0, 1]]
    actions = [LEFT, STAY, RIGHT, RIGHT, STAY, LEFT, RIGHT, LEFT, LEFT, STAY, STAY, STAY]
    history = History(
        observations=np.array([cells], dtype=np.int8),
        actions=np.array([actions], dtype=np.int8),
        rewards=np.array([[1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]], dtype=np.float32),
        episode=np.repeat(np.arange(2), 6)[None],
        channels=("x", "y"),
        n_actions=5,
        task={"goal": np.array([[0, 1]], dtype=np.int8)},
    )
    found = made("rewards-swapped", DarkRoom(3, 6), history, 0)
    assert found.history.rewards[0].tolist() == [0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0]
    assert (found.changed.tolist(), found.first_step.tolist()) == ([True], [1])
    assert (found.old.tolist(), found.new.tolist()) == ([[0, 1]], [[2, 1]])
    moved = made("goal-moved", DarkRoom(3, 6), history, 0)
    assert moved.history.rewards[0].tolist() == [1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert (moved.first_step.tolist(), moved.history.task["goal"].tolist()) == ([7], [[2, 1]])
    # from the middle of an episode on, and without facts
    found = made("rewards-swapped", DarkRoom(3, 6), replace(history.window(3), task={}), 0)
    assert found.history.rewards[0].tolist() == [1, 1, 0, 1, 0, 0, 0, 0, 0]


def test_where_nothing_tells_of_an_arrival() -> None:
    history = History(
        observations=np.array([[0, 1, 2, 0, 1, 2]], dtype=np.int8)[..., None],
        actions=np.zeros((1, 6), dtype=np.int8),
        rewards=np.array([[0, 1, 1, 0, 1, 0]], dtype=np.float32),
        episode=np.repeat(np.arange(2), 3)[None],
        channels=("state",),
        n_actions=2,
        task={"start": np.zeros(1, dtype=np.int8), "goal": np.array([2], dtype=np.int8)},
    )
    # 0 -> 1 -> 2, and from there to itself in one world and to 1 in the other
    facts = [{"next": np.array([[[1, 0], [2, 0], [there, 0]]])} for there in (2, 1)]
    task, rng = GraphWorld(states=3, actions=2, horizon=3), np.random.default_rng(0)
    assert [
        arrivals(task, replace(history, task={**history.task, **fact}), rng)[0, :, 0].tolist() for fact in facts
    ] == [
        [1, 2, 2, 1, 2, 2],
        [1, 2, 1, 1, 2, 1],
    ]
    # an episode that begins elsewhere is not lived again; without facts, none is
    elsewhere = {**history.task, **facts[0], "start": np.ones(1, dtype=np.int8)}
    for known in (elsewhere, {}):
        assert arrivals(task, replace(history, task=known), rng)[0, :, 0].tolist() == [1, 2, -1, 1, 2, -1]
    # a reward whose place nothing tells goes with the others
    found = made("rewards-swapped", task, replace(history, task=elsewhere), 0)
    assert found.history.rewards[0].tolist() == [1, 0, 0, 1, 0, 0]


def test_rewards_that_no_place_explains_stay() -> None:
    task = DarkRoom(4, 6)
    history = lived(task, 0, rows=30)
    dealt = replace(history, rewards=np.random.default_rng(0).permuted(history.rewards, axis=1))
    explained = (dealt.rewards == history.rewards).all(axis=1)
    for name in ("rewards-swapped", "goal-moved"):
        assert made(name, task, history, 0).changed.mean() > 0.6
    assert not made("rewards-swapped", task, dealt, 0).changed[~explained].any()
    uneven = replace(history, rewards=history.rewards * np.where(np.arange(24) % 2, 2, 1).astype(np.float32))
    mixed = np.array([len(np.unique(rewards)) == 3 for rewards in uneven.rewards])
    assert mixed.any()
    assert not made("rewards-swapped", task, uneven, 0).changed[mixed].any()
    lies = replace(history, task={"goal": 3 - history.task["goal"]})
    found = made("goal-moved", task, lies, 0)
    paid = history.rewards.reshape(30, 4, 6)[:, -1].any(axis=1)
    assert paid.any()
    assert not found.changed[paid].any()


@pytest.mark.parametrize("family", BANDITS)
@given(seed=seeds)
@few
def test_two_arms_change_their_pay(family: str, seed: int) -> None:
    task = BANDITS[family]
    history = lived(task, seed)
    found = made("rewards-swapped", task, history, seed)
    same(found.history, history, "observations", "actions")
    assert found.old is None
    for row in np.flatnonzero(found.changed):
        touched = np.flatnonzero(found.history.rewards[row] != history.rewards[row])
        arms = set(history.actions[row, touched].tolist())
        pay = {arm: history.rewards[row][history.actions[row] == arm] for arm in range(3)}
        best = max(pay, key=lambda arm: pay[arm].sum())
        assert len(arms) <= 2
        possible = []
        for other in {0, 1, 2} - {best}:
            rewards = history.rewards[row].copy()
            for one, two in ((best, other), (other, best)):
                at = np.flatnonzero(history.actions[row] == one)
                if len(pay[two]):
                    rewards[at] = [pay[two][number % len(pay[two])] for number in range(len(at))]
            possible.append(rewards.tolist())
        assert found.history.rewards[row].tolist() in possible


def test_the_best_arm_is_no_longer_the_best() -> None:
    task = BernoulliBandit(4, horizon=60)
    history = play_expert(
        task, {"means": np.tile([0.9, 0.1, 0.1, 0.1], (40, 1))}, 1, np.random.default_rng(0), np.array([0.5])
    )
    found = made("rewards-swapped", task, history, 0)
    assert found.changed.all()
    pay = found.history.action_rewards()[:, -1] / found.history.action_counts()[:, -1]
    assert (pay.argmax(axis=1) != 0).all()


# --- an episode replaced


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=seeds)
@few
def test_one_episode_is_that_of_another_history(family: str, seed: int) -> None:
    task = FAMILIES[family]
    history = lived(task, seed)
    found = made("episode-replaced", task, history, seed)
    shape, paid = (history.n_rows, 4, task.horizon), (history.rewards > 0).reshape(5, 4, -1)[:, :-1].any(axis=2)

    def episodes(one: History, row: int) -> list[tuple]:
        parts = (one.observations.reshape(*shape, -1), one.actions.reshape(shape), one.rewards.reshape(shape))
        return [tuple(part[row, number].tobytes() for part in parts) for number in range(4)]

    for row in range(history.n_rows):
        one, other = episodes(history, row), episodes(found.history, row)
        replaced = [number for number in range(4) if one[number] != other[number]]
        if not found.changed[row]:
            assert all(episodes(history, other)[:3] == one[:3] for other in range(history.n_rows))
            continue
        assert len(replaced) == 1
        assert replaced[0] != 3
        assert other[replaced[0]] in [episodes(history, other)[replaced[0]] for other in range(history.n_rows)]
        choices = [n for n in range(3) if any(episodes(history, o)[n] != one[n] for o in range(history.n_rows))]
        assert paid[row, replaced[0]] == paid[row, choices].any()
        after = (replaced[0] + 1) * task.horizon
        shown = found.history.previous_actions[row, after], found.history.previous_rewards[row, after]
        assert shown == (found.history.actions[row, after - 1], found.history.rewards[row, after - 1])


def test_episodes_of_other_lengths_do_not_fit() -> None:
    history = lived(DarkRoom(4, 6), 0, rows=3)
    uneven = np.stack([np.arange(24) // 6, np.arange(24) // 6, np.minimum(np.arange(24) // 5, 3)]).astype(np.int16)
    found = made("episode-replaced", DarkRoom(4, 6), replace(history, episode=uneven), 0)
    assert not found.changed[2]
    only_two = made("episode-replaced", DarkRoom(4, 6), replace(history, episode=uneven)[np.arange(2)], 0)
    same(found.history[:2], only_two.history, "observations", "actions", "rewards")


# --- an action remapped


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=seeds)
@few
def test_two_actions_change_names_until_an_episode_begins(family: str, seed: int) -> None:
    task = FAMILIES[family]
    history = lived(task, seed)
    found = made("actions-exchanged", task, history, seed)
    same(found.history, history, "observations", "rewards")
    assert found.changed.all()
    for row in range(history.n_rows):
        one, other = history.actions[row], found.history.actions[row]
        fits = []
        for until in range(task.horizon, history.n_steps, task.horizon):
            for a in range(task.n_actions):
                for b in range(a):
                    swapped = [{a: b, b: a}.get(action, action) for action in one[:until].tolist()]
                    if other.tolist() == swapped + one[until:].tolist():
                        fits.append((until, a, b))
        assert fits
        # two actions that were taken, where there are two
        assert any({a, b} <= (taken := set(one[:until].tolist())) or len(taken) == 1 for until, a, b in fits)


def test_a_life_of_one_episode_is_cut_anywhere() -> None:
    task = BernoulliBandit(3, horizon=12)
    history = lived(task, 0, rows=40, episodes=1)
    found = made("actions-exchanged", task, history, 0)
    assert found.changed.all()
    kept = (found.history.actions == history.actions)[:, ::-1].cumprod(axis=1).sum(axis=1)
    assert len(set(kept.tolist())) > 4
    assert (kept > 0).all()


# --- the goal moved


@pytest.mark.parametrize("family", ROOMS)
@given(seed=seeds)
@few
def test_from_an_episode_on_another_cell_pays(family: str, seed: int) -> None:
    task = ROOMS[family]
    history = lived(task, seed)
    found = made("goal-moved", task, history, seed)
    same(found.history, history, "observations", "actions")
    world = again(task, found.history.task, history)
    for name in set(history.task) - {"goal"}:
        assert np.array_equal(found.history.task[name], history.task[name])
    goals = history.task["goal"].reshape(5, -1), found.history.task["goal"].reshape(5, -1)
    assert ((goals[0] != goals[1]).any(axis=1) == found.changed).all()
    for row in np.flatnonzero(found.changed):
        assert found.old[row].tolist() == goals[0][row].tolist()
        assert found.new[row].tolist() == goals[1][row].tolist()
        assert found.first_step[row] > task.horizon
        assert any(
            np.array_equal(found.history.rewards[row], np.append(history.rewards[row, :at], world.rewards[row, at:]))
            for at in range(task.horizon, history.n_steps, task.horizon)
        )


# --- towards a cell


def test_moves_towards_a_cell_shorten_the_way() -> None:
    history = lived(DarkRoom(5, 8), 0)
    target = history.task["goal"]
    for task in (DarkRoom(5, 8), KeyToDoor(5, 8)):
        found = moves_towards(task, history, target)
        for row, step, action in np.ndindex(*found.shape):
            here = history.observations[row, step].astype(int)
            there = here + [(0, 0), (0, -1), (0, 1), (-1, 0), (1, 0)][action]
            before, after = (np.abs(cell - target[row]).sum() for cell in (here, there))
            assert found[row, step, action] == (after < before or (before == 0 and action == STAY))


def test_the_probability_of_moving_towards_a_cell() -> None:
    task = DarkRoom(5, 8)
    history = lived(task, 0)
    rng = np.random.default_rng(0)
    policy = rng.dirichlet(np.ones(5), size=history.actions.shape)
    found = towards(task, history, policy, history.task["goal"])
    mask = moves_towards(task, history, history.task["goal"])
    row, step = 2, 5
    assert found.shape == history.actions.shape
    assert found[row, step] == pytest.approx(
        sum(policy[row, step, action] for action in np.flatnonzero(mask[row, step]))
    )
    expert = mask / mask.sum(axis=-1, keepdims=True)
    assert towards(task, history, expert, history.task["goal"]) == pytest.approx(1)


# --- what does not fit


def test_what_fits_is_said() -> None:
    everything = tuple(counterfactuals_of(DarkRoom()))
    graph, keys, bandit = FAMILIES["graph-world"], KeyToDoor(3, 6), BernoulliBandit(3, horizon=5)
    declared = ("goal-moved", "rewards-swapped", "two-goals", "detour")
    for task in (DarkRoom(4, 6), graph):
        names = fitting(task, lived(task, 0))
        assert names[:4] == declared
        assert set(names) == set(everything)
    assert set(fitting(keys, lived(keys, 0))) == {*everything, "door-moved"} - {"goal-moved", "two-goals"}
    of_arms = {"rewards-swapped", "arms-exchanged", "pulls-shuffled"}
    of_any = {"actions-exchanged", "dead", "life-before", "no-rewards"}
    assert set(fitting(bandit, lived(bandit, 0, episodes=1))) == of_arms | of_any
    assert set(fitting(graph, lived(graph, 0, rows=1))) == {*everything} - {"episode-replaced"}
    # without facts, or from the middle of an episode on, nothing can be lived again
    whole = lived(graph, 0)
    of_record = {"rewards-swapped", "actions-exchanged", "no-rewards", "episode-replaced"}
    assert set(fitting(graph, replace(whole, task={}))) == of_record - {"rewards-swapped"}
    assert set(fitting(graph, whole.window(3))) == of_record | {"goal-moved"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "goal-moved",
            "does not fit bandit: its histories know of no goal. Those that fit: rewards-swapped, arms-exchanged",
        ),
        ("episode-replaced", "its histories are of one episode each"),
    ],
)
def test_a_kind_that_makes_no_sense_is_refused(name: str, message: str) -> None:
    task = BernoulliBandit(3, horizon=5)
    with pytest.raises(DataError, match=message):
        made(name, task, lived(task, 0, episodes=1), 0)


def test_a_view_is_not_a_place() -> None:
    task = make_task("minigrid:MiniGrid-Empty-5x5-v0", hidden_goal=True, horizon=6, view=3)
    history = lived(task, 0)
    assert fitting(task, history)[0] == "goal-moved"
    assert not {"rewards-swapped", "two-goals", "detour"} & set(fitting(task, history))
    for name in fitting(task, history):
        assert made(name, task, history, 0).changed.any()
    with pytest.raises(DataError, match="what its agent sees is not a place that could pay"):
        made("rewards-swapped", task, history, 0)
    with pytest.raises(DataError, match="which moves lead towards a cell is known only of rooms"):
        moves_towards(task, history, history.task["goal"])
    assert n_tasks_of(history.task) == 5


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"there is no counterfactual 'goal-move'\. Did you mean 'goal-moved'"):
        made("goal-move", DarkRoom(), lived(DarkRoom(4, 6), 0), 0)
