"""What the cache of keys and values saves a rollout: `python benchmarks/rollout.py`.

The same model lives the same number of steps twice: once keeping keys and values, once computing its whole history
anew at every step (logits of the last step only). The target: at least 20 times faster. Quote the ratio, not the
seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ad_hypotheses.distill.model import ADTransformer, Shape
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks import Facts, Task, make_task
from ad_hypotheses.tasks.play import play


@torch.inference_mode()
def recomputed(model: ADTransformer, task: Task, facts: Facts, episodes: int, rng: np.random.Generator) -> History:
    """Roll out without a cache; tokens are kept, so that the model's own work is all that is repeated."""
    rows = len(next(iter(facts.values())))
    tokens = torch.empty(rows, 0, len(model.vocabulary.channels), dtype=torch.int64, device=model.device)

    def policy(history: History) -> np.ndarray:
        nonlocal tokens
        latest = model.to_tokens(history.window(-2))[:, -1:]
        tokens = torch.cat([tokens, latest], dim=1)
        logits = model.unembed(model.residual(tokens)[:, -1:])[:, -1]
        return logits.float().softmax(-1).cpu().numpy()

    return play(task, facts, policy, episodes, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--episodes", type=int, default=24, help="of 20 steps")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--positions", default="learned")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    task = make_task("dark-room")
    vocabulary = Vocabulary(tuple(zip(task.channels, task.channel_sizes, strict=True)), task.n_actions)
    n_steps = options.episodes * task.horizon
    shape = Shape(n_steps, options.layers, 4, options.width, positions=options.positions)
    model = ADTransformer(vocabulary, shape).to(options.device).eval()
    facts = task.sample_tasks(np.random.default_rng(0), options.rows)
    rollout(model, task, facts, 2, np.random.default_rng(0))  # warm up
    recomputed(model, task, facts, 2, np.random.default_rng(0))
    # with one thread the time that this process had, which neighbours on the machine disturb less
    clock = time.process_time if options.device == "cpu" and options.threads == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {"with the cache": [], "recomputing": []}
    lives = {}
    for what, live in (("with the cache", rollout), ("recomputing", recomputed), ("with the cache", rollout)):
        began = clock()
        lives[what] = live(model, task, facts, options.episodes, np.random.default_rng(1))
        seconds[what].append(clock() - began)
    print(f"{options.layers} layers, width {options.width}, {options.rows} rows of {n_steps} steps, {options.device}")
    for what, times in seconds.items():
        took = float(np.mean(times))
        print(f"{what:15s} {took:8.2f} s   {options.rows * n_steps / took:10,.0f} steps/s")
    cached, anew = lives.values()
    alike = (cached.actions == anew.actions).mean()
    ratio = np.mean(seconds["recomputing"]) / np.mean(seconds["with the cache"])
    print(f"ratio: {ratio:.1f} (same actions at {alike:.2%} of the steps)")


if __name__ == "__main__":
    main()
