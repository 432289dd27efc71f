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
    Cell,
    Estimate,
    Evidence,
    Judgement,
    Resampling,
    Sums,
    crossed_bootstrap,
    draws_for,
    estimate,
    holm,
    judge,
    p_above,
    p_below,
    require_estimable,
)
from ad_hypotheses.evidence import Tested as Measured  # a name that begins with Test is one of a test to pytest
from ad_hypotheses.evidence.plain_data import Number

#: Every ratio that a verdict may rest on, and what reports call it.
RATIOS = {
    "fidelity": "fidelity",
    "fidelity_with_self": "fidelity with self-donors",
    "fidelity_independent": "fidelity with independent others",
    "beyond_structure": "beyond structure",
    "explained": "explained",
}


def simulated(rng: np.random.Generator, n_rows: int, explained: float, n_passes: int = 5) -> Sums:
    """Rows whose loss to explain is skewed and whose own share of it varies around `explained`.

    Structure alone keeps half of it and the baseline loses twice of it, so that `beyond_structure` is truly
    `2 * explained - 1` and `recovered` `(1 + explained) / 2`. The divergences have `explained` as their fidelity.
    """
    counts = rng.integers(30, 60, n_rows)
    model = rng.gamma(2, 0.3, n_rows)
    gap = rng.lognormal(-0.6, 0.7, n_rows)
    lost = (1 - explained + 0.3 * rng.standard_normal(n_rows)) * gap
    diverges = (1 - explained) * rng.gamma(4, 1 / 4, n_rows) * gap

    def passes(loss: np.ndarray) -> np.ndarray:
        drawn = 0.005 * rng.standard_normal((n_passes, 1)) + 0.05 * rng.standard_normal((n_passes, n_rows))
        return (loss + drawn) * counts

    return Sums(
        counts=counts,
        model=model * counts,
        scrubbed=passes(model + lost),
        structure=passes(model + 0.5 * gap),
        baseline=(model + 2 * gap) * counts,
        ignorant=(model + gap) * counts,
        kl=passes(diverges),
        kl_ignorant=gap * counts,
        kl_with_self=passes(0.9 * diverges)[:1],
    )


def weights_for(sums: Sums, rng: np.random.Generator, n_boot: int = 2000) -> Resampling:
    """Weights that fit the clusters and passes of some sums."""
    return Resampling.draw(sums.n_clusters, len(sums.scrubbed), rng, n_boot)


@pytest.fixture(scope="module", params=[150, pytest.param(500, marks=pytest.mark.slow)])
def simulations(request: pytest.FixtureRequest) -> list[Estimate]:
    """Fidelity on many sets of 256 rows of which the truth is 0.8."""
    rng = np.random.default_rng(3)
    weights = Resampling.draw(256, 5, rng, 1000)
    drawn = [simulated(rng, 256, 0.8) for _ in range(request.param)]
    return [crossed_bootstrap(sums.kl, sums.kl_ignorant[None], weights).complement() for sums in drawn]


def around(value: float, spread: float = 0.01, n_boot: int = 3999) -> Estimate:
    """An estimate whose draws lie evenly within `spread` of `value`."""
    draws = np.linspace(value - spread, value + spread, n_boot)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, float(low), float(high), draws)


def one_sided(p_value: float) -> Estimate:
    """An estimate above 0.9 of whose 3999 draws this share lies on the wrong side."""
    wrong = round(4000 * p_value) - 1
    return around(0.9 + 0.01 * (1 - 2 * (wrong + 0.5) / 4000))


def cell(
    data: str = "source",
    regime: str = "stay",
    learners: int = 100,
    tested: float = 1.0,
    swapped: float = 0.9,
    labelled: bool = True,
    **figures: Estimate | None,
) -> Cell:
    """A cell that counts and whose ratios are all clearly above 0.9, except for what is named."""
    ratios = {name: figures.pop(name, around(0.97)) for name in RATIOS}
    names = ("model", "scrubbed", "structure", "baseline", "ignorant", "kl", "gain_on_baseline", "gain_on_structure")
    stakes = {name: figures.pop(name, around(0.5)) for name in ("kl_ignorant", "gain")}
    assert not figures, figures
    evidence = Evidence(
        **ratios,
        **stakes,
        **dict.fromkeys(names, around(0.5)),
        recovered=around(0.99),
        learners=learners,
        positions=1000,
        all_learners=learners,
        all_kl_ignorant=stakes["kl_ignorant"],
    )
    return Cell(data, regime, evidence, tested, swapped, labelled)


