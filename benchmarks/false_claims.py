"""Whether claims that are false, and were written to be supported, are: `python benchmarks/false_claims.py`.

Scrubs all claims of `hypotheses/false/dark_room.py` on all data sets and compares each with the claims that ship, which
shows what it leaves out. Writes `reports/examples/false-claims.json` and the page beside it; `--page` renders the page
of the record that is there. Exits with 1 if a claim is supported, in whole or in a regime. With the default of 256
references this takes about half an hour of one core; `--rows 32 --pool 128` gives a first look.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ad_hypotheses.known.claims import KnownClaim, claims_in
from ad_hypotheses.language.load import load
from ad_hypotheses.studies.scrub.bind import ScrubSettings
from ad_hypotheses.studies.scrub.kept import Kept
from ad_hypotheses.studies.scrub.record import Claim, Study
from ad_hypotheses.studies.scrub.study import scrub

ROOT = Path(__file__).resolve().parent.parent
MODEL = "dark-room"
FILE = ROOT / "hypotheses" / "false" / "dark_room.py"
RIVALS = ("replay", "untried", "mimic")
RECORD = ROOT / "reports" / "examples" / "false-claims.json"


def what_shows_it(claim: Claim) -> str:
    """Return a measured fact about the model that the claim contradicts, in a clause."""
    idle = [node for node in claim.nodes if node.resampled is not None and node.resampled > 0.99]
    overall = claim.regimes[0]
    if overall.agreement is not None and overall.opinion == 1 and not idle:
        return f"what it says is the model's likeliest action at {overall.agreement:.0%} of the steps"
    if idle:
        node = idle[0]
        return f"`{node.name}` plays no role: with any history's output there {node.resampled:.3f} is recovered"
    needed = [
        (comparison.rival.kl, rivalry.rival, comparison)
        for rivalry in claim.rivals
        for comparison in rivalry.comparisons
        if comparison.rival.answer == "needed" and comparison.regime != "all"
    ]
    if not needed:
        return "no other claim shows it on these data"
    nats, rival, comparison = max(needed, key=lambda item: item[0].low)
    return f"what `{rival}` adds is needed in {comparison.regime} ({comparison.data}): {nats} nats a step"


def outcome(known: KnownClaim, study: Study) -> dict[str, Any]:
    """Return what is kept of the study of a claim."""
    claim = study.claims[0]
    regimes = [regime for regime in claim.regimes if regime.status != "average"]
    return {
        "name": known.name,
        "kind": known.kind,
        "says": claim.doc,
        "why": known.why,
        "shown": what_shows_it(claim),
        "verdict": claim.verdict,
        "reason": claim.reason,
        "fidelity": [study.fidelity.value, study.fidelity.low, study.fidelity.high],
        "regimes": [
            {
                "data": regime.data,
                "regime": regime.name,
                "fidelity": None if regime.fidelity is None or not regime.fidelity.estimable else regime.fidelity.value,
                "tested": regime.tested,
                "swapped": regime.swapped,
                "status": regime.status,
            }
            for regime in regimes
        ],
    }


def page(record: dict[str, Any]) -> str:
    """Return the page of a record as Markdown."""
    claims = record["claims"]
    passed = [claim["name"] for claim in claims if claim["verdict"].startswith("supported")]
    listed = ", ".join(f"`{name}`" for name in passed)
    lines = [
        f"# False claims about `{MODEL}`",
        "",
        f"**{len(passed)} of {len(claims)} are supported, in whole or in a regime{': ' + listed if passed else ''}.**",
        "",
        "Each was written by somebody who knows the rule of the verdict and wants to get past it "
        "(`hypotheses/false/dark_room.py`). What it contradicts was measured on the model in the same run.",
        "",
        "| Claim | It says | Kind | What shows that it is false | Verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{c['name']}` | {c['says']} | {c['kind']} | {c['why']}; {c['shown']} | {c['verdict']} |" for c in claims
    ]
    lines += ["", "Why each verdict:", ""]
    lines += [f"- `{claim['name']}`: {claim['reason']}." for claim in claims]
    lines += ["", "Fidelity by data set and regime, with the share of what there is to explain that was tested:", ""]
    places = list(dict.fromkeys((cell["data"], cell["regime"]) for claim in claims for cell in claim["regimes"]))
    for data in dict.fromkeys(data for data, _ in places):
        names = [regime for of, regime in places if of == data]
        lines += [f"| {data} | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
        lines += [
            f"| `{claim['name']}` | {' | '.join(_cell(claim, data, name) for name in names)} |" for claim in claims
        ]
        lines += [""]
    lines += [
        f"{record['rows']} references and {record['pool']} donors of each data set. Made by `{record['command']}`.",
        "",
    ]
    return "\n".join(lines)


def _cell(claim: dict[str, Any], data: str, regime: str) -> str:
    for cell in claim["regimes"]:
        if (cell["data"], cell["regime"]) == (data, regime):
            value = "not estimable" if cell["fidelity"] is None else f"{cell['fidelity']:.2f}"
            return f"{value}, {cell['tested']:.0%} tested: {cell['status']}"
    return "-"


def study_all(rows: int, pool: int | None, only: Sequence[str]) -> dict[str, Any]:
    """Scrub every claim, each judged alone, and return the record."""
    known = [claim for claim in claims_in(FILE, MODEL) if not only or claim.name in only]
    rivals = [
        claim for name in RIVALS for claim in load(ROOT / "hypotheses" / f"{name}.py") if claim.control_of is None
    ]
    settings = ScrubSettings(rows=rows, pool=pool, passes=2, rollouts=0)
    memory, lives, claims = Kept(), ROOT / "reports" / ".lives", []
    for claim in known:
        (study,) = scrub([claim.hypothesis], settings, models=ROOT / "models", against=rivals, lives=lives, kept=memory)
        claims.append(outcome(claim, study))
        print(f"{claim.name}: {study.verdict} - {study.claims[0].reason}", flush=True)
    options = "" if rows == ScrubSettings().rows else f" --rows {rows} --pool {pool}"
    command = f"python benchmarks/false_claims.py{options}"
    return {"model": MODEL, "rows": rows, "pool": study.data[0].pool, "command": command, "claims": claims}


def main() -> int:
    """Run, write record and page, and say whether a claim passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ScrubSettings().rows, help="references of each data set")
    parser.add_argument("--pool", type=int, default=None, help="donors of each data set")
    parser.add_argument("--claims", default="", help="names, separated by commas; all by default")
    parser.add_argument("--page", action="store_true", help="render the page of the record that is there")
    parser.add_argument("--out", type=Path, default=RECORD, help="where the record is, or is written")
    options = parser.parse_args()
    if options.page:
        record = json.loads(options.out.read_text(encoding="utf-8"))
    else:
        record = study_all(options.rows, options.pool, [name for name in options.claims.split(",") if name])
        options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    options.out.with_suffix(".md").write_text(page(record), encoding="utf-8")
    return any(claim["verdict"].startswith("supported") for claim in record["claims"])


if __name__ == "__main__":
    sys.exit(main())
