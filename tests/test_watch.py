"""A quick look from the command line, once or whenever a file is saved: figures, no verdict, no report."""

from __future__ import annotations

import os

import pytest

from ad_hypotheses.language.load import load
from ad_hypotheses.studies import watch
from ad_hypotheses.studies.quick_scrub import quick_looks, quick_settings
from ad_hypotheses.studies.scrub.kept import Kept

CLAIM = """
import numpy as np
from ad_hypotheses import Hypothesis, embed, logits, node

@node(at=embed("reward"))
def paid(history):
    return history.previous_rewards > 0

@node(at=logits)
def choice(paid):
    return np.where(paid, 0, -1)

stay = Hypothesis(choice, model="tiny", accept=0.5)
control = stay.on(paid=embed("action"))
"""


@pytest.fixture
def claim(workplace):
    path = workplace / "hypotheses" / "stay.py"
    path.write_text(CLAIM)
    return path


def test_a_quick_look_shows_figures_without_verdict_controls_and_report(claim, cli, workplace):
    ran = cli("scrub", claim, "--quick", "--rows", 8)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0] == "stay on tiny: quick look: no verdict"
    assert lines[1].startswith("8 histories of source alone, 1 pass, no controls")
    assert "control" not in "".join(lines[2:])
    assert not (workplace / "reports").exists()


@pytest.mark.parametrize("option", [("--adversary",), ("--against", "stay"), ("--data", "own")])
@pytest.mark.parametrize("look", ["--quick", "--watch"])
def test_what_a_quick_look_does_not_look_at_is_refused(claim, cli, option, look):
    ran = cli("scrub", claim, look, *option)
    assert ran.code == 2
    assert f"{option[0]}: a quick look is at the claim alone" in ran.said


def test_a_saved_file_is_looked_at_again_beside_the_latest_looks(claim, capsys, monkeypatch):
    kept, versions = Kept(), [CLAIM.replace('embed("reward")', 'embed("x")', 1), "no python", CLAIM]
    monkeypatch.setattr(watch, "SHOWN", 2)

    def look():
        return quick_looks(load(claim), quick_settings(rows=8, pool=16), kept=kept)

    def save():
        if not versions:
            raise KeyboardInterrupt
        claim.write_text(versions.pop(0))
        os.utime(claim, (0, len(versions)))

    with pytest.raises(KeyboardInterrupt):
        watch.watch(claim, look, explained=lambda error: f"explained: {error}", wait=save)
    out, err = capsys.readouterr()
    heads = [line.split()[2:] for line in out.splitlines() if line.split()[:2] == ["claim", "regime"]]
    assert [head[::3] for head in heads] == [["1"], ["1", "2"], ["2", "3"]]
    rows = [line for line in out.splitlines() if line.split()[:2] == ["stay", "all"]]
    first, other, again = ([cell.strip() for cell in row.split("  ") if cell.strip()][2:] for row in rows)
    assert err.count("explained: ") == 1
    assert err.count(f"looks again when {claim} is saved") == 3
    assert first[0] == other[0] == again[1] != other[1] == again[0]


def test_a_file_that_is_gone_for_a_moment_is_waited_for(tmp_path):
    path, waits = tmp_path / "claim.py", []

    def wait():
        waits.append(len(waits))
        if len(waits) == 3:
            path.write_text("")
        if len(waits) > 4:
            raise KeyboardInterrupt

    seen = []
    with pytest.raises(KeyboardInterrupt):
        seen.extend(len(waits) for _ in watch._saved(path, wait))
    assert seen == [3]


def test_what_did_not_change_is_not_made_again(claim, monkeypatch):
    kept = Kept()
    quick_looks(load(claim), quick_settings(rows=8, pool=16), kept=kept)
    with monkeypatch.context() as patch:
        patch.setattr("ad_hypotheses.studies.scrub.bind.make_ground", lambda *arguments: pytest.fail("made again"))
        quick_looks(load(claim), quick_settings(rows=8, pool=16), kept=kept)
