"""From claims and data sets to a record of who distinguishes what the model cares about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ad_hypotheses.causal.draws import Align
from ad_hypotheses.causal.rivals import NeedEstimate, Reach, needs, reaches
from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.errors import UserError
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.studies.rivals.answer import answer_to_pair, answer_to_question, can_be_tested, level_of
from ad_hypotheses.studies.rivals.classes import ClaimClasses, RivalDataset
from ad_hypotheses.studies.rivals.record import Comparison, Elsewhere, Need, Rivalry


def compare_claims(
    claim: Hypothesis,
    rivals: Sequence[Hypothesis],
    checkpoint: Checkpoint,
    datasets: Sequence[RivalDataset],
    align: Align = "step",
    seed: int = 0,
) -> list[Rivalry]:
    """Bind a claim and its rivals to a model and data sets, and compare them; see :func:`compare`.

    Raises:
        HypothesisError: A claim does not fit the model or a data set.
    """
    classes = [ClaimClasses.bound(hypothesis, checkpoint, datasets, seed) for hypothesis in (claim, *rivals)]
    return compare(classes[0], classes[1:], datasets, align)


def compare(
    claim: ClaimClasses, rivals: Sequence[ClaimClasses], datasets: Sequence[RivalDataset], align: Align = "step"
) -> list[Rivalry]:
    """Ask of each rival what it distinguishes that the claim does not, whether the model cares, and the reverse.

    Args:
        claim: The claim.
        rivals: Other claims about the same model.
        datasets: Data with clean runs, one after the other.
        align: Donors come from the same step, from the same step of any episode, or from any step.

    Returns:
        A record for each rival. Intervals are corrected for all questions of all rivals, data sets and regimes.

    Raises:
        DataError: A learner has references and donors.
    """
    estimates: dict[tuple[int, str], tuple[dict[str, NeedEstimate], dict[str, NeedEstimate]]] = {}
    for dataset in datasets:
        data = dataset.data(align)
        # a regime that no reference is ever in is left out, as if the data set had none of that name
        visited = {name: mask for name, mask in dataset.regimes.items() if mask[data.references].any()}
        for number, rival in enumerate(rivals):
            classes = claim.labels[dataset.name], rival.labels[dataset.name]
            estimates[number, dataset.name] = needs(*classes, data, visited)
    asked = [estimate.reach for pair in estimates.values() for part in pair for estimate in part.values()]
    questions = sum(can_be_tested(reach.share, reach.learners) for reach in asked)
    rivalries = []
    for number, rival in enumerate(rivals):
        comparisons = []
        for dataset in datasets:
            of_rival, of_claim = estimates[number, dataset.name]
            comparisons += [
                _comparison(dataset, regime, of_rival[regime], of_claim[regime], level_of(questions))
                for regime in of_rival
            ]
        rivalries.append(Rivalry(claim.name, rival.name, rival.file, comparisons, questions))
    return rivalries


def _comparison(
    dataset: RivalDataset, regime: str, of_rival: NeedEstimate, of_claim: NeedEstimate, level: float
) -> Comparison:
    rival, claim = (_need(estimate, level, dataset.labelled) for estimate in (of_rival, of_claim))
    return Comparison(dataset.name, regime, rival, claim, answer_to_pair(rival.answer, claim.answer))


def _need(estimate: NeedEstimate, level: float, labelled: bool) -> Need:
    reach, kl, loss = estimate.reach, estimate.kl.interval(level), estimate.loss.interval(level)
    answer = answer_to_question(reach.share, reach.learners, kl)
    if answer in ("empty", "untested"):  # a figure of a few learners is no estimate of others
        kl, loss = replace(kl, estimable=False), replace(loss, estimable=False)
    return Need(kl, loss if labelled else None, reach.share, reach.positions, reach.learners, answer)


def tell_apart(
    rivalry: Rivalry,
    claim: Hypothesis,
    rival: Hypothesis,
    checkpoint: Checkpoint,
    families: Callable[[], Iterable[RivalDataset]],
    align: Align = "step",
    seed: int = 0,
) -> Rivalry:
    """Look for data that could tell two claims apart, from their features alone, if those compared cannot.

    Args:
        rivalry: The comparison.
        claim: The claim.
        rival: The rival.
        checkpoint: The model that both are about; it is not run.
        families: Yields other data sets, without clean runs; called only if they are needed. Those that a claim does
            not fit are passed over.
        align: As in the comparison.
        seed: Seed of the binding.

    Returns:
        The comparison with what was looked at, or as it was.
    """
    if not any(comparison.answer in ("cannot tell", "same") for comparison in rivalry.comparisons):
        return rivalry
    elsewhere: list[Elsewhere] = []
    for dataset in families():
        try:
            left, right = (
                ClaimClasses.bound(hypothesis, checkpoint, [dataset], seed).labels[dataset.name]
                for hypothesis in (claim, rival)
            )
        except UserError:
            continue
        of_rival, of_claim = reaches(left, right, dataset.data(align), dataset.regimes)
        elsewhere += [
            _elsewhere(dataset.name, regime, of_rival[regime], of_claim[regime]) for regime in dataset.regimes
        ]
    return replace(rivalry, elsewhere=elsewhere)


def _elsewhere(data: str, regime: str, rival: Reach, claim: Reach) -> Elsewhere:
    return Elsewhere(data, regime, rival.share, rival.learners, claim.share, claim.learners)
