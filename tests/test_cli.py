"""Every verb does what it says, on stdout and in files; nothing heavy is loaded for help."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from ad_hypotheses.cli.options import default_name, parse_memory
from ad_hypotheses.language.load import chosen, load
from ad_hypotheses.progress import Pace, duration
from ad_hypotheses.report import progress
from ad_hypotheses.report import screen as terminal
from ad_hypotheses.report.progress import Meter
from ad_hypotheses.storage.lock import LOCK
from ad_hypotheses.storage.owner import Owner
from ad_hypotheses.studies import listing

ROOT = Path(__file__).parents[1]
VERBS = ("list", "train", "sweep", "evaluate", "behave", "new", "check", "scrub", "report")
CLAIMS = '''"""Stay: it stays where it was paid."""
import numpy as np
from ad_hypotheses import Hypothesis, embed, logits, mlp, node

@node(at=embed("reward"))
def paid(history):
    """Whether it was just paid."""
    return history.previous_rewards > 0

@node(at=logits)
def choice(paid):
    return np.where(paid, 0, -1)

stay = Hypothesis(choice, model="tiny", accept=0.5)
control = stay.on(paid=embed("action"))
'''
QUICK = ("--rows", 32, "--passes", 1, "--pool", 64, "--data", "source", "--rollouts", 8, "--no-rivals")
REPORT = "stay-tiny-rows-32-passes-1-pool-64-data-source-rollouts-8-no-rivals"


@pytest.fixture
def claims(workplace):
    path = workplace / "hypotheses" / "stay.py"
    path.write_text(CLAIMS)
    return path


def test_help_takes_little_processor_time_and_loads_nothing_heavy():
    code = (
        "import sys, time; from ad_hypotheses.cli.app import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert not end.code\n"
        "print('SECONDS', time.process_time())\n"
        "print('HEAVY', [name for name in ('torch', 'numpy', 'matplotlib', 'pydantic') if name in sys.modules])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    ]
    assert all("HEAVY []" in out and all(f" {verb} " in out for verb in VERBS) for out in runs)
    assert min(float(out.split("SECONDS ")[1].split()[0]) for out in runs) < 0.6


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_ends_with_an_example(verb, cli):
    ran = cli(verb, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.strip().splitlines()[-1].strip().startswith(f"Example: python cli.py {verb}")


def test_listing_needs_no_torch(workplace):
    code = "import sys; from ad_hypotheses.cli.app import main\n"
    code += "try: main(['list'])\nfinally: print('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], cwd=workplace, capture_output=True, text=True, env=env)
    assert ran.returncode == 0
    assert "tiny" in ran.stdout
    assert ran.stdout.endswith("False\n")


@pytest.mark.slow
def test_a_verb_loads_only_what_it_uses(claims, workplace):
    """Of what takes longer than a tenth of a second; torch alone takes two thirds of what a scrub loads."""
    slow = ("torch", "matplotlib.figure", "jinja2", "transformer_lens", "transformers", "scipy.stats", "pandas")
    slow += ("networkx", "minigrid", "pygame")
    code = "import sys; from ad_hypotheses.cli.app import main\n"
    code += "for verb in (['list'], ['check', 'stay'], ['scrub', 'stay', *sys.argv[1:]]):\n"
    code += f"    try: main(verb)\n    except SystemExit: print('LOADED', *[m for m in {slow} if m in sys.modules])"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    options = list(map(str, QUICK))
    ran = subprocess.run(
        [sys.executable, "-c", code, *options], cwd=workplace, capture_output=True, text=True, env=env, check=True
    )
    loaded = [line.split()[1:] for line in ran.stdout.splitlines() if line.startswith("LOADED")]
    assert loaded == [[], ["torch"], ["torch", "matplotlib.figure", "jinja2"]], ran.stderr


def test_version(cli):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert cli("--version").out == f"ad-hypotheses {declared}\n"


# list


def test_list_shows_models_hypotheses_and_what_is_broken(cli, claims, workplace):
    (workplace / "hypotheses" / "broken.py").write_text("def f(:\n")
    broken = workplace / "models" / "broken"
    broken.mkdir()
    (broken / "weights.safetensors").write_bytes(b"12345678")
    (broken / "config.yaml").write_text("task: {name: dark-rom}\n")
    ran = cli("list")
    assert ran.code == 0
    models = (
        "tiny",
        "dark-room (size 5, horizon 8)",
        "7,733",
        "embed: x, y, action, reward",
        "config.yaml cannot be used",
    )
    for fragment in (*models, "stay, control", "Stay: it stays", "broken.py", "line 1: invalid syntax"):
        assert fragment in ran.out


def test_a_list_has_hypotheses_first_and_a_line_for_a_grid_and_for_known_networks(cli):
    shipped = ("--models", ROOT / "models", "--hypotheses", ROOT / "hypotheses")
    short, whole = cli("list", *shipped).out, cli("list", "--all", *shipped).out
    assert short.index("mimic.py") < short.index("dark-room-grid/  18 models  (--all lists them)")
    for text in ("known-*  18 models", f"{ROOT / 'hypotheses' / 'known'}/  18 files with "):
        assert text in short
        assert text not in whole
    for name in ("dark-room-grid/", "known-win-stay", "win_stay_trained.py"):
        assert name in whole
    assert "known-win-stay" not in short
    assert len(short.splitlines()) < len(whole.splitlines()) / 2
    assert len(json.loads(cli("list", "--json", *shipped).out)["models"]) > 40


def test_list_as_json(cli, claims):
    content = json.loads(cli("list", "--json").out)
    (model,), (file,) = content["models"], content["hypotheses"]
    assert (model["name"], model["layers"], model["width"], model["parameters"]) == ("tiny", 2, 16, 7733)
    assert 0 <= model["held_out_of_optimum"] <= 1 < model["seconds"] * 1000
    assert file["hypotheses"] == ["stay", "control"]


def test_list_of_nothing_says_what_to_do(cli):
    out = cli("list", "--models", "nowhere", "--hypotheses", "nowhere").out
    assert "python cli.py train" in out
    assert "python cli.py new" in out


def test_list_reads_the_names_and_sizes_that_the_zoo_writes(trained):
    from ad_hypotheses.distill import checkpoint as zoo

    assert (listing.WEIGHTS, listing.CONFIG) == (zoo.WEIGHTS, zoo.CONFIG)
    model = zoo.load("tiny", trained).model
    assert listing.n_parameters(trained / "tiny" / zoo.WEIGHTS) == sum(weight.numel() for weight in model.parameters())


# train


def test_training_leaves_a_whole_checkpoint(trained):
    folder = trained / "tiny"
    record = json.loads((folder / "record.json").read_text())
    card = (folder / "card.md").read_text()
    assert {"evaluation", "command", "seconds", "versions", "metrics", "machine"} <= record.keys()
    assert record["evaluation"]["rollouts"] >= 256
    assert record["command"].startswith("python cli.py train ")
    assert "--out" in record["command"]
    for fragment in (record["command"], record["weights_sha256"], "7,733", "| model |", "| model, argmax |",
                     "| source |", "| optimal |", "100%", "histories 0, training 0", "CPUs", "torch 2", 
                     "curve.png"):  # fmt: skip
        assert fragment in card
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "training" / "metrics.jsonl").read_text().count("\n") == 2


def test_training_again_is_not_needed(cli, workplace):
    weights = workplace / "models" / "tiny" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    ran = cli("train", "tiny.yaml")
    assert ran.code == 0
    assert "trained already" in ran.out
    assert weights.stat().st_mtime_ns == before


@pytest.mark.slow
@pytest.mark.pictures
def test_training_again_writes_what_is_missing_and_leaves_the_rest_alone(cli, workplace):
    folder = workplace / "models" / "tiny"
    before = (folder / "card.md").read_bytes()
    for name in ("card.md", "curve.png", "source.png"):
        (folder / name).unlink()
    ran = cli("train", "tiny.yaml")
    assert "trained already" in ran.out
    assert "Its curve.png, card.md, source.png were missing, and written." in " ".join(ran.out.split())
    assert (folder / "card.md").read_bytes() == before
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in ("curve.png", "source.png"))
    (folder / "card.md").write_text("edited")
    (folder / "curve.png").unlink()
    assert "Its curve.png was missing" in " ".join(cli("train", "tiny.yaml").out.split())
    assert (folder / "card.md").read_text() == "edited"


@pytest.mark.parametrize("verb", ["train", "histories"])
def test_a_second_process_waits_for_the_first_and_uses_what_it_made(verb, cli, workplace, monkeypatch):
    folder = workplace / "again"
    folder.mkdir()
    owner = Owner("node7", "elsewhere", 41, "")
    (folder / LOCK).write_text(json.dumps({**asdict(owner), "doing": "at work", "since": "14:02"}))

    def first_ends(seconds):
        made = {"train": "models/tiny", "histories": "models/tiny/training/histories"}[verb]
        shutil.copytree(workplace / made, folder, dirs_exist_ok=True)
        (folder / LOCK).unlink()

    monkeypatch.setattr("ad_hypotheses.storage.lock.time.sleep", first_ends)
    shown = []
    monkeypatch.setattr("ad_hypotheses.sources.histories.write_shard", lambda *given: shown.append(given))
    ran = cli(verb, "tiny.yaml", "--out", "again")
    assert (ran.code, shown) == (0, [])
    assert "again is in use: process 41 on node7 is at work there, since 14:02; waiting until it has" in ran.said
    if verb == "train":
        assert "trained already" in ran.out
    assert not (folder / LOCK).exists()


def test_training_says_what_it_will_cost_and_restores_a_damaged_model(cli, workplace):
    folder = workplace / "models" / "tiny"
    before = json.loads((folder / "record.json").read_text())["weights_sha256"]
    (folder / "weights.safetensors").write_bytes(b"gone")
    ran = cli("train", "tiny.yaml")  # from the state that training left: nothing is trained anew
    assert ran.code == 0
    for fragment in ("7,733 parameters", "60 updates of 16 histories", "260 of 48 steps"):
        assert fragment in ran.err
    assert json.loads((folder / "record.json").read_text())["weights_sha256"] == before


@pytest.mark.slow
def test_the_time_that_training_takes_is_told(cli, workplace):
    (workplace / "other.yaml").write_text((workplace / "tiny.yaml").read_text().replace("updates: 60", "updates: 8"))
    ran = cli("train", "other.yaml")
    assert "for the other 2 updates" in ran.err
    assert "update 8: loss" in ran.err
    assert "kept in models/other" in ran.out


@pytest.mark.parametrize(
    ("path", "name"), [("a/b.yaml", "b"), ("models/big/config.yaml", "big"), ("models/big/config.yml", "big")]
)
def test_a_model_is_called_by_its_file_or_folder(path, name):
    assert default_name(Path(path)) == name


# evaluate


@pytest.mark.pictures
@pytest.mark.slow
def test_evaluate_writes_a_page_with_a_picture(cli, workplace):
    ran = cli("evaluate", "tiny", "--rollouts", 20)
    assert ran.code == 0
    for fragment in ("model, argmax", "source", "of optimum", "reports/evaluate-tiny-rollouts-20.md"):
        assert fragment in ran.out
    page = (workplace / "reports" / "evaluate-tiny-rollouts-20.md").read_text()
    assert "| optimal | " in page
    assert "evaluate-tiny-rollouts-20.png" in page
    assert (workplace / "reports" / "evaluate-tiny-rollouts-20.png").stat().st_size > 10_000


@pytest.mark.slow
def test_evaluate_as_json_is_the_same_for_the_same_seed(cli):
    runs = [cli("evaluate", "models/tiny", "--rollouts", 10, "--seed", 3, "--json").out for _ in range(2)]
    assert runs[0] == runs[1]
    (content,) = json.loads(runs[0])["models"]
    assert (content["model"], content["seed"], content["rollouts"]) == ("tiny", 3, 10)
    assert len(content["held_out"][0]["returns"]) == 6


@pytest.mark.slow
def test_a_bandit_is_judged_by_its_regret(cli, workplace):
    (workplace / "bandit.yaml").write_text(
        "task: {name: bandit, arms: 3, horizon: 20}\nsource: {name: ucb1}\n"
        "histories: {held_out: 4, learners: 64, episodes: 1, keep_every: 1}\n"
        "model: {n_layers: 1, n_heads: 1, d_model: 8}\ntraining: {updates: 2, batch: 4}\n"
    )
    ran = cli("train", "bandit.yaml")
    assert ran.code == 0
    assert "regret" in ran.out
    card = (workplace / "models" / "bandit" / "card.md").read_text()
    optimal = [line.split("|")[2:-1] for line in card.splitlines() if line.startswith("| optimal |")]
    assert [len(cells) for cells in optimal] == [3, 3]  # train tasks, then held-out ones
    assert abs(float(optimal[0][2])) < 1.5  # the best arm misses nothing but luck


# new and check


def test_check_says_where_hardly_anything_could_be_swapped(cli):
    ran = cli("check", ROOT / "hypotheses" / "best_mean.py", "--models", ROOT / "models")
    said = " ".join(ran.out.split())
    assert ran.code == 0
    assert re.search(r"9\d% of the values of record\(\) are alone among 64 histories: hardly anything could be", said)
    assert "of best()" not in said


def test_new_then_check(cli, workplace):
    ran = cli("new", "win_stay")
    assert "python cli.py check hypotheses/win_stay.py" in ran.out
    ran = cli("check", "win_stay", "--model", "tiny")
    assert ran.code == 0
    undeclared = "not declared, so swapped: cell -> choice, paid -> choice"
    for fragment in (
        undeclared,
        "✓ win_stay fits tiny",
        "a control of win_stay",
        'embed("x") + embed("y")',
        "each step",
        "policy",
    ):
        assert fragment in ran.out
    assert ran.out.count("not declared") == 1  # of the claim, not of its control again


def test_new_for_a_model_passes_check_at_once(cli, workplace):
    assert cli("new", "idea", "--model", "tiny").code == 0
    text = (workplace / "hypotheses" / "idea.py").read_text()
    assert "# task: dark-room (size 5, horizon 8)" in text
    assert "# actions: 0 stay, 1 up, 2 down, 3 left, 4 right" in text
    ran = cli("check", "idea")
    assert ran.code == 0
    assert "✓ idea fits tiny" in ran.out
    assert "warning" not in ran.out
    ran = cli("new", "other", "--model", "tinny")
    assert ran.code == 2
    assert "Did you mean 'tiny'?" in ran.said
    assert not (workplace / "hypotheses" / "other.py").exists()


def test_check_as_json(cli, claims):
    content = json.loads(cli("check", claims, "--json").out)
    assert content["problems"] == []
    assert [one["name"] for one in content["hypotheses"]] == ["stay", "control"]
    paid = content["hypotheses"][0]["nodes"][0]
    assert (paid["node"], paid["level"], paid["classes"]) == ("paid", "each step", 2)
    assert content["hypotheses"][0]["undeclared"] == []


# scrub


@pytest.mark.pictures
@pytest.mark.slow
def test_scrub_writes_the_same_report_for_the_same_seed(cli, claims, workplace):
    first = cli("scrub", "hypotheses/stay.py", *QUICK)
    assert first.code == 0
    for fragment in ("stay on tiny: ", "\ncontrol (paid: ", "wrong site", f"report: reports/{REPORT}.md"):
        assert fragment in first.out
    assert "partial forward passes" in first.err
    cli("scrub", "stay", *QUICK, "--reports", "other")
    names = sorted(path.relative_to("reports") for path in Path("reports").rglob("*") if path.is_file())
    assert {f"{REPORT}.md", f"{REPORT}.json"} <= {str(name) for name in names}
    page = Path(f"reports/{REPORT}.md").read_text()
    assert f"python cli.py scrub hypotheses/stay.py {' '.join(map(str, QUICK))}\n" in page
    for name in names:
        assert Path("reports", name).read_bytes() == Path("other", name).read_bytes()
    assert not Path("reports/.partial").exists()


@pytest.mark.slow
def test_scrub_as_json(cli, claims):
    (study,) = json.loads(cli("scrub", claims, *QUICK, "--json").out)
    assert [claim["name"] for claim in study["claims"]][:2] == ["stay", "control"]
    assert study["claims"][1]["kind"] == "control"
    assert study["report"] == f"reports/{REPORT}.md"


def test_scrub_moves_a_claim_to_another_model(cli, claims):
    claims.write_text(CLAIMS.replace('model="tiny"', 'model="elsewhere"'))
    (study,) = json.loads(cli("scrub", claims, *QUICK, "--model", "tiny", "--json").out)
    assert (study["model"], study["claims"][0]["name"], study["claims"][0]["moved_sites"]) == ("tiny", "stay", {})
    assert study["claims"][1]["moved_sites"] == {"paid": 'embed("reward") → embed("action")'}
    assert "--model tiny" in study["command"]


@pytest.mark.slow
def test_claims_are_grouped_with_their_controls(claims):
    text = (
        CLAIMS
        + "again = control.on(paid=mlp(0))\nsmall = stay.on('small', paid=mlp(1))\nworse = small.on(paid=mlp(0))\n"
    )
    claims.write_text(text)
    found = load(claims)

    def grouped(model):
        return [(main.name, main.model, [one.name for one in rest]) for main, rest in chosen(found, model)]

    both = [("stay", "tiny", ["control", "again"]), ("small", "small", ["worse"])]
    assert grouped(None) == both
    assert grouped("tiny") == both[:1]
    assert grouped("small") == both[1:]
    assert grouped("big") == [("stay", "big", ["control", "again"])]
    ((main, controls),) = chosen(found, "big")
    assert all(control.control_of is main for control in controls)
    assert [str(control.nodes[0].site) for control in controls] == ['embed("action")', "mlp(0)"]


# Ctrl-C


@pytest.mark.slow
def test_training_stopped_by_ctrl_c_goes_on_to_the_same_weights(cli, workplace, monkeypatch):
    shown = Meter.reach

    def reach(meter, done, note=""):
        shown(meter, done, note)
        if meter.title == "updates" and done == 30:  # where the model is evaluated, and between two states
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "reach", reach)
        ran = cli("train", "tiny.yaml", "--out", "models/again")
    assert ran.code == 2
    assert "stopped after update 30 of 60; the same command goes on." in ran.err
    assert '"update": 30' in Path("models/again/training/metrics.jsonl").read_text(), "it stops after the evaluation"
    assert not Path("models/again/weights.safetensors").exists()
    ran = cli("train", "tiny.yaml", "--out", "models/again")
    assert ran.code == 0
    assert "going on after update 30\n" in ran.err
    records = [json.loads(Path("models", name, "record.json").read_text()) for name in ("tiny", "again")]
    assert records[0]["weights_sha256"] == records[1]["weights_sha256"]
    losses = [[(line["update"], line["loss"]) for line in record["metrics"]] for record in records]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_scrub_stopped_by_ctrl_c_goes_on_to_the_same_report(cli, claims, monkeypatch):
    assert cli("scrub", "stay", *QUICK, "--reports", "whole").code == 0
    shown, claims_begun = Meter.reach, []

    def reach(meter, done, note=""):
        shown(meter, done, note)
        claims_begun.append(note)
        if note == "control on source":
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "reach", reach)
        ran = cli("scrub", "stay", *QUICK)
    assert ran.code == 2
    assert "stopped; what was measured is kept in reports/.partial/stay; the same command goes on." in ran.err
    assert len(list(Path("reports/.partial/stay").glob("*.npz"))) == 1
    assert not Path(f"reports/{REPORT}.md").exists()
    Path("reports/.partial/stay/other.npz").write_bytes(b"of an interrupted run with other options")
    assert cli("scrub", "stay", *QUICK).code == 0
    for name in (f"{REPORT}.md", f"{REPORT}.json"):
        assert Path("reports", name).read_bytes() == Path("whole", name).read_bytes()
    assert [path.name for path in Path("reports/.partial").rglob("*")] == ["stay", "other.npz"]


@pytest.mark.parametrize("loaded", ["typer", "numpy"], ids=["the command line", "what it runs"])
def test_ctrl_c_during_imports_ends_at_once_and_quietly(workplace, claims, loaded):
    command = [sys.executable, "-X", "importtime", str(ROOT / "cli.py"), "check", "stay"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.split("|")[-1].strip() == loaded:
                process.send_signal(signal.SIGINT)
                break
        said = process.stderr.read()
    assert process.returncode in (2, -signal.SIGINT)
    assert [line for line in said.splitlines() if not line.startswith("import time:")] in ([], ["stopped."])


# what is shown


def test_numbers_as_people_say_them():
    assert [duration(s) for s in (0.2, 42, 600, 7_500)] == ["1 s", "42 s", "10 min", "2 h 05 min"]
    assert [terminal.size(n) for n in (12, 640_000, 3e6, 1.25e9)] == ["12 bytes", "640 kB", "3 MB", "1.2 GB"]
    assert [parse_memory(text) for text in ("2GB", "1.5 GiB", "500m", "4096")] == [
        2 * 10**9,
        3 * 2**29,
        5 * 10**8,
        4096,
    ]


def test_the_time_left_follows_the_pace_and_not_what_was_done_before(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    pace = Pace()
    assert pace.left(10) is None
    pace.note(50)
    now[0] += 10
    pace.note(60)
    assert pace.left(100) == 40
    for done in range(61, 81):  # ten times slower from now on: what lies further back than the window is forgotten
        now[0] += 10
        pace.note(done)
    assert pace.left(100) == pytest.approx(200)


def test_a_log_gets_a_plain_line_every_few_seconds(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.metered() as meter:
        meter.begin("updates", 1000, "steps")
        for done in range(1, 101):
            now[0] += 0.2
            meter.reach(done, "loss 1.500")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0] == "updates: 25 of 1,000 steps (2%), loss 1.500, 3 min left"
