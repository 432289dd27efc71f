"""What a study takes is known before it is taken, and agrees with the peak that the operating system reports."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from ad_hypotheses import Hypothesis, embed, logits, node
from ad_hypotheses.causal.scrub import Options
from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.evidence import bootstrap
from ad_hypotheses.evidence.bootstrap import Resampling, crossed_bootstrap
from ad_hypotheses.evidence.effects import flip_test, weigh
from ad_hypotheses.language.check import outline
from ad_hypotheses.studies.scrub.cost import Extent, predict

ROOT = Path(__file__).parents[1]
STUDY = """
import json, sys, tempfile
from pathlib import Path

import numpy as np
import torch

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node
from ad_hypotheses.distill.checkpoint import Checkpoint, build
from ad_hypotheses.distill.config import check_config
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.machine import keep_freed_memory
from ad_hypotheses.studies.scrub import study
from ad_hypotheses.studies.scrub.bind import ScrubSettings, prepare


@node(at=embed("x") + embed("y"))
def cell(history):
    return history.observations


@node(at=head(0))
def goal(history):
    return history.last_rewarded_cell()


@node(at=mlp(0))
def heading(cell, goal):
    return np.where((goal >= 0).all(axis=-1, keepdims=True), np.sign(goal - cell), 2)


@node(at=logits)
def choice(heading):
    return np.where(heading[..., 0] == 2, -1, 0)


def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


torch.set_num_threads(1)
keep_freed_memory()  # as the command line does
shape, horizon, episodes, settings = json.loads(sys.argv[1])
config = check_config(
    {
        "task": {"name": "dark-room", "size": 7, "horizon": horizon},
        "source": {"name": "epsilon-greedy-q", "anneal_episodes": 10},
        "histories": {"held_out": 5, "learners": 64, "episodes": episodes, "keep_every": 1},
        "model": shape,
        "training": {"updates": 1, "batch": 2},
    },
    "a test",
)
model = build(config).eval()
checkpoint = Checkpoint("m", Path("."), config, model, {"weights_sha256": "0" * 64})
study.require_estimable = lambda evidence: None  # nothing was learned, so there is nothing to explain
Path("/proc/self/clear_refs").write_text("5")  # what imports took for a moment is no peak of the study's
before, costs = resident("VmRSS"), []
study.refuse_too_large = lambda cost, *_: costs.append(cost)
settings = ScrubSettings(rollouts=0, rivals=False, **settings)
trial = prepare(Hypothesis(choice, name="claim"), [], checkpoint, settings)
study.run_studies([trial], settings, "", Scratch(Path(tempfile.mkdtemp())))
print(json.dumps([costs[0].bytes, resident("VmHWM") - before]))
"""
TINY = {"n_layers": 2, "n_heads": 2, "d_model": 16}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can forget an earlier peak")
@pytest.mark.parametrize(
    ("shape", "horizon", "episodes", "settings"),
    [
        pytest.param(TINY, 8, 3, {"rows": 64, "pool": 256}, id="tiny", marks=pytest.mark.slow),
        pytest.param(
            {"n_layers": 2, "n_heads": 4, "d_model": 64},
            20,
            6,
            {"rows": 32, "pool": 160, "passes": 1, "data": ["source"]},
            id="small",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            TINY,
            8,
            3,
            {"rows": 16, "pool": 64, "passes": 2_000, "data": ["source"]},
            id="many passes",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"n_layers": 2, "n_heads": 4, "d_model": 64},
            20,
            6,
            {"rows": 64, "pool": 256, "others": "independent", "data": ["source"]},
            id="independent",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"n_layers": 4, "n_heads": 4, "d_model": 128},
            20,
            12,
            {"rows": 128, "pool": 512, "passes": 1, "data": ["source"]},
            id="many rows",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"n_layers": 8, "n_heads": 8, "d_model": 512},
            100,
            10,
            {"rows": 4, "pool": 16, "passes": 1, "data": ["source"]},
            id="large",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_a_study_takes_is_predicted_within_a_quarter(shape, horizon, episodes, settings):
    arguments = json.dumps([shape, horizon, episodes, settings])
    ran = subprocess.run([sys.executable, "-c", STUDY, arguments], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    predicted, measured = json.loads(ran.stdout)
    assert 0.75 < predicted / measured < 1.25, (predicted, measured)


# --- refused before anything is allocated


CLAIM = """
from ad_hypotheses import Hypothesis, embed, logits, node

@node(at=embed("reward"))
def paid(history):
    return history.previous_rewards > 0

@node(at=logits)
def choice(paid):
    return paid * 1

