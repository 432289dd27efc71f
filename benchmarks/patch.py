"""What one exactly patched edge costs, here and with other tools: `python benchmarks/patch.py`.

The same model, histories and edges go through this engine, hooks on the model as one writes them with TransformerLens
(a whole forward an edge; or only the layers from the reader on), nnsight on a GPT-2 of the same weights, and, for edges
between heads, TransformerLens's `get_act_patch_direct_path` on its bridge to that GPT-2. Clean runs are included. All
losses must agree to 1e-5 first. Everybody keeps freed memory, and computes as many rows at a time as suit it best of
some that are tried. Engines take turns; times are the CPU's, the best of some rounds; quote the ratios.

*Floor*: the products that no engine can do without, at the rate of a plain forward; *of floor* is thus also the FLOP
rate at those products, in that of a plain forward. nnsight is left out where it is not installed (any 0.8).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformer_lens.patching import get_act_patch_direct_path
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils.logging import set_verbosity_error

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ad_hypotheses.causal.patch import patch_edges
from ad_hypotheses.causal.run_pair import RunPair
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.distill.lens import HookedADTransformer, hooked
from ad_hypotheses.distill.model import ADTransformer, Shape
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.language.anatomy import Writer
from ad_hypotheses.language.edges import Edge, all_edges
from ad_hypotheses.studies.machine import keep_freed_memory

AGREE = 1e-5
N_WORDS = 5  # tokens and actions: a GPT-2 predicts what it reads
FORWARDS = 12  # how many are timed: all take as long
OURS, FORWARD = "this engine", "plain forward"
Hooks = list[tuple[str, Callable[..., Tensor]]]


@dataclass(frozen=True)
class Case:
    """A shape, how many of its edges to patch (one in so many), and the source heads of those between heads."""

    layers: int
    heads: int
    width: int
    rows: int
    steps: int
    every: int
    sources: tuple[tuple[int, int], ...]


CASES = (
    Case(2, 4, 64, 64, 60, 1, tuple((0, head) for head in range(4))),
    Case(4, 4, 128, 4, 300, 6, ((0, 0), (1, 1), (2, 2))),
)
QUICK = (Case(2, 2, 8, 4, 6, 1, ((0, 0), (0, 1))),)


@dataclass(frozen=True)
class Runs:
    """Rows of a reference and of a donor, and the actions to predict. [row, step] each"""

    reference: Tensor
    donor: Tensor
    labels: Tensor

    def split(self, size: int) -> list[Runs]:
        parts = zip(*(some.split(size) for some in (self.reference, self.donor, self.labels)), strict=True)
        return [Runs(*part) for part in parts]

    def loss(self, logits: Tensor) -> float:
        return F.cross_entropy(logits.flatten(0, 1), self.labels.flatten()).item()

    @property
    def tokens(self) -> list[Tensor]:
        """As our model reads them: nothing but the first channel is embedded as anything."""
        return [torch.stack([t, torch.zeros_like(t), torch.zeros_like(t)], -1) for t in (self.reference, self.donor)]


Engine = Callable[[Runs, Sequence[Edge]], list[float]]
"""Losses of some rows with each edge patched, in the order of the edges."""


def model_of(case: Case) -> ADTransformer:
    """A transformer whose components all matter, of weights that a GPT-2 can have."""
    vocabulary = Vocabulary((("x", N_WORDS),), n_actions=N_WORDS)
    model = ADTransformer(vocabulary, Shape(case.steps, case.layers, case.heads, case.width)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                inputs = 1 if name == "W_pos" or "embed" in name else weight.shape[-2]
                weight.copy_(torch.randn(weight.shape, generator=generator) / inputs**0.5)
        for weight in (model.embed["action"], model.embed["reward"], model.b_U):
            weight.zero_()
    return model


def gpt2_of(model: ADTransformer) -> GPT2LMHeadModel:
    """The same weights in a GPT-2."""
    shape, weights = model.shape, model.state_dict()
    config = GPT2Config(
        vocab_size=N_WORDS, n_positions=shape.n_ctx, n_embd=shape.d_model, n_layer=shape.n_layers, n_head=shape.n_heads,
        activation_function="gelu", layer_norm_epsilon=shape.eps, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    found = {"wte.weight": weights["embed.x"], "wpe.weight": weights["W_pos"]}
    found |= {"ln_f.weight": weights["ln_final.w"], "ln_f.bias": weights["ln_final.b"]}
    for layer in range(shape.n_layers):
        ours, theirs = f"blocks.{layer}.", f"h.{layer}."
        qkv = [weights[f"{ours}attn.W_{kind}"].transpose(0, 1).flatten(1) for kind in "QKV"]
        found[f"{theirs}attn.c_attn.weight"] = torch.cat(qkv, 1)
        found[f"{theirs}attn.c_attn.bias"] = torch.cat([weights[f"{ours}attn.b_{kind}"].flatten() for kind in "QKV"])
        found[f"{theirs}attn.c_proj.weight"] = weights[f"{ours}attn.W_O"].flatten(0, 1)
        found[f"{theirs}attn.c_proj.bias"] = weights[f"{ours}attn.b_O"]
        for end, name in (("in", "c_fc"), ("out", "c_proj")):
            found[f"{theirs}mlp.{name}.weight"] = weights[f"{ours}mlp.W_{end}"]
            found[f"{theirs}mlp.{name}.bias"] = weights[f"{ours}mlp.b_{end}"]
        for number in (1, 2):
            found[f"{theirs}ln_{number}.weight"] = weights[f"{ours}ln{number}.w"]
            found[f"{theirs}ln_{number}.bias"] = weights[f"{ours}ln{number}.b"]
    gpt2 = GPT2LMHeadModel(config).eval()
    named = {f"transformer.{name}": weight for name, weight in found.items()} | {"lm_head.weight": weights["W_U"].T}
    gpt2.load_state_dict(named)
    return gpt2


def our_engine(model: ADTransformer) -> Engine:
    """What `cli.py patch` runs on."""

    def run(runs: Runs, edges: Sequence[Edge]) -> list[float]:
        losses = {}
        for numbers, logits in patch_edges(RunPair.of(Twin(model), *runs.tokens), edges):
            losses |= {number: runs.loss(some) for number, some in zip(numbers, logits, strict=True)}
        return [losses[number] for number in range(len(edges))]

    return run


class Clean:
    """What hooks need of two plain runs: streams of the reference, and how each writer's output differs."""

    def __init__(self, model: HookedADTransformer, runs: Runs) -> None:
        wanted = ("_embed", "resid_pre", "resid_mid", "resid_post", "hook_z", "mlp_out")
        keep = {"names_filter": lambda name: name.endswith(wanted), "return_cache_object": False}
        caches = [model.run_with_cache(tokens, **keep)[1] for tokens in runs.tokens]
        self.model, self.reference = model, caches[0]
        writers = [writer for writer in model.anatomy.writers if writer.channel in ("", "x")]
        self.wrote = {w: self._written(caches[1], w) - self._written(caches[0], w) for w in writers}

    def stream(self, edge: Edge) -> Tensor:
        """What the edge's reader sees once it is patched."""
        reader, last = edge.reader, self.model.shape.n_layers - 1
        layer = last if reader.kind == "logits" else reader.layer
        where = {"mlp": "mid", "logits": "post"}.get(reader.kind, "pre")
        change = torch.stack([self.wrote[writer] for writer in edge.writers if writer in self.wrote]).sum(0)
        return self.reference[f"blocks.{layer}.hook_resid_{where}"] + change

    def made(self, edge: Edge) -> Tensor:
        """The query, key or value that the edge's reader makes of that."""
        reader, block = edge.reader, self.model.blocks[edge.reader.layer]
        weight, bias = (getattr(block.attn, f"{letter}_{reader.kind.upper()}")[reader.head] for letter in "Wb")
        return block.ln1.plain(self.stream(edge)) @ weight + bias

    def _written(self, cache: Any, writer: Writer) -> Tensor:
        if writer.kind == "head":
            weight = self.model.blocks[writer.layer].attn.W_O[writer.head]
            return cache[f"blocks.{writer.layer}.attn.hook_z"][:, :, writer.head] @ weight
        names = {"embed": "hook_embed", "pos": "hook_pos_embed", "mlp": f"blocks.{writer.layer}.hook_mlp_out"}
        return cache[names[writer.kind]]


