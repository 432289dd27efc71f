"""The battery on contexts whose answer is known, its controls, and what becomes of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ad_hypotheses.distill.checkpoint import Checkpoint, build, load
from ad_hypotheses.distill.config import check_config
from ad_hypotheses.errors import DataError
from ad_hypotheses.ladder.catalogue import LADDER, fitting
from ad_hypotheses.ladder.run import predict
from ad_hypotheses.language.history import History
from ad_hypotheses.progress import Progress
from ad_hypotheses.sources import DynaQ, Scripted
from ad_hypotheses.studies import records
from ad_hypotheses.studies.behave import arms, rooms, study
from ad_hypotheses.studies.behave import pictures as plots
from ad_hypotheses.studies.behave.battery import BATTERY, TESTS
from ad_hypotheses.studies.behave.condition import (
    Condition,
    Subject,
    at_last,
    decided,
    difference_at_last,
    divergence,
    likeliest_over_steps,
    over_steps,
    same_likeliest,
)
from ad_hypotheses.studies.behave.graphs import known_ways, source_is_sure
from ad_hypotheses.studies.behave.living import moved, remapped
from ad_hypotheses.studies.behave.measure import MeasuredCell, _cell, judged, probabilities
from ad_hypotheses.studies.behave.mixture import Shown, distinct, fitted_weights, mixtures
from ad_hypotheses.studies.behave.page import compared, draw_report, page, write_behaviour
from ad_hypotheses.studies.behave.record import Behaviour, ModelBehaviour, RungRecord, read_behaviour
from ad_hypotheses.studies.behave.study import background_of, behave
from ad_hypotheses.studies.behave.tracking import log_odds, track
from ad_hypotheses.studies.data import histories
from ad_hypotheses.studies.evaluate.choose import CheckpointChoice
from ad_hypotheses.studies.evaluate.figures import task_numbers
from ad_hypotheses.tasks import GraphWorld, trust
from ad_hypotheses.tasks.edits.lives import answered
from ad_hypotheses.tasks.play import play, uniform

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "models"


@pytest.fixture(autouse=True)
def few_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rungs take their numbers from fewer lives than they would; a rule takes long to live."""
    monkeypatch.setattr(study, "FEWEST_LIVES", 8)
    monkeypatch.setattr(study, "LIVES", 16)


@cache
def subject_of(name: str, rows: int = 6, lives: int = 8) -> Subject:
    checkpoint = load(name, MODELS)
    return Subject(checkpoint, background_of(checkpoint, lives), rows, 0)


@pytest.fixture(scope="module")
def gate() -> Subject:
    return subject_of("known-gate")


@pytest.fixture(scope="module")
def win_stay() -> Subject:
    return subject_of("known-win-stay")


def arrivals(condition: Condition, cells: np.ndarray, subject: Subject) -> np.ndarray:
    """How often each life came to a cell, as its tokens show."""
    history = condition.contexts[0].history
    here = subject.task.square.cells(history.observations.reshape(-1, 2)).reshape(history.shape)
    return ((here == cells[:, None]) & ~history.episode_start).sum(axis=1)


def test_a_dose_is_so_many_paid_visits_and_nothing_else(gate: Subject):
    conditions = rooms.dose(gate)
    assert [condition.x for condition in conditions] == [0, 1, 2, 3, 4]
    for condition in conditions:
        history = condition.contexts[0].history
        assert history.rewards.sum(axis=1).tolist() == [condition.x] * 6
        assert arrivals(condition, condition.places, gate).tolist() == [condition.x] * 6
        assert (history.observations[:, -1] == gate.task.square.centre).all()
        assert history.n_steps == 5 * gate.task.horizon + 1
        assert bool(history.episode_start[:, -1].all())
    # the later episodes are the same life, whatever came before
    first, second = (condition.contexts[0].history for condition in conditions[1:3])
    assert (first.actions[:, :30] == second.actions[:, :30]).all()


