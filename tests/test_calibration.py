"""Calibration: its statistics, what it runs and resumes, and its report."""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from in_process import Ran, run_main
from killed import always_killed
from listener import Listener
from scipy.stats import binomtest, mannwhitneyu
from statsmodels.stats.proportion import proportion_confint

from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.jobs.engines import RETRIES
from ad_hypotheses.jobs.local import processes
from ad_hypotheses.known.calibration import cases, trials
from ad_hypotheses.known.calibration import jobs as calibrate
from ad_hypotheses.known.calibration import study as calibrating
from ad_hypotheses.known.calibration.answer import catches, enough_rows, got_through, separations
from ad_hypotheses.known.calibration.cases import case_of, chosen
from ad_hypotheses.known.calibration.coverage import Datasets, estimates, pooled
from ad_hypotheses.known.calibration.error_rates import (
    coverage_of,
    exact_interval,
    kept_by_swaps,
    pooled_ratio,
    rate,
    said,
    separate,
)
from ad_hypotheses.known.calibration.jobs import Design, Workplace, choose_pairs, coverage_jobs, run, trial_jobs
from ad_hypotheses.known.calibration.measures import Measures, facts
from ad_hypotheses.known.calibration.page import headline, page, write_calibration
from ad_hypotheses.known.calibration.record import (
    IN_PART,
    Calibration,
    ClaimFacts,
    Coverage,
    Network,
    TrialCell,
    TrialOutcome,
    read_calibration,
)
from ad_hypotheses.known.calibration.trials import CalibrationTrial, run_trial
from ad_hypotheses.known.claims import claims_of
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.storage.store import Store
from ad_hypotheses.studies.parallel import workers
from ad_hypotheses.studies.scrub.bind import prepare
from ad_hypotheses.studies.scrub.study import run_studies

ROOT = Path(__file__).resolve().parent.parent
NETWORK = "win-stay"
TINY = Design(
    replicates={12: 2}, covered={12: 3}, pairs=1, exact=(16, 32, 2), compared=24, passes=1, pool=200, data=("source",)
)


# statistics


@pytest.mark.parametrize(("count", "trials"), [(0, 7), (1, 7), (7, 7), (3, 40), (199, 200)])
def test_intervals_of_shares_are_those_of_others(count, trials):
    mine = exact_interval(count, trials)
    theirs = binomtest(count, trials).proportion_ci(method="exact")
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert (mine.low, mine.high) == pytest.approx(proportion_confint(count, trials, method="beta"), abs=1e-9)
    assert mine.value == count / trials


def test_no_trial_says_nothing():
    nothing = exact_interval(0, 0)
    assert (nothing.low, nothing.high, nothing.estimable) == (0.0, 1.0, False)


def test_a_rate_counts_trials_and_claims():
    found = [outcome("a", "one", "supported"), outcome("a", "one", "refuted"), outcome("a", "two", "refuted")]
    got = rate(found, said(0.9, "refuted"))
    assert (got.count, got.trials, got.claims, got.of_claims) == (2, 3, 2, 2)
    assert rate(found, said(0.9, "supported")).claims == 1
    assert got.interval == exact_interval(2, 3)


def test_the_area_is_that_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    true, wrong = rng.normal(1, 1, 12).round(1), rng.normal(0, 1, 30).round(1)
    for larger in (True, False):
        found = separate("m", _named(true), _named(wrong), larger)
        assert found is not None
        statistic = mannwhitneyu(true, wrong).statistic / (12 * 30)
        assert found.area == pytest.approx(statistic if larger else 1 - statistic)
        worst = true.min() if larger else true.max()
        assert found.worst_true == worst
        through = wrong >= worst if larger else wrong <= worst
        assert len(found.not_told_apart) == through.sum()
        assert found.best_wrong == (wrong.max() if larger else wrong.min())


