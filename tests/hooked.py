"""Path patching as plainly as possible, with the model's own hooks and a full run for each patch, and models to try.

Nothing here calls the engine: writers and streams come from TransformerLens caches, readers are computed by the
model's modules or, where steps have roles, by a loop over pairs of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from expand import tiny_model, turned
from hypothesis import strategies as st
from torch import Tensor

from ad_hypotheses.causal.patch import patch_edges
from ad_hypotheses.causal.run_pair import RunPair
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.distill.lens import hooked
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.language.anatomy import Reader, Writer
from ad_hypotheses.language.edges import Edge, Path

Hooks = list[tuple[str, Callable[..., Tensor]]]
Roles = Mapping[str, Tensor]
HERE, THERE = "writes", "looks"  # two roles without a meaning


@dataclass(frozen=True)
class Setting:
    """What a model and its two runs are made from."""

    seed: int = 0
    n_rows: int = 2
    n_steps: int = 5
    n_layers: int = 2
    n_heads: int = 2
    layer_norm: bool = True
    attention_only: bool = False
    positions: str = "learned"
    window: int | None = None
    activation: str = "gelu"
    eps: float = 1e-5

    def model(self) -> ADTransformer:
        names = ("layer_norm", "attention_only", "positions", "window", "activation", "eps")
        variant = {name: getattr(self, name) for name in names}
        model = tiny_model(self.seed, self.n_steps, self.n_layers, self.n_heads, 4 * self.n_heads, **variant)
        if not self.layer_norm:  # nothing else keeps the stream from growing a hundredfold in each layer
            with torch.no_grad():
                for weight in model.parameters():
                    weight *= 0.5
        return model

    def tokens(self, number: int) -> Tensor:
        """Of the reference, 0, or of the donor, 1; any will do."""
        generator = torch.Generator().manual_seed(2 * self.seed + number)
        return (torch.rand(self.n_rows, self.n_steps, 3, generator=generator) * torch.tensor([3, 4, 2])).long()

    def roles(self) -> dict[str, Tensor]:
        """Any pairs of steps, those that cannot see each other too."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = self.n_rows, self.n_steps, self.n_steps
        return {name: torch.rand(shape, generator=generator) < 0.5 for name in (HERE, THERE)}

    def pair(self, dtype: torch.dtype = torch.float64) -> RunPair:
        return RunPair.of(Twin(self.model().to(dtype)), self.tokens(0), self.tokens(1))

    def naive(self, dtype: torch.dtype = torch.float64) -> Naive:
        return Naive(self.model().to(dtype), self.tokens(0), self.tokens(1))


VARIANTS = [
    Setting(1, n_layers=3),
    Setting(8, activation="gelu_new", eps=0.1),
    Setting(9, activation="relu"),
    Setting(2, n_layers=3, n_heads=1, layer_norm=False),
    Setting(3, n_heads=3, attention_only=True),
    Setting(4, positions="rotary"),
    Setting(5, positions="rotary", window=2, n_heads=3),
    Setting(6, positions="none", window=1, attention_only=True, layer_norm=False),
    Setting(7, n_rows=1, n_steps=1, n_layers=1, n_heads=1),
]


@st.composite
def any_setting(draw: st.DrawFn, max_layers: int = 3) -> Setting:
    """Draw a small model and two runs of it."""
    n_steps, positions = draw(st.integers(1, 6)), draw(st.sampled_from(["learned", "rotary", "none"]))
    return Setting(
        seed=draw(st.integers(0, 1000)),
        n_rows=draw(st.integers(1, 3)),
        n_steps=n_steps,
        n_layers=draw(st.integers(1, max_layers)),
        n_heads=draw(st.integers(1, 3)),
        layer_norm=draw(st.booleans()),
        attention_only=draw(st.booleans()),
        positions=positions,
        window=None if positions == "learned" else draw(st.none() | st.integers(1, n_steps)),
    )


