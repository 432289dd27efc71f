"""A goal that jumps between episodes: itineraries, the world, what a life shows of it, and edits that keep it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_rooms import small_life

from ad_hypotheses.distill.checkpoint import Checkpoint, build
from ad_hypotheses.distill.config import check_config
from ad_hypotheses.errors import ConfigError
from ad_hypotheses.ladder.belief import RUNGS
from ad_hypotheses.ladder.run import predict
from ad_hypotheses.ladder.rung import Background
from ad_hypotheses.ladder.source import source_rung
from ad_hypotheses.language.history import History
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.sources import DynaQ, learning_curve
from ad_hypotheses.sources.histories import recipe_of
from ad_hypotheses.sources.q_learning import _Memory
from ad_hypotheses.sources.variants import lived
from ad_hypotheses.studies.behave.battery import TESTS
from ad_hypotheses.studies.behave.condition import Subject
from ad_hypotheses.studies.behave.living import dead, moved
from ad_hypotheses.studies.behave.study import background_of
from ad_hypotheses.studies.edits import edit
from ad_hypotheses.tasks import DarkRoom, check_task, make_task
from ad_hypotheses.tasks.edits.lives import Lives, RecordedActor, answered
from ad_hypotheses.tasks.edits.possible import impossible_steps
from ad_hypotheses.tasks.options.moving_goal import EPISODES, GoalFilter, found_empty, itineraries
from ad_hypotheses.tasks.play import baselines, play, play_expert, play_knowing, uniform

STAY, UP, DOWN, LEFT, RIGHT = range(5)
ROOM = DarkRoom(size=3, horizon=3, goal_moves=0.5)
HERE, RIGHTWARDS, UPWARDS = [1, 1], [2, 1], [1, 0]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def task_of(*goals: list[int]) -> dict[str, np.ndarray]:
    """One task whose goal is in these cells, one an episode."""
    return {"goals": np.array([goals], dtype=np.int8)}


def paid(history: History) -> list[list[float]]:
    return history.rewards.reshape(-1, 3).tolist()


def test_what_moves_and_what_does_not(rng: np.random.Generator) -> None:
    first, pool = np.array([0, 2, 1]), np.array([7, 3, 5])
    stays, jumps = (itineraries(first, pool, chance, rng) for chance in (0.0, 1.0))
    assert (stays == np.array([7, 5, 3])[:, None]).all()
    assert stays.shape == (3, EPISODES)
    assert (jumps[:, 0] == [7, 5, 3]).all()
    assert (jumps[:, 1:] != jumps[:, :-1]).all(), "a jump leads to another cell"
    assert np.isin(jumps, pool).all()
    assert (itineraries(first * 0, np.array([4]), 1.0, rng) == 4).all(), "with one cell there is nowhere to go"


def test_a_goal_jumps_as_often_as_it_should_to_all_cells_alike(rng: np.random.Generator) -> None:
    cells = itineraries(rng.integers(9, size=2000), np.arange(9), 0.3, rng)
    moved = cells[:, 1:] != cells[:, :-1]
    assert moved.mean() == pytest.approx(0.3, abs=0.01)
    shift = (cells[:, 1:] - cells[:, :-1])[moved] % 9
    assert np.bincount(shift)[1:] / moved.sum() == pytest.approx(1 / 8, abs=0.01)


def test_each_episode_pays_where_its_goal_is() -> None:
    there = small_life(ROOM, [RIGHT, STAY, UP] * 3, task_of(RIGHTWARDS, UPWARDS, RIGHTWARDS))
    assert paid(there) == [[1, 1, 0], [0, 0, 0], [1, 1, 0]]
    assert paid(small_life(ROOM, [UP, DOWN, UP] * 2, task_of(RIGHTWARDS, UPWARDS))) == [[0, 0, 0], [1, 0, 1]]


def test_tasks_that_are_held_out_keep_to_their_own_cells() -> None:
    room = DarkRoom(goal_moves=0.5)
    train, held_out = room.split(held_out=16, seed=3)
    fewer, same = room.split(held_out=16, seed=3, train=5)
    cells = [set(room.square.cells(facts["goals"]).ravel().tolist()) for facts in (train, held_out)]
    assert (len(train["goals"]), len(fewer["goals"]), len(cells[1])) == (4096, 5, 16)
    assert not cells[0] & cells[1]
    assert (same["goals"] == held_out["goals"]).all()
    still = DarkRoom().split(held_out=16, seed=3)[1]["goal"]
    assert (held_out["goals"][:, 0] == still).all(), "they begin where still goals would be held out"


def test_the_optimum_is_that_of_the_first_goal_and_the_expert_follows(rng: np.random.Generator) -> None:
    facts = {"goals": np.concatenate([task_of(HERE, [0, 0])["goals"], task_of([0, 1], HERE)["goals"]])}
    assert ROOM.optimal_return(facts).tolist() == [3.0, 3.0]
    assert ROOM.optimal_return(task_of([0, 0], HERE)).tolist() == [2.0]
    assert play_expert(ROOM, facts, 2, rng).rewards.reshape(2, 2, 3).sum(axis=2).tolist() == [[3, 2], [3, 3]]


def test_a_cell_that_paid_and_no_longer_does_is_searched_for_again() -> None:
    # episode 1: two visits pay; 2: the cell is reached and does not; 3: it is not reached; 4: it pays again
    actions = [RIGHT, STAY, LEFT, RIGHT, LEFT, STAY, LEFT, STAY, STAY, RIGHT, STAY, STAY]
    told = small_life(ROOM, actions, task_of(RIGHTWARDS, UPWARDS, UPWARDS, RIGHTWARDS))
    regimes = ROOM.regimes(told)
    named = [next(name for name, steps in regimes.items() if steps[0, step]) for step in range(12)]
    assert named == ["explore", "stay", "stay", "navigate", *["search"] * 6, "stay", "stay"]
    assert "search" not in DarkRoom(3, 3).regimes(told)
    at_start = replace(told, observations=np.full_like(told.observations, 1), rewards=np.zeros_like(told.rewards))
    goal = np.broadcast_to(np.array(HERE), at_start.observations.shape)
    assert not found_empty(at_start, goal)[:, ::3][0, 0], "a start shows nothing of its cell"


def test_what_is_kept_of_a_life_keeps_its_goals(rng: np.random.Generator) -> None:
    facts = ROOM.sample_tasks(rng, 40)
    for skip, every in ((0, 2), (4, 2), (3, 1)):
        history = lived(DynaQ(planning=2), ROOM, facts, 6, np.random.default_rng(1), every, skip)
        again = answered(ROOM, history.task, history, np.random.default_rng(5))
        assert (again.rewards == history.rewards).all()
        episodes = np.arange(skip, skip + 6, every)
        assert (history.task["goals"][:, : len(episodes)] == facts["goals"][:, episodes]).all()
        assert history.task["goals"].shape == facts["goals"].shape


def test_an_edited_life_has_the_goals_that_it_had(rng: np.random.Generator) -> None:
    history = play(ROOM, ROOM.sample_tasks(rng, 30), uniform(ROOM), 6, rng)
    edited = edit(history, step=10, task=ROOM, action=STAY)
    assert not any(steps.any() for steps in impossible_steps(ROOM, edited).values())
    assert (edited.rewards[:, :9] == history.rewards[:, :9]).all()
    same_action = history.actions[:, 10] == STAY
    assert (edited.rewards[same_action] == history.rewards[same_action]).all()
    inside = edited.window(9, 12)
    arrived = np.concatenate([inside.observations[:, 1:], ROOM.square.positions(
        ROOM.square.move(ROOM.square.cells(inside.observations[:, -1]), inside.actions[:, -1].astype(int))
    )[:, None]], axis=1)  # fmt: skip
    assert (inside.rewards == (arrived == history.task["goals"][:, None, 3]).all(axis=2)).all()


def test_one_more_jump_is_to_another_cell_in_every_episode(rng: np.random.Generator) -> None:
    history = play(ROOM, ROOM.sample_tasks(rng, 30), uniform(ROOM), 6, rng)
    actor = RecordedActor(ROOM, history, rng)
    families = ROOM.counterfactuals()
    moved = families["goal-moved"].live(Lives(ROOM, history.task, 6, rng, actor)).history
    assert (moved.task["goals"] != history.task["goals"]).any(axis=2).all()
    assert (moved.task["goals_before"] == history.task["goals"]).all()
    assert (moved.rewards[:, :9] == history.rewards[:, :9]).all()
    again = answered(ROOM, {"goals": moved.task["goals"]}, moved, rng)
    assert (again.rewards[:, 9:] == moved.rewards[:, 9:]).all()
    assert list(families) == ["goal-moved", "detour"]


def test_the_posterior_of_a_goal_that_jumps_by_hand() -> None:
    belief = GoalFilter(1, 3, moves=0.2, pays=1.0, error=0.1)
    belief.arrive(np.array([0]), np.array([True]))
    # cell 0: 1/3 x 0.9; the others 1/3 x 0.1 each
    assert belief.chance[0] == pytest.approx([9 / 11, 1 / 11, 1 / 11])
    belief.begin_episode()
    assert belief.chance[0] == pytest.approx([0.8 * 9 / 11 + 0.1 * 2 / 11, *[0.8 / 11 + 0.1 * 10 / 11] * 2])
    before = belief.chance[0].copy()
    belief.arrive(np.array([0]), np.array([False]))
    assert belief.chance[0] == pytest.approx(np.array([0.1, 0.9, 0.9]) * before / ([0.1, 0.9, 0.9] @ before))


def test_the_belief_rung_leaves_a_goal_that_was_found_empty(rng: np.random.Generator) -> None:
    room = DarkRoom(size=3, horizon=3, goal_moves=0.1)
    told = small_life(ROOM, [RIGHT, STAY, STAY, RIGHT, STAY, STAY], task_of(RIGHTWARDS, [0, 1]))
    background = Background(room, DynaQ(), told.task, told, episodes=2)
    policy = predict(RUNGS[0].fit(background), told, room)[0]
    assert policy[1, STAY] > 0.9
    assert policy[3, RIGHT] > 0.7, "after an episode it is mostly where it was"
    assert policy[4, STAY] < 0.1, "and is left once it does not pay"


def test_the_source_unlearns_and_the_baselines_find_goals_that_moved(rng: np.random.Generator) -> None:
    room = DarkRoom(size=5, horizon=12, goal_moves=0.2)
    facts = room.sample_tasks(rng, 64)
    curve = learning_curve(DynaQ(epsilon_first=0.2, anneal_episodes=5).live(room, facts, 12, rng))
    assert curve[-4:].mean() > 2 * curve[0]
    policies = baselines(room, rng)
    earned = {name: play(room, facts, policies[name], 12, rng).rewards[:, 72:].mean() for name in policies}
    assert earned["nearest-unvisited"] > 0.6
    assert earned["thompson-over-goals"] > 0.4 > earned["random"] + 0.2


def test_the_family_keeps_its_promises() -> None:
    check_task(make_task("dark-room", size=3, horizon=6, goal_moves=0.5))


def test_an_option_that_is_off_is_not_described(rng: np.random.Generator) -> None:
    plain, moving = DarkRoom(), DarkRoom(goal_moves=0.1)
    assert describe(plain) == "dark-room (size 9, horizon 20)"
    assert describe(moving) == "dark-room (size 9, horizon 20, goal moves 0.1)"
    recipe = {"name": "dark-room", "size": 9, "horizon": 20, "once": False}
    assert recipe_of(plain, plain.sample_tasks(rng, 2))["task"] == recipe
    assert recipe_of(moving, moving.sample_tasks(rng, 2))["task"] == {**recipe, "goal_moves": 0.1}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"goal_moves": 1.5}, "dark-room: goal_moves is 1.5, but it must be 0 to 1"),
        ({"goal_moves": -0.1}, "goal_moves is -0.1"),
        ({"goal_moves": "often"}, "goal_moves is 'often', but it must be of type float"),
        ({"goal_moves": 0.1, "once": True}, "once and goal_moves do not go together: set one of them"),
    ],
)
def test_options_that_cannot_be(params: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_task("dark-room", **params)


def test_splits_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="cannot hold out 9 goals"):
        ROOM.split(9, 0)
    with pytest.raises(ConfigError, match="cannot train on 0 tasks"):
        ROOM.split(2, 0, 0)


def test_a_bonus_grows_with_the_age_of_what_was_tried() -> None:
    memory = _Memory(planning=1, n_learners=2, n_places=2, bonus=0.5)
    first, second = np.array([0, 2]), np.array([1, 3])
    for places in (first, second, second, second, second):
        memory.keep(places, np.array([1.0, 0.0], dtype=np.float32), np.array([0, 0]))
    # tried last at step 1 of 5, and at step 5
    assert memory.replayed_rewards().tolist() == [1 + 0.5 * 2, 1.0, 0.5 * 2, 0.0]
    assert _Memory(1, 2, 2).replayed_rewards().tolist() == [0.0] * 4
    with pytest.raises(ConfigError, match="bonus is -1"):
        DynaQ(bonus=-1)
    assert describe(DynaQ()) == describe(DynaQ(bonus=0.0))


def test_a_bonus_is_the_same_in_either_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = ROOM.sample_tasks(np.random.default_rng(0), 20)
    first = DynaQ(bonus=0.05).live(ROOM, facts, 8, np.random.default_rng(1))
    monkeypatch.setattr("ad_hypotheses.sources.q_learning.compiled", lambda size: None)
    second = DynaQ(bonus=0.05).live(ROOM, facts, 8, np.random.default_rng(1))
    assert (first.actions == second.actions).all()
    plain = DynaQ().live(ROOM, facts, 8, np.random.default_rng(1))
    assert (plain.actions != second.actions).any()


def test_the_source_rung_follows_its_own_lives_where_goals_move(rng: np.random.Generator) -> None:
    source, facts = DynaQ(epsilon_first=0.0), ROOM.sample_tasks(rng, 6)
    history = source.live(ROOM, facts, 5, np.random.default_rng([0]))
    background = Background(ROOM, source, facts, history, episodes=5)
    policy = predict(source_rung(8).fit(background), history, ROOM)
    taken = np.take_along_axis(policy, history.actions[..., None].astype(int), axis=2)[..., 0]
    assert taken[:, 8:].mean() > 0.5, "far above chance, since it is paid where they were"


def test_a_notebook_shows_the_goal_of_each_episode() -> None:
    drawn = small_life(ROOM, [RIGHT, STAY, UP] * 2, task_of(RIGHTWARDS, UPWARDS))._repr_html_()
    places = re.findall(r'<rect x="(\d+)" y="(\d+)" [^>]*fill="#f0e442"', drawn)
    assert len(places) == 2
    (first_x, first_y), (last_x, last_y) = (map(int, place) for place in places)
    assert first_x > last_x
    assert first_y > last_y


def test_whoever_knows_the_itinerary_earns_all_of_it_after_a_change() -> None:
    content = {
        "task": {"name": "dark-room", "size": 3, "horizon": 3, "goal_moves": 0.5},
        "source": {"name": "dyna-q", "planning": 2},
        "histories": {"held_out": 4, "train_tasks": 20, "learners": 32, "episodes": 6, "keep_every": 1},
        "model": {"n_layers": 1, "n_heads": 1, "d_model": 8},
    }
    config = check_config(content, "moving.yaml")
    checkpoint = Checkpoint("moving", Path("moving"), config, build(config).eval(), {"weights_sha256": "0" * 64})
    subject = Subject(checkpoint, background_of(checkpoint, 16), 12, 0)

    def expert(world: Any, facts: dict[str, np.ndarray], past: History | None, stop: int) -> History:
        def best(history: History, state: Any) -> np.ndarray:
            return ROOM.expert(state)

        return play_knowing(ROOM, facts, best, -(-stop // 3), np.random.default_rng(0), past, stop)

    for test in (moved, dead):
        lives = test(subject)
        cells = lives.measure(lives.live(expert))
        assert [label for label, _, _ in cells] == ["episode 1", "episode 2", "episode 3"]
        for _, _, (earned, optimum) in cells:
            assert (earned == optimum).all()
    assert TESTS["detour"].lacks(subject) == "its goal does not stay where a way was gone to"
    assert not TESTS["dose"].lacks(subject)