def test_a_measure_without_values_separates_nothing():
    assert separate("m", {"a": math.nan}, {"b": 1.0}, True) is None
    found = separate("m", {"a": 1.0, "x": math.nan}, {"b": 1.0 - 1e-6, "c": math.nan}, True, tie=1e-3)
    assert found is not None
    assert (found.wrong, found.not_told_apart, found.area) == (1, ("b",), 0.5)


def test_swaps_keep_a_feature_as_often_as_draws_do():
    rng = np.random.default_rng(1)
    true = rng.integers(0, 3, size=(40, 6))
    claimed = np.where(rng.random(true.shape) < 0.6, true, rng.integers(0, 5, size=true.shape))
    kept, chance = [], []
    for row, step in np.ndindex(true.shape):
        others = np.delete(np.arange(40), row)
        donors = [j for j in others if claimed[j, step] == claimed[row, step]] or [row]
        kept.append(np.mean([true[j, step] == true[row, step] for j in donors]))
        chance.append(np.mean(true[others, step] == true[row, step]))
    expected = (np.mean(kept) - np.mean(chance)) / (1 - np.mean(chance))
    assert kept_by_swaps(true, claimed) == pytest.approx(expected)


def test_a_finer_or_injective_feature_keeps_everything_and_a_constant_nothing():
    true = np.random.default_rng(2).integers(0, 3, size=(50, 4))
    unique = np.arange(200).reshape(50, 4)
    assert kept_by_swaps(true, true) == kept_by_swaps(true, 10 * true + unique % 2) == kept_by_swaps(true, unique) == 1
    assert kept_by_swaps(true, np.zeros_like(true)) == pytest.approx(0)
    assert math.isnan(kept_by_swaps(np.zeros_like(true), true))


def test_the_error_of_a_pooled_ratio_is_its_scatter():
    rng = np.random.default_rng(3)

    def once() -> tuple[float, float]:
        below = rng.gamma(20, 0.1, size=30)
        return pooled_ratio(0.4 * below + rng.normal(0, 0.1, size=30), below)

    found = np.array([once() for _ in range(400)])
    assert found[:, 0].mean() == pytest.approx(0.4, abs=0.003)
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.1)


def test_coverage_counts_on_which_side_intervals_miss():
    numbers = [Number(0.5, 0.4, 0.6), Number(0.7, 0.65, 0.8), Number(0.3, 0.2, 0.45), Number(0.5, 0.3, 0.9)]
    unknown = Number(math.nan, math.nan, math.nan, estimable=False)
    found = coverage_of(("net", "claim", "all", "fidelity"), (64, 256), (0.5, 0.01), [*numbers, unknown])
    assert (found.covered, found.too_high, found.too_low, found.replicates) == (3, 1, 1, 5)
    assert found.mean == pytest.approx(0.5)
    assert found.claimed == pytest.approx(np.mean([0.2, 0.15, 0.25, 0.6]) / 3.92, rel=1e-3)
    assert found.covered_mean == 3


# what is run


@pytest.fixture(scope="module")
def win_stay() -> cases.Case:
    """Return a known network that ships."""
    return case_of(NETWORK, ROOT / "models", ROOT / "hypotheses" / "known")


@pytest.fixture(scope="module")
def few_claims(win_stay) -> cases.Case:
    """Return the same network with fewer claims about it, for tests of how trials are run."""
    names = {"truth", "echo", "reward_blind"}
    claims = [claim for claim in win_stay.claims if claim.name in names or claim.kind == cases.BY_THE_TOOL]
    return dataclasses.replace(win_stay, claims=tuple(claims))


def trial_of(
    rows: int = 12, replicate: int = 0, seed: int = 0, data: tuple[str, ...] = ("source",)
) -> CalibrationTrial:
    return CalibrationTrial(NETWORK, rows, 3 * rows, 1, data, replicate, seed)