claim = Hypothesis(choice, model="tiny")
"""


@pytest.fixture
def claim(workplace, monkeypatch):
    def live(self, facts, rng):
        raise AssertionError("histories were made")

    monkeypatch.setattr("ad_hypotheses.distill.config.Experiment.live", live)
    path = workplace / "hypotheses" / "claim.py"
    path.write_text(CLAIM)
    return path


@pytest.mark.parametrize(
    "typed",
    [
        ("scrub", "--rows", 10**9),
        ("scrub", "--rows", 8, "--passes", 10**6, "--memory", "2GB"),
        ("scrub", "--rows", 8, "--rollouts", 10**9),
        ("patch", "--rows", 10**9),
    ],
)
def test_a_study_that_would_not_fit_is_refused_before_there_are_histories(cli, claim, typed):
    verb, *options = typed
    ran = cli(verb, claim, *options)
    assert (ran.code, ran.out) == (2, "")
    assert "the run needs" in ran.said
    assert "--rows" in ran.said
    assert "--memory" in ran.said


@node(at=embed("reward"))
def paid(history):
    return history.previous_rewards > 0


@node(at=logits)
def stay(paid):
    return np.zeros_like(paid, dtype=int)


def test_a_bootstrap_of_many_passes_is_no_reason_to_refuse(trained):
    """Its draws are made block by block: what grows are the losses, and one byte for each draw of a pass."""
    checkpoint = load("tiny", trained)
    claim = outline(Hypothesis(stay, model="tiny"), checkpoint.model.anatomy)
    few, many = (
        predict(checkpoint.model, [claim], [Extent(passes, True, True)], (8, 32, 48), 1, Options(), 2000)
        for passes in (1, 10_001)
    )
    losses, block = 4 * 5 * 8 * 48, 8 * bootstrap.BLOCK
    assert many.bytes - few.bytes < 10_000 * (losses + 2000) + block


# --- the bootstrap in blocks


def counts_at_once(n: int, size: int, n_boot: int, rng: np.random.Generator) -> np.ndarray:
    """All draws at once, as the definition says."""
    picked = rng.integers(n, size=(n_boot, size))
    return np.stack([np.bincount(row, minlength=n) for row in picked])


@pytest.mark.parametrize("block", [2**24, 1000, 1])
@pytest.mark.parametrize(("n_clusters", "n_passes"), [(256, 5), (7, 1), (1, 3)])
def test_weights_are_those_of_all_draws_at_once(monkeypatch, block, n_clusters, n_passes):
    monkeypatch.setattr(bootstrap, "BLOCK", block)
    weights = Resampling.draw(n_clusters, n_passes, np.random.default_rng(0), 300)
    rng = np.random.default_rng(0)
    passes = counts_at_once(n_passes, max(n_passes - 1, 1), 300, rng).astype(float)
    np.testing.assert_array_equal(weights.passes, passes / passes.sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(weights.clusters, counts_at_once(n_clusters, n_clusters - 1, 300, rng))


def test_estimates_in_blocks_are_those_of_all_draws_at_once(monkeypatch):
    rng = np.random.default_rng(1)
    numerator, denominator = rng.normal(size=(5, 40)) + 3, rng.normal(size=(1, 40)) + 5
    weights = Resampling.draw(40, 5, rng, 500)
    whole = crossed_bootstrap(numerator, denominator, weights)
    monkeypatch.setattr(bootstrap, "BLOCK", 1000)
    parts = crossed_bootstrap(numerator, denominator, weights)
    assert parts.value == whole.value
    np.testing.assert_allclose(parts.draws, whole.draws, rtol=1e-12)


def allocated(run) -> int:
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_neither_clusters_nor_passes_are_held_as_large_numbers(monkeypatch):
    monkeypatch.setattr(bootstrap, "BLOCK", 2**16)
    for n_clusters, n_passes in ((2000, 1), (4, 2000)):
        sums = np.ones((n_passes, n_clusters))

        def estimate(n_clusters=n_clusters, n_passes=n_passes, sums=sums):
            weights = Resampling.draw(n_clusters, n_passes, np.random.default_rng(0), 500)
            crossed_bootstrap(sums, sums, weights)

        assert allocated(estimate) < 5 * 500 * 2000  # one byte each; as numbers of eight bytes they took 24 MB


def test_effects_of_many_rows_need_no_square_of_them(monkeypatch):
    monkeypatch.setattr("ad_hypotheses.evidence.effects.BLOCK", 2**16)
    monkeypatch.setattr(bootstrap, "BLOCK", 2**16)
    changes, counts = np.ones((2, 4000)), np.ones(4000, dtype=np.int64)
    weigh(changes[:, :8], counts[:8], 0, n_boot=100)  # what is imported on first use is not counted
    assert allocated(lambda: weigh(changes, counts, 0, n_boot=100)) < 8_000_000  # a square took 128 MB


def test_flips_of_default_sizes_are_drawn_as_ever():
    """Whether few or many are drawn at a time changes which they are, so that this is fixed for usual sizes."""
    sums = np.random.default_rng(2).normal(0.1, 1, size=(3, 64))
    rng, least = np.random.default_rng(3), np.abs(sums.sum(axis=1)) - 1e-9 * np.abs(sums).sum(axis=1)
    bits = np.concatenate([rng.integers(0, 2, size=(size, 64), dtype=np.int8) for size in (4096, 4096, 1808)])
    reached = (np.abs((1.0 - 2.0 * bits) @ sums.T) >= least).sum(axis=0)
    np.testing.assert_array_equal(flip_test(sums, np.random.default_rng(3)), (reached + 1) / 10_001)


@pytest.mark.parametrize("clusters", [None, np.array([5, 2, 5, 9])])
def test_rows_of_one_learner_are_added_up(clusters):
    changes, counts = np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([1, 2, 3, 4])
    (effect,) = weigh(changes, counts, 0, clusters=clusters, tested=False, n_boot=100)
    assert effect.value.value == pytest.approx(30 / 10)
