"""What the record of a claim is made of: its regimes, its nodes, its worst positions and the arrows that it lacks."""

from __future__ import annotations

from dataclasses import dataclass, field

from ad_hypotheses.evidence.plain_data import Number


@dataclass(frozen=True)
class Regime:
    """What a claim keeps of the model in one regime of one data set (`"all"`: over all steps).

    Attributes:
        name: Of the regime.
        positions: Number of reference positions that were tested; in older records, of all.
        model, scrubbed, baseline, structure: The four losses.
        recovered, beyond_structure: The two ratios that start from swapping, donors from other rows only.
        recovered_with_self, beyond_structure_with_self: The same with rows allowed to stand in for themselves; None
            since fidelity is judged.
        loss_change: Mean absolute change of the loss.
        kl: Mean KL divergence of the scrubbed from the model's distribution, in nats.
        same_argmax: Share of positions whose likeliest action stays the same.
        agreement: How often the explanation, run as a policy, gives the model's likeliest action its own highest
            probability; None if the claim has no opinion there.
        opinion: Share of the positions where the explanation has an opinion (is not uniform).
        data: Name of the data set.
        learners: Number of learners with a tested position.
        fidelity: `1 - KL(model || scrubbed) / KL(model || zero)`; None in older records, like all that follows.
        fidelity_with_self: The same where a row may be its own donor; None where that was not measured, as of controls.
        fidelity_independent: The same where each unimportant input has a history of its own, on some references;
            None likewise.
        explained: Share kept of what the model knows of the learner's actions; None where the model itself acts.
        divergence: KL divergence of what the claim leaves from the model, in nats.
        at_stake: That of the zero, one constant distribution: what there is to explain.
        tested: Share of what there is to explain that lies on tested positions.
        swapped: Share of the positions that have another donor, at the node where it is smallest.
        status: `"supported"`, `"refuted"`, `"open"`, `"untested"`, `"does not count"`, or `"average"` over regimes.
        why_not: Why the regime does not count.
        weakest: Name of the ratio that decides there, the first that lies below `accept`, else the lowest:
            `"beyond structure"`; empty in older records, and where the regime does not count.
        power: What is lost of fidelity where what symmetries change shows another history; None where all donors are
            found.
    """

    name: str
    positions: int
    model: Number
    scrubbed: Number
    baseline: Number
    structure: Number
    recovered: Number
    beyond_structure: Number
    recovered_with_self: Number | None
    beyond_structure_with_self: Number | None
    loss_change: float
    kl: float
    same_argmax: float
    agreement: float | None
    opinion: float
    data: str = "source"
    learners: int | None = None
    fidelity: Number | None = None
    fidelity_with_self: Number | None = None
    fidelity_independent: Number | None = None
    explained: Number | None = None
    divergence: Number | None = None
    at_stake: Number | None = None
    tested: float | None = None
    swapped: float | None = None
    status: str | None = None
    why_not: str = ""
    weakest: str = ""
    power: Number | None = None


@dataclass(frozen=True)
class Spending:
    """How much of a claim was measured on one data set.

    Attributes:
        data: Name of the data set.
        passes: How often every reference was scrubbed, with the claim's features and with constant ones.
        most: How often it would have been at most.
        why: Why no further pass was made.
        guards: Whether self-donors and independent others were measured.
    """

    data: str
    passes: int
    most: int
    why: str
    guards: bool