def claim(
    *cells: Cell, name: str = "claim", accept: float = 0.9, root_movement: float = 0.6, swapped: float = 0.8
) -> Measured:
    """A claim that moved what it should, on these cells; by default one where all is well."""
    return Measured(name, accept, cells or (cell(),), root_movement, swapped)


def verdict_of(*cells: Cell, **options: float) -> str:
    """The verdict on a claim that is judged alone."""
    return judge([claim(*cells, **options)])[0].verdict


# --- estimates ---


@pytest.mark.parametrize("harmed", [1, 2, 3])
def test_where_hardly_any_row_is_harmed_the_interval_stays_within_reason(harmed: int) -> None:
    """A draw that misses the harmed rows has no error of its own, by which it must not be divided."""
    rows, gain = 64, 2.0
    numerator = np.full((5, rows), gain)
    numerator[:, :harmed] -= 0.3  # the same in every pass
    ratio = crossed_bootstrap(numerator, np.full((5, rows), gain), Resampling.draw(rows, 5, np.random.default_rng(1)))
    assert ratio.value == pytest.approx(1 - harmed * 0.3 / (rows * gain))
    assert 0.9 < ratio.low < ratio.value < ratio.high < 1.01


def tiny(**changes: object) -> Sums:
    """Four rows of which every figure is easily worked out by hand."""
    sums = Sums(
        counts=np.array([1, 2, 3, 0]),
        model=np.array([1.0, 2.0, 3.0, 0.0]),
        scrubbed=np.array([[2.0, 3.0, 4.0, 0.0], [2.0, 3.0, 7.0, 0.0]]),
        structure=np.array([[3.0, 4.0, 5.0, 0.0], [3.0, 4.0, 8.0, 0.0]]),
        baseline=np.array([5.0, 6.0, 7.0, 0.0]),
        ignorant=np.array([2.0, 4.0, 6.0, 0.0]),
        kl=np.array([[0.1, 0.2, 0.3, 0.0], [0.3, 0.2, 0.1, 0.0]]),
        kl_ignorant=np.array([1.0, 1.0, 2.0, 0.0]),
        kl_with_self=np.array([[0.1, 0.1, 0.2, 0.0]]),
        kl_independent=np.array([[0.5, 0.4, 0.0, 0.0]]),
        kl_ignorant_there=np.array([1.0, 1.0, 0.0, 0.0]),
    )
    return replace(sums, **changes)


def test_losses_are_pooled_and_ratios_are_ratios_of_sums() -> None:
    sums = tiny()
    evidence = estimate(sums, weights_for(sums, np.random.default_rng(0), 200))
    expected = {
        "fidelity": 1 - 0.6 / 4,
        "fidelity_with_self": 1 - 0.4 / 4,
        "fidelity_independent": 1 - 0.9 / 2,
        "explained": 1 - (10.5 - 6) / (12 - 6),
        "recovered": (10.5 - 18) / (6 - 18),
        "beyond_structure": (10.5 - 13.5) / (6 - 13.5),
        "model": 6 / 6,
        "scrubbed": 10.5 / 6,
        "structure": 13.5 / 6,
        "baseline": 18 / 6,
        "ignorant": 12 / 6,
        "kl": 0.6 / 6,
        "kl_ignorant": 4 / 6,
        "gain": 6 / 6,
        "gain_on_baseline": 12 / 6,
        "gain_on_structure": 7.5 / 6,
    }
    assert {name: getattr(evidence, name).value for name in expected} == pytest.approx(expected)
    assert (evidence.learners, evidence.positions) == (3, 6)
    assert estimate(replace(sums, kl_independent=None), weights_for(sums, np.random.default_rng(0), 200)) == replace(
        evidence, fidelity_independent=None
    )