class Naive:
    """Hooks on a model, for the runs of a reference and of a donor."""

    def __init__(self, model: ADTransformer, reference: Tensor, donor: Tensor) -> None:
        self.model, self.tokens = hooked(model), reference
        with torch.no_grad():
            (self.plain, self.cache), (self.other, self.donor) = (
                self.model.run_with_cache(t) for t in (reference, donor)
            )

    def edge(self, edge: Edge, roles: Roles | None = None) -> Tensor:
        """The logits when an edge is patched. [batch, step, action]"""
        return self.run(self._hooks(edge, self.change(edge.writers), roles))

    def path(self, path: Path, roles: Roles | None = None) -> Tensor:
        """The logits when a path is patched: a run for each edge, of which only what it arrives at is kept."""
        change = self.change(path[0].writers)
        for edge, after in pairwise(path):
            kept: dict[Writer, Tensor] = {}
            self.run([*self._hooks(edge, change, roles), *self._keep(after.writers, kept)])
            change = sum(kept[writer] - self.wrote(self.cache, writer) for writer in after.writers)
        return self.run(self._hooks(path[-1], change, roles))

    def writers(self, writers: Sequence[Writer]) -> Tensor:
        """The logits when what writers write is the donor's for everybody."""
        hooks: Hooks = []
        for writer in writers:
            new = self.wrote(self.donor, writer)
            if writer.kind == "head":
                hooks.append((hook_of(writer), lambda x, hook, w=writer, n=new: replaced(x, w.head, n)))
            else:
                hooks.append((hook_of(writer), lambda x, hook, n=new: n))
        return self.run(hooks)

    def together(self, edges: Iterable[Edge]) -> Tensor:
        """The logits when edges are patched at once, each reader computed from what is written in the same run."""
        anatomy, hooks, now, stream = self.model.anatomy, [], {}, {}
        reads: dict[Reader, set[Writer]] = {}
        for edge in edges:
            reads.setdefault(edge.reader, set()).update(edge.writers)

        def hooked(reader: Reader):
            def replace(x: Tensor, hook: Any) -> Tensor:
                ahead = sum(self.wrote(self.donor, w) - now[w] for w in sorted(reads.get(reader, ())))
                return self._computed(reader, x, stream[reader.stage] + ahead)

            return self._hook_of(reader), replace

        for reader in anatomy.readers:
            if reader.kind == "logits":
                hooks.append((_place(reader, anatomy), lambda x, hook, r=reader: stream.__setitem__(r.stage, x)))
            elif reader.kind == "mlp" or reader == Reader(reader.stage, "q", reader.layer, 0):
                name = f"blocks.{reader.layer}.hook_resid_{'mid' if reader.kind == 'mlp' else 'pre'}"
                hooks.append((name, lambda x, hook, r=reader: stream.__setitem__(r.stage, x)))
            hooks.append(hooked(reader))
        return self.run([*hooks, *self._keep(anatomy.writers, now)])

    @torch.no_grad()
    def run(self, hooks: Hooks) -> Tensor:
        return self.model.run_with_hooks(self.tokens, fwd_hooks=hooks)

    def wrote(self, cache: Any, writer: Writer) -> Tensor:
        """What a writer wrote in a run."""
        written = cache[hook_of(writer)]
        return written[:, :, writer.head] if writer.kind == "head" else written

    def change(self, writers: Sequence[Writer]) -> Tensor:
        """How what some writers wrote together differs between donor and reference."""
        return sum(self.wrote(self.donor, writer) - self.wrote(self.cache, writer) for writer in writers)

    def _hooks(self, edge: Edge, change: Tensor, roles: Roles | None) -> Hooks:
        reader = edge.reader
        name = _place(reader, self.model.anatomy, of_stream=True)
        if edge.written_at is None and edge.read_at is None:
            stream = self.cache[name] + change
            return [(self._hook_of(reader), lambda x, hook: self._computed(reader, x, stream))]
        shape = (*self.tokens.shape[:2], self.tokens.shape[1])
        at = [torch.ones(shape, dtype=torch.bool) if r is None else roles[r] for r in (edge.written_at, edge.read_at)]
        if reader.kind in ("mlp", "logits"):
            here = (at[0] & at[1]).diagonal(dim1=1, dim2=2)[..., None]
            stream = torch.where(here, self.cache[name] + change, self.cache[name])
            return [(self._hook_of(reader), lambda x, hook: self._computed(reader, x, stream))]
        mixed = self._mixed_pair_by_pair(reader, self.cache[name] + change, *at)
        return [(f"blocks.{reader.layer}.attn.hook_z", lambda x, hook: replaced(x, reader.head, mixed))]

    @torch.no_grad()
    def _mixed_pair_by_pair(self, reader: Reader, stream: Tensor, written_at: Tensor, read_at: Tensor) -> Tensor:
        """What a head mixes when a query sees the changed stream of some steps only. [batch, step, d_head]"""
        block, shape = f"blocks.{reader.layer}.attn", self.model.shape
        plain = {kind: self.cache[f"{block}.hook_{kind}"][:, :, reader.head] for kind in "qkv"}
        new = plain | {reader.kind: self._projected(reader, stream)}
        mixed = self.cache[f"{block}.hook_z"][:, :, reader.head].clone()
        for row in range(len(mixed)):
            vectors = [{kind: self._placed(kind, some[kind][row]) for kind in "qkv"} for some in (plain, new)]
            for query in range(mixed.shape[1]):
                if not read_at[row, query, query]:
                    continue
                q = vectors[int(written_at[row, query, query])]["q"][query]
                steps = range(0 if shape.window is None else max(0, query + 1 - shape.window), query + 1)
                seen = [(vectors[int(written_at[row, query, step])], step) for step in steps]
                scores = torch.stack([q @ some["k"][step] for some, step in seen]) / shape.d_head**0.5
                weights = scores.softmax(0)
                mixed[row, query] = sum(w * some["v"][step] for w, (some, step) in zip(weights, seen, strict=True))
        return mixed

    def _placed(self, kind: str, x: Tensor) -> Tensor:
        """Vectors of all steps of a row, turned by their steps if positions are rotary."""
        return torch.from_numpy(turned(x.numpy())) if self.model.shape.positions == "rotary" and kind != "v" else x

    def _projected(self, reader: Reader, stream: Tensor) -> Tensor:
        block = self.model.blocks[reader.layer]
        weight, bias = (getattr(block.attn, f"{letter}_{reader.kind.upper()}")[reader.head] for letter in "Wb")
        return block.ln1(stream) @ weight + bias

    def _computed(self, reader: Reader, x: Tensor, stream: Tensor) -> Tensor:
        """What passes a reader's hook when it reads `stream`; of heads, the others are left alone."""
        if reader.kind == "logits":
            return stream
        if reader.kind == "mlp":
            block = self.model.blocks[reader.layer]
            return block.mlp(block.ln2(stream))
        return replaced(x, reader.head, self._projected(reader, stream))

    def _hook_of(self, reader: Reader) -> str:
        return _place(reader, self.model.anatomy)

    def _keep(self, writers: Sequence[Writer], kept: dict[Writer, Tensor]) -> Hooks:
        def keep(writer: Writer) -> Callable[..., None]:
            def look(x: Tensor, hook: Any) -> None:
                kept[writer] = x[:, :, writer.head] if writer.kind == "head" else x

            return look

        return [(hook_of(writer), keep(writer)) for writer in writers]


