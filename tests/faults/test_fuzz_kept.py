"""Damaged measurements of interrupted runs: whatever lies there, the figures are those of a run without it."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from faults.campaign import REFUSED, settled
from faults.mutate import alter, alter_npz, as_json, damage, misplace, pick, scribble
from faults.sound import CONFIG, SETTINGS, scrubbed, sizes
from listener import Updates

from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.distill.config import check_config
from ad_hypotheses.distill.train import train
from ad_hypotheses.language.edges import all_edges
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.patch.bind import PatchSettings
from ad_hypotheses.studies.patch.bind import prepare as prepare_patches
from ad_hypotheses.studies.patch.search import SearchSettings, search_pairs
from ad_hypotheses.studies.patch.select import Item
from ad_hypotheses.studies.patch.study import run_patches

PATCHED = PatchSettings(rows=12, metrics=("loss",))
SEARCHED = SearchSettings(rows=12)
HALVED = replace(SETTINGS, rows=40, findings=1)


@dataclass(frozen=True)
class Measurement:
    """A measurement that keeps files, and what it gives where there are none.

    Attributes:
        measure: Measures, given the folder for what is kept, and returns plain data.
        folder: What it keeps there.
        figures: What it gave.
    """

    measure: Callable[[Path], Any]
    folder: Path
    figures: Any


def _scrub(sound, folder: Path) -> Any:
    return scrubbed(load(sound.checkpoint), sound.claims, folder)


def _attack(sound, folder: Path) -> Any:
    return scrubbed(load(sound.checkpoint), sound.claims[:1], folder, HALVED)


def _patch(sound, folder: Path) -> Any:
    checkpoint = load(sound.checkpoint)
    items = [Item(edge, str(edge), "edge") for edge in all_edges(checkpoint.model.anatomy)[:6]]
    return json.loads(run_patches(prepare_patches(checkpoint, PATCHED, items), PATCHED, "", Scratch(folder)).to_json())


def _search(sound, folder: Path) -> Any:
    checkpoint = load(sound.checkpoint)
    return repr(search_pairs(checkpoint, SEARCHED.pairs(checkpoint), SEARCHED, Scratch(folder)))


def _train(sound, folder: Path) -> Any:
    """Train on from what is there; the first call stops after the first of two updates."""
    config = check_config(CONFIG, "the base")
    model, record = train(config, folder, "cpu", Updates(stop_after=1 if folder.name == "kept" else None))
    weights = {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}
    return weights, [{key: value for key, value in line.items() if key != "seconds"} for line in record["metrics"]]


MEASURES = {"scrubbing": _scrub, "adversary": _attack, "patching": _patch, "search": _search, "training": _train}


@pytest.fixture(scope="module", params=sorted(MEASURES))
def measurement(request, sound, tmp_path_factory) -> Measurement:
    """What one of the measurements keeps, and gives."""
    folder = tmp_path_factory.mktemp(request.param) / "kept"

    def measure(place: Path) -> Any:
        return MEASURES[request.param](sound, place)

    if request.param == "training":
        with pytest.raises(KeyboardInterrupt):
            measure(folder)
        return Measurement(measure, folder, measure(tmp_path_factory.mktemp("undisturbed")))
    return Measurement(measure, folder, measure(folder))


def spoil(trial, folder: Path) -> None:
    """Damage one of the files."""
    path = pick(sorted(path for path in folder.rglob("*") if path.is_file()), trial.rng)
    way = trial.rng.random()
    if way < 0.15:
        trial.note(f"{path.name}: {misplace(path, trial.rng)}")
        return
    content = path.read_bytes()
    if way < 0.6 and zipfile.is_zipfile(BytesIO(content)):
        words, content = alter_npz(content, trial.rng)
    elif way < 0.6 and path.suffix == ".json":
        words, tree = alter(json.loads(content), trial.rng)
        content = as_json(tree)
    elif way < 0.6 and path.suffix in (".txt", ".jsonl"):
        words, content = scribble(content, trial.rng)
    else:
        words, content = damage(content, trial.rng)
    trial.note(f"{path.name}: {words}")
    path.write_bytes(content)


@sizes(2, 60)
@pytest.mark.default_cases(3)
def test_what_is_kept_changes_no_figure(campaign, measurement, n_inputs):
    def attempt(trial):
        folder = trial.place / "again"
        shutil.copytree(measurement.folder, folder)
        spoil(trial, folder)
        word, figures = settled(lambda: measurement.measure(folder))
        assert word == REFUSED or figures == measurement.figures, "other figures, in silence"
        return word

    campaign.run(f"kept {measurement.folder.parent.name[:-1]}", n_inputs, attempt)
