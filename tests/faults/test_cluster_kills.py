"""Workers of clusters are killed at any moment of a study, and its files come out as those of one process."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from clusters import dask_cluster, ray_cluster
from faults.kills import Ended, Moment, final, left_behind, run
from faults.small_studies import KNOWN, SIZE_OF_SCRUB, VERBS, make_small

ONE = ("--threads", "1")
ON_CLUSTERS = {
    "sweep": ("sweep", "sweep.yaml"),
    "calibrate": tuple(word for word in VERBS["calibrate"] if word not in ("--workers", "1")),
    "scrub": ("scrub", "stay", *SIZE_OF_SCRUB, *ONE),
    "behave": ("behave", KNOWN.name, "--contexts", "3", "--source-seeds", "2", "--data", "source,own", *ONE),
}


def run_beside(place: Path, arguments: tuple[str, ...]) -> tuple[threading.Thread, list[Ended]]:
    """Start a command in a process of its own; the list holds how it ended once the thread has."""
    ends: list[Ended] = []
    thread = threading.Thread(target=lambda: ends.append(run(place, arguments, Moment("change"), make_small)))
    thread.start()
    return thread, ends


def kill_workers(verb: str, cluster, n_kills: int, seed: int, new_place) -> int:
    """Kill a worker at a random moment of each of several runs, and compare what is left with one process's.

    Returns:
        How many kills came while a run was under way; the others came at its very end.
    """
    alone = new_place(verb)
    ended = run(alone, ON_CLUSTERS[verb], Moment("change"), make_small)
    assert ended.code == 0, ended.err
    expected, rng, in_time = final(alone), np.random.default_rng([seed, sorted(ON_CLUSTERS).index(verb)]), 0
    with cluster() as (engine, kill):
        seconds = np.inf  # of the fastest run so far, so that a kill comes while the next one is under way
        for number in range(n_kills + 1):  # the first run is not disturbed
            place, began = new_place(verb), time.monotonic()
            thread, ends = run_beside(place, (*ON_CLUSTERS[verb], "--engine", engine))
            if number:
                time.sleep(rng.uniform(0, seconds))
                in_time += thread.is_alive()
                kill()
            thread.join()
            seconds = min(seconds, time.monotonic() - began)
            assert ends[0].code == 0, (number, ends[0].err)
            files = final(place)
            assert files.keys() == expected.keys(), number
            assert [name for name in files if files[name] != expected[name]] == [], number
            assert left_behind(place) == []
            shutil.rmtree(place)
    return in_time


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [dask_cluster, ray_cluster])
def test_a_worker_that_is_killed_in_a_scrub_loses_nothing(cluster, seed, new_place):
    kill_workers("scrub", cluster, 1, seed, new_place)


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("verb", ON_CLUSTERS)
@pytest.mark.parametrize("cluster", [dask_cluster, ray_cluster])
def test_many_workers_that_are_killed_lose_nothing(cluster, verb, seed, new_place, request):
    n_kills = int(request.config.getoption("--cluster-kills"))
    in_time = kill_workers(verb, cluster, n_kills, seed + 1, new_place)
    print(f"{verb}, {cluster.__name__}: {n_kills} kills, {in_time} of them while it ran; nothing was lost")
    assert in_time >= n_kills / 2
