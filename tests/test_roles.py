"""What earlier steps are to the step that looks, by hand; and edges that speak of such steps equal a plain loop."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
import torch
from hooked import HERE, THERE, VARIANTS, Setting, any_setting, furthest, patched
from hypothesis import given
from hypothesis import strategies as st
from laws import law
from torch.testing import assert_close

from ad_hypotheses.causal import patch
from ad_hypotheses.language.edges import all_edges
from ad_hypotheses.language.history import History
from ad_hypotheses.language.roles import PAIR_ROLES

EXACT = {"atol": 1e-10, "rtol": 0}
NOTICED = 1e-3


# --- The roles by hand ---------------------------------------------------------------------------------------------

#              step   0       1       2       3       4       5       6
CELLS = [[0, 0], [0, 1], [0, 0], [0, 0], [0, 1], [1, 1], [0, 1]]
EPISODE = [0, 0, 0, 1, 1, 2, 2]
REWARDS = [0, 1, -1, 0, 2, 0, 1]  # what is paid after a step shows in the token of the next


@pytest.fixture
def history() -> History:
    return History(
        observations=np.array([CELLS]),
        actions=np.zeros((1, 7), int),
        rewards=np.array([REWARDS], float),
        episode=np.array([EPISODE]),
        channels=("x", "y"),
        n_actions=2,
    )


BY_HAND = {  # looking step: the steps that have the role for it
    # tokens 2 and 5 show the rewards paid after 1 and 4; the -1 is no reward, the last one is not shown yet
    "rewarded": {2: {2}, 3: {2}, 4: {2}, 5: {2, 5}, 6: {2, 5}},
    "same_state": {2: {0}, 3: {0, 2}, 4: {1}, 6: {1, 4}},  # never itself, and both coordinates count
    "previous_episode": {3: {0, 1, 2}, 4: {0, 1, 2}, 5: {3, 4}, 6: {3, 4}},
    "previous_same_step": {3: {0}, 4: {1}, 5: {3}, 6: {4}},
    "current_episode": {0: {0}, 1: {0, 1}, 2: {0, 1, 2}, 3: {3}, 4: {3, 4}, 5: {5}, 6: {5, 6}},
    "episode_start": {0: {0}, 1: {0}, 2: {0}, 3: {0, 3}, 4: {0, 3}, 5: {0, 3, 5}, 6: {0, 3, 5}},
    "itself": {step: {step} for step in range(7)},
}


def test_each_role_has_an_answer():
    assert BY_HAND.keys() == PAIR_ROLES.keys()


@pytest.mark.parametrize("name", BY_HAND)
def test_roles_by_hand(name, history):
    found = PAIR_ROLES[name](history)
    assert found.shape == (1, 7, 7)
    assert {int(q): set(map(int, np.flatnonzero(row))) for q, row in enumerate(found[0]) if row.any()} == BY_HAND[name]


def test_a_longer_episode_has_steps_that_the_one_before_did_not_reach(history):
    history = replace(history, episode=np.array([[0, 0, 1, 1, 1, 1, 2]]))
    found = PAIR_ROLES["previous_same_step"](history)[0]
    assert [set(map(int, np.flatnonzero(row))) for row in found] == [set(), set(), {0}, {1}, set(), set(), {2}]


def test_where_nothing_is_observed_every_earlier_step_is_the_same_state(history):
    blind = replace(history, observations=np.zeros((1, 7, 0), int), channels=())
    assert (PAIR_ROLES["same_state"](blind)[0] == np.tri(7, k=-1, dtype=bool)).all()


def random_history(seed: int) -> History:
    """A history whose episodes begin anywhere, with rewards of any sign."""
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(1, 4)), int(rng.integers(1, 10))
    begins = np.cumsum(rng.random(shape) < 0.4, axis=1)
    return History(
        observations=rng.integers(2, size=(*shape, 2)),
        actions=rng.integers(2, size=shape),
        rewards=rng.integers(-1, 3, size=shape).astype(float),
        episode=begins - begins[:, :1],
        channels=("x", "y"),
        n_actions=2,
    )


@given(st.integers(0, 10_000))
def test_roles_one_pair_of_steps_at_a_time(seed):
    history = random_history(seed)
    roles = {name: role(history) for name, role in PAIR_ROLES.items()}
    for row, query, step in np.ndindex(history.n_rows, history.n_steps, history.n_steps):
        episode, cells, rewards = history.episode[row], history.observations[row], history.rewards[row]
        since = [t - int(np.flatnonzero(episode == episode[t])[0]) for t in (query, step)]
        just_before = episode[step] == episode[query] - 1
        expected = {
            "rewarded": 0 < step <= query and rewards[step - 1] > 0,
            "same_state": step < query and tuple(cells[step]) == tuple(cells[query]),
            "previous_episode": just_before,
            "previous_same_step": just_before and since[0] == since[1],
            "current_episode": step <= query and episode[step] == episode[query],
            "episode_start": step <= query and since[1] == 0,
            "itself": step == query,
        }
        assert {name: role[row, query, step] for name, role in roles.items()} == expected


@given(st.integers(0, 10_000))
@law(20)
def test_no_role_looks_ahead(seed):
    history = random_history(seed)
    for role in PAIR_ROLES.values():
        found = role(history)
        assert found.dtype == bool
        assert not np.triu(found, k=1).any()
        for stop in range(1, history.n_steps):
            assert (role(history.window(0, stop)) == found[:, :stop, :stop]).all()


# --- Edges that speak of steps -------------------------------------------------------------------------------------


def with_roles(edges, data):
    role = st.sampled_from([HERE, THERE, None])
    return [edge.at(data.draw(role), data.draw(role)) for edge in edges]


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("setting", VARIANTS, ids=str)
def test_edges_equal_a_loop_over_pairs_of_steps(setting):
    pair, naive = setting.pair(), setting.naive()
    roles = cycle([(HERE, None), (None, THERE), (HERE, THERE)])
    edges = [edge.at(*at) for edge, at in zip(all_edges(pair.twin.anatomy, together=True), roles, strict=False)]
    assert furthest(pair, naive, edges, setting.roles()) < 1e-10


@given(any_setting(), st.data())
@law(15)
def test_any_edges_equal_a_loop_over_pairs_of_steps(setting, data):
    """Edges of one reader with different roles, and without, are computed together."""
    pair, naive = setting.pair(), setting.naive()
    edges = data.draw(st.lists(st.sampled_from(all_edges(pair.twin.anatomy)), min_size=1, max_size=15))
    assert furthest(pair, naive, with_roles(edges, data), setting.roles()) < 1e-10


@given(any_setting(max_layers=2))
@law(6)
def test_the_role_of_all_steps_is_no_role_and_that_of_none_is_no_patch(setting):
    pair, naive = setting.pair(), setting.naive()
    edges = all_edges(pair.twin.anatomy)
    shape = setting.n_rows, setting.n_steps, setting.n_steps
    roles = {"all": torch.ones(shape, dtype=torch.bool), "none": torch.zeros(shape, dtype=torch.bool)}
    assert_close(patched(pair, [edge.at("all", "all") for edge in edges], roles), patched(pair, edges), **EXACT)
    for at in (("none", None), (None, "none"), ("none", "all"), ("all", "none")):
        logits = patched(pair, [edge.at(*at) for edge in edges], roles)
        assert_close(logits, naive.plain.expand_as(logits), **EXACT)


@given(any_setting(max_layers=2))
@law(5)
def test_only_visible_steps_count(setting):
    pair = setting.pair()
    edges = [edge.at(HERE, THERE) for edge in all_edges(pair.twin.anatomy)]
    visible = {name: role.tril() for name, role in setting.roles().items()}
    assert_close(patched(pair, edges, visible), patched(pair, edges, setting.roles()), **EXACT)


def test_what_reads_where_it_stands_knows_only_the_looking_step():
    """For queries, MLPs and logits a role that no step has for itself is a role that no step has."""
    setting = Setting(1)
    pair, naive, roles = setting.pair(), setting.naive(), setting.roles()
    before = {HERE: roles[HERE].tril(-1)}
    edges = [edge.at(HERE) for edge in all_edges(pair.twin.anatomy)]
    for edge, logits in zip(edges, patched(pair, edges, before), strict=True):
        if edge.writers[0].kind == "pos":
            continue  # it writes the same for everybody
        moved = (logits - naive.plain).abs().max()
        assert (moved > 1e-6) == (edge.reader.kind in ("k", "v")), str(edge)


def test_real_roles_move_something_and_less_than_all_steps(history):
    """A value edge from the rewarded steps and one from all others make up the whole, where all is linear."""
    setting = Setting(6, n_steps=7, n_rows=1, n_layers=1, n_heads=2, layer_norm=False, attention_only=True)
    pair, plain = setting.pair(), setting.naive().plain
    roles = {"rewarded": torch.from_numpy(PAIR_ROLES["rewarded"](history))}
    roles["other"] = ~roles["rewarded"]
    for edge in (edge for edge in all_edges(pair.twin.anatomy) if edge.reader.kind in ("v", "logits")):
        some, others, every = patched(pair, [edge.at("rewarded"), edge.at("other"), edge], roles) - plain
        assert_close(some + others, every, **EXACT)
        if edge.reader.kind == "v" and edge.writers[0].kind == "embed":
            assert some.abs().max() > 1e-6
            assert some[:, :2].abs().max() < 1e-12, "no reward was shown yet"


# --- Mistakes that must show ---------------------------------------------------------------------------------------


def turned_round(right):
    return lambda pair, role, roles: right(pair, role, roles).mT


def a_step_late(right):
    return lambda pair, role, roles: right(pair, role, roles).roll(1, dims=-1)


def of_another_row(right):
    return lambda pair, role, roles: right(pair, role, roles).roll(1, dims=0)


def judged_by_the_writing_step(right):
    return lambda pair, role, roles: right(pair, role, roles).diagonal(dim1=1, dim2=2)[:, None].expand_as(roles[role])


@pytest.mark.parametrize("wrong", [turned_round, a_step_late, of_another_row, judged_by_the_writing_step])
@pytest.mark.parametrize("kind", ["k", "v"])
@pytest.mark.default_cases(4)
def test_a_planted_mistake_shows(wrong, kind, monkeypatch):
    setting = Setting(8)
    pair, naive, roles = setting.pair(), setting.naive(), setting.roles()
    edges = [edge.at(HERE, THERE) for edge in all_edges(pair.twin.anatomy) if edge.reader.kind == kind]
    assert furthest(pair, naive, edges, roles) < 1e-10
    right = patch.holds_seen_from
    monkeypatch.setattr(patch, "holds_seen_from", wrong(right))
    assert furthest(pair, naive, edges, roles) > NOTICED


@pytest.mark.parametrize("kind", ["q", "k", "v", "mlp", "logits"])
@pytest.mark.parametrize("forgotten", [HERE, THERE])
def test_a_forgotten_end_shows(forgotten, kind, monkeypatch):
    setting = Setting(8)
    pair, naive, roles = setting.pair(), setting.naive(), setting.roles()
    edges = [edge.at(HERE, THERE) for edge in all_edges(pair.twin.anatomy) if edge.reader.kind == kind]
    right = patch.holds_seen_from

    def everywhere(pair, role, roles):
        return torch.ones_like(roles[role]) if role == forgotten else right(pair, role, roles)

    monkeypatch.setattr(patch, "holds_seen_from", everywhere)
    assert furthest(pair, naive, edges, roles) > NOTICED
