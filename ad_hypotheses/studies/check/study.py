"""Fit hypotheses to their models and to a few histories, and list everything that does not fit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ad_hypotheses.causal.draws import classes
from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.check import Bound, bind
from ad_hypotheses.language.declared import missing_arrows
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.load import chosen
from ad_hypotheses.studies.check.record import CheckedClaim, CheckedNode, CheckRecord
from ad_hypotheses.studies.scrub.bind import ScrubSettings, reference_histories
from ad_hypotheses.tasks.edits.possible import impossible_steps

ROWS = 64  # histories that features are tried on


def check(
    hypotheses: Sequence[Hypothesis], *, model: str | None = None, models: Path = Path("models"), rows: int = ROWS
) -> CheckRecord:
    """Fit hypotheses to their models, run their features on fresh histories, and list what is wrong.

    No model is run. Histories come from the source of each model.

    Args:
        hypotheses: All claims of a file, controls among them.
        model: Name of the checkpoint to fit them to; None for those that the hypotheses name.
        models: Folder of the checkpoints.
        rows: Number of histories that features are tried on.

    Returns:
        What fits, and every problem once.

    Raises:
        CheckpointError: A checkpoint is missing or damaged.
    """
    claims = [claim for main, controls in chosen(hypotheses, model) for claim in (main, *controls)]
    grounds: dict[str, tuple[Checkpoint, History]] = {}
    checked: list[CheckedClaim] = []
    problems: dict[str, None] = {}  # an ordered set: a control repeats what is wrong with its hypothesis
    for claim in claims:
        if claim.model not in grounds:
            checkpoint = load(claim.model, models)
            grounds[claim.model] = checkpoint, reference_histories(checkpoint, ScrubSettings(rows=rows))
        checkpoint, history = grounds[claim.model]
        try:
            task = checkpoint.experiment.task
            world = partial(impossible_steps, task)
            bound = bind(claim, checkpoint.model.anatomy, history, task.regimes(history), world=world)
        except HypothesisError as error:
            problems |= dict.fromkeys(_blocks(str(error)))
            continue
        checked.append(_checked(claim, bound))
    return CheckRecord(tuple(checked), tuple(problems), rows)


def _blocks(message: str) -> list[str]:
    """Return the problems in a message apart, without the line that counts them."""
    blocks = message.split("\n\n")
    return blocks[1:] if len(blocks) > 1 and re.match(r"\d+ problems\b", blocks[0]) else blocks


def _checked(claim: Hypothesis, bound: Bound) -> CheckedClaim:
    nodes = []
    for node in claim.nodes:
        labels = bound.nodes[node.name].labels
        level = "policy" if labels is None else "each step" if labels.ndim > 1 else "history"
        parents = tuple(parent.name for parent in node.parents)
        made = None if node.symmetry is None else node.symmetry.name
        nodes.append(CheckedNode(node.name, str(node.site), parents, level, *_sizes(bound, node.name), made))
    main = None if claim.control_of is None else claim.control_of.name
    undeclared = [
        f"{arrow.source} -> {arrow.target}"
        for arrow in missing_arrows(bound, bound.anatomy)
        if arrow.from_node and not arrow.circular
    ]
    return CheckedClaim(claim.name, claim.model, main, tuple(nodes), tuple(bound.warnings), tuple(undeclared))


def _sizes(bound: Bound, name: str) -> tuple[int | None, float | None]:
    """Return the number of classes of a node, and the share of the histories that are alone in theirs."""
    node = bound.nodes[name]
    if node.labels is None:
        return None, None
    alone = classes(node.labels, node.selected, "step", np.zeros(node.labels.shape[:2], dtype=np.int64)).alone
    inside = alone if node.selected is None else alone[node.selected]
    return int(node.labels.max()) + 1, round(float(inside.mean()), 4)