@pytest.mark.slow
def test_a_trial_finds_what_scrubbing_the_file_finds(few_claims, tmp_path):
    trial = trial_of(40, 3, 5, ("source", "own"))
    outcomes = {item.claim: item for item in run_trial(few_claims, trial)}
    assert list(outcomes) == [claim.name for claim in few_claims.claims]
    first, *others = (claim.hypothesis for claim in few_claims.claims if claim.kind != cases.BY_THE_TOOL)
    study = prepare(first, others, few_claims.checkpoint, trial.settings)
    record = run_studies([study], trial.settings, "", Scratch(tmp_path))[0]
    assert {claim.name: claim.verdict for claim in record.claims} == {
        name: item.verdicts["0.90"] for name, item in outcomes.items()
    }
    truth, claim = outcomes["truth"], record.claims[0]
    assert (truth.verdicts["0.90"], truth.root_movement) == ("supported", claim.root_movement)
    for cell, regime in zip(truth.cells, claim.regimes, strict=True):
        assert (cell.data, cell.regime, cell.learners) == (regime.data, regime.name, regime.learners)
        assert (cell.fidelity, cell.with_self, cell.independent) == (
            regime.fidelity, regime.fidelity_with_self, regime.fidelity_independent,
        )  # fmt: skip
        assert (cell.explained, cell.beyond_structure) == (regime.explained, regime.beyond_structure)
        assert (cell.tested, cell.swapped) == (regime.tested, regime.swapped)
        assert cell.counts == (regime.status not in ("average", "does not count"))
    # a wrong claim is measured as a hypothesis is, on every data set, where a control of a study is not
    assert {cell.data for cell in outcomes["echo"].cells} == {"source", "own"}
    assert outcomes["echo"].cells[0].independent is not None


def test_another_replicate_is_another_dataset(few_claims):
    few = dataclasses.replace(few_claims, claims=few_claims.claims[:1])
    found, other = (run_trial(few, trial_of(replicate=number))[0] for number in (0, 1))
    assert found.cells[0].at_stake != other.cells[0].at_stake
    seeds = {trial_of(rows, number, seed).settings.seed for rows in (12, 13) for number in (0, 1) for seed in (0, 1)}
    datasets = Datasets(NETWORK, "truth", 12, 36, 1, 0, 2, 0)
    assert len(seeds | {settings.seed for settings in datasets.settings}) == 10


