"""What it costs to send a job and to hear of its end: `python benchmarks/jobs.py --jobs 100000`.

Jobs that do nothing go through `run_jobs` on processes of this machine, or on a cluster (`--engine`). Processor time of
this process a job, and by how much its memory grows, are what many small jobs cost at least. `--record docs/jobs.json`
keeps the figures of an engine beside those of the others, and writes the table in `docs/clusters.md` anew.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ad_hypotheses.jobs.engines import Engine, Needs, executor_of
from ad_hypotheses.jobs.local import processes
from ad_hypotheses.jobs.run import run_jobs

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "clusters.md"
BEGIN, END = "<!-- rendered from jobs.json -->", "<!-- end of jobs.json -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--engine", default="local:2")
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    engine = Engine.parse(options.engine)
    with executor_of(engine, Needs()) as cluster:
        opened = (
            partial(processes, engine.workers or 2, os.getpid) if cluster is None else partial(nullcontext, cluster)
        )
        before, began, spent = memory(), time.perf_counter(), time.process_time()
        n_done = sum(1 for _ in run_jobs(abs, range(options.jobs), opened))
        spent, passed = time.process_time() - spent, time.perf_counter() - began
    figures = {
        "jobs": n_done,
        "processor_microseconds": round(1e6 * spent / n_done),
        "clock_microseconds": round(1e6 * passed / n_done),
        "memory_mb": round(memory() - before),
    }
    print(f"{engine}: {figures}")
    if options.record is not None:
        record = json.loads(options.record.read_text(encoding="utf-8")) if options.record.exists() else {}
        record[engine.kind] = figures
        options.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        text = PAGE.read_text(encoding="utf-8")
        before_table, rest = text.split(BEGIN)
        PAGE.write_text(before_table + rendered(record) + rest.split(END)[1], encoding="utf-8")


def rendered(record: dict[str, dict[str, int]]) -> str:
    """Return the table of a record, between its marks."""
    lines = [
        "| engine | jobs | processor time a job, in the process that sends them | on the clock | memory of all |",
        "| --- | --: | --: | --: | --: |",
    ]
    for kind, figures in record.items():
        spent, passed = figures["processor_microseconds"], figures["clock_microseconds"]
        lines.append(f"| {kind} | {figures['jobs']:,} | {spent:,} µs | {passed:,} µs | {figures['memory_mb']:,} MB |")
    return "\n".join([BEGIN, *lines, END])


def memory() -> float:
    """Return the most memory that this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
