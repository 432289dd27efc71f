"""Options of the test run, and what several test files share: a small trained checkpoint and the command line."""

from __future__ import annotations

import gc
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from filelock import FileLock
from hypothesis import settings
from in_process import Ran, run_main
from jaxtyping import install_import_hook
from laws import DEFAULT, MORE

# before torch is loaded: workers side by side must not fight for cores, nor wait for each other in circles, whatever
# --threads a test gives to a command that it runs in its own process
os.environ["OMP_NUM_THREADS"] = os.environ["OMP_THREAD_LIMIT"] = "1"

# times vary with the machine, failures must not
settings.register_profile("default run", deadline=None, derandomize=True, max_examples=DEFAULT)
settings.register_profile("slow run", settings.get_profile("default run"), max_examples=DEFAULT * MORE)

TINY = """\
task: {name: dark-room, size: 5, horizon: 8}
source: {name: epsilon-greedy-q, anneal_episodes: 10}
histories: {held_out: 5, learners: 256, episodes: 12, keep_every: 2}
model: {n_layers: 2, n_heads: 2, d_model: 16}
training: {updates: 60, batch: 16, learning_rate: 0.01, warmup: 10, evaluate_every: 30, save_every: 20}
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--runslow`, `--shapes`, `--fault-seed`, `--fault-seconds` and `--cluster-kills`."""
    parser.addoption("--runslow", action="store_true", help="also what takes minutes; more random examples of each law")
    parser.addoption("--shapes", action="store_true", help="check the shapes in annotations, and paint every picture")
    parser.addoption("--fault-seed", default="0", metavar="N", help="of damaged inputs; `fresh` draws one and shows it")
    parser.addoption("--cluster-kills", default="20", metavar="N", help="of workers, in each study on each cluster")
    parser.addoption("--fault-seconds", default="inf", metavar="N", help="of processor time for each kind of input")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the number of random examples and their seed, and have shapes checked, before the package is imported."""
    os.fsync = lambda file: None  # what tests write need not outlive a loss of power, and waiting for disks takes long
    settings.load_profile("slow run" if config.getoption("--runslow") else "default run")
    if config.option.fault_seed == "fresh":
        config.option.fault_seed = str(secrets.randbelow(10**9))  # workers are given the options of this process
    if config.getoption("--shapes"):
        # the command line has no arrays, and contexts of another type while it is tested
        packages = ("language", "evidence", "tasks", "sources", "distill", "causal", "studies", "known")
        install_import_hook([f"ad_hypotheses.{package}" for package in packages], "beartype.beartype")


def pytest_collection(session: pytest.Session) -> None:
    """Leave the garbage collector out of the import of everything, which makes none."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have the garbage collector pass over what was imported, which stays, from now on."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_report_header(config: pytest.Config) -> str:
    """Say which inputs are damaged, so that a failure can be repeated."""
    return f"damaged inputs: --fault-seed {config.option.fault_seed}"


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by `-m slow`
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip slow tests unless they are asked for."""
    _mark_further_cases_slow(items)
    if config.getoption("--runslow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs --runslow"))


def _mark_further_cases_slow(items: list[pytest.Item]) -> None:
    """Mark as slow all cases of a test but the few that its mark `default_cases` names, spread over their order."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("default_cases"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for of_test in cases.values():
        mark = of_test[0].get_closest_marker("default_cases")
        assert mark is not None
        (n_default,) = mark.args
        default = {number * len(of_test) // n_default for number in range(n_default)}
        for number, item in enumerate(of_test):
            if number not in default:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of checkpoints that holds a small one, `tiny`, trained by the command line; not to be changed.

    It is made once a run: the first worker that wants it trains it, the others wait.
    """
    place = tmp_path_factory.getbasetemp()
    place = (place.parent if os.environ.get("PYTEST_XDIST_WORKER") else place) / "trained"
    with FileLock(f"{place}.lock"):
        if not (place / "done").exists():
            train_tiny(place)
            (place / "done").touch()
    return place / "models"


def train_tiny(place: Path) -> None:
    """Train `tiny` into `place`, over what a worker that failed may have left there."""
    from ad_hypotheses.cli.app import main

    place.mkdir(exist_ok=True)
    (place / "tiny.yaml").write_text(TINY)
    with pytest.raises(SystemExit) as end:
        main(["train", str(place / "tiny.yaml"), "--out", str(place / "models" / "tiny")])
    assert not end.value.code


@pytest.fixture
def sketches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave pictures undrawn, which would take longer than all else: a file of a few bytes stands for each.

    A test that is marked `pictures` paints them, and so does every test of a run with `--shapes`; a test that is marked
    `composed` composes its figures without painting them, and so does every test of a run with `--runslow`.
    """
    from matplotlib.figure import Figure

    from ad_hypotheses.report import draw

    def savefig(figure: Figure, target: BinaryIO, **options: object) -> None:
        target.write(b"\x89PNG\r\n\x1a\n" + f"{len(figure.axes)} axes".encode())

    def paint(draw: Callable[[Figure], None], height: float, target: BinaryIO) -> None:
        target.write(b"\x89PNG\r\n\x1a\n" + f"{height} inches".encode())

    if "pictures" in request.keywords or request.config.getoption("--shapes"):
        return
    if "composed" in request.keywords or request.config.getoption("--runslow"):
        monkeypatch.setattr(Figure, "savefig", savefig)
    else:
        monkeypatch.setattr(draw, "_paint", paint)


@pytest.fixture
def workplace(trained: Path, sketches: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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
