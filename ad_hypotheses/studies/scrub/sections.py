"""The sections of a report that tell what was found, each as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ad_hypotheses.evidence.halves import FEWEST
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.evidence.verdict import SWAPPED_AT_LEAST, VACUOUS_BELOW
from ad_hypotheses.report.words import chance, code, figure, interval, literal, percent, prose, sentence
from ad_hypotheses.studies.adversary.page import at_stake
from ad_hypotheses.studies.scrub import position_pictures as places
from ad_hypotheses.studies.scrub.graph import CLASSES, mermaid, node_class
from ad_hypotheses.studies.scrub.record import Claim, NodeRecord, Study, WorstPosition, did_as_well, report_name

_SPARKS = "▁▂▃▄▅▆▇█"
_COLOURS = {"ok": "blue", "weak": "orange", "exact": "grey", "untested": "white, dashed"}


def graph(claim: Claim) -> str:
    """Return the diagram of a claim and what each of its nodes says."""
    used = {node_class(node, claim) for node in claim.nodes}
    legend = "; ".join(f"{_COLOURS[name]}: {meaning}" for name, meaning in CLASSES.items() if name in used)
    says = "\n".join(_node_line(node) for node in claim.nodes)
    return (
        "## The graph\n\n"
        f"```mermaid\n{mermaid(claim)}\n```\n\n"
        "An arrow says: this node's value is computed from that one. Each box gives the site in the model, and what is "
        f"recovered if this node alone is scrubbed. Colours: {legend}. The last node stands for the whole claim.\n\n"
        f"{says}"
    )


def _node_line(node: NodeRecord) -> str:
    hidden = " It reads facts that the model cannot see." if node.hidden else ""
    doc = prose(sentence(node.doc), emphasis=False) or "No description."
    return f"- {code(node.name)} at {code(_site(node))}: {doc}{hidden}"


def _site(node: NodeRecord) -> str:
    return node.site if node.role is None else f"{node.site} at {node.role}"


def recovered(study: Study, claim: Claim) -> str:
    """Return the two ratios and the four losses by regime."""
    losses = [
        [literal(regime.name), f"{regime.positions:,}"]
        + [interval(number, 3) for number in (regime.model, regime.scrubbed, regime.structure, regime.baseline)]
        for regime in claim.regimes
    ]
    ratios = [
        [literal(regime.name), interval(regime.recovered), interval(regime.beyond_structure)]
        + [interval(number) for number in (regime.recovered_with_self, regime.beyond_structure_with_self)]
        for regime in claim.regimes
    ]
    return "\n\n".join(
        [
            "## What was recovered",
            _image(study, "recovered.png", "Recovered and beyond structure by regime, with intervals"),
            table(
                ["Regime", "Recovered", "Beyond structure", "Recovered, self-donors", "Beyond structure, self-donors"],
                ratios,
            ),
            "The four losses behind these ratios, in nats for each action:",
            table(["Regime", "Positions", "Model", "Scrubbed", "Structure", "Baseline"], losses),
            f"{_intervals(study)} The input of the logits moved {percent(claim.root_movement)} of what "
            f"the baseline moves it; below {VACUOUS_BELOW:.0%} a claim is vacuous, unless at every node at least "
            f"{SWAPPED_AT_LEAST:.0%} of the draws were another history. P-values, corrected for all claims of "
            f"this report: supported {chance(claim.p_supported)}, refuted {chance(claim.p_refuted)}.",
        ]
    )


def _intervals(study: Study) -> str:
    known = ["other histories as references"]
    known += ["and as donors"] * (study.rows >= FEWEST) + ["and other draws"] * (study.options.get("passes", 2) > 1)
    return f"Intervals are 95%: they allow for {' '.join(known)}."


def along_the_context(study: Study) -> str:
    """Return the picture of the losses by step and episode."""
    return "\n\n".join(
        [
            "## Loss along the context",
            _image(study, "losses.png", "Loss of model, hypothesis, structure and baseline along the context"),
            "Blue on black: the claim holds there. Blue on grey: it explains nothing there.",
        ]
    )


def by_position(claim: Claim) -> str:
    """Return by regime what an average would hide."""
    rows = [
        [literal(regime.name), figure(regime.loss_change, 3), figure(regime.kl, 3), percent(regime.same_argmax)]
        for regime in claim.regimes
    ]
    return "\n\n".join(
        [
            "## Position by position",
            table(["Regime", "Mean change of the loss", "KL from the model", "Same likeliest action"], rows),
            "Changes are absolute, taken draw by draw, so harm and help do not cancel; both are in nats. "
            f"The worst 1% of the positions carry {percent(claim.worst_share)} of the whole change.",
        ]
    )


def nodes(study: Study, claim: Claim) -> str:
    """Return how much each node was put to the test."""
    rows = [
        [
            code(node.name),
            _class_sizes(node.class_sizes),
            "-" if node.history_bits is None else f"{figure(node.free_bits, 1)} of {figure(node.history_bits, 1)} bits",
            *(percent(value) for value in (node.alone, node.swapped, node.moved, node.spread)),
            "yes" if node.exact else "no",
            figure(node.recovered),
            figure(node.resampled),
        ]
        for node in claim.nodes
        if node.level != "root"
    ]
    if not rows:
        return "## What was tested\n\nNothing: the claim has no node besides its root, so everything was swapped."
    heads = ["Node", "Class sizes", "Free", "Alone", "Swapped", "Moved", "Spread", "Exact", "Recovered", "Resampled"]
    tree = f" Written out as a tree, the claim has {claim.tree_nodes} nodes, each with draws of its own."
    return "\n\n".join(
        [
            "## What was tested",
            *_stake(claim, study.rows),
            table(heads, rows),
            "*Class sizes*: how many histories agree on the feature, few on the left, many on the right. *Free*: how "
            "many of the bits by which histories differ at a step donors may change. *Alone*: "
            "share of positions that nobody else agrees with. *Swapped*: share of draws from another history. *Moved*: "
            "how far the node's activation moved, relative to its size. *Spread*: the same within a class of untouched "
            "histories. *Exact*: the site is a function of the feature, so swapping changes nothing. *Recovered*: this "
            "node alone is scrubbed. *Resampled*: its site alone gets random donors; near 1 the site does not matter. "
            f"These two are measured {_few(study.rows)}, without an interval." + tree,
        ]
    )


def _stake(claim: Claim, rows: int) -> Iterator[str]:
    if stake := at_stake(claim):
        yield (
            f"{prose(sentence(stake), emphasis=False)} Specificity is 0 for a claim with a node that tells every "
            "history apart, which recovers everything and says nothing, and 1 for one that lets all stand in for each "
            "other."
        )
    if claim.any_step is not None:
        yield (
            f"Donors stand at the same step as those that they replace, so what a clock tells is untested. With donors "
            f"from any step, in one pass, the claim recovers {figure(claim.any_step)}."
        )
    if claim.independent is not None and claim.together is not None:
        yield (
            "All that the claim does not name comes from one history at a visit, so what cancels out in sum is "
            "untested. With a history of its own for each such input the claim recovers "
            f"{figure(claim.independent)}, with one for all {figure(claim.together)}, both {_few(rows)}."
        )


def _few(rows: int) -> str:
    return f"on {'the first 64' if rows > 64 else 'these'} histories and in one pass"


def _class_sizes(sizes: dict[str, int]) -> str:
    """Return a histogram as a line of text, with the largest class size that occurs."""
    used = [label for label, count in sizes.items() if count > 0]
    if not used:
        return "-"
    labels = list(sizes)[list(sizes).index(used[0]) : list(sizes).index(used[-1]) + 1]
    top = max(sizes.values())
    bars = "".join(_SPARKS[-(-sizes[label] * (len(_SPARKS) - 1) // top)] for label in labels)
    ends = f"up to {used[-1]}" if len(used) > 1 else used[0]
    return f"{bars} {literal(ends)}"


def where_it_breaks(study: Study, claim: Claim) -> str:
    """Return the worst positions, as a picture and a table."""
    rows = [[str(number), *_position(position, study)] for number, position in enumerate(claim.worst, 1)]
    drawn = min(len(claim.worst), places.MAX_DRAWN)
    return "\n\n".join(
        [
            "## Where it breaks",
            (f"The {drawn} positions" if drawn > 1 else "The position")
            + " where scrubbing did most harm, at most one a history. What the two distributions differ in is what the "
            "claim leaves out.",
            _image(study, "worst.png", "The worst positions: where the agent was, what it knew, what it would do"),
            table(["", "Row", "Step", "Episode", "Regime", "Taken", "Model gives it", "Scrubbed", "Loss"], rows),
            "Rows and steps count from 0, as in the data; episodes and the steps within one count from 1.",
        ]
    )


def _position(position: WorstPosition, study: Study) -> list[str]:
    taken = position.taken
    return [
        str(position.row),
        str(position.step),
        f"{position.episode + 1}, step {position.episode_step + 1}",
        literal(position.regime),
        literal(study.action_names[taken]),
        percent(position.model[taken]),
        percent(position.scrubbed[taken]),
        f"{figure(position.loss_model)} → {figure(position.loss_scrubbed)}",
    ]


def controls(study: Study) -> str:
    """Return the hypothesis beside its controls, and whether one of them did as well."""
    claim, others = study.claims[0], study.claims[1:]
    if not others:
        return "## Controls\n\nNone were run. Without a control, nobody knows whether another claim would do as well."
    mine = claim.regimes[0].recovered
    rows = [[f"**{literal(claim.name)}**", claim.kind, "-", claim.verdict, *_ratios(claim), "-"]]
    for control in others:
        moved = "; ".join(f"{code(node)}: {_arrow(change)}" for node, change in control.moved_sites.items()) or "-"
        difference = _difference(control.regimes[0].recovered, mine)
        rows.append([literal(control.name), control.kind, moved, control.verdict, *_ratios(control), difference])
    equals = [control for control in others if did_as_well(control, claim)]
    text = (
        f"**Did as well as the hypothesis, or better: {', '.join(literal(control.name) for control in equals)}.** "
        "Their intervals reach its own, so the claim is not specific to its sites or features."
        if equals
        else "No control did as well as the hypothesis."
    )
    heads = ["Claim", "Kind", "What was moved", "Verdict", "Recovered", "Beyond structure", "Difference"]
    return "\n\n".join(
        [
            "## Controls",
            "Claims that should do worse. *Difference* is what they recover, less what the hypothesis recovers.",
            table(heads, rows),
            text,
        ]
    )


def _ratios(claim: Claim) -> list[str]:
    return [interval(claim.regimes[0].recovered), interval(claim.regimes[0].beyond_structure)]


def _arrow(change: str) -> str:
    return " → ".join(code(site) for site in re.split(r"\s*(?:->|→)\s*", change))


def _difference(other: Number, mine: Number) -> str:
    if not (other.estimable and mine.estimable):
        return figure(None)
    return f"{other.value - mine.value:+.2f}"


def as_a_policy(study: Study, claim: Claim, drawn: bool) -> str:
    """Return how the explanation behaves when run: agreement with the model, and its learning curve if `drawn`."""
    rows = [
        [
            literal(regime.name),
            percent(regime.opinion),
            "no opinion" if regime.agreement is None and not regime.opinion else percent(regime.agreement),
        ]
        for regime in claim.regimes
    ]
    parts = [
        "## The explanation as a policy",
        "A claim can be run: its last node says what to do. No surgery is involved here.",
        table(["Regime", "Has an opinion", "Where it has one, agrees with the model's likeliest action"], rows),
    ]
    if drawn:
        rollouts = ", ".join(f"{literal(curve.name)} {curve.rollouts:,}" for curve in study.curves if curve.rollouts)
        parts += [
            _image(study, "curves.png", "Return of the model, the explanation and others as the context grows"),
            f"Rollouts behind the curves: {rollouts}." if rollouts else "",
            "Equal curves do not show equal mechanisms; different ones do show that the claim is not all.",
        ]
    return "\n\n".join(part for part in parts if part)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of cells that are Markdown already."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _image(study: Study, picture: str, text: str) -> str:
    return f"![{text}]({report_name(study)}/{picture})"
