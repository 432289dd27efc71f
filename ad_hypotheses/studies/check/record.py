"""What a check of hypotheses found, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckedNode:
    """A node that fits its model.

    Attributes:
        name: Name of the node.
        site: Where in the model it sits.
        parents: Names of the nodes that it reads.
        level: What it has a value for: `"each step"`, `"history"`, or `"policy"`.
        classes: Number of classes that its values make; None of a policy.
        alone: Share of the histories that are alone in their class; None of a policy.
        symmetry: What its donors are made by; None where they are found among other histories.
    """

    name: str
    site: str
    parents: tuple[str, ...]
    level: str
    classes: int | None
    alone: float | None
    symmetry: str | None = None


@dataclass(frozen=True)
class CheckedClaim:
    """A hypothesis that fits its model.

    Attributes:
        name: Name of the hypothesis; None if it has none.
        model: Name of the checkpoint.
        control_of: Name of the hypothesis that it is a control of, if it is one.
        nodes: Its nodes, in order.
        warnings: Sentences about what may not be meant.
        undeclared: Arrows from one of its nodes to another that the model has and the claim lacks, `"goal -> choice"`;
            those that would close a circle are left out.
    """

    name: str | None
    model: str
    control_of: str | None
    nodes: tuple[CheckedNode, ...]
    warnings: tuple[str, ...]
    undeclared: tuple[str, ...]


@dataclass(frozen=True)
class CheckRecord:
    """What fits and what does not.

    Attributes:
        claims: Hypotheses that fit.
        problems: Everything else, once each, as text.
        rows: Number of histories that features were tried on.
    """

    claims: tuple[CheckedClaim, ...]
    problems: tuple[str, ...]
    rows: int
