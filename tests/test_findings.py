"""Findings: a plan before its runs, figures by name, pages in which every number is a reference."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binomtest

from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.studies.behave import study as behave_study
from ad_hypotheses.studies.behave.record import (
    Behaviour,
    BehaviourCell,
    MixtureRecord,
    ModelBehaviour,
    RungRecord,
    TrackingRecord,
    read_behaviour,
)
from ad_hypotheses.studies.behave.record import TestRecord as Outcome
from ad_hypotheses.studies.evaluate.choose import CheckpointChoice
from ad_hypotheses.studies.findings import tables
from ad_hypotheses.studies.findings.asking import ask, write_record
from ad_hypotheses.studies.findings.calibrated import upper_end_of_share
from ad_hypotheses.studies.findings.figures import Figures, Records, less, number_of, read_records
from ad_hypotheses.studies.findings.held import held
from ad_hypotheses.studies.findings.judging import NONE_HOLDS, answer_of, controls, failed_tests, judged, withheld_of
from ad_hypotheses.studies.findings.page import render, table_blocks
from ad_hypotheses.studies.findings.plan import Plan, read_plan, record_name
from ad_hypotheses.studies.findings.study import PAGE, findings
from ad_hypotheses.studies.findings.template import fill

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "reports" / "findings"

PLAN = """\
schema: 1
question: Is it so?
before: [something was run]
seed: 0
source_seeds: 2
thresholds: {pull: 0.1, most: 0.7, nearby: 0.05}
hypotheses: [{name: counts, says: rewards count, wrong_if: they do not}]
answers:
- {answer: counting, needs: [[paid.MODEL.rise, ">", pull], [failure.MODEL.effect, "<", pull]]}
- {answer: gate, needs: [[paid.MODEL.step, ">", pull]]}
controls:
- {answer: nothing without rewards, needs: [[paid.blank.effect, "<", pull]]}
models:
  room: {family: Room, role: subject, contexts: 4}
  blank: {family: Room, role: negative control, contexts: 4, tests: [paid]}
  known-gate: {family: known, role: positive control, expected: gate, contexts: 4, tests: [], data: source,
    leave_out: [source]}
excluded: {other: it takes too long}
pilots:
  one reward: {value: 0.6, reference: dose.room.R1}
  a failure: {value: 0.3, reference: failure.room.effect}
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "study.yaml").write_text(PLAN, encoding="utf-8")
    return read_plan(tmp_path / "study.yaml")


def at(value: float, half: float = 0.02) -> Number:
    return Number(value, value - half, value + half)


def cell(label: str, x: float, model: float, source: float) -> BehaviourCell:
    return BehaviourCell(label, x, 4, {"model": at(model), "source": at(source), "untrained": at(0.2)})


def outcome(name: str, cells: list[BehaviourCell], effect: float, reported: bool = True) -> Outcome:
    effects = {"model": at(effect), "source": at(0.5), "untrained": at(0.0)}
    return Outcome(name, "Is it?", "chance", "times", "most less none", cells, effects, "it holds", reported, "So.")


def dose(none: float = 0.4, once: float = 0.6, most: float = 0.9, reported: bool = True) -> Outcome:
    cells = [
        cell("0 paid visits", 0, none, 0.4),
        cell("1 paid visits", 1, once, 0.5),
        cell("5 paid visits", 5, most, 1.0),
    ]
    contrasts = {name: {"model": at(value), "source": at(0.1)} for name, value in
                 {"step": once - none, "rise": most - once}.items()}  # fmt: skip
    return replace(outcome("dose", cells, most - none, reported), contrasts=contrasts)


def paid(once: float = 0.3, most: float = 0.8, reported: bool = True) -> Outcome:
    cells = [cell("1 visits to each", 1, once, 0.2), cell("4 visits to each", 4, most, 0.9)]
    contrasts = {name: {"model": at(value)} for name, value in {"step": once, "rise": most - once}.items()}
    return replace(outcome("paid", cells, most, reported), contrasts=contrasts)


def mixture(**weights: float) -> MixtureRecord:
    numbers = {rung: at(share) for rung, share in weights.items()}
    return MixtureRecord("own", "all", 100, numbers, 0.5, 0.6, at(0.1), numbers, 0.7, at(0.3))