@pytest.mark.parametrize("name", ["known-gate", "key-to-door", pytest.param("dark-room-hard", marks=pytest.mark.slow)])
@pytest.mark.parametrize("test", ["dose", "failure", "stale", "which", "paid"])
@pytest.mark.default_cases(3)
def test_the_world_answers_as_a_built_life_says(name: str, test: str):
    subject = subject_of(name, 3)
    for condition in TESTS[test].conditions(subject):
        history, spans = condition.contexts[0].history, condition.contexts[0].spans
        for number, span in enumerate(spans):
            last = spans[number + 1].first if number + 1 < len(spans) else history.episode[0, -1]
            steps = slice(span.first * subject.task.horizon, int(last) * subject.task.horizon)
            if steps.start < steps.stop:
                part = history.window(steps.start, steps.stop)
                answer = answered(span.world, span.facts, part, np.random.default_rng(0))
                assert (answer.observations == part.observations).all()
                assert (answer.rewards == part.rewards).all()


def test_others_earn_about_the_same_and_end_where_the_source_does():
    subject = subject_of("key-to-door", 3)
    own, others = (context.history for context in TESTS["foreign"].conditions(subject)[0].contexts)
    assert (own.observations[:, -1] == others.observations[:, -1]).all()
    assert (own.actions != others.actions).mean() > 0.2
    assert np.abs(own.rewards.sum(axis=1) - others.rewards.sum(axis=1)).max() <= 4


def test_failures_come_after_the_pay_and_two_cells_are_told_apart(gate: Subject):
    for condition in rooms.failure(gate):
        assert condition.contexts[0].history.rewards.sum(axis=1).tolist() == [1.0] * 6
        assert arrivals(condition, condition.places, gate).tolist() == [condition.x + 1] * 6
    towards = [condition.measure([np.full((6, 51, 5), 0.2)])[0] for condition in rooms.which(gate)]
    assert all((chance < 0.5).all() for chance in towards)
    paid = [condition.contexts[0].history.rewards.sum(axis=1)[0] for condition in rooms.which(gate)]
    assert paid == [2, 3, 2, 3, 2]


@pytest.mark.parametrize("name", ["known-gate", "known-win-stay"])
def test_what_is_paid_differs_and_what_is_done_does_not(name: str):
    conditions = TESTS["paid"].conditions(subject_of(name))
    assert [condition.x for condition in conditions] == ([1, 2, 4, 8] if name == "known-win-stay" else [1, 2])
    for condition in conditions:
        first, second = (context.history for context in condition.contexts)
        assert (first.actions == second.actions).all()
        assert (first.observations == second.observations).all()
        assert ((first.rewards != second.rewards).sum(axis=1) == 2 * condition.x).all()
        assert (first.rewards.sum(axis=1) == second.rewards.sum(axis=1)).all()


def test_failures_come_before_the_pay_or_after_it(gate: Subject):
    conditions = TESTS["stale"].conditions(gate)
    assert [condition.x for condition in conditions] == [1, 2, 4]
    for condition in conditions:
        late, early = (context.history for context in condition.contexts)
        assert (late.actions == early.actions).all()
        assert (late.observations == early.observations).all()
        assert (late.rewards.sum(axis=1) == 1).all()
        since = late.rewards.argmax(axis=1) - early.rewards.argmax(axis=1)
        assert (np.abs(since / gate.task.horizon - condition.x) < 1).all()
        assert arrivals(condition, condition.places, gate).tolist() == [condition.x + 1] * 6


def test_pulls_are_put_together_as_they_are_called(win_stay: Subject):
    for condition in arms.dose(win_stay):
        history = condition.contexts[0].history
        assert history.rewards.sum(axis=1).tolist() == [condition.x + 4] * 6  # each of the other arms once
        counts = np.sort(history.action_counts()[:, -1], axis=1)
        assert (counts == np.sort([condition.x, 2, 2, 2, 2])).all()
    failures = arms.failure(win_stay)[2].contexts[0].history
    assert (failures.actions[:, -3:-1] == failures.actions[:, -2:-1]).all()
    assert (failures.rewards[:, -3:-1] == 0).all()
    assert arms.lacks_values(win_stay) == "its tasks pay 0 and 1 only"


