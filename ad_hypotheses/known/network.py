"""What a known network is: a rule, the circuit that computes it, and claims about it whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ad_hypotheses.causal.scrub import Others
from ad_hypotheses.known.wiring import Wiring
from ad_hypotheses.tasks import Task

Kind = Literal[
    "true",
    "finer than true",
    "wrong site",
    "coarser",
    "missing arrow",
    "other algorithm",
    "cancellation",
    "injective",
]


@dataclass(frozen=True)
class Expected:
    """What a claim about a known network deserves.

    Attributes:
        kind: How it relates to the truth.
        verdict: What a perfect test would say.
        why: What is right or wrong with it, in a sentence.
    """

    kind: Kind
    verdict: Literal["supported", "refuted", "vacuous"]
    why: str


@dataclass(frozen=True)
class Known:
    """A network whose circuit is known.

    Attributes:
        name: Of its checkpoint, after `known-`, and of its hypothesis file.
        rule: Name of the rule that it computes.
        words: How it does that, in a sentence.
        wire: What sets its weights; None where they are trained until `truth` holds.
        claims: What each hypothesis of its file deserves, by the variable's name; `truth` first.
        lives: Name of the rule whose histories it is asked about, if that is another.
        steady: Nodes of `truth` that training never gives another value.
        others: Where training takes all that `truth` does not name from, as in `Options`; updates take turns.
    """

    name: str
    rule: str
    words: str
    wire: Callable[[Wiring, Task], None] | None
    claims: Mapping[str, Expected]
    lives: str | None = None
    steady: tuple[str, ...] = ()
    others: tuple[Others, ...] = ("joint",)

    @property
    def model(self) -> str:
        """Name of the checkpoint."""
        return f"known-{self.name}"

    @property
    def file(self) -> str:
        """Name of the hypothesis file in `hypotheses/known/`."""
        return f"{self.name.replace('-', '_')}.py"