def subject(name: str, *tests: Outcome, mixtures: list[MixtureRecord] | None = None) -> Behaviour:
    rungs = [
        RungRecord("novice", 1, "w", "i", False),
        RungRecord("gate", 4, "w", "i"),
        RungRecord("source", 8, "w", "i"),
    ]
    tracking = [TrackingRecord("source", 4, *[at(0.5)] * 5)]
    mixtures = [mixture(novice=0.2, gate=0.5, source=0.3)] if mixtures is None else mixtures
    model = ModelBehaviour(name, "0" * 64, "room", "rule", 2, 16, rungs, {}, list(tests), {}, tracking, mixtures, [])
    return Behaviour(f"python cli.py behave {name}", 4, 2, 0, {}, [model])


def failing(effect: float) -> Outcome:
    return outcome(
        "failure", [cell("0 unpaid visits", 0, 0.6, 0.6), cell("4 unpaid visits", 4, 0.6 - effect, 0.3)], effect
    )


def records(plan: Plan, blank: float = 0.01, **tests: Outcome) -> Records:
    room = [tests.get("dose", dose()), tests.get("paid", paid()), tests.get("failure", failing(0.0))]
    known = subject("known-gate", mixtures=[replace(mixture(novice=0.2, gate=0.7), data="source")])
    asked = {
        "room": subject("room", *room),
        "blank": subject("blank", paid(0.0, blank)),
        "known-gate": known,
    }
    return Records(plan, asked, {}, {})


@pytest.mark.parametrize(("count", "trials"), [(0, 31), (1, 93), (3, 125), (7, 7)])
def test_the_upper_end_of_a_share_is_that_of_clopper_and_pearson(count, trials):
    expected = binomtest(count, trials).proportion_ci(method="exact").high
    assert upper_end_of_share(count, trials) == pytest.approx(expected, abs=1e-6)


def test_figures_have_names(plan: Plan):
    figures = Figures(records(plan))
    assert figures.get("dose.room.R1") == at(0.6)
    assert figures.get("dose.room.R1.source") == at(0.5)
    assert figures.get("failure.room.k4.model") == at(0.6)
    assert number_of(figures.get("dose.room.rise")).value == pytest.approx(0.3)
    assert number_of(figures.get("dose.room.step.source")).value == pytest.approx(0.1)
    assert (figures.get("paid.room.R4"), figures.get("paid.room.step")) == (at(0.8), at(0.3))
    assert figures.get("paid.room.rise") == at(0.8 - 0.3)
    assert figures.get("tracking.room.source.slope") == at(0.5)
    assert figures.get("mixture.room.own.all.gate") == at(0.5)
    assert figures.get("mixture.room.own.all.inference") == at(0.3)
    assert (figures.get("known.asked"), figures.get("known.wrong")) == (1, 0)
    assert figures.get("plan.room.contexts") == 4


def test_models_of_a_grid_are_counted_together_by_their_tasks(plan: Plan):
    grid = {name: replace(plan.models["blank"], role="grid") for name in ("a", "b")}
    asked = {"a": subject("a", paid(0.1, 0.3)), "b": subject("b", paid(0.2, 0.8))}
    figures = Figures(Records(replace(plan, models=grid), asked, {}, {}))
    assert figures.get("tasks.g16.models") == 2
    pull, rise = (number_of(figures.get(f"tasks.g16.{part}")) for part in ("pull", "rise"))
    assert (pull.value, pull.low, pull.high) == pytest.approx((0.55, 0.3, 0.8))
    assert (rise.value, rise.low, rise.high) == pytest.approx((0.4, 0.2, 0.6))


def test_a_difference_is_as_wide_as_that_of_independent_figures():
    difference = less(Number(0.9, 0.8, 1.0), Number(0.5, 0.45, 0.55))
    half = (0.1**2 + 0.05**2) ** 0.5
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.4, 0.4 - half, 0.4 + half))


def test_an_answer_is_the_first_whose_conditions_hold_with_their_whole_interval(plan: Plan):
    assert answer_of(Figures(records(plan)), "room") == "counting"
    assert answer_of(Figures(records(plan, failure=failing(0.3))), "room") == "gate"
    assert answer_of(Figures(records(plan, paid=paid(0.05, 0.07))), "room") == NONE_HOLDS
    # 0.11 is above 0.1, the lower end of its interval is not
    assert answer_of(Figures(records(plan, paid=paid(0.5, 0.61))), "room") == "gate"
    assert answer_of(Figures(replace(records(plan), asked={})), "room") == "not measured"


