"""The report of a study as a folder of plain files: a Markdown page that reads well on GitHub, its pictures, its record."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path

from ad_hypotheses.evidence.verdict import VACUOUS_BELOW
from ad_hypotheses.report import draw, places
from ad_hypotheses.report.files import write_files
from ad_hypotheses.report.graph import CLASSES, mermaid, node_class
from ad_hypotheses.evidence.record import Claim, NodeRecord, Number, Study, WorstPosition
from ad_hypotheses.report.words import (
    chance,
    code,
    did_as_well,
    figure,
    interval,
    literal,
    percent,
    prose,
    report_name,
    sentence,
)

_SPARKS = "▁▂▃▄▅▆▇█"
_COLOURS = {"ok": "blue", "weak": "orange", "exact": "grey", "untested": "white, dashed"}


def write_report(study: Study, folder: Path) -> list[Path]:
    """Write `<hypothesis>-<model>.md`, its pictures in a folder of that name, and the record as JSON beside it.

    Everything is drawn before anything is written, and each file replaces its predecessor in one move. The same study
    gives the same bytes.

    Args:
        study: What to report.
        folder: Where to; made if it does not exist.

    Returns:
        The files: pictures, record, page.

    Raises:
        UserError: The folder cannot be written or the disk is full. An older report is then still whole.
    """
    name = report_name(study)
    pictures = draw_pictures(study)
    files = {folder / name / picture: content for picture, content in pictures.items()}
    files[folder / f"{name}.json"] = (study.to_json() + "\n").encode()
    files[folder / f"{name}.md"] = page(study, pictures).encode()
    return write_files(files)


def draw_pictures(study: Study) -> dict[str, bytes]:
    """Return the pictures of a study by file name; those that would have nothing to show are left out."""
    claim = study.claims[0]
    pictures = {
        "recovered.png": draw.recovered(claim),
        "losses.png": draw.losses(claim, study.horizon, len(study.action_names)),
    }
    if claim.worst:
        pictures["worst.png"] = places.positions(claim.worst, study.action_names, study.task_facts.get("size"))
    if study.curves:
        pictures["curves.png"] = draw.learning_curves(study.curves, "Learning in context, weights frozen")
    return pictures


def page(study: Study, pictures: Iterable[str]) -> str:
    """Return the page of a study as Markdown.

    Args:
        study: What to report.
        pictures: File names of those that exist, in the folder named like the page.
    """
    claim, shown = study.claims[0], set(pictures)
    sections = [
        _verdict(study),
        _claim(study),
        _graph(claim),
        _recovered(study, claim),
        _how_to_read(claim),
        _along_the_context(study),
        _by_position(claim),
        _nodes(claim),
        _where_it_breaks(study, claim) if "worst.png" in shown else "",
        _controls(study),
        _as_a_policy(study, claim, "curves.png" in shown),
        _warnings(study),
        _rerun(study),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _verdict(study: Study) -> str:
    claim = study.claims[0]
    overall = claim.regimes[0]
    numbers = (
        f"Recovered {interval(overall.recovered)}, beyond structure {interval(overall.beyond_structure)}; "
        f"needed {figure(claim.accept)}."
    )
    lines = [
        f"# {literal(claim.name)} on {literal(study.model)}: {claim.verdict}",
        f"**{literal(sentence(claim.reason))} {numbers}**",
    ]
    equals = [control for control in study.claims[1:] if control.kind == "wrong site" and did_as_well(control, claim)]
    if equals:
        lines.append(_equals_warning(claim, equals))
    return "\n\n".join(lines)


def _equals_warning(claim: Claim, equals: Sequence[Claim]) -> str:
    listed = ", ".join(f"{literal(control.name)} {interval(control.regimes[0].recovered)}" for control in equals)
    return (
        "> [!WARNING]\n"
        f"> The same claim at a wrong site cannot be told from the hypothesis: {listed}, "
        f"against {interval(claim.regimes[0].recovered)} of the hypothesis.\n"
        "> So the numbers do not show that the claimed sites are the ones that matter."
    )


def _claim(study: Study) -> str:
    claim = study.claims[0]
    texts = [study.title, study.text] if study.title or study.text else [claim.doc]
    body = "\n\n".join(prose(inspect.cleandoc(text)) for text in texts if text.strip())
    quoted = "\n".join(f"> {line}".rstrip() for line in body.splitlines())
    return f"## The claim\n\n{quoted}\n\nWritten in {code(study.file)}. {sentence(prose(study.model_text, emphasis=False))}"


def _graph(claim: Claim) -> str:
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


def _recovered(study: Study, claim: Claim) -> str:
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
            _table(
                ["Regime", "Recovered", "Beyond structure", "Recovered, self-donors", "Beyond structure, self-donors"],
                ratios,
            ),
            "The four losses behind these ratios, in nats for each action:",
            _table(["Regime", "Positions", "Model", "Scrubbed", "Structure", "Baseline"], losses),
            f"Intervals are 95%. The input of the logits moved {percent(claim.root_movement)} of what the baseline moves "
            f"it; below {VACUOUS_BELOW:.0%} a claim is vacuous. Corrected p-values over everything tested in this report: "
            f"supported {chance(claim.p_supported)}, refuted {chance(claim.p_refuted)}.",
        ]
    )


def _how_to_read(claim: Claim) -> str:
    return f"""## How to read this

