"""Halves of a dataset without common donors: scrubbed as datasets of their own, and what intervals make of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from expand import random_hypothesis, tiny_history, tiny_model
from hypothesis import given
from hypothesis import strategies as st
from laws import law

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.metrics import cross_entropy, exact_baseline
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.evidence import HalfSums, LossSums, Resampling, estimate
from ad_hypotheses.evidence.halves import donors_of, variances
from ad_hypotheses.language.check import BoundGraph, BoundNode
from ad_hypotheses.studies.scrub import halves
from ad_hypotheses.studies.scrub.halves import n_splits, scrub_in_halves, split_rows
from ad_hypotheses.studies.scrub.measure import Measured, forwards, measure

WEIGHTS = Resampling.draw(128, 5, np.random.default_rng(0), 300)
BOTH = [Options(), Options(others="independent"), Options(align="any"), Options(shared=True)]


def claim(seed: int, n_rows: int, n_steps: int = 4) -> tuple[Clean, dict[str, BoundNode]]:
    rng = np.random.default_rng(seed)
    model, history = tiny_model(seed, n_steps), tiny_history(seed, n_rows, n_steps)
    return Clean.run(model, history), random_hypothesis(rng, model, history)[0]


@given(seed=st.integers(0, 10**6), how=st.sampled_from(BOTH))
@law(20)
def test_donors_come_from_the_own_half(seed, how):
    clean, nodes = claim(seed, n_rows=9)
    half = np.random.default_rng(seed).random(9) < 0.5
    scrubber = Scrubber(clean, BoundGraph(nodes, "root"), how, seed, halves=half)
    for path in BoundGraph(nodes, "root").tree_paths():
        others = scrubber.other_rows(path).numpy()
        assert np.array_equal(half[others], half)
        assert ((others != np.arange(9)) | (np.bincount(half, minlength=2)[half.astype(int)] == 1)).all()
        for parent in nodes[path[-1]].parents:
            donors = scrubber.donors(path, parent)
            rows = donors if donors.ndim == 1 else donors // clean.n_steps
            assert np.array_equal(half[rows], np.broadcast_to(half[:, None], rows.shape) if rows.ndim > 1 else half)


@given(seed=st.integers(0, 10**6), others=st.sampled_from(["joint", "independent"]))
@law(20)
def test_halves_of_two_are_two_datasets(seed, others):
    """With two rows there is one way to draw, so that the outcome does not depend on the draws."""
    clean, nodes = claim(seed, n_rows=4)
    both = Scrubber(
        clean, BoundGraph(nodes, "root"), Options(others), seed, halves=np.array([True, True, False, False])
    ).run(0)
    for rows in (slice(0, 2), slice(2, 4)):
        alone = Clean.run(clean.twin.model, clean.history[rows])
        nodes_here = {name: node.of_rows(rows) for name, node in nodes.items()}
        apart = Scrubber(alone, BoundGraph(nodes_here, "root"), Options(others), seed).run(0)
        assert np.allclose(both.log_probs[rows], apart.log_probs, atol=2e-6)


def test_losses_in_halves_are_those_of_the_runs():
    clean, nodes = claim(3, n_rows=8)
    actions = clean.history.actions
    found = scrub_in_halves(clean, BoundGraph(nodes, "root"), Options(), 5, 2, np.zeros(actions.shape))
    assert np.array_equal(found.first, split_rows(clean.history, 5, 2))
    for number, half in enumerate(found.first):
        for side in (half, ~half):
            expected = exact_baseline(clean.log_probs[side], actions[side], self_donors=False)
            assert np.allclose(found.losses["baseline"][number, side], expected, atol=1e-6)
        run = Scrubber(clean, BoundGraph(nodes, "root"), Options(), 5, halves=half).run(halves.FIRST + number)
        assert np.allclose(found.losses["scrubbed"][number], cross_entropy(run.log_probs, actions))
    assert not np.allclose(found.losses["scrubbed"], found.losses["structure"])


def test_rows_of_a_learner_stay_together_and_few_learners_are_not_split():
    history = tiny_history(0, 24, 2)
    learners = replace(history, learner=np.repeat(np.arange(12), 2))
    first = split_rows(learners, 7, 6)
    assert first.shape == (6, 24)
    assert np.array_equal(first[:, ::2], first[:, 1::2])
    assert (first.sum(axis=1) == 12).all()
    assert len({tuple(one) for one in first}) > 1
    assert np.array_equal(first, split_rows(learners, 7, 6))
    assert not np.array_equal(first, split_rows(learners, 8, 6))
    assert n_splits(learners) == halves.SPLITS
    assert n_splits(replace(history, learner=np.repeat(np.arange(6), 4))) == 0


def test_what_was_measured_in_halves_survives_the_file_and_was_announced(tmp_path):
    clean, nodes = claim(4, n_rows=8)
    nodes = {path[-1]: nodes[path[-1]] for path in BoundGraph(nodes, "root").tree_paths()}
    done: list[int] = []
    measured = measure(clean, BoundGraph(nodes, "root"), 2, Options(), 0, splits=2, progress=done.append)
    assert sum(done) == forwards(BoundGraph(nodes, "root"), 2, splits=2)
    measured.save(tmp_path / "one.npz")
    again = Measured.load(tmp_path / "one.npz")
    assert again.halves is not None
    assert measured.halves is not None
    assert np.array_equal(again.halves.first, measured.halves.first)
    for kind, losses in measured.halves.losses.items():
        assert np.array_equal(again.halves.losses[kind], losses)
    measured.halves = None
    measured.save(tmp_path / "two.npz")
    assert Measured.load(tmp_path / "two.npz").halves is None


def crossed(
    rng: np.random.Generator, of_references: float, of_donors: float, opposed: bool = False, n: int = 128
) -> LossSums:
    """Losses of which one part belongs to the reference and one to the donor; the claim truly recovers 0.7."""
    own = of_references * rng.standard_normal(n)
    lent = of_donors * (-own / of_references if opposed else rng.standard_normal(n))
    first = np.stack([rng.permutation(n) < n // 2 for _ in range(8)])

    def donors(half: np.ndarray | None) -> np.ndarray:
        found = np.empty(n, dtype=int)
        for rows in [np.arange(n)] if half is None else [np.flatnonzero(half), np.flatnonzero(~half)]:
            drawn = rng.integers(len(rows) - 1, size=len(rows))
            found[rows] = rows[drawn + (drawn >= np.arange(len(rows)))]
        return found

    def loss(half: np.ndarray | None = None) -> np.ndarray:
        return 0.8 + own + lent[donors(half)]

    model, nothing = np.full(n, 0.5), np.full(n, 1.5)
    scrubbed, in_halves = (np.stack([loss(one) for one in some]) for some in ([None] * 5, first))
    structure = np.broadcast_to(nothing, scrubbed.shape)
    sides = HalfSums(first, in_halves, *(np.broadcast_to(nothing, in_halves.shape) for _ in range(2)))
    return LossSums(model, scrubbed, nothing, structure, np.ones(n, dtype=int), halves=sides)


@pytest.mark.parametrize(
    ("of_references", "of_donors", "opposed", "before"),
    [(0.3, 0.6, False, (0.0, 0.88)), (0.4, 0.0, False, (0.92, 0.98)), (0.4, 0.2, True, (0.99, 1.0))],
    ids=["donors matter", "donors do not", "donors make up for references"],
)
def test_intervals_cover_whatever_the_donors_do(of_references, of_donors, opposed, before):
    rng = np.random.default_rng(11)
    weights = Resampling.draw(128, 5, rng, 300)
    covered = np.zeros(2)
    for _ in range(200):
        sums = crossed(rng, of_references, of_donors, opposed)
        for place, one in enumerate((replace(sums, halves=None), sums)):
            found = estimate(one, weights).recovered
            covered[place] += found.low <= 0.7 <= found.high
    assert before[0] <= covered[0] / 200 <= before[1]
    assert 0.92 <= covered[1] / 200 <= (1.0 if opposed else 0.985)


def test_the_error_is_that_of_fresh_datasets():
    rng = np.random.default_rng(12)
    of_references, of_donors, known, found, biases = 0.3, 0.6, [], [], []
    for _ in range(300):
        sums = crossed(rng, of_references, of_donors)
        assert sums.halves is not None
        value = 1.5 - sums.scrubbed.mean()
        whole, apart = ((1.5 - one - value) / 128 for one in (sums.scrubbed, sums.halves.scrubbed))
        donors = donors_of(whole, apart, sums.halves.first)
        known.append(sum(variances(whole)))
        found.append(donors.scatter**2 * known[-1])
        biases.append(donors.bias)
    true = ((of_references**2 + of_donors**2 + of_donors**2 / 5) / 128) ** 0.5
    assert np.mean(known) ** 0.5 < 0.75 * true
    assert np.mean(found) ** 0.5 == pytest.approx(true, rel=0.12)
    assert abs(np.mean(biases)) < 0.005


def test_the_interval_reaches_as_much_further_as_halves_lie_higher():
    sums = crossed(np.random.default_rng(13), 0.3, 0.2)
    weights = Resampling.draw(128, 5, np.random.default_rng(0), 1000)
    assert sums.halves is not None
    # recovered falls by as much as the scrubbed loss rises, as there is 1 nat to recover
    easier = replace(sums, halves=replace(sums.halves, scrubbed=sums.halves.scrubbed - 0.1))
    here, there = (estimate(one, weights).recovered for one in (sums, easier))
    assert there.donors.bias - here.donors.bias == pytest.approx(0.1)
    plain = here.low + max(here.donors.bias, 0)
    assert there.low == pytest.approx(plain - there.donors.bias, abs=1e-3)
    assert there.low < there.value < there.high
    assert there.donors.bias > 0
    assert there.high <= here.high + 1e-9


def test_donors_never_narrow_an_interval():
    """Few splits know too little for it: a claim must not be called supported since halves happen to agree."""
    rng = np.random.default_rng(14)
    found = [estimate(crossed(rng, *how), WEIGHTS).recovered for how in [(0.4, 0.2, True), (0.3, 0.6)] * 60]
    assert min(one.donors.scatter for one in found) == 1
    sums = crossed(rng, 0.4, 0.2, opposed=True)
    here, before = (estimate(one, WEIGHTS).recovered for one in (sums, replace(sums, halves=None)))
    assert (here.low, here.high) == (pytest.approx(before.low, abs=0.01), pytest.approx(before.high, abs=0.01))


def test_self_donors_take_over_what_donors_add():
    sums = crossed(np.random.default_rng(15), 0.3, 0.4)
    weights = sums.resampling(np.random.default_rng(0), 500)
    other = estimate(sums, weights)
    own = estimate(replace(sums, halves=None), weights, donors_as=other)
    assert own.recovered.donors is other.recovered.donors
    assert own.recovered.low == pytest.approx(other.recovered.low)
    assert other.recovered.donors.scatter > 1.1


def test_what_no_donor_touches_stays_as_it_is():
    sums = crossed(np.random.default_rng(16), 0.3, 0.4)
    found = estimate(sums, sums.resampling(np.random.default_rng(0), 500)).model
    assert (found.donors.scatter, found.donors.bias) == (pytest.approx(1.0), pytest.approx(0.0))


def test_a_claim_that_is_true_has_no_interval_to_speak_of():
    ones = np.ones(32)
    first = np.random.default_rng(17).random((8, 32)) < 0.5
    sides = HalfSums(first, *(np.full((8, 32), loss) for loss in (0.3, 1.1, 0.7)))
    whole = (0.3 * ones, np.full((5, 32), 0.3), 1.1 * ones, np.full((5, 32), 0.7))
    sums = LossSums(*whole, ones.astype(int), halves=sides)
    found = estimate(sums, sums.resampling(np.random.default_rng(0), 200)).recovered
    assert (found.value, found.low, found.high) == (pytest.approx(1), pytest.approx(1), pytest.approx(1))


def test_shapes_that_do_not_fit_are_refused():
    sums = crossed(np.random.default_rng(18), 0.3, 0.4)
    assert sums.halves is not None
    with pytest.raises(AssertionError, match="NaN"):
        replace(sums.halves, baseline=np.full_like(sums.halves.baseline, np.nan))
    with pytest.raises(AssertionError, match="halves"):
        replace(sums, halves=HalfSums(*(one[:, :-1] for one in vars(sums.halves).values())))
