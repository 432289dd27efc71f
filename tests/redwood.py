"""A transformer, and a hypothesis about it, written out for Redwood's own engine: the wheel `rust-circuit`.

The model becomes a graph without a batch axis, whose one input is the one-hot tokens of a row. A node of the hypothesis
written out as a tree becomes an `InterpNode`, and its place a matcher of the paths that go from a consumer's reader
straight to the node's writers: left alone, a matcher takes every path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import rust_circuit as rc
import torch
from replay import Subject, Tables
from rust_circuit.causal_scrubbing.dataset import Dataset
from rust_circuit.causal_scrubbing.experiment import Experiment, ExperimentEvalSettings, ScrubbedExperiment
from rust_circuit.causal_scrubbing.hypothesis import (
    CondSampler,
    Correspondence,
    ExactSampler,
    FixedOtherSampler,
    FuncSampler,
    InterpNode,
    UncondSampler,
    corr_root_matcher,
)

from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.language.anatomy import Part, Reader, Writer
from ad_hypotheses.language.check import BoundNode, TreePath
from ad_hypotheses.language.history import History

SETTINGS = ExperimentEvalSettings(optimize=False, device_dtype="cpu")  # its optimiser does not make it faster
SamplerOf = Callable[[TreePath], CondSampler]


class LayerNorm(rc.GeneralFunctionSpecBase):
    """LayerNorm without weights as one function, as a model would compute it."""

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def compute_hash_bytes(self) -> bytes:
        return f"layer norm {self.eps}".encode()

    def function(self, x):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=self.eps)

    def get_shape_info(self, shape):
        return rc.GeneralFunctionShapeInfo(shape, 1, [True])


class Attend(rc.GeneralFunctionSpecBase):
    """Causal attention as one function of queries, keys and values."""

    def compute_hash_bytes(self) -> bytes:
        return b"causal attention"

    def function(self, q, k, v):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    def get_shape_info(self, *shapes):
        return rc.GeneralFunctionShapeInfo(shapes[0], 2, [True] * 3)


def one_hot(model: ADTransformer, history: History) -> torch.Tensor:
    """The tokens, one-hot, channel beside channel: [row, step, value]."""
    tokens, sizes = model.vocabulary.encode(history), model.vocabulary.sizes
    hot = [torch.nn.functional.one_hot(tokens[..., n].long(), size) for n, size in enumerate(sizes)]
    return torch.cat(hot, dim=-1).to(model.dtype)


def dataset(model: ADTransformer, history: History) -> Dataset:
    """The histories for Redwood's engine; each carries its row, so that draws can be read back."""
    rows = torch.arange(history.n_rows)
    return Dataset(
        {"tokens": rc.Array(one_hot(model, history), "tokens"), "row": rc.Array(rows, "row")}, input_names={"tokens"}
    )


def rows_of(drawn: Dataset) -> np.ndarray:
    """Which rows a dataset consists of."""
    return drawn.row.value.numpy()