def hooks_of(clean: Clean, edge: Edge) -> Hooks:
    """The one hook that patches an edge."""
    reader, model = edge.reader, clean.model
    if reader.kind == "logits":
        return [("ln_final.hook_normalized", lambda x, hook: model.ln_final.plain(clean.stream(edge)))]
    if reader.kind == "mlp":
        norm = model.blocks[reader.layer].ln2
        return [(f"blocks.{reader.layer}.ln2.hook_normalized", lambda x, hook: norm.plain(clean.stream(edge)))]

    def put(x: Tensor, hook: Any) -> Tensor:
        x[:, :, reader.head] = clean.made(edge)
        return x

    return [(f"blocks.{reader.layer}.attn.hook_{reader.kind}", put)]


def hooks(model: ADTransformer) -> Engine:
    """One hook and one whole forward an edge."""
    watched = hooked(model)

    def run(runs: Runs, edges: Sequence[Edge]) -> list[float]:
        clean, tokens = Clean(watched, runs), runs.tokens[0]
        return [runs.loss(watched.run_with_hooks(tokens, fwd_hooks=hooks_of(clean, edge))) for edge in edges]

    return run


def hooks_from_the_reader(model: ADTransformer) -> Engine:
    """The same, but nothing is run of the layers before the reader's."""
    watched = hooked(model)

    def run(runs: Runs, edges: Sequence[Edge]) -> list[float]:
        clean, losses = Clean(watched, runs), []
        for edge in edges:
            if edge.reader.kind == "logits":
                losses.append(runs.loss(watched.unembed(clean.stream(edge))))
                continue
            x = clean.reference[f"blocks.{edge.reader.layer}.hook_resid_pre"]
            with watched.hooks(fwd_hooks=hooks_of(clean, edge)):
                for block in list(watched.blocks)[edge.reader.layer :]:
                    x = block(x, None, None)
                losses.append(runs.loss(watched.unembed(x)))
        return losses

    return run


