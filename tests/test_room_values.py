"""Rooms whose places pay something else than 1: by chance, a second goal, a trap; and rewards in tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_rooms import small_life

from ad_hypotheses.distill.checkpoint import Checkpoint, build
from ad_hypotheses.distill.config import check_config
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.errors import ConfigError, DataError
from ad_hypotheses.ladder.catalogue import fitting
from ad_hypotheses.ladder.rung import Background
from ad_hypotheses.language.history import History
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.sources import DynaQ, learning_curve
from ad_hypotheses.sources.q_learning import _Memory
from ad_hypotheses.studies.behave.battery import TESTS
from ad_hypotheses.studies.behave.condition import Condition, Subject
from ad_hypotheses.studies.behave.study import background_of
from ad_hypotheses.studies.edits import edit
from ad_hypotheses.tasks import BernoulliBandit, DarkRoom, check_task, make_task
from ad_hypotheses.tasks.edits.lives import Lives, RecordedActor, answered
from ad_hypotheses.tasks.edits.possible import impossible_steps
from ad_hypotheses.tasks.options.values import last_cell_paid
from ad_hypotheses.tasks.play import baselines, play, play_expert, uniform

STAY, UP, DOWN, LEFT, RIGHT = range(5)
LESSER, TRAP, CHANCE = DarkRoom(3, 3, second_goal=0.3), DarkRoom(3, 3, trap=-1.0), DarkRoom(3, 3, pays=0.5)
ROOMS = (LESSER, TRAP, CHANCE)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def task_of(**places: list[int]) -> dict[str, np.ndarray]:
    return {name: np.array([place], dtype=np.int8) for name, place in places.items()}


def test_places_pay_what_they_should() -> None:
    lesser = small_life(LESSER, [UP, DOWN, RIGHT, RIGHT, STAY, UP], task_of(goal=[2, 1], lesser=[1, 0]))
    assert lesser.rewards[0] == pytest.approx([0.3, 0, 1, 1, 1, 0])
    trap = small_life(TRAP, [UP, STAY, DOWN], task_of(goal=[2, 1], trap=[1, 0]))
    assert trap.rewards[0].tolist() == [-1, -1, 0]
    both = small_life(LESSER, [UP, STAY, STAY], task_of(goal=[1, 0], lesser=[1, 0]))
    assert both.rewards[0].tolist() == [1, 1, 1], "where both are in one cell, the goal counts"
    assert (LESSER.rewards, TRAP.rewards, CHANCE.rewards) == ((0.0, 0.3, 1.0), (-1.0, 0.0, 1.0), (0.0, 1.0))


def test_a_goal_pays_by_chance() -> None:
    facts = {"goal": np.full((4000, 2), 1)}
    rewards = play_expert(CHANCE, facts, 1, np.random.default_rng(0)).rewards
    assert rewards.mean(axis=0) == pytest.approx(0.5, abs=0.03)
    assert CHANCE.optimal_return(facts)[0] == 1.5
    assert not CHANCE.deterministic
    assert CHANCE.optimal_return(task_of(goal=[0, 0])).tolist() == [1.0]


@pytest.mark.parametrize(
    ("room", "places", "optimum"),
    [
        # straight to the goal, and two more steps there; passing the second goal on the way is worth as much more
        (LESSER, {"goal": [2, 1], "lesser": [1, 0]}, 3.0),
        (LESSER, {"goal": [2, 0], "lesser": [2, 1]}, 0.3 + 2),
        (LESSER, {"goal": [0, 0], "lesser": [1, 1]}, 2.0),
        # a trap in the straight way costs 1, the way around it two steps on the goal
        (DarkRoom(5, 4, trap=-1.0), {"goal": [4, 2], "trap": [3, 2]}, -1 + 3.0),
        (DarkRoom(5, 4, trap=-2.5), {"goal": [4, 2], "trap": [3, 2]}, 1.0),
        (TRAP, {"goal": [2, 0], "trap": [2, 1]}, 2.0),
        (TRAP, {"goal": [2, 1], "trap": [1, 1]}, 3.0),
    ],
)
def test_the_optimum_by_hand_and_by_the_expert(room, places, optimum, rng) -> None:
    facts = task_of(**places)
    assert room.optimal_return(facts) == pytest.approx([optimum])
    assert play_expert(room, facts, 2, rng).rewards.reshape(2, -1).sum(axis=1) == pytest.approx([optimum] * 2)


def test_splits_hold_out_goals_and_places_with_them() -> None:
    for room, name in ((DarkRoom(second_goal=0.3), "lesser"), (DarkRoom(trap=-1.0), "trap")):
        train, held_out = room.split(held_out=16, seed=3)
        fewer, same = room.split(held_out=16, seed=3, train=7)
        assert (len(train["goal"]), len(held_out["goal"])) == (4096, 16)
        assert (same[name] == held_out[name]).all()
        assert (same["goal"] == DarkRoom().split(16, 3)[1]["goal"]).all()
        assert len(fewer["goal"]) == 7
        cells = [{tuple(cell) for fact in part.values() for cell in fact.tolist()} for part in (train, held_out)]
        assert not cells[0] & cells[1]
        for part in (train, held_out, room.sample_tasks(np.random.default_rng(0), 300)):
            assert (part["goal"] != part[name]).any(axis=1).all()
        with pytest.raises(ConfigError, match="cannot train on 0 tasks"):
            room.split(2, 0, 0)
    assert len(DarkRoom(pays=0.5).split(16, 3)[0]["goal"]) == 65


def test_regimes_tell_the_lesser_goal_and_the_trap() -> None:
    def named(room: DarkRoom, told: History) -> list[str]:
        regimes = room.regimes(told)
        return [next(name for name, steps in regimes.items() if steps[0, step]) for step in range(told.n_steps)]

    told = small_life(LESSER, [UP, DOWN, RIGHT, UP, STAY, STAY], task_of(goal=[2, 1], lesser=[1, 0]))
    assert named(LESSER, told) == ["explore", "settle", "settle", "settle", "settle", "settle"]
    told = small_life(LESSER, [UP, STAY, DOWN, RIGHT, STAY, LEFT, STAY, UP, STAY], task_of(goal=[2, 1], lesser=[1, 0]))
    assert named(LESSER, told)[3:] == ["settle", "stay", "stay", "navigate", "navigate", "navigate"]
    told = small_life(TRAP, [UP, DOWN, UP, UP, DOWN, RIGHT], task_of(goal=[2, 1], trap=[1, 0]))
    assert named(TRAP, told) == ["explore", "hurt", "explore", "explore", "hurt", "explore"]
    assert named(CHANCE, small_life(CHANCE, [UP] * 3, task_of(goal=[0, 0]))) == ["explore"] * 3
    told = small_life(LESSER, [UP, STAY, STAY], task_of(goal=[2, 1], lesser=[1, 0]))
    assert last_cell_paid(told, 0.2)[0].tolist() == [[-1, -1], [1, 0], [1, 0]]
    assert (last_cell_paid(told, 1.0) == -1).all()


def test_dyna_q_remembers_the_average_where_pay_is_random() -> None:
    latest, average = (_Memory(1, 2, 2, average=average) for average in (False, True))
    for rewards in ([1, 0], [0, 0], [0, 3]):
        known = [memory.keep(np.array([0, 2]), np.array(rewards, dtype=np.float32), np.array([0, 0]))
                 for memory in (latest, average)]  # fmt: skip
    assert latest.reward.tolist() == [0, 0, 3, 0]
    assert average.reward == pytest.approx([1 / 3, 0, 1, 0])
    assert (known[0].tolist(), known[1]) == ([0, 3], pytest.approx([1 / 3, 1]))
    with pytest.raises(ConfigError, match="dyna-q remembers one outcome an action, but bandit is random"):
        DynaQ().require_fit(BernoulliBandit(), 1)


@pytest.mark.parametrize(("option", "hope"), [({"pays": 0.5}, 2.0), ({"second_goal": 0.3}, 6.0), ({"trap": -1.0}, 6.0)])
def test_the_source_learns_and_the_family_keeps_its_promises(
    option: dict, hope: float, rng: np.random.Generator
) -> None:
    check_task(make_task("dark-room", size=3, horizon=6, **option))
    room = make_task("dark-room", size=5, horizon=12, **option)
    facts = room.sample_tasks(rng, 64)
    source = DynaQ(initial_value=hope, epsilon_first=0.2, anneal_episodes=10)
    curve = learning_curve(source.live(room, facts, 16, rng))
    assert curve[-3:].mean() > 0.7 * room.optimal_return(facts).mean()
    policy = baselines(room, rng)["nearest-unvisited"]
    assert play(room, facts, policy, 10, rng).rewards[:, 96:].sum(axis=1).mean() > room.optimal_return(facts).mean()


def test_edited_lives_keep_what_places_pay(rng: np.random.Generator) -> None:
    for room in ROOMS:
        history = play(room, room.sample_tasks(rng, 30), uniform(room), 6, rng)
        edited = edit(history, step=10, task=room, action=STAY)
        assert not any(steps.any() for steps in impossible_steps(room, edited).values())
        assert (edited.rewards[:, :9] == history.rewards[:, :9]).all()
        jumped = edit(history, step=4, task=room, observation=(0, 0), then="nothing")
        assert impossible_steps(room, jumped)["a step that does not follow from the one before"].any()
        given = edit(history, step=4, task=room, reward=room.rewards[0], then="nothing")
        assert (given.rewards[:, 4] == np.float32(room.rewards[0])).all()
        with pytest.raises(DataError, match=r"`reward` is 0.7, but dark-room pays"):
            edit(history, step=4, task=room, reward=0.7, then="nothing")


def test_the_lesser_goal_or_the_trap_may_move(rng: np.random.Generator) -> None:
    for room, name in ((LESSER, "lesser"), (TRAP, "trap")):
        history = play(room, room.sample_tasks(rng, 30), uniform(room), 6, rng)
        lives = Lives(room, history.task, 6, rng, RecordedActor(room, history, rng))
        moved = room.counterfactuals()[f"{name}-moved"].live(lives).history
        assert (moved.task[name] != history.task[name]).any(axis=1).all()
        assert (moved.task["goal"] == history.task["goal"]).all()
        assert (moved.rewards[:, 9:] != history.rewards[:, 9:]).any()
        assert "rewards-swapped" not in room.counterfactuals()


def test_rungs_that_do_not_fit_say_why() -> None:
    for room in ROOMS:
        facts = room.sample_tasks(np.random.default_rng(0), 10)
        lives = DynaQ().live(room, facts, 3, np.random.default_rng(0))
        _, absent = fitting(Background(room, DynaQ(), facts, lives, 3))
        expected = {} if room is CHANCE else {"belief": "the posterior over its tasks is not written down"}
        assert absent == expected


def test_any_reward_has_a_token_and_those_of_0_and_1_stay_what_they_are() -> None:
    told = small_life(LESSER, [UP, DOWN, RIGHT, RIGHT, STAY, UP], task_of(goal=[2, 1], lesser=[1, 0]))
    vocabulary = Vocabulary((("x", 3), ("y", 3)), 5, LESSER.rewards)
    assert vocabulary.encode(told)[0, :, -1].tolist() == [0, 1, 0, 2, 2, 2]
    with pytest.raises(DataError, match=r"row 0, step 1 shows the reward 0.3.*, but the model knows only the rewards"):
        Vocabulary((("x", 3), ("y", 3)), 5).encode(told)
    hurt = small_life(TRAP, [UP, DOWN, RIGHT], task_of(goal=[2, 1], trap=[1, 0]))
    assert Vocabulary((("x", 3), ("y", 3)), 5, TRAP.rewards).encode(hurt)[0, :, -1].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pays": 0.0}, "dark-room: pays is 0.0, but it must be 0.01 to 1"),
        ({"second_goal": 1.5}, "second_goal is 1.5, but it must be 0 to 1"),
        ({"trap": 1.0}, "trap is 1.0, but it must be -100 to 0"),
        ({"trap": -1, "second_goal": 0.3}, "second_goal and trap do not go together"),
        ({"pays": 0.5, "once": True}, "once and pays do not go together"),
    ],
)
def test_options_that_cannot_be(params: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_task("dark-room", **params)


@pytest.mark.parametrize(("option", "fact", "amount"), [("second_goal", "lesser", 0.3), ("trap", "trap", -1.0)])
def test_behaviour_is_asked_about_values(option: str, fact: str, amount: float) -> None:
    (better, alike, worse), subject = _asked(**{option: amount})
    assert [condition.label for condition in (better, alike, worse)] == [
        f"1 against {amount:g}", "1 against 1", f"{amount:g} against 1"
    ]  # fmt: skip
    assert not TESTS["value"].lacks(subject)
    cells = subject.task.square.positions(better.places)
    for condition, earned, place in ((better, 1.0, "goal"), (alike, 1.0, "goal"), (worse, amount, fact)):
        history, (span,) = condition.contexts[0].history, condition.contexts[0].spans
        arrived = (history.observations[:, 1:] == cells[:, None]).all(axis=2) & ~history.episode_start[:, 1:]
        assert (history.rewards[:, :-1][arrived] == np.float32(earned)).all()
        assert (arrived.sum(axis=1) == 2).all()
        assert (span.facts[place] == cells).all()
        whole = history.window(stop=history.n_steps - 1)
        again = answered(span.world, span.facts, whole, np.random.default_rng(0))
        assert (again.rewards == whole.rewards).all()


def test_values_are_not_asked_about_where_there_are_none() -> None:
    _, subject = _asked(pays=0.5)
    assert TESTS["value"].lacks(subject) == "its tasks pay 0 and 1 only"


def _asked(**option: float) -> tuple[list[Condition], Subject]:
    content = {
        "task": {"name": "dark-room", "size": 5, "horizon": 8, **option},
        "source": {"name": "dyna-q", "planning": 2},
        "histories": {"held_out": 4, "train_tasks": 20, "learners": 32, "episodes": 6, "keep_every": 1},
        "model": {"n_layers": 1, "n_heads": 1, "d_model": 8},
    }
    config = check_config(content, "values.yaml")
    checkpoint = Checkpoint("values", Path("values"), config, build(config).eval(), {"weights_sha256": "0" * 64})
    subject = Subject(checkpoint, background_of(checkpoint, 16), 4, 0)
    return ([] if TESTS["value"].lacks(subject) else TESTS["value"].conditions(subject)), subject


def test_options_are_described() -> None:
    assert describe(LESSER) == "dark-room (size 3, horizon 3, second goal 0.3)"
    assert describe(TRAP) == "dark-room (size 3, horizon 3, trap -1.0)"
    assert describe(CHANCE) == "dark-room (size 3, horizon 3, pays 0.5)"