- **Recovered.** Whatever the claim calls unimportant is swapped with other histories. Recovered is the share of the
  model's gain over the baseline that survives: 1 means nothing is lost, 0 means that it is no better than swapping
  everything. It is never clamped.
- **Beyond structure.** The same graph with constant features already recovers something, because swapping many steps
  averages them out. This ratio counts only what the features add. A claim is *supported* only if both ratios lie
  above {figure(claim.accept)}, fixed before the run.
- **Swap share.** How many draws really came from another history. A low share means that little was tested. With
  *self-donors* a history may stand in for itself, which flatters the claim; the verdict must hold both ways.
- **Losses** are cross-entropies of the action that the history really took. A *regime* is a kind of position; one
  average over all of them hides most of what happens.
- **Known limits.** Harm and help can cancel in an average: read the figures by position. A feature that tells nearly
  every history apart (an injective one) passes without being right: read the swap share. Relations between two
  steps are not features of one step, so this method cannot test them."""


def _along_the_context(study: Study) -> str:
    return "\n\n".join(
        [
            "## Loss along the context",
            _image(study, "losses.png", "Loss of model, hypothesis, structure and baseline along the context"),
            "Blue on black: the claim holds there. Blue on grey: it explains nothing there.",
        ]
    )


def _by_position(claim: Claim) -> str:
    rows = [
        [literal(regime.name), figure(regime.loss_change, 3), figure(regime.kl, 3), percent(regime.same_argmax)]
        for regime in claim.regimes
    ]
    return "\n\n".join(
        [
            "## Position by position",
            _table(["Regime", "Mean change of the loss", "KL from the model", "Same likeliest action"], rows),
            "Changes count as absolute values, so harm and help do not cancel; both are in nats. "
            f"The worst 1% of the positions carry {percent(claim.worst_share)} of the whole change.",
        ]
    )


def _nodes(claim: Claim) -> str:
    rows = [
        [
            code(node.name),
            _class_sizes(node.class_sizes),
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
    heads = ["Node", "Class sizes", "Alone", "Swapped", "Moved", "Spread", "Exact", "Recovered", "Resampled"]
    tree = f" Written out as a tree, the claim has {claim.tree_nodes} nodes, each with draws of its own."
    return "\n\n".join(
        [
            "## What was tested",
            _table(heads, rows),
            "*Class sizes*: how many histories agree on the feature, few on the left, many on the right. *Alone*: share of "
            "positions that nobody else agrees with. *Swapped*: share of draws from another history. *Moved*: how far "
            "the node's activation moved, relative to its size. *Spread*: the same within a class of untouched histories. "
            "*Exact*: the site is a function of the feature, so swapping changes nothing. *Recovered*: this node alone "
            "is scrubbed. *Resampled*: its site alone gets random donors; near 1 the site does not matter." + tree,
        ]
    )


def _class_sizes(sizes: dict[str, int]) -> str:
    """Return a histogram as a line of text, with the smallest and the largest class size that occur."""
    used = [label for label, count in sizes.items() if count > 0]
    if not used:
        return "-"
    labels = list(sizes)[list(sizes).index(used[0]) : list(sizes).index(used[-1]) + 1]
    top = max(sizes.values())
    bars = "".join(_SPARKS[-(-sizes[label] * (len(_SPARKS) - 1) // top)] for label in labels)
    ends = f"up to {used[-1]}" if len(used) > 1 else used[0]
    return f"{bars} {literal(ends)}"


def _where_it_breaks(study: Study, claim: Claim) -> str:
    rows = [[str(number), *_position(position, study)] for number, position in enumerate(claim.worst, 1)]
    drawn = min(len(claim.worst), places.MAX_DRAWN)
    return "\n\n".join(
        [
            "## Where it breaks",
            f"The {drawn} positions where scrubbing did most harm. What the two distributions differ in is what the "
            "claim leaves out."
            if drawn > 1
            else "The position where scrubbing did most harm.",
            _image(study, "worst.png", "The worst positions: where the agent was, what it knew, what it would do"),
            _table(["", "Row", "Step", "Episode", "Regime", "Taken", "Model gives it", "Scrubbed", "Loss"], rows),
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


def _controls(study: Study) -> str:
    claim, controls = study.claims[0], study.claims[1:]
    if not controls:
        return "## Controls\n\nNone were run. Without a control, nobody knows whether another claim would do as well."
    mine = claim.regimes[0].recovered
    rows = [[f"**{literal(claim.name)}**", claim.kind, "-", claim.verdict, *_ratios(claim), "-"]]
    for control in controls:
        moved = "; ".join(f"{code(node)}: {_arrow(change)}" for node, change in control.moved_sites.items()) or "-"
        difference = _difference(control.regimes[0].recovered, mine)
        rows.append([literal(control.name), control.kind, moved, control.verdict, *_ratios(control), difference])
    equals = [control for control in controls if did_as_well(control, claim)]
    text = (
        f"**Did as well as the hypothesis: {', '.join(literal(control.name) for control in equals)}.** "
        "Their intervals reach its own, so the claim is not specific to its sites or features."
        if equals
        else "No control did as well as the hypothesis."
    )
    heads = ["Claim", "Kind", "What was moved", "Verdict", "Recovered", "Beyond structure", "Difference"]
    return "\n\n".join(
        [
            "## Controls",
            "Claims that should do worse. *Difference* is what they recover, less what the hypothesis recovers.",
            _table(heads, rows),
            text,
        ]
    )


def _ratios(claim: Claim) -> list[str]:
    return [interval(claim.regimes[0].recovered), interval(claim.regimes[0].beyond_structure)]


def _arrow(change: str) -> str:
    return " → ".join(code(site) for site in change.split(" -> "))


def _difference(other: Number, mine: Number) -> str:
    if not (other.estimable and mine.estimable):
        return figure(None)
    return f"{other.value - mine.value:+.2f}"


def _as_a_policy(study: Study, claim: Claim, drawn: bool) -> str:
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
        _table(["Regime", "Has an opinion", "Agrees with the model's likeliest action"], rows),
    ]
    if drawn:
        rollouts = ", ".join(f"{literal(curve.name)} {curve.rollouts:,}" for curve in study.curves if curve.rollouts)
        parts += [
            _image(study, "curves.png", "Return by episode of the model, the explanation and others"),
            f"Return of each episode in context. Rollouts behind the curves: {rollouts}."
            if rollouts
            else "Return of each episode in context.",
            "Equal curves do not show equal mechanisms; different curves do show that the claim is not the whole story.",
        ]
    return "\n\n".join(parts)


def _warnings(study: Study) -> str:
    claim = study.claims[0]
    lines = [f"- {prose(sentence(warning), emphasis=False)}" for warning in claim.warnings]
    for control in study.claims[1:]:
        new = [warning for warning in control.warnings if warning not in claim.warnings]
        lines += [f"- {literal(control.name)}: {prose(sentence(warning), emphasis=False)}" for warning in new]
    return "## Warnings\n\n" + ("\n".join(lines) or "None.")


def _rerun(study: Study) -> str:
    facts = [
        ["Model", f"{code(study.model)}: {prose(study.model_text, emphasis=False)}"],
        ["Checkpoint (SHA-256)", code(study.model_sha256)],
        ["Task", ", ".join([code(study.task), *(f"{literal(k)} {v}" for k, v in study.task_facts.items())])],
        ["Data", prose(study.data_text, emphasis=False)],
        ["Histories", f"{study.rows:,} rows of {study.n_steps:,} steps, {study.horizon} steps an episode"],
        ["Options", ", ".join(code(f"{key}={value}") for key, value in study.options.items()) or "-"],
        ["Versions", ", ".join(f"{literal(name)} {literal(version)}" for name, version in study.versions.items()) or "-"],
    ]
    name = report_name(study)
    return "\n\n".join(
        [
            "## Rerun",
            f"```sh\n{study.command.strip()}\n```",
            _table(["", ""], facts),
            f"Every number of this page, and more, is in [{literal(name)}.json]({name}.json).",
        ]
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _image(study: Study, picture: str, text: str) -> str:
    return f"![{text}]({report_name(study)}/{picture})"