def hook_of(writer: Writer) -> str:
    """Where a writer's writing passes."""
    if writer.kind == "embed":
        return f"hook_embeds.{writer.channel}"
    if writer.kind == "pos":
        return "hook_pos_embed"
    return f"blocks.{writer.layer}." + ("attn.hook_result" if writer.kind == "head" else "hook_mlp_out")


def replaced(x: Tensor, head: int, new: Tensor) -> Tensor:
    """The same activation with that of one head replaced."""
    x = x.clone()
    x[:, :, head] = new
    return x


def _place(reader: Reader, anatomy: Any, of_stream: bool = False) -> str:
    """The hook of what a reader makes of the stream, or of the stream that it reads."""
    if reader.kind == "logits":  # the last stream has no other reader
        return f"blocks.{anatomy.n_layers - 1}.hook_resid_post"
    if reader.kind == "mlp":
        return f"blocks.{reader.layer}." + ("hook_resid_mid" if of_stream else "hook_mlp_out")
    return f"blocks.{reader.layer}." + ("hook_resid_pre" if of_stream else f"attn.hook_{reader.kind}")


def patched(pair: RunPair, edges: Sequence[Edge], roles: Roles | None = None, **options: int) -> Tensor:
    """The engine's logits when each edge alone is patched, in the order given. [edge, batch, step, action]"""
    found: dict[int, Tensor] = {}
    for numbers, logits in patch_edges(pair, edges, roles, **options):
        assert len(numbers) == len(logits)
        assert not found.keys() & set(numbers), "an edge came twice"
        found |= dict(zip(numbers, logits, strict=True))
    return torch.stack([found[number] for number in range(len(edges))])


def furthest(pair: RunPair, naive: Naive, edges: Sequence[Edge], roles: Roles | None = None) -> float:
    """The largest difference between the engine and hooks over some edges."""
    expected = torch.stack([naive.edge(edge, roles) for edge in edges])
    return (patched(pair, edges, roles) - expected).abs().max().item()


@st.composite
def any_path(draw: st.DrawFn, edges: Sequence[Edge], length: int) -> Path:
    """Draw edges one after the other."""
    path = [draw(st.sampled_from(edges))]
    while len(path) < length:
        at = path[-1].reader
        following = [e for e in edges if len(e.writers) == 1 and writes_what_it_read(e.writers[0], at)]
        if not following:
            break
        path.append(draw(st.sampled_from(following)))
    return tuple(path)


def writes_what_it_read(writer: Writer, reader: Reader) -> bool:
    """Whether both are of one component."""
    kind = {"mlp": "mlp", "logits": ""}.get(reader.kind, "head")
    return (writer.kind, writer.layer, writer.head) == (kind, reader.layer, reader.head)
