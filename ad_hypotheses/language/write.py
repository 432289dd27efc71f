"""A set of edges written out as a hypothesis file: what a search found, for a person to make a claim of.

Every component that the edges touch becomes a node; edges become parameters. Where only some of what a component reads
with gets an edge (its queries, say, but not its keys), the writer is narrowed by `.to(...)`.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable, Sequence

from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.anatomy import Anatomy, Reader, Writer
from ad_hypotheses.language.edges import Edge, connected

WIDTH = 120
NAMES_IN_USE = frozenset({"np", "Hypothesis", "embed", "head", "history", "logits", "mlp", "node", "pos", "choice"})
SPREAD_FROM = 300  # tree nodes from which on drawing each node once for all its readers is suggested

Owner = Writer | Reader  # a component by what it writes, or the logits

_HEAD = '''"""{title}

{text}

Nothing is claimed yet about what a node computes: an embedding's value is what it shows, the choice has no opinion,
and the value of every other node is everything that was shown so far, which is the finest there is. No other history
shares that but for the first steps, so nothing can be swapped there, and until features are written `scrub` tests
hardly anything. To make a claim, return something coarser, one node at a time, and scrub the file again.
"""

import numpy as np

from ad_hypotheses import {imports}

ANYTHING = -1  # no opinion
'''

_NODE = '''

@node(at={site})
{signature}
    """{doc}"""
    return {value}
'''

_INTERIOR = "Everything shown so far: nothing is claimed yet about what is written here.  [batch, step]"


def hypothesis_source(
    edges: Iterable[Edge],
    anatomy: Anatomy,
    name: str,
    model: str,
    lines: Sequence[str] = (),
    accept: float = 0.9,
) -> str:
    """Return the text of a hypothesis file that says: these edges matter, and no others.

    Args:
        edges: Edges of the circuit, without roles; those on no way from an embedding to the logits are left out.
        anatomy: Sites of the model.
        name: What to call the hypothesis; a Python name in lower case.
        model: Name of the checkpoint.
        lines: What to say of it, such as the command that found it; no line longer than 120 characters.
        accept: As in :class:`Hypothesis`.

    Raises:
        HypothesisError: The name cannot be used, or there are no edges.
    """
    require_name(name)
    edges = list(edges)
    assert not any(edge.written_at or edge.read_at for edge in edges), "a hypothesis has no roles of two ends"
    single = [Edge((writer,), edge.reader) for edge in edges for writer in edge.writers]
    read = _read_by(connected(single, anatomy))
    if not read:
        raise HypothesisError("no edges: a hypothesis needs a way from an embedding to the logits.")
    named = {writer for inputs in read.values() for writer in inputs}
    order: list[Owner] = [*(writer for writer in anatomy.writers if writer in named), anatomy.logits]
    names = _names(order, anatomy, name)
    nodes = [_node(owner, read, names, anatomy) for owner in order]
    size = _tree_size(read)
    n_edges = sum(len(readers) for inputs in read.values() for readers in inputs.values())
    text = [*lines, f"{n_edges} edges; one scrubbing pass takes {_forwards(size[0])}."]
    if size[0] >= SPREAD_FROM:
        text.append(
            f"With `shared=True` a node is drawn once for all that read it, and a pass takes {_forwards(size[1])}."
        )
    body = "".join(nodes)
    used = [site for site in ("embed", "head", "logits", "mlp", "node", "pos") if re.search(rf"\b{site}\b", body)]
    title = f"{name}: the arrows that matter in {model}, and no others."
    head = _HEAD.format(title=_prose(title), text=_prose("\n".join(text)), imports=", ".join(["Hypothesis", *used]))
    where = json.dumps(model, ensure_ascii=False)
    return f"{head}{body}\n\n{name} = Hypothesis(choice, model={where}, accept={accept:g})\n"


def require_name(name: str) -> None:
    """Refuse what a written file could not call its hypothesis.

    Raises:
        HypothesisError: It is no Python name in lower case, or one that the file needs for something else.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or name in NAMES_IN_USE:
        raise HypothesisError(f"{name!r} cannot name a hypothesis: use lower-case letters, digits and _.")


def is_deep(edges: Iterable[Edge], anatomy: Anatomy) -> bool:
    """Return whether a node of the written file is better drawn once for all that read it (`shared=True`)."""
    single = [Edge((writer,), edge.reader) for edge in edges for writer in edge.writers]
    read = _read_by(connected(single, anatomy))
    return bool(read) and _tree_size(read)[0] >= SPREAD_FROM


def _prose(text: str) -> str:
    """Text for a docstring."""
    return text.replace("\\", "\\\\").replace('"""', "'''")


def _read_by(edges: Iterable[Edge]) -> dict[Owner, dict[Writer, set[Reader]]]:
    """What each component reads, and with which of its inputs."""
    read: dict[Owner, dict[Writer, set[Reader]]] = {}
    for edge in edges:
        read.setdefault(edge.reader.owner, {}).setdefault(edge.writers[0], set()).add(edge.reader)
    return read


