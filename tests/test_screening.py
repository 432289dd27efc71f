"""Screening: what it leaves out, what the random sample says of that, and `patch --screen` on the command line."""

from __future__ import annotations

import csv
import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from expand import tiny_history, tiny_model
from numpy.testing import assert_allclose
from test_patch_report import CLAIMS

from ad_hypotheses.causal.attribute import attribute, screen
from ad_hypotheses.causal.history_pairs import HistoryPairs
from ad_hypotheses.errors import CapacityError, DataError
from ad_hypotheses.evidence.effects import benjamini_hochberg, weigh
from ad_hypotheses.evidence.p_values import holm
from ad_hypotheses.language.edges import all_edges
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.patch import screen as screening
from ad_hypotheses.studies.patch.screen import agreements, attribute_or_resume, default_steps, pick

N_ROWS, N_STEPS = 5, 6
QUICK = ("--rows", "6", "--threads", "1")


@pytest.fixture(scope="module")
def model():
    return tiny_model(0, N_STEPS)


@pytest.fixture(scope="module")
def pairs():
    history = tiny_history(1, N_ROWS, N_STEPS)
    return HistoryPairs(history, history[np.roll(np.arange(N_ROWS), 1)], "any")


# --- Picking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("metric", "direction"), [("loss", "noising"), ("kl", "noising"), ("kl", "denoising")])
def test_the_default_number_of_runs_says_something_of_every_metric(model, pairs, metric, direction):
    steps = default_steps(metric, direction)
    found = attribute_or_resume(model, pairs, all_edges(model.anatomy), metric, steps, direction)
    assert np.abs(found).max() > 1e-3
    if steps > 1:
        with pytest.raises(DataError, match="is smallest, 0, at the reference itself"):
            attribute_or_resume(model, pairs, all_edges(model.anatomy), metric, 1, direction)


def test_attributions_are_made_some_histories_at_a_time_and_go_on_after_an_interruption(
    model, pairs, tmp_path, monkeypatch
):
    edges = all_edges(model.anatomy)
    whole = attribute(model, pairs, edges)
    monkeypatch.setattr("ad_hypotheses.causal.effects.TOKENS_AT_ONCE", 2 * N_STEPS)
    begun = []

    def counted(model, some, *rest, **named):
        begun.append(some.reference.n_rows)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return attribute(model, some, *rest, **named)

    monkeypatch.setattr(screening, "attribute", counted)
    with pytest.raises(KeyboardInterrupt):
        attribute_or_resume(model, pairs, edges, scratch=Scratch(tmp_path))
    done = []
    found = attribute_or_resume(model, pairs, edges, progress=done.append, scratch=Scratch(tmp_path))
    assert (begun, done) == ([2, 2, 2, 1], [2, 2, 1])
    assert_allclose(found, whole, atol=1e-12)
    attribute_or_resume(model, pairs, edges, "logit-difference", scratch=Scratch(tmp_path))
    assert len(begun) == 7, "another metric is other numbers"
    with pytest.raises(CapacityError, match="patching one history needs"):
        attribute_or_resume(model, pairs, edges, memory=100)


def test_the_strongest_are_picked_and_the_sample_does_not_depend_on_who_is(model, pairs):
    edges = all_edges(model.anatomy)
    attributions = np.random.default_rng(0).normal(size=(len(edges), N_ROWS))
    found = pick(edges, attributions, 5, 1, seed=7)
    assert list(found.picked) == screen(attributions, 5)
    assert found.wanted == {*found.picked, *found.sampled}
    assert len(found.sampled) == len(set(found.sampled)) == screening.SAMPLE
    other = pick(edges, -np.sort(attributions, axis=0), 50, 1, seed=7)
    assert other.sampled == found.sampled
    assert pick(edges, attributions, 5, 1, seed=8).sampled != found.sampled
    few = pick(edges[:4], attributions[:4], 9, 1, seed=0)
    assert few.wanted == {0, 1, 2, 3}


