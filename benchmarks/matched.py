"""What it saves not to compute again what a history shares with its counterfactual: `python benchmarks/matched.py`.

A matched counterfactual of a history differs from it from some step on, and what comes before is the plain run's,
whatever is patched. Here the same edges of a shipped model are patched in the same histories twice: with the steps
that the engine may take from the plain run, and with all of them computed. Effects must agree to 1e-5 first. The two
take turns; times are the CPU's, the best of some rounds; quote the ratios. Donors that are any other history share
nothing: their two columns are the same work, and say how far to trust the others.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ad_hypotheses.causal.effects import measure
from ad_hypotheses.causal.history_pairs import ANY, HistoryPairs, make_pairs
from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.language.edges import Edge, all_edges
from ad_hypotheses.studies.machine import keep_freed_memory
from ad_hypotheses.studies.scrub.bind import ScrubSettings, reference_histories
from ad_hypotheses.tasks.counterfactuals import fitting

MODELS = Path(__file__).resolve().parent.parent / "models"
AGREE = 1e-5


@dataclass(frozen=True)
class Timed:
    """What one kind of donor took.

    Attributes:
        donors: Their name.
        rows: Histories that have one.
        shared: Share of their steps before the first difference.
        skipping: Edges a CPU second when these are not computed.
        computing: The same when all steps are.
    """

    donors: str
    rows: int
    shared: float
    skipping: float
    computing: float


def seconds_of(model: ADTransformer, pairs: HistoryPairs, edges: Sequence[Edge]) -> tuple[float, np.ndarray]:
    """CPU seconds, and the effects. [edge, row, regime]"""
    began = time.process_time()
    changes = measure(model, pairs, edges, ("loss",)).changes["loss"]
    return time.process_time() - began, changes


def timed(model: ADTransformer, pairs: HistoryPairs, edges: Sequence[Edge], rounds: int) -> Timed:
    """Time both ways in turn, and refuse effects that differ."""
    ways, seconds = (pairs, replace(pairs, first_step=None)), []
    for _ in range(rounds):
        (skipping, some), (computing, others) = (seconds_of(model, way, edges) for way in ways)
        seconds.append((skipping, computing))
        if not np.abs(some - others).max() <= AGREE:
            sys.exit(f"{pairs.name}: effects differ by up to {np.abs(some - others).max():.1e}, more than {AGREE:.0e}")
    rates = len(edges) / np.min(seconds, axis=0)
    steps = pairs.reference.n_steps
    shared = 0.0 if pairs.first_step is None else float(pairs.first_step.mean()) / steps
    return Timed(pairs.name, pairs.reference.n_rows, shared, *rates.tolist())


DONORS = ("no-rewards", "rewards-swapped", "episode-replaced", "actions-exchanged", "goal-moved")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each of some kinds of counterfactual that fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="dark-room", help="its name, or its folder")
    parser.add_argument("--rows", type=int, default=64, help="histories")
    parser.add_argument("--every", type=int, default=6, help="patch one edge in so many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    checkpoint = load(options.model, MODELS)
    task, history = checkpoint.experiment.task, reference_histories(checkpoint, ScrubSettings(rows=options.rows))
    edges = all_edges(checkpoint.model.anatomy)[:: options.every]
    print(f"{checkpoint.name}: {len(edges)} edges, {history.n_steps} steps, best of {options.rounds} rounds")
    print(f"{'donors':20s} {'rows':>4s} {'shared':>7s} {'skipping them':>14s} {'all computed':>13s} {'ratio':>6s}")
    for donors in (*(name for name in DONORS if name in fitting(task, history)), ANY):
        found = timed(checkpoint.model, make_pairs(donors, task, history, seed=0), edges, options.rounds)
        rates = f"{found.skipping:14.1f} {found.computing:13.1f} {found.skipping / found.computing:6.2f}"
        print(f"{found.donors:20s} {found.rows:4d} {found.shared:7.0%} {rates}", flush=True)


if __name__ == "__main__":
    main()
