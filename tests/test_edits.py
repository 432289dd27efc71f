"""Counterfactual families: every edited life is lived again, step by step, in worlds that share no code with it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache

import gymnasium
import numpy as np
import pytest

from ad_hypotheses.language.history import History
from ad_hypotheses.tasks import BernoulliBandit, DarkRoom, GaussianBandit, GraphWorld, KeyToDoor, make_task
from ad_hypotheses.tasks.counterfactuals import families_of
from ad_hypotheses.tasks.edits.lives import EditedLives, Lives
from ad_hypotheses.tasks.hidden_goal_env import HiddenGoalEnv
from ad_hypotheses.tasks.minigrid_table import open_environment
from ad_hypotheses.tasks.play import play, play_expert
from ad_hypotheses.tasks.room_env import DarkRoomEnv, KeyToDoorEnv

EPISODES, ROWS = 8, 12
TASKS = {
    "dark-room": DarkRoom(4, 8),
    "dark-room-hard": DarkRoom(3, 9, once=True),
    "key-to-door": KeyToDoor(3, 12),
    "key-to-door from the centre": KeyToDoor(3, 12, start="centre"),
    "graph-world": GraphWorld(states=6, actions=2, horizon=9),
    "minigrid, hidden goal": make_task("minigrid:MiniGrid-Empty-5x5-v0", hidden_goal=True, horizon=12, view=3),
    "minigrid": make_task("minigrid:MiniGrid-DoorKey-5x5-v0", horizon=12, view=3, layouts=6),
}
BANDITS = {
    "bandit": BernoulliBandit(4, horizon=60),
    "gaussian": GaussianBandit(4, horizon=60, noise=0.5),
}
EDITED = [(name, family) for name, task in TASKS.items() for family in families_of(task, EPISODES)]
PULLED = [(name, family) for name, task in BANDITS.items() for family in families_of(task, 1)]


def choices(history: History) -> np.ndarray:
    """A hash of all that is shown up to each step, as an action. [row, step]"""
    return (history.so_far() >> 24) % history.n_actions


def by_context(task):
    """A policy whose actions are a hash of all that it was shown: it acts otherwise after any change of the past."""

    def policy(history: History) -> np.ndarray:
        return np.eye(task.n_actions)[choices(history)[:, -1]]

    return policy


@cache
def lived(name: str, family: str, seed: int = 0, rows: int = ROWS) -> EditedLives:
    """Lives of a family, acted by a hash of the context."""
    task = {**TASKS, **BANDITS}[name]
    rng, episodes = np.random.default_rng(seed), 1 if name in BANDITS else EPISODES
    facts = task.sample_tasks(rng, rows)

    def act(world, facts, past, stop):
        return play(world, facts, by_context(task), episodes, rng, past, stop)

    before = copy.deepcopy(facts)
    edited = families_of(task, episodes)[family].live(Lives(task, facts, episodes, rng, act))
    assert all(np.array_equal(fact, before[key]) for key, fact in facts.items())
    return edited


# --- worlds of their own


def in_a_room(env, places: dict[str, tuple], start, actions) -> Iterator[tuple[list[int], float]]:
    seen, _ = env.reset(options={**places, "start": tuple(start)})
    yield list(seen), 0.0
    for action in actions:
        seen, reward, *_ = env.step(int(action))
        yield list(seen), reward


def on_a_graph(following, start, goal, actions) -> Iterator[tuple[list[int], float]]:
    state = int(start)
    yield [state], 0.0
    for action in actions:
        state = int(following[state][action])
        yield [state], float(state == goal)


def in_a_grid(env, options: dict, actions) -> Iterator[tuple[list[int], float]]:
    def begun():
        return env.reset(options=options)[0] if options else env.reset(seed=env.layout)[0]

    def flat(seen):
        return [*np.asarray(seen["image"]).ravel().tolist(), int(seen["direction"])]

    yield flat(begun()), 0.0
    for action in actions:
        seen, reward, over, *_ = env.step(int(action))
        yield flat(begun() if over else seen), float(reward > 0)


def answers(name: str, fact: dict[str, np.ndarray], start, actions) -> Iterator[tuple[list[int], float]]:
    """What the world of these facts shows and pays in an episode."""
    task = TASKS[name]
    if isinstance(task, DarkRoom):
        return in_a_room(DarkRoomEnv(task.size, task.horizon, task.once), {"goal": tuple(fact["goal"])}, start, actions)
    if isinstance(task, KeyToDoor):
        places = {key: tuple(fact[key]) for key in ("key", "door")}
        return in_a_room(KeyToDoorEnv(task.size, task.horizon, task.start), places, start, actions)
    if isinstance(task, GraphWorld):
        return on_a_graph(fact["next"].tolist(), fact["start"], fact["goal"], actions)
    if task.hidden_goal:
        env = HiddenGoalEnv(task.environment, task.view)
        return in_a_grid(env, {"layout": int(fact["layout"]), "goal": tuple(fact["goal"])}, actions)
    env = open_environment(task.environment)
    env.agent_view_size, env.layout = task.view, int(fact["layout"])
    return in_a_grid(env, {}, actions)


def expected(name: str, family: str, history: History, row: int) -> Iterator[tuple[list[int], float]]:
    """What every step of a life is shown and paid, from what the family says of its world."""
    task = TASKS[name]
    facts = {key: fact[row] for key, fact in history.task.items()}
    earlier = {**facts, **{key.removesuffix("_before"): fact for key, fact in facts.items() if key.endswith("_before")}}
    for number in range(EPISODES):
        steps = slice(number * task.horizon, (number + 1) * task.horizon)
        start, actions = history.observations[row, steps][0], history.actions[row, steps].tolist()
        first_half = number < EPISODES // 2
        if family == "actions-exchanged":
            one, other = facts["exchanged"].tolist()
            actions = [{one: other, other: one}.get(action, action) for action in actions]
        moved = family in ("goal-moved", "door-moved", "layout-changed")
        shown = list(answers(name, earlier if moved and first_half else facts, start, actions))
        pay = [reward for _, reward in shown[1:]]
        if family == "two-goals":
            second = answers(name, {**facts, "goal": facts["second_goal"]}, start, actions)
            pay = [max(both) for both in zip(pay, [reward for _, reward in second][1:], strict=True)]
        if family == "dead" and not first_half:
            pay = [0.0] * task.horizon
        yield from zip([seen for seen, _ in shown], pay, strict=False)


@pytest.mark.parametrize(("name", "family"), EDITED)
@pytest.mark.default_cases(9)
def test_no_step_of_an_edited_life_is_impossible(name, family):
    history, task = lived(name, family).history, TASKS[name]
    assert history.n_steps == EPISODES * task.horizon
    assert (history.episode == np.arange(history.n_steps) // task.horizon).all()
    for row in range(ROWS):
        shown = [
            (seen.tolist(), pay) for seen, pay in zip(history.observations[row], history.rewards[row], strict=True)
        ]
        assert shown == list(expected(name, family, history, row))


@pytest.mark.parametrize(("name", "family"), EDITED + PULLED)
@pytest.mark.default_cases(15)
def test_what_counts_as_acted_was_chosen_on_what_the_history_shows(name, family):
    edited = lived(name, family)
    history, n_actions = edited.history, edited.history.n_actions
    chosen = choices(history) == history.actions
    assert chosen[edited.acted].all()
    assert edited.acted[:, -history.n_steps // 2 + 1 :].all()  # from the middle on, whoever lives acts
    if not edited.acted.all():
        # elsewhere actions and contexts agree by chance
        assert chosen[~edited.acted].mean() < 1 / n_actions + 4 / np.sqrt(n_actions * (~edited.acted).sum())


@pytest.mark.parametrize(("name", "family"), EDITED + PULLED)
@pytest.mark.default_cases(15)
def test_a_seed_decides_everything(name, family):
    first, other = lived(name, family).history, lived(name, family, 1).history
    again = lived.__wrapped__(name, family).history
    for field in ("observations", "actions", "rewards"):
        assert np.array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(first.actions, other.actions)


# --- bandits, where chance decides what is paid


@pytest.mark.parametrize(("name", "family"), PULLED)
@pytest.mark.default_cases(4)
def test_arms_pay_what_the_family_says(name, family):
    task, history = BANDITS[name], lived(name, family, rows=300).history
    half = history.n_steps // 2
    now, before = history.task["means"], history.task.get("means_before", history.task["means"])
    means = np.where(
        np.arange(history.n_steps)[:, None] < half,
        (before if family == "arms-exchanged" else now)[:, None],
        now[:, None],
    )
    pay = np.take_along_axis(means, history.actions.astype(np.intp)[..., None], axis=2)[..., 0]
    pay = task.expected_pay(pay) if isinstance(task, GaussianBandit) else pay
    parts = [slice(half), slice(half, None)]
    for part in parts[:1] if family == "dead" else parts:
        error = 0.5 / np.sqrt(history.actions[:, part].size)
        assert abs((history.rewards - pay)[:, part].mean()) < 4 * error
    if family == "dead":
        assert not history.rewards[:, half:].any()
    if family in ("rewards-swapped", "arms-exchanged"):
        assert (np.sort(now, axis=1) == np.sort(before, axis=1)).all()
        assert ((now != before).sum(axis=1) <= 2).all()
        assert (now != before).any(axis=1).mean() > 0.9


# --- what each family breaks


@pytest.mark.parametrize(
    ("name", "family", "fact"),
    [
        ("dark-room", "goal-moved", "goal"),
        ("graph-world", "goal-moved", "goal"),
        ("minigrid, hidden goal", "goal-moved", "goal"),
        ("key-to-door", "door-moved", "door"),
        ("minigrid", "layout-changed", "layout"),
    ],
)
def test_a_fact_is_another_one_in_every_row(name, family, fact):
    facts = lived(name, family).history.task
    assert (facts[fact] != facts[f"{fact}_before"]).reshape(ROWS, -1).any(axis=1).all()
    assert facts[fact].dtype == facts[f"{fact}_before"].dtype
    if name == "graph-world":
        assert (facts["goal"] != facts["start"]).all()


@pytest.mark.parametrize("name", ["dark-room", "key-to-door", "graph-world", "minigrid"])
def test_the_past_holds_the_same_episodes_in_another_order(name):
    task, rng = TASKS[name], np.random.default_rng(0)
    facts, plain = task.sample_tasks(rng, ROWS), []

    def act(world, facts, past, stop):
        plain.append(play(world, facts, by_context(task), EPISODES, rng, past, stop))
        return plain[-1]

    told = families_of(task, EPISODES)["episodes-shuffled"].live(Lives(task, facts, EPISODES, rng, act)).history

    def episodes(history: History, row: int) -> list[bytes]:
        parts = (history.observations[row], history.actions[row], history.rewards[row])
        spans = [slice(n * task.horizon, (n + 1) * task.horizon) for n in range(EPISODES // 2)]
        return [b"".join(part[span].tobytes() for part in parts) for span in spans]

    assert len(plain) == 2
    for row in range(ROWS):
        first, second = episodes(plain[0], row), episodes(told, row)
        assert sorted(first) == sorted(second)
        assert first != second or len(set(first)) < len(first)


@pytest.mark.parametrize("name", ["dark-room", "key-to-door", "graph-world", "minigrid", "bandit"])
def test_a_life_begins_with_one_who_knows_or_with_chance(name):
    history, task = lived(name, "life-before").history, {**TASKS, **BANDITS}[name]
    knows, quarter = history.task["began_with_expert"], history.n_steps // 4
    assert knows.sum() == ROWS // 2
    if name == "bandit":
        best = history.task["means"].argmax(axis=1)[:, None] == history.actions[:, :quarter]
        assert best[knows].all()
        assert best[~knows].mean() < 0.6
    elif name != "key-to-door":  # where an episode begins there, chance decides
        returns = history.rewards[:, :quarter].reshape(ROWS, 2, -1).sum(axis=2)
        optimum = task.optimal_return(history.task)[:, None]
        assert (returns == optimum)[knows].all()
        assert returns[~knows].mean() < 0.7 * optimum[~knows].mean()
    else:
        paid = history.rewards[:, :quarter].reshape(ROWS, 2, -1).sum(axis=2)
        assert (paid[knows] == 2).all()
        assert paid[~knows].mean() < 1.5


@pytest.mark.parametrize("name", ["dark-room", "graph-world", "key-to-door from the centre"])
def test_a_detour_is_longer_than_the_way_and_gone_twice(name):
    history, task = lived(name, "detour", rows=40).history, TASKS[name]
    first, second = (history.rewards[:, n * task.horizon :][:, : task.horizon] > 0 for n in (0, 1))
    direct = play_expert(task, history.task, 1, np.random.default_rng(0)).rewards > 0
    assert (direct.any(axis=1) == first.any(axis=1)).all()
    longer = first.argmax(axis=1) - direct.argmax(axis=1)
    assert (longer >= 0).all()
    # and then there are steps left in which to see where
    assert (first.argmax(axis=1)[first.any(axis=1)] < task.horizon - 1).mean() > 0.9
    assert (longer > 0).mean() > 0.7
    assert (first.any(axis=1) == second.any(axis=1)).mean() > 0.7


@pytest.mark.parametrize("name", ["dark-room", "graph-world"])
def test_two_places_pay_and_neither_order_nor_number_is_fixed(name):
    task, history = TASKS[name], lived(name, "two-goals", rows=60).history
    assert (history.task["goal"] != history.task["second_goal"]).reshape(60, -1).any(axis=1).all()
    cells = history.window(stop=EPISODES // 2 * task.horizon).last_rewarded_cell()[:, -1]
    goal, second = (history.task[key].reshape(60, -1) for key in ("goal", "second_goal"))
    last_is_second = (cells == second).all(axis=1)
    assert 0.2 < last_is_second.mean() < 0.95
    assert ((cells == goal).all(axis=1) | last_is_second | (cells == -1).all(axis=1)).all()


@pytest.mark.parametrize("name", ["dark-room", "graph-world", "key-to-door"])
def test_a_swapped_place_was_visited_and_pays_on(name):
    history = lived(name, "rewards-swapped", rows=40).history
    half, key = history.n_steps // 2, "key" if name == "key-to-door" else "goal"
    facts = history.task
    old, new = (
        facts.get(key if suffix == "" else key + suffix, facts[key]).reshape(40, -1) for suffix in ("_before", "")
    )
    moved = (old != new).any(axis=1)
    assert moved.mean() > 0.3
    visited = (history.observations[:, :half] == new[:, None]).all(axis=-1).any(axis=1)
    assert visited[moved].all()
    assert history.rewards[moved, :half].any(axis=1).mean() > 0.6


@pytest.mark.parametrize("name", ["dark-room", "graph-world"])
def test_a_life_that_is_too_short_has_no_order_of_episodes(name):
    assert "episodes-shuffled" in families_of(TASKS[name], 4)
    assert "episodes-shuffled" not in families_of(TASKS[name], 3)


def test_every_shipped_family_of_tasks_declares_two():
    for task in (*TASKS.values(), *BANDITS.values()):
        families = families_of(task, EPISODES)
        assert len(families) >= 2
        assert all(kind.breaks and (kind.lived or kind.words) for kind in families.values())


def test_gymnasium_knows_the_worlds_that_these_are_checked_against():
    assert isinstance(gymnasium.make("ad_hypotheses/DarkRoom-v0").unwrapped, DarkRoomEnv)
