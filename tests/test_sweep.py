"""A sweep trains the whole grid, goes on where it stopped, and reports what the grid shows."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from ad_hypotheses.cli.app import main
from ad_hypotheses.distill import checkpoint as zoo
from ad_hypotheses.distill.config import check_config
from ad_hypotheses.errors import ConfigError
from ad_hypotheses.jobs.engines import RETRIES
from ad_hypotheses.storage.lock import LOCK, held
from ad_hypotheses.storage.owner import Owner
from ad_hypotheses.studies.listing import checkpoints
from ad_hypotheses.studies.sweep import study as sweeping
from ad_hypotheses.studies.sweep import trainings
from ad_hypotheses.studies.sweep.grid import labels, read_sweep
from ad_hypotheses.studies.sweep.page import plot, text
from ad_hypotheses.studies.sweep.plan import SweepSettings, TimeEstimate
from ad_hypotheses.studies.sweep.record import Earned, Sweep, Trained, rows
from ad_hypotheses.studies.sweep.workers import END, TrainingEnd, TrainingJob, last_words, run_training

ROOT = Path(__file__).parents[1]
PNG = b"\x89PNG"
BASE = """\
task: {name: dark-room, size: 3, horizon: 4}
source: {name: epsilon-greedy-q, anneal_episodes: 4}
histories: {held_out: 2, learners: 28, episodes: 4, keep_every: 1, check: false}
model: {n_layers: 1, n_heads: 2, d_model: 8}
training: {updates: 6, batch: 4, warmup: 2, evaluate_every: 6, save_every: 3}
"""
GRID = """\
base: base.yaml
grid:
  model.n_layers: [1, 2]
  histories.train_tasks: [2, 7]
  training.seed: [0, 1]
set:
  training.batch: 3
name: "l{n_layers}-g{train_tasks}-s{seed}"
"""


@pytest.fixture
def place(tmp_path, monkeypatch, sketches):
    """A working directory with a sweep of eight models and its base."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("AD_HYPOTHESES_TRACEBACK", raising=False)
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "rooms.yaml").write_text(GRID)
    return tmp_path


