"""Write a transformer out as the plain graph that the oracle runs on, and make random hypotheses about it."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch.nn.functional import gelu, relu

from ad_hypotheses.causal.oracle import OracleComponent, OracleNode, Site
from ad_hypotheses.distill.model import ADTransformer, Shape
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.language.anatomy import Part, Reader, Writer, head_readers
from ad_hypotheses.language.check import BoundNode
from ad_hypotheses.language.history import History


def tiny_model(
    seed: int, n_steps: int, n_layers: int = 2, n_heads: int = 2, d_model: int = 8, **variant
) -> ADTransformer:
    """A random float64 transformer whose components all matter."""
    vocabulary = Vocabulary((("x", 3),), n_actions=3)
    model = ADTransformer(vocabulary, Shape(n_steps, n_layers, n_heads, d_model, d_mlp=12, **variant), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * (0.7 if weight.ndim > 1 else 0.5))
    return model.double().eval()


def tiny_history(seed: int, n_rows: int, n_steps: int) -> History:
    rng = np.random.default_rng(seed)
    return History(
        observations=rng.integers(3, size=(n_rows, n_steps, 1)),
        actions=rng.integers(3, size=(n_rows, n_steps)),
        rewards=rng.integers(2, size=(n_rows, n_steps)).astype(np.float32),
        episode=np.broadcast_to(np.arange(n_steps) // 2, (n_rows, n_steps)),
        channels=("x",),
        n_actions=3,
    )


def components(
    model: ADTransformer, history: History, along: dict[Writer, np.ndarray] | None = None
) -> list[OracleComponent]:
    """The model in plain numpy, one component a writer, without using the engine's own functions.

    A writer in `along` is split into what it writes along the given directions, `"<name> along"`, and the rest.
    """
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    tokens = model.vocabulary.encode(history).numpy()
    along = along or {}
    names: dict[int, list[str]] = {}
    made: list[OracleComponent] = []

    def add(writer: Writer, reads, compute, looks_back=False):
        for suffix, projection in _splits(along.get(writer)):
            name = str(writer) + suffix
            names.setdefault(writer.stage, []).append(name)
            made.append(OracleComponent(name, reads, _projected(compute, projection), looks_back))

    def before(stage):
        return tuple(name for earlier, found in sorted(names.items()) if earlier < stage for name in found)

    def total(inputs, stage):
        biases = [weights[f"blocks.{layer}.attn.b_O"] for layer in range(stage // 2)]
        return np.sum([*inputs.values(), *biases], axis=0)

    def normalise(prefix, x):
        if not model.shape.layer_norm:
            return x
        centred = x - x.mean()
        return (
            centred / np.sqrt((centred**2).mean() + model.shape.eps) * weights[f"{prefix}.w"] + weights[f"{prefix}.b"]
        )

    for number, channel in enumerate(model.vocabulary.channels):
        table = weights[f"embed.{channel}"]
        add(Writer(0, "embed", channel=channel), {}, lambda r, s, t=table, n=number: t[tokens[r, s, n]])
    if model.shape.positions == "learned":
        add(Writer(0, "pos"), {}, lambda r, s: weights["W_pos"][s])

    def attend(inputs, layer, head):
        block = f"blocks.{layer}"

        def vectors(kind):
            weight, bias = (weights[f"{block}.attn.{letter}_{kind.upper()}"][head] for letter in "Wb")
            return np.array([normalise(f"{block}.ln1", total(i, 2 * layer + 1)) @ weight + bias for i in inputs[kind]])

        q, k, v = (vectors(kind) for kind in "qkv")
        if model.shape.positions == "rotary":
            q, k = turned(q), turned(k)
        within = slice(None if model.shape.window is None else -model.shape.window, None)
        scores = k[within] @ q[-1] / np.sqrt(model.shape.d_head)
        pattern = np.exp(scores - scores.max())
        return pattern / pattern.sum() @ v[within] @ weights[f"{block}.attn.W_O"][head]

    def feed_forward(inputs, layer):
        block = f"blocks.{layer}"
        x = normalise(f"{block}.ln2", total(inputs["mlp"], 2 * layer + 2))
        pre = torch.from_numpy(x @ weights[f"{block}.mlp.W_in"] + weights[f"{block}.mlp.b_in"])
        post = {"gelu": gelu, "gelu_new": partial(gelu, approximate="tanh"), "relu": relu}[model.shape.activation](pre)
        return post.numpy() @ weights[f"{block}.mlp.W_out"] + weights[f"{block}.mlp.b_out"]

    for layer in range(model.shape.n_layers):
        stage = 2 * layer + 1
        reads = {kind: before(stage) for kind in "qkv"}
        for head in range(model.shape.n_heads):
            add(Writer(stage, "head", layer, head), reads, lambda i, a=layer, h=head: attend(i, a, h), True)
        if not model.shape.attention_only:
            add(Writer(stage + 1, "mlp", layer), {"mlp": before(stage + 1)}, lambda i, a=layer: feed_forward(i, a))

    last = 2 * model.shape.n_layers + 1
    unembed = weights["W_U"], weights["b_U"]
    out = lambda i: normalise("ln_final", total(i["logits"], last)) @ unembed[0] + unembed[1]  # noqa: E731
    made.append(OracleComponent("logits", {"logits": before(last)}, out))
    return made


def turned(x: np.ndarray) -> np.ndarray:
    """Rotary positions as complex numbers: each pair of coordinates turned by its step. [step, d_head]"""
    d_head = x.shape[1]
    speed = 10_000.0 ** (-np.arange(0, d_head, 2) / d_head)
    pairs = (x[:, ::2] + 1j * x[:, 1::2]) * np.exp(1j * np.arange(len(x))[:, None] * speed)
    return np.stack([pairs.real, pairs.imag], axis=-1).reshape(x.shape)


def _splits(directions):
    if directions is None:
        return [("", None)]
    projection = directions.T @ directions
    return [(" along", projection), (" rest", np.eye(len(projection)) - projection)]


def _projected(compute, projection):
    return compute if projection is None else lambda *args: projection @ compute(*args)


def oracle_nodes(nodes: dict[str, BoundNode], along: dict[Writer, np.ndarray]) -> list[OracleNode]:
    """The same hypothesis for the oracle."""
    return [
        OracleNode(
            node.name,
            tuple(site for part in node.parts for site in _sites(part, along)),
            node.parents,
            None if node.labels is None else (node.labels.tolist() if node.labels.ndim == 1 else node.labels),
            node.selected,
        )
        for node in nodes.values()
    ]


def _sites(part: Part, along):
    if part.writer is None:
        if part.readers[0].kind == "logits":
            return [Site("logits")]
        return [Site(f"head({r.layer}, {r.head})", r.kind) for r in part.readers]
    to = None if part.to is None else frozenset((owner(reader, along), reader.kind) for reader in part.to)
    return [Site(str(part.writer) + (" along" if part.directions is not None else ""), None, to)]


def owner(reader: Reader, along: dict[Writer, np.ndarray]) -> str:
    """Name of the component that a reader belongs to; of a split writer, the part that nodes sit at."""
    name = f"head({reader.layer}, {reader.head})" if reader.kind in "qkv" else str(reader)
    return name + (" along" if name in map(str, along) else "")


def random_hypothesis(rng: np.random.Generator, model: ADTransformer, history: History):
    """Draw nodes at random sites with random features, nesting, shared parents, `.to`, `.along`, `.steps` and q/k/v."""
    anatomy = model.anatomy
    writers = list(rng.permutation(np.array(anatomy.writers, dtype=object)))[: rng.integers(2, 7)]
    along = {}
    nodes: dict[str, BoundNode] = {}
    groups: list[list[Part]] = []
    for writer in writers:
        readers = head_readers(writer.layer, writer.head) if writer.kind == "head" else ()
        readers = (Reader(writer.stage, "mlp", writer.layer),) if writer.kind == "mlp" else readers
        directions = None
        if rng.random() < 0.2:
            directions = np.linalg.qr(rng.normal(size=(model.shape.d_model, 3)))[0].T
            along[writer] = directions
        part = Part(writer, readers, None, directions)
        if groups and rng.random() < 0.25:
            groups[-1].append(part)
        else:
            groups.append([part])
    groups.sort(key=lambda parts: max(part.writer.stage for part in parts))
    for number, parts in enumerate([*groups, None]):
        name = f"n{number}" if parts else "root"
        parts = parts or [Part(None, (anatomy.logits,))]
        _add_node(rng, nodes, name, parts, history)
    _restrict_some(rng, nodes)
    return nodes, along


def _labels(rng, history, n_classes):
    shape = (history.n_rows,) if rng.random() < 0.3 else (history.n_rows, history.n_steps)
    return rng.integers(n_classes, size=shape)


def _add_node(rng, nodes, name, parts, history):
    readers = [reader for part in parts for reader in part.readers]
    possible = [
        other.name for other in nodes.values() if any(part.feeds(reader) for part in other.parts for reader in readers)
    ]
    parents = [parent for parent in possible if rng.random() < 0.6]
    if name == "root" and not parents:
        parents = possible[-1:]
    whole = [part for part in parts if part.writer is not None and part.directions is None]
    heads = [part for part in whole if part.writer.kind == "head"]
    if heads and rng.random() < 0.35:
        letter = rng.choice(list("qkv"))
        reader = next(r for r in heads[0].readers if r.kind == letter)
        below = [p for p in possible if any(part.feeds(reader) for part in nodes[p].parts) and rng.random() < 0.6]
        nodes[f"{name}.{letter}"] = _bound(rng, f"{name}.{letter}", [Part(None, (reader,))], below, history)
        parents.append(f"{name}.{letter}")
    nodes[name] = _bound(rng, name, parts, parents, history)


def _bound(rng, name, parts, parents, history):
    selected = rng.random((history.n_rows, history.n_steps)) < 0.6 if rng.random() < 0.25 else None
    labels = None if name == "root" else _labels(rng, history, rng.integers(1, 4))
    return BoundNode(name, tuple(parts), tuple(parents), labels, None if name == "root" else selected, False, "")


def _restrict_some(rng, nodes):
    """Narrow some parts with `.to`, to readers of nodes that have them as parents."""
    for name, node in list(nodes.items()):
        consumers = [other for other in nodes.values() if name in other.parents]
        reads = {reader for other in consumers for part in other.parts for reader in part.readers}
        parts = []
        for part in node.parts:
            readers = sorted(reader for reader in reads if part.feeds(reader))
            if part.writer is not None and len(readers) > 1 and len(consumers) == 1 and rng.random() < 0.3:
                kept = frozenset(r for r in readers if rng.random() < 0.6) or frozenset(readers[:1])
                part = Part(part.writer, part.readers, kept, part.directions)
            parts.append(part)
        nodes[name] = BoundNode(name, tuple(parts), node.parents, node.labels, node.selected, False, "")