@pytest.mark.slow
def test_a_trial_goes_on_claim_by_claim(few_claims, tmp_path, monkeypatch):
    whole = run_trial(few_claims, trial_of())
    measured: list[str] = []

    def interrupted(ground, bound, *how, **more):
        measured.append(bound.root)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return real(ground, bound, *how, **more)

    real = trials.measure
    monkeypatch.setattr(trials, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_trial(few_claims, trial_of(), Store(tmp_path / "parts"))
    assert run_trial(few_claims, trial_of(), Store(tmp_path / "parts")) == whole
    assert len(measured) == 1 + len(few_claims.claims)


@pytest.mark.slow
def test_what_is_known_of_the_claims_about_a_network(win_stay):
    found = {claim.claim: claim for claim in facts(win_stay, Measures(NETWORK, 0, 48))}
    true = found["truth"]
    assert (true.kept, true.agreement) == (1, 1)
    assert true.undeclared == pytest.approx(0, abs=1e-6)
    assert true.weakest_arrow > 0.5
    assert found["echo"].undeclared > 0.5  # the right features at a head that does nothing
    assert found["pay_alone"].kept < 0.5
    assert found["counts"].specificity < true.specificity < found["pay_alone"].specificity < 1
    assert true.any_step == pytest.approx(1, abs=1e-4)
    assert found["reward_blind"].any_step < 0.5
    assert (true.kind, true.expected) == ("true", "supported")


@pytest.mark.slow
def test_a_claim_that_cannot_be_tested_is_refused_and_the_others_are_judged(few_claims, monkeypatch):
    def picky(bound, ground, align):
        if bound.hypothesis.name == "echo":
            raise DataError("alone")

    monkeypatch.setattr(trials, "refuse_untestable", picky)
    found = {item.claim: item for item in run_trial(few_claims, trial_of(36))}
    assert set(found["echo"].verdicts.values()) == {"refused"}
    assert (found["echo"].cells, found["echo"].overall) == ([], None)
    assert math.isnan(found["echo"].lowest("fidelity"))
    assert found["truth"].verdicts["0.90"] == "supported"
    assert found["truth"].family == len(few_claims.claims) - 1


def test_pooled_datasets_give_what_estimates_give(win_stay):
    few = Datasets(NETWORK, "reward_blind", 24, 60, 2, 0, 2, 0)
    for parts, figures in zip(pooled(win_stay, few), estimates(win_stay, few), strict=True):
        for regime, by_figure in figures.items():
            for figure, number in by_figure.items():
                lost, whole = parts[regime][figure]
                assert number.value == pytest.approx(1 - lost / whole), (regime, figure)


def test_pairs_are_of_different_networks_and_keep_neither_nothing_nor_all():
    shares = {("a", "one"): 0.92, ("a", "two"): 0.7, ("b", "one"): 0.5, ("b", "two"): 1.0, ("c", "one"): -0.7}
    found = [outcome(network, claim, "refuted", value, rows=12) for (network, claim), value in shares.items()]
    assert choose_pairs(found, dataclasses.replace(TINY, pairs=2)) == [("a", "one"), ("b", "one")]
    assert choose_pairs(found, dataclasses.replace(TINY, pairs=9)) == [("a", "one"), ("b", "one")]
    assert choose_pairs(found[-1:], TINY) == []
    hardly = [outcome(network, claim, "refuted", 0.9, rows=12, tested=0.9) for network, claim in shares]
    assert choose_pairs(hardly, TINY) == []


# the command


@pytest.fixture
def place(tmp_path, monkeypatch, sketches) -> Iterator[Workplace]:
    """Return a folder to work in; the command line's design is tiny, and knows few claims about the network."""
    few = ("truth", "average", "reward_blind", "record")
    monkeypatch.setattr(cases, "claims_of", lambda *given: [claim for claim in claims_of(*given) if claim.name in few])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("AD_HYPOTHESES_TRACEBACK", raising=False)
    monkeypatch.setattr(calibrate, "QUICK", TINY)
    case_of.cache_clear()  # another test may have loaded all claims
    yield Workplace(
        ROOT / "models", ROOT / "hypotheses" / "known", Scratch(tmp_path / "reports" / ".partial" / "calibration")
    )
    case_of.cache_clear()


def command(capsys, place: Workplace, *more: str) -> Ran:
    folders = ("--models", str(place.models), "--hypotheses", str(place.hypotheses))
    return run_main(("calibrate", "--only", NETWORK, "--quick", "--workers", "1", *folders, *more), capsys)


@pytest.mark.slow
def test_an_interrupted_calibration_goes_on_and_ends_as_if_nothing_had_been(place, capsys, monkeypatch):
    done: list[object] = []

    def interrupted(job, path, place):
        if len(done) == 2:
            done.append(None)
            raise KeyboardInterrupt
        done.append(job)
        run(job, path, place)

    monkeypatch.setattr(calibrating, "run", interrupted)
    stopped = command(capsys, place)
    assert stopped.code == 2
    assert "the same command goes on" in stopped.said
    assert len(list(place.scratch.folder.glob("*.jsonl"))) == 2
    ended = command(capsys, place, "--json")
    assert ended.code == 0, ended.err
    jobs = trial_jobs([NETWORK], TINY)
    assert len([job for job in done if isinstance(job, CalibrationTrial | Measures)]) == len(
        jobs
    )  # none was done twice
    assert not place.scratch.folder.exists()
    record = read_calibration(Path("reports/calibration-only-win-stay-quick-models-models-hypotheses-known.json"))
    case = case_of(NETWORK, place.models, place.hypotheses)
    assert len(record.outcomes) == len(case.claims) * 2
    assert {item.figure for item in record.coverage} == {"fidelity", "beyond_structure", "explained"}
    assert {"all", "after win"} <= {item.regime for item in record.coverage}
    assert json.loads(ended.out) == {
        "report": "reports/calibration-only-win-stay-quick-models-models-hypotheses-known.md",
        **json.loads(record.to_json()),
    }
    small = run_trial(case, next(job for job in jobs if isinstance(job, CalibrationTrial) and not job.replicate))
    kept = [one for one in record.outcomes if not one.replicate]
    whole, resumed = (dataclasses.replace(record, outcomes=some).to_json() for some in (small, kept))
    assert whole == resumed
    text = Path("reports/calibration-only-win-stay-quick-models-models-hypotheses-known.md").read_text()
    assert "## What got through" in text
    for picture in re.findall(r"\]\((\S+\.png)\)", text):
        assert (Path("reports") / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_calibration_from_python_returns_its_record_and_writes_and_prints_nothing(place, tmp_path, capsys):
    design = dataclasses.replace(TINY, replicates={12: 1}, covered={}, pairs=0, exact=(8, 8, 0), compared=8)
    listener = Listener()
    named = {"models": place.models, "hypotheses": place.hypotheses, "progress": listener}
    record = calibrating.calibrate([NETWORK], design, **named)
    case = case_of(NETWORK, place.models, place.hypotheses)
    assert [outcome.claim for outcome in record.outcomes] == [claim.name for claim in case.claims]
    assert (record.command, record.coverage) == ("", [])
    assert [title for title, _ in listener.phases] == ["loading", "testing claims", "counting intervals"]
    assert "5 claims about 1 network: 5 studies of one claim" in listener.lines[0]
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def idle_processes(monkeypatch) -> None:
    """Let the processes of a calibration load nothing."""
    monkeypatch.setattr(workers, "begin_worker", abs)


@pytest.mark.slow
def test_processes_that_are_killed_again_and_again_end_the_calibration_with_a_message(
    idle_processes, tmp_path, monkeypatch
):
    """As the system does when memory runs out; others are not waited for."""
    place = SimpleNamespace(scratch=Scratch(tmp_path / "calibration"))  # which takes no torch to be read
    listener = Listener()
    expected = (
        r"when memory runs out. What was done is kept in \S*calibration; .* with fewer of them: local:1 \(`engine`\)\."
    )
    with pytest.raises(UserError, match=expected):
        list(workers.Workers(2, say=listener.say).do(always_killed, [1, 2, 3], place.scratch.folder))
    assert not multiprocessing.active_children()
    assert sum("is done again" in line for line in listener.lines) == RETRIES


def test_processes_end_at_once_when_their_work_is_stopped(tmp_path):
    began = []

    def stop_at_the_first() -> None:
        with processes(2, os.getpid) as executor:
            executor.submit(time.sleep, 0).result()
            executor.submit(time.sleep, 3600)
            began.extend(multiprocessing.active_children())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_at_the_first()
    assert -signal.SIGTERM in {process.exitcode for process in began}
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--only", "win-sty"), "Did you mean 'win-stay'"),
        (("--workers", "0"), "at least 1"),
        (("--models", "nowhere"), "there is no model 'known-win-stay'"),
        (("--hypotheses", "nowhere"), "There is no hypothesis file nowhere/win_stay.py"),
        (("--seed", "-1"), "negative"),
    ],
)
def test_mistakes_are_refused_before_anything_is_run(place, capsys, arguments, words):
    found = command(capsys, place, *arguments)
    assert found.code == 2
    assert words in found.said
    assert not (Path("reports") / "calibration-only-win-stay-quick-models-models-hypotheses-known.md").exists()