def test_a_hypothesis_holds_is_wrong_or_open(plan: Plan):
    assert "`paid.room.rise` 0.50 [0.48, 0.52]; `failure.room.effect` 0.00 [-0.02, 0.02] | holds |" in held(
        Figures(records(plan))
    )
    assert "0.30 [0.28, 0.32] | wrong |" in held(Figures(records(plan, failure=failing(0.3))))
    assert "0.10 [0.08, 0.12] | open |" in held(Figures(records(plan, failure=failing(0.1))))
    assert "`room`" not in held(Figures(records(plan, blank=0.4)))


def test_nothing_is_built_on_a_test_whose_control_fails(plan: Plan):
    figures = Figures(records(plan, blank=0.4))
    assert [condition.holds for condition in controls(figures)["nothing without rewards"]] == [False]
    assert failed_tests(figures) == withheld_of(figures, "room") == ["paid"]
    assert answer_of(figures, "room") == NONE_HOLDS
    unreported = Figures(records(plan, paid=paid(reported=False)))
    assert (failed_tests(unreported), withheld_of(unreported, "room")) == ([], ["paid"])
    (condition, *_) = judged(plan.answers[0], unreported, "room", ["paid"])
    assert (condition.number, condition.holds) == (None, None)


def test_a_known_network_that_is_taken_for_another_is_counted(plan: Plan):
    asked = {"known-gate": subject("known-gate", mixtures=[replace(mixture(novice=0.7, gate=0.2), data="source")])}
    figures = Figures(replace(records(plan), asked=asked))
    assert figures.get("known.wrong") == 1
    assert "| `known-gate` | gate | novice 0.70, gate 0.20 | **no** |" in tables.confusion(figures)


def test_every_record_of_scrubbing_has_a_row_in_the_table_of_claims(plan: Plan):
    def study(name: str, model: str, value: float, verdict: str) -> dict:
        regimes = [
            {"data": data, "name": "all", "fidelity": {"value": value, "low": value - 0.1, "high": value + 0.1}}
            for data in ("source", "edited:goal-moved")
        ]
        claim = {"name": name, "kind": "hypothesis", "verdict": verdict, "regimes": regimes}
        return {"title": f"{name.title()}: it does.", "model": model, "claims": [claim]}

    studies = {
        "a": study("far", "bandit", 0.7, "supported"),
        "b": study("near", "dark-room", 0.2, "refuted"),
        "c": study("best", "dark-room", 0.4, "supported in stay"),
    }
    assert tables.claims(Figures(replace(records(plan), studies=studies))).splitlines()[2:] == [
        "| `best` on `dark-room` | it does | 0.40 [0.30, 0.50] | - | 0.40 [0.30, 0.50] | supported in stay |",
        "| `near` on `dark-room` | it does | 0.20 [0.10, 0.30] | - | 0.20 [0.10, 0.30] | refuted |",
        "| `far` on `bandit` | it does | 0.70 [0.60, 0.80] | - | 0.70 [0.60, 0.80] | supported |",
    ]


def test_references_are_replaced_and_spelt(plan: Plan):
    figures = Figures(records(plan))
    text = "At {{ dose.room.R1 }}, {{dose.room.R1|interval}}, {{ dose.room.R1 | whole }} of {{ plan.models }}."
    assert fill(text, "f.md", figures, {}) == "At 0.60, 0.60 [0.58, 0.62], 60 % of 3."
    table = fill("{{ table.pilots }}", "f.md", figures, table_blocks(figures))
    assert "| one reward | 0.60 | 0.60 [0.58, 0.62] | yes |" in table
    assert "| a failure | 0.30 | 0.00 [-0.02, 0.02] | **no** |" in table


def stitched(two: float, three: float) -> Outcome:
    cells = [
        cell("2 steps, gone whole", math.nan, 0.9, 1.0), cell("2 steps, put together", math.nan, two, 1.0),
        cell("3 steps, put together", math.nan, three, 0.9),
    ]  # fmt: skip
    return outcome("stitched", cells, two)