@dataclass(frozen=True)
class NodeRecord:
    """What is known about one node.

    Attributes:
        name: Of the node.
        site: As the researcher wrote it.
        parents: Names of the nodes that it reads.
        doc: First line of its docstring.
        level: `"step"`, `"history"` or `"root"`.
        role: The step role that it is narrowed to, if any.
        hidden: Whether it reads facts that the model cannot see.
        class_sizes: How many references have a class of 1, 2-3, 4-7, 8-15, ... members, by upper bound.
        alone: Share of the references that nobody else agrees with.
        swapped: Share of the draws whose donor is another row, mean over the tree nodes.
        moved: Relative norm of the change of what it delivers.
        spread: The same for clean donors; 0 if the site is a function of the feature.
        exact: Whether the site is a function of the feature ("exact by construction").
        recovered: What is recovered if this node alone is scrubbed and everything else is left clean.
        resampled: What is recovered if this node's sites alone get random donors; 1 if they do not matter.
        free_bits: What its donors leave free, in bits, out of `history_bits`; None in older records.
        history_bits: By how many bits the histories differ at a step of its, as far as the model can see.
        symmetry: What its donors are made by; None where they are found, as in older records.
        changed: Share of the positions for which the symmetry made another past.
        changed_tokens: Share of the tokens of these pasts that it changed.
    """

    name: str
    site: str
    parents: list[str]
    doc: str
    level: str
    role: str | None
    hidden: bool
    class_sizes: dict[str, int]
    alone: float
    swapped: float
    moved: float
    spread: float
    exact: bool
    recovered: float | None
    resampled: float | None
    free_bits: float | None = None
    history_bits: float | None = None
    symmetry: str | None = None
    changed: float | None = None
    changed_tokens: float | None = None


@dataclass(frozen=True)
class WorstPosition:
    """One position where scrubbing did most harm.

    Attributes:
        row, step, episode, episode_step: Where it is.
        regime: Its regime.
        path: What was observed in this episode up to and including this step. [step][channel]
        actions, rewards: What was done and paid at the steps of `path` before the last.
        seen: Cells observed earlier in the context (Dark Room), or `[pulls, wins]` of every arm (bandit).
        last_rewarded: The last rewarded observation in the context, if any.
        facts: The hidden facts of the task, a table row by row.
        taken: The action that the history took.
        model, scrubbed: Distributions over actions.
        loss_model, loss_scrubbed: In nats.
    """

    row: int
    step: int
    episode: int
    episode_step: int
    regime: str
    path: list[list[int]]
    actions: list[int]
    rewards: list[float]
    seen: list[list[int]]
    last_rewarded: list[int] | None
    facts: dict[str, list[float]]
    taken: int
    model: list[float]
    scrubbed: list[float]
    loss_model: float
    loss_scrubbed: float


@dataclass(frozen=True)
class UndeclaredArrow:
    """An arrow that the model has and a claim lacks.

    Attributes:
        source: Name of the node that writes, or the component as it is typed where no node sits there.
        target: Name of the node that reads.
        from_node: Whether the source is a node.
        circular: Whether the source is computed from the target, so that the arrow would close a circle.
        edges: Edges of the model that it stands for, as they are typed.
        size: What swapping it does to the KL divergence, to first order, in nats; mean of its size over histories.
        share: That, as a share of the sizes of all undeclared arrows.
        strong: Whether it is one of the few that are at least half as strong as the strongest.
    """

    source: str
    target: str
    from_node: bool
    circular: bool
    edges: list[str]
    size: float
    share: float
    strong: bool


@dataclass(frozen=True)
class UndeclaredArrows:
    """The strongest arrows that a claim lacks, ranked to first order on the data set where it keeps least.

    Attributes:
        data: Data set on which the claim keeps least over all steps.
        rows: Number of references that were looked at.
        total: Sizes of all undeclared arrows together, in nats.
        count: Number of undeclared arrows that carry anything.
        arrows: The strongest, in order.
        code: Lines that add the strong ones to the hypothesis file; none where they would close circles.
        added: Arrows between nodes among these, `"goal -> choice"`, with which the claim was scrubbed once more.
        fidelity_before: Fidelity over all steps of that data set on the first references, in one pass; None where
            nothing was added.
        fidelity_after: The same with these arrows added, and features as they are.
    """

    data: str
    rows: int
    total: float
    count: int
    arrows: list[UndeclaredArrow]
    code: list[str]
    added: list[str] = field(default_factory=list)
    fidelity_before: float | None = None
    fidelity_after: float | None = None
