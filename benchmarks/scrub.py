"""What a scrubbing pass costs, in plain forward passes over the same dataset: `python benchmarks/scrub.py`.

The target: a hypothesis of P tree nodes costs at most 1.5 x P plain forwards, plus 30 %. Times are the median of
several runs in turn, in one process; quote the ratios, not the seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.scrub import Scrubber
from ad_hypotheses.causal.tree import tree_paths
from ad_hypotheses.distill.model import ADTransformer, Shape
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.language.check import BoundNode
from ad_hypotheses.language.history import History
from ad_hypotheses.language.sites import SiteSet, embed, head, logits, mlp


def dataset(rows: int, steps: int) -> History:
    """Random histories: what is in them does not change the time."""
    rng = np.random.default_rng(0)
    return History(
        observations=rng.integers(9, size=(rows, steps, 2)),
        actions=rng.integers(5, size=(rows, steps)),
        rewards=rng.integers(2, size=(rows, steps)).astype(np.float32),
        episode=np.broadcast_to(np.arange(steps) // 20, (rows, steps)),
        channels=("x", "y"),
        n_actions=5,
    )


def claims(model: ADTransformer, history: History) -> dict[str, dict[str, BoundNode]]:
    """A chain through two heads, and a claim about all MLPs and heads of the model."""
    labels = np.random.default_rng(1).integers(20, size=history.actions.shape)

    def node(name: str, site: SiteSet, *parents: str) -> BoundNode:
        return BoundNode(name, site.resolve(model.anatomy), parents, labels, None, False, "")

    last = model.shape.n_layers - 1
    chain = [node("early", head(0, 1)), node("late", head(last, 2), "early"), node("root", logits, "late")]
    nodes = [node("cell", embed("x") + embed("y")), node("reward", embed("reward"))]
    nodes += [node("goal", head(0), "cell", "reward"), node("plan", mlp(0), "goal", "cell")]
    nodes += [node("look", head(1), "plan", "cell"), node("move", mlp(1), "look", "plan", "cell")]
    nodes += [node("root", logits, "move", "plan")]
    return {"chain": {n.name: n for n in chain}, "circuit": {n.name: n for n in nodes}}


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    """Median wall time after one run to warm up."""
    run()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    vocabulary = Vocabulary((("x", 9), ("y", 9)), n_actions=5)
    model = ADTransformer(vocabulary, Shape(options.steps, options.layers, 4, options.width)).to(options.device).eval()
    history = dataset(options.rows, options.steps)
    clean = Clean.run(model, history)

    @torch.no_grad()
    def plain() -> None:
        for rows in clean.chunks():
            model(clean.tokens[rows])

    forward = median_seconds(plain, options.repeats)
    tokens = history.actions.size
    print(f"{options.layers} layers, width {options.width}, {options.rows} x {options.steps} steps")
    print(f"plain forward over the dataset: {forward:.3f} s ({tokens / forward:,.0f} tokens/s)")
    for name, nodes in claims(model, history).items():
        scrubber = Scrubber(clean, nodes, "root")
        passes = iter(range(10_000))
        seconds = median_seconds(lambda scrubber=scrubber, passes=passes: scrubber.run(next(passes)), options.repeats)
        n_nodes = len(tree_paths(nodes, "root"))
        allowed = 1.5 * n_nodes * 1.3
        print(
            f"{name}: {n_nodes} tree nodes, {seconds:.3f} s a pass = {seconds / forward:.2f} plain forwards "
            f"(allowed {allowed:.1f}), {seconds / forward / n_nodes:.2f} a node"
        )
        clean.forget()


if __name__ == "__main__":
    main()
