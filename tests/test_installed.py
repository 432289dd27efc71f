"""Where the package is installed, away from a clone: names are found, and messages say what to type there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from in_process import run_main

from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.known.calibration.cases import case_of
from ad_hypotheses.language.load import listing, load, shown_file
from ad_hypotheses.storage import places

ROOT = Path(__file__).parents[1]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return an empty working folder, with a package elsewhere that has models and hypotheses inside."""
    package = tmp_path / "site-packages" / "ad_hypotheses"
    shutil.copytree(ROOT / "hypotheses", package / "installed" / "hypotheses")
    shutil.copytree(ROOT / "models" / "bandit", package / "installed" / "models" / "bandit")
    monkeypatch.setattr(places, "PACKAGE", package)
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("typed", ["mimic", "mimic.py", "hypotheses/mimic.py", "hypotheses/mimic"])
def test_a_hypothesis_that_comes_with_the_package_is_found_by_its_name(installed, typed):
    assert load(typed)[0].name == "mimic"
    assert shown_file(typed) == "mimic"


def test_one_in_a_folder_is_found_by_its_bare_name_too(installed):
    assert load("leader")[0].model == load("known/leader")[0].model == "known-leader"
    assert shown_file("leader") == "known/leader"


def test_a_file_of_the_working_folder_comes_first(installed):
    Path("hypotheses").mkdir()
    shutil.copy(ROOT / "hypotheses" / "win_stay.py", "hypotheses/mimic.py")
    assert load("mimic")[0].name == "win_stay"
    assert shown_file("mimic") == "hypotheses/mimic.py"
    assert [entry.file.name for entry in listing()] == ["mimic.py"]


def test_what_is_misspelt_gets_the_names_that_come_with_the_package(installed):
    with pytest.raises(HypothesisError, match=r"no hypothesis file hypotheses/mimik\.py[^\0]*Did you mean 'mimic'"):
        load("mimik")
    with pytest.raises(HypothesisError, match="is no folder"):
        listing("elsewhere")


def test_list_shows_what_comes_with_the_package_as_it_can_be_typed(installed, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    shown = run_main(("list",), capsys).out.splitlines()
    assert any(line.startswith(" mimic ") for line in shown)
    assert any(line.startswith(" bandit ") for line in shown)
    assert any(line.startswith("known/  ") for line in shown)


def test_messages_say_what_to_type_there(installed, capsys):
    assert run_main(("check", "win_stay"), capsys).code == 0
    Path("models/bandit").mkdir(parents=True)
    shutil.copy(ROOT / "models" / "bandit" / "config.yaml", "models/bandit")
    shutil.rmtree(places.PACKAGE / "installed" / "models")
    assert "train it first: ad-hypotheses train models/bandit" in run_main(("check", "win_stay"), capsys).err


@pytest.mark.parametrize("typed", ["train models/bandit/config.yaml", "histories bandit", "train bandit.yaml"])
def test_a_configuration_that_comes_with_the_package_is_named(installed, typed, capsys):
    there = places.PACKAGE / "installed" / "models" / "bandit" / "config.yaml"
    ran = run_main(typed.split(), capsys)
    assert ran.code == 2
    assert f"There is {there}: name that, or copy it." in ran.said
    assert "There is" not in run_main(("train", "nowhere.yaml"), capsys).said


def test_the_claims_about_known_networks_come_with_the_package(installed):
    shutil.copytree(ROOT / "models" / "known-win-stay", places.PACKAGE / "installed" / "models" / "known-win-stay")
    assert case_of("win-stay", places.MODELS, places.known_hypotheses()).truth.name == "truth"
    Path("hypotheses/known").mkdir(parents=True)
    assert places.known_hypotheses() == Path("hypotheses/known")
    assert places.known_hypotheses(Path("claims")) == Path("claims")


def test_what_starts_the_command_line(installed, monkeypatch):
    assert places.program() == "ad-hypotheses"
    monkeypatch.setattr(places, "PACKAGE", ROOT / "ad_hypotheses")
    assert places.program() == "python cli.py"
