"""README and docs quote what committed records hold: every figure of a section, in its order, worked out again."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "reports" / "examples"
CALIBRATED = (EXAMPLES / "calibration.md").read_text(encoding="utf-8")
CLAIMS = ("untried", "replay", "mimic", "win_stay")
TRAINED = ("win-stay-trained", "win-stay-elsewhere", "leader-trained", "leader-elsewhere", "retrieval-trained")
FIGURE = r"-?\d+\.\d+(?:e-?\d+)?(?: ?%)?|\d+ ?%|\d+ min\b|\d+ of (?:the )?\d+|\d+ (?:studies|claims|networks)\b"
OTHERS = {"Commands": ["0.9", "2.13"]}  # of README's other sections: an option, and the version of PyTorch


def sections(path: str) -> dict[str, str]:
    """The text under each heading, without code and addresses."""
    text = re.sub(r"```.*?```", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.DOTALL)
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


def what_the_shipped_models_say() -> Iterator[str]:
    for name in CLAIMS:
        for data in ("source", "own", "edited"):
            yield from (f"{fidelity(name, data)[end]:.2f}" for end in ("value", "low", "high"))
    yield percent(record("models/dark-room/record.json")["evaluation"]["summary"]["held_out_of_optimum"])
    for name in ("replay", "untried"):
        yield from (f"{fidelity(name, 'source', regime)['value']:.2f}" for regime in ("stay", "navigate"))
    explored = [fidelity(name, "source", "explore")["value"] for name in ("untried", "replay", "mimic")]
    assert explored[0] > 0 > max(explored[1:]), "the others are worse than a constant"
    yield from (f"{value:.2f}" for value in explored)
    moved = [fidelity(name, "edited", "stay") for name in ("replay", "untried")]
    assert max(number["high"] for number in moved) < 0.9, "they fail where the goal moves"
    yield from (f"{number['value']:.2f}" for number in moved)


def calibration(rows: int, passes: int = 5) -> list[dict[str, str]]:
    with (EXAMPLES / "calibration.csv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if (row["rows"], row["passes"]) == (str(rows), str(passes))]


def count(kinds: tuple[str, ...], column: str = "supported", rows: int = 256) -> int:
    return sum(int(row[column]) for row in calibration(rows) if row["kind"] in kinds)


def n_networks() -> int:
    return len({row["network"] for row in calibration(256)})


TRUE, MISPLACED = ("true", "finer than true"), ("wrong site", "made by the tool")
NEARLY = ("coarser", "missing arrow", "other algorithm")
TEMPTING = (*NEARLY, "injective", "cancellation")


def nearly_true() -> list[float]:
    """What wrong claims that were supported recover, unless nothing that scrubbing sees is wrong with them."""
    recovered = [
        float(row["recovered"]) for row in calibration(256) if row["kind"] in NEARLY and row["supported"] > "0"
    ]
    return sorted(share for share in recovered if share < 0.999)


def at_most(trials: int) -> float:
    """The upper end of the 95 % interval of Clopper and Pearson, where nothing happened."""
    return 1 - 0.025 ** (1 / trials)


def covered(rows: int) -> list[float]:
    """Shares of intervals that hold the exact value, as the report of the calibration lists them."""
    return sorted(map(float, re.findall(rf"\| {rows} \| [\d.]+ ± [\d.]+ \| ([\d.]+) \[", CALIBRATED)))


def bias(rows: int) -> float:
    """By how much the estimate of the calibration's report that lies highest does so."""
    line = rf"\| {rows} \|(?:[^|\n]*\|)*? ([+-][\d.]+) \|"
    return max(map(float, re.findall(line, CALIBRATED)))


def how_often_is_a_verdict_wrong() -> Iterator[str]:
    assert count(TRUE, "refuted") == count(MISPLACED) == 0
    yield from (f"{n_networks()} networks", f"{len(calibration(256))} claims", f"{count(TRUE, 'trials')} studies")
    yield percent(at_most(count(TRUE, "trials")), 1)
    yield f"{count(MISPLACED, 'trials')} studies"
    yield f"{count(TEMPTING)} of {count(TEMPTING, 'trials')}"
    yield from (f"{share:.2f}" for share in (nearly_true()[0], nearly_true()[-1]))
    yield "95%"  # of what intervals
    yield from (percent(covered(256)[end]) for end in (0, -1))