class Graph:
    """A transformer as a circuit: writers and readers are nodes named as a hypothesis names them.

    Args:
        model: Without rotary positions and sliding window.
        n_steps: Steps of every row.
        along: Writers that are split into what they write along some directions and the rest.
        fused: Compute LayerNorm and attention as one function each, which is faster, instead of spelling them out.
    """

    def __init__(
        self, model: ADTransformer, n_steps: int, along: Mapping[Writer, np.ndarray] | None = None, fused: bool = False
    ) -> None:
        self.model, self.n_steps, self.along, self.fused = model, n_steps, along or {}, fused
        self.weights = {name: value.detach() for name, value in model.state_dict().items()}
        self.names: list[str] = []  # of all writers, split ones twice
        self.stream: list[rc.Circuit] = []
        self._embed()
        for layer in range(model.shape.n_layers):
            self._attention(layer)
            if not model.shape.attention_only:
                self._mlp(layer)
        self.circuit = self._linear(self._read("ln_final"), "W_U", "b_U", "logits")

    def _array(self, name: str) -> rc.Array:
        return rc.Array(self.weights[name], name)

    def _constant(self, value: torch.Tensor | float, name: str) -> rc.Array:
        return rc.Array(torch.as_tensor(value, dtype=self.model.dtype), name)

    def _linear(self, x: rc.Circuit, weight: str, bias: str, name: str, head: int | None = None) -> rc.Circuit:
        weights = [self.weights[key] if head is None else self.weights[key][head] for key in (weight, bias)]
        w, b = (rc.Array(value, f"{name} {letter}") for value, letter in zip(weights, "Wb", strict=True))
        return rc.Add(rc.Einsum.from_einsum_string("td,de->te", x, w), b, name=name)

    def _write(self, writer: Writer, value: rc.Circuit) -> None:
        """Add what a writer writes to the residual stream."""
        name, directions = str(writer), self.along.get(writer)
        if directions is None:
            parts = [value.rename(name)]
        else:
            inside = torch.as_tensor(directions.T @ directions, dtype=self.model.dtype)
            splits = {" along": inside, " rest": torch.eye(len(inside), dtype=self.model.dtype) - inside}
            parts = [
                rc.Einsum.from_einsum_string(
                    "td,de->te", value, rc.Array(matrix, f"{name} onto{suffix}"), name=name + suffix
                )
                for suffix, matrix in splits.items()
            ]
        self.names += [part.name for part in parts]
        self.stream += parts

    def _embed(self) -> None:
        sizes, channels = self.model.vocabulary.sizes, self.model.vocabulary.channels
        tokens = self._constant(torch.zeros(self.n_steps, sum(sizes)), "tokens")
        for number, channel in enumerate(channels):
            table = torch.zeros(sum(sizes), self.model.shape.d_model, dtype=self.model.dtype)
            table[sum(sizes[:number]) :][: sizes[number]] = self.weights[f"embed.{channel}"]
            table = self._constant(table, f"table {channel}")
            self._write(Writer(0, "embed", channel=channel), rc.Einsum.from_einsum_string("tv,vd->td", tokens, table))
        if self.model.anatomy.has_positions:
            self._write(Writer(0, "pos"), self._constant(self.weights["W_pos"][: self.n_steps], "W_pos"))

    def _read(self, norm: str) -> rc.Circuit:
        """What the readers of the next stage see, after their LayerNorm."""
        x = rc.Add(*self.stream, name=f"{norm} in")
        if not self.model.shape.layer_norm:
            return x
        normalised = self._fused_norm(x) if self.fused else self._norm(x)
        scaled = rc.Einsum.from_einsum_string("td,d->td", normalised, self._array(f"{norm}.w"))
        return rc.Add(scaled, self._array(f"{norm}.b"), name=norm)

    def _fused_norm(self, x: rc.Circuit) -> rc.Circuit:
        return rc.GeneralFunction(x, spec=LayerNorm(self.model.shape.eps))

    def _norm(self, x: rc.Circuit) -> rc.Circuit:
        d = self.model.shape.d_model
        centring = self._constant(torch.eye(d) - torch.ones(d, d) / d, "centring")
        centred = rc.Einsum.from_einsum_string("td,de->te", x, centring)
        variance = rc.Einsum.from_einsum_string("td,td,->t", centred, centred, self._constant(1 / d, "1/d"))
        shifted = rc.Add(variance, self._constant(self.model.shape.eps, "eps"))
        scale = rc.GeneralFunction.new_by_name(shifted, spec_name="rsqrt")
        return rc.Einsum.from_einsum_string("td,t->td", centred, scale)

    def _attention(self, layer: int) -> None:
        seen, block = self._read(f"blocks.{layer}.ln1"), f"blocks.{layer}.attn"
        for head in range(self.model.shape.n_heads):
            name = f"head({layer}, {head})"
            q, k, v = (
                self._linear(
                    seen, f"{block}.W_{letter.upper()}", f"{block}.b_{letter.upper()}", f"{name}.{letter}", head
                )
                for letter in "qkv"
            )
            mixed = rc.GeneralFunction(q, k, v, spec=Attend()) if self.fused else self._attend(q, k, v)
            weight = rc.Array(self.weights[f"{block}.W_O"][head], f"{name} W_O")
            self._write(
                Writer(2 * layer + 1, "head", layer, head), rc.Einsum.from_einsum_string("th,hd->td", mixed, weight)
            )
        self.stream.append(self._array(f"{block}.b_O"))

    def _attend(self, q: rc.Circuit, k: rc.Circuit, v: rc.Circuit) -> rc.Circuit:
        mask = torch.full((self.n_steps, self.n_steps), -np.inf).triu(1)
        scale = self._constant(self.model.shape.d_head**-0.5, "scale")
        scores = rc.Add(rc.Einsum.from_einsum_string("qh,kh,->qk", q, k, scale), self._constant(mask, "mask"))
        return rc.Einsum.from_einsum_string("qk,kh->qh", rc.GeneralFunction.new_by_name(scores, spec_name="softmax"), v)

    def _mlp(self, layer: int) -> None:
        block = f"blocks.{layer}.mlp"
        pre = self._linear(self._read(f"blocks.{layer}.ln2"), f"{block}.W_in", f"{block}.b_in", f"mlp({layer}) reads")
        post = rc.GeneralFunction.new_by_name(pre, spec_name="gelu")
        self._write(Writer(2 * layer + 2, "mlp", layer), self._linear(post, f"{block}.W_out", f"{block}.b_out", "out"))

    def stopping_at(self, name: str, kept: Iterable[str]) -> rc.IterativeMatcher:
        """Match a node by its name, on paths that go through no writer but those kept."""
        return rc.restrict(name, term_early_at=rc.Matcher(set(self.names) - set(kept)))


