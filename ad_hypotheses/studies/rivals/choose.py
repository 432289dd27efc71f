"""Which other claims a claim is compared with if none are named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ad_hypotheses.causal.draws import Align
from ad_hypotheses.causal.rival_classes import same_classes
from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.errors import HypothesisError, UserError
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.load import chosen, listing, load
from ad_hypotheses.storage.reading import real_path
from ad_hypotheses.studies.rivals.classes import ClaimClasses, RivalDataset


def default_rivals(claim: Hypothesis, siblings: Sequence[Hypothesis]) -> tuple[list[Hypothesis], dict[str, str]]:
    """Return the other claims about the same model in the same file, and in the files beside it, which are run.

    Controls are left out: they make the same claim at other sites.

    Args:
        claim: The claim.
        siblings: All claims of its file, as they were loaded.

    Returns:
        The rivals, and of each file beside it that does not load, why. {file: message}
    """
    candidates, broken = list(siblings), {}
    own = Path(claim.root.file)
    for entry in listing(own.parent) if own.is_file() else ():  # a claim that was typed has no files beside it
        if real_path(entry.file) == real_path(own) or entry.file.parent != own.parent or not entry.hypotheses:
            continue
        try:
            candidates += load(entry.file)
        except UserError as error:
            broken[str(entry.file)] = str(error)
    rivals = [main for main, _ in chosen(candidates, None) if main.model == claim.model]
    return [rival for rival in rivals if rival is not claim and rival.control_of is not claim], broken


def differing(
    claim: ClaimClasses, rivals: Sequence[ClaimClasses], datasets: Sequence[RivalDataset], align: Align = "step"
) -> list[ClaimClasses]:
    """Return the rivals whose classes differ from the claim's on any of the data sets."""
    data = {dataset.name: dataset.data(align) for dataset in datasets}
    return [
        rival
        for rival in rivals
        if not all(same_classes(claim.labels[name], rival.labels[name], of) for name, of in data.items())
    ]


def fitting(
    rivals: Sequence[Hypothesis], checkpoint: Checkpoint, datasets: Sequence[RivalDataset], seed: int = 0
) -> tuple[list[ClaimClasses], dict[str, str]]:
    """Bind the rivals that fit a model and data sets.

    Returns:
        Their classes, and why each other rival does not fit. {name: message}
    """
    classes, unfit = [], {}
    for rival in rivals:
        try:
            classes.append(ClaimClasses.bound(rival, checkpoint, datasets, seed))
        except HypothesisError as error:
            unfit[rival.name or rival.root.name] = str(error)
    return classes, unfit