def test_networks_are_chosen_by_name_with_or_without_their_prefix():
    assert chosen(["known-win-stay", "win-stay"]) == ["win-stay"]
    assert chosen([]) == list(cases.KNOWN)


def test_a_network_that_changes_meanwhile_is_not_mixed_with_what_it_was(place):
    job = Measures(NETWORK, 0, 24)
    with pytest.raises(UserError, match="changed while they were calibrated"):
        run(job, "of-other-weights", place)
    assert not place.scratch.folder.exists()


def test_every_job_is_kept_in_a_file_of_its_own(place):
    jobs = [*trial_jobs([NETWORK], TINY), *coverage_jobs([(NETWORK, "record")], TINY)]
    assert len({place.key(job) for job in jobs}) == len(jobs)
    assert all(calibrate.cost(job, place) > 0 for job in jobs)


def test_true_claims_are_tested_further_among_themselves(place):
    design = dataclasses.replace(TINY, replicates={12: 1}, of_truth={12: 2})
    trials_of = [job for job in trial_jobs([NETWORK], design) if isinstance(job, CalibrationTrial)]
    case = place.case(NETWORK)
    assert [len(job.claims(case)) < len(case.claims) for job in trials_of] == [False, True, True]
    assert {claim.verdict for claim in trials_of[1].claims(case)} == {"supported"}
    assert len({job.settings.seed for job in trials_of}) == 3  # none shares its histories with another
    assert {outcome.replicate for outcome in run_trial(case, trials_of[2])} == {2}


