"""The hypothesis written out as a tree, and with its features taken away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ad_hypotheses.language.check import BoundNode

Path = tuple[str, ...]  # names from the root to a tree node


def without_features(nodes: Mapping[str, BoundNode]) -> dict[str, BoundNode]:
    """Return the same graph, sites and feature shapes with every feature constant: what structure alone explains."""
    return {
        name: node if node.labels is None else replace(node, labels=np.zeros_like(node.labels))
        for name, node in nodes.items()
    }


def tree_paths(nodes: Mapping[str, BoundNode], root: str) -> list[Path]:
    """Return every node of the hypothesis written out as a tree, as paths from the root."""
    paths: list[Path] = []

    def grow(path: Path) -> None:
        paths.append(path)
        for parent in nodes[path[-1]].parents:
            grow((*path, parent))

    grow((root,))
    return paths
