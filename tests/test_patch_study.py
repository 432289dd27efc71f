"""Patches and searches from Python: functions that take settings by name, return records, and print nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from listener import Listener

from ad_hypotheses import Hypothesis, embed, logits, mlp, node
from ad_hypotheses.errors import CheckpointError, DataError, HypothesisError
from ad_hypotheses.language.load import load
from ad_hypotheses.studies.patch.bind import PatchSettings
from ad_hypotheses.studies.patch.search import SearchSettings, search
from ad_hypotheses.studies.patch.select import Selection
from ad_hypotheses.studies.patch.study import patch

SETTINGS = PatchSettings(rows=6, metrics=("loss",))
EDGE = Selection(edges=["mlp(1) -> logits"])


@node(at=embed("x") + embed("y"))
def cell(history):
    """Cell of the agent.  [batch, step, 2]"""
    return history.observations


@node(at=mlp(1))
def place(cell):
    """The same.  [batch, step, 2]"""
    return cell


@node(at=logits)
def choice(place):
    """No opinion.  [batch, step]"""
    return np.full(place.shape[:2], -1)


CLAIM = Hypothesis(choice, model="tiny", name="place_only")


def test_patching_a_model_returns_its_record_and_writes_and_prints_nothing(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (study,) = patch(selection=EDGE, settings=SETTINGS, model="tiny", models=trained)
    assert (study.model, study.name, study.command) == ("tiny", "", "")
    assert [record.name for record in study.patches] == ["mlp(1) -> logits"]
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_a_claim_is_held_against_the_edges_that_are_selected(trained):
    (study,) = patch([CLAIM], EDGE, SETTINGS, models=trained)
    assert study.name == "place_only"
    assert [record.name for record in study.of_kind("arrow")] == ["cell -> place", "place -> choice"]
    (edge,) = (record for record in study.of_kind("edge") if record.name == "mlp(1) -> logits")
    assert edge.arrow == "place -> choice"


def test_a_listener_hears_of_the_screening_and_of_every_run(trained):
    listener = Listener()
    settings = PatchSettings(rows=6, metrics=("loss",), screen=2)
    (study,) = patch(selection=Selection(["all"]), settings=settings, model="tiny", models=trained, progress=listener)
    assert [title for title, _ in listener.phases] == ["generating histories", "screening", "patching"]
    assert listener.done == listener.phases[-1][1] > 0
    assert listener.lines[0].startswith("screening 106 edges by their gradients of loss")
    assert listener.lines[1].startswith(f"{len(study.patches)} patches in 6 histories of 48 steps")


@pytest.mark.parametrize(
    ("named", "error", "words"),
    [
        ({}, DataError, "neither a hypothesis nor a model"),
        ({"model": "tiny"}, DataError, "nothing to patch in tiny"),
        ({"model": "elsewhere", "selection": EDGE}, CheckpointError, "elsewhere"),
        ({"model": "tiny", "selection": Selection(["pos", "head(9) -> logits"])}, HypothesisError, "'pos'(.|\n)*head"),
    ],
)
def test_what_cannot_be_patched_is_refused(trained, named, error, words):
    with pytest.raises(error, match=words):
        patch(**named, settings=SETTINGS, models=trained)


def test_a_search_returns_its_record_and_writes_only_where_it_is_told(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    listener = Listener()
    settings = SearchSettings(keep=0.5, rows=6)
    result = search("tiny", settings, models=trained, progress=listener)
    assert list(tmp_path.iterdir()) == []
    assert [title for title, _ in listener.phases] == ["generating histories", "attributing edges", "searching"]
    assert len(listener.notes) == len(result.circuit.trials)
    assert result.circuit.share >= 0.5
    assert json.loads(json.dumps(result.to_plain()))["edges_of_the_model"] == result.n_edges == 106
    assert search("tiny", settings, out=tmp_path / "few.py", models=trained) == result
    (claim,) = load(tmp_path / "few.py")
    assert (claim.name, claim.model, claim.accept) == ("few", "tiny", 0.5)
    assert "Found by" not in claim.doc, "no command made it"
    assert capsys.readouterr() == ("", "")
    with pytest.raises(HypothesisError, match="exists and is left alone"):
        search("tiny", settings, out=tmp_path / "few.py", models=trained)
