"""The index of a folder of reports: complete, dated, and right when several processes write at once."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path

from ad_hypotheses.studies.report_index import INDEX, note_reports

JUNE, JULY = datetime.date(2026, 6, 1), datetime.date(2026, 7, 2)


def page(folder: Path, name: str, title: str) -> Path:
    path = folder / f"{name}.md"
    path.write_text(f"# {title}\n\ntext\n")
    return path


def test_each_report_is_listed_with_claim_model_verdict_and_date(tmp_path):
    old = page(tmp_path, "older-model", "older on model: supported")
    os.utime(old, (1_700_000_000, 1_700_000_000))
    note_reports([page(tmp_path, "best_arm-bandit", "best\\_arm on bandit: supported in start")], JUNE)
    note_reports([page(tmp_path, "sweep (1)", "dark-room-grid: 18 models")], JULY)
    (tmp_path / "notes.md").write_text("no title\n")
    rows = (tmp_path / INDEX).read_text().splitlines()
    assert rows[0] == "# Reports"
    assert rows[-3:] == [
        "| [best\\_arm](best_arm-bandit.md) | bandit | supported in start | 2026-06-01 |",
        f"| [older](older-model.md) | model | supported | {datetime.date.fromtimestamp(1_700_000_000)} |",
        "| [dark-room-grid: 18 models](sweep%20%281%29.md) | - | - | 2026-07-02 |",
    ]
    assert not list(tmp_path.glob(".*"))


def test_a_date_is_kept_until_the_report_is_written_again(tmp_path):
    first, second = page(tmp_path, "a", "a on m: refuted"), page(tmp_path, "b", "b on m: refuted")
    note_reports([first, second], JUNE)
    page(tmp_path, "a", "a on m: supported")
    note_reports([first], JULY)
    text = (tmp_path / INDEX).read_text()
    assert "| [a](a.md) | m | supported | 2026-07-02 |" in text
    assert "| [b](b.md) | m | refuted | 2026-06-01 |" in text
    second.unlink()
    note_reports([first], JULY)
    assert "b.md" not in (tmp_path / INDEX).read_text()


def test_a_readme_of_somebody_is_left_alone(tmp_path):
    (tmp_path / INDEX).write_text("# My reports\n")
    note_reports([page(tmp_path, "a", "a on m: refuted")], JUNE)
    assert (tmp_path / INDEX).read_text() == "# My reports\n"


def test_processes_that_write_at_once_lose_no_report(tmp_path):
    code = (
        "import sys; from pathlib import Path; from ad_hypotheses.studies.report_index import note_reports\n"
        "folder, name = Path(sys.argv[1]), sys.argv[2]\n"
        "for number in range(8):\n"
        "    path = folder / f'{name}{number}.md'; path.write_text(f'# {name}{number} on m: refuted\\n')\n"
        "    note_reports([path])\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "ab"]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    text = (tmp_path / INDEX).read_text()
    assert all(f"| [{name}{number}]({name}{number}.md) | m | refuted |" in text for name in "ab" for number in range(8))
