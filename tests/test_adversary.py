"""The adversary: whom it may draw, what it finds, and that it finds nothing where there is nothing."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from cases import bits, by_step, function
from expand import tiny_history
from hypothesis import given
from hypothesis import strategies as st
from laws import law
from make_study import dark_room_study, number

from ad_hypotheses.causal import oracle
from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.draws import classes, draw, restricted
from ad_hypotheses.causal.metrics import exact_baseline
from ad_hypotheses.causal.scrub import Options
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.shape import Shape
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence.bootstrap import Resampling
from ad_hypotheses.evidence.verdict import ALPHA
from ad_hypotheses.known.wiring import Wiring
from ad_hypotheses.language.check import bind
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis, node
from ad_hypotheses.language.sites import embed, logits, mlp
from ad_hypotheses.report.progress import Meter
from ad_hypotheses.storage.store import Store
from ad_hypotheses.studies.adversary import attack as adversary
from ad_hypotheses.studies.adversary.attack import challenge
from ad_hypotheses.studies.adversary.candidates import LIBRARY, candidates
from ad_hypotheses.studies.adversary.findings import Apart, Beyond, Challenge, Finding, Refined
from ad_hypotheses.studies.adversary.outcomes import (
    AttackGround,
    AttemptOutcome,
    corrected,
    resamples_for,
    smallest,
    stands_out,
    worse,
)
from ad_hypotheses.studies.adversary.page import figures, section, sentences
from ad_hypotheses.studies.adversary.plan import ELSEWHERE, plan
from ad_hypotheses.studies.scrub.record import read_study

# Whom it draws


def pool(labels, apart, agree, selected, row, step):
    """Who may stand in, written down as the documentation says it."""
    role = np.ones_like(apart, dtype=bool) if selected is None else selected
    others = [r for r in range(len(labels)) if r != row and role[r, step] == role[row, step]]
    declared = [r for r in others if labels[r, step] == labels[row, step]]
    wanted = [r for r in declared if (apart[r, step] == apart[row, step]) == agree]
    return wanted or declared or [row], bool(wanted) and len(wanted) < len(declared)


@law(10)
@given(seed=st.integers(0, 2**32 - 1), agree=st.booleans(), narrowed=st.booleans())
def test_donors_are_those_of_the_definition_and_equally_likely(seed, agree, narrowed):
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(1, 9)), 3
    labels, apart = rng.integers(3, size=shape), rng.integers(3, size=shape)
    selected = rng.random(shape) < 0.6 if narrowed else None
    donors, fewer = restricted(labels, apart, agree, selected)
    n_draws = 840  # every pool of up to 8 rows divides it
    drawn = [draw(donors, np.full(shape, (number + 0.5) / n_draws), self_donors=False) for number in range(n_draws)]
    for row, step in np.ndindex(*shape):
        expected, restricts = pool(labels, apart, agree, selected, row, step)
        rows, counts = np.unique([one[row, step] // 3 for one in drawn], return_counts=True)
        assert {int(one[row, step]) % 3 for one in drawn} == {step}
        assert rows.tolist() == expected
        assert np.ptp(counts) == 0
        assert fewer[row, step] == restricts


@pytest.mark.parametrize(("agree", "answer"), [(True, 4), (False, 4)])
def test_the_loss_is_that_of_the_oracle_with_the_restricted_pools(agree, answer):
    """`out` adds up three bits that weigh 1, 2 and 4; the claim names the first, and the second is restricted."""
    rows = bits(3)

    def out(x):
        return x[0] + 2 * x[1] + 4 * x[2]

    def loss(value, row, step):
        return abs(value - out(rows[row]))

    first, second = (np.array([[row[place]] for row in rows]) for place in (0, 1))
    graph = (oracle.OracleComponent("x", {}, lambda row, step: rows[row]), function("out", "x", out))
    nodes = (by_step("Out", "out", None, "X"), by_step("X", "x", first.tolist()))
    problem = oracle._Problem(graph, nodes, "Out", 8, 1, oracle.OracleOptions())
    donors, _ = restricted(first, second, agree)
    drawn = [draw(donors, np.full((8, 1), (number + 0.5) / 60), self_donors=False)[:, 0] for number in range(60)]
    for row in range(8):
        problem.pools["X", row, 0] = [(one, 0) for one in pool(first, second, agree, None, row, 0)[0]]
        exact = oracle._expectation(problem, loss, row, 0)
        assert np.mean([loss(out(rows[one[row]]), row, 0) for one in drawn]) == pytest.approx(float(exact))
        # agreeing on two bits leaves the third, which then differs; differing in one leaves 2 or 2 +- 4
        assert exact == answer if agree else exact in (2, Fraction(2 + 6, 2), Fraction(2 + 2, 2))


def test_without_another_value_nothing_is_restricted():
    labels = np.zeros((5, 2), dtype=int)
    for agree in (True, False):
        donors, fewer = restricted(labels, np.zeros((5, 2), dtype=int), agree)
        plain = classes(labels)
        u = np.random.default_rng(0).random((5, 2))
        assert np.array_equal(draw(donors, u, False), draw(plain, u, False))
        assert not fewer.any()


# What it tries


@pytest.mark.parametrize("idea", LIBRARY, ids=lambda one: one.name)
def test_what_is_suggested_is_what_was_tried_and_does_not_peek(idea):
    history = tiny_history(3, 40, 9)
    assert np.array_equal(eval(idea.code, {"np": np, "history": history}), idea.value(history))

    @node(at=embed("x"))
    def seen(history):
        """The candidate."""
        return idea.value(history)

    @node(at=logits)
    def choice(seen, history):
        """No opinion."""
        return np.full(history.actions.shape, -1)

    bind(Hypothesis(choice), ADTransformer(Vocabulary((("x", 3),), 3), Shape(9, 1, 1, 8)).anatomy, history)


def test_each_partition_is_tried_once_and_constants_are_not():
    history = tiny_history(0, 30, 8)
    names = [one.name for one in candidates(history)]
    assert len(set(names)) == len(names)
    blind = replace(history, observations=history.observations[..., :0], channels=())
    assert not {"observation", "action that was done here last"} & {one.name for one in candidates(blind)}
    still = replace(history, rewards=np.zeros_like(history.rewards))
    assert "last reward" in names
    assert "last reward" not in {one.name for one in candidates(still)}


# What it finds, on a network that is known: the score of an action is +2 where it was the last one, -1 after a reward

ROWS, STEPS, ACTIONS = 96, 6, 3


def win_shift() -> ADTransformer:
    """The last action again, unless it paid."""
    shape = Shape(STEPS, n_layers=1, n_heads=1, d_model=16, d_mlp=32, layer_norm=False)
    net = Wiring.silent(Vocabulary((), ACTIONS), shape)
    arm, paid, score = net.space("arm", ACTIONS), net.space("paid"), net.space("score", ACTIONS)
    net.embed("action", arm, np.eye(ACTIONS + 1, ACTIONS, k=-1))
    net.embed("reward", paid, np.array([[0.0], [1.0]]))
    for action in range(ACTIONS):
        net.when(0, [arm[action]], {score[action]: 2.0}, none_of=[paid[0]])
        net.when(0, [arm[action], paid[0]], {score[action]: -2.0})
    net.unembed(score, np.eye(ACTIONS))
    return net.model


def lived() -> History:
    rng = np.random.default_rng(5)
    actions = rng.integers(ACTIONS, size=(ROWS, STEPS))
    rewards = (rng.random((ROWS, STEPS)) < 0.5).astype(np.float32)
    empty = np.zeros((ROWS, STEPS, 0), dtype=int)
    history = History(empty, actions, rewards, np.zeros((ROWS, STEPS), dtype=int), (), ACTIONS)
    model = win_shift()
    for step in range(STEPS):  # every history follows the network, so that there is a loss to explain
        chances = np.exp(Clean.run(model, history).log_probs[:, step].astype(np.float64))
        chosen = (chances.cumsum(axis=1) < rng.random((ROWS, 1))).sum(axis=1)
        actions[:, step] = np.minimum(chosen, ACTIONS - 1)
        history = replace(history, actions=actions.copy())
    return history


def claim(value, at=None):
    """A chain whose nodes all say the same."""
    at = embed("action") + embed("reward") if at is None else at

    @node(at=at)
    def last(history):
        """What is said of the last step."""
        return value(history)

    @node(at=mlp(0))
    def score(last):
        """The same."""
        return last

    @node(at=logits)
    def choice(score, history):
        """No opinion."""
        return np.full(history.actions.shape, -1)

    return Hypothesis(choice)


def both(history):
    return np.stack([history.previous_actions, history.previous_rewards > 0], axis=-1)


def attacked(hypothesis, path, findings=3, passes=3, done=lambda done: None, history=None):
    model, history = win_shift(), lived() if history is None else history
    bound = bind(hypothesis, model.anatomy, history)
    baseline = exact_baseline(Clean.run(model, history).log_probs, history.actions, self_donors=False)
    regimes = {"all": np.ones_like(history.actions, dtype=bool), "paid": history.previous_rewards > 0}
    attack = plan(bound, history, findings, passes, 0, Options())
    return challenge(attack, model, history, regimes, baseline, Store(path, "attack"), done), attack


def test_nothing_is_found_against_the_truth(tmp_path):
    found, _ = attacked(claim(both), tmp_path)
    assert found.recovered.value == pytest.approx(1, abs=1e-5)
    assert (found.findings, found.refined, found.apart) == ([], None, None)
    assert abs(found.largest) < 1e-4
    assert found.tried > found.idle > 0
    assert sentences(found)[0].startswith(f"None of {found.tried - found.idle} features")


def test_what_a_coarse_claim_leaves_out_is_found_and_makes_it_true(tmp_path):
    found, _ = attacked(claim(lambda history: history.previous_actions), tmp_path)
    best = found.findings[0]
    assert (best.node, best.code) == ("last", "history.previous_rewards > 0")
    assert best.p < ALPHA
    assert best.lost.low > 0
    assert best.recovered_differing.high < found.recovered.low < found.recovered.high < best.recovered_agreeing.low
    assert found.refined.features == ["last reward"]
    assert set(found.refined.added) == {"last", "score"}
    assert found.refined.recovered.value == pytest.approx(1, abs=1e-5)
    assert "the last reward" in sentences(found)[0]
    assert f"instead of {found.recovered}" in sentences(found)[-1]


def test_what_is_lost_on_the_way_is_found_where_it_is_lost(tmp_path):
    @node(at=embed("action") + embed("reward"))
    def last(history):
        """All of it."""
        return both(history)

    @node(at=mlp(0))
    def score(last):
        """The action alone."""
        return last[..., 0]

    @node(at=logits)
    def choice(score, history):
        """No opinion."""
        return np.full(history.actions.shape, -1)

    found, _ = attacked(Hypothesis(choice), tmp_path)
    assert (found.findings[0].node, found.findings[0].code) == ("score", "history.previous_rewards > 0")
    assert found.findings[0].p < ALPHA
    assert found.refined.added == {"score": ["history.previous_rewards > 0"]}


def test_a_missing_arrow_is_found_elsewhere(tmp_path):
    found, attack = attacked(claim(lambda history: history.previous_actions, at=embed("action")), tmp_path)
    assert attack.elsewhere == (f"{ELSEWHERE}score", f"{ELSEWHERE}choice")
    best = found.findings[0]
    assert (best.node, best.feature) == (f"{ELSEWHERE}score", "last reward")
    assert best.recovered_agreeing.value == pytest.approx(1, abs=1e-5)
    assert "At what score reads and the claim does not name, " in sentences(found)[0]


def test_an_injective_claim_leaves_nothing_to_choose(tmp_path):
    found, _ = attacked(claim(lambda history: history.so_far()), tmp_path)
    assert found.recovered.value == pytest.approx(1, abs=0.05)
    assert found.findings == []


def test_what_goes_along_with_the_missing_feature_is_not_called_left_out(tmp_path):
    """The network reads the last action and whether it paid, and nothing else."""
    found, _ = attacked(claim(lambda history: history.previous_actions), tmp_path, findings=4)
    missing, *others = found.findings
    assert (missing.code, missing.beyond) == ("history.previous_rewards > 0", None)
    assert found.refined.features == ["last reward"]
    assert len(others) == 3
    assert all(one.p < ALPHA <= one.beyond.p for one in others)
    said = sentences(found)
    assert said[0].endswith(": the claim leaves it out.")
    along = ": it goes along with the last reward, and adds nothing once that is there."
    assert all(one.endswith(along) for one in said[1:4])


def test_what_the_other_half_does_not_confirm_is_not_suggested(tmp_path, monkeypatch):
    """What helped most on the first half is made to fail its test: the claim is refined without it."""
    told = []

    def fails_first(attempts):
        p_values = corrected(attempts)
        told.append(p_values)
        return [np.ones_like(p_values[0]), *p_values[1:]] if len(told) == 1 else p_values

    monkeypatch.setattr(adversary, "corrected", fails_first)
    found, _ = attacked(claim(lambda history: history.previous_actions), tmp_path)
    (failed,) = (one for one in found.findings if one.p == 1)
    assert (failed.feature, failed.passed, failed.beyond) == ("last reward", [], None)
    assert set(found.refined.features) <= {one.feature for one in found.findings if one.p < ALPHA}
    assert found.refined.features


def test_a_feature_is_found_once_and_added_once(tmp_path):
    """The last reward is missing at a node and at the places beside it: one finding, and one number at each node."""
    found, _ = attacked(
        claim(lambda history: history.previous_actions, at=embed("action")), tmp_path, findings=9, passes=1
    )
    features = [one.feature for one in found.findings]
    assert len(features) > 3
    assert len(set(features)) == len(features)
    twice = [
        adversary._Choice(3, "score", ("score",)),
        adversary._Choice(3, "last", ("last", "score")),
        adversary._Choice(1, "last", ("last",)),
    ]
    assert adversary._added(twice) == {"score": [3], "last": [3, 1]}


def circular() -> Hypothesis:
    """What is read by a node says less than the node."""

    @node(at=embed("action") + embed("reward"))
    def last(history):
        """Nothing."""
        return np.zeros_like(history.actions)

    @node(at=mlp(0))
    def score(last, history):
        """All that matters."""
        return np.where(history.previous_rewards > 0, -1, history.previous_actions)

    @node(at=logits)
    def choice(score, history):
        """No opinion."""
        return np.full(history.actions.shape, -1)

    return Hypothesis(choice)


def test_no_node_is_given_what_a_node_below_it_says(tmp_path):
    found, attack = attacked(circular(), tmp_path, findings=3, passes=1)
    (own,) = (number for number, one in enumerate(attack.candidates) if one.node == "score")
    assert not any(attack.writable({name: [own]}) for name in ("last", "score", f"{ELSEWHERE}score"))
    assert attack.writable({"choice": [own]})
    assert attack.writable({f"{ELSEWHERE}choice": [own]})
    assert {one.node for one in found.findings if one.code == "score"} <= {f"{ELSEWHERE}choice"}
    assert found.refined is None or "score" not in found.refined.added.get("last", [])


def test_two_nodes_are_not_given_each_others_values():
    @node(at=embed("action"))
    def arm(history):
        """Part of it."""
        return (1 + history.previous_actions) // 2

    @node(at=embed("reward"))
    def paid(history):
        """The other part."""
        return (history.previous_rewards > 0) & (history.episode_step > 1)

    @node(at=logits)
    def choice(arm, paid, history):
        """No opinion."""
        return np.full(history.actions.shape, -1)

    history = lived()
    attack = plan(bind(Hypothesis(choice), win_shift().anatomy, history), history, 3, 1, 0, Options())
    numbers = {one.node: number for number, one in enumerate(attack.candidates) if one.node}
    assert attack.writable({"arm": [numbers["paid"]]})
    assert attack.writable({"paid": [numbers["arm"]]})
    assert not attack.writable({"arm": [numbers["paid"]], "paid": [numbers["arm"]]})


def outcome(loss, kl) -> AttemptOutcome:
    return AttemptOutcome(loss, kl, loss[None], kl[None])


def test_a_regime_is_named_by_the_figure_quoted_and_only_if_it_stands_out():
    rng = np.random.default_rng(1)
    resampling = Resampling.draw(48, 3, rng, 2000)
    base, noise = np.zeros((3, 3, 48)), 0.1 * rng.normal(size=(2, 3, 3, 48))
    loss = noise[0] + np.array([1.0, 0.2, 1.5])[:, None, None]
    kl = noise[1] + np.array([1.0, 1.5, 0.2])[:, None, None]
    counts = dict.fromkeys(("all", "far", "near"), np.full(48, 5.0))
    than, one = AttemptOutcome(base[0], base[0], base, base), AttemptOutcome(loss[0], kl[0], loss, kl)
    assert stands_out("loss", than, one, counts, resampling) == "near"
    assert stands_out("kl", than, one, counts, resampling) == "far"
    alike = replace(one, loss_by_regime=noise[0] + 1.0)
    assert stands_out("loss", than, alike, counts, resampling) == "all"
    never = counts | {"far": np.zeros(48)}
    assert stands_out("loss", than, one, never, resampling) == "all"  # one regime has none to stand out from


@pytest.mark.parametrize(("times", "most"), [(20, 1), pytest.param(60, 3, marks=pytest.mark.slow)])
def test_chance_is_hardly_ever_reported(times, most):
    """Three attempts that change nothing but the noise, tested together, many times."""
    rng, false = np.random.default_rng(0), 0
    ones = np.ones(48)
    ground = AttackGround(model=ones, baseline=2 * ones, kl_baseline=ones, counts=10 * ones)
    for _ in range(times):
        resampling = Resampling.draw(48, 3, rng, resamples_for(3))
        level = rng.normal(size=48)
        base, *attempts = (outcome(*(level + 0.3 * rng.normal(size=(2, 3, 48)))) for _ in range(4))
        effects = [[worse(base, one, ground, resampling), worse(one, base, ground, resampling)] for one in attempts]
        false += min(map(smallest, corrected(effects))) < ALPHA
    assert false <= most


@pytest.mark.slow
def test_it_costs_no_more_than_was_said_and_goes_on_where_it_stopped(tmp_path):
    hypothesis, done = claim(lambda history: history.previous_actions), []
    first, attack = attacked(hypothesis, tmp_path, done=done.append)
    assert sum(done) == attack.forwards
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again, _ = attacked(hypothesis, tmp_path)
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    next(iter(written)).write_bytes(b"damaged")
    assert attacked(hypothesis, tmp_path)[0] == first


def test_what_cannot_be_attacked_is_refused():
    history = lived()
    bound = bind(claim(both), win_shift().anatomy, history)
    with pytest.raises(DataError, match="cannot be used with `align='any'`"):
        plan(bound, history, 3, 1, 0, Options(align="any"))
    few = bind(claim(both), win_shift().anatomy, history[:20])
    with pytest.raises(DataError, match="20 are too few"):
        plan(few, history[:20], 3, 1, 0, Options())


# How it is told


def made_up(**fields) -> Challenge:
    finding = Finding(
        "goal", "number of rewards so far", "wins", ["goal", "plan"], 0.8, number(0.21), number(0.5), number(0.97),
        number(0.25), number(0.2), number(0.3), 0.004, ["lost", "kl_lost", "gained", "kl_gained"], "navigate",
    )  # fmt: skip
    refined = Refined(["number of rewards so far"], {"goal": ["wins"], "plan": ["wins"]}, number(0.97), number(0.02))
    record = {"rows": 128, "tried": 20, "idle": 4, "largest": 0.3, "recovered": number(0.84), "kl": number(0.3),
              "findings": [finding], "refined": refined, "apart": None}  # fmt: skip
    return Challenge(**(record | fields))


def test_findings_read_as_sentences():
    found = made_up()
    assert sentences(found) == [
        "At goal, donors that differ in the number of rewards so far lose 0.21 [0.18, 0.24] nats more, most in "
        "navigate; agreeing on it as well recovers 0.97 [0.94, 1.00] instead of 0.84 [0.81, 0.87]: the claim leaves it "
        "out.",
        "With the number of rewards so far added, the claim recovers 0.97 [0.94, 1.00] instead of 0.84 [0.81, 0.87].",
    ]
    hidden = replace(found.findings[0], lost=number(0.0), passed=["kl_lost", "kl_gained"])
    (line, _) = sentences(made_up(findings=[hidden]))
    assert "move the distribution by 0.20 [0.17, 0.23] nats more, most in navigate, while the loss hides it" in line
    chance = replace(found.findings[0], p=0.3, passed=[])
    assert sentences(made_up(findings=[chance])) == [
        "None of 16 features that could have been left out makes a difference that 128 other histories confirm."
    ]
    cancel = made_up(findings=[], refined=None, apart=Apart(number(0.4), number(0.5), 0.001, ["kl_lost"]))
    assert "cancel as long as they come from one history" in sentences(cancel)[0]
    assert sentences(cancel)[0].endswith("they move the distribution by 0.50 [0.47, 0.53] nats more.")


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (["lost"], "donors that differ in the number of rewards so far lose 0.21 [0.18, 0.24] nats more"),
        (["gained"], "agreeing on the number of rewards so far as well recovers 0.97 [0.94, 1.00] instead of"),
        (["kl_gained"], "agreeing on the number of rewards so far as well brings the distribution 0.30 [0.27, 0.33]"),
    ],
)
def test_a_sentence_quotes_only_what_passed_its_test(passed, said):
    """All intervals of the finding are apart from 0, so they cannot tell."""
    line = sentences(made_up(findings=[replace(made_up().findings[0], passed=passed)]))[0]
    assert said in line
    assert ("lose" in line) == ("lost" in passed)
    assert ("instead of" in line) == ("gained" in passed)
    assert "move the distribution" not in line


def test_a_finding_that_is_not_in_the_refined_claim_is_left_out_only_if_it_adds_to_it():
    one = made_up().findings[0]
    other = replace(one, feature="episode", beyond=Beyond(number(0.0), number(0.1), 0.4))
    said = sentences(made_up(findings=[one, other]))
    assert said[1].endswith(": it goes along with the number of rewards so far, and adds nothing once that is there.")
    more = replace(other, beyond=replace(other.beyond, p=0.001))
    assert sentences(made_up(findings=[one, more]))[1].endswith(": the claim leaves it out.")
    (open_,) = sentences(made_up(findings=[one], refined=None))
    assert open_.endswith(": the claim leaves it out, or something that goes along with it.")


def test_the_section_has_the_table_and_the_line_to_add():
    claim = replace(dark_room_study().claims[0], challenge=made_up())
    text = section(claim)
    assert text.startswith("## What the adversary found\n\n- At `goal`, donors that differ")
    assert "| `goal` | number of rewards so far | 80% | 0.21 [0.18, 0.24] |" in text
    assert "# goal and plan\nreturn np.dstack([what_it_returns_now, wins])" in text
    assert "parameter too" not in text
    by_value = Refined(["value of gate"], {"goal": ["gate"]}, number(0.97), number(0.02))
    named = section(replace(claim, challenge=made_up(refined=by_value)))
    assert "`gate` must become a parameter too, an arrow of the claim." in named
    assert section(replace(claim, challenge=None)) == ""
    rows = {(of, name): value for _, of, name, value, *_ in figures(claim)}
    assert rows["number of rewards so far at goal", "lost"] == 0.21
    assert rows["refined", "recovered"] == 0.97


def test_the_record_keeps_it(tmp_path):
    study = dark_room_study()
    more = replace(made_up().findings[0], beyond=Beyond(number(0.0), number(0.1), 0.4))
    attacked = made_up(findings=[more], apart=Apart(number(0.0), number(0.0), 1.0, []))
    kept = replace(study, claims=[replace(study.claims[0], challenge=attacked)])
    file = tmp_path / "study.json"
    file.write_text(kept.to_json())
    again = read_study(file)
    assert isinstance(again.claims[0].challenge, Challenge)
    assert isinstance(again.claims[0].challenge.apart, Apart)
    assert isinstance(again.claims[0].challenge.findings[0].beyond, Beyond)
    assert again.claims[0].challenge.findings[0].passed == more.passed
    assert again.to_json() == kept.to_json()


# At the command line

QUICK = ("--rows", "32", "--passes", "1", "--pool", "64", "--data", "source", "--rollouts", "0", "--no-rivals")
REPORT = "stay-tiny-rows-32-passes-1-pool-64-data-source-rollouts-0-no-rivals"
STAY = '''"""Stay: it stays where it was paid."""
import numpy as np
from ad_hypotheses import Hypothesis, embed, logits, node

@node(at=embed("reward"))
def paid(history):
    """Whether it was just paid."""
    return history.previous_rewards > 0

@node(at=logits)
def choice(paid):
    """Stay where it was paid."""
    return np.where(paid, 0, -1)

stay = Hypothesis(choice, model="tiny", accept=0.5)
'''


@pytest.fixture
def stay(workplace):
    (workplace / "hypotheses" / "stay.py").write_text(STAY)
    return "stay"


@pytest.mark.slow
def test_scrub_reports_it_with_the_command_that_does_it_again(cli, stay):
    ran = cli("scrub", stay, *QUICK, "--adversary", "--findings", "2")
    assert ran.code == 0, ran.err
    assert "\nadversary: " in ran.out
    page = Path(f"reports/{REPORT}-adversary-findings-2.md").read_text()
    assert "--adversary --findings 2\n" in page
    assert "## What the adversary found" in page
    record = json.loads(Path(f"reports/{REPORT}-adversary-findings-2.json").read_text())
    assert len(record["claims"][0]["challenge"]["findings"]) <= 2
    assert record["claims"][1]["challenge"] is None
    plain = cli("scrub", stay, *QUICK, "--reports", "plain")
    assert "adversary" not in plain.out + Path(f"plain/{REPORT}.md").read_text()


@pytest.mark.slow
def test_it_goes_on_after_ctrl_c_to_the_same_report(cli, stay, monkeypatch):
    typed = ("scrub", stay, *QUICK, "--adversary")
    assert cli(*typed, "--reports", "whole").code == 0
    shown, told = Meter.reach, []

    def reach(meter, done, note=""):
        shown(meter, done, note)
        told.append(note)
        if told.count("adversary against stay") == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "reach", reach)
        ran = cli(*typed)
    assert "the same command goes on" in ran.err
    assert list(Path("reports/.partial/stay").glob("attack-*.npz"))
    assert cli(*typed).code == 0
    for folder in ("reports", "whole"):
        assert Path(folder, f"{REPORT}-adversary.json").exists()
    assert len({Path(folder, f"{REPORT}-adversary.json").read_bytes() for folder in ("reports", "whole")}) == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("--findings", "2"), "--findings 2 is about what an adversary reports: add --adversary, or leave it out."),
        (("--adversary", "--findings", "0"), "0 is too few: at least 1"),
        (("--adversary", "--align", "any"), "it cannot be used with --align any"),
        (("--adversary", "--rows", "20"), "20 are too few. Use 32 or more (--rows), better 256."),
    ],
)
def test_what_makes_no_sense_is_refused(cli, stay, typed, said):
    ran = cli("scrub", stay, *QUICK, *typed)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.said
