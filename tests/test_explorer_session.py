"""Contexts of the explorer: many edits, one upon the other, are what the library makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import ad_hypotheses as adh
from ad_hypotheses.errors import UserError
from ad_hypotheses.explorer.calls import edit_call
from ad_hypotheses.explorer.session import MOST_KEPT, Session
from ad_hypotheses.explorer.snippet import script
from ad_hypotheses.explorer.state import State, read_state
from ad_hypotheses.explorer.worlds import world_of
from ad_hypotheses.tasks import GraphWorld, MinigridTask, make_task
from ad_hypotheses.tasks.play import play, uniform

MODELS = {"known-retrieval": (60, 5), "known-leader": (60, 4)}  # steps and actions
EDITS = 60


def random_edit(rng: np.random.Generator, name: str, n_steps: int) -> dict:
    """Return an edit of some kind, most of them possible."""
    _, n_actions = MODELS[name]
    step = int(rng.integers(n_steps))
    choice = rng.random()
    if choice < 0.5:
        then = str(rng.choice(["world", "world", "nothing", "model"]))
        return {"kind": "edit", "step": step, "action": int(rng.integers(n_actions)), "then": then, "seed": step}
    if choice < 0.7:
        return {"kind": "edit", "step": step, "reward": float(rng.integers(2)), "then": "nothing", "off": step % 7 == 0}
    if name == "known-leader":
        return {"kind": "change_facts", "step": step, "facts": {"means": rng.random(4).round(2).tolist()}, "seed": 3}
    if choice < 0.8:
        return {"kind": "rearrange", "episodes": rng.permutation(n_steps // 10).tolist()}
    if choice < 0.9:
        return {
            "kind": "change_facts",
            "step": 10 * int(rng.integers(6)),
            "facts": {"goal": rng.integers(5, size=2).tolist()},
        }
    return {"kind": "counterfactual", "name": "actions-exchanged", "seed": step}


def arrays(history: adh.History) -> list[np.ndarray]:
    return [history.observations, history.actions, history.rewards, history.episode]


def same(first: adh.History, second: adh.History) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(arrays(first), arrays(second), strict=True))


@pytest.mark.parametrize("name", [pytest.param("known-retrieval", marks=pytest.mark.slow), "known-leader"])
def test_many_edits_are_what_the_library_makes_and_undone_leave_nothing(name):
    rng, session, model = np.random.default_rng(0), Session(), adh.load(name)
    context = model.histories(8)[0]
    states = [read_state({"schema": 1, "model": {"name": name}})]
    contexts = [session.context(states[0])]
    assert same(contexts[0], context)
    refusals: list[bool] = []  # whether each named the edit
    while len(states) <= EDITS:
        added = random_edit(rng, name, MODELS[name][0])
        state = read_state({**states[-1].plain(), "edits": [*states[-1].plain()["edits"], added]})
        try:
            edited = session.context(state)
        except UserError as error:  # e.g. a context whose episodes no world answers any more
            refusals.append(
                str(error).partition(":")[0] == f"edit {sum(not e.off for e in state.edits)}, {added['kind']}"
            )
            continue
        if not added.get("off"):
            call = edit_call(state.edits[-1])
            result = call.made(model, context)
            context = result.donor if call.part else result
        assert same(edited, context), added
        states.append(state)
        contexts.append(edited)
    assert all(refusals)
    for state, context in zip(reversed(states), reversed(contexts), strict=True):
        assert same(session.context(state), context)
    fresh = Session().context(states[-1])
    assert same(fresh, contexts[-1])
    scope: dict = {}
    exec(script(states[-1]).partition("\ndecisions")[0], scope)
    assert same(scope["context"], contexts[-1])


def test_what_is_kept_is_bounded():
    session = Session()
    for number in range(2 * MOST_KEPT):
        assert session.kept(number, lambda number=number: number) == number
    assert len(session._kept) == MOST_KEPT
    assert session.kept(2 * MOST_KEPT - 1, lambda: pytest.fail("it was kept")) == 2 * MOST_KEPT - 1


def test_an_edit_that_fails_is_named_and_those_before_it_stay():
    edits = [{"kind": "edit", "step": 1, "action": 1}, {"kind": "edit", "step": 2, "action": 9}]
    state = read_state({"schema": 1, "model": {"name": "known-retrieval"}, "edits": edits})
    session = Session()
    with pytest.raises(UserError, match=r"edit 2, edit: `action` is 9"):
        session.context(state)
    assert session.context(state.model_copy(update={"edits": state.edits[:1]})).actions[0, 1] == 1


def test_a_goal_that_moves_is_drawn_where_it_is_in_each_episode():
    rng, room = np.random.default_rng(0), make_task("dark-room", size=3, horizon=3, goal_moves=0.9)
    history = play(room, room.sample_tasks(rng, 1), uniform(room), 5, rng)
    goals = history.task["goals"][0].tolist()
    assert world_of(room, history)["places"]["goal"] == goals[:5]
    assert world_of(room, history.window(6, 12))["places"]["goal"] == goals[2:4]
    assert goals[2] != goals[0]


@dataclass(frozen=True)
class Corridor:
    """What is asked of a task of one's own when it is drawn."""

    channels = ("place", "lamp")
    channel_sizes = (5, 2)


def test_every_family_is_drawn_as_what_it_is():
    rng = np.random.default_rng(0)

    def world(task):
        return world_of(task, play(task, task.sample_tasks(rng, 1), uniform(task), 2, rng))

    assert world(make_task("dark-room-hard"))["width"] == 17
    assert set(world(make_task("key-to-door"))["places"]) == {"key", "door"}
    assert set(world(make_task("dark-room", trap=-1.0))["places"]) == {"goal", "trap"}
    assert len(world(make_task("gaussian-bandit"))["means"]) == 5
    graph = world(GraphWorld(states=6, horizon=4))
    assert np.shape(graph["next"]) == (6, 2)
    grid = world(MinigridTask("MiniGrid-Empty-5x5-v0", horizon=4))
    assert np.shape(grid["map"]["cells"]) == (5, 5, 3)
    assert np.shape(grid["map"]["agent"]) == (8, 3)
    assert grid["map"]["goal"] is None
    history = SimpleNamespace(task={})
    assert world_of(MinigridTask("MiniGrid-Empty-5x5-v0", horizon=4), history)["map"] is None
    assert world_of(Corridor(), history) == {"kind": "table"}


def test_a_state_without_anything_has_its_defaults():
    state = read_state('{"model": {"name": "bandit"}}')
    assert state == State(model={"name": "bandit"})
    assert state.plain()["schema"] == 1
    assert (state.origin.rows, state.origin.data, state.step) == (8, "source", 0)