def how_often_verdicts_are_wrong() -> Iterator[str]:
    yield from (f"{len(calibration(256))} claims", f"{n_networks()} networks", "0.90")  # which must be recovered
    yield f"{count(TRUE, 'refuted')} of {count(TRUE, 'trials')}"
    yield percent(at_most(count(TRUE, "trials")), 1)
    yield f"{count(MISPLACED)} of {count(MISPLACED, 'trials')}"
    yield from (percent(count((kind,)) / count((kind,), "trials")) for kind in NEARLY)
    yield from (f"{share:.2f}" for share in (nearly_true()[0], nearly_true()[-1]))
    yield f"{count(('injective',))} of {count(('injective',), 'trials')}"
    yield "0.99"  # what might be required instead
    yield " of ".join(re.search(r"leaves (\d+) of the (\d+) studies", CALIBRATED).groups())
    for kinds in (TRUE, (*MISPLACED, *TEMPTING)):
        yield percent(count(kinds, "inconclusive", 32) / count(kinds, "trials", 32))
    *shares, highest = covered(256)
    yield from (percent(shares[0]), percent(shares[-1]), percent(highest, 1))
    yield f"{bias(256):.3f}"
    yield f"{bias(64):.3f}"
    fewer = sorted(covered(64) + covered(40))
    yield from (percent(fewer[0], 1), percent(fewer[-1]))


def the_zoo() -> Iterator[str]:
    names = "dark-room dark-room-expert dark-room-shuffled dark-room-hard key-to-door graph-world minigrid-doorkey"
    for name in [*names.split(), "minigrid-four-rooms", "minigrid-empty-random"]:
        made = record(f"models/{name}/record.json")
        for column in ("first_of_optimum", "of_optimum", "mean_of_optimum", "source_of_optimum"):
            yield percent(made["evaluation"]["summary"][f"held_out_{column}"])
        yield f"{made['seconds'] / 60:.0f} min"
    for name in ("bandit", "adversarial-bandit", "gaussian-bandit"):
        evaluation = record(f"models/{name}/record.json")["evaluation"]
        yield from (f"{evaluation['summary'][f'held_out_{who}regret']:.1f}" for who in ("", "source_"))
        last = {who: held["last"] for who, held in evaluation["figures"]["held_out"].items()}
        yield f"{last['optimal'] - last['ucb1']:.1f}"
    yield from (percent(sweep(65, layers, "held_out")) for layers in (1, 4))


def sweep(tasks: int, layers: int, split: str) -> float:
    """The mean over seeds."""
    with (EXAMPLES / "sweep-dark-room-grid.csv").open(encoding="utf-8") as file:
        models = [
            row for row in csv.DictReader(file) if (row["train_tasks"], row["n_layers"]) == (f"{tasks}", f"{layers}")
        ]
    assert len(models) == 2
    return fmean(float(row[f"{split}_of_optimum"]) for row in models)


def what_size_and_number_of_tasks_change() -> Iterator[str]:
    for layers in (1, 2, 4):
        for tasks in (4, 16, 65):
            yield from (percent(sweep(tasks, layers, split)) for split in ("train", "held_out"))


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
    ("README.md", "What the shipped models say"): what_the_shipped_models_say,
    ("README.md", "How often is a verdict wrong?"): how_often_is_a_verdict_wrong,
    ("README.md", "The zoo"): the_zoo,
    ("README.md", "What size and number of tasks change"): what_size_and_number_of_tasks_change,
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


def test_verdicts_are_those_of_the_records():
    rows = re.findall(r"^\| `(\w+)`.*\| ([\w ,]+) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    verdicts = {name: verdict for name, verdict in rows if name in CLAIMS}
    assert verdicts == {name: claim(name)["verdict"] for name in CLAIMS}


def test_one_altered_figure_is_noticed():
    text = sections("README.md")["The zoo"]
    for quoted in ("94 %", "32 min", "8.0"):
        assert quoted in text
        altered = text.replace(quoted, str(float(quoted.split()[0]) + 1) if "." in quoted else f"1{quoted}", 1)
        assert figures(altered) != list(the_zoo())