def test_every_edge_is_as_likely_to_be_drawn(model):
    edges = all_edges(model.anatomy)
    zeros = np.zeros((len(edges), 1))
    drawn = np.bincount(np.concatenate([pick(edges, zeros, 1, 1, seed).sampled for seed in range(400)]))
    expected = 400 * screening.SAMPLE / len(edges)
    assert len(drawn) == len(edges)
    assert scipy.stats.chisquare(drawn, np.full(len(edges), expected)).pvalue > 1e-3


@pytest.mark.slow
def test_the_rank_correlation_has_an_interval_that_covers(model):
    rng = np.random.default_rng(0)
    truth = scipy.stats.spearmanr(*(lambda x: (np.abs(x), np.abs(x + 0.7 * rng.normal(size=x.shape))))(
        rng.normal(size=20_000)
    ))[0]  # fmt: skip
    covered = 0
    for number in range(12):
        exact = rng.normal(size=32)
        sizes, signed = agreements((exact + 0.7 * rng.normal(size=32))[:, None], exact, seed=number)
        covered += sizes.low <= truth <= sizes.high
        assert signed.low <= signed.value <= signed.high
    assert covered >= 9
    assert not agreements(np.zeros((5, 2)), np.arange(5.0), 0)[0].estimable


def test_p_values_are_corrected_as_if_what_was_left_out_had_shown_nothing():
    changes = np.random.default_rng(0).normal(0.3, 0.2, size=(3, 12))
    counts = np.ones(12, dtype=int)
    alone = weigh(changes, counts, 0, families=["edge", "edge", "set"])
    found = weigh(changes, counts, 0, families=["edge", "edge", "set"], left_out={"edge": 8})
    p = [one.p for one in found]
    assert [one.p for one in alone] == p
    assert [one.holm for one in found[:2]] == list(holm([*p[:2], *[1.0] * 8])[:2])
    assert [one.bh for one in found[:2]] == list(benjamini_hochberg(np.array([*p[:2], *[1.0] * 8]))[:2])
    assert found[0].holm == 5 * alone[0].holm, "ten edges, not two"
    assert found[2] == alone[2], "sets are a family of their own"


# --- On the command line -------------------------------------------------------------------------------------------


@pytest.fixture
def claims(workplace):
    (workplace / "hypotheses" / "stay.py").write_text(CLAIMS)
    return "hypotheses/stay.py"


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_report_says_what_was_screened_and_the_table_has_every_attribution(cli, workplace, monkeypatch):
    monkeypatch.setattr(screening, "SAMPLE", 10)
    ran = cli("patch", "tiny", "--edges", "all", "--screen", "7", *QUICK)
    assert ran.code == 0, ran.err
    assert "screening 106 edges by their gradients of loss: 1 run of each history forwards and back" in ran.said
    assert "the strongest 7 are then measured exactly" in ran.said
    text = (workplace / "reports" / "patch-tiny-screen-7-rows-6.md").read_text()
    for place in (" ".join(ran.out.split()), text):
        assert "Screened: of 106 edges, the 7 with the largest attributions (gradients) were" in place.replace("*", "")
        assert "drawn at random from all of them" in place
        assert "rank correlation of attributions and effects is" in place
        assert "edges that were measured" in place
    assert "Half of all effects" not in text
    assert "as if all had been tested" in text
    record = json.loads((workplace / "reports" / "patch-tiny-screen-7-rows-6.json").read_text())
    how = record["screening"]
    measured = {one["name"] for one in record["patches"]}
    assert measured == {*how["picked"], *how["sampled"]}
    assert len(how["picked"]) == 7
    assert len(how["sampled"]) == 10
    assert len(measured) + len(how["unmeasured"]) == how["asked"] == 106
    rows = table(workplace / "reports" / "patch-tiny-screen-7-rows-6.csv")
    attributed = [row for row in rows if row["attribution size"]]
    assert len({row["patch"] for row in attributed}) == len(attributed) == 106
    assert all((row["metric"], row["regime"]) == ("loss", "all") for row in attributed)
    assert {row["patch"] for row in attributed if not row["value"]} == {one["name"] for one in how["unmeasured"]}
    strongest = sorted(attributed, key=lambda row: -float(row["attribution size"]))[:7]
    assert {row["patch"] for row in strongest} == set(how["picked"])


