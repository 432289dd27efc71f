"""A record draws its report again, byte for byte; what is no record is refused with a message."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import run_main
from make_study import bandit_study, dark_room_study
from test_calibration import made_up as calibration
from test_comparison import BANDIT, evaluated
from test_patch_report import made_up as patch_study
from test_sweep import made as sweep

from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence.plain_data import as_recorded
from ad_hypotheses.known.calibration.page import write_calibration
from ad_hypotheses.studies.evaluate.page import write_evaluation
from ad_hypotheses.studies.evaluate.record import Evaluation
from ad_hypotheses.studies.patch.page import write_patch_report
from ad_hypotheses.studies.records import read, redraw
from ad_hypotheses.studies.report_index import INDEX, note_reports
from ad_hypotheses.studies.scrub.page import draw_report, write_report
from ad_hypotheses.studies.sweep.page import write_sweep

MODELS = [evaluated(), evaluated("two", 0.4), evaluated("x_y", once=True, task=BANDIT, shares=False)]
REPORTS = {
    "scrub": lambda folder: write_report(dark_room_study(), folder),
    "scrub a bandit": lambda folder: write_report(bandit_study(), folder),
    "patch": lambda folder: write_patch_report(patch_study(), folder),
    "calibrate": lambda folder: write_calibration(calibration(), folder),
    "sweep": lambda folder: write_sweep(sweep({"n_layers": ["1", "2"], "seed": ["0", "1"]}, missing=["l3"]), folder),
    "evaluate": lambda folder: write_evaluation(Evaluation("python cli.py evaluate one two", MODELS), folder),
}


def files_in(folder: Path) -> dict[str, bytes]:
    """The files of a folder by their paths in it, without the index of its reports."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != INDEX)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def report(sketches, capsys):
    """Run the verb."""
    return lambda *arguments: run_main(("report", *map(str, arguments)), capsys)


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("kind", REPORTS)
def test_a_report_is_drawn_again_byte_for_byte(kind, report, tmp_path):
    page = REPORTS[kind](tmp_path / "first")[-1]
    before = files_in(page.parent)
    ran = report(page.with_suffix(".json"), "--reports", tmp_path / "second")
    assert (ran.code, ran.out) == (0, f"report: {tmp_path / 'second' / page.name}\n"), ran.err
    assert files_in(tmp_path / "second") == before
    page.write_text("an edited page")
    assert report(page.with_suffix(".json")).code == 0
    assert files_in(page.parent) == before


def test_a_report_that_is_drawn_again_keeps_the_date_of_its_study(report, tmp_path):
    page = REPORTS["patch"](tmp_path / "first")[-1]
    record = page.with_suffix(".json")
    os.utime(record, (1_700_000_000, 1_700_000_000))
    indices = (tmp_path / "first" / INDEX, tmp_path / "second" / INDEX)
    for index in indices:
        assert report(record, "--reports", index.parent).code == 0
        assert index.read_text().rstrip().endswith(f"| {datetime.date.fromtimestamp(1_700_000_000)} |")
    indices[0].unlink()
    note_reports([page], datetime.date(2026, 6, 1))  # the index knows better than a file that was copied
    assert report(record).code == 0
    assert indices[0].read_text().rstrip().endswith("| 2026-06-01 |")


def test_a_page_shows_the_figures_that_its_record_holds(tmp_path, sketches):
    study = bandit_study()
    regimes = [replace(study.claims[0].regimes[0], kl=0.38149999999)]  # which six digits round up
    study = replace(study, claims=[replace(study.claims[0], regimes=regimes)])
    page = write_report(study, tmp_path)[-1]
    assert as_recorded(study).claims[0].regimes[0].kl == 0.3815
    assert page.read_text() == draw_report(read(page.with_suffix(".json")))[page.name].decode()
    assert "| 0.382 |" in page.read_text()


def test_the_page_of_a_committed_record_is_its_own(report, tmp_path):
    folder = Path(__file__).parents[1] / "reports" / "examples"
    assert report(folder / "mimic-dark-room.json", "--reports", tmp_path).code == 0
    assert (tmp_path / "mimic-dark-room.md").read_text() == (folder / "mimic-dark-room.md").read_text()


def test_a_record_that_was_renamed_draws_a_report_of_its_own_name(report, tmp_path):
    page = REPORTS["scrub a bandit"](tmp_path)[-1]
    before = files_in(tmp_path)
    older = page.with_name("kept (June).json")
    older.write_bytes(page.with_suffix(".json").read_bytes())
    assert report(older).code == 0
    assert before.items() <= files_in(tmp_path).items(), "the report of the other record is left alone"
    text = older.with_suffix(".md").read_text()
    assert "](kept%20%28June%29/losses.png)" in text
    assert (tmp_path / "kept (June)" / "losses.png").exists()


