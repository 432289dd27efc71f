"""What a study costs in another checkout and in this one: `python benchmarks/before_after.py --before ../old`.

Both take turns in one run, each in a process of its own, so that whatever else the machine does meets both; seconds are
the processor's, the best of some rounds. `--record docs/speed.json` keeps them, `--page docs/speed.md` writes the page
from what was kept, and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORKER = """
import json, sys, time
from contextlib import nullcontext
from pathlib import Path

checkout, options = Path(sys.argv[1]), json.loads(sys.argv[2])
sys.path.insert(0, str(checkout))
import numpy as np
import torch

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.scrub import Scrubber
from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.language.load import load as load_claims
from ad_hypotheses.progress import Progress
from ad_hypotheses.studies.data import OWN, histories
from ad_hypotheses.studies.machine import keep_freed_memory
from ad_hypotheses.studies.rivals.choose import default_rivals, fitting
from ad_hypotheses.studies.scrub.bind import ScrubSettings, make_grounds, prepare
from ad_hypotheses.studies.scrub.measure import measure

torch.set_num_threads(1)
keep_freed_memory()
seconds, PASSES = {}, 6


class Timed:
    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.began = time.process_time()

    def __exit__(self, *error):  # the best time counts of what is done again
        seconds[self.name] = min(time.process_time() - self.began, seconds.get(self.name, 1e9))


checkpoint = load(options["model"], checkout / "models")
claims = load_claims(checkout / "hypotheses" / f"{options['claim']}.py")
settings = ScrubSettings(rows=options["rows"], pool=options["pool"], data=("source",))
grounds = make_grounds(checkpoint, settings, Progress())
study = prepare(claims[0], claims[1:], checkpoint, settings, grounds)
(ground,) = grounds
clean, bound = ground.clean, study.claims[0].bound
with Timed("plain forward"), torch.no_grad():
    for rows in clean.chunks():
        checkpoint.model(clean.tokens[rows])
clean.known_log_probs = None
with Timed("measure"), getattr(clean, "one_run", nullcontext)():
    ground.log_probs
    for claim in study.claims:
        extent = settings.extent(claim.kind == "hypothesis", True)
        measure(ground, claim.bound, extent, settings.options, settings.seed)
with clean.prepared():
    scrubber = Scrubber(clean, bound)
    with Timed("classes"):
        Scrubber(clean, bound)
    flat = Scrubber(clean, bound.without_features())
    passes = {"pass": (scrubber, None), "flat pass": (flat, None), "few": (scrubber, 16)}
    for name, (engine, n_rows) in passes.items():
        for number in range(PASSES):
            with Timed(name):
                engine.run(number, n_rows=n_rows)
with Timed("rivals"):
    fitting(default_rivals(claims[0], claims)[0], checkpoint, [ground.for_rivals()])
n_rows, n_steps = clean.tokens.shape[:2]
with Timed("lives"):
    histories(checkpoint, n_rows, OWN, tasks="all")

# how fast this core multiplies and reads, and what the model must multiply and read at least
square, block = torch.rand(1024, 1024), torch.rand(2**26)
for _ in range(PASSES):
    with Timed("product"):
        square @ square
    with Timed("reading"):
        block.sum()
speed = 2 * 1024**3 / seconds.pop("product")
bandwidth = block.nbytes / seconds.pop("reading")
shape, tokens = checkpoint.model.shape, n_rows * n_steps
weights = shape.n_layers * (4 * shape.d_model**2 + 2 * shape.d_model * (shape.d_mlp or 4 * shape.d_model))
seen = shape.n_layers * shape.d_model * (n_steps + 1) / 2
flops = 2 * tokens * (weights + 2 * seen)
# without a cache that holds them, the keys and values of all earlier steps are read for each step that is lived
read = 2 * tokens * seen * block.element_size()
floors = {"plain forward": flops / speed, "lives": max(flops / speed, read / bandwidth)}
print(json.dumps({"seconds": seconds, "floors": floors}))
"""
STAGES = {
    "plain forward": "the model over all histories, plainly",
    "lives": "as many lives of the model, step by step",
    "measure": "the model's runs and all that is measured of claim, control and wrong site on the source's data",
    "pass": "a pass of the claim",
    "flat pass": "a pass with constant features",
    "few": "a pass of the claim for 16 references",
    "classes": "who agrees with whom, for all nodes of the claim",
    "rivals": "features of the rivals, with their checks",
    "whole": "`scrub` as a command, on three data sets, with imports, lives, rivals and report",
    "again": "the same command once more, with what the first one kept on disk",
}
FLOORS = (
    "Stages whose code is the same in both show how much the machine disturbed them. The floor of a plain run is the "
    "arithmetic of its matrix products at the speed of one large product; that of lives is the keys and values of all "
    "earlier steps, read once for each step at the speed at which memory is read. Above the first are exponentials, "
    "norms and small products (heads of a few coordinates); above the second, products of a single query with its "
    "keys, which run far below either speed."
)
TRIED = (
    "Tried, and left out because it did not pay: keys and values that take no more room than the life is long, so that "
    "they lie closer together; attention of single queries as machine code of numba; linear map and GELU in one call "
    "of oneDNN, which takes as long as both in blocks that fit the cache. Measured, and too little to be worth code: "
    "gathering nodes that are exact by construction, and what a step of a life takes beside products and attention. "
    "Lives of fewer rows side by side would fit the cache and be other lives; keys in 16 bits would be another model's."
)


def measured(checkout: Path, options: dict[str, object]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the processor seconds of every stage in a process of its own that computes with a checkout, and floors."""
    ran = subprocess.run(
        [sys.executable, "-c", WORKER, str(checkout), json.dumps(options)],
        capture_output=True, text=True, cwd=checkout, env=_environment(), check=False,
    )  # fmt: skip
    if ran.returncode:
        sys.exit(f"{checkout}: {ran.stderr[-2000:]}")
    outcome = json.loads(ran.stdout.splitlines()[-1])
    return outcome["seconds"], outcome["floors"]


