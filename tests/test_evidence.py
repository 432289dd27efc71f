"""Intervals are checked by the coverage they have on simulated losses, verdicts by the errors they make."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence import (
    Estimate,
    LossSums,
    Resampling,
    crossed_bootstrap,
    draws_for,
    estimate,
    holm,
    judge,
    p_above,
    p_below,
    require_estimable,
)
from ad_hypotheses.evidence import Tested as Measured  # under its own name pytest takes it for a test
from ad_hypotheses.evidence.plain_data import Number

RATIOS = ("recovered", "beyond_structure", "recovered_with_self", "beyond_structure_with_self")


def simulated(rng: np.random.Generator, n_rows: int, recovered: float, n_passes: int = 5) -> LossSums:
    """Rows whose loss to recover is skewed and whose own share of it varies around `recovered`.

    Structure alone recovers 0.5, so `beyond_structure` is truly `2 * recovered - 1`.
    """
    counts = rng.integers(30, 60, n_rows)
    model = rng.gamma(2, 0.3, n_rows)
    gap = rng.lognormal(-0.6, 0.7, n_rows)
    lost = (1 - recovered + 0.3 * rng.standard_normal(n_rows)) * gap

    def passes(loss: np.ndarray) -> np.ndarray:
        drawn = 0.005 * rng.standard_normal((n_passes, 1)) + 0.05 * rng.standard_normal((n_passes, n_rows))
        return (loss + drawn) * counts

    return LossSums(model * counts, passes(model + lost), (model + gap) * counts, passes(model + 0.5 * gap), counts)


@pytest.fixture(scope="module", params=[150, pytest.param(500, marks=pytest.mark.slow)])
def simulations(request: pytest.FixtureRequest) -> list[Estimate]:
    """`recovered` on many sets of 256 rows of which the truth is 0.8."""
    rng = np.random.default_rng(3)
    weights = Resampling.draw(256, 5, rng, 1000)
    return [estimate(simulated(rng, 256, 0.8), weights).recovered for _ in range(request.param)]


def around(value: float, spread: float = 0.01, n_boot: int = 3999) -> Estimate:
    """An estimate whose draws lie evenly within `spread` of `value`."""
    draws = np.linspace(value - spread, value + spread, n_boot)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, float(low), float(high), draws)


def claim(
    name: str = "claim", accept: float = 0.9, root_movement: float = 0.6, swapped: float = 0.8, **ratios: Estimate
) -> Measured:
    """A claim whose ratios are all clearly above 0.9, except those named."""
    estimates = {one: ratios.get(one, around(0.97)) for one in RATIOS}
    return Measured(name, accept, root_movement=root_movement, swapped=swapped, **estimates)


@pytest.mark.parametrize("harmed", [1, 2, 3])
def test_where_hardly_any_row_is_harmed_the_interval_stays_within_reason(harmed: int) -> None:
    """A draw that misses the harmed rows has no error of its own, by which it must not be divided."""
    rows, gain = 64, 2.0
    numerator = np.full((5, rows), gain)
    numerator[:, :harmed] -= 0.3  # the same in every pass
    found = crossed_bootstrap(numerator, np.full((5, rows), gain), Resampling.draw(rows, 5, np.random.default_rng(1)))
    assert found.value == pytest.approx(1 - harmed * 0.3 / (rows * gain))
    assert 0.9 < found.low < found.value < found.high < 1.01


def tiny(**changes: object) -> LossSums:
    """Four rows of which every figure is easily worked out by hand."""
    sums = LossSums(
        model=np.array([1.0, 2.0, 3.0, 0.0]),
        scrubbed=np.array([[2.0, 3.0, 4.0, 0.0], [2.0, 3.0, 7.0, 0.0]]),
        baseline=np.array([5.0, 6.0, 7.0, 0.0]),
        structure=np.array([[3.0, 4.0, 5.0, 0.0], [3.0, 4.0, 8.0, 0.0]]),
        counts=np.array([1, 2, 3, 0]),
    )
    return replace(sums, **changes)


def test_losses_are_pooled_and_ratios_are_ratios_of_sums() -> None:
    sums = tiny()
    evidence = estimate(sums, sums.resampling(np.random.default_rng(0), 200))
    assert evidence.model.value == pytest.approx(6 / 6)
    assert evidence.scrubbed.value == pytest.approx(10.5 / 6)
    assert evidence.baseline.value == pytest.approx(18 / 6)
    assert evidence.structure.value == pytest.approx(13.5 / 6)
    assert evidence.recovered.value == pytest.approx((10.5 - 18) / (6 - 18))
    assert evidence.beyond_structure.value == pytest.approx((10.5 - 13.5) / (6 - 13.5))
    assert evidence.baseline_minus_model.value == pytest.approx(12 / 6)
    assert evidence.structure_minus_model.value == pytest.approx(7.5 / 6)
    assert (evidence.rows, evidence.positions) == (3, 6)


def test_ratios_are_never_clamped() -> None:
    rng = np.random.default_rng(1)
    for recovered in (-0.7, 1.4):
        sums = simulated(rng, 256, recovered)
        found = estimate(sums, sums.resampling(rng, 500)).recovered
        assert found.low < recovered < found.high
        assert (found.low > 1) if recovered > 1 else (found.high < 0)


def test_the_interval_agrees_with_the_textbook_one_for_a_mean() -> None:
    rng = np.random.default_rng(2)
    losses = rng.standard_normal((1, 400)) + 3
    mean = crossed_bootstrap(losses, np.ones((1, 400)), Resampling.draw(400, 1, rng, 4000))
    half_width = 1.966 * losses.std(ddof=1) / 20
    assert mean.value == pytest.approx(losses.mean())
    assert (mean.high - mean.low) / 2 == pytest.approx(half_width, rel=0.06)


def test_coverage_of_recovered(simulations: list[Estimate]) -> None:
    # With 40 rows the same simulation covers 0.941 (4000 repetitions), with 20 rows 0.940; harsher ones (rare harms,
    # half of the rows without a position) cover 0.87 with 40 rows and 0.80 with 20.
    assert 0.92 <= np.mean([found.low < 0.8 < found.high for found in simulations]) <= 0.98


def test_a_long_tail_of_losses_stretches_the_interval_on_its_side() -> None:
    # A few large losses may be missing from the sample, so the true mean may well lie higher, hardly lower.
    losses = np.random.default_rng(25).lognormal(0, 1, (1, 60))
    mean = crossed_bootstrap(losses, np.ones((1, 60)), Resampling.draw(60, 1, np.random.default_rng(26)))
    assert mean.high - mean.value > 1.2 * (mean.value - mean.low)


def test_equal_rows_of_a_learner_widen_the_interval() -> None:
    rng = np.random.default_rng(4)
    one = simulated(rng, 64, 0.8)
    four = LossSums(
        *(np.repeat(getattr(one, name), 4, axis=-1) for name in ("model", "scrubbed", "baseline", "structure")),
        counts=np.repeat(one.counts, 4),
    )
    clustered = replace(four, clusters=np.repeat(rng.permutation(64) + 100, 4))
    width = {}
    for name, sums in (("one", one), ("apart", four), ("clustered", clustered)):
        found = estimate(sums, sums.resampling(np.random.default_rng(5), 2000)).recovered
        width[name] = found.high - found.low
    assert width["apart"] == pytest.approx(width["one"] / 2, rel=0.2)
    assert width["clustered"] == pytest.approx(width["one"], rel=0.1)


def test_clusters_need_not_be_sorted_or_consecutive() -> None:
    sums = tiny(clusters=np.array([7, -2, 7, 3]))
    assert sums.n_clusters == 3
    assert sums.by_cluster(sums.model).tolist() == [[2.0, 0.0, 4.0]]
    assert sums.by_cluster(sums.scrubbed).tolist() == [[3.0, 0.0, 6.0], [3.0, 0.0, 9.0]]


def test_passes_that_disagree_widen_the_interval() -> None:
    sums = simulated(np.random.default_rng(6), 256, 0.8)
    shift = 0.3 * np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None] * sums.counts
    weights = sums.resampling(np.random.default_rng(7))
    calm = estimate(sums, weights).scrubbed
    torn = estimate(replace(sums, scrubbed=sums.scrubbed + shift), weights).scrubbed
    # The standard error of a mean of five passes that are 0.3 apart is 0.3 * sqrt(2.5 / 5).
    assert torn.value == pytest.approx(calm.value)
    assert torn.high - torn.low > (calm.high - calm.low) + 2 * 0.3 * np.sqrt(0.5)
    assert calm.high - calm.low < 0.3


def test_where_nothing_varies_the_interval_is_a_point() -> None:
    ones = np.ones(30)
    sums = LossSums(0.1 * ones, 0.3 * np.ones((5, 30)), 1.1 * ones, 0.7 * np.ones((5, 30)), ones.astype(int))
    found = estimate(sums, sums.resampling(np.random.default_rng(8), 200)).recovered
    assert (found.low, found.value, found.high) == pytest.approx((0.8, 0.8, 0.8))
    assert found.estimable


def test_one_cluster_or_no_position_is_not_estimable() -> None:
    one_learner = replace(simulated(np.random.default_rng(9), 50, 0.8), clusters=np.zeros(50, dtype=int))
    empty = LossSums(np.zeros(50), np.zeros((5, 50)), np.zeros(50), np.zeros((5, 50)), np.zeros(50, dtype=int))
    for sums in (one_learner, empty):
        evidence = estimate(sums, sums.resampling(np.random.default_rng(10), 200))
        for figure in (evidence.model, evidence.recovered, evidence.beyond_structure):
            assert not figure.estimable
            assert str(figure) == f"{figure:.4f}" == "not estimable"
            assert p_above(figure, 0.0) == p_below(figure, 1.0) == 1.0


def test_a_regime_that_few_rows_visit_is_not_estimable_but_a_common_one_is() -> None:
    full = simulated(np.random.default_rng(11), 256, 0.8)
    weights = full.resampling(np.random.default_rng(12), 1000)

    def visited(n_rows: int) -> LossSums:
        inside = np.arange(256) < n_rows
        sums = {name: getattr(full, name) * inside for name in ("model", "scrubbed", "baseline", "structure")}
        return LossSums(**sums, counts=full.counts * inside)

    few, many = (estimate(visited(n_rows), weights) for n_rows in (2, 128))
    assert (few.rows, many.rows) == (2, 128)
    assert not few.recovered.estimable
    assert (few.recovered.low, few.recovered.high) == (-np.inf, np.inf)
    assert many.recovered.estimable


def test_without_loss_to_explain_the_numbers_are_in_the_error() -> None:
    rng = np.random.default_rng(13)
    sums = simulated(rng, 100, 0.8)
    useless = replace(sums, baseline=sums.model + 0.1 * rng.standard_normal(100) * sums.counts)
    evidence = estimate(useless, sums.resampling(rng, 500))
    with pytest.raises(DataError) as error:
        require_estimable(evidence)
    for part in (
        f"E_model {evidence.model.value:.4f} vs E_baseline {evidence.baseline.value:.4f}",
        f"{sums.counts.sum()} positions in 100 rows",
        "no loss to explain",
        "Use more rows, another model",
    ):
        assert part in str(error.value)
    assert evidence.beyond_structure.estimable
    require_estimable(estimate(sums, sums.resampling(rng, 500)))


def test_a_model_worse_than_the_baseline_has_no_loss_to_explain() -> None:
    sums = simulated(np.random.default_rng(14), 100, 0.8)
    swapped = replace(sums, model=sums.baseline, baseline=sums.model)
    evidence = estimate(swapped, sums.resampling(np.random.default_rng(15), 500))
    assert evidence.baseline_minus_model.high < 0
    assert not evidence.recovered.estimable


def test_structure_that_does_as_well_as_the_model_leaves_nothing_beyond_it() -> None:
    rng = np.random.default_rng(27)
    sums = simulated(rng, 100, 0.8)
    enough = replace(sums, structure=sums.model + 0.05 * rng.standard_normal((5, 100)) * sums.counts)
    evidence = estimate(enough, sums.resampling(rng, 500))
    assert evidence.recovered.estimable
    assert not evidence.beyond_structure.estimable
    require_estimable(evidence)


def test_the_same_seed_gives_the_same_number() -> None:
    sums = simulated(np.random.default_rng(19), 100, 0.8)
    first, again, other = (estimate(sums, sums.resampling(np.random.default_rng(s), 300)) for s in (20, 20, 21))
    assert first == again
    assert np.array_equal(first.recovered.draws, again.recovered.draws)
    assert first.recovered.value == other.recovered.value
    assert first.recovered != other.recovered


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": np.array([5.0, np.nan, 7.0, 0.0])}, "baseline holds NaN"),
        ({"model": np.array([1.0, 2.0, 3.0, 4.0])}, "model has a loss in a row that has no position"),
        ({"counts": np.array([1, 2, -3, 0])}, "negative counts"),
    ],
)
def test_sums_that_do_not_fit_are_refused(changes: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        tiny(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": np.ones(3)},
        {"scrubbed": np.ones(4)},
        {"structure": np.zeros((3, 4))},
        {"clusters": np.array([1, 2])},
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes: dict[str, np.ndarray]) -> None:
    with pytest.raises((AssertionError, TypeError)):  # a TypeError where annotated shapes are checked
        tiny(**changes)


def test_estimates_print_as_they_are_read() -> None:
    shown = Estimate(0.6234, 0.5811, 0.6602, np.zeros(3))
    assert str(shown) == f"{shown}" == "0.62 [0.58, 0.66]"
    assert f"{shown:.3f}" == "0.623 [0.581, 0.660]"


def test_p_values_count_draws_and_agree_with_the_interval() -> None:
    ten = Estimate(5.0, 1.0, 10.0, np.arange(1.0, 11.0))
    assert p_above(ten, 2.0) == pytest.approx(3 / 11)
    assert p_below(ten, 2.0) == pytest.approx(10 / 11)
    assert p_above(replace(ten, draws=np.append(ten.draws, np.nan)), 2.0) == pytest.approx(4 / 12)
    sums = simulated(np.random.default_rng(22), 100, 0.8)
    found = estimate(sums, sums.resampling(np.random.default_rng(23))).recovered
    assert p_above(found, found.low - 1e-9) < 0.025 < p_above(found, found.low + 1e-9)
    assert p_below(found, found.high + 1e-9) < 0.025 < p_below(found, found.high - 1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    with mock.patch("gc.collect"):  # statsmodels calls it every time, which takes longer than all else
        theirs = multipletests(p_values, alpha=0.025, method="holm")[1]
    assert holm(p_values) == pytest.approx(theirs)


def test_supported_needs_all_four_ratios() -> None:
    (verdict,) = judge([claim(beyond_structure=around(0.93))])
    assert verdict.verdict == "supported"
    assert verdict.p_supported == pytest.approx(1 / 4000)
    assert "the lowest is beyond structure 0.93 [0.92, 0.94]" in verdict.reason
    for name in RATIOS:
        (verdict,) = judge([claim(**{name: around(0.9)})])
        assert verdict.verdict == "inconclusive"
        assert f"{name.replace('_', ' ').replace(' self', ' self-donors')} 0.90" in verdict.reason
        assert "reaches across the accepted 0.90" in verdict.reason


@pytest.mark.parametrize("name", RATIOS)
def test_one_ratio_below_refutes(name: str) -> None:
    (verdict,) = judge([claim(**{name: around(0.62, 0.04)})])
    assert verdict.verdict == "refuted"
    assert verdict.p_refuted == pytest.approx(4 / 4000)
    assert verdict.reason.endswith("0.62 [0.58, 0.66] lies below the accepted 0.90")


def test_vacuity_overrides_everything() -> None:
    for recovered in (0.97, 0.9, 0.2):
        (verdict,) = judge([claim(recovered=around(recovered), root_movement=0.049, swapped=0.19)])
        assert verdict.verdict == "vacuous"
        assert "4.9% of what the baseline moves it" in verdict.reason
        assert f"{recovered:.2f} [" in verdict.reason
    assert judge([claim(root_movement=0.05)])[0].verdict == "supported"


def test_nothing_moved_by_many_swaps_is_evidence_and_not_vacuity() -> None:
    assert judge([claim(root_movement=0.01, swapped=0.2)])[0].verdict == "supported"
    assert judge([claim(root_movement=0.0, swapped=0.0)])[0].verdict == "vacuous"


def test_where_hardly_anybody_is_swapped_nothing_is_supported() -> None:
    (verdict,) = judge([claim(swapped=0.19)])
    assert verdict.verdict == "inconclusive"
    assert "only 19% of the draws were another history" in verdict.reason
    assert judge([claim(swapped=0.2)])[0].verdict == "supported"
    assert judge([claim(swapped=0.0, recovered=around(0.5))])[0].verdict == "refuted"


def test_a_structure_that_explains_everything_cannot_be_supported() -> None:
    unknown = replace(around(0.97), estimable=False)
    (verdict,) = judge([claim(beyond_structure=unknown)])
    assert verdict.verdict == "inconclusive"
    assert verdict.p_supported == 1
    assert "beyond structure is not estimable" in verdict.reason
    assert "recovered 0.97" in verdict.reason
    assert judge([claim(beyond_structure=unknown, recovered=around(0.5))])[0].verdict == "refuted"
    (verdict,) = judge([claim(recovered=unknown)])
    assert (verdict.verdict, verdict.reason.split(":")[0]) == ("inconclusive", "recovered is not estimable")


def test_the_family_shares_one_error_budget() -> None:
    # 60 of 3999 draws on the wrong side: p = 0.015 alone, 0.03 among two that are equally uncertain.
    close = around(0.9 + 0.01 * (1 - 2 * 60.5 / 4000))
    above, below = claim("above", recovered=close), claim("below", recovered=around(1.8 - close.value))
    (alone,) = judge([above])
    assert (alone.verdict, alone.p_supported) == ("supported", pytest.approx(61 / 4000, abs=3 / 4000))
    first, second = judge([above, replace(above, name="twin")])
    assert (first.name, second.name) == ("above", "twin")
    assert first.verdict == second.verdict == "inconclusive"
    assert first.p_supported == pytest.approx(2 * alone.p_supported)
    assert "lies above the accepted 0.90 on its own, but not after correcting for all 2" in first.reason
    # A refutation may come from any of four ratios, which costs a factor of four even alone.
    (verdict,) = judge([below])
    assert (verdict.verdict, verdict.p_refuted) == ("inconclusive", pytest.approx(4 * alone.p_supported, rel=0.1))
    assert "lies below the accepted 0.90 on its own" in verdict.reason
    # And refutations are corrected for one another: 4 * 0.00275 alone, three times that among three.
    lower = claim("lower", recovered=around(0.9 - 0.01 * (1 - 2 * 10.5 / 4000)))
    assert [one.verdict for one in judge([lower])] == ["refuted"]
    assert [one.verdict for one in judge([lower, lower, lower])] == ["inconclusive"] * 3
    assert judge([]) == []


def test_accept_belongs_to_the_claim() -> None:
    verdicts = judge([claim("strict", accept=0.99), claim("lax", accept=0.5)])
    assert [(one.name, one.verdict) for one in verdicts] == [("strict", "refuted"), ("lax", "supported")]


def test_too_few_draws_for_the_family_are_refused_and_draws_for_is_enough() -> None:
    family = [claim(str(i), recovered=around(0.5, n_boot=2000)) for i in range(30)]
    with pytest.raises(AssertionError, match=f"use {draws_for(30)}"):
        judge(family)
    enough = dict.fromkeys(RATIOS, around(0.5, n_boot=draws_for(30)))
    assert {one.verdict for one in judge([claim(str(i), **enough) for i in range(30)])} == {"refuted"}
    assert draws_for(1) == 2000
    # Up to five draws on the wrong side still refute.
    assert 4 * 30 * (5 + 1) / (draws_for(30) + 1) < 0.025


def test_false_supported_rate(simulations: list[Estimate]) -> None:
    # Only `recovered` sits at the threshold: the case in which asking for all four costs the fewest false verdicts.
    high = dict.fromkeys(RATIOS[1:], around(0.95, n_boot=1000))
    verdicts = [judge([claim(accept=0.8, recovered=found, **high)])[0].verdict for found in simulations]
    n = len(verdicts)
    assert 0 < verdicts.count("supported") / n <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / n)
    assert verdicts.count("refuted") / n <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / n)


def test_an_estimate_is_recorded_without_its_draws() -> None:
    draws = np.zeros(3)
    bounded = Estimate(np.float64(0.5), np.float64(0.4), np.float64(0.6), draws).number()
    assert bounded == Number(0.5, 0.4, 0.6)
    assert {type(part) for part in (bounded.value, bounded.low, bounded.high)} == {float}
    unbounded = Estimate(0.5, -np.inf, np.inf, draws, estimable=False).number()
    assert (unbounded.estimable, unbounded.cells()) == (False, (None, None, None))
