"""A known network with its checkpoint and its claims, ready to be tested."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.errors import UserError, did_you_mean
from ad_hypotheses.known.catalogue import KNOWN
from ad_hypotheses.known.claims import KnownClaim, claims_of
from ad_hypotheses.language.wrong_site import wrong_site

TRUTH = "truth"
BY_THE_TOOL = "made by the tool"


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
    claims: tuple[KnownClaim, ...]
    digest: str

    @property
    def truth(self) -> KnownClaim:
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
        HypothesisError: The file does not say what its claims deserve.
    """
    known = KNOWN[name]
    checkpoint = load(known.model, models)
    claims = claims_of(known, hypotheses)
    made = wrong_site(claims[0].hypothesis, checkpoint.model.anatomy)
    if made is not None:
        why = f"the tool's own control of {claims[0].name}: the same claim at other places"
        claims.append(KnownClaim(made, BY_THE_TOOL, "refuted", why))
    file = hypotheses / known.file
    digest = hashlib.sha256(checkpoint.sha256.encode() + file.read_bytes()).hexdigest()[:16]
    return Case(name, known.words, checkpoint, tuple(claims), digest)
