"""Which arrows a claim lacks: the edges of the model that it does not declare, ranked by one gradient attribution.

Scrubbing swaps whatever a claim does not declare. How much each such edge matters is estimated to first order, all of
them at once: the writing of another history along it, times the gradient of the KL divergence. What is said of an
arrow is an estimate; what the claim keeps with the strongest ones added is measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from ad_hypotheses.causal.attribute import attribute
from ad_hypotheses.causal.history_pairs import ANY, HistoryPairs
from ad_hypotheses.causal.metrics import METRICS
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.evidence.verdict import Judgement
from ad_hypotheses.language.declared import MissingArrow, missing_arrows, with_arrows
from ad_hypotheses.language.hypothesis import HISTORY, Hypothesis, Node
from ad_hypotheses.language.write import NAMES_IN_USE
from ad_hypotheses.studies.scrub.claim import MeasuredClaim
from ad_hypotheses.studies.scrub.claim_parts import UndeclaredArrow, UndeclaredArrows
from ad_hypotheses.studies.scrub.ground import Ground
from ad_hypotheses.studies.scrub.kept import Remembered, remembered
from ad_hypotheses.studies.scrub.measure import fidelity_of
from ad_hypotheses.studies.scrub.measured import SCRUBBED

METRIC = "kl"  # as fidelity has it: on every data set, and no cancellation hides in it
POSITIONS = 8192  # of the references that are looked at: about 3 s of processor time on the largest shipped models
MOST_ROWS = 64
MEMORY = 2**26  # bytes: little beside what scrubbing takes, and no slower than four times as many
SHOWN = 6  # arrows that a record keeps, the strongest first
STRONG = 0.5  # of the strongest arrow, from which on another one is written into the code to paste
MOST_PASTED = 3
COMPLETE = 0.98  # fidelity of a supported claim from which on nothing is left to look for
TIMES_DEARER = 4  # a pass with the arrows added is left out where it takes more than so many times the forwards


def undeclared_arrows(
    measured: Sequence[MeasuredClaim],
    judgement: Judgement,
    options: Options,
    seed: int,
    memory_of: Callable[[Ground], Remembered | None] = lambda ground: None,
) -> UndeclaredArrows | None:
    """Rank the arrows that a claim lacks where it fails most, and scrub it once more with the strongest added.

    Args:
        measured: What was measured of the claim on each data set.
        judgement: The verdict on it.
        options: Of the study.
        seed: Of the draws.
        memory_of: What this process measured already on a data set: sizes change with the arrows, not with features.

    Returns:
        None where no regime counts, where a supported claim keeps all but a trifle, and where the claim declares
        everything that its nodes read.
    """
    counting = [part for part in measured if any(cell.counts for cell in part.cells())]
    if not counting or (judgement.verdict == "supported" and _least_fidelity(counting) >= COMPLETE):
        return None
    # over all steps: in one regime alone a gradient can vanish, where the model is sure of itself
    part = min(counting, key=lambda part: part.evidence["all"].fidelity.value)
    arrows = missing_arrows(part.bound, part.bound.anatomy)
    if not arrows:
        return None
    n_rows = min(MOST_ROWS, part.ground.n_references, max(1, POSITIONS // part.ground.history.n_steps))
    sizes = remembered(
        memory_of(part.ground),
        ("undeclared", n_rows, *((arrow.source, arrow.target, *map(str, arrow.edges)) for arrow in arrows)),
        lambda: sizes_of(arrows, part.ground.clean.twin.model, _pairs(part, n_rows, seed)),
        lambda sizes: sizes.nbytes,
    )
    return _ranked(part, n_rows, arrows, sizes, options, seed)


def sizes_of(arrows: Sequence[MissingArrow], model: ADTransformer, pairs: HistoryPairs) -> Float[np.ndarray, " arrow"]:
    """Estimate how far swapping each arrow alone moves a model's distribution, in nats, to first order.

    Args:
        arrows: Which; their edges are attributed in one go.
        model: In evaluation mode.
        pairs: Histories, and those whose writing takes its place.

    Returns:
        Mean over histories of the size: terms of one history add up, those of different ones could cancel. [arrow]
    """
    edges = [edge for arrow in arrows for edge in arrow.edges]
    by_edge = attribute(model, pairs, edges, METRIC, METRICS[METRIC].attribution_steps, memory=MEMORY)
    starts = np.cumsum([len(arrow.edges) for arrow in arrows])[:-1]
    return np.stack([np.abs(of_arrow.sum(axis=0)).mean() for of_arrow in np.split(by_edge, starts)])


def _least_fidelity(measured: Sequence[MeasuredClaim]) -> float:
    """Return the lowest fidelity in a regime that counts; 1 where none is known."""
    values = [cell.evidence.fidelity.value for part in measured for cell in part.cells() if cell.counts]
    return min((value for value in values if np.isfinite(value)), default=1.0)


def _pairs(part: MeasuredClaim, n_rows: int, seed: int) -> HistoryPairs:
    """Give the first references a donor of the pool each, at random, as what is unimportant comes from any of them."""
    history, first = part.ground.history, part.ground.n_references
    donors = np.random.default_rng([seed, 5]).integers(first, history.n_rows, size=n_rows)
    return HistoryPairs(history[:n_rows], history[donors], ANY)


def _ranked(
    part: MeasuredClaim,
    n_rows: int,
    arrows: Sequence[MissingArrow],
    sizes: Float[np.ndarray, " arrow"],
    options: Options,
    seed: int,
) -> UndeclaredArrows | None:
    total = float(sizes.sum())
    order = [int(number) for number in np.argsort(-sizes, kind="stable") if sizes[number] > 0]
    if not order:
        return None
    strong = [number for number in order[:MOST_PASTED] if sizes[number] >= STRONG * sizes[order[0]]]
    strongest = [arrows[number] for number in strong]
    between_nodes = [(arrow.source, arrow.target) for arrow in strongest if arrow.from_node and not arrow.circular]
    before, after = _kept_with(part, between_nodes, options, seed)
    names = _parameters(part.bound.hypothesis, strongest)
    return UndeclaredArrows(
        data=part.ground.data,
        rows=n_rows,
        total=total,
        count=len(order),
        arrows=[
            UndeclaredArrow(
                source=arrows[number].source,
                target=arrows[number].target,
                from_node=arrows[number].from_node,
                circular=arrows[number].circular,
                edges=[str(edge) for edge in arrows[number].edges],
                size=float(sizes[number]),
                share=float(sizes[number]) / total,
                strong=number in strong,
            )
            for number in order[:SHOWN]
        ],
        code=_code(part.bound.hypothesis, strongest, names),
        added=[f"{source} -> {target}" for source, target in between_nodes] if after is not None else [],
        fidelity_before=before,
        fidelity_after=after,
    )


def _kept_with(
    part: MeasuredClaim, arrows: Sequence[tuple[str, str]], options: Options, seed: int
) -> tuple[float | None, float | None]:
    """Scrub the first references once with arrows added; return the fidelity without and with them, on these."""
    ground, n_rows = part.ground, min(MOST_ROWS, part.ground.n_references)
    graph = with_arrows(part.bound, arrows)
    # where donors are made, other positions were scrubbed than these
    if not arrows or graph.n_visits > TIMES_DEARER * part.bound.n_visits or part.bound.made:
        return None, None
    with ground.clean.prepared():
        run = Scrubber(ground.clean, graph, replace(options, self_donors=False), seed).run(0, n_rows=n_rows)
    divergences = part.measured.kl[SCRUBBED][0, :n_rows], ground.divergence(run.log_probs)
    before, after = (fidelity_of(ground, divergence, part.measured.tested) for divergence in divergences)
    return before, after


def _parameters(hypothesis: Hypothesis, arrows: Sequence[MissingArrow]) -> dict[str, str]:
    """Return what the sources of some arrows are called as parameters: nodes by their names, components by new ones."""
    taken = {node.name for node in hypothesis.nodes} | NAMES_IN_USE
    names = {}
    for arrow in arrows:
        if arrow.from_node:
            names[arrow.source] = arrow.source
        elif arrow.source not in names:
            name = "_".join(re.findall(r"\w+", arrow.source.removeprefix("embed")))
            names[arrow.source] = name = f"{name}_" if name in taken or not name.isidentifier() else name
            taken.add(name)
    return names


def _code(hypothesis: Hypothesis, arrows: Sequence[MissingArrow], names: Mapping[str, str]) -> list[str]:
    """Return the lines that add some arrows to a hypothesis file: a node for each component, and new signatures."""
    straight = [arrow for arrow in arrows if not arrow.circular]
    sites = dict.fromkeys(arrow.source for arrow in straight if not arrow.from_node)
    lines: list[str] = []
    for site in sites:
        lines += [f"@node(at={site})", f"def {names[site]}({HISTORY}): ...  # the coarsest value that matters", ""]
    nodes = {node.name: node for node in hypothesis.nodes}
    for target in dict.fromkeys(arrow.target for arrow in straight):
        sources = [arrow.source for arrow in straight if arrow.target == target]
        lines.append(_signature(nodes[target], sources, nodes, names))
    return lines


def _signature(child: Node, sources: Sequence[str], nodes: Mapping[str, Node], names: Mapping[str, str]) -> str:
    """Return the first line of a node's function with parameters added; says which of them stand below it today."""
    line = f"def {child.name}({', '.join([*child.reads, *(names[source] for source in sources)])}):"
    below = [name for name in sources if name in nodes and nodes[name].line > child.line]
    return line + (f"  # below {' and '.join(below)}" if below else "")
