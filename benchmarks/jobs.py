"""What it costs to send a job and to hear of its end: `python benchmarks/jobs.py --jobs 100000`.

Jobs that do nothing go through `run_jobs` on processes of this machine, or on a cluster (`--engine`). Processor time of
this process a job, and by how much its memory grows, are what many small jobs cost at least.
"""

from __future__ import annotations

import argparse
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--engine", default="local:2")
    options = parser.parse_args()
    engine = Engine.parse(options.engine)
    with executor_of(engine, Needs()) as cluster:
        opened = (
            partial(processes, engine.workers or 2, os.getpid) if cluster is None else partial(nullcontext, cluster)
        )
        before, began, spent = memory(), time.perf_counter(), time.process_time()
        n_done = sum(1 for _ in run_jobs(abs, range(options.jobs), opened))
        spent, passed = time.process_time() - spent, time.perf_counter() - began
    print(
        f"{n_done:,} jobs on {engine}: {1e6 * spent / n_done:.0f} microseconds of processor time each in the process "
        f"that sends them, {1e6 * passed / n_done:.0f} on the clock, {memory() - before:.0f} MB more memory"
    )


def memory() -> float:
    """Return the most memory that this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
