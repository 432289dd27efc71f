"""How a claim compares with its rivals, in words and as the section of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from ad_hypotheses.report.templates import render
from ad_hypotheses.report.words import Markdown, code, interval, literal
from ad_hypotheses.studies.rivals.answer import (
    FEWEST_LEARNERS,
    LEVEL,
    TRIFLE,
    by_answer,
    closest_won,
    most_telling,
)
from ad_hypotheses.studies.rivals.record import Comparison, Rivalry

DIGITS = 3
MEANINGS: Mapping[str, str] = {
    "rival's": "what {rival} distinguishes is needed, and {claim} lacks it",
    "claim's": "what {claim} distinguishes is needed, and {rival} lacks it",
    "both": "both are needed: neither {claim} nor {rival} is enough",
    "neither": "what {claim} and {rival} disagree about makes no difference to the model",
    "same": "{claim} and {rival} are the same end to end",
    "cannot tell": "these data cannot tell {claim} and {rival} apart",
}


def section(rivalries: Sequence[Rivalry]) -> Markdown:
    """Return the section of a report about rivals; empty if nothing was compared."""
    if not rivalries:
        return Markdown()
    return render(
        "studies/rivals/rivals.md",
        rivalries=rivalries,
        rests_on=rests_on(rivalries),
        sentences=sentences,
        trifle=TRIFLE,
        fewest=FEWEST_LEARNERS,
        level=LEVEL,
    )


def sentences(rivalry: Rivalry) -> list[Markdown]:
    """Return what came of one rival, a sentence for each answer with the data and regimes that it holds in."""
    names = {"claim": code(rivalry.claim), "rival": code(rivalry.rival)}
    lines = []
    for answer, meaning in MEANINGS.items():
        comparisons = by_answer(rivalry, answer)
        if comparisons:
            text = meaning.format(**names)
            lines.append(f"{text[:1].upper()}{text[1:]} {_places(comparisons)}{_why(comparisons, answer)}.")
    if len(by_answer(rivalry, "same")) == len(rivalry.comparisons):
        lines.append("They differ in sites or graph only: compare what they recover.")
    telling = most_telling(rivalry)
    if telling is not None:
        learners = max(telling.rival_learners, telling.claim_learners)
        lines.append(
            f"What could tell them apart: {literal(telling.data)}{_regimes([telling.regime])}, where {learners} "
            "learners have donors that agree on what is asked about and donors that do not."
        )
    elif rivalry.elsewhere:
        lines.append("None of the other data sets that were looked at could tell them apart.")
    return [Markdown(line) for line in lines]


def lacks(rivalries: Sequence[Rivalry]) -> list[Markdown]:
    """Return a clause for each rival that has a needed feature which the claim lacks; an average may hide it."""
    clauses = []
    for rivalry in rivalries:
        needed = by_answer(rivalry, "rival's", "both")
        if needed:
            # over all steps the same need shows as in a regime: the regime says more
            most = max(needed, key=lambda comparison: (comparison.rival.kl.value, comparison.regime != "all"))
            worth = f"{interval(most.rival.kl, DIGITS)} nats"
            clauses.append(f"it lacks what {code(rivalry.rival)} distinguishes, worth {worth} {_places([most])}")
    return [Markdown(clause) for clause in clauses]


def rests_on(rivalries: Sequence[Rivalry]) -> Markdown:
    """Return what a verdict rests on: the rival that the claim beats by least, and those that nothing was said of."""
    if not rivalries:
        return Markdown("What this verdict rests on: no other claim about this model was compared.")
    parts = []
    closest = closest_won(rivalries)
    if closest is not None:
        rivalry, comparison = closest
        parts.append(
            f"of the rivals that lack a needed feature, {code(rivalry.rival)} comes closest: what the claim adds to "
            f"it is worth {interval(comparison.claim.kl, DIGITS)} nats {_places([comparison])}"
        )
    for rivalry in rivalries:
        unsettled = by_answer(rivalry, "cannot tell")
        if unsettled:
            parts.append(f"{code(rivalry.rival)} cannot be told apart {_places(unsettled)}")
    return Markdown(f"What this verdict rests on: {'; '.join(parts) or 'no rival lacks a needed feature'}.")


def _places(comparisons: Sequence[Comparison]) -> str:
    """Return data sets and regimes: `on source in *explore* and *navigate*, on own`."""
    by_data = groupby(comparisons, key=lambda comparison: comparison.data)
    return ", ".join(f"on {literal(data)}{_regimes([item.regime for item in group])}" for data, group in by_data)


def _regimes(names: Sequence[str]) -> str:
    if list(names) == ["all"]:
        return ""
    *first, last = ("all steps" if name == "all" else f"*{literal(name)}*" for name in names)
    return f" in {', '.join(first)} and {last}" if first else f" in {last}"


def _why(comparisons: Sequence[Comparison], answer: str) -> str:
    """Return why data cannot tell: on how many learners the thinnest comparison stands; nothing for other answers."""
    if answer != "cannot tell":
        return ""
    thinnest = min(comparisons, key=lambda comparison: comparison.rival.learners + comparison.claim.learners)
    return (
        f" (the question what the rival adds can be put to as few as {thinnest.rival.learners} learners, "
        f"and what the claim adds to {thinnest.claim.learners})"
    )
