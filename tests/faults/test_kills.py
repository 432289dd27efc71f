"""Long runs that are stopped at any moment, by Ctrl-C, a scheduler or a kill, and go on to the files of whole ones."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Sequence
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from faults.kills import Kind, Moment, described, final, left_behind, moments, run

from ad_hypotheses.known.calibration.jobs import Design

ROOT = Path(__file__).parents[2]
KNOWN = ROOT / "models" / "known-win-stay"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
TINY = """\
task: {name: dark-room, size: 3, horizon: 4}
source: {name: epsilon-greedy-q, anneal_episodes: 4}
histories: {held_out: 2, learners: 28, episodes: 4, keep_every: 1, check: false}
model: {n_layers: 1, n_heads: 2, d_model: 8}
training: {updates: 6, batch: 4, warmup: 2, evaluate_every: 6, save_every: 3}
"""
SWEEP = "base: tiny.yaml\ngrid: {training.seed: [0, 1]}\nname: 's{seed}'\n"
STAY = '''"""Stay: it stays where it was paid."""
import numpy as np
from ad_hypotheses import Hypothesis, embed, logits, node

@node(at=embed("reward"))
def paid(history):
    """Whether it was just paid."""
    return history.previous_rewards > 0

@node(at=logits)
def choice(paid):
    """Stay where it was paid."""
    return np.where(paid, 0, -1)

stay = Hypothesis(choice, model="known-win-stay", accept=0.5)
'''
CALIBRATION = Design(
    replicates={12: 1}, covered={12: 2}, pairs=1, exact=(16, 48, 2), compared=12, passes=1, pool=36, data=("source",)
)


VERBS = {
    "train": ("train", "tiny.yaml", "--threads", "1"),
    "histories": ("histories", "tiny.yaml"),
    "sweep": ("sweep", "sweep.yaml", "--workers", "2"),
    "scrub": (
        "scrub",
        "stay",
        "--rows",
        "16",
        "--passes",
        "1",
        "--pool",
        "64",
        "--data",
        "source,own",
        "--rollouts",
        "4",
    ),
    "patch": ("patch", "stay", "--rows", "4", "--threads", "1"),
    "evaluate": ("evaluate", KNOWN.name, "--rollouts", "4"),
    "known": ("known", "win-stay"),
    "calibrate": ("calibrate", "--only", "win-stay", "--quick", "--workers", "1", "--hypotheses", "known"),
}


def make_small() -> None:
    """Let few lives and few datasets do, in the process that is to be stopped."""
    from ad_hypotheses.known import build
    from ad_hypotheses.known.calibration import jobs as calibration
    from ad_hypotheses.studies.train import study as training

    training.ROLLOUTS = build.ROLLOUTS = 8  # type: ignore[attr-defined]
    calibration.QUICK = CALIBRATION


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds all that the verbs need; not to be changed."""
    place = tmp_path_factory.mktemp("kills") / "ground"
    (place / "hypotheses").mkdir(parents=True)
    (place / "tiny.yaml").write_text(TINY)
    (place / "sweep.yaml").write_text(SWEEP)
    (place / "hypotheses" / "stay.py").write_text(STAY)
    shutil.copytree(KNOWN, place / "models" / KNOWN.name)
    shutil.copytree(ROOT / "hypotheses" / "known", place / "known")
    return place


@pytest.fixture
def new_place(ground: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return what makes a folder in which a verb can be run."""
    numbers = count()

    def make(verb: str) -> Path:
        place = tmp_path / f"{verb}-{next(numbers)}"
        shutil.copytree(ground, place)
        if verb == "known":  # makes all but the configuration
            for path in (place / "models" / KNOWN.name).iterdir():
                if path.name != "config.yaml":
                    path.unlink()
        return place

    return make


def stop_and_go_on(
    verb: str, kinds: Sequence[Kind], n_moments: int, n_stops: int, seed: int, new_place: Callable[[str], Path]
) -> None:
    """Stop a verb at some moments, each in a place of its own, and compare what the last run leaves with a whole one.

    Args:
        verb: Which.
        kinds: Of moments.
        n_moments: How many places.
        n_stops: How often the run of a place is stopped at most, before it is left alone.
        seed: Of the moments.
        new_place: Makes a place.
    """
    arguments, wholes = VERBS[verb], {kind: new_place(verb) for kind in kinds}
    ended = {kind: run(place, arguments, Moment(kind), make_small) for kind, place in wholes.items()}
    assert all(end.code == 0 for end in ended.values()), [end.err for end in ended.values()]
    lengths = {kind: end.counted for kind, end in ended.items()}
    expected, *others = (final(place) for place in wholes.values())
    assert all(other == expected for other in others), "the verb does not repeat itself"
    assert not left_behind(wholes[kinds[0]])
    rng = np.random.default_rng([seed, sorted(VERBS).index(verb)])
    drawn = moments(rng, lengths, SIGNALS)
    for _ in range(n_moments):
        place, stops = new_place(verb), list(islice(drawn, n_stops))
        with described(f"{verb}, seed {seed}, {', then '.join(map(str, stops))}"):
            for moment in stops:
                stopped = run(place, arguments, moment, make_small)
                assert "Traceback" not in stopped.err, stopped.err
                assert "bug of ours" not in stopped.err, stopped.err
                allowed = (-signal.SIGKILL, 0) if moment.signal == signal.SIGKILL else (2, 0)
                assert stopped.code in allowed, (stopped.code, stopped.err)
            last = run(place, arguments, Moment("change"), make_small)
            assert last.code == 0, last.err
            files = final(place)
            assert files.keys() == expected.keys()
            assert [name for name in files if files[name] != expected[name]] == []
            assert left_behind(place) == []


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of this test run."""
    return int(request.config.getoption("--fault-seed", default=0))


def test_a_few_kills_lose_nothing(seed, new_place):
    stop_and_go_on("train", ["change"], 2, 1, seed, new_place)


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("verb", VERBS)
def test_many_kills_lose_nothing(verb, seed, new_place):
    n_moments = 6 if verb == "sweep" else 30  # its workers are processes that import everything
    stop_and_go_on(verb, ["change", "call"], n_moments, 1, seed + 1, new_place)


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("verb", ["train", "histories", "scrub", "patch", "evaluate", "calibrate"])
def test_kills_one_after_another_lose_nothing(verb, seed, new_place):
    stop_and_go_on(verb, ["change", "call"], 8, 4, seed + 2, new_place)