def card(agents: list[str] | None, until: float | None, learned: int | None) -> dict:
    config = {"model": {"n_layers": 4}, "training": {"next_state_until": until}}
    config |= {"contexts": {"agents": agents}} if agents else {}
    return {"config": config, "updates": 1500} | ({"next_state": {"learned_at": learned}} if until else {})


@pytest.fixture
def of_two_plans(plan: Plan) -> Records:
    """Records of the study, and of two models that another plan asks."""
    hypotheses = [replace(plan.hypotheses[0], name="plans two")]
    models = {name: replace(plan.models["room"], role="cell") for name in ("control", "distilled", "not-yet")}
    further = replace(plan, thresholds={"plans": 0.8}, hypotheses=hypotheses, models=models)
    asked = {"control": subject("control", stitched(0.9, 0.7)), "distilled": subject("distilled", stitched(0.5, 0.5))}
    cards = {"control": card(["random", "habitual"], 0.03, 285), "distilled": card(None, None, None)}
    both = records(plan)
    return replace(both, asked={**both.asked, **asked}, cards=cards, further={"planning": further})


def test_models_of_a_further_plan_have_tables_of_their_own(of_two_plans: Records, sketches: None):
    figures = Figures(of_two_plans)
    assert figures.get("stitched.control.2-steps-put-together") == at(0.9)
    assert [str(cell) for row in rows_of(tables.cells(figures)) for cell in row] == [
        "`control`", "other agents", "yes", "4", "1500", "after 285", "0.90 [0.88, 0.92]", "0.70 [0.68, 0.72]", "-",
        "`distilled`", "its source", "no", "4", "1500", "-", "0.50 [0.48, 0.52]", "0.50 [0.48, 0.52]", "-",
    ]  # fmt: skip
    made = table_blocks(figures)
    assert [row[-1] for row in rows_of(made["table.held.planning"]())] == ["holds", "wrong"]
    assert "rewards count" in made["table.hypotheses.planning"]()
    assert "0.8" in made["table.thresholds.planning"]()
    assert "control" not in made["table.subjects"]()
    assert "`not-yet`: in the plan" in made["table.not-asked"]()
    assert "distilled" not in tables.families(figures)
    assert "control" not in held(figures)
    assert render("{{ picture.cells }}\n", "page.md", figures)[1].keys() == {"pictures/cells.png"}


def test_a_further_plan_has_answers_by_its_own_thresholds(plan: Plan):
    gentler = replace(plan, thresholds={**plan.thresholds, "pull": 0.05})
    further = replace(gentler, models={"hall": plan.models["room"]})
    both = records(plan)
    hall = replace(both.asked["room"], subjects=[replace(both.asked["room"].subjects[0], name="hall")])
    figures = Figures(replace(both, asked={**both.asked, "hall": hall}, further={"halls": further}))
    made = table_blocks(figures)
    assert [row[1] for row in rows_of(made["table.families.halls"]())] == ["`hall`"]
    assert [row[1] for row in rows_of(made["table.families"]())] == [f"`{name}`" for name in models_of_study(plan)]
    shown = rows_of(made["table.answers.halls"]())
    assert {row[0] for row in shown} == {"`hall`"}
    assert {row[4].split()[-1] for row in shown} == {"0.05"}
    assert {row[4].split()[-1] for row in rows_of(made["table.answers"]())} == {"0.1"}


def models_of_study(plan: Plan) -> list[str]:
    return [name for name, asked in plan.models.items() if asked.role == tables.SUBJECT]


def rows_of(markdown: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()[2:]]


