"""Donors: every pool against one found by comparing all pairs, every draw uniform over it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import law
from scipy.stats import chisquare

from ad_hypotheses.causal.draws import classes, draw, uniforms

ALIGNS = ("step", "episode_step", "any")


def case(seed: int, with_role: bool, history_level: bool = False, n_rows: int = 7, n_steps: int = 6):
    """Random labels, and perhaps a role, of a small dataset whose episodes differ in length."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 3, size=n_rows if history_level else (n_rows, n_steps))
    selected = rng.random((n_rows, n_steps)) < 0.5 if with_role else None
    start = rng.random((n_rows, n_steps)) < 0.4
    start[:, 0] = True
    steps = np.arange(n_steps)
    episode_step = steps - np.maximum.accumulate(np.where(start, steps, 0), axis=1)
    return labels, selected, episode_step


def pool(place, labels, selected, align, episode_step, self_donors, donor_rows=range(10**6)):
    """Positions that may stand in for `place`, found by comparing it with each of them."""
    steps = labels.shape[1]

    def agrees(other):
        same = labels[place] == labels[other] and (selected is None or selected[place] == selected[other])
        at = {"step": place[1] == other[1], "episode_step": episode_step[place] == episode_step[other], "any": True}
        return same and at[align]

    everyone = [other for other in np.ndindex(labels.shape) if agrees(other) and other[0] in donor_rows]
    strangers = [other for other in everyone if other[0] != place[0]]
    itself = [place] if place not in everyone and (self_donors or not strangers) else []  # comes last
    chosen = everyone if self_donors or not strangers else strangers
    return [row * steps + step for row, step in [*sorted(chosen), *itself]]


def enumerate_draws(found, self_donors, sizes):
    """Everything that each reference draws as `u` runs through the middles of as many equal parts as its pool has."""
    drawn = {place: [] for place in np.ndindex(sizes.shape)}
    for number in range(sizes.max()):
        donors = draw(found, np.minimum((number + 0.5) / sizes, 0.999), self_donors)
        for place in drawn:
            if number < sizes[place]:
                drawn[place].append(int(donors[place]))
    return drawn


@given(
    seed=st.integers(0, 2**32 - 1),
    with_role=st.booleans(),
    align=st.sampled_from(ALIGNS),
    self_donors=st.booleans(),
    n_references=st.sampled_from([0, 0, 1, 3]),
)
def test_every_member_of_the_pool_is_drawn_by_an_equal_share_of_u_and_nobody_else(
    seed, with_role, align, self_donors, n_references
):
    labels, selected, episode_step = case(seed, with_role)
    in_pool = np.arange(len(labels)) >= n_references
    found = classes(labels, selected, align, episode_step, in_pool if n_references else None)
    assert not found.history_level
    pools = {
        place: pool(place, labels, selected, align, episode_step, self_donors, np.flatnonzero(in_pool))
        for place in np.ndindex(labels.shape)
    }
    sizes = np.array([len(pools[place]) for place in np.ndindex(labels.shape)]).reshape(labels.shape)
    drawn = enumerate_draws(found, self_donors, sizes)
    for place, members in pools.items():
        assert drawn[place] == members, place


@law(30)
@given(seed=st.integers(0, 2**32 - 1), self_donors=st.booleans())
def test_histories_draw_histories_that_agree(seed, self_donors):
    labels, _, _ = case(seed, with_role=False, history_level=True)
    found = classes(labels)
    assert found.history_level
    expected = []
    for row, label in enumerate(labels):
        strangers = [other for other in np.flatnonzero(labels == label) if other != row]
        expected.append(strangers if strangers and not self_donors else np.flatnonzero(labels == label).tolist())
    drawn = enumerate_draws(found, self_donors, np.array([len(members) for members in expected]))
    assert [drawn[(row,)] for row in range(len(labels))] == expected
    assert np.array_equal(found.alone, [(labels == label).sum() == 1 for label in labels])


def test_a_role_makes_a_feature_of_the_history_one_of_its_steps():
    labels, selected, episode_step = case(3, with_role=True, history_level=True)
    found = classes(labels, selected)
    assert not found.history_level
    wide = np.broadcast_to(labels[:, None], selected.shape)
    for place in np.ndindex(selected.shape):
        members = found.members[found.start[place] : found.start[place] + found.size[place]]
        assert members.tolist() == pool(place, wide, selected, "step", episode_step, self_donors=True)


@pytest.mark.parametrize("align", ALIGNS)
@pytest.mark.parametrize("self_donors", [False, True])
@pytest.mark.default_cases(3)
def test_draws_are_uniform(align, self_donors):
    """Chi-square over 4000 passes of a fixed seed: every reference of a class of several."""
    labels, selected, episode_step = case(11, with_role=False)
    found = classes(labels, selected, align, episode_step)
    donors = [draw(found, uniforms(5, (number, "node"), labels.shape), self_donors) for number in range(4000)]
    donors = np.stack(donors)
    p_values = []
    for place in np.ndindex(labels.shape):
        members = pool(place, labels, selected, align, episode_step, self_donors)
        counts = [(donors[:, *place] == member).sum() for member in members]
        assert sum(counts) == 4000
        if len(members) > 1:
            p_values.append(chisquare(counts).pvalue)
    assert len(p_values) >= 19
    assert min(p_values) > 0.01 / len(p_values)


