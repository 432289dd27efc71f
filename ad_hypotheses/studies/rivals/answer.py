"""From figures to answers: of one question, of a pair of claims, and what a verdict rests on."""

from __future__ import annotations

from collections.abc import Sequence

from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.studies.rivals.record import Comparison, Elsewhere, Rivalry

TRIFLE = 0.02  # nats a step: a feature that changes no more than this is not needed
FEWEST_LEARNERS = 20  # with both kinds of donors, for a figure to stand for learners
LEVEL = 0.95

NOTHING = ("not needed", "empty")


def can_be_tested(share: float, learners: int) -> bool:
    """Whether a question has an interval: the claim adds something, and enough learners have donors of both kinds."""
    return share > 0 and learners >= FEWEST_LEARNERS


def level_of(questions: int) -> float:
    """Return the level of each interval at which those of all questions hold together (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(questions, 1)


def answer_to_question(share: float, learners: int, kl: Number) -> str:
    """Answer one question from where it could be asked, and from its interval, corrected for all questions.

    Returns:
        `"empty"` if nothing is added; `"untested"` if too few learners have donors of both kinds, or no position has an
        agreeing donor at all; else `"needed"`, `"not needed"` or `"open"`.
    """
    if share == 0:
        return "empty"
    if not can_be_tested(share, learners):
        return "untested"
    if not kl.estimable or kl.low <= TRIFLE <= kl.high:
        return "open"
    return "needed" if kl.low > TRIFLE else "not needed"


def answer_to_pair(rival: str, claim: str) -> str:
    """Return whose feature is needed that the other lacks.

    Args:
        rival: Answer to what the rival adds to the claim.
        claim: Answer to what the claim adds to the rival.
    """
    if (rival, claim) == ("empty", "empty"):
        return "same"
    if (rival, claim) == ("needed", "needed"):
        return "both"
    if rival == "needed" and claim in NOTHING:
        return "rival's"
    if claim == "needed" and rival in NOTHING:
        return "claim's"
    return "neither" if rival in NOTHING and claim in NOTHING else "cannot tell"


def by_answer(rivalry: Rivalry, *answers: str) -> list[Comparison]:
    """Return the comparisons of a rivalry that have one of some answers."""
    return [comparison for comparison in rivalry.comparisons if comparison.answer in answers]


def closest_won(rivalries: Sequence[Rivalry]) -> tuple[Rivalry, Comparison] | None:
    """Return the comparison that the claim wins by least, None if it wins none."""
    won = [(rivalry, comparison) for rivalry in rivalries for comparison in by_answer(rivalry, "claim's")]
    return min(won, key=lambda pair: pair[1].claim.kl.value, default=None)


def most_telling(rivalry: Rivalry) -> Elsewhere | None:
    """Return where else most learners would tell the two claims apart, None if nowhere enough would.

    Looked at is what these data leave open: both questions where they make the two claims the same.
    """
    learners: dict[int, int] = {}
    for comparison in by_answer(rivalry, "cannot tell", "same"):
        same = comparison.answer == "same"
        rival_open, claim_open = (
            same or need.answer in ("untested", "open") for need in (comparison.rival, comparison.claim)
        )
        for number, option in enumerate(rivalry.elsewhere):
            if option.regime == comparison.regime:
                count = max(option.rival_learners * rival_open, option.claim_learners * claim_open)
                learners[number] = max(learners.get(number, 0), count)
    best = max(learners, key=lambda number: learners[number], default=None)
    return None if best is None or learners[best] < FEWEST_LEARNERS else rivalry.elsewhere[best]
