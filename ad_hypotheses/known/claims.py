"""Claims of which it is known what they deserve: said beside them, in `hypotheses/known/` and `hypotheses/false/`."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.load import FOLDER, load

if TYPE_CHECKING:
    from ad_hypotheses.known.network import Known  # which loads torch: a hypothesis file does not need it

Kind = Literal[
    "true",
    "finer than true",
    "wrong site",
    "coarser",
    "missing arrow",
    "other algorithm",
    "cancellation",
    "injective",
    "contradiction",
    "omen",
    "name tag",
    "one regime",
    "fold",
    "idle",
]
Deserved = Literal["supported", "refuted", "vacuous"]


@dataclass(frozen=True)
class KnownClaim:
    """A claim about a known network, and what it deserves.

    Attributes:
        hypothesis: The claim.
        kind: How it relates to the truth.
        verdict: What a perfect test would say.
        why: What is right or wrong with it, in a sentence.
    """

    hypothesis: Hypothesis
    kind: str
    verdict: str
    why: str

    @property
    def name(self) -> str:
        """Its variable."""
        return str(self.hypothesis.name)

    def to_plain(self) -> dict[str, str]:
        """Return what it deserves, as a record keeps it."""
        return {"kind": self.kind, "verdict": self.verdict, "why": self.why}


_deserved: ContextVar[list[KnownClaim] | None] = ContextVar("what the claims of a file deserve", default=None)


def deserves(claim: Hypothesis, verdict: Deserved, *, kind: Kind, why: str) -> None:
    """Say in a hypothesis file what a claim of it deserves.

    Args:
        claim: The claim.
        verdict: What a perfect test would say.
        kind: How it relates to the truth.
        why: What is right or wrong with it, in a sentence.

    Raises:
        HypothesisError: There is no such verdict or kind.
    """
    for value, values in ((verdict, get_args(Deserved)), (kind, get_args(Kind))):
        if value not in values:
            raise HypothesisError(f"a claim cannot deserve {value!r}; there are: {', '.join(values)}.")
    listed = _deserved.get()
    if listed is not None:  # nobody asks where the file is only checked or scrubbed
        listed.append(KnownClaim(claim, kind, verdict, why))


def claims_of(known: Known, folder: Path = FOLDER / "known") -> list[KnownClaim]:
    """Return the claims about a known network in the order of its hypothesis file, `truth` first.

    Args:
        known: The network.
        folder: Where the hypothesis files of known networks are.

    Raises:
        HypothesisError: Its file is not there, does not run, or lacks `truth` or what a claim deserves.
    """
    file = folder / known.file
    claims = claims_in(file, known.model)
    if not claims or claims[0].name != "truth":
        names = ", ".join(claim.name for claim in claims) or "none"
        raise HypothesisError(f"the first claim of {file} about {known.model} must be truth.\n  it holds: {names}")
    return claims


def claims_in(file: Path, model: str) -> list[KnownClaim]:
    """Return the claims of a file about a model in their order, with what the file says that each deserves.

    Args:
        file: The hypothesis file; it is run.
        model: Name of the model.

    Raises:
        HypothesisError: The file is not there, does not run, or lacks what a claim deserves.
    """
    listed = list[KnownClaim]()
    token = _deserved.set(listed)
    try:
        hypotheses = load(file)
    finally:
        _deserved.reset(token)
    # a hypothesis that was loaded is a copy that bears its name; its last node is the same
    deserved = {(id(claim.hypothesis.root), claim.hypothesis.model): claim for claim in listed}
    claims = []
    for hypothesis in hypotheses:
        if hypothesis.model != model:
            continue
        claim = deserved.get((id(hypothesis.root), hypothesis.model))
        if claim is None:
            raise HypothesisError(f"{file} does not say what {hypothesis.name} deserves; add deserves(...) after it.")
        claims.append(KnownClaim(hypothesis, claim.kind, claim.verdict, claim.why))
    return claims