def run(capsys, *arguments):
    """Run the command line in this process; returns its exit code, stdout and stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return int(end.value.code or 0), out, err


# the grid


def test_the_grid_is_the_product_of_its_lists_in_their_order(place):
    grid = read_sweep(Path("rooms.yaml"))
    assert [cell.name for cell in grid.cells] == [f"l{n}-g{g}-s{s}" for n in (1, 2) for g in (2, 7) for s in (0, 1)]
    cell = grid.cells[5]
    assert cell.values == {"model.n_layers": 2, "histories.train_tasks": 2, "training.seed": 1}
    wanted = yaml.safe_load(BASE)
    wanted["model"]["n_layers"], wanted["histories"]["train_tasks"] = 2, 2
    wanted["training"] |= {"seed": 1, "batch": 3}
    assert cell.config == check_config(wanted, "a test")
    assert (grid.base, grid.seeds, grid.fixed) == ("base.yaml", ["training.seed"], {"training.batch": 3})


def test_a_link_takes_the_value_of_a_key_of_the_grid(place):
    (place / "rooms.yaml").write_text(GRID + "link: {histories.seed: training.seed}\n")
    cells = read_sweep(Path("rooms.yaml")).cells
    assert [cell.config.histories.seed for cell in cells] == [cell.config.training.seed for cell in cells] == [0, 1] * 4
    assert "histories.seed" not in cells[0].values


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("{histories.seed: training.sed}", "link.histories.seed: 'training.sed' is no key of the grid"),
        ("{training.batch: training.seed}", "link.training.batch: stands under grid or set as well"),
        ("{histories.sed: training.seed}", "histories.sed: histories has no key 'sed'"),
        ("[training.seed]", "link: must be keys with a key of the grid each"),
    ],
)
def test_a_link_that_leads_nowhere_is_refused(link, problem, place):
    (place / "rooms.yaml").write_text(f"{GRID}link: {link}\n")
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        read_sweep(Path("rooms.yaml"))
    assert problem in str(caught.value)


def test_a_sweep_with_models_that_cannot_be_trained_is_refused_before_it_starts(place, capsys):
    text = GRID.replace("training.seed: [0, 1]", "histories.keep_every: [1, 4]").replace("s{seed}", "k{keep_every}")
    (place / "rooms.yaml").write_text(text.replace("training.batch: 3", "source: {name: ucb1}"))
    for also in ([], ["--dry-run"]):
        code, out, err = run(capsys, "sweep", "rooms.yaml", *also)
        assert (code, out) == (2, "")
        assert "all 8 models:\n    source: ucb1 learns bandits, not dark-room" in err
        assert err.count("histories.keep_every: 4 leaves 1 of histories.episodes = 4") == 1
        assert not (place / "models").exists()


@pytest.mark.parametrize("base", ["base.yaml", "../base.yaml", "inline"])
def test_the_base_is_found_beside_the_sweep_or_from_here_or_stands_in_it(base, place):
    (place / "sweeps").mkdir()
    content = yaml.safe_load(GRID) | {"base": yaml.safe_load(BASE) if base == "inline" else base}
    (place / "sweeps" / "rooms.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    grid = read_sweep(Path("sweeps/rooms.yaml"))
    assert [cell.config for cell in grid.cells] == [cell.config for cell in read_sweep(Path("rooms.yaml")).cells]


def names(place, grid, name=None):
    content = {"base": "base.yaml", "grid": grid} | ({} if name is None else {"name": name})
    (place / "named.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return [cell.name for cell in read_sweep(place / "named.yaml").cells]


def test_names(place):
    assert names(place, {"model.n_layers": [1, 2]}) == ["n_layers_1", "n_layers_2"]
    two_seeds = {"training.seed": [0], "histories.seed": [0, 1]}
    assert names(place, two_seeds) == [f"training_seed_0-histories_seed_{seed}" for seed in (0, 1)]
    assert names(place, two_seeds, "h{histories.seed}") == ["h0", "h1"]
    assert names(place, {"histories.train_tasks": [2, 7]}, "g{train_tasks:03d}") == ["g002", "g007"]
    sources = [{"name": "dyna-q"}, {"name": "epsilon-greedy-q", "alpha": 0.5}, {"name": "epsilon-greedy-q"}]
    assert names(place, {"source": sources}, "{source}") == ["dyna-q", "epsilon-greedy-q-1", "epsilon-greedy-q-2"]
    assert labels([0.002, 1e-05, None, True, [1, 2]]) == ["0.002", "1e-05", "none", "true", "1-2"]


@pytest.mark.parametrize(
    ("old", "new", "fragments"),
    [
        ("base: base.yaml", "base: bse.yaml", ["base: there is no file 'bse.yaml'", "Looked for:"]),
        ("base: base.yaml", "base: 3", ["base: must be a file or a whole configuration, not 3"]),
        ("base: base.yaml\n", "", ["base: is missing", "base: models/dark-room/config.yaml"]),
        ("set:", "sets:", ["sets: no such key. Did you mean 'set'? Known: base, grid, link, set, name."]),
        ("grid:\n", "grid: [\n", ["rooms.yaml is not valid YAML"]),
        ("grid:", "grd:", ["grd: no such key. Did you mean 'grid'?", "grid: needs at least one key"]),
        ("[1, 2]", "[]", ["grid.model.n_layers: the list is empty"]),
        ("[1, 2]", "2", ["grid.model.n_layers: must be a list of values, but it is 2", "under set"]),
        ("[1, 2]", "[1, 1]", ["grid.model.n_layers: 1 stands there twice"]),
        (
            "model.n_layers: [1, 2]",
            "model: {n_layers: [1, 2]}",
            ["grid.model: is a section", "'model.n_layers: [...]'"],
        ),
        ("model.n_layers", "model.n_layer", ["model has no key 'n_layer'", "Did you mean 'model.n_layers'?"]),
        ("model.n_layers", "modl.n_layers", ["there is no section 'modl'. Did you mean 'model'?"]),
        ("model.n_layers", "n_layer", ["there is no section 'n_layer'. Did you mean 'model.n_layers'?"]),
        ("model.n_layers", "model.n_layers.x", ["model.n_layers.x: must be a section and one of its keys"]),
        ("training.batch: 3", "task.sze: 3", ["all 8 models:", "sze"]),
        ("training.batch: 3", "training.seed: 3", ["set.training.seed: stands under grid as well"]),
        ("set:\n  training.batch: 3", "set: 3", ["set: must be dotted keys with a value each"]),
        ("[1, 2]", "[1, 0]", ["l0-g2-s0 (model.n_layers 0,", "and 1 more", "greater than or equal to 1, but it is 0"]),
        ("[2, 7]", "[2, 70]", ["l1-g70-s0 (model.n_layers 1, histories.train_tasks 70"]),
        ("-s{seed}", "", ["2 models are called 'l1-g2'", "must hold {seed}"]),
        ("{seed}", "{sed}", ["{sed} is no key of the grid. Did you mean 'seed'? Known: n_layers, train_tasks, seed."]),
        ("-s{seed}", "/s{seed}", ["'l1-g2/s0' cannot be a folder"]),
        ("{seed}", "{seed", ["name: 'l{n_layers}-g{train_tasks}-s{seed'"]),
        ("{seed}", "{seed:q}", ["does not fit the values"]),
        ('name: "', 'name: 3 # "', ["name: must be text such as"]),
    ],
)
@pytest.mark.default_cases(10)
def test_every_mistake_is_named_before_anything_starts(old, new, fragments, place, capsys):
    assert old in GRID
    (place / "rooms.yaml").write_text(GRID.replace(old, new))
    code, out, err = run(capsys, "sweep", "rooms.yaml")
    assert (code, out) == (2, "")
    said = " ".join(err.split())
    for fragment in fragments:
        assert fragment in said, err
    assert not (place / "models").exists()


def test_all_mistakes_are_listed_and_each_once(place):
    (place / "rooms.yaml").write_text(GRID.replace("[1, 2]", "[1, 65]").replace("[2, 7]", "[2, 7, -1]"))
    with pytest.raises(ConfigError) as caught:
        read_sweep(Path("rooms.yaml"))
    lines = str(caught.value).splitlines()
    assert sum("n_layers: input should be less than or equal to 64" in line for line in lines) == 1
    assert sum("train_tasks: input should be greater" in line for line in lines) == 1


def test_what_is_no_file_or_no_mapping(place, capsys):
    assert "cannot read the sweep nowhere.yaml" in run(capsys, "sweep", "nowhere.yaml")[2]
    (place / "rooms.yaml").write_text("- 1\n")
    assert "must be a mapping of keys, but it is list" in run(capsys, "sweep", "rooms.yaml")[2]
    assert "0 is too few" in run(capsys, "sweep", "rooms.yaml", "--workers", 0)[2]


def test_a_dry_run_lists_the_models_and_writes_nothing(place, capsys):
    code, out, _ = run(capsys, "sweep", "rooms.yaml", "--dry-run")
    assert code == 0
    assert all(f"l{n}-g{g}-s{s}" in out for n in (1, 2) for g in (2, 7) for s in (0, 1))
    assert "sweep models/rooms: 8 models; " in out
    assert sorted(path.name for path in place.iterdir()) == ["base.yaml", "rooms.yaml"]


# training


class ThisThread(Executor):
    """Runs every call where it is submitted."""

    def __init__(self, max_workers: int) -> None:
        self.max_workers = max_workers

    def submit(self, function, /, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


@pytest.fixture
def in_process(monkeypatch):
    """Let workers run in this process; returns the commands that were run, and the names of models to fail."""
    commands, failing = [], set()

    def run_training(training):
        commands.append(" ".join(["python", "cli.py", *training.arguments]))
        if training.name in failing:
            training.log.write_text("training it\nerror: the room is on fire.\n  Leave it.\n")
            return TrainingEnd(2, 1.0)
        with pytest.raises(SystemExit) as end:
            main(list(training.arguments))
        return TrainingEnd(int(end.value.code or 0), 1.0)

    monkeypatch.setattr(trainings, "run_training", run_training)
    monkeypatch.setattr(sweeping, "ThreadPoolExecutor", ThisThread)
    monkeypatch.setattr("ad_hypotheses.studies.train.study.ROLLOUTS", 14)
    return commands, failing


def small(place, grid="{model.n_layers: [1, 2], training.seed: [0]}"):
    (place / "small.yaml").write_text(f"base: base.yaml\ngrid: {grid}\nname: 'l{{n_layers}}-s{{seed}}'\n")


def test_a_sweep_trains_every_model_once_and_reports(place, capsys, in_process):
    commands, failing = in_process
    small(place)
    failing.add("l2-s0")
    code, out, err = run(capsys, "sweep", "small.yaml", "--workers", 2)
    assert code == 2
    assert commands[0] == ("python cli.py train models/small/l1-s0/config.yaml --out models/small/l1-s0 --threads 1")
    assert len(commands) == 2
    assert "1 of 2 models failed; the same command tries them again." in err
    assert "error: the room is on fire." in err
    assert "models/small/l2-s0/training/log.txt" in err
    assert "Not trained: `l2-s0`" in Path("reports/sweep-small.md").read_text()
    folder = Path("models/small/l1-s0")
    assert json.loads((folder / "record.json").read_text())["command"] == commands[0]
    assert (folder / "training" / "metrics.jsonl").exists()
    assert not (folder / "training" / "histories").exists()

    code, out, _ = run(capsys, "sweep", "small.yaml", "--dry-run", "--workers", 2)
    assert code == 0
    assert re.search(r"not trained yet: about \d+ s of one worker, .*; \d+ s with 2 workers, and the longest", out)

    failing.clear()
    commands.clear()
    code, out, err = run(capsys, "sweep", "small.yaml", "--workers", 2)
    assert (code, [command.split()[3] for command in commands]) == (0, ["models/small/l2-s0/config.yaml"])
    assert "2 models, 1 of them trained already" in err
    assert "report: reports/sweep-small.md" in out
    page = Path("reports/sweep-small.md")
    first = page.read_text()
    assert "Not trained" not in first
    assert Path("reports/sweep-small.png").read_bytes().startswith(PNG)
    lines = list(csv.DictReader(io.StringIO(Path("reports/sweep-small.csv").read_text())))
    assert [line["model"] for line in lines] == ["l1-s0", "l2-s0"]
    record = json.loads(Path("models/small/l2-s0/record.json").read_text())
    assert float(lines[1]["held_out_of_optimum"]) == record["evaluation"]["summary"]["held_out_of_optimum"]
    assert int(lines[1]["parameters"]) == record["parameters"]

    page.unlink()
    Path("models/small/l1-s0/card.md").unlink()
    commands.clear()
    code, _, err = run(capsys, "sweep", "small.yaml")
    assert Path("models/small/l1-s0/card.md").exists()
    assert (code, commands, page.read_text()) == (0, [], first)
    assert "nothing to train" in err

    (place / "small.yaml").write_text((place / "small.yaml").read_text() + "set: {training.updates: 7}\n")
    code, _, err = run(capsys, "sweep", "small.yaml")
    assert (code, commands) == (2, [])
    assert err.count("holds a model that was trained with another configuration") == 2


def test_a_model_of_a_sweep_is_found_by_its_path(place, capsys, in_process):
    small(place, "{model.n_layers: [1], training.seed: [0]}")
    assert run(capsys, "sweep", "small.yaml")[0] == 0
    scratch = Path("models/small/l1-s0/training/weights.safetensors")
    shutil.copy("models/small/l1-s0/weights.safetensors", scratch)
    assert zoo.names() == [row.name for row in checkpoints(Path("models"))] == ["small/l1-s0"]
    assert zoo.load("small/l1-s0").name == zoo.load("models/small/l1-s0").name == "small/l1-s0"
    assert zoo.load("l1-s0", Path("models/small")).name == zoo.load("models/small/l1-s0", Path("elsewhere")).name
    assert "Did you mean 'small/l1-s0'" in run(capsys, "evaluate", "small/l1-s1")[2]
    code, out, _ = run(capsys, "evaluate", "small/l1-s0", "--rollouts", 4)
    assert (code, Path("reports/evaluate-small-l1-s0-rollouts-4.md").is_file()) == (0, True)
    assert "small/l1-s0, 4 rollouts" in out


def test_a_second_sweep_is_refused_with_the_number_and_host_of_the_first(place, capsys, in_process):
    commands, _ = in_process
    small(place)
    owner = Owner("node7", "elsewhere", 41, "")
    Path("models/small").mkdir(parents=True)
    Path("models/small", LOCK).write_text(json.dumps({**asdict(owner), "doing": "training a sweep", "since": "now"}))
    code, _, err = run(capsys, "sweep", "small.yaml")
    assert (code, commands) == (2, [])
    assert "models/small is in use: process 41 on node7 is training a sweep there" in err


@pytest.mark.slow
def test_a_worker_is_the_command_line_in_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # it is found from everywhere

    def ended(arguments, log):
        return run_training(TrainingJob("it", tuple(arguments.split()), 1, tmp_path, Path(log), Path("models")))

    with held(tmp_path / "models", "training a sweep"):
        assert ended("--version", "version.txt").code == 0
        assert ended("train nowhere.yaml", "nowhere.txt").code == 2
    assert last_words(tmp_path / "version.txt", 0)[0].startswith("ad-hypotheses ")
    assert last_words(tmp_path / "nowhere.txt", 2)[-1].startswith("error: cannot read the configuration nowhere.yaml")
    # nobody holds the lock of the sweep any more, or it is about to stop: nothing is begun
    assert ended("--version", "late.txt").code == 2
    with held(tmp_path / "models", "training a sweep"):
        (tmp_path / "models" / END).touch()
        assert ended("--version", "late.txt").code == 2
    assert not (tmp_path / "late.txt").exists()


def test_a_process_that_was_killed_is_tried_again_and_not_for_ever(place, capsys, in_process, monkeypatch):
    commands, _ = in_process
    codes = iter([-signal.SIGKILL, -signal.SIGSEGV, 0])
    whole = trainings.run_training
    monkeypatch.setattr(
        trainings, "run_training", lambda training: TrainingEnd(code, 1.0) if (code := next(codes)) else whole(training)
    )
    small(place, "{model.n_layers: [1], training.seed: [0]}")
    code, _, err = run(capsys, "sweep", "small.yaml")
    assert (code, len(commands)) == (0, 1)
    assert "l1-s0 was ended by signal 9; it goes on where its state was saved last" in err
    shutil.rmtree("models/small")
    codes = iter([-signal.SIGKILL] * 9)
    code, _, err = run(capsys, "sweep", "small.yaml")
    assert (code, len(commands), len(list(codes))) == (2, 1, 9 - 1 - RETRIES)
    assert "ended by signal 9" in err


def test_the_time_left_is_told_by_what_models_cost():
    estimate = TimeEstimate({"a": 10.0, "b": 20.0, "c": 40.0, "d": 40.0}, n_workers=2)
    assert estimate.left(4) is None
    estimate.spent.append((10.0, 5.0))
    estimate.waiting, estimate.running = ["c", "d"], {"b": 4.0}
    assert estimate.left(4) == pytest.approx((20 + 20 + 10 - 4) / 2)
    estimate.waiting, estimate.running = [], {"c": 4.0}
    assert estimate.left(4) == pytest.approx(16)


def test_workers_are_spread_over_what_computes(place, monkeypatch):
    grid = read_sweep(Path("rooms.yaml"))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setattr("ad_hypotheses.studies.sweep.plan.n_cpus", lambda: 6)
    for device, asked, threads, devices, n_workers in (
        ("cpu", None, 1, ["cpu"], 6),
        ("cpu", None, 4, ["cpu"], 1),
        ("cpu", None, 8, ["cpu"], 1),
        ("cpu", 20, 1, ["cpu"], 8),
        ("cuda", None, 1, ["cuda:0", "cuda:1", "cuda:2"], 3),
        ("cuda:1", 2, 1, ["cuda:1"], 2),
    ):
        made = SweepSettings(grid, Path("models/rooms"), device, asked, threads)
        assert (made.devices, made.n_workers) == (devices, n_workers)


def sweep_process(*arguments):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), "sweep", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
    )  # fmt: skip


def wait_until(true, seconds=120):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_stopped_keeps_what_was_begun_and_goes_on(how, place):
    (place / "base.yaml").write_text(BASE.replace("updates: 6", "updates: 1500").replace("_every: 6", "_every: 1500"))
    small(place, "{model.n_layers: [1], training.seed: [0, 1]}")
    logs = [Path(f"models/small/l1-s{seed}/training/log.txt") for seed in (0, 1)]
    first = sweep_process("small.yaml", "--workers", "2")
    wait_until(lambda: all(log.exists() and "other" in log.read_text() for log in logs))
    assert f"in use: process {first.pid} on " in sweep_process("small.yaml").communicate()[1]
    first.send_signal(how)
    _, err = first.communicate(timeout=60)
    wait_until(lambda: all("stopped after update" in log.read_text() for log in logs), 30)
    if how != signal.SIGKILL:
        assert first.returncode == 2
        assert "stopped; 0 of 2 models are trained" in err
    assert all((log.parent / "state.safetensors").exists() for log in logs)
    second = sweep_process("small.yaml", "--workers", "2")
    out, err = second.communicate(timeout=240)
    assert second.returncode == 0, err
    assert "2 models, 2 begun" in err
    assert "report: reports/sweep-small.md" in out
    assert all("going on after update" in log.read_text() for log in logs)


# the report


def made(axes, seeds=("seed",), held_out=0.9, missing=()):
    """A sweep over some axes, whose models get better from cell to cell."""
    import itertools

    cells = list(itertools.product(*axes.values()))
    models = []
    for n, at in enumerate(cells):
        train = Earned(0.5 + n / 50, 0.1, 0.4 + n / 50)
        found = None if held_out is None else Earned(held_out - n / 50, 0.2, held_out - n / 50 - 0.2)
        models.append(Trained("-".join(at), at, 1000 + n, train, found, 61.5))
    return Sweep("a_b", "python cli.py sweep x.yaml", "base.yaml", axes, seeds, {"training.updates": "7"}, models,
                 {name: ["it said nothing"] for name in missing})  # fmt: skip


AXES = {"n_layers": ["1", "2"], "train_tasks": ["4", "65"], "seed": ["0", "1"]}


def test_the_page_has_means_over_seeds_and_every_model():
    page = text(made(AXES, missing=["gone"]), "sweep-a_b")
    for fragment in (
        "# a\\_b: 9 models",
        "Best on held-out tasks: n\\_layers 1, train\\_tasks 4, 89% (88% to 90%) of the optimum.",
        "| 1 | 65 | 1,002 | 85% (84% to 86%) | 55% (54% to 56%) |",
        "| 1 | 65 | 20% (20% to 20%) | +65 (+64 to +66) | 2 |",
        "| `2-4-1` | 2 | 4 | 1 | 1,005 | 80% |",
        "| `2-4-1` | 60% | 20% | +60 | 62 s |",
        "as in `base.yaml`; training.updates 7.",
        "Means over seed, with the least and the greatest in brackets.",
        "Not trained: `gone`.",
        "![Share of the optimum by setting](sweep-a_b.png)",
        "python cli.py sweep x.yaml",
    ):
        assert fragment in page
    assert rows(made(AXES))[2]["held_out_improvement"] == pytest.approx(0.66)


def test_without_held_out_tasks_the_train_tasks_tell():
    page = text(made(AXES, held_out=None), "sweep-a_b")
    assert "Best on train tasks (none are held out): n\\_layers 2, train\\_tasks 65, 63% (62% to 64%)" in page
    assert "| 2 | 65 | 1,006 | 63% (62% to 64%) | 10% (10% to 10%) |" in page
    assert "| 2 | 65 | +53 (+52 to +54) | 2 |" in page


def test_where_shares_mean_nothing_regret_tells():
    models = [Trained(f"s{n}", (str(n),), 7, Earned(regret=9.0), Earned(regret=3.0 + n), 1.0) for n in (0, 1)]
    sweep = replace(made({"seed": ["0", "1"]}), models=models)
    page = text(sweep, "sweep-a_b")
    assert "Best on held-out tasks: the one setting, a regret of 3.50 (3.00 to 4.00)." in page
    assert "| weights | regret | models |" in page
    assert plot(sweep).startswith(PNG)


@pytest.mark.parametrize(
    ("axes", "seeds"),
    [
        (AXES, ("seed",)),
        ({"seed": ["0", "1"]}, ("seed",)),
        ({"source": ["dyna-q", "epsilon-greedy-q"]}, ()),
        ({"n_layers": ["1"], "task": ["a", "b", "c"], "train_tasks": ["none", "7"], "seed": ["0"]}, ("seed",)),
    ],
)
@pytest.mark.default_cases(1)
def test_the_plot_is_a_picture_and_the_same_every_time(axes, seeds):
    picture = plot(made(axes, seeds))
    assert picture.startswith(PNG)
    assert len(axes) != 1 or picture == plot(made(axes, seeds))
