"""A study of made donors: what is sampled, refused and recorded, and the three ways in which such a claim is wrong."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_claims import random_made_subject
from make_study import bandit_study
from test_evidence import around
from test_evidence import cell as cell_of

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.scrub import Options
from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.errors import CapacityError, HypothesisError
from ad_hypotheses.evidence import Resampling, judge
from ad_hypotheses.evidence import Tested as JudgedClaim
from ad_hypotheses.language.check import bind
from ad_hypotheses.language.load import load as load_hypotheses
from ad_hypotheses.storage.store import Store
from ad_hypotheses.studies.check.study import check
from ad_hypotheses.studies.scrub import claim as claim_module
from ad_hypotheses.studies.scrub import made as made_study
from ad_hypotheses.studies.scrub import measure as measure_module
from ad_hypotheses.studies.scrub.claim import MeasuredClaim, claim_record
from ad_hypotheses.studies.scrub.cost import Extent, predict
from ad_hypotheses.studies.scrub.graph import mermaid
from ad_hypotheses.studies.scrub.ground import Ground, make_ground
from ad_hypotheses.studies.scrub.made import fingerprint, most_tokens, refuse_options, sampled_positions
from ad_hypotheses.studies.scrub.measure import measure
from ad_hypotheses.studies.scrub.measured import BROKEN, SCRUBBED, Measured, weigh
from ad_hypotheses.studies.scrub.page import page

ROOT = Path(__file__).resolve().parent.parent
REFERENCES, POOL, SAMPLED = 32, 64, 80

WRONG = '''
"""Claims about a bandit whose donors are made, each wrong in a way of its own."""

from dataclasses import replace

import numpy as np

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node


def in_place_of(history, order, fields=("actions", "rewards")):
    return replace(history, **{name: np.take_along_axis(getattr(history, name), order, axis=1) for name in fields})


def dealt_out(history, steps, rng):
    """What was paid is dealt out among all pulls."""
    clock = np.arange(history.n_steps)
    place = np.where(clock < steps[:, None], rng.random(history.actions.shape), 1 + clock)
    return in_place_of(history, np.argsort(place, axis=1), ["rewards"])


def neighbours(history, steps, rng):
    """Two pulls that follow each other change places."""
    order = np.tile(np.arange(history.n_steps), (history.n_rows, 1))
    first = (rng.random(len(steps)) * np.maximum(steps - 1, 1)).astype(int)
    rows = np.flatnonzero(steps >= 2)
    order[rows, first[rows]] += 1
    order[rows, first[rows] + 1] -= 1
    return in_place_of(history, order)


def exchanged(history, steps, rng):
    """What the first two arms won changes hands."""
    past = (np.arange(history.n_steps) < steps[:, None]) & (history.rewards > 0) & (history.actions < 2)
    return replace(history, actions=np.where(past, 1 - history.actions, history.actions))


@node(at=head(0) + head(1) + mlp(0) + mlp(1), symmetry=SYMMETRY)
def record(history):
    """RECORD"""
    return FEATURE


@node(at=embed())
def last(history):
    """The last pull."""
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


@node(at=logits)
def choice(record, last):
    """Anything."""
    return np.full(record.shape[:2], -1)


wrong = Hypothesis(choice, model="bandit")
'''
ARMS = "np.concatenate([history.action_counts(), history.action_rewards()], axis=-1)"
TOTAL = "np.concatenate([history.action_counts(), history.rewards_seen[..., None]], axis=-1)"


def wrong_claim(folder: Path, symmetry: str, feature: str):
    path = folder / f"{symmetry}.py"
    path.write_text(WRONG.replace("SYMMETRY", symmetry).replace("FEATURE", feature))
    (claim,) = load_hypotheses(path)
    return claim


@cache
def ground() -> Ground:
    return make_ground(load("bandit", ROOT / "models"), "source", REFERENCES, POOL, "all", 3)


@pytest.fixture(autouse=True)
def few_positions(monkeypatch):
    monkeypatch.setattr(measure_module, "sampled_positions", lambda *where: sampled_positions(*where, most=SAMPLED))


def judged(claim):
    """Everything that a study makes of a claim, on a few positions of the bandit."""
    where, resampling = ground(), Resampling.draw(REFERENCES, 1, np.random.default_rng(0))
    bound = bind(claim, where.clean.twin.anatomy, where.history)
    measured = measure(where, bound, Extent(1, guards=False, nodes_alone=False), Options(), 0)
    part = MeasuredClaim(where, bound, measured, claim.policy(where.references), *weigh(where, measured, resampling))
    (judgement,) = judge([claim_module.tested(claim.name or "claim", claim.accept, [part])])
    return part, judgement, claim_record("hypothesis", [part], judgement, "step")


# --- The claim that ships, and three that are wrong -----------------------------------------------------------------


@pytest.fixture(scope="module")
def beta():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure_module, "sampled_positions", lambda *where: sampled_positions(*where, most=SAMPLED))
        return judged(load_hypotheses(ROOT / "hypotheses" / "beta.py", "beta")[0])


@pytest.mark.slow
def test_what_a_bandit_knows_of_its_arms_is_kept(beta):
    _, judgement, record = beta
    figures = {regime.name: regime for regime in record.regimes}
    assert figures["all"].fidelity.value > 0.98
    assert figures["all"].power.value > 0.5
    assert judgement.verdict.startswith("supported")
    assert record.sentence.endswith(
        "its donors are made by reordered (of record) and reordered_before_the_last (of weighed), and nothing else of "
        "its classes was tested"
    )


@pytest.mark.slow
def test_what_was_changed_is_recorded_node_by_node(beta):
    _, _, record = beta
    nodes = {item.name: item for item in record.nodes}
    assert (nodes["record"].symmetry, nodes["last"].symmetry) == ("reordered", None)
    assert nodes["record"].class_sizes == {}
    assert 0.8 < nodes["weighed"].changed < nodes["record"].changed < 1
    assert 0.5 < nodes["weighed"].changed_tokens < 0.8
    assert 0 < nodes["record"].alone <= nodes["weighed"].alone < 0.3
    assert nodes["record"].free_bits is None
    assert nodes["last"].changed is None
    text = mermaid(record)
    assert "donors by reordered_before_the_last" in text
    assert ":::made" in text


@pytest.mark.slow
def test_the_page_says_what_was_changed_and_its_power(beta):
    study = replace(bandit_study(), claims=[beta[2]], curves=[])
    text = page(study, [])
    assert "| `weighed` | `reordered_before_the_last` |" in text
    assert "so that power decides whether it is vacuous" in text
    power = beta[2].regimes[0].power
    assert f"| source | all | {power.value:.2f} [{power.low:.2f}, {power.high:.2f}] |" in text
    assert "Donors that were made" not in page(bandit_study(), [])


@pytest.mark.slow
def test_the_control_of_beta_is_the_same_at_the_same_sites_but_for_which_arm_was_paid():
    claims = load_hypotheses(ROOT / "hypotheses" / "beta.py")
    controls = {claim.name: claim.control_of.name for claim in claims if claim.control_of is not None}
    assert controls == {"unpaired": "beta", "unpaired_adversarial": "adversarial", "unpaired_gaussian": "gaussian"}
    control, claim = (next(item for item in claims if item.name == name) for name in ("unpaired", "beta"))
    assert [node.site for node in control.nodes] == [node.site for node in claim.nodes]
    _, judgement, record = judged(control)
    assert (judgement.verdict, record.moved_sites) == ("refuted", {})
    assert record.regimes[0].fidelity.high < 0.2


def test_a_wrong_symmetry_is_refuted(tmp_path):
    """Pulls of each arm and all wins together do not decide: -0.48 of what the model does is kept with more lives."""
    _, judgement, record = judged(wrong_claim(tmp_path, "dealt_out", TOTAL))
    assert record.regimes[0].fidelity.high < 0.2
    assert judgement.verdict == "refuted"


def test_a_symmetry_that_moves_the_value_is_refused(tmp_path):
    where = ground()
    with pytest.raises(
        HypothesisError, match=r"exchanged\(\), the symmetry of record\(\), changes the value .* at row"
    ):
        bind(wrong_claim(tmp_path, "exchanged", ARMS), where.clean.twin.anatomy, where.history)


def test_a_symmetry_without_power_makes_a_claim_vacuous(tmp_path):
    _, judgement, record = judged(wrong_claim(tmp_path, "neighbours", ARMS))
    assert record.regimes[0].fidelity.value > 0.99
    assert record.regimes[0].power.value < 0.3
    assert judgement.verdict == "vacuous"
    assert "where what neighbours (of record) changes shows another history" in judgement.reason


# --- The rule -------------------------------------------------------------------------------------------------------


def made_cell(power: float, fidelity: float = 0.97, regime: str = "stay"):
    cell = cell_of(regime=regime, fidelity=around(fidelity))
    return replace(cell, evidence=replace(cell.evidence, power=around(power)))


def verdict(*cells, swapped: float = 0.9, power: float = 0.9) -> tuple[str, str]:
    (judgement,) = judge([JudgedClaim("claim", 0.9, cells, 0.001, swapped, {"record": "reordered"}, power)])
    return judgement.verdict, judgement.reason


def test_power_decides_what_was_tested_where_donors_are_made():
    assert verdict(made_cell(0.9))[0] == "supported"  # a true claim moves nothing
    assert verdict(made_cell(0.9), swapped=0.01)[0] == "supported"
    word, reason = verdict(made_cell(0.6), power=0.4)
    assert word == "vacuous"
    assert "power 0.40: where what reordered (of record) changes" in reason
    assert verdict(made_cell(0.9), made_cell(0.3, regime="explore"))[0] == "supported in stay"
    assert verdict(made_cell(0.3, fidelity=0.5), power=0.3)[0] == "refuted"  # what is lost is lost, also without power
    word, reason = verdict(made_cell(0.9, fidelity=0.9), made_cell(0.3, regime="explore"))
    assert word == "inconclusive"
    assert "in explore (source) the power is 0.30" in reason


# --- Positions ------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), most=st.integers(1, 60))
def test_sampled_positions_stand_for_all_of_their_regime(seed, most):
    rng = np.random.default_rng(seed)
    kind, learners = rng.choice(3, p=[0.1, 0.3, 0.6], size=(12, 20)), rng.permutation(12) * 7
    masks = {"all": np.ones_like(kind, dtype=bool)} | {name: kind == number for number, name in enumerate("abc")}
    weights = sampled_positions(masks, ["a", "b", "c"], learners, seed, most)
    for name in "abc":
        of_regime = weights[masks[name]]
        number = min(most, of_regime.size)
        assert np.count_nonzero(of_regime) == number
        assert of_regime.sum() == pytest.approx(of_regime.size)
        # a learner has its share of them, give or take one
        share = masks[name].sum(axis=1) * number / max(1, of_regime.size)
        assert (np.abs((weights * masks[name] > 0).sum(axis=1) - share) < 1 + 1e-9).all()


def test_every_position_is_as_likely_to_be_sampled():
    masks = {"all": np.arange(6 * 5).reshape(6, 5) % 4 > 0}
    counts = sum(sampled_positions(masks, ["all"], np.arange(6), seed, 7) > 0 for seed in range(600))
    assert not counts[~masks["all"]].any()
    expected = 600 * 7 / masks["all"].sum()
    assert np.abs(counts[masks["all"]] - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.slow
def test_figures_are_weighted_means_over_the_sampled_positions(beta):
    part, _, record = beta
    measured, where = part.measured, part.ground
    for regime in record.regimes:
        mask = where.masks[regime.name] & measured.tested
        weights = measured.weights[mask]
        zero = where.divergence_of_ignorant(regime.name)[mask]
        kept = 1 - (measured.kl[SCRUBBED][0][mask] * weights).sum() / (zero * weights).sum()
        assert regime.fidelity.value == pytest.approx(kept, rel=1e-5)
        lost = (measured.kl[BROKEN][0][mask] * weights).sum() / (zero * weights).sum()
        assert regime.power.value == pytest.approx(lost, rel=1e-5)
        sampled = where.masks[regime.name] & measured.sampled
        all_zero = (where.divergence_of_ignorant(regime.name)[sampled] * measured.weights[sampled]).sum()
        assert regime.tested == pytest.approx((zero * weights).sum() / all_zero)
    assert np.isnan(record.steps["scrubbed"][0]) or measured.sampled[:, 0].any()
    step = int(np.argmax(measured.sampled.sum(axis=0)))
    weights = measured.weights[:, step]
    expected = (measured.losses[SCRUBBED][0][:, step] * weights).sum() / weights.sum()
    assert record.steps["scrubbed"][step] == pytest.approx(expected, rel=1e-5)


def test_what_was_kept_has_its_weights(beta, tmp_path):
    measured = beta[0].measured
    Store(tmp_path).get("kept", measured.arrays)
    again = Measured.of_arrays(Store(tmp_path).get("kept", lambda: pytest.fail("it was there")))
    np.testing.assert_array_equal(again.weights, measured.weights)
    np.testing.assert_array_equal(again.kl[BROKEN], measured.kl[BROKEN])


# --- A random claim, in all ways of scrubbing -----------------------------------------------------------------------


def small_ground(subject) -> Ground:
    history = replace(subject.history, learner=np.arange(4))
    everywhere = {"all": np.ones(history.shape, dtype=bool)}
    return Ground("source", "made up", history, 2, everywhere, Clean.run(subject.model, history, 2), True)


@pytest.mark.parametrize("extent", [Extent(2, guards=True, nodes_alone=True), Extent(1, False, False)])
def test_forwards_are_announced_as_they_are_done(extent):
    subject, done = random_made_subject(4), []
    measured = measure(small_ground(subject), subject.graph, extent, Options(), 0, progress=done.append)
    assert sum(done) == extent.forwards(subject.graph, Options())
    assert {figures["recovered"] for figures in measured.nodes.values()} == {None}
    assert set(measured.kl) >= {SCRUBBED, BROKEN}
    made = set(subject.graph.made)
    assert {name for name, figures in measured.nodes.items() if "changed" in figures} == made
    assert set(measured.has_donor) == set(measured.nodes)
    assert not (measured.tested & ~np.logical_and.reduce(list(measured.has_donor.values()))).any()


# --- What is refused, and what it costs -----------------------------------------------------------------------------


def read_by_heads(tmp_path):
    text = WRONG.replace("SYMMETRY", "neighbours").replace("FEATURE", ARMS)
    text = text.replace("head(0) + head(1) + mlp(0) + mlp(1)", "mlp(0)").replace(
        "@node(at=logits)\ndef choice(record, last):",
        '@node(at=head(1))\ndef second(record):\n    return record\n\n\n@node(at=logits)\ndef choice(second, last):',
    ).replace("record.shape[:2]", "second.shape[:2]")  # fmt: skip
    (tmp_path / "heads.py").write_text(text)
    (claim,) = load_hypotheses(tmp_path / "heads.py")
    where = ground()
    return bind(claim, where.clean.twin.anatomy, where.history)


def test_heads_that_read_made_donors_need_a_row_for_every_earlier_step(tmp_path):
    bound = read_by_heads(tmp_path)
    rows = REFERENCES + POOL
    # each of 96 histories is visited at all of its 100 steps: as many made rows, cut after 50 steps on average
    assert most_tokens(bound, 3000, rows, 100) == (rows * 100 * 101 // 2, ("choice", "second", "record"))
    made_study.refuse_too_many(bound, 3000, 900, 100)
    with pytest.raises(CapacityError) as error:
        made_study.refuse_too_many(bound, 3000, 1000, 100)
    assert "second() has heads that read record(), whose donors are made" in str(error.value)
    assert "5,050,000 made tokens a pass, and at most 5,000,000" in str(error.value)


def test_made_rows_are_part_of_what_a_study_takes(tmp_path, beta):
    bound, model = beta[0].bound, load("bandit", ROOT / "models").model
    shape, extent = (256, 1024, 100), Extent(2, True, True)
    made = predict(model, [bound], [extent], shape, 3, Options(), 2000)
    found = predict(model, [bound.without_features()], [extent], shape, 3, Options(), 2000)
    assert made.bytes > found.bytes + 50e6
    assert predict(model, [bound], [extent], (64, 256, 100), 3, Options(), 2000).bytes < made.bytes


def test_what_cannot_be_combined_with_made_donors_is_refused(beta):
    bound = beta[0].bound
    for shared, adversary, message in ((True, False, "`shared`"), (False, True, "`findings`")):
        with pytest.raises(HypothesisError, match=rf"record\(\), weighed\(\).*\({message}\)"):
            refuse_options(bound, shared, adversary)
    refuse_options(bound, False, False)
    refuse_options(bound.without_features(), True, True)


def test_another_symmetry_is_another_measurement(tmp_path):
    where = ground()
    prints = []
    for symmetry in ("neighbours", "dealt_out"):
        bound = bind(wrong_claim(tmp_path, symmetry, TOTAL), where.clean.twin.anatomy, where.history)
        prints += [fingerprint(bound.nodes["record"], where.references)] * 2
        assert fingerprint(bound.nodes["last"], where.references) == b""
    assert prints[0] == prints[1] != prints[2]


def test_a_check_names_what_donors_are_made_by():
    record = check(load_hypotheses(ROOT / "hypotheses" / "beta.py", "beta"), models=ROOT / "models", rows=8)
    assert {item.name: item.symmetry for item in record.claims[0].nodes}["record"] == "reordered"
