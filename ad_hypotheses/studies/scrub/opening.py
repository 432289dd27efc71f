"""What a report says first, in words: how the controls did, how the claim stands to its rivals, what to do next."""

from __future__ import annotations

from collections.abc import Sequence

from ad_hypotheses.report.templates import render
from ad_hypotheses.report.words import Markdown, code, counted, figure, joined, literal
from ad_hypotheses.studies.scrub.claim_parts import Regime, UndeclaredArrow, UndeclaredArrows
from ad_hypotheses.studies.scrub.record import Claim, Study, did_as_well, kept


def controls_outcome(claim: Claim, controls: Sequence[Claim]) -> str:
    """Return in a clause whether a control did as well as the claim, and how near the closest came."""
    if not controls:
        return "none were run, so nobody knows whether another claim would do as well"
    equals = [control.name for control in controls if did_as_well(control, claim)]
    if equals:
        return f"{len(equals)} of {len(controls)} did as well as the claim, or better: {', '.join(equals)}"
    known = [control for control in controls if kept(control).estimable]
    if not known or not kept(claim).estimable:
        return "none can be compared with the claim, since what is kept is not estimable"
    closest = max(known, key=lambda control: kept(control).value)
    ratio = "fidelity" if claim.regimes[0].fidelity else "recovered"
    return (
        f"none of {len(controls)} did as well as the claim; the closest, {closest.name}, keeps "
        f"{figure(kept(closest).value)} against {figure(kept(claim).value)} ({ratio} over all steps of "
        f"{claim.regimes[0].data})"
    )


def status(regime: Regime) -> str:
    """Return the verdict in a regime, and the ratio that decides where it is not supported: `refuted: explained`."""
    if regime.weakest and regime.status in ("refuted", "open"):
        return f"{regime.status}: {regime.weakest}"
    return regime.status or "-"


def next_step(undeclared: UndeclaredArrows) -> Markdown:
    """Return a sentence that names the strongest arrows that a claim lacks."""
    names = joined([_arrow(arrow) for arrow in undeclared.arrows if arrow.strong])
    return Markdown(f"By an estimate, the strongest of the arrows that the claim lacks: {names}.")


def undeclared_section(study: Study) -> Markdown:
    """Return the section of a report about the arrows that its claim lacks; empty where nothing was looked for."""
    undeclared = study.claims[0].undeclared
    if undeclared is None:
        return Markdown()
    return render(
        "studies/scrub/undeclared.md",
        undeclared=undeclared,
        advice=_advice,
        code_lines=Markdown("\n".join(undeclared.code)),
        added=joined([code(arrow.replace(" -> ", " → ")) for arrow in undeclared.added], " and "),
        program=program_of(study),
        file=study.file,
    )


def program_of(study: Study) -> str:
    """Return what started the command line that made a study."""
    return study.command.partition(" scrub ")[0] or "python cli.py"


def undeclared_line(undeclared: UndeclaredArrows) -> str:
    """Return what to add to a claim as a line of plain text, for the terminal."""
    arrows = ", ".join(f"{arrow.source} -> {arrow.target}" for arrow in undeclared.arrows if arrow.strong)
    signatures = [line.partition(":")[0] for line in undeclared.code if line.startswith("def ") and "..." not in line]
    line = f"{counted(undeclared.count, 'arrow')} undeclared; estimated strongest on {undeclared.data}: {arrows}"
    return line + (f"; try {', '.join(signatures)}" if signatures else "")


def _arrow(arrow: UndeclaredArrow) -> Markdown:
    return Markdown(f"{code(arrow.source)} → {code(arrow.target)}")


def _advice(arrow: UndeclaredArrow) -> Markdown:
    """Return whether an arrow is worth adding, and as what."""
    if arrow.circular:
        return Markdown(
            f"not as it is: {code(arrow.source)} is computed from {code(arrow.target)}; split one of them by layer"
        )
    if not arrow.strong:
        return literal("if the others are not enough")
    return literal("yes" if arrow.from_node else "yes, as a node of its own")
