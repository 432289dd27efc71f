"""How well edges are ranked without patching each: `python benchmarks/screen.py`.

Edges of a shipped model, drawn at random, are patched exactly on a few histories; gradients, integrated gradients and
relevance (RelP) of the same edges are compared with these effects by Spearman's rank correlation, of their sizes, which
is what picks edges, and with their signs. Seconds are the processor's.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ad_hypotheses.causal.attribute import Rule, agreement, attribute
from ad_hypotheses.causal.effects import measure
from ad_hypotheses.causal.history_pairs import HistoryPairs
from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.language.edges import all_edges
from ad_hypotheses.studies.data import histories

MODELS = Path(__file__).resolve().parent.parent / "models"
METHODS: dict[str, tuple[Rule, int]] = {
    "gradients": ("gradient", 1), "relevance": ("relevance", 1), "integrated gradients": ("gradient", 4),
}  # fmt: skip
METRIC = "loss"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["bandit", "dark-room"])
    parser.add_argument("--folder", type=Path, default=MODELS, help="where the models are")
    parser.add_argument("--rows", type=int, default=4, help="histories, and as many donors")
    parser.add_argument("--edges", type=int, default=250, help="at most so many of each model, drawn at random")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in options.models:
        compare(name, options.folder, options.rows, options.edges)


def compare(name: str, folder: Path, rows: int, most: int) -> None:
    """Print how well each method ranks edges of one model."""
    checkpoint = load(name, folder)
    lives = histories(checkpoint, 2 * rows, tasks="all").history
    pairs = HistoryPairs(lives[:rows], lives[rows:], "any")
    edges = all_edges(checkpoint.model.anatomy)
    drawn = np.random.default_rng(0).permutation(len(edges))[:most]
    edges = [edges[number] for number in sorted(drawn)]
    began = time.process_time()
    exact = measure(checkpoint.model, pairs, edges, (METRIC,)).changes[METRIC][:, :, 0]
    print(f"\n{name}: {len(edges)} edges on {rows} histories, exactly in {time.process_time() - began:.1f} s")
    print(f"{'':22s} {'by size':>8s} {'signed':>8s} {'seconds':>8s}")
    for method, (rule, steps) in METHODS.items():
        began = time.process_time()
        values = attribute(checkpoint.model, pairs, edges, METRIC, steps, rule=rule)
        seconds = time.process_time() - began
        ranks = [agreement(values, exact, signed) for signed in (False, True)]
        print(f"{method:22s} {ranks[0]:8.3f} {ranks[1]:8.3f} {seconds:8.2f}", flush=True)


if __name__ == "__main__":
    main()
