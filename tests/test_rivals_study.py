"""Answers about pairs of claims, their record and page, and which rivals and data are looked at."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from known_claims import CLAIMS, MODELS

from ad_hypotheses.causal.rivals import needs
from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence.plain_data import Number, build, plain
from ad_hypotheses.language.history import History
from ad_hypotheses.language.load import load as load_claims
from ad_hypotheses.language.sites import mlp
from ad_hypotheses.studies.rivals.answer import (
    answer_to_pair,
    answer_to_question,
    closest_won,
    level_of,
    most_telling,
)
from ad_hypotheses.studies.rivals.choose import default_rivals, differing, fitting
from ad_hypotheses.studies.rivals.classes import ClaimClasses, RivalDataset
from ad_hypotheses.studies.rivals.page import outcome, rests_on, section, sentences
from ad_hypotheses.studies.rivals.record import Comparison, Elsewhere, Need, Rivalry
from ad_hypotheses.studies.rivals.study import compare, compare_claims, tell_apart
from ad_hypotheses.studies.scrub.bind import ScrubSettings, reference_histories

NOWHERE = Number(float("nan"), -np.inf, np.inf, estimable=False)


@pytest.mark.parametrize(
    ("share", "learners", "kl", "answer"),
    [
        (0.0, 0, NOWHERE, "empty"),
        (0.0, 100, NOWHERE, "empty"),
        (float("nan"), 0, NOWHERE, "untested"),
        (0.5, 19, Number(1.0, 0.9, 1.1), "untested"),
        (0.002, 20, Number(1.0, 0.9, 1.1), "needed"),
        (0.5, 200, Number(0.03, 0.021, 0.04), "needed"),
        (0.5, 200, Number(0.03, 0.02, 0.04), "open"),
        (0.5, 200, Number(0.01, -0.01, 0.019), "not needed"),
        (0.5, 200, Number(0.01, -0.01, 0.02), "open"),
        (0.5, 200, NOWHERE, "open"),
    ],
)
def test_a_question_is_answered_by_its_share_its_learners_and_its_interval(share, learners, kl, answer):
    assert answer_to_question(share, learners, kl) == answer


TABLE = {
    ("needed", "not needed"): "rival's",
    ("needed", "empty"): "rival's",
    ("needed", "needed"): "both",
    ("not needed", "not needed"): "neither",
    ("not needed", "empty"): "neither",
    ("empty", "empty"): "same",
}
SWAPPED = {"rival's": "claim's", "claim's": "rival's"}
ANSWERS = ("empty", "untested", "needed", "not needed", "open")


@pytest.mark.parametrize("rival", ANSWERS)
@pytest.mark.parametrize("claim", ANSWERS)
def test_two_answers_make_one_of_six(rival, claim):
    swapped = TABLE.get((claim, rival), "cannot tell")
    expected = TABLE.get((rival, claim), SWAPPED.get(swapped, swapped))
    assert answer_to_pair(rival, claim) == expected
    assert answer_to_pair(claim, rival) == SWAPPED.get(expected, expected)


def test_more_questions_make_wider_intervals():
    assert level_of(0) == level_of(1) == 0.95
    assert level_of(20) == pytest.approx(0.9975)


def rooms(x: np.ndarray, y: np.ndarray, name: str = "source", **fields) -> RivalDataset:
    """Return histories of two steps, in whose model the bit `x` is worth much, and `y` nothing."""
    n_rows = len(x)
    shape = (n_rows, 2)
    history = History(
        np.stack([x, y], axis=-1)[:, None].repeat(2, 1), np.zeros(shape, int), np.zeros(shape), np.zeros(shape, int),
        ("x", "y"), 2, learner=np.arange(n_rows),
    )  # fmt: skip
    chance = np.where(x, 0.9, 0.3)[:, None].repeat(2, 1)
    log_probs = np.log(np.stack([chance, 1 - chance], axis=-1))
    regimes = {"all": np.ones(shape, bool), "first": np.arange(2) == np.zeros(shape, int)}
    return RivalDataset(name, history, regimes, **({"log_probs": log_probs, "labelled": True} | fields))


def classes(name: str, *datasets: RivalDataset) -> ClaimClasses:
    """Return a claim that knows the channels in its name."""
    labels = {}
    for dataset in datasets:
        x, y = np.moveaxis(dataset.history.observations, -1, 0)
        labels[dataset.name] = {"x": x, "y": y, "xy": 2 * x + y, "nothing": 0 * x}[name]
    return ClaimClasses(name, f"{name}.py", labels)


def bits(n_rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.random.default_rng(seed).integers(0, 2, (2, n_rows)))


def test_whose_feature_is_needed_by_data_set_and_regime():
    apart, together = rooms(*bits(120)), rooms(bits(120)[0], bits(120)[0], "together")
    datasets = [apart, together]
    rivals = [classes(name, *datasets) for name in ("y", "xy", "nothing", "x")]
    by_rival = {rivalry.rival: rivalry for rivalry in compare(classes("x", *datasets), rivals, datasets)}
    answers = {name: [comparison.answer for comparison in rivalry.comparisons] for name, rivalry in by_rival.items()}
    assert answers == {
        "y": ["claim's", "claim's", "same", "same"],
        "xy": ["neither", "neither", "same", "same"],
        "nothing": ["claim's"] * 4,
        "x": ["same"] * 4,
    }
    assert [(comparison.data, comparison.regime) for comparison in by_rival["y"].comparisons] == [
        ("source", "all"), ("source", "first"), ("together", "all"), ("together", "first")
    ]  # fmt: skip
    first = by_rival["y"].comparisons[0]
    assert first.claim.answer == "needed"
    assert first.rival.answer == "not needed"
    assert first.claim.learners == 120
    # by regime: first two about y, one about xy and one about nothing; in the other data set one about nothing
    assert {rivalry.questions for rivalry in by_rival.values()} == {2 * (2 + 1 + 1 + 1)}


def test_the_loss_is_recorded_where_labels_are_what_a_model_should_predict():
    labelled, own = rooms(*bits(80)), rooms(*bits(80), "own", labelled=False)
    (rivalry,) = compare(classes("nothing", labelled, own), [classes("x", labelled, own)], [labelled, own])
    by_data = {comparison.data: comparison.rival for comparison in rivalry.comparisons}
    assert by_data["own"].loss is None
    assert by_data["source"].loss is not None
    # everybody does the first action: donors that differ lose log(0.9 / 0.3) more half of the time, and less as often
    assert by_data["source"].loss.value == pytest.approx(0.0, abs=0.2)
    assert by_data["source"].kl.low > 0.5


def test_few_learners_leave_a_question_untested_and_its_figure_without_an_interval():
    dataset = rooms(*bits(19))
    (rivalry,) = compare(classes("x", dataset), [classes("y", dataset)], [dataset])
    assert {comparison.answer for comparison in rivalry.comparisons} == {"cannot tell"}
    need = rivalry.comparisons[0].claim
    assert (need.answer, need.learners, need.kl.estimable) == ("untested", 19, False)
    assert rivalry.questions == 0
    assert "as few as 19 learners" in " ".join(sentences(rivalry))


def test_references_and_donors_of_one_learner_are_refused():
    dataset = rooms(*bits(30), donors=np.arange(30) >= 10)
    assert compare(classes("x", dataset), [classes("y", dataset)], [dataset])
    shared = replace(dataset, history=replace(dataset.history, learner=np.arange(30) // 3 % 7))
    with pytest.raises(DataError, match="source: a learner has histories among the references and among the donors"):
        compare(classes("x", shared), [classes("y", shared)], [shared])


def test_without_learners_each_row_is_one():
    dataset = rooms(*bits(40))
    unnamed = replace(dataset, history=replace(dataset.history, learner=None))
    assert compare(classes("x", unnamed), [classes("y", unnamed)], [unnamed]) == compare(
        classes("x", dataset), [classes("y", dataset)], [dataset]
    )


def need(answer: str, value: float = 0.5, learners: int = 50) -> Need:
    kl = Number(value, value - 0.01, value + 0.01, answer in ("needed", "not needed", "open"))
    return Need(kl, None, 0.25, 400, learners, answer)


def comparison(rival: str, claim: str, value: float = 0.5, regime: str = "explore", data: str = "source") -> Comparison:
    return Comparison(data, regime, need(rival, value), need(claim, value), answer_to_pair(rival, claim))


def rivalry(name: str, *comparisons: Comparison, elsewhere: list[Elsewhere] | None = None) -> Rivalry:
    return Rivalry("main", name, f"{name}.py", list(comparisons), 7, elsewhere or [])


def test_a_record_comes_back_from_json():
    elsewhere = [Elsewhere("edited:goal-moved", "all", 0.5, 30, 0.0, 0)]
    record = rivalry("other", comparison("needed", "empty"), elsewhere=elsewhere)
    assert build(Rivalry, json.loads(json.dumps(plain(asdict(record))))) == record
    measured = compare(*(lambda data: (classes("x", data), [classes("xy", data)], [data]))(rooms(*bits(60))))[0]
    again = build(Rivalry, json.loads(json.dumps(plain(asdict(measured)))))
    assert [comparison.answer for comparison in again.comparisons] == [
        comparison.answer for comparison in measured.comparisons
    ]
    assert np.isnan(again.comparisons[0].claim.kl.value) == np.isnan(measured.comparisons[0].claim.kl.value)
    broken = plain(asdict(record))
    broken["comparisons"][0]["rival"]["share"] = "half"
    with pytest.raises(ValueError, match=r"comparisons\[0\].rival.share is 'half', and should be a valid number"):
        build(Rivalry, broken)


def test_a_verdict_rests_on_the_rival_that_is_closest_and_on_those_that_are_unsettled():
    records = [
        rivalry("far", comparison("empty", "needed", 0.9)),
        rivalry("close", comparison("not needed", "needed", 0.077), comparison("needed", "empty", 0.01, "stay")),
        rivalry("unsettled", comparison("untested", "empty"), comparison("open", "needed", 0.5, "stay")),
    ]
    closest, of = closest_won(records)
    assert (closest.rival, of.claim.kl.value) == ("close", 0.077)
    text = rests_on(records)
    assert "`close` comes closest: what the claim adds to it is worth 0.077 [0.067, 0.087] nats on source" in text
    assert "`unsettled` cannot be told apart on source in *explore* and *stay*" in text
    assert "far" not in text
    assert rests_on([]) == "What this verdict rests on: no other claim about this model was compared."
    assert rests_on([rivalry("same", comparison("empty", "empty"))]).endswith("no rival lacks a needed feature.")


def test_a_sentence_says_how_many_rivals_have_what_the_claim_lacks_and_where_it_is_needed_most():
    hidden = rivalry(
        "tried",
        comparison("needed", "empty", 0.038, "all"),
        comparison("needed", "needed", 0.038, "explore"),
        comparison("empty", "needed", 0.9, "stay"),
    )
    assert outcome([hidden, rivalry("same", comparison("empty", "empty"))]) == (
        "Of 2 other claims, 1 distinguishes what the model needs and this claim lacks, `tried` most: worth 0.038 "
        "[0.028, 0.048] nats on source in *explore*; of those that lack what this one has, `tried` comes closest: on "
        "source in *stay* it is worth 0.900 [0.890, 0.910]."
    )
    assert outcome([rivalry("same", comparison("empty", "empty"))]) == (
        "None of 1 other claim distinguishes what the model needs and this claim lacks."
    )
    assert outcome([]) == ""


def test_other_data_are_named_where_most_learners_would_tell():
    options = [
        Elsewhere("edited:a", "explore", 0.1, 25, 0.5, 90),
        Elsewhere("edited:b", "explore", 0.1, 60, 0.5, 21),
        Elsewhere("edited:b", "stay", 0.1, 99, 0.5, 99),
    ]
    only_rival = rivalry("other", comparison("untested", "empty"), elsewhere=options)
    assert most_telling(only_rival) == options[1], "what the claim adds was settled, and stay was not asked about"
    only_claim = rivalry("other", comparison("needed", "open"), elsewhere=options)
    assert most_telling(only_claim) == options[0]
    alike = rivalry("other", comparison("empty", "empty"), elsewhere=options)
    assert most_telling(alike) == options[0]
    settled = rivalry("other", comparison("needed", "empty"), elsewhere=options)
    assert most_telling(settled) is None
    few = rivalry("other", comparison("untested", "empty"), elsewhere=[replace(options[0], rival_learners=19)])
    assert most_telling(few) is None
    assert "What could tell them apart: edited:b in *explore*, where 60 learners" in " ".join(sentences(only_rival))
    assert "None of the other data sets" in " ".join(sentences(few))


def test_the_page_has_a_sentence_for_each_answer_and_a_table():
    records = [
        rivalry("a|b", comparison("needed", "empty"), comparison("empty", "empty", regime="stay", data="own*")),
        rivalry("equal", comparison("empty", "empty", regime="all")),
    ]
    page = section(records)
    assert page.startswith("## Rivals\n\nWhat this verdict rests on")
    assert "- What `a\\|b` distinguishes is needed, and `main` lacks it on source in *explore*." in page
    assert "- `main` and `a\\|b` are the same end to end on own\\* in *stay*." in page
    assert "- `main` and `equal` are the same end to end on source." in page
    assert page.count("They differ in sites or graph only: compare what they recover.") == 1
    assert "| source | explore | 0.500 [0.490, 0.510] | nothing | `a\\|b` |" in page.splitlines()
    assert "1 comparison is left out, where nothing differs or too few learners show it." in page
    assert "| own\\* |" not in page, "a row in which nothing differs"
    assert page.count("| Data | Regime |") == 1, "no table without rows"
    thin = section([rivalry("thin", comparison("untested", "open", 0.3))])
    assert "| source | explore | untested, 50 learners | 0.300 [0.290, 0.310], open | cannot tell |" in thin
    assert "Intervals are so wide that all 7 of them hold together in 95% of cases." in page
    assert "Intervals are so wide" not in section([replace(record, questions=0) for record in records])
    assert "above 0.02, not needed" in page
    assert section([]) == ""


FILE = """\
from ad_hypotheses import Hypothesis, embed, logits, node

