"""Figures of README and docs stand in the parts that are rendered from records, and the words beside them hold."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

from ad_hypotheses.studies.findings.calibrated import GROUPS
from ad_hypotheses.studies.findings.figures import Figures, Records
from ad_hypotheses.studies.findings.plan import read_plan

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "reports" / "examples"
FIGURE = r"-?\d+\.\d+(?:e-?\d+)?(?: ?%)?|\d+ ?%|\d+ min\b|\d+ of (?:the )?\d+|\d+ (?:studies|claims|networks)\b"
ASKED = ["0.97", "2%", "1%", "80%"]  # what `known` and tests/test_interchange.py ask for
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


@cache
def calibration() -> Figures:
    plan = read_plan(ROOT / "reports" / "findings" / "study.yaml")
    return Figures(Records(plan, {}, {}, {}, record("reports/examples/calibration.json")))


def test_shares_of_verdicts_are_counted():
    content = record("reports/examples/calibration.json")
    true = {
        (each["network"], each["claim"]) for each in content["claims"] if each["kind"] in ("true", "finer than true")
    }
    verdicts = [
        outcome["verdicts"]["0.90"]
        for outcome in content["outcomes"]
        if outcome["rows"] == 256 and (outcome["network"], outcome["claim"]) in true
    ]
    assert calibration().get("calibration.256.true.refuted") == f"{verdicts.count('refuted')} of {len(verdicts)}"
    some = sum(verdict.startswith("supported in") for verdict in verdicts)
    assert calibration().get("calibration.256.true.supported-in") == f"{some} of {len(verdicts)}"
    assert 0 < some < len(verdicts)


def test_what_the_rendered_words_say_of_verdicts_is_so():
    content = record("reports/examples/calibration.json")
    expected = {(each["network"], each["claim"]): each["expected"] for each in content["claims"]}
    true = [each for each in content["outcomes"] if expected[each["network"], each["claim"]] == "supported"]
    refuted = [(each["network"], each["rows"]) for each in true if each["verdicts"]["0.90"] == "refuted"]
    assert refuted == [("retrieval-trained", 256)], "the one that is refuted is about a trained network"
    assert len({(each["replicate"], each["rows"]) for each in true}) == 4, (
        "once with 64 references, three times with 256"
    )


def test_readme_and_the_docs_on_verdicts_quote_no_figure_outside_of_what_is_rendered():
    others = {heading: figures(text) for heading, text in sections("README.md").items()}
    assert {heading: quoted for heading, quoted in others.items() if quoted} == OTHERS
    assert figures(sections("docs/evidence.md")["How often verdicts are wrong"]) == []
    assert figures(sections("docs/known.md")["Trained ones"]) == ASKED


def test_a_typed_figure_is_noticed():
    heading = "How often is a verdict wrong?"
    assert figures(sections("README.md")[heading]) == []
    assert figures("refuted 3 of 31 (at most 11.2 %) of 18 networks") == ["3 of 31", "11.2%", "18 networks"]


def test_what_muon_reaches_is_what_the_record_of_key_to_door_holds():
    made = record("models/key-to-door/record.json")
    assert (made["config"]["training"]["optimiser"], made["updates"]) == ("muon", 5000)
    share = f"{made['evaluation']['summary']['held_out_of_optimum']:.0%}".replace("%", " %")
    assert f"reaches {share} of the optimum in 5000 updates" in (ROOT / "docs/training.md").read_text(encoding="utf-8")


def test_wrong_claims_that_got_through_are_named():
    content = record("reports/examples/calibration.json")
    kinds = {(each["network"], each["claim"]): each["kind"] for each in content["claims"]}
    through = {
        f"`{outcome['network']}: {outcome['claim']}`"
        for outcome in content["outcomes"]
        if outcome["rows"] == 256
        and outcome["verdicts"]["0.90"] == "supported"
        and kinds[outcome["network"], outcome["claim"]] in GROUPS["tempting"]
    }
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## How often is a verdict wrong?")[2]
    assert set(re.findall(r"`[\w-]+: \w+`", section.partition("\n## ")[0])) == through
