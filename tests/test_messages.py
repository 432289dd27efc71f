"""Messages of the library name parameters; on the command line they name options."""

from __future__ import annotations

from pathlib import Path

import pytest

from ad_hypotheses.cli.messages import options_of, with_options
from ad_hypotheses.cli.scrub import scrub
from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence.estimate import ENOUGH_ROWS

OPTIONS = {"rows": "--rows", "align": "--align", "shared": "--shared", "trust": "--trust"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Use more histories (`rows`), better 256.", "Use more histories (--rows), better 256."),
        ("not with `align='any'`.", "not with --align any."),
        ("only `rows=12` will do", "only --rows 12 will do"),
        ("with `shared=True` it is cheaper", "with --shared it is cheaper"),
        ("let it run: `ad_hypotheses.tasks.trust('a b.py')`.", "let it run: --trust 'a b.py'."),
        ("`rows` and `rows`", "--rows and --rows"),
        ("which `rewards` (0, 1) does not list", "which `rewards` (0, 1) does not list"),
        ("rows without backticks, `align=any` without quotes", "rows without backticks, `align=any` without quotes"),
    ],
)
def test_options_take_the_place_of_parameters(message, expected):
    assert with_options(message, OPTIONS) == expected


def test_the_options_of_a_verb_are_known_by_their_parameters():
    options = options_of(scrub)
    assert {name: options[name] for name in ("rows", "as_json", "memory")} == {
        "rows": "--rows",
        "as_json": "--json",
        "memory": "--memory",
    }
    assert "file" not in options  # an argument


def test_a_refusal_names_the_option_of_the_verb_that_runs(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refuse(*arguments, **settings):
        raise DataError(f"2 histories are too few. Use {ENOUGH_ROWS} or more (`rows`), or `passes=9`.")

    monkeypatch.setattr("ad_hypotheses.studies.scrub.study.scrub", refuse)
    ran = cli("scrub", Path(__file__).parents[1] / "hypotheses" / "mimic.py")
    assert ran.code == 2
    assert ran.err.endswith(f"Use {ENOUGH_ROWS} or more (--rows), or --passes 9.\n")


def test_an_option_by_its_earlier_name_does_the_same(cli, tmp_path, monkeypatch):
    commands = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "ad_hypotheses.studies.scrub.study.scrub", lambda *_, command, **_named: commands.append(command) or []
    )
    claim = Path(__file__).parents[1] / "hypotheses" / "mimic.py"
    for options in (("--samples", 32), ("--samples=32",), ("--rows", 32)):
        assert cli("scrub", claim, *options).code == 0
    assert len(set(commands)) == 1
    assert commands[0].endswith(" --rows 32")
    assert "--samples" not in cli("scrub", "--help").out
