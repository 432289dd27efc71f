"""MiniGrid as task families: planning, tables against the real environments, hidden goals, learners."""

from __future__ import annotations

import itertools
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from minigrid.core.world_object import Ball, Box, Door, Floor, Goal, Key, Lava, Wall
from minigrid.envs import EmptyEnv

from ad_hypotheses.errors import CapacityError, ConfigError
from ad_hypotheses.sources import DynaQ, learning_curve
from ad_hypotheses.tasks import Task, check_task, make_task
from ad_hypotheses.tasks.minigrid_table import open_environment
from ad_hypotheses.tasks.minigrid_task import GridState, MinigridTask
from ad_hypotheses.tasks.minigrid_view import views
from ad_hypotheses.tasks.planning import NEVER, best_actions, optimal_value, plan, steps_to_reward
from ad_hypotheses.tasks.play import draw, play, play_expert

# --- planning


def random_worlds(seed: int, n_tasks: int = 3, n_states: int = 4, n_actions: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (n_tasks, n_states, n_actions)
    return rng.integers(n_states, size=shape), rng.choice([0.0, 0.0, 0.1, 1.0, -1.0], size=shape)


def follow(next_state: np.ndarray, reward: np.ndarray, state: int, actions: tuple[int, ...]) -> float:
    """The return of a sequence of actions in one world."""
    total = 0.0
    for action in actions:
        total += reward[state, action]
        state = next_state[state, action]
    return total


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_a_plan_is_as_good_as_the_best_of_all_sequences(seed: int, horizon: int) -> None:
    next_state, reward = random_worlds(seed)
    values = plan(next_state, reward, horizon)
    assert values.shape == (3, horizon + 1, 4)
    for task, state in itertools.product(range(3), range(4)):
        returns = {
            actions: follow(next_state[task], reward[task], state, actions)
            for actions in itertools.product(range(2), repeat=horizon)
        }
        best = max(returns.values())
        assert values[task, horizon, state] == pytest.approx(best, abs=1e-5)
        good = {actions[0] for actions, value in returns.items() if value > best - 1e-5}
        chosen = best_actions(values, next_state, reward, np.array([task]), np.array([state]), horizon)[0]
        assert {int(action) for action in np.flatnonzero(chosen)} == good
        assert chosen.sum() == pytest.approx(1)
    assert (optimal_value(next_state, reward, horizon) == values[:, horizon]).all()


@given(st.integers(0, 2**32 - 1))
def test_steps_to_a_reward_are_those_of_a_search(seed: int) -> None:
    next_state, reward = random_worlds(seed, n_states=6)
    steps = steps_to_reward(next_state, reward == 1)
    for task, start in itertools.product(range(3), range(6)):
        reached, taken = {start}, 1
        while not (reward[task, list(reached)] == 1).any() and taken < 8:
            reached, taken = {int(after) for state in reached for after in next_state[task, state]}, taken + 1
        assert steps[task, start] == (taken if taken < 8 else NEVER)


def test_a_plan_that_does_not_fit_is_refused() -> None:
    tables = np.zeros((2, 1000, 2), dtype=np.int64)
    with pytest.raises(CapacityError, match="2 tasks of 1000 states"):
        plan(tables, tables.astype(float), 10**6)


# --- tables against the real environments

FAMILIES = (
    {"environment": "MiniGrid-Empty-8x8-v0"},
    {"environment": "MiniGrid-FourRooms-v0", "view": 5},
    {"environment": "MiniGrid-DoorKey-5x5-v0", "view": 3},
    {"environment": "MiniGrid-LavaCrossingS9N2-v0"},
    {"environment": "MiniGrid-SimpleCrossingS9N3-v0"},
    {"environment": "MiniGrid-Unlock-v0"},
    {"environment": "MiniGrid-MemoryS7-v0"},
    {"environment": "MiniGrid-GoToDoor-5x5-v0"},
    {"environment": "BabyAI-OpenDoorsOrderN2-v0"},
)


def ids(family: dict[str, object]) -> str:
    return "-".join(str(value) for value in family.values())


def towards(task: MinigridTask, state: GridState, rng: np.random.Generator) -> int:
    """Half of the steps at random, half on the way to the goal, so that laps end."""
    if rng.random() < 0.5:
        return int(rng.integers(task.n_actions))
    return int(draw(task.expert(state), rng)[0])


@pytest.mark.parametrize("family", FAMILIES, ids=ids)
@pytest.mark.default_cases(3)
def test_the_batched_world_follows_the_real_environment(family: dict[str, object]) -> None:
    """Nothing of ours is in the way: gymnasium.make, its own resets, steps and observations."""
    task = MinigridTask(layouts=6, **family)
    laps = 0
    for seed in task.tasks()["layout"][-2:].tolist():
        env = gymnasium.make(task.environment, agent_view_size=task.view, max_steps=10**6, disable_env_checker=True)
        rng, state = np.random.default_rng(seed), task.reset({"layout": np.array([seed])})
        seen, _ = env.reset(seed=seed)
        assert task.observe(state)[0].tolist() == [*seen["image"].reshape(-1), seen["direction"]]
        for _ in range(150):
            action = towards(task, state, rng)
            seen, reward, terminated, truncated, _ = env.step(action)
            assert not truncated
            batched, rewards, state = task.step(state, np.array([action]))
            assert rewards[0] == (reward > 0)
            if terminated:
                seen, _ = env.reset(seed=seed)
                assert task.state_index(state)[0] == 0
                laps += reward > 0
            assert batched[0].tolist() == [*seen["image"].reshape(-1), seen["direction"]]
    assert laps > 3


@pytest.mark.parametrize("environment", ["MiniGrid-Empty-6x6-v0", "MiniGrid-FourRooms-v0", "MiniGrid-DoorKey-5x5-v0"])
def test_the_batched_world_follows_the_environment_with_a_hidden_goal(environment: str) -> None:
    task = MinigridTask(environment, hidden_goal=True, layouts=3)
    env = gymnasium.make("ad_hypotheses/HiddenGoal-v0", environment=environment, disable_env_checker=True)
    rng, laps = np.random.default_rng(0), 0
    for _ in range(3):
        facts = task.sample_tasks(rng, 1)
        state = task.reset(facts)
        options = {"layout": int(facts["layout"][0]), "goal": tuple(facts["goal"][0].tolist())}
        seen, _ = env.reset(options=options)
        assert 8 not in seen["image"][..., 0]
        for _ in range(80):
            action = towards(task, state, rng)
            seen, reward, terminated, _, _ = env.step(action)
            batched, rewards, state = task.step(state, np.array([action]))
            assert rewards[0] == (reward > 0) == terminated
            if terminated:
                seen, _ = env.reset()
                laps += 1
            assert batched[0].tolist() == [*seen["image"].reshape(-1), seen["direction"]]
    assert laps > 3


def test_gymnasiums_checker_finds_nothing() -> None:
    check_env(gymnasium.make("ad_hypotheses/HiddenGoal-v0", render_mode="rgb_array").unwrapped)


def test_the_picture_shows_the_goal_that_the_agent_does_not_see() -> None:
    env = gymnasium.make("ad_hypotheses/HiddenGoal-v0", render_mode="rgb_array")
    seen, _ = env.reset(options={"layout": 0, "goal": (3, 2)})
    picture = env.render().reshape(8, 32, 8, 32, 3)[:, 16, :, 16]
    assert np.argwhere((picture == [0, 255, 0]).all(axis=-1)).tolist() == [[2, 3]] or picture[2, 3, 1] > 200
    again, *_ = env.step(1)
    assert 8 not in seen["image"][..., 0]
    assert 8 not in again["image"][..., 0]


@pytest.mark.parametrize("goal", [(0, 0), (1, 1), (9, 9), (1,), "ab"])
def test_a_hidden_goal_must_be_an_empty_cell(goal: object) -> None:
    with pytest.raises(ConfigError, match="no empty cell"):
        gymnasium.make("ad_hypotheses/HiddenGoal-v0").reset(options={"goal": goal})


@pytest.mark.parametrize("through_walls", [False, True])
@pytest.mark.parametrize("size", [3, 5, 7, 9])
def test_views_are_those_of_minigrid(size: int, through_walls: bool) -> None:
    """Clutter that no real layout has: doors of all kinds, things and walls anywhere."""
    env, rng = open_environment("MiniGrid-Empty-8x8-v0"), np.random.default_rng(size)
    env.reset(seed=0)
    env.agent_view_size, env.see_through_walls = size, through_walls
    things = [None, None, None, None, Wall(), Lava(), Goal(), Key("red"), Ball("grey"), Box("purple"), Floor("blue")]
    things += [Door("red", is_open=True), Door("blue"), Door("green", is_locked=True)]
    for _ in range(30):
        env.grid.grid = [things[n] for n in rng.integers(len(things), size=64)]
        x, y, env.agent_dir = (int(n) for n in rng.integers([8, 8, 4]))
        env.agent_pos = (x, y)
        env.carrying = things[rng.integers(3, 9)] if rng.random() < 0.5 else None
        carried = (1, 0, 0) if env.carrying is None else env.carrying.encode()
        agent = np.array([[x, y, env.agent_dir]])
        image = views(
            env.grid.encode()[None].astype(np.int8), np.array([0]), agent, np.array([carried]), size, through_walls
        )
        assert (image[0] == env.gen_obs()["image"]).all()


# --- the family


def test_laps_by_hand() -> None:
    task = MinigridTask("MiniGrid-Empty-5x5-v0", horizon=11)
    forward, right = 2, 1
    assert task.action_names == ("left", "right", "forward")
    assert (task.n_states, len(task.channels), len(task.channel_sizes)) == (4 * 8, 148, 148)
    facts = task.tasks()
    state = task.reset(facts)
    paid = []
    for action in (forward, forward, right, forward, forward) * 2:
        _, rewards, state = task.step(state, np.array([action]))
        paid.append(float(rewards[0]))
    assert paid == [0, 0, 0, 0, 1] * 2
    assert task.optimal_return(facts).tolist() == [2.0]
    assert MinigridTask("MiniGrid-Empty-5x5-v0", horizon=4).optimal_return(facts).tolist() == [0.0]


def test_agents_are_where_the_real_environment_has_them() -> None:
    family = MinigridTask("MiniGrid-DoorKey-5x5-v0", horizon=12)
    rng = np.random.default_rng(0)
    history = play(family, family.sample_tasks(rng, 3), lambda seen: np.full((3, 6), 1 / 6), 2, rng)
    where = family.agents(history)
    for row, seed in enumerate(history.task["layout"].tolist()):
        env = open_environment("MiniGrid-DoorKey-5x5-v0")
        for step in range(24):
            if step % 12 == 0 or history.rewards[row, step - 1] > 0:
                env.reset(seed=seed)
                if step % 12 == 0:
                    grid = env.grid.encode()
                    assert np.array_equal(family.atlas.grid(seed), grid)
            assert where[row, step].tolist() == [*env.agent_pos, env.agent_dir]
            env.step(int(history.actions[row, step]))


def test_channels_name_what_is_seen() -> None:
    task = MinigridTask("MiniGrid-Empty-5x5-v0")
    seen = dict(zip(task.channels, task.observe(task.reset(task.tasks()))[0].tolist(), strict=True))
    # facing right in the top left corner: the wall is beside it on its left, and three cells are before it
    assert (seen["type_3_6"], seen["type_2_6"], seen["type_3_5"], seen["type_3_3"]) == (1, 2, 1, 2)
    assert (seen["type_5_4"], seen["colour_5_4"], seen["state_5_4"], seen["direction"]) == (8, 1, 0, 0)


def test_actions_are_those_that_change_anything() -> None:
    kept = {"Empty-8x8": 3, "LavaGapS5": 3, "Fetch-5x5-N2": 4, "DoorKey-5x5": 6, "GoToDoor-5x5": 7}
    for name, n_actions in kept.items():
        assert MinigridTask(f"MiniGrid-{name}-v0").n_actions == n_actions
    assert MinigridTask("MiniGrid-DoorKey-5x5-v0", actions=4).action_names == ("left", "right", "forward", "pickup")


def tables_of(task: MinigridTask, one: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The world of one task as it shows itself: every action in every state."""
    start, n_states = task.reset(one), len(task.atlas.layout(int(one["layout"][0])).agent)
    agents = {
        name: np.repeat(getattr(start, name), n_states * task.n_actions) for name in ("starts", "layouts", "goals")
    }
    everywhere = start._replace(rows=start.starts + np.arange(n_states).repeat(task.n_actions), **agents)
    _, rewards, after = task.step(everywhere, np.tile(np.arange(task.n_actions), n_states))
    shape = (1, n_states, task.n_actions)
    return task.state_index(after).reshape(shape), rewards.reshape(shape)


@pytest.mark.parametrize(
    "family",
    [
        {"environment": "MiniGrid-DoorKey-5x5-v0", "horizon": 25},
        {"environment": "MiniGrid-LavaCrossingS9N1-v0", "horizon": 31},
        {"environment": "MiniGrid-Empty-6x6-v0", "horizon": 17, "hidden_goal": True},
    ],
    ids=ids,
)
def test_the_expert_earns_what_dynamic_programming_says(family: dict[str, object]) -> None:
    task = MinigridTask(layouts=4, **family)
    facts, rng = task.tasks(), np.random.default_rng(0)
    for number in range(len(facts["layout"])):
        one = {name: fact[[number]] for name, fact in facts.items()}
        next_state, reward = tables_of(task, one)
        assert optimal_value(next_state, reward, task.horizon)[0, 0] == task.optimal_return(one)[0]
    history = play_expert(task, facts, 2, rng)
    returns = history.rewards.reshape(len(facts["layout"]), 2, -1).sum(axis=2)
    assert (returns == task.optimal_return(facts)[:, None]).all()
    assert returns.min() > 0


def test_where_no_way_leads_to_the_goal_all_actions_are_alike() -> None:
    task = MinigridTask("MiniGrid-DoorKey-5x5-v0", actions=3)
    facts = {"layout": np.array([0])}
    assert task.expert(task.reset(facts))[0].tolist() == pytest.approx([1 / 3] * 3)
    assert task.optimal_return(facts).tolist() == [0.0]


def test_equal_layouts_are_one_and_each_empty_cell_is_a_hidden_goal() -> None:
    assert MinigridTask("MiniGrid-Empty-8x8-v0").tasks()["layout"].tolist() == [0]
    hidden = MinigridTask("MiniGrid-Empty-8x8-v0", hidden_goal=True).tasks()
    assert {tuple(goal) for goal in hidden["goal"].tolist()} == set(itertools.product(range(1, 7), range(1, 7))) - {
        (1, 1)
    }
    rooms = MinigridTask("MiniGrid-FourRooms-v0", layouts=5).tasks()
    assert rooms["layout"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "family",
    [
        {"environment": "MiniGrid-FourRooms-v0", "layouts": 20},
        {"environment": "MiniGrid-Empty-6x6-v0", "hidden_goal": True},
    ],
    ids=ids,
)
def test_splits_do_not_overlap_and_hold_out_the_same(family: dict[str, object]) -> None:
    task = MinigridTask(**family)
    train, held_out = task.split(held_out=4, seed=3)
    fewer, same = task.split(held_out=4, seed=3, train=5)
    rows = [
        tuple(np.concatenate([fact[n].reshape(-1) for fact in part.values()]).tolist())
        for part in (train, held_out)
        for n in range(len(part["layout"]))
    ]
    assert len(set(rows)) == len(rows) == len(task.tasks()["layout"])
    for name in train:
        assert (same[name] == held_out[name]).all()
        assert (fewer[name] == train[name][:5]).all()
    with pytest.raises(ConfigError, match="cannot hold out 99 tasks"):
        task.split(held_out=99, seed=0)


def test_regimes_and_the_search_with_a_map() -> None:
    task = MinigridTask("MiniGrid-Empty-6x6-v0", hidden_goal=True, horizon=15)
    facts, rng = task.tasks(), np.random.default_rng(0)
    history = play(task, facts, task.baselines(rng)["nearest-unvisited"], 6, rng)
    regimes = task.regimes(history)
    assert (sum(steps.astype(int) for steps in regimes.values()) == 1).all()
    assert (regimes["explore"] == (history.rewards_seen == 0)).all()
    share = history.rewards.reshape(15, 6, -1).sum(axis=2) / task.optimal_return(facts)[:, None]
    assert share[:, 0].mean() < 0.7
    assert (share[:, 3:] == 1).all()


def test_a_tabular_learner_learns_where_the_goal_is_hidden() -> None:
    task = MinigridTask("MiniGrid-Empty-6x6-v0", hidden_goal=True, horizon=20)
    facts = {name: np.repeat(fact, 4, axis=0) for name, fact in task.tasks().items()}
    share = (
        learning_curve(DynaQ(initial_value=1.0, planning=5).live(task, facts, 40, np.random.default_rng(0)))
        / task.optimal_return(facts).mean()
    )
    assert share[0] < 0.4
    assert share[-1] > 0.9


@pytest.mark.parametrize(
    "family",
    [
        {"environment": "MiniGrid-DoorKey-5x5-v0", "horizon": 25},
        {"environment": "MiniGrid-Empty-6x6-v0", "horizon": 12, "hidden_goal": True},
    ],
    ids=ids,
)
def test_the_family_keeps_the_promises_of_all(family: dict[str, object]) -> None:
    check_task(MinigridTask(layouts=8, **family))


# --- mistakes


@pytest.mark.parametrize(
    ("name", "params", "fragment"),
    [
        ("MiniGrid-FourRoom-v0", {}, "Did you mean 'MiniGrid-FourRooms-v0'?"),
        ("CartPole-v1", {}, "no environment of MiniGrid"),
        ("MiniGrid-Empty-5x5-v0", {"view": 4}, "view is 4, but it must be odd"),
        ("MiniGrid-Empty-5x5-v0", {"view": 17}, "view is 17, but it must be 3 to 15"),
        ("MiniGrid-Empty-5x5-v0", {"horizon": 0}, "horizon is 0"),
        ("MiniGrid-Empty-5x5-v0", {"actions": 8}, "actions is 8"),
        ("MiniGrid-Empty-5x5-v0", {"hidden_goal": 1}, "hidden_goal is 1, but it must be of type bool"),
        ("MiniGrid-Empty-5x5-v0", {"hidden": True}, "no parameter 'hidden'. Did you mean 'hidden_goal'?"),
        ("MiniGrid-Dynamic-Obstacles-5x5-v0", {}, "draws random numbers at its steps"),
        ("MiniGrid-Unlock-v0", {"max_states": 500}, "more than max_states = 500 states with 7 actions"),
        ("MiniGrid-Unlock-v0", {"hidden_goal": True}, "has no goal square"),
    ],
)
def test_wrong_families_are_explained(name: str, params: dict[str, object], fragment: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_task(f"minigrid:{name}", **params)
    assert fragment in str(error.value)


def test_families_by_name() -> None:
    task = make_task("minigrid:MiniGrid-Empty-6x6-v0", hidden_goal=True, view=5)
    assert task == MinigridTask("MiniGrid-Empty-6x6-v0", hidden_goal=True, view=5)
    assert isinstance(task, Task)
    assert task.name == "minigrid:MiniGrid-Empty-6x6-v0"


class Forgetful(EmptyEnv):
    """Pays by how often the agent walked, a number that it keeps to itself."""

    visits = 0

    def step(self, action):
        seen, _, terminated, truncated, info = super().step(action)
        self.visits += action == 2
        return seen, float(self.visits % 3 == 0 and terminated), terminated, truncated, info


def test_an_environment_that_remembers_more_than_its_grid_is_refused() -> None:
    gymnasium.register("test/Forgetful-v0", Forgetful, kwargs={"size": 4})
    try:
        with pytest.raises(ConfigError, match="remembers more than its grid"):
            MinigridTask("test/Forgetful-v0")
    finally:
        del gymnasium.registry["test/Forgetful-v0"]


def test_minigrid_is_loaded_only_for_its_own_families() -> None:
    script = "import sys, ad_hypotheses.tasks as tasks; tasks.make_task('bandit'); print('minigrid' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
