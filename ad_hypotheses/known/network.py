"""What a known network is: a rule, and the circuit that computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ad_hypotheses.causal.scrub import Others
from ad_hypotheses.known.wiring import Wiring
from ad_hypotheses.tasks import Task


@dataclass(frozen=True)
class Known:
    """A network whose circuit is known.

    Attributes:
        name: Of its checkpoint, after `known-`, and of its hypothesis file.
        rule: Name of the rule that it computes.
        words: How it does that, in a sentence.
        wire: What sets its weights; None where they are trained until `truth` holds.
        lives: Name of the rule whose histories it is asked about, if that is another.
        steady: Nodes of `truth` that training never gives another value.
        others: Where training takes all that `truth` does not name from, as in `Options`; updates take turns.
    """

    name: str
    rule: str
    words: str
    wire: Callable[[Wiring, Task], None] | None
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