def nnsight(model: ADTransformer, gpt2: GPT2LMHeadModel) -> Engine | None:
    """One trace an edge, the layers before the reader's skipped, or None where it is not installed."""
    try:
        from nnsight import NNsight
    except ImportError:
        return None
    body = (wrapped := NNsight(gpt2)).transformer

    def patched(clean: Clean, runs: Runs, edge: Edge) -> Tensor:
        reader, size = edge.reader, model.shape.d_head
        layer = model.shape.n_layers if reader.kind == "logits" else reader.layer
        with wrapped.trace(runs.reference):
            for number in range(layer):
                body.h[number].skip(clean.reference[f"blocks.{number}.hook_resid_post"])
            if reader.kind == "logits":
                body.ln_f.output = model.ln_final.plain(clean.stream(edge))
            elif reader.kind == "mlp":
                body.h[layer].ln_2.output = model.blocks[layer].ln2.plain(clean.stream(edge))
            else:
                first = "qkv".index(reader.kind) * model.shape.d_model + reader.head * size
                body.h[layer].attn.c_attn.output[:, :, first : first + size] = clean.made(edge)
            logits = wrapped.lm_head.output.save()
        return logits

    def run(runs: Runs, edges: Sequence[Edge]) -> list[float]:
        clean = Clean(hooked(model), runs)
        return [runs.loss(patched(clean, runs, edge)) for edge in edges]

    return run


def direct_paths(gpt2: GPT2LMHeadModel) -> Engine:
    """TransformerLens's own; from a head it always patches one kind of input of all later heads."""
    bridge = build_bridge_from_module(gpt2, "GPT2LMHeadModel", hf_config=gpt2.config).eval()

    def run(runs: Runs, edges: Sequence[Edge]) -> list[float]:
        reference, donor = (
            bridge.run_with_cache(words, names_filter=lambda name: name.endswith("attn.hook_z"))[1]
            for words in (runs.reference, runs.donor)
        )
        found: dict[tuple[int, int, str], Tensor] = {}
        losses = []
        for edge in edges:
            (source,), reader = edge.writers, edge.reader
            key = (source.layer, source.head, reader.kind)
            if key not in found:
                found[key] = get_act_patch_direct_path(
                    bridge, runs.reference, donor, reference, lambda logits: torch.tensor(runs.loss(logits)), *key,
                    verbose=False,
                )  # fmt: skip
            losses.append(found[key][reader.layer, reader.head].item())
        return losses

    return run


def forwards(model: ADTransformer) -> Engine:
    """A plain forward, which patches nothing, where others patch an edge."""

    def run(runs: Runs, edges: Sequence[Edge]) -> list[float]:
        tokens = runs.tokens[0]
        return [runs.loss(model(tokens)) for _ in edges]

    return run


def forward_flops(case: Case) -> float:
    """Products of a plain forward, for a token: multiplications and additions."""
    mixing = 2 * case.width * (case.steps + 1)
    return case.layers * (24 * case.width**2 + mixing) + 2 * case.width * N_WORDS


def floor_flops(case: Case, edge: Edge) -> float:
    """Products of what must be computed anew for an edge, for a token, a change carried in the directions it has."""
    width, d_head = case.width, case.width // case.heads
    change = d_head if all(writer.kind == "head" for writer in edge.writers) else width
    if edge.reader.kind == "logits":
        return 2 * change * N_WORDS
    found = 0.0
    if edge.reader.kind != "mlp":
        mixing = d_head * (case.steps + 1) * (1 if edge.reader.kind == "v" else 2)  # values leave the pattern as it is
        found, change = 2 * change * d_head + mixing + 2 * d_head * width, d_head
    found += 2 * change * 4 * width + 8 * width**2
    later = case.layers - 1 - edge.reader.layer
    return found + later * (24 * width**2 + 2 * width * (case.steps + 1)) + 2 * width * N_WORDS