# the report


def test_a_record_survives_the_file(tmp_path):
    record = made_up()
    file = tmp_path / "calibration.json"
    file.write_text(record.to_json())
    assert read_calibration(file).to_json() == record.to_json()
    for text in ("", "[]", '{"schema": 99}'):
        file.write_text(text)
        with pytest.raises(DataError, match="Calibrate again"):
            read_calibration(file)


def test_the_answer_names_what_got_through_and_what_would_have_told():
    record = made_up()
    (through,) = got_through(record)
    assert (through[0].claim, through[1].count, through[1].trials) == ("fine", 3, 4)
    assert "swap share" in catches(record)["net: fine"]
    by_name = {one.measure: one for one in separations(record)}
    assert by_name["fidelity"].not_told_apart == ("net: fine",)
    assert by_name["swap share"].not_told_apart == ("net: coarse",)
    assert enough_rows(record) == 64
    assert [entry[0].claim for entry in got_through(record, IN_PART)] == ["coarse"]


def test_the_first_screen_has_the_numbers_that_matter():
    lines = "\n".join(headline(made_up()))
    assert "called refuted:** 0 of 4 studies (0%, 95 % interval 0% to 60%; 0 of 1 claim ever)" in lines
    assert "3 of 8 studies" in lines
    assert "Supported in some regimes: 1 of 8 studies" in lines
    assert "in 90% to 90% of 200 fresh data sets of 256 references" in lines


@pytest.mark.slow
def test_the_page_is_whole(tmp_path):
    written = write_calibration(made_up(), tmp_path)
    text = written[-1].read_text()
    assert all(path.stat().st_size > 100 for path in written)
    heads = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    assert heads == [
        "Calibration: how often verdicts are wrong",
        "What to use",
        "Sample size and accept",
        "Do intervals hold the exact value?",
        "Which measure tells wrong claims from true ones?",
        "What got through",
        "Depth, and features that go together",
        "Every claim",
        "Make it again",
    ]
    assert "| `net: claim` | all | fidelity | 256 | 0.5000 ± 0.0010 | 0.900 [0.850, 0.938] |" in text
    assert "| `net: claim` | all | fidelity | 256 | below | 10, 10 |" in text
    assert "*Intervals* of 2 of 2 figures are too narrow at 256 histories" in text
    assert "scatter 1.5 times as much as intervals claim, and lie 0.000 too high" in text
    assert "python cli.py calibrate" in text
    assert "abcdef0123456789" in text
    widths = [{line.count(" | ") for line in block.splitlines()} for block in re.findall(r"(?:^\|.*\n)+", text, re.M)]
    assert all(len(one) == 1 for one in widths)
    columns = (tmp_path / "calibration.csv").read_text().splitlines()[0].split(",")
    assert {"network", "claim", "kind", "rows", "data", "regime", "supported", IN_PART, "refused", "fidelity"} <= set(
        columns
    )