def test_a_parquet_table_is_left_alone(tmp_path, sketches):
    page = REPORTS["patch"](tmp_path)[-1]
    page.with_suffix(".parquet").write_bytes(b"a table")
    redraw(page.with_suffix(".json"))
    assert page.with_suffix(".parquet").read_bytes() == b"a table"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"# a page",
            r"json is not a record: .*Name a \.json file that one of scrub, patch, evaluate, sweep, behave, calibrate",
        ),
        (b"[1, 2]", "is JSON, but not the record of a study"),
        (b'{"weights_sha256": "a", "config": {}, "command": "train"}', "is JSON, but not the record of a study"),
        (b'{"claims": [], "curves": [], "schema": 9}', "is not a record of version 4. Run the study again."),
        (b'{"claims": [], "curves": [], "schema": 3}', "does not hold what a record holds: .*title is missing"),
        (b'{"patches": [], "donors": "any", "schema": 2}', "does not hold what a record of patches holds"),
        (b'{"outcomes": [], "claims": [], "schema": 2}', "does not hold what a calibration holds"),
        (b'{"subjects": [], "contexts": 2, "schema": 1}', "does not hold what a record of behaviour holds"),
        (
            b'{"models": [], "command": "", "axes": {}}',
            "what a sweep holds: .*name is missing",
        ),
        (b'{"models": [{}], "command": ""}', "does not hold what an evaluation holds: .*name is missing"),
    ],
)
def test_what_is_no_record_is_refused(content, message, report, tmp_path):
    (tmp_path / "record.json").write_bytes(content)
    ran = report(tmp_path / "record.json")
    assert (ran.code, ran.out) == (2, "")
    with pytest.raises(DataError, match=message):
        read(tmp_path / "record.json")
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_page_is_refused_with_the_name_of_its_record(report, tmp_path):
    page, record = tmp_path / "page.md", tmp_path / "page.json"
    page.write_text("# page")
    record.write_text("{}")
    assert f"{page} is not a record" in report(page).said
    assert f"Name {record}." in report(page).said


def test_a_file_that_is_missing_is_refused(report, tmp_path):
    ran = report(tmp_path / "gone.json")
    assert ran.code == 2
    assert f"cannot read {tmp_path / 'gone.json'}: No such file or directory. Name a .json file" in ran.said


def change(content: dict, *place: str | int, value: object) -> None:
    for key in place[:-1]:
        content = content[key]
    if value is None:
        del content[place[-1]]
    else:
        content[place[-1]] = value


@pytest.mark.composed
@pytest.mark.parametrize(
    ("kind", "place", "value", "message"),
    [
        ("scrub", ["claims"], [], "what a report can be drawn from: IndexError"),
        ("scrub", ["claims", 0, "worst", 0, "taken"], 99, "what a report can be drawn from: "),
        ("patch", ["metrics"], ["nothing"], "what a report can be drawn from: KeyError: nothing"),
        ("calibrate", ["outcomes", 0, "verdicts"], {}, "what a report can be drawn from: KeyError"),
        (
            "evaluate",
            ["models", 0, "results", "figures", "train", "model", "share"],
            3,
            "share is 3, and should be an object",
        ),
        ("evaluate", ["models", 0, "results", "rollouts"], None, "one: rollouts is missing"),
        ("evaluate", ["models", 0, "results", "figures", "train", "model"], None, "figures.train.model is missing"),
        ("evaluate", ["models", 0, "results", "starts", 0, "says"], None, "starts.says is missing"),
        ("evaluate", ["models"], [], "what a report can be drawn from: "),
    ],
)
@pytest.mark.default_cases(2)
def test_a_record_that_contradicts_itself_is_refused(kind, place, value, message, sketches, tmp_path):
    path = REPORTS[kind](tmp_path)[-1].with_suffix(".json")
    content = json.loads(path.read_text())
    change(content, *place, value=value)
    path.write_text(json.dumps(content))
    before = files_in(tmp_path)
    with pytest.raises(DataError, match=message):
        redraw(path)
    assert files_in(tmp_path) == before


def test_a_record_is_read_without_what_runs_models():
    code = (
        "import sys, ad_hypotheses as adh; study = adh.read(sys.argv[1]); assert study.verdict == 'refuted'; "
        "print([name for name in ('torch', 'transformer_lens', 'matplotlib', 'pandas') if name in sys.modules])"
    )
    record = Path(__file__).parents[1] / "reports" / "examples" / "win_stay-bandit.json"
    ran = subprocess.run([sys.executable, "-c", code, record], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