def losses_of(engine: Engine, runs: Runs, edges: Sequence[Edge], size: int) -> np.ndarray:
    """Mean losses, so many rows at a time. [edge]"""
    with torch.no_grad():
        return np.mean([engine(part, edges) for part in runs.split(size)], axis=0)


def seconds_of(engine: Engine, runs: Runs, edges: Sequence[Edge], size: int) -> float:
    """CPU seconds."""
    began = time.process_time()
    losses_of(engine, runs, edges, size)
    return time.process_time() - began


def require_agreement(engines: dict[str, Engine], runs: Runs, edges: Sequence[Edge]) -> float:
    """Return the largest difference between the losses of engines, and refuse one that is too large."""
    size = len(runs.labels)
    found = {name: losses_of(engine, runs, edges, size) for name, engine in engines.items() if name != FORWARD}
    furthest = {name: np.abs(losses - found[OURS]).max() for name, losses in found.items()}
    for name, far in furthest.items():
        if not far <= AGREE:
            sys.exit(f"{name} and {OURS} disagree: their losses differ by up to {far:.1e}, more than {AGREE:.0e}")
    if not np.median(np.abs(found[OURS] - losses_of(engines[FORWARD], runs, edges[:1], size))) > 10 * AGREE:
        sys.exit("these patches move the losses too little for agreement to say anything")
    return max(furthest.values())


def compare(case: Case, title: str, edges: Sequence[Edge], engines: dict[str, Engine], runs: Runs, rounds: int) -> None:
    """Time the engines in turn and print a table."""
    far = require_agreement(engines, runs, edges)
    sizes = [size for size in (case.rows, case.rows // 4) if size]
    best = {}
    for name, engine in engines.items():
        best[name] = min(sizes, key=lambda size, engine=engine: seconds_of(engine, runs, edges[::4], size))
    some = {name: edges[:FORWARDS] if name == FORWARD else edges for name in engines}
    seconds = [[seconds_of(engines[name], runs, some[name], best[name]) for name in engines] for _ in range(rounds)]
    rates = {name: len(some[name]) / taken for name, taken in zip(engines, np.min(seconds, axis=0), strict=True)}
    share = sum(floor_flops(case, edge) for edge in edges) / (len(edges) * forward_flops(case))
    rates["floor"] = rates[FORWARD] / share
    naive = next(rate for name, rate in rates.items() if "whole forward" in name)
    others = max(rate for name, rate in rates.items() if name not in (OURS, FORWARD, "floor"))
    print(f"\n{case.layers} layers, {case.heads} heads, width {case.width}, {case.rows} x {case.steps} tokens: {title}")
    print(f"losses agree to {far:.0e}; an edge needs {share:.2f} of a forward's products; {rounds} rounds")
    print(f"{'':42s} {'rows':>4s} {'edges/CPU-s':>11s} {'of naive':>8s} {'of best other':>13s} {'of floor':>8s}")
    for name, rate in rates.items():
        rows = "" if name == "floor" else str(best[name])
        beside = f"{rate / naive:8.2f} {rate / others:13.2f} {rate / rates['floor']:8.2f}"
        print(f"{name:42s} {rows:>4s} {rate:11.1f} {beside}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of all shapes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 4], help="only the shapes of so many")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tiny shape, once: whether it runs and all agree")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    set_verbosity_error()
    for case in QUICK if options.quick else [case for case in CASES if case.layers in options.layers]:
        model = model_of(case)
        generator = torch.Generator().manual_seed(1)
        runs = Runs(*torch.randint(N_WORDS, (3, case.rows, case.steps), generator=generator))
        everybody: dict[str, Engine | None] = {
            OURS: our_engine(model),
            "hooks, a whole forward (naive)": hooks(model),
            "hooks, from the reader's layer on": hooks_from_the_reader(model),
            "nnsight, from the reader's layer on": nnsight(model, gpt2_of(model)),
            FORWARD: forwards(model),
        }
        engines = {name: engine for name, engine in everybody.items() if engine is not None}
        if len(engines) < len(everybody):
            print("nnsight is not installed")
        edges = all_edges(model.anatomy, together=True)
        rounds = 1 if options.quick else options.rounds
        compare(case, f"{len(edges[:: case.every])} of {len(edges)} edges", edges[:: case.every], engines, runs, rounds)
        sources = {Writer(2 * layer + 1, "head", layer, head) for layer, head in case.sources}
        between = [e for e in edges if e.reader.kind in ("q", "k", "v") and sources & set(e.writers)]
        engines = {"TransformerLens bridge, direct paths": direct_paths(gpt2_of(model)), **engines}
        compare(case, f"{len(between)} edges between heads", between, engines, runs, rounds)


if __name__ == "__main__":
    main()
