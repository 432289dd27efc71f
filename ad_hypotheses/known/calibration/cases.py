"""A known network with its checkpoint and its claims, ready to be tested."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.errors import HypothesisError, UserError, did_you_mean
from ad_hypotheses.known.catalogue import KNOWN
from ad_hypotheses.known.network import Expected
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.load import load as load_hypotheses
from ad_hypotheses.language.wrong_site import wrong_site

TRUTH = "truth"
BY_THE_TOOL = "made by the tool"


@dataclass(frozen=True)
class Claimed:
    """One claim about a known network.

    Attributes:
        name: Its variable, or what the tool calls the control that it made.
        hypothesis: The claim.
        kind: As in `Expected`, or `BY_THE_TOOL`.
        expected: The verdict that it deserves.
        why: One sentence.
    """

    name: str
    hypothesis: Hypothesis
    kind: str
    expected: str
    why: str


@dataclass(frozen=True)
class Case:
    """A known network with everything that is claimed about it.

    Attributes:
        name: Of the network.
        words: How it works, in a sentence.
        checkpoint: Its weights.
        claims: `truth` first, those that the tool makes last.
        digest: Changes with the weights and with the hypothesis file.
    """

    name: str
    words: str
    checkpoint: Checkpoint
    claims: tuple[Claimed, ...]
    digest: str

    @property
    def truth(self) -> Claimed:
        """The true claim."""
        return self.claims[0]


def chosen(only: Sequence[str]) -> list[str]:
    """Return the names of the networks that are asked for, all of them by default.

    Raises:
        UserError: There is no such network.
    """
    names = [name.removeprefix("known-") for name in only]
    for given, name in zip(only, names, strict=True):
        if name not in KNOWN:
            raise UserError(
                f"there is no known network {given!r}.{did_you_mean(name, KNOWN)}\n  networks: {', '.join(KNOWN)}"
            )
    return list(dict.fromkeys(names)) or list(KNOWN)


@lru_cache(maxsize=64)
def case_of(name: str, models: Path, hypotheses: Path) -> Case:
    """Load a known network and its claims.

    Args:
        name: A key of the catalogue.
        models: Where the checkpoints are.
        hypotheses: Where the hypothesis files of known networks are.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged.
        HypothesisError: The file does not hold what the catalogue says.
    """
    known = KNOWN[name]
    checkpoint = load(known.model, models)
    file = hypotheses / known.file
    by_name = {claimed.name: claimed for claimed in load_hypotheses(file) if claimed.model == known.model}
    missing = [claim for claim in known.claims if claim not in by_name]
    if missing:
        raise HypothesisError(
            f"{file} holds no claim {', '.join(missing)} about {known.model}, which the catalogue says it does.\n"
            f"  it holds: {', '.join(map(str, by_name)) or 'none'}"
        )
    claims = [_claimed(claim, by_name[claim], expected) for claim, expected in known.claims.items()]
    made = wrong_site(claims[0].hypothesis, checkpoint.model.anatomy)
    if made is not None:
        why = f"the tool's own control of {claims[0].name}: the same claim at other places"
        claims.append(Claimed(str(made.name), made, BY_THE_TOOL, "refuted", why))
    digest = hashlib.sha256(checkpoint.sha256.encode() + file.read_bytes()).hexdigest()[:16]
    return Case(name, known.words, checkpoint, tuple(claims), digest)


def _claimed(name: str, hypothesis: Hypothesis, expected: Expected) -> Claimed:
    return Claimed(name, hypothesis, expected.kind, expected.verdict, expected.why)
