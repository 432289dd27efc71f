"""Options of the test run, and what several test files share: a small trained checkpoint and the command line."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded: workers side by side must not fight for cores

# times vary with the machine, failures must not
settings.register_profile("repository", deadline=None, derandomize=True)
settings.load_profile("repository")

TINY = """\
task: {name: dark-room, size: 5, horizon: 8}
source: {name: epsilon-greedy-q, anneal_episodes: 10}
histories: {held_out: 5, learners: 256, episodes: 12, keep_every: 2}
model: {n_layers: 2, n_heads: 2, d_model: 16}
training: {updates: 60, batch: 16, learning_rate: 0.01, warmup: 10, evaluate_every: 30, save_every: 20}
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--runslow`."""
    parser.addoption("--runslow", action="store_true", help="also run what trains a model or takes minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip slow tests unless they are asked for."""
    if config.getoption("--runslow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs --runslow"))


@dataclass(frozen=True)
class Ran:
    """What the command line did: its exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything in stderr in one line, without the box that frames usage errors."""
        return re.sub(r"[\s│╭╮╰╯─]+", " ", self.err)


def run_main(arguments: tuple[object, ...], capsys: pytest.CaptureFixture[str]) -> Ran:
    """Run the command line in this process; it must never show a traceback."""
    from ad_hypotheses.cli.app import main

    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert "\x1b[" not in out + err, "control codes although this is no terminal"
    return Ran(int(end.value.code or 0), out, err)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of checkpoints that holds a small one, `tiny`, trained by the command line; not to be changed."""
    from ad_hypotheses.cli.app import main

    place = tmp_path_factory.mktemp("trained")
    (place / "tiny.yaml").write_text(TINY)
    with pytest.raises(SystemExit) as end:
        main(["train", str(place / "tiny.yaml"), "--out", str(place / "models" / "tiny")])
    assert not end.value.code
    return place / "models"


@pytest.fixture
def workplace(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory with `tiny.yaml`, `models/tiny` and an empty `hypotheses/`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("AD_HYPOTHESES_TRACEBACK", raising=False)
    shutil.copytree(trained, tmp_path / "models")
    (tmp_path / "hypotheses").mkdir()
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


@pytest.fixture
def cli(workplace: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Return what runs the command line in `workplace`."""
    return lambda *arguments: run_main(arguments, capsys)
