"""README and docs quote what committed records hold: every figure of a section, in its order, worked out again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "reports" / "examples"
TRAINED = ("win-stay-trained", "win-stay-elsewhere", "leader-trained", "leader-elsewhere", "retrieval-trained")
FIGURE = r"-?\d+\.\d+(?:e-?\d+)?(?: ?%)?|\d+ ?%|\d+ min\b|\d+ of (?:the )?\d+|\d+ (?:studies|claims|networks)\b"
OTHERS = {"Commands": ["0.9", "2.13"]}  # of README's other sections: an option, and the version of PyTorch


def sections(path: str) -> dict[str, str]:
    """The text under each heading, without code, addresses, and parts that are rendered from records."""
    text = re.sub(r"```.*?```", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"<!-- rendered from (\S+) -->.*?<!-- end of \1 -->", "", text, flags=re.DOTALL)
    text = re.sub(r"`[^`]*`|\]\([^)]*\)|arXiv [\d.]+", "`", text)
    parts = re.split(r"^#+ (.*)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def figures(text: str) -> list[str]:
    return [figure.replace(" %", "%").replace(" of the ", " of ") for figure in re.findall(FIGURE, text)]


def record(path: str) -> dict:
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f}%"


def claim(name: str) -> dict:
    """What a report holds of its hypothesis; its regimes by data set, edited ones under one name, and regime."""
    study = record(f"reports/examples/{name}-{'bandit' if name == 'win_stay' else 'dark-room'}.json")
    (hypothesis,) = (entry for entry in study["claims"] if entry["kind"] == "hypothesis")
    regimes = {(regime["data"].partition(":")[0], regime["name"]): regime for regime in hypothesis["regimes"]}
    return hypothesis | {"regimes": regimes}


def fidelity(name: str, data: str, regime: str = "all") -> dict[str, float]:
    return claim(name)["regimes"][data, regime]["fidelity"]


def test_what_the_rendered_words_say_of_the_claims_is_so():
    explored = [fidelity(name, "source", "explore")["value"] for name in ("untried", "replay", "mimic")]
    assert explored[0] > 0 > max(explored[1:]), "the others are worse than a constant"
    moved = [fidelity(name, "edited", "stay") for name in ("replay", "untried")]
    assert max(number["high"] for number in moved) < 0.9, "they fail where the goal moves"


TRUE, MISPLACED = ("true", "finer than true"), ("wrong site", "made by the tool")
HOSTILE = ("name tag", "omen", "one regime", "contradiction")
TEMPTING = ("coarser", "missing arrow", "other algorithm", "injective", "cancellation", *HOSTILE)


@cache
def calibration() -> dict:
    return record("reports/examples/calibration.json")


def trials(kinds: tuple[str, ...], rows: int = 256) -> list[dict]:
    """The studies of claims of some kinds."""
    kind = {(claim["network"], claim["claim"]): claim["kind"] for claim in calibration()["claims"]}
    outcomes = [outcome for outcome in calibration()["outcomes"] if outcome["rows"] == rows]
    return [outcome for outcome in outcomes if kind[outcome["network"], outcome["claim"]] in kinds]


def ended(kinds: tuple[str, ...], verdict: str, rows: int = 256, accept: str = "0.90") -> list[dict]:
    """Those that ended in a verdict; `supported in` stands for all that name regimes."""
    whole = verdict != "supported in"
    verdicts = [(outcome, outcome["verdicts"][accept]) for outcome in trials(kinds, rows)]
    return [outcome for outcome, said in verdicts if (said == verdict if whole else said.startswith(verdict))]


def share(kinds: tuple[str, ...], verdict: str, rows: int = 256) -> str:
    return f"{len(ended(kinds, verdict, rows))} of {len(trials(kinds, rows))}"


def at_most(count: int) -> str:
    """The upper end of the 95 % interval of Clopper and Pearson, where nothing happened in so many trials."""
    return percent(1 - 0.025 ** (1 / count), 1)


def of_all() -> tuple[str, str]:
    return f"{len(calibration()['networks'])} networks", f"{len(calibration()['claims'])} claims"


def covered(rows: int) -> list[float]:
    """Shares of intervals that hold the exact value."""
    return sorted(each["covered"] / each["replicates"] for each in calibration()["coverage"] if each["rows"] == rows)


def bias(rows: int) -> float:
    """By how much the estimate that lies highest does so."""
    return max(each["mean"] - each["exact"] for each in calibration()["coverage"] if each["rows"] == rows)


def how_often_is_a_verdict_wrong() -> Iterator[str]:
    yield from of_all()
    yield from (share(TRUE, "refuted"), at_most(len(trials(TRUE))))
    yield from (share(TRUE, "supported in"), share(TRUE, "inconclusive"))
    yield from (share(MISPLACED, "supported"), share(TEMPTING, "supported"), share(TEMPTING, "supported in"))
    yield "95%"  # of what intervals
    yield from (percent(covered(256)[end]) for end in (0, -1))


def how_often_verdicts_are_wrong() -> Iterator[str]:
    yield from (*of_all()[::-1], "0.90")  # which must be kept
    yield from (share(TRUE, "refuted"), at_most(len(trials(TRUE))))
    yield from (share(TRUE, "supported in"), share(TRUE, "inconclusive"), share(MISPLACED, "supported"))
    yield from (share((kind,), "supported") for kind in TEMPTING[:5])
    yield from (share(HOSTILE, "supported"), share(TEMPTING, "supported in"), "0.99")  # what might be required instead
    yield f"{len(ended(TEMPTING, 'supported', accept='0.99'))} of {len(ended(TEMPTING, 'supported'))}"
    assert share(TRUE, "refuted", 64) == share(TRUE, "refuted")
    yield share(TEMPTING, "supported", 64)
    for rows in (256, 64):
        yield from (percent(covered(rows)[end]) for end in (0, -1))
        if rows == 256:
            yield f"{len({(each['network'], each['claim']) for each in calibration()['coverage']})} claims"
    yield from (f"{bias(256):.3f}", f"{bias(64):.3f}")


def trained_ones() -> Iterator[str]:
    known = {name: record(f"models/known-{name}/record.json")["known"] for name in TRAINED}
    yield from ("0.97", "2%")  # what `known` asks for
    idle = [known[name]["proof"]["idle"] for name in ("retrieval-trained", "win-stay-trained")]
    yield from (percent(idle[0], 1), percent(idle[1]))
    for name in TRAINED:
        proof = known[name]["proof"]
        truth = proof["claims"]["truth"]
        yield from (f"{truth[ratio]:.3f}" for ratio in ("recovered", "beyond_structure", "independent"))
        yield from (percent(abs(proof[way]), 2) for way in ("outside", "outside_independent"))
        yield f"{proof['kl']:.1e}"
    elsewhere = [
        known[name]["proof"]["claims"]["elsewhere"]["recovered"] for name in TRAINED if name != "retrieval-trained"
    ]
    yield from (f"{min(elsewhere):.2f}", f"{max(elsewhere):.2f}")
    yield f"{max(network['agreement']['largest'] for network in known.values()):.1f}"
    yield percent(1 - min(network["agreement"]["argmax"] for network in known.values()), 2)
    yield from ("1%", "80%")  # what tests/test_interchange.py asks for


QUOTED = {
    ("README.md", "How often is a verdict wrong?"): how_often_is_a_verdict_wrong,
    ("docs/evidence.md", "How often verdicts are wrong"): how_often_verdicts_are_wrong,
    ("docs/known.md", "Trained ones"): trained_ones,
}


@pytest.mark.parametrize(("path", "heading"), QUOTED, ids=[heading for _, heading in QUOTED])
def test_every_figure_is_what_a_record_holds(path, heading):
    expected = list(QUOTED[path, heading]())
    assert len(expected) > 5
    assert figures(sections(path)[heading]) == expected


def test_no_other_section_of_readme_quotes_a_figure():
    named = {heading for path, heading in QUOTED if path == "README.md"}
    others = {heading: figures(text) for heading, text in sections("README.md").items() if heading not in named}
    assert {heading: quoted for heading, quoted in others.items() if quoted} == OTHERS


def test_what_muon_reaches_is_what_the_record_of_key_to_door_holds():
    made = record("models/key-to-door/record.json")
    assert (made["config"]["training"]["optimiser"], made["updates"]) == ("muon", 5000)
    share = percent(made["evaluation"]["summary"]["held_out_of_optimum"]).replace("%", " %")
    assert f"reaches {share} of the optimum in 5000 updates" in (ROOT / "docs/training.md").read_text(encoding="utf-8")


def test_wrong_claims_that_got_through_are_named():
    through = {f"`{outcome['network']}: {outcome['claim']}`" for outcome in ended(TEMPTING, "supported")}
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## How often is a verdict wrong?")[2]
    assert set(re.findall(r"`[\w-]+: \w+`", section.partition("\n## ")[0])) == through


def test_one_altered_figure_is_noticed():
    heading = "How often is a verdict wrong?"
    text, expected = sections("README.md")[heading], list(how_often_is_a_verdict_wrong())
    assert figures(text) == expected
    for quoted in ("11.2 %", "3 of 31", "18 networks"):
        assert quoted in text
        assert figures(text.replace(quoted, f"1{quoted}", 1)) != expected