@node(at=embed("x") + embed("y"))
def cell(history):
    "Where it stands."
    return history.observations

@node(at=logits)
def choice(cell, history):
    "Anything."
    return -1 + 0 * history.actions

"""


def test_rivals_are_the_other_claims_about_the_model_in_the_file_and_beside_it(tmp_path: Path):
    claims = "main = Hypothesis(choice)\nagain = Hypothesis(choice)\nelsewhere = main.on(model='bandit')\n"
    (tmp_path / "main.py").write_text(FILE + claims + "control = main.on(cell=embed('x'))\n")
    (tmp_path / "other.py").write_text(FILE + "rival = Hypothesis(choice)\nmoved = rival.on(cell=embed('x'))\n")
    (tmp_path / "bandits.py").write_text(FILE + "bandit = Hypothesis(choice, model='bandit')\n")
    (tmp_path / "broken.py").write_text(FILE + "broken = Hypothesis(choice)\nraise ValueError('no')\n")
    (tmp_path / "helpers.py").write_text("raise ValueError('run, although it has no claim')\n")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "inner.py").write_text(FILE + "inner = Hypothesis(choice)\n")
    siblings = load_claims(tmp_path / "main.py")
    rivals, broken = default_rivals(siblings[0], siblings)
    assert [rival.name for rival in rivals] == ["again", "rival"]
    assert [Path(file).name for file in broken] == ["broken.py"]
    assert "fails while it is loaded" in next(iter(broken.values()))


def test_rivals_that_distinguish_the_same_are_left_out():
    dataset, together = rooms(*bits(40)), rooms(bits(40)[0], bits(40)[0], "together")
    rivals = [classes(name, dataset, together) for name in ("y", "x", "xy")]
    claim = classes("x", dataset, together)
    assert [rival.name for rival in differing(claim, rivals, [dataset, together])] == ["y", "xy"]
    assert differing(claim, rivals, [together]) == []


@pytest.fixture(scope="module")
def win_stay():
    """Return a known bandit, its true claim, one that lacks the reward, and histories with the model's run."""
    checkpoint = load("known-win-stay", MODELS)
    history = reference_histories(checkpoint, ScrubSettings(rows=64))
    task = checkpoint.experiment.task
    source = RivalDataset.of("source", history[:24], task, history[24:], checkpoint, labelled=True)
    by_name = {claim.name: claim for claim in load_claims(CLAIMS / "win_stay.py")}
    return checkpoint, by_name, source