def whole(checkout: Path, options: dict[str, object]) -> dict[str, float]:
    """Return the processor seconds of `scrub` as a command, with nothing kept from before, and once more."""
    seconds = {}
    with tempfile.TemporaryDirectory() as reports:
        sizes = ["--rows", str(options["rows"]), "--pool", str(options["pool"])]
        command = [sys.executable, "cli.py", "scrub", f"hypotheses/{options['claim']}.py", *sizes, "--threads", "1"]
        for stage in ("whole", "again"):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            ran = subprocess.run(
                [*command, "--reports", reports], capture_output=True, text=True, cwd=checkout, env=_environment(),
                check=False,
            )  # fmt: skip
            if ran.returncode:
                sys.exit(f"{checkout}: {ran.stderr[-2000:]}")
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds[stage] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def beside_redwood(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return lines of a table beside Redwood's engine, from what `benchmarks/scrub.py --record` kept."""
    lines = [
        "## Beside Redwood's engine",
        "",
        "Processor milliseconds for history-level features, among 1,024 histories of 60 steps, on 2 layers of width",
        "64; ours count the model's own run over all of them, which serves every further pass.",
        "",
        "| | ours, one pass | ours, ten | `rust-circuit`, one | one pass | ten passes |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        theirs = row["rust-circuit"]
        name = f"{row['claim']}, {row['nodes']} tree nodes, {row['references']:,} references"
        figures = f"{row['one']:.0f} | {row['ten']:.0f} | {theirs:.0f}"
        times = f"{theirs / row['one']:.1f} x | {10 * theirs / row['ten']:.1f} x"
        lines.append(f"| {name} | {figures} | {times} |")
    return [*lines, ""]


def kept(record: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what was kept of both checkouts, and of Redwood's engine in the file beside it, if it was measured."""
    beside = record.with_name("speed_redwood.json")
    redwood = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else []
    return json.loads(record.read_text(encoding="utf-8")), redwood


def page(record: dict[str, Any], redwood: Sequence[dict[str, Any]]) -> str:
    """Return the page about what was kept as Markdown."""
    options, before, after, floors = (record[name] for name in ("options", "before", "after", "floors"))
    rows = []
    for stage, words in STAGES.items():
        if stage in before and stage in after:
            seconds = f"{before[stage]:.2f} | {after[stage]:.2f} | {before[stage] / after[stage]:.1f} x"
            floor = (
                f"{floors[stage]:.2f}, of which we take {after[stage] / floors[stage]:.1f} x" if stage in floors else ""
            )
            rows.append(f"| {words} | {seconds} | {floor} |")
    lines = [
        "# What a study costs",
        "",
        f"Processor seconds of one thread, the best of {options['rounds']}, for `{options['claim']}` on "
        f"`{options['model']}` with {options['rows']} references and {options['pool']} donors. Both versions took "
        "turns in one run, so compare the columns, and not the seconds with those of another machine.",
        "",
        f"| | commit {record['before_is']} | commit {record['after_is']} | | floor |",
        "|---|---|---|---|---|",
        *rows,
        "",
        FLOORS,
        "",
        TRIED,
        "",
        *(beside_redwood(redwood) if redwood else []),
        f"Measured by `benchmarks/before_after.py` and `benchmarks/scrub.py --record` on {record['machine']}; the "
        "figures lie beside this page.",
        "",
    ]
    return "\n".join(lines)


def revision(checkout: Path) -> str:
    """Return the short name of a checkout's commit."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print, or write the page about what was measured before."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="a checkout of an earlier version")
    parser.add_argument("--model", default="dark-room")
    parser.add_argument("--claim", default="mimic")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--pool", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--whole", action="store_true", help="run the command, too: it takes longest")
    parser.add_argument("--record", type=Path, default=ROOT / "docs" / "speed.json")
    parser.add_argument("--page", type=Path, help="write the page from the record, and measure nothing")
    options = parser.parse_args(arguments)
    if options.page is not None:
        options.page.write_text(page(*kept(options.record)), encoding="utf-8")
        return
    if options.before is None:
        parser.error("say with --before which checkout to compare with, or what --page to write")
    how = {name: getattr(options, name) for name in ("model", "claim", "rows", "pool", "rounds")}
    checkouts = {"before": options.before.resolve(), "after": ROOT}
    best: dict[str, dict[str, float]] = {name: {} for name in (*checkouts, "floors")}
    for _ in range(options.rounds):
        for name, checkout in checkouts.items():
            seconds, floors = measured(checkout, how)
            if options.whole:
                seconds |= whole(checkout, how)
            for kind, values in ((name, seconds), ("floors", floors)):
                best[kind] = {stage: min(value, best[kind].get(stage, value)) for stage, value in values.items()}
            print(name, json.dumps({stage: round(value, 3) for stage, value in seconds.items()}), flush=True)
    record = {
        "options": how,
        **best,
        **{f"{name}_is": revision(checkout) for name, checkout in checkouts.items()},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
    }
    options.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