def test_edges_are_screened_by_relevance_where_that_is_asked_for(cli, workplace, monkeypatch):
    monkeypatch.setattr(screening, "SAMPLE", 10)
    typed = ("patch", "tiny", "--edges", "all", *QUICK)
    ran = cli(*typed, "--screen", "7", "--screen-rule", "relevance")
    assert ran.code == 0, ran.err
    assert "screening 106 edges by relevance of loss" in ran.said
    assert "with the largest attributions (relevance) were" in " ".join(ran.out.split()).replace("*", "")
    (path,) = (workplace / "reports").glob("*relevance*.json")
    assert json.loads(path.read_text())["screening"]["rule"] == "relevance"
    assert "relevance at the run that is patched" in path.with_suffix(".md").read_text()
    stray = cli(*typed, "--screen-rule", "relevance")
    assert (stray.code, "Add --screen N" in stray.err) == (2, True)


@pytest.mark.slow
def test_what_was_measured_is_what_is_measured_without_screening(cli, workplace):
    typed = ("patch", "tiny", "--edges", "all", "--metric", "kl", *QUICK, "--json")
    (found,), (whole,) = (json.loads(cli(*typed, *more).out) for more in (("--screen", "5"), ()))
    assert found["screening"]["steps"] == 4, "the gradient of a divergence from itself is 0"
    values = {one["name"]: one["effects"]["kl"]["all"]["value"]["value"] for one in whole["patches"]}
    for one in found["patches"]:
        assert one["effects"]["kl"]["all"]["value"]["value"] == pytest.approx(values[one["name"]], abs=1e-6)
    assert whole["screening"] is None
    sample = found["screening"]["sampled"]
    sizes = {one["name"]: one["attribution_size"] for one in found["patches"]}
    rank = scipy.stats.spearmanr([sizes[name] for name in sample], [abs(values[name]) for name in sample])[0]
    assert found["screening"]["agreement"]["value"] == pytest.approx(rank, abs=1e-3)


def test_declared_arrows_are_always_measured_and_attributions_are_shares_where_effects_are(cli, claims, workplace):
    ran = cli("patch", claims, "--screen", "3", "--screen-steps", "2", "--direction", "denoising", *QUICK, "--json")
    (found,) = json.loads(ran.out)
    edges = [one for one in found["patches"] if one["kind"] == "edge"]
    declared = [one for one in edges if "->" in one["arrow"]]
    assert declared
    assert all(one["attribution"] is None for one in declared)
    screened = [one for one in edges if one["attribution"] is not None]
    assert not {one["name"] for one in declared} & set(found["screening"]["picked"])
    assert found["screening"]["asked"] == 106 - len(declared)
    assert len(screened) + len(found["screening"]["unmeasured"]) == found["screening"]["asked"]
    assert found["screening"]["steps"] == 2
    total = sum(one["attribution"] for one in (*screened, *found["screening"]["unmeasured"]))
    assert 0.05 < abs(total) < 20, "shares, not nats"
    text = (workplace / "reports" / "patch-stay-tiny-direction-denoising-screen-3-screen-steps-2-rows-6.md").read_text()
    assert "edges that no arrow declares" in text
    assert "integrated gradients, 2 runs a history" in text
    typed = shlex.split(text.partition("```sh\n")[2].partition("\n")[0])
    assert typed[2:] == ["patch", claims, "--direction", "denoising", "--screen", "3", "--screen-steps", "2",
                         "--rows", "6", "--threads", "1"]  # fmt: skip


