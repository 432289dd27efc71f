"""Graph world: its graphs, its optimum against all ways there are, its planner and its environment."""

from __future__ import annotations

import itertools

import gymnasium
import networkx as nx
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from laws import law

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import DynaQ, episode_returns
from ad_hypotheses.tasks import GraphWorld, check_task, make_task
from ad_hypotheses.tasks.graph_world import LITTLE_HOPE, plan_with_hope, strongly_connected
from ad_hypotheses.tasks.play import baselines, play, play_expert

ENVIRONMENT = "ad_hypotheses/GraphWorld-v0"
# 0 -> 1, 2; 1 -> 2, 3; 2 -> 3, 0; 3 -> 0, 1
SQUARE = {"next": np.array([[[1, 2], [2, 3], [3, 0], [0, 1]]], np.int8), "start": np.zeros(1, np.int8)}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def lived(states: list[int], actions: list[int], rewards: list[float], horizon: int) -> History:
    """A life on a graph of two actions; what its last step does has not happened."""
    return History(
        observations=np.array([states], dtype=np.int8)[..., None],
        actions=np.array([actions], dtype=np.int8),
        rewards=np.array([rewards], dtype=np.float32),
        episode=np.arange(len(states), dtype=np.int16)[None] // horizon,
        channels=("state",),
        n_actions=2,
    )


def watched(
    horizon: int, states: list[int], actions: list[int], rewards: list[float], hope: float = LITTLE_HOPE
) -> list[list[float]]:
    """The decisions of the planner on a graph of 4 states who sees this life go by."""
    policy = plan_with_hope(GraphWorld(states=4, horizon=horizon), hope)
    life = lived(states, actions, rewards, horizon)
    return [policy(life.window(stop=step + 1))[0].tolist() for step in range(len(states))]


def test_it_is_a_task_family() -> None:
    check_task(GraphWorld())
    check_task(GraphWorld(states=4, actions=3, horizon=3))


# --- graphs