def test_ratios_are_never_clamped() -> None:
    rng = np.random.default_rng(1)
    for explained in (-0.7, 1.4):
        sums = simulated(rng, 256, explained)
        evidence = estimate(sums, weights_for(sums, rng, 500))
        assert evidence.explained.low < explained < evidence.explained.high
        assert (evidence.explained.low > 1) if explained > 1 else (evidence.fidelity.high < 0)


def test_the_interval_agrees_with_the_textbook_one_for_a_mean() -> None:
    rng = np.random.default_rng(2)
    losses = rng.standard_normal((1, 400)) + 3
    mean = crossed_bootstrap(losses, np.ones((1, 400)), Resampling.draw(400, 1, rng, 4000))
    half_width = 1.966 * losses.std(ddof=1) / 20
    assert mean.value == pytest.approx(losses.mean())
    assert (mean.high - mean.low) / 2 == pytest.approx(half_width, rel=0.06)


def test_coverage_of_fidelity(simulations: list[Estimate]) -> None:
    assert 0.92 <= np.mean([ratio.low < 0.8 < ratio.high for ratio in simulations]) <= 0.98


def test_a_long_tail_of_losses_stretches_the_interval_on_its_side() -> None:
    # A few large losses may be missing from the sample, so the true mean may well lie higher, hardly lower.
    losses = np.random.default_rng(25).lognormal(0, 1, (1, 60))
    mean = crossed_bootstrap(losses, np.ones((1, 60)), Resampling.draw(60, 1, np.random.default_rng(26)))
    assert mean.high - mean.value > 1.2 * (mean.value - mean.low)


def test_equal_rows_of_a_learner_widen_the_interval() -> None:
    rng = np.random.default_rng(4)
    single = simulated(rng, 64, 0.8)
    values = {name: value for name, value in vars(single).items() if value is not None}
    four = Sums(**{name: np.repeat(value, 4, axis=-1) for name, value in values.items()})
    clustered = replace(four, clusters=np.repeat(rng.permutation(64) + 100, 4))
    width = {}
    for name, sums in (("single", single), ("apart", four), ("clustered", clustered)):
        fidelity = estimate(sums, weights_for(sums, np.random.default_rng(5))).fidelity
        width[name] = fidelity.high - fidelity.low
    assert width["apart"] == pytest.approx(width["single"] / 2, rel=0.2)
    assert width["clustered"] == pytest.approx(width["single"], rel=0.1)


def test_clusters_need_not_be_sorted_or_consecutive() -> None:
    sums = tiny(clusters=np.array([7, -2, 7, 3]))
    assert (sums.n_clusters, sums.learners) == (3, 2)
    assert sums.by_cluster(sums.model).tolist() == [[2.0, 0.0, 4.0]]
    assert sums.by_cluster(sums.scrubbed).tolist() == [[3.0, 0.0, 6.0], [3.0, 0.0, 9.0]]


def test_passes_that_disagree_widen_the_interval() -> None:
    sums = simulated(np.random.default_rng(6), 256, 0.8)
    shift = 0.3 * np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None] * sums.counts
    weights = weights_for(sums, np.random.default_rng(7))
    calm = estimate(sums, weights).scrubbed
    torn = estimate(replace(sums, scrubbed=sums.scrubbed + shift), weights).scrubbed
    # The standard error of a mean of five passes that are 0.3 apart is 0.3 * sqrt(2.5 / 5).
    assert torn.value == pytest.approx(calm.value)
    assert torn.high - torn.low > (calm.high - calm.low) + 2 * 0.3 * np.sqrt(0.5)
    assert calm.high - calm.low < 0.3


def test_where_nothing_varies_the_interval_is_a_point() -> None:
    ones, passes = np.ones(30), np.ones((5, 30))
    sums = Sums(
        ones.astype(int), 0.1 * ones, 0.3 * passes, 0.7 * passes, ones, 1.1 * ones, 0.2 * passes, ones, 0.2 * passes
    )
    evidence = estimate(sums, weights_for(sums, np.random.default_rng(8), 200))
    for ratio in (evidence.fidelity, evidence.explained):
        assert (ratio.low, ratio.value, ratio.high) == pytest.approx((0.8, 0.8, 0.8))
        assert ratio.estimable


