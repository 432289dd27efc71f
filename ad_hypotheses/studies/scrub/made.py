"""What a study does where donors are made: it chooses positions, and refuses what would take too many made rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.errors import CapacityError, HypothesisError
from ad_hypotheses.language.check import BoundGraph, BoundNode, TreePath
from ad_hypotheses.language.history import History, history_digest
from ad_hypotheses.storage.checked import digest_of
from ad_hypotheses.studies.scrub.kept import graph_digest

POSITIONS = 1000  # of each regime for which donors are made, since a made row serves one position
MOST_TOKENS = 5_000_000  # that are made for a head, which looks at every earlier step, in one pass


def sampled_positions(
    masks: Mapping[str, Bool[np.ndarray, "row step"]],
    regimes: Sequence[str],
    learners: Int[np.ndarray, " row"],
    seed: int,
    most: int = POSITIONS,
) -> Float[np.ndarray, "row step"]:
    """Choose positions for which donors are made: so many of each regime, spread over learners, or all if fewer.

    Every position of a regime is as likely to be chosen: each learner gets a share like its share of the positions.

    Args:
        masks: Steps of each regime. {name: [row, step]}
        regimes: Which of them are judged; they are disjoint.
        learners: Learner of each row.
        seed: Decides which.
        most: How many of each regime.

    Returns:
        For how many positions of its regime each stands, 0 where it was not chosen. [row, step]
    """
    rng, numbers = np.random.default_rng(seed), np.unique(learners, return_inverse=True)[1]
    weights = np.zeros(next(iter(masks.values())).shape)
    for name in regimes:
        places = np.flatnonzero(masks[name])
        if not places.size:
            continue
        # one in so many of those in the order of learners, which is random within and among them
        order = rng.permutation(len(learners))[numbers[places // weights.shape[1]]]
        places = places[np.lexsort((rng.random(places.size), order))]
        number = min(most, places.size)
        chosen = ((np.arange(number) + rng.random()) * places.size / number).astype(np.int64)
        weights.ravel()[places[chosen]] = places.size / number
    return weights


def made_tables(graph: BoundGraph, positions: int, rows: int, steps: int) -> Iterator[tuple[TreePath, bool, int]]:
    """Say how many rows each pass has made, table by table.

    Args:
        graph: The claim; classes of features may be missing.
        positions: Number of positions of the references that are scrubbed.
        rows: Number of histories, references and donors.
        steps: Of each.

    Yields:
        Tree path of the node whose donors are made, whether heads read it, and the number of made rows at most.
    """

    def below(path: TreePath, visited: int, most: int) -> Iterator[tuple[TreePath, bool, int]]:
        node = graph.nodes[path[-1]]
        heads = _looks_back(node)
        visited = min(visited, most // steps) * steps if heads else min(visited, most)
        for parent in node.parents:
            if graph.nodes[parent].symmetry is None:
                yield from below((*path, parent), visited, rows * steps)
            else:
                yield (*path, parent), heads, visited
                yield from below((*path, parent), visited, visited * steps)

    return below((graph.root,), positions, rows * steps)


def most_tokens(graph: BoundGraph, positions: int, rows: int, steps: int) -> tuple[int, TreePath]:
    """Return how many tokens a pass has made for heads, which look at every earlier step, at most in one table.

    Args:
        graph, positions, rows, steps: As in :func:`made_tables`.

    Returns:
        The tokens, and the tree path of the table; 0 and nothing where heads read none.
    """
    tables = ((n * (steps + 1) // 2, path) for path, heads, n in made_tables(graph, positions, rows, steps) if heads)
    return max(tables, default=(0, ()))


def refuse_too_many(graph: BoundGraph, positions: int, rows: int, steps: int) -> None:
    """Refuse a claim in which heads read made donors, at every earlier step, of too many rows.

    Raises:
        CapacityError: More than :data:`MOST_TOKENS` tokens would be made for them in a pass.
    """
    tokens, path = most_tokens(graph, positions, rows, steps)
    if tokens > MOST_TOKENS:
        consumer, made = f"{path[-2]}()", f"{path[-1]}()"
        raise CapacityError(
            f"{consumer} has heads that read {made}, whose donors are made, at every earlier step: that takes "
            f"{tokens:,} made tokens a pass, and at most {MOST_TOKENS:,} are made.\n"
            f"  Use fewer histories (`rows`), let {made} be read by MLPs or the logits alone, or have the donors of "
            f"{consumer} made instead."
        )


def refuse_options(graph: BoundGraph, shared: bool, adversary: bool) -> None:
    """Refuse options that made donors cannot be combined with.

    Raises:
        HypothesisError: A node is shared between its consumers, or an adversary was asked.
    """
    names = ", ".join(f"{name}()" for name in graph.made)
    if names and shared:
        raise HypothesisError(f"{names}: made donors cannot be shared between consumers (`shared`).\n  Drop `shared`.")
    if names and adversary:
        raise HypothesisError(
            f"{names}: an adversary chooses among found donors, but these are made (`findings`).\n"
            "  Drop `findings`, or the symmetry."
        )


def fingerprint(node: BoundNode, history: History) -> bytes:
    """Return what a symmetry makes of each history at one step: it changes with whatever the symmetry does."""
    if node.symmetry is None:
        return b""
    rng = np.random.default_rng(0)
    drawn = node.symmetry.draw(history, rng.integers(history.n_steps, size=history.n_rows), rng)
    names = {} if drawn.names is None else {"names": drawn.names}
    return f"{history_digest(drawn.history)} {digest_of(names)}".encode()


def claim_digest(graph: BoundGraph, history: History) -> str:
    """Return a digest of a claim and of what its symmetries make of some histories."""
    digest = hashlib.sha256(graph_digest(graph).encode())
    for node in graph.nodes.values():
        digest.update(fingerprint(node, history))
    return digest.hexdigest()


def _looks_back(node: BoundNode) -> bool:
    return any(part.writer is not None and part.writer.kind == "head" for part in node.parts)