def test_figures_of_cells_by_hand():
    chance = np.array([[[0.5, 0.25, 0.25], [0.1, 0.6, 0.3]]])
    other = np.array([[[0.5, 0.25, 0.25], [0.6, 0.1, 0.3]]])
    critical = np.array([[False, True, True]])
    assert at_last(critical)([chance])[0] == pytest.approx([0.9])
    pull, rows = difference_at_last(critical)([chance, other])
    assert (pull, rows) == (pytest.approx([0.9 - 0.4]), [1.0])
    inside = np.array([[True, True]])
    above, below = over_steps(np.tile(critical[:, None], (1, 2, 1)), inside)([chance])
    assert (above.tolist(), below.tolist()) == ([pytest.approx(1.4)], [2.0])
    assert divergence(inside)([chance, other])[0] == pytest.approx([0.1 * np.log(1 / 6) + 0.6 * np.log(6)])
    same, steps = same_likeliest(inside)([chance, other])
    assert (same.tolist(), steps.tolist()) == ([1.0], [2.0])


def test_a_way_is_whole_if_one_episode_went_it():
    world = GraphWorld(states=4, actions=2, horizon=4)
    # 0 -0-> 1 -0-> 2, where it is paid; then 0 -1-> 3 -0-> 0; then from 1 the other way, 1 -1-> 3 and 3 -1-> 2, paid
    seen = [0, 1, 2, 0, 0, 3, 0, 1, 0, 1, 3, 2]
    done = [0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 1, 0]
    paid = [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    life = History(np.array(seen)[None, :, None], np.array([done]), np.array([paid], dtype=np.float32),
                   np.repeat(np.arange(3), 4)[None], ("state",), 2)  # fmt: skip
    length, best, whole = known_ways(life, world)
    # at step 6, in state 0: two steps by way 0 and four by way 1; the first episode went the two
    assert length[0, 6] == 2
    assert best[0, 6].tolist() == [True, False]
    assert whole[0, 6]
    # at step 7 the other way out of state 1 has not been tried
    assert length[0, 7] == 0


def test_weights_are_those_that_a_mixture_was_made_of():
    rng = np.random.default_rng(0)
    rungs = rng.dirichlet(np.ones(4), size=(3, 500))
    model = np.tensordot([0.6, 0.0, 0.4], rungs, axes=1)
    assert fitted_weights(model, rungs, np.ones(500)) == pytest.approx([0.6, 0, 0.4], abs=0.01)
    shown = Shown("source", model.reshape(20, 25, 4), dict(zip("abc", rungs.reshape(3, 20, 25, 4), strict=True)),
                  {"few": np.eye(20, 25, dtype=bool)}, np.arange(20))  # fmt: skip
    (record,) = mixtures(shown, 0)  # the regime of 20 decisions is too small
    assert record.regime == "all"
    assert record.weights["a"].value == pytest.approx(0.6, abs=0.03)
    assert record.unexplained.value == pytest.approx(0, abs=1e-3)
    assert record.alone["b"].value > 0.1
    entropy = -(model * np.log(model)).sum(axis=1).mean()
    assert record.uniform + record.entropy == pytest.approx(np.log(4))
    assert record.entropy == pytest.approx(entropy, abs=0.1)


def test_rungs_that_do_the_same_count_once():
    one = np.full((2, 3, 2), 0.5)
    assert distinct({"belief": one, "gate": one * 0.9, "source": one.copy()}) == {"source": "belief"}


def test_tracking_by_hand():
    rung = np.array([0.3, 0.4, 0.6, 0.7])
    cells, clusters = np.array([0, 0, 1, 1]), np.arange(4)
    exact = track("source", rung, rung, cells, clusters, 0)
    assert (exact.slope.value, exact.intercept.value, exact.r2.value) == pytest.approx((1, 0, 1))
    assert exact.within.value == pytest.approx(1)
    # equal averages alone: no slope within cells
    odds = log_odds(rung)
    averages = 1 / (1 + np.exp(-np.repeat([odds[:2].mean(), odds[2:].mean()], 2)))
    alike = track("source", averages, rung, cells, clusters, 0)
    assert alike.slope.value > 0.8
    assert (alike.within.value, alike.within_r2.value) == pytest.approx((0, 0))


def cells(**values: tuple[float, float]) -> list[MeasuredCell]:
    """Two cells of ten rows, with what everybody does in them."""
    return [
        MeasuredCell(label, number, {who: (np.full(10, pair[number]), np.ones(10)) for who, pair in values.items()},
                     np.arange(10))
        for number, label in enumerate(("0 paid visits", "4 paid visits"))
    ]  # fmt: skip


def test_the_source_is_sure_unless_something_untried_is_worth_more():
    task, source = GraphWorld(states=6, actions=2, horizon=8), DynaQ(gamma=0.8, initial_value=2.0)
    life = play(task, task.sample_tasks(np.random.default_rng(0), 32), uniform(task), 11, np.random.default_rng(1))
    length, best, _ = known_ways(life, task)
    sure = source_is_sure(source, life, task, best)
    assert [bool(sure[length == steps].all()) for steps in (1, 4)] == [True, False]
    assert (
        source_is_sure(replace(source, initial_value=0.0), life, task, best)[length > 0].mean()
        > sure[length > 0].mean()
    )
    assert not source_is_sure(Scripted("reflex"), life, task, best).any()


def test_equally_likely_actions_share_the_first_place():
    shown = np.array([[[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.2, 0.6, 0.2]]])
    critical = np.array([[[True, False, False], [True, False, False], [True, False, True]]])
    inside = np.array([[True, True, True]])
    above, below = likeliest_over_steps(critical, inside)([shown])
    assert (above.tolist(), below.tolist()) == ([1.5], [3.0])
    above, below = likeliest_over_steps(critical, inside & [False, True, False])([shown])
    assert (above.tolist(), below.tolist()) == ([0.5], [1.0])


def test_a_test_is_reported_if_its_controls_hold():
    sound = judged(TESTS["dose"], cells(model=(0.4, 0.7), untrained=(0.4, 0.41), novice=(0.3, 0.3), gate=(0.3, 1.0),
                                        source=(0.4, 0.75)))  # fmt: skip
    assert sound.reported
    assert sound.effects["model"].value == pytest.approx(0.3)
    assert "source is nearest" in sound.sentence
    assert sound.contrasts["step"]["model"].value == pytest.approx(0.3)
    assert sound.control == "gate shows it (0.70), and an untrained network does not"
    blunt = judged(TESTS["dose"], cells(model=(0.4, 0.7), untrained=(0.4, 0.4), novice=(0.3, 0.3), gate=(0.3, 0.35)))
    assert not blunt.reported
    assert blunt.sentence.startswith("Nothing is concluded: gate, which should, does not show it (0.05")
    leaky = judged(TESTS["dose"], cells(model=(0.4, 0.7), untrained=(0.2, 0.5), novice=(0.3, 0.3), gate=(0.3, 1.0)))
    assert not leaky.reported
    assert leaky.control == "an untrained network shows it too (0.30)"
    absent = judged(TESTS["dose"], cells(model=(0.4, 0.7), untrained=(0.4, 0.4), novice=(0.3, 0.3)))
    assert "none of the rungs that could show the effect (gate, counting) can be run" in absent.control


def test_both_contexts_of_a_pair_are_decisions_that_are_tracked(gate: Subject):
    (first, second), critical = np.full((2, 6, 3, 5), 0.2), np.eye(5, dtype=bool)[[2] * 6]
    second[:, -1] = [0.05, 0.05, 0.8, 0.05, 0.05]
    contexts = rooms.paid(gate)[0].contexts
    cell = _cell(decided("pair", contexts, critical), [{"model": first}, {"model": second}])
    assert [chances["model"][0] for chances in cell.decisions] == pytest.approx([0.2, 0.8])
    assert cell.sums["model"][0][0] == pytest.approx(0.2 - 0.8)
    (alone,) = _cell(decided("one", contexts[:1], critical), [{"model": second}]).decisions
    assert alone["model"][0] == pytest.approx(0.8)


def test_a_rise_has_the_interval_of_the_same_contexts():
    """Rows that differ much, but all rise by the same: the rise is certain where the cells are not."""
    chance, rows = np.linspace(0.1, 0.5, 10), np.ones(10)
    rising = [
        MeasuredCell(str(number), number, dict.fromkeys(("model", "gate", "novice", "untrained"), (chance * up, rows)),
                     np.arange(10))
        for number, up in ((1, 1.0), (2, 1.2))
    ]  # fmt: skip
    rising += [replace(rising[0], label="4", x=4, sums=dict.fromkeys(rising[0].sums, (chance + 0.3, rows)))]
    record = judged(TESTS["paid"], rising)
    assert record.contrasts["step"]["model"] == record.cells[0].values["model"]
    rise = record.contrasts["rise"]["model"]
    assert (rise.value, rise.low, rise.high) == pytest.approx((0.3, 0.3, 0.3))
    assert record.effects["model"].high - record.effects["model"].low > 0.1


TOLD_APART = [
    ("known-gate", "gate"),
    ("known-ngram", "habit-often"),
    ("known-reflex", "reflex"),
    pytest.param("known-retrieval", "gate", marks=pytest.mark.slow),
    pytest.param("known-superstition", "gate", marks=pytest.mark.slow),
    pytest.param("known-schedule", "novice", marks=pytest.mark.slow),
    pytest.param("known-win-stay", "reflex", marks=pytest.mark.slow),
    pytest.param("known-leader", "counting", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "expected"), TOLD_APART)
@pytest.mark.default_cases(2)
def test_known_networks_are_told_apart_by_their_greatest_share(name: str, expected: str):
    """Without the highest rung, which is the rule of a known network itself."""
    subject = subject_of(name, 64, 128)
    life = histories(subject.checkpoint, 64, "source", [0, 2], "held-out").history
    rungs, _ = fitting(subject.background, tuple(rung for rung in LADDER if rung.name != "source"))
    shown = {rung.name: predict(rung.fit(subject.background), life, subject.task) for rung in rungs}
    model = Shown("source", probabilities(subject.checkpoint.model, life), shown, {}, task_numbers(life.task))
    (record,) = mixtures(model, 0)
    assert max(record.weights, key=lambda rung: record.weights[rung].value) == expected


@pytest.mark.slow
def test_a_gate_behaves_as_a_gate():
    found = gate_found()
    dose, failure, which, _ = found.tests
    assert dose.reported
    model, rung = ([cell.values[who].value for cell in dose.cells] for who in ("model", "gate"))
    assert model[1] - model[0] > 0.3  # a step,
    assert np.ptp(model[1:]) < 0.05  # and no slope
    assert np.ptp(rung[1:]) == 0
    assert failure.effects["model"].value == pytest.approx(0, abs=0.05)  # the goal is remembered
    assert [cell.values["model"].value > 0.5 for cell in which.cells] == [True, False, False, False, False]
    assert found.left_out == {}


@cache
def gate_found() -> ModelBehaviour:
    return asked("known-gate", "dose", "failure", "which", "planted")


def asked(name: str, *tests: str, **settings: Any) -> ModelBehaviour:
    choice = CheckpointChoice(name, subject_of(name).checkpoint)
    (found,) = behave([choice], tests=tests or None, data="source", **{"contexts": 8, "seeds": 2, **settings}).subjects
    return found


def test_what_is_moved_and_what_is_remapped(gate: Subject):
    lives = moved(gate)
    before, after = lives.segments
    assert (before.facts["goal"] != after.facts["goal"]).any(axis=1).all()
    assert [label for label, *_ in lives.measure(blank(gate))] == ["episode 1", "episode 2", "episode 3"]
    assert all(x == number + 1 for number, (_, x, _) in enumerate(lives.measure(blank(gate))))
    (segment,) = remapped(gate).segments
    needs = (segment.facts["goal"][:, 0] != gate.task.square.centre[0]).sum()
    labels = {label: int((sums[1] > 0).sum()) for label, _, sums in remapped(gate).measure(blank(gate))}
    assert labels.get("needed", needs) == needs


@pytest.mark.parametrize(("name", "fact"), [("key-to-door", "door"), ("known-win-stay", "means")])
def test_what_moves_is_what_the_family_declares(name: str, fact: str):
    before, after = (segment.facts for segment in moved(subject_of(name, 3)).segments)
    assert (np.asarray(before[fact]) != after[fact]).reshape(3, -1).any(axis=1).all()
    assert all((np.asarray(before[other]) == after[other]).all() for other in before if other != fact)


def blank(subject: Subject) -> History:
    own = subject.own
    return replace(own, rewards=np.zeros_like(own.rewards))


def test_every_test_says_why_it_cannot_be_done(gate: Subject, win_stay: Subject):
    assert {test.name: reason for test in BATTERY if (reason := test.lacks(gate))} == {
        "stitched": "the ways of its tasks are not unknown",
        "value": "its tasks pay 0 and 1 only",
    }
    reasons = {test.name: test.lacks(win_stay) for test in BATTERY if test.lacks(win_stay)}
    assert set(reasons) == {"stale", "remapped", "stitched", "detour", "foreign", "reversed", "planted", "value"}
    assert reasons["remapped"].startswith("its actions have no meaning across tasks")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contexts": 1}, "`contexts` is 1, but an interval needs at least 2"),
        ({"seeds": 0}, "`seeds` is 0, but the source needs at least 1 learner"),
        ({"tests": ["doses"]}, "there is no test 'doses'. Did you mean 'dose'"),
        ({"data": "sources"}, "there is no data set 'sources'"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, Any], message: str):
    choice = CheckpointChoice("known-gate", load("known-gate", MODELS))
    with pytest.raises(DataError, match=message):
        behave([choice], **{"contexts": 4, "seeds": 1, "tests": ["dose"], **settings})