def test_one_cluster_or_no_position_is_not_estimable() -> None:
    full = simulated(np.random.default_rng(9), 50, 0.8)
    one_learner = replace(full, clusters=np.zeros(50, dtype=int))
    empty = replace(full, **{name: 0 * value for name, value in vars(full).items() if value is not None})
    for sums in (one_learner, empty):
        evidence = estimate(sums, weights_for(sums, np.random.default_rng(10), 200))
        for figure in (evidence.model, evidence.fidelity, evidence.explained, evidence.beyond_structure):
            assert not figure.estimable
            assert str(figure) == f"{figure:.4f}" == "not estimable"
            assert p_above(figure, 0.0) == p_below(figure, 1.0) == 1.0


def test_a_regime_that_few_rows_visit_is_not_estimable_but_a_common_one_is() -> None:
    full = simulated(np.random.default_rng(11), 256, 0.8)
    weights = weights_for(full, np.random.default_rng(12), 1000)

    def visited(n_rows: int) -> Sums:
        inside = np.arange(256) < n_rows
        return replace(full, **{name: value * inside for name, value in vars(full).items() if value is not None})

    few, many = (estimate(visited(n_rows), weights) for n_rows in (2, 128))
    assert (few.learners, many.learners) == (2, 128)
    assert not few.fidelity.estimable
    assert (few.fidelity.low, few.fidelity.high) == (-np.inf, np.inf)
    assert many.fidelity.estimable


def test_without_loss_to_explain_the_numbers_are_in_the_error() -> None:
    rng = np.random.default_rng(13)
    sums = simulated(rng, 100, 0.8)
    useless = replace(sums, baseline=sums.model + 0.1 * rng.standard_normal(100) * sums.counts)
    evidence = estimate(useless, weights_for(sums, rng, 500))
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
    require_estimable(estimate(sums, weights_for(sums, rng, 500)))


def test_a_model_worse_than_the_baseline_has_no_loss_to_explain() -> None:
    sums = simulated(np.random.default_rng(14), 100, 0.8)
    swapped = replace(sums, model=sums.baseline, baseline=sums.model)
    evidence = estimate(swapped, weights_for(sums, np.random.default_rng(15), 500))
    assert evidence.gain_on_baseline.high < 0
    assert not evidence.recovered.estimable


@pytest.mark.parametrize(
    ("zero", "ratio"),
    [
        ({"ignorant": "model"}, "explained"),
        ({"structure": "model"}, "beyond_structure"),
        ({"kl_ignorant": None}, "fidelity"),
    ],
)
def test_a_share_of_what_may_be_nothing_is_not_estimable(zero: dict[str, str | None], ratio: str) -> None:
    rng = np.random.default_rng(27)
    sums = simulated(rng, 100, 0.8)
    ((name, equal),) = zero.items()
    noise = 0.05 * rng.standard_normal(getattr(sums, name).shape) * sums.counts
    enough = replace(sums, **{name: noise + (0 if equal is None else getattr(sums, equal))})
    evidence = estimate(enough, weights_for(sums, rng, 500))
    estimable = {item for item in ("fidelity", "explained", "beyond_structure") if getattr(evidence, item).estimable}
    assert estimable == {"fidelity", "explained", "beyond_structure"} - {ratio}
    require_estimable(evidence)


