"""Jobs run wherever an engine puts them, and lose nothing when a worker is killed."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from clusters import dask_cluster, ray_cluster
from killed import always_killed, killed_once
from test_sweep import BASE

from ad_hypotheses.errors import UserError
from ad_hypotheses.jobs import versions
from ad_hypotheses.jobs.engines import Engine, Needs, executor_of
from ad_hypotheses.jobs.local import processes
from ad_hypotheses.jobs.run import run_jobs
from ad_hypotheses.jobs.versions import code_digest, require_same_code

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("local", Engine("local")),
        ("local:4", Engine("local", workers=4)),
        ("ray", Engine("ray")),
        ("ray:10.0.0.1:6379", Engine("ray", "10.0.0.1:6379")),
        ("dask:tcp://10.0.0.1:8786", Engine("dask", "tcp://10.0.0.1:8786")),
    ],
)
def test_an_engine_is_written_as_it_is_read(text, engine):
    assert Engine.parse(text) == engine
    assert str(engine) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rai", "Did you mean 'ray'"),
        ("", "there is no engine ''"),
        ("local:0", "at least 1"),
        ("local:many", "at least 1"),
        ("dask", "needs the address of its scheduler"),
    ],
)
def test_what_is_no_engine_is_refused(text, words):
    with pytest.raises(UserError, match=words):
        Engine.parse(text)


def test_this_machine_needs_no_executor():
    with executor_of(Engine("local"), Needs()) as executor:
        assert executor is None


def no_answer(*_, **__):
    raise OSError("Timed out trying to connect")


@pytest.mark.parametrize(
    ("engine", "module", "words"),
    [
        ("dask:tcp://127.0.0.1:9", {"Client": no_answer}, "no dask scheduler answers at tcp://127.0.0.1:9: Timed out"),
        ("ray:127.0.0.1:9", {"init": no_answer, "is_initialized": bool}, "no Ray cluster answers at 127.0.0.1:9"),
        ("ray", None, "ray is not installed"),
        ("dask:tcp://127.0.0.1:9", None, "dask is not installed"),
    ],
)
def test_an_engine_that_is_not_there_is_named(engine, module, words, monkeypatch):
    name = "ray" if engine.startswith("ray") else "distributed"
    monkeypatch.setitem(sys.modules, name, module and SimpleNamespace(**module))
    with pytest.raises(UserError, match=words):
        executor_of(Engine.parse(engine), Needs()).__enter__()


def test_workers_without_this_code_are_refused(monkeypatch):
    with ThreadPoolExecutor(1) as executor:
        require_same_code(executor, "ray")
        monkeypatch.setattr(versions, "code_of_worker", lambda: ("0" * 12, "/elsewhere", "node7"))
        with pytest.raises(UserError, match=f"0{{12}} in /elsewhere on node7\n  {code_digest()}"):
            require_same_code(executor, "ray")
        monkeypatch.setattr(versions, "code_of_worker", lambda: importlib.import_module("no_such_package"))
        with pytest.raises(UserError, match="a worker of ray has not this package"):
            require_same_code(executor, "ray")


def test_what_a_killed_process_was_at_is_done_again_and_nothing_twice(tmp_path):
    attempts: list[int] = []
    executors = partial(processes, 2, os.getpid)
    done = list(run_jobs(partial(killed_once, tmp_path), range(6), executors, lost=attempts.append))
    assert sorted(done) == [(number, number * number) for number in range(6)]
    assert attempts == [1]


def test_a_job_that_kills_every_process_is_given_up():
    attempts: list[int] = []
    with pytest.raises(BrokenExecutor):
        list(run_jobs(always_killed, [1], partial(processes, 1, os.getpid), retries=2, lost=attempts.append))
    assert attempts == [1, 2]


def test_an_error_of_a_job_ends_all():
    with ThreadPoolExecutor(1) as executor, pytest.raises(ZeroDivisionError):
        list(run_jobs(partial(pow, 0), [1, -1, 2], lambda: nullcontext(executor)))


# clusters


def wait_until(true, process: subprocess.Popen[str], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def command(place: Path, *arguments: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(ROOT / "cli.py"), *arguments]
    return subprocess.Popen(words, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


@pytest.fixture
def grid(tmp_path):
    """Return a folder with a sweep of two models, each of which trains for some seconds."""
    base = BASE.replace("updates: 6", "updates: 600").replace("evaluate_every: 6", "evaluate_every: 600")
    (tmp_path / "base.yaml").write_text(base.replace("save_every: 3", "save_every: 20"))
    (tmp_path / "two.yaml").write_text('base: base.yaml\ngrid: {training.seed: [0, 1]}\nname: "s{seed}"\n')
    return tmp_path


def digests(folder: Path) -> dict[str, str]:
    records = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("s*/record.json")}
    return {name: record["weights_sha256"] for name, record in records.items()}


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [dask_cluster, ray_cluster])
def test_a_sweep_on_a_cluster_that_loses_a_worker_gives_the_weights_of_one_machine(cluster, grid):
    alone = command(grid, "sweep", "two.yaml", "--out", "alone")
    with cluster() as (engine, kill):
        together = command(grid, "sweep", "two.yaml", "--out", "together", "--engine", engine)
        logs = [grid / f"together/s{seed}/training/log.txt" for seed in (0, 1)]
        wait_until(lambda: all(log.exists() and "other" in log.read_text() for log in logs), together)
        kill()
        said, _ = together.communicate(timeout=400)
        assert together.returncode == 0, said
    assert "report: reports/sweep-together.md" in said
    said, _ = alone.communicate(timeout=400)
    assert alone.returncode == 0, said
    assert len(digests(grid / "alone")) == 2
    assert digests(grid / "together") == digests(grid / "alone")
    assert any("going on after update" in log.read_text() for log in logs)  # the kill came in the middle


@pytest.mark.slow
def test_a_sweep_on_a_cluster_stops_where_the_states_are_whole(grid):
    with dask_cluster() as (engine, _):
        sweep = command(grid, "sweep", "two.yaml", "--out", "models", "--engine", engine)
        logs = [grid / f"models/s{seed}/training/log.txt" for seed in (0, 1)]
        wait_until(lambda: all(log.exists() and "other" in log.read_text() for log in logs), sweep)
        sweep.send_signal(signal.SIGINT)
        said, _ = sweep.communicate(timeout=120)
        assert sweep.returncode == 2, said
        assert "stopped; 0 of 2 models are trained" in said
        assert all("stopped after update" in log.read_text() for log in logs)
        assert not (grid / "models" / ".end.tmp").exists()


@pytest.mark.slow
def test_a_calibration_on_a_cluster_counts_what_one_process_counts(tmp_path):
    place = ("--models", str(ROOT / "models"), "--hypotheses", str(ROOT / "hypotheses" / "known"), "--quick")
    records = {}
    with dask_cluster() as (engine, kill):
        for name, more in (("one", ("--workers", "1")), ("cluster", ("--engine", engine))):
            (tmp_path / name).mkdir()
            run = command(tmp_path / name, "calibrate", "--only", "win-stay", *place, *more)
            if name == "cluster":
                wait_until(lambda: list((tmp_path / "cluster").glob("reports/.partial/calibration/*.jsonl")), run)
                kill()
            said, _ = run.communicate(timeout=400)
            assert run.returncode == 0, said
            (record,) = (tmp_path / name).glob("reports/calibration*.json")
            records[name] = json.loads(record.read_text())
    for record in records.values():
        del record["seconds"]
    assert records["one"] == records["cluster"]
