"""A study from Python: one function that takes hypotheses and returns records, writes nothing and prints nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from listener import Listener

from ad_hypotheses import Hypothesis, embed, logits, mlp, node
from ad_hypotheses.errors import CheckpointError
from ad_hypotheses.studies.scrub.bind import ScrubSettings
from ad_hypotheses.studies.scrub.measure import share_recovered
from ad_hypotheses.studies.scrub.study import scrub

SETTINGS = ScrubSettings(rows=16, passes=1, rollouts=0)


@node(at=embed("x") + embed("y"))
def cell(history):
    """Cell of the agent.  [batch, step, 2]"""
    return history.observations


@node(at=mlp(0))
def place(cell):
    """The same.  [batch, step, 2]"""
    return cell


@node(at=logits)
def choice(place):
    """No opinion.  [batch, step]"""
    return np.full(place.shape[:2], -1)


@pytest.fixture
def claim():
    return Hypothesis(choice, model="tiny", name="place_only")


def test_a_study_returns_its_record_and_writes_and_prints_nothing(claim, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (study,) = scrub([claim], SETTINGS, models=trained)
    assert (study.model, study.claims[0].name, study.claims[0].regimes[0].name) == ("tiny", "place_only", "all")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_a_listener_hears_the_cost_beforehand_and_every_forward(claim, trained):
    listener = Listener()
    (study,) = scrub([claim], SETTINGS, models=trained, progress=listener)
    assert [title for title, _ in listener.phases] == ["generating histories", "scrubbing"]
    assert listener.done == listener.phases[-1][1] > 0
    assert listener.notes[0] == f"place_only (1 of {len(study.claims)})"
    assert f"{listener.phases[-1][1]:,} partial forward passes" in listener.lines[0]


def test_a_listener_changes_no_figure(claim, trained):
    (quiet,), (heard,) = (
        scrub([claim], SETTINGS, models=trained, progress=listener) for listener in (None, Listener())
    )
    assert quiet.to_json() == heard.to_json()


def test_a_study_of_a_model_that_does_not_exist_says_which_there_are(claim, trained):
    with pytest.raises(CheckpointError, match="elsewhere"):
        scrub([claim], SETTINGS, model="elsewhere", models=trained)


def test_where_a_model_gains_nothing_no_share_of_it_can_be_told():
    assert share_recovered(1.25, 1.0, 2.0) == 0.75
    assert math.isnan(share_recovered(np.float64(1.5), np.float64(1.5), np.float64(1.5)))