def test_a_model_is_in_one_plan_and_its_record_is_of_that_plan(plan: Plan, tmp_path: Path):
    (tmp_path / "findings.md").write_text("Nothing.\n", encoding="utf-8")
    other = tmp_path / "study-planning.yaml"
    other.write_text(PLAN.replace("Is it so?", "And so?"), encoding="utf-8")
    with pytest.raises(DataError, match=r"study-planning.yaml asks room, and so does .*study.yaml"):
        findings(tmp_path, tmp_path)
    other.write_text(PLAN.replace("room", "hall").replace("blank", "void").replace("known-", "k-"), encoding="utf-8")
    further = read_plan(other)
    folder = tmp_path / "records"
    write_record(replace(subject("hall", paid()), study=further.sha256), folder / record_name("hall"))
    assert list(read_records(plan, folder, tmp_path, tmp_path, {"planning": further}).asked) == ["hall"]
    write_record(replace(subject("hall", paid()), study=plan.sha256), folder / record_name("hall"))
    with pytest.raises(DataError, match="another plan"):
        read_records(plan, folder, tmp_path, tmp_path, {"planning": further})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n{{ dose.room.R7 }}", r"f\.md, line 2: no record holds `dose\.room\.R7`\. Did you mean"),
        (
            "{{ dose.room.R1 | persent-one }}",
            r"f\.md, line 1: there is no format 'persent-one'\. Did you mean 'percent-one'",
        ),
        ("{{ dose.room.reported | whole }}", r"f\.md, line 1: 'yes' is a word, not a number"),
        ("{{ dose.room.R1", "f.md, line 1: a reference is not closed"),
        ("a\n\nIt is 0.6.", r"f\.md, line 3 types the figure '0\.6'"),
        ("In 60 % of cases", "types the figure '60 %'"),
        ("3 of the 5 models", "types the figure '3 of the 5'"),
    ],
)
def test_what_no_record_holds_is_refused_with_its_line(plan: Plan, text: str, message: str):
    with pytest.raises(DataError, match=message):
        fill(text, "f.md", Figures(records(plan)), {})


def test_digits_in_code_and_addresses_are_no_figures(plan: Plan):
    text = "`--accept 0.9` and [a link](page-0.5.md), 5 arms"
    assert fill(text, "f.md", Figures(records(plan)), {}) == text