@dataclass(frozen=True)
class Place:
    """Where a visited node is: the paths to each of its parts, and the inputs of heads that its parents replace."""

    parts: Mapping[Part, rc.IterativeMatcher]
    replaced: frozenset[Reader]


class Claim:
    """A hypothesis about a model, as Redwood's tree of nodes with the paths where they are.

    Args:
        graph: The model.
        nodes: The hypothesis.
        root: Name of its last node.
        sampler: Of a tree node's data, given those of its consumer.
        other: Of the data of a tree node's unimportant inputs.
        apart: Of one unimportant input of a tree node, if each writer of each reader has data of its own.
        inputs_stay: Whether embeddings at which a node with parents sits are of the row that it is visited at, as they
            are here; Redwood takes every undeclared input from the other row, also below an embedding.
    """

    def __init__(
        self,
        graph: Graph,
        nodes: Mapping[str, BoundNode],
        root: str,
        sampler: SamplerOf,
        other: SamplerOf = lambda path: UncondSampler(),
        apart: Callable[[TreePath, Reader, Writer], CondSampler] | None = None,
        inputs_stay: bool = True,
    ) -> None:
        self.graph, self.nodes, self.sampler, self.other = graph, nodes, sampler, other
        self.apart, self.inputs_stay = apart, inputs_stay
        self.tree: dict[TreePath, InterpNode] = {}
        self.correspondence = Correspondence()
        self._add(InterpNode(ExactSampler(), root, other((root,))), (root,), None)

    def _add(self, node: InterpNode, path: TreePath, consumer: Place | None) -> None:
        bound = self.nodes[path[-1]]
        place = self._place(bound, consumer)
        self.tree[path] = node
        staying = [part for part in bound.parts if self.inputs_stay and bound.parents and _stage(part) == 0]
        self._match(node, list(place.parts.values()), consumer is None)
        for part in staying:
            self._match(
                node.make_descendant(ExactSampler(), f"{node.name} at {part}"), [place.parts[part].chain("tokens")]
            )
        for parent in bound.parents:
            below = (*path, parent)
            child = node.make_descendant(self.sampler(below), " < ".join(below), self.other(below))
            self._add(child, below, place)
        if self.apart is not None and (bound.parents or consumer is None):
            for reader, writer, matcher in self._unimportant(bound, place):
                sampler = self.apart(path, reader, writer)
                self._match(node.make_descendant(sampler, f"{node.name} at {writer} for {reader}"), [matcher])

    def _match(self, node: InterpNode, matchers: list[rc.IterativeMatcher], is_root: bool = False) -> None:
        whole = corr_root_matcher if is_root else matchers[0] if len(matchers) == 1 else rc.IterativeMatcher(*matchers)
        self.correspondence.add(node, whole)

    def _unimportant(self, bound: BoundNode, place: Place) -> Iterable[tuple[Reader, Writer, rc.IterativeMatcher]]:
        """Each reader of a node with each writer there that nobody declares, and the path between them."""
        declared = [part for node in (bound, *(self.nodes[name] for name in bound.parents)) for part in node.parts]
        for above, matcher in place.parts.items():
            for reader in above.readers:
                if reader in place.replaced:
                    continue
                start = matcher.chain(self.graph.stopping_at(reads(reader), [site(above)]))
                for writer in self.graph.model.anatomy.writers:
                    undeclared = not any(part.writer == writer and part.feeds(reader) for part in declared)
                    if undeclared and writer.feeds(reader) and writer.kind != "pos":
                        yield reader, writer, start.chain(self.graph.stopping_at(str(writer), [str(writer)]))

    def _place(self, bound: BoundNode, consumer: Place | None) -> Place:
        """Follow the arrows from the consumer's readers, and those inside the node."""
        parents = [self.nodes[name] for name in bound.parents]
        replaced = frozenset(
            r for parent in parents for part in parent.parts if part.writer is None for r in part.readers
        )
        parts: dict[Part, rc.IterativeMatcher] = {}
        for part in sorted(bound.parts, key=_stage, reverse=True):
            ways = [] if consumer is None else list(self._ways(part, consumer))
            ways += self._ways(part, Place(parts, replaced))
            if consumer is None and part.writer is None:
                ways = [corr_root_matcher]
            parts[part] = ways[0] if len(ways) == 1 else rc.IterativeMatcher(*ways)
        return Place(parts, replaced)

    def _ways(self, part: Part, consumer: Place) -> Iterable[rc.IterativeMatcher]:
        """All arrows from a part to the readers of a consumer."""
        for above, matcher in consumer.parts.items():
            for reader in above.readers:
                start = matcher.chain(self.graph.stopping_at(reads(reader), [site(above)]))
                if part.writer is None and reader in part.readers:
                    yield start
                elif part.feeds(reader) and reader not in consumer.replaced:
                    yield start.chain(self.graph.stopping_at(site(part), [site(part)]))

    def scrub(self, data: Dataset, seed: int = 0, references: Dataset | None = None) -> ScrubbedExperiment:
        """Draw data for every tree node, for each reference; all rows by default."""
        experiment = Experiment(self.graph.circuit, data, self.correspondence, random_seed=seed)
        return experiment.scrub(data if references is None else references)

    def donors(self, scrubbed: ScrubbedExperiment) -> tuple[dict[TreePath, np.ndarray], dict[TreePath, np.ndarray]]:
        """Which row each tree node was visited at, and which its unimportant inputs came from, for each reference."""
        drawn = scrubbed.sampled_inputs
        visited = {path: rows_of(drawn.datasets[node]) for path, node in self.tree.items()}
        others = {p: rows_of(drawn.other_inputs_datasets[n]) for p, n in self.tree.items() if not n.is_leaf()}
        return visited, others


