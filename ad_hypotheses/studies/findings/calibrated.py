"""Figures on how often verdicts are wrong, and on known networks that are trained, from their records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import comb
from typing import Any

Content = Mapping[str, Any]  # a record, as JSON holds it

HOSTILE = ("name tag", "omen", "one regime", "contradiction")
GROUPS = {
    "true": ("true", "finer than true"),
    "misplaced": ("wrong site", "made by the tool"),
    "hostile": HOSTILE,
    "tempting": ("coarser", "missing arrow", "other algorithm", "injective", "cancellation", *HOSTILE),
}
"""Kinds of claims that are counted together; each kind is also counted alone."""
VERDICTS = ("supported", "supported in", "refuted", "inconclusive")
USUAL, STRICT = "0.90", "0.99"  # shares that must be kept
PRECISION = 1e-9  # of a share
TAIL = 0.025  # beyond each end of a 95 % interval


def of_calibration(content: Content) -> Iterator[tuple[str, float | int | str]]:
    """Yield how many claims of each kind ended in each verdict, `"0 of 31"`, and how often intervals held the truth."""
    yield from (("calibration.networks", len(content["networks"])), ("calibration.claims", len(content["claims"])))
    yield "calibration.level", 1 - 2 * TAIL
    kinds = {claim["kind"]: (claim["kind"],) for claim in content["claims"]}
    for rows in sorted({outcome["rows"] for outcome in content["outcomes"]}):
        for group, members in {**kinds, **GROUPS}.items():
            yield from _of_group(content, f"calibration.{rows}.{group.replace(' ', '-')}", members, rows)
        yield from _of_intervals(content, f"calibration.{rows}", rows)
    asked = {(each["network"], each["claim"]) for each in content["coverage"]}
    yield "calibration.claims-with-intervals", len(asked)


def _of_group(
    content: Content, place: str, members: tuple[str, ...], rows: int
) -> Iterator[tuple[str, float | int | str]]:
    kind = {(claim["network"], claim["claim"]): claim["kind"] for claim in content["claims"]}
    outcomes = [
        outcome
        for outcome in content["outcomes"]
        if outcome["rows"] == rows and kind[outcome["network"], outcome["claim"]] in members
    ]
    if not outcomes:
        return
    for verdict in VERDICTS:
        ended = sum(_ended(outcome["verdicts"][USUAL], verdict) for outcome in outcomes)
        yield f"{place}.{verdict.replace(' ', '-')}", f"{ended} of {len(outcomes)}"
    supported = [outcome for outcome in outcomes if outcome["verdicts"][USUAL] == "supported"]
    still = sum(outcome["verdicts"].get(STRICT) == "supported" for outcome in supported)
    yield f"{place}.still-supported", f"{still} of the {len(supported)}"
    refuted = sum(_ended(outcome["verdicts"][USUAL], "refuted") for outcome in outcomes)
    yield f"{place}.refuted-at-most", upper_end_of_share(refuted, len(outcomes))


def upper_end_of_share(count: int, trials: int) -> float:
    """Return the upper end of the interval of Clopper and Pearson for a share, by halving.

    Args:
        count: How often it happened.
        trials: Of how many.
    """
    low, high = 0.0, 1.0
    while high - low > PRECISION:
        share = (low + high) / 2
        so_few = sum(comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(count + 1))
        low, high = (share, high) if so_few > TAIL else (low, share)
    return low


def _ended(outcome: str, verdict: str) -> bool:
    """Return whether a verdict is of a kind; `supported in` stands for all that name regimes."""
    return outcome.startswith(verdict) if verdict == "supported in" else outcome == verdict


def _of_intervals(content: Content, place: str, rows: int) -> Iterator[tuple[str, float]]:
    coverage = [each for each in content["coverage"] if each["rows"] == rows]
    if coverage:
        shares = [each["covered"] / each["replicates"] for each in coverage]
        yield from ((f"{place}.covered-least", min(shares)), (f"{place}.covered-most", max(shares)))
        yield f"{place}.bias", max(each["mean"] - each["exact"] for each in coverage)


def of_trained(cards: Mapping[str, Content]) -> Iterator[tuple[str, float]]:
    """Yield what was proved of known networks that are trained."""
    proofs = {name: card["known"] for name, card in cards.items() if "proof" in (card.get("known") or {})}
    elsewhere = []
    for name, known in proofs.items():
        proof, place = known["proof"], f"proof.{name}"
        truth = proof["claims"]["truth"]
        for part in ("recovered", "beyond_structure", "independent"):
            yield f"{place}.{part.replace('_', '-')}", truth[part]
        yield from ((f"{place}.{way.replace('_', '-')}", abs(proof[way])) for way in ("outside", "outside_independent"))
        yield from ((f"{place}.kl", proof["kl"]), (f"{place}.idle", proof["idle"]))
        if "elsewhere" in proof["claims"]:
            elsewhere.append(proof["claims"]["elsewhere"]["recovered"])
    if elsewhere:
        yield from (("proof.elsewhere-least", min(elsewhere)), ("proof.elsewhere-most", max(elsewhere)))
    agreed = [known["agreement"] for known in proofs.values() if "agreement" in known]
    if agreed:
        yield "proof.largest-difference", max(each["largest"] for each in agreed)
        yield "proof.other-action", 1 - min(each["argmax"] for each in agreed)