class Parts(Progress):
    """Counts the parts that were done, and may stop after so many."""

    def __init__(self, stop_after: int = 99) -> None:
        self.done, self.stop_after = 0, stop_after

    def reach(self, done: int, note: str = "") -> None:
        self.done += 1
        if self.done == self.stop_after:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_what_was_measured_is_not_measured_again(tmp_path: Path):
    whole = asked("known-gate", "order", "planted", contexts=2, kept=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        asked("known-gate", "order", "planted", contexts=2, kept=tmp_path / "parts", progress=Parts(stop_after=2))
    rest = Parts()
    resumed = asked("known-gate", "order", "planted", contexts=2, kept=tmp_path / "parts", progress=rest)
    assert rest.done == 1
    assert repr(resumed) == repr(whole)


def made_up() -> Behaviour:
    model = gate_found()
    model = replace(model, tests=model.tests[:1])
    return Behaviour("python cli.py behave known-gate", 8, 2, 0, {"numpy": "2"}, [model, replace(model, name="a/b")])


@pytest.mark.pictures
@pytest.mark.slow
def test_pictures_of_tests_with_and_without_order_are_painted():
    for test in (gate_found().tests[0], gate_found().tests[-1]):
        assert plots.draw_test(test, "known-gate").startswith(b"\x89PNG")
    assert len(plots.draw_mixtures(gate_found())) > 5000


@pytest.mark.slow
def test_a_record_comes_back_and_draws_the_same_report(tmp_path: Path, sketches: None):
    behaviour = made_up()
    page = write_behaviour(behaviour, tmp_path)[-1]
    record = page.with_suffix(".json")
    assert read_behaviour(record).to_json() == behaviour.to_json()
    text = page.read_text(encoding="utf-8")
    assert "| known-gate | source |" in text.replace("`", "")  # a known network is its rule
    assert "How does the pull of a place grow" in text
    assert "python cli.py behave known-gate" in text
    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert records.redraw(record, tmp_path / "again")[-1].read_bytes() == page.read_bytes()
    again = tmp_path / "again"
    assert {
        path.relative_to(again).as_posix(): path.read_bytes() for path in again.rglob("*") if path.is_file()
    } == files
    assert draw_report(behaviour).keys() == files.keys()


def test_models_that_were_asked_together_are_compared_cell_by_cell():
    controls = {"untrained": (0.4, 0.4), "novice": (0.3, 0.3), "gate": (0.3, 1.0)}
    tests = [judged(TESTS["dose"], cells(model=(share, 0.75), **controls)) for share in (0.25, 0.5)]
    whole, part = tests[0], replace(tests[1], cells=tests[1].cells[1:])
    first, second = (
        ModelBehaviour(name, "0" * 64, "room", "rule", 1, 4, [RungRecord("gate", 4, "walks", "failures")], {}, [test],
                       {}, [], [], [])
        for name, test in (("first", whole), ("second", part))
    )  # fmt: skip
    heads, _, one, other = str(compared([first, second])["dose"]).splitlines()
    assert heads == "| model | 0 paid visits | 4 paid visits |"
    assert one == "| `first` | 0.25 [0.25, 0.25] | 0.75 [0.75, 0.75] |"
    assert other == "| `second` | - | 0.75 [0.75, 0.75] |"
    behaviour = Behaviour("behave", 8, 2, 0, {}, [first, second])
    assert "What the models do in the test *dose*" in page(behaviour, "behaviour")
    assert "What the models do" not in page(replace(behaviour, subjects=[first]), "behaviour")


def test_a_report_says_what_was_not_done():
    model = ModelBehaviour("m", "0" * 64, "room", "rule", 1, 4, [RungRecord("gate", 4, "walks", "failures")],
                           {"library": "there are no goals"}, [], {"value": "it pays 0 and 1"}, [], [], [])  # fmt: skip
    files = draw_report(Behaviour("behave m", 2, 1, 0, {}, [model]))
    text = files["behave-m.md"].decode()
    assert "- value: it pays 0 and 1" in text
    assert "- library was not run: there are no goals." in text
    assert "- 4 gate: walks; it ignores failures." in text


OWN_RUNG = """
import numpy as np
from ad_hypotheses.ladder.rung import Rung

class Stays:
    def __init__(self, n_rows, n_actions):
        self.policy = np.tile(np.eye(n_actions)[0], (n_rows, 1))
    def decide(self, sight):
        return self.policy

def fit(background):
    return lambda spans, n_rows, rng: Stays(n_rows, background.task.n_actions)

RUNGS = [Rung("stays", 9, "does the first action", "everything", fit)]
"""
FEW = ("--contexts", 4, "--source-seeds", 2, "--data", "source")


def test_the_command_line_asks_a_model_and_a_rung_of_the_users_own(cli, workplace):
    (workplace / "mine.py").write_text(OWN_RUNG, encoding="utf-8")
    ran = cli("behave", "tiny", "--test", "planted", "--rung", "mine.py", *FEW, "--json")
    assert ran.code == 0, ran.err
    record = read_behaviour(Path(json.loads(ran.out)["record"]))
    (model,) = record.subjects
    assert [rung.name for rung in model.rungs][-1] == "stays"
    assert model.tests[0].cells[0].values["stays"].value in (0.0, pytest.approx(0.0))
    assert record.command.endswith(
        "behave tiny --test planted --rung mine.py --contexts 4 --source-seeds 2 --data source --seed 0"
    )
    assert (workplace / json.loads(ran.out)["report"]).is_file()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("--test", "plant"), "there is no test 'plant'. Did you mean 'planted'"),
        (("--rung", "mine.py"), "cannot read the file of rungs mine.py"),
        (("--contexts", 1), "1 is too few: at least 2"),
        (("--source-seeds", 0), "0 is too few: at least 1"),
        (("--data", "sauce"), "there is no data set 'sauce'"),
    ],
)
def test_what_cannot_be_asked_is_refused(cli, typed, message):
    ran = cli("behave", "tiny", *typed)
    assert (ran.code, ran.out) == (2, "")
    assert message in " ".join(ran.err.split())


