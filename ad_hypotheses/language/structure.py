"""Whether a claim's arrows are paths of a model: the rules that need no data, every breach listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, combinations_with_replacement

import numpy as np

from ad_hypotheses.errors import did_you_mean
from ad_hypotheses.language.anatomy import Anatomy, Part, Reader
from ad_hypotheses.language.hypothesis import HISTORY, Hypothesis, Node
from ad_hypotheses.language.problems import Problem, failure, listed, shown_path

ORTHOGONAL = 1e-6  # largest cosine between two subspaces of one site that different nodes may speak of

Parts = Mapping[str, tuple[Part, ...]]


def check_structure(hypothesis: Hypothesis, anatomy: Anatomy) -> dict[str, tuple[Part, ...]]:
    """Return every node's places in a model; needs no data.

    Raises:
        HypothesisError: The claim's arrows are no paths of the model; lists every problem.
    """
    parts, problems = examine_structure(hypothesis, anatomy)
    if problems:
        raise failure(problems, subject(hypothesis))
    return parts


def subject(hypothesis: Hypothesis) -> str:
    name = hypothesis.name or hypothesis.root.name
    return f"{name} ({shown_path(hypothesis.root.file)})"


def examine_structure(hypothesis: Hypothesis, anatomy: Anatomy) -> tuple[dict[str, tuple[Part, ...]], list[Problem]]:
    parts: dict[str, tuple[Part, ...]] = {}
    problems: list[Problem] = []
    for node in hypothesis.nodes:
        problems += node.problems
        problems += [_unknown_name(node, name, hypothesis, anatomy) for name in node.unknown]
        parts[node.name], wrong = node.site.examine(anatomy)
        problems += [
            Problem(f"{node.name}() sits at {problem.message}", node.place, problem.facts, problem.advice)
            for problem in wrong
        ]
    whole = {node.name for node in hypothesis.nodes if parts[node.name] and not node.site.problems}
    rules = (_wrong_root, _wrong_symmetry, _same_names, _mixed_parts, _wrong_arrows, _shared_sites)
    for rule in rules:
        problems += rule(hypothesis, {name: parts[name] if name in whole else () for name in parts})
    return parts, problems


def _unknown_name(node: Node, name: str, hypothesis: Hypothesis, anatomy: Anatomy) -> Problem:
    outside = getattr(node.function, "__globals__", {}).get(name)
    known = {other.name: other for other in hypothesis.nodes}
    later = outside if isinstance(outside, Node) else known.get(name)
    defined = ("defined", listed((HISTORY, *node.defined)))
    if name == node.name:
        advice = "a node is computed from other nodes and from history; drop the parameter or read another node"
        return Problem(f"{name}() reads itself.", node.place, (defined,), advice)
    if isinstance(later, Node):
        circle = _path_to(later, node.name)
        if circle:
            shown = " -> ".join([*reversed(circle), node.name])
            message = f"{node.name}() reads '{name}', which reads {node.name}() in turn: a circle ({shown})."
            return Problem(
                message, node.place, (defined,), "cut one of its arrows: a value cannot be computed from itself"
            )
        message = f"{node.name}() reads '{name}', which is defined below it, in line {later.line}."
        return Problem(message, node.place, (defined,), f"move {name} above {node.name}")
    if callable(outside):
        message = f"{node.name}() reads '{name}', a function without a site."
        return Problem(
            message, node.place, (defined,), f"put @node(at=...) above {name}, or call it inside {node.name}"
        )
    advice = did_you_mean(name, (HISTORY, *node.defined)).strip()
    if not advice and name in anatomy.channels:
        advice = f'did you mean to add a node at embed("{name}")?'
    advice = advice or f"define {name} above it with @node(at=...), or compute it inside from history"
    message = f"{node.name}() reads '{name}', but no node of that name is defined above it."
    return Problem(message, node.place, (defined,), advice)


def _path_to(start: Node, name: str) -> list[str]:
    """Return the names from `name` down to `start` along parents (and names that start could not resolve)."""
    if start.name == name:
        return [name]
    if name in start.unknown:
        return [start.name, name]
    for parent in start.parents:
        path = _path_to(parent, name)
        if path:
            return [start.name, *path]
    return []


def _wrong_root(hypothesis: Hypothesis, parts: Parts) -> Iterator[Problem]:
    root = hypothesis.root
    for node in hypothesis.nodes:
        reads_logits = any(reader.kind == "logits" for part in parts[node.name] for reader in part.readers)
        if node is not root and reads_logits:
            advice = f"only the last node, {root.name}, sits there; put {node.name} where its value is computed"
            yield Problem(f"{node.name}() sits at logits, but {root.name}() reads it.", node.place, advice=advice)
        if node is root and parts[root.name] and not reads_logits:
            message = f"{root.name}() is the last node, but it sits at {root.site}."
            yield Problem(message, root.place, advice="the last node is the policy: @node(at=logits)")
    if not root.parents and not root.unknown:
        message = f"{root.name}() reads no node, which means that everything in the model is unimportant."
        yield Problem(
            message, root.place, advice="that is the baseline, which every run reports; add what it reads as nodes"
        )
    if root.site.role is not None:
        message = f'{root.name}() is narrowed to "{root.site.role}" steps, but the last node speaks for every step.'
        yield Problem(
            message, root.place, advice="drop .steps: results come split by regime; or narrow the nodes it reads"
        )


def _wrong_symmetry(hypothesis: Hypothesis, parts: Parts) -> Iterator[Problem]:
    root = hypothesis.root
    if root.symmetry is not None:
        message = (
            f"{root.name}() is the last node, which has no donors, but it has the symmetry {root.symmetry.name}()."
        )
        yield Problem(message, root.place, advice="give the symmetry to the nodes that it reads")


def supplies_everything(hypothesis: Hypothesis, anatomy: Anatomy, parts: Parts) -> set[str]:
    """Return the node, if there is one, from which alone the last node takes all that the logits see."""
    parents = hypothesis.root.parents
    if len(parents) != 1:
        return set()
    whole = {part.writer for part in parts[parents[0].name] if part.to is None and part.directions is None}
    inner = any(part.writer is not None for part in parts[hypothesis.root.name])
    return {parents[0].name} if not inner and whole >= set(anatomy.writers) else set()


def _same_names(hypothesis: Hypothesis, parts: Parts) -> Iterator[Problem]:
    for node, other in combinations(sorted(hypothesis.nodes, key=lambda node: (node.file, node.line)), 2):
        if node.name == other.name:
            message = f"Two nodes are called {node.name}: {node.place} and {other.place}."
            yield Problem(message, other.place, advice="rename one of them")


def _mixed_parts(hypothesis: Hypothesis, parts: Parts) -> Iterator[Problem]:
    for node in hypothesis.nodes:
        inputs = [part for part in parts[node.name] if part.writer is None and part.readers[0].of_head]
        if inputs and len(inputs) < len(parts[node.name]):
            message = f"{node.name}() sits at {node.site}: {inputs[0]} is an input of a head, the others are not."
            yield Problem(message, node.place, advice="give inputs of heads a node of their own")


def _wrong_arrows(hypothesis: Hypothesis, parts: Parts) -> Iterator[Problem]:
    for child in hypothesis.nodes:
        readers = {reader for part in parts[child.name] for reader in part.readers}
        replaced = {
            reader for p in child.parents for part in parts[p.name] if part.writer is None for reader in part.readers
        }
        if child.parents and parts[child.name] and not readers:
            parents = listed(p.name for p in child.parents)
            message = f"{child.name}() reads {parents}, but {child.site} reads nothing of the model."
            advice = "compute it from history, or move it to a head, an mlp or the logits"
            yield Problem(message, child.place, advice=advice)
            continue
        for parent in child.parents:
            if parts[parent.name] and parts[child.name]:
                yield from _wrong_arrow(parent, child, parts, readers, readers - replaced)


def _wrong_arrow(
    parent: Node, child: Node, parts: Parts, readers: set[Reader], open_readers: set[Reader]
) -> Iterator[Problem]:
    inputs = [part for part in parts[parent.name] if part.writer is None and part.readers[0].of_head]
    if inputs:
        heads = {(part.writer.layer, part.writer.head) for part in parts[child.name] if part.writer is not None}
        for part in inputs:
            if (part.readers[0].layer, part.readers[0].head) not in heads:
                place = f"head({part.readers[0].layer}, {part.readers[0].head})"
                message = f"{child.name}() at {child.site} reads {parent.name}() at {part}, an input of {place}."
                yield Problem(
                    message, child.place, advice=f"only a node at {place} can read it: put one between the two"
                )
        return
    writers = [part for part in parts[parent.name] if part.writer is not None]
    if not writers or any(part.feeds(reader) for part in writers for reader in open_readers):
        return
    arrow = f"{child.name}() at {child.site} reads {parent.name}() at {parent.site}"
    if any(part.feeds(reader) for part in writers for reader in readers):
        taken = listed(sorted(readers - open_readers))
        message = f"{arrow}, but other parents stand for every input that it could enter."
        yield Problem(message, child.place, (("taken", taken),), f"let the node at an input read {parent.name} instead")
    elif any(part.writer.feeds(reader) for part in writers for reader in readers if part.writer):
        message = f"{arrow}, but .to leaves out all that {child.name} reads with."
        yield Problem(message, child.place, (("reads with", listed(sorted(readers))),), "name one of them in .to")
    else:
        message = f"{arrow}, but what is written there comes too late to be read there."
        order = ("order", "embed, pos; heads of layer 0; mlp(0); heads of layer 1; mlp(1); ...; logits")
        yield Problem(
            message, child.place, (order,), f"move {parent.name} to an earlier site or {child.name} to a later one"
        )


def _shared_sites(hypothesis: Hypothesis, parts: Parts) -> Iterator[Problem]:
    for node, other in combinations_with_replacement(hypothesis.nodes, 2):
        if node is other:
            pairs = list(combinations(parts[node.name], 2))
        else:
            pairs = [(a, b) for a in parts[node.name] for b in parts[other.name]]
        clashes = [(a, b, why) for a, b in pairs if (why := _clash(a, b)) is not None]
        # an input of a head may belong to a parent of that head's node: the arrow rules see to it
        for a, _, why in clashes[:1]:
            site = a.writer or a.readers[0]
            if node is other:
                message = f"{node.name}() sits at {node.site}, which names {site} twice{why}."
                yield Problem(message, node.place, advice="drop one of them")
            else:
                facts = ((node.name, f"{node.site}, {node.place}"), (other.name, f"{other.site}, {other.place}"))
                advice = (
                    "join them into one node, or tell them apart by .to(reader) or by orthogonal .along(directions)"
                )
                yield Problem(
                    f"{node.name}() and {other.name}() share the site {site}{why}.", other.place, facts, advice
                )


def _clash(a: Part, b: Part) -> str | None:
    """Return how two places overlap, or None if they do not."""
    if (a.writer is None) != (b.writer is None) or a.writer != b.writer:
        return None
    if a.writer is None:
        return "" if set(a.readers) & set(b.readers) and a.readers[0].of_head else None
    if a.to is not None and b.to is not None and not a.to & b.to:
        return None
    if a.directions is None or b.directions is None:
        return ""
    if a.directions.shape[1] != b.directions.shape[1]:
        return f" along directions of different widths, {a.directions.shape[1]} and {b.directions.shape[1]}"
    cosine = np.linalg.norm(a.directions @ b.directions.T, ord=2)
    return f" along directions that are not orthogonal (largest cosine {cosine:.3g})" if cosine > ORTHOGONAL else None
