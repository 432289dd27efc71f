"""Moves that are dealt out to the actions anew for each task: the world, what a life shows of it, and edits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_rooms import small_life

from ad_hypotheses.errors import ConfigError, DataError
from ad_hypotheses.ladder.catalogue import LADDER, fitting
from ad_hypotheses.ladder.run import predict
from ad_hypotheses.ladder.rung import Background
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.sources import DynaQ, Scripted, learning_curve
from ad_hypotheses.studies.edits import edit
from ad_hypotheses.tasks import DarkRoom, check_task, make_task
from ad_hypotheses.tasks.edits.lives import Lives, RecordedActor
from ad_hypotheses.tasks.edits.possible import impossible_steps
from ad_hypotheses.tasks.options.drawn_moves import ORDERS, MoveFilter
from ad_hypotheses.tasks.play import baselines, play, play_expert, uniform
from ad_hypotheses.tasks.rewarded_places import arrivals, moves_towards

STAY, UP, DOWN, LEFT, RIGHT = range(5)
ROOM = DarkRoom(size=3, horizon=3, action_order="drawn")
ORDER = [RIGHT, STAY, UP, LEFT, DOWN]  # what the actions 0 to 4 do


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def task_of(goal: list[int], order: list[int] = ORDER) -> dict[str, np.ndarray]:
    return {"goal": np.array([goal], dtype=np.int8), "order": np.array([order], dtype=np.int8)}


def test_actions_do_what_the_order_says() -> None:
    life = small_life(ROOM, [0, 2, 1, 3, 4, 1], task_of([2, 0]))
    assert life.observations[0].tolist() == [[1, 1], [2, 1], [2, 0], [1, 1], [0, 1], [0, 2]]
    assert life.rewards[0].tolist() == [0, 1, 1, 0, 0, 0]
    plain = DarkRoom(3, 3)
    in_order = {**plain.tasks(), "order": np.tile(ORDERS[0], (9, 1))}
    first = play(plain, plain.tasks(), uniform(plain), 2, np.random.default_rng(3))
    second = play(ROOM, in_order, uniform(ROOM), 2, np.random.default_rng(3))
    assert (first.rewards == second.rewards).all(), "the first order is that of rooms without the option"
    assert ORDERS[0].tolist() == [STAY, UP, DOWN, LEFT, RIGHT]


def test_goals_and_orders_are_held_out() -> None:
    room = DarkRoom(action_order="drawn")
    train, held_out = room.split(held_out=16, seed=3)
    fewer, same = room.split(held_out=16, seed=3, train=50)
    assert len(train["goal"]) == 65 * 96
    orders, goals = ([set(map(tuple, part[name].tolist())) for part in (train, held_out)] for name in ("order", "goal"))
    assert (len(orders[0]), len(orders[1]), len(goals[0]), len(goals[1])) == (96, 16, 65, 16)
    assert not orders[0] & orders[1]
    assert not goals[0] & goals[1]
    assert all((fewer[name] == train[name][:50]).all() and (same[name] == held_out[name]).all() for name in train)
    assert len(np.unique(np.hstack([train["goal"], train["order"]]), axis=0)) == 65 * 96
    many = room.split(held_out=60, seed=3)[1]["order"]
    assert len(np.unique(many, axis=0)) == 24
    assert len(np.unique(room.split(held_out=0, seed=3)[0]["order"], axis=0)) == 120
    with pytest.raises(ConfigError, match=r"cannot train on 6241 tasks: 65 goals and 96 orders make 6240 pairs"):
        room.split(16, 3, 6241)


def test_whoever_knows_the_order_earns_the_optimum(rng: np.random.Generator) -> None:
    facts = ROOM.sample_tasks(rng, 200)
    assert (play_expert(ROOM, facts, 1, rng).rewards.sum(axis=1) == ROOM.optimal_return(facts)).all()
    state = ROOM.reset(task_of([2, 1]))
    assert ROOM.expert(state).tolist() == [[1, 0, 0, 0, 0]], "action 0 moves right"


def test_steps_are_of_trying_until_every_action_was_tried() -> None:
    life = small_life(ROOM, [0, 2, 1, 3, 4, 1, 0, 2, 1], task_of([2, 1]))
    regimes = ROOM.regimes(life)
    named = [next(name for name, steps in regimes.items() if steps[0, step]) for step in range(9)]
    assert named == ["try"] * 5 + ["navigate", "navigate", "stay", "navigate"]


def test_orders_that_agree_with_what_was_seen_by_hand() -> None:
    belief = MoveFilter(ROOM.square, 1)
    corner, centre, right = (np.array([cell]) for cell in (0, 4, 7))
    assert belief.chances()[0] == pytest.approx(np.full((5, 5), 0.2))
    belief.see(centre, np.array([0]), right)
    assert belief.possible.sum() == 24
    assert belief.chances()[0, RIGHT].tolist() == [1, 0, 0, 0, 0]
    # in the corner (0, 0) nothing moved: it is staying, up or left
    belief.see(corner, np.array([3]), corner)
    assert belief.possible.sum() == 18
    assert belief.chances()[0, STAY] == pytest.approx([0, 2 / 9, 2 / 9, 1 / 3, 2 / 9])
    assert belief.by_action(np.eye(5)[[RIGHT]]).tolist() == [[1, 0, 0, 0, 0]]
    belief.see(centre, np.array([0]), centre)  # a world that changed explains nothing
    assert belief.possible.sum() == 18


def test_an_edited_life_moves_as_its_order_says(rng: np.random.Generator) -> None:
    history = play(ROOM, ROOM.sample_tasks(rng, 30), uniform(ROOM), 6, rng)
    edited = edit(history, step=10, task=ROOM, action=2)
    assert not any(steps.any() for steps in impossible_steps(ROOM, edited).values())
    other = replace(history, task={**history.task, "order": np.roll(history.task["order"], 1, axis=1)})
    assert impossible_steps(ROOM, other)["a step that does not follow from the one before"].any()
    again = arrivals(ROOM, history, rng)
    assert (again[:, :-1][:, np.arange(17) % 3 != 2] == history.observations[:, 1:][:, np.arange(17) % 3 != 2]).all()
    assert ((again == history.task["goal"][:, None]).all(axis=2) == (history.rewards > 0)).all()


def test_the_order_may_change_in_the_middle_of_a_life(rng: np.random.Generator) -> None:
    history = play(ROOM, ROOM.sample_tasks(rng, 30), uniform(ROOM), 6, rng)
    families = ROOM.counterfactuals()
    lives = Lives(ROOM, history.task, 6, rng, RecordedActor(ROOM, history, rng))
    changed = families["order-changed"].live(lives).history
    assert (changed.task["order"] != history.task["order"]).any(axis=1).all()
    assert (changed.observations[:, :9] == history.observations[:, :9]).all()
    assert (changed.observations[:, 9:] != history.observations[:, 9:]).any()
    assert families["actions-exchanged"].live is None, "a task with two actions exchanged is one more task"


def test_moves_towards_a_cell_are_those_of_the_task() -> None:
    life = small_life(ROOM, [0, 2, 1], task_of([2, 0]))
    towards = moves_towards(ROOM, life, np.array([[2, 0]]))
    assert towards[0].tolist() == [[True, False, True, False, False], [False, False, True, False, False],
                                   [False, True, False, False, False]]  # fmt: skip
    with pytest.raises(DataError, match="without facts nothing says what the actions of dark-room do"):
        moves_towards(ROOM, replace(life, task={}), np.array([[2, 0]]))


def test_rungs_find_out_what_actions_do(rng: np.random.Generator) -> None:
    facts = ROOM.sample_tasks(rng, 40)
    lives = play(ROOM, facts, uniform(ROOM), 12, rng)
    background = Background(ROOM, DynaQ(), facts, lives, episodes=12)
    rungs, absent = fitting(background)
    assert not absent
    assert len(rungs) == len(LADDER)
    best = moves_towards(ROOM, lives, facts["goal"].astype(int))[:, 30]
    known = (ROOM.regimes(lives)["navigate"] | ROOM.regimes(lives)["stay"])[:, 30]
    for name in ("gate", "belief"):
        begin = next(rung for rung in rungs if rung.name == name).fit(background)
        policy = predict(begin, lives, ROOM)[:, 30]
        assert (policy * best).sum(axis=1)[known].mean() > 0.9


def test_the_source_learns_and_the_baselines_find_out(rng: np.random.Generator) -> None:
    room = DarkRoom(size=5, horizon=12, action_order="drawn")
    facts = room.sample_tasks(rng, 64)
    curve = learning_curve(DynaQ(epsilon_first=0.2, anneal_episodes=10).live(room, facts, 16, rng))
    optimum = room.optimal_return(facts).mean()
    assert curve[-3:].mean() > 0.8 * optimum
    policy = baselines(room, rng)["nearest-unvisited"]
    assert play(room, facts, policy, 8, rng).rewards[:, 72:].sum(axis=1).mean() > 0.95 * 2 * optimum


def test_the_family_keeps_its_promises() -> None:
    check_task(make_task("dark-room", size=3, horizon=6, action_order="drawn"))
    assert describe(ROOM) == "dark-room (size 3, horizon 3, action order drawn)"
    assert ROOM.action_names == tuple(f"action {number}" for number in range(5))
    assert DarkRoom().action_names == ("stay", "up", "down", "left", "right")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"action_order": "draw"},
            "action_order is 'draw', but it must be fixed or drawn. Did you mean 'drawn'",
        ),
        ({"action_order": True}, "action_order is True, but it must be of type str"),
        ({"action_order": "drawn", "goal_moves": 0.1}, "goal_moves and action_order do not go together"),
    ],
)
def test_options_that_cannot_be(params: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_task("dark-room", **params)


def test_rules_for_rooms_are_not_for_drawn_moves() -> None:
    with pytest.raises(ConfigError, match="gate is a rule for rooms in which it is known what actions do"):
        Scripted(rule="gate").require_fit(ROOM, 4)
