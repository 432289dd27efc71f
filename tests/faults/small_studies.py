"""Small studies of every kind, which take seconds: what is typed, and the folder in which it is."""

from __future__ import annotations

import shutil
from pathlib import Path

from ad_hypotheses.known.calibration.jobs import Design

ROOT = Path(__file__).parents[2]
KNOWN = ROOT / "models" / "known-win-stay"
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


SIZE_OF_SCRUB = (
    *("--rows", "16", "--passes", "1", "--pool", "64"),
    *("--data", "source,own", "--rollouts", "4"),
)
VERBS = {
    "train": ("train", "tiny.yaml", "--threads", "1"),
    "histories": ("histories", "tiny.yaml"),
    "sweep": ("sweep", "sweep.yaml", "--workers", "2"),
    "scrub": ("scrub", "stay", *SIZE_OF_SCRUB),
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


def make_ground(place: Path) -> Path:
    """Make a folder that holds all that the verbs need."""
    (place / "hypotheses").mkdir(parents=True)
    (place / "tiny.yaml").write_text(TINY)
    (place / "sweep.yaml").write_text(SWEEP)
    (place / "hypotheses" / "stay.py").write_text(STAY)
    shutil.copytree(KNOWN, place / "models" / KNOWN.name)
    shutil.copytree(ROOT / "hypotheses" / "known", place / "known")
    return place
