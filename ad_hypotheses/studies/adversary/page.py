"""What a claim puts at stake, and what an adversary found against it, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.evidence.verdict import ALPHA
from ad_hypotheses.report.templates import render
from ad_hypotheses.report.words import Markdown, code, figure, interval, percent
from ad_hypotheses.studies.adversary.findings import Apart, Challenge, Finding
from ad_hypotheses.studies.adversary.outcomes import MATERIAL
from ad_hypotheses.studies.scrub.record import Claim

ELSEWHERE = "elsewhere for "


def at_stake(claim: Claim) -> str:
    """Return the specificity of a claim as a sentence; empty if it was not recorded."""
    bits = [(n.free_bits, n.history_bits, n.name) for n in claim.nodes if n.free_bits is not None and n.history_bits]
    if claim.specificity is None or not bits:
        return ""
    free, carried, name = min(bits, key=lambda entry: entry[0] / entry[1])
    return (
        f"specificity {figure(free / carried)}: of the {figure(carried, 1)} bits that tell these histories apart at a "
        f"step, {name} leaves {figure(free, 1)} free to be swapped{', the least of all nodes' if len(bits) > 1 else ''}"
    )


def sentences(challenge: Challenge, name: Callable[[str], str] = str) -> list[str]:
    """Return what was found as plain sentences, the strongest first; one that says so if nothing was.

    Args:
        challenge: What an adversary did.
        name: How the name of a node is written.
    """
    real = [item for item in challenge.findings if item.p < ALPHA]
    lines = [_sentence(item, challenge, name) for item in real]
    if challenge.apart is not None and challenge.apart.p < ALPHA:
        lines.append(_cancelling(challenge.apart))
    refined = challenge.refined
    if refined is not None and real:
        lines.append(
            f"With {_listed([f'the {item}' for item in refined.features])} added, the claim recovers "
            f"{interval(refined.recovered)} instead of {interval(challenge.recovered)}."
        )
    return lines or [_nothing(challenge)]


def _nothing(challenge: Challenge) -> str:
    active = challenge.tried - challenge.idle
    text = f"None of {active} features that could have been left out makes a difference"
    if not challenge.findings:
        return f"{text}: the largest effect is {percent(max(challenge.largest, 0.0))} of what there is to lose."
    return f"{text} that {challenge.rows} other histories confirm."


def _cancelling(apart: Apart) -> str:
    meanings = {
        "lost": f"lose {interval(apart.lost)} nats more",
        "kl_lost": f"move the distribution by {interval(apart.kl_lost)} nats more",
    }
    return (
        "The inputs that the claim calls unimportant cancel as long as they come from one history: each from one of "
        f"its own, they {' and '.join(meanings[test] for test in apart.passed)}."
    )


def _sentence(finding: Finding, challenge: Challenge, name: Callable[[str], str]) -> str:
    """Say what passed its test, and nothing else."""
    most = "" if finding.regime == "all" else f", most in {finding.regime}"
    harmful, by_loss = {"lost", "kl_lost"} & set(finding.passed), {"lost", "gained"} & set(finding.passed)
    hidden = "" if by_loss else f", while the loss hides it ({interval(finding.lost)})"
    differ = f"donors that differ in the {finding.feature}"
    agree = "agreeing on it as well" if harmful else f"agreeing on the {finding.feature} as well"
    clauses = []
    if "lost" in finding.passed:
        clauses.append(f"{differ} lose {interval(finding.lost)} nats more{most}")
    elif "kl_lost" in finding.passed:
        clauses.append(f"{differ} move the distribution by {interval(finding.kl_lost)} nats more{most}{hidden}")
    if "gained" in finding.passed:
        instead = f"{interval(finding.recovered_agreeing)} instead of {interval(challenge.recovered)}"
        clauses.append(f"{agree} recovers {instead}")
    elif "kl_gained" in finding.passed:
        clauses.append(f"{agree} brings the distribution {interval(finding.kl_gained)} nats nearer")
    return f"{_place(finding.node, name)}, {'; '.join(clauses)}: {_meaning(finding, challenge)}."


def _meaning(finding: Finding, challenge: Challenge) -> str:
    refined = [] if challenge.refined is None else challenge.refined.features
    if finding.feature in refined or (finding.beyond is not None and finding.beyond.p < ALPHA):
        return "the claim leaves it out"
    if not refined:
        return "the claim leaves it out, or something that goes along with it"
    verb = "that is" if len(refined) == 1 else "they are"
    return (
        f"it goes along with {_listed([f'the {feature}' for feature in refined])}, and adds nothing once {verb} there"
    )


def _place(node: str, name: Callable[[str], str]) -> str:
    if node.startswith(ELSEWHERE):
        return f"At what {name(node.removeprefix(ELSEWHERE))} reads and the claim does not name"
    return f"At {name(node)}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def section(claim: Claim) -> Markdown:
    """Return the section of a report about the adversary; empty if none was asked."""
    challenge = claim.challenge
    if challenge is None:
        return Markdown()
    added = {} if challenge.refined is None else challenge.refined.added
    nodes = {node.name for node in claim.nodes}
    return render(
        "studies/adversary/adversary.md",
        challenge=challenge,
        sentences=[Markdown(line) for line in sentences(challenge, code)],
        place=_place_in_table,
        material=f"{MATERIAL:.0%}",
        new_parameters=sorted({value for values in added.values() for value in values} & nodes),
        suggestion=Markdown("\n".join(_suggestion(added))),
    )


def _place_in_table(node: str) -> Markdown:
    named = code(node.removeprefix(ELSEWHERE))
    return Markdown(f"elsewhere, for {named}") if node.startswith(ELSEWHERE) else named


def _suggestion(added: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the lines of Python that write a refinement into a claim, nodes that need the same lines together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for node, values in added.items():
        groups.setdefault(tuple(values), []).append(node)
    for values, nodes in groups.items():
        named = [node for node in nodes if not node.startswith(ELSEWHERE)]
        readers = [node.removeprefix(ELSEWHERE) for node in nodes if node.startswith(ELSEWHERE)]
        if named:
            yield f"# {_listed(named)}"
            yield f"return np.dstack([what_it_returns_now, {', '.join(values)}])"
        if readers:
            yield f"# a node of its own, read by {_listed(readers)}, at places that the claim does not name"
            yield f"return np.dstack([{', '.join(values)}])"


def figures(claim: Claim) -> Iterator[tuple[str, str, str, float | None, float | None, float | None]]:
    """Yield what a table of all figures has of the adversary: scope, of, figure, value and its interval."""
    challenge = claim.challenge
    if challenge is None:
        return
    for finding in challenge.findings:
        of = f"{finding.feature} at {finding.node}"
        for name, value in vars(finding).items():
            if isinstance(value, Number):
                yield "adversary", of, name, *value.cells()
        yield "adversary", of, "reach", finding.reach, None, None
        yield "adversary", of, "p", finding.p, None, None
        if finding.beyond is not None:
            yield "adversary", of, "gained_beyond_refined", *finding.beyond.gained.cells()
            yield "adversary", of, "kl_gained_beyond_refined", *finding.beyond.kl_gained.cells()
            yield "adversary", of, "p_beyond_refined", finding.beyond.p, None, None
    for of, record in (("claim", challenge), ("refined", challenge.refined)):
        if record is not None:
            yield "adversary", of, "recovered", *record.recovered.cells()
            yield "adversary", of, "kl", *record.kl.cells()