def test_claims_are_bound_and_compared(win_stay):
    checkpoint, by_name, source = win_stay
    truth, finer, echo = (by_name[name] for name in ("truth", "two_pulls", "echo"))
    against_finer, against_echo = compare_claims(truth, [finer, echo], checkpoint, [source])
    assert {comparison.answer for comparison in against_echo.comparisons} == {"same"}, "the same claim at another site"
    whole = against_finer.comparisons[0]
    assert whole.claim.answer == "empty"
    assert whole.rival.kl.value == pytest.approx(0, abs=1e-5)
    assert whole.answer == "neither"
    assert against_finer.file.endswith("win_stay.py")


def test_data_that_could_tell_two_claims_apart_are_looked_for_only_if_they_are_needed(win_stay):
    checkpoint, by_name, source = win_stay
    truth, finer = by_name["truth"], by_name["two_pulls"]
    task = checkpoint.experiment.task
    history = source.history
    same_arm = replace(history, actions=0 * history.actions, rewards=0 * history.rewards)
    pulled_once = RivalDataset.of("edited:one-arm", same_arm[:24], task, same_arm[24:])

    def families():
        yield pulled_once
        yield RivalDataset("edited:later", source.history, source.regimes, source.donors)

    (settled,) = compare_claims(truth, [finer], checkpoint, [source])
    assert tell_apart(settled, truth, finer, checkpoint, lambda: pytest.fail("they are not needed")) is settled
    run = RivalDataset.of("run", pulled_once.history, task, checkpoint=checkpoint)
    (alike,) = compare_claims(truth, [finer], checkpoint, [replace(pulled_once, log_probs=run.log_probs)])
    assert {comparison.answer for comparison in alike.comparisons} == {"same"}
    assert {comparison.regime for comparison in alike.comparisons} < set(pulled_once.regimes), "nobody ever wins"
    looked = tell_apart(alike, truth, finer, checkpoint, families)
    assert looked.comparisons == alike.comparisons
    assert {comparison.data for comparison in looked.elsewhere} == {"edited:one-arm", "edited:later"}
    best = most_telling(looked)
    assert best.data == "edited:later"
    expected = needs(*(ClaimClasses.bound(claim, checkpoint, [source]).labels["source"] for claim in (truth, finer)),
                     source.data("step"), source.regimes)[0][best.regime].reach  # fmt: skip
    assert (best.rival_share, best.rival_learners) == (expected.share, expected.learners)


def test_rivals_that_do_not_fit_are_named_with_the_reason(win_stay):
    checkpoint, by_name, source = win_stay
    unfit = by_name["truth"].on(score=mlp(7))
    classes, reasons = fitting([by_name["two_pulls"], replace(unfit, name="deep")], checkpoint, [source])
    assert [claim.name for claim in classes] == ["two_pulls"]
    assert list(reasons) == ["deep"]
    assert "mlp(7)" in reasons["deep"]


def test_a_data_set_is_references_before_a_pool_of_other_learners(win_stay):
    checkpoint, _, source = win_stay
    assert source.donors.tolist() == 24 * [False] + 40 * [True]
    assert next(iter(source.regimes)) == "all"
    assert source.data("step").references.sum() == 24
    task, history = checkpoint.experiment.task, source.history
    with pytest.raises(DataError, match="number the learners of the pool apart"):
        RivalDataset.of("source", history[:24], task, history[20:]).data("step")