@given(st.integers(2, 9), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_connectivity_is_what_networkx_says(n_states: int, n_actions: int, seed: int) -> None:
    following = np.random.default_rng(seed).integers(n_states, size=(8, n_states, n_actions))
    for graph, connected in zip(following, strongly_connected(following), strict=True):
        edges = [(here, int(there)) for here in range(n_states) for there in graph[here]]
        assert connected == nx.is_strongly_connected(nx.DiGraph(edges))


@pytest.mark.parametrize(("states", "actions"), [(12, 2), (3, 2), (24, 2), (8, 7)])
def test_graphs_are_strongly_connected_and_every_way_leads_elsewhere(states: int, actions: int) -> None:
    world = GraphWorld(states, actions)
    facts = world.sample_tasks(np.random.default_rng(0), 60)
    assert {name: (fact.shape, fact.dtype) for name, fact in facts.items()} == {
        "next": ((60, states, actions), np.int8),
        "start": ((60,), np.int8),
        "goal": ((60,), np.int8),
    }
    assert (facts["start"] != facts["goal"]).all()
    for graph in facts["next"].tolist():
        network = nx.DiGraph([(here, there) for here in range(states) for there in graph[here]])
        assert nx.is_strongly_connected(network)
        assert all(len({here, *graph[here]}) == actions + 1 for here in range(states))


def test_all_that_is_drawn_is_drawn_alike() -> None:
    world = GraphWorld()
    facts = world.sample_tasks(np.random.default_rng(0), 3000)
    for name in ("start", "goal"):
        assert np.bincount(facts[name], minlength=12) / 3000 == pytest.approx(np.full(12, 1 / 12), abs=0.025)
    offset = (facts["goal"].astype(int) - facts["start"]) % 12
    assert np.bincount(offset, minlength=12)[1:] / 3000 == pytest.approx(np.full(11, 1 / 11), abs=0.025)
    # connected graphs are no bent sample of successors
    assert np.bincount(facts["next"][:, 0, 0], minlength=12)[1:] / 3000 == pytest.approx(np.full(11, 1 / 11), abs=0.025)


def test_more_tasks_begin_with_the_same_ones_and_held_out_ones_stay() -> None:
    world = GraphWorld()
    train, held_out = world.split(9, seed=4, train=700)
    fewer, same = world.split(9, seed=4, train=5)
    for name in ("next", "start", "goal"):
        assert (fewer[name] == train[name][:5]).all()
        assert (same[name] == held_out[name]).all()
    assert not (held_out["next"][:, None] == train["next"]).all(axis=(2, 3)).any()
    assert len(world.split(0, seed=4)[0]["goal"]) == 4096


# --- what can be earned


def test_a_walk_by_hand() -> None:
    world = GraphWorld(states=4, horizon=5)
    state = world.reset({**SQUARE, "goal": np.array([3], np.int8)})
    path = [int(world.observe(state)[0, 0])]
    paid = []
    for action in (1, 0, 0, 0, 1):
        seen, rewards, state = world.step(state, np.array([action]))
        path.append(int(seen[0, 0]))
        paid.append(float(rewards[0]))
    assert path == [0, 2, 3, 0, 1, 3]
    assert paid == [0, 1, 0, 0, 1]


def test_the_optimum_by_hand() -> None:
    facts = {**SQUARE, "goal": np.array([3], np.int8)}
    # two steps to the goal, then round by 1 in two steps again and again
    assert [GraphWorld(states=4, horizon=horizon).optimal_return(facts)[0] for horizon in (1, 2, 3, 4, 7, 8)] == [
        *(0, 1, 1, 2, 3, 4)
    ]


def best_of_all_ways(facts: dict[str, np.ndarray], row: int, horizon: int) -> int:
    best = 0
    for actions in itertools.product(range(facts["next"].shape[2]), repeat=horizon):
        here, earned = int(facts["start"][row]), 0
        for action in actions:
            here = int(facts["next"][row, here, action])
            earned += here == facts["goal"][row]
        best = max(best, earned)
    return best


@given(st.integers(3, 6), st.integers(1, 7), st.integers(0, 2**16))
@law(25)
def test_the_optimum_is_the_best_of_all_ways_and_the_expert_earns_it(states: int, horizon: int, seed: int) -> None:
    world, rng = GraphWorld(states, 2, horizon), np.random.default_rng(seed)
    facts = world.sample_tasks(rng, 4)
    optimum = world.optimal_return(facts)
    assert optimum.tolist() == [best_of_all_ways(facts, row, horizon) for row in range(4)]
    assert (episode_returns(play_expert(world, facts, 2, rng)) == optimum[:, None]).all()


def test_the_expert_knows_how_many_steps_are_left() -> None:
    # from 1 both ways lead to the goal in time, unless only one step is left
    world = GraphWorld(states=4, horizon=3)
    state = world.reset({**SQUARE, "start": np.array([1], np.int8), "goal": np.array([3], np.int8)})
    assert world.expert(state).tolist() == [[0, 1]]
    _, _, state = world.step(state, np.array([0]))
    assert world.expert(state).tolist() == [[1, 0]]
    _, _, state = world.step(state, np.array([1]))
    assert world.expert(state).tolist() == [[0.5, 0.5]]


# --- policies and sources


HALF = [0.5, 0.5]


def test_the_planner_tries_what_it_has_not_tried_and_then_goes_where_it_is_paid() -> None:
    states, actions, rewards = [0, 1, 2, 0, 1, 3, 0, 1], [0, 0, 1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0, 0]
    decided = watched(6, states, actions, rewards)
    assert decided[:3] == [HALF, HALF, HALF]
    # back at 0, action 1 of it is untried; it went to 1 all the same, whose action 1 is untried; then 3 is new
    assert decided[3:6] == [[0, 1], [0, 1], HALF]
    # the next episode goes the known way without delay, leaving action 1 of 0 untried
    assert decided[6:] == [[1, 0], [0, 1]]


def test_hope_leaves_the_known_way() -> None:
    # the known way is paid 1 in its second step and then hopes for 4 steps; action 1 of 0 hopes for 6
    states, actions, rewards = [0, 1, 3, 0, 1, 3, 0], [0, 1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0, 0]
    assert watched(6, states, actions, rewards, hope=0.45)[6] == [1, 0]
    assert watched(6, states, actions, rewards, hope=0.55)[6] == [0, 1]


def test_the_planner_walks_to_the_nearest_untried_action() -> None:
    # both ways of 0 and of 1 and one of 2 are tried; at 0 the way to 2 is a step shorter than that by 1
    states, actions = [0, 1, 2, 0, 2, 0, 1, 3, 0], [0, 0, 1, 1, 1, 0, 1, 0, 0]
    assert watched(9, states, actions, [0] * 9)[8] == HALF, "no step is left to walk"
    assert watched(12, states, actions, [0] * 9)[8] == [0, 1]


def test_pay_at_the_end_of_an_episode_is_remembered_though_not_where_it_was() -> None:
    assert watched(2, [0, 1, 0, 1], [0, 1, 0, 0], [0, 1, 0, 0])[2:] == [[1, 0], [0, 1]]


def test_the_planner_forgets_at_the_start_of_another_life() -> None:
    policy = plan_with_hope(GraphWorld(states=4, horizon=6), LITTLE_HOPE)
    life = lived([0, 1, 3, 0], [0, 1, 0, 0], [0, 1, 0, 0], 6)
    decided = [policy(life.window(stop=step + 1))[0].tolist() for step in range(4)]
    assert decided[3] == [1, 0]
    assert policy(life.window(stop=1)).tolist() == [HALF]


def test_what_is_known_of_those_who_learn_and_those_who_do_not(rng: np.random.Generator) -> None:
    world = GraphWorld()
    facts = world.sample_tasks(rng, 300)
    optimum = world.optimal_return(facts).mean()
    assert optimum == pytest.approx(6.84, abs=0.3)
    curve = {
        name: episode_returns(play(world, facts, policy, 6, rng)).mean(axis=0) / optimum
        for name, policy in baselines(world, rng).items()
    }
    assert curve["random"] == pytest.approx(np.full(6, 0.25), abs=0.04)
    assert curve["explore-then-plan"][[0, 1, 5]] == pytest.approx([0.50, 0.75, 0.86], abs=0.05)
    assert curve["optimistic-planner"][[0, 1, 5]] == pytest.approx([0.50, 0.85, 0.98], abs=0.04)
    source = DynaQ(gamma=0.8, initial_value=2.0, epsilon_first=0.0, planning=20)
    learned = episode_returns(source.live(world, facts, 12, rng)).mean(axis=0) / optimum
    assert learned.mean() == pytest.approx(0.94, abs=0.02)
    assert learned[0] < 0.6
    assert learned[5:].min() > 0.97


def test_regimes_follow_what_is_visible() -> None:
    world = GraphWorld(states=4, horizon=3)
    # paid at the end of the first episode, where it does not show which state it was; then at state 3
    life = lived([0, 1, 2, 0, 1, 3, 0], [0, 0, 0, 0, 1, 0, 0], [0, 0, 1, 0, 1, 0, 0], 3)
    regimes = world.regimes(life)
    assert regimes["return"][0].tolist() == [False] * 5 + [True] * 2
    assert (regimes["explore"] == ~regimes["return"]).all()


# --- mistakes


@pytest.mark.parametrize(
    ("params", "fragment"),
    [
        ({"states": 2}, "graph-world: states is 2, but it must be 3 to 24"),
        ({"states": 200}, "graph-world: states is 200, but it must be 3 to 24"),
        ({"actions": 12}, "graph-world: actions is 12, but it must be 2 to 11"),
        ({"actions": 1}, "graph-world: actions is 1, but it must be 2 to 11"),
        ({"horizon": 0}, "graph-world: horizon is 0, but it must be at least 1"),
        ({"nodes": 5}, "graph-world has no parameter 'nodes'"),
    ],
)
def test_wrong_worlds_are_explained(params: dict[str, int], fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        make_task("graph-world", **params)


def test_a_split_that_cannot_be_is_refused() -> None:
    for held_out, train in ((-1, None), (3, 0)):
        with pytest.raises(ConfigError, match=f"graph-world: cannot hold out {held_out}"):
            GraphWorld().split(held_out, seed=0, train=train)


# --- gymnasium


def test_gymnasiums_checker_finds_nothing() -> None:
    check_env(gymnasium.make(ENVIRONMENT).unwrapped)


@given(st.integers(3, 9), st.integers(1, 9), st.integers(0, 2**16), st.data())
@law(25)
def test_the_environment_and_the_batched_world_agree(states: int, horizon: int, seed: int, data: st.DataObject) -> None:
    world = GraphWorld(states, 2, horizon)
    env = gymnasium.make(ENVIRONMENT, states=states, actions=2, horizon=horizon)
    seen, _ = env.reset(seed=seed)
    facts = world.sample_tasks(gymnasium.utils.seeding.np_random(seed)[0], 1)
    for episode in range(2):
        state = world.reset(facts)
        if episode:
            seen, _ = env.reset()
        assert seen == world.observe(state)[0, 0]
        actions = data.draw(st.lists(st.integers(0, 1), min_size=horizon, max_size=horizon))
        for step, action in enumerate(actions):
            seen, reward, terminated, truncated, _ = env.step(action)
            batched, rewards, state = world.step(state, np.array([action]))
            assert (seen, reward, terminated) == (batched[0, 0], rewards[0], False)
            assert truncated == (step == horizon - 1)


def test_an_environment_takes_a_graph_by_hand() -> None:
    env = gymnasium.make(ENVIRONMENT, states=4, horizon=4)
    seen, _ = env.reset(options={"next": SQUARE["next"][0].tolist(), "start": 0, "goal": 3})
    assert seen == 0
    assert [env.step(action)[:2] for action in (0, 1, 1, 1)] == [(1, 0.0), (3, 1.0), (1, 0.0), (3, 1.0)]


@pytest.mark.parametrize(
    ("changed", "fragment"),
    [
        ({"goal": 4}, "goal is 4, but it must hold states, 0 to 3"),
        ({"start": 1.5}, "start is 1.5, but it must hold states"),
        ({"next": [[1, 2], [2, 3]]}, r"must hold states, 0 to 3, in the shape \[4, 2\]"),
        ({"next": [[1, 1], [0, 0], [3, 3], [2, 2]]}, "cannot be reached from every other"),
        ({"end": 1}, "needs the options next, start and goal, but there are next, start, goal, end"),
    ],
)
def test_a_graph_that_cannot_be_is_refused(changed: dict[str, object], fragment: str) -> None:
    options = {"next": SQUARE["next"][0].tolist(), "start": 0, "goal": 3, **changed}
    with pytest.raises(ConfigError, match=fragment):
        gymnasium.make(ENVIRONMENT, states=4).reset(options=options)
