"""Small clusters on this machine, whose workers and nodes can be killed; another one takes the place of each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@contextmanager
def dask_cluster():
    """Start a scheduler and two workers; yields its engine, and what kills a worker."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:

        def kill() -> None:
            nanny = next(nanny for nanny in cluster.workers.values() if nanny.pid is not None)
            os.kill(nanny.pid, signal.SIGKILL)

        yield f"dask:{cluster.scheduler_address}", kill


@contextmanager
def ray_cluster():
    """Start a head without processors and two nodes; yields its engine, and what kills a node."""
    pytest.importorskip("ray")
    words = [sys.executable, str(ROOT / "tests" / "two_ray_nodes.py")]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=env) as nodes:

        def kill() -> None:
            nodes.stdin.write("\n")
            nodes.stdin.flush()
            assert nodes.stdout.readline() == "killed\n"

        try:
            yield f"ray:{nodes.stdout.readline().strip()}", kill
        finally:
            nodes.stdin.close()
            nodes.wait(60)
