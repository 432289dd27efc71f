"""What an adversary found against a claim, as plain data: a part of the record of a study."""

from __future__ import annotations

from dataclasses import dataclass

from ad_hypotheses.evidence.plain_data import Number


@dataclass(frozen=True)
class Beyond:
    """What a feature adds to a claim that the other findings have refined.

    Attributes:
        gained, kl_gained: How much less is lost, and how much nearer the distribution comes, nats a step.
        p: That neither is more than a trifle; Holm-adjusted over those findings of the claim that were tried like this.
    """

    gained: Number
    kl_gained: Number
    p: float


@dataclass(frozen=True)
class Finding:
    """One feature that makes a difference to a claim, if `p` is small: left out, or going along with what is.

    Attributes:
        node: At which the feature comes in; `"elsewhere for NODE"` if at places that the claim does not name and this
            node reads.
        feature: What it is, in words that follow "the".
        code: An expression that returns it; the name of another node if it is that one's value.
        agreeing_at: Nodes whose donors agree on it as well, in `recovered_agreeing`.
        reach: Share of the positions of the node with donors that differ in it.
        lost: How much more is lost if the donors at the node differ in it, while those of all other nodes agree on it,
            nats a step.
        recovered_differing: What is then recovered.
        recovered_agreeing: What is recovered if they agree on it.
        gained: How much less is lost than by the claim if they agree on it, nats a step.
        kl_lost: How far the distribution moves beyond what the claim's own donors do, nats a step.
        kl_gained: How much of that agreement undoes, nats a step.
        p: That none of this is more than a trifle; Holm-adjusted over all findings of the claim.
        passed: Those of `lost`, `kl_lost`, `gained` and `kl_gained` that are more than a trifle, by the same p-values.
        regime: Where most is lost, or where the distribution moves most if `lost` did not pass; `"all"` if no regime's
            interval is apart from those of all others.
        beyond: What it adds to the refined claim; None if that has it, if `p` is large, or if there is none.
    """

    node: str
    feature: str
    code: str
    agreeing_at: list[str]
    reach: float
    lost: Number
    recovered_differing: Number
    recovered_agreeing: Number
    gained: Number
    kl_lost: Number
    kl_gained: Number
    p: float
    passed: list[str]
    regime: str
    beyond: Beyond | None = None


@dataclass(frozen=True)
class Apart:
    """What becomes of a claim if each unimportant input comes from a history of its own, instead of all from one.

    Attributes:
        lost, kl_lost: How much more is lost, and how much further the distribution moves, nats a step.
        p: That neither is more than a trifle; Holm-adjusted as that of a finding.
        passed: Those of `lost` and `kl_lost` that are more than a trifle.
    """

    lost: Number
    kl_lost: Number
    p: float
    passed: list[str]


@dataclass(frozen=True)
class Refined:
    """A claim that says more, as the adversary suggests it.

    Attributes:
        features: Findings whose p is small, in the order in which they were added.
        added: What to add to the value of each node. {node: expressions}
        recovered: By it.
        kl: Of the scrubbed from the model's distribution, nats a step.
    """

    features: list[str]
    added: dict[str, list[str]]
    recovered: Number
    kl: Number


@dataclass(frozen=True)
class Challenge:
    """What an adversary found against a claim: chosen on one half of the histories, estimated on the other.

    Attributes:
        rows: Histories of the half that the figures come from.
        tried: Features that were tried on the other half.
        idle: Those among them that split hardly any class of the claim, so that nothing could change.
        largest: The largest effect among all that were tried there, as a share of the model's gain.
        recovered: By the claim, on the half that the figures come from.
        kl: Of its scrubbed from the model's distribution, nats a step.
        findings: The strongest first; empty if nothing was worth a second look.
        refined: The claim with what it left out, if anything was worth it.
        apart: Unimportant inputs that cancel, if they may do.
    """

    rows: int
    tried: int
    idle: int
    largest: float
    recovered: Number
    kl: Number
    findings: list[Finding]
    refined: Refined | None = None
    apart: Apart | None = None