def test_the_same_seed_gives_the_same_number() -> None:
    sums = simulated(np.random.default_rng(19), 100, 0.8)
    first, again, other = (estimate(sums, weights_for(sums, np.random.default_rng(s), 300)) for s in (20, 20, 21))
    assert first == again
    assert np.array_equal(first.fidelity.draws, again.fidelity.draws)
    assert first.fidelity.value == other.fidelity.value
    assert first.fidelity != other.fidelity


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": np.array([5.0, np.nan, 7.0, 0.0])}, "baseline holds NaN"),
        ({"kl_independent": np.array([[np.nan, 0.0, 0.0, 0.0]])}, "kl_independent holds NaN"),
        ({"model": np.array([1.0, 2.0, 3.0, 4.0])}, "model has a sum in a row that has no position"),
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
        {"scrubbed": np.ones((2, 5))},
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
    assert p_above(ten.complement(), -4.0) == pytest.approx(p_below(ten, 5.0))
    sums = simulated(np.random.default_rng(22), 100, 0.8)
    evidence = estimate(sums, weights_for(sums, np.random.default_rng(23)))
    for ratio in (evidence.fidelity, evidence.explained):
        assert p_above(ratio, ratio.low - 1e-9) < 0.025 < p_above(ratio, ratio.low + 1e-9)
        assert p_below(ratio, ratio.high + 1e-9) < 0.025 < p_below(ratio, ratio.high - 1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    with mock.patch("gc.collect"):  # statsmodels calls it every time, which takes longer than all else
        theirs = multipletests(p_values, alpha=0.025, method="holm")[1]
    assert holm(p_values) == pytest.approx(theirs)


# --- what each ratio is needed for ---


def test_supported_needs_every_ratio() -> None:
    (judged,) = judge([claim(cell(beyond_structure=around(0.93)))])
    assert judged.verdict == "supported"
    assert judged.p_supported == pytest.approx(1 / 4000)
    assert judged.reason.endswith("the lowest is beyond structure 0.93 [0.92, 0.94] in stay (source)")
    for name, words in RATIOS.items():
        (judged,) = judge([claim(cell(**{name: around(0.9)}))])
        assert judged.verdict == "inconclusive"
        assert judged.reason.startswith(f"{words} 0.90 [0.89, 0.91] in stay (source) reaches across the accepted 0.90")


@pytest.mark.parametrize("name", RATIOS)
def test_one_ratio_below_refutes(name: str) -> None:
    (judged,) = judge([claim(cell(**{name: around(0.62, 0.04)}))])
    assert judged.verdict == "refuted"
    assert judged.p_refuted == pytest.approx(5 / 4000)
    assert judged.reason == f"{RATIOS[name]} 0.62 [0.58, 0.66] in stay (source) lies below the accepted 0.90"


def test_the_ratio_that_decides_is_the_first_that_lies_below_else_the_lowest() -> None:
    assert cell(fidelity=around(0.7), beyond_structure=around(0.4)).weakest(0.9) == "fidelity"
    assert cell(beyond_structure=around(0.4)).weakest(0.9) == "beyond structure"
    assert cell(explained=around(0.91)).weakest(0.9) == "explained"


def test_what_the_model_knows_must_be_explained_only_where_it_knows_something_of_a_learners_action() -> None:
    low = {"explained": around(0.5)}
    assert verdict_of(cell(**low)) == "refuted"
    assert verdict_of(cell(**low, labelled=False)) == "supported"
    assert verdict_of(cell(**low, gain=around(0.04))) == "refuted"
    assert verdict_of(cell(**low, gain=around(0.025))) == "supported"  # 0.025 [0.015, 0.035]


def test_what_was_not_measured_or_cannot_be_a_share_of_anything_is_not_asked_for() -> None:
    unknown = replace(around(0.97), estimable=False)
    assert verdict_of(cell(fidelity_independent=None)) == "supported"
    assert verdict_of(cell(beyond_structure=unknown), cell(regime="explore")) == "supported"
    assert verdict_of(cell(fidelity=unknown)) == "inconclusive"
    (judged,) = judge([claim(cell(fidelity=unknown))])
    assert judged.reason == "fidelity is not estimable in stay (source)"


# --- which cells count, and which were tested ---


def test_a_regime_of_few_learners_does_not_count() -> None:
    wrong = {"fidelity": around(0.2)}
    assert verdict_of(cell(**wrong, learners=30)) == "refuted"
    (judged,) = judge([claim(cell(**wrong, learners=29))])
    assert (judged.verdict, judged.statuses) == ("inconclusive", ("does not count",))
    assert judged.p_supported == judged.p_refuted == 1.0
    assert judged.reason == ("no regime counts: stay (source): only 29 learners have a position in it (30 needed)")
    assert judged.sentence == "no regime of any data set counts for claim"
    assert verdict_of(cell(**wrong, learners=29), cell(regime="explore")) == "supported"


def test_a_regime_in_which_the_model_does_what_a_constant_does_does_not_count() -> None:
    wrong = {"fidelity": around(0.2)}
    assert verdict_of(cell(**wrong, kl_ignorant=around(0.031))) == "refuted"  # 0.031 [0.0215, 0.0405]
    (judged,) = judge([claim(cell(**wrong, kl_ignorant=around(0.029)))])  # 0.029 [0.0195, 0.0385]
    assert (judged.verdict, judged.statuses) == ("inconclusive", ("does not count",))
    assert (
        "the model hardly differs from one constant distribution (0.029 [0.020, 0.038] nats; 0.02 needed)"
        in judged.reason
    )
    assert verdict_of(cell(**wrong, kl_ignorant=around(0.029)), cell(regime="explore")) == "supported"


def test_where_little_of_what_there_is_to_explain_was_tested_nothing_is_supported() -> None:
    assert verdict_of(cell(tested=0.5)) == "supported"
    (judged,) = judge([claim(cell(tested=0.49))])
    assert (judged.verdict, judged.p_supported, judged.statuses) == ("inconclusive", 1.0, ("untested",))
    assert judged.reason.startswith("in stay (source) only 49% of what there is to explain has another donor")
    assert judged.sentence == "on source claim hardly tests stay (0.97)"
    assert verdict_of(cell(tested=0.3, fidelity=around(0.5))) == "refuted"
    assert verdict_of(cell(tested=0.0, fidelity=around(0.5))) == "inconclusive"


def test_where_a_node_is_hardly_swapped_nothing_is_supported() -> None:
    assert verdict_of(cell(swapped=0.2)) == "supported"
    (judged,) = judge([claim(cell(swapped=0.19))])
    assert (judged.verdict, judged.statuses) == ("inconclusive", ("untested",))
    assert "only 19% of the positions of one node have another donor (less than 20%)" in judged.reason
    assert verdict_of(cell(swapped=0.1, fidelity=around(0.5))) == "refuted"
    # one regime that was swapped well does not speak for another
    assert verdict_of(cell(swapped=0.19), cell(regime="explore")) == "supported in explore"


def test_constant_features_that_do_as_well_everywhere_leave_nothing_to_support() -> None:
    unknown = replace(around(0.97), estimable=False)
    (judged,) = judge([claim(cell(beyond_structure=unknown), cell(regime="explore", beyond_structure=unknown))])
    assert (judged.verdict, judged.p_supported) == ("inconclusive", 1.0)
    assert judged.reason.startswith("beyond structure is not estimable")
    assert judged.statuses == ("untested", "untested")
    assert judged.sentence == "on source claim hardly tests stay (0.97) and explore (0.97)"
    # in a regime of its own likewise, unless the claim is supported as a whole
    cells = cell(beyond_structure=unknown), cell(regime="explore")
    assert judge([claim(*cells)])[0].statuses == ("supported", "supported")
    refuted = cell(regime="navigate", fidelity=around(0.5))
    assert judge([claim(*cells, refuted)])[0].statuses == ("untested", "supported", "refuted")
    assert verdict_of(cell(beyond_structure=unknown, fidelity=around(0.5))) == "refuted"


# --- from cells to a verdict ---


def test_a_claim_must_hold_in_every_regime_of_every_data_set() -> None:
    good = [cell(data, regime) for data in ("source", "own") for regime in ("explore", "stay")]
    (judged,) = judge([claim(*good)])
    assert (judged.verdict, judged.statuses) == ("supported", ("supported",) * 4)
    assert judged.sentence == (
        "on source claim explains explore (0.97) and stay (0.97); on own claim explains explore (0.97) and stay (0.97)"
    )
    for wrong in range(4):
        cells = [replace(item, evidence=cell(fidelity=around(0.3)).evidence) if number == wrong else item
                 for number, item in enumerate(good)]  # fmt: skip
        (judged,) = judge([claim(*cells)])
        other = "stay" if good[wrong].regime == "explore" else "explore"
        assert judged.verdict == f"supported in {other}"
        assert judged.statuses.count("supported") == 3
        assert judged.statuses[wrong] == "refuted"
        assert judged.reason == f"in {other} all ratios lie above the accepted 0.90, elsewhere not"
        assert f"on {good[wrong].data} claim" in judged.sentence
        assert f"does not explain {good[wrong].regime} (0.30)" in judged.sentence


def test_a_regime_is_supported_on_the_data_sets_on_which_it_counts() -> None:
    cells = (cell("source", "stay"), cell("own", "stay", learners=3), cell("source", "explore", fidelity=around(0.9)))
    (judged,) = judge([claim(*cells)])
    assert judged.verdict == "supported in stay"
    assert judged.statuses == ("supported", "does not count", "open")
    assert judged.sentence == "on source claim explains stay (0.97), may explain explore (0.90)"


def test_a_claim_that_holds_nowhere_is_refuted_by_one_cell() -> None:
    cells = (cell(fidelity=around(0.9)), cell(regime="explore", fidelity=around(0.3)))
    (judged,) = judge([claim(*cells)])
    assert (judged.verdict, judged.statuses) == ("refuted", ("open", "refuted"))
    assert judged.reason == "fidelity 0.30 [0.29, 0.31] in explore (source) lies below the accepted 0.90"
    assert judged.p_refuted == pytest.approx(10 / 4000)  # any of five ratios in any of two cells


def test_vacuity_overrides_everything_but_that_no_regime_counts() -> None:
    for fidelity in (0.97, 0.9, 0.2):
        (judged,) = judge([claim(cell(fidelity=around(fidelity)), root_movement=0.049, swapped=0.19)])
        assert judged.verdict == "vacuous"
        assert "4.9% of what the baseline moves it" in judged.reason
    assert verdict_of(root_movement=0.05, swapped=0.19) == "supported"
    assert verdict_of(cell(learners=3), root_movement=0.0, swapped=0.0) == "inconclusive"


def test_nothing_moved_by_many_swaps_is_evidence_and_not_vacuity() -> None:
    assert verdict_of(root_movement=0.01, swapped=0.2) == "supported"
    assert verdict_of(root_movement=0.0, swapped=0.0) == "vacuous"


# --- one error budget ---


def test_the_family_shares_one_error_budget() -> None:
    # p = 0.015 alone, 0.03 among two that are equally uncertain.
    close = one_sided(0.015)
    above, below = claim(cell(fidelity=close), name="above"), claim(cell(fidelity=around(1.8 - close.value)))
    (alone,) = judge([above])
    assert (alone.verdict, alone.p_supported) == ("supported", pytest.approx(0.015, abs=3 / 4000))
    first, second = judge([above, replace(above, name="twin")])
    assert (first.name, second.name) == ("above", "twin")
    assert first.verdict == second.verdict == "inconclusive"
    assert first.p_supported == pytest.approx(2 * alone.p_supported)
    assert "lies above the accepted 0.90 on its own, but not after correcting for all" in first.reason
    # A refutation may come from any of five ratios, which costs a factor of five even alone.
    (judged,) = judge([below])
    assert (judged.verdict, judged.p_refuted) == ("inconclusive", pytest.approx(5 * alone.p_supported, rel=0.1))
    assert "lies below the accepted 0.90 on its own" in judged.reason
    # And refutations are corrected for one another: 5 * 0.0025 alone, three times that among three.
    lower = claim(cell(fidelity=around(1.8 - one_sided(0.0025).value)))
    assert [item.verdict for item in judge([lower])] == ["refuted"]
    assert [item.verdict for item in judge([lower, lower, lower])] == ["inconclusive"] * 3
    assert judge([]) == []


def test_a_verdict_on_some_regimes_is_corrected_for_all_regimes_of_the_family() -> None:
    open_cell = cell(regime="explore", fidelity=around(0.9))
    assert verdict_of(cell(fidelity=one_sided(0.015)), open_cell) == "inconclusive"  # 2 * 0.015
    assert verdict_of(cell(fidelity=one_sided(0.01)), open_cell) == "supported in stay"  # 2 * 0.01
    family = [claim(cell(fidelity=one_sided(0.01)), open_cell), claim(open_cell)]
    assert [item.verdict for item in judge(family)] == ["inconclusive"] * 2  # 3 * 0.01
    # what does not count costs nothing
    assert verdict_of(cell(fidelity=one_sided(0.015)), replace(open_cell, evidence=cell(learners=3).evidence)) == (
        "supported"
    )


def test_what_is_said_of_a_cell_is_corrected_for_all_cells() -> None:
    def statuses(*cells: Cell) -> tuple[str, ...]:
        judged: list[Judgement] = judge([claim(*cells)])
        return judged[0].statuses

    high, low = cell(fidelity=one_sided(0.01)), cell(fidelity=around(1.8 - one_sided(0.002).value))
    assert (statuses(high), statuses(low)) == (("supported",), ("refuted",))
    assert statuses(high, cell("own", fidelity=around(0.9))) == ("supported", "open")  # 2 * 0.01
    assert statuses(high, cell("own"), cell("edited")) == ("open", "supported", "supported")  # 3 * 0.01
    assert statuses(low, cell("own"), cell("edited"))[0] == "open"  # 3 cells of 5 ratios, 15 * 0.002


def test_accept_belongs_to_the_claim() -> None:
    verdicts = judge([claim(name="strict", accept=0.99), claim(name="lax", accept=0.5)])
    assert [(item.name, item.verdict) for item in verdicts] == [("strict", "refuted"), ("lax", "supported")]


def test_there_are_enough_draws_to_refute_in_the_largest_family() -> None:
    assert draws_for(1) == 2000
    n_boot = draws_for(6, 9)
    cells = [cell(str(number // 3), str(number % 3), **{  # five ratios and nine cells of six claims
        name: around(0.5, n_boot=n_boot) for name in RATIOS}) for number in range(9)]  # fmt: skip
    judged = judge([claim(*cells, name=str(number)) for number in range(6)])
    assert {item.verdict for item in judged} == {"refuted"}
    assert {status for item in judged for status in item.statuses} == {"refuted"}


def test_false_verdict_rates(simulations: list[Estimate]) -> None:
    # Only fidelity sits at the threshold: the case in which asking for all ratios costs the fewest false verdicts.
    high = {name: around(0.95, n_boot=1000) for name in RATIOS if name != "fidelity"}
    verdicts = [verdict_of(cell(fidelity=ratio, **high), accept=0.8) for ratio in simulations]
    n = len(verdicts)
    assert 0 < verdicts.count("supported") / n <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / n)
    assert verdicts.count("refuted") / n <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / n)