def test_a_page_shows_its_tables_and_pictures(plan: Plan, sketches: None):
    figures = Figures(records(plan))
    names = [*table_blocks(figures), "picture.behaviour", "picture.families", "picture.tasks"]
    page, drawn = render("\n".join(f"{{{{ {name} }}}}" for name in names), "f.md", figures)
    assert set(drawn) == {f"pictures/{name}.png" for name in ("behaviour", "families", "tasks")}
    assert "[the record of room](records/behave-room.json): `python cli.py behave room`" in page
    shares = "gate 0.50, source 0.30, novice 0.20"
    assert f"| Room | `room` | counting | {shares} | 0.30 [0.28, 0.32] | 0.100 [0.080, 0.120] |" in page
    assert "| 4 gate | **0.50** |" in page
    assert "- `other`: it takes too long" in page


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("schema: 1", "schema: 2", "it must be a mapping with `schema: 1`"),
        ("seed: 0", "seed: none", "seed is 'none', and should be a valid integer"),
        ("contexts: 4}", "context: 4}", "models.room.contexts is missing"),
        ('">", pull', '"=", pull', "a condition of 'counting' is"),
        ('">", pull', '">", pulled', "a condition of 'counting' is"),
        ("it takes too long}", "it takes: too long", "is not the plan of a study"),
    ],
)
def test_a_plan_that_cannot_be_read(tmp_path: Path, before: str, after: str, message: str):
    assert before in PLAN
    (tmp_path / "study.yaml").write_text(PLAN.replace(before, after), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_plan(tmp_path / "study.yaml")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> CheckpointChoice:
    """A known network, whose rungs take their numbers from few lives."""
    monkeypatch.setattr(behave_study, "FEWEST_LIVES", 8)
    monkeypatch.setattr(behave_study, "LIVES", 8)
    return CheckpointChoice("known-gate", load("known-gate", ROOT / "models"))


def test_models_are_asked_what_the_plan_says_and_only_once(plan: Plan, gate: CheckpointChoice, tmp_path: Path):
    (path,) = ask(plan, [gate], tmp_path, command="behave {}".format)
    record = read_behaviour(path)
    assert (record.study, record.exploratory, record.command) == (plan.sha256, "", "behave known-gate")
    assert (record.contexts, record.seeds, record.subjects[0].tests) == (4, 2, [])
    assert "source" not in [rung.name for rung in record.subjects[0].rungs]
    written = path.stat().st_mtime_ns
    assert ask(plan, [gate], tmp_path, command="behave {}".format) == [path]
    assert path.stat().st_mtime_ns == written
    assert list(read_records(plan, tmp_path, tmp_path, tmp_path).asked) == ["known-gate"]
    with pytest.raises(DataError, match=r"was made for another plan\. Run its command again: behave known-gate"):
        read_records(replace(plan, sha256="other"), tmp_path, tmp_path, tmp_path)


def test_what_departs_from_the_plan_is_exploratory(plan: Plan, gate: CheckpointChoice, tmp_path: Path):
    (path,) = ask(plan, [gate], tmp_path, command="behave {}".format, changed={"contexts": 3})
    assert path == tmp_path / record_name("known-gate", exploratory=True)
    assert read_behaviour(path).exploratory == "other contexts than in the study"
    assert read_records(plan, tmp_path, tmp_path, tmp_path).asked == {}


@pytest.fixture
def place(plan: Plan, tmp_path: Path) -> Iterator[Path]:
    """A folder of findings."""
    (tmp_path / "findings.md").write_text("# {{ table.question }}\n\n{{ dose.room.R1 }}\n", encoding="utf-8")
    for name, behaviour in records(plan).asked.items():
        write_record(replace(behaviour, study=plan.sha256), tmp_path / "records" / record_name(name))
    return tmp_path


def test_the_command_line_renders_and_compares(cli, place: Path):
    assert cli("findings", place, "--check").code == 2
    assert cli("findings", place).code == 0
    page = place / PAGE
    assert page.read_text(encoding="utf-8") == "# Is it so?\n\n0.60\n"
    assert json.loads(cli("findings", place, "--check", "--json").out)["changed"] == []
    page.write_text("# Is it so?\n\n0.61\n", encoding="utf-8")
    ran = cli("findings", place, "--check")
    assert (ran.code, "other than what the records say" in ran.err) == (2, True)


def test_the_command_line_asks_a_plan(cli, workplace, plan: Plan, tmp_path: Path):
    ran = cli(
        "behave", "tiny", "--study", tmp_path / "study.yaml", "--contexts", 2, "--test", "planted", "--data", "own"
    )
    assert ran.code == 0, ran.err
    assert (
        read_behaviour(tmp_path / "records" / "behave-tiny-exploratory.json").exploratory
        == "the study does not ask tiny"
    )
    assert "name a model, or the plan of a study" in cli("behave").err


def test_a_part_of_another_page_is_rendered_between_its_marks(cli, place: Path):
    (place / "blocks").mkdir()
    part, page = place / "blocks" / "dose.md", place / "other.md"
    part.write_text("<!-- part of ../other.md -->\nIt is {{ dose.room.R1 }}.\n", encoding="utf-8")
    page.write_text("A\n\n<!-- rendered from dose.md -->\nIt is 0.5.\n<!-- end of dose.md -->\nB\n", encoding="utf-8")
    assert cli("findings", place).code == 0
    rendered = "A\n\n<!-- rendered from dose.md -->\nIt is 0.60.\n<!-- end of dose.md -->\nB\n"
    assert page.read_text(encoding="utf-8") == rendered
    page.write_text(rendered.replace("0.60", "0.61"), encoding="utf-8")
    assert "other.md: other than what the records say" in cli("findings", place, "--check").err
    part.write_text("<!-- part of ../other.md -->\nIt is\n0.5.\n", encoding="utf-8")
    assert "dose.md, line 3 types the figure" in cli("findings", place).err
    page.write_text("A\n", encoding="utf-8")
    part.write_text("<!-- part of ../other.md -->\n", encoding="utf-8")
    assert "other.md has lost a mark" in cli("findings", place).err
    part.write_text("It is {{ dose.room.R1 }}.\n", encoding="utf-8")
    assert "the first line must name the page" in cli("findings", place).err


def test_the_shipped_page_is_what_the_shipped_records_say(sketches: None):
    """After a change of a record or of the template: `python cli.py findings`."""
    assert findings(SHIPPED, ROOT / "models").stale() == []


def test_every_shipped_model_is_asked_or_excluded():
    shipped = read_plan(SHIPPED / "study.yaml")
    folders = {path.parent.relative_to(ROOT / "models").as_posix() for path in (ROOT / "models").rglob("config.yaml")}
    later = {name for name in folders if name.startswith(("dark-room-sizes/", "graph-6-", "graph-8-"))}  # still trained
    assert folders - later == (set(shipped.models) | set(shipped.excluded)) - later