def test_a_true_claim_that_was_not_supported_is_named():
    record = made_up()
    vacuous = dataclasses.replace(outcome("net", "truth", "vacuous", 1.0, replicate=4), root_movement=0.044)
    text = page(dataclasses.replace(record, outcomes=[*record.outcomes, vacuous]))
    assert "| `net: truth` | vacuous 1 | 1.000 | 0.044 |" in text
    assert "vacuous: 1 (1 of 1 claim ever)" in text
    assert "under `net: truth` (4.4%), though the claim is true" in text
    assert "True claims that were not called supported" not in page(record)


def test_a_page_without_coverage_or_failures_says_so():
    record = made_up()
    fine = dataclasses.replace(
        record, coverage=[], claims=[one for one in record.claims if one.claim != "fine"],
        outcomes=[one for one in record.outcomes if one.claim != "fine"],
    )  # fmt: skip
    text = page(fine)
    assert "No wrong claim was called supported" in text
    assert "keeps a share strictly inside" in text
    assert "coverage.png" not in text


def outcome(
    network: str, claim: str, verdict: str, fidelity: float = 0.5, rows: int = 64, replicate: int = 0,
    swapped: float = 1.0, tested: float = 1.0,
) -> TrialOutcome:  # fmt: skip
    """A trial in which the claim keeps as much in every way, over all steps and in its one regime."""
    number = Number(fidelity, fidelity - 0.02, fidelity + 0.02)
    cells = [
        TrialCell("source", regime, regime != "all", rows, 0.3, *[number] * 6, fidelity, tested, swapped)
        for regime in ("all", "stay")
    ]
    verdicts = {"0.80": verdict, "0.90": verdict}
    return TrialOutcome(
        network, claim, rows, 256, 2, replicate, 3, 1 - fidelity, swapped, None, cells, verdicts
    )  # fmt: skip


def made_up() -> Calibration:
    """A calibration on one network, where an injective claim got through in three of four studies."""
    claims = [
        ClaimFacts("net", "truth", "true", "supported", "it is so", 2, 3, 1.0, 1.0, 0.0, 0.9, "a -> b", 0.5, 1.0),
        ClaimFacts(
            "net", "fine", "injective", "refuted", "too | fine", 3, 4, 0.99, math.nan, 0.0, 0.9, "a", 0.01, 1.0
        ),
        ClaimFacts(
            "net", "coarse", "coarser", "refuted", "lacks a part", 2, 3, 0.1, 0.7, 0.0, math.nan, "", 0.6, 0.4
        ),
    ]  # fmt: skip
    outcomes = []
    for n in range(4):
        outcomes += [
            outcome("net", "truth", "supported", 1.0, replicate=n, swapped=0.97),
            outcome("net", "fine", "supported" if n else "inconclusive", 1.0, replicate=n, swapped=0.1),
            outcome("net", "coarse", "refuted" if n else "supported in stay", 0.4, replicate=n),
            outcome("net", "truth", "supported" if n else "inconclusive", 1.0, rows=32, replicate=n),
        ]
    coverage = [
        Coverage(
            "net", "claim", "all", figure, rows, 1024, 200, 0.5, 0.001, 0.5, 0.03, 0.02, covered, 10, 190 - covered,
            covered,
        )
        for figure in ("fidelity", "beyond_structure")
        for rows, covered in ((64, 160), (256, 180))
    ]  # fmt: skip
    return Calibration(
        networks=[Network("net", "abcdef0123456789ffff", "a head copies (bandit)")],
        claims=claims,
        outcomes=outcomes,
        coverage=coverage,
        rows=64,
        accept=0.9,
        options={"seed": 0, "exact": [2048, 8192, 16]},
        command="python cli.py calibrate",
        versions={"numpy": "2"},
        seconds=600.0,
    )


def _named(values: np.ndarray) -> dict[str, float]:
    return {str(number): float(value) for number, value in enumerate(values)}
