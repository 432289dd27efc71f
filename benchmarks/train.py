"""How fast ADTransformer trains beside a plain transformer of the same shape: `python benchmarks/train.py`.

The plain one has no hooks and one matrix for queries, keys and values; its embeddings are separate tables too. An
update is forward, loss, backward, clipping and an AdamW step. The two take turns in one process, so that a disturbance
meets both; quote the ratios (1 is as fast, the bar is 0.7), not the tokens a second.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ad_hypotheses.distill.model import ADTransformer, Shape
from ad_hypotheses.distill.optimisers import make_optimiser
from ad_hypotheses.distill.parallel import Ranks
from ad_hypotheses.distill.sections import Training
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.distill.updates import Batch, update

BAR = 0.7
VOCABULARY = Vocabulary((("x", 9), ("y", 9)), n_actions=5)
SHAPES = (  # layers, width, heads, steps, batch
    (2, 64, 4, 380, 24),
    (4, 128, 4, 300, 8),
    (1, 16, 2, 380, 24),
)


class PlainBlock(nn.Module):
    """Pre-LN attention and MLP, as in GPT-2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, width = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(batch, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(z.transpose(1, 2).reshape(batch, steps, width))
        return x + self.mlp(self.ln2(x))


class Plain(nn.Module):
    """The transformer that anybody would write."""

    def __init__(self, layers: int, width: int, heads: int, steps: int) -> None:
        super().__init__()
        self.embed = nn.ModuleList(nn.Embedding(size, width) for size in VOCABULARY.sizes)
        self.position = nn.Embedding(steps, width)
        self.blocks = nn.Sequential(*(PlainBlock(width, heads) for _ in range(layers)))
        self.ln, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY.n_actions)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.position.weight[: tokens.shape[1]]
        for channel, table in enumerate(self.embed):
            x = x + table(tokens[..., channel])
        return self.head(self.ln(self.blocks(x)))


def random_batch(steps: int, batch: int, device: str) -> Batch:
    """Return random tokens: what is in them does not change the time."""
    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(np.stack([rng.integers(size, size=(batch, steps)) for size in VOCABULARY.sizes], axis=-1))
    actions = torch.from_numpy(rng.integers(VOCABULARY.n_actions, size=(batch, steps)))
    return Batch(tokens.to(device), actions.to(device), None, 0)


def ours(model: ADTransformer, batch: Batch) -> Callable[[], float]:
    """Return an update of our model, as training makes it."""
    optimiser = make_optimiser(model, Training())
    return lambda: update(model, optimiser, model, batch, Training(), Ranks())


def plain(model: Plain, batch: Batch) -> Callable[[], float]:
    """Return an update of the plain model."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.99), fused=True)

    def run() -> float:
        optimiser.zero_grad()
        loss = F.cross_entropy(model(batch.tokens).flatten(0, 1), batch.actions.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return loss.item()

    return run


def in_turn(runs: list[Callable[[], object]], rounds: int, updates: int) -> np.ndarray:
    """Return the seconds that each of some updates takes, in turn, after one round to warm up. [round, run]"""
    seconds = np.empty((rounds + 1, len(runs)))
    for row in seconds:
        for number, run in enumerate(runs):
            began = time.perf_counter()
            for _ in range(updates):
                run()
            row[number] = (time.perf_counter() - began) / updates
    return seconds[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--updates", type=int, default=3, help="updates of one model before it is the other's turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"thousand tokens a second, best (median) of {options.rounds} rounds; bar: ratio >= {BAR}")
    print(f"{'layers':>6s} {'width':>5s} {'steps':>5s} {'batch':>5s} {'ours':>16s} {'plain':>16s} {'ratio':>12s}")
    for layers, width, heads, steps, size in SHAPES:
        model = ADTransformer(VOCABULARY, Shape(steps, layers, heads, width)).to(options.device)
        other = Plain(layers, width, heads, steps).to(options.device)
        batch = random_batch(steps, size, options.device)
        seconds = in_turn([ours(model, batch), plain(other, batch)], options.rounds, options.updates)
        best, median = (size * steps / of(seconds, axis=0) / 1e3 for of in (np.min, np.median))
        ratios = (best[0] / best[1], np.median(seconds[:, 1] / seconds[:, 0]))
        shown = [f"{one:.1f} ({other:.1f})" for one, other in zip(best, median, strict=True)]
        print(
            f"{layers:6d} {width:5d} {steps:5d} {size:5d} {shown[0]:>16s} {shown[1]:>16s} "
            f"{f'{ratios[0]:.2f} ({ratios[1]:.2f})':>12s}"
        )


if __name__ == "__main__":
    main()