def _names(order: Sequence[Owner], anatomy: Anatomy, taken: str) -> dict[Owner, str]:
    names: dict[Owner, str] = {}
    for owner in order:
        if isinstance(owner, Reader):
            names[owner] = "choice"
            continue
        name = {
            "embed": re.sub(r"\W", "_", owner.channel),
            "pos": "position",
            "head": f"head_{owner.layer}_{owner.head}",
            "mlp": f"mlp_{owner.layer}",
        }[owner.kind]
        used = NAMES_IN_USE | {taken} | set(names.values())
        while not name.isidentifier() or keyword.iskeyword(name) or name in used:
            name = f"{name}_" if name[:1].isalpha() else f"the_{name}"
        names[owner] = name
    return names


def _node(owner: Owner, read: dict[Owner, dict[Writer, set[Reader]]], names: dict[Owner, str], anatomy: Anatomy) -> str:
    parents = [parent for parent in names if parent in read.get(owner, {})]
    site, to = str(owner), [] if isinstance(owner, Reader) else _narrowed(owner, read, anatomy)
    value, doc = "history.so_far()", _INTERIOR
    if isinstance(owner, Reader):
        value, doc = "np.full(history.actions.shape, ANYTHING)", "What it does about it: no opinion yet.  [batch, step]"
    elif owner.kind == "pos":
        value, doc = "np.broadcast_to(np.arange(history.n_steps), history.actions.shape)", "The step.  [batch, step]"
    elif owner.kind == "embed":
        value, doc = _shown(owner.channel, anatomy)
    parameters = [*(names[parent] for parent in parents), "history"]
    return _NODE.format(
        site=_broken(site, to), signature=_signature(names[owner], parameters), doc=doc, value=value
    ).replace("@node(at=\n", "@node(\n")


def _shown(channel: str, anatomy: Anatomy) -> tuple[str, str]:
    """What an embedding shows, and how to say it."""
    *observations, action, reward = anatomy.channels
    if channel == action:
        return "history.previous_actions", "The action before, -1 at the first step.  [batch, step]"
    if channel == reward:
        return (
            "np.rint(1e6 * history.previous_rewards)",
            "What it paid, in millionths, since values are whole numbers.  [batch, step]",
        )
    return f"history.observations[..., {observations.index(channel)}]", f"The {channel} that is seen.  [batch, step]"


def _narrowed(writer: Writer, read: dict[Owner, dict[Writer, set[Reader]]], anatomy: Anatomy) -> list[str]:
    """What a writer is narrowed to, as it is typed; empty if its readers read it with all that they have."""
    by_owner = {owner: inputs[writer] for owner, inputs in read.items() if writer in inputs}
    if all(len(readers) == len(owner.inputs) for owner, readers in by_owner.items()):
        return []
    typed: list[str] = []
    for layer in range(anatomy.n_layers + 1):
        heads = [part.writer for part in anatomy.parts("head", layer) if part.writer is not None]
        if all(len(by_owner.get(head, ())) == 3 for head in heads):
            typed.append(f"head({layer})")
        else:
            for head in heads:
                readers = sorted(by_owner.get(head, ()), key=lambda reader: "qkv".index(reader.kind))
                typed += [str(head)] if len(readers) == 3 else map(str, readers)
        typed += [str(owner) for owner in by_owner if owner.stage == 2 * layer + 2]
    return typed + [str(owner) for owner in by_owner if isinstance(owner, Reader)]


def _broken(site: str, to: Sequence[str]) -> str:
    """The argument of a node, over several lines if it is too long for one."""
    whole = f"{site}.to({' + '.join(to)})" if to else site
    if len(f"@node(at={whole})") <= WIDTH:
        return whole
    if len(f"    at={whole}") <= WIDTH:
        return f"\n    at={whole}\n"
    line = " + ".join(to)
    inner = line if len(line) + 8 <= WIDTH else "\n        + ".join(to)
    return f"\n    at={site}.to(\n        {inner}\n    )\n"


def _signature(name: str, parameters: Sequence[str]) -> str:
    line = ", ".join(parameters)
    if len(f"def {name}({line}):") <= WIDTH:
        return f"def {name}({line}):"
    if len(f"    {line}") <= WIDTH:
        return f"def {name}(\n    {line}\n):"
    return f"def {name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + "):"


def _tree_size(read: dict[Owner, dict[Writer, set[Reader]]]) -> tuple[int, int]:
    """Nodes that compute something: written out as a tree, where each way to the logits counts, and apart."""
    sizes: dict[Owner, int] = {}
    for owner in sorted(read, key=lambda owner: owner.stage):
        sizes[owner] = 1 + sum(sizes.get(writer, 0) for writer in read[owner])
    return next(size for owner, size in sizes.items() if isinstance(owner, Reader)), len(read)


def _forwards(count: int) -> str:
    return f"{count} partial forward{'' if count == 1 else 's'}"