def test_screening_may_leave_nothing_out(cli, workplace):
    ran = cli("patch", "tiny", "--edges", "embed() -> mlp(0)", "--edges", "mlp(0) -> logits", "--screen", "9", *QUICK)
    assert ran.code == 0, ran.err
    assert "Screening left nothing out: all 2 edges were measured." in " ".join(ran.out.split())


def test_roles_are_screened_too(cli, workplace):
    edges = ("--edges", "embed() -> head(0, 0)", "--edges", 'embed("x") -> mlp(0)', "--written", "rewarded")
    (found,) = json.loads(cli("patch", "tiny", *edges, "--screen", "1", *QUICK, "--json").out)
    assert all(one["name"].endswith("written at rewarded") for one in found["patches"])
    assert found["screening"]["asked"] == 4


@pytest.mark.slow
def test_an_interrupted_screening_goes_on(cli, workplace, monkeypatch):
    really, begun = screening.attribute, []

    def stopped(model, some, *rest, **named):
        begun.append(some.reference.n_rows)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return really(model, some, *rest, **named)

    monkeypatch.setattr("ad_hypotheses.causal.effects.TOKENS_AT_ONCE", 96)  # two histories
    monkeypatch.setattr(screening, "attribute", stopped)
    typed = ("patch", "tiny", "--edges", "all", "--screen", "3", *QUICK)
    ran = cli(*typed)
    assert ran.code == 2
    assert "what was measured is kept in reports/.partial/patch-tiny; the same command goes on" in ran.said
    assert cli(*typed).code == 0
    assert begun == [2, 2, 2, 2]
    assert not (workplace / "reports" / ".partial" / "patch-tiny").exists()


@pytest.mark.parametrize(
    ("typed", "fragments"),
    [
        (("--edges", "all", "--screen", "0"), ("0 is too few: at least 1",)),
        (("--edges", "all", "--screen", "some"), ("--screen", "valid integer")),
        (("--edges", "all", "--screen", "3", "--screen-steps", "0"), ("0 is too few",)),
        (("--edges", "all", "--screen-steps", "4"), ("--screen-steps says how edges are screened", "--screen N")),
        (("--nodes", "head(0)", "--screen", "3"), ("picks among single edges", "--edges all")),
        (
            ("--edges", "all", "--screen", "3", "--screen-steps", "1", "--metric", "kl"),
            ("its gradient there is 0", "--screen-steps"),
        ),
        (("--edges", "all", "--screen", "3", "--memory", "1kB"), ("the run needs", "--memory")),
        (("--edges", "all", "--screen", "3", "--metric", "towards-new"), ("goals differ",)),
        (("--edges", "all", "--out", "found.py"), ("--out says where --search writes", "--reports")),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else None,
)
def test_what_cannot_be_screened_is_refused(cli, workplace, typed, fragments):
    ran = cli("patch", "tiny", *typed, *QUICK)
    assert (ran.code, ran.out) == (2, "")
    for fragment in fragments:
        assert fragment in ran.said, ran.err
    assert not list((workplace / "reports").glob("*.md"))


def test_pairs_are_cut_with_all_that_belongs_to_them(pairs):
    towards = {"old": np.zeros((N_ROWS, N_STEPS, 3), dtype=bool)}
    actions = pairs.reference.actions.copy()
    np.fill_diagonal(actions, (np.diagonal(actions) + 1) % 3)  # row n does otherwise at step n, which shows later
    where = {"first_step": np.arange(N_ROWS), "rows": np.arange(N_ROWS) + 10, "towards": towards}
    whole = replace(pairs, donor=replace(pairs.reference, actions=actions), **where)
    some = whole.part(slice(1, 3))
    assert some.first_step.tolist() == [1, 2]
    assert some.rows.tolist() == [11, 12]
    assert some.towards["old"].shape == (2, N_STEPS, 3)
    np.testing.assert_array_equal(some.donor.actions, actions[1:3])
    assert pairs.part(slice(0, 1)).first_step is None
