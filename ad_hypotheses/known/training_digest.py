"""What a network was taught, as a digest: while it is the same, a training goes on and a finished network stays.

The digest is that of the claim that is to come true (names, what they read, sites, and the code of their functions with
all that it uses of the file's own names), the rule, the nodes that are left alone, and where all that the claim does
not name comes from. Comments, docstrings, line breaks and other claims of the file do not count.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import textwrap
import types
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ad_hypotheses.distill.train import STATE
from ad_hypotheses.language.hypothesis import Hypothesis, Node
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.storage.reading import read_json

TAUGHT = "taught.json"  # beside the state of a training
JOINTLY = ("joint",)  # which goes without saying: digests that leave it out stay as they are
OURS = ("ad_hypotheses", "numpy")


def digest(truth: Hypothesis, rule: str, steady: Collection[str] = (), others: Sequence[str] = JOINTLY) -> str:
    """Return the SHA-256 of what a network is taught: it changes if and only if that does.

    Args:
        truth: The claim that is to come true.
        rule: Name of the rule that the network is to follow.
        steady: Nodes that are never given to others of another value.
        others: Where all that the claim does not name comes from.
    """
    written: dict[types.FunctionType, list[str]] = {}
    for node in truth.nodes:
        _collect(node.function, written)
    nodes = [
        [node.name, list(node.reads), str(node.site), [term.along for term in node.site.terms]] for node in truth.nodes
    ]
    content = {"nodes": nodes, "written": list(written.values()), "rule": rule, "steady": sorted(steady)}
    content |= {"others": list(others)} if tuple(others) != JOINTLY else {}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def was_taught_otherwise(folder: Path, now: str) -> bool:
    """Whether a folder holds the state of a training that was taught something else, or nobody knows what."""
    if not (folder / STATE).exists():
        return False
    try:
        return read_json(folder / TAUGHT)["taught"] != now
    except (OSError, ValueError, KeyError, TypeError):
        return True


def keep_taught(folder: Path, now: str) -> None:
    """Note what the training in a folder is taught, and drop the state of one that was taught something else.

    Raises:
        UserError: The folder cannot be written.
    """
    if was_taught_otherwise(folder, now):
        (folder / STATE).unlink()
    write_atomically(folder / TAUGHT, json.dumps({"taught": now}).encode())


def _collect(function: Any, written: dict[types.FunctionType, list[str]]) -> None:
    """Note a function's code, and that of everything of the files of hypotheses that it uses."""
    function = inspect.unwrap(function)
    if function in written:
        return
    code, scope = function.__code__, function.__globals__
    content = written[function] = [code.co_name, _code(function)]
    for name in sorted(set(_names(code)) & set(scope)):
        used = scope[name].function if isinstance(scope[name], Node) else scope[name]
        if isinstance(used, types.FunctionType):
            if (used.__module__ or "").partition(".")[0] not in OURS:
                _collect(used, written)
        elif isinstance(used, np.ndarray):
            content.append(f"{name} = {used.dtype} {used.tolist()}")
        elif isinstance(used, int | float | str | tuple | list | dict | None):
            content.append(f"{name} = {used!r}")


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:  # lambdas and comprehensions
        if isinstance(inner, types.CodeType):
            yield from _names(inner)


def _code(function: types.FunctionType) -> str:
    """A function as Python writes it, without decorators and docstring."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for definition in ast.walk(tree):
        if isinstance(definition, ast.FunctionDef):
            definition.decorator_list = []
            definition.body = definition.body[ast.get_docstring(definition) is not None :]
    return ast.unparse(tree)
