"""What a scrubbing pass costs, in plain forward passes and beside Redwood's engine: `python benchmarks/scrub.py`.

The target: a hypothesis of P tree nodes costs at most 1.5 x P plain forwards, plus 30 %. Then the same model, histories
and hypotheses, with history-level features, go through Redwood's own engine, `rust-circuit`, in its best settings: a
pass of it is what it draws and evaluates; ours count the model's clean run, too. Everybody keeps freed memory, engines
take turns, losses on the same draws must agree first. Times are the CPU's, the best of some rounds; quote the ratios.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "tests"))

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.metrics import cross_entropy
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.distill.model import ADTransformer, Shape
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.language.check import BoundGraph, BoundNode
from ad_hypotheses.language.history import History
from ad_hypotheses.language.sites import SiteSet, embed, head, logits, mlp
from ad_hypotheses.studies.machine import keep_freed_memory

AGREE = 1e-5
HISTORIES, STEPS, PASSES = 1024, 60, 10  # of the comparison with Redwood's engine
CHECKED = 48  # histories on which losses are compared first
Nodes = dict[str, BoundNode]


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


def network(steps: int, layers: int, width: int) -> ADTransformer:
    """A transformer with random weights."""
    vocabulary = Vocabulary((("x", 9), ("y", 9)), n_actions=5)
    return ADTransformer(vocabulary, Shape(steps, layers, 4, width)).eval()


def claims(model: ADTransformer, history: History, whole: bool = False) -> dict[str, Nodes]:
    """A chain through two heads, a claim about some heads, and one about all heads and MLPs of two layers.

    Args:
        model: What they are about.
        history: The dataset.
        whole: Whether features are of whole histories, not of steps.
    """
    shape = history.actions.shape[:1] if whole else history.actions.shape
    labels = np.random.default_rng(1).integers(20, size=shape)

    def node(name: str, site: SiteSet, *parents: str) -> BoundNode:
        return BoundNode(name, site.resolve(model.anatomy), parents, labels, None, False, "")

    last = model.shape.n_layers - 1
    chain = [node("early", head(0, 1)), node("late", head(last, 2), "early"), node("root", logits, "late")]
    inputs = [node("cell", embed("x") + embed("y")), node("reward", embed("reward"))]
    heads = [*inputs, *(node(f"early {n}", head(0, n), "cell", "reward") for n in range(3))]
    heads += [node(f"late {n}", head(last, n), "early 0", "early 1", "cell") for n in range(2)]
    heads += [node("root", logits, "late 0", "late 1", "early 2", "cell", "reward")]
    nodes = [*inputs]
    nodes += [node("goal", head(0), "cell", "reward"), node("plan", mlp(0), "goal", "cell")]
    nodes += [node("look", head(1), "plan", "cell"), node("move", mlp(1), "look", "plan", "cell")]
    nodes += [node("root", logits, "move", "plan", "cell", "reward")]
    found = {"a chain of heads": chain, "some heads": heads, "whole layers": nodes}
    return {name: {node.name: node for node in claim} for name, claim in found.items()}


def best_seconds(runs: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """CPU seconds of each run, taking turns: the best of some rounds, after one to warm up."""
    taken = np.empty((rounds + 1, len(runs)))
    for turn, place in np.ndindex(taken.shape):
        began = time.process_time()
        runs[place]()
        taken[turn, place] = time.process_time() - began
    return [float(seconds) for seconds in taken[1:].min(axis=0)]


def in_forwards(options: argparse.Namespace) -> None:
    """Print what a pass costs in plain forwards over the dataset."""
    model = network(options.steps, options.layers, options.width).to(options.device)
    history = dataset(options.rows, options.steps)
    clean = Clean.run(model, history)

    @torch.no_grad()
    def plain() -> None:
        for rows in clean.chunks():
            model(clean.tokens[rows])

    print(
        f"{options.layers} layers, width {options.width}, {options.rows} x {options.steps} steps, step-level features"
    )
    for name, nodes in claims(model, history).items():
        bound, passes = BoundGraph(nodes, "root"), iter(range(10_000))
        with clean.prepared():
            scrubber = Scrubber(clean, bound)
            forward, seconds = best_seconds([plain, lambda s=scrubber, n=passes: s.run(next(n))], options.rounds)
        n_nodes = len(bound.tree_paths())
        print(
            f"{name}, {n_nodes} tree nodes: {seconds:.3f} s a pass = {seconds / forward:.2f} plain forwards "
            f"(allowed {1.5 * n_nodes * 1.3:.1f}), {seconds / forward / n_nodes:.2f} a node"
        )


def require_agreement(model: ADTransformer, history: History, nodes: Nodes) -> float:
    """Return how far losses on the same draws are apart, and refuse too far."""
    from redwood import Theirs
    from replay import Subject, recorded

    some = {name: replace(node, labels=node.labels[:CHECKED]) for name, node in nodes.items()}
    subject = Subject(model, history[np.arange(CHECKED)], some)
    tables, ours = recorded(subject.scrubber(Options(self_donors=True)), 0)
    theirs = Theirs(subject).replay(tables)
    far = np.abs(cross_entropy(ours, subject.history.actions) - cross_entropy(theirs, subject.history.actions)).max()
    if not far <= AGREE:
        sys.exit(f"losses on the same draws differ by up to {far:.1e}, more than {AGREE:.0e}")
    return float(far)


def redwood_pass(model: ADTransformer, history: History, nodes: Nodes, references: int) -> Callable[[], object]:
    """Return a pass of Redwood's engine: draw, write the scrubbed graph out, evaluate it. What can be reused is."""
    from redwood import SETTINGS, Theirs
    from replay import Subject
    from rust_circuit.causal_scrubbing.experiment import Experiment

    theirs = Theirs(Subject(model, history, nodes))
    wanted = theirs.data[torch.arange(references)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing is checked any more
        experiment = Experiment(theirs.graph.circuit, theirs.data, theirs.claim().correspondence, check=False)

    def run() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that classes are small
            return experiment.scrub(wanted, treeify=False, check=False).evaluate(SETTINGS)

    return run


def our_passes(model: ADTransformer, history: History, nodes: Nodes, references: int, passes: int) -> None:
    """Run the model, cache it, and scrub some references some times."""
    scrubber = Scrubber(Clean.run(model, history), BoundGraph(nodes, "root"), Options(self_donors=True))
    for number in range(passes):
        scrubber.run(number, n_rows=references)


def beside_redwood(rounds: int, sizes: Sequence[int]) -> list[dict[str, object]]:
    """Print one and ten passes of both engines, and return what was printed, a row for each claim and size."""
    rows: list[dict[str, object]] = []
    model, history = network(STEPS, 2, 64), dataset(HISTORIES, STEPS)
    tokens = model.to_tokens(history)
    print(f"\n2 layers, width 64, {HISTORIES} x {STEPS} steps, history-level features; ours with the clean run, CPU ms")
    if find_spec("rust_circuit") is None:
        print("rust-circuit is not installed: pip install -e '.[oracle]' (Python 3.11, Linux)")
    for references in sizes:
        for name, nodes in claims(model, history, whole=True).items():
            ours = [partial(our_passes, model, history, nodes, references, passes) for passes in (1, PASSES)]
            runs = [torch.no_grad()(partial(model, tokens[:references])), *ours]
            beside = ""
            if find_spec("rust_circuit") is not None:
                beside = f", losses agree to {require_agreement(model, history, nodes):.0e}"
                runs.append(redwood_pass(model, history, nodes, references))
            forward, one, ten, *theirs = (1000 * seconds for seconds in best_seconds(runs, rounds))
            n_nodes = len(BoundGraph(nodes, "root").tree_paths())
            print(f"{name}, {n_nodes} tree nodes, {references} references{beside}:", flush=True)
            row = {
                "claim": name,
                "nodes": n_nodes,
                "references": references,
                "forward": forward,
                "one": one,
                "ten": ten,
            }
            rows.append(row | {"rust-circuit": theirs[0] if theirs else None})
            print(f"  plain forward over the references {forward:.0f}; our passes: one {one:.0f}, ten {ten:.0f}")
            for single in theirs:
                times = (
                    f"one {single:.0f} ({single / one:.1f} x ours), ten {10 * single:.0f} ({10 * single / ten:.1f} x)"
                )
                print(f"  rust-circuit: {times}")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--references", type=int, nargs="+", default=[256, HISTORIES], help="beside Redwood's engine")
    parser.add_argument("--record", type=Path, help="keep the comparison with Redwood's engine as JSON, and do no more")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    if options.record is None:
        in_forwards(options)
    rows = beside_redwood(options.rounds, options.references)
    if options.record is not None:
        options.record.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
