"""How a claim compares with its rivals, in words and as the section of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from ad_hypotheses.report.templates import render
from ad_hypotheses.report.words import Markdown, code, counted, interval, literal, sentence
from ad_hypotheses.studies.rivals.answer import (
    FEWEST_LEARNERS,
    LEVEL,
    TRIFLE,
    by_answer,
    closest_won,
    most_telling,
)
from ad_hypotheses.studies.rivals.record import Comparison, Need, Rivalry

DIGITS = 3
SILENT = {"empty", "untested"}  # answers of a question that has no figure
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
        telling_rows=_telling,
        silent_rows=_silent,
        need=_need,
        needed=_needed,
        trifle=TRIFLE,
        fewest=FEWEST_LEARNERS,
        level=LEVEL,
    )


def _telling(rivalry: Rivalry) -> list[Comparison]:
    """Return the comparisons in which at least one of the two questions has an answer."""
    return [item for item in rivalry.comparisons if not {item.rival.answer, item.claim.answer} <= SILENT]


def _silent(rivalry: Rivalry) -> str:
    """Return how many comparisons a table leaves out, as a clause; empty if it has them all."""
    count = len(rivalry.comparisons) - len(_telling(rivalry))
    if not count:
        return ""
    verb = "is" if count == 1 else "are"
    return f"{counted(count, 'comparison')} {verb} left out, where nothing differs or too few learners show it"


def _need(need: Need) -> Markdown:
    """Return what one claim adds to another, as a cell of a table."""
    if need.answer == "empty":
        return Markdown("nothing")
    if need.answer == "untested":
        return Markdown(f"untested, {counted(need.learners, 'learner')}")
    return Markdown(interval(need.kl, DIGITS) + (", open" if need.answer == "open" else ""))


def _needed(answer: str, rivalry: Rivalry) -> Markdown:
    """Return whose feature is needed, in a word."""
    words = {"rival's": code(rivalry.rival), "claim's": code(rivalry.claim)}
    return Markdown(words.get(answer, answer))


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


def outcome(rivalries: Sequence[Rivalry]) -> Markdown:
    """Return in a sentence how a claim stands to all of its rivals, with the figure of the most telling of each kind.

    Returns:
        Empty if nothing was compared.
    """
    if not rivalries:
        return Markdown()
    parts = []
    needs = [(rivalry, most) for rivalry in rivalries if (most := _most_needed(rivalry)) is not None]
    if needs:
        rivalry, most = max(needs, key=lambda pair: pair[1].rival.kl.value)
        worth = f"worth {interval(most.rival.kl, DIGITS)} nats {_places([most])}"
        parts.append(
            f"of {counted(len(rivalries), 'other claim')}, {len(needs)} distinguish{'es' if len(needs) == 1 else ''} "
            f"what the model needs and this claim lacks, {code(rivalry.rival)} most: {worth}"
        )
    else:
        compared = counted(len(rivalries), "other claim")
        parts.append(f"none of {compared} distinguishes what the model needs and this claim lacks")
    closest = closest_won(rivalries)
    if closest is not None:
        rivalry, comparison = closest
        parts.append(
            f"of those that lack what this one has, {code(rivalry.rival)} comes closest: {_places([comparison])} it is "
            f"worth {interval(comparison.claim.kl, DIGITS)}"
        )
    return Markdown(sentence("; ".join(parts)))


def _most_needed(rivalry: Rivalry) -> Comparison | None:
    """Return where a rival has the need most that the claim lacks; an average over regimes may hide it."""
    needed = by_answer(rivalry, "rival's", "both")
    # over all steps the same need shows as in a regime: the regime says more
    return max(needed, key=lambda comparison: (comparison.rival.kl.value, comparison.regime != "all"), default=None)


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
