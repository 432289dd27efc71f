"""Every mistake that a person can make gets a message that says what, where and what to do: never a traceback.

Everything goes through the command line, in this process, and ends with exit code 2.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ad_hypotheses.report import screen as terminal
from ad_hypotheses.studies import machine

CLAIMS = '''"""Stay: it stays where it was paid."""
import numpy as np
from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node

@node(at=embed("reward"))
def paid(history):
    """Whether it was just paid."""
    return history.previous_rewards > 0

@node(at=embed("x") + embed("y"))
def cell(history):
    return history.observations

@node(at=logits)
def choice(paid, cell):
    return np.where(paid, 0, -1)

stay = Hypothesis(choice, model="tiny", accept=0.5)
'''
SMALL = ("--pool", "64", "--data", "source", "--rollouts", "0", "--no-rivals")
QUICK = ("--rows", "32", "--passes", "1", *SMALL)
PAID = "    return history.previous_rewards > 0"


@pytest.fixture
def claims(workplace):
    path = workplace / "hypotheses" / "stay.py"
    path.write_text(CLAIMS)
    return path


def refused(ran, *fragments):
    assert (ran.code, ran.out) == (2, "")
    for fragment in fragments:
        assert fragment in ran.said, ran.err


# What is typed


@pytest.mark.parametrize(
    ("typed", "fragments"),
    [
        ("scrb hypotheses/stay.py", ["No such command 'scrb'", "Did you mean 'scrub'?"]),
        ("scrub", ["Missing argument 'FILE'"]),
        ("scrub stay --sample 3", ["No such option", "--sample"]),
        ("scrub stay --rows 0", ["'--rows'", "0 is too few: at least 2; 256 is a good number"]),
        ("scrub stay --rows 1", ["'--rows'", "1 is too few"]),
        ("scrub stay --samples 1", ["'--rows'", "1 is too few"]),  # its name in older reports
        ("scrub stay --rows many", ["'--rows'", "valid integer"]),
        ("scrub stay --passes 0", ["'--passes'", "0 is too few: at least 1."]),
        ("scrub stay --rollouts -1", ["'--rollouts'", "-1 is too few: at least 0."]),
        ("scrub stay --seed -1", ["'--seed'", "-1 is negative"]),
        ("scrub stay --threads 0", ["'--threads'", "0 is too few"]),
        ("scrub stay --memory lots", ["'--memory'", "'lots' is no amount of memory", "2GB"]),
        ("scrub stay --memory 0", ["'--memory'", "'0' is no amount of memory"]),
        ("scrub stay --tasks some", ["'--tasks'", "'some' is not one of 'all', 'train', 'held-out'"]),
        ("scrub stay --align steps", ["'--align'", "'steps' is not one of"]),
        ("scrub stay --device gpu9", ["there is no device 'gpu9'", "devices: cpu"]),
        ("scrub stay --device cuda:97", ["there is no device 'cuda:97'", "devices: cpu"]),
        ("scrub stay --memory 1kB", ["the run needs", "only 1 kB may be used", "--rows", "--memory"]),
        ("scrub stay --model tinny", ["there is no model 'tinny'", "Did you mean 'tiny'?", "models there: tiny"]),
        (
            "scrub sty",
            ["no hypothesis file hypotheses/sty.py", "in hypotheses/: stay", "Did you mean 'stay'?"],
        ),
        ("scrub hypotheses/sty.py", ["There is no hypothesis file hypotheses/sty.py", "Did you mean 'stay'?"]),
        ("check hypotheses", ["There is no hypothesis file"]),
        ("check stay --model tinny", ["there is no model 'tinny'", "Did you mean 'tiny'?"]),
        ("evaluate tinny", ["there is no model 'tinny'", "Did you mean 'tiny'?"]),
        ("evaluate tiny --rollouts 0", ["'--rollouts'", "0 is too few"]),
        ("evaluate tiny --device cuda:97", ["there is no device 'cuda:97'"]),
        ("train nowhere.yaml", ["cannot read the configuration nowhere.yaml", "No such file"]),
        ("new Win-Stay", ["'Win-Stay' cannot name a hypothesis", "Did you mean 'win_stay'?"]),
        ("new stay", ["hypotheses/stay.py exists and is left alone"]),
        ("list --hypotheses models/tiny/config.yaml", ["models/tiny/config.yaml is no folder"]),
    ],
)
@pytest.mark.default_cases(12)
def test_what_is_typed(typed, fragments, cli, claims):
    refused(cli(*typed.split()), *fragments)


# What stands in a hypothesis file


@pytest.mark.parametrize(
    ("old", "new", "fragments"),
    [
        ("import numpy as np", "import numpy as np\nx = (", ["stay.py", "'(' was never closed"]),
        ("import numpy as np", "import nunpy as np", ["No module named 'nunpy'", "hypotheses/stay.py:2"]),
        ("logits, mlp, node", "logits, mlp, nodes", ["cannot import name 'nodes'", "from ad_hypotheses come:"]),
        ('embed("reward")', 'embed("rewrd")', ['no channel "rewrd"', 'Did you mean \'reward\'?', '"x", "y"']),
        ('embed("reward")', "head(0, 7)", ["the model has no head 7", "heads: 0 to 1"]),
        ('embed("reward")', "mlp(5)", ["the model has no layer 5", "layers: 0 to 1"]),
        ('embed("reward")', "head", ["sits at the function head, not at a site", "head(1, 2)"]),
        ('embed("reward")', 'embed("x")', ["paid() and cell() share the site", "hypotheses/stay.py:11"]),
        ('embed("reward")', "logits", ["paid() sits at logits, but choice() reads it"]),
        ("choice(paid, cell)", "choice(paied, cell)", ["choice() reads 'paied'", "Did you mean 'paid'?"]),
        ("choice(paid, cell)", "choice()", ["choice() reads nothing"]),
        ("def paid(history)", "def paid(choice)", ["paid() reads 'choice'", "a circle (paid -> choice -> paid)"]),
        ("def paid(history)", "def paid(paid)", ["paid() reads itself"]),
        (PAID, "    return history.rewards[:, :, None, None]", ["returns an array of shape (64, 48, 1, 1)", "wanted"]),
        (PAID, "    return history.previous_rewards[:5] > 0", ["returns an array of shape (5, 48)"]),
        (PAID, "    return np.array(['a'] * history.n_rows)", ["paid() returns strings, which cannot be matched"]),
        (PAID, "    return [1] * history.n_rows", ["paid() returns a list, not a numpy array"]),
        (PAID, "    pass", ["paid() returns", "not a numpy array", "add a return"]),
        (PAID, "    return np.full(history.actions.shape, np.nan)", ["paid() returns nan at row 0, step 0", "e.g. -1"]),
        (PAID, "    return history.previous_rewards * 0.3", ["paid() returns fractions (0.3 at", "bin it"]),
        (PAID, "    return history.rewards > 0", ["paid()", "rewards from step", "history.previous_rewards"]),
        (PAID, "    return history.actions", ["paid()", "actions from step", "history.previous_actions"]),
        (PAID, "    return history.actions * 0 + history.task['goal'][:, :1]", ["which the model cannot see"]),
        (PAID, "    return np.random.rand(*history.actions.shape) > 0.5", ["paid() is random"]),
        (PAID, "    return history.previous_rewards > np.arange(9)", ["paid() raises ValueError", "stay.py:8"]),
        (PAID, "    return history.actions_before", ["paid() raises AttributeError", "actions_before"]),
        ("np.where(paid, 0, -1)", "np.where(paid, 9, -1)", ["choice() returns action 9, but there are 5 actions"]),
        ("np.where(paid, 0, -1)", "paid[:, :2]", ["choice() is the last node", "that of no policy"]),
        ("accept=0.5", "accept=90", ["accept=90", "at most 1"]),
        ("Hypothesis(choice", "Hypothesis(print", ["that is not a node"]),
        ("stay = Hypothesis", "import sys; sys.exit(3); stay = Hypothesis", ["ends the program while it is loaded"]),
        ("stay = Hypothesis", "stay, = [0]; # Hypothesis", ["holds no Hypothesis", "nodes: paid, cell, choice"]),
    ],
)  # fmt: skip
@pytest.mark.default_cases(7)
def test_what_stands_in_a_hypothesis_file(old, new, fragments, cli, claims):
    assert old in CLAIMS
    claims.write_text(CLAIMS.replace(old, new, 1))
    refused(cli("check", claims), *fragments)


def test_all_problems_come_at_once_and_each_only_once(cli, claims):
    text = CLAIMS.replace('embed("reward")', "head(0, 7)").replace("history.observations", "history.observations / 3")
    claims.write_text(text + 'control = stay.on(cell=embed("x"))\n')
    ran = cli("check", claims)
    refused(ran, "problems in", "no head 7", "cell() returns fractions")
    assert ran.err.count("no head 7") == ran.err.count("cell() returns fractions") == 1
    ran = cli("check", claims, "--json")
    assert ran.code == 2
    assert len(json.loads(ran.out)["problems"]) == 2


def test_scrub_refuses_what_check_refuses(cli, claims):
    claims.write_text(CLAIMS.replace('embed("reward")', 'embed("rewrd")'))
    refused(cli("scrub", claims, *QUICK), 'no channel "rewrd"', "Did you mean")


def test_a_feature_that_nobody_shares(cli, claims):
    text = CLAIMS.replace(PAID, '    return history.task["goal"]')
    claims.write_text(text.replace("np.where(paid, 0, -1)", "np.where(paid[:, :1] + cell[..., 0] >= 0, 0, -1)"))
    ran = cli("scrub", claims, "--rows", 2, "--passes", 1, *SMALL, "--pool", 2, "--seed", 4)
    refused(ran, "paid: none of the 2 histories shares its value with one of the 2 donors", "(--pool)", "coarser")


@pytest.mark.slow
def test_a_model_that_explains_nothing(cli, claims, workplace):
    text = (workplace / "tiny.yaml").read_text().replace("updates: 60", "updates: 1")
    (workplace / "ignorant.yaml").write_text(text)
    assert cli("train", "ignorant.yaml").code == 0
    ran = cli("scrub", claims, *QUICK, "--model", "ignorant")
    refused(ran, "the model does no better on these histories than with everything resampled", "no loss to explain")


# What lies on the disk


@pytest.mark.default_cases(8)
@pytest.mark.parametrize(
    ("name", "change", "fragments"),
    [
        (
            "weights.safetensors",
            lambda old: old[:-200],
            ["truncated or was altered", "SHA-256", "train it again"],
        ),
        ("weights.safetensors", lambda old: old[:-1] + bytes([old[-1] ^ 1]), ["truncated or was altered"]),
        ("weights.safetensors", lambda old: None, ["has no weights.safetensors", "python cli.py train"]),
        ("record.json", lambda old: None, ["cannot read models/tiny/record.json", "No such file"]),
        ("record.json", lambda old: old[:40], ["models/tiny/record.json is not valid JSON"]),
        ("record.json", lambda old: b"[]", ["must hold a JSON object"]),
        ("record.json", lambda old: b"{}", ["record.json is at fault"]),
        ("config.yaml", lambda old: None, ["cannot read the configuration models/tiny/config.yaml", "Restore it"]),
        (
            "config.yaml",
            lambda old: old.replace(b"d_model: 16", b"d_model: 32"),
            ["config.yaml is not what the model was trained with", "model.d_model: 32 now, 16 then"],
        ),
    ],
)
@pytest.mark.parametrize("verb", ["scrub stay", "evaluate tiny"])
def test_a_damaged_checkpoint(name, change, fragments, verb, cli, claims, workplace):
    path = workplace / "models" / "tiny" / name
    content = change(path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    refused(cli(*verb.split()), *fragments)
    assert not list(workplace.glob("reports/*.md"))


@pytest.mark.parametrize("verb", [("scrub", "stay", *QUICK, "--reports"), ("evaluate", "tiny", "--out")])
def test_reports_that_cannot_be_written_are_noticed_before_the_work(verb, cli, claims, workplace, monkeypatch):
    (workplace / "taken").write_text("a file, no folder")
    monkeypatch.setattr("ad_hypotheses.distill.rollout.rollout", None)
    monkeypatch.setattr("ad_hypotheses.studies.scrub.bind.prepare", None)
    refused(cli(*verb, "taken"), "taken cannot be written", "Nothing was run yet", verb[-1])
    refused(cli(*verb, "taken/below"), "taken/below cannot be written", "Not a directory")


def full(*arguments, **named):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.slow
def test_a_full_disk(cli, claims, workplace, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(machine.tempfile, "TemporaryFile", full)
        refused(cli("scrub", claims, *QUICK), "reports cannot be written: No space left on device")
        refused(cli("train", "tiny.yaml", "--out", "new"), "new/training cannot be written", "--out")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        refused(cli("scrub", claims, *QUICK), "the disk is full: reports/stay-tiny", "run the same command again")
        refused(cli("evaluate", "tiny", "--rollouts", 4), "the disk is full: reports/evaluate-tiny")
    assert list(Path("reports/.partial/stay").glob("*.npz"))  # what was measured is kept
    assert not list(Path("reports").glob("*.md"))
    assert cli("scrub", claims, *QUICK).code == 0


def test_a_damaged_partial_result_is_measured_again(cli, claims, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        cli("scrub", claims, *QUICK)
    first, second = Path("reports/.partial/stay").glob("*.npz")
    first.write_bytes(first.read_bytes()[:100])
    second.write_bytes(b"x" + second.read_bytes())
    assert cli("scrub", claims, *QUICK).code == 0


# What stands in a configuration


@pytest.mark.default_cases(6)
@pytest.mark.parametrize(
    ("old", "new", "fragments"),
    [
        ("{name: dark-room", "{name: dark-rom", ["task: there is no task 'dark-rom'", "Did you mean 'dark-room'?"]),
        ("size: 5", "sise: 5", ["dark-room has no parameter 'sise'", "Did you mean 'size'?"]),
        ("size: 5", "size: big", ["size is 'big', but it must be of type int"]),
        ("size: 5", "size: 1", ["dark-room: size is 1, but it must be"]),
        ("name: epsilon-greedy-q", "name: epsilon-greedy", ["there is no source 'epsilon-greedy'", "Did you mean"]),
        ("learners: 256", "leaners: 256", ["histories.leaners: no such key", "Did you mean 'learners'?"]),
        ("learners: 256", "learners: many", ["histories.learners", "valid integer", "'many'"]),
        ("held_out: 5", "held_out: 25", ["cannot hold out 25 goals"]),
        ("d_model: 16", "d_model: 15", ["model.d_model: 15 is not a multiple of model.n_heads = 2"]),
        ("updates: 60", "updates: 0", ["training.updates", "greater than or equal to 1"]),
        ("training:", "trainig:", ["trainig: no such key", "Did you mean 'training'?"]),
        ("task: {", "task: {{", ["is not valid YAML"]),
        ("task:", "tusk:", ["tusk: no such key", "task: is missing"]),
    ],
)
def test_a_wrong_configuration(old, new, fragments, cli, workplace):
    text = (workplace / "tiny.yaml").read_text()
    assert old in text
    (workplace / "tiny.yaml").write_text(text.replace(old, new, 1))
    refused(cli("train", "tiny.yaml", "--out", "new"), *fragments)
    assert not Path("new").exists()


@pytest.mark.parametrize("verb", ["train", "histories"])
def test_what_cannot_be_trained_is_refused_at_once_and_leaves_nothing(verb, cli, workplace):
    text = (workplace / "tiny.yaml").read_text().replace("keep_every: 2", "keep_every: 12, skip: 5")
    (workplace / "tiny.yaml").write_text(text.replace("epsilon-greedy-q, anneal_episodes: 10", "thompson"))
    ran = cli(verb, "tiny.yaml", "--out", "new")
    refused(ran, "histories.skip: 5", "histories.keep_every: 12 leaves 1", "source: thompson learns bandits")
    assert not Path("new").exists()


def test_a_finished_model_whose_configuration_was_altered_is_left_alone(cli, workplace):
    folder = workplace / "models" / "tiny"
    before = (folder / "weights.safetensors").read_bytes()
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("updates: 60", "updates: 61"))
    refused(cli("train", path), "another configuration", "training.updates: 61 now, 60 then", "--out")
    assert (folder / "weights.safetensors").read_bytes() == before


def test_all_problems_of_a_configuration_come_at_once(cli, workplace):
    text = (workplace / "tiny.yaml").read_text().replace("size: 5", "sise: 5").replace("updates: 60", "updates: 0")
    (workplace / "tiny.yaml").write_text(text)
    refused(cli("train", "tiny.yaml"), "sise", "training.updates")


def test_another_model_is_not_overwritten(cli, workplace):
    (workplace / "tiny.yaml").write_text((workplace / "tiny.yaml").read_text().replace("d_model: 16", "d_model: 8"))
    before = (workplace / "models" / "tiny" / "weights.safetensors").read_bytes()
    refused(cli("train", "tiny.yaml"), "models/tiny holds a model that was trained with another configuration", "--out")
    assert (workplace / "models" / "tiny" / "weights.safetensors").read_bytes() == before


def test_a_corrupt_state_to_resume_from(cli, workplace):
    state = workplace / "models" / "tiny" / "training" / "state.safetensors"
    (workplace / "models" / "tiny" / "weights.safetensors").unlink()
    content = state.read_bytes()
    state.write_bytes(content[: len(content) // 2])
    refused(cli("train", "tiny.yaml"), "state.safetensors is damaged", "Delete it to train from the start")
    state.write_bytes(content)
    (workplace / "tiny.yaml").write_text((workplace / "tiny.yaml").read_text().replace("batch: 16", "batch: 8"))
    refused(cli("train", "tiny.yaml"), "state.safetensors belongs to another configuration", "--out")


def test_corrupt_histories(cli, workplace):
    folder = workplace / "models" / "tiny" / "training"
    (workplace / "models" / "tiny" / "weights.safetensors").unlink()
    actions = next((folder / "histories").rglob("actions.npy"))
    content = actions.read_bytes()
    actions.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused(cli("train", "tiny.yaml"), "is corrupt: actions.npy has another checksum")


# What is our own mistake, and how everything is said


def test_a_bug_of_ours_says_so_in_one_line(cli, workplace, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("ad_hypotheses.studies.listing.checkpoints", broken)
    ran = cli("list")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    for fragment in ("ZeroDivisionError: division by zero", "a bug of ours", "AD_HYPOTHESES_TRACEBACK=1"):
        assert fragment in ran.err
    monkeypatch.setenv("AD_HYPOTHESES_TRACEBACK", "1")
    from ad_hypotheses.cli.app import main

    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_running_out_of_memory(cli, monkeypatch):
    def greedy(*arguments):
        raise MemoryError

    monkeypatch.setattr("ad_hypotheses.studies.listing.checkpoints", greedy)
    refused(cli("list"), "not enough memory")


def test_errors_are_red_on_a_terminal_only(capsys, monkeypatch):
    for environment, coloured in (
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({}, False),
    ):
        with monkeypatch.context() as patch:
            for name in ("FORCE_COLOR", "NO_COLOR"):
                patch.delenv(name, raising=False)
            for name, value in {"TERM": "xterm-256color", **environment}.items():
                patch.setenv(name, value)
            terminal.say_error("it is broken [not markup] " + "x" * 200)
        said = capsys.readouterr().err
        assert ("31m" in said) == coloured
        assert "it is broken [not markup] " + "x" * 200 in said


def test_a_folder_without_weights_can_be_trained_from(cli, workplace):
    folder = workplace / "models" / "begun"
    folder.mkdir()
    shutil.copy(workplace / "tiny.yaml", folder / "config.yaml")
    refused(cli("evaluate", "begun"), "has no weights.safetensors", "python cli.py train models/begun/config.yaml")


def test_a_terminal_of_few_letters(claims):
    claims.write_text(CLAIMS.replace("it stays where", "it stays – ✓ – where"))
    command = [sys.executable, str(Path(terminal.__file__).parents[2] / "cli.py"), "list"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "it stays ? ? ?" in ran.stdout
    assert ran.stderr == ""


def test_a_handful_of_histories_is_said_to_be_too_few(cli, claims):
    ran = cli("scrub", claims, "--rows", 2, "--passes", 2, *SMALL)
    refused(ran, "2 histories are too few", "--rows")
