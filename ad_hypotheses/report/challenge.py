"""What a claim puts at stake, and what an adversary found against it, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ad_hypotheses.evidence.challenge import MATERIAL
from ad_hypotheses.evidence.findings import Challenge, Finding
from ad_hypotheses.evidence.number import Number
from ad_hypotheses.evidence.record import Claim
from ad_hypotheses.evidence.verdict import ALPHA
from ad_hypotheses.report.words import chance, code, figure, interval, literal, percent

ELSEWHERE = "elsewhere for "
ALIKE = 0.01  # difference of shares that is not worth a word


def at_stake(claim: Claim) -> str:
    """Return the specificity of a claim as a sentence; empty if it was not recorded."""
    bits = [(n.free_bits, n.history_bits, n.name) for n in claim.nodes if n.free_bits is not None and n.history_bits]
    if claim.specificity is None or not bits:
        return ""
    free, carried = (sum(one[number] for one in bits) / len(bits) for number in (0, 1))
    text = (
        f"specificity {figure(claim.specificity)}: of the {figure(carried, 1)} bits that tell these histories apart at "
        f"a step, its nodes leave {figure(free, 1)} free to be swapped"
    )
    least = min(bits, key=lambda one: one[0] / one[1])
    even = all(abs(one[0] / one[1] - least[0] / least[1]) < ALIKE for one in bits)
    return text if even else f"{text}, {least[2]} the least ({figure(least[0], 1)})"


def sentences(challenge: Challenge, name: Callable[[str], str] = str) -> list[str]:
    """Return what was found as plain sentences, the strongest first; one that says so if nothing was.

    Args:
        challenge: What an adversary did.
        name: How the name of a node is written.
    """
    real = [one for one in challenge.findings if one.p < ALPHA]
    found = [_sentence(one, challenge, name) for one in real]
    if challenge.apart is not None and challenge.apart.p < ALPHA:
        found.append(
            "The inputs that the claim calls unimportant cancel as long as they come from one history: each from one "
            f"of its own, they lose {interval(challenge.apart.lost)} nats more, and move the distribution by "
            f"{interval(challenge.apart.kl_lost)} more."
        )
    refined = challenge.refined
    if refined is not None and real:
        found.append(
            f"With {_listed([f'the {one}' for one in refined.features])} added, the claim recovers "
            f"{interval(refined.recovered)} instead of {interval(challenge.recovered)}."
        )
    return found or [_nothing(challenge)]


def _nothing(challenge: Challenge) -> str:
    active = challenge.tried - challenge.idle
    text = f"None of {active} features that could have been left out makes a difference"
    if not challenge.findings:
        return f"{text}: the largest effect is {percent(max(challenge.largest, 0.0))} of what there is to lose."
    return f"{text} that {challenge.rows} other histories confirm."


def _sentence(finding: Finding, challenge: Challenge, name: Callable[[str], str]) -> str:
    most = "" if finding.regime == "all" else f", most in {finding.regime}"
    by_loss = max(finding.lost.low, finding.recovered_agreeing.low - challenge.recovered.high) > 0
    if by_loss and finding.lost.low > 0:
        harm = f"donors that differ in the {finding.feature} lose {interval(finding.lost)} nats more{most}"
    elif finding.kl_lost.low > 0:
        but = "" if by_loss else f", while the loss hides it ({interval(finding.lost)})"
        harm = f"donors that differ in the {finding.feature} move the distribution by {interval(finding.kl_lost)} nats"
        harm = f"{harm} more{most}{but}"
    else:
        harm = f"the {finding.feature} is left free"
    relief = (
        f"agreeing on it as well recovers {interval(finding.recovered_agreeing)} instead of "
        f"{interval(challenge.recovered)}"
        if by_loss
        else f"agreeing on it brings the distribution {interval(finding.kl_gained)} nats nearer"
    )
    return f"{_place(finding.node, name)}, {harm}; {relief}: the claim leaves it out."


def _place(node: str, name: Callable[[str], str]) -> str:
    if node.startswith(ELSEWHERE):
        return f"At what {name(node.removeprefix(ELSEWHERE))} reads and the claim does not name"
    return f"At {name(node)}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def section(claim: Claim) -> str:
    """Return the section of a report about the adversary; empty if none was asked."""
    challenge = claim.challenge
    if challenge is None:
        return ""
    parts = [
        "## What the adversary found",
        "\n".join(f"- {line}" for line in sentences(challenge, code)),
        *_table(challenge),
        f"{challenge.tried} features that a history shows were tried on one half of the histories, a pass each; "
        f"{challenge.idle} of them split hardly any class, so nothing could change. The figures come from the other "
        f"half, {challenge.rows} histories, on which the claim recovers {interval(challenge.recovered)} and moves the "
        f"distribution {interval(challenge.kl)} nats from the model's. Donors always agree on what the claim says. "
        "*Differ*: at this node they differ in the feature besides, at all others they agree on it. *Agree*: they "
        "agree on it. Under a right claim neither changes anything. P-values are corrected for all that the table "
        f"holds, and are about more than {MATERIAL:.0%} of what there is to lose.",
        *_suggestion(challenge),
    ]
    return "\n\n".join(parts)


def _table(challenge: Challenge) -> Iterator[str]:
    if not challenge.findings:
        return
    heads = ["Node", "Feature", "Splits", "Differ: lost more", "Differ: recovered", "Agree: recovered", "P"]
    lines = [heads, ["---"] * len(heads)]
    for one in challenge.findings:
        lines.append(
            [
                _cell(one.node),
                literal(one.feature),
                percent(one.reach),
                interval(one.lost),
                interval(one.recovered_differing),
                interval(one.recovered_agreeing),
                chance(one.p),
            ]
        )
    yield "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(node: str) -> str:
    return f"elsewhere, for {code(node.removeprefix(ELSEWHERE))}" if node.startswith(ELSEWHERE) else code(node)


def _suggestion(challenge: Challenge) -> Iterator[str]:
    refined = challenge.refined
    if refined is None or all(one.p >= ALPHA for one in challenge.findings):
        return
    groups: dict[tuple[str, ...], list[str]] = {}
    for node, codes in refined.added.items():
        groups.setdefault(tuple(codes), []).append(node)
    lines = []
    for added, nodes in groups.items():
        named = [node for node in nodes if not node.startswith(ELSEWHERE)]
        readers = [node.removeprefix(ELSEWHERE) for node in nodes if node.startswith(ELSEWHERE)]
        if named:
            lines += [f"# {_listed(named)}", f"return np.dstack([what_it_returns_now, {', '.join(added)}])"]
        if readers:
            lines += [f"# a node of its own, read by {_listed(readers)}, at places that the claim does not name"]
            lines += [f"return np.dstack([{', '.join(added)}])"]
    yield "To write it into the claim, let these nodes return more:"
    yield "```python\n" + "\n".join(lines) + "\n```"


def figures(claim: Claim) -> Iterator[tuple[str, str, str, float | None, float | None, float | None]]:
    """Yield what a table of all figures has of the adversary: scope, of, figure, value and its interval."""
    challenge = claim.challenge
    if challenge is None:
        return
    for one in challenge.findings:
        of = f"{one.feature} at {one.node}"
        for name, value in vars(one).items():
            if isinstance(value, Number):
                yield "adversary", of, name, *_shown(value)
        yield "adversary", of, "reach", one.reach, None, None
        yield "adversary", of, "p", one.p, None, None
    for of, record in (("claim", challenge), ("refined", challenge.refined)):
        if record is not None:
            yield "adversary", of, "recovered", *_shown(record.recovered)
            yield "adversary", of, "kl", *_shown(record.kl)


def _shown(value: Number) -> tuple[float | None, float | None, float | None]:
    return (value.value, value.low, value.high) if value.estimable else (None, None, None)