def test_false_verdict_rates_with_many_cells(simulations: list[Estimate]) -> None:
    # A claim that sits at the threshold in each of six cells: hardly ever supported, and seldom refuted in any.
    high = {name: around(0.95, n_boot=1000) for name in RATIOS if name != "fidelity"}
    n, outcomes = len(simulations) // 6, []
    for number in range(n):
        ratios = simulations[6 * number : 6 * number + 6]
        places = [(data, regime) for data in ("source", "own") for regime in ("a", "b", "c")]
        cells = [cell(*place, fidelity=ratio, **high) for place, ratio in zip(places, ratios, strict=True)]
        outcomes.append(verdict_of(*cells, accept=0.8))
    assert outcomes.count("inconclusive") / n >= 1 - 0.05 - 3 * np.sqrt(0.05 * 0.95 / n)


def test_an_estimate_is_recorded_without_its_draws() -> None:
    draws = np.zeros(3)
    bounded = Estimate(np.float64(0.5), np.float64(0.4), np.float64(0.6), draws).number()
    assert bounded == Number(0.5, 0.4, 0.6)
    assert {type(part) for part in (bounded.value, bounded.low, bounded.high)} == {float}
    unbounded = Estimate(0.5, -np.inf, np.inf, draws, estimable=False).number()
    assert (unbounded.estimable, unbounded.cells()) == (False, (None, None, None))