def test_nobody_stands_in_for_himself_unless_alone():
    labels, selected, episode_step = case(2, with_role=False)
    own = np.arange(7)[:, None]
    for align in ALIGNS:
        found = classes(labels, selected, align, episode_step)
        for number in range(50):
            rows = draw(found, uniforms(0, (number,), labels.shape), self_donors=False) // labels.shape[1]
            assert np.array_equal(rows == own, found.alone)
    assert classes(labels).alone.any()
    assert not classes(labels).alone.all()


@pytest.mark.parametrize("self_donors", [False, True])
def test_the_ends_of_the_unit_interval_draw_the_ends_of_the_pool(self_donors):
    labels = np.zeros(5, dtype=int)
    last = np.full(5, np.nextafter(1, 0))
    first, final = ([0] * 5, [4] * 5) if self_donors else ([1, 0, 0, 0, 0], [4, 4, 4, 4, 3])
    assert draw(classes(labels), np.zeros(5), self_donors).tolist() == first
    assert draw(classes(labels), last, self_donors).tolist() == final


@law(30)
@given(
    seed=st.integers(0, 2**32 - 1), with_role=st.booleans(), align=st.sampled_from(ALIGNS), self_donors=st.booleans()
)
def test_other_names_for_the_values_change_no_draw(seed, with_role, align, self_donors):
    labels, selected, episode_step = case(seed, with_role)
    names = np.random.default_rng(seed).permutation(1000)[:4] - 500
    u = uniforms(seed, ("node",), labels.shape)
    plain = draw(classes(labels, selected, align, episode_step), u, self_donors)
    renamed = draw(classes(names[labels + 1], selected, align, episode_step), u, self_donors)
    assert np.array_equal(plain, renamed)


def drawn_rows(n_rows: int, self_donors: bool, pool=None, draws: int = 600):
    """Rows drawn from one class that holds all of them, many times: [draw, row]."""
    everyone = classes(np.zeros(n_rows, dtype=int), pool=pool)
    return np.stack([draw(everyone, uniforms(1, (number,), (n_rows,)), self_donors) for number in range(draws)])


def test_other_rows_are_any_rows_but_the_own_one():
    rows = drawn_rows(4, self_donors=False)
    for row in range(4):
        counts = np.bincount(rows[:, row], minlength=4)
        assert counts[row] == 0
        assert chisquare(np.delete(counts, row)).pvalue > 0.001
    assert chisquare(np.bincount(drawn_rows(4, self_donors=True)[:, 2], minlength=4)).pvalue > 0.001
    assert drawn_rows(1, self_donors=False, draws=1).tolist() == [[0]]


def test_a_row_outside_of_the_pool_is_drawn_by_itself_alone_and_only_where_rows_may_be():
    pool = np.array([False, False, True, True, True])
    without = drawn_rows(5, self_donors=False, pool=pool)
    assert (without >= 2).all()
    assert chisquare(np.bincount(without[:, 0], minlength=5)[2:]).pvalue > 0.001
    assert not (without[:, 2] == 2).any()
    own = drawn_rows(5, self_donors=True, pool=pool)
    assert chisquare(np.bincount(own[:, 0], minlength=5)[[0, 2, 3, 4]]).pvalue > 0.001
    assert not (own[:, 0] == 1).any()
    assert chisquare(np.bincount(own[:, 2], minlength=5)[2:]).pvalue > 0.001


def test_uniform_numbers_depend_on_their_key_and_stay_when_rows_are_added():
    numbers = uniforms(3, (0, "root", "<goal"), (5, 7))
    assert np.array_equal(numbers, uniforms(3, (0, "root", "<goal"), (5, 7)))
    assert np.array_equal(numbers, uniforms(3, (0, "root", "<goal"), (40, 7))[:5])
    assert np.array_equal(uniforms(3, (0, "root"), (5,)), uniforms(3, (0, "root"), (9,))[:5])
    for seed, key in (
        (4, (0, "root", "<goal")),
        (3, (1, "root", "<goal")),
        (3, (0, "root", "other")),
        (3, (0, "root")),
    ):
        assert not np.isclose(numbers, uniforms(seed, key, (5, 7))).any()
    many = uniforms(0, ("many",), (20_000,))
    assert 0 <= many.min() < many.max() < 1
    assert chisquare(np.histogram(many, bins=20, range=(0, 1))[0]).pvalue > 0.001


@pytest.mark.parametrize("align", ALIGNS)
@pytest.mark.parametrize("self_donors", [False, True])
@pytest.mark.parametrize("n_references", [0, 3])
def test_draws_at_some_positions_are_those_of_the_whole_table(align, self_donors, n_references):
    labels, selected, episode_step = case(4, with_role=True)
    pool = None if not n_references else np.arange(len(labels)) >= n_references
    found = classes(labels, selected, align, episode_step, pool)
    u, at = uniforms(1, ("table",), labels.shape), np.array([[40, 3, 3], [0, 17, 41]])
    np.testing.assert_array_equal(draw(found, u, self_donors, at), draw(found, u, self_donors).ravel()[at])


@pytest.mark.parametrize("factor", [1, 1_000, -70_000])
def test_large_numbers_of_values_are_grouped_as_small_ones(factor):
    """Small ones are sorted by counting."""
    labels, _, _ = case(5, with_role=False, n_rows=40)
    found, renamed = classes(labels), classes(factor * (labels + 3))
    for name in ("size", "own_size"):
        np.testing.assert_array_equal(getattr(found, name), getattr(renamed, name))
    u = uniforms(1, ("table",), labels.shape)
    np.testing.assert_array_equal(draw(found, u, False), draw(renamed, u, False))
