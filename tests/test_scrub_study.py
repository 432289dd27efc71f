"""A study from Python: one function that takes hypotheses and returns records, writes nothing and prints nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from listener import Listener

from ad_hypotheses import Hypothesis, embed, logits, mlp, node
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.errors import CheckpointError
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.scrub import study
from ad_hypotheses.studies.scrub.bind import ScrubSettings, prepare
from ad_hypotheses.studies.scrub.measure import measure, share_recovered
from ad_hypotheses.studies.scrub.study import scrub

SETTINGS = ScrubSettings(rows=32, pool=64, data=("source",), passes=1, rollouts=0, rivals=False)


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
    (record,) = scrub([claim], SETTINGS, models=trained)
    assert (record.model, record.claims[0].name, record.claims[0].regimes[0].name) == ("tiny", "place_only", "all")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_a_listener_hears_the_cost_beforehand_and_every_forward(claim, trained):
    listener = Listener()
    (record,) = scrub([claim], SETTINGS, models=trained, progress=listener)
    titles = ["generating histories", "scrubbing", "screening undeclared arrows"]
    assert [title for title, _ in listener.phases] == titles
    assert listener.finished["scrubbing"] == dict(listener.phases)["scrubbing"] > 0
    assert listener.notes == ["source", *(f"{item.name} on source" for item in record.claims)]
    assert listener.lines[0].startswith("2 claims over 32 histories, with 64 donors, of 1 data sets (source): ")
    assert f"{listener.finished['scrubbing']:,} partial forward passes" in listener.lines[0]


def test_a_hypothesis_is_tested_on_every_data_set_and_controls_on_the_first(claim, trained):
    listener = Listener()
    settings = replace(SETTINGS, data=("source", "own", "edited:goal-moved"))
    (record,) = scrub([claim], settings, models=trained, progress=listener)
    assert listener.finished["scrubbing"] == dict(listener.phases)["scrubbing"]
    main, *controls = record.claims
    assert main.data_sets == [item.name for item in record.data] == list(settings.data)
    assert [(regime.data, regime.name) for regime in main.regimes] == [
        (data, regime) for data in settings.data for regime in ("all", "explore", "navigate", "stay")
    ]
    assert {control.data_sets[0] for control in controls} == {"source"}
    assert {len(control.data_sets) for control in controls} == {1}
    assert {(item.rows, item.pool) for item in record.data} == {(32, 64)}
    for regime in main.regimes:
        assert (regime.explained is not None) is (regime.data == "source")
        assert (regime.status == "average") is (regime.name == "all")
        assert regime.positions <= 32 * record.n_steps
    # what is judged of each cell stands with it
    assert {regime.status for regime in main.regimes} <= {
        "average", "supported", "refuted", "open", "untested", "does not count"
    }  # fmt: skip
    counts = [regime for regime in main.regimes if regime.why_not]
    assert all(regime.status == "does not count" for regime in counts)


class Impatient(Listener):
    """Stops a study after some forwards.

    Args:
        after: Their number.
    """

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def advance(self, by: int) -> None:
        super().advance(by)
        if self.phases[-1][0] == "scrubbing" and self.done > self.after:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_resumed_study_is_that_of_one_that_was_not_interrupted(claim, trained, tmp_path: Path, monkeypatch):
    settings = replace(SETTINGS, data=("source", "own"))
    (whole,) = scrub([claim], settings, models=trained)
    scratch, listener = Scratch(tmp_path), Listener()
    with pytest.raises(KeyboardInterrupt):
        scrub([claim], settings, models=trained, scratch=scratch, progress=Impatient(30))
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.npz")}
    assert kept
    measured = []
    monkeypatch.setattr(study, "measure", lambda ground, bound, *rest, **options: (
        measured.append(ground.data) or measure(ground, bound, *rest, **options)))  # fmt: skip
    (resumed,) = scrub([claim], settings, models=trained, scratch=scratch, progress=listener)
    assert resumed.to_json() == whole.to_json()
    assert listener.finished["scrubbing"] == dict(listener.phases)["scrubbing"]
    assert len(measured) == 3 - len(kept)  # the claim on two data sets and its control on one
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_a_damaged_measurement_is_made_again(claim, trained, tmp_path: Path):
    scratch = Scratch(tmp_path)
    (whole,) = scrub([claim], SETTINGS, models=trained, scratch=scratch)
    for path in tmp_path.rglob("*.npz"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    (again,) = scrub([claim], SETTINGS, models=trained, scratch=scratch)
    assert again.to_json() == whole.to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 40},
        {"pool": 80},
        {"passes": 2},
        {"seed": 1},
        {"others": "independent"},
        {"align": "any"},
        {"tasks": "train"},
    ],
)
@pytest.mark.default_cases(3)
def test_what_was_measured_otherwise_is_not_taken_for_the_same(claim, trained, tmp_path: Path, change):
    def keys(settings: ScrubSettings) -> set[str]:
        checkpoint = load("tiny", trained, "cpu")
        bound_study = prepare(claim, [], checkpoint, settings)
        (ground,) = bound_study.grounds
        extent = settings.extent(main=True, first=True)
        of_data = study.data_key(checkpoint, ground, settings)
        digests = [study.claim_digest(item.bound, ground.references) for item in bound_study.claims]
        return {study._key(of_data, extent, of_claim) for of_claim in digests}

    assert keys(SETTINGS) == keys(SETTINGS)
    assert not keys(SETTINGS) & keys(replace(SETTINGS, **change))


def test_donors_are_four_times_the_references_and_at_least_a_thousand():
    assert ScrubSettings().donors == ScrubSettings(rows=16).donors == 1024
    assert ScrubSettings(rows=500).donors == 2000
    assert ScrubSettings(rows=500, pool=7).donors == 7
    assert ScrubSettings().data == ("source", "own", "edited")


def test_few_donors_of_each_task_are_warned_of(claim, trained):
    (bound_study,) = (prepare(claim, [], load("tiny", trained, "cpu"), replace(SETTINGS, pool=64)),)
    (ground,) = bound_study.grounds
    n_tasks = len(np.unique(ground.history.task["goal"][32:], axis=0))
    for pool in (4 * n_tasks - 1, 4 * n_tasks):
        warnings = study.untested(bound_study, replace(SETTINGS, pool=pool))
        assert any(f"{pool} donors of {n_tasks} tasks" in text for text in warnings) is (pool < 4 * n_tasks)


def test_a_listener_changes_no_figure(claim, trained):
    (quiet,), (heard,) = (
        scrub([claim], SETTINGS, models=trained, progress=listener) for listener in (None, Listener())
    )
    assert quiet.to_json() == heard.to_json()


@pytest.mark.parametrize("room", [True, False])
@pytest.mark.slow
def test_the_model_is_run_once_over_each_data_set_for_all_claims(claim, trained, monkeypatch, room):
    rows, run_layer = [], Twin._layer
    monkeypatch.setattr(study, "undeclared_arrows", lambda *arguments: None)  # which runs it on other histories
    monkeypatch.setattr(study, "fits", lambda *arguments: room)

    def counted(twin, number, x, earlier):
        rows.extend([len(x)] if number == 0 else [])
        return run_layer(twin, number, x, earlier)

    monkeypatch.setattr(Twin, "_layer", counted)
    settings = replace(SETTINGS, data=("source", "own"))
    (record,) = scrub([claim, replace(claim, name="again")], settings, models=trained)[:1]
    once = len(settings.data) * (settings.rows + settings.donors)
    assert sum(rows) == once if room else sum(rows) > 2 * once
    assert record.claims[0].regimes[0].fidelity is not None


@pytest.mark.slow
def test_room_for_the_run_of_a_model_changes_no_figure(claim, trained, monkeypatch):
    settings = replace(SETTINGS, data=("source", "own"))
    (whole,) = scrub([claim], settings, models=trained)
    monkeypatch.setattr(study, "fits", lambda *arguments: False)
    (apart,) = scrub([claim], settings, models=trained)
    assert [claim.regimes for claim in apart.claims] == [claim.regimes for claim in whole.claims]


def test_a_study_of_a_model_that_does_not_exist_says_which_there_are(claim, trained):
    with pytest.raises(CheckpointError, match="elsewhere"):
        scrub([claim], SETTINGS, model="elsewhere", models=trained)


def test_where_a_model_gains_nothing_no_share_of_it_can_be_told():
    assert share_recovered(1.25, 1.0, 2.0) == 0.75
    assert math.isnan(share_recovered(np.float64(1.5), np.float64(1.5), np.float64(1.5)))
