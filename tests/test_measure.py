"""What scrubbing a claim gives, and the figures that are made of it: by hand, and against counting donors."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from expand import tiny_history, tiny_model

from ad_hypotheses.causal import made as made_module
from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.evidence import Resampling
from ad_hypotheses.language.check import BoundGraph, BoundNode
from ad_hypotheses.language.sites import embed, head, logits, mlp
from ad_hypotheses.storage.store import Store
from ad_hypotheses.studies.scrub import measure as measure_module
from ad_hypotheses.studies.scrub.claim import MeasuredClaim, _worst
from ad_hypotheses.studies.scrub.cost import Extent
from ad_hypotheses.studies.scrub.ground import Ground
from ad_hypotheses.studies.scrub.measure import HALF, measure
from ad_hypotheses.studies.scrub.measured import INDEPENDENT, SCRUBBED, STRUCTURE, WITH_SELF, Measured, weigh

REFERENCES, POOL, STEPS = 8, 12, 4
EVERYTHING = Extent(2, guards=True, nodes_alone=True)


def make_small_ground() -> Ground:
    """A random network on random histories; in one regime are the odd steps."""
    history = replace(tiny_history(3, REFERENCES + POOL, STEPS), learner=np.arange(REFERENCES + POOL))
    odd = np.broadcast_to(np.arange(STEPS) % 2 == 1, history.actions.shape)
    clean = Clean.run(tiny_model(3, STEPS), history, REFERENCES)
    return Ground("source", "made up", history, REFERENCES, {"all": np.ones_like(odd), "odd": odd}, clean, True)


def make_claim(ground: Ground) -> BoundGraph:
    """A claim with a feature of steps, one of whole histories, and one that speaks of some steps alone."""
    anatomy, rng = ground.clean.twin.anatomy, np.random.default_rng(4)
    shape = ground.history.actions.shape
    labels = {
        "fine": rng.integers(5, size=shape),
        "whole": rng.integers(4, size=shape[0]),
        "some": rng.integers(5, size=shape),
    }
    selected = rng.random(shape) < 0.5

    def node(name, site, parents=(), at=None):
        return BoundNode(name, site.resolve(anatomy), parents, labels.get(name), at, False, "")

    nodes = [
        node("fine", embed("x")),
        node("whole", embed("action")),
        node("some", mlp(0), ("fine",), selected),
        node("logits", logits, ("some", "whole")),
    ]
    return BoundGraph({item.name: item for item in nodes}, "logits")


@pytest.fixture(scope="module")
def ground() -> Ground:
    return make_small_ground()


@pytest.fixture(scope="module")
def claim(ground) -> BoundGraph:
    return make_claim(ground)


@pytest.fixture(scope="module")
def measured(ground, claim) -> Measured:
    return measure(ground, claim, EVERYTHING, Options(), seed=0)


def resampling(passes: int = 2, rows: int = REFERENCES) -> Resampling:
    return Resampling.draw(rows, passes, np.random.default_rng(0), 200)


def test_a_position_is_tested_where_every_node_that_speaks_has_another_donor(ground, claim, measured):
    pool = range(REFERENCES, REFERENCES + POOL)
    expected = {}
    for name in ("fine", "whole", "some"):
        node = claim.nodes[name]
        labels = np.broadcast_to(node.labels[:, None] if node.labels.ndim == 1 else node.labels, (20, STEPS))
        speaks = np.ones((20, STEPS), dtype=bool) if node.selected is None else node.selected
        expected[name] = np.array(
            [
                [
                    not speaks[row, step]
                    or any(speaks[donor, step] and labels[donor, step] == labels[row, step] for donor in pool)
                    for step in range(STEPS)
                ]
                for row in range(REFERENCES)
            ]
        )
        assert measured.has_donor[name].tolist() == expected[name].tolist(), name
    assert measured.tested.tolist() == np.logical_and.reduce(list(expected.values())).tolist()
    assert 0.2 < measured.tested.mean() < 0.9  # else this shows nothing


def test_every_way_of_scrubbing_has_losses_and_divergences(ground, measured):
    assert {name: len(losses) for name, losses in measured.losses.items()} == {SCRUBBED: 2, STRUCTURE: 2, WITH_SELF: 1}
    assert {name: len(kl) for name, kl in measured.kl.items()} == {
        SCRUBBED: 2,
        STRUCTURE: 2,
        WITH_SELF: 1,
        INDEPENDENT: 1,
    }
    assert measured.any_step is not None
    assert measured.together == pytest.approx(
        1 - measured.kl[SCRUBBED][0][measured.tested].sum() / zero_of(ground, "all")[measured.tested].sum(), abs=1e-6
    )
    for kl in measured.kl.values():
        assert np.nanmin(kl) > -1e-6


def test_independent_others_are_judged_where_their_fewer_donors_suffice(ground, claim, measured, monkeypatch):
    monkeypatch.setattr(measure_module, "POOL_APART", 1)
    apart = measure(ground, claim, replace(EVERYTHING, nodes_alone=False), Options(), seed=0)
    rows = np.arange(REFERENCES + POOL)
    pool = (rows >= REFERENCES) & (rows < 2 * REFERENCES)
    scrubber = Scrubber(ground.clean, claim, Options(), 0, pool=pool)
    there = np.logical_and.reduce(list(measure_module.has_donor(scrubber, REFERENCES).values()))
    assert there.sum() < measured.tested.sum()  # else this shows nothing
    kl = apart.kl[INDEPENDENT][0]
    assert np.isfinite(kl).tolist() == there.tolist()
    zero = zero_of(ground, "all")
    assert apart.independent == pytest.approx(1 - kl[there].sum() / zero[there].sum(), abs=1e-6)


def zero_of(ground: Ground, regime: str) -> np.ndarray:
    """Divergence of the zero from the model, at every reference position."""
    return ground.divergence(np.broadcast_to(ground.ignorant(regime), ground.log_probs.shape))


def test_a_node_that_is_not_swapped_keeps_what_the_engine_gives(ground, claim, measured):
    run = Scrubber(ground.clean, claim, Options(), 0).run(1).log_probs
    np.testing.assert_allclose(measured.losses[SCRUBBED][1], ground.loss(run), atol=1e-6)
    np.testing.assert_allclose(measured.kl[SCRUBBED][1], ground.divergence(run), atol=1e-6)


def test_half_of_the_pool_is_half_of_the_donors(ground, claim, monkeypatch):
    """A quarter of the references is scrubbed with them; positions that half of the pool tests are compared."""
    runs = []

    class Spy(Scrubber):
        def run(self, number, movements=False, n_rows=None):
            result = super().run(number, movements, n_rows)
            runs.append((self, number, n_rows, result.log_probs))
            return result

    monkeypatch.setattr(made_module, "Scrubber", Spy)
    measured = measure(ground, claim, EVERYTHING, Options(), seed=0)
    ((scrubber, _, n_rows, log_probs),) = [run for run in runs if run[1] == HALF]
    assert n_rows == REFERENCES // 4
    donors = np.concatenate(
        [pools.members // (1 if pools.history_level else STEPS) for pools in scrubber.classes.values()]
    )
    assert set(donors.tolist()) == set(range(REFERENCES, REFERENCES + POOL // 2))
    assert set(scrubber.any_row.members.tolist()) == set(range(REFERENCES, REFERENCES + POOL // 2))
    mask = np.ones((n_rows, STEPS), dtype=bool)
    for pools, node in ((scrubber.classes[name], claim.nodes[name]) for name in scrubber.classes):
        another = pools.size[:n_rows] > pools.own_size[:n_rows]
        another = another[:, None] if another.ndim == 1 else another
        mask &= another if node.selected is None else another | ~node.selected[:n_rows]
    zero = zero_of(ground, "all")[:n_rows][mask].sum()
    half, whole = ground.divergence(log_probs)[mask].sum(), measured.kl[SCRUBBED][0, :n_rows][mask].sum()
    assert measured.half_pool == pytest.approx((whole - half) / zero, rel=1e-5)


def test_independent_others_are_measured_on_the_first_rows_alone(ground, claim, monkeypatch):
    monkeypatch.setattr(measure_module, "ROWS_APART", 3)
    monkeypatch.setattr(measure_module, "POOL_APART", 2)
    measured = measure(ground, claim, EVERYTHING, Options(), seed=0)
    few = np.arange(REFERENCES) < 3
    kl = measured.kl[INDEPENDENT][0]
    assert np.isfinite(kl[few]).any()
    assert np.isnan(kl[~few]).all()
    evidence, _ = weigh(ground, measured, resampling())
    for name, regime in ground.masks.items():
        mask = regime & measured.tested & np.isfinite(kl)
        expected = 1 - kl[mask].sum() / zero_of(ground, name)[mask].sum()
        assert evidence[name].fidelity_independent.value == pytest.approx(expected, rel=1e-5)
    assert measured.independent == pytest.approx(evidence["all"].fidelity_independent.value)
    assert measured.kl[SCRUBBED].shape[1] == REFERENCES
    already = measure(ground, claim, EVERYTHING, Options(others="independent"), seed=0)
    assert INDEPENDENT not in already.kl
    assert weigh(ground, already, resampling())[0]["all"].fidelity_independent is None


def test_controls_are_measured_without_guards(ground, claim):
    measured = measure(ground, claim, Extent(1, guards=False, nodes_alone=False), Options(), seed=0)
    assert set(measured.kl) == {SCRUBBED, STRUCTURE}
    assert (measured.any_step, measured.independent, measured.half_pool) == (None, None, None)
    assert {node["recovered"] for node in measured.nodes.values()} == {None}
    evidence = weigh(ground, measured, resampling(passes=1))[0]["all"]
    assert (evidence.fidelity_with_self, evidence.fidelity_independent) == (None, None)


@pytest.mark.parametrize(
    "extent", [EVERYTHING, Extent(3, True, False), Extent(1, False, False), Extent(1, False, True)]
)
@pytest.mark.parametrize("options", [Options(), Options(align="any"), Options(others="independent")])
def test_forwards_are_announced_as_they_are_done(ground, claim, extent, options):
    done = []
    measure(ground, claim, extent, options, 0, progress=done.append)
    assert sum(done) == extent.forwards(claim, options)


def test_untested_positions_never_count(ground, claim, measured):
    def figures(of: Measured):
        evidence, at_stake = weigh(ground, of, resampling())
        return {name: (vars(item), item.positions, at_stake[name]) for name, item in evidence.items()}

    spoilt = replace(
        measured,
        losses={name: np.where(measured.tested, loss, 1e3) for name, loss in measured.losses.items()},
        kl={name: np.where(measured.tested, kl, 1e3) for name, kl in measured.kl.items()},
    )
    assert figures(spoilt) == figures(measured)
    counted = weigh(ground, measured, resampling())[0]
    assert counted["all"].positions == measured.tested.sum()
    assert counted["odd"].positions == measured.tested[:, 1::2].sum()
    # were they counted, they would change what is found
    assert figures(replace(spoilt, tested=np.ones_like(measured.tested))) != figures(measured)


def test_what_was_tested_is_weighed_by_what_there_is_to_explain(ground, claim, measured):
    _, at_stake = weigh(ground, measured, resampling())
    for name, regime in ground.masks.items():
        zero = zero_of(ground, name)
        assert at_stake[name] == pytest.approx(zero[regime & measured.tested].sum() / zero[regime].sum())
    none = replace(measured, tested=np.zeros_like(measured.tested))
    evidence, at_stake = weigh(ground, none, resampling())
    assert set(at_stake.values()) == {0.0}
    assert not evidence["all"].fidelity.estimable


def test_a_last_node_that_holds_the_model_says_nothing(ground):
    """That what a model does follows from its tokens is true of any model, whatever else the claim says."""
    anatomy, tokens = ground.clean.twin.anatomy, ground.clean.twin.model.vocabulary.encode(ground.history).numpy()
    labels = tokens @ [1, 3, 12]

    def figures(site):
        token = BoundNode("token", embed().resolve(anatomy), (), labels, None, False, "")
        last = BoundNode("logits", site.resolve(anatomy), ("token",), None, None, False, "")
        bound = BoundGraph({"token": token, "logits": last}, "logits")
        measured = measure(ground, bound, Extent(2, False, False), Options(), seed=0)
        return weigh(ground, measured, resampling())[0]["all"]

    everything = figures(head(0) + mlp(0) + head(1) + mlp(1) + logits)
    assert everything.fidelity.value == pytest.approx(1, abs=1e-6)
    assert not everything.beyond_structure.estimable  # so that it cannot be supported
    # without heads it reads this step alone, and that the last token is enough is a claim
    assert abs(figures(mlp(0) + mlp(1) + logits).gain_on_structure.value) > 0.05


def test_a_regimes_swap_share_is_that_of_the_node_that_is_swapped_least(ground, measured):
    part = MeasuredClaim(ground, SimpleNamespace(), measured, np.empty(0), *weigh(ground, measured, resampling()))
    for name, columns in (("all", slice(None)), ("odd", slice(1, None, 2))):
        shares = [np.mean(donors[:, columns]) for donors in measured.has_donor.values()]
        assert part.swapped(name) == min(shares)
    assert [(cell.regime, cell.tested, cell.swapped) for cell in part.cells()] == [
        ("odd", part.at_stake["odd"], part.swapped("odd"))
    ]


def test_fidelity_by_hand():
    """Two references that stand in for one another, h = (1/2, 1/2) and q = (1/4, 3/4), and a pool of the same two."""
    h, q = np.log([0.5, 0.5]), np.log([0.25, 0.75])
    log_probs = np.array([h, q, h, q])[:, None]
    history = SimpleNamespace(actions=np.array([[0], [1], [0], [1]]), n_rows=4)
    history.learner = np.arange(2)
    everywhere = {"all": np.ones((4, 1), dtype=bool)}
    clean = SimpleNamespace(log_probs=log_probs)
    ground = Ground("source", "", _Rows(history), 2, everywhere, clean, True)
    exchanged = log_probs[[1, 0]]
    nothing = np.zeros((1, 2, 1))
    losses = {SCRUBBED: ground.loss(exchanged)[None], STRUCTURE: ground.baseline[None]}
    kl = {SCRUBBED: ground.divergence(exchanged)[None], WITH_SELF: nothing, INDEPENDENT: nothing.copy()}
    kl[INDEPENDENT][0, 1] = np.nan
    measured = Measured(losses, kl, np.ones((2, 1), dtype=bool), {}, nothing[0], exchanged, 1.0)
    evidence = weigh(ground, measured, resampling(1, 2))[0]["all"]
    # The zero is the mean of h, q and one uniform: (5/12, 7/12). KL(h||q) = ln(4/3) / 2, KL(h||zero) = ln(36/35) / 2.
    assert evidence.kl.value == pytest.approx((0.143841 + 0.130812) / 2, abs=1e-6)
    assert evidence.kl_ignorant.value == pytest.approx((0.014085 + 0.060783) / 2, abs=1e-5)
    assert evidence.fidelity.value == pytest.approx(1 - 0.274653 / 0.074868, abs=1e-3)
    # nothing is lost with self-donors, nor on the one row that has independent others
    assert evidence.fidelity_with_self.value == evidence.fidelity_independent.value == 1
    # Labels 0, 1: the model loses ln 2 and ln 4/3, scrubbed ln 4 and ln 2, one who knows frequencies (1/2 each) ln 2.
    assert evidence.model.value == pytest.approx((np.log(2) + np.log(4 / 3)) / 2)
    assert evidence.scrubbed.value == pytest.approx((np.log(4) + np.log(2)) / 2)
    assert evidence.ignorant.value == pytest.approx(np.log(2))
    assert evidence.explained.value == pytest.approx(1 - np.log(3) / np.log(1.5))
    assert evidence.baseline.value == pytest.approx((np.log(8) / 2 + np.log(8 / 3) / 2) / 2)


class _Rows:
    """A history of which only actions and learners are asked."""

    def __init__(self, history) -> None:
        self.__dict__.update(vars(history))

    def __getitem__(self, rows):
        return SimpleNamespace(actions=self.actions[rows], learner=self.learner[rows])


def test_what_was_kept_is_what_was_measured(measured, tmp_path):
    Store(tmp_path).get("kept", measured.arrays)
    again = Measured.of_arrays(Store(tmp_path).get("kept", lambda: pytest.fail("it was there")))
    for name, value in vars(measured).items():
        other = getattr(again, name)
        if isinstance(value, dict) and name != "nodes":
            assert list(other) == list(value)
            for key in value:
                np.testing.assert_array_equal(other[key], value[key])
        else:
            np.testing.assert_equal(other, value)


def test_the_worst_positions_list_facts_of_any_shape(ground, measured):
    """Those of a graph are a table: where each action leads from each state."""
    ways = np.arange((REFERENCES + POOL) * 6).reshape(-1, 3, 2)
    task = {"goal": np.arange(REFERENCES + POOL), "next": ways}
    with_facts = replace(ground, history=replace(ground.history, task=task))
    part = MeasuredClaim(with_facts, SimpleNamespace(), measured, np.empty(0), *weigh(ground, measured, resampling()))
    losses = {"model": ground.loss(ground.log_probs), "scrubbed": measured.losses[SCRUBBED].mean(axis=0)}
    positions = _worst(part, losses)
    assert positions
    for position in positions:
        assert position.facts == {"goal": [position.row], "next": ways[position.row].ravel().tolist()}
