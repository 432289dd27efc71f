"""What comparing a claim with its rivals gave, as plain data that goes to JSON and back: a part of other records."""

from __future__ import annotations

from dataclasses import dataclass, field

from ad_hypotheses.evidence.plain_data import Number


@dataclass(frozen=True)
class Need:
    """One question, in one regime of one data set: does the model care about what one claim adds to another?

    Attributes:
        kl: Mean divergence from donors that differ in what is added, less that from donors that agree on it, in nats,
            with its interval; not estimable where too few learners have both.
        loss: The same with the loss of the label; None where the data's labels are not what a model should predict.
        share: Share of the donors that agree under the other claim and differ under this one, mean over positions;
            NaN if no position has an agreeing donor.
        positions: Number of positions that have donors of both kinds.
        learners: Number of learners that have such a position.
        answer: `"empty"`, `"untested"`, `"needed"`, `"not needed"` or `"open"`.
    """

    kl: Number
    loss: Number | None
    share: float
    positions: int
    learners: int
    answer: str


@dataclass(frozen=True)
class Comparison:
    """A claim and a rival in one regime of one data set.

    Attributes:
        data: Name of the data set.
        regime: Name of the regime; `"all"` for all steps.
        rival: What the rival adds to the claim.
        claim: What the claim adds to the rival.
        answer: `"rival's"`, `"claim's"`, `"both"`, `"neither"`, `"same"` or `"cannot tell"`: whose feature is needed
            that the other lacks.
    """

    data: str
    regime: str
    rival: Need
    claim: Need
    answer: str


@dataclass(frozen=True)
class Elsewhere:
    """Where else two claims could be compared, as far as features say, which need no model.

    Attributes:
        data: Name of a data set that was not compared.
        regime: Name of the regime.
        rival_share, claim_share: As :attr:`Need.share`, of what the rival adds and of what the claim adds.
        rival_learners, claim_learners: As :attr:`Need.learners`.
    """

    data: str
    regime: str
    rival_share: float
    rival_learners: int
    claim_share: float
    claim_learners: int


@dataclass(frozen=True)
class Rivalry:
    """A claim and one rival on all data sets.

    Attributes:
        claim: Name of the claim.
        rival: Name of the rival.
        file: File of the rival.
        comparisons: By data set, and by regime within it.
        questions: Number of questions that were tested together, with those about other rivals; intervals of all of
            them hold together in 95 % of cases.
        elsewhere: Other data sets, where they were looked at because these cannot tell the two apart.
    """

    claim: str
    rival: str
    file: str
    comparisons: list[Comparison]
    questions: int
    elsewhere: list[Elsewhere] = field(default_factory=list)
