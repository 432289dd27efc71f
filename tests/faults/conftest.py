"""What every campaign starts from: a small network that is set by hand, and a claim about it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from faults.campaign import Campaign
from faults.small_studies import KNOWN as KNOWN_MODEL
from faults.small_studies import make_ground
from faults.sound import CONFIG, HYPOTHESIS, Ground

from ad_hypotheses.distill.checkpoint import save
from ad_hypotheses.distill.config import check_config
from ad_hypotheses.known.catalogue import KNOWN
from ad_hypotheses.known.network import wired
from ad_hypotheses.studies.evaluate.curves import evaluate


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Return a sound checkpoint `models/base` and hypothesis `hypotheses/stay.py`; not to be changed."""
    place = tmp_path_factory.mktemp("sound")
    config = check_config(CONFIG, "the base")
    model = wired(KNOWN["win-stay"], config).model
    record = {"seconds": 0.1, "evaluation": evaluate(model, config, rollouts=8, seed=0)}
    save(place / "models" / "base", config, model, record)
    (place / "hypotheses").mkdir()
    (place / "hypotheses" / "stay.py").write_text(HYPOTHESIS)
    return Ground(place)


@pytest.fixture
def campaign(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """Return what tries inputs, with the seed of this test run."""
    monkeypatch.chdir(tmp_path)
    options = request.config.option
    return Campaign(int(options.fault_seed), tmp_path, float(options.fault_seconds))


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds all that small studies need; not to be changed."""
    return make_ground(tmp_path_factory.mktemp("kills") / "ground")


@pytest.fixture
def new_place(ground: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return what makes a folder in which a verb can be run."""
    numbers = count()

    def make(verb: str) -> Path:
        place = tmp_path / f"{verb}-{next(numbers)}"
        shutil.copytree(ground, place)
        if verb == "known":  # makes all but the configuration
            for path in (place / "models" / KNOWN_MODEL.name).iterdir():
                if path.name != "config.yaml":
                    path.unlink()
        return place

    return make


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of this test run."""
    return int(request.config.getoption("--fault-seed", default=0))
