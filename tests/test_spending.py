"""The rule that says how much is measured of a claim, and that measuring keeps to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from expand import tiny_history, tiny_model

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.scrub import Options
from ad_hypotheses.evidence.bootstrap import Estimate
from ad_hypotheses.evidence.estimate import Evidence
from ad_hypotheses.evidence.spending import is_looked_at, looking, standings
from ad_hypotheses.evidence.verdict import Cell
from ad_hypotheses.language.check import BoundGraph, BoundNode
from ad_hypotheses.language.sites import embed, logits, mlp
from ad_hypotheses.studies.scrub.cost import Extent
from ad_hypotheses.studies.scrub.ground import Ground
from ad_hypotheses.studies.scrub.measure import as_spent, measure
from ad_hypotheses.studies.scrub.measured import INDEPENDENT, SCRUBBED, STRUCTURE, WITH_SELF, Measured, weigh

ACCEPT = 0.9


def ratio(value: float, half: float = 0.01, estimable: bool = True) -> Estimate:
    return Estimate(value, value - half, value + half, np.empty(0), estimable=estimable)


def cell(fidelity: Estimate, regime: str = "stay", beyond: Estimate | None = None, **how: float) -> Cell:
    """A regime in which much is at stake, with a fidelity and what is kept beyond structure."""
    much = ratio(1.0)
    beyond = ratio(0.0, estimable=False) if beyond is None else beyond
    evidence = Evidence(
        fidelity, None, None, much, much, beyond, *[much] * 10, learners=256, positions=999,
        all_learners=int(how.get("learners", 256)), all_kl_ignorant=ratio(how.get("at_stake", 1.0)),
    )  # fmt: skip
    return Cell("own", regime, evidence, how.get("tested", 1.0), how.get("swapped", 1.0), labelled=False)


@pytest.mark.parametrize(
    ("fidelity", "beyond", "standing"),
    [
        (ratio(0.8, 0.04), None, "below"),
        (ratio(0.8, 0.06), None, "open"),  # its interval lies below the bar; one twice as wide does not
        (ratio(0.99, 0.04), None, "above"),
        (ratio(0.99, 0.06), None, "open"),
        (ratio(0.99), ratio(0.5), "below"),
        (ratio(0.99), ratio(0.91), "open"),
        (ratio(0.99, estimable=False), ratio(0.99), "open"),
    ],
)
def test_a_regime_is_clear_where_an_interval_twice_as_wide_leaves_out_the_bar(fidelity, beyond, standing):
    assert standings([cell(fidelity, beyond=beyond)], ACCEPT).regimes == {"stay": standing}


BELOW, ABOVE, OPEN = ratio(0.5), ratio(0.99), ratio(0.9)


@pytest.mark.parametrize(
    ("cells", "control", "settled", "may_stand", "why"),
    [
        ([cell(BELOW, "a"), cell(BELOW, "b")], False, True, False, "clearly refuted in a and b"),
        ([cell(BELOW, "a"), cell(ABOVE, "b")], False, True, True, "clearly refuted in a, kept in b"),
        ([cell(BELOW, "a"), cell(OPEN, "b")], False, False, True, "still open in b after all passes"),
        ([cell(BELOW, "a"), cell(OPEN, "b")], True, True, True,
         "clearly refuted in a, which is enough for a control"),
        ([cell(ABOVE, "a"), cell(OPEN, "b")], True, False, True, "still open in b after all passes"),
        ([cell(BELOW, "a"), cell(OPEN, "b", learners=29)], False, True, False, "clearly refuted in a"),
        ([cell(BELOW, "a"), cell(OPEN, "b", tested=0.4)], False, True, False, "clearly refuted in a"),
        ([cell(OPEN, "b", swapped=0.1)], False, True, False, "in every regime that counts too little was tested"),
        ([cell(BELOW, "a", at_stake=0.02)], False, False, True, "no regime counts, so all passes were made"),
        ([], False, False, True, "no regime counts, so all passes were made"),
    ],
)  # fmt: skip
def test_more_is_measured_only_where_something_is_open(cells, control, settled, may_stand, why):
    after = standings(cells, ACCEPT, control)
    assert (after.settled, after.may_stand, after.why) == (settled, may_stand, why)


REFERENCES, POOL, STEPS = 40, 80, 4
MOST = Extent(3, guards=True, nodes_alone=True, whole=True)


@pytest.fixture(scope="module")
def ground() -> Ground:
    """A random network on random histories, with enough learners for its regime to count."""
    rows = REFERENCES + POOL
    history = replace(tiny_history(3, rows, STEPS), learner=np.arange(rows))
    odd = np.broadcast_to(np.arange(STEPS) % 2 == 1, history.actions.shape)
    model = tiny_model(3, STEPS)
    model.W_U.data.mul_(4)  # so that it is far enough from a constant distribution
    clean = Clean.run(model, history, REFERENCES)
    return Ground("source", "made up", history, REFERENCES, {"all": np.ones_like(odd), "odd": odd}, clean, True)


@pytest.fixture(scope="module")
def claim(ground) -> BoundGraph:
    """A claim with a random feature, with which one position in a few has no donor."""
    anatomy, labels = ground.clean.twin.anatomy, np.random.default_rng(4).integers(30, size=ground.history.shape)
    nodes = [
        BoundNode("fine", embed("x").resolve(anatomy), (), labels, None, False, ""),
        BoundNode("plan", mlp(0).resolve(anatomy), ("fine",), labels, None, False, ""),
        BoundNode("logits", logits.resolve(anatomy), ("plan", "fine"), None, None, False, ""),
    ]
    return BoundGraph({node.name: node for node in nodes}, "logits")


@pytest.fixture(scope="module")
def whole(ground, claim) -> Measured:
    return measure(ground, claim, MOST, Options(), seed=0)


def fidelity(ground: Ground, measured: Measured) -> float:
    return weigh(ground, measured, looking(REFERENCES, measured.passes))[0]["odd"].fidelity.value


@pytest.mark.parametrize("bar", ["clear", "open"])
@pytest.mark.parametrize("guards", [True, False])
def test_what_a_bar_asks_for_is_measured_and_no_more(ground, claim, whole, bar, guards):
    reached = fidelity(ground, whole)
    assert -3 < reached < 0.7  # far below the bar of the file
    extent = replace(MOST, accept=5.0 if bar == "clear" else reached, guards=guards, control=not guards, whole=False)
    told: list[int] = []
    measured = measure(ground, claim, extent, Options(), 0, told.append)
    assert (measured.passes, measured.most) == ((1, 3) if bar == "clear" else (3, 3))
    assert measured.guarded == (bar == "open" and guards)
    more = {WITH_SELF, INDEPENDENT} if measured.guarded else set()
    assert set(measured.kl) == {SCRUBBED, STRUCTURE} | more
    assert ((measured.any_step, measured.together) == (None, None)) == (not measured.guarded)
    assert sum(told) == extent.forwards(claim, Options())  # what was not needed counts as done
    # it is what a larger measurement gives if it is cut to the same rule
    cut = as_spent(ground, whole, extent)
    assert (cut.stopped, cut.guarded, cut.half_pool) == (measured.stopped, measured.guarded, measured.half_pool)
    for kind in ("losses", "kl"):
        assert getattr(cut, kind).keys() == getattr(measured, kind).keys()
        for name, runs in getattr(measured, kind).items():
            np.testing.assert_array_equal(getattr(cut, kind)[name], runs)


def test_half_of_the_pool_is_tried_only_where_donors_are_lacking(ground, claim, whole, monkeypatch):
    extent = replace(MOST, passes=1, accept=fidelity(ground, whole), whole=False)
    assert measure(ground, claim, extent, Options(), 0).half_pool is not None
    monkeypatch.setattr("ad_hypotheses.studies.scrub.measure.WHOLLY_TESTED", 0.0)
    assert measure(ground, claim, extent, Options(), 0).half_pool is None


def test_looks_are_few_however_many_passes_were_asked_for():
    looks = [n_passes for n_passes in range(1, 101) if is_looked_at(n_passes, 100)]
    assert looks == [1, 2, 4, 8, 16, 32, 64, 100]
    assert [n_passes for n_passes in (1, 2) if is_looked_at(n_passes, 2)] == [1, 2]