def _stage(part: Part) -> int:
    return part.writer.stage if part.writer is not None else part.readers[0].stage


def reads(reader: Reader) -> str:
    """Name of the circuit's node that reads the stream for a reader."""
    return f"{reader} reads" if reader.kind == "mlp" else str(reader)


def site(part: Part) -> str:
    """Name of the circuit's node at a part."""
    if part.writer is None:
        return reads(part.readers[0])
    return str(part.writer) + ("" if part.directions is None else " along")


def log_probs(scrubbed: ScrubbedExperiment) -> np.ndarray:
    """Log-probabilities of every action: [reference, step, action]."""
    return scrubbed.evaluate(SETTINGS).log_softmax(-1).numpy()


def agreeing(labels: np.ndarray) -> FuncSampler:
    """Redwood's sampler of rows that agree on a feature."""
    values = torch.from_numpy(np.asarray(labels))
    return FuncSampler(lambda data: values[data.row.value])


class Theirs:
    """One hypothesis in Redwood's engine.

    Args:
        subject: Model, histories and hypothesis.
        fused: See :class:`Graph`.
    """

    def __init__(self, subject: Subject, fused: bool = False) -> None:
        self.subject = subject
        self.graph = Graph(subject.model, subject.history.n_steps, subject.along, fused)
        self.data = dataset(subject.model, subject.history)

    def feature(self, path) -> FuncSampler:
        return agreeing(self.subject.nodes[path[-1]].labels)

    def claim(self, sampler=None, **choices) -> Claim:
        return Claim(self.graph, self.subject.nodes, "root", sampler or self.feature, **choices)

    def rows(self, rows: range) -> Dataset:
        """Some of the histories."""
        return self.data[torch.tensor(rows)]

    def draws(self, seed: int, **choices):
        """What it draws for each reference, as `visited` and `others`, and its result: [reference, step, action]."""
        claim = self.claim(**choices)
        scrubbed = claim.scrub(self.rows(self.subject.donors), seed, self.rows(self.subject.references))
        visited, others = claim.donors(scrubbed)
        return visited, {(path, "other"): rows for path, rows in others.items()}, log_probs(scrubbed)

    def fixed(self, rows: np.ndarray) -> FixedOtherSampler:
        return FixedOtherSampler(self.data[torch.from_numpy(rows)])

    def replay(self, tables: Tables, **choices) -> np.ndarray:
        """Its result on our draws: [reference, step, action]."""
        references = np.array(self.subject.references)
        visited = tables.visited(self.subject.nodes, "root", references)

        def other(path):
            known = (path, "other") in tables.others
            return self.fixed(tables.others[path, "other"][visited[path]]) if known else UncondSampler()

        def apart(path, reader, writer):
            return self.fixed(tables.others[path, f"other {reader} {writer}"][visited[path]])

        if any(what != "other" for _, what in tables.others):
            choices["apart"] = apart
        claim = self.claim(lambda path: self.fixed(visited[path]), other=other, **choices)
        return log_probs(claim.scrub(self.data, references=self.rows(self.subject.references)))