@pytest.mark.slow
def test_a_task_of_the_users_own_is_asked_about_without_more(tmp_path, monkeypatch):
    """The example of the documentation: a corridor, of which the ladder knows nothing but what a task declares."""
    docs = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", docs, re.DOTALL) if "class " in block)
    (tmp_path / "corridor.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    trust("corridor.py")
    content = {
        "task": {"name": "corridor.py:Corridor", "length": 7, "horizon": 6},
        "source": {"name": "dyna-q", "planning": 4},
        "histories": {"held_out": 2, "learners": 8, "episodes": 12, "keep_every": 2, "check": False},
        "model": {"n_layers": 1, "n_heads": 2, "d_model": 16},
    }
    config = check_config(content, "corridor.yaml")
    checkpoint = Checkpoint("corridor", tmp_path, config, build(config).eval(), {"weights_sha256": "0" * 64})
    (model,) = behave([CheckpointChoice("corridor", checkpoint)], contexts=4, seeds=2, data="source").subjects
    assert {"gate", "counting", "source"} <= {rung.name for rung in model.rungs}
    assert set(model.absent) == {"library", "belief"}
    assert {"moved", "dead", "erased", "order", "foreign", "reversed", "planted"} <= {test.name for test in model.tests}
    assert model.left_out["dose"] == "its tasks are not rooms"
